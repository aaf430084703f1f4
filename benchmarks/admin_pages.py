"""Measure each page of the staff panel on a big database, and how an export affects other requests.

Run it from the project's folder, with the project's Python:

    .venv/bin/python benchmarks/admin_pages.py [--bookings 1000000] [--small 10000] [--home FOLDER] [--rounds 7]

The first run fills a database in FOLDER, or in a temporary folder. A million bookings take about 100 seconds and 1.5
GB. Later runs with the same FOLDER use it again. A second, smaller database shows what grows with the number of
bookings. The pages are requested inside this process, so a figure is the server's time, without a network. Each round
requests every page once; the first round is not counted. The report is a Markdown table on standard output; progress is
on standard error.

On a busy machine the time grows, but the CPU time hardly does. It is the CPU time of this process and of its PostgreSQL
connections together: what a page takes on an idle machine. It needs Linux.
"""

import asyncio
import logging
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import click
import structlog
from admin_page_list import list_pages
from fill_database import fetch_value, fill_database, print_progress
from running_app import PageTiming, RunningApp, open_app

from bookit.db.embedded import postgres

TARGET_MS = 100
MAX_STATEMENTS = 6
MEGABYTE = 2**20


async def measure_pages(running: RunningApp, rounds: int) -> list[PageTiming]:
    """Request all pages in turn, in each round."""
    pages = list_pages(running.url)
    for turn in range(rounds + 1):
        running.find_backends()
        for page in pages:
            await running.measure(page, is_recorded=turn > 0)
        print_progress(f"  round {turn} of {rounds}: {len(pages)} pages, load {os.getloadavg()[0]:.1f}")
    for page in sorted(pages, key=lambda page: -page.median_cpu_ms)[:10]:  # the slowest again, to exclude chance
        page.wall_ms.clear()
        page.cpu_ms.clear()
        for _ in range(2 * rounds):
            await running.measure(page, is_recorded=True)
    return pages


# The export


@dataclass
class ExportTiming:
    """What an export took."""

    rows: int
    seconds: float
    first_byte: float
    grown_mb: float


async def measure_export(running: RunningApp, path: str) -> ExportTiming:
    """Run an export without a client, count its rows, and measure how much this process grows."""
    rows, start, before, largest, first_byte = 0, time.perf_counter(), read_memory(), 0, 0.0
    cookie = "; ".join(f"{cookie.name}={cookie.value}" for cookie in running.clients["staff"].cookies.jar)
    url_path, _, query = path.partition("?")
    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "GET",
        "scheme": "http", "path": url_path, "raw_path": url_path.encode(), "query_string": query.encode(),
        "root_path": "", "headers": [(b"host", b"bookit.test"), (b"cookie", cookie.encode())], "client": ("desk", 1),
        "server": ("bookit.test", 80), "state": {},
    }  # fmt: skip

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        nonlocal rows, largest, first_byte
        if message["type"] == "http.response.start":
            assert message["status"] == 200, message
        elif message.get("body"):
            first_byte = first_byte or time.perf_counter() - start
            rows += message["body"].count(b"\r\n") or message["body"].count(b"\n")
            largest = max(largest, read_memory())
        await asyncio.sleep(0)  # yields to other tasks, as a socket does

    await running.app(scope, receive, send)
    return ExportTiming(rows - 1, time.perf_counter() - start, first_byte, (largest - before) / MEGABYTE)


