"""For whom a visit is: a customer may book for somebody else, whose name stands beside theirs wherever the visit is."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from bookit import records
from bookit import refusals as no
from bookit.schema.tables import Booking, Service
from tests.support.admin_client import AdminDesk, get_page_text, post_form, submit_form
from tests.support.clock import NOW, TOMORROW_AT_TEN
from tests.support.doors import AT_BOTH_DOORS, DoorClient
from tests.support.people import OWNER, Person
from tests.support.refusal_assertions import RefusalOutcome

UNSEEN = ["\u202eammE", "...", "\u200b", "a\u0301\u0301\u0301\u0301\u0301\u0301"]


@AT_BOTH_DOORS
async def test_a_visit_is_for_the_customer_or_for_somebody_else(
    door: DoorClient, tom: Person, haircut: Service
) -> None:
    own = await door.book(tom, haircut, TOMORROW_AT_TEN)
    other = await door.book(tom, haircut, TOMORROW_AT_TEN + timedelta(hours=2), visitor_name="  Emma ")

    assert (own["visitor_name"], other["visitor_name"]) == (None, "Emma")
    changed = await door.reschedule(other, visitor_name="Emily")
    assert changed == {**other, "visitor_name": "Emily", "version": 2}
    moved = await door.reschedule(changed, start_time=TOMORROW_AT_TEN + timedelta(hours=3), visitor_name=None)
    assert (moved["visitor_name"], moved["start_time"]) == (None, TOMORROW_AT_TEN + timedelta(hours=3))


@AT_BOTH_DOORS
@pytest.mark.parametrize("name", [*UNSEEN, "x" * 101], ids=lambda name: f"{name:.5}")
async def test_a_name_that_nobody_can_read_is_refused(
    door: DoorClient, tom: Person, haircut: Service, name: str
) -> None:
    refused = RefusalOutcome(no.Misshapen, "visitor_name")
    booking = await door.book(tom, haircut, TOMORROW_AT_TEN)

    assert await door.book(tom, haircut, TOMORROW_AT_TEN + timedelta(hours=2), visitor_name=name) == refused
    assert await door.reschedule(booking, visitor_name=name) == refused


async def test_a_customer_names_no_other_visitor_once_it_has_begun(
    desk: AdminDesk, tom: Person, haircut: Service
) -> None:
    async with desk.database.transaction(by=OWNER, now=NOW) as session:
        facts: dict[str, Any] = {"user_id": tom.id, "service_id": 1, "start_time": NOW - timedelta(hours=1)}
        booking = await records.create(session, Booking, by=OWNER, now=NOW, **facts)

    refused = await tom.request("PATCH", f"/bookings/{booking.id}", json={"visitor_name": "Emma"})
    assert (refused.status_code, refused.json()["code"]) == (400, "already-started")
    corrected = await submit_form(desk.mara, f"/admin/booking/edit/{booking.id}", visitor_name="Emma")
    assert corrected.status == 302
    assert ((await desk.fetch_row("bookings", booking.id)) or {})["visitor_name"] == "Emma"


async def test_the_name_is_wherever_the_visit_is(desk: AdminDesk, tom: Person, haircut: Service) -> None:
    sent = {"service_id": 1, "start_time": (NOW + timedelta(hours=2)).isoformat(), "visitor_name": "Emma"}
    booking = (await tom.request("POST", "/bookings", json=sent)).json()
    listed = (await tom.request("GET", "/bookings")).json()
    document = (await tom.request("GET", "/me/export")).json()
    params = {"start": "2030-01-07", "end": "2030-01-08"}
    (block,) = (await desk.mara.get("/admin/calendar/feed", params=params)).json()["visits"]
    pages = [
        (await desk.mara.get(path)).text
        for path in (
            "/admin/", "/admin/booking/list", "/admin/booking/details/1", "/admin/booking/bulk?of=1",
        )
    ]  # fmt: skip
    exported = (await desk.ada.get("/admin/booking/export/csv")).text

    assert [booking["visitor_name"], listed[0]["visitor_name"], document["bookings"][0]["for"]] == ["Emma"] * 3
    assert block["customer"] == "Tom for Emma"
    assert ["Tom for Emma" in get_page_text(page) for page in pages[:3]] == [True] * 3
    assert ",Emma" in exported
    events = await desk.database.fetch(text("SELECT new FROM events WHERE table_name = 'bookings' ORDER BY id"))
    assert events[0]["new"]["visitor_name"] == "Emma"


async def test_the_calendar_books_for_somebody_else(desk: AdminDesk, tom: Person, haircut: Service) -> None:
    sent = {"service_id": 1, "start": "2030-01-08T11:00", "user_id": tom.id, "visitor_name": "Emma"}
    answer = await desk.mara.post("/admin/calendar/book", json=sent)
    unseen = await desk.mara.post("/admin/calendar/book", json={**sent, "visitor_name": "\u202eammE"})

    assert (answer.status_code, answer.json()["visit"]["customer"]) == (200, "Tom for Emma")
    assert (unseen.status_code, unseen.json()["field"]) == (422, "visitor_name")


async def test_an_erasure_removes_the_names_of_visitors(desk: AdminDesk, tom: Person, haircut: Service) -> None:
    async with desk.database.transaction(by=OWNER, now=NOW) as session:
        for days in (-1, 1):
            facts: dict[str, Any] = {"user_id": tom.id, "service_id": 1, "start_time": NOW + timedelta(days=days)}
            await records.create(session, Booking, by=OWNER, now=NOW, visitor_name="Emma Quill", **facts)

    assert (await post_form(desk.ada, f"/admin/user/{tom.id}/erase", {"email": "tom@example.com"})).status == 303

    rows = await desk.database.fetch(text("SELECT visitor_name, status FROM bookings ORDER BY start_time"))
    assert [row["visitor_name"] for row in rows] == [None, None]
    assert await desk.database.fetch(text("SELECT FROM events e WHERE e::text ~ 'Quill'")) == []
