"""No customer is booked twice at one time, unless the customer or the desk says that both visits are meant."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from bookit import records
from bookit import refusals as no
from bookit.bookings import undo
from bookit.bookings.bulk import BulkAction
from bookit.db.pool import Database
from bookit.schema.tables import Booking, Resource, Service, Status
from tests.support import bulk_scenario
from tests.support.admin_client import AdminDesk, ParsedPage, get_page_text
from tests.support.bulk_scenario import HALF_HOUR, LEA, MARA, MAX, NAILS, TEN, ZOE
from tests.support.clock import NOW, Clock
from tests.support.doors import AT_BOTH_DOORS, DoorClient
from tests.support.people import OWNER, Person
from tests.support.refusal_assertions import RefusalOutcome
from tests.support.request_helpers import count_rows

MINUTE = timedelta(minutes=1)


@pytest.fixture
async def yoga(database: Database) -> Service:
    """Create a class of 45 minutes with three places, held by Jonas."""
    async with database.transaction(by=OWNER) as session:
        jonas = await records.create(session, Resource, by=OWNER, now=NOW, name="Jonas", capacity=3)
        facts: dict[str, Any] = {"title": "Yoga", "price": 12, "duration_minutes": 45, "resource_ids": [jonas.id]}
        return await records.create(session, Service, by=OWNER, now=NOW, **facts)


@pytest.fixture
async def massage(database: Database, yoga: Service) -> Service:
    async with database.transaction(by=OWNER) as session:
        facts: dict[str, Any] = {"title": "Massage", "price": 60, "duration_minutes": 45}
        return await records.create(session, Service, by=OWNER, now=NOW, **facts)


# A second booking.


@AT_BOTH_DOORS
@pytest.mark.parametrize("minutes", [-44, 0, 15, 44])
async def test_the_same_service_twice_at_one_time_is_refused(
    door: DoorClient, tom: Person, yoga: Service, minutes: int
) -> None:
    await door.book(tom, yoga, TEN)

    assert await door.book(tom, yoga, TEN + minutes * MINUTE) == RefusalOutcome(no.AlreadyBooked)


@AT_BOTH_DOORS
@pytest.mark.parametrize("minutes", [-44, 0, 44])
async def test_another_service_at_one_time_is_refused(
    door: DoorClient, tom: Person, yoga: Service, massage: Service, minutes: int
) -> None:
    await door.book(tom, yoga, TEN)

    assert await door.book(tom, massage, TEN + minutes * MINUTE) == RefusalOutcome(no.OverlappingBooking)


@AT_BOTH_DOORS
async def test_both_are_booked_if_they_are_meant(
    door: DoorClient, tom: Person, yoga: Service, massage: Service
) -> None:
    await door.book(tom, yoga, TEN)

    booking = await door.book(tom, massage, TEN, overlap=True)

    assert (booking["user_id"], booking["start_time"]) == (tom.id, TEN)


@AT_BOTH_DOORS
@pytest.mark.parametrize("minutes", [0, 15])
async def test_only_the_desk_books_a_service_twice_at_one_time(
    door: DoorClient, tom: Person, yoga: Service, minutes: int
) -> None:
    """At the API the second request may be the first one, repeated. At the desk a mother books for her child too."""
    await door.book(tom, yoga, TEN)

    second = await door.book(tom, yoga, TEN + minutes * MINUTE, overlap=True)

    if door.new_status == Status.PENDING:
        assert second == RefusalOutcome(no.AlreadyBooked)
    else:
        assert (second["user_id"], second["start_time"]) == (tom.id, TEN + minutes * MINUTE)


@pytest.mark.parametrize("more", [{"overlap": True}, {"overlap": True, "override_reason": "A mother and her child."}])
async def test_staff_repeat_no_booking_at_the_api(
    mara: Person, yoga: Service, massage: Service, more: dict[str, Any]
) -> None:
    """The repeat of a booking that overlaps one of another service is refused as the booking that was repeated."""
    visit = {"start_time": TEN.isoformat(), **more}
    await mara.request("POST", "/bookings", json={**visit, "service_id": massage.id})

    answers = await asyncio.gather(
        *(mara.request("POST", "/bookings", json={**visit, "service_id": yoga.id}) for _ in range(3))
    )

    assert sorted(answer.json().get("code", "booked") for answer in answers) == [
        "already-booked", "already-booked", "booked",
    ]  # fmt: skip


async def test_a_double_click_at_the_desk_books_one_more(desk: AdminDesk, tom: Person, yoga: Service) -> None:
    await tom.request("POST", "/bookings", json={"service_id": yoga.id, "start_time": TEN.isoformat()})
    fields = ParsedPage((await desk.mara.get("/admin/booking/create")).text).fields
    form = {**fields, "user": str(tom.id), "service": str(yoga.id), "start_time": "2030-01-08T11:00", "save": "Save"}
    asked = await desk.mara.post("/admin/booking/create", data=form)
    again = {**form, "form_key": ParsedPage(asked.text).fields["form_key"], "overlap": "y"}

    answers = await asyncio.gather(*(desk.mara.post("/admin/booking/create", data=again) for _ in range(2)))

    assert 'name="overlap"' in asked.text
    assert [answer.is_redirect for answer in answers] == [True, True]
    assert (await count_rows(desk.database))["bookings"] == 2


@AT_BOTH_DOORS
async def test_a_meant_overlap_does_not_allow_the_next_one(
    door: DoorClient, tom: Person, yoga: Service, massage: Service
) -> None:
    await door.book(tom, yoga, TEN)
    await door.book(tom, massage, TEN, overlap=True)

    assert await door.book(tom, yoga, TEN) == RefusalOutcome(no.AlreadyBooked)


@AT_BOTH_DOORS
@pytest.mark.parametrize("minutes", [-45, 45])
async def test_one_visit_after_the_other_is_accepted(
    door: DoorClient, tom: Person, yoga: Service, massage: Service, minutes: int
) -> None:
    await door.book(tom, yoga, TEN)

    booking = await door.book(tom, massage, TEN + minutes * MINUTE)

    assert booking["start_time"] == TEN + minutes * MINUTE


@AT_BOTH_DOORS
async def test_another_customer_may_come_at_the_same_time(
    door: DoorClient, tom: Person, eve: Person, yoga: Service
) -> None:
    await door.book(tom, yoga, TEN)

    assert (await door.book(eve, yoga, TEN))["user_id"] == eve.id


@AT_BOTH_DOORS
@pytest.mark.parametrize("status", [Status.CANCELLED, Status.COMPLETED, Status.NO_SHOW])
async def test_a_visit_that_is_no_longer_open_is_in_nobodys_way(
    door: DoorClient, tom: Person, yoga: Service, status: Status
) -> None:
    await door.set_status(await door.book(tom, yoga, TEN), status)

    assert (await door.book(tom, yoga, TEN))["id"] == 2


async def test_a_hold_counts_until_it_expires(tom: Person, yoga: Service, clock: Clock) -> None:
    body = {"service_id": yoga.id, "start_time": TEN.isoformat()}
    await tom.request("POST", "/bookings", json={**body, "hold": True})

    codes = []
    for minutes in (9, 1):
        clock.advance(minutes=minutes)
        answer = await tom.request("POST", "/bookings", json=body)
        codes.append(answer.json().get("code", "booked"))

    assert codes == ["already-booked", "booked"]


@AT_BOTH_DOORS
async def test_a_full_class_is_refused_as_such(door: DoorClient, tom: Person, eve: Person, massage: Service) -> None:
    """The slot is taken, by whomever; that is what the second of two equal requests is told."""
    await door.book(tom, massage, TEN)

    assert await door.book(tom, massage, TEN) == RefusalOutcome(no.SlotTaken)


# Changes that would make a second visit.


@AT_BOTH_DOORS
@pytest.mark.parametrize("overlap", [False, True])
async def test_a_move_onto_another_visit_is_asked_about(
    door: DoorClient, tom: Person, yoga: Service, massage: Service, overlap: bool
) -> None:
    await door.book(tom, yoga, TEN)
    other = await door.book(tom, massage, TEN + 45 * MINUTE)

    moved = await door.reschedule(other, start_time=TEN + 15 * MINUTE, **({"overlap": True} if overlap else {}))

    if overlap:
        assert (moved["id"], moved["start_time"]) == (2, TEN + 15 * MINUTE)
    else:
        assert moved == RefusalOutcome(no.OverlappingBooking)


@AT_BOTH_DOORS
async def test_a_longer_visit_that_reaches_another_is_refused(
    door: DoorClient, tom: Person, yoga: Service, massage: Service
) -> None:
    first = await door.book(tom, yoga, TEN)
    await door.book(tom, massage, TEN + 45 * MINUTE)

    assert await door.reschedule(first, end_time=TEN + 60 * MINUTE) == RefusalOutcome(no.OverlappingBooking)


@AT_BOTH_DOORS
async def test_an_overlap_that_was_accepted_stays_accepted(
    door: DoorClient, tom: Person, yoga: Service, massage: Service
) -> None:
    await door.book(tom, massage, TEN)
    second = await door.book(tom, yoga, TEN, overlap=True)

    longer = await door.reschedule(second, end_time=TEN + 60 * MINUTE)

    assert longer["end_time"] == TEN + 60 * MINUTE


@AT_BOTH_DOORS
@pytest.mark.parametrize("status", [Status.PENDING, Status.CONFIRMED])
@pytest.mark.parametrize(("second", "refusal"), [("yoga", no.AlreadyBooked), ("massage", no.OverlappingBooking)])
async def test_staff_are_asked_before_a_visit_is_live_again_over_another(
    door: DoorClient,
    tom: Person,
    yoga: Service,
    massage: Service,
    status: Status,
    second: str,
    refusal: type[no.Refusal],
) -> None:
    first = await door.book(tom, yoga, TEN)
    await door.set_status(first, Status.CANCELLED)
    await door.book(tom, {"yoga": yoga, "massage": massage}[second], TEN)

    assert await door.set_status(first, status) == RefusalOutcome(refusal)
    reopened = await door.set_status(first, status, overlap=True)

    assert (reopened["id"], reopened["status"]) == (first["id"], status)


async def test_the_list_asks_about_the_visits_that_overlap(
    desk: AdminDesk, tom: Person, eve: Person, yoga: Service, massage: Service
) -> None:
    """The others are done at once, and the reason is kept."""
    for person, service in ((tom, yoga), (eve, massage)):
        body = {"service_id": service.id, "start_time": TEN.isoformat()}
        await person.request("POST", "/bookings", json=body)
    await desk.database.fetch(text("UPDATE bookings SET status = 'cancelled'"))
    await tom.request("POST", "/bookings", json={"service_id": yoga.id, "start_time": TEN.isoformat()})
    path, sent = "/admin/booking/action/reopen", {"pks": "1,2", "back": "/admin/booking/list", "reason": "Mistake"}

    asked = await desk.mara.post(path, data=sent)

    page = get_page_text(asked.text)
    assert asked.status_code == 409
    assert "Booking #2 is reopened." in page
    assert "#1: Tom already has Yoga at 10:00 on Tue 8 Jan with Jonas (booking 3)." in page
    assert "The customer has another visit at this time. Are both meant? Reopen anyway Back" in page
    fields = ParsedPage(asked.text).fields
    assert fields == {"q": "", **sent, "pks": "1", "overlap": "y"}
    done = await desk.mara.post(path, data=fields)
    assert done.headers["location"] == "/admin/booking/list"
    rows = await desk.database.fetch(text("SELECT id, status FROM bookings ORDER BY id"))
    assert [(row["id"], row["status"]) for row in rows] == [(1, "pending"), (2, "pending"), (3, "pending")]


async def test_a_customer_moves_no_visit_onto_one_of_the_same_service(tom: Person, mara: Person, yoga: Service) -> None:
    for start in (TEN, TEN + 45 * MINUTE):
        await tom.request("POST", "/bookings", json={"service_id": yoga.id, "start_time": start.isoformat()})
    body = {"start_time": TEN.isoformat(), "overlap": True}

    answers = [await person.request("PATCH", "/bookings/2", json=body) for person in (tom, mara)]

    assert [answer.json().get("code", "moved") for answer in answers] == ["already-booked", "moved"]


async def test_a_move_to_another_customers_name_is_refused_in_a_console(
    database: Database, tom: Person, eve: Person, yoga: Service
) -> None:
    for person in (tom, eve):
        await person.request("POST", "/bookings", json={"service_id": yoga.id, "start_time": TEN.isoformat()})

    sentence = r"^Tom already has Yoga at 10:00 on Tue 8 Jan with Jonas \(booking 1\)\.$"
    with pytest.raises(no.AlreadyBooked, match=sentence):
        async with database.transaction(by=OWNER) as session:
            await session.fetch(text("UPDATE bookings SET user_id = 1 WHERE id = 2"))


async def test_undo_brings_back_an_overlap_that_was_accepted(database: Database, tom: Person, mara: Person) -> None:
    await bulk_scenario.create_business(database)
    await bulk_scenario.create_booking(database, TEN)
    async with database.transaction(by=MARA, request_id="book") as session:
        facts: dict[str, Any] = {"service_id": NAILS, "resource_id": ZOE, "start_time": TEN, "user_id": tom.id}
        await records.create(session, Booking, by=MARA, now=NOW, **facts, overlap=True)
    async with database.transaction(by=MARA, request_id="move") as session:
        row = await records.lock(session, Booking, 2)
        await records.change(session, row, by=MARA, now=NOW, start_time=TEN + HALF_HOUR)
    [event, *_] = await bulk_scenario.fetch_events(database, 2)

    async with database.transaction(by=MARA, request_id="undo") as session:
        row = await undo.undo(session, 2, by=MARA, now=NOW, event_id=event["id"])

    assert row.start_time == TEN


@pytest.mark.parametrize(("reason", "outcome"), [(None, "OverlappingBooking"), ("She brings her son.", None)])
async def test_a_bulk_change_needs_a_reason_to_overlap(
    database: Database, tom: Person, mara: Person, reason: str | None, outcome: str | None
) -> None:
    await bulk_scenario.create_business(database)
    await bulk_scenario.create_booking(database, TEN)
    nails = await bulk_scenario.create_booking(database, TEN + HALF_HOUR, service=NAILS, resource=ZOE)

    outcomes = await bulk_scenario.run_bulk(
        database, [nails.id], BulkAction.SHIFT, minutes=-15, override_reason=reason, is_all_or_nothing=False
    )

    assert bulk_scenario.refusal_names(outcomes) == {nails.id: outcome}


async def test_two_visits_of_one_customer_swap_places(database: Database, tom: Person, mara: Person) -> None:
    await bulk_scenario.create_business(database)
    await bulk_scenario.create_booking(database, TEN)
    await bulk_scenario.create_booking(database, TEN + HALF_HOUR, resource=MAX)

    await bulk_scenario.run_bulk(database, [1, 2], BulkAction.SWAP)

    assert await bulk_scenario.fetch_starts(database) == {1: (TEN + HALF_HOUR, MAX), 2: (TEN, LEA)}


# What is said.


async def test_the_problem_names_the_customers_own_booking_and_no_other(
    tom: Person, eve: Person, yoga: Service
) -> None:
    body = {"service_id": yoga.id, "start_time": TEN.isoformat()}
    for person in (eve, tom):
        await person.request("POST", "/bookings", json=body)

    answer = await tom.request("POST", "/bookings", json=body)

    assert answer.status_code == 409
    assert answer.json() == {
        "type": "/problems/already-booked",
        "title": "Conflict",
        "status": 409,
        "detail": "You already have Yoga at 10:00 on Tue 8 Jan with Jonas (booking 2).",
        "code": "already-booked",
        "field": "start_time",
        "existing_booking": {
            "id": 2,
            "service_id": yoga.id,
            "start_time": "2030-01-08T10:00:00Z",
            "end_time": "2030-01-08T10:45:00Z",
        },
    }


async def test_the_desk_is_asked_and_may_go_on(desk: AdminDesk, tom: Person, yoga: Service, massage: Service) -> None:
    await tom.request("POST", "/bookings", json={"service_id": yoga.id, "start_time": TEN.isoformat()})
    form = {"user": str(tom.id), "service": str(massage.id), "start_time": "2030-01-08T11:15", "save": "Save"}

    refused = await desk.mara.post("/admin/booking/create", data=form)
    booked = await desk.mara.post("/admin/booking/create", data={**form, "overlap": "y"})

    page = get_page_text(refused.text)
    assert "Tom already has another visit then: Yoga at 10:00 on Tue 8 Jan with Jonas (booking 1)." in page
    assert "The customer has another visit at this time. Tick this if both are meant." in page
    assert "Save anyway" not in get_page_text((await desk.mara.get("/admin/booking/create")).text)
    assert booked.is_redirect
