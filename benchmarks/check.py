"""Says which of the main paths cost a fifth more CPU a request than was kept in ``baseline.json``, and then fails.

    make bench-check [ARGS="--rounds 7"]     compares
    make bench-check ARGS=--keep             keeps what is measured now, to be committed with what made it so

What other machines measured is brought to this one by a yardstick of the same run; see ``side_by_side/guard.py``.
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
REFERENCE = "yardstick"


def measure_costs(data: BenchmarkData, rounds: int, seconds: float) -> Costs:
    """Measure BookIt's main paths and the yardstick in turn."""
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
        fixed = running.pop(REFERENCE)
        found = [BenchmarkCase("one", REFERENCE, comparison.make_get_load(fixed.url, [], ["/"]), fixed.meter)]
        found += [entry for entry in comparison.build_cases(data, running, scripts) if entry.system == BOOKIT]
        comparison.run_rounds(found, rounds, seconds)
    return take_least_costs(found)


def take_least_costs(cases: Iterable[BenchmarkCase]) -> Costs:
    """Give the least that each cost in any round: what else the machine did in the others only adds to it."""
    least = {
        (entry.scenario, entry.system): {
            part: min(getattr(figure, part) for figure in entry.measurements) for part in PARTS
        }
        for entry in cases
    }
    return Costs(least.pop(("one", REFERENCE)), {row: cost for (row, _), cost in least.items()})


def format_comparison(comparison: Comparison) -> str:
    """Say it in a line."""
    word = "  GREW" if comparison.has_grown else ""
    name = f"{SCENARIOS[comparison.path]}, {comparison.part}"
    return f"{name:<55}{comparison.now:8.0f} µs {comparison.expected:8.0f} expected {comparison.growth:+8.0%}{word}"


@click.command(help=__doc__.partition("\n")[0])
@click.option("--rounds", default=10, show_default=True, type=click.IntRange(1, 100))
@click.option("--seconds", default=1.0, show_default=True, help="Of load to a measurement.")
@click.option("--keep", is_flag=True, help="Keep what is measured as what later runs are compared with.")
def main(rounds: int, seconds: float, *, keep: bool) -> None:
    install_signal_handlers(1)
    require_wrk()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with tempfile.TemporaryDirectory(prefix="bookit-bench-") as place, open_data(Path(place), BOOKINGS) as stage:
        now = measure_costs(stage, rounds, seconds)
    if keep:
        BASELINE_FILE.write_text(json.dumps(now.as_dict, indent=2) + "\n", encoding="utf-8")
        print_progress(f"Kept in {BASELINE_FILE}")
        return
    found = list(compare(now, Costs.from_dict(json.loads(BASELINE_FILE.read_text("utf-8")))))
    click.echo("\n".join(map(format_comparison, found)))
    grown = sorted({SCENARIOS[each.path] for each in found if each.has_grown})
    if grown:
        raise click.ClickException(f"More than a fifth dearer than {BASELINE_FILE.name} has it: {'; '.join(grown)}.")
    click.echo("No path costs a fifth more than was kept.")


if __name__ == "__main__":
    main()
