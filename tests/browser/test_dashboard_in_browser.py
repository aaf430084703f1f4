"""The dashboard in a real browser: it updates itself without disturbing the user."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import psycopg
import pytest
from playwright.async_api import Browser, Locator, Page, expect

from bookit import records
from bookit.db.pool import Database
from bookit.schema.tables import BUSINESS_ID, Booking, Business, Resource, Role, Service, Status, User
from tests.support.browser import WatchedPage, has_settled, open_admin
from tests.support.people import OWNER, PASSWORD, PASSWORD_HASH
from tests.support.server import RunningServer

NOW = datetime.now(UTC).replace(second=0, microsecond=0)  # The server's clock runs.
DAYS_AHEAD = timedelta(days=3)
HOW: dict[str, Any] = {"by": OWNER, "now": NOW}
SOON = 3_000  # milliseconds: about a second, on a busy machine


@pytest.fixture
async def served_database(served: RunningServer) -> AsyncIterator[Database]:
    """The database that is served: Mara at the desk, Tom (2), and twelve chairs that are always open. No bookings."""
    async with Database(served.database_url) as database:
        async with database.transaction(by=OWNER) as session:
            who: dict[str, Any] = {**HOW, "password_hash": PASSWORD_HASH}
            if await session.get(User, 1) is None:
                await records.create(session, User, name="Mara", email="mara@example.com", role=Role.MANAGER, **who)
                await records.create(session, User, name="Tom", email="tom@example.com", **who)
                chairs = [await records.create(session, Resource, name=f"Chair {n:02}", **HOW) for n in range(12)]
                facts: dict[str, Any] = {"title": "Haircut", "price": 35, "duration_minutes": 30}
                await records.create(session, Service, **facts, resource_ids=[chair.id for chair in chairs], **HOW)
        yield database
        async with database.transaction(by=OWNER) as session:
            for booking in range(1, 20):
                if row := await session.get(Booking, booking):
                    await records.remove(session, row, **HOW)


@pytest.fixture
async def today(browser: Browser, served: RunningServer, served_database: Database) -> WatchedPage:
    """Open the dashboard as Mara."""
    del served_database  # It exists.
    watched = await open_admin(browser, served.url)
    await wait_until_connected(watched.page)
    return watched


async def wait_until_connected(page: Page) -> None:
    """Wait until the page is connected to the stream, and mark it, so that a reload would be noticed."""
    await expect(page.locator("[data-bk-live]")).to_have_text("Live")
    await has_settled(page)
    await page.evaluate("window.isAsItWas = true")


def card(page: Page, name: str) -> Locator:
    return page.get_by_role("region", name=name)


async def book(database: Database, hours: int = 0) -> Booking:
    """Create a booking of Tom's in three days."""
    async with database.transaction(by=OWNER) as session:
        facts: dict[str, Any] = {"user_id": 2, "service_id": 1, "start_time": NOW + DAYS_AHEAD + timedelta(hours=hours)}
        return await records.create(session, Booking, **facts, **HOW)


async def set_status(database: Database, booking: Booking, status: Status) -> None:
    async with database.transaction(by=OWNER) as session:
        row = await session.get(Booking, booking.id)
        assert row
        await records.change(session, row, **HOW, status=status)


async def test_a_booking_from_the_api_appears(today: WatchedPage, served: RunningServer) -> None:
    page, errors, elsewhere = today
    await expect(card(page, "To confirm")).to_contain_text("Nothing to confirm.")

    async with httpx2.AsyncClient(base_url=served.url) as tom:
        answer = await tom.post("/auth/login", json={"email": "tom@example.com", "password": PASSWORD})
        headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
        sent = {"service_id": 1, "start_time": (NOW + DAYS_AHEAD).isoformat()}
        assert (await tom.post("/bookings", json=sent, headers=headers)).status_code == 201

    await expect(card(page, "To confirm 1")).to_contain_text("Tom", timeout=SOON)
    await expect(page.locator("[data-bk-announcer]")).to_have_text("To confirm 1")
    assert await page.evaluate("window.isAsItWas")
    assert (errors, elsewhere) == ([], [])


async def test_the_first_steps_are_ticked_as_they_become_true(
    today: WatchedPage, served_database: Database, served: RunningServer
) -> None:
    page, errors, elsewhere = today
    steps = card(page, "First steps")
    await expect(steps.get_by_role("listitem")).to_have_count(4)
    await expect(steps).to_contain_text("Name your business Its name")
    await expect(steps.get_by_role("link", name="Name your business")).to_have_count(0)  # It is the owner's to do.
    await expect(card(page, "Revenue by service")).to_have_count(0)

    async with served_database.transaction(by=OWNER) as session:
        business = await records.lock(session, Business, BUSINESS_ID)
        await records.change(session, business, **HOW, name="Salon", timezone="UTC")

    await expect(steps).to_contain_text("Name your business (done)", timeout=SOON)
    with psycopg.connect(served.database_url) as console:
        console.execute("UPDATE business SET name = 'My business'")
    await expect(steps).not_to_contain_text("(done) Its name", timeout=SOON)
    assert await page.evaluate("window.isAsItWas")
    assert (errors, elsewhere) == ([], [])


