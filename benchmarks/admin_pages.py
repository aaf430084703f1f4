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
from fill_database import fill, one, tell
from psycopg import sql
from sqlalchemy import event
from starlette.applications import Starlette

from bookit.db.embedded import postgres
from bookit.settings import Settings
from seed.business import DEMO_ADMIN, DEMO_PASSWORD, DEMO_STAFF
from server.app import build

PLACE = "http://bookit.test"
BOUND = 100  # milliseconds
MOST_STATEMENTS = 6
MEGABYTE = 2**20
LISTS = ("booking", "review", "service", "resource", "opening-hours", "calendar-exception", "user", "event")
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
TERMS = {
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
class Page:
    """One kind of page, and what it took each time."""

    kind: str
    path: str
    who: str = "staff"
    took: list[float] = field(default_factory=list)
    worked: list[float] = field(default_factory=list)
    statements: int = 0
    size: int = 0
    status: int = 0

    @property
    def median(self) -> float:
        """The usual time, in milliseconds."""
        return statistics.median(self.took)

    @property
    def work(self) -> float:
        """The usual CPU time, in milliseconds."""
        return statistics.median(self.worked)


@dataclass
class House:
    """A running BookIt, and who is signed in."""

    app: Starlette
    people: dict[str, httpx2.AsyncClient]
    statements: list[str]
    url: str
    backends: list[int] = field(default_factory=list)

    def meet_backends(self) -> None:
        """Find out which processes of PostgreSQL work for this one."""
        with psycopg.connect(self.url) as console:
            rows = console.execute("SELECT pid FROM pg_stat_activity WHERE datname = current_database()").fetchall()
            self.backends = [pid for (pid,) in rows if pid != console.info.backend_pid]

    def worked(self) -> float:
        """Give the CPU time that this process and its connections took so far, in milliseconds."""
        spent = time.process_time() * 1000
        for pid in self.backends:
            with suppress(OSError):  # A connection may have been closed.
                spent += int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[0]) / 1e6
        return spent

    async def measure(self, page: Page, *, is_kept: bool) -> None:
        """Ask for a page."""
        self.statements.clear()
        before, began = self.worked(), time.perf_counter()
        answer = await self.people[page.who].get(page.path)
        took = (time.perf_counter() - began) * 1000
        worked = self.worked() - before
        page.statements = max(page.statements, len(self.statements))
        page.size, page.status = len(answer.content), answer.status_code
        if is_kept:
            page.took.append(took)
            page.worked.append(worked)


@asynccontextmanager
async def opened(home: Path, url: str) -> AsyncIterator[House]:
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
                transport=httpx2.ASGITransport(app), base_url=PLACE, headers={"origin": PLACE}
            )
            answer = await client.post("/admin/login", data={"username": email, "password": DEMO_PASSWORD})
            assert answer.status_code == 303, answer.text
        yield House(app, people, seen, url)
        for client in people.values():
            await client.aclose()


# The pages.


def pages(url: str) -> list[Page]:
    """Name every kind of page there is to ask for."""
    return [*first_pages(), *booking_lists(url), *other_lists(url), *rows(url), *look_ups(url)]


def first_pages() -> Iterator[Page]:
    for name in LISTS:
        list_of = f"/admin/{name}/list"
        yield Page(f"{name}: list", list_of, "admin")
        yield Page(f"{name}: list, 100 a page", f"{list_of}?pageSize=100", "admin")
        yield Page(f"{name}: list, page 200", f"{list_of}?page=200", "admin")
        yield Page(f"{name}: list, last page", f"{list_of}?page=400", "admin")
        for column in SORTS[name]:
            for way in ("asc", "desc"):
                yield Page(f"{name}: by {column} {way}", f"{list_of}?sortBy={column}&sort={way}", "admin")
        yield Page(f"{name}: upwards, last page", f"{list_of}?sortBy={SORTS[name][0]}&sort=asc&page=400", "admin")


def days(url: str) -> dict[str, str]:
    """Name spans of days: one, a week, a month to come, a year gone by, and the ends that are open."""
    today = datetime.now(UTC).date()
    oldest: date = one(url, "SELECT min(start_time)::date FROM bookings")
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


def booking_lists(url: str) -> Iterator[Page]:
    spans = days(url)
    narrowed = {f"status {status}": f"status={status}" for status in STATUSES}
    narrowed |= {f"days {name}": f"start_time={span}" for name, span in spans.items()}
    narrowed |= {
        f"{status}, {name}": f"status={status}&start_time={spans[name]}"
        for status in ("pending", "completed", "cancelled")
        for name in ("today", "from today", "last month", "first year")
    }
    for title, query in narrowed.items():
        yield Page(f"booking: {title}", f"/admin/booking/list?{query}")
        for column in SORTS["booking"]:
            for way in ("asc", "desc"):
                yield Page(
                    f"booking: {title}, by {column} {way}", f"/admin/booking/list?{query}&sortBy={column}&sort={way}"
                )
        yield Page(f"booking: {title}, last page", f"/admin/booking/list?{query}&page=400")
    for title, term in terms(url).items():
        search = f"/admin/booking/list?search={quote(term)}"
        yield Page(f"booking: search {title}", search)
        yield Page(f"booking: search {title}, by start asc", f"{search}&sortBy=start_time&sort=asc")
        yield Page(f"booking: search {title}, last page", f"{search}&page=400")
        yield Page(f"booking: search {title}, pending", f"{search}&status=pending")
        yield Page(f"booking: search {title}, from today", f"{search}&start_time={spans['from today']}")


