"""Sixty-four writers at one moment: no door, script or console sells a place twice, and no deadlock reaches anyone.

A writer is either a console, a connection of its own in a thread of its own, or a customer of the API. What they meet
is told by SQLSTATE: 23P01 is the constraint ``booking_slot_free``, 40P01 would be a deadlock.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime, timedelta
from functools import partial
from threading import Barrier
from typing import Any, LiteralString, TypeVar

import httpx2
import psycopg
import pytest
from psycopg.rows import TupleRow
from sqlmodel import select

from bookit.db.pool import Database
from bookit.schema.tables import User
from tests.conftest import TOMORROW_AT_TEN, MakeClient, Person

Console = psycopg.Connection[TupleRow]
T = TypeVar("T")

WRITERS = 64
TEN = TOMORROW_AT_TEN
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
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
    VALUES (1, 1, resource_for_booking(%(rooms)s, %(start)s, %(end)s), %(start)s, %(end)s, %(start)s, %(end)s, 60)
"""
MOVE = """
    UPDATE bookings SET start_time = %(start)s, end_time = %(end)s, blocks_from = %(start)s, blocks_until = %(end)s
    WHERE id = %(id)s
"""
SHIFT = """
    UPDATE bookings SET start_time = start_time + '15 min', end_time = end_time + '15 min',
                        blocks_from = blocks_from + '15 min', blocks_until = blocks_until + '15 min'
"""
SOLD = "SELECT seat FROM bookings WHERE status IN ('pending', 'confirmed') AND start_time = %s ORDER BY seat"
OVERLAPPING = """
    SELECT a.id, b.id FROM bookings a JOIN bookings b
        ON a.id < b.id AND a.resource_id = b.resource_id AND a.seat = b.seat
       AND tstzrange(a.blocks_from, a.blocks_until) && tstzrange(b.blocks_from, b.blocks_until)
     WHERE a.status IN ('pending', 'confirmed') AND b.status IN ('pending', 'confirmed')
"""
OVERSOLD = """
    SELECT a.id, count(*) FROM bookings a JOIN resources r ON r.id = a.resource_id
      JOIN bookings b ON b.resource_id = a.resource_id
       AND tstzrange(b.blocks_from, b.blocks_until) @> a.blocks_from AND b.status IN ('pending', 'confirmed')
     WHERE a.status IN ('pending', 'confirmed') GROUP BY a.id, a.seat, r.capacity
    HAVING count(*) > r.capacity OR a.seat > r.capacity
"""


@pytest.fixture
def console(empty: str) -> Iterator[Console]:
    """Open a console of a business with sixty-four customers, and nothing booked."""
    with psycopg.connect(empty, autocommit=True) as connection:
        connection.execute(BUSINESS)
        yield connection


def open_consoles(url: str, number: int, on_leaving: ExitStack) -> list[Console]:
    return [on_leaving.enter_context(psycopg.connect(url, autocommit=True)) for _ in range(number)]


@pytest.fixture
def three(console: Console, database_url: str) -> Iterator[list[Console]]:
    """Give mine, yours, and one that looks on."""
    with ExitStack() as on_leaving:
        yield [*open_consoles(database_url, 2, on_leaving), console]


@pytest.fixture
def consoles(console: Console, database_url: str, server: str) -> Iterator[list[Console]]:
    """Give sixty-four. One PostgreSQL has too few for all workers at once, so these take turns."""
    with ExitStack() as on_leaving:
        [turn] = open_consoles(server, 1, on_leaving)
        turn.execute("SELECT pg_advisory_lock(64)")
        yield [console, *open_consoles(database_url, WRITERS - 1, on_leaving)]


@pytest.fixture
async def customers(database: Database, console: Console, client_of: MakeClient) -> list[Person]:
    rows = await database.fetch(select(User).order_by("id"))
    return [Person(user, client_of(user)) for user in (User(**row) for row in rows)]


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


