"""Sixty-four consoles write at one moment: no seat is sold twice, and no deadlock reaches anyone."""

import random
from collections import Counter
from functools import partial
from typing import Any

import pytest

from tests.support.races import (
    ANYWHERE,
    BOOKED_TWICE,
    BOTH_CAPACITIES,
    HOUR,
    INSERT,
    MINUTE,
    MOVE,
    OVERLAPPING,
    OVERSOLD,
    TEN,
    WRITERS,
    Console,
    anywhere,
    book,
    new_resource,
    outcome_of,
    race,
    run_at_once,
    seats_sold,
    visit,
)

pytestmark = pytest.mark.race


@BOTH_CAPACITIES
def test_64_inserts_into_one_slot_fill_exactly_its_seats(consoles: list[Console], capacity: int) -> None:
    room = new_resource(consoles[0], capacity)

    outcomes = race(consoles, INSERT, [visit(room, TEN, user=n) for n in range(1, WRITERS + 1)])

    assert outcomes == {"done": capacity, "23P01": WRITERS - capacity}
    assert seats_sold(consoles[0]) == list(range(1, capacity + 1))


@BOTH_CAPACITIES
def test_64_moves_into_one_slot_fill_exactly_its_seats(consoles: list[Console], capacity: int) -> None:
    room = new_resource(consoles[0], capacity)
    numbers = [book(consoles[0], room, TEN + n * HOUR, user=n) for n in range(1, WRITERS + 1)]

    outcomes = race(consoles, MOVE, [{"id": number, **visit(room, TEN)} for number in numbers])

    assert outcomes == {"done": capacity, "23P01": WRITERS - capacity}
    assert seats_sold(consoles[0]) == list(range(1, capacity + 1))


@BOTH_CAPACITIES
def test_64_reopened_bookings_fill_exactly_the_seats(consoles: list[Console], capacity: int) -> None:
    room = new_resource(consoles[0], capacity)
    numbers = [book(consoles[0], room, TEN, status="cancelled", user=n) for n in range(1, WRITERS + 1)]

    outcomes = race(
        consoles,
        "UPDATE bookings SET status = %s WHERE id = %s",
        [(("pending", "confirmed")[number % 2], number) for number in numbers],
    )

    assert outcomes == {"done": capacity, "23P01": WRITERS - capacity}
    assert seats_sold(consoles[0]) == list(range(1, capacity + 1))


@BOTH_CAPACITIES
def test_overlapping_visits_with_different_starts_race_alike(consoles: list[Console], capacity: int) -> None:
    room = new_resource(consoles[0], capacity)

    visits = [visit(room, TEN + n * MINUTE, lasts=2 * HOUR, user=n + 1) for n in range(WRITERS)]

    outcomes = race(consoles, INSERT, visits)

    assert outcomes == {"done": capacity, "23P01": WRITERS - capacity}
    assert consoles[0].execute(OVERSOLD).fetchall() == []


def one_of_many_statements(chance: random.Random, rooms: list[int], customer_count: int) -> tuple[str, dict[str, Any]]:
    """Return a random statement of an impatient user."""
    start = TEN + chance.randrange(24) * 15 * MINUTE
    values = visit(
        chance.choice(rooms),
        start,
        user=chance.randint(1, customer_count),
        lasts=chance.choice([15, 45, 60, 90]) * MINUTE,
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


@pytest.mark.parametrize("customer_count", [3, WRITERS])
def test_random_writers_cause_no_overlap_and_no_deadlock(consoles: list[Console], customer_count: int) -> None:
    rooms = [new_resource(consoles[0], capacity) for capacity in (1, 1, 2, 3)]

    def keep_writing(console: Console, seed: int) -> Counter[str]:
        chance = random.Random(seed)
        return Counter(outcome_of(console, *one_of_many_statements(chance, rooms, customer_count)) for _ in range(40))

    counted = run_at_once([partial(keep_writing, console, seed) for seed, console in enumerate(consoles[:32])])

    outcomes = sum(counted, Counter())
    assert outcomes.keys() == {"done", "23P01"}
    assert consoles[0].execute(OVERLAPPING).fetchall() == []
    assert consoles[0].execute(OVERSOLD).fetchall() == []
    assert consoles[0].execute(BOOKED_TWICE).fetchall() == []


def test_64_consoles_book_one_customer_once_in_64_rooms(consoles: list[Console]) -> None:
    rooms = [new_resource(consoles[0], 1) for _ in consoles]

    outcomes = race(consoles, INSERT, [visit(room, TEN + n % 3 * MINUTE) for n, room in enumerate(rooms)])

    assert outcomes == {"done": 1, "23P01": WRITERS - 1}


def test_64_moves_take_one_customer_to_one_time_once(consoles: list[Console]) -> None:
    rooms = [new_resource(consoles[0], 1) for _ in consoles]
    numbers = [book(consoles[0], room, TEN + n * HOUR) for n, room in enumerate(rooms, start=1)]
    moves = [{"id": number, **visit(room, TEN)} for number, room in zip(numbers, rooms, strict=True)]

    outcomes = race(consoles, MOVE, moves)

    assert outcomes == {"done": 1, "23P01": WRITERS - 1}


@pytest.mark.parametrize("order", ["by number", "any"])
def test_any_order_of_rooms_sells_all_seats_without_deadlock(consoles: list[Console], order: str) -> None:
    rooms = [new_resource(consoles[0], capacity) for capacity in (1, 2, 3, 4)]
    chance = random.Random(order)
    orders = [rooms if order == "by number" else chance.sample(rooms, 4) for _ in consoles]
    starts = [TEN + n % 3 * HOUR / 2 for n in range(WRITERS)]

    visits = [anywhere(*one, user=n) for n, one in enumerate(zip(orders, starts, strict=True), start=1)]

    outcomes = race(consoles, ANYWHERE, visits)

    assert outcomes.keys() == {"done", "23P01"}
    assert outcomes["done"] >= 10
    assert consoles[0].execute(OVERSOLD).fetchall() == []
    assert consoles[0].execute(OVERLAPPING).fetchall() == []
