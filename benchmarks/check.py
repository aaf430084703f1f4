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
from fill_database import tell
from side_by_side import comparison, servers
from side_by_side.comparison import BOOKIT, ROWS, Entry
from side_by_side.load import require_wrk
from side_by_side.regression import PARTS, Comparison, Costs, compare
from side_by_side.test_data import Stage, staged

from server.process import install_signal_handlers

KEPT = Path(__file__).with_name("baseline.json")
BOOKINGS = 1_000
YARDSTICK = "yardstick"


def measured(stage: Stage, rounds: int, seconds: float) -> Costs:
    """Measure BookIt's main paths and the yardstick in turn."""
    scripts = comparison.listen(stage, ROWS)
    commands = {YARDSTICK: servers.uvicorn("side_by_side.reference_app:app"), BOOKIT: servers.bookit()}
    with ExitStack() as stack:
        running = {
            name: stack.enter_context(
                servers.serving(name, command, stage.folder, stage.told, postmaster=stage.postmaster)
            )
            for name, command in commands.items()
        }
        fixed = running.pop(YARDSTICK)
        found = [Entry("one", YARDSTICK, comparison.fetched(fixed.address, [], ["/"]), fixed.meter)]
        found += [entry for entry in comparison.entries(stage, running, scripts) if entry.name == BOOKIT]
        comparison.hold(found, rounds, seconds)
    return costs(found)


def costs(found: Iterable[Entry]) -> Costs:
    """Give the least that each cost in any round: what else the machine did in the others only adds to it."""
    least = {
        (entry.row, entry.name): {part: min(getattr(figure, part) for figure in entry.figures) for part in PARTS}
        for entry in found
    }
    return Costs(least.pop(("one", YARDSTICK)), {row: cost for (row, _), cost in least.items()})


def told(found: Comparison) -> str:
    """Say it in a line."""
    word = "  GREW" if found.has_grown else ""
    name = f"{ROWS[found.path]}, {found.part}"
    return f"{name:<55}{found.now:8.0f} µs {found.expected:8.0f} expected {found.growth:+8.0%}{word}"


@click.command(help=__doc__.partition("\n")[0])
@click.option("--rounds", default=10, show_default=True, type=click.IntRange(1, 100))
@click.option("--seconds", default=1.0, show_default=True, help="Of load to a measurement.")
@click.option("--keep", is_flag=True, help="Keep what is measured as what later runs are compared with.")
def main(rounds: int, seconds: float, *, keep: bool) -> None:
    install_signal_handlers(1)
    require_wrk()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with tempfile.TemporaryDirectory(prefix="bookit-bench-") as place, staged(Path(place), BOOKINGS) as stage:
        now = measured(stage, rounds, seconds)
    if keep:
        KEPT.write_text(json.dumps(now.kept, indent=2) + "\n", encoding="utf-8")
        tell(f"Kept in {KEPT}")
        return
    found = list(compare(now, Costs.read(json.loads(KEPT.read_text("utf-8")))))
    click.echo("\n".join(map(told, found)))
    grown = sorted({ROWS[each.path] for each in found if each.has_grown})
    if grown:
        raise click.ClickException(f"More than a fifth dearer than {KEPT.name} has it: {'; '.join(grown)}.")
    click.echo("No path costs a fifth more than was kept.")


if __name__ == "__main__":
    main()
