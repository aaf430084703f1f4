"""Starts the servers to compare, each as a process on its own port."""

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
START_TIMEOUT_SECONDS = 60


@dataclass(frozen=True)
class Server:
    """A running server."""

    name: str
    port: int
    pid: int
    meter: CpuMeter

    @property
    def url(self) -> str:
        """The address of the server."""
        return f"http://127.0.0.1:{self.port}"


def find_free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def build_environment(folder: Path, **more: str) -> dict[str, str]:
    """Return the environment of a server: nothing of the user's own, so that it is the same on each run.

    BookIt limits no requests there: a benchmark is a flood.
    """
    path = os.pathsep.join([str(ROOT), str(BENCHMARKS)])
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "PYTHONPATH": path,
        "RATE_LIMITS": "0",
        "MAX_OPEN_BOOKINGS": "0",
        **more,
    }


def is_responding(url: str) -> bool:
    """Whether a server responds at this URL, even with a client error."""
    try:
        with URL_OPENER.open(url, timeout=2):
            return True
    except HTTPError as error:
        return error.code < 500
    except OSError:
        return False


@contextmanager
def run_server(
    name: str, command: tuple[str, ...], folder: Path, env_vars: Mapping[str, str], *, postmaster: int, ready: str = "/"
) -> Iterator[Server]:
    """Run a server until the block ends. The port is appended to ``command``."""
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
                raise click.ClickException(f"{name} did not start:\n{log.read_text('utf-8')}")
            time.sleep(0.02)
        yield Server(name, port, process.pid, CpuMeter(postmaster, process.pid))
    finally:
        process.terminate()
        process.wait(START_TIMEOUT_SECONDS)


def build_bookit_command(workers: int = 1) -> tuple[str, ...]:
    """Return the command that serves BookIt. One worker is pinned to the first core; more can use any core."""
    return (*pin_to_first_core(workers), *BOOKIT_COMMAND, "--workers", str(workers), "--port")


def build_uvicorn_command(app: str) -> tuple[str, ...]:
    """Return the command that serves another application with uvicorn, as BookIt serves itself."""
    return (*pin_to_first_core(1), *UVICORN_COMMAND, app, "--port")


def pin_to_first_core(workers: int) -> list[str]:
    return build_taskset_prefix(0) if workers == 1 and CORES > 1 else []
