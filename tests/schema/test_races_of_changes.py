"""Sixty-four consoles book while a capacity is lowered or an expired hold comes back: exactly what fits wins.

A lowered capacity waits for the bookings that are being written, and those that follow see it. So whoever lowers it
sees all that is sold before, and nothing is sold afterwards that does not fit.
"""

import asyncio
import time
from collections import Counter
from datetime import timedelta
from functools import partial

import pytest

from bookit import records
from bookit import refusals as no
from bookit.db.pool import Database
from bookit.policy.permissions import Actor
from bookit.schema.tables import Resource, Role
from tests.support.clock import NOW
from tests.support.races import (
    EXPIRED,
    ROLES,
    TAKE,
    TEN,
    WRITERS,
    Console,
    any_order,
    new_resource,
    open_rooms,
    outcome_of,
    run_at_once,
    start_blocked,
    take,
    take_now,
    wait_until_blocked,
    wrong_claims,
)

pytestmark = pytest.mark.race

LOWER = "UPDATE resources SET capacity = %s"
CONFIRM = "UPDATE bookings SET status = 'confirmed', expires_at = NULL WHERE id = %s"
ACCEPT = "UPDATE bookings SET expires_at = NULL WHERE id = %s"
REOPEN = "UPDATE bookings SET status = 'pending', expires_at = NULL WHERE id = %s"
SOLD = "SELECT count(*) FROM bookings WHERE blocks_at(status, expires_at, now())"
ADMIN = Actor("worker", 1, Role.ADMIN)
IN_TIME = TEN + timedelta(days=36500)


def count_sold(console: Console) -> int:
    return int(console.execute(SOLD).fetchall()[0][0])


def expired_holds(console: Console, rooms: list[int], count: int, capacity: int) -> list[int]:
    """Add expired holds of the same resources, more than these have seats by now."""
    console.execute(LOWER, [count])
    holds = [take_now(console, rooms, user=n, expires=IN_TIME) for n in range(1, count + 1)]
    console.execute("UPDATE bookings SET expires_at = %s", [EXPIRED])
    console.execute(LOWER, [capacity])
    return holds


# Capacity.


@ROLES
@pytest.mark.parametrize("after", [1, 40])
def test_a_capacity_that_is_lowered_meanwhile_is_never_oversold(
    consoles: list[Console], roles: int, after: int
) -> None:
    rooms = open_rooms(consoles[0], roles, 50)

    def write(number: int) -> str:
        console = consoles[number]
        if number > 0:
            return outcome_of(console, TAKE, take(any_order(rooms, number), user=1 + number))
        while not count_sold(console):
            time.sleep(0.001)
        console.execute("BEGIN")
        console.execute(LOWER, [after])
        sold_before.append(count_sold(console))
        time.sleep(0.05)
        return outcome_of(console, "COMMIT")

    sold_before: list[int] = []
    lowered, *outcomes = run_at_once([partial(write, number) for number in range(WRITERS)])

    fits = max(after, *sold_before)
    assert lowered == "done"
    assert Counter(outcomes) == Counter({"done": fits, "23P01": WRITERS - 1 - fits})
    assert count_sold(consoles[0]) == fits


@ROLES
def test_every_capacity_sinks_and_rises_without_a_deadlock(consoles: list[Console], roles: int) -> None:
    rooms = [*open_rooms(consoles[0], roles, 3), *(new_resource(consoles[0], 3, 1, 2) for _ in range(3))]

    def write(number: int) -> Counter[str]:
        console, met = consoles[number], Counter[str]()
        for turn in range(6):
            if number == 0:
                met[outcome_of(console, LOWER, [1 + turn % 3])] += 1
            elif number < 4:
                capacity, room = 1 + (turn + number) % 3, rooms[(turn * number) % len(rooms)]
                met[outcome_of(console, f"{LOWER} WHERE id = %s", [capacity, room])] += 1
            elif turn % 2:
                met[outcome_of(console, "DELETE FROM bookings WHERE user_id = %s", [1 + number])] += 1
            else:
                met[outcome_of(console, TAKE, take(any_order(rooms, number + turn)[:roles], user=1 + number))] += 1
        return met

    outcomes = sum(run_at_once([partial(write, number) for number in range(WRITERS)]), Counter[str]())

    assert outcomes.keys() <= {"done", "23P01"}
    assert outcomes["done"] > 6 * 32


