"""A served business in Berlin, and its calendar in a browser whose clock is in Los Angeles."""

import asyncio
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from playwright.async_api import Browser, FloatRect, Locator, Page, expect

from bookit import records
from bookit.db.pool import Database
from bookit.schema.tables import Booking, OpeningHours, Resource, Role, Service, User
from tests.support.browser import WatchedPage, context_of, open_page, sign_in
from tests.support.people import OWNER, PASSWORD_HASH
from tests.support.server import TIMEOUT_SECONDS, RunningServer

WIDE, PHONE = 1400, 390
BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime.now(UTC)  # The server's clock runs.
NEXT_WEEK = NOW.astimezone(BERLIN).date() + timedelta(days=7)
PIXELS_PER_MINUTE = 1  # A minute is a pixel high.


async def create_business(database: Database) -> None:
    """Create Mara (1) at the desk, Tom (2), and Lea and Max, who colour; Max until 13:00."""
    who: dict[str, Any] = {"by": OWNER, "now": NOW, "password_hash": PASSWORD_HASH}
    how: dict[str, Any] = {"by": OWNER, "now": NOW}
    async with database.transaction(by=OWNER) as session:
        await records.create(session, User, name="Mara", email="mara@example.com", role=Role.STAFF, **who)
        await records.create(session, User, name="Tom", email="tom@example.com", **who)
        for name in ("Lea", "Max"):
            await records.create(session, Resource, name=name, timezone="Europe/Berlin", **how)
        facts: dict[str, Any] = {"title": "Colour", "price": 60, "duration_minutes": 30, "resource_ids": [1, 2]}
        await records.create(session, Service, **facts, **how)
        for weekday in range(1, 8):
            hours: dict[str, Any] = {"weekday": weekday, "opens": time(8), "closes": time(13)}
            await records.create(session, OpeningHours, resource_id=2, **hours, **how)


def berlin_time(days: int, hour: int, minute: int = 0) -> datetime:
    """Return a time by Berlin's clock, so many days after the start of next week."""
    return datetime.combine(NEXT_WEEK + timedelta(days=days), time(hour, minute), BERLIN)


async def create_booking(database: Database, start: datetime, resource: int = 1) -> Booking:
    """Create a booking of Tom's."""
    async with database.transaction(by=OWNER) as session:
        facts: dict[str, Any] = {"user_id": 2, "service_id": 1, "start_time": start, "resource_id": resource}
        return await records.create(session, Booking, by=OWNER, now=NOW, **facts)


async def fetch_start_and_resource(database: Database, booking: Booking) -> tuple[datetime, int]:
    """Return the current start and resource of a booking."""
    row = await database.get(Booking, booking.id)
    assert row is not None
    return row.start_time.astimezone(BERLIN), row.resource_id


async def fetch_duration(database: Database, booking: Booking) -> timedelta:
    row = await database.get(Booking, booking.id)
    assert row is not None
    return row.end_time - row.start_time


async def open_calendar(
    browser: Browser,
    berlin: RunningServer,
    day: datetime,
    width: int = WIDE,
    query: str = "",
    *,
    has_touch: bool = False,
) -> WatchedPage:
    """Open the calendar at a day, as Mara, in Los Angeles."""
    address = f"{berlin.url}/admin/calendar?date={day:%Y-%m-%d}{query}"
    touch: dict[str, Any] = {"has_touch": True, "is_mobile": True} if has_touch else {}
    zone = "America/Los_Angeles"
    context = await context_of(browser, berlin.url, "calendar", str(has_touch), timezone_id=zone, **touch)
    watched = await open_page(context, address, width=width)
    if await watched.page.title() == "Sign in – BookIt":
        await sign_in(watched.page, "mara@example.com")
    await expect(watched.page).to_have_title("Calendar – BookIt")
    await expect(watched.page.locator("#cal-live")).to_have_text("Live")
    return watched


async def wait_for_box(locator: Locator) -> FloatRect:
    """Return the position of an element once it stays there: the calendar may redraw it while it loads."""
    before = None
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while (box := await locator.bounding_box()) is None or box != before:
            before = box
            await asyncio.sleep(0.1)
    return box


async def drag_visit(page: Page, visit: Locator, *, minutes: int, columns: int = 0) -> None:
    """Drag a visit down by minutes and right by columns."""
    box = await wait_for_box(visit)
    column = await wait_for_box(page.locator(".ec-col-head", has_text="Lea"))
    x, y = box["x"] + 30, box["y"] + 5
    await page.mouse.move(x, y)
    await page.mouse.down()
    await page.mouse.move(x + 10, y + 10, steps=2)
    await page.mouse.move(x + columns * column["width"], y + minutes * PIXELS_PER_MINUTE, steps=8)
    await page.mouse.up()


async def resize_visit(page: Page, visit: Locator, *, minutes: int) -> None:
    """Drag the lower edge of a visit down by minutes."""
    box = await wait_for_box(visit)
    x, y = box["x"] + 30, box["y"] + box["height"] - 2
    await page.mouse.move(x, y)
    await page.mouse.down()
    await page.mouse.move(x, y + 8, steps=2)
    await page.mouse.move(x, y + minutes * PIXELS_PER_MINUTE, steps=8)
    await page.mouse.up()
