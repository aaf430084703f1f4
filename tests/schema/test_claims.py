"""The claims of a booking follow it, whatever a console writes: none is parted from it, and none is missing."""

from typing import Any, LiteralString

import psycopg
import pytest

from tests.support.races import (
    EXPIRED,
    HOUR,
    MINUTE,
    TAKE,
    TEN,
    Console,
    add_need,
    new_resource,
    outcome_of,
    take,
    take_now,
    wrong_claims,
)

SPANS = """
    SELECT position, part, (since - start_time)::text, (until - start_time)::text
      FROM claims WHERE booking_id = %s AND since < until ORDER BY number
"""
LENGTH = "end_time = start_time + interval '{0} min', blocks_until = start_time + interval '{0} min'"
SWAP = """
    UPDATE bookings b SET resource_id = o.resource_id, other_resource_ids = o.other_resource_ids
      FROM bookings o WHERE o.id <> b.id
"""

# The late visit becomes one of two resources, and takes the time of the early one, which becomes one of one resource.
TRADE_TIMES = """
    UPDATE bookings b SET (start_time, end_time, blocks_from, blocks_until)
                        = (o.start_time, o.end_time, o.blocks_from, o.blocks_until), service_id = o.service_id,
                          other_resource_ids = CASE b.id WHEN %(late)s THEN ARRAY[%(other)s]::bigint[] ELSE '{}' END
      FROM bookings o WHERE o.id <> b.id
"""


def rows(console: Console, query: LiteralString, *values: object) -> list[tuple[object, ...]]:
    return console.execute(query, values).fetchall()


# Nobody writes claims by themselves.


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE claims SET seat = 2",
        "UPDATE claims SET start_time = start_time WHERE false",
        "DELETE FROM claims",
        "TRUNCATE claims",
        "TRUNCATE bookings CASCADE",
        "INSERT INTO claims (booking_id, number) SELECT booking_id, number + 1 FROM claims",
        "COPY claims (booking_id) FROM STDIN",
        "MERGE INTO claims c USING bookings b ON b.id = c.booking_id WHEN MATCHED THEN DELETE",
        "WITH moved AS (UPDATE bookings SET seats = 2 RETURNING id) DELETE FROM claims USING moved",
        "SELECT add_claim(c) FROM claims c",
        "SELECT add_claims(b) FROM bookings b",
        "SELECT shrink_party(b) FROM bookings b",
        "SELECT grow_party(b) FROM (SELECT * FROM bookings) AS b",
        "DO 'BEGIN DELETE FROM claims; END'",
        "UPDATE bookings SET id = id + 100",
        "UPDATE bookings SET id = id + 100, resource_id = 2",
        "MERGE INTO bookings b USING resources r ON true WHEN MATCHED AND r.id = 1 THEN UPDATE SET id = b.id + 100",
    ],
)
def test_no_statement_writes_claims_by_themselves(console: Console, statement: str) -> None:
    room = new_resource(console, 3)
    new_resource(console, 3)
    take_now(console, [room])
    before = rows(console, "SELECT * FROM claims")

    if statement.startswith("COPY"):
        with pytest.raises(psycopg.errors.CheckViolation), console.cursor().copy(statement) as copy:
            copy.write("1\n")
    else:
        outcome = outcome_of(console, statement)
        # A function that finds nothing to add or remove is no write.
        assert outcome in ({"23514", "done"} if "party(" in statement else {"23514"})

    assert rows(console, "SELECT * FROM claims") == before
    assert wrong_claims(console) == []


@pytest.mark.parametrize("constraints", ["", "SET CONSTRAINTS ALL DEFERRED;"])
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE bookings SET (resource_id, other_resource_ids) = (2, '{1}'), seats = 2",
        (
            "UPDATE bookings SET start_time = start_time + '1 h', end_time = end_time + '1 h',"
            " blocks_until = blocks_until + '1 h', resource_id = 3"
        ),
        "UPDATE bookings SET other_resource_ids = '{3}', status = 'cancelled'",
        "MERGE INTO bookings USING resources r ON r.id = 3 WHEN MATCHED THEN UPDATE SET seats = 2",
        (
            "INSERT INTO bookings SELECT (b).* FROM (SELECT b FROM bookings b) AS b"
            " ON CONFLICT (id) DO UPDATE SET resource_id = 3, seats = 2"
        ),
        (
            "WITH one AS (UPDATE bookings SET resource_id = 3 WHERE id = 1 RETURNING 1)"
            " UPDATE bookings SET seats = 2 FROM one WHERE id = 2"
        ),
        "UPDATE bookings SET service_id = 2, other_resource_ids = '{}', seats = 2",
        "DELETE FROM bookings WHERE id = 1",
    ],
)
def test_claims_follow_whatever_is_written_to_bookings(console: Console, constraints: str, statement: str) -> None:
    rooms = [new_resource(console, 5, 1, 2) for _ in range(3)]
    add_need(console)
    for user in (1, 2):
        take_now(console, rooms[:2], user=user)
    statement = (
        statement.replace("(b).*", ", ".join(WRITTEN_COLUMNS))
        .replace("INTO bookings SELECT", f"INTO bookings ({', '.join(WRITTEN_COLUMNS)}) SELECT")
        .replace("(SELECT b FROM bookings b) AS b", "bookings")
    )

    outcome = outcome_of(console, f"BEGIN; {constraints} {statement}; COMMIT")
    console.execute("ROLLBACK")

    assert outcome == "done"
    assert wrong_claims(console) == []


