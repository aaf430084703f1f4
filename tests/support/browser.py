"""A real browser, for tests of what users see.

A module's tests share the context of each person who signs in, and with it the cookie and the cache: to sign in takes
longer than most of what they then do. Each test has pages of its own, which are closed when it ends.
"""

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

import pytest
from axe_playwright_python.base import AXE_SCRIPT  # type: ignore[import-untyped]  # it has no types
from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    Response,
    async_playwright,
    expect,
)

from tests.support.people import PASSWORD

PATIENCE_MS = 20_000  # longer than a page takes on a busy machine; only a test that fails waits so long
QUIET_SECONDS = 0.1
CHROMIUM_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
# Each window would also load the pages of Chromium's address bar, which takes longer than to load ours.
UNUSED_FEATURES = ("WebUIOmniboxPopup", "WebUIOmniboxAimPopup", "WebUIOmniboxFullPopup")
# Chromium reads the last of these flags only, so ours says again what Playwright's says.
FEATURES_OFF_IN_PLAYWRIGHT = (
    "AimEnabled",
    "AvoidCorsURLLoaderRestartOnRedirect",
    "AvoidUnnecessaryBeforeUnloadCheckSync",
    "DestroyProfileOnBrowserClose",
    "HttpsFirstBalancedModeAutoEnable",
    "HttpsUpgrades",
    "LensOverlay",
    "MediaRouter",
    "NetworkTimeServiceQuerying",
    "OptimizationHints",
    "PaintHolding",
    "PreconnectToSearch",
    "TcpPortRandomizationWin",
    "ThirdPartyStoragePartitioning",
)
CHROMIUM_FLAGS = [
    f"--disable-features={','.join((*UNUSED_FEATURES, *FEATURES_OFF_IN_PLAYWRIGHT))}",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP *.test 127.0.0.1",  # Names for sites on this machine; the domain is reserved for tests.
]
AXE_OPTIONS = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"], "resultTypes": ["violations"]}
RUN_AXE = "(options) => axe.run(options).then(({ violations }) => violations)"
FITS_VIEWPORT_JS = "document.documentElement.scrollWidth <= window.innerWidth"
WIDE, PHONE, HEIGHT = 1400, 390, 900
THEMES = ("light", "dark")
CHOOSE_THEME = """
if (!sessionStorage.getItem("has-theme")) {{
  localStorage.clear();
  localStorage.setItem("bookit-theme", "{theme}");
  sessionStorage.setItem("has-theme", "yes");
}}
"""
SET_THEME = """(theme) => {
  document.documentElement.dataset.bsTheme = theme;
  document.getAnimations().forEach((animation) => animation.finish());
}"""
LOG_CSP_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", (event) =>
  console.error(`violates ${event.effectiveDirective}: ${event.blockedURI} ${event.sourceFile}`));
