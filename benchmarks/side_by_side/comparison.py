"""The comparison: each scenario is measured on each system, in turn, round after round."""

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
SCENARIOS = {
    "one": "GET /services/{id}",
    "page": "GET /services, page of 20",
    "own": "GET /bookings, own bookings, page of 20",
    "post": "POST /bookings, a free slot",
}
WARM_UP_SECONDS = 1


@dataclass(frozen=True)
class Measurement:
    """One measurement: the load, and the CPU microseconds of a request in the server and in PostgreSQL."""

    load: LoadResult
    server: float
    postgres: float

    @property
    def total(self) -> float:
        """The CPU microseconds of a request in total."""
        return self.server + self.postgres


RunLoad = Callable[[float, int], LoadResult]  # seconds, and the number of the turn


@dataclass
class BenchmarkCase:
    """One system in one scenario: how to load it, whose CPU counts, and where to delete the bookings that it made."""

    scenario: str
    system: str
    run_load: RunLoad
    meter: CpuMeter
    cleanup_url: str = ""
    measurements: list[Measurement] = field(default_factory=list)

    def measure_once(self, turn: int, seconds: float) -> Measurement:
        """Run the load once, then delete the bookings that it made."""
        latest_id = fetch_latest_booking_id(self.cleanup_url) if self.cleanup_url else 0
        before = self.meter.read()
        load = self.run_load(seconds, turn)
        cost = self.meter.read() - before
        if self.cleanup_url:
            delete_bookings(self.cleanup_url, latest_id)
        divisor = max(1, load.requests) * 1000  # nanoseconds of all requests to microseconds of one
        return Measurement(load, cost.server / divisor, cost.postgres / divisor)


@dataclass(frozen=True)
class MedianResult:
    """The median of each figure of a system in a scenario, and its slowest and fastest rate."""

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

    rates = [measurement.load.rate for measurement in measurements]
    return MedianResult(
        median(rates), min(rates), max(rates), of(lambda m: m.server), of(lambda m: m.postgres), of(lambda m: m.total),
        of(lambda m: m.load.p50), of(lambda m: m.load.p99), min(m.load.success_rate for m in measurements),
    )  # fmt: skip


def run_rounds(cases: list[BenchmarkCase], rounds: int, seconds: float) -> dict[tuple[str, str], MedianResult]:
    """Measure every case in every round and return the medians. A first round warms up and is not counted."""
    turns = defaultdict[str, int](int)
    for number in range(rounds + 1):
        for case in cases:
            turns[case.scenario] += 1
            measurement = case.measure_once(turns[case.scenario], seconds if number else WARM_UP_SECONDS)
            if number:
                case.measurements.append(measurement)
                print_progress(
                    f"  round {number} of {rounds}, {SCENARIOS[case.scenario]}:"
                    f" {case.system} {format_measurement(measurement)}"
                )
    return {(case.scenario, case.system): take_median(case.measurements) for case in cases}


def format_measurement(measurement: Measurement) -> str:
    share = "" if measurement.load.success_rate > 0.999 else f", {measurement.load.success_rate:.1%} succeeded"
    return f"{measurement.load.rate:,.0f}/s, {measurement.server:.0f} + {measurement.postgres:.0f} µs{share}"


PATHS = {"page": "/services", "own": "/bookings"}


def record_scenarios(data: BenchmarkData, scenarios: Iterable[str]) -> dict[str, str]:
    """Record BookIt's response and its SQL in each scenario.

    Write the body of the response to a file, for the plain Starlette routes. Return the SQL as scripts for pgbench.
    """
    scripts = {}
    for scenario in scenarios:
        if scenario == "post":
            response, scripts[scenario] = record_booking(data)
        else:
            request = recorded_sql.make_get(list_paths(data, scenario)[0])
            response = anyio.run(recorded_sql.record_request, data, request)
            scripts[scenario] = recorded_sql.build_pgbench_script(response.statements)
        (data.folder / f"{scenario}.json").write_bytes(response.body)
    return scripts


