"""What each page of the staff door costs over a big table, and what an export costs everybody else.

Run it from the project's folder, with the project's Python:

    .venv/bin/python benchmarks/admin_pages.py [--bookings 1000000] [--small 10000] [--home FOLDER] [--rounds 7]

The first run fills a database in FOLDER, a temporary one if none is named (about 100 seconds and 1.5 GB for a million
bookings); later runs on the same FOLDER find it there. The smaller database beside it shows what grows. Pages are asked
for inside this process, so a figure is the server's time, without a network. All pages are asked for in turn, once
unmeasured and then ROUNDS times. The report is a Markdown table on standard output; progress is on standard error.

On a machine that does other work the time goes up, and the CPU time hardly: that of this process and of its PostgreSQL
connections together, which is what a page takes where nobody else wants the processor. (Linux alone tells it.)
"""

import asyncio
import logging
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

sys.path.insert(0, str(Path(__file__).parent.parent))

import click
import httpx2
import psycopg
import structlog
from fill_database import fetch_value, fill_database, print_progress
from psycopg import sql
from sqlalchemy import event
from starlette.applications import Starlette

from bookit.db.embedded import postgres
from bookit.settings import Settings
from seed.business import DEMO_ADMIN, DEMO_PASSWORD, DEMO_STAFF
from server.app import build

BASE_URL = "http://bookit.test"
TARGET_MS = 100  # milliseconds
MAX_STATEMENTS = 6
MEGABYTE = 2**20
LIST_VIEWS = ("booking", "review", "service", "resource", "opening-hours", "calendar-exception", "user", "event")
SORTS = {
    "booking": ("start_time",),
    "review": ("id",),
    "service": ("id", "title", "price", "duration_minutes"),
    "resource": ("id", "name", "capacity"),
    "opening-hours": ("id", "weekday"),
    "calendar-exception": ("id", "start_time"),
    "user": ("id",),
    "event": ("id",),
}
STATUSES = ("pending", "confirmed", "completed", "cancelled", "no_show")
SEARCH_TERMS = {
    "number": "777",
    "common name": "Anna",
    "full name": "Anna Weber",
    "rare name": "",  # taken from the database
    "part of an e-mail": "",  # as above
    "domain all have": "@example",
    "nonsense": "zqxjk",
    "1 letter": "a",
    "1 rare letter": "q",
    "2 letters": "an",
    "2 rare letters": "qz",
    "%": "%",
    "_": "_",
}


@dataclass
class PageTiming:
    """One kind of page, and what it took each time."""

    title: str
    path: str
    user: str = "staff"
    wall_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    statements: int = 0
    size: int = 0
    status: int = 0

    @property
    def median_ms(self) -> float:
        """The usual time, in milliseconds."""
        return statistics.median(self.wall_ms)

    @property
    def median_cpu_ms(self) -> float:
        """The usual CPU time, in milliseconds."""
        return statistics.median(self.cpu_ms)


@dataclass
class RunningApp:
    """A running BookIt, and who is signed in."""

    app: Starlette
    clients: dict[str, httpx2.AsyncClient]
    statements: list[str]
    url: str
    backends: list[int] = field(default_factory=list)

    def find_backends(self) -> None:
        """Find out which processes of PostgreSQL work for this one."""
        with psycopg.connect(self.url) as console:
            rows = console.execute("SELECT pid FROM pg_stat_activity WHERE datname = current_database()").fetchall()
            self.backends = [pid for (pid,) in rows if pid != console.info.backend_pid]

    def read_cpu_ms(self) -> float:
        """Give the CPU time that this process and its connections took so far, in milliseconds."""
        spent = time.process_time() * 1000
        for pid in self.backends:
            with suppress(OSError):  # A connection may have been closed.
                spent += int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[0]) / 1e6
        return spent

    async def measure(self, page: PageTiming, *, is_recorded: bool) -> None:
        """Ask for a page."""
        self.statements.clear()
        before, began = self.read_cpu_ms(), time.perf_counter()
        answer = await self.clients[page.user].get(page.path)
        took = (time.perf_counter() - began) * 1000
        worked = self.read_cpu_ms() - before
        page.statements = max(page.statements, len(self.statements))
        page.size, page.status = len(answer.content), answer.status_code
        if is_recorded:
            page.wall_ms.append(took)
            page.cpu_ms.append(worked)


