"""The dashboard: the page on which a day at the desk begins."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest
from sqlalchemy import ClauseElement

from bookit import records
from bookit.db.pool import Database
from bookit.db.statements import Row
from bookit.policy import limits, permissions
from bookit.policy.permissions import Actor
from bookit.schema.tables import Booking, OpeningHours, Resource, Role, Service, Status
from tests.support.admin_client import AdminDesk, get_page_text, sign_in
from tests.support.clock import NOW, Clock
from tests.support.people import OWNER, Person

STATEMENTS = 6  # the signed-in user, the lists, the free slots, the first steps, the visits and the utilisation


@pytest.fixture
async def chair(database: Database) -> Resource:
    """Create a chair that is open on Mondays from nine to five, Berlin time."""
    async with database.transaction(by=OWNER) as session:
        audit: dict[str, Any] = {"by": OWNER, "now": NOW}
        chair = await records.create(session, Resource, **audit, name="Lea", timezone="Europe/Berlin")
        hours: dict[str, Any] = {"weekday": 1, "opens": time(9), "closes": time(17)}
        await records.create(session, OpeningHours, **audit, resource_id=chair.id, **hours)
        facts: dict[str, Any] = {"title": "Haircut", "price": 35, "duration_minutes": 45, "resource_ids": [chair.id]}
        await records.create(session, Service, **audit, **facts)
    return chair


async def book(database: Database, person: Person, start: datetime, status: Status, **more: Any) -> Booking:
    """Create a booking that starts then."""
    here: dict[str, Any] = {"by": OWNER, "now": NOW}
    async with database.transaction(by=OWNER, now=NOW) as session:
        facts = {"user_id": person.id, "service_id": 1, "start_time": start, **more}
        booking = await records.create(session, Booking, **here, **facts)
        return booking if status == Status.PENDING else await records.change(session, booking, **here, status=status)


def section_text(html: str, name: str) -> str:
    """Return the text of one section of the page."""
    return get_page_text(html[html.index(f'aria-labelledby="{name}"') :].split("</section>", 1)[0])


async def test_an_empty_business_shows_empty_sections(desk: AdminDesk) -> None:
    answer = await desk.mara.get("/admin/")

    assert answer.status_code == 200
    page_text = get_page_text(answer.text)
    for sentence in ("No more bookings today.", "Nothing to confirm.", "Nothing left to close.",
                     "Everything is closed for the rest of today."):  # fmt: skip
        assert sentence in page_text
    assert "<canvas" not in answer.text
    assert "Holds" not in page_text


async def test_the_dashboard_lists_next_pending_and_overdue_bookings(
    desk: AdminDesk, database: Database, tom: Person, eve: Person, chair: Resource
) -> None:
    await book(database, tom, NOW + timedelta(hours=2), Status.CONFIRMED)
    await book(database, eve, NOW + timedelta(hours=4), Status.PENDING)
    await book(database, tom, NOW + timedelta(days=7, hours=1), Status.PENDING)
    await book(database, eve, NOW - timedelta(minutes=50), Status.CONFIRMED)
    await book(database, tom, NOW, Status.CONFIRMED)  # They may still come.
    await book(database, tom, NOW + timedelta(hours=3), Status.CANCELLED)

    html = (await desk.ada.get("/admin/")).text

    nexts = section_text(html, "next")
    assert "Next today 3" in nexts
    assert [time for time in ("10:00", "12:00", "13:00", "14:00") if time in nexts] == ["10:00", "12:00", "14:00"]
    assert "Tom Haircut · Lea" in nexts
    assert "Eve Pending Haircut · Lea" in nexts
    assert get_page_text(html).count("Pending") == 1
    pending = section_text(html, "pending")
    assert "To confirm 2" in pending
    assert pending.index("14:00") < pending.index("Mon 14 Jan, 11:00")
    late = section_text(html, "late")
    assert "Did they come? 1" in late
    assert "more than 15 minutes ago" in late
    assert "09:10" in late
    assert "10:00" not in late
    for link in ("booking/list?status=pending&amp;start_time=2030-01-07..", "booking/list?start_time=2030-01-07",
                 "booking/details/1", f"user/details/{tom.id}", f"resource/details/{chair.id}"):  # fmt: skip
        assert f'href="https://bookit.test/admin/{link}"' in html


@pytest.mark.usefixtures("chair")
async def test_the_links_open_the_counted_rows(desk: AdminDesk, database: Database, tom: Person) -> None:
    await book(database, tom, NOW + timedelta(hours=4), Status.PENDING)
    await book(database, tom, NOW - timedelta(minutes=50), Status.CONFIRMED)

    waiting = get_page_text((await desk.ada.get("/admin/booking/list?status=pending&start_time=2030-01-07..")).text)
    late = get_page_text((await desk.ada.get("/admin/booking/list?status=confirmed&start_time=..2030-01-07")).text)

    assert ("14:00" in waiting, "09:10" in waiting) == (True, False)
    assert ("14:00" in late, "09:10" in late) == (False, True)


@pytest.mark.usefixtures("chair")
async def test_a_visit_that_nobody_confirmed_is_closed_too(
    desk: AdminDesk, database: Database, tom: Person, eve: Person, clock: Clock
) -> None:
    """A walk-in is entered as pending; it is on one list at each time."""
    await book(database, tom, NOW - timedelta(minutes=50), Status.PENDING)
    await book(database, eve, NOW - timedelta(days=14), Status.PENDING)
    await book(database, eve, NOW + timedelta(minutes=60), Status.PENDING)

    lists = {}
    for minutes in (0, 60, 14, 3):
        clock.advance(minutes=minutes)
        html = (await desk.ada.get("/admin/")).text
        lists[f"{clock():%H:%M}"] = (section_text(html, "pending").split(" 11:00")[0], section_text(html, "late"))

    assert "Did they come? 2 Started more than 15 minutes ago, and not closed yet. 09:10" in lists["09:00"][1]
    assert "Tom Pending Haircut" in lists["09:00"][1]
    assert "Mon 24 Dec" in lists["09:00"][1]
    assert "All pending bookings until today" in lists["09:00"][1]
    assert "To confirm 1" in lists["09:00"][0]
    assert "To confirm 1" in lists["10:00"][0]  # It begins now.
    assert "To confirm 1" in lists["10:14"][0]
    assert "Nothing to confirm." in lists["10:17"][0]
    assert "Did they come? 3" in lists["10:17"][1]


@pytest.mark.usefixtures("chair")
async def test_an_expired_hold_is_no_visit_to_close(
    desk: AdminDesk, database: Database, tom: Person, clock: Clock
) -> None:
    await book(database, tom, NOW + timedelta(hours=2), Status.PENDING, hold=True)
    clock.advance(hours=3)

    assert "Nothing left to close." in section_text((await desk.ada.get("/admin/")).text, "late")


async def test_free_time_is_open_time_without_bookings(
    desk: AdminDesk, database: Database, tom: Person, chair: Resource
) -> None:
    await book(database, tom, NOW + timedelta(hours=2), Status.CONFIRMED)

    free = section_text((await desk.ada.get("/admin/")).text, "free")

    assert chair.name in free
    assert "6 h 15 min of 7 h" in free  # From ten to five, but for 45 minutes.


async def test_no_more_time_is_free_than_is_open(desk: AdminDesk, database: Database, clock: Clock) -> None:
    """Half a minute of six seats is three minutes."""
    async with database.transaction(by=OWNER) as session:
        await records.create(session, Resource, by=OWNER, now=NOW, name="Studio", capacity=6)
    clock.advance(seconds=31)

    free = section_text((await desk.ada.get("/admin/")).text, "free")

    assert "83 h 57 min of 83 h 57 min" in free


@pytest.mark.usefixtures("chair")
async def test_a_hold_is_shown_until_it_expires(desk: AdminDesk, database: Database, tom: Person, clock: Clock) -> None:
    await book(database, tom, NOW + timedelta(hours=2), Status.PENDING, hold=True)

    html = (await desk.ada.get("/admin/")).text
    held = section_text(html, "holds")
    clock.advance(minutes=11)
    after = (await desk.ada.get("/admin/")).text

    assert "Holds 1" in held
    assert "held until 10:10" in held
    assert "Nothing to confirm." in section_text(html, "pending")
    assert 'aria-labelledby="holds"' not in after
    assert "No more bookings today." in section_text(after, "next")


@pytest.mark.usefixtures("chair")
async def test_long_lists_are_truncated_and_counted(desk: AdminDesk, database: Database, tom: Person) -> None:
    for day in range(limits.MAX_DASHBOARD_ROWS + 2):
        await book(database, tom, NOW + timedelta(days=7 * (day + 1), hours=1), Status.PENDING)

    pending = section_text((await desk.ada.get("/admin/")).text, "pending")

    assert f"To confirm {limits.MAX_DASHBOARD_ROWS + 2}" in pending
    assert pending.count("Haircut") == limits.MAX_DASHBOARD_ROWS


@pytest.mark.usefixtures("chair")
async def test_the_charts_have_tables_with_their_figures(desk: AdminDesk, database: Database, tom: Person) -> None:
    await book(database, tom, NOW - timedelta(days=7), Status.COMPLETED)
    await book(database, tom, NOW - timedelta(days=7, hours=-2), Status.NO_SHOW)

    html = (await desk.ada.get("/admin/")).text

    assert '<th scope="row">31 Dec 2029</th><td data-value="2">2</td>' in html
    assert '<th scope="row">Haircut</th><td data-value="35.00">€35.00</td>' in html
    assert '<td data-value="50.0">50.0%</td>' in html
    assert html.count('scope="row">') == 30 + 1 + 1 + 6
    page_text = get_page_text(html)
    assert "Visits 2 Revenue €35.00 Utilisation" in page_text
    assert "No-show rate 50.0%" in page_text


@pytest.mark.parametrize(
    ("query", "bars"),
    [("days=1", 1), ("days=7", 7), ("", 30), ("days=90", 90), ("from_date=2029-12-30&to_date=2030-01-03", 5)],
)
@pytest.mark.usefixtures("chair")
async def test_the_charts_cover_the_requested_days(desk: AdminDesk, tom: Person, query: str, bars: int) -> None:
    await book(desk.database, tom, NOW + timedelta(hours=1), Status.CONFIRMED)
    await book(desk.database, tom, NOW - timedelta(days=7), Status.COMPLETED)

    html = (await desk.ada.get(f"/admin/?{query}")).text

    chart = html[html.index('id="chart-visits"') :].split("</figure>")[0]
    assert chart.count('scope="row">') == bars


@pytest.mark.parametrize(
    ("query", "status", "sentence"),
    [
        ("from_date=2030-02-01&to_date=2030-01-01", 400, "The end of the range must be after its start."),
        ("from_date=2020-01-01&to_date=2030-01-01", 400, "Choose at most 366 days."),
        ("from_date=9999-12-31&to_date=9999-12-31", 400, "Choose a date between the years 2000 and 2999."),
        ("to_date=0001-01-01", 400, "Choose a date between the years 2000 and 2999."),
        ("from_date=yesterday", 422, "These dates are not valid. Write a date as 2026-05-04."),
        ("days=12", 422, "These dates are not valid."),
        ("days=x", 422, "These dates are not valid."),
        ("days=%00", 422, "These dates are not valid."),
        ("by=year", 422, "These dates are not valid."),
    ],
)
async def test_an_invalid_range_is_refused_in_a_sentence(
    desk: AdminDesk, query: str, status: int, sentence: str
) -> None:
    answer = await desk.ada.get(f"/admin/?{query}")

    assert (answer.status_code, sentence in get_page_text(answer.text)) == (status, True)


@contextmanager
def count_statements(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[ClauseElement]]:
    """Collect the statements that are read through BookIt's own pool."""
    seen: list[ClauseElement] = []
    read = Database._read

    async def note(self: Database, statement: ClauseElement, values: Row) -> list[Row]:
        seen.append(statement)
        return await read(self, statement, values)

    with monkeypatch.context() as patched:
        patched.setattr(Database, "_read", note)
        yield seen