def record_booking(data: BenchmarkData) -> tuple[recorded_sql.RecordedResponse, str]:
    start = data.get_first_start(0)
    latest_id = fetch_latest_booking_id(data.url)
    response = anyio.run(recorded_sql.record_request, data, recorded_sql.make_booking_request(data, start))
    delete_bookings(data.url, latest_id)
    variables = {
        start
        + timedelta(
            minutes=STEP_MINUTES
        ): "to_timestamp(:at)",  # the request is sent twice, so this is the second slot of the day
        data.resource_ids[0]: ":resource::bigint",
        data.service_ids[0]: ":service::bigint",
        data.users[0].id: ":customer::bigint",
    }
    return response, recorded_sql.build_pgbench_script(response.statements, variables, recorded_sql.PGBENCH_COUNTERS)


def list_paths(data: BenchmarkData, scenario: str) -> list[str]:
    if scenario in PATHS:
        return [PATHS[scenario]]
    return [f"/services/{service_id}" for service_id in (*data.service_ids, data.day_service_id)]


def build_cases(data: BenchmarkData, servers: Mapping[str, Server], scripts: Mapping[str, str]) -> list[BenchmarkCase]:
    """Return the cases of these scenarios: pgbench and each server that can serve them."""
    cases = list[BenchmarkCase]()
    for scenario, script in scripts.items():
        if scenario == "post":
            cases += build_post_cases(data, servers, script)
        else:
            cases += build_get_cases(data, servers, scenario, script)
    return cases


def build_get_cases(
    data: BenchmarkData, servers: Mapping[str, Server], scenario: str, script: str
) -> Iterator[BenchmarkCase]:
    yield BenchmarkCase(scenario, PGBENCH, make_pgbench_load(data, script), CpuMeter(data.postmaster))
    for name, server in servers.items():
        if name != EMPTY or scenario == "one":
            customers = data.baseline_tokens if name == BASELINE else data.tokens
            tokens = customers if scenario == "own" else []
            load = make_get_load(server.url, tokens, list_paths(data, scenario))
            yield BenchmarkCase(scenario, name, load, server.meter)


def make_pgbench_load(data: BenchmarkData, script: str) -> RunLoad:
    return lambda seconds, _: run_pgbench(data.url, script, data.folder, seconds=seconds)


def make_get_load(url: str, tokens: Sequence[str], paths: Sequence[str]) -> RunLoad:
    return lambda seconds, _: run_wrk(url, *paths, tokens=tokens, seconds=seconds)


def build_post_cases(data: BenchmarkData, servers: Mapping[str, Server], script: str) -> Iterator[BenchmarkCase]:
    yield BenchmarkCase("post", PGBENCH, make_pgbench_booking_load(data, script), CpuMeter(data.postmaster), data.url)
    for name, server in servers.items():
        if name != EMPTY:
            is_baseline = name == BASELINE
            cleanup_url = "" if name == PLAIN else data.baseline_url if is_baseline else data.url
            load = make_booking_load(data, server, is_baseline=is_baseline)
            yield BenchmarkCase("post", name, load, server.meter, cleanup_url)


def make_pgbench_booking_load(data: BenchmarkData, script: str) -> RunLoad:
    """Book through pgbench. The number of new bookings shows how many were refused."""

    def measure(seconds: float, turn: int) -> LoadResult:
        first_ids = {
            "first_resource": data.resource_ids[0],
            "first_service": data.service_ids[0],
            "first_customer": data.users[0].id,
        }
        count = count_bookings(data.url)
        first = recorded_sql.to_epoch(data.get_first_start(turn))
        load = run_pgbench(data.url, script, data.folder, seconds=seconds, first=first, **first_ids)
        return replace(load, refused=load.requests - (count_bookings(data.url) - count))

    return measure


def make_booking_load(data: BenchmarkData, server: Server, *, is_baseline: bool) -> RunLoad:
    tokens = data.get_booking_tokens(is_baseline=is_baseline)
    ids = (
        (data.baseline_service_ids[0], 1, 0, RESOURCE_COUNT)
        if is_baseline
        else (data.service_ids[0], RESOURCES_PER_SERVICE, data.resource_ids[0], RESOURCE_COUNT)
    )

    def measure(seconds: float, turn: int) -> LoadResult:
        days = (STARTS_PER_DAY, STEP_MINUTES, recorded_sql.to_epoch(data.get_first_start(turn)))
        return run_wrk(server.url, "/bookings", tokens=tokens, seconds=seconds, post=(*ids, *days))

    return measure
