"""Chromium, and the business in Berlin that is served to it."""

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser

from bookit.db.pool import Database
from tests.support.browser import SHARED_CONTEXTS, close_shared_contexts, run_chromium
from tests.support.calendar_scenario import create_business
from tests.support.server import OpenServer, RunningServer


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Chromium without a window."""
    async with run_chromium() as chromium:
        yield chromium


@pytest.fixture(scope="module", autouse=True)
async def _contexts() -> AsyncIterator[None]:
    """Close what the tests of a module shared."""
    yield
    await close_shared_contexts()


@pytest.fixture(autouse=True)
async def _pages(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    """Close the pages and contexts that a test opened: a page follows its server as long as it is open."""
    if "browser" not in request.fixturenames:
        yield
        return
    chromium: Browser = request.getfixturevalue("browser")
    pages = {page for context in chromium.contexts for page in context.pages}
    contexts = set(chromium.contexts)
    yield
    for context in chromium.contexts:
        for page in context.pages:
            if page not in pages:
                await page.close()
        if context not in contexts and context not in SHARED_CONTEXTS.values():
            await context.close()


@pytest.fixture(scope="module")
def berlin(open_server: OpenServer) -> RunningServer:
    """A BookIt of a business in Berlin, which is served."""
    return open_server("berlin", TIMEZONE="Europe/Berlin")


@pytest.fixture(scope="module")
async def berlin_database(berlin: RunningServer) -> AsyncIterator[Database]:
    """The database that is served, with what ``create_business`` makes."""
    async with Database(berlin.database_url, timezone="Europe/Berlin") as database:
        await create_business(database)
        yield database
