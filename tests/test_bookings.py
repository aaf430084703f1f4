"""Booking, rescheduling, cancelling, deleting: who may, when, and what is refused."""

from typing import Any

import httpx2
import pytest

from bookit import records
from bookit.database import Database
from bookit.tables import Booking, Resource, Service, Status
from tests.conftest import NOW, OWNER, TOMORROW_AT_TEN, Clock, Person, refused

TEN = "2030-01-08T10:00:00Z"
ELEVEN = "2030-01-08T11:00:00Z"


async def booked(person: Person, service: Service, start: str = TEN, **more: Any) -> dict[str, Any]:
    answer = await person.asks("POST", "/bookings", json={"service_id": service.id, "start_time": start, **more})
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def led_to(database: Database, number: int, status: Status) -> None:
    """Let staff lead a booking to a status."""
    async with database.transaction(by=OWNER) as session:
        booking = await records.hold(session, Booking, number)
        await records.change(session, booking, by=OWNER, now=NOW, status=status)


async def test_a_free_slot_is_booked(tom: Person, haircut: Service) -> None:
    answer = await tom.asks("POST", "/bookings", json={"service_id": haircut.id, "start_time": TEN})

    assert answer.status_code == 201
    assert answer.json() == {
        "id": 1,
        "user_id": tom.id,
        "service_id": haircut.id,
        "resource_id": 1,
        "start_time": TEN,
        "end_time": "2030-01-08T10:45:00Z",
        "status": "pending",
        "price": 35.0,
        "expires_at": None,
        "created_at": "2030-01-07T09:00:00Z",
        "version": 1,
    }
    assert answer.headers["location"] == "/bookings/1"
    assert answer.headers["etag"] == '"1"'


async def test_a_taken_slot_is_refused(tom: Person, eve: Person, haircut: Service) -> None:
    wanted = {"service_id": haircut.id, "start_time": TOMORROW_AT_TEN.isoformat()}
    await tom.asks("POST", "/bookings", json=wanted)

    answer = await eve.asks("POST", "/bookings", json=wanted)

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
                "resources": [{"id": 1, "name": "Haircut", "free_places": 1}],
            }
            for start, end in (
                ("2030-01-08T11:15:00Z", "2030-01-08T12:00:00Z"),
                ("2030-01-08T12:00:00Z", "2030-01-08T12:45:00Z"),
                ("2030-01-08T12:45:00Z", "2030-01-08T13:30:00Z"),
            )
        ],
    }


@pytest.mark.parametrize("start", ["2030-01-08T09:16:00Z", "2030-01-08T10:44:00Z", "2030-01-08T10:15:00Z"])
async def test_a_slot_that_overlaps_is_refused(tom: Person, eve: Person, haircut: Service, start: str) -> None:
    await booked(tom, haircut)

    answer = await eve.asks("POST", "/bookings", json={"service_id": haircut.id, "start_time": start})

    assert refused(answer) == (409, "slot-taken")


@pytest.mark.parametrize("start", ["2030-01-08T09:15:00Z", "2030-01-08T10:45:00Z"])
async def test_back_to_back_is_fine(tom: Person, eve: Person, haircut: Service, start: str) -> None:
    await booked(tom, haircut)

    second = await booked(eve, haircut, start)

    assert second["status"] == "pending"


@pytest.mark.parametrize("status", [Status.CANCELLED, Status.COMPLETED, Status.NO_SHOW])
async def test_only_pending_and_confirmed_take_a_slot(
    tom: Person, eve: Person, haircut: Service, database: Database, status: Status
) -> None:
    first = await booked(tom, haircut)
    await led_to(database, first["id"], status)

    second = await booked(eve, haircut)

    assert second["start_time"] == TEN


async def test_a_confirmed_booking_takes_its_slot(
    tom: Person, eve: Person, haircut: Service, database: Database
) -> None:
    first = await booked(tom, haircut)
    await led_to(database, first["id"], Status.CONFIRMED)

    answer = await eve.asks("POST", "/bookings", json={"service_id": haircut.id, "start_time": TEN})

    assert refused(answer) == (409, "slot-taken")


async def test_the_price_is_kept_as_it_was(tom: Person, ada: Person, haircut: Service) -> None:
    first = await booked(tom, haircut)
    await ada.asks("PATCH", f"/services/{haircut.id}", json={"price": 50, "duration_minutes": 60})

    again = await tom.asks("GET", f"/bookings/{first['id']}")
    second = await booked(tom, haircut, ELEVEN)

    assert (again.json()["price"], again.json()["end_time"]) == (35.0, "2030-01-08T10:45:00Z")
    assert (second["price"], second["end_time"]) == (50.0, "2030-01-08T12:00:00Z")


