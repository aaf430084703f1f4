"""Taking money at the desk and the day closing in a real browser: one click, wide and narrow, light and dark."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.async_api import Browser, expect

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

NOW = datetime.now(UTC)  # The server's clock runs.


@pytest.fixture(scope="module")
async def served_database(served: RunningServer) -> AsyncIterator[Database]:
    """The database that is served, with Mara at the desk and three visits of Tom's that took place."""
    async with Database(served.database_url) as database:
        async with database.transaction(by=OWNER, now=NOW) as session:
            audit: dict[str, Any] = {"by": OWNER, "now": NOW}
            who = {**audit, "password_hash": PASSWORD_HASH}
            await records.create(session, User, name="Mara", email="mara@example.com", role=Role.MANAGER, **who)
            await records.create(session, User, name="Tom Featherstonehaugh", email="tom@example.com", **who)
            facts: dict[str, Any] = {"title": "Haircut", "price": 1035, "duration_minutes": 15}
            await records.create(session, Service, **audit, **facts)
            for number in range(3):
                start = NOW - timedelta(minutes=20 * (number + 1))
                visit: dict[str, Any] = {"user_id": 2, "service_id": 1, "start_time": start}
                booking = await records.create(session, Booking, **audit, **visit)
                await records.change(session, booking, **audit, status=Status.COMPLETED)
        yield database


@pytest.mark.usefixtures("served_database")
async def test_one_click_takes_the_money_and_two_give_it_back(browser: Browser, served: RunningServer) -> None:
    page, errors, elsewhere = await open_admin(browser, served.url, path="booking/details/1")
    amount = page.get_by_label("Take")
    await expect(amount).to_have_value("1035.00")

    await amount.press("Enter")  # takes nothing
    await expect(page.get_by_text("€1,035.00 paid in cash.")).to_have_count(0)
    await amount.fill("20,50")
    await page.get_by_role("button", name="Card", exact=True).click()
    await expect(page.get_by_text("€20.50 paid by card.")).to_be_visible()
    await page.get_by_role("button", name="Cash", exact=True).click()
    await expect(page.get_by_text("€1,014.50 paid in cash.")).to_be_visible()
    await expect(page.get_by_role("button", name="Cash", exact=True)).to_have_count(0)
    await page.get_by_text("Give back…").first.click()
    await page.get_by_role("button", name="Give back by card").click()
    await expect(page.get_by_text("€20.50 given back by card.")).to_be_visible()
    for width in (WIDE, PHONE):
        await page.set_viewport_size({"width": width, "height": HEIGHT})
        await page.locator("details:not([open]) > summary", has_text="Give back").first.click()
        await has_settled(page)
        assert await fits_viewport(page), width
        for theme in THEMES:
            await set_theme(page, theme)
            assert await find_accessibility_violations(page) == []
        await go_to(page, page.url)
    assert (errors, elsewhere) == ([], [])


@pytest.mark.usefixtures("served_database")
async def test_the_day_closing_fits_both_screens(browser: Browser, served: RunningServer) -> None:
    page, errors, elsewhere = await open_admin(browser, served.url, path="booking/details/2")
    await page.get_by_role("button", name="Transfer", exact=True).click()
    await expect(page.get_by_text("€1,035.00 paid by transfer.")).to_be_visible()

    await page.get_by_role("link", name="Day closing").click()
    await expect(page).to_have_title("Day closing – BookIt")
    await expect(page.get_by_role("table")).to_have_count(1)
    for width in (WIDE, PHONE):
        await page.set_viewport_size({"width": width, "height": HEIGHT})
        await has_settled(page)
        assert await fits_viewport(page), width
        for theme in THEMES:
            await set_theme(page, theme)
            assert await find_accessibility_violations(page) == []
    await page.emulate_media(media="print")
    await expect(page.get_by_role("button", name="Print")).to_be_hidden()
    await expect(page.get_by_role("heading", name="Takings")).to_be_visible()
    assert (errors, elsewhere) == ([], [])
