"""The contest: each row of the table asked of each contestant, in turn, round after round."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from statistics import median

import anyio
from fill_database import print_progress

from side_by_side import recorded_sql
from side_by_side.cpu_time import CpuMeter
from side_by_side.load import LoadResult, run_pgbench, run_wrk
from side_by_side.servers import Server
from side_by_side.test_data import (
    RESOURCE_COUNT,
    RESOURCES_PER_SERVICE,
    STARTS_PER_DAY,
    STEP_MINUTES,
    BenchmarkData,
    count_bookings,
    delete_bookings,
    fetch_latest_booking_id,
)

EMPTY, PLAIN, PGBENCH = "empty loop", "plain Starlette", "pgbench, the same SQL"
BASELINE, BOOKIT, BOOKIT_TWO_WORKERS = "FastAPI + ORM", "BookIt", "BookIt, 2 workers"
SYSTEMS = (EMPTY, PLAIN, PGBENCH, BASELINE, BOOKIT, BOOKIT_TWO_WORKERS)
SCENARIOS = {"one": "GET /services/{id}", "page": "GET /services, page of 20",
             "own": "GET /bookings, one's own, page of 20",
        "post": "POST /bookings, a free slot"}  # fmt: skip
WARM_UP_SECONDS = 1  # seconds


@dataclass(frozen=True)
class Measurement:
    """One measurement: what came back, and what a request cost in microseconds of CPU."""

    load: LoadResult
    server: float
    postgres: float

    @property
    def total(self) -> float:
        """What a request cost in all."""
        return self.server + self.postgres


RunLoad = Callable[[float, int], LoadResult]  # seconds, and the number of the turn


@dataclass
class BenchmarkCase:
    """A contestant in a row: how it is asked, whose work counts, which bookings are taken back, and what came of it."""

    scenario: str
    system: str
    run_load: RunLoad
    meter: CpuMeter
    cleanup_url: str = ""
    measurements: list[Measurement] = field(default_factory=list)

    def measure_once(self, turn: int, seconds: float) -> Measurement:
        """Measure once."""
        before = fetch_latest_booking_id(self.cleanup_url) if self.cleanup_url else 0
        spent = self.meter.read()
        load = self.run_load(seconds, turn)
        cost = self.meter.read() - spent
        if self.cleanup_url:
            delete_bookings(self.cleanup_url, before)
        each = max(1, load.requests) * 1000
        return Measurement(load, cost.server / each, cost.postgres / each)


@dataclass(frozen=True)
class MedianResult:
    """The median of a contestant's figures in a row, each by itself, and the slowest and fastest rate."""

    rate: float
    slowest: float
    fastest: float
    server: float
    postgres: float
    total: float
    p50: float
    p99: float
    success_rate: float


def take_median(measurements: list[Measurement]) -> MedianResult:
    def of(value: Callable[[Measurement], float]) -> float:
        return median(map(value, measurements))

    rates = [figure.load.rate for figure in measurements]
    return MedianResult(
        median(rates), min(rates), max(rates), of(lambda f: f.server), of(lambda f: f.postgres), of(lambda f: f.total),
        of(lambda f: f.load.p50), of(lambda f: f.load.p99), min(figure.load.success_rate for figure in measurements),
    )  # fmt: skip


def run_rounds(cases: list[BenchmarkCase], rounds: int, seconds: float) -> dict[tuple[str, str], MedianResult]:
    """Have every entry take its turn in every round, once unmeasured, and give the medians."""
    turns = defaultdict[str, int](int)
    for number in range(rounds + 1):
        for entry in cases:
            turns[entry.scenario] += 1
            figure = entry.measure_once(turns[entry.scenario], seconds if number else WARM_UP_SECONDS)
            if number:
                entry.measurements.append(figure)
                print_progress(
                    f"  round {number} of {rounds}, {SCENARIOS[entry.scenario]}:"
                    f" {entry.system} {format_measurement(figure)}"
                )
    return {(entry.scenario, entry.system): take_median(entry.measurements) for entry in cases}


def format_measurement(measurement: Measurement) -> str:
    kept = "" if measurement.load.success_rate > 0.999 else f", {measurement.load.success_rate:.1%} kept"
    return f"{measurement.load.rate:,.0f}/s, {measurement.server:.0f} + {measurement.postgres:.0f} µs{kept}"


PATHS = {"page": "/services", "own": "/bookings"}


