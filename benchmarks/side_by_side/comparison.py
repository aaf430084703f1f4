"""The contest: each row of the table asked of each contestant, in turn, round after round."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from statistics import median

import anyio
from fill_database import tell

from side_by_side import recorded_sql
from side_by_side.cpu_time import Meter
from side_by_side.load import Load, pgbench, wrk
from side_by_side.servers import Server
from side_by_side.test_data import EACH, LANES, STARTS, STEP, Stage, count, newest, sweep

EMPTY, PLAIN, PGBENCH = "empty loop", "plain Starlette", "pgbench, the same SQL"
BASELINE, BOOKIT, TWO = "FastAPI + ORM", "BookIt", "BookIt, 2 workers"
CONTESTANTS = (EMPTY, PLAIN, PGBENCH, BASELINE, BOOKIT, TWO)
ROWS = {"one": "GET /services/{id}", "page": "GET /services, page of 20", "own": "GET /bookings, one's own, page of 20",
        "post": "POST /bookings, a free slot"}  # fmt: skip
WARM_UP = 1  # seconds


@dataclass(frozen=True)
class Figure:
    """One measurement: what came back, and what a request cost in microseconds of CPU."""

    load: Load
    server: float
    postgres: float

    @property
    def whole(self) -> float:
        """What a request cost in all."""
        return self.server + self.postgres


Measure = Callable[[float, int], Load]  # seconds, and the number of the turn


@dataclass
class Entry:
    """A contestant in a row: how it is asked, whose work counts, which bookings are taken back, and what came of it."""

    row: str
    name: str
    measure: Measure
    meter: Meter
    swept: str = ""
    figures: list[Figure] = field(default_factory=list)

    def take_turn(self, turn: int, seconds: float) -> Figure:
        """Measure once."""
        before = newest(self.swept) if self.swept else 0
        spent = self.meter.read()
        load = self.measure(seconds, turn)
        cost = self.meter.read() - spent
        if self.swept:
            sweep(self.swept, before)
        each = max(1, load.requests) * 1000
        return Figure(load, cost.server / each, cost.postgres / each)


@dataclass(frozen=True)
class Middle:
    """The median of a contestant's figures in a row, each by itself, and the slowest and fastest rate."""

    rate: float
    slowest: float
    fastest: float
    server: float
    postgres: float
    whole: float
    p50: float
    p99: float
    kept: float


def middle(figures: list[Figure]) -> Middle:
    def of(value: Callable[[Figure], float]) -> float:
        return median(map(value, figures))

    rates = [figure.load.rate for figure in figures]
    return Middle(
        median(rates), min(rates), max(rates), of(lambda f: f.server), of(lambda f: f.postgres), of(lambda f: f.whole),
        of(lambda f: f.load.p50), of(lambda f: f.load.p99), min(figure.load.kept for figure in figures),
    )  # fmt: skip


def hold(entries: list[Entry], rounds: int, seconds: float) -> dict[tuple[str, str], Middle]:
    """Have every entry take its turn in every round, once unmeasured, and give the medians."""
    turns = defaultdict[str, int](int)
    for number in range(rounds + 1):
        for entry in entries:
            turns[entry.row] += 1
            figure = entry.take_turn(turns[entry.row], seconds if number else WARM_UP)
            if number:
                entry.figures.append(figure)
                tell(f"  round {number} of {rounds}, {ROWS[entry.row]}: {entry.name} {spoken(figure)}")
    return {(entry.row, entry.name): middle(entry.figures) for entry in entries}


def spoken(figure: Figure) -> str:
    kept = "" if figure.load.kept > 0.999 else f", {figure.load.kept:.1%} kept"
    return f"{figure.load.rate:,.0f}/s, {figure.server:.0f} + {figure.postgres:.0f} µs{kept}"


PATHS = {"page": "/services", "own": "/bookings"}