async def test_updates_keep_focus_and_scroll_position(today: WatchedPage, served_database: Database) -> None:
    page, errors, _ = today
    await book(served_database, hours=2)
    row = card(page, "To confirm 1").get_by_role("link", name="Tom")
    await row.focus(timeout=SOON)
    more = page.locator("section", has_text="Free time left today").locator("details")
    await more.evaluate("(details) => { details.open = true; }")
    await page.evaluate("window.focused = document.activeElement")
    height = await page.evaluate("window.scrollY")

    await book(served_database)

    await expect(card(page, "To confirm 2")).to_be_visible(timeout=SOON)
    assert await page.evaluate("document.activeElement === window.focused && window.focused.isConnected")
    assert await more.evaluate("(details) => details.open")
    assert await page.evaluate("window.scrollY") == height
    assert errors == []


async def test_focus_stays_in_the_list_when_its_row_disappears(today: WatchedPage, served_database: Database) -> None:
    page, errors, _ = today
    booking = await book(served_database)
    await card(page, "To confirm 1").get_by_role("link", name="Tom").focus(timeout=SOON)

    await set_status(served_database, booking, Status.CONFIRMED)

    await expect(card(page, "To confirm")).to_contain_text("Nothing to confirm.", timeout=SOON)
    assert await page.evaluate("document.activeElement.id") == "pending"
    assert await page.evaluate("window.isAsItWas")
    assert errors == []


async def test_nothing_changes_while_a_finger_is_down(today: WatchedPage, served_database: Database) -> None:
    page, errors, _ = today
    box = None
    for _attempt in range(20):  # The card may be replaced just now; then it has no box.
        await expect(card(page, "To confirm")).to_be_visible()
        box = await card(page, "To confirm").bounding_box()
        if box:
            break
    assert box
    await page.mouse.move(box["x"] + 20, box["y"] + 20)
    await page.mouse.down()

    await book(served_database)
    await page.wait_for_timeout(1_500)
    meanwhile = await card(page, "To confirm").inner_text()
    await page.mouse.up()

    assert "Nothing to confirm." in meanwhile
    await expect(card(page, "To confirm 1")).to_be_visible(timeout=SOON)
    assert errors == []


async def test_changes_missed_during_an_outage_arrive_afterwards(today: WatchedPage, served_database: Database) -> None:
    page = today.page
    await page.route("**/admin/calendar/stream", lambda route: route.abort())
    await page.reload()
    await expect(page.locator("[data-bk-live]")).to_have_text("Reconnecting…", timeout=10_000)
    await book(served_database)

    await page.unroute("**/admin/calendar/stream")

    await expect(card(page, "To confirm 1")).to_be_visible(timeout=10_000)
    await expect(page.locator("[data-bk-live]")).to_have_text("Live")


@pytest.mark.usefixtures("served_database")
async def test_the_page_updates_as_time_passes(browser: Browser, served: RunningServer) -> None:
    """In a context of its own, whose clock stands from then on."""
    page, errors, _ = await open_admin(browser, served.url, is_shared=False)
    await page.clock.install()
    await page.reload()
    await wait_until_connected(page)

    async with page.expect_response("**/admin/today") as refresh:
        await page.clock.run_for(62_000)

    assert (await refresh.value).status == 200
    assert errors == []


async def test_the_page_says_when_the_session_has_ended(today: WatchedPage, served_database: Database) -> None:
    page = today.page
    await page.context.clear_cookies()

    await book(served_database)

    await expect(page.locator("[data-bk-live]")).to_have_text("Not live. Please reload the page.", timeout=SOON)
    await expect(card(page, "To confirm")).to_contain_text("Nothing to confirm.")


@pytest.mark.usefixtures("served_database")
@pytest.mark.parametrize(("path", "status"), [("/admin/", "[data-bk-live]"), ("/admin/calendar", "#cal-live")])
async def test_a_page_is_live_again_after_its_stream_was_refused(
    browser: Browser, served: RunningServer, path: str, status: str
) -> None:
    page, _, _ = await open_admin(browser, served.url, is_shared=False)
    await page.clock.install()
    await page.route("**/admin/calendar/stream", lambda route: route.fulfill(status=503))
    await page.goto(f"{served.url}{path}")
    await expect(page.locator(status)).to_have_text("Not live. Please reload the page.")

    await page.unroute("**/admin/calendar/stream")
    await page.clock.run_for(6_000)

    await expect(page.locator(status)).to_have_text("Live")