def record_scenarios(data: BenchmarkData, scenarios: Iterable[str]) -> dict[str, str]:
    """Keep what BookIt answers in each row, for the plain routes, and give what it asks of PostgreSQL, for pgbench."""
    scripts = {}
    for row in scenarios:
        if row == "post":
            answered, scripts[row] = record_booking(data)
        else:
            answered = anyio.run(recorded_sql.record_request, data, recorded_sql.make_get(list_paths(data, row)[0]))
            scripts[row] = recorded_sql.build_pgbench_script(answered.statements)
        (data.folder / f"{row}.json").write_bytes(answered.body)
    return scripts


def record_booking(data: BenchmarkData) -> tuple[recorded_sql.RecordedResponse, str]:
    start = data.get_first_start(0)
    before = fetch_latest_booking_id(data.url)
    answered = anyio.run(recorded_sql.record_request, data, recorded_sql.make_booking_request(data, start))
    delete_bookings(data.url, before)
    varying = {
        start + timedelta(minutes=STEP_MINUTES): "to_timestamp(:at)",  # asked twice, so it was the day's second slot
        data.resource_ids[0]: ":resource::bigint",
        data.service_ids[0]: ":service::bigint",
    }
    return answered, recorded_sql.build_pgbench_script(answered.statements, varying, recorded_sql.PGBENCH_COUNTERS)


def list_paths(data: BenchmarkData, scenario: str) -> list[str]:
    return (
        [PATHS[scenario]]
        if scenario in PATHS
        else [f"/services/{number}" for number in (*data.service_ids, data.day_service_id)]
    )


def build_cases(data: BenchmarkData, servers: Mapping[str, Server], scripts: Mapping[str, str]) -> list[BenchmarkCase]:
    """Give who takes part in these rows."""
    found = list[BenchmarkCase]()
    for row, script in scripts.items():
        found += (
            build_post_cases(data, servers, script) if row == "post" else build_get_cases(data, servers, row, script)
        )
    return found


def build_get_cases(
    data: BenchmarkData, servers: Mapping[str, Server], scenario: str, script: str
) -> Iterator[BenchmarkCase]:
    yield BenchmarkCase(scenario, PGBENCH, make_pgbench_load(data, script), CpuMeter(data.postmaster))
    for name, server in servers.items():
        if name != EMPTY or scenario == "one":
            tokens = data.baseline_tokens if name == BASELINE else data.tokens
            of_row = tokens if scenario == "own" else []
            yield BenchmarkCase(
                scenario, name, make_get_load(server.url, of_row, list_paths(data, scenario)), server.meter
            )


def make_pgbench_load(data: BenchmarkData, script: str) -> RunLoad:
    return lambda seconds, _: run_pgbench(data.url, script, data.folder, seconds=seconds)


def make_get_load(address: str, tokens: Sequence[str], paths: Sequence[str]) -> RunLoad:
    return lambda seconds, _: run_wrk(address, *paths, tokens=tokens, seconds=seconds)


def build_post_cases(data: BenchmarkData, servers: Mapping[str, Server], script: str) -> Iterator[BenchmarkCase]:
    yield BenchmarkCase("post", PGBENCH, make_pgbench_booking_load(data, script), CpuMeter(data.postmaster), data.url)
    for name, server in servers.items():
        if name != EMPTY:
            is_baseline = name == BASELINE
            swept = "" if name == PLAIN else data.baseline_url if is_baseline else data.url
            yield BenchmarkCase(
                "post", name, make_booking_load(data, server, is_baseline=is_baseline), server.meter, swept
            )


def make_pgbench_booking_load(data: BenchmarkData, script: str) -> RunLoad:
    """Book through pgbench; what was refused shows in how many bookings there are."""

    def measure(seconds: float, turn: int) -> LoadResult:
        places = {"first_resource": data.resource_ids[0], "first_service": data.service_ids[0]}
        before = count_bookings(data.url)
        first = recorded_sql.to_epoch(data.get_first_start(turn))
        load = run_pgbench(data.url, script, data.folder, seconds=seconds, first=first, **places)
        return replace(load, refused=load.requests - (count_bookings(data.url) - before))

    return measure


def make_booking_load(data: BenchmarkData, server: Server, *, is_baseline: bool) -> RunLoad:
    tokens = data.baseline_tokens if is_baseline else data.tokens
    places = (
        (data.baseline_service_ids[0], 1, 0, RESOURCE_COUNT)
        if is_baseline
        else (data.service_ids[0], RESOURCES_PER_SERVICE, data.resource_ids[0], RESOURCE_COUNT)
    )

    def measure(seconds: float, turn: int) -> LoadResult:
        days = (STARTS_PER_DAY, STEP_MINUTES, recorded_sql.to_epoch(data.get_first_start(turn)))
        return run_wrk(server.url, "/bookings", tokens=tokens, seconds=seconds, post=(*places, *days))

    return measure
