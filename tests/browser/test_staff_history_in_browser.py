"""The history of one act in a real browser: collapsed in the list, complete on its page, on wide and narrow screens."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.async_api import Browser, expect

from bookit import records
from bookit.bookings.bulk import BulkAction
from bookit.db.pool import Database
from bookit.policy.permissions import Actor
from bookit.schema.tables import Booking, Role, User
from tests.support import bulk_scenario
from tests.support.browser import (
    PHONE,
    find_faults,
    find_violations_in_both_themes,
    fits_viewport,
    go_to,
    open_admin,
    sign_in,
)
from tests.support.bulk_scenario import HALF_HOUR
from tests.support.people import OWNER, PASSWORD_HASH
from tests.support.server import RunningServer

ADA = "ada@example.com"
NOW = datetime.now(UTC)  # The server's clock runs.
NEXT_WEEK = (NOW + timedelta(days=7)).replace(hour=10, minute=0, second=0, microsecond=0)
MOVED = "Moved 12 bookings 30 minutes later"


@pytest.fixture(scope="module")
async def served_database(served: RunningServer) -> AsyncIterator[Database]:
    """The database that is served: Ada (1) moved twelve of Tom's (2) visits at once."""
    async with Database(served.database_url) as database:
        async with database.transaction(by=OWNER) as session:
            who: dict[str, Any] = {"by": OWNER, "now": NOW, "password_hash": PASSWORD_HASH}
            await records.create(session, User, name="Ada", email=ADA, role=Role.ADMIN, **who)
            await records.create(session, User, name="Tom Featherstonehaugh", email="tom@example.com", **who)
        await bulk_scenario.create_business(database)
        async with database.transaction(by=OWNER) as session:
            for at in range(12):
                facts: dict[str, Any] = {"user_id": 2, "service_id": 1, "resource_id": 1}
                start = NEXT_WEEK + HALF_HOUR * at
                await records.create(session, Booking, by=OWNER, now=NOW, start_time=start, **facts)
        await bulk_scenario.run_bulk(
            database, range(1, 13), BulkAction.SHIFT, minutes=30, reason="The train is late", now=NOW,
            by=Actor("admin", 1, Role.ADMIN),
        )  # fmt: skip
        yield database


@pytest.mark.parametrize("width", [1400, 390])
@pytest.mark.usefixtures("served_database")
async def test_an_act_is_expanded_by_keyboard_and_links_to_its_page(
    width: int, browser: Browser, served: RunningServer
) -> None:
    page, errors, elsewhere = await open_admin(browser, served.url, ADA, path="event/list", width=width)
    results = {"folded": (await find_violations_in_both_themes(page), await fits_viewport(page))}
    fold = page.locator("details", has_text=MOVED)
    moved = fold.get_by_role("link", name="Booking 1", exact=True)
    await expect(moved).to_have_count(0)

    await fold.locator("summary").focus()
    await page.keyboard.press("Enter")

    await expect(moved).to_be_visible()
    results["unfolded"] = (await find_violations_in_both_themes(page), await fits_viewport(page))
    await page.get_by_role("link", name="Show all 12 changes").press("Enter")
    await expect(page).to_have_title("Changes made together – BookIt")
    await expect(page.get_by_text("The train is late")).to_have_count(1)
    results["act"] = (await find_violations_in_both_themes(page), await fits_viewport(page))
    assert results == dict.fromkeys(results, ([], True))
    assert (errors, elsewhere) == ([], [])
    await page.close()


@pytest.mark.usefixtures("served_database")
async def test_an_act_is_expanded_without_javascript(browser: Browser, served: RunningServer) -> None:
    context = await browser.new_context(java_script_enabled=False)
    page = await context.new_page()
    await page.goto(f"{served.url}/admin/event/list")
    await sign_in(page, ADA)
    await page.goto(f"{served.url}/admin/event/list")

    fold = page.locator("details", has_text=MOVED)
    await expect(fold.get_by_role("link", name="Booking 1", exact=True)).to_have_count(0)

    await fold.locator("summary").click()

    await expect(fold.get_by_role("link", name="Booking 1", exact=True)).to_be_visible()
    await context.close()


@pytest.mark.usefixtures("served_database")
async def test_refusals_and_previews_are_accessible(browser: Browser, served: RunningServer) -> None:
    """Each is looked at on both screens, and used on the phone; the tests of bulk changes and visits use both."""
    page, errors, elsewhere = await open_admin(browser, served.url, ADA, path="booking/bulk?pks=1,2", width=PHONE)
    results = {}
    await page.get_by_role("button", name="Preview").click()
    await expect(page.get_by_role("button", name="Apply")).to_be_visible()
    results["preview"] = await find_faults(page)
    await page.get_by_role("button", name="Back").click()
    await page.locator("#reason").evaluate(
        "(box) => { box.removeAttribute('maxlength'); box.value = 'x'.repeat(201); }"
    )
    await page.get_by_role("button", name="Preview").click()
    await expect(page.get_by_label("Reason (shown")).to_be_focused()
    results["bulk"] = await find_faults(page)
    await go_to(page, f"{served.url}/admin/booking/details/1")
    await page.get_by_role("button", name="Cancel visit…").click()
    dialog = page.get_by_role("dialog").filter(visible=True)
    await dialog.get_by_label("Reason").evaluate(
        "(box) => { box.removeAttribute('maxlength'); box.value = 'x'.repeat(201); }"
    )
    await dialog.get_by_role("button", name="Yes").click()
    await expect(page.get_by_label("Reason (shown")).to_have_value("x" * 201)
    results["act"] = await find_faults(page)
    await go_to(page, f"{served.url}/admin/booking/create")
    await page.evaluate("document.querySelectorAll('form').forEach((form) => { form.noValidate = true; })")
    await page.get_by_role("button", name="Save", exact=True).click()
    await expect(page.get_by_text("Choose one.").first).to_be_visible()
    results["form"] = await find_faults(page)

    assert {name: found for name, found in results.items() if found} == {}
    assert ([error for error in errors if "422" not in error and "400" not in error], elsewhere) == ([], [])
    await page.close()