"""


PENDING_REQUESTS: WeakKeyDictionary[Page, set[Request]] = WeakKeyDictionary()


@asynccontextmanager
async def run_chromium() -> AsyncIterator[Browser]:
    """Run Chromium. Where there is none, its tests are skipped, or fail if BOOKIT_REQUIRE_BROWSER=1."""
    program = next(filter(None, map(shutil.which, CHROMIUM_PROGRAMS)), None)
    if program is None:
        refuse = pytest.fail if os.environ.get("BOOKIT_REQUIRE_BROWSER") == "1" else pytest.skip
        refuse("No Chromium is installed; on Debian and Ubuntu: apt install chromium")
    flags = [*CHROMIUM_FLAGS, "--no-sandbox"] if os.geteuid() == 0 else CHROMIUM_FLAGS
    expect.set_options(timeout=PATIENCE_MS)
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
    where: Browser | BrowserContext, url: str, *, width: int = 1400, theme: str | None = None
) -> WatchedPage:
    """Open a URL in a new page; record errors, policy violations, failed requests and requests to other sites."""
    page = await where.new_page()
    await page.set_viewport_size({"width": width, "height": HEIGHT})
    watched = WatchedPage(page, [], [])
    pending = PENDING_REQUESTS[page] = set[Request]()

    def on_console(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            watched.errors.append(message.text)

    def on_response(answer: Response) -> None:
        if answer.status >= 400:
            watched.errors.append(f"{answer.status} {answer.url}")

    def on_request(request: Request) -> None:
        if request.resource_type != "eventsource":
            pending.add(request)
        parts = urlsplit(request.url)
        if parts.scheme not in {"data", "blob"} and parts.netloc != urlsplit(url).netloc:
            watched.foreign_requests.append(request.url)

    def on_end(request: Request) -> None:
        pending.discard(request)

    page.on("requestfinished", on_end)
    page.on("requestfailed", on_end)
    page.on("console", on_console)
    page.on("pageerror", lambda error: watched.errors.append(str(error)))
    page.on("response", on_response)
    page.on("request", on_request)
    await page.add_init_script(LOG_CSP_VIOLATIONS)
    if theme:
        await page.add_init_script(CHOOSE_THEME.format(theme=theme))
    await go_to(page, url)
    return watched


async def go_to(page: Page, url: str) -> None:
    """Open a URL on a page of ``open_page``, and wait until it has loaded what it shows."""
    await page.goto(url)
    await has_settled(page)


async def has_settled(page: Page) -> None:
    """Wait until a page of ``open_page`` has loaded and for a moment asks for nothing more, besides a stream of events.

    Playwright's own "networkidle" waits half a second longer, for each page of each test.
    """
    await page.wait_for_load_state()
    quiet_since = time.monotonic()
    async with asyncio.timeout(PATIENCE_MS / 1000):
        while time.monotonic() - quiet_since < QUIET_SECONDS:
            await asyncio.sleep(QUIET_SECONDS / 4)
            if PENDING_REQUESTS.get(page):
                quiet_since = time.monotonic()


async def sign_in(page: Page, email: str) -> None:
    """Sign in on the sign-in page of the admin panel."""
    await page.get_by_label("E-mail").fill(email)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").click()


async def open_admin(
    browser: Browser,
    url: str,
    email: str = "mara@example.com",
    *,
    path: str = "",
    width: int = 1400,
    theme: str = "light",
    is_shared: bool = True,
) -> WatchedPage:
    """Open a page of the admin panel of this server, signed in as this person, in the context that they share."""
    address = f"{url}/admin/{path}"
    context = await context_of(browser, url, email) if is_shared else await browser.new_context()
    watched = await open_page(context, address, width=width, theme=theme)
    if await watched.page.title() == "Sign in – BookIt":
        await sign_in(watched.page, email)
        await expect(watched.page).not_to_have_title("Sign in – BookIt")
        await has_settled(watched.page)
        if watched.page.url != address:
            await go_to(watched.page, address)
    if not path:
        await expect(watched.page).to_have_title("Today – BookIt")
    return watched


SHARED_CONTEXTS: dict[tuple[object, ...], BrowserContext] = {}


async def context_of(browser: Browser, *key: str, **options: Any) -> BrowserContext:
    """Return the context that this module's tests share under this key, and make it with these options."""
    if key not in SHARED_CONTEXTS:
        SHARED_CONTEXTS[key] = await browser.new_context(**options)
    return SHARED_CONTEXTS[key]


async def close_shared_contexts() -> None:
    while SHARED_CONTEXTS:
        await SHARED_CONTEXTS.popitem()[1].close()


async def fits_viewport(page: Page) -> bool:
    """Whether a page is no wider than its window."""
    return bool(await page.evaluate(FITS_VIEWPORT_JS))


async def find_accessibility_violations(page: Page) -> list[str]:
    """Return the accessibility violations of a page, each with its element."""
    if not await page.evaluate("typeof axe === 'object'"):
        await page.evaluate(AXE_SCRIPT)
    found = await page.evaluate(RUN_AXE, AXE_OPTIONS)
    return [f"{fault['id']}: {node['html'][:200]}" for fault in found for node in fault["nodes"][:3]]


async def find_violations_in_both_themes(page: Page) -> list[str]:
    """Return the accessibility violations of a page in light and in dark, once it has loaded."""
    await has_settled(page)
    found = []
    for theme in THEMES:
        await set_theme(page, theme)
        found += [f"{theme}: {violation}" for violation in await find_accessibility_violations(page)]
    return found


async def find_faults(page: Page) -> list[str]:
    """Return what is wrong with a page on a wide screen and on a phone: accessibility violations, and if it is wider.

    A page is as wide as its window without being loaded again: no script of ours asks for the width.
    """
    found = []
    for width in (WIDE, PHONE):
        await page.set_viewport_size({"width": width, "height": HEIGHT})
        found += [f"{width}: {violation}" for violation in await find_violations_in_both_themes(page)]
        if not await fits_viewport(page):
            found.append(f"{width}: the page is wider than its window")
    return found


async def set_theme(page: Page, theme: str) -> None:
    """Switch a page to light or dark, as its button does."""
    await page.evaluate(SET_THEME, theme)
