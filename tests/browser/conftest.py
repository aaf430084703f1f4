"""Chromium, and the business in Berlin that is served to it."""

from collections.abc import AsyncIterator, Iterator

import pytest
from playwright.async_api import Browser

from bookit.db.pool import Database
from tests.support.browser import run_chromium
from tests.support.calendar_scenario import create_business
from tests.support.databases import TEMPLATE_DATABASE, create_database
from tests.support.server import RunningServer, run_server


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Chromium without a window."""
    async with run_chromium() as chromium:
        yield chromium


@pytest.fixture(scope="module")
def berlin(server: str, worker_id: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A BookIt of a business in Berlin, which is served."""
    url = create_database(server, f"berlin_{worker_id}", TEMPLATE_DATABASE)
    home = tmp_path_factory.mktemp("berlin")
    with run_server(home, url, TIMEZONE="Europe/Berlin") as address:
        yield RunningServer(address, url, home / "log")


@pytest.fixture(scope="module")
async def berlin_database(berlin: RunningServer) -> AsyncIterator[Database]:
    """The database that is served, with what ``create_business`` makes."""
    async with Database(berlin.database_url, timezone="Europe/Berlin") as database:
        await create_business(database)
        yield database