@asynccontextmanager
async def open_app(home: Path, url: str) -> AsyncIterator[RunningApp]:
    """Open both doors of a BookIt over this database, with staff and admin signed in and every statement noted."""
    settings = Settings(
        database_url=url, bookit_home=home, bookit_demo=True, timezone="Europe/Berlin", secret_key="x" * 40,
        _env_file=None,
    )  # fmt: skip
    app, seen = build(settings), list[str]()
    event.listen(app.state.staff_site.engine.sync_engine, "before_cursor_execute", lambda *a: seen.append(a[2]))
    fetch = app.state.database.fetch

    async def noted(statement: Any, **values: Any) -> Any:
        seen.append(str(statement))
        return await fetch(statement, **values)

    app.state.database.fetch = noted
    async with app.router.lifespan_context(app):
        people = {}
        for who, email in (("staff", DEMO_STAFF), ("admin", DEMO_ADMIN)):
            people[who] = client = httpx2.AsyncClient(
                transport=httpx2.ASGITransport(app), base_url=BASE_URL, headers={"origin": BASE_URL}
            )
            answer = await client.post("/admin/login", data={"username": email, "password": DEMO_PASSWORD})
            assert answer.status_code == 303, answer.text
        yield RunningApp(app, people, seen, url)
        for client in people.values():
            await client.aclose()


# The pages.


def list_pages(url: str) -> list[PageTiming]:
    """Name every kind of page there is to ask for."""
    return [
        *list_plain_lists(),
        *list_booking_lists(url),
        *list_other_lists(url),
        *list_row_pages(url),
        *list_lookups(url),
    ]


def list_plain_lists() -> Iterator[PageTiming]:
    for name in LIST_VIEWS:
        list_of = f"/admin/{name}/list"
        yield PageTiming(f"{name}: list", list_of, "admin")
        yield PageTiming(f"{name}: list, 100 a page", f"{list_of}?pageSize=100", "admin")
        yield PageTiming(f"{name}: list, page 200", f"{list_of}?page=200", "admin")
        yield PageTiming(f"{name}: list, last page", f"{list_of}?page=400", "admin")
        for column in SORTS[name]:
            for way in ("asc", "desc"):
                yield PageTiming(f"{name}: by {column} {way}", f"{list_of}?sortBy={column}&sort={way}", "admin")
        yield PageTiming(f"{name}: upwards, last page", f"{list_of}?sortBy={SORTS[name][0]}&sort=asc&page=400", "admin")


def list_date_ranges(url: str) -> dict[str, str]:
    """Name spans of days: one, a week, a month to come, a year gone by, and the ends that are open."""
    today = datetime.now(UTC).date()
    oldest: date = fetch_value(url, "SELECT min(start_time)::date FROM bookings")
    week, month, year = (timedelta(days=n) for n in (7, 30, 365))
    return {
        "today": f"{today}",
        "a week": f"{today}..{today + week}",
        "from today": f"{today}..",
        "last month": f"{today - month}..{today}",
        "last year": f"{today - year}..{today}",
        "first year": f"{oldest}..{oldest + year}",
        "until today": f"..{today}",
    }


def list_booking_lists(url: str) -> Iterator[PageTiming]:
    spans = list_date_ranges(url)
    narrowed = {f"status {status}": f"status={status}" for status in STATUSES}
    narrowed |= {f"days {name}": f"start_time={span}" for name, span in spans.items()}
    narrowed |= {
        f"{status}, {name}": f"status={status}&start_time={spans[name]}"
        for status in ("pending", "completed", "cancelled")
        for name in ("today", "from today", "last month", "first year")
    }
    for title, query in narrowed.items():
        yield PageTiming(f"booking: {title}", f"/admin/booking/list?{query}")
        for column in SORTS["booking"]:
            for way in ("asc", "desc"):
                yield PageTiming(
                    f"booking: {title}, by {column} {way}", f"/admin/booking/list?{query}&sortBy={column}&sort={way}"
                )
        yield PageTiming(f"booking: {title}, last page", f"/admin/booking/list?{query}&page=400")
    for title, term in list_search_terms(url).items():
        search = f"/admin/booking/list?search={quote(term)}"
        yield PageTiming(f"booking: search {title}", search)
        yield PageTiming(f"booking: search {title}, by start asc", f"{search}&sortBy=start_time&sort=asc")
        yield PageTiming(f"booking: search {title}, last page", f"{search}&page=400")
        yield PageTiming(f"booking: search {title}, pending", f"{search}&status=pending")
        yield PageTiming(f"booking: search {title}, from today", f"{search}&start_time={spans['from today']}")


def list_search_terms(url: str) -> dict[str, str]:
    """Give what is searched: words that many have, few, and nobody."""
    rare = fetch_value(url, "SELECT name FROM users GROUP BY name ORDER BY count(*), name LIMIT 1")
    part = fetch_value(url, "SELECT substr(email, 3, 9) FROM users ORDER BY id DESC LIMIT 1")
    return {**SEARCH_TERMS, "rare name": rare, "part of an e-mail": part}


