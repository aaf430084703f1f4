"""Measure the dashboard and each report on a big database: their queries and their pages.

Run it from the project's folder, with the project's Python:

    .venv/bin/python benchmarks/reports.py [--bookings 1000000] [--home FOLDER] [--rounds 7]

The first run fills a database in FOLDER, or in a temporary folder. Later runs with the same FOLDER use it again. The
first table has the queries, up to the last day with completed visits. The second has the pages, their CSV files and the
endpoints of the API, requested inside this process, without a network. Each has its time, and the CPU time of this
process and of PostgreSQL together, parallel workers included: what it takes on an idle machine. CPU time needs Linux.
Each runs once to warm up and then ROUNDS times. The report is two Markdown tables.
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
from fill_database import fetch_value, fill_database, print_progress
from running_app import PageTiming, open_app
from sqlalchemy import text

from admin.pages.reports import REPORTS
from bookit.db.embedded import postgres
from bookit.db.pool import Database
from bookit.policy import times
from bookit.reports import dashboard, figures
from bookit.reports.ranges import ReportRange
from seed.business import DEMO_PASSWORD, DEMO_STAFF

TARGET_MS = 200
ZONE = ZoneInfo("Europe/Berlin")
RANGE_DAYS = (1, 7, 30, 90, 366)


def list_queries(database: Database, now: datetime) -> dict[str, Callable[[], Awaitable[Any]]]:
    """Return the queries by name, as the pages and the endpoints run them."""
    today = now.astimezone(ZONE).date()
    until = times.start_of_day(today, ZONE, offset_days=1)
    queries: dict[str, Callable[[], Awaitable[Any]]] = {
        "today: lists": lambda: dashboard.booking_lists(database, now=now, until=until),
        "today: free time": lambda: dashboard.free_today(database, now=now, until=until),
    }
    for count in RANGE_DAYS:
        first = today - timedelta(days=count - 1)
        daily, weekly, total = (ReportRange(first, today, ZONE, by) for by in ("day", "week", "whole"))
        utilisation = partial(figures.utilisation, database, now=now)
        queries |= {
            f"today: visits, {count} days": partial(figures.visits, database, daily, now=now),
            f"today: utilisation, {count} days": partial(utilisation, total, with_gaps=False),
            f"revenue or no-shows, {count} days": partial(figures.visits, database, weekly, now=now),
            f"utilisation with gaps, {count} days": partial(utilisation, weekly),
            f"repeat customers, {count} days": partial(figures.repeat_customers, database, weekly),
        }
    return queries


def read_cpu_ms(backend_pids: list[int]) -> float:
    """Return the CPU milliseconds of this process and of its connections so far.

    A parallel worker ends with its statement. Its CPU time is then in that of its parent, the PostgreSQL server.
    """
    cpu_ms = time.process_time() * 1000
    for pid in backend_pids:
        with suppress(OSError):  # a connection may have been closed
            cpu_ms += int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[0]) / 1e6
    fields = Path(f"/proc/{parent_pid(backend_pids[0])}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return cpu_ms + sum(map(int, fields[13:15])) * 1000 / os.sysconf("SC_CLK_TCK")


def parent_pid(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[1])


async def measure_queries(url: str, rounds: int) -> dict[str, tuple[float, float]]:
    """Return the median time and the mean CPU time of each query, in milliseconds."""
    latest = fetch_value(url, "SELECT max(start_time) FROM bookings WHERE status = 'completed'")
    timings: dict[str, tuple[float, float]] = {}
    async with Database(url, size=1) as database:
        await database.fetch(text("SELECT 1"))
        backends = list_backends(url)
        for name, run_query in list_queries(database, min(latest, datetime.now(UTC))).items():
            await run_query()
            wall_ms, before = [], read_cpu_ms(backends)
            for _ in range(rounds):
                start = time.perf_counter()
                await run_query()
                wall_ms.append((time.perf_counter() - start) * 1000)
            timings[name] = median(wall_ms), (read_cpu_ms(backends) - before) / rounds
    return timings


def list_backends(url: str) -> list[int]:
    with psycopg.connect(url) as console:
        rows = console.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'"
        ).fetchall()
        return [pid for (pid,) in rows if pid != console.info.backend_pid]


def print_query_table(timings: dict[str, tuple[float, float]]) -> None:
    """Print the table of the queries, slowest first."""
    click.echo("| query | median ms | CPU ms | within 200 ms of CPU |\n|---|---|---|---|")
    for name, (wall_ms, cpu_ms) in sorted(timings.items(), key=lambda item: -item[1][1]):
        click.echo(f"| {name} | {wall_ms:.0f} | {cpu_ms:.0f} | {'yes' if cpu_ms <= TARGET_MS else 'no'} |")


# The pages


def list_pages() -> Iterator[PageTiming]:
    """Yield the pages, the CSV files and the endpoints of all reports."""
    last = datetime.now(ZONE).date()
    yield PageTiming("Today: the lists alone", "/admin/today")
    for count in RANGE_DAYS:
        query = f"from_date={last - timedelta(days=count - 1)}&to_date={last}&by="
        yield PageTiming(f"Today, {count} days", f"/admin/?{query}day")
        for name in REPORTS:
            yield PageTiming(f"{name}: page, {count} days", f"/admin/reports?report={name}&{query}week")
            yield PageTiming(f"{name}: CSV, {count} days", f"/admin/reports?report={name}&{query}week&as=csv")
            yield PageTiming(f"{name}: API, {count} days", f"/reports/{name}?{query}week")


async def measure_pages(home: Path, url: str, rounds: int) -> list[PageTiming]:
    """Request each page as staff, signed in to the panel and to the API."""
    pages = list(list_pages())
    async with open_app(home, url) as running:
        staff = running.clients["staff"]
        response = await staff.post("/auth/login", json={"email": DEMO_STAFF, "password": DEMO_PASSWORD})
        staff.headers["Authorization"] = f"Bearer {response.json()['access_token']}"
        for page in pages:
            await running.measure(page, is_recorded=False)
            running.find_backends()
            before = read_cpu_ms(running.backends)
            for _ in range(rounds):
                await running.measure(page, is_recorded=True)
            page.cpu_ms = [(read_cpu_ms(running.backends) - before) / rounds]
    return pages


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
@click.option("--home", type=click.Path(path_type=Path), help="The folder of the database; temporary without it.")
@click.option("--rounds", default=7, show_default=True)
def main(bookings: int, home: Path | None, rounds: int) -> None:
    """Measure and print the tables."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with tempfile.TemporaryDirectory(prefix="bookit-reports-") as temporary:
        folder = home or Path(temporary)
        with postgres(folder) as url:
            fill_database(folder, url, bookings)
            print_progress("Measuring")
            print_query_table(asyncio.run(measure_queries(url, rounds)))
            click.echo()
            print_page_table(asyncio.run(measure_pages(folder, url, rounds)))
            click.echo(f"\nLoad average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores.")


if __name__ == "__main__":
    main()