@pytest.mark.parametrize("start", ["2030-01-07T09:00:00Z", "2030-01-07T08:59:00Z", "2029-12-31T10:00:00Z"])
async def test_a_start_that_is_over_is_refused(tom: Person, haircut: Service, start: str) -> None:
    answer = await tom.asks("POST", "/bookings", json={"service_id": haircut.id, "start_time": start})

    assert refused(answer) == (400, "in-the-past")


async def test_staff_may_write_down_a_visit_that_was(mara: Person, haircut: Service) -> None:
    past = await booked(mara, haircut, "2030-01-06T10:00:00Z")

    assert past["start_time"] == "2030-01-06T10:00:00Z"


async def test_an_unknown_service_is_refused(tom: Person) -> None:
    answer = await tom.asks("POST", "/bookings", json={"service_id": 99, "start_time": TEN})

    assert refused(answer) == (404, "unknown-service")


async def test_an_inactive_service_is_refused(tom: Person, ada: Person, haircut: Service) -> None:
    await ada.asks("PATCH", f"/services/{haircut.id}", json={"is_active": False})

    answer = await tom.asks("POST", "/bookings", json={"service_id": haircut.id, "start_time": TEN})

    assert refused(answer) == (400, "service-inactive")


async def test_a_resource_is_chosen_by_name(tom: Person, eve: Person, shared: Service) -> None:
    first = await booked(tom, shared, resource_id=2)

    answer = await eve.asks("POST", "/bookings", json={"service_id": shared.id, "start_time": TEN, "resource_id": 2})

    assert first["resource_id"] == 2
    assert refused(answer) == (409, "slot-taken")


async def test_without_a_name_the_first_free_resource_serves(tom: Person, eve: Person, shared: Service) -> None:
    numbers = [(await booked(person, shared))["resource_id"] for person in (tom, eve)]

    answer = await tom.asks("POST", "/bookings", json={"service_id": shared.id, "start_time": TEN})

    assert numbers == [1, 2]
    assert refused(answer) == (409, "slot-taken")


@pytest.mark.parametrize(("resource", "expected"), [(99, (404, "unknown-resource")), (3, (400, "resource-unsuitable"))])
async def test_a_resource_that_cannot_serve_is_refused(
    tom: Person, shared: Service, haircut: Service, resource: int, expected: tuple[int, str]
) -> None:
    wanted = {"service_id": shared.id, "start_time": TEN, "resource_id": resource}

    answer = await tom.asks("POST", "/bookings", json=wanted)

    assert refused(answer) == expected


async def test_a_service_that_nothing_serves_is_refused(tom: Person, haircut: Service, database: Database) -> None:
    async with database.transaction(by=OWNER) as session:
        own = await records.hold(session, Resource, 1)
        await records.change(session, own, by=OWNER, now=NOW, is_active=False)

    answer = await tom.asks("POST", "/bookings", json={"service_id": haircut.id, "start_time": TEN})

    assert refused(answer) == (400, "nothing-to-serve-it")


async def test_a_resource_of_two_places_takes_two(
    tom: Person, eve: Person, mara: Person, haircut: Service, database: Database
) -> None:
    async with database.transaction(by=OWNER) as session:
        own = await records.hold(session, Resource, 1)
        await records.change(session, own, by=OWNER, now=NOW, capacity=2)

    await booked(tom, haircut)
    await booked(eve, haircut)
    answer = await mara.asks("POST", "/bookings", json={"service_id": haircut.id, "start_time": TEN})

    assert refused(answer) == (409, "slot-taken")


async def test_a_time_without_offset_is_the_businesss_own(tom: Person, haircut: Service) -> None:
    found = await booked(tom, haircut, "2030-01-08T10:00:00")

    assert found["start_time"] == TEN


async def test_visitors_cannot_book(visitor: httpx2.AsyncClient, haircut: Service) -> None:
    answer = await visitor.post("/bookings", json={"service_id": haircut.id, "start_time": TEN})

    assert refused(answer) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_customers_see_their_own_and_staff_everybodys(
    tom: Person, eve: Person, mara: Person, haircut: Service
) -> None:
    first = await booked(tom, haircut)
    second = await booked(eve, haircut, ELEVEN)

    seen = [(await person.asks("GET", "/bookings")).json() for person in (tom, eve, mara)]

    assert seen == [[first], [second], [first, second]]