WRITTEN_COLUMNS = (
    "id", "user_id", "service_id", "resource_id", "other_resource_ids", "start_time", "end_time", "blocks_from",
    "blocks_until", "price",
)  # fmt: skip


@pytest.mark.parametrize(
    "others", ["{}", "{2,3}", "{{2}}", "[0:0]={2}", "[2:2]={2}", "{NULL}", "{1}", "{{2},{3}}", "{999}"]
)
@pytest.mark.parametrize("how", ["insert", "update"])
def test_a_booking_fills_each_need_with_another_resource(console: Console, others: str, how: str) -> None:
    rooms = [new_resource(console, 3) for _ in range(3)]
    add_need(console)
    values = take(rooms[:2])
    if how == "insert":
        outcome = outcome_of(console, TAKE, values | {"others": others})
    else:
        take_now(console, rooms[:2])
        outcome = outcome_of(console, "UPDATE bookings SET other_resource_ids = %s::bigint[]", [others])

    assert outcome in {"23514", "23502", "23503", "2202E"}
    assert wrong_claims(console) == []


def test_a_gap_in_the_positions_of_needs_is_no_way_around_claims(console: Console) -> None:
    rooms = [new_resource(console, 3) for _ in range(3)]
    for _ in range(2):
        add_need(console)
    console.execute("DELETE FROM service_needs WHERE position = 2")

    outcomes = [outcome_of(console, TAKE, take(rooms[:number])) for number in (1, 2, 3)]

    assert outcomes == ["23514"] * 3


def test_a_booking_keeps_its_claims_when_the_needs_change(console: Console) -> None:
    room, chair = new_resource(console, 3), new_resource(console, 1)
    take_now(console, [room])
    add_need(console)

    moved = outcome_of(console, "UPDATE bookings SET start_time = start_time + '15 min', seats = 2")
    filled = outcome_of(console, "UPDATE bookings SET other_resource_ids = ARRAY[%s]::bigint[]", [chair])

    assert [moved, filled] == ["done", "done"]
    assert rows(console, "SELECT position FROM claims ORDER BY number") == [(1,), (1,), (2,)]
    assert wrong_claims(console) == []


# Parties.


@pytest.mark.parametrize("status", ["pending", "cancelled"])
def test_a_party_takes_all_its_seats_or_none(console: Console, status: str) -> None:
    room = new_resource(console, 3)
    party = take_now(console, [room], seats=2, status=status)

    outcomes = [
        outcome_of(console, "UPDATE bookings SET status = 'confirmed' WHERE id = %s", [party]),
        outcome_of(console, TAKE, take([room], seats=2, user=2)),
        outcome_of(console, TAKE, take([room], seats=1, user=2)),
        outcome_of(console, "UPDATE bookings SET seats = 3 WHERE id = %s", [party]),
        outcome_of(console, "UPDATE bookings SET seats = 1 WHERE id = %s", [party]),
        outcome_of(console, TAKE, take([room], seats=1, user=3)),
    ]

    assert outcomes == ["done", "23P01", "done", "23P01", "done", "done"]
    assert wrong_claims(console) == []


def test_one_statement_moves_seats_from_one_party_to_another(console: Console) -> None:
    room = new_resource(console, 4)
    for user, seats in ((1, 1), (2, 3)):
        take_now(console, [room], user=user, seats=seats)

    assert outcome_of(console, "UPDATE bookings SET seats = 4 - seats") == "done"
    assert rows(console, "SELECT seats FROM bookings ORDER BY id") == [(3,), (1,)]
    assert wrong_claims(console) == []


def test_one_statement_gives_a_resource_to_a_visit_as_another_leaves_it(console: Console) -> None:
    one, other = new_resource(console, 1, 1, 2), new_resource(console, 1, 1, 2)
    add_need(console)
    take_now(console, [one, other])
    late = take_now(console, [one], TEN + HOUR, service=2)

    outcome = outcome_of(console, TRADE_TIMES, {"late": late, "other": other})

    assert outcome == "done"
    assert wrong_claims(console) == []


