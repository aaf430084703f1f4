"""Forms, filters and the password page in a real browser, by keyboard, on a wide screen and on a phone."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.async_api import Browser, expect
from sqlalchemy import text

from bookit import records
from bookit.db.pool import Database
from bookit.schema.tables import Booking, Resource, Role, Service, User
from tests.support.browser import PHONE, WIDE, find_faults, fits_viewport, go_to, open_admin
from tests.support.people import OWNER, PASSWORD, PASSWORD_HASH
from tests.support.server import RunningServer

NOW = datetime.now(UTC)  # The server's clock runs.
PAGES = (
    "booking/list", "booking/create", "booking/edit/1", "service/create", "service/edit/1", "service/details/1",
    "resource/create", "opening-hours/create", "user/create",
)  # fmt: skip


@pytest.fixture(scope="module")
async def served_database(served: RunningServer) -> AsyncIterator[Database]:
    """The database that is served, with Ada (1), two Toms (2, 3), Lea and Max, and a visit of Lea's next week."""
    who: dict[str, Any] = {"by": OWNER, "now": NOW, "password_hash": PASSWORD_HASH}
    how: dict[str, Any] = {"by": OWNER, "now": NOW}
    async with Database(served.database_url) as database:
        async with database.transaction(by=OWNER) as session:
            await records.create(session, User, name="Ada", email="ada@example.com", role=Role.ADMIN, **who)
            for email in ("tom@example.com", "thomas@work.example"):
                await records.create(session, User, name="Tom", email=email, **who)
            for name in ("Lea", "Max"):
                await records.create(session, Resource, name=name, **how)
            facts: dict[str, Any] = {"title": "Colour", "price": 60, "duration_minutes": 30, "resource_ids": [1]}
            await records.create(session, Service, **facts, **how)
            start = NOW + timedelta(days=7)
            await records.create(session, Booking, user_id=2, service_id=1, start_time=start, **how)
        yield database


@pytest.mark.parametrize("width", [WIDE, PHONE])
async def test_the_resources_of_a_service_are_chosen_by_keyboard(
    width: int, browser: Browser, served: RunningServer, served_database: Database
) -> None:
    page, errors, elsewhere = await open_admin(
        browser, served.url, "ada@example.com", path="service/create", width=width
    )
    await page.get_by_label("Title").fill(f"Wash {width}")
    await page.get_by_role("textbox", name="Price").fill("10.50")
    await page.get_by_label("Duration").fill("15")
    for name in ("Lea", "Max"):
        await page.locator("#resources + .select2 .select2-search__field").focus()
        await page.keyboard.type(name)
        await expect(page.locator(".select2-results__option--highlighted")).to_have_text(name)
        assert await fits_viewport(page)
        await page.keyboard.press("Enter")

    await page.get_by_role("button", name="Save", exact=True).click()

    await expect(page).to_have_title("Services – BookIt")
    rows = await served_database.fetch(
        text("SELECT r.resource_id FROM service_resources r JOIN services s ON s.id = r.service_id WHERE title = :t"),
        t=f"Wash {width}",
    )
    assert (sorted(row["resource_id"] for row in rows), errors, elsewhere) == ([1, 2], [], [])


async def test_an_unchanged_form_changes_nothing(
    browser: Browser, served: RunningServer, served_database: Database
) -> None:
    page, errors, _ = await open_admin(browser, served.url, "ada@example.com", path="service/edit/1")

    for path in ("service/edit/1", "booking/edit/1", "resource/edit/2", "user/edit/2"):
        await page.goto(f"{served.url}/admin/{path}")
        await page.get_by_role("button", name="Save", exact=True).click()
        await expect(page).to_have_title(
            {"se": "Services", "bo": "Bookings", "re": "Team & rooms", "us": "People"}[path[:2]] + " – BookIt"
        )

    changed = await served_database.fetch(text("SELECT table_name, new FROM events WHERE action = 'changed'"))
    assert (changed, errors) == ([], [])


@pytest.mark.parametrize("width", [WIDE, PHONE])
async def test_a_list_is_filtered_by_name_with_the_keyboard(
    width: int, browser: Browser, served: RunningServer, served_database: Database
) -> None:
    page, errors, _ = await open_admin(browser, served.url, "ada@example.com", path="booking/list", width=width)
    names = page.get_by_role("group", name="Resource")

    await names.locator("summary").focus()
    await page.keyboard.press("Enter")
    await expect(names.get_by_role("link", name="Max")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(names.get_by_role("link", name="Max")).to_be_hidden()
    await expect(names.locator("summary")).to_be_focused()
    await page.keyboard.press("Enter")
    await names.get_by_role("link", name="Max").focus()
    await page.keyboard.press("Enter")

    await expect(names.locator("summary")).to_have_text("Max")
    await expect(page.get_by_text("No bookings to show.")).to_be_visible()
    await expect(page.get_by_text("Earlier bookings are hidden.")).to_be_visible()
    assert (errors, await fits_viewport(page)) == ([], True)


async def test_an_emptied_range_shows_all_days(
    browser: Browser, served: RunningServer, served_database: Database
) -> None:
    page, errors, _ = await open_admin(browser, served.url, "ada@example.com", path="booking/list")

    await page.locator("[data-bk-first]").fill("")
    await page.get_by_role("button", name="Show", exact=True).click()

    await expect(page.get_by_role("group", name="Day").locator("[aria-current]")).to_have_text("All")
    assert errors == []


async def test_a_new_password_keeps_this_browser_signed_in(
    browser: Browser, served: RunningServer, served_database: Database
) -> None:
    page, errors, _ = await open_admin(browser, served.url, "ada@example.com")
    await page.get_by_role("link", name="Change password").click()

    for current, new in ((PASSWORD, "another secret"), ("another secret", PASSWORD)):
        await page.goto(f"{served.url}/admin/password")
        await page.get_by_label("Current password").fill(current)
        await page.get_by_label("New password").fill(new)
        await page.get_by_role("button", name="Change password").click()
        await expect(page.get_by_text("Password changed.")).to_be_visible()

    assert errors == []


async def test_forms_are_accessible(browser: Browser, served: RunningServer, served_database: Database) -> None:
    page, errors, elsewhere = await open_admin(browser, served.url, "ada@example.com", path="password")
    faults = {"password": await find_faults(page)}

    for path in PAGES:
        await go_to(page, f"{served.url}/admin/{path}")
        faults[path] = await find_faults(page)

    assert {path: found for path, found in faults.items() if found} == {}
    assert (errors, elsewhere) == ([], [])
