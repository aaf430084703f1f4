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

from side_by_side.cpu_time import Meter
from side_by_side.load import CORES, pinned

BENCHMARKS = Path(__file__).parent.parent
ROOT = BENCHMARKS.parent
DIRECT = build_opener(ProxyHandler({}))
BOOKIT = (sys.executable, "-c", "from server.cli import main; main(prog_name='bookit')", "serve")
UVICORN = (sys.executable, "-m", "uvicorn", "--no-access-log", "--no-server-header", "--log-level", "warning")
PATIENCE = 60  # seconds


@dataclass(frozen=True)
class Server:
    """A server that answers."""

    name: str
    port: int
    pid: int
    meter: Meter

    @property
    def address(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Give what a server is told: nothing of whoever runs this, so that all are told the same."""
    path = os.pathsep.join([str(ROOT), str(BENCHMARKS)])
    return {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": path, **more}


def answers(address: str) -> bool:
    """Whether anything is answered there, even a refusal."""
    try:
        with DIRECT.open(address, timeout=2):
            return True
    except HTTPError as error:
        return error.code < 500
    except OSError:
        return False


@contextmanager
def serving(
    name: str, command: tuple[str, ...], folder: Path, told: Mapping[str, str], *, postmaster: int, ready: str = "/"
) -> Iterator[Server]:
    """Have a server run for as long as the block does; ``command`` ends with what takes a port."""
    port = free_port()
    log = folder / f"{name}.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*command, str(port)], cwd=folder, env=environment(folder, **told), stdout=file, stderr=file,
            start_new_session=True,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + PATIENCE
        while not answers(f"http://127.0.0.1:{port}{ready}"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise click.ClickException(f"{name} does not start:\n{log.read_text('utf-8')}")
            time.sleep(0.02)
        yield Server(name, port, process.pid, Meter(postmaster, process.pid))
    finally:
        process.terminate()
        process.wait(PATIENCE)


def bookit(workers: int = 1) -> tuple[str, ...]:
    """Give the command that serves BookIt; one worker has the first core to itself, more have them all."""
    return (*first_core(workers), *BOOKIT, "--workers", str(workers), "--port")


def uvicorn(app: str) -> tuple[str, ...]:
    """Give the command that serves another application as BookIt serves itself."""
    return (*first_core(1), *UVICORN, app, "--port")


def first_core(workers: int) -> list[str]:
    return pinned(0) if workers == 1 and CORES > 1 else []
