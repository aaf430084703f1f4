"""Long words wrap: no list, page or calendar is pushed wider than its window, nor a table wider than its box."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.async_api import Browser

from bookit import records
from bookit.db.pool import Database
from bookit.policy.permissions import Actor
from bookit.schema.tables import Booking, CalendarException, Resource, Review, Role, Service, Status, User
from tests.support.browser import fits_viewport, open_admin
from tests.support.people import OWNER, PASSWORD_HASH
from tests.support.server import RunningServer

NOW = datetime.now(UTC).replace(second=0, microsecond=0)
SOON = NOW + timedelta(minutes=30)
WIDE, PHONE = 1400, 390
PAGES = [
    "", "booking/list?start_time=all", "booking/details/1", "user/list", "user/details/2", "service/list",
    "resource/list", "resource/details/1", "review/list", "calendar-exception/list", "event/list",
    "calendar?view=day", "search?q=w", "bulk?booking=1", "resource/1/week",
]  # fmt: skip
# The boxes whose content is wider than they are: those that would need a scroll bar, or that cut a name off.
OVERFLOWING = """() => [...document.querySelectorAll(".table-responsive, .card:not(.bk-chart), .card-body, main")]
  .filter((box) => box.clientWidth > 0 && box.scrollWidth > box.clientWidth + 1)
  .map((box) => `${box.className || box.tagName}: ${box.scrollWidth} in ${box.clientWidth}`)"""


@pytest.fixture(scope="module")
async def long_names(served: RunningServer) -> AsyncIterator[RunningServer]:
    """A business in which each text is one word, as long as it may be."""
    async with Database(served.database_url) as database:
        async with database.transaction(by=OWNER) as session:
            here: dict[str, Any] = {"by": OWNER, "now": NOW}
            who = here | {"password_hash": PASSWORD_HASH}
            await records.create(session, User, name="Mara", email="mara@example.com", role=Role.ADMIN, **who)
            email = f"{'w' * 60}@{'w' * 60}.example.com"
            tom = await records.create(session, User, name="W" * 100, email=email, **who)
            await records.create(
                session, Service, **here, title="W" * 200, description="W" * 1000, price=1, duration_minutes=45
            )
            await records.create(
                session, CalendarException, **here, start_time=NOW, end_time=NOW + timedelta(hours=1), reason="W" * 200,
                resource_id=(await records.create(session, Resource, **here, name="V" * 200)).id,
            )  # fmt: skip
            for start in (SOON - timedelta(days=1), SOON):
                await records.create(session, Booking, **here, user_id=2, service_id=1, start_time=start)
            past = await records.get(session, Booking, 1)
            await records.change(session, past, **here, status=Status.CONFIRMED)
            await records.change(session, past, **here, status=Status.COMPLETED)
            by = Actor("seed", id=tom.id, role=Role.USER)
            await records.create(session, Review, by=by, now=NOW, booking_id=1, rating=5, comment="W" * 1000)
        yield served


@pytest.mark.browser
async def test_long_words_wrap_and_push_nothing_away(long_names: RunningServer, browser: Browser) -> None:
    page = (await open_admin(browser, long_names.url, path="password")).page
    wide = {}
    for path in PAGES:
        await page.set_viewport_size({"width": WIDE, "height": 900})
        await page.goto(f"{long_names.url}/admin/{path}", wait_until="load")
        for width in (WIDE, PHONE):
            await page.set_viewport_size({"width": width, "height": 900})
            boxes = await page.evaluate(OVERFLOWING)
            if boxes or not await fits_viewport(page):
                wide[path, width] = boxes

    assert wide == {}
