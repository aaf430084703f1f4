"""Rescheduling: another time or another resource for the same booking."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bookit import records
from bookit import refusals as no
from bookit.db.pool import Database
from bookit.schema.tables import Booking, Service, Status
from tests.support.clock import NOW, TOMORROW_AT_TEN
from tests.support.doors import AT_BOTH_DOORS, DoorClient
from tests.support.people import OWNER, Person
from tests.support.refusal_assertions import RefusalOutcome
from tests.support.request_helpers import status_and_code

TEN = TOMORROW_AT_TEN
ELEVEN = TEN + timedelta(hours=1)
HALF = timedelta(minutes=30)


async def create_booking(person: Person, service: Service) -> dict[str, Any]:
    answer = await person.request("POST", "/bookings", json={"service_id": service.id, "start_time": TEN.isoformat()})
    assert answer.status_code == 201, answer.text
    booking: dict[str, Any] = answer.json()
    return booking


# At the API and at the desk.


@AT_BOTH_DOORS
async def test_a_moved_booking_keeps_everything_else(door: DoorClient, tom: Person, haircut: Service) -> None:
    booking = await door.book(tom, haircut, TEN)

    moved = await door.reschedule(booking, start_time=ELEVEN)

    end = ELEVEN + timedelta(minutes=45)
    times = {"start_time": ELEVEN, "end_time": end, "blocks_from": ELEVEN, "blocks_until": end}
    assert moved == booking | times | {"version": 2}


@AT_BOTH_DOORS
async def test_a_moved_booking_keeps_its_length_and_price(door: DoorClient, tom: Person, haircut: Service) -> None:
    booking = await door.book(tom, haircut, TEN)
    await door.change(Service, haircut, price=99, duration_minutes=10, setup_minutes=5)

    moved = await door.reschedule(booking, start_time=ELEVEN)

    assert (moved["price"], moved["end_time"] - moved["start_time"]) == (35, timedelta(minutes=45))
    assert moved["blocks_from"] == ELEVEN


@AT_BOTH_DOORS
async def test_moving_over_its_own_time_is_accepted(door: DoorClient, tom: Person, haircut: Service) -> None:
    booking = await door.book(tom, haircut, TEN)

    moved = await door.reschedule(booking, start_time=TEN + HALF)

    assert (moved["start_time"], moved["version"]) == (TEN + HALF, 2)


@AT_BOTH_DOORS
async def test_moving_to_the_same_time_changes_nothing(door: DoorClient, tom: Person, haircut: Service) -> None:
    booking = await door.book(tom, haircut, TEN)

    assert await door.reschedule(booking, start_time=TEN, resource_id=1) == booking


@AT_BOTH_DOORS
async def test_moving_into_a_taken_slot_is_refused(
    door: DoorClient, tom: Person, eve: Person, haircut: Service
) -> None:
    await door.book(tom, haircut, TEN)
    booking = await door.book(eve, haircut, ELEVEN)

    assert await door.reschedule(booking, start_time=TEN + HALF) == RefusalOutcome(no.SlotTaken)
    assert await door.fetch_row(Booking, booking["id"]) == booking


@AT_BOTH_DOORS
async def test_moving_outside_the_calendar_is_refused(door: DoorClient, tom: Person, haircut: Service) -> None:
    booking = await door.book(tom, haircut, TEN)

    assert await door.reschedule(booking, start_time=TEN.replace(year=3000)) == RefusalOutcome(no.OutsideTheCalendar)


@AT_BOTH_DOORS
async def test_another_resource_must_serve_the_service(
    door: DoorClient, tom: Person, shared: Service, haircut: Service
) -> None:
    booking = await door.book(tom, shared, TEN)

    moved = await door.reschedule(booking, resource_id=2)

    assert moved == booking | {"resource_id": 2, "version": 2}
    assert await door.reschedule(moved, resource_id=3) == RefusalOutcome(no.ResourceUnsuitable)
    assert await door.reschedule(moved, resource_id=99) == RefusalOutcome(no.UnknownResource)


@AT_BOTH_DOORS
async def test_an_unchanged_time_stays(door: DoorClient, tom: Person, shared: Service) -> None:
    """A form does not show which of the two equal hours of Berlin's autumn it means."""
    start = datetime(2030, 10, 27, 1, 30, tzinfo=UTC)
    body = {"service_id": shared.id, "start_time": start.isoformat(), "resource_id": 1}
    booking = (await tom.request("POST", "/bookings", json=body)).json()

    moved = await door.reschedule(booking, resource_id=2)

    assert (moved["start_time"], moved["resource_id"], moved["version"]) == (start, 2, 2)


