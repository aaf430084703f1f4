"""What free slots cost over a big table, next to a small one and next to a plain sweep in Python.

Run it from the project's folder, with the project's Python:

    .venv/bin/python benchmarks/availability.py [--bookings 1000000] [--small 10000] [--home FOLDER] [--rounds 15]

Both databases are filled as for ``admin_pages.py``, and share its folder. In each, the same five resources get the same
hours and the same visits, in a transaction that is taken back: so the answers are equal, and only the tables around
them differ. The sweep reads these hours and visits and tries every start. Rounds are interleaved; a figure is a
median. CPU is PostgreSQL's own, and for the sweep Python's too. The report is a Markdown table on standard output.
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
NOW = datetime(2031, 3, 1, 8, tzinfo=UTC)  # No seed reaches so far, so the days are empty but for our visits.
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
    """Nothing of this is kept."""


@dataclass
class SlotScenario:
    """Five resources, what they serve, and the connection that sees them."""

    session: Session
    service_id: int
    resource_ids: list[int]
    backend_pid: int

    async def count_by_query(self, days: int, *, is_single_resource: bool) -> int:
        visit = Visit(self.service_id, self.resource_ids[0] if is_single_resource else None)
        until = NOW + timedelta(days=days)
        return len(await availability.slots(self.session, visit, since=NOW, until=until, now=NOW))

    async def count_by_sweep(self, days: int, *, is_single_resource: bool) -> int:
        """Try every start of every opening of every day against every visit of that resource, in order."""
        some = self.resource_ids[:1] if is_single_resource else self.resource_ids
        until, found = NOW + timedelta(days=days), set()
        hours = await self.session.fetch(SELECT_OPENINGS, resources=some)
        taken: dict[int, list[tuple[datetime, datetime]]] = {number: [] for number in some}
        for row in await self.session.fetch(SELECT_VISITS, resources=some, since=NOW, until=until + timedelta(days=1)):
            taken[row["resource_id"]].append((row["blocks_from"], row["blocks_until"]))
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
                    ends = start + DURATION + CLEANUP
                    if NOW < start < until and not any(a < ends and start < b for a, b in taken[row["resource_id"]]):
                        found.add(start)
                    start += STEP
        return len(found)

    def read_cpu_ms(self) -> float:
        """Give the CPU milliseconds that this connection's PostgreSQL process and this program have used."""
        spent = Path(f"/proc/{self.backend_pid}/schedstat").read_text(encoding="ascii").split()[0]
        return int(spent) / 1e6 + time.process_time() * 1000


@dataclass
class Variant:
    """One way to find slots in one database, what it took each time, and how many it found."""

    name: str
    size: str
    scenario: SlotScenario
    count_slots: Callable[[], Awaitable[int]]
    wall_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    slot_count: int = 0


async def create_scenario(session: Session) -> SlotScenario:
    """Make the five resources, their hours and their visits: two or so a day, some weeks long."""
    about: dict[str, Any] = {"by": OWNER, "now": NOW}
    rooms = [
        await records.create(session, Resource, name=f"Room {n}", timezone="Europe/Berlin", **about) for n in range(5)
    ]
    numbers = [room.id for room in rooms]
    facts: dict[str, Any] = {
        "title": "Measured",
        "price": 50,
        "duration_minutes": 45,
        "cleanup_minutes": 10,
        "slot_step_minutes": 15,
    }
    service = await records.create(session, Service, resource_ids=numbers, **facts, **about)
    person = await records.create(
        session, User, name="Measured", email="measured@example.com", password_hash="", **about
    )
    opening = ((room, w.weekday, w.opens, w.closes) for room in numbers for w in OPENING_WINDOWS)
    await session.copy_rows(OpeningHours, ("resource_id", "weekday", "opens", "closes"), opening)
    columns = ("user_id", "service_id", "resource_id", "start_time", "end_time", "blocks_from", "blocks_until", "price")
    starts = [
        (
            room,
            datetime.combine(NOW.date() + timedelta(days=day), OPENING_WINDOWS[0].opens, BERLIN)
            + timedelta(minutes=15 * late),
        )
        for at, room in enumerate(numbers)
        for day in range(40)
        for late in ((at * 7 + day * 3) % 11, 20 + (at * 5 + day) % 12)
    ]
    visits = ((person.id, service.id, room, at, at + DURATION, at, at + DURATION + CLEANUP, 50) for room, at in starts)
    await session.copy_rows(Booking, columns, visits)
    await session.fetch(text("ANALYZE bookings, opening_hours, services, service_resources, resources"))
    backend = (await session.fetch(text("SELECT pg_backend_pid() AS pid")))[0]["pid"]
    return SlotScenario(session, service.id, numbers, backend)


