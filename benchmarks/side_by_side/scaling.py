"""What grows with the number of bookings, and what does not: the same asked over ten thousand and over a million."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import availability as free_slots
import click
import httpx2
import psycopg
from admin_pages import PLACE, House, Page, opened
from fill_database import fill, one, tell

from api.auth import access_token
from bookit import records
from bookit.bookings import availability
from bookit.bookings.availability import Visit
from bookit.db.embedded import postgres
from bookit.policy.permissions import Actor
from bookit.schema import revisions
from bookit.schema.tables import Booking, Role, User

SMALL, BIG = 10_000, 1_000_000
UNMEASURED = 40  # by then every connection has prepared every statement, and planned it for good
CREATE, LIST, ADMIN = "create a booking", "list one's own bookings, page of 20", "staff's list of bookings, 50 a page"
SLOTS = "free slots, 5 resources × 31 days"
USUAL_CUSTOMER = "SELECT user_id FROM bookings GROUP BY user_id ORDER BY abs(count(*) - 10), user_id LIMIT 1"
BRANCH_SERVICE = "SELECT max(id) FROM services WHERE title LIKE '%, %'"


@dataclass
class Grown:
    """What one thing takes in the small table and in the big one: milliseconds, CPU milliseconds, statements."""

    what: str
    took: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))
    work: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))
    statements: int = 0

    @property
    def ratio(self) -> float:
        """How many times as much work it is in the big table."""
        return median(self.work[1]) / median(self.work[0])


@dataclass(frozen=True)
class Asked:
    """One database, its doors open, and what is asked there."""

    house: House
    customer: User
    starts: list[dict[str, Any]]
    service: int

    async def create(self) -> None:
        """Book the next slot of those that were free, and take it back."""
        slot = self.starts[0]
        self.starts.append(self.starts.pop(0))
        by, now = Actor("api", self.customer.id, Role.USER), datetime.now(UTC)
        what = {"service_id": self.service, "start_time": slot["start_time"], "resource_id": slot["ids"][0]}
        async with self.house.app.state.database.transaction(by=by, now=now, dry_run=True) as session:
            await records.create(session, Booking, by=by, now=now, **what)

    async def get(self, who: str, path: str) -> None:
        answer = await self.house.people[who].get(path)
        if answer.status_code != 200:
            raise click.ClickException(f"{path} answers {answer.status_code}")


async def meet(house: House) -> Asked:
    """Find a customer with ten bookings or so, whom BookIt knows as signed in, and slots that are free."""
    now, database = datetime.now(UTC), house.app.state.database
    customer = await database.get(User, int(one(house.url, USUAL_CUSTOMER)))
    token = access_token(customer, house.app.state.settings, now=now)
    transport = httpx2.ASGITransport(house.app)
    headers = {"authorization": f"Bearer {token}"}
    house.people["customer"] = httpx2.AsyncClient(transport=transport, base_url=PLACE, headers=headers)
    service = int(one(house.url, BRANCH_SERVICE))
    since = now + timedelta(days=500)
    starts = await availability.slots(
        database, Visit(service), since=since, until=since + timedelta(days=14), now=now, limit=40
    )
    return Asked(house, customer, starts, service)


async def measure(homes: dict[Path, str], rounds: int) -> list[Grown]:
    """Ask both databases the same, in turn."""
    grown = [Grown(CREATE), Grown(LIST), Grown(ADMIN)]
    async with AsyncExitStack() as stack:
        both = [await meet(await stack.enter_async_context(opened(home, url))) for home, url in homes.items()]
        for turn in range(rounds + UNMEASURED):
            for at, asked in enumerate(both):
                asked.house.meet_backends()
                for thing, act in zip(grown, acts(asked), strict=True):
                    await note(thing, at, asked.house, act, is_kept=turn >= UNMEASURED)
        page = Page(ADMIN, "/admin/booking/list?pageSize=50")
        await both[-1].house.measure(page, is_kept=False)
        grown[-1].statements = page.statements
    return grown


def acts(asked: Asked) -> tuple[Callable[[], Awaitable[None]], ...]:
    return (
        asked.create,
        lambda: asked.get("customer", "/bookings"),
        lambda: asked.get("staff", "/admin/booking/list?pageSize=50"),
    )


async def note(thing: Grown, at: int, house: House, act: Callable[[], Awaitable[None]], *, is_kept: bool) -> None:
    worked, began = house.worked(), asyncio.get_running_loop().time()
    await act()
    if is_kept:
        thing.took[at].append((asyncio.get_running_loop().time() - began) * 1000)
        thing.work[at].append(house.worked() - worked)


def ready(home: Path, url: str, bookings: int) -> None:
    """Fill a new database; one that is there is used as it is."""
    if revisions.current_revision(url) is None:
        fill(home, url, bookings)
    with psycopg.connect(url) as console:
        row = console.execute("SELECT count(*) FROM bookings").fetchone()
    if not row or row[0] < bookings * 0.9:
        raise click.ClickException(f"{home} holds fewer than {bookings:,} bookings. Name another folder.")


def growth(home: Path, *, rounds: int) -> list[Grown]:
    """Measure over both databases in this folder, which is filled if it is new."""
    with ExitStack() as servers:
        homes = {}
        for folder, bookings in ((home / "small", SMALL), (home, BIG)):
            homes[folder] = servers.enter_context(postgres(folder))
            ready(folder, homes[folder], bookings)
        tell("  creating, listing and the staff's list over both")
        grown = asyncio.run(measure(homes, rounds))
        tell("  free slots over both")
        small, big = homes.values()
        ways, _ = asyncio.run(free_slots.measure({"small": small, "big": big}, rounds))
    few, many = (way for way in ways if way.name == "5 resources × 31 days, query")
    return [*grown, Grown(SLOTS, (few.wall, many.wall), (few.work, many.work), 1)]