@pytest.mark.usefixtures("chair")
async def test_the_number_of_queries_does_not_grow_with_the_data(
    desk: AdminDesk, database: Database, tom: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = []
    for day in (0, 7, 14):
        await book(database, tom, NOW + timedelta(days=day, hours=1), Status.PENDING)
        with count_statements(monkeypatch) as seen, desk.record_statements() as others:
            assert (await desk.ada.get("/admin/?days=90")).status_code == 200
        counts.append(len(seen) + len(others))

    assert counts == [STATEMENTS] * 3


@pytest.mark.usefixtures("chair")
async def test_polling_the_lists_does_not_extend_the_session(
    desk: AdminDesk, database: Database, tom: Person, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await book(database, tom, NOW + timedelta(hours=2), Status.CONFIRMED)
    page = (await desk.ada.get("/admin/")).text
    clock.advance(minutes=6)

    with count_statements(monkeypatch) as seen, desk.record_statements() as others:
        answer = await desk.ada.get("/admin/today")

    assert (answer.status_code, "set-cookie" in answer.headers) == (200, False)
    assert answer.headers["cache-control"] == "no-store"
    assert section_text(answer.text, "next") == section_text(page, "next")
    assert "<html" not in answer.text
    assert "Monday, 07 January 2030, 10:06" in get_page_text(answer.text)
    assert len(seen) + len(others) == STATEMENTS - 2  # without the figures
    assert (await desk.visitor.get("/admin/today")).status_code == 401


async def test_sign_in_leads_to_the_dashboard(desk: AdminDesk) -> None:
    answer = await sign_in(desk.visitor, "ada@example.com")
    page = await desk.visitor.get(answer.headers["location"])

    assert "<title>Today – BookIt</title>" in page.text
    menu = page.text[page.text.index('<ul class="navbar-nav bk-menu"') :]
    assert get_page_text(menu).startswith("Today Reports Day closing Front desk Calendar Bookings")
    assert 'aria-current="page"' in menu[: menu.index("Reports")]


async def test_a_visitor_is_redirected_to_sign_in(desk: AdminDesk) -> None:
    for path in ("/admin/", "/admin/reports"):
        answer = await desk.visitor.get(path)
        assert (answer.status_code, answer.headers["location"]) == (302, "/admin/login")


def test_only_managers_and_owners_see_figures() -> None:
    readers = {role for role in (None, *Role) if permissions.has_ability(Actor("admin", 1, role), "see_reports")}

    assert readers == {Role.MANAGER, Role.ADMIN}


@pytest.mark.parametrize("hour", [0, 23])
@pytest.mark.usefixtures("chair")
async def test_today_is_the_local_day_of_the_business(desk: AdminDesk, tom: Person, clock: Clock, hour: int) -> None:
    clock.now = datetime(2030, 1, 6, hour, 30, tzinfo=UTC)  # In Berlin 1:30, and 0:30 of the next day.
    await book(desk.database, tom, NOW + timedelta(hours=1), Status.CONFIRMED)

    page = get_page_text((await desk.ada.get("/admin/")).text)

    assert ("Monday, 07 January 2030, 00:30" in page, "Tom" in page) == (hour == 23, hour == 23)