def book(console: Console, resource: int, start: datetime, **more: Any) -> int:
    return int(console.execute(INSERT, visit(resource, start, **more)).fetchall()[0][0])


def tried(console: Console, statement: str, values: Any = None) -> str:
    """Run a statement and tell what came of it: "done", or the SQLSTATE of what refused it."""
    try:
        console.execute(statement, values)
    except psycopg.Error as error:
        return error.sqlstate or type(error).__name__
    return "done"


def at_once(acts: Sequence[Callable[[], T]]) -> list[T]:
    """Do all this at the same moment, each in a thread of its own."""
    start = Barrier(len(acts))

    def when_all_are_ready(act: Callable[[], T]) -> T:
        start.wait()
        return act()

    with ThreadPoolExecutor(len(acts)) as threads:
        return list(threads.map(when_all_are_ready, acts))


def race(consoles: list[Console], statement: str, values: Sequence[Any]) -> Counter[str]:
    """Have each console run the statement with its own values, all at once, and count what came of it."""
    return Counter(
        at_once([partial(tried, console, statement, of) for console, of in zip(consoles, values, strict=True)])
    )


async def asked(
    people: Sequence[Person], method: str, paths: Sequence[str], bodies: Sequence[Any]
) -> list[httpx2.Response]:
    """Have each person send a request of their own, all at once."""
    requests = zip(people, paths, bodies, strict=True)
    return await asyncio.gather(*(person.request(method, path, json=body) for person, path, body in requests))


def codes(answers: Sequence[httpx2.Response]) -> Counter[str]:
    """Count the answers by what they say: the code of a refusal, or the status of a success."""
    return Counter(answer.json().get("code", str(answer.status_code)) for answer in answers)


def sold(console: Console, start: datetime = TEN) -> list[int]:
    """Give the places that are sold at this start."""
    return [row[0] for row in console.execute(SOLD, [start])]


# The same slot, from sixty-four consoles.


@BOTH_CAPACITIES
def test_of_64_inserts_into_one_slot_as_many_win_as_there_are_places(consoles: list[Console], capacity: int) -> None:
    room = new_resource(consoles[0], capacity)

    outcomes = race(consoles, INSERT, [visit(room, TEN, user=n) for n in range(1, WRITERS + 1)])

    assert outcomes == {"done": capacity, "23P01": WRITERS - capacity}
    assert sold(consoles[0]) == list(range(1, capacity + 1))


@BOTH_CAPACITIES
def test_of_64_bookings_moved_to_one_slot_as_many_win_as_there_are_places(
    consoles: list[Console], capacity: int
) -> None:
    room = new_resource(consoles[0], capacity)
    numbers = [book(consoles[0], room, TEN + n * HOUR) for n in range(1, WRITERS + 1)]

    outcomes = race(consoles, MOVE, [{"id": number, **visit(room, TEN)} for number in numbers])

    assert outcomes == {"done": capacity, "23P01": WRITERS - capacity}
    assert sold(consoles[0]) == list(range(1, capacity + 1))


@BOTH_CAPACITIES
def test_of_64_cancelled_bookings_of_one_slot_as_many_revive_as_there_are_places(
    consoles: list[Console], capacity: int
) -> None:
    room = new_resource(consoles[0], capacity)
    numbers = [book(consoles[0], room, TEN, status="cancelled") for _ in consoles]

    outcomes = race(
        consoles,
        "UPDATE bookings SET status = %s WHERE id = %s",
        [(("pending", "confirmed")[number % 2], number) for number in numbers],
    )

    assert outcomes == {"done": capacity, "23P01": WRITERS - capacity}
    assert sold(consoles[0]) == list(range(1, capacity + 1))


@BOTH_CAPACITIES
def test_visits_that_overlap_without_starting_together_race_alike(consoles: list[Console], capacity: int) -> None:
    room = new_resource(consoles[0], capacity)

    outcomes = race(consoles, INSERT, [visit(room, TEN + n * MINUTE, lasts=2 * HOUR) for n in range(WRITERS)])

    assert outcomes == {"done": capacity, "23P01": WRITERS - capacity}
    assert consoles[0].execute(OVERSOLD).fetchall() == []