async def test_somebody_elses_booking_is_forbidden_and_a_missing_one_missing(
    tom: Person, eve: Person, mara: Person, haircut: Service
) -> None:
    found = await booked(tom, haircut)
    path = f"/bookings/{found['id']}"

    answers = {
        "get": refused(await eve.asks("GET", path)),
        "patch": refused(await eve.asks("PATCH", path, json={"status": "cancelled"})),
        "delete": refused(await eve.asks("DELETE", path)),
        "missing": refused(await eve.asks("GET", "/bookings/99")),
    }

    assert answers == {
        "get": (403, "not-your-booking"),
        "patch": (403, "not-your-booking"),
        "delete": (403, "not-your-booking"),
        "missing": (404, "missing"),
    }
    assert (await mara.asks("GET", path)).json() == found


async def test_lists_are_filtered(tom: Person, haircut: Service, shared: Service, database: Database) -> None:
    first = await booked(tom, haircut)
    second = await booked(tom, haircut, "2030-01-09T10:00:00Z")
    third = await booked(tom, shared, "2030-01-10T10:00:00Z")
    await led_to(database, second["id"], Status.CONFIRMED)

    async def numbers(**query: Any) -> list[int]:
        return [row["id"] for row in (await tom.asks("GET", "/bookings", params=query)).json()]

    assert await numbers(status="confirmed") == [second["id"]]
    assert await numbers(from_date="2030-01-09") == [second["id"], third["id"]]
    assert await numbers(to_date="2030-01-09") == [first["id"], second["id"]]
    assert await numbers(from_date="2030-01-08T10:00:00Z", to_date="2030-01-09T10:00:00Z") == [first["id"]]
    assert await numbers(service_id=shared.id) == [third["id"]]
    assert await numbers(status="no_show") == []


async def test_an_owner_reschedules(tom: Person, haircut: Service) -> None:
    found = await booked(tom, haircut)

    answer = await tom.asks("PATCH", f"/bookings/{found['id']}", json={"start_time": ELEVEN})

    expected = found | {"start_time": ELEVEN, "end_time": "2030-01-08T11:45:00Z", "version": 2}
    assert (answer.status_code, answer.json()) == (200, expected)


async def test_rescheduling_onto_itself_is_no_conflict(tom: Person, haircut: Service) -> None:
    found = await booked(tom, haircut)

    answer = await tom.asks("PATCH", f"/bookings/{found['id']}", json={"start_time": "2030-01-08T10:15:00Z"})

    assert answer.status_code == 200


async def test_rescheduling_into_a_taken_slot_is_refused(tom: Person, eve: Person, haircut: Service) -> None:
    await booked(tom, haircut)
    found = await booked(eve, haircut, ELEVEN)

    answer = await eve.asks("PATCH", f"/bookings/{found['id']}", json={"start_time": TEN})

    assert refused(answer) == (409, "slot-taken")
    assert (await eve.asks("GET", f"/bookings/{found['id']}")).json() == found


async def test_rescheduling_into_the_past_is_refused(tom: Person, haircut: Service) -> None:
    found = await booked(tom, haircut)

    answer = await tom.asks("PATCH", f"/bookings/{found['id']}", json={"start_time": "2030-01-06T10:00:00Z"})

    assert refused(answer) == (400, "in-the-past")


async def test_rescheduling_to_another_resource_obeys_the_service(
    tom: Person, haircut: Service, shared: Service
) -> None:
    found = await booked(tom, shared)
    path = f"/bookings/{found['id']}"

    moved = await tom.asks("PATCH", path, json={"resource_id": 2})
    answers = [refused(await tom.asks("PATCH", path, json={"resource_id": number})) for number in (3, 99)]

    assert moved.json()["resource_id"] == 2
    assert answers == [(400, "resource-unsuitable"), (404, "unknown-resource")]


async def test_an_owner_cancels(tom: Person, haircut: Service) -> None:
    found = await booked(tom, haircut)

    answer = await tom.asks("PATCH", f"/bookings/{found['id']}", json={"status": "cancelled"})

    assert (answer.status_code, answer.json()) == (200, found | {"status": "cancelled", "version": 2})


