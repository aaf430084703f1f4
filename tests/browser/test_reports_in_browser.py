"""The dashboard and the reports in a real browser: charts and tables, wide and narrow, light and dark."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from bookit import records
from bookit.db.pool import Database
from bookit.schema.tables import Booking, Role, Service, Status, User
from tests.support.browser import (
    HEIGHT,
    PHONE,
    THEMES,
    WIDE,
    find_accessibility_violations,
    fits_viewport,
    go_to,
    has_settled,
    open_admin,
    set_theme,
)
from tests.support.people import OWNER, PASSWORD_HASH
from tests.support.server import RunningServer

NOW = datetime.now(UTC)  # The server's clock runs, so visits are around now.
IS_DRAWN = """(canvas) => {
  const copy = new OffscreenCanvas(canvas.width || 1, canvas.height || 1).getContext("2d");
  copy.drawImage(canvas, 0, 0);
  const pixels = copy.getImageData(0, 0, canvas.width, canvas.height).data;
  return canvas.width > 100 && pixels.some((value) => value > 0);
}"""
REPORTS = ("revenue", "utilisation", "no-shows", "repeat-customers")


@pytest.fixture(scope="module")
async def served_database(served: RunningServer) -> AsyncIterator[Database]:
    """The database that is served, with Mara at the desk and three weeks of Tom's visits."""
    async with Database(served.database_url) as database:
        async with database.transaction(by=OWNER, now=NOW) as session:
            audit: dict[str, Any] = {"by": OWNER, "now": NOW}
            who = {**audit, "password_hash": PASSWORD_HASH}
            await records.create(session, User, name="Mara", email="mara@example.com", role=Role.MANAGER, **who)
            await records.create(session, User, name="Tom Featherstonehaugh", email="tom@example.com", **who)
            for title, price in (("Haircut", 35), ("Colour and a very long head massage", 60)):
                facts: dict[str, Any] = {"title": title, "price": price, "duration_minutes": 45}
                await records.create(session, Service, **audit, **facts)
            for days in range(-20, 3):
                for service in (1, 2):
                    visit: dict[str, Any] = {"user_id": 2, "service_id": service, "overlap": True}
                    start = NOW + timedelta(days=days, hours=1 if days else service - 2, minutes=5)
                    booking = await records.create(session, Booking, **audit, **visit, start_time=start)
                    status = Status.NO_SHOW if days % 7 == 0 else Status.COMPLETED
                    if start < NOW - timedelta(hours=5):
                        await records.change(session, booking, **audit, status=status)
                    elif start < NOW:
                        await records.change(session, booking, **audit, status=Status.CONFIRMED)
        yield database


async def drawn(page: Page) -> list[bool]:
    return [await canvas.evaluate(IS_DRAWN) for canvas in await page.locator("canvas").all()]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 390])
@pytest.mark.usefixtures("served_database")
async def test_the_dashboard_has_charts_and_tables(
    width: int, theme: str, browser: Browser, served: RunningServer
) -> None:
    page, errors, elsewhere = await open_admin(browser, served.url, width=width, theme=theme)

    assert await page.evaluate("document.documentElement.dataset.bsTheme") == theme
    assert await drawn(page) == [True] * 4
    assert await fits_viewport(page)
    assert await find_accessibility_violations(page) == []
    chart = page.locator("figure", has_text="Bookings per day")
    await chart.locator("summary").click()
    assert await chart.get_by_role("row").count() == 31
    assert await chart.get_attribute("data-bk-points") == "30"
    assert await fits_viewport(page)
    await page.get_by_role("link", name="7 days", exact=True).click()
    await expect(page.locator("figure", has_text="Bookings per day")).to_have_attribute("data-bk-points", "7")
    assert (errors, elsewhere) == ([], [])


@pytest.mark.usefixtures("served_database")
async def test_each_report_has_a_chart_beside_its_table(browser: Browser, served: RunningServer) -> None:
    page, errors, elsewhere = await open_admin(browser, served.url, path="password")

    for name in REPORTS:
        await go_to(page, f"{served.url}/admin/reports?report={name}&by=week")
        await expect(page).to_have_title("Reports – BookIt")
        for width in (WIDE, PHONE):
            await page.set_viewport_size({"width": width, "height": HEIGHT})
            await has_settled(page)
            assert await page.get_by_role("table").first.is_visible()
            assert await fits_viewport(page), (name, width)
            for theme in THEMES:
                await set_theme(page, theme)
                assert await drawn(page) == [True]
                assert await find_accessibility_violations(page) == []
    assert (errors, elsewhere) == ([], [])


@pytest.mark.usefixtures("served_database")
async def test_a_chart_follows_a_change_of_theme(browser: Browser, served: RunningServer) -> None:
    page, errors, _ = await open_admin(browser, served.url)
    canvas = page.locator("canvas").first
    light = await canvas.evaluate("(canvas) => canvas.toDataURL()")

    await page.get_by_role("button", name="Dark mode").click()
    await page.wait_for_function("(before) => document.querySelector('canvas').toDataURL() !== before", arg=light)

    assert await drawn(page) == [True] * 4
    assert errors == []