# The same slot, from sixty-four customers.


@BOTH_CAPACITIES
async def test_of_64_customers_who_want_one_slot_as_many_get_it_as_there_are_places(
    customers: list[Person], console: Console, capacity: int
) -> None:
    new_resource(console, capacity)
    wanted = {"service_id": 1, "start_time": TEN.isoformat()}

    answers = await asked(customers, "POST", ["/bookings"] * WRITERS, [wanted] * WRITERS)

    assert codes(answers) == {"201": capacity, "slot-taken": WRITERS - capacity}
    assert {answer.status_code for answer in answers} == {201, 409}
    assert sold(console) == list(range(1, capacity + 1))


@BOTH_CAPACITIES
async def test_of_64_customers_who_move_to_one_slot_as_many_get_it_as_there_are_places(
    customers: list[Person], console: Console, capacity: int
) -> None:
    room = new_resource(console, capacity)
    numbers = [book(console, room, TEN + n * HOUR, user=customer.id) for n, customer in enumerate(customers, start=1)]

    answers = await asked(
        customers, "PATCH", [f"/bookings/{number}" for number in numbers], [{"start_time": TEN.isoformat()}] * WRITERS
    )

    assert codes(answers) == {"200": capacity, "slot-taken": WRITERS - capacity}
    assert sold(console) == list(range(1, capacity + 1))


@BOTH_CAPACITIES
async def test_of_64_cancelled_bookings_that_staff_revive_as_many_live_as_there_are_places(
    mara: Person, console: Console, capacity: int
) -> None:
    room = new_resource(console, capacity)
    numbers = [book(console, room, TEN, status="cancelled") for _ in range(WRITERS)]

    answers = await asked(
        [mara] * WRITERS,
        "PATCH",
        [f"/bookings/{number}" for number in numbers],
        [{"status": ("pending", "confirmed")[number % 2]} for number in numbers],
    )

    assert codes(answers) == {"200": capacity, "slot-taken": WRITERS - capacity}
    assert sold(console) == list(range(1, capacity + 1))


async def test_three_rooms_of_two_places_sell_six_when_nobody_names_a_room(
    customers: list[Person], console: Console
) -> None:
    rooms = [new_resource(console, 2) for _ in range(3)]
    wanted = {"service_id": 1, "start_time": TEN.isoformat()}

    answers = await asked(customers, "POST", ["/bookings"] * WRITERS, [wanted] * WRITERS)

    places = console.execute("SELECT resource_id, seat FROM bookings ORDER BY resource_id, seat").fetchall()
    assert codes(answers) == {"201": 6, "slot-taken": WRITERS - 6}
    assert places == [(room, seat) for room in rooms for seat in (1, 2)]


OPEN_AT_TEN = """
    INSERT INTO opening_hours (resource_id, weekday, opens, closes)
    SELECT id, weekday, '09:00', '12:00' FROM resources, generate_series(1, 7) AS weekday
"""
EXPIRED_HOLDS = """
    INSERT INTO bookings (user_id, service_id, resource_id, seat, start_time, end_time, blocks_from, blocks_until,
                          price, expires_at)
    SELECT 1, 1, id, seat, %(start)s, %(end)s, %(start)s, %(end)s, 60, %(start)s::timestamptz - interval '25 hours'
      FROM resources, generate_series(1, 2) AS seat
"""
BUSY_PLACES = """
    SELECT resource_id, seat FROM bookings WHERE status IN ('pending', 'confirmed') ORDER BY resource_id, seat
"""


