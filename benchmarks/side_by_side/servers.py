"""The servers side by side, each a process of its own on a port of its own."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

import click

from side_by_side.cpu_time import CpuMeter
from side_by_side.load import CORES, build_taskset_prefix

BENCHMARKS = Path(__file__).parent.parent
ROOT = BENCHMARKS.parent
URL_OPENER = build_opener(ProxyHandler({}))
BOOKIT_COMMAND = (sys.executable, "-c", "from server.cli import main; main(prog_name='bookit')", "serve")
UVICORN_COMMAND = (sys.executable, "-m", "uvicorn", "--no-access-log", "--no-server-header", "--log-level", "warning")
START_TIMEOUT_SECONDS = 60  # seconds


@dataclass(frozen=True)
class Server:
    """A server that answers."""

    name: str
    port: int
    pid: int
    meter: CpuMeter

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"


def find_free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def build_environment(folder: Path, **more: str) -> dict[str, str]:
    """Give what a server is told: nothing of whoever runs this, so that all are told the same."""
    path = os.pathsep.join([str(ROOT), str(BENCHMARKS)])
    return {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": path, **more}


def is_responding(address: str) -> bool:
    """Whether anything is answered there, even a refusal."""
    try:
        with URL_OPENER.open(address, timeout=2):
            return True
    except HTTPError as error:
        return error.code < 500
    except OSError:
        return False


@contextmanager
def run_server(
    name: str, command: tuple[str, ...], folder: Path, env_vars: Mapping[str, str], *, postmaster: int, ready: str = "/"
) -> Iterator[Server]:
    """Have a server run for as long as the block does; ``command`` ends with what takes a port."""
    port = find_free_port()
    log = folder / f"{name}.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*command, str(port)], cwd=folder, env=build_environment(folder, **env_vars), stdout=file, stderr=file,
            start_new_session=True,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while not is_responding(f"http://127.0.0.1:{port}{ready}"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise click.ClickException(f"{name} does not start:\n{log.read_text('utf-8')}")
            time.sleep(0.02)
        yield Server(name, port, process.pid, CpuMeter(postmaster, process.pid))
    finally:
        process.terminate()
        process.wait(START_TIMEOUT_SECONDS)


def build_bookit_command(workers: int = 1) -> tuple[str, ...]:
    """Give the command that serves BookIt; one worker has the first core to itself, more have them all."""
    return (*pin_to_first_core(workers), *BOOKIT_COMMAND, "--workers", str(workers), "--port")


def build_uvicorn_command(app: str) -> tuple[str, ...]:
    """Give the command that serves another application as BookIt serves itself."""
    return (*pin_to_first_core(1), *UVICORN_COMMAND, app, "--port")


def pin_to_first_core(workers: int) -> list[str]:
    return build_taskset_prefix(0) if workers == 1 and CORES > 1 else []
