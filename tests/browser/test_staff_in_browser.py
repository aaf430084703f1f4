"""A day at the desk in a real browser, from a real server, on a wide screen and on a phone."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect
from sqlalchemy import text

from bookit import records
from bookit.db.pool import Database
from bookit.policy.permissions import Actor
from bookit.schema.tables import Booking, Role, Service, Status, User
from tests.support.browser import (
    PHONE,
    WIDE,
    find_faults,
    find_violations_in_both_themes,
    fits_viewport,
    go_to,
    open_admin,
)
from tests.support.people import OWNER, PASSWORD_HASH
from tests.support.server import RunningServer

NOW = datetime.now(UTC)  # The server's clock runs, so the visits of these tests are next week.
NEXT_WEEK = (NOW + timedelta(days=7)).replace(hour=10, minute=0, second=0, microsecond=0)


@pytest.fixture(scope="module")
async def served_database(served: RunningServer) -> AsyncIterator[Database]:
    """The database that is served, with Mara (1) at the desk, Tom (2) who books, and something to book."""
    async with Database(served.database_url) as database:
        async with database.transaction(by=OWNER) as session:
            who: dict[str, Any] = {"by": OWNER, "now": NOW, "password_hash": PASSWORD_HASH}
            await records.create(session, User, name="Mara", email="mara@example.com", role=Role.MANAGER, **who)
            await records.create(session, User, name="Tom", email="tom@example.com", **who)
            facts: dict[str, Any] = {"title": "Haircut", "price": 35, "duration_minutes": 45}
            await records.create(session, Service, by=OWNER, now=NOW, **facts)
        yield database


async def book(database: Database, start: datetime) -> Booking:
    """Create a haircut of Tom's."""
    async with database.transaction(by=OWNER) as session:
        facts: dict[str, Any] = {"user_id": 2, "service_id": 1, "start_time": start}
        return await records.create(session, Booking, by=OWNER, now=NOW, **facts)


async def look_up(page: Page, field: str, typed: str, expected: str) -> None:
    """Choose a row of another table by a part of its name, by keyboard."""
    await page.locator(f"#{field} + .select2 .select2-selection").click()
    await page.keyboard.type(typed)
    await expect(page.locator(".select2-results__option--highlighted")).to_have_text(re.compile(expected))
    await page.keyboard.press("Enter")


async def status_of(booking: Booking, database: Database) -> object:
    return (await database.fetch(text("SELECT status FROM bookings WHERE id = :id"), id=booking.id))[0]["status"]


async def run_action(page: Page, label: str, reason: str, done: str) -> None:
    """Press the button of an action, enter a reason, confirm, and check the message."""
    await page.get_by_role("link", name=f"{label}…").or_(page.get_by_role("button", name=f"{label}…")).click()
    dialog = page.get_by_role("dialog").filter(visible=True)
    await dialog.get_by_label("Reason").fill(reason)
    await dialog.get_by_role("button", name="Yes").click()
    await expect(page.get_by_text(re.compile(rf"^Booking #\d+ is {done}\.$"))).to_be_visible()