@pytest.mark.parametrize("status", ["confirmed", "completed", "no_show"])
async def test_any_other_status_is_for_staff(tom: Person, mara: Person, haircut: Service, status: str) -> None:
    found = await booked(tom, haircut)
    path = f"/bookings/{found['id']}"

    by_owner = await tom.asks("PATCH", path, json={"status": status})
    by_staff = await mara.asks("PATCH", path, json={"status": status})

    assert refused(by_owner) == (403, "only-cancel")
    assert (by_staff.status_code, by_staff.json()["status"]) == (200, status)


@pytest.mark.parametrize("status", [Status.CANCELLED, Status.COMPLETED, Status.NO_SHOW])
async def test_a_booking_whose_life_is_over_is_not_its_owners_to_change(
    tom: Person, haircut: Service, database: Database, status: Status
) -> None:
    found = await booked(tom, haircut)
    await led_to(database, found["id"], status)
    path = f"/bookings/{found['id']}"

    moved = await tom.asks("PATCH", path, json={"start_time": ELEVEN})

    assert refused(moved) == (400, "no-longer-open")
    if status != Status.CANCELLED:
        assert refused(await tom.asks("PATCH", path, json={"status": "cancelled"})) == (400, "no-longer-open")


async def test_staff_bring_back_a_cancelled_booking_if_its_slot_is_free(
    tom: Person, eve: Person, mara: Person, haircut: Service
) -> None:
    first = await booked(tom, haircut)
    await tom.asks("PATCH", f"/bookings/{first['id']}", json={"status": "cancelled"})
    second = await booked(eve, haircut)

    while_taken = await mara.asks("PATCH", f"/bookings/{first['id']}", json={"status": "confirmed"})
    await eve.asks("DELETE", f"/bookings/{second['id']}")
    when_free = await mara.asks("PATCH", f"/bookings/{first['id']}", json={"status": "confirmed"})

    assert refused(while_taken) == (409, "slot-taken")
    assert (when_free.status_code, when_free.json()["status"]) == (200, "confirmed")


async def test_an_owner_deletes_before_the_start_and_staff_any_time(
    tom: Person, mara: Person, haircut: Service, clock: Clock
) -> None:
    first, second, third = [
        await booked(tom, haircut, start) for start in ("2030-01-07T09:01:00Z", "2030-01-07T10:00:00Z", TEN)
    ]
    clock.pass_by(minutes=1)

    late = await tom.asks("DELETE", f"/bookings/{first['id']}")
    early = await tom.asks("DELETE", f"/bookings/{second['id']}")
    by_staff = await mara.asks("DELETE", f"/bookings/{first['id']}")

    assert refused(late) == (400, "already-started")
    assert (early.status_code, by_staff.status_code) == (204, 204)
    assert [row["id"] for row in (await mara.asks("GET", "/bookings")).json()] == [third["id"]]


async def test_a_stale_edit_is_refused(tom: Person, mara: Person, haircut: Service) -> None:
    found = await booked(tom, haircut)
    path = f"/bookings/{found['id']}"
    seen = (await tom.asks("GET", path)).headers["etag"]
    await mara.asks("PATCH", path, json={"status": "confirmed"})

    stale = await tom.asks("PATCH", path, json={"start_time": ELEVEN}, headers={"If-Match": seen})
    gone = await tom.asks("DELETE", path, headers={"If-Match": seen})
    fresh = await tom.asks("PATCH", path, json={"start_time": ELEVEN}, headers={"If-Match": '"2"'})

    assert (refused(stale), refused(gone)) == ((412, "stale"), (412, "stale"))
    assert (fresh.status_code, fresh.headers["etag"]) == (200, '"3"')


async def test_setup_and_cleanup_are_kept_free(tom: Person, eve: Person, ada: Person) -> None:
    about = {"title": "Massage", "price": 80, "duration_minutes": 60, "setup_minutes": 10, "cleanup_minutes": 20}
    service = (await ada.asks("POST", "/services", json=about)).json()
    await tom.asks("POST", "/bookings", json={"service_id": service["id"], "start_time": TEN})

    async def asked(start: str) -> int:
        wanted = {"service_id": service["id"], "start_time": start}
        return (await eve.asks("POST", "/bookings", json=wanted)).status_code

    assert await asked("2030-01-08T11:29:00Z") == 409
    assert await asked("2030-01-08T11:30:00Z") == 201
    assert await asked("2030-01-08T08:31:00Z") == 409
    assert await asked("2030-01-08T08:30:00Z") == 201
