"""What Today and each report cost over a big table.

Run it from the project's folder, with the project's Python:

    .venv/bin/python benchmarks/reports.py [--bookings 1000000] [--home FOLDER] [--rounds 7]

The first run fills a database in FOLDER, a temporary one if none is named; later runs on the same FOLDER find it there.
Measured is what a page or an endpoint reads, in one process, without a network: the time it takes, and the CPU time of
this process and of its PostgreSQL connections together, which is what it takes where nobody else wants the processor.
(Linux alone tells it.) Each is asked once unmeasured and then ROUNDS times. The report is a Markdown table.
"""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
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
from filled import fill, one, tell

from bookit import policy, reports, today
from bookit.database import Database
from bookit.embedded import postgres
from bookit.reports import Days

BOUND = 200  # milliseconds
ZONE = ZoneInfo("Europe/Berlin")
RANGES = (1, 7, 30, 90, 366)


def reads(database: Database, now: datetime) -> dict[str, Callable[[], Awaitable[Any]]]:
    """Name everything there is to ask, as the pages and the endpoints ask it."""
    this_day = now.astimezone(ZONE).date()
    until = policy.midnight(this_day, ZONE, days_on=1)
    found: dict[str, Callable[[], Awaitable[Any]]] = {
        "today: lists": lambda: today.desk(database, now=now, until=until),
        "today: free time": lambda: today.free_today(database, now=now, until=until),
    }
    for count in RANGES:
        first = this_day - timedelta(days=count - 1)
        daily, weekly, whole = (Days(first, this_day, ZONE, by) for by in ("day", "week", "whole"))
        use = partial(reports.utilisation, database, now=now)
        found |= {
            f"today: visits, {count} days": partial(reports.visits, database, daily, now=now),
            f"today: utilisation, {count} days": partial(use, whole, with_gaps=False),
            f"revenue or no-shows, {count} days": partial(reports.visits, database, weekly, now=now),
            f"utilisation with gaps, {count} days": partial(use, weekly),
            f"repeat customers, {count} days": partial(reports.repeat_customers, database, weekly),
        }
    return found


def worked(backends: list[int]) -> float:
    """Give the CPU time that this process and its connections took so far, in milliseconds."""
    spent = time.process_time() * 1000
    for pid in backends:
        with suppress(OSError):  # A connection may have been closed.
            spent += int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[0]) / 1e6
    return spent


async def measure(url: str, rounds: int) -> dict[str, tuple[float, float]]:
    """Give the median time and CPU time of each, in milliseconds."""
    latest = one(url, "SELECT max(start_time) FROM bookings WHERE status = 'completed'")
    found: dict[str, tuple[float, float]] = {}
    async with Database(url, size=1) as database:
        for name, read in reads(database, min(latest, datetime.now(UTC))).items():
            await read()
            took, work = [], []
            for _ in range(rounds):
                backends = backends_of(url)
                began, spent = time.perf_counter(), worked(backends)
                await read()
                work.append(worked(backends) - spent)
                took.append((time.perf_counter() - began) * 1000)
            found[name] = median(took), median(work)
    return found


def backends_of(url: str) -> list[int]:
    with psycopg.connect(url) as console:
        rows = console.execute("SELECT pid FROM pg_stat_activity WHERE datname = current_database()").fetchall()
        return [pid for (pid,) in rows if pid != console.info.backend_pid]


def tell_table(found: dict[str, tuple[float, float]]) -> None:
    """Print the table, slowest first."""
    click.echo("| what is read | median ms | CPU ms | within 200 ms of CPU |\n|---|---|---|---|")
    for name, (took, work) in sorted(found.items(), key=lambda item: -item[1][1]):
        click.echo(f"| {name} | {took:.0f} | {work:.0f} | {'yes' if work <= BOUND else 'no'} |")
    click.echo(f"\nLoad of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors.")


@click.command()
@click.option("--bookings", default=1_000_000, show_default=True)
@click.option("--home", type=click.Path(path_type=Path), help="Where the database is kept, or is already.")
@click.option("--rounds", default=7, show_default=True)
def main(bookings: int, home: Path | None, rounds: int) -> None:
    """Measure, and print the table."""
    with tempfile.TemporaryDirectory(prefix="bookit-reports-") as temporary:
        where = home or Path(temporary)
        with postgres(where) as url:
            fill(where, url, bookings)
            tell("Measuring")
            tell_table(asyncio.run(measure(url, rounds)))


if __name__ == "__main__":
    main()