def listen(stage: Stage, rows: Iterable[str]) -> dict[str, str]:
    """Keep what BookIt answers in each row, for the plain routes, and give what it asks of PostgreSQL, for pgbench."""
    scripts = {}
    for row in rows:
        if row == "post":
            answered, scripts[row] = heard_of_booking(stage)
        else:
            answered = anyio.run(recorded_sql.hear, stage, recorded_sql.asking(paths_of(stage, row)[0]))
            scripts[row] = recorded_sql.script(answered.statements)
        (stage.folder / f"{row}.json").write_bytes(answered.body)
    return scripts


def heard_of_booking(stage: Stage) -> tuple[recorded_sql.Answered, str]:
    start = stage.first_start(0)
    before = newest(stage.url)
    answered = anyio.run(recorded_sql.hear, stage, recorded_sql.booking(stage, start))
    sweep(stage.url, before)
    varying = {
        start + timedelta(minutes=STEP): "to_timestamp(:at)",  # asked twice, so it was the day's second slot
        stage.resources[0]: ":resource::bigint",
        stage.services[0]: ":service::bigint",
    }
    return answered, recorded_sql.script(answered.statements, varying, recorded_sql.COUNTING)


def paths_of(stage: Stage, row: str) -> list[str]:
    return [PATHS[row]] if row in PATHS else [f"/services/{number}" for number in (*stage.services, stage.day_service)]


def entries(stage: Stage, servers: Mapping[str, Server], scripts: Mapping[str, str]) -> list[Entry]:
    """Give who takes part in these rows."""
    found = list[Entry]()
    for row, script in scripts.items():
        found += posts(stage, servers, script) if row == "post" else gets(stage, servers, row, script)
    return found


def gets(stage: Stage, servers: Mapping[str, Server], row: str, script: str) -> Iterator[Entry]:
    yield Entry(row, PGBENCH, prepared(stage, script), Meter(stage.postmaster))
    for name, server in servers.items():
        if name != EMPTY or row == "one":
            tokens = stage.baseline_tokens if name == BASELINE else stage.tokens
            of_row = tokens if row == "own" else []
            yield Entry(row, name, fetched(server.address, of_row, paths_of(stage, row)), server.meter)


def prepared(stage: Stage, script: str) -> Measure:
    return lambda seconds, _: pgbench(stage.url, script, stage.folder, seconds=seconds)


def fetched(address: str, tokens: Sequence[str], paths: Sequence[str]) -> Measure:
    return lambda seconds, _: wrk(address, *paths, tokens=tokens, seconds=seconds)


def posts(stage: Stage, servers: Mapping[str, Server], script: str) -> Iterator[Entry]:
    yield Entry("post", PGBENCH, booked_in_sql(stage, script), Meter(stage.postmaster), stage.url)
    for name, server in servers.items():
        if name != EMPTY:
            is_baseline = name == BASELINE
            swept = "" if name == PLAIN else stage.baseline_url if is_baseline else stage.url
            yield Entry("post", name, booked(stage, server, is_baseline=is_baseline), server.meter, swept)


def booked_in_sql(stage: Stage, script: str) -> Measure:
    """Book through pgbench; what was refused shows in how many bookings there are."""

    def measure(seconds: float, turn: int) -> Load:
        places = {"first_resource": stage.resources[0], "first_service": stage.services[0]}
        before = count(stage.url)
        first = recorded_sql.seconds(stage.first_start(turn))
        load = pgbench(stage.url, script, stage.folder, seconds=seconds, first=first, **places)
        return replace(load, refused=load.requests - (count(stage.url) - before))

    return measure


def booked(stage: Stage, server: Server, *, is_baseline: bool) -> Measure:
    tokens = stage.baseline_tokens if is_baseline else stage.tokens
    places = (stage.lanes[0], 1, 0, LANES) if is_baseline else (stage.services[0], EACH, stage.resources[0], LANES)

    def measure(seconds: float, turn: int) -> Load:
        days = (STARTS, STEP, recorded_sql.seconds(stage.first_start(turn)))
        return wrk(server.address, "/bookings", tokens=tokens, seconds=seconds, post=(*places, *days))

    return measure
