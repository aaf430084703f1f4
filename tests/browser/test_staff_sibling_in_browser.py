"""Pages of a sibling domain, which receives the desk's cookie, and of other sites, in a real browser: none can write.

Over plain HTTP a browser sends no Sec-Fetch-Site to such names, so these tests check that Origin is enough.
"""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, Page, Request, expect
from sqlalchemy import text

from bookit import records
from bookit.db.pool import Database
from bookit.schema.tables import Booking, Role, Service, User
from tests.support.browser import sign_in
from tests.support.databases import TEMPLATE_DATABASE, create_database
from tests.support.people import OWNER, PASSWORD, PASSWORD_HASH
from tests.support.server import run_server

NOW = datetime.now(UTC)
ACT = "/admin/booking/action/cancel"
FIELDS = '<input name="pks" value="1"><input name="reason" value="lured">'
RESOURCE = '<input name="name" value="Evil"><input name="capacity" value="1"><input name="timezone" value="UTC">'
SIGN_IN = f'<input name="username" value="eve@example.com"><input name="password" value="{PASSWORD}">'
FORM = '<form method="{}" action="{}{}"{}>{}<button>Win</button></form>'
LURES = {
    "form": ("POST", ACT, FIELDS, ""),
    "form-as-text": ("POST", ACT, FIELDS, ' enctype="text/plain"'),
    "new-row": ("POST", "/admin/resource/create", RESOURCE, ""),
    "sign-in": ("POST", "/admin/login", SIGN_IN, ""),
    "sign-out": ("POST", "/admin/logout", "", ""),
    "link": ("GET", ACT, FIELDS, ""),
    "without-referrer": ("POST", ACT, FIELDS, ' rel="noreferrer"'),
}

HIDDEN = ("script", "picture")


class Lure(BaseHTTPRequestHandler):
    """Pages of another site: each has one form or one script request, chosen by its path."""

    desk = ""

    def do_GET(self) -> None:
        """Respond with the page."""
        kind = self.path.strip("/")
        method, path, fields, more = LURES.get(kind, ("GET", "/", "", ""))
        page = FORM.format(method, self.desk, path, more, fields)
        if kind == "script":
            send = f"fetch('{self.desk}{ACT}', {{method: 'POST', mode: 'no-cors', credentials: 'include', body}})"
            page = f"<button onclick=\"const body = new URLSearchParams('pks=1'); {send}\">Win</button>"
        if kind == "picture":
            page = f"<button onclick=\"new Image().src = '{self.desk}{ACT}?pks=1'\">Win</button>"
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(page.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- its name in the standard library
        """Write no log."""


SIBLING = "evil.bookit.localhost"  # the same site as the desk, and not the same origin


class Sites(NamedTuple):
    """The desk, its database, and the port of all other sites."""

    desk: str
    database: Database
    port: int


@pytest.fixture(scope="module")
def others() -> Iterator[int]:
    """Serve the pages of another site, under any name."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Lure) as other:
        Thread(target=other.serve_forever, daemon=True).start()
        yield other.server_port
        other.shutdown()


@pytest.fixture(scope="module")
async def sites(
    server: str, worker_id: str, tmp_path_factory: pytest.TempPathFactory, others: int
) -> AsyncIterator[Sites]:
    """Serve the desk at desk.bookit.localhost, where Ada (1) is signed in later and Eve (2) wants in."""
    url = create_database(server, f"street_{worker_id}", TEMPLATE_DATABASE)
    async with Database(url) as database:
        async with database.transaction(by=OWNER) as session:
            who: dict[str, Any] = {"by": OWNER, "now": NOW, "password_hash": PASSWORD_HASH}
            for name in ("Ada", "Eve"):
                await records.create(
                    session, User, name=name, email=f"{name}@example.com".lower(), role=Role.ADMIN, **who
                )
            facts: dict[str, Any] = {"title": "Haircut", "price": 35, "duration_minutes": 45}
            await records.create(session, Service, by=OWNER, now=NOW, **facts)
            visit: dict[str, Any] = {"user_id": 2, "service_id": 1, "start_time": NOW + timedelta(days=7)}
            await records.create(session, Booking, by=OWNER, now=NOW, **visit)
        # DEBUG allows the cookie over plain HTTP; a browser accepts no Secure cookie from such a name.
        with run_server(tmp_path_factory.mktemp("street"), url, DEBUG="true") as address:
            Lure.desk = f"http://desk.bookit.localhost:{urlsplit(address).port}"
            yield Sites(Lure.desk, database, others)


@pytest.fixture(scope="module")
async def page(browser: Browser, sites: Sites) -> AsyncIterator[Page]:
    """Open a browser in which Ada has signed in."""
    context = await browser.new_context()
    page = await context.new_page()
    await page.goto(f"{sites.desk}/admin/login")
    await sign_in(page, "ada@example.com")
    await expect(page).to_have_title("Today – BookIt")
    yield page
    await context.close()


async def fetch_state(sites: Sites) -> list[str]:
    """Return everything that an attack could have changed."""
    rows = text("SELECT status, version FROM bookings UNION ALL SELECT name, version FROM resources ORDER BY 1")
    return [str(row) for row in await sites.database.fetch(rows)]


async def trigger(sites: Sites, page: Page, name: str, kind: str) -> Request:
    """Open a page of another site, trigger its request, and return that request."""
    await page.goto(f"http://{name}:{sites.port}/{kind}")
    # The desk's headers hide the response from scripts of other sites, so the browser reports a failure.
    over = "requestfailed" if kind in HIDDEN else "requestfinished"
    url = sites.desk + (ACT if kind in HIDDEN else LURES[kind][1])
    async with page.expect_event(over, lambda request: request.url.startswith(url)) as request_info:
        await page.get_by_role("button", name="Win").click()
    request: Request = await request_info.value
    return request


@pytest.mark.parametrize(
    ("name", "kind"),
    [(SIBLING, kind) for kind in [*LURES, *HIDDEN]] + [("stranger.test", kind) for kind in ("form", "link")],
)
async def test_a_page_of_another_site_changes_nothing(sites: Sites, page: Page, name: str, kind: str) -> None:
    before = await fetch_state(sites)

    request = await trigger(sites, page, name, kind)

    if kind not in HIDDEN:
        answer = await request.response()
        assert answer is not None
        assert answer.status == (405 if kind == "link" else 403)
        cookie = (await request.all_headers()).get("cookie", "")
        assert ("bookit_staff" in cookie) == (name == SIBLING or kind == "link")
    assert await fetch_state(sites) == before
    await page.goto(f"{sites.desk}/admin/")
    await expect(page).to_have_title("Today – BookIt")  # Still signed in.


async def test_a_form_of_the_desk_itself_is_accepted(sites: Sites, page: Page) -> None:
    """Over the same plain HTTP, by the same name: only other origins are refused."""
    await page.goto(f"{sites.desk}/admin/booking/details/1")
    await page.get_by_role("link", name="Confirm…").or_(page.get_by_role("button", name="Confirm…")).click()
    await page.get_by_role("dialog").filter(visible=True).get_by_role("button", name="Yes").click()

    await expect(page.get_by_text("Booking #1 is confirmed.")).to_be_visible()