@pytest.mark.parametrize("holds", ["no holds", "expired holds"])
@pytest.mark.parametrize("key", [None, "once"])
async def test_three_open_rooms_of_two_places_sell_six_and_the_others_are_told_what_is_next(
    holds: str, key: str | None, customers: list[Person], console: Console
) -> None:
    rooms = [new_resource(console, 2) for _ in range(3)]
    console.execute(OPEN_AT_TEN)
    if holds == "expired holds":
        console.execute(EXPIRED_HOLDS, visit(1, TEN))
    wanted = {"service_id": 1, "start_time": TEN.isoformat()}

    answers = await asyncio.gather(
        *(
            person.request("POST", "/bookings", json=wanted, headers={"Idempotency-Key": key} if key else {})
            for person in customers
        )
    )

    assert Counter(answer.status_code for answer in answers) == {201: 6, 409: WRITERS - 6}
    assert codes(answers) == {"201": 6, "slot-taken": WRITERS - 6}
    assert console.execute(BUSY_PLACES).fetchall() == [(room, seat) for room in rooms for seat in (1, 2)]
    next_free = {answer.json()["next_free"][0]["start_time"] for answer in answers if answer.is_error}
    assert next_free == {"2030-01-08T11:00:00Z"}
    gone = console.execute("SELECT count(*) FROM bookings WHERE status = 'cancelled'").fetchall()[0][0]
    assert gone == (6 if holds == "expired holds" else 0)


@BOTH_CAPACITIES
async def test_64_expired_holds_that_are_decided_on_at_once_win_nothing(
    capacity: int, customers: list[Person], console: Console
) -> None:
    room = new_resource(console, capacity)
    numbers = [book(console, room, TEN + n * HOUR, user=person.id) for n, person in enumerate(customers)]
    console.execute("UPDATE bookings SET expires_at = '2030-01-07 09:00Z'")

    answers = await asked(customers, "PATCH", [f"/bookings/{n}" for n in numbers], [{"hold": False}] * WRITERS)

    assert codes(answers) == {"hold-expired": WRITERS}


async def test_as_many_customers_as_there_are_places_all_get_one(customers: list[Person], console: Console) -> None:
    for _ in range(3):
        new_resource(console, 4)
    wanted = {"service_id": 1, "start_time": TEN.isoformat()}

    answers = await asked(customers[:12], "POST", ["/bookings"] * 12, [wanted] * 12)

    assert codes(answers) == {"201": 12}


async def test_two_services_on_one_resource_never_overlap(customers: list[Person], console: Console) -> None:
    new_resource(console, 1, 1, 2)
    wanted = [{"service_id": 1 + n % 2, "start_time": (TEN + n % 4 * 15 * MINUTE).isoformat()} for n in range(WRITERS)]

    answers = await asked(customers, "POST", ["/bookings"] * WRITERS, wanted)

    assert codes(answers) == {"201": 1, "slot-taken": WRITERS - 1}
    assert console.execute(OVERSOLD).fetchall() == []


async def test_a_request_sent_20_times_at_once_with_one_key_books_once_and_is_answered_alike(
    customers: list[Person], console: Console
) -> None:
    new_resource(console, 3)
    wanted = {"service_id": 1, "start_time": TEN.isoformat()}
    tom = customers[0]

    answers = await asyncio.gather(
        *(tom.request("POST", "/bookings", json=wanted, headers={"Idempotency-Key": "tom-1"}) for _ in range(20))
    )

    alike = {
        (answer.status_code, answer.headers["location"], answer.headers["etag"], answer.text) for answer in answers
    }
    assert len(alike) == 1
    assert answers[0].status_code == 201
    assert Counter(answer.headers.get("idempotency-replayed") for answer in answers) == {None: 1, "true": 19}
    assert sold(console) == [1]


# Many rows, many resources, many statements.


