"""Creating bookings: which slots are free, which are taken, and what the service defines."""

import dataclasses
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx2
import pytest

from bookit import records
from bookit import refusals as no
from bookit.db.pool import Database
from bookit.schema.tables import Booking, Resource, Service, Status, User
from tests.support.claims import fetch_seats
from tests.support.clock import NOW, TOMORROW_AT_TEN
from tests.support.doors import AT_BOTH_DOORS, AT_THE_ADMIN_ONLY, DoorClient
from tests.support.people import OWNER, Person
from tests.support.refusal_assertions import RefusalOutcome
from tests.support.request_helpers import status_and_code

TEN = TOMORROW_AT_TEN
MINUTE = timedelta(minutes=1)
LONG_AGO = NOW - timedelta(days=1)


async def own_resource(database: Database, **facts: Any) -> None:
    """Change the service's own resource."""
    async with database.transaction(by=OWNER) as session:
        own = await records.lock(session, Resource, 1)
        await records.change(session, own, by=OWNER, now=NOW, **facts)


# At the API and at the desk.


@AT_BOTH_DOORS
async def test_a_free_slot_is_booked(door: DoorClient, tom: Person, haircut: Service) -> None:
    booking = await door.book(tom, haircut, TEN)

    assert booking == {
        "id": 1,
        "user_id": tom.id,
        "service_id": haircut.id,
        "resource_id": 1,
        "other_resource_ids": [],
        "seats": 1,
        "start_time": TEN,
        "end_time": TEN + 45 * MINUTE,
        "blocks_from": TEN,
        "blocks_until": TEN + 45 * MINUTE,
        "status": door.new_status,
        "is_blocking": True,
        "price": Decimal(35),
        "expires_at": None,
        "deleted_by_customer_at": None,
        "created_at": NOW,
        "version": 1,
        "visitor_name": None,
    }


@AT_BOTH_DOORS
@pytest.mark.parametrize("minutes", [-44, 0, 15, 44])
async def test_an_overlapping_slot_is_refused(
    door: DoorClient, tom: Person, eve: Person, haircut: Service, minutes: int
) -> None:
    await door.book(tom, haircut, TEN)

    assert await door.book(eve, haircut, TEN + minutes * MINUTE) == RefusalOutcome(no.SlotTaken)


@AT_BOTH_DOORS
@pytest.mark.parametrize("minutes", [-45, 45])
async def test_back_to_back_bookings_are_accepted(
    door: DoorClient, tom: Person, eve: Person, haircut: Service, minutes: int
) -> None:
    await door.book(tom, haircut, TEN)

    second = await door.book(eve, haircut, TEN + minutes * MINUTE)

    assert (second["user_id"], second["start_time"]) == (eve.id, TEN + minutes * MINUTE)


@AT_BOTH_DOORS
async def test_setup_and_cleanup_time_is_blocked(door: DoorClient, tom: Person, eve: Person) -> None:
    facts: dict[str, Any] = {"price": 80, "duration_minutes": 60, "setup_minutes": 10, "cleanup_minutes": 20}
    massage = await door.add(Service, title="Massage", **facts)
    first = await door.book(tom, massage, TEN)

    assert (first["blocks_from"], first["blocks_until"]) == (TEN - 10 * MINUTE, TEN + 80 * MINUTE)
    assert await door.book(eve, massage, TEN + 89 * MINUTE) == RefusalOutcome(no.SlotTaken)
    assert (await door.book(eve, massage, TEN + 90 * MINUTE))["id"] == 3  # The refused booking has used up an id.
    assert await door.book(eve, massage, TEN - 89 * MINUTE) == RefusalOutcome(no.SlotTaken)
    assert (await door.book(eve, massage, TEN - 90 * MINUTE))["id"] == 5


@AT_BOTH_DOORS
@pytest.mark.parametrize("status", [Status.CANCELLED, Status.COMPLETED, Status.NO_SHOW])
async def test_cancelled_and_completed_bookings_free_their_slot(
    door: DoorClient, tom: Person, eve: Person, haircut: Service, database: Database, status: Status
) -> None:
    await door.set_status(await door.book(tom, haircut, TEN), status)

    second = await door.book(eve, haircut, TEN)

    assert (second["start_time"], await fetch_seats(database, second)) == (TEN, [1])


