"""What Today and each report cost over a big table: what they read, and their pages whole.

Run it from the project's folder, with the project's Python:

    .venv/bin/python benchmarks/reports.py [--bookings 1000000] [--home FOLDER] [--rounds 7]

The first run fills a database in FOLDER, a temporary one if none is named; later runs on the same FOLDER find it there.
Measured is, first, what a page or an endpoint reads, up to the last day that has completed visits; and then the pages,
their CSV and the endpoints, asked for inside this process, without a network, with the statements each makes. Of each:
the time it takes, and the CPU time of this process and of PostgreSQL together, parallel workers included, which is what
it takes where nobody else wants the processor. (Linux alone tells it.) Each is asked once unmeasured and then ROUNDS
times. The report is two Markdown tables.
"""

import asyncio
import logging
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any
from zoneinfo import ZoneInfo

sys.path.insert(0, str(Path(__file__).parent.parent))

import click
import psycopg
import structlog
from admin_pages import Page, opened
from fill_database import fill, one, tell
from sqlalchemy import text

from admin.pages.reports import REPORTS
from bookit.db.embedded import postgres
from bookit.db.pool import Database
from bookit.policy import times
from bookit.reports import dashboard, figures
from bookit.reports.ranges import ReportRange
from seed.business import DEMO_PASSWORD, DEMO_STAFF

BOUND = 200  # milliseconds
ZONE = ZoneInfo("Europe/Berlin")
RANGES = (1, 7, 30, 90, 366)


def reads(database: Database, now: datetime) -> dict[str, Callable[[], Awaitable[Any]]]:
    """Name everything there is to ask, as the pages and the endpoints ask it."""
    this_day = now.astimezone(ZONE).date()
    until = times.start_of_day(this_day, ZONE, offset_days=1)
    found: dict[str, Callable[[], Awaitable[Any]]] = {
        "today: lists": lambda: dashboard.booking_lists(database, now=now, until=until),
        "today: free time": lambda: dashboard.free_today(database, now=now, until=until),
    }
    for count in RANGES:
        first = this_day - timedelta(days=count - 1)
        daily, weekly, whole = (ReportRange(first, this_day, ZONE, by) for by in ("day", "week", "whole"))
        use = partial(figures.utilisation, database, now=now)
        found |= {
            f"today: visits, {count} days": partial(figures.visits, database, daily, now=now),
            f"today: utilisation, {count} days": partial(use, whole, with_gaps=False),
            f"revenue or no-shows, {count} days": partial(figures.visits, database, weekly, now=now),
            f"utilisation with gaps, {count} days": partial(use, weekly),
            f"repeat customers, {count} days": partial(figures.repeat_customers, database, weekly),
        }
    return found


def worked(backends: list[int]) -> float:
    """Give the CPU time that this process and its connections took so far, in milliseconds.

    A parallel worker ends with its statement: what those took is told by the server that they were started by.
    """
    spent = time.process_time() * 1000
    for pid in backends:
        with suppress(OSError):  # A connection may have been closed.
            spent += int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[0]) / 1e6
    fields = Path(f"/proc/{parent_of(backends[0])}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return spent + sum(map(int, fields[13:15])) * 1000 / os.sysconf("SC_CLK_TCK")


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[1])


async def measure(url: str, rounds: int) -> dict[str, tuple[float, float]]:
    """Give the median time and the mean CPU time of each, in milliseconds."""
    latest = one(url, "SELECT max(start_time) FROM bookings WHERE status = 'completed'")
    found: dict[str, tuple[float, float]] = {}
    async with Database(url, size=1) as database:
        await database.fetch(text("SELECT 1"))
        backends = backends_of(url)
        for name, read in reads(database, min(latest, datetime.now(UTC))).items():
            await read()
            took, spent = [], worked(backends)
            for _ in range(rounds):
                began = time.perf_counter()
                await read()
                took.append((time.perf_counter() - began) * 1000)
            found[name] = median(took), (worked(backends) - spent) / rounds
    return found


def backends_of(url: str) -> list[int]:
    with psycopg.connect(url) as console:
        rows = console.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'"
        ).fetchall()
        return [pid for (pid,) in rows if pid != console.info.backend_pid]


def tell_table(found: dict[str, tuple[float, float]]) -> None:
    """Print the table, slowest first."""
    click.echo("| what is read | median ms | CPU ms | within 200 ms of CPU |\n|---|---|---|---|")
    for name, (took, work) in sorted(found.items(), key=lambda item: -item[1][1]):
        click.echo(f"| {name} | {took:.0f} | {work:.0f} | {'yes' if work <= BOUND else 'no'} |")


# The pages.


def pages() -> Iterator[Page]:
    """Name every page, file and endpoint of figures."""
    last = datetime.now(ZONE).date()
    yield Page("Today: the lists alone", "/admin/today")
    for count in RANGES:
        asked = f"from_date={last - timedelta(days=count - 1)}&to_date={last}&by="
        yield Page(f"Today, {count} days", f"/admin/?{asked}day")
        for name in REPORTS:
            yield Page(f"{name}: page, {count} days", f"/admin/reports?report={name}&{asked}week")
            yield Page(f"{name}: CSV, {count} days", f"/admin/reports?report={name}&{asked}week&as=csv")
            yield Page(f"{name}: API, {count} days", f"/reports/{name}?{asked}week")


async def visit(home: Path, url: str, rounds: int) -> list[Page]:
    """Ask for each page as staff, by the session of the staff door or the token of the API."""
    found = list(pages())
    async with opened(home, url) as house:
        staff = house.people["staff"]
        answer = await staff.post("/auth/login", json={"email": DEMO_STAFF, "password": DEMO_PASSWORD})
        staff.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        for page in found:
            await house.measure(page, is_kept=False)
            house.meet_backends()
            spent = worked(house.backends)
            for _ in range(rounds):
                await house.measure(page, is_kept=True)
            page.worked = [(worked(house.backends) - spent) / rounds]
    return found


def tell_pages(found: list[Page]) -> None:
    """Print the table of the pages, slowest first."""
    click.echo("| page | median ms | CPU ms | within 200 ms of CPU | statements | kB |\n|---|---|---|---|---|---|")
    for page in sorted(found, key=lambda page: -page.work):
        status = "" if page.status == 200 else f" ({page.status})"
        is_within = "yes" if page.work <= BOUND else "no"
        cells = (page.kind + status, round(page.median), round(page.work), is_within, page.statements)
        click.echo(f"| {' | '.join(map(str, cells))} | {page.size / 1000:.0f} |")


@click.command()
@click.option("--bookings", default=1_000_000, show_default=True)
@click.option("--home", type=click.Path(path_type=Path), help="Where the database is kept, or is already.")
@click.option("--rounds", default=7, show_default=True)
def main(bookings: int, home: Path | None, rounds: int) -> None:
    """Measure, and print the tables."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with tempfile.TemporaryDirectory(prefix="bookit-reports-") as temporary:
        where = home or Path(temporary)
        with postgres(where) as url:
            fill(where, url, bookings)
            tell("Measuring")
            tell_table(asyncio.run(measure(url, rounds)))
            click.echo()
            tell_pages(asyncio.run(visit(where, url, rounds)))
            click.echo(f"\nLoad of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors.")


if __name__ == "__main__":
    main()
