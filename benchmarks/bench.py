"""BookIt beside what limits it and beside the way most would build it: one run, one machine, one report.

    make bench [ARGS="--quick"]

Writes ``RESULTS.md`` and ``RESULTS.svg`` beside this file. Everything is measured in turn, round after round, so that
whatever else the machine does falls on all alike. Progress is on standard error.
"""

import logging
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import click
import structlog
from fill_database import tell
from side_by_side import comparison, contention, long_run, servers
from side_by_side.comparison import BASELINE, BOOKIT, EMPTY, PLAIN, ROWS, TWO
from side_by_side.load import require_wrk
from side_by_side.plot import drawing
from side_by_side.report import Found, report
from side_by_side.scaling import growth
from side_by_side.test_data import Stage, staged

from server.process import install_signal_handlers

BOOKINGS = 10_000
PARTS = (*ROWS, "crowds", "waits", "memory", "start", "growth")
COMMANDS = {
    EMPTY: servers.uvicorn("side_by_side.reference_servers:empty"),
    PLAIN: servers.uvicorn("side_by_side.reference_servers:app"),
    BASELINE: servers.uvicorn("baseline.app:app"),
    BOOKIT: servers.bookit(),
    TWO: servers.bookit(2),
}
NOT_GROWN = "Not measured in a quick run."


def opened(stage: Stage, stack: ExitStack) -> dict[str, servers.Server]:
    """Start every server."""
    tell("Starting the servers")
    return {
        name: stack.enter_context(servers.serving(name, command, stage.folder, stage.told, postmaster=stage.postmaster))
        for name, command in COMMANDS.items()
    }


def side_by_side(found: Found, stage: Stage, parts: set[str], *, is_quick: bool) -> None:
    """Measure whatever needs the servers."""
    rounds, seconds = found.rounds, found.seconds
    rows = [row for row in ROWS if row in parts]
    scripts = comparison.listen(stage, rows)
    with ExitStack() as stack:
        running = opened(stage, stack)
        if rows:
            found.middles = comparison.hold(comparison.entries(stage, running, scripts), rounds, seconds)
        if "crowds" in parts:
            times = 10 if is_quick else 100
            found.crowds = contention.gather(stage, running[BOOKIT], running[BASELINE], rounds=times)
        if "waits" in parts:
            found.waits = long_run.waits(stage, running[BOOKIT], rounds=rounds, seconds=min(2, seconds))
    if "memory" in parts:
        found.memory = long_run.grow(stage, most=1_000 if is_quick else 100_000)


def measure(found: Found, parts: set[str], million: Path | None, *, is_quick: bool) -> None:
    """Measure these parts."""
    with tempfile.TemporaryDirectory(prefix="bookit-bench-") as place:
        folder = Path(place)
        if parts - {"start", "growth"}:
            with staged(folder / "stage", BOOKINGS // 10 if is_quick else BOOKINGS) as stage:
                side_by_side(found, stage, parts, is_quick=is_quick)
        if "start" in parts:
            tell("Starting BookIt anew")
            found.starts = long_run.cold_starts(folder, 1 if is_quick else 5)
            found.imports = long_run.imports()
        if "growth" in parts and is_quick and not million:
            found.why_no_growth = NOT_GROWN
        elif "growth" in parts:
            tell("Growing to a million bookings")
            found.grown = growth(million or folder / "million", rounds=found.rounds * 2)


@click.command(help=__doc__.partition("\n")[0])
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1, 100))
@click.option("--seconds", default=2.0, show_default=True, help="Of load to a measurement.")
@click.option("--only", multiple=True, type=click.Choice(PARTS), help="Measure this part; may be given more than once.")
@click.option("--quick", is_flag=True, help="One short round of everything, to see whether it works.")
@click.option("--million", type=click.Path(path_type=Path), help="Where there is a million bookings, or is to be.")
@click.option("--into", type=click.Path(path_type=Path), default=Path(__file__).parent, help="Where the report goes.")
def main(rounds: int, seconds: float, only: tuple[str, ...], million: Path | None, into: Path, *, quick: bool) -> None:
    install_signal_handlers(1)
    require_wrk()
    into.mkdir(parents=True, exist_ok=True)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    found = Found(1 if quick else rounds, 1 if quick else seconds)
    measure(found, set(only or PARTS), million, is_quick=quick)
    words = report(found, "RESULTS.svg")
    if found.middles:
        (into / "RESULTS.svg").write_text(drawing(found.middles), encoding="utf-8")
    (into / "RESULTS.md").write_text(words, encoding="utf-8")
    click.echo(words.partition("\n## How")[0])
    tell(f"Written to {into / 'RESULTS.md'}")


if __name__ == "__main__":
    main()
