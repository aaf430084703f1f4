"""Status changes of a booking: confirm, cancel, complete, no-show, reopen."""

from itertools import permutations
from typing import Any

import httpx2
import pytest

from bookit import refusals as no
from bookit.policy.lifecycle import OPEN_STATUSES
from bookit.schema.tables import Booking, Service, Status
from tests.support.clock import TOMORROW_AT_TEN
from tests.support.doors import AT_BOTH_DOORS, ApiDoor, DoorClient
from tests.support.people import Person
from tests.support.refusal_assertions import RefusalOutcome
from tests.support.request_helpers import status_and_code

TEN = TOMORROW_AT_TEN
BOOKING = {"service_id": 1, "start_time": TEN.isoformat()}


# At the API and at the desk.


async def book_with_status(door: DoorClient, tom: Person, haircut: Service, status: Status) -> Any:
    """Book, and set the status if the booking does not begin with it."""
    booking = await door.book(tom, haircut, TEN)
    return booking if status == door.new_status else await door.set_status(booking, status)


@AT_BOTH_DOORS
@pytest.mark.parametrize(("first", "then"), list(permutations(Status, 2)))
async def test_staff_change_any_status_to_any_other(
    door: DoorClient, tom: Person, haircut: Service, first: Status, then: Status
) -> None:
    """Each step adds one version."""
    there = await book_with_status(door, tom, haircut, first)
    led = await door.set_status(there, then)

    steps = (first != door.new_status) + 1
    assert (there["status"], there["version"]) == (first, steps)
    assert led == there | {"status": then, "is_blocking": then in OPEN_STATUSES, "version": 1 + steps}


@AT_BOTH_DOORS
@pytest.mark.parametrize("status", Status)
async def test_setting_the_current_status_changes_nothing(
    door: DoorClient, tom: Person, haircut: Service, status: Status
) -> None:
    """The API answers a repeated patch with the row; the desk explains that nothing changed."""
    there = await book_with_status(door, tom, haircut, status)

    again = await door.set_status(there, status)

    assert again == (there if isinstance(door, ApiDoor) else RefusalOutcome(no.AlreadySo))
    assert await door.fetch_row(Booking, there["id"]) == there


@AT_BOTH_DOORS
@pytest.mark.parametrize("back", [Status.PENDING, Status.CONFIRMED])
async def test_a_cancelled_booking_reopens_if_its_slot_is_free(
    door: DoorClient, tom: Person, eve: Person, haircut: Service, back: Status
) -> None:
    first = await door.book(tom, haircut, TEN)
    await door.set_status(first, Status.CANCELLED)
    second = await door.book(eve, haircut, TEN)

    while_taken = await door.set_status(first, back)
    await door.set_status(second, Status.CANCELLED)
    when_free = await door.set_status(first, back)

    assert while_taken == RefusalOutcome(no.SlotTaken)
    assert when_free == first | {"status": back, "version": 3}


@AT_BOTH_DOORS
@pytest.mark.parametrize("status", Status)
async def test_setting_the_status_of_an_unknown_booking_is_refused(door: DoorClient, status: Status) -> None:
    assert await door.set_status({"id": 99}, status) == RefusalOutcome(no.Missing)


@AT_BOTH_DOORS
async def test_a_customers_booking_waits_for_confirmation_and_the_desks_does_not(
    door: DoorClient, tom: Person, haircut: Service
) -> None:
    """Neither API nor desk lets a status be chosen for it."""
    booking = await door.book(tom, haircut, TEN)

    assert booking["status"] == (Status.PENDING if isinstance(door, ApiDoor) else Status.CONFIRMED)
    assert await door.fetch_row(Booking, booking["id"]) == booking


# At the API only: what customers may do.


async def test_an_owner_cancels_their_booking(tom: Person, haircut: Service) -> None:
    booking = (await tom.request("POST", "/bookings", json=BOOKING)).json()

    answer = await tom.request("PATCH", "/bookings/1", json={"status": "cancelled"})

    assert (answer.status_code, answer.json()) == (200, booking | {"status": "cancelled", "version": 2})


@pytest.mark.parametrize("status", ["confirmed", "completed", "no_show"])
async def test_only_staff_set_any_other_status(tom: Person, mara: Person, haircut: Service, status: str) -> None:
    await tom.request("POST", "/bookings", json=BOOKING)

    by_owner = await tom.request("PATCH", "/bookings/1", json={"status": status})
    by_staff = await mara.request("PATCH", "/bookings/1", json={"status": status})

    assert status_and_code(by_owner) == (403, "only-cancel")
    assert (by_staff.status_code, by_staff.json()["status"]) == (200, status)


@pytest.mark.parametrize("status", ["completed", "no_show"])
async def test_a_customer_may_not_cancel_a_past_visit(tom: Person, mara: Person, haircut: Service, status: str) -> None:
    await tom.request("POST", "/bookings", json=BOOKING)
    await mara.request("PATCH", "/bookings/1", json={"status": status})

    answer = await tom.request("PATCH", "/bookings/1", json={"status": "cancelled"})

    assert status_and_code(answer) == (400, "no-longer-open")


async def test_a_customer_may_not_cancel_another_customers_booking(tom: Person, eve: Person, haircut: Service) -> None:
    """Not even a booking that is cancelled already."""
    await tom.request("POST", "/bookings", json=BOOKING)

    async def cancel() -> httpx2.Response:
        return await eve.request("PATCH", "/bookings/1", json={"status": "cancelled"})

    first = await cancel()
    await tom.request("PATCH", "/bookings/1", json={"status": "cancelled"})

    assert [status_and_code(first), status_and_code(await cancel())] == [(403, "not-your-booking")] * 2