def one_of_many_statements(chance: random.Random, rooms: list[int]) -> tuple[str, dict[str, Any]]:
    """Make a statement that one impatient person after another might run."""
    start = TEN + chance.randrange(24) * 15 * MINUTE
    values = visit(
        chance.choice(rooms), start, user=chance.randint(1, 64), lasts=chance.choice([15, 45, 60, 90]) * MINUTE
    ) | {
        "id": chance.randint(1, 120),
        "to": chance.choice(["pending", "confirmed", "completed", "cancelled", "no_show"]),
    }
    statements = [
        INSERT,
        INSERT,
        MOVE,
        MOVE.replace("SET ", "SET resource_id = %(resource)s, "),
        "UPDATE bookings SET resource_id = %(resource)s WHERE id = %(id)s",
        "UPDATE bookings SET status = 'cancelled' WHERE id = %(id)s",
        "UPDATE bookings SET status = %(to)s WHERE id = %(id)s",
        "DELETE FROM bookings WHERE id = %(id)s",
    ]
    return chance.choice(statements), values


def test_a_storm_of_writers_leaves_nothing_overlapping_and_no_deadlock(consoles: list[Console]) -> None:
    rooms = [new_resource(consoles[0], capacity) for capacity in (1, 1, 2, 3)]

    def keep_writing(console: Console, seed: int) -> Counter[str]:
        chance = random.Random(seed)
        return Counter(tried(console, *one_of_many_statements(chance, rooms)) for _ in range(40))

    counted = at_once([partial(keep_writing, console, seed) for seed, console in enumerate(consoles[:32])])

    outcomes = sum(counted, Counter())
    assert outcomes.keys() == {"done", "23P01"}
    assert consoles[0].execute(OVERLAPPING).fetchall() == []
    assert consoles[0].execute(OVERSOLD).fetchall() == []


def meanwhile(console: Console, watcher: Console, act: Callable[[], T]) -> Callable[[], T]:
    """Start this and come back when its console waits for somebody; what is given waits for the result."""
    thread = ThreadPoolExecutor(1)
    result = thread.submit(act)
    waiting = "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = %s"
    while not result.done() and not watcher.execute(waiting, [console.info.backend_pid]).fetchall()[0][0]:
        time.sleep(0.005)
    thread.shutdown(wait=False)
    return result.result


def test_two_who_move_into_each_others_place_are_refused_rather_than_deadlocked(three: list[Console]) -> None:
    mine, yours, watcher = three
    rooms = [new_resource(watcher, 1), new_resource(watcher, 1)]
    numbers = [book(watcher, room, TEN) for room in rooms]
    for console in (mine, yours):
        console.execute("BEGIN; SET CONSTRAINTS booking_slot_free DEFERRED")
    to = "UPDATE bookings SET resource_id = %s WHERE id = %s"

    first = tried(mine, to, [rooms[1], numbers[0]])
    theirs = meanwhile(yours, watcher, lambda: [tried(yours, to, [rooms[0], numbers[1]]), tried(yours, "COMMIT")])
    last = tried(mine, "COMMIT")

    assert [first, last] == ["done", "23P01"]
    assert theirs() == ["done", "23P01"]


def test_who_moves_to_a_room_of_two_leaves_the_other_place_to_who_comes_meanwhile(three: list[Console]) -> None:
    mine, yours, watcher = three
    here, there = new_resource(watcher, 1), new_resource(watcher, 2)
    booked = book(watcher, here, TEN)
    mine.execute("BEGIN")

    first = tried(mine, "UPDATE bookings SET resource_id = %s WHERE id = %s", [there, booked])
    theirs = meanwhile(yours, watcher, lambda: tried(yours, INSERT, visit(there, TEN)))
    last = tried(mine, "COMMIT")

    assert [first, last, theirs()] == ["done", "done", "done"]
    assert sold(watcher) == [1, 2]


def anywhere(rooms: Sequence[int], start: datetime) -> dict[str, Any]:
    return {"rooms": list(rooms), "start": start, "end": start + HOUR}


def test_who_takes_any_room_keeps_nobody_from_the_others(three: list[Console]) -> None:
    mine, yours, watcher = three
    rooms = [new_resource(watcher, 1) for _ in range(3)]
    mine.execute("BEGIN")

    first = tried(mine, ANYWHERE, anywhere(rooms, TEN))
    yours.execute("SET lock_timeout = '5s'")
    theirs = [tried(yours, INSERT, visit(room, TEN)) for room in rooms[1:]]
    last = meanwhile(yours, watcher, lambda: tried(yours, ANYWHERE, anywhere(rooms, TEN)))
    tried(mine, "ROLLBACK")

    assert [first, *theirs, last()] == ["done"] * 4
    assert watcher.execute("SELECT resource_id FROM bookings ORDER BY 1").fetchall() == [(room,) for room in rooms]


