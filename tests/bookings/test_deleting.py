"""Deleting bookings, and who sees which bookings."""

from typing import Any

from bookit import refusals as no
from bookit.schema.tables import Booking, Service, Status
from tests.support.claims import fetch_seats
from tests.support.clock import NOW, TOMORROW_AT_TEN, Clock
from tests.support.doors import AT_BOTH_DOORS, DoorClient
from tests.support.people import Person
from tests.support.refusal_assertions import RefusalOutcome
from tests.support.request_helpers import status_and_code

TEN = "2030-01-08T10:00:00Z"
ELEVEN = "2030-01-08T11:00:00Z"


async def create_booking(person: Person, service: Service, start: str = TEN) -> dict[str, Any]:
    answer = await person.request("POST", "/bookings", json={"service_id": service.id, "start_time": start})
    assert answer.status_code == 201, answer.text
    booking: dict[str, Any] = answer.json()
    return booking


# At the API and at the desk.


@AT_BOTH_DOORS
async def test_staff_delete_a_booking_at_any_time(door: DoorClient, mara: Person, haircut: Service) -> None:
    past, coming = [await door.book(mara, haircut, start) for start in (NOW.replace(hour=8), TOMORROW_AT_TEN)]

    assert await door.remove(Booking, past, by=mara) is None
    assert await door.fetch_row(Booking, coming["id"]) == coming
    assert await door.remove(Booking, coming, by=mara) is None


@AT_BOTH_DOORS
async def test_a_deleted_booking_frees_its_slot(door: DoorClient, tom: Person, eve: Person, haircut: Service) -> None:
    await door.remove(Booking, await door.book(tom, haircut, TOMORROW_AT_TEN))

    booking = await door.book(eve, haircut, TOMORROW_AT_TEN)

    assert (booking["user_id"], await fetch_seats(door.desk.database, booking)) == (eve.id, [1])


@AT_BOTH_DOORS
async def test_deleting_an_unknown_booking_is_refused(door: DoorClient) -> None:
    assert await door.remove(Booking, {"id": 99}) == RefusalOutcome(no.Missing)


@AT_BOTH_DOORS
async def test_a_reviewed_booking_is_not_deleted(door: DoorClient, tom: Person, haircut: Service) -> None:
    booking = await door.set_status(await door.book(tom, haircut, TOMORROW_AT_TEN), Status.COMPLETED)
    await tom.request("POST", "/reviews", json={"booking_id": booking["id"], "rating": 5, "comment": "Good."})

    assert await door.remove(Booking, booking) == RefusalOutcome(no.StillInUse)
    assert await door.fetch_row(Booking, booking["id"]) == booking


# At the API only: what customers may not do.


async def test_an_owner_deletes_before_the_start_and_not_after(tom: Person, haircut: Service, clock: Clock) -> None:
    first, second, third = [
        await create_booking(tom, haircut, start) for start in ("2030-01-07T09:01:00Z", "2030-01-07T10:00:00Z", TEN)
    ]
    clock.advance(minutes=1)

    late = await tom.request("DELETE", f"/bookings/{first['id']}")
    early = await tom.request("DELETE", f"/bookings/{second['id']}")

    assert status_and_code(late) == (400, "already-started")
    assert early.status_code == 204
    assert [row["id"] for row in (await tom.request("GET", "/bookings")).json()] == [first["id"], third["id"]]


async def test_another_customers_booking_is_403_and_a_missing_one_404(
    tom: Person, eve: Person, mara: Person, haircut: Service
) -> None:
    booking = await create_booking(tom, haircut)
    path = f"/bookings/{booking['id']}"

    answers = {
        "get": status_and_code(await eve.request("GET", path)),
        "patch": status_and_code(await eve.request("PATCH", path, json={"status": "cancelled"})),
        "delete": status_and_code(await eve.request("DELETE", path)),
        "missing": status_and_code(await eve.request("GET", "/bookings/99")),
    }

    assert answers == {
        "get": (403, "not-your-booking"),
        "patch": (403, "not-your-booking"),
        "delete": (403, "not-your-booking"),
        "missing": (404, "missing"),
    }
    assert (await mara.request("GET", path)).json() == booking


async def test_customers_see_their_own_bookings_and_staff_all(
    tom: Person, eve: Person, mara: Person, haircut: Service
) -> None:
    first = await create_booking(tom, haircut)
    second = await create_booking(eve, haircut, ELEVEN)

    seen = [(await person.request("GET", "/bookings")).json() for person in (tom, eve, mara)]

    assert seen == [[first], [second], [first, second]]


# At the API only: filtered lists and conditional deletion.


async def test_lists_can_be_filtered(tom: Person, mara: Person, haircut: Service, shared: Service) -> None:
    first = await create_booking(tom, haircut)
    second = await create_booking(tom, haircut, "2030-01-09T10:00:00Z")
    third = await create_booking(tom, shared, "2030-01-10T10:00:00Z")
    await mara.request("PATCH", f"/bookings/{second['id']}", json={"status": "confirmed"})

    async def numbers(**query: Any) -> list[int]:
        return [row["id"] for row in (await tom.request("GET", "/bookings", params=query)).json()]

    assert await numbers(status="confirmed") == [second["id"]]
    assert await numbers(from_date="2030-01-09") == [second["id"], third["id"]]
    assert await numbers(to_date="2030-01-09") == [first["id"], second["id"]]
    assert await numbers(from_date="2030-01-08T10:00:00Z", to_date="2030-01-09T10:00:00Z") == [first["id"]]
    assert await numbers(service_id=shared.id) == [third["id"]]
    assert await numbers(status="no_show") == []


async def test_a_stale_deletion_is_refused(tom: Person, mara: Person, haircut: Service) -> None:
    booking = await create_booking(tom, haircut)
    path = f"/bookings/{booking['id']}"
    seen = (await tom.request("GET", path)).headers["etag"]
    await mara.request("PATCH", path, json={"status": "confirmed"})

    stale = await tom.request("DELETE", path, headers={"If-Match": seen})
    fresh = await tom.request("DELETE", path, headers={"If-Match": '"2"'})

    assert (status_and_code(stale), fresh.status_code) == ((412, "stale"), 204)


async def test_a_change_is_answered_with_its_version(tom: Person, haircut: Service) -> None:
    await create_booking(tom, haircut)

    answer = await tom.request("PATCH", "/bookings/1", json={"start_time": ELEVEN})

    assert (answer.status_code, answer.headers["etag"]) == (200, '"2"')