@asynccontextmanager
async def open_scenario(url: str) -> AsyncIterator[SlotScenario]:
    """Have the diary in this database for as long as the block runs."""
    with suppress(Rollback):
        async with (
            Database(url, timezone="Europe/Berlin", size=1) as database,
            database.transaction(by=OWNER, now=NOW) as session,
        ):
            yield await create_scenario(session)
            raise Rollback


async def measure(urls: dict[str, str], rounds: int) -> tuple[list[Variant], list[str]]:
    """Ask each way over each database in turn, ``rounds`` times; give too how the query was planned."""
    async with AsyncExitStack() as stack:
        diaries = {size: await stack.enter_async_context(open_scenario(url)) for size, url in urls.items()}
        ways = [
            Variant(f"{name}, {how}", size, diary, partial(find, days, is_single_resource=is_one))
            for name, (days, is_one) in QUERIES.items()
            for how, of in (("query", SlotScenario.count_by_query), ("sweep", SlotScenario.count_by_sweep))
            for size, diary in diaries.items()
            for find in [partial(of, diary)]
        ]
        for turn in range(rounds + WARM_UP_ROUNDS):
            for way in ways:
                began, spent = time.perf_counter(), way.scenario.read_cpu_ms()
                way.slot_count = await way.count_slots()
                if turn >= WARM_UP_ROUNDS:
                    way.cpu_ms.append(way.scenario.read_cpu_ms() - spent)
                    way.wall_ms.append((time.perf_counter() - began) * 1000)
        return ways, [f"{size}: {await explain_plan(diary)}" for size, diary in diaries.items()]


async def explain_plan(scenario: SlotScenario) -> str:
    """Tell how PostgreSQL reads the bookings for five resources and 31 days: by which index, and how many pages."""
    values = {
        **vars(Visit(scenario.service_id)),
        "since": NOW,
        "until": NOW + timedelta(days=31),
        "now": NOW,
        "limit": 10001,
    }
    rows = await scenario.session.fetch(text(f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF) {SLOTS}"), **values)
    lines = [row["QUERY PLAN"] for row in rows]
    at = next(number for number, line in enumerate(lines) if "on bookings" in line)
    pages = next(line for line in lines[at:] if "Buffers" in line)
    return f"{re.sub(r'[ ]*->[ ]*|  .cost.*', '', lines[at]).strip()}; {pages.strip()}"


@click.command()
@click.option("--bookings", default=1_000_000, show_default=True)
@click.option("--small", default=10_000, show_default=True)
@click.option("--home", type=click.Path(path_type=Path), help="Where the databases are kept, or are already.")
@click.option("--rounds", default=15, show_default=True)
def main(bookings: int, small: int, home: Path | None, rounds: int) -> None:
    """Measure, and print the table."""
    with tempfile.TemporaryDirectory(prefix="bookit-availability-") as temporary, ExitStack() as servers:
        urls = {}
        where = home or Path(temporary)
        for size, folder in ((small, where / "small"), (bookings, where)):
            urls[f"{size:,}"] = url = servers.enter_context(postgres(folder))
            fill_database(folder, url, size)
        print_progress("Measuring")
        ways, plans = asyncio.run(measure(urls, rounds))
    click.echo("| free slots | bookings | found | median ms | CPU ms | of the small table |\n|---|---|---|---|---|---|")
    for little, big in zip(ways[::2], ways[1::2], strict=True):
        for way in (little, big):
            ratio = median(way.cpu_ms) / median(little.cpu_ms)
            figures = f"{median(way.wall_ms):.1f} | {median(way.cpu_ms):.1f} | {ratio:.2f}"
            click.echo(f"| {way.name} | {way.size} | {way.slot_count} | {figures} |")
    click.echo("\n" + "\n".join(plans))


if __name__ == "__main__":
    main()
