"""Search and the erasure of a customer in a real browser: by keyboard, on a wide screen and on a phone."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.async_api import Browser, expect

from bookit import records
from bookit.db.pool import Database
from bookit.schema.tables import Booking, Role, Service, User
from tests.support.browser import PHONE, WIDE, find_faults, fits_viewport, go_to, open_admin, sign_in
from tests.support.people import OWNER, PASSWORD_HASH
from tests.support.server import RunningServer

NOW = datetime.now(UTC)  # The server's clock runs.
PERSON = {WIDE: "Wanda", PHONE: "Phoebe"}


@pytest.fixture(scope="module")
async def served_database(served: RunningServer) -> AsyncIterator[Database]:
    """The database that is served, with Ada (1), Wanda (2) and Phoebe (3), who each come next week."""
    who: dict[str, Any] = {"by": OWNER, "now": NOW, "password_hash": PASSWORD_HASH}
    async with Database(served.database_url) as database:
        async with database.transaction(by=OWNER) as session:
            await records.create(session, User, name="Ada", email="ada@example.com", role=Role.ADMIN, **who)
            facts: dict[str, Any] = {"title": "Haircut", "price": 35, "duration_minutes": 45}
            await records.create(session, Service, by=OWNER, now=NOW, **facts)
            for days, name in enumerate(PERSON.values(), start=7):
                user = await records.create(session, User, name=name, email=f"{name.lower()}@example.com", **who)
                start = NOW + timedelta(days=days)
                await records.create(
                    session, Booking, by=OWNER, now=NOW, user_id=user.id, service_id=1, start_time=start
                )
        yield database


@pytest.mark.parametrize("width", [WIDE, PHONE])
async def test_a_customer_is_found_and_erased_with_the_keyboard(
    width: int, browser: Browser, served: RunningServer, served_database: Database
) -> None:
    page, errors, elsewhere = await open_admin(browser, served.url, "ada@example.com", width=width)
    name, box = PERSON[width], page.get_by_role("searchbox", name="Search everywhere")
    await page.keyboard.press("/")
    await expect(box).to_be_focused()
    await page.keyboard.type(name.lower())
    await page.keyboard.press("Enter")
    await expect(page).to_have_title(f"Search: {name.lower()} – BookIt")
    await expect(box).to_have_value(name.lower())
    assert await fits_viewport(page)

    await page.get_by_role("link", name=name, exact=True).press("Enter")
    await page.get_by_role("link", name="Erase…").press("Enter")
    await expect(page.get_by_text("1 upcoming booking will be cancelled.")).to_be_visible()
    assert await fits_viewport(page)
    await page.get_by_label("To confirm, type the customer").focus()
    await page.keyboard.type(f"{name}@example.com")
    await page.keyboard.press("Enter")

    await expect(page.get_by_text("is erased. 1 booking was cancelled.")).to_be_visible()
    await expect(page.get_by_role("link", name="Erase…")).to_have_count(0)
    number = int(page.url.rsplit("/", 1)[1])
    user = await served_database.get(User, number)
    assert user is not None
    assert (user.name, user.email) == ("Erased customer", f"erased-{number}@erased.invalid")
    assert (errors, elsewhere) == ([], [])
    assert name.lower() not in served.log.read_text("utf-8").lower()
    await page.close()


async def test_a_slash_typed_in_a_field_stays_there(
    browser: Browser, served: RunningServer, served_database: Database
) -> None:
    del served_database
    page, errors, _ = await open_admin(browser, served.url, "ada@example.com", path="service/create")

    await page.get_by_label("Title").focus()
    await page.keyboard.type("Wash/cut")

    await expect(page.get_by_label("Title")).to_have_value("Wash/cut")
    assert errors == []
    await page.close()


async def test_the_search_works_without_javascript(
    browser: Browser, served: RunningServer, served_database: Database
) -> None:
    del served_database
    context = await browser.new_context(java_script_enabled=False)
    page = await context.new_page()
    await page.goto(f"{served.url}/admin/login")
    await sign_in(page, "ada@example.com")

    await page.get_by_label("Search everywhere").fill("hair")
    await page.get_by_role("button", name="Find").click()

    await expect(page.get_by_role("link", name="Bookings for Haircut").first).to_be_visible()
    await context.close()


async def test_these_pages_are_accessible(browser: Browser, served: RunningServer, served_database: Database) -> None:
    async with served_database.transaction(by=OWNER) as session:
        facts = {"name": "Otto", "email": "otto@example.com", "password_hash": ""}
        otto = await records.create(session, User, by=OWNER, now=NOW, **facts)
    page, errors, elsewhere = await open_admin(browser, served.url, "ada@example.com", path="search?q=a")

    faults = {"search?q=a": await find_faults(page)}
    for path in ("search?q=zzz", f"user/{otto.id}/erase", f"user/details/{otto.id}", "search?q=%231"):
        await go_to(page, f"{served.url}/admin/{path}")
        faults[path] = await find_faults(page)

    assert {path: found for path, found in faults.items() if found} == {}
    assert (errors, elsewhere) == ([], [])
    await page.close()
