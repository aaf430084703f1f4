"""A real browser, for tests of what users see."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.async_playwright import Axe  # type: ignore[import-untyped]  # it has no types
from playwright.async_api import Browser, ConsoleMessage, Page, Request, Response, async_playwright, expect

from tests.support.people import PASSWORD

CHROMIUM_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM_FLAGS = [
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP *.test 127.0.0.1",  # Names for sites on this machine; the domain is reserved for tests.
]
AXE_OPTIONS = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"], "resultTypes": ["violations"]}
FITS_VIEWPORT_JS = "document.documentElement.scrollWidth <= window.innerWidth"
LOG_CSP_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", (event) =>
  console.error(`violates ${event.effectiveDirective}: ${event.blockedURI} ${event.sourceFile}`));
"""


@asynccontextmanager
async def run_chromium() -> AsyncIterator[Browser]:
    """Run Chromium. Where there is none, its tests are skipped, or fail if BOOKIT_REQUIRE_BROWSER=1."""
    program = next(filter(None, map(shutil.which, CHROMIUM_PROGRAMS)), None)
    if program is None:
        refuse = pytest.fail if os.environ.get("BOOKIT_REQUIRE_BROWSER") == "1" else pytest.skip
        refuse("No Chromium is installed; on Debian and Ubuntu: apt install chromium")
    flags = [*CHROMIUM_FLAGS, "--no-sandbox"] if os.geteuid() == 0 else CHROMIUM_FLAGS
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=program, args=flags)
        yield chromium
        await chromium.close()


class WatchedPage(NamedTuple):
    """A page, and the errors that occurred on it."""

    page: Page
    errors: list[str]
    foreign_requests: list[str]


async def open_page(
    browser: Browser, url: str, *, width: int = 1400, timezone: str | None = None, has_touch: bool = False
) -> WatchedPage:
    """Open a URL in a fresh window; record errors, policy violations, failed requests and requests to other sites."""
    held: dict[str, Any] = {"has_touch": True, "is_mobile": True} if has_touch else {}
    page = await browser.new_page(viewport={"width": width, "height": 900}, timezone_id=timezone, **held)
    watched = WatchedPage(page, [], [])

    def on_console(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            watched.errors.append(message.text)

    def on_response(answer: Response) -> None:
        if answer.status >= 400:
            watched.errors.append(f"{answer.status} {answer.url}")

    def on_request(request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in {"data", "blob"} and parts.netloc != urlsplit(url).netloc:
            watched.foreign_requests.append(request.url)

    page.on("console", on_console)
    page.on("pageerror", lambda error: watched.errors.append(str(error)))
    page.on("response", on_response)
    page.on("request", on_request)
    await page.add_init_script(LOG_CSP_VIOLATIONS)
    await page.goto(url, wait_until="networkidle")
    return watched


async def sign_in(page: Page, email: str) -> None:
    """Sign in on the sign-in page of the admin panel."""
    await page.get_by_label("E-mail").fill(email)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").click()


async def open_admin(
    browser: Browser, url: str, email: str = "mara@example.com", *, width: int = 1400, theme: str = "light"
) -> WatchedPage:
    """Open the admin panel of this server in a fresh window, and sign in."""
    watched = await open_page(browser, f"{url}/admin/login", width=width)
    await watched.page.evaluate(f'localStorage.setItem("bookit-theme", "{theme}")')
    await sign_in(watched.page, email)
    await expect(watched.page).to_have_title("Today – BookIt")
    await watched.page.wait_for_load_state("networkidle")
    return watched


async def fits_viewport(page: Page) -> bool:
    """Whether a page is no wider than its window."""
    return bool(await page.evaluate(FITS_VIEWPORT_JS))


async def find_accessibility_violations(page: Page) -> list[str]:
    """Return the accessibility violations of a page, each with its element."""
    violations = (await Axe().run(page, options=AXE_OPTIONS)).response["violations"]
    return [f"{fault['id']}: {node['html'][:200]}" for fault in violations for node in fault["nodes"][:3]]
