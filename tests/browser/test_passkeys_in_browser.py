"""Passkeys, with the virtual authenticator of a real browser, and the pages of second factors."""

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.async_api import Browser, CDPSession, Page, expect
from sqlalchemy import text

from bookit import records
from bookit.db.pool import Database
from bookit.schema.tables import Role, User
from tests.support.browser import (
    PHONE,
    WIDE,
    WatchedPage,
    find_faults,
    go_to,
    has_settled,
    open_page,
    sign_in,
)
from tests.support.clock import NOW
from tests.support.people import OWNER, PASSWORD, PASSWORD_HASH
from tests.support.server import RunningServer

AUTHENTICATOR = {
    "protocol": "ctap2",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}


@pytest.fixture
async def served_database(served: RunningServer) -> AsyncIterator[Database]:
    """The database that is served, with Mara at the desk, who has no second factor."""
    async with Database(served.database_url) as database:
        async with database.transaction(by=OWNER) as session:
            await session.fetch(text("DELETE FROM users"))
            facts: dict[str, Any] = {"name": "Mara", "email": "mara@example.com", "role": Role.STAFF}
            await records.create(session, User, by=OWNER, now=NOW, password_hash=PASSWORD_HASH, **facts)
        yield database


class Desk:
    """A browser with a device that keeps passkeys, at the staff panel under the name localhost."""

    def __init__(self, watched: WatchedPage, cdp: CDPSession, device: str, url: str) -> None:
        self.watched, self.page, self.cdp, self.device, self.url = watched, watched.page, cdp, device, url

    async def go(self, path: str) -> None:
        await go_to(self.page, f"{self.url}/admin/{path}")

    async def press(self, name: str) -> None:
        await self.page.get_by_role("button", name=name, exact=True).click()

    async def sign_out(self) -> None:
        await self.page.goto("about:blank")  # The page that is left would ask for its stream without a cookie.
        await self.page.context.clear_cookies()
        await self.go("login")

    async def confirm(self) -> None:
        """Confirm with the password, on the page of one's second factors."""
        await self.go("signing-in")
        await self.page.get_by_label("Current password").fill(PASSWORD)
        await self.press("Confirm")
        await expect(self.page.get_by_role("button", name="Confirm", exact=True)).to_have_count(0)
        await has_settled(self.page)

    async def add_passkey(self, name: str) -> None:
        await self.confirm()
        await self.page.get_by_label("Name of the new passkey").fill(name)
        await self.press("Add a passkey")


async def open_desk(browser: Browser, served: RunningServer, *, width: int = WIDE) -> Desk:
    """Open the sign-in page in a browser of its own."""
    url = f"http://localhost:{urlsplit(served.url).port}"
    context = await browser.new_context()
    watched = await open_page(context, f"{url}/admin/login", width=width)
    cdp = await context.new_cdp_session(watched.page)
    await cdp.send("WebAuthn.enable")
    added = await cdp.send("WebAuthn.addVirtualAuthenticator", {"options": AUTHENTICATOR})
    return Desk(watched, cdp, added["authenticatorId"], url)


async def open_desk_with_passkey(browser: Browser, served: RunningServer) -> Desk:
    desk = await open_desk(browser, served)
    await sign_in(desk.page, "mara@example.com")
    await desk.add_passkey("Phone")
    await expect(desk.page.locator(".bk-codes li")).to_have_count(10)
    return desk


async def expect_signed_in(page: Page) -> None:
    await expect(page).to_have_title("Today – BookIt")


async def test_a_passkey_from_its_first_day_to_its_last(
    browser: Browser, served: RunningServer, served_database: Database
) -> None:
    desk = await open_desk_with_passkey(browser, served)
    page = desk.page
    await page.get_by_role("link", name="I have kept them").click()
    await expect(page.get_by_role("row", name="Phone")).to_contain_text("Never")

    await desk.sign_out()
    await sign_in(page, "mara@example.com")
    await expect(page.get_by_role("heading", name="One more step")).to_be_visible()
    await desk.press("Use a passkey")
    await expect_signed_in(page)

    await desk.sign_out()
    await desk.press("Use a passkey instead")
    await expect_signed_in(page)
    rows = await served_database.fetch(text("SELECT second_factor FROM sign_ins WHERE ended_at IS NULL"))
    assert [row["second_factor"] for row in rows] == ["passkey"] * len(rows)

    await desk.go("signing-in")
    await desk.press("Confirm with a passkey")
    await page.get_by_label("New name of Phone").fill("Laptop")
    await page.get_by_role("button", name="Rename Phone").click()
    await expect(page.get_by_role("row", name="Laptop")).not_to_contain_text("Never")
    await desk.press("Confirm with a passkey")
    await page.get_by_role("button", name="Remove Laptop").click()
    await expect(page.get_by_role("row", name="Laptop")).to_have_count(0)

    events = await served_database.fetch(text("SELECT action FROM events WHERE table_name = 'passkeys' ORDER BY id"))
    assert [row["action"] for row in events] == ["created", "changed", "deleted"]
    assert (desk.watched.errors, desk.watched.foreign_requests) == ([], [])


