"""The admin panel as a browser sees it: signed-in users, texts of pages, and forms as they are sent."""

import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

import httpx2
import psycopg
from sqlalchemy import event, text
from starlette.applications import Starlette
from starlette.routing import Mount, Route

from admin.framework.session_cookie import SECURE_NAME
from admin.site import StaffSite
from bookit.db.pool import Database
from bookit.db.statements import Row
from bookit.settings import Settings
from tests.support.people import PASSWORD, Person
from tests.support.sign_ins import make_cookie

BASE_URL = "https://bookit.test"
ALL_VIEWS = (
    "booking",
    "review",
    "payment",
    "service",
    "resource",
    "opening-hours",
    "calendar-exception",
    "user",
    "event",
)
INTERNALS_PATTERN = re.compile(
    r"psycopg|sqlalchemy|\b(SELECT|INSERT|UPDATE|DELETE)\b|constraint|violates|password_hash|Traceback|invalid literal"
    r"|out of range for|invalid input|sqlalche\.me|\[SQL"
)


def make_browser(app: Starlette, base_url: str = BASE_URL) -> httpx2.AsyncClient:
    """Create a browser with its own cookies and the Origin header of our pages."""
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url=base_url, headers={"origin": base_url})


async def sign_in(client: httpx2.AsyncClient, email: str, password: str = PASSWORD) -> httpx2.Response:
    return await client.post("/admin/login", data={"username": email, "password": password})


@dataclass
class AdminDesk:
    """The admin panel, with Mara and Ada signed in, and a visitor who is not."""

    app: Starlette
    site: StaffSite
    database: Database
    mara: httpx2.AsyncClient
    ada: httpx2.AsyncClient
    visitor: httpx2.AsyncClient

    @contextmanager
    def record_statements(self) -> Iterator[list[str]]:
        """Collect the statements that pages read with."""
        seen: list[str] = []

        def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            seen.append(statement)

        engine = self.site.session_maker.kw["bind"].sync_engine
        event.listen(engine, "before_cursor_execute", note)
        try:
            yield seen
        finally:
            event.remove(engine, "before_cursor_execute", note)

    async def fetch_row(self, table: str, number: int) -> Row | None:
        """Return a row from the database."""
        rows = await self.database.fetch(text(f"SELECT * FROM {table} WHERE id = :id"), id=number)
        return rows[0] if rows else None

    async def fetch_list_text(self, client: httpx2.AsyncClient, identity: str = "booking") -> str:
        """Return the text of the next page of a list."""
        return get_page_text((await client.get(f"/admin/{identity}/list")).text)


BuildApp = Callable[[Settings], Starlette]


@asynccontextmanager
async def open_desk(
    app: Starlette, database: Database, superuser: psycopg.Connection, *people: Person
) -> AsyncIterator[AdminDesk]:
    """Open the admin of an application, with the cookies of sign-ins of Mara and Ada."""
    async with AsyncExitStack() as on_leaving:
        clients = [await on_leaving.enter_async_context(make_browser(app)) for _ in range(3)]
        for client, person in zip(clients, people, strict=False):
            cookie = make_cookie(superuser, person.user, app.state.settings, now=app.state.clock())
            client.cookies.set(SECURE_NAME, cookie, domain="bookit.test", path="/admin")
        yield AdminDesk(app, app.state.staff_site, database, *clients)


class ParsedPage(HTMLParser):
    """The text of a page, and what its forms would send unchanged."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.fields: dict[str, Any] = {}  # of a field with several values, a list
        self.selects: dict[str, list[str]] = {}
        self._hidden_tags: list[str] = []
        self._select = self._area = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Record a field."""
        attributes = {name: value or "" for name, value in attrs}
        name = attributes.get("name", "")
        if tag in {"script", "style"}:
            self._hidden_tags.append(tag)
        elif tag == "input" and name and attributes.get("type") not in {"submit", "button"}:
            is_sent = attributes.get("type") not in {"checkbox", "radio"} or "checked" in attributes
            if is_sent:
                self.fields[name] = attributes.get("value", "y")
        elif tag == "textarea":
            self._area = name
            self.fields[name] = ""
        elif tag == "select" and name:
            self._select = name
            self.selects[name] = []
            chosen = json.loads(attributes.get("data-json") or "[]")  # The page's script fills the look-up with this.
            self.fields[name] = [] if "multiple" in attributes else str(chosen[0]["id"]) if chosen else ""
        elif tag == "option" and self._select:
            self.selects[self._select].append(attributes.get("value", ""))
            if "selected" in attributes and isinstance(self.fields[self._select], list):
                self.fields[self._select].append(attributes.get("value", ""))
            elif "selected" in attributes:
                self.fields[self._select] = attributes.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        """Leave a tag."""
        if tag in {"script", "style"} and self._hidden_tags:
            self._hidden_tags.pop()
        if tag == "textarea":
            self.fields[self._area] = self.fields[self._area].removeprefix("\r").removeprefix("\n")  # As browsers do.
            self._area = ""
        if tag == "select":
            self._select = ""

    def handle_data(self, data: str) -> None:
        """Record a text."""
        if self._area:
            self.fields[self._area] += data
        if not self._hidden_tags and data.strip():
            self.texts.append(" ".join(data.split()))


def get_page_text(html: str) -> str:
    """Return the text of a page, without its tags."""
    return " ".join(ParsedPage(html).texts)


@dataclass
class FormResult:
    """The result of sending a form."""

    status: int
    text: str
    html: str = field(repr=False)
    location: str = ""

    @property
    def is_refused(self) -> bool:
        """Whether the form was returned with an error."""
        return self.status in {400, 403, 404, 409, 412, 422}


async def submit_form(client: httpx2.AsyncClient, path: str, *without: str, **changed: Any) -> FormResult:
    """Open a form, change some of its fields, and send it as a browser does."""
    opened = await client.get(path)
    assert opened.status_code == 200, (path, opened.status_code, opened.headers.get("location"))
    fields = {**ParsedPage(opened.text).fields, **{name: str(value) for name, value in changed.items()}}
    sent = {name: value for name, value in fields.items() if name not in without}
    return await post_form(client, path, sent)


async def post_form(client: httpx2.AsyncClient, path: str, fields: dict[str, Any]) -> FormResult:
    """Send a form with exactly these fields."""
    answer = await client.post(path, data={"save": "Save", **fields})
    return FormResult(answer.status_code, get_page_text(answer.text), answer.text, answer.headers.get("location", ""))


def shorten(value: object) -> str:
    """Shorten a test id that contains a long value."""
    return f"{value!r:.25} of {len(str(value))}"


def list_admin_routes(desk: AdminDesk) -> list[tuple[str, str]]:
    """Return every method and path of the admin except files and sign-in, for an existing view and row."""
    routes = []
    for route in desk.site.admin.router.routes:
        if isinstance(route, Mount):
            continue
        assert isinstance(route, Route)
        if route.name in {"login", "logout", "second-step", "passkey-sign-in"}:
            continue
        path = route.path
        for name, value in {"identity": "booking", "pk:path": "1", "export_type": "csv"}.items():
            path = path.replace(f"{{{name}}}", value)
        routes += [(method, f"/admin{path}") for method in sorted(route.methods or {"GET"}) if method != "HEAD"]
    return routes
