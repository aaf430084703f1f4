"""Says which of the main paths cost a fifth more CPU a request than was kept in ``baseline.json``, and then fails.

    make bench-check [ARGS="--rounds 7"]     compares
    make bench-check ARGS=--keep             keeps what is measured now, to be committed with what made it so

What other machines measured is brought to this one by two yardsticks of the same run; see ``side_by_side/guard.py``.
"""

import json
import logging
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import click
import structlog
from filled import tell
from side_by_side import contest, servers
from side_by_side.contest import BOOKIT, PLAIN, ROWS, Entry, Middle
from side_by_side.costs import Meter
from side_by_side.guard import Comparison, Costs, compare
from side_by_side.load import pgbench
from side_by_side.stage import Stage, staged

KEPT = Path(__file__).with_name("baseline.json")
BOOKINGS = 1_000
YARDSTICK = "SELECT sum(n) FROM generate_series(1, 300) AS n;\n"
FIXED = "yardstick"


def measured(stage: Stage, rounds: int, seconds: float) -> Costs:
    """Measure BookIt's main paths and the two yardsticks in turn."""
    scripts = contest.listen(stage, ROWS)
    commands = {PLAIN: servers.uvicorn("side_by_side.limits:app"), BOOKIT: servers.bookit()}
    with ExitStack() as stack:
        running = {
            name: stack.enter_context(
                servers.serving(name, command, stage.folder, stage.told, postmaster=stage.postmaster)
            )
            for name, command in commands.items()
        }
        fixed = Entry(
            "one",
            FIXED,
            lambda s, _: pgbench(stage.url, YARDSTICK, stage.folder, seconds=s, clients=2),
            Meter(stage.postmaster),
        )
        found = [entry for entry in contest.entries(stage, running, scripts) if wanted(entry)]
        return costs(contest.hold([fixed, *found], rounds, seconds))


def wanted(entry: Entry) -> bool:
    """Whether this is BookIt or the plain route that work in Python is measured by."""
    return entry.name == BOOKIT or (entry.name, entry.row) == (PLAIN, "one")


def costs(middles: dict[tuple[str, str], Middle]) -> Costs:
    yardsticks = {"server": middles["one", PLAIN].server, "postgres": middles["one", FIXED].postgres}
    paths = {row: {"server": m.server, "postgres": m.postgres} for (row, name), m in middles.items() if name == BOOKIT}
    return Costs(yardsticks, paths)


def told(found: Comparison) -> str:
    """Say it in a line."""
    word = "  GREW" if found.has_grown else ""
    name = f"{ROWS[found.path]}, {found.part}"
    return f"{name:<55}{found.now:8.0f} µs {found.expected:8.0f} expected {found.growth:+8.0%}{word}"


@click.command(help=__doc__.partition("\n")[0])
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1, 100))
@click.option("--seconds", default=2.0, show_default=True, help="Of load to a measurement.")
@click.option("--keep", is_flag=True, help="Keep what is measured as what later runs are compared with.")
def main(rounds: int, seconds: float, *, keep: bool) -> None:
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
