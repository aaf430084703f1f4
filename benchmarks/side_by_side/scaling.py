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
from admin_pages import BASE_URL, PageTiming, RunningApp, open_app
from fill_database import fetch_value, fill_database, print_progress

from api.auth import create_access_token
from bookit import records
from bookit.bookings import availability
from bookit.bookings.availability import Visit
from bookit.db.embedded import postgres
from bookit.policy.permissions import Actor
from bookit.schema import revisions
from bookit.schema.tables import Booking, Role, User

SMALL, BIG = 10_000, 1_000_000
WARM_UP_ROUNDS = 40  # by then every connection has prepared every statement, and planned it for good
CREATE, LIST, ADMIN = "create a booking", "list one's own bookings, page of 20", "staff's list of bookings, 50 a page"
SLOTS = "free slots, 5 resources × 31 days"
SELECT_TYPICAL_CUSTOMER = "SELECT user_id FROM bookings GROUP BY user_id ORDER BY abs(count(*) - 10), user_id LIMIT 1"
SELECT_BRANCH_SERVICE = "SELECT max(id) FROM services WHERE title LIKE '%, %'"


@dataclass
class ScalingResult:
    """What one thing takes in the small table and in the big one: milliseconds, CPU milliseconds, statements."""

    name: str
    wall_ms: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))
    cpu_ms: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))
    statements: int = 0

    @property
    def cpu_ratio(self) -> float:
        """How many times as much work it is in the big table."""
        return median(self.cpu_ms[1]) / median(self.cpu_ms[0])


@dataclass(frozen=True)
class ScalingTarget:
    """One database, its doors open, and what is asked there."""

    running: RunningApp
    customer: User
    free_slots: list[dict[str, Any]]
    service_id: int

    async def create_booking(self) -> None:
        """Book the next slot of those that were free, and take it back."""
        slot = self.free_slots[0]
        self.free_slots.append(self.free_slots.pop(0))
        by, now = Actor("api", self.customer.id, Role.USER), datetime.now(UTC)
        what = {"service_id": self.service_id, "start_time": slot["start_time"], "resource_id": slot["ids"][0]}
        async with self.running.app.state.database.transaction(by=by, now=now, dry_run=True) as session:
            await records.create(session, Booking, by=by, now=now, **what)

    async def get(self, user: str, path: str) -> None:
        answer = await self.running.clients[user].get(path)
        if answer.status_code != 200:
            raise click.ClickException(f"{path} answers {answer.status_code}")


async def prepare_target(running: RunningApp) -> ScalingTarget:
    """Find a customer with ten bookings or so, whom BookIt knows as signed in, and slots that are free."""
    now, database = datetime.now(UTC), running.app.state.database
    customer = await database.get(User, int(fetch_value(running.url, SELECT_TYPICAL_CUSTOMER)))
    token = create_access_token(customer, running.app.state.settings, now=now)
    transport = httpx2.ASGITransport(running.app)
    headers = {"authorization": f"Bearer {token}"}
    running.clients["customer"] = httpx2.AsyncClient(transport=transport, base_url=BASE_URL, headers=headers)
    service = int(fetch_value(running.url, SELECT_BRANCH_SERVICE))
    since = now + timedelta(days=500)
    starts = await availability.slots(
        database, Visit(service), since=since, until=since + timedelta(days=14), now=now, limit=40
    )
    return ScalingTarget(running, customer, starts, service)


async def measure_operations(homes: dict[Path, str], rounds: int) -> list[ScalingResult]:
    """Ask both databases the same, in turn."""
    grown = [ScalingResult(CREATE), ScalingResult(LIST), ScalingResult(ADMIN)]
    async with AsyncExitStack() as stack:
        both = [
            await prepare_target(await stack.enter_async_context(open_app(home, url))) for home, url in homes.items()
        ]
        for turn in range(rounds + WARM_UP_ROUNDS):
            for at, asked in enumerate(both):
                asked.running.find_backends()
                for thing, act in zip(grown, list_operations(asked), strict=True):
                    await record(thing, at, asked.running, act, is_recorded=turn >= WARM_UP_ROUNDS)
        page = PageTiming(ADMIN, "/admin/booking/list?pageSize=50")
        await both[-1].running.measure(page, is_recorded=False)
        grown[-1].statements = page.statements
    return grown


def list_operations(target: ScalingTarget) -> tuple[Callable[[], Awaitable[None]], ...]:
    return (
        target.create_booking,
        lambda: target.get("customer", "/bookings"),
        lambda: target.get("staff", "/admin/booking/list?pageSize=50"),
    )


async def record(
    result: ScalingResult, at: int, running: RunningApp, operation: Callable[[], Awaitable[None]], *, is_recorded: bool
) -> None:
    worked, began = running.read_cpu_ms(), asyncio.get_running_loop().time()
    await operation()
    if is_recorded:
        result.wall_ms[at].append((asyncio.get_running_loop().time() - began) * 1000)
        result.cpu_ms[at].append(running.read_cpu_ms() - worked)


def ensure_filled(home: Path, url: str, bookings: int) -> None:
    """Fill a new database; one that is there is used as it is."""
    if revisions.current_revision(url) is None:
        fill_database(home, url, bookings)
    with psycopg.connect(url) as console:
        row = console.execute("SELECT count(*) FROM bookings").fetchone()
    if not row or row[0] < bookings * 0.9:
        raise click.ClickException(f"{home} holds fewer than {bookings:,} bookings. Name another folder.")


def measure_scaling(home: Path, *, rounds: int) -> list[ScalingResult]:
    """Measure over both databases in this folder, which is filled if it is new."""
    with ExitStack() as servers:
        homes = {}
        for folder, bookings in ((home / "small", SMALL), (home, BIG)):
            homes[folder] = servers.enter_context(postgres(folder))
            ensure_filled(folder, homes[folder], bookings)
        print_progress("  creating, listing and the staff's list over both")
        grown = asyncio.run(measure_operations(homes, rounds))
        print_progress("  free slots over both")
        small, big = homes.values()
        ways, _ = asyncio.run(free_slots.measure({"small": small, "big": big}, rounds))
    few, many = (way for way in ways if way.name == "5 resources × 31 days, query")
    return [*grown, ScalingResult(SLOTS, (few.wall_ms, many.wall_ms), (few.cpu_ms, many.cpu_ms), 1)]
