"""Which seat a booking takes, and what a statement that moves many bookings may do."""

from datetime import datetime

import pytest

from tests.support.people import Person
from tests.support.races import (
    HOUR,
    INSERT,
    MINUTE,
    MOVE,
    OVERSOLD,
    SHIFT,
    TEN,
    Console,
    book,
    new_resource,
    outcome_of,
    seats_sold,
    visit,
)

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


def test_staggered_visits_on_several_seats_move_in_one_statement(console: Console) -> None:
    room = new_resource(console, 2)
    starts = [TEN, TEN + HOUR, TEN - HOUR]
    for start in starts:
        book(console, room, start)
    book(console, room, TEN - HOUR, lasts=70 * MINUTE, user=2)

    outcome = outcome_of(console, SHIFT)

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


# What a seat is, and what takes it.


def test_a_booking_does_not_reopen_on_a_removed_seat(console: Console) -> None:
    room = new_resource(console, 2)
    book(console, room, TEN)
    second = book(console, room, TEN, user=2)
    console.execute("UPDATE bookings SET status = 'cancelled' WHERE id = %s", [second])
    console.execute("UPDATE resources SET capacity = 1")

    outcome = outcome_of(console, "UPDATE bookings SET status = 'pending' WHERE id = %s", [second])

    assert outcome == "23P01"
    assert seats_sold(console) == [1]


def test_a_booking_does_not_move_on_a_removed_seat(console: Console) -> None:
    room = new_resource(console, 2)
    for start in (TEN, TEN + HOUR):
        book(console, room, start)
    extra = book(console, room, TEN, user=2)
    console.execute("UPDATE resources SET capacity = 1")

    outcome = outcome_of(console, MOVE, {"id": extra, **visit(room, TEN + HOUR)})

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
async def test_setup_and_cleanup_block_adjacent_bookings(
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
def test_only_pending_and_confirmed_bookings_block(console: Console, status: str, outcome: str) -> None:
    room = new_resource(console, 1)
    book(console, room, TEN, status=status)

    assert outcome_of(console, INSERT, visit(room, TEN)) == outcome