@AT_BOTH_DOORS
async def test_moving_to_a_taken_resource_is_refused(
    door: DoorClient, tom: Person, eve: Person, shared: Service
) -> None:
    await door.book(tom, shared, TEN)
    booking = await door.book(eve, shared, TEN)

    assert await door.reschedule(booking, resource_id=1) == RefusalOutcome(no.SlotTaken)


@AT_BOTH_DOORS
async def test_a_booking_changed_meanwhile_is_not_moved(door: DoorClient, tom: Person, haircut: Service) -> None:
    seen = await door.book(tom, haircut, TEN)
    changed = await door.set_status(seen, Status.COMPLETED)

    assert await door.reschedule(seen, start_time=ELEVEN) == RefusalOutcome(no.Stale)
    assert (await door.reschedule(changed, start_time=ELEVEN))["version"] == 3


@AT_BOTH_DOORS
async def test_moving_an_unknown_booking_is_refused(door: DoorClient) -> None:
    assert await door.reschedule({"id": 99, "version": 1}, start_time=ELEVEN) == RefusalOutcome(no.Missing)


@AT_BOTH_DOORS
@pytest.mark.parametrize("status", [Status.CANCELLED, Status.COMPLETED, Status.NO_SHOW])
async def test_staff_correct_a_past_visit(door: DoorClient, tom: Person, haircut: Service, status: Status) -> None:
    booking = await door.set_status(await door.book(tom, haircut, TEN), status)
    long_ago = NOW - timedelta(days=1)

    moved = await door.reschedule(booking, start_time=long_ago)

    assert (moved["start_time"], moved["status"], moved["version"]) == (long_ago, status, 3)


# At the API only: what customers may not do.


async def test_an_owner_moves_their_own_booking(tom: Person, haircut: Service) -> None:
    booking = await create_booking(tom, haircut)

    answer = await tom.request("PATCH", f"/bookings/{booking['id']}", json={"start_time": ELEVEN.isoformat()})

    moved = {"start_time": "2030-01-08T11:00:00Z", "end_time": "2030-01-08T11:45:00Z", "version": 2}
    assert (answer.status_code, answer.json()) == (200, booking | moved)


async def test_moving_into_the_past_is_refused(tom: Person, haircut: Service) -> None:
    booking = await create_booking(tom, haircut)

    answer = await tom.request("PATCH", f"/bookings/{booking['id']}", json={"start_time": "2030-01-06T10:00:00Z"})

    assert status_and_code(answer) == (400, "in-the-past")


@pytest.mark.parametrize("status", [Status.CANCELLED, Status.COMPLETED, Status.NO_SHOW])
async def test_a_customer_may_not_move_a_past_visit(
    tom: Person, haircut: Service, database: Database, status: Status
) -> None:
    booking = await create_booking(tom, haircut)
    async with database.transaction(by=OWNER) as session:
        row = await records.lock(session, Booking, booking["id"])
        await records.change(session, row, by=OWNER, now=NOW, status=status)

    answer = await tom.request("PATCH", f"/bookings/{booking['id']}", json={"start_time": ELEVEN.isoformat()})

    assert status_and_code(answer) == (400, "no-longer-open")
