"""The API documentation pages in a real browser, from a real server, offline."""

import re
from html.parser import HTMLParser
from typing import Any

import httpx2
import pytest
from playwright.async_api import Browser, expect

from api.openapi import build_document
from api.routes import ENDPOINTS
from bookit import records
from bookit.db.pool import Database
from bookit.schema.tables import Service
from tests.support.browser import open_page
from tests.support.clock import NOW
from tests.support.people import OWNER
from tests.support.server import RunningServer

OWN = (
    "default-src 'none'; script-src 'self'; style-src 'self'{}; img-src 'self' data:; font-src 'self';"
    " connect-src 'self'; worker-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
POLICIES = {"/docs": OWN.format(""), "/redoc": OWN.format(" 'unsafe-inline'")}
SUMMARIES = sorted(
    operation["summary"] for methods in build_document(ENDPOINTS)["paths"].values() for operation in methods.values()
)


@pytest.fixture
async def massage(served: RunningServer) -> Service:
    """Create a service in the served BookIt."""
    database = Database(served.database_url)
    await database.open()
    async with database.transaction(by=OWNER) as session:
        facts: dict[str, Any] = {"title": "Massage", "price": 80, "duration_minutes": 60}
        service = await records.create(session, Service, by=OWNER, now=NOW, **facts)
    await database.close()
    return service


async def test_docs_show_every_operation(browser: Browser, served: RunningServer) -> None:
    page, errors, elsewhere = await open_page(browser, f"{served.url}/docs")

    await expect(page.get_by_role("heading", name="BookIt", level=1)).to_be_visible()
    summaries = await page.locator(".opblock-summary-description").all_inner_texts()

    assert (sorted(summaries), errors, elsewhere) == (SUMMARIES, [], [])


async def test_docs_can_send_a_request(browser: Browser, served: RunningServer, massage: Service) -> None:
    page, errors, elsewhere = await open_page(browser, f"{served.url}/docs#/services/listServices")
    operation = page.locator("#operations-services-listServices")

    await operation.get_by_role("button", name="Try it out").click()
    await operation.get_by_role("button", name="Execute").click()

    answer = operation.locator(".live-responses-table .response").first
    await expect(answer.locator(".response-col_status")).to_contain_text("200")
    await expect(answer.locator(".response-col_description")).to_contain_text(massage.title)
    assert (errors, elsewhere) == ([], [])


async def test_redoc_shows_every_operation(browser: Browser, served: RunningServer) -> None:
    page, errors, elsewhere = await open_page(browser, f"{served.url}/redoc")

    await expect(page.get_by_role("heading", name="BookIt", level=1)).to_be_visible()
    summaries = await page.locator("[id^='tag/'] h2").all_inner_texts()

    assert ({text.strip() for text in summaries} >= set(SUMMARIES), errors, elsewhere) == (True, [], [])


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
async def test_the_pages_fit_a_phone(path: str, browser: Browser, served: RunningServer) -> None:
    page, errors, _ = await open_page(browser, f"{served.url}{path}", width=390)

    widths = await page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")

    assert (widths[0] <= widths[1], errors) == (True, [])


class Page(HTMLParser):
    """The resources that an HTML page loads, and its content that a strict policy forbids."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.inline: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Record what a tag refers to."""
        named = dict(attrs)
        self.loads += [str(named[name]) for name in ("src", "href", "action") if name in named]
        if tag == "style" or (tag == "script" and "src" not in named):
            self.inline.append(tag)
        self.inline += [name for name in named if name == "style" or name.startswith("on")]


@pytest.mark.parametrize("path", POLICIES)
async def test_documentation_pages_refer_only_to_this_origin(path: str, visitor: httpx2.AsyncClient) -> None:
    answer = await visitor.get(path)
    page = Page(answer.text)

    loaded = {address: (await visitor.get(address)).status_code for address in page.loads}

    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert answer.headers["content-security-policy"] == POLICIES[path]
    assert page.inline == []
    assert all(re.match(r"/[^/]", address) for address in page.loads)
    assert loaded == dict.fromkeys(page.loads, 200)