@AT_BOTH_DOORS
async def test_a_confirmed_booking_takes_its_slot(door: DoorClient, tom: Person, eve: Person, haircut: Service) -> None:
    await door.set_status(await door.book(tom, haircut, TEN), Status.CONFIRMED)

    assert await door.book(eve, haircut, TEN) == RefusalOutcome(no.SlotTaken)


@AT_BOTH_DOORS
async def test_a_booking_keeps_its_original_price_and_length(door: DoorClient, tom: Person, haircut: Service) -> None:
    first = await door.book(tom, haircut, TEN)
    await door.change(Service, haircut, price=50, duration_minutes=60)

    second = await door.book(tom, haircut, TEN + 45 * MINUTE)

    assert await door.fetch_row(Booking, first["id"]) == first
    assert (second["price"], second["end_time"]) == (50, TEN + 105 * MINUTE)


@AT_BOTH_DOORS
async def test_a_time_without_an_offset_is_local_business_time(door: DoorClient, tom: Person, haircut: Service) -> None:
    """The business is in Berlin."""
    booking = await door.book(tom, haircut, datetime(2030, 1, 8, 11))  # noqa: DTZ001 -- it has none

    assert booking["start_time"] == TEN


@AT_BOTH_DOORS
async def test_an_hour_skipped_by_daylight_saving_is_refused(door: DoorClient, tom: Person, haircut: Service) -> None:
    skipped = datetime(2030, 3, 31, 2, 30)  # noqa: DTZ001 -- as above

    assert await door.book(tom, haircut, skipped) == RefusalOutcome(no.NoSuchTime)


@AT_BOTH_DOORS
async def test_a_time_outside_the_calendar_is_refused(door: DoorClient, tom: Person, haircut: Service) -> None:
    assert await door.book(tom, haircut, TEN.replace(year=3000)) == RefusalOutcome(no.OutsideTheCalendar)
    assert await door.book(tom, haircut, TEN.replace(year=1999)) == RefusalOutcome(no.OutsideTheCalendar)


@AT_BOTH_DOORS
async def test_staff_may_record_a_past_visit(door: DoorClient, mara: Person, haircut: Service) -> None:
    booking = await door.book(mara, haircut, LONG_AGO)

    assert (booking["user_id"], booking["start_time"]) == (mara.id, LONG_AGO)


@AT_BOTH_DOORS
async def test_an_unknown_service_is_refused(door: DoorClient, tom: Person) -> None:
    assert await door.book(tom, {"id": 99}, TEN) == RefusalOutcome(no.UnknownService)


@AT_BOTH_DOORS
async def test_an_inactive_service_is_refused(door: DoorClient, tom: Person, haircut: Service) -> None:
    await door.change(Service, haircut, is_active=False)

    assert await door.book(tom, haircut, TEN) == RefusalOutcome(no.ServiceInactive)


@AT_BOTH_DOORS
async def test_a_free_resource_is_assigned_by_default(
    door: DoorClient, tom: Person, eve: Person, mara: Person, shared: Service
) -> None:
    bookings = [await door.book(person, shared, TEN) for person in (tom, eve)]

    assert [booking["resource_id"] for booking in bookings] == [1, 2]
    assert await door.book(mara, shared, TEN) == RefusalOutcome(no.SlotTaken)


@AT_BOTH_DOORS
async def test_a_resource_can_be_chosen(door: DoorClient, tom: Person, eve: Person, shared: Service) -> None:
    first = await door.book(tom, shared, TEN, resource_id=2)

    assert first["resource_id"] == 2
    assert await door.book(eve, shared, TEN, resource_id=2) == RefusalOutcome(no.SlotTaken)


@AT_BOTH_DOORS
async def test_an_unsuitable_resource_is_refused(
    door: DoorClient, tom: Person, haircut: Service, shared: Service
) -> None:
    assert await door.book(tom, haircut, TEN, resource_id=2) == RefusalOutcome(no.ResourceUnsuitable)
    assert await door.book(tom, haircut, TEN, resource_id=99) == RefusalOutcome(no.UnknownResource)


