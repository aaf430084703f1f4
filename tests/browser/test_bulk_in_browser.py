"""Bulk changes in a real browser, on a wide screen and on a phone."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect
from sqlalchemy import text

from bookit import records
from bookit.db.pool import Database
from bookit.schema.tables import Booking, Role, User
from tests.support import bulk_scenario
from tests.support.browser import find_accessibility_violations, fits_viewport, open_admin
from tests.support.bulk_scenario import HALF_HOUR, MAX
from tests.support.people import OWNER, PASSWORD_HASH
from tests.support.server import RunningServer

NOW = datetime.now(UTC)  # The server's clock runs.
NEXT_WEEK = (NOW + timedelta(days=7)).replace(hour=10, minute=0, second=0, microsecond=0)


@pytest.fixture(scope="module")
async def served_database(served: RunningServer) -> AsyncIterator[Database]:
    """The database that is served, with Mara (1) at the desk and Tom (2) who books."""
    async with Database(served.database_url) as database:
        async with database.transaction(by=OWNER) as session:
            who: dict[str, Any] = {"by": OWNER, "now": NOW, "password_hash": PASSWORD_HASH}
            await records.create(session, User, name="Mara", email="mara@example.com", role=Role.STAFF, **who)
            await records.create(session, User, name="Tom", email="tom@example.com", **who)
        await bulk_scenario.create_business(database)
        yield database


async def book_afternoon(database: Database, start: datetime, count: int) -> list[int]:
    """Book Lea's half hours back to back."""
    numbers = []
    async with database.transaction(by=OWNER) as session:
        for at in range(count):
            facts: dict[str, Any] = {
                "user_id": 2,
                "service_id": 1,
                "resource_id": 1,
                "start_time": start + HALF_HOUR * at,
            }
            numbers.append((await records.create(session, Booking, by=OWNER, now=NOW, **facts)).id)
    return numbers


async def assert_accessible(page: Page) -> None:
    """Check that a page fits its window and is accessible."""
    assert await fits_viewport(page)
    assert await find_accessibility_violations(page) == []


@pytest.mark.parametrize("width", [1400, 390])
async def test_selected_bookings_are_shifted_and_undone(
    browser: Browser, served: RunningServer, served_database: Database, width: int
) -> None:
    first = NEXT_WEEK + timedelta(days=width // 100)
    numbers = await book_afternoon(served_database, first, 3)
    watched = await open_admin(browser, served.url, path="booking/list", width=width)
    page = watched.page
    for number in numbers[:2]:
        await page.locator(f"td:has(input[type=hidden][value='{number}']) input.select-box").check()

    await page.get_by_role("link", name="Change several…").click()
    await expect(page).to_have_title("Change several bookings – BookIt")
    await expect(page.locator("input[name=booking]")).to_have_count(2)
    await expect(page.get_by_label("Minutes")).to_be_hidden()
    await assert_accessible(page)
    await page.get_by_label("Action").select_option("Move by minutes")
    await page.get_by_label("Minutes").fill("15")
    await page.get_by_label("Direction").select_option("earlier")
    await page.get_by_label("Reason (shown").fill("Early bird")
    await page.get_by_role("button", name="Preview").click()

    await expect(page.get_by_role("status").first).to_contain_text("2 of 2 will change. Nothing is saved yet.")
    await assert_accessible(page)
    await page.get_by_role("button", name="Apply").click()
    await expect(page.get_by_role("status").first).to_contain_text("Changed 2 of 2.")
    await assert_accessible(page)
    await page.get_by_role("link", name="View in the history or undo").click()
    await expect(page).to_have_title("Changes made together – BookIt")
    await assert_accessible(page)
    await page.get_by_role("button", name="Undo all").click()
    await expect(page.get_by_text("2 bookings are as they were before.")).to_be_visible()

    rows = await served_database.fetch(
        text("SELECT id, start_time FROM bookings WHERE id = ANY (:ids) ORDER BY id"), ids=numbers
    )
    assert [row["start_time"] for row in rows] == [first, first + HALF_HOUR, first + 2 * HALF_HOUR]
    await page.goto(f"{served.url}/admin/booking/details/{numbers[0]}")
    await expect(page.get_by_role("button", name="Undo: moved")).to_be_visible()
    await assert_accessible(page)
    assert (watched.errors, watched.foreign_requests) == ([], [])
    await page.close()


@pytest.mark.parametrize("width", [1400, 390])
async def test_a_sick_colleagues_day_is_reassigned(
    browser: Browser, served: RunningServer, served_database: Database, width: int
) -> None:
    day = NEXT_WEEK + timedelta(days=30 + width // 100)
    numbers = await book_afternoon(served_database, day, 2)
    watched = await open_admin(browser, served.url, path="resource/details/1", width=width)
    page = watched.page

    await page.get_by_role("link", name="Clear a day…").click()
    await expect(page).to_have_title("Clear a day for Lea – BookIt")
    await page.get_by_label("First day").fill(f"{day.date()}")
    await page.get_by_label("Last day").fill(f"{day.date()}")
    await page.get_by_role("button", name="Show these days").click()
    await expect(page.locator("input[name=booking]")).to_have_count(2)
    await assert_accessible(page)
    await page.get_by_role("button", name="Preview").press("Enter")
    await expect(page.get_by_text("Lea → Max")).to_have_count(2)
    await page.get_by_role("button", name="Apply").press("Enter")
    await expect(page.get_by_role("status").first).to_contain_text("Changed 2 of 2.")

    rows = await served_database.fetch(text("SELECT resource_id FROM bookings WHERE id = ANY (:ids)"), ids=numbers)
    assert [row["resource_id"] for row in rows] == [MAX, MAX]
    assert (watched.errors, watched.foreign_requests) == ([], [])
    await page.close()


async def test_bulk_changes_work_without_javascript(
    browser: Browser, served: RunningServer, served_database: Database
) -> None:
    start = NEXT_WEEK + timedelta(days=100)
    numbers = await book_afternoon(served_database, start, 2)
    watched = await open_admin(browser, served.url)
    kept_cookies = await watched.page.context.storage_state()
    context = await browser.new_context(java_script_enabled=False, storage_state=kept_cookies)
    page = await context.new_page()

    await page.goto(f"{served.url}/admin/booking/list?start_time={start.date()}")
    await page.get_by_role("link", name="Change several…").click()
    await expect(page.locator("input[name=booking]")).to_have_count(2)
    await page.locator(f"input[name=booking][value='{numbers[1]}']").uncheck()
    await page.get_by_role("button", name="Preview").click()
    await page.get_by_role("button", name="Apply").click()
    await expect(page.get_by_role("status").first).to_contain_text("Changed 1 of 1.")

    rows = await served_database.fetch(
        text("SELECT status FROM bookings WHERE id = ANY (:ids) ORDER BY id"), ids=numbers
    )
    assert [row["status"] for row in rows] == ["confirmed", "pending"]
    await context.close()
    await watched.page.close()
