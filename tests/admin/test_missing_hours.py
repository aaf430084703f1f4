"""A resource without opening hours can be booked at any time, and each page that shows it says so."""

import re

import pytest
from sqlalchemy import text

from bookit.db.pool import Database
from bookit.schema.tables import Service
from tests.support.admin_client import AdminDesk, get_page_text
from tests.support.people import OWNER

WARNING = "has no opening hours: can be booked at any time of day or night."
WEEK = re.compile(r'href="[^"]*/admin/resource/(\d+)/week"')
PAGES = {
    "resource/details/1": f"Haircut {WARNING} Set hours",
    "service/details/1": f"Haircut {WARNING} Set hours",
    "calendar": f"Haircut {WARNING} Set hours",
    "resource/list": "Haircut No opening hours: can be booked at any time. Set hours",
    "service/list": "Haircut No opening hours for Haircut: can be booked at any time. Set hours",
    "": "No opening hours: can be booked at any time of day or night. Set hours",
}


async def run(database: Database, statement: str) -> None:
    async with database.transaction(by=OWNER) as session:
        await session.fetch(text(statement))


@pytest.mark.parametrize("path", PAGES)
async def test_each_page_says_that_a_resource_has_no_hours(desk: AdminDesk, haircut: Service, path: str) -> None:
    before = await desk.mara.get(f"/admin/{path}")
    await run(
        desk.database,
        "INSERT INTO opening_hours (resource_id, weekday, opens, closes) SELECT 1, n, '9:00', '18:00'"
        " FROM generate_series(1, 7) n",
    )
    after = await desk.mara.get(f"/admin/{path}")

    assert PAGES[path] in get_page_text(before.text)
    assert "1" in WEEK.findall(before.text)
    assert "opening hours:" not in get_page_text(after.text).lower()


async def test_a_service_names_each_colleague_without_hours(desk: AdminDesk, shared: Service) -> None:
    await run(
        desk.database, "INSERT INTO opening_hours (resource_id, weekday, opens, closes) VALUES (1, 1, '9:0', '10:0')"
    )

    one = get_page_text((await desk.mara.get("/admin/service/list")).text)
    await run(desk.database, "DELETE FROM opening_hours")
    both = get_page_text((await desk.mara.get("/admin/service/list")).text)

    assert "Colour No opening hours for Max: can be booked at any time." in one
    assert "Colour No opening hours for Lea, Max: can be booked at any time." in both


@pytest.mark.parametrize(
    "path", ["resource/list", "service/list", "resource/details/1", "service/details/1", "calendar"]
)
async def test_an_inactive_resource_needs_no_hours(desk: AdminDesk, haircut: Service, path: str) -> None:
    await run(desk.database, "UPDATE resources SET is_active = false")

    assert "opening hours:" not in get_page_text((await desk.mara.get(f"/admin/{path}")).text).lower()


async def test_a_closed_season_is_still_no_missing_hours(desk: AdminDesk, haircut: Service) -> None:
    """Such a resource is closed now, not open."""
    await run(
        desk.database,
        "INSERT INTO opening_hours (resource_id, weekday, opens, closes, valid_until)"
        " VALUES (1, 1, '9:0', '10:0', '2029-01-01')",
    )

    assert "opening hours:" not in get_page_text((await desk.mara.get("/admin/resource/list")).text).lower()
