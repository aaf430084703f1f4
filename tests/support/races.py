"""Writers that race: statements, and ways to run them at one moment.

A writer is either a console, a connection of its own in a thread of its own, or a customer of the API. An outcome is
"done" or a SQLSTATE: 23P01 is the constraint ``booking_slot_free``, 40P01 would be a deadlock.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial
from threading import Barrier
from typing import Any, TypeVar

import httpx2
import psycopg
import pytest
from psycopg.rows import TupleRow

from tests.support.clock import TOMORROW_AT_TEN
from tests.support.people import Person

Console = psycopg.Connection[TupleRow]
T = TypeVar("T")

WRITERS = 64
TEN = TOMORROW_AT_TEN
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
ROLES = pytest.mark.parametrize("roles", [1, 2, 3])
BOTH_CAPACITIES = pytest.mark.parametrize("capacity", [1, 3])

BUSINESS = """
    INSERT INTO users (name, email, password_hash)
      SELECT 'Customer', 'customer' || n || '@example.com', 'none' FROM generate_series(1, 64) AS n;
    INSERT INTO services (title, price, duration_minutes) VALUES ('Massage', 60, 60), ('Long massage', 90, 90);
"""
RESOURCE = "INSERT INTO resources (name, capacity, timezone) VALUES ('Room', %s, 'UTC') RETURNING id"
SERVES = "INSERT INTO service_resources (service_id, resource_id) VALUES (%s, %s)"
INSERT = """
    INSERT INTO bookings
      (user_id, service_id, resource_id, start_time, end_time, blocks_from, blocks_until, status, price)
    VALUES (%(user)s, 1, %(resource)s, %(start)s, %(end)s, %(start)s, %(end)s, %(status)s, 60) RETURNING id
"""
ANYWHERE = """
    INSERT INTO bookings (user_id, service_id, resource_id, start_time, end_time, blocks_from, blocks_until, price)
    VALUES (%(user)s, 1, resource_for_booking(%(rooms)s, %(start)s, %(ends)s), %(start)s, %(end)s, %(start)s, %(end)s,
            60)
"""
MOVE = """
    UPDATE bookings SET start_time = %(start)s, end_time = %(end)s, blocks_from = %(start)s, blocks_until = %(end)s
    WHERE id = %(id)s
"""
SHIFT = """
    UPDATE bookings SET start_time = start_time + '15 min', end_time = end_time + '15 min',
                        blocks_from = blocks_from + '15 min', blocks_until = blocks_until + '15 min'
"""
# What takes several seats or resources: a party, a visit with other needs, a hold.
TAKE = """
    INSERT INTO bookings (user_id, service_id, resource_id, other_resource_ids, seats, start_time, end_time,
                          blocks_from, blocks_until, status, price, expires_at)
    VALUES (%(user)s, %(service)s, %(resource)s, %(others)s::bigint[], %(seats)s, %(start)s, %(end)s,
            %(start)s, %(end)s, %(status)s, 60, %(expires)s) RETURNING id
"""
NEED = """
    INSERT INTO service_needs (service_id, position, role, seats, free_from_minutes, free_until_minutes)
    VALUES (1, (SELECT coalesce(max(position), 1) + 1 FROM service_needs), 'in', %s, %s, %s)
"""
EXPIRED = TEN - timedelta(days=2000)
SOLD = "SELECT seat FROM claims WHERE is_blocking AND start_time = %s ORDER BY seat"
OVERLAPPING = """
    SELECT a.booking_id, b.booking_id FROM claims a JOIN claims b
        ON (a.booking_id, a.number) < (b.booking_id, b.number) AND a.resource_id = b.resource_id AND a.seat = b.seat
       AND tstzrange(a.since, a.until) && tstzrange(b.since, b.until)
     WHERE a.is_blocking AND b.is_blocking
"""
BOOKED_TWICE = """
    SELECT a.id, b.id FROM bookings a JOIN bookings b
        ON a.id < b.id AND a.user_id = b.user_id
       AND tstzrange(a.start_time, a.end_time) && tstzrange(b.start_time, b.end_time)
     WHERE a.status IN ('pending', 'confirmed') AND b.status IN ('pending', 'confirmed')
"""
OVERSOLD = """
    SELECT a.booking_id, count(*) FROM claims a JOIN resources r ON r.id = a.resource_id
      JOIN claims b ON b.resource_id = a.resource_id AND tstzrange(b.since, b.until) @> a.since AND b.is_blocking
     WHERE a.is_blocking GROUP BY a.booking_id, a.number, r.capacity
    HAVING count(*) > r.capacity
"""
# Bookings whose claims are not exactly what they say.
PARTED = """
    SELECT b.id FROM bookings b LEFT JOIN claims c ON c.booking_id = b.id GROUP BY b.id
    HAVING count(DISTINCT c.position) <> 1 + cardinality(b.other_resource_ids)
        OR max(c.position) <> 1 + cardinality(b.other_resource_ids)
        OR bool_or((c.is_blocking, c.start_time, c.blocks_from, c.blocks_until)
                   <> (b.is_blocking, b.start_time, b.blocks_from, b.blocks_until))
        OR bool_or(c.resource_id IS DISTINCT FROM
                   CASE c.position WHEN 1 THEN b.resource_id ELSE b.other_resource_ids[c.position - 1] END)
        OR count(*) FILTER (WHERE c.position = 1)
           <> b.seats * count(DISTINCT c.part) FILTER (WHERE c.position = 1)
