"""Sixty-four customers send a request at one moment: as many get a seat as there are seats."""

import asyncio
from collections import Counter

import pytest

from tests.support.people import Person
from tests.support.races import (
    BOTH_CAPACITIES,
    HOUR,
    MINUTE,
    OVERSOLD,
    TEN,
    WRITERS,
    Console,
    book,
    count_codes,
    new_resource,
    seats_sold,
    send_all,
    visit,
)

pytestmark = pytest.mark.race

OPEN_AT_TEN = """
    INSERT INTO opening_hours (resource_id, weekday, opens, closes)
    SELECT id, weekday, '09:00', '12:00' FROM resources, generate_series(1, 7) AS weekday
"""
EXPIRED_HOLDS = """
    INSERT INTO bookings (user_id, service_id, resource_id, start_time, end_time, blocks_from, blocks_until, price,
                          expires_at)
    SELECT id * 2 + seat, 1, id, %(start)s, %(end)s, %(start)s, %(end)s, 60,
           %(start)s::timestamptz - interval '25 hours'
      FROM resources, generate_series(1, 2) AS seat
"""
BUSY_SEATS = """
    SELECT resource_id, seat FROM claims WHERE is_blocking ORDER BY resource_id, seat
"""


@BOTH_CAPACITIES
async def test_64_customers_booking_one_slot_fill_exactly_its_seats(
    customers: list[Person], console: Console, capacity: int
) -> None:
    new_resource(console, capacity)
    body = {"service_id": 1, "start_time": TEN.isoformat()}

    answers = await send_all(customers, "POST", ["/bookings"] * WRITERS, [body] * WRITERS)

    assert count_codes(answers) == {"201": capacity, "slot-taken": WRITERS - capacity}
    assert {answer.status_code for answer in answers} == {201, 409}
    assert seats_sold(console) == list(range(1, capacity + 1))


@BOTH_CAPACITIES
async def test_64_customers_moving_to_one_slot_fill_exactly_its_seats(
    customers: list[Person], console: Console, capacity: int
) -> None:
    room = new_resource(console, capacity)
    numbers = [book(console, room, TEN + n * HOUR, user=customer.id) for n, customer in enumerate(customers, start=1)]

    answers = await send_all(
        customers, "PATCH", [f"/bookings/{number}" for number in numbers], [{"start_time": TEN.isoformat()}] * WRITERS
    )

    assert count_codes(answers) == {"200": capacity, "slot-taken": WRITERS - capacity}
    assert seats_sold(console) == list(range(1, capacity + 1))


@BOTH_CAPACITIES
async def test_64_bookings_reopened_by_staff_fill_exactly_the_seats(
    mara: Person, console: Console, capacity: int
) -> None:
    room = new_resource(console, capacity)
    numbers = [book(console, room, TEN, status="cancelled", user=n) for n in range(1, WRITERS + 1)]

    answers = await send_all(
        [mara] * WRITERS,
        "PATCH",
        [f"/bookings/{number}" for number in numbers],
        [{"status": ("pending", "confirmed")[number % 2]} for number in numbers],
    )

    assert count_codes(answers) == {"200": capacity, "slot-taken": WRITERS - capacity}
    assert seats_sold(console) == list(range(1, capacity + 1))


async def test_three_rooms_of_two_seats_sell_six_without_a_chosen_room(
    customers: list[Person], console: Console
) -> None:
    rooms = [new_resource(console, 2) for _ in range(3)]
    body = {"service_id": 1, "start_time": TEN.isoformat()}

    answers = await send_all(customers, "POST", ["/bookings"] * WRITERS, [body] * WRITERS)

    seats = console.execute(BUSY_SEATS).fetchall()
    assert count_codes(answers) == {"201": 6, "slot-taken": WRITERS - 6}
    assert seats == [(room, seat) for room in rooms for seat in (1, 2)]


