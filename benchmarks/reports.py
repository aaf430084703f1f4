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
from admin_pages import PageTiming, open_app
from fill_database import fetch_value, fill_database, print_progress
from sqlalchemy import text

from admin.pages.reports import REPORTS
from bookit.db.embedded import postgres
from bookit.db.pool import Database
from bookit.policy import times
from bookit.reports import dashboard, figures
from bookit.reports.ranges import ReportRange
from seed.business import DEMO_PASSWORD, DEMO_STAFF

TARGET_MS = 200  # milliseconds
ZONE = ZoneInfo("Europe/Berlin")
RANGE_DAYS = (1, 7, 30, 90, 366)


def list_queries(database: Database, now: datetime) -> dict[str, Callable[[], Awaitable[Any]]]:
    """Name everything there is to ask, as the pages and the endpoints ask it."""
    this_day = now.astimezone(ZONE).date()
    until = times.start_of_day(this_day, ZONE, offset_days=1)
    found: dict[str, Callable[[], Awaitable[Any]]] = {
        "today: lists": lambda: dashboard.booking_lists(database, now=now, until=until),
        "today: free time": lambda: dashboard.free_today(database, now=now, until=until),
    }
    for count in RANGE_DAYS:
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


def read_cpu_ms(backend_pids: list[int]) -> float:
    """Give the CPU time that this process and its connections took so far, in milliseconds.

    A parallel worker ends with its statement: what those took is told by the server that they were started by.
    """
    spent = time.process_time() * 1000
    for pid in backend_pids:
        with suppress(OSError):  # A connection may have been closed.
            spent += int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[0]) / 1e6
    fields = Path(f"/proc/{parent_pid(backend_pids[0])}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return spent + sum(map(int, fields[13:15])) * 1000 / os.sysconf("SC_CLK_TCK")


def parent_pid(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[1])


async def measure_queries(url: str, rounds: int) -> dict[str, tuple[float, float]]:
    """Give the median time and the mean CPU time of each, in milliseconds."""
    latest = fetch_value(url, "SELECT max(start_time) FROM bookings WHERE status = 'completed'")
    found: dict[str, tuple[float, float]] = {}
    async with Database(url, size=1) as database:
        await database.fetch(text("SELECT 1"))
        backends = list_backends(url)
        for name, read in list_queries(database, min(latest, datetime.now(UTC))).items():
            await read()
            took, spent = [], read_cpu_ms(backends)
            for _ in range(rounds):
                began = time.perf_counter()
                await read()
                took.append((time.perf_counter() - began) * 1000)
            found[name] = median(took), (read_cpu_ms(backends) - spent) / rounds
    return found


def list_backends(url: str) -> list[int]:
    with psycopg.connect(url) as console:
        rows = console.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'"
        ).fetchall()
        return [pid for (pid,) in rows if pid != console.info.backend_pid]


def print_query_table(timings: dict[str, tuple[float, float]]) -> None:
    """Print the table, slowest first."""
    click.echo("| what is read | median ms | CPU ms | within 200 ms of CPU |\n|---|---|---|---|")
    for name, (took, work) in sorted(timings.items(), key=lambda item: -item[1][1]):
        click.echo(f"| {name} | {took:.0f} | {work:.0f} | {'yes' if work <= TARGET_MS else 'no'} |")


# The pages.


def list_pages() -> Iterator[PageTiming]:
    """Name every page, file and endpoint of figures."""
    last = datetime.now(ZONE).date()
    yield PageTiming("Today: the lists alone", "/admin/today")
    for count in RANGE_DAYS:
        asked = f"from_date={last - timedelta(days=count - 1)}&to_date={last}&by="
        yield PageTiming(f"Today, {count} days", f"/admin/?{asked}day")
        for name in REPORTS:
            yield PageTiming(f"{name}: page, {count} days", f"/admin/reports?report={name}&{asked}week")
            yield PageTiming(f"{name}: CSV, {count} days", f"/admin/reports?report={name}&{asked}week&as=csv")
            yield PageTiming(f"{name}: API, {count} days", f"/reports/{name}?{asked}week")


async def measure_pages(home: Path, url: str, rounds: int) -> list[PageTiming]:
    """Ask for each page as staff, by the session of the staff door or the token of the API."""
    found = list(list_pages())
    async with open_app(home, url) as house:
        staff = house.clients["staff"]
        answer = await staff.post("/auth/login", json={"email": DEMO_STAFF, "password": DEMO_PASSWORD})
        staff.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        for page in found:
            await house.measure(page, is_recorded=False)
            house.find_backends()
            spent = read_cpu_ms(house.backends)
            for _ in range(rounds):
                await house.measure(page, is_recorded=True)
            page.cpu_ms = [(read_cpu_ms(house.backends) - spent) / rounds]
    return found


def print_page_table(timings: list[PageTiming]) -> None:
    """Print the table of the pages, slowest first."""
    click.echo("| page | median ms | CPU ms | within 200 ms of CPU | statements | kB |\n|---|---|---|---|---|---|")
    for page in sorted(timings, key=lambda page: -page.median_cpu_ms):
        status = "" if page.status == 200 else f" ({page.status})"
        is_within = "yes" if page.median_cpu_ms <= TARGET_MS else "no"
        cells = (page.title + status, round(page.median_ms), round(page.median_cpu_ms), is_within, page.statements)
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
            fill_database(where, url, bookings)
            print_progress("Measuring")
            print_query_table(asyncio.run(measure_queries(url, rounds)))
            click.echo()
            print_page_table(asyncio.run(measure_pages(where, url, rounds)))
            click.echo(f"\nLoad of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors.")


if __name__ == "__main__":
    main()