@pytest.mark.parametrize("order", ["by number", "any"])
def test_whatever_the_order_of_rooms_all_places_are_sold_and_nobody_is_deadlocked(
    consoles: list[Console], order: str
) -> None:
    rooms = [new_resource(consoles[0], capacity) for capacity in (1, 2, 3, 4)]
    chance = random.Random(order)
    asked = [rooms if order == "by number" else chance.sample(rooms, 4) for _ in consoles]
    starts = [TEN + n % 3 * HOUR / 2 for n in range(WRITERS)]

    outcomes = race(consoles, ANYWHERE, [anywhere(*one) for one in zip(asked, starts, strict=True)])

    assert outcomes.keys() == {"done", "23P01"}
    assert outcomes["done"] >= 10
    assert consoles[0].execute(OVERSOLD).fetchall() == []
    assert consoles[0].execute(OVERLAPPING).fetchall() == []


@pytest.mark.parametrize("free", ["UPDATE bookings SET status = 'cancelled'", "DELETE FROM bookings"])
def test_who_frees_a_slot_and_takes_it_again_meets_no_deadlock(three: list[Console], free: str) -> None:
    mine, yours, watcher = three
    room = new_resource(watcher, 1)
    book(watcher, room, TEN)
    mine.execute("BEGIN")

    first = tried(mine, free)
    theirs = meanwhile(yours, watcher, lambda: tried(yours, INSERT, visit(room, TEN)))
    last = [tried(mine, INSERT, visit(room, TEN)), tried(mine, "COMMIT")]

    assert [first, *last] == ["done", "done", "done"]
    assert theirs() == "23P01"


@pytest.mark.parametrize("change", ["status = 'confirmed'", "user_id = 2"])
def test_who_changes_a_booking_while_another_wants_its_slot_meets_no_deadlock(
    three: list[Console], change: LiteralString
) -> None:
    mine, yours, watcher = three
    room = new_resource(watcher, 1)
    booked = book(watcher, room, TEN)
    mine.execute("BEGIN; SET CONSTRAINTS booking_slot_free DEFERRED")

    first = tried(mine, INSERT, visit(room, TEN))
    theirs = meanwhile(yours, watcher, lambda: tried(yours, f"UPDATE bookings SET {change} WHERE id = %s", [booked]))
    last = tried(mine, "COMMIT")

    assert [first, last] == ["done", "23P01"]
    assert theirs() == "done"


def test_a_writer_killed_half_way_leaves_the_slot_free(three: list[Console], database_url: str) -> None:
    _, yours, watcher = three
    room = new_resource(watcher, 1)
    mine = psycopg.connect(database_url)
    book(mine, room, TEN)
    theirs = meanwhile(yours, watcher, lambda: tried(yours, INSERT, visit(room, TEN, user=2)))

    watcher.execute("SELECT pg_terminate_backend(%s)", [mine.info.backend_pid])

    assert theirs() == "done"
    assert tried(mine, "COMMIT") == "57P01"
    assert watcher.execute("SELECT user_id FROM bookings").fetchall() == [(2,)]


# One statement for many bookings.


def test_a_whole_day_of_visits_moves_by_15_minutes_in_one_statement(console: Console) -> None:
    room = new_resource(console, 1)
    starts = [TEN + n * HOUR for n in range(24)]
    for start in starts:
        book(console, room, start)

    console.execute(SHIFT)

    after = console.execute(
        "SELECT start_time, end_time, blocks_from, blocks_until FROM bookings ORDER BY id"
    ).fetchall()
    moved = [start + 15 * MINUTE for start in starts]
    assert after == [(start, start + HOUR, start, start + HOUR) for start in moved]


