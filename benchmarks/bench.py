"""Measure BookIt beside reference servers and a typical implementation, and write a report.

    make bench [ARGS="--quick"]

The report is ``RESULTS.md`` and ``RESULTS.svg`` beside this file. The systems take turns in each round, so that other
load on the machine affects all of them alike. Progress is on standard error.
"""

import logging
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import click
import structlog
from fill_database import print_progress
from side_by_side import comparison, contention, long_run, servers
from side_by_side.comparison import BASELINE, BOOKIT, BOOKIT_TWO_WORKERS, EMPTY, PLAIN, SCENARIOS
from side_by_side.load import require_wrk
from side_by_side.plot import draw_chart
from side_by_side.report import BenchmarkResults, build_report
from side_by_side.scaling import measure_scaling
from side_by_side.test_data import BenchmarkData, open_data

from server.process import install_signal_handlers

BOOKINGS = 10_000
PARTS = (*SCENARIOS, "contention", "sign-ins", "memory", "start", "scaling")
COMMANDS = {
    EMPTY: servers.build_uvicorn_command("side_by_side.reference_servers:empty"),
    PLAIN: servers.build_uvicorn_command("side_by_side.reference_servers:app"),
    BASELINE: servers.build_uvicorn_command("baseline.app:app"),
    BOOKIT: servers.build_bookit_command(),
    BOOKIT_TWO_WORKERS: servers.build_bookit_command(2),
}
NO_SCALING_REASON = "Not measured in a quick run."


def start_servers(data: BenchmarkData, stack: ExitStack) -> dict[str, servers.Server]:
    """Start every server and return them by name."""
    print_progress("Starting the servers")
    return {
        name: stack.enter_context(
            servers.run_server(name, command, data.folder, data.env_vars, postmaster=data.postmaster)
        )
        for name, command in COMMANDS.items()
    }


def measure_servers(results: BenchmarkResults, data: BenchmarkData, parts: set[str], *, is_quick: bool) -> None:
    """Measure the parts that need the servers."""
    rounds, seconds = results.rounds, results.seconds
    scenarios = [scenario for scenario in SCENARIOS if scenario in parts]
    scripts = comparison.record_scenarios(data, scenarios)
    with ExitStack() as stack:
        running = start_servers(data, stack)
        if scenarios:
            cases = comparison.build_cases(data, running, scripts)
            results.medians = comparison.run_rounds(cases, rounds, seconds)
        if "contention" in parts:
            slots = 10 if is_quick else 100
            results.contention = contention.measure_contention(data, running[BOOKIT], running[BASELINE], rounds=slots)
        if "sign-ins" in parts:
            results.sign_in_impact = long_run.measure_sign_in_impact(
                data, running[BOOKIT], rounds=rounds, seconds=min(2, seconds)
            )
    if "memory" in parts:
        results.memory = long_run.measure_memory(data, max_requests=1_000 if is_quick else 100_000)


def measure_parts(results: BenchmarkResults, parts: set[str], million: Path | None, *, is_quick: bool) -> None:
    """Measure these parts. ``million`` is the folder of the databases for "scaling", if they are kept."""
    with tempfile.TemporaryDirectory(prefix="bookit-bench-") as temporary:
        folder = Path(temporary)
        if parts - {"start", "scaling"}:
            with open_data(folder / "data", BOOKINGS // 10 if is_quick else BOOKINGS) as data:
                measure_servers(results, data, parts, is_quick=is_quick)
        if "start" in parts:
            print_progress("Measuring cold starts")
            results.cold_starts = long_run.measure_cold_starts(folder, 1 if is_quick else 5)
            results.import_times = long_run.measure_imports()
        if "scaling" in parts and is_quick and not million:
            results.no_scaling_reason = NO_SCALING_REASON
        elif "scaling" in parts:
            print_progress("Measuring ten thousand and a million bookings")
            results.scaling = measure_scaling(million or folder / "million", rounds=results.rounds * 2)


@click.command(help=__doc__.partition("\n")[0])
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1, 100))
@click.option("--seconds", default=2.0, show_default=True, help="Seconds of load per measurement.")
@click.option("--only", multiple=True, type=click.Choice(PARTS), help="Measure only this part. Can be repeated.")
@click.option("--quick", is_flag=True, help="Run one short round, to test the benchmark itself.")
@click.option(
    "--million",
    type=click.Path(path_type=Path),
    help="The folder of the databases with ten thousand and a million bookings. Created if it does not exist.",
)
@click.option(
    "--into", type=click.Path(path_type=Path), default=Path(__file__).parent, help="The folder of the report."
)
def main(rounds: int, seconds: float, only: tuple[str, ...], million: Path | None, into: Path, *, quick: bool) -> None:
    install_signal_handlers(1)
    require_wrk()
    into.mkdir(parents=True, exist_ok=True)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    results = BenchmarkResults(1 if quick else rounds, 1 if quick else seconds)
    measure_parts(results, set(only or PARTS), million, is_quick=quick)
    report = build_report(results, "RESULTS.svg")
    if results.medians:
        (into / "RESULTS.svg").write_text(draw_chart(results.medians), encoding="utf-8")
    (into / "RESULTS.md").write_text(report, encoding="utf-8")
    click.echo(report.partition("\n## How")[0])
    print_progress(f"Written to {into / 'RESULTS.md'}")


if __name__ == "__main__":
    main()