def list_other_lists(url: str) -> Iterator[PageTiming]:
    people = "/admin/user/list"
    for title, term in list_search_terms(url).items():
        yield PageTiming(f"user: search {title}", f"{people}?search={quote(term)}")
        yield PageTiming(f"user: search {title}, last page", f"{people}?search={quote(term)}&page=400")
    for title, query in {
        "role user": "role=user", "role staff": "role=staff", "inactive": "is_active=no", "active": "is_active=yes",
        "staff and inactive": "role=staff&is_active=no", "search and role": "search=Anna&role=user",
        "search and inactive": "search=Anna&is_active=no",
    }.items():  # fmt: skip
        yield PageTiming(f"user: {title}", f"{people}?{query}")
        yield PageTiming(f"user: {title}, by id asc", f"{people}?{query}&sortBy=id&sort=asc")
    for name, words in {
        "review": ("great", "zqxjk", "a", "q"), "service": ("cut", "zqxjk"), "resource": ("Chair", "zqxjk"),
        "calendar-exception": ("Holiday", "zqxjk"),
    }.items():  # fmt: skip
        for word in words:
            yield PageTiming(f"{name}: search {word}", f"/admin/{name}/list?search={word}")


def list_row_pages(url: str) -> Iterator[PageTiming]:
    """Give the pages of single rows, early, late and much changed ones."""
    for name, table in {"booking": "bookings", "review": "reviews", "service": "services", "resource": "resources",
                        "opening-hours": "opening_hours", "calendar-exception": "calendar_exceptions",
                        "user": "users", "event": "events"}.items():  # fmt: skip
        for title, pick in {"first": "min", "last": "max"}.items():
            number = fetch_value(url, sql.SQL("SELECT {}(id) FROM {}").format(sql.SQL(pick), sql.Identifier(table)))
            yield PageTiming(f"{name}: details, {title}", f"/admin/{name}/details/{number}", "admin")
            if name not in {"review", "event"}:
                yield PageTiming(f"{name}: edit, {title}", f"/admin/{name}/edit/{number}", "admin")
    changed = (
        fetch_value(url, "SELECT row_id FROM events WHERE table_name = 'bookings' AND action = 'changed' LIMIT 1") or 1
    )
    yield PageTiming("booking: details, with history", f"/admin/booking/details/{changed}")
    for name in ("booking", "service", "resource", "opening-hours", "calendar-exception", "user"):
        yield PageTiming(f"{name}: create", f"/admin/{name}/create", "admin")


def list_lookups(url: str) -> Iterator[PageTiming]:
    for title, term in list_search_terms(url).items():
        yield PageTiming(f"look-up: person, {title}", f"/admin/booking/ajax/lookup?name=user&term={quote(term)}")
    for term in ("c", "cu", "cut", "zqx"):
        yield PageTiming(f"look-up: service, {term}", f"/admin/booking/ajax/lookup?name=service&term={term}")
        yield PageTiming(f"look-up: resource, {term}", f"/admin/booking/ajax/lookup?name=resource&term={term}")


async def measure_pages(running: RunningApp, rounds: int) -> list[PageTiming]:
    """Ask for all pages in turn, one round after another."""
    found = list_pages(running.url)
    for turn in range(rounds + 1):
        running.find_backends()
        for page in found:
            await running.measure(page, is_recorded=turn > 0)
        print_progress(f"  round {turn} of {rounds}: {len(found)} pages, load {os.getloadavg()[0]:.1f}")
    for page in sorted(found, key=lambda page: -page.median_cpu_ms)[:10]:  # Once more, and more often: is it the page?
        page.wall_ms.clear()
        page.cpu_ms.clear()
        for _ in range(2 * rounds):
            await running.measure(page, is_recorded=True)
    return found


# The export.


@dataclass
class ExportTiming:
    """What an export took."""

    rows: int
    seconds: float
    first_byte: float
    grown_mb: float


async def measure_export(running: RunningApp, path: str) -> ExportTiming:
    """Export to nobody, counting rows, and how much larger this process becomes."""
    rows, began, before, largest, first = 0, time.perf_counter(), read_memory(), 0, 0.0
    cookie = "; ".join(f"{cookie.name}={cookie.value}" for cookie in running.clients["staff"].cookies.jar)
    address, _, query = path.partition("?")
    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "GET",
        "scheme": "http", "path": address, "raw_path": address.encode(), "query_string": query.encode(),
        "root_path": "", "headers": [(b"host", b"bookit.test"), (b"cookie", cookie.encode())], "client": ("desk", 1),
        "server": ("bookit.test", 80), "state": {},
    }  # fmt: skip

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        nonlocal rows, largest, first
        if message["type"] == "http.response.start":
            assert message["status"] == 200, message
        elif message.get("body"):
            first = first or time.perf_counter() - began
            rows += message["body"].count(b"\r\n") or message["body"].count(b"\n")
            largest = max(largest, read_memory())
        await asyncio.sleep(0)  # as a socket does

    await running.app(scope, receive, send)
    return ExportTiming(rows - 1, time.perf_counter() - began, first, (largest - before) / MEGABYTE)