@pytest.mark.parametrize("width", [WIDE, PHONE])
async def test_a_visit_is_booked_changed_and_cancelled(
    width: int, browser: Browser, served: RunningServer, served_database: Database
) -> None:
    start = NEXT_WEEK + timedelta(days=width == PHONE)  # Each width uses its own day.
    await book(served_database, start)
    page, errors, elsewhere = await open_admin(browser, served.url, width=width)
    fitted = [await fits_viewport(page)]

    await page.goto(f"{served.url}/admin/booking/create")
    await expect(page).to_have_title("New booking – BookIt")
    fitted.append(await fits_viewport(page))
    await look_up(page, "user", "tom@", "Tom")
    await look_up(page, "service", "hair", "Haircut")
    time = page.locator("#start_time")
    await time.fill(f"{start + timedelta(minutes=15):%Y-%m-%dT%H:%M}")
    await page.get_by_role("button", name="Save", exact=True).click()
    await expect(page.locator("#start_time-error")).to_contain_text("not available")
    await expect(time).to_be_focused()
    await expect(page.locator("#user + .select2")).to_contain_text("Tom")
    fitted.append(await fits_viewport(page))

    await time.fill(f"{start + timedelta(hours=1):%Y-%m-%dT%H:%M}")
    await page.get_by_role("button", name="Save", exact=True).click()
    await expect(page).to_have_title("Bookings – BookIt")

    await page.goto(f"{served.url}/admin/booking/list?start_time={start:%Y-%m-%d}")
    booked = page.locator("tbody tr", has_text=f"{start + timedelta(hours=1):%d %b %Y, %H:%M}")
    await booked.get_by_role("link", name="View", exact=True).click()
    await expect(page).to_have_title(re.compile(r"^Booking \d+ – BookIt$"))
    await expect(page.get_by_role("row", name="Customer Tom")).to_be_visible()
    fitted.append(await fits_viewport(page))
    await run_action(page, "Reopen", "They called", "reopened")
    await run_action(page, "Cancel visit", "They are ill", "cancelled")
    history = page.locator(".bk-history")
    await expect(history.locator("ins", has_text="Pending")).to_have_count(1)
    await expect(history.locator("ins", has_text="Cancelled")).to_have_count(1)
    await expect(history).to_contain_text("They called")
    await expect(history).to_contain_text("They are ill")
    fitted.append(await fits_viewport(page))

    await page.goto(f"{served.url}/admin/booking/list?status=cancelled")
    async with page.expect_download() as started:
        await page.get_by_role("button", name="Export this list").click()
        await page.get_by_role("link", name="CSV with commas").click()
    rows = (await asyncio.to_thread((await (await started.value).path()).read_text, "utf-8")).splitlines()
    assert len(rows) > 1
    assert all("Cancelled" in row for row in rows[1:])

    if width == PHONE:
        await page.get_by_role("button", name="Toggle navigation").click()
        # The buttons move while the menu opens, and a click may miss them.
        await expect(page.locator("#navbarSupportedContent.collapse.show")).to_be_visible()
    await page.get_by_role("button", name="Sign out").click()
    await expect(page).to_have_title("Sign in – BookIt")
    await page.goto(f"{served.url}/admin/booking/list")
    await expect(page).to_have_title("Sign in – BookIt")

    unexpected = [error for error in errors if "409" not in error]  # The conflict, which the browser logs too.
    assert (unexpected, elsewhere, fitted) == ([], [], [True] * 5)


async def test_actions_run_on_the_selected_rows(
    browser: Browser, served: RunningServer, served_database: Database
) -> None:
    booked = await book(served_database, NEXT_WEEK + timedelta(hours=4))
    page, errors, _ = await open_admin(browser, served.url, path=f"booking/list?search={booked.id}")
    await page.get_by_role("checkbox", name="Select item").check()
    await page.get_by_role("button", name="Actions").click()
    await run_action(page, "Confirm", "", "confirmed")

    assert (await status_of(booked, served_database), errors) == (Status.CONFIRMED, [])


async def test_pages_are_accessible(browser: Browser, served: RunningServer, served_database: Database) -> None:
    booked = await book(served_database, NEXT_WEEK + timedelta(days=5))
    page, errors, elsewhere = await open_admin(browser, served.url, path="booking/list")
    faults = {"booking/list": await find_faults(page)}

    for path in (
        f"booking/details/{booked.id}",
        "booking/create",
        "user/list",
        "sign-ins",
        "signing-in",
        "login",
    ):
        await go_to(page, f"{served.url}/admin/{path}")
        faults[path] = await find_faults(page)

    assert {path: found for path, found in faults.items() if found} == {}
    assert (errors, elsewhere) == ([], [])


