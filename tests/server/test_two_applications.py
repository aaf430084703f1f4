"""Two applications in one process: each has its own database, zone, clock and sessions, whichever was built last."""

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from sqlalchemy import text

from admin.framework.session_cookie import SECURE_NAME
from bookit import records
from bookit.db.pool import Database
from bookit.schema.tables import Booking, Role, Service, User
from bookit.settings import Settings
from server.app import build
from tests.support.admin_client import get_page_text, make_browser, sign_in, submit_form
from tests.support.clock import NOW, TOMORROW_AT_TEN, Clock
from tests.support.databases import TEMPLATE_DATABASE, create_database
from tests.support.people import OWNER, PASSWORD_HASH

EVENING = datetime(2030, 1, 7, 22, 30, tzinfo=UTC)  # still the 7th in Berlin, and the 8th in Tokyo


@dataclass
class Business:
    """One application, with a service, a booking of it tomorrow at ten, and an owner who has signed in."""

    database: Database
    owner: httpx2.AsyncClient

    async def page(self, path: str) -> str:
        """Return the HTML of a page."""
        response = await self.owner.get(f"/admin/{path}")
        assert response.status_code == 200, (path, response.status_code)
        return response.text

    async def resource_names(self) -> list[str]:
        """Return the names of the resources that the database has."""
        return [row["name"] for row in await self.database.fetch(text("SELECT name FROM resources"))]


async def open_business(url: str, stack: AsyncExitStack, settings: Settings, clock: Clock, owner: str) -> Business:
    database = await stack.enter_async_context(Database(url, timezone=settings.timezone, size=2))
    facts: dict[str, Any] = {"by": OWNER, "now": NOW}
    async with database.transaction(by=OWNER) as session:
        hashed = PASSWORD_HASH
        email = f"{owner.lower()}@example.com"
        user = await records.create(
            session, User, **facts, name=owner, email=email, role=Role.ADMIN, password_hash=hashed
        )
        service = await records.create(session, Service, **facts, title="Haircut", price=35, duration_minutes=45)
        visit: dict[str, Any] = {"user_id": user.id, "service_id": service.id, "start_time": TOMORROW_AT_TEN}
        await records.create(session, Booking, **facts, **visit)
    app = build(settings, clock=clock)
    app.state.database = database
    stack.push_async_callback(app.state.staff_site.close)
    return Business(database, await stack.enter_async_context(make_browser(app)))


@pytest.fixture(scope="module")
async def businesses(
    server: str, worker_id: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Business, Business]]:
    """A business in Berlin, and one in Tokyo whose clock is two days ahead. Both sign in when both are open."""
    later = Clock()
    later.now = EVENING + timedelta(days=2)
    earlier = Clock()
    earlier.now = EVENING
    async with AsyncExitStack() as stack:
        opened = []
        for owner, zone, clock in (("Berta", "Europe/Berlin", earlier), ("Toshiro", "Asia/Tokyo", later)):
            url = create_database(server, f"bookit_{worker_id}_{owner.lower()}", TEMPLATE_DATABASE)
            settings = Settings(
                database_url=url,
                secret_key=f"the secret of {owner}, which is long enough",
                timezone=zone,
                bookit_home=tmp_path_factory.mktemp(owner),
                _env_file=None,
            )
            opened.append(await open_business(url, stack, settings, clock, owner))
        berlin, tokyo = opened
        for business, email in ((berlin, "berta@example.com"), (tokyo, "toshiro@example.com")):
            assert (await sign_in(business.owner, email)).status_code == 303
        yield berlin, tokyo


Businesses = tuple[Business, Business]


async def test_each_shows_and_reads_times_in_its_own_zone(businesses: Businesses) -> None:
    for business, zone, start, offset in zip(
        businesses, ("Europe/Berlin", "Asia/Tokyo"), ("11:00", "19:00"), ("+01:00", "+09:00"), strict=True
    ):
        assert f"Tue 08 Jan 2030, {start}</time>" in await business.page("booking/details/1")
        assert f"Tue 08 Jan 2030, {start}</time>" in await business.page("booking/list?start_time=all")
        assert f'value="2030-01-08T{start}"' in await business.page("booking/edit/1")
        assert f"{zone} time." in get_page_text(await business.page("booking/create"))
        assert f'data-offset="{offset}"' in await business.page("calendar")
        fed = await business.owner.get(
            "/admin/calendar/feed", params={"start": "2030-01-08T00:00:00", "end": "2030-01-09T00:00:00"}
        )
        assert [visit["start"] for visit in fed.json()["visits"]] == [f"2030-01-08T{start}:00"]


async def test_each_has_its_own_clock(businesses: Businesses) -> None:
    for business, today in zip(businesses, ("2030-01-07", "2030-01-10"), strict=True):
        page = await business.page("booking/list")
        link = re.search(r'href="[^"]*start_time=([^"&]*)"[^>]*>Today</a>', page)
        assert link
        assert link[1] == today
        assert (TOMORROW_AT_TEN.strftime("%a %d %b %Y") in page) == (today < "2030-01-08")


async def test_each_reads_and_writes_its_own_database(businesses: Businesses) -> None:
    for business, name in zip(businesses, ("Chair in Berlin", "Chair in Tokyo"), strict=True):
        assert (await submit_form(business.owner, "/admin/resource/edit/1", name=name)).status == 302
    for business, name, owner in zip(
        businesses, ("Chair in Berlin", "Chair in Tokyo"), ("Berta", "Toshiro"), strict=True
    ):
        assert await business.resource_names() == [name]
        assert name in await business.page("resource/list")
        assert f"{owner} (owner) changed it at the desk." in get_page_text(await business.page("resource/details/1"))
        assert re.findall(r"^\d+,(\w+)", await business.page("user/export/csv"), re.MULTILINE) == [owner]
        lookup = await business.owner.get("/admin/booking/ajax/lookup", params={"name": "user", "term": "o"})
        assert [choice["text"].partition(" ")[0] for choice in lookup.json()["results"]] in ([owner], [])


async def test_a_session_of_one_is_not_valid_at_the_other(businesses: Businesses) -> None:
    berlin, tokyo = businesses
    cookie = next(cookie.value for cookie in tokyo.owner.cookies.jar if cookie.name == SECURE_NAME)
    assert (await tokyo.owner.get("/admin/booking/list")).status_code == 200

    response = await berlin.owner.get("/admin/booking/list", headers={"cookie": f"{SECURE_NAME}={cookie}"})

    assert response.status_code == 302