@pytest.mark.parametrize("lowered", [0, 1])
def test_a_visit_waits_for_a_capacity_that_is_being_lowered(two_writers: list[Console], lowered: int) -> None:
    mine, yours, watcher = two_writers
    rooms = open_rooms(watcher, 2, 2)
    take_now(watcher, rooms)
    mine.execute("BEGIN")
    mine.execute(f"{LOWER} WHERE id = %s", [1, rooms[lowered]])

    theirs = start_blocked(yours, watcher, lambda: outcome_of(yours, TAKE, take(rooms, user=2)))
    mine.execute("COMMIT")

    assert theirs() == "23P01"
    assert wrong_claims(watcher) == []


@pytest.mark.parametrize("standing", [0, 1])
@pytest.mark.parametrize("lowered", [0, 1])
async def test_a_door_lowers_a_capacity_and_names_the_visit_that_is_just_booked(
    two_writers: list[Console], database: Database, lowered: int, standing: int
) -> None:
    mine, _, watcher = two_writers
    rooms = open_rooms(watcher, 2, 2)
    for user in range(standing):
        take_now(watcher, rooms, user=1 + user)
    mine.execute("BEGIN")
    mine.execute("SELECT pg_advisory_xact_lock(id) FROM unnest(%s::bigint[]) AS id", [rooms])

    async def lower() -> None:
        async with database.transaction(by=ADMIN, now=NOW) as session:
            room = await records.lock(session, Resource, rooms[lowered])
            await records.change(session, room, by=ADMIN, now=NOW, capacity=1, accepts_stranded=False)

    lowering = asyncio.create_task(lower())
    await asyncio.to_thread(wait_until_blocked, watcher, lowering.done)
    booked = [
        await asyncio.to_thread(outcome_of, mine, TAKE, take(rooms, user=3 + user)) for user in range(2 - standing)
    ]
    mine.execute("COMMIT")

    assert set(booked) == {"done"}
    with pytest.raises(no.StrandsVisits):
        await lowering


# Expired holds.


@ROLES
@pytest.mark.parametrize(("revive", "capacity"), [(CONFIRM, 1), (ACCEPT, 3)], ids=["confirmed", "accepted"])
def test_expired_holds_come_back_only_where_a_seat_is_free(
    consoles: list[Console], roles: int, revive: str, capacity: int
) -> None:
    rooms = open_rooms(consoles[0], roles, capacity)
    holds = expired_holds(consoles[0], rooms, WRITERS // 2, capacity)

    def write(number: int) -> str:
        if number < len(holds):
            return outcome_of(consoles[number], revive, [holds[number]])
        return outcome_of(consoles[number], TAKE, take(any_order(rooms, number), user=1 + number))

    outcomes = Counter(run_at_once([partial(write, number) for number in range(WRITERS)]))

    consoles[0].execute("UPDATE bookings SET status = 'cancelled' WHERE status = 'pending' AND expires_at < now()")
    assert count_sold(consoles[0]) == capacity
    if revive == CONFIRM:  # else a hold that was cancelled meanwhile is changed without coming back
        assert outcomes["done"] == capacity
    # 40001 asks the writer of an expired hold to try again; a door does.
    assert outcomes.keys() <= {"done", "23P01", "40001"}
    assert wrong_claims(consoles[0]) == []


@ROLES
def test_cancelled_holds_reopen_while_others_book_their_time(consoles: list[Console], roles: int) -> None:
    rooms = open_rooms(consoles[0], roles, 3)
    holds = expired_holds(consoles[0], rooms, WRITERS // 2, 3)
    consoles[0].execute("UPDATE bookings SET status = 'cancelled'")

    def write(number: int) -> str:
        if number < len(holds):
            return outcome_of(consoles[number], REOPEN, [holds[number]])
        return outcome_of(consoles[number], TAKE, take(any_order(rooms, number), user=1 + number))

    outcomes = Counter(run_at_once([partial(write, number) for number in range(WRITERS)]))

    assert outcomes["done"] == 3
    assert outcomes.keys() <= {"done", "23P01", "40001"}
    assert wrong_claims(consoles[0]) == []


@ROLES
def test_one_hold_comes_back_or_one_of_64_gets_its_time(consoles: list[Console], roles: int) -> None:
    rooms = open_rooms(consoles[0], roles, 1)
    [hold] = expired_holds(consoles[0], rooms, 1, 1)

    def write(number: int) -> str:
        if number % 16 == 0:
            return outcome_of(consoles[number], CONFIRM, [hold])
        return outcome_of(consoles[number], TAKE, take(any_order(rooms, number), user=1 + number))

    outcomes = Counter(run_at_once([partial(write, number) for number in range(WRITERS)]))

    # If the hold comes back, all four who confirm it have done so, one after the other.
    assert outcomes["done"] in {1, 2, 3, 4}
    assert outcomes.keys() <= {"done", "23P01", "40001"}
    assert count_sold(consoles[0]) == 1
    assert wrong_claims(consoles[0]) == []