def read_memory() -> int:
    """Return the memory of this process, in bytes."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def measure_latencies(
    running: RunningApp, export_task: "asyncio.Task[Any] | None", max_requests: int = 200
) -> list[float]:
    """Request a service again and again, and return how long each response took, in milliseconds."""
    latencies: list[float] = []
    client = running.clients["staff"]
    while len(latencies) < max_requests if export_task is None else not export_task.done():
        start = time.perf_counter()
        assert (await client.get("/services/1")).status_code == 200
        latencies.append((time.perf_counter() - start) * 1000)
        await asyncio.sleep(0.005)
    return latencies


async def report_exports(app: RunningApp) -> Iterator[str]:
    """Return what exports take, and how they affect other requests."""
    last = fetch_value(app.url, "SELECT start_time::date FROM bookings ORDER BY start_time OFFSET 10000 LIMIT 1")
    path = f"/admin/booking/export/csv?start_time=..{last or ''}"
    await measure_export(app, path)  # warms up
    partial = await measure_export(app, path)
    full = await measure_export(app, "/admin/booking/export/csv")
    idle = await measure_latencies(app, None)
    running = asyncio.create_task(measure_export(app, "/admin/booking/export/csv"))
    busy = await measure_latencies(app, running)
    lines = [f"| {n:,} rows | {e.seconds:.1f} s | {e.first_byte * 1000:.0f} ms | {e.grown_mb:.1f} MB |"
             for e in (partial, full) for n in (e.rows,)]  # fmt: skip
    return iter([
        "| export of bookings | time | first byte | process grew by |", "|---|---|---|---|", *lines, "",
        "| GET /services/1 | median | p99 | worst |", "|---|---|---|---|",
        *(f"| {name} | {statistics.median(ms):.1f} ms | {sorted(ms)[len(ms) * 99 // 100]:.1f} ms | {max(ms):.1f} ms |"
          for name, ms in (("idle", idle), ("during a full export", busy))),
    ])  # fmt: skip


# The report


def format_report(timings: list[PageTiming], small_timings: list[PageTiming]) -> Iterator[str]:
    """Yield the lines of the report. A value over its limit is in bold."""
    yield "| page | median ms | worst | CPU ms | on the small database | ratio | statements | kB |"
    yield "|---|---|---|---|---|---|---|---|"
    small = {page.title: page.median_cpu_ms for page in small_timings}
    for page in timings:
        statements = page.statements if page.statements <= MAX_STATEMENTS else f"**{page.statements}**"
        other = (
            f"{small[page.title]:.0f} | {page.median_cpu_ms / small[page.title]:.1f}" if page.title in small else " | "
        )
        status = "" if page.status == 200 else f" ({page.status})"
        size = f"{page.size / 1000:.0f}"
        cells = (
            page.title + status,
            format_ms(page.median_ms),
            format_ms(max(page.wall_ms)),
            format_ms(page.median_cpu_ms),
            other,
            statements,
            size,
        )
        yield f"| {' | '.join(map(str, cells))} |"
    slow_count = sum(page.median_ms >= TARGET_MS for page in timings)
    cpu_count = sum(page.median_cpu_ms >= TARGET_MS for page in timings)
    statement_count = sum(page.statements > MAX_STATEMENTS for page in timings)
    yield (
        f"\n{len(timings)} pages: {slow_count} took {TARGET_MS} ms or more, {cpu_count} took that much CPU time,"
        f" {statement_count} ran more than {MAX_STATEMENTS} statements."
    )


def format_ms(milliseconds: float) -> str:
    return f"{milliseconds:.0f}" if milliseconds < TARGET_MS else f"**{milliseconds:.0f}**"


async def measure_app(home: Path, url: str, rounds: int, *, is_exporting: bool) -> tuple[list[PageTiming], list[str]]:
    async with open_app(home, url) as running:
        pages = await measure_pages(running, rounds)
        return pages, list(await report_exports(running)) if is_exporting else []


def measure_database(
    home: Path, bookings: int, rounds: int, *, is_exporting: bool = False
) -> tuple[list[PageTiming], list[str]]:
    """Fill one database and measure its pages, and exports if asked for."""
    with postgres(home) as url:
        fill_database(home, url, bookings)
        print_progress(f"{bookings:,} bookings")
        return asyncio.run(measure_app(home, url, rounds, is_exporting=is_exporting))


@click.command(help=__doc__.partition("\n")[0])
@click.option("--bookings", default=1_000_000, show_default=True)
@click.option("--small", default=10_000, show_default=True, help="Bookings in the small database; 0 for none.")
@click.option("--home", type=click.Path(path_type=Path), help="The folder of the databases; temporary without it.")
@click.option("--rounds", default=7, show_default=True)
def main(bookings: int, small: int, home: Path | None, rounds: int) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with tempfile.TemporaryDirectory(prefix="bookit-") as folder:
        databases = home or Path(folder)
        small_pages, _ = measure_database(databases / "small", small, rounds) if small else ([], [])
        pages, exports = measure_database(databases, bookings, rounds, is_exporting=True)
    print(f"{bookings:,} bookings, {rounds} rounds, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
    print("\n".join([*format_report(pages, small_pages), "", *exports]))


if __name__ == "__main__":
    main()
