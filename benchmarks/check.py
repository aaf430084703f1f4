"""Fail if a request of a main path costs a fifth more CPU than in ``baseline.json``.

    make bench-check [ARGS="--rounds 7"]     compares with the baseline
    make bench-check ARGS=--save             saves a new baseline; commit it with the change that caused it

A reference request in the same run scales the baseline to this machine; see ``side_by_side/regression.py``.
"""

import json
import logging
import sys
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import click
import structlog
from fill_database import print_progress
from side_by_side import comparison, servers
from side_by_side.comparison import BOOKIT, SCENARIOS, BenchmarkCase
from side_by_side.load import require_wrk
from side_by_side.regression import PARTS, Comparison, Costs, compare
from side_by_side.test_data import BenchmarkData, open_data

from server.process import install_signal_handlers

BASELINE_FILE = Path(__file__).with_name("baseline.json")
BOOKINGS = 1_000
REFERENCE = "reference request"


def measure_costs(data: BenchmarkData, rounds: int, seconds: float) -> Costs:
    """Measure BookIt's main paths and the reference request in turn."""
    scripts = comparison.record_scenarios(data, SCENARIOS)
    commands = {
        REFERENCE: servers.build_uvicorn_command("side_by_side.reference_app:app"),
        BOOKIT: servers.build_bookit_command(),
    }
    with ExitStack() as stack:
        running = {
            name: stack.enter_context(
                servers.run_server(name, command, data.folder, data.env_vars, postmaster=data.postmaster)
            )
            for name, command in commands.items()
        }
        reference = running.pop(REFERENCE)
        load = comparison.make_get_load(reference.url, [], ["/"])
        cases = [BenchmarkCase("one", REFERENCE, load, reference.meter)]
        cases += [case for case in comparison.build_cases(data, running, scripts) if case.system == BOOKIT]
        comparison.run_rounds(cases, rounds, seconds)
    return take_minimum_costs(cases)


def take_minimum_costs(cases: Iterable[BenchmarkCase]) -> Costs:
    """Return the minimum of each cost over the rounds: other load on the machine can only add to it."""
    minimum = {
        (case.scenario, case.system): {
            part: min(getattr(measurement, part) for measurement in case.measurements) for part in PARTS
        }
        for case in cases
    }
    return Costs(minimum.pop(("one", REFERENCE)), {scenario: cost for (scenario, _), cost in minimum.items()})


def format_comparison(comparison: Comparison) -> str:
    """Return a line of the report."""
    mark = "  GREW" if comparison.has_grown else ""
    name = f"{SCENARIOS[comparison.path]}, {comparison.part}"
    return f"{name:<55}{comparison.now:8.0f} µs {comparison.expected:8.0f} expected {comparison.growth:+8.0%}{mark}"


@click.command(help=__doc__.partition("\n")[0])
@click.option("--rounds", default=10, show_default=True, type=click.IntRange(1, 100))
@click.option("--seconds", default=1.0, show_default=True, help="Seconds of load per measurement.")
@click.option("--save", is_flag=True, help="Save the results as the new baseline.")
def main(rounds: int, seconds: float, *, save: bool) -> None:
    install_signal_handlers(1)
    require_wrk()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with tempfile.TemporaryDirectory(prefix="bookit-bench-") as folder, open_data(Path(folder), BOOKINGS) as data:
        now = measure_costs(data, rounds, seconds)
    if save:
        BASELINE_FILE.write_text(json.dumps(now.as_dict, indent=2) + "\n", encoding="utf-8")
        print_progress(f"Saved to {BASELINE_FILE}")
        return
    baseline = Costs.from_dict(json.loads(BASELINE_FILE.read_text("utf-8")))
    comparisons = list(compare(now, baseline))
    click.echo("\n".join(map(format_comparison, comparisons)))
    grown = sorted({SCENARIOS[comparison.path] for comparison in comparisons if comparison.has_grown})
    if grown:
        raise click.ClickException(f"These cost over a fifth more than in {BASELINE_FILE.name}: {'; '.join(grown)}.")
    click.echo(f"No path costs over a fifth more than in {BASELINE_FILE.name}.")


if __name__ == "__main__":
    main()
