"""A capacity that was lowered below what is sold: what stands stays; nothing is sold until there are seats again."""

from collections import Counter
from datetime import timedelta
from functools import partial

import psycopg
import pytest

from tests.support.races import (
    HOUR,
    INSERT,
    MOVE,
    OVERSOLD,
    SHIFT,
    TEN,
    WRITERS,
    Console,
    book,
    new_resource,
    outcome_of,
    run_at_once,
    visit,
)

SET_SEATS = "UPDATE resources SET capacity = %s WHERE id = %s"
CANCEL = "UPDATE bookings SET status = 'cancelled' WHERE id = ANY (%s)"
AT_ONCE = "SELECT count(*) FROM bookings WHERE status IN ('pending', 'confirmed')"


def oversell(console: Console, sold: int, seats: int) -> tuple[int, list[int]]:
    """Sell these places of a room, and then lower its capacity. Return its id, and the bookings."""
    room = new_resource(console, sold)
    bookings = [book(console, room, TEN, user=n) for n in range(1, sold + 1)]
    console.execute(SET_SEATS, [seats, room])
    return room, bookings


def test_64_writers_do_not_oversell_a_lowered_capacity(consoles: list[Console]) -> None:
    room, bookings = oversell(consoles[0], 5, 3)

    def write(number: int) -> Counter[str]:
        console, customer = consoles[number], 1 + number
        if number < len(bookings):
            return Counter([outcome_of(console, CANCEL, [[bookings[number]]])])
        moved = book(console, room, TEN + (2 + number) * HOUR, user=customer)
        steps = [(INSERT, visit(room, TEN, user=customer)), (MOVE, {"id": moved, **visit(room, TEN)})]
        return Counter(outcome_of(console, statement, values) for statement, values in steps[number % 2 :])

    outcomes = sum(run_at_once([partial(write, number) for number in range(WRITERS)]), Counter[str]())

    assert outcomes.keys() == {"done", "23P01"}
    assert consoles[0].execute(OVERSOLD).fetchall() == []
    assert consoles[0].execute(f"{AT_ONCE} AND start_time = %s", [TEN]).fetchall() == [(3,)]


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        ("status = 'confirmed'", "done"),
        ("price = 1", "done"),
        ("end_time = end_time - interval '15 min', blocks_until = blocks_until - interval '15 min'", "done"),
        ("end_time = end_time + interval '15 min', blocks_until = blocks_until + interval '15 min'", "23P01"),
        ("start_time = start_time + interval '15 min', blocks_from = blocks_from + interval '15 min'", "23P01"),
    ],
)
def test_what_stands_where_too_many_stand_may_change_and_become_shorter(
    console: Console, change: str, outcome: str
) -> None:
    _, bookings = oversell(console, 3, 1)

    outcomes = [outcome_of(console, f"UPDATE bookings SET {change} WHERE id = {booking}") for booking in bookings]

    assert outcomes == [outcome] * 3


def test_bookings_come_back_only_while_there_are_seats(console: Console) -> None:
    _, bookings = oversell(console, 3, 1)
    console.execute(CANCEL, [bookings])

    outcomes = [
        outcome_of(console, f"UPDATE bookings SET status = 'pending' WHERE id = {booking}")
        for booking in bookings[::-1]
    ]

    assert outcomes == ["done", "23P01", "23P01"]


def test_a_class_moves_as_a_whole_although_too_many_stand(console: Console) -> None:
    _, bookings = oversell(console, 3, 2)

    refused = outcome_of(console, SHIFT)
    console.execute(CANCEL, [bookings[:1]])
    moved = outcome_of(console, SHIFT)

    assert [refused, moved] == ["23P01", "done"]


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_a_transaction_that_cannot_count_does_not_book_a_seat_of_several(console: Console, level: str) -> None:
    several, single = new_resource(console, 2), new_resource(console, 1)
    console.execute(f"BEGIN ISOLATION LEVEL {level}".encode())

    one = outcome_of(console, INSERT, visit(single, TEN))
    with pytest.raises(psycopg.errors.FeatureNotSupported, match="READ COMMITTED"):
        console.execute(INSERT, visit(several, TEN + timedelta(days=1), user=2))
    console.execute("ROLLBACK")

    assert one == "done"
