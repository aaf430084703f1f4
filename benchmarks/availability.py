"""Measure the query of free slots on a big and on a small database, beside a plain search in Python.

Run it from the project's folder, with the project's Python:

    .venv/bin/python benchmarks/availability.py [--bookings 1000000] [--small 10000] [--home FOLDER] [--rounds 15]

The databases are filled as for ``admin_pages.py`` and can share its folder. In each, the same five resources get the
same opening hours and visits, in a transaction that is rolled back. So the results are equal, and only the size of the
tables differs. The search reads these hours and visits and tries every start time. Rounds are interleaved; a figure is
a median. CPU is that of PostgreSQL and of this process. The report is a Markdown table on standard output.
"""

import asyncio
import re
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any
from zoneinfo import ZoneInfo

sys.path.insert(0, str(Path(__file__).parent.parent))

import click
from fill_database import fill_database, print_progress
from sqlalchemy import text

from bookit import records
from bookit.bookings import availability
from bookit.bookings.availability import Visit
from bookit.bookings.availability_sql import SLOTS
from bookit.db.embedded import postgres
from bookit.db.pool import Database
from bookit.db.session import Session
from bookit.policy.permissions import Actor
from bookit.schema.tables import Booking, OpeningHours, Resource, Role, Service, User
from seed.studio import parse_weekly_hours

OWNER = Actor("seed", role=Role.ADMIN)
BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2031, 3, 1, 8, tzinfo=UTC)  # the demo business has no bookings there
OPENING_WINDOWS = parse_weekly_hours("Mon Tue Wed Thu Fri Sat 09:00-12:45 13:30-18:30")
STEP, DURATION, CLEANUP = (timedelta(minutes=minutes) for minutes in (15, 45, 10))
WARM_UP_ROUNDS = 6  # by then the statement is prepared
QUERIES = {"1 resource × 7 days": (7, True), "5 resources × 31 days": (31, False)}
SELECT_OPENINGS = text(
    "SELECT resource_id, weekday, opens, closes FROM opening_hours WHERE resource_id = ANY(:resources)"
)
SELECT_VISITS = text("""
    SELECT resource_id, blocks_from, blocks_until FROM bookings
     WHERE resource_id = ANY(:resources) AND is_live(status)
       AND tstzrange(blocks_from, blocks_until) && tstzrange(:since, :until) ORDER BY resource_id, blocks_from
""")


class Rollback(Exception):
    """Rolls the transaction back."""


@dataclass
class SlotScenario:
    """Five resources, their service, and the session that can see them."""

    session: Session
    service_id: int
    resource_ids: list[int]
    backend_pid: int

    async def count_by_query(self, days: int, *, is_single_resource: bool) -> int:
        visit = Visit(self.service_id, self.resource_ids[0] if is_single_resource else None)
        until = NOW + timedelta(days=days)
        return len(await availability.slots(self.session, visit, since=NOW, until=until, now=NOW))

    async def count_by_search(self, days: int, *, is_single_resource: bool) -> int:
        """Try each start time in the opening hours of each day against each visit of the resource."""
        resource_ids = self.resource_ids[:1] if is_single_resource else self.resource_ids
        until, starts = NOW + timedelta(days=days), set()
        hours = await self.session.fetch(SELECT_OPENINGS, resources=resource_ids)
        visits: dict[int, list[tuple[datetime, datetime]]] = {resource_id: [] for resource_id in resource_ids}
        last = until + timedelta(days=1)
        for row in await self.session.fetch(SELECT_VISITS, resources=resource_ids, since=NOW, until=last):
            visits[row["resource_id"]].append((row["blocks_from"], row["blocks_until"]))
        for number in range(days + 1):
            day = NOW.date() + timedelta(days=number)
            for row in hours:
                if row["weekday"] != day.isoweekday():
                    continue
                opens, closes = (
                    datetime.combine(day, row[name], BERLIN).astimezone(UTC) for name in ("opens", "closes")
                )
                start = opens
                while start + DURATION <= closes:
                    end = start + DURATION + CLEANUP
                    if NOW < start < until and not any(a < end and start < b for a, b in visits[row["resource_id"]]):
                        starts.add(start)
                    start += STEP
        return len(starts)

    def read_cpu_ms(self) -> float:
        """Return the CPU milliseconds of this connection's PostgreSQL process and of this process so far."""
        nanoseconds = Path(f"/proc/{self.backend_pid}/schedstat").read_text(encoding="ascii").split()[0]
        return int(nanoseconds) / 1e6 + time.process_time() * 1000


@dataclass
class Variant:
    """One way to find slots in one database, what it took each time, and how many slots it found."""

    name: str
    size: str
    scenario: SlotScenario
    count_slots: Callable[[], Awaitable[int]]
    wall_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    slot_count: int = 0


