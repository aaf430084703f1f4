"""What costs more with more bookings: the same operations on ten thousand and on a million bookings."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import availability as slot_benchmark
import click
import httpx2
import psycopg
from fill_database import fetch_value, fill_database, print_progress
from running_app import BASE_URL, PageTiming, RunningApp, open_app

from bookit import records
from bookit.bookings import availability
from bookit.bookings.availability import Visit
from bookit.db.embedded import postgres
from bookit.policy.permissions import Actor
from bookit.schema import revisions
from bookit.schema.tables import Booking, Role, User
from side_by_side.test_data import issue_access_token

SMALL, BIG = 10_000, 1_000_000
WARM_UP_ROUNDS = 40  # by then each connection has prepared each statement, with a generic plan
CREATE, LIST, ADMIN = "create a booking", "list own bookings, page of 20", "panel's list of bookings, page of 50"
SLOTS = "free slots, 5 resources × 31 days"
SELECT_TYPICAL_CUSTOMER = "SELECT user_id FROM bookings GROUP BY user_id ORDER BY abs(count(*) - 10), user_id LIMIT 1"
SELECT_BRANCH_SERVICE = "SELECT max(id) FROM services WHERE title LIKE '%, %'"


@dataclass
class ScalingResult:
    """What an operation takes on the small and on the big database: milliseconds, CPU milliseconds, statements."""

    name: str
    wall_ms: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))
    cpu_ms: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))
    statements: int = 0

    @property
    def cpu_ratio(self) -> float:
        """The CPU time on the big database relative to the small one."""
        return median(self.cpu_ms[1]) / median(self.cpu_ms[0])


@dataclass(frozen=True)
class ScalingTarget:
    """One database, the application that runs on it, and what the operations use."""

    running: RunningApp
    customer: User
    free_slots: list[dict[str, Any]]
    service_id: int

    async def create_booking(self) -> None:
        """Book the next free slot and roll back."""
        slot = self.free_slots[0]
        self.free_slots.append(self.free_slots.pop(0))
        by, now = Actor("api", self.customer.id, Role.USER), datetime.now(UTC)
        visit = {"service_id": self.service_id, "start_time": slot["start_time"], "resource_id": slot["ids"][0]}
        async with self.running.app.state.database.transaction(by=by, now=now, dry_run=True) as session:
            await records.create(session, Booking, by=by, now=now, **visit)

    async def get(self, user: str, path: str) -> None:
        response = await self.running.clients[user].get(path)
        if response.status_code != 200:
            raise click.ClickException(f"GET {path} responds {response.status_code}.")


async def prepare_target(running: RunningApp) -> ScalingTarget:
    """Sign in a customer with about ten bookings, and find free slots."""
    now, database = datetime.now(UTC), running.app.state.database
    customer = await database.get(User, int(fetch_value(running.url, SELECT_TYPICAL_CUSTOMER)))
    token = issue_access_token(running.url, customer, running.app.state.settings)
    transport = httpx2.ASGITransport(running.app)
    headers = {"authorization": f"Bearer {token}"}
    running.clients["customer"] = httpx2.AsyncClient(transport=transport, base_url=BASE_URL, headers=headers)
    service_id = int(fetch_value(running.url, SELECT_BRANCH_SERVICE))
    since = now + timedelta(days=500)
    free_slots = await availability.slots(
        database, Visit(service_id), since=since, until=since + timedelta(days=14), now=now, limit=40
    )
    return ScalingTarget(running, customer, free_slots, service_id)


async def measure_operations(homes: dict[Path, str], rounds: int) -> list[ScalingResult]:
    """Run the same operations on both databases, in turn."""
    results = [ScalingResult(CREATE), ScalingResult(LIST), ScalingResult(ADMIN)]
    async with AsyncExitStack() as stack:
        both = [
            await prepare_target(await stack.enter_async_context(open_app(home, url))) for home, url in homes.items()
        ]
        for turn in range(rounds + WARM_UP_ROUNDS):
            for index, target in enumerate(both):
                target.running.find_backends()
                for result, operation in zip(results, list_operations(target), strict=True):
                    await record(result, index, target.running, operation, is_recorded=turn >= WARM_UP_ROUNDS)
        page = PageTiming(ADMIN, "/admin/booking/list?pageSize=50")
        await both[-1].running.measure(page, is_recorded=False)
        results[-1].statements = page.statements
    return results


def list_operations(target: ScalingTarget) -> tuple[Callable[[], Awaitable[None]], ...]:
    return (
        target.create_booking,
        lambda: target.get("customer", "/bookings"),
        lambda: target.get("staff", "/admin/booking/list?pageSize=50"),
    )


async def record(
    result: ScalingResult,
    index: int,
    running: RunningApp,
    operation: Callable[[], Awaitable[None]],
    *,
    is_recorded: bool,
) -> None:
    cpu_ms, start = running.read_cpu_ms(), asyncio.get_running_loop().time()
    await operation()
    if is_recorded:
        result.wall_ms[index].append((asyncio.get_running_loop().time() - start) * 1000)
        result.cpu_ms[index].append(running.read_cpu_ms() - cpu_ms)


def ensure_filled(home: Path, url: str, bookings: int) -> None:
    """Fill a new database. An existing one is used as it is. Raise ClickException if it is too small."""
    if revisions.current_revision(url) is None:
        fill_database(home, url, bookings)
    with psycopg.connect(url) as console:
        row = console.execute("SELECT count(*) FROM bookings").fetchone()
    if not row or row[0] < bookings * 0.9:
        raise click.ClickException(f"{home} has fewer than {bookings:,} bookings. Choose another folder.")


def measure_scaling(home: Path, *, rounds: int) -> list[ScalingResult]:
    """Measure on both databases in this folder. Fill them first if they are new."""
    with ExitStack() as servers:
        homes = {}
        for folder, bookings in ((home / "small", SMALL), (home, BIG)):
            homes[folder] = servers.enter_context(postgres(folder))
            ensure_filled(folder, homes[folder], bookings)
        print_progress("  creating and listing bookings on both databases")
        results = asyncio.run(measure_operations(homes, rounds))
        print_progress("  free slots on both databases")
        small, big = homes.values()
        variants, _ = asyncio.run(slot_benchmark.measure({"small": small, "big": big}, rounds))
    small_variant, big_variant = (variant for variant in variants if variant.name == "5 resources × 31 days, query")
    return [
        *results,
        ScalingResult(
            SLOTS, (small_variant.wall_ms, big_variant.wall_ms), (small_variant.cpu_ms, big_variant.cpu_ms), 1
        ),
    ]
