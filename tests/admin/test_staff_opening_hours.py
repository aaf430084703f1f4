"""The weekly opening hours of a resource in the admin panel: shown, saved together, and protected from stale edits."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from bookit import records
from bookit.db.pool import Database
from bookit.schema.tables import CalendarException, Service
from tests.support.admin_client import AdminDesk, FormResult, ParsedPage, get_page_text, post_form
from tests.support.clock import NOW
from tests.support.people import OWNER

WEEK = "/admin/resource/1/week"
NIGHT = {"opens-0-5": "22:00", "closes-0-5": "06:00"}
HALVES: dict[str, Any] = {"opens-0-1": ["09:00", "14:00", ""], "closes-0-1": ["13:00", "18:00", ""]}


async def fetch_hours(database: Database) -> list[tuple[Any, ...]]:
    """Return the weekly hours in a readable form."""
    rows = await database.fetch(text("SELECT * FROM opening_hours ORDER BY valid_from NULLS FIRST, weekday, opens"))
    return [
        (row["weekday"], f"{row['opens']:%H:%M}", f"{row['closes']:%H:%M}", row["valid_from"], row["valid_until"])
        for row in rows
    ]


async def save_week(desk: AdminDesk, **fields: Any) -> FormResult:
    """Open the week as Mara, fill in exactly these hours, and save."""
    opened = await desk.mara.get(WEEK)
    return await post_form(desk.mara, WEEK, {"version_tag": ParsedPage(opened.text).fields["version_tag"], **fields})


async def test_a_resource_without_hours_is_shown_as_always_open(desk: AdminDesk, haircut: Service) -> None:
    page = await desk.mara.get(WEEK)

    assert page.status_code == 200
    assert "No opening hours: can be booked at any time of day or night." in get_page_text(page.text)


async def test_a_week_is_saved_at_once(desk: AdminDesk, haircut: Service, database: Database) -> None:
    answer = await save_week(desk, **HALVES, **NIGHT)

    assert (answer.status, answer.location) == (303, WEEK)
    assert await fetch_hours(database) == [
        (1, "09:00", "13:00", None, None), (1, "14:00", "18:00", None, None), (5, "22:00", "06:00", None, None),
    ]  # fmt: skip
    page_text = get_page_text((await desk.mara.get(WEEK)).text)
    assert "Opening hours of Haircut saved." in page_text
    assert "closes the next day" in page_text


async def test_a_season_is_shown_beside_the_rest_of_the_year(
    desk: AdminDesk, haircut: Service, database: Database
) -> None:
    summer = {"from-1": "2030-06-01", "until-1": "2030-08-31", "opens-1-1": "07:00", "closes-1-1": "12:00"}

    await save_week(desk, **HALVES, **summer)

    assert [str(part) for part in (await fetch_hours(database))[-1]] == [
        "1",
        "07:00",
        "12:00",
        "2030-06-01",
        "2030-08-31",
    ]
    assert "2030-06-01 – 2030-08-31" in get_page_text((await desk.mara.get(WEEK)).text)


async def test_unchanged_hours_are_not_written(desk: AdminDesk, haircut: Service, database: Database) -> None:
    await save_week(desk, **HALVES)

    await save_week(desk, **HALVES, **NIGHT)
    again = await save_week(desk, **HALVES, **NIGHT)

    events = await database.fetch(text("SELECT action FROM events WHERE table_name = 'opening_hours' ORDER BY id"))
    assert again.status == 303
    assert [row["action"] for row in events] == ["created"] * 3


async def test_an_empty_week_is_always_open_again(desk: AdminDesk, haircut: Service, database: Database) -> None:
    await save_week(desk, **HALVES)

    await save_week(desk)

    assert await fetch_hours(database) == []


async def test_concurrently_changed_hours_are_not_overwritten(
    desk: AdminDesk, haircut: Service, database: Database
) -> None:
    seen = ParsedPage((await desk.mara.get(WEEK)).text).fields["version_tag"]
    await save_week(desk, **NIGHT)

    answer = await post_form(desk.ada, WEEK, {"version_tag": seen, **HALVES})

    assert answer.status == 412
    assert "Someone changed this while you were editing." in answer.text
    assert 'value="09:00"' in answer.html
    assert await fetch_hours(database) == [(5, "22:00", "06:00", None, None)]


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ({"opens-0-3": "09:00"}, "Wednesday: enter both an opening and a closing time."),
        ({"opens-0-3": "9 o'clock", "closes-0-3": "10:00"}, "Wednesday: "),
        ({"opens-0-3": "\0", "closes-0-3": "10:00"}, "Wednesday: "),
        ({"from-0": "yesterday", **NIGHT}, "First day of the season: "),
        (
            {"from-0": "2030-06-02", "until-0": "2030-06-01", **NIGHT},
            "The season must not end before it starts.",
        ),
        ({"from-0": "999999-01-01", **NIGHT}, "First day of the season: "),
    ],
)
async def test_invalid_hours_are_refused_in_a_sentence(
    typed: dict[str, Any], sentence: str, desk: AdminDesk, haircut: Service, database: Database
) -> None:
    answer = await save_week(desk, **typed)

    assert answer.status == 422
    assert sentence in answer.text
    assert await fetch_hours(database) == []


@pytest.mark.parametrize("number", ["0", "99", "-1", "x", "9" * 30, "1%00"])
async def test_an_unknown_resource_has_no_week(number: str, desk: AdminDesk) -> None:
    assert (await desk.mara.get(f"/admin/resource/{number}/week")).status_code == 404


async def test_only_staff_read_or_write_a_week(desk: AdminDesk, haircut: Service, database: Database) -> None:
    seen = await desk.visitor.get(WEEK)
    typed = await desk.visitor.post(WEEK, data={"version_tag": "", **NIGHT})

    assert [answer.headers["location"] for answer in (seen, typed)] == ["/admin/login"] * 2
    assert await fetch_hours(database) == []


async def test_a_week_from_another_site_is_refused(desk: AdminDesk, haircut: Service, database: Database) -> None:
    answer = await desk.mara.post(WEEK, data={"version_tag": "", **NIGHT}, headers={"origin": "http://evil.test"})

    assert answer.status_code == 403
    assert await fetch_hours(database) == []


async def test_the_page_of_a_resource_links_to_its_week(desk: AdminDesk, haircut: Service) -> None:
    page = await desk.mara.get("/admin/resource/details/1")

    assert f'href="https://bookit.test{WEEK}"' in page.text


async def test_the_week_shows_its_exceptions(desk: AdminDesk, haircut: Service, database: Database) -> None:
    async with database.transaction(by=OWNER) as session:
        for resource, days, reason in ((None, 3, "Holiday"), (1, 5, "Ill <b>"), (None, -3, "Long ago")):
            start = NOW + timedelta(days=days)
            facts: dict[str, Any] = {"resource_id": resource, "start_time": start, "reason": reason}
            end = start + timedelta(days=1)
            await records.create(session, CalendarException, by=OWNER, now=NOW, end_time=end, **facts)

    page = get_page_text((await desk.mara.get(WEEK)).text)

    assert "closed, all resources, Holiday" in page
    assert "closed, Ill <b>" in page
    assert "Long ago" not in page