"""


def new_resource(console: Console, capacity: int, *services: int) -> int:
    """Add a resource of this capacity that serves these services."""
    number = console.execute(RESOURCE, [capacity]).fetchall()[0][0]
    for service in services or (1,):
        console.execute(SERVES, [service, number])
    return int(number)


def visit(
    resource: int, start: datetime, *, user: int = 1, status: str = "pending", lasts: timedelta = HOUR
) -> dict[str, Any]:
    return {"resource": resource, "start": start, "end": start + lasts, "user": user, "status": status}


def take(
    resources: Sequence[int],
    start: datetime = TEN,
    *,
    seats: int = 1,
    service: int = 1,
    expires: datetime | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Return the values of TAKE: a visit that takes these resources, in the order of their roles."""
    first, *others = resources
    return visit(first, start, **more) | {"others": others, "seats": seats, "service": service, "expires": expires}


def take_now(console: Console, resources: Sequence[int], start: datetime = TEN, **more: Any) -> int:
    return int(console.execute(TAKE, take(resources, start, **more)).fetchall()[0][0])


def add_need(console: Console, *, seats: int = 1, free_from: int | None = None, free_until: int | None = None) -> None:
    """Make the first service need one more resource."""
    console.execute(NEED, [seats, free_from, free_until])


def any_order(rooms: Sequence[int], seed: int) -> list[int]:
    """Return these in the random order of a seed."""
    return random.Random(seed).sample(rooms, len(rooms))


def open_rooms(console: Console, roles: int, capacity: int) -> list[int]:
    """Add as many resources as a visit of the first service needs; each can have every role."""
    for _ in range(roles - 1):
        add_need(console)
    return [new_resource(console, capacity, 1, 2) for _ in range(roles)]


def wrong_claims(console: Console) -> list[Any]:
    """Return what must never be: two claims on a seat at once, more than there are seats, or unlike their booking."""
    return [row for query in (OVERLAPPING, OVERSOLD, PARTED) for row in console.execute(query).fetchall()]


def anywhere(rooms: Sequence[int], start: datetime, *, user: int = 1) -> dict[str, Any]:
    end = start + HOUR
    return {"rooms": list(rooms), "start": start, "end": end, "ends": [end] * len(rooms), "user": user}


def book(console: Console, resource: int, start: datetime, **more: Any) -> int:
    return int(console.execute(INSERT, visit(resource, start, **more)).fetchall()[0][0])


def outcome_of(console: Console, statement: str, values: Any = None) -> str:
    """Run a statement and return its outcome: "done" or the SQLSTATE of the error."""
    try:
        console.execute(statement, values)
    except psycopg.Error as error:
        return error.sqlstate or type(error).__name__
    return "done"


def run_at_once(acts: Sequence[Callable[[], T]]) -> list[T]:
    """Run all these at the same moment, each in its own thread."""
    start = Barrier(len(acts))

    def when_all_are_ready(act: Callable[[], T]) -> T:
        start.wait()
        return act()

    with ThreadPoolExecutor(len(acts)) as threads:
        return list(threads.map(when_all_are_ready, acts))


def race(consoles: list[Console], statement: str, values: Sequence[Any]) -> Counter[str]:
    """Run the statement on every console with its own values, all at once, and count the outcomes."""
    return Counter(
        run_at_once([partial(outcome_of, console, statement, of) for console, of in zip(consoles, values, strict=True)])
    )


def start_blocked(console: Console, watcher: Console, act: Callable[[], T]) -> Callable[[], T]:
    """Start this, wait until its console waits for a lock, and return a function that waits for the result."""
    thread = ThreadPoolExecutor(1)
    result = thread.submit(act)
    waiting = "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = %s"
    while not result.done() and not watcher.execute(waiting, [console.info.backend_pid]).fetchall()[0][0]:
        time.sleep(0.005)
    thread.shutdown(wait=False)
    return result.result


def wait_until_blocked(watcher: Console, is_done: Callable[[], bool]) -> None:
    """Wait until another connection to this database waits for a lock, or all is done."""
    waiting = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    while not is_done() and not watcher.execute(waiting).fetchall():
        time.sleep(0.005)


async def send_all(
    people: Sequence[Person], method: str, paths: Sequence[str], bodies: Sequence[Any]
) -> list[httpx2.Response]:
    """Send one request as each person, all at once."""
    requests = zip(people, paths, bodies, strict=True)
    return await asyncio.gather(*(person.request(method, path, json=body) for person, path, body in requests))


def count_codes(answers: Sequence[httpx2.Response]) -> Counter[str]:
    """Count the responses by the code of a refusal or the status of a success."""
    return Counter(answer.json().get("code", str(answer.status_code)) for answer in answers)


def seats_sold(console: Console, start: datetime = TEN) -> list[int]:
    """Return the seats that are sold at this start."""
    return [row[0] for row in console.execute(SOLD, [start])]
