"""Processes that use an embedded PostgreSQL, and what a test can read of its server."""

import fcntl
import os
import signal
import stat
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import psycopg
import pytest

from bookit.db.embedded import postgres

NO_FSYNC = {"fsync": "off"}
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as another user")
LONG_NAME = "long" * 40

SCRIPT = r"""
import os, signal, sys, time
from pathlib import Path
from bookit.db.embedded import DatabaseWillNotStart, postgres
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have us ignore it
try:
    with postgres(Path(sys.argv[1]), {"fsync": "off"}) as url:
        if len(sys.argv) > 2 and os.fork() == 0:
            os.write(1, b"forked\n")  # at once, so that two processes' lines do not mix
            time.sleep(60) if sys.argv[2] == "with a child" else os.execlp("sleep", "sleep", "60")
        os.write(1, url.encode() + b"\n")
        sys.stdin.read()
except DatabaseWillNotStart as refusal:
    print(refusal, flush=True)
"""


class DatabaseProcess:
    """A process that uses the database of a home until it leaves or is killed."""

    def __init__(self, home: Path, *arguments: str, python: str = sys.executable, **popen: Any) -> None:
        self.process = subprocess.Popen(
            [python, "-c", SCRIPT, str(home), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
            **{"env": {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, **popen},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.leave()
        with suppress(ProcessLookupError):  # unless it left children
            os.killpg(self.process.pid, signal.SIGKILL)
        assert self.process.stdout
        self.process.stdout.close()

    def read_line(self) -> str:
        """Return its next line: the URL of the database, or why there is none."""
        assert self.process.stdout
        return str(self.process.stdout.readline().strip())

    def leave(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait(timeout=60)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(timeout=60)

    def press_ctrl_c(self) -> None:
        os.killpg(self.process.pid, signal.SIGINT)
        self.process.wait(timeout=60)


def query(url: str, statement: str) -> Any:
    """Return the first value of a query."""
    with psycopg.connect(url) as connection:
        row = connection.execute(statement.encode()).fetchone()
    return row[0] if row else None


def is_running(home: Path) -> bool:
    """Return whether any process of the home's server lives: each of them holds this lock."""
    with (home / "postgres/server.lock").open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def server_pid(home: Path) -> int:
    return int((home / "postgres/data/postmaster.pid").read_text().split()[0])


def permissions(path: Path) -> str:
    """Return mode, uid and gid of a file, the mode as ls writes it."""
    status = path.stat()
    return f"{stat.filemode(status.st_mode)} {status.st_uid} {status.st_gid}"


def mode(path: Path) -> str:
    return permissions(path).split()[0]


def stop_servers_below(folder: Path) -> None:
    """Stop the servers that run in homes below a folder, and fail if there was any."""
    homes = [lock.parent.parent for lock in folder.glob("**/server.lock") if is_running(lock.parent.parent)]
    for home in homes:
        with postgres(home):
            pass
    assert homes == []