@pytest.mark.parametrize("capacity", [1, 3])
@pytest.mark.parametrize("roles", [1, 2])
def test_two_visits_swap_their_resources_in_one_statement(console: Console, capacity: int, roles: int) -> None:
    rooms = [new_resource(console, capacity) for _ in range(4)]
    for _ in range(roles - 1):
        add_need(console)
    pairs = [rooms[:roles], rooms[2 : 2 + roles]]
    for user, pair in enumerate(pairs, start=1):
        take_now(console, pair, user=user, seats=capacity)

    assert outcome_of(console, SWAP) == "done"
    assert rows(console, "SELECT resource_id FROM bookings ORDER BY id") == [(pair[0],) for pair in pairs[::-1]]
    assert wrong_claims(console) == []


# Pauses.


def test_the_time_of_a_pause_is_somebody_elses(console: Console) -> None:
    room = new_resource(console, 1, 1, 2)
    console.execute("UPDATE services SET free_from_minutes = 20, free_until_minutes = 40 WHERE id = 1")
    take_now(console, [room])

    def fits(start: int, lasts: int) -> str:
        values = take([room], TEN + start * MINUTE, service=2, lasts=lasts * MINUTE, user=2)
        outcome = outcome_of(console, TAKE, values)
        console.execute("DELETE FROM bookings WHERE service_id = 2")
        return outcome

    assert [fits(20, 20), fits(19, 20), fits(21, 20), fits(-60, 180)] == ["done", "23P01", "23P01", "23P01"]


@pytest.mark.parametrize(
    ("length", "spans"),
    [
        (60, [(1, 1, "00:00:00", "00:20:00"), (1, 2, "00:40:00", "01:00:00")]),
        (90, [(1, 1, "00:00:00", "00:20:00"), (1, 2, "00:40:00", "01:30:00")]),
        (40, [(1, 1, "00:00:00", "00:20:00")]),
        (30, [(1, 1, "00:00:00", "00:20:00")]),
        (10, [(1, 1, "00:00:00", "00:10:00")]),
    ],
)
@pytest.mark.parametrize("how", ["insert", "update"])
def test_a_pause_lies_within_whatever_length_a_visit_has(
    console: Console, how: str, length: int, spans: list[tuple[object, ...]]
) -> None:
    room = new_resource(console, 1, 1, 2)
    console.execute("UPDATE services SET free_from_minutes = 20, free_until_minutes = 40 WHERE id = 1")
    if how == "insert":
        booking = take_now(console, [room], lasts=length * MINUTE)
    else:
        booking = take_now(console, [room])
        console.execute(f"UPDATE bookings SET {LENGTH.format(length)}".encode())

    next_one = outcome_of(console, TAKE, take([room], TEN + length * MINUTE, service=2, user=2))

    assert rows(console, SPANS, booking) == spans
    assert next_one == "done"
    assert wrong_claims(console) == []


def test_a_visit_shorter_than_its_pause_takes_no_time_of_the_next(console: Console) -> None:
    room = new_resource(console, 2, 1, 2)
    console.execute("UPDATE services SET free_from_minutes = 40, free_until_minutes = 50 WHERE id = 1")
    for user in (2, 3):
        take_now(console, [room], TEN + 30 * MINUTE, service=2, user=user)

    outcomes = [outcome_of(console, TAKE, take([room], lasts=lasts * MINUTE)) for lasts in (31, 30)]

    assert outcomes == ["23P01", "done"]


def test_a_visit_that_grows_past_a_pause_needs_the_time_after_it(console: Console) -> None:
    room = new_resource(console, 1, 1, 2)
    console.execute("UPDATE services SET free_from_minutes = 20, free_until_minutes = 40 WHERE id = 1")
    booking = take_now(console, [room], lasts=30 * MINUTE)
    take_now(console, [room], TEN + 40 * MINUTE, service=2, user=2, lasts=20 * MINUTE)

    lengths = [
        outcome_of(console, f"UPDATE bookings SET {LENGTH.format(length)} WHERE id = {booking}")
        for length in (40, 41, 20)
    ]

    assert lengths == ["done", "23P01", "done"]
    assert wrong_claims(console) == []


# What is counted late.


