"""A real browser and a real server, for tests of what people see."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.async_playwright import Axe  # type: ignore[import-untyped]  # it has no types
from playwright.async_api import Browser, ConsoleMessage, Page, Request, Response, async_playwright, expect

from tests.conftest import PASSWORD, ROOT, TEMPLATE_DATABASE, create_database

CHROMIUM_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM_FLAGS = [
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP *.test 127.0.0.1",  # Names for sites on this machine; no such name is anybody's.
]
TIMEOUT_SECONDS = 30
AXE_OPTIONS = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"], "resultTypes": ["violations"]}
FITS_VIEWPORT_JS = "document.documentElement.scrollWidth <= window.innerWidth"
SECRET_KEY = "a secret that only tests know, long enough"
LOG_CSP_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", (event) =>
  console.error(`violates ${event.effectiveDirective}: ${event.blockedURI} ${event.sourceFile}`));
"""


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Chromium without a window. Where there is none, its tests are skipped, or fail if BOOKIT_REQUIRE_BROWSER=1."""
    program = next(filter(None, map(shutil.which, CHROMIUM_PROGRAMS)), None)
    if program is None:
        refuse = pytest.fail if os.environ.get("BOOKIT_REQUIRE_BROWSER") == "1" else pytest.skip
        refuse("No Chromium is installed; on Debian and Ubuntu: apt install chromium")
    flags = [*CHROMIUM_FLAGS, "--no-sandbox"] if os.geteuid() == 0 else CHROMIUM_FLAGS
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=program, args=flags)
        yield chromium
        await chromium.close()


class RunningServer(NamedTuple):
    """A BookIt that runs in a process of its own: where it is, and where it logs."""

    url: str
    database_url: str
    log: Path


@pytest.fixture(scope="module")
def served(server: str, worker_id: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Run `bookit serve` on any free port and a database of its own, and stop it as Ctrl-C does."""
    url = create_database(server, f"served_{worker_id}", TEMPLATE_DATABASE)
    home = tmp_path_factory.mktemp("served")
    with run_server(home, url) as address:
        yield RunningServer(address, url, home / "log")


@contextmanager
def run_server(home: Path, url: str, *arguments: str, **more: str) -> Iterator[str]:
    """Run `bookit serve` on any free port and this database, say where it is open, and stop it as Ctrl-C does."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "DATABASE_URL": url,
        "SECRET_KEY": SECRET_KEY,
        **more,
    }
    command = [sys.executable, "-c", "from server.cli import main; main()", "serve", "--port", "0", *arguments]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=home, env=environment, stdout=log, stderr=log)
    try:
        yield wait_for_url(process, home / "log")
    finally:
        process.send_signal(signal.SIGINT)
        status = process.wait(TIMEOUT_SECONDS)
    assert status == 0


def wait_for_url(process: subprocess.Popen[bytes], log: Path) -> str:
    """Wait until BookIt says where it is open."""
    until = time.monotonic() + TIMEOUT_SECONDS
    while time.monotonic() < until and process.poll() is None:
        found = re.search(r"BookIt is open at (http://\S+)", log.read_text("utf-8"))
        if found:
            return found[1]
        time.sleep(0.05)
    raise AssertionError(log.read_text("utf-8"))


class WatchedPage(NamedTuple):
    """A page, and what happened on it that should not."""

    page: Page
    errors: list[str]
    foreign_requests: list[str]


async def open_page(
    browser: Browser, url: str, *, width: int = 1400, timezone: str | None = None, has_touch: bool = False
) -> WatchedPage:
    """Open an address in a fresh window; errors, broken policies, failed and foreign requests are written down."""
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
    """Sign in where the staff door asks who one is."""
    await page.get_by_label("E-mail").fill(email)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").click()


async def open_admin(
    browser: Browser, url: str, email: str = "mara@example.com", *, width: int = 1400, theme: str = "light"
) -> WatchedPage:
    """Open the staff door of this server in a fresh window, and sign in."""
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
    """Give what keeps somebody from using a page, each with where it is."""
    found = (await Axe().run(page, options=AXE_OPTIONS)).response["violations"]
    return [f"{fault['id']}: {node['html'][:200]}" for fault in found for node in fault["nodes"][:3]]