def read_memory() -> int:
    """Give the size of this process, in bytes."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def measure_latencies(
    running: RunningApp, export_task: "asyncio.Task[Any] | None", max_requests: int = 200
) -> list[float]:
    """Ask for a service again and again, and give how long each answer took, in milliseconds."""
    found: list[float] = []
    client = running.clients["staff"]
    while len(found) < max_requests if export_task is None else not export_task.done():
        began = time.perf_counter()
        assert (await client.get("/services/1")).status_code == 200
        found.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(0.005)
    return found


async def report_exports(app: RunningApp) -> Iterator[str]:
    """Say what exports take, and what they take from others."""
    last = fetch_value(app.url, "SELECT start_time::date FROM bookings ORDER BY start_time OFFSET 10000 LIMIT 1")
    some = await measure_export(app, f"/admin/booking/export/csv?start_time=..{last or ''}")
    some = await measure_export(app, f"/admin/booking/export/csv?start_time=..{last or ''}")
    alone = await measure_export(app, "/admin/booking/export/csv")
    idle = await measure_latencies(app, None)
    running = asyncio.create_task(measure_export(app, "/admin/booking/export/csv"))
    busy = await measure_latencies(app, running)
    lines = [f"| {n:,} rows | {e.seconds:.1f} s | {e.first_byte * 1000:.0f} ms | {e.grown_mb:.1f} MB |"
             for e in (some, alone) for n in (e.rows,)]  # fmt: skip
    return iter([
        "| export of bookings | time | first byte | process grew by |", "|---|---|---|---|", *lines, "",
        "| GET /services/1 | median | 99 of 100 | worst |", "|---|---|---|---|",
        *(f"| {name} | {statistics.median(ms):.1f} ms | {sorted(ms)[len(ms) * 99 // 100]:.1f} ms | {max(ms):.1f} ms |"
          for name, ms in (("idle", idle), ("while all is exported", busy))),
    ])  # fmt: skip


# The report.


def format_report(timings: list[PageTiming], small_timings: list[PageTiming]) -> Iterator[str]:
    """Tabulate; what breaks a bound is in bold."""
    yield "| page | median ms | worst | CPU ms | on the small table | ratio | statements | kB |"
    yield "|---|---|---|---|---|---|---|---|"
    beside = {page.title: page.median_cpu_ms for page in small_timings}
    for page in timings:
        statements = page.statements if page.statements <= MAX_STATEMENTS else f"**{page.statements}**"
        other = (
            f"{beside[page.title]:.0f} | {page.median_cpu_ms / beside[page.title]:.1f}"
            if page.title in beside
            else " | "
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
    slow = sum(page.median_ms >= TARGET_MS for page in timings)
    busy = sum(page.median_cpu_ms >= TARGET_MS for page in timings)
    much = sum(page.statements > MAX_STATEMENTS for page in timings)
    yield (
        f"\n{len(timings)} pages: {slow} took {TARGET_MS} ms or more, {busy} that of CPU time,"
        f" {much} more than {MAX_STATEMENTS} statements."
    )


def format_ms(milliseconds: float) -> str:
    return f"{milliseconds:.0f}" if milliseconds < TARGET_MS else f"**{milliseconds:.0f}**"


async def measure_app(home: Path, url: str, rounds: int, *, is_exporting: bool) -> tuple[list[PageTiming], list[str]]:
    async with open_app(home, url) as house:
        found = await measure_pages(house, rounds)
        return found, list(await report_exports(house)) if is_exporting else []


def measure_database(
    home: Path, bookings: int, rounds: int, *, is_exporting: bool = False
) -> tuple[list[PageTiming], list[str]]:
    """Measure one database."""
    with postgres(home) as url:
        fill_database(home, url, bookings)
        print_progress(f"{bookings:,} bookings")
        return asyncio.run(measure_app(home, url, rounds, is_exporting=is_exporting))


@click.command(help=__doc__.partition("\n")[0])
@click.option("--bookings", default=1_000_000, show_default=True)
@click.option("--small", default=10_000, show_default=True, help="The other database; 0 for none.")
@click.option("--home", type=click.Path(path_type=Path), help="Where the databases are kept; else they go afterwards.")
@click.option("--rounds", default=7, show_default=True)
def main(bookings: int, small: int, home: Path | None, rounds: int) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with tempfile.TemporaryDirectory(prefix="bookit-") as folder:
        place = home or Path(folder)
        others, _ = measure_database(place / "small", small, rounds) if small else ([], [])
        found, told = measure_database(place, bookings, rounds, is_exporting=True)
    print(f"{bookings:,} bookings, {rounds} rounds, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
    print("\n".join([*format_report(found, others), "", *told]))


if __name__ == "__main__":
    main()