async def test_a_disabled_action_explains_itself_to_the_keyboard(
    browser: Browser, served: RunningServer, served_database: Database
) -> None:
    booked = await book(served_database, NEXT_WEEK + timedelta(days=8))
    page, errors, _ = await open_admin(browser, served.url, path=f"booking/details/{booked.id}")
    reopen = page.get_by_role("group", name="Actions").get_by_role("button", name="Reopen")

    await page.get_by_role("link", name="Delete").focus()
    await page.keyboard.press("Tab")
    await expect(reopen).to_be_focused()
    await expect(reopen).to_be_disabled()
    await expect(reopen).to_have_accessible_description("This booking is already pending.")
    await page.keyboard.press("Enter")

    await expect(page.get_by_role("dialog").filter(visible=True)).to_have_count(0)
    assert (await status_of(booked, served_database), errors) == (Status.PENDING, [])


@pytest.mark.parametrize("width", [WIDE, PHONE])
async def test_a_stale_edit_shows_both_versions(
    width: int, browser: Browser, served: RunningServer, served_database: Database
) -> None:
    start = NEXT_WEEK + timedelta(days=9 + (width == PHONE))
    booked = await book(served_database, start)
    page, errors, elsewhere = await open_admin(browser, served.url, path=f"booking/edit/{booked.id}", width=width)
    mara = Actor("admin", 1, Role.STAFF)
    async with served_database.transaction(by=mara) as session:
        row = await records.lock(session, Booking, booked.id)
        await records.change(session, row, by=mara, now=NOW, start_time=start + timedelta(hours=1))

    time = page.locator("#start_time")
    await time.fill(f"{start + timedelta(hours=2):%Y-%m-%dT%H:%M}")
    await page.get_by_role("button", name="Save", exact=True).click()
    await expect(page.locator("#bk-stale")).to_be_focused()
    both = page.get_by_role("row", name="Start")
    await expect(both).to_contain_text(f"{start + timedelta(hours=2):%H:%M}")
    await expect(both).to_contain_text(f"{start + timedelta(hours=1):%H:%M}")
    await expect(page.locator(".bk-stale")).to_contain_text("Mara (desk) changed it at the desk.")
    await expect(page.get_by_role("alert").filter(visible=True)).to_have_count(1)
    grave = await find_violations_in_both_themes(page)
    is_fitting = await fits_viewport(page)
    await page.get_by_role("button", name="Save my version").click()
    await expect(page).to_have_title("Bookings – BookIt")

    saved = await served_database.fetch(text("SELECT start_time FROM bookings WHERE id = :id"), id=booked.id)
    assert saved == [{"start_time": start + timedelta(hours=2)}]
    unexpected = [error for error in errors if "412" not in error]
    assert (grave, is_fitting, unexpected, elsewhere) == ([], True, [], [])


class Lure(BaseHTTPRequestHandler):
    """A page of another site, with a form that posts to the admin panel."""

    target = ""
    number = 0

    def do_GET(self) -> None:
        """Respond with the page."""
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        fields = f'<input name="pks" value="{self.number}"><input name="reason" value="lured">'
        self.wfile.write(f'<form method="post" action="{self.target}">{fields}<button>Win</button></form>'.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- its name in the standard library
        """Write no log."""


@pytest.fixture
def lure() -> Iterator[ThreadingHTTPServer]:
    """Serve a page of another site."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Lure) as other:
        Thread(target=other.serve_forever, daemon=True).start()
        yield other
        other.shutdown()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"], ids=["a sibling, which gets the cookie", "another site"])
async def test_a_form_of_another_site_changes_nothing(
    host: str, lure: ThreadingHTTPServer, browser: Browser, served: RunningServer, served_database: Database
) -> None:
    booked = await book(served_database, NEXT_WEEK + timedelta(days=3 if host == "localhost" else 4))
    page, *_ = await open_admin(browser, served.url, path=f"booking/details/{booked.id}")
    Lure.target = str(await page.locator("form[action$='/cancel']").get_attribute("action"))
    Lure.number = booked.id

    await page.goto(f"http://{host}:{lure.server_port}/")
    async with page.expect_response(lambda answer: answer.url == Lure.target) as answered:
        await page.get_by_role("button", name="Win").click()

    assert ((await answered.value).status, await status_of(booked, served_database)) == (403, Status.PENDING)