def test_staggered_visits_on_several_places_move_in_one_statement(console: Console) -> None:
    room = new_resource(console, 2)
    starts = [TEN, TEN + HOUR, TEN - HOUR]
    for start in starts:
        book(console, room, start)
    book(console, room, TEN - HOUR, lasts=70 * MINUTE)

    outcome = tried(console, SHIFT)

    assert outcome == "done"
    assert console.execute(OVERSOLD).fetchall() == []


def test_two_bookings_swap_their_times_in_one_statement(console: Console) -> None:
    room = new_resource(console, 1)
    early, late = book(console, room, TEN), book(console, room, TEN + HOUR)

    console.execute(
        """
        UPDATE bookings b SET start_time = o.start_time, end_time = o.end_time,
                              blocks_from = o.blocks_from, blocks_until = o.blocks_until
          FROM bookings o WHERE o.id <> b.id
        """
    )

    swapped = console.execute("SELECT id, start_time FROM bookings ORDER BY id").fetchall()
    assert swapped == [(early, TEN + HOUR), (late, TEN)]


# What a place is, and what takes it.


def test_a_place_beyond_the_capacity_cannot_be_asked_for(console: Console) -> None:
    room = new_resource(console, 1)
    book(console, room, TEN)

    outcome = tried(
        console, INSERT.replace("(user_id", "(seat, user_id").replace("VALUES (", "VALUES (2, "), visit(room, TEN)
    )

    assert outcome == "23P01"
    assert sold(console) == [1]


def test_a_cancelled_booking_does_not_revive_on_a_place_that_is_no_more(console: Console) -> None:
    room = new_resource(console, 2)
    book(console, room, TEN)
    second = book(console, room, TEN)
    console.execute("UPDATE bookings SET status = 'cancelled' WHERE id = %s", [second])
    console.execute("UPDATE resources SET capacity = 1")

    outcome = tried(console, "UPDATE bookings SET status = 'pending' WHERE id = %s", [second])

    assert outcome == "23P01"
    assert sold(console) == [1]


def test_a_booking_does_not_move_on_a_place_that_is_no_more(console: Console) -> None:
    room = new_resource(console, 2)
    for start in (TEN, TEN + HOUR):
        book(console, room, start)
    extra = book(console, room, TEN)
    console.execute("UPDATE resources SET capacity = 1")

    outcome = tried(console, MOVE, {"id": extra, **visit(room, TEN + HOUR)})

    assert outcome == "23P01"


@pytest.mark.parametrize(
    ("start", "status"),
    [
        (TEN - 85 * MINUTE, 201),  # Its cleanup is over as the setup of the visit at ten begins.
        (TEN - 84 * MINUTE, 409),
        (TEN, 409),
        (TEN + 84 * MINUTE, 409),
        (TEN + 85 * MINUTE, 201),  # Its setup begins as the cleanup after the visit at ten is over.
    ],
)
async def test_setup_and_cleanup_keep_the_neighbours_away(
    customers: list[Person], console: Console, start: datetime, status: int
) -> None:
    console.execute("UPDATE services SET setup_minutes = 15, cleanup_minutes = 10")
    new_resource(console, 1)
    tom, eve = customers[:2]
    await tom.request("POST", "/bookings", json={"service_id": 1, "start_time": TEN.isoformat()})

    answer = await eve.request("POST", "/bookings", json={"service_id": 1, "start_time": start.isoformat()})

    assert answer.status_code == status


@pytest.mark.parametrize(
    ("status", "outcome"),
    [("pending", "23P01"), ("confirmed", "23P01"), ("completed", "done"), ("cancelled", "done"), ("no_show", "done")],
)
def test_only_a_pending_or_confirmed_booking_keeps_others_away(console: Console, status: str, outcome: str) -> None:
    room = new_resource(console, 1)
    book(console, room, TEN, status=status)

    assert tried(console, INSERT, visit(room, TEN)) == outcome