@AT_BOTH_DOORS
async def test_a_service_without_a_resource_is_refused(
    door: DoorClient, tom: Person, haircut: Service, database: Database
) -> None:
    await own_resource(database, is_active=False)

    assert await door.book(tom, haircut, TEN) == RefusalOutcome(no.NothingToServeIt)


@AT_BOTH_DOORS
async def test_a_resource_with_two_seats_takes_two_bookings(
    door: DoorClient, tom: Person, eve: Person, haircut: Service, database: Database
) -> None:
    await own_resource(database, capacity=2)

    bookings = [await door.book(person, haircut, TEN) for person in (tom, eve)]

    assert [await fetch_seats(database, booking) for booking in bookings] == [[1], [2]]
    assert await door.book(tom, haircut, TEN) == RefusalOutcome(no.SlotTaken)


# At the API only: what customers and visitors may not do.


@pytest.mark.parametrize("start", ["2030-01-07T09:00:00Z", "2030-01-07T08:59:00Z", "2029-12-31T10:00:00Z"])
async def test_a_start_in_the_past_is_refused(tom: Person, haircut: Service, start: str) -> None:
    answer = await tom.request("POST", "/bookings", json={"service_id": haircut.id, "start_time": start})

    assert status_and_code(answer) == (400, "in-the-past")


async def test_visitors_cannot_book(visitor: httpx2.AsyncClient, haircut: Service) -> None:
    answer = await visitor.post("/bookings", json={"service_id": haircut.id, "start_time": TEN.isoformat()})

    assert status_and_code(answer) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"] == "Bearer"


# At the desk only: at the API, staff also book for themselves.


@AT_THE_ADMIN_ONLY
async def test_staff_book_for_an_existing_customer(door: DoorClient, tom: Person, haircut: Service) -> None:
    unknown = dataclasses.replace(tom, user=User(id=99, name="Nobody", email="n@example.com", password_hash="-"))

    assert await door.book(unknown, haircut, TEN) == RefusalOutcome(no.UnknownUser)
    assert (await door.book(tom, haircut, TEN))["user_id"] == tom.id


# The responses of the API.


async def test_a_new_booking_is_returned_with_location_and_etag(tom: Person, haircut: Service) -> None:
    answer = await tom.request("POST", "/bookings", json={"service_id": haircut.id, "start_time": TEN.isoformat()})

    assert answer.status_code == 201
    assert answer.json() == {
        "id": 1,
        "user_id": tom.id,
        "service_id": haircut.id,
        "resource_id": 1,
        "resources": [{"role": "with", "resource_id": 1, "name": "Haircut"}],
        "seats": 1,
        "start_time": "2030-01-08T10:00:00Z",
        "end_time": "2030-01-08T10:45:00Z",
        "status": "pending",
        "price": 35.0,
        "expires_at": None,
        "created_at": "2030-01-07T09:00:00Z",
        "version": 1,
        "visitor_name": None,
    }
    assert answer.headers["location"] == "/bookings/1"
    assert answer.headers["etag"] == '"1"'


async def test_a_taken_slot_is_answered_with_a_problem_document(tom: Person, eve: Person, haircut: Service) -> None:
    body = {"service_id": haircut.id, "start_time": TEN.isoformat()}
    await tom.request("POST", "/bookings", json=body)

    answer = await eve.request("POST", "/bookings", json=body)

    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {
        "type": "/problems/slot-taken",
        "title": "Conflict",
        "status": 409,
        "detail": "Booking conflict: time slot is not available",
        "code": "slot-taken",
        "field": "start_time",
        "next_free": [
            {
                "start_time": start,
                "end_time": end,
                "local_start_time": start,
                "local_end_time": end,
                "timezone": "UTC",
                "free_places": 1,
                "resources": [{"id": 1, "name": "Haircut", "free_places": 1, "others": []}],
            }
            for start, end in (
                ("2030-01-08T11:15:00Z", "2030-01-08T12:00:00Z"),
                ("2030-01-08T12:00:00Z", "2030-01-08T12:45:00Z"),
                ("2030-01-08T12:45:00Z", "2030-01-08T13:30:00Z"),
            )
        ],
    }