async def test_a_device_has_one_passkey_and_a_person_several(
    browser: Browser, served: RunningServer, served_database: Database
) -> None:
    desk = await open_desk_with_passkey(browser, served)

    await desk.add_passkey("Again")
    await expect(desk.page.get_by_role("alert").filter(visible=True)).to_contain_text(
        "has a passkey for BookIt already"
    )
    await desk.cdp.send("WebAuthn.removeVirtualAuthenticator", {"authenticatorId": desk.device})
    await desk.cdp.send("WebAuthn.addVirtualAuthenticator", {"options": AUTHENTICATOR | {"transport": "usb"}})
    await desk.press("Add a passkey")

    await expect(desk.page.get_by_role("row", name="Again")).to_be_visible()
    await expect(desk.page.get_by_role("row", name="Phone")).to_be_visible()


async def test_an_answer_works_once_for_a_verified_user_and_a_counter_that_goes_up(
    browser: Browser, served: RunningServer, served_database: Database
) -> None:
    desk = await open_desk_with_passkey(browser, served)
    page, context = desk.page, desk.page.context
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.post_data or "") if "passkey" in request.url else None)

    await desk.sign_out()
    cookies = await context.cookies()
    await desk.press("Use a passkey instead")
    await expect_signed_in(page)
    form: dict[str, str | float | bool] = {"credential": parse_qs(next(filter(None, sent)))["credential"][0]}

    async def send_again() -> int:
        await context.clear_cookies()
        await context.add_cookies(cookies)  # type: ignore[arg-type]  # what cookies() returns
        answer = await context.request.post(
            f"{desk.url}/admin/login/passkey", form=form, headers={"origin": desk.url}, max_redirects=0
        )
        return answer.status

    replayed = await send_again()
    await served_database.fetch(text("UPDATE passkeys SET last_used_at = NULL RETURNING id"))
    replayed_by_counter = await send_again()
    await served_database.fetch(text("UPDATE passkeys SET sign_count = 0 RETURNING id"))
    accepted = await send_again()  # So it was refused for these reasons alone.

    await served_database.fetch(text("UPDATE passkeys SET sign_count = 1000 RETURNING id"))
    await desk.sign_out()
    await desk.press("Use a passkey instead")
    await expect(page.get_by_role("alert").filter(visible=True)).to_contain_text("This passkey did not work")
    await served_database.fetch(text("UPDATE passkeys SET sign_count = 1 RETURNING id"))
    await desk.cdp.send("WebAuthn.setUserVerified", {"authenticatorId": desk.device, "isUserVerified": False})
    await page.evaluate("""() => {
      const form = document.querySelector("[data-bk-passkey]");
      const options = JSON.parse(form.dataset.bkOptions);
      form.dataset.bkOptions = JSON.stringify({ ...options, userVerification: "discouraged" });
    }""")
    await desk.press("Use a passkey instead")
    await has_settled(page)
    unverified = await page.get_by_role("alert").filter(visible=True).text_content()

    assert (replayed, replayed_by_counter, accepted) == (400, 400, 303)
    assert "This passkey did not work" in (unverified or "")


async def test_the_pages_are_accessible(browser: Browser, served: RunningServer, served_database: Database) -> None:
    """Each is looked at on both screens, and used on the phone; the tests above use them on a wide screen."""
    desk = await open_desk(browser, served, width=PHONE)
    page = desk.page
    faults: dict[str, list[str]] = {}

    async def look(name: str) -> None:
        faults[name] = await find_faults(page)

    await look("login")
    await sign_in(page, "mara@example.com")
    await desk.go("signing-in")
    await look("unconfirmed")
    await desk.confirm()
    await desk.press("Set up an app")
    await expect(page.get_by_role("img", name="QR code")).to_be_visible()
    await look("QR code")
    await page.get_by_label("Name of the new passkey").fill("Phone")
    await desk.press("Add a passkey")
    await expect(page.locator(".bk-codes li")).to_have_count(10)
    await look("codes")
    await desk.confirm()
    await look("confirmed")
    await desk.sign_out()
    await sign_in(page, "mara@example.com")
    await expect(page.get_by_role("heading", name="One more step")).to_be_visible()
    await look("second step")

    assert {name: found for name, found in faults.items() if found} == {}
    assert (desk.watched.errors, desk.watched.foreign_requests) == ([], [])