def terms(url: str) -> dict[str, str]:
    """Give what is searched: words that many have, few, and nobody."""
    rare = one(url, "SELECT name FROM users GROUP BY name ORDER BY count(*), name LIMIT 1")
    part = one(url, "SELECT substr(email, 3, 9) FROM users ORDER BY id DESC LIMIT 1")
    return {**TERMS, "rare name": rare, "part of an e-mail": part}


def other_lists(url: str) -> Iterator[Page]:
    people = "/admin/user/list"
    for title, term in terms(url).items():
        yield Page(f"user: search {title}", f"{people}?search={quote(term)}")
        yield Page(f"user: search {title}, last page", f"{people}?search={quote(term)}&page=400")
    for title, query in {
        "role user": "role=user", "role staff": "role=staff", "inactive": "is_active=no", "active": "is_active=yes",
        "staff and inactive": "role=staff&is_active=no", "search and role": "search=Anna&role=user",
        "search and inactive": "search=Anna&is_active=no",
    }.items():  # fmt: skip
        yield Page(f"user: {title}", f"{people}?{query}")
        yield Page(f"user: {title}, by id asc", f"{people}?{query}&sortBy=id&sort=asc")
    for name, words in {
        "review": ("great", "zqxjk", "a", "q"), "service": ("cut", "zqxjk"), "resource": ("Chair", "zqxjk"),
        "calendar-exception": ("Holiday", "zqxjk"),
    }.items():  # fmt: skip
        for word in words:
            yield Page(f"{name}: search {word}", f"/admin/{name}/list?search={word}")


def rows(url: str) -> Iterator[Page]:
    """Give the pages of single rows, early, late and much changed ones."""
    for name, table in {"booking": "bookings", "review": "reviews", "service": "services", "resource": "resources",
                        "opening-hours": "opening_hours", "calendar-exception": "calendar_exceptions",
                        "user": "users", "event": "events"}.items():  # fmt: skip
        for title, pick in {"first": "min", "last": "max"}.items():
            number = one(url, sql.SQL("SELECT {}(id) FROM {}").format(sql.SQL(pick), sql.Identifier(table)))
            yield Page(f"{name}: details, {title}", f"/admin/{name}/details/{number}", "admin")
            if name not in {"review", "event"}:
                yield Page(f"{name}: edit, {title}", f"/admin/{name}/edit/{number}", "admin")
    changed = one(url, "SELECT row_id FROM events WHERE table_name = 'bookings' AND action = 'changed' LIMIT 1") or 1
    yield Page("booking: details, with history", f"/admin/booking/details/{changed}")
    for name in ("booking", "service", "resource", "opening-hours", "calendar-exception", "user"):
        yield Page(f"{name}: create", f"/admin/{name}/create", "admin")


def look_ups(url: str) -> Iterator[Page]:
    for title, term in terms(url).items():
        yield Page(f"look-up: person, {title}", f"/admin/booking/ajax/lookup?name=user&term={quote(term)}")
    for term in ("c", "cu", "cut", "zqx"):
        yield Page(f"look-up: service, {term}", f"/admin/booking/ajax/lookup?name=service&term={term}")
        yield Page(f"look-up: resource, {term}", f"/admin/booking/ajax/lookup?name=resource&term={term}")


async def visit(house: House, rounds: int) -> list[Page]:
    """Ask for all pages in turn, one round after another."""
    found = pages(house.url)
    for turn in range(rounds + 1):
        house.meet_backends()
        for page in found:
            await house.measure(page, is_kept=turn > 0)
        tell(f"  round {turn} of {rounds}: {len(found)} pages, load {os.getloadavg()[0]:.1f}")
    for page in sorted(found, key=lambda page: -page.work)[:10]:  # Once more, and more often: is it the page?
        page.took.clear()
        page.worked.clear()
        for _ in range(2 * rounds):
            await house.measure(page, is_kept=True)
    return found


# The export.


@dataclass
class Exported:
    """What an export took."""

    rows: int
    seconds: float
    first_byte: float
    grew: float