def test_a_deferred_booking_is_counted_when_its_seat_has_become_free(console: Console) -> None:
    room = new_resource(console, 2)
    early = take_now(console, [room], lasts=30 * MINUTE)
    take_now(console, [room], user=2)
    console.execute("UPDATE bookings SET status = 'cancelled' WHERE id = %s", [early])
    late = take_now(console, [room], TEN + 30 * MINUTE, lasts=30 * MINUTE, user=3)
    console.execute("UPDATE bookings SET status = 'pending' WHERE id = %s", [early])
    assert rows(console, "SELECT seat FROM claims ORDER BY booking_id") == [(1,), (2,), (1,)]

    def book_and_cancel(booking: int) -> str:
        console.execute("BEGIN; SET CONSTRAINTS ALL DEFERRED")
        console.execute(TAKE, take([room], user=4))
        console.execute("UPDATE bookings SET status = 'cancelled' WHERE id = %s", [booking])
        return outcome_of(console, "COMMIT")

    assert book_and_cancel(early) == "23P01"
    assert wrong_claims(console) == []
    console.execute("UPDATE bookings SET status = 'cancelled' WHERE id = %s", [late])
    assert book_and_cancel(early) == "done"
    assert wrong_claims(console) == []


def test_a_move_is_counted_although_the_visit_became_shorter_before_the_check(console: Console) -> None:
    room = new_resource(console, 3)
    for user in (1, 2):
        take_now(console, [room], TEN + HOUR, user=user)
    others = [take_now(console, [room], user=user) for user in (3, 4, 5)]
    console.execute("UPDATE resources SET capacity = 2")

    console.execute("BEGIN; SET CONSTRAINTS ALL DEFERRED")
    console.execute(
        "UPDATE bookings SET start_time = start_time + '1 h', end_time = end_time + '1 h', blocks_from = blocks_from"
        " + '1 h', blocks_until = blocks_until + '1 h' WHERE id = %s",
        [others[2]],
    )
    console.execute(f"UPDATE bookings SET {LENGTH.format(30)} WHERE id = {others[2]}".encode())

    assert outcome_of(console, "COMMIT") == "23P01"


def test_a_move_is_refused_for_the_slot_before_the_customer(console: Console) -> None:
    rooms = [new_resource(console, 1, 1, 2) for _ in range(3)]
    add_need(console)
    take_now(console, [rooms[2]], service=2, user=2)
    take_now(console, [rooms[1]], service=2, user=1)
    booking = take_now(console, [rooms[0], rooms[2]], TEN + HOUR, user=1)

    def constraint(statement: str, values: Any) -> str | None:
        with pytest.raises(psycopg.errors.ExclusionViolation) as caught:
            console.execute(statement.encode(), values)
        return caught.value.diag.constraint_name

    back = "UPDATE bookings SET start_time = start_time - interval '1 h', end_time = end_time - interval '1 h',"
    back += " blocks_from = blocks_from - interval '1 h', blocks_until = blocks_until - interval '1 h' WHERE id = %s"
    assert constraint(back, [booking]) == "booking_slot_free"
    assert constraint(TAKE, take([rooms[0], rooms[2]])) == "booking_slot_free"
    console.execute("DELETE FROM bookings WHERE user_id = 2")
    assert constraint(back, [booking]) == "customer_has_one_visit_at_a_time"


# Expired holds.


def test_a_booking_ends_the_expired_holds_of_its_resources_and_no_others(console: Console) -> None:
    rooms = [new_resource(console, 3, 1, 2) for _ in range(3)]
    add_need(console)
    holds = [
        take_now(console, rooms[:2], user=1),
        take_now(console, rooms[1:], user=2),
        take_now(console, rooms[:2], TEN + HOUR, user=3),
    ]
    console.execute("UPDATE bookings SET expires_at = %s", [EXPIRED])
    holds.append(take_now(console, [rooms[2], rooms[1]], TEN + 2 * HOUR, user=4, expires=TEN + 36500 * 24 * HOUR))

    take_now(console, rooms[:1], service=2, user=5)

    live = rows(console, "SELECT id FROM bookings WHERE is_blocking AND service_id = 1 ORDER BY id")
    assert live == [(hold,) for hold in holds[1:]]
    assert wrong_claims(console) == []


def test_an_expired_hold_comes_back_only_if_its_time_was_not_taken(console: Console) -> None:
    room = new_resource(console, 2)
    early = take_now(console, [room], lasts=30 * MINUTE)
    late = take_now(console, [room], TEN + 30 * MINUTE, lasts=30 * MINUTE, user=2)
    console.execute("UPDATE bookings SET expires_at = %s", [EXPIRED])

    take_now(console, [room], lasts=30 * MINUTE, user=3, seats=2)
    back = [
        outcome_of(console, "UPDATE bookings SET expires_at = NULL, status = 'confirmed' WHERE id = %s", [hold])
        for hold in (early, late)
    ]

    assert back == ["23P01", "done"]
    assert wrong_claims(console) == []