@pytest.mark.parametrize("holds", ["no holds", "expired holds"])
@pytest.mark.parametrize("key", [None, "once"])
async def test_three_rooms_sell_six_seats_and_offer_the_next_slots(
    holds: str, key: str | None, customers: list[Person], console: Console
) -> None:
    rooms = [new_resource(console, 2) for _ in range(3)]
    console.execute(OPEN_AT_TEN)
    if holds == "expired holds":
        console.execute(EXPIRED_HOLDS, visit(1, TEN))
    body = {"service_id": 1, "start_time": TEN.isoformat()}

    answers = await asyncio.gather(
        *(
            person.request("POST", "/bookings", json=body, headers={"Idempotency-Key": key} if key else {})
            for person in customers
        )
    )

    assert Counter(answer.status_code for answer in answers) == {201: 6, 409: WRITERS - 6}
    assert count_codes(answers) == {"201": 6, "slot-taken": WRITERS - 6}
    assert console.execute(BUSY_SEATS).fetchall() == [(room, seat) for room in rooms for seat in (1, 2)]
    next_free = {answer.json()["next_free"][0]["start_time"] for answer in answers if answer.is_error}
    assert next_free == {"2030-01-08T11:00:00Z"}
    gone = console.execute("SELECT count(*) FROM bookings WHERE status = 'cancelled'").fetchall()[0][0]
    assert gone == (6 if holds == "expired holds" else 0)


@BOTH_CAPACITIES
async def test_64_expired_holds_accepted_at_once_are_all_refused(
    capacity: int, customers: list[Person], console: Console
) -> None:
    room = new_resource(console, capacity)
    numbers = [book(console, room, TEN + n * HOUR, user=person.id) for n, person in enumerate(customers)]
    console.execute("UPDATE bookings SET expires_at = '2030-01-07 09:00Z'")

    answers = await send_all(customers, "PATCH", [f"/bookings/{n}" for n in numbers], [{"hold": False}] * WRITERS)

    assert count_codes(answers) == {"hold-expired": WRITERS}


async def test_as_many_customers_as_seats_all_get_one(customers: list[Person], console: Console) -> None:
    for _ in range(3):
        new_resource(console, 4)
    body = {"service_id": 1, "start_time": TEN.isoformat()}

    answers = await send_all(customers[:12], "POST", ["/bookings"] * 12, [body] * 12)

    assert count_codes(answers) == {"201": 12}


async def test_two_services_on_one_resource_never_overlap(customers: list[Person], console: Console) -> None:
    new_resource(console, 1, 1, 2)
    body = [{"service_id": 1 + n % 2, "start_time": (TEN + n % 4 * 15 * MINUTE).isoformat()} for n in range(WRITERS)]

    answers = await send_all(customers, "POST", ["/bookings"] * WRITERS, body)

    assert count_codes(answers) == {"201": 1, "slot-taken": WRITERS - 1}
    assert console.execute(OVERSOLD).fetchall() == []


async def test_20_requests_with_one_key_book_once_and_are_answered_alike(
    customers: list[Person], console: Console
) -> None:
    new_resource(console, 3)
    body = {"service_id": 1, "start_time": TEN.isoformat()}
    tom = customers[0]

    answers = await asyncio.gather(
        *(tom.request("POST", "/bookings", json=body, headers={"Idempotency-Key": "tom-1"}) for _ in range(20))
    )

    alike = {
        (answer.status_code, answer.headers["location"], answer.headers["etag"], answer.text) for answer in answers
    }
    assert len(alike) == 1
    assert answers[0].status_code == 201
    assert Counter(answer.headers.get("idempotency-replayed") for answer in answers) == {None: 1, "true": 19}
    assert seats_sold(console) == [1]


async def test_64_requests_of_one_customer_without_a_key_book_once(customers: list[Person], console: Console) -> None:
    for _ in range(WRITERS):
        new_resource(console, 1)
    bodies = [{"service_id": 1, "start_time": (TEN + n % 4 * 15 * MINUTE).isoformat()} for n in range(WRITERS)]

    answers = await send_all([customers[0]] * WRITERS, "POST", ["/bookings"] * WRITERS, bodies)

    assert count_codes(answers) == {"201": 1, "already-booked": WRITERS - 1}
    [(booked,)] = console.execute("SELECT id FROM bookings").fetchall()
    assert {answer.json()["existing_booking"]["id"] for answer in answers if answer.is_error} == {booked}