async def export(house: House, path: str) -> Exported:
    """Export to nobody, counting rows, and how much larger this process becomes."""
    rows, began, before, largest, first = 0, time.perf_counter(), memory(), 0, 0.0
    cookie = "; ".join(f"{cookie.name}={cookie.value}" for cookie in house.people["staff"].cookies.jar)
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
            largest = max(largest, memory())
        await asyncio.sleep(0)  # as a socket does

    await house.app(scope, receive, send)
    return Exported(rows - 1, time.perf_counter() - began, first, (largest - before) / MEGABYTE)


def memory() -> int:
    """Give the size of this process, in bytes."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def latencies(house: House, until: "asyncio.Task[Any] | None", most: int = 200) -> list[float]:
    """Ask for a service again and again, and give how long each answer took, in milliseconds."""
    found: list[float] = []
    client = house.people["staff"]
    while len(found) < most if until is None else not until.done():
        began = time.perf_counter()
        assert (await client.get("/services/1")).status_code == 200
        found.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(0.005)
    return found


async def exports(house: House) -> Iterator[str]:
    """Say what exports take, and what they take from others."""
    last = one(house.url, "SELECT start_time::date FROM bookings ORDER BY start_time OFFSET 10000 LIMIT 1")
    some = await export(house, f"/admin/booking/export/csv?start_time=..{last or ''}")
    some = await export(house, f"/admin/booking/export/csv?start_time=..{last or ''}")
    alone = await export(house, "/admin/booking/export/csv")
    idle = await latencies(house, None)
    running = asyncio.create_task(export(house, "/admin/booking/export/csv"))
    busy = await latencies(house, running)
    lines = [f"| {n:,} rows | {e.seconds:.1f} s | {e.first_byte * 1000:.0f} ms | {e.grew:.1f} MB |"
             for e in (some, alone) for n in (e.rows,)]  # fmt: skip
    return iter([
        "| export of bookings | time | first byte | process grew by |", "|---|---|---|---|", *lines, "",
        "| GET /services/1 | median | 99 of 100 | worst |", "|---|---|---|---|",
        *(f"| {name} | {statistics.median(ms):.1f} ms | {sorted(ms)[len(ms) * 99 // 100]:.1f} ms | {max(ms):.1f} ms |"
          for name, ms in (("idle", idle), ("while all is exported", busy))),
    ])  # fmt: skip


# The report.


def report(found: list[Page], small: list[Page]) -> Iterator[str]:
    """Tabulate; what breaks a bound is in bold."""
    yield "| page | median ms | worst | CPU ms | on the small table | ratio | statements | kB |"
    yield "|---|---|---|---|---|---|---|---|"
    beside = {page.kind: page.work for page in small}
    for page in found:
        statements = page.statements if page.statements <= MOST_STATEMENTS else f"**{page.statements}**"
        other = f"{beside[page.kind]:.0f} | {page.work / beside[page.kind]:.1f}" if page.kind in beside else " | "
        status = "" if page.status == 200 else f" ({page.status})"
        size = f"{page.size / 1000:.0f}"
        cells = (page.kind + status, told(page.median), told(max(page.took)), told(page.work), other, statements, size)
        yield f"| {' | '.join(map(str, cells))} |"
    slow = sum(page.median >= BOUND for page in found)
    busy = sum(page.work >= BOUND for page in found)
    much = sum(page.statements > MOST_STATEMENTS for page in found)
    yield (
        f"\n{len(found)} pages: {slow} took {BOUND} ms or more, {busy} that of CPU time,"
        f" {much} more than {MOST_STATEMENTS} statements."
    )


def told(milliseconds: float) -> str:
    return f"{milliseconds:.0f}" if milliseconds < BOUND else f"**{milliseconds:.0f}**"


async def study(home: Path, url: str, rounds: int, *, exporting: bool) -> tuple[list[Page], list[str]]:
    async with opened(home, url) as house:
        found = await visit(house, rounds)
        return found, list(await exports(house)) if exporting else []


def examine(home: Path, bookings: int, rounds: int, *, exporting: bool = False) -> tuple[list[Page], list[str]]:
    """Measure one database."""
    with postgres(home) as url:
        fill(home, url, bookings)
        tell(f"{bookings:,} bookings")
        return asyncio.run(study(home, url, rounds, exporting=exporting))


@click.command(help=__doc__.partition("\n")[0])
@click.option("--bookings", default=1_000_000, show_default=True)
@click.option("--small", default=10_000, show_default=True, help="The other database; 0 for none.")
@click.option("--home", type=click.Path(path_type=Path), help="Where the databases are kept; else they go afterwards.")
@click.option("--rounds", default=7, show_default=True)
def main(bookings: int, small: int, home: Path | None, rounds: int) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with tempfile.TemporaryDirectory(prefix="bookit-") as folder:
        place = home or Path(folder)
        others, _ = examine(place / "small", small, rounds) if small else ([], [])
        found, told = examine(place, bookings, rounds, exporting=True)
    print(f"{bookings:,} bookings, {rounds} rounds, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
    print("\n".join([*report(found, others), "", *told]))


if __name__ == "__main__":
    main()
