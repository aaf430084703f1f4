"""How `make bench` parses the output of its tools and what it concludes. The tests do not run the benchmarks."""

import json
import sys

import click
import pytest

from tests.support.server import ROOT

sys.path.append(str(ROOT / "benchmarks"))

from side_by_side import clients, recorded_sql, targets
from side_by_side.comparison import BASELINE, BOOKIT, PGBENCH, PLAIN, SCENARIOS, Measurement, take_median
from side_by_side.load import LoadResult, parse_pgbench, parse_wrk
from side_by_side.regression import Costs, compare
from side_by_side.report import format_verdicts

FROM_WRK = """\
Running 2s test @ http://127.0.0.1:36321/bookings
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency    20.44ms    7.19ms  52.80ms   70.24%
    Req/Sec   790.15    123.01     1.02k    60.00%
  3152 requests in 2.00s, 1.91MB read
  Non-2xx or 3xx responses: 16
Requests/sec:   1573.61
Transfer/sec:      0.95MB
measured {"requests":3152,"duration":2003035,"refused":16,"lost":0,"p50":19470,"p99":39470,"worst":52803}
"""
FROM_PGBENCH = """\
pgbench (18.6)
transaction type: /tmp/script.sql
scaling factor: 1
query mode: prepared
number of clients: 16
number of threads: 1
maximum number of tries: 1
duration: 2 s
number of transactions actually processed: 20491
number of failed transactions: 0 (0.000%)
latency average = 1.560 ms
initial connection time = 23.951 ms
tps = 10255.101330 (without initial connection time)
"""
BASELINE_COSTS = Costs({"server": 30, "postgres": 50}, {"one": {"server": 90, "postgres": 10}})


def test_the_output_of_wrk_is_parsed() -> None:
    load = parse_wrk(FROM_WRK)

    assert load == LoadResult(3152, 2.003035, refused=16, p50=19.47, p99=39.47, worst=52.803)
    assert (round(load.rate), round(load.success_rate, 4)) == (1574, 0.9949)


def test_the_output_of_pgbench_is_parsed() -> None:
    load = parse_pgbench(FROM_PGBENCH)

    assert (load.requests, load.p50, round(load.rate, 3), load.success_rate) == (20491, 1.56, 10255.101, 1)


def test_other_output_is_refused() -> None:
    for read in (parse_wrk, parse_pgbench):
        with pytest.raises(click.ClickException, match="unable to connect"):
            read("unable to connect")


def test_the_median_is_taken_for_each_figure() -> None:
    rounds = [
        Measurement(LoadResult(count, 1, refused), cost, 2)
        for count, refused, cost in ((90, 0, 9), (30, 3, 5), (60, 0, 7))
    ]

    median = take_median(rounds)

    assert (median.rate, median.slowest, median.fastest, median.total, median.success_rate) == (60, 30, 90, 9, 0.9)


def measured(rate: int, cost: float) -> Measurement:
    return Measurement(LoadResult(rate, 1), cost, 0)


def test_ratios_compare_requests_per_second_and_cpu() -> None:
    medians = {
        ("one", PLAIN): take_median([measured(1000, 50)]),
        ("one", PGBENCH): take_median([measured(4000, 20)]),
        ("one", BASELINE): take_median([measured(45, 900)]),
        ("one", BOOKIT): take_median([measured(450, 100)]),
    }

    assert targets.compare_to(medians, "one", PLAIN) == (0.45, 0.5)
    assert targets.compare_to(medians, "page", PLAIN) is None
    assert [(v.measured, v.is_met) for v in targets.judge_comparison(medians)] == [
        ("0.45", True),
        ("0.50", True),
        ("10.00", True),
        ("9.00", False),
    ]


def test_the_report_counts_the_targets_met() -> None:
    verdicts = [targets.Verdict("starting", "≤ 1.5 s", "1.2 s", True), targets.Verdict("waiting", "0", "3", False)]

    assert list(format_verdicts(verdicts)) == [
        "## Targets: 1 of 2 met",
        "",
        "| what | target | measured |  |",
        "|---|---|---|---|",
        "| starting | ≤ 1.5 s | 1.2 s | pass |",
        "| waiting | 0 | 3 | **miss** |",
        "",
    ]


@pytest.mark.parametrize(
    ("server", "postgres", "grown"),
    [
        (90, 10, set()),
        (105, 10, set()),
        (109, 10, {"server"}),
        (115, 10, {"whole", "server"}),
        (90, 19, set()),
        (90, 25, {"postgres"}),
        (50, 10, set()),
    ],
    ids=["as stored", "a little", "in Python", "in all", "a tenth of the whole", "in PostgreSQL", "less"],
)
def test_the_regression_check_names_what_grew(server: float, postgres: float, grown: set[str]) -> None:
    now = Costs(BASELINE_COSTS.reference, {"one": {"server": server, "postgres": postgres}})

    assert {change.part for change in compare(now, BASELINE_COSTS) if change.has_grown} == grown


def test_the_regression_check_allows_for_a_slower_machine() -> None:
    now = Costs({"server": 60, "postgres": 50}, {"one": {"server": 180, "postgres": 10}})

    assert not any(change.has_grown for change in compare(now, BASELINE_COSTS))


def test_a_stored_baseline_can_be_loaded() -> None:
    assert Costs.from_dict(json.loads(json.dumps(BASELINE_COSTS.as_dict))) == BASELINE_COSTS


def test_the_committed_baseline_has_every_scenario() -> None:
    committed = Costs.from_dict(json.loads((ROOT / "benchmarks/baseline.json").read_text("utf-8")))

    assert committed.paths.keys() == SCENARIOS.keys()


def test_recorded_sql_becomes_a_pgbench_script() -> None:
    statements = [
        recorded_sql.RecordedStatement("BEGIN; SET LOCAL bookit.door = 'api'", ()),
        recorded_sql.RecordedStatement("SELECT 5 % $1, $2::text, $1", (7, "O'Neil")),
        recorded_sql.RecordedStatement("COMMIT", ()),
    ]

    assert recorded_sql.build_pgbench_script(statements, {7: ":i"}).split("\n") == [
        "",
        "\\startpipeline",
        "BEGIN;",
        "SET LOCAL bookit.door = 'api';",
        "\\endpipeline",
        "SELECT 5 % :i, 'O''Neil'::text, :i;",
        "COMMIT;",
        "",
    ]


def test_a_percentile_is_an_observed_value() -> None:
    assert [clients.percentile([3, 1, 2, 4], percent) for percent in (50, 75, 99, 100)] == [2, 3, 4, 4]
