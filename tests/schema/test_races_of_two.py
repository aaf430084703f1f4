"""Two writers, step by step: one waits for the other, and neither meets a deadlock."""

from typing import LiteralString

import psycopg
import pytest

from tests.support.races import (
    ANYWHERE,
    INSERT,
    TEN,
    Console,
    anywhere,
    book,
    new_resource,
    outcome_of,
    seats_sold,
    start_blocked,
    visit,
)

pytestmark = pytest.mark.race


def test_moves_into_each_others_seat_are_refused_without_deadlock(two_writers: list[Console]) -> None:
    mine, yours, watcher = two_writers
    rooms = [new_resource(watcher, 1), new_resource(watcher, 1)]
    numbers = [book(watcher, room, TEN, user=user) for user, room in enumerate(rooms, start=1)]
    for console in (mine, yours):
        console.execute("BEGIN; SET CONSTRAINTS booking_slot_free DEFERRED")
    to = "UPDATE bookings SET resource_id = %s WHERE id = %s"

    first = outcome_of(mine, to, [rooms[1], numbers[0]])
    theirs = start_blocked(
        yours, watcher, lambda: [outcome_of(yours, to, [rooms[0], numbers[1]]), outcome_of(yours, "COMMIT")]
    )
    last = outcome_of(mine, "COMMIT")

    assert [first, last] == ["done", "23P01"]
    assert theirs() == ["done", "23P01"]


def test_a_move_leaves_the_second_seat_to_a_concurrent_booking(two_writers: list[Console]) -> None:
    mine, yours, watcher = two_writers
    here, there = new_resource(watcher, 1), new_resource(watcher, 2)
    booked = book(watcher, here, TEN)
    mine.execute("BEGIN")

    first = outcome_of(mine, "UPDATE bookings SET resource_id = %s WHERE id = %s", [there, booked])
    theirs = start_blocked(yours, watcher, lambda: outcome_of(yours, INSERT, visit(there, TEN, user=2)))
    last = outcome_of(mine, "COMMIT")

    assert [first, last, theirs()] == ["done", "done", "done"]
    assert seats_sold(watcher) == [1, 2]


def test_booking_any_room_does_not_block_the_others(two_writers: list[Console]) -> None:
    mine, yours, watcher = two_writers
    rooms = [new_resource(watcher, 1) for _ in range(3)]
    mine.execute("BEGIN")

    first = outcome_of(mine, ANYWHERE, anywhere(rooms, TEN))
    yours.execute("SET lock_timeout = '5s'")
    theirs = [outcome_of(yours, INSERT, visit(room, TEN, user=room)) for room in rooms[1:]]
    last = start_blocked(yours, watcher, lambda: outcome_of(yours, ANYWHERE, anywhere(rooms, TEN, user=4)))
    outcome_of(mine, "ROLLBACK")

    assert [first, *theirs, last()] == ["done"] * 4
    assert watcher.execute("SELECT resource_id FROM bookings ORDER BY 1").fetchall() == [(room,) for room in rooms]


@pytest.mark.parametrize("free", ["UPDATE bookings SET status = 'cancelled'", "DELETE FROM bookings"])
def test_freeing_and_retaking_a_slot_meets_no_deadlock(two_writers: list[Console], free: str) -> None:
    mine, yours, watcher = two_writers
    room = new_resource(watcher, 1)
    book(watcher, room, TEN)
    mine.execute("BEGIN")

    first = outcome_of(mine, free)
    theirs = start_blocked(yours, watcher, lambda: outcome_of(yours, INSERT, visit(room, TEN)))
    last = [outcome_of(mine, INSERT, visit(room, TEN)), outcome_of(mine, "COMMIT")]

    assert [first, *last] == ["done", "done", "done"]
    assert theirs() == "23P01"


@pytest.mark.parametrize("change", ["status = 'confirmed'", "user_id = 2"])
def test_changing_a_contended_booking_meets_no_deadlock(two_writers: list[Console], change: LiteralString) -> None:
    mine, yours, watcher = two_writers
    room = new_resource(watcher, 1)
    booked = book(watcher, room, TEN)
    mine.execute("BEGIN; SET CONSTRAINTS booking_slot_free DEFERRED")

    first = outcome_of(mine, INSERT, visit(room, TEN, user=3))
    theirs = start_blocked(
        yours, watcher, lambda: outcome_of(yours, f"UPDATE bookings SET {change} WHERE id = %s", [booked])
    )
    last = outcome_of(mine, "COMMIT")

    assert [first, last] == ["done", "23P01"]
    assert theirs() == "done"


def test_a_killed_writer_leaves_the_slot_free(two_writers: list[Console], database_url: str) -> None:
    _, yours, watcher = two_writers
    room = new_resource(watcher, 1)
    mine = psycopg.connect(database_url)
    book(mine, room, TEN)
    theirs = start_blocked(yours, watcher, lambda: outcome_of(yours, INSERT, visit(room, TEN, user=2)))

    watcher.execute("SELECT pg_terminate_backend(%s)", [mine.info.backend_pid])

    assert theirs() == "done"
    assert outcome_of(mine, "COMMIT") == "57P01"
    assert watcher.execute("SELECT user_id FROM bookings").fetchall() == [(2,)]
