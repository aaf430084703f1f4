"""Times in the admin panel: the next free slots, refusals, and the bookings in a closure."""

from typing import Any

import pytest
from sqlalchemy import text

from bookit.db.pool import Database
from bookit.schema.tables import Service
from tests.support.admin_client import AdminDesk, FormResult, ParsedPage, get_page_text, post_form, submit_form
from tests.support.opening_hours import add_exception, add_opening_hours, create_booking, create_service
from tests.support.people import Person

NEW = "/admin/booking/create"


async def book(desk: AdminDesk, who: Person, start: str, **more: Any) -> FormResult:
    return await submit_form(desk.mara, NEW, user=who.id, service=1, start_time=start, **more)


@pytest.fixture
async def massage(database: Database) -> Service:
    """Create a massage of an hour by Lea, who works 9 to 12 Berlin time, booked a day ahead on the hour."""
    berlin = {"name": "Lea", "timezone": "Europe/Berlin"}
    service = await create_service(database, berlin, min_notice_minutes=1440, slot_step_minutes=60)
    await add_opening_hours(database, 1, "09:00-12:00")
    return service


async def test_a_taken_time_is_refused_with_the_next_free_times(desk: AdminDesk, tom: Person, massage: Service) -> None:
    await create_booking(tom, "2030-01-09T10:00:00+01:00")

    answer = await book(desk, tom, "2030-01-09T10:00")

    assert answer.status == 409
    assert "Booking conflict: time slot is not available" in answer.text
    assert "Next free: Wed 09 Jan, 11:00; Thu 10 Jan, 09:00; Thu 10 Jan, 10:00." in answer.text


@pytest.mark.parametrize(
    ("start", "sentence", "next_free"),
    [
        ("2030-01-08T09:00", "Please book at least 1 day in advance.", "Tue 08 Jan, 10:00"),
        ("2030-01-09T13:00", "This time is outside opening hours.", "Fri 11 Jan, 09:00"),
        ("2030-01-09T09:30", "Start times are every hour from opening time. Choose one of those.", "Wed 09 Jan, 10:00"),
        ("2030-01-10T09:00", "It is closed at this time.", "Fri 11 Jan, 09:00"),
    ],
)
async def test_a_rule_is_overridden_with_a_reason(
    start: str, sentence: str, next_free: str, desk: AdminDesk, tom: Person, massage: Service
) -> None:
    await add_exception(desk.database, "2030-01-10T00:00+01:00", "2030-01-11T00:00+01:00")

    refused = await book(desk, tom, start)
    anyway = await book(desk, tom, start, override_reason="Her wedding day")

    assert (refused.status, anyway.status) == (400, 302)
    assert f"{sentence} Next free: {next_free};" in refused.text
    events = await desk.database.fetch(text("SELECT reason FROM events WHERE table_name = 'bookings'"))
    assert [row["reason"] for row in events] == ["Her wedding day"]


@pytest.mark.parametrize("reason", ["a\0b", "x" * 201])
async def test_an_invalid_reason_is_refused_on_its_field(
    desk: AdminDesk, tom: Person, massage: Service, reason: str
) -> None:
    answer = await book(desk, tom, "2030-01-09T13:00", override_reason=reason)

    assert answer.status == 400
    assert 'id="override_reason-error"' in answer.html
    assert "written down" not in answer.text
    assert await desk.database.fetch(text("SELECT id FROM bookings")) == []


async def test_an_overlap_cannot_be_overridden_in_the_panel(
    desk: AdminDesk, tom: Person, massage: Service, database: Database
) -> None:
    await create_booking(tom, "2030-01-09T10:00:00+01:00")

    answer = await book(desk, tom, "2030-01-09T10:30", override_reason="Please")

    assert answer.status == 409
    assert len(await database.fetch(text("SELECT id FROM bookings"))) == 1


async def test_moving_is_refused_and_overridden_alike(
    desk: AdminDesk, tom: Person, massage: Service, database: Database
) -> None:
    mine = await create_booking(tom, "2030-01-09T10:00:00+01:00")
    edit = f"/admin/booking/edit/{mine['id']}"

    refused = await submit_form(desk.mara, edit, start_time="2030-01-09T20:00")
    anyway = await submit_form(desk.mara, edit, start_time="2030-01-09T20:00", override_reason="After work")

    assert (refused.status, anyway.status) == (400, 302)
    assert "Next free: Thu 10 Jan, 09:00" in refused.text
    row = await desk.fetch_row("bookings", mine["id"])
    assert row
    assert row["start_time"].isoformat() == "2030-01-09T19:00:00+00:00"


async def test_a_closure_lists_the_bookings_in_it(
    desk: AdminDesk, tom: Person, eve: Person, massage: Service, database: Database
) -> None:
    for who, start in ((tom, "2030-01-09T10:00:00+01:00"), (eve, "2030-01-09T11:00:00+01:00")):
        await create_booking(who, start)
    await create_booking(tom, "2030-01-12T10:00:00+01:00")

    span = {"start_time": "2030-01-09T00:00", "end_time": "2030-01-10T00:00", "reason": "Ill"}
    path = "/admin/calendar-exception/create"
    asked = await submit_form(desk.mara, path, "is_open", resource=1, **span)
    answer = await post_form(desk.mara, path, ParsedPage(asked.html).fields)

    assert "2 visits to come would no longer fit." in asked.text
    assert answer.status == 302
    page = await desk.mara.get("/admin/calendar-exception/details/2")
    page_text = get_page_text(page.text)
    assert "Bookings in this closure" in page_text
    assert "Wed 09 Jan 2030, 10:00 : Tom, Massage, Lea" in page_text
    assert "Wed 09 Jan 2030, 11:00 : Eve, Massage, Lea" in page_text
    assert "12 Jan" not in page_text
    assert page.text.count("/admin/booking/details/") == 2


@pytest.mark.parametrize(
    ("resource", "timezone", "lists"),
    [(None, "America/New_York", [True, False]), (1, "America/New_York", [True, False]), (None, None, [False, True])],
)
async def test_a_closure_lists_bookings_by_the_clock_of_each_resource(
    desk: AdminDesk,
    tom: Person,
    massage: Service,
    database: Database,
    resource: int | None,
    timezone: str | None,
    lists: list[bool],
) -> None:
    """Written as 9 to 11 by the clock of New York, it is 9 to 11 in Berlin too; without a zone it is 15 to 17 there."""
    await add_opening_hours(database, 1, "15:00-17:00")
    for start in ("2030-01-09T10:00:00+01:00", "2030-01-09T15:00:00+01:00"):
        await create_booking(tom, start)
    span = ("2030-01-09T09:00-05:00", "2030-01-09T11:00-05:00")
    await add_exception(database, *span, resource=resource, timezone=timezone)

    page = get_page_text((await desk.mara.get("/admin/calendar-exception/details/1")).text)

    assert [f"Wed 09 Jan 2030, {hour}:00 : Tom" in page for hour in (10, 15)] == lists


async def test_openings_and_past_closures_list_no_bookings(
    desk: AdminDesk, tom: Person, massage: Service, database: Database
) -> None:
    await create_booking(tom, "2030-01-09T10:00:00+01:00")
    await add_exception(database, "2030-01-09T00:00+01:00", "2030-01-10T00:00+01:00", is_open=True)
    await add_exception(database, "2030-01-01T00:00+01:00", "2030-01-02T00:00+01:00")

    pages = [
        get_page_text((await desk.mara.get(f"/admin/calendar-exception/details/{number}")).text) for number in (1, 2)
    ]

    assert ["Bookings in this closure" in page for page in pages] == [False, False]