async def create_scenario(session: Session) -> SlotScenario:
    """Create the resources, their opening hours, and two visits a day on 40 days."""
    await session.allow_overlap()  # All are one customer's.
    context: dict[str, Any] = {"by": OWNER, "now": NOW}
    resource_ids = []
    for number in range(5):
        room = await records.create(session, Resource, name=f"Room {number}", timezone="Europe/Berlin", **context)
        resource_ids.append(room.id)
    values: dict[str, Any] = {
        "title": "Measured",
        "price": 50,
        "duration_minutes": 45,
        "cleanup_minutes": 10,
        "slot_step_minutes": 15,
    }
    service = await records.create(session, Service, resource_ids=resource_ids, **values, **context)
    user = await records.create(
        session, User, name="Measured", email="measured@example.com", password_hash="", **context
    )
    hours = ((resource_id, w.weekday, w.opens, w.closes) for resource_id in resource_ids for w in OPENING_WINDOWS)
    await session.copy_rows(OpeningHours, ("resource_id", "weekday", "opens", "closes"), hours)
    columns = ("user_id", "service_id", "resource_id", "start_time", "end_time", "blocks_from", "blocks_until", "price")
    starts = [
        (
            resource_id,
            datetime.combine(NOW.date() + timedelta(days=day), OPENING_WINDOWS[0].opens, BERLIN)
            + timedelta(minutes=15 * steps),
        )
        for index, resource_id in enumerate(resource_ids)
        for day in range(40)
        for steps in ((index * 7 + day * 3) % 11, 20 + (index * 5 + day) % 12)
    ]
    visits = (
        (user.id, service.id, resource_id, start, start + DURATION, start, start + DURATION + CLEANUP, 50)
        for resource_id, start in starts
    )
    await session.copy_rows(Booking, columns, visits)
    await session.fetch(text("ANALYZE bookings, opening_hours, services, service_resources, resources"))
    backend_pid = (await session.fetch(text("SELECT pg_backend_pid() AS pid")))[0]["pid"]
    return SlotScenario(session, service.id, resource_ids, backend_pid)


@asynccontextmanager
async def open_scenario(url: str) -> AsyncIterator[SlotScenario]:
    """Create the scenario in this database; roll it back when the block ends."""
    with suppress(Rollback):
        async with (
            Database(url, timezone="Europe/Berlin", size=1) as database,
            database.transaction(by=OWNER, now=NOW) as session,
        ):
            yield await create_scenario(session)
            raise Rollback


async def measure(urls: dict[str, str], rounds: int) -> tuple[list[Variant], list[str]]:
    """Run each variant on each database in turn, ``rounds`` times. Return the variants and the query plans."""
    async with AsyncExitStack() as stack:
        scenarios = {size: await stack.enter_async_context(open_scenario(url)) for size, url in urls.items()}
        variants = [
            Variant(f"{name}, {method}", size, scenario, partial(count, scenario, days, is_single_resource=is_single))
            for name, (days, is_single) in QUERIES.items()
            for method, count in (("query", SlotScenario.count_by_query), ("search", SlotScenario.count_by_search))
            for size, scenario in scenarios.items()
        ]
        for turn in range(rounds + WARM_UP_ROUNDS):
            for variant in variants:
                start, cpu_ms = time.perf_counter(), variant.scenario.read_cpu_ms()
                variant.slot_count = await variant.count_slots()
                if turn >= WARM_UP_ROUNDS:
                    variant.cpu_ms.append(variant.scenario.read_cpu_ms() - cpu_ms)
                    variant.wall_ms.append((time.perf_counter() - start) * 1000)
        return variants, [f"{size}: {await explain_plan(scenario)}" for size, scenario in scenarios.items()]


async def explain_plan(scenario: SlotScenario) -> str:
    """Return how PostgreSQL reads the claims of five resources and 31 days: the index and the number of pages."""
    values = {
        **Visit(scenario.service_id).params(),
        "since": NOW,
        "until": NOW + timedelta(days=31),
        "now": NOW,
        "limit": 10001,
    }
    rows = await scenario.session.fetch(text(f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF) {SLOTS[False]}"), **values)
    lines = [row["QUERY PLAN"] for row in rows]
    index = next(number for number, line in enumerate(lines) if "on claims" in line)
    pages = next(line for line in lines[index:] if "Buffers" in line)
    return f"{re.sub(r'[ ]*->[ ]*|  .cost.*', '', lines[index]).strip()}; {pages.strip()}"


@click.command()
@click.option("--bookings", default=1_000_000, show_default=True)
@click.option("--small", default=10_000, show_default=True)
@click.option("--home", type=click.Path(path_type=Path), help="The folder of the databases; temporary without it.")
@click.option("--rounds", default=15, show_default=True)
def main(bookings: int, small: int, home: Path | None, rounds: int) -> None:
    """Measure and print the table."""
    with tempfile.TemporaryDirectory(prefix="bookit-availability-") as temporary, ExitStack() as servers:
        urls = {}
        databases = home or Path(temporary)
        for size, folder in ((small, databases / "small"), (bookings, databases)):
            urls[f"{size:,}"] = url = servers.enter_context(postgres(folder))
            fill_database(folder, url, size)
        print_progress("Measuring")
        variants, plans = asyncio.run(measure(urls, rounds))
    click.echo("| free slots | bookings | slots | median ms | CPU ms | ratio to small |\n|---|---|---|---|---|---|")
    for small_variant, big_variant in zip(variants[::2], variants[1::2], strict=True):
        for variant in (small_variant, big_variant):
            ratio = median(variant.cpu_ms) / median(small_variant.cpu_ms)
            figures = f"{median(variant.wall_ms):.1f} | {median(variant.cpu_ms):.1f} | {ratio:.2f}"
            click.echo(f"| {variant.name} | {variant.size} | {variant.slot_count} | {figures} |")
    click.echo("\n" + "\n".join(plans))


if __name__ == "__main__":
    main()
