"""`bookit serve` in its own process, on any free port and a database of a test."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
TIMEOUT_SECONDS = 30
PROGRAM = "from server.cli import main; main()"
SECRET_KEY = "a secret that only tests know, long enough"


class RunningServer(NamedTuple):
    """A running BookIt: its URL and its log."""

    url: str
    database_url: str
    log: Path


OpenServer = Callable[..., RunningServer]


@contextmanager
def run_server(home: Path, url: str, *arguments: str, program: str = PROGRAM, **more: str) -> Iterator[str]:
    """Run `bookit serve` on any free port and this database, yield its URL, and stop it as Ctrl-C does."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "DATABASE_URL": url,
        "SECRET_KEY": SECRET_KEY,
        "RATE_LIMITS": "0",
        **more,
    }
    command = [sys.executable, "-c", program, "serve", "--port", "0", *arguments]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=home, env=environment, stdout=log, stderr=log)
    try:
        yield wait_for_url(process, home / "log")
    finally:
        process.send_signal(signal.SIGINT)
        status = process.wait(TIMEOUT_SECONDS)
    assert status == 0


def wait_for_url(process: subprocess.Popen[bytes], log: Path) -> str:
    """Wait until BookIt prints its URL."""
    until = time.monotonic() + TIMEOUT_SECONDS
    while time.monotonic() < until and process.poll() is None:
        match = re.search(r"BookIt is open at (http://\S+)", log.read_text("utf-8"))
        if match:
            return match[1]
        time.sleep(0.05)
    raise AssertionError(log.read_text("utf-8"))
