"""A server that dies is started again, once, or the process that uses it gives up with a sentence."""

import os
import shutil
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from threading import Event
from typing import Any

import psycopg
import pytest

from bookit.db import restarts
from bookit.db.embedded import postgres
from tests.db.embedded.conftest import MoveHome, StartProcess
from tests.support.embedded import LONG_NAME, NO_FSYNC, is_running, query, server_pid
from tests.support.processes import wait_until

pytestmark = pytest.mark.process

Watch = Callable[[Path], AbstractContextManager[str]]


class GivingUp:
    """What the processes of a test did when they gave up."""

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.has_happened = Event()

    def __call__(self, reason: str) -> None:
        self.reasons.append(reason)
        self.has_happened.set()


@pytest.fixture
def giving_up(monkeypatch: pytest.MonkeyPatch) -> GivingUp:
    monkeypatch.setattr(restarts, "CHECK_SECONDS", 0.01)
    monkeypatch.setattr(restarts, "DELAYS", (0, 0, 0))
    return GivingUp()


@pytest.fixture
def watch(giving_up: GivingUp) -> Watch:
    """Use the database of a home, and start it again when it dies."""
    return lambda home: postgres(home, NO_FSYNC, give_up=giving_up)


def kill_server(home: Path) -> None:
    os.kill(server_pid(home), signal.SIGKILL)


def does_answer(url: str) -> bool:
    return start_time(url) is not None


def start_time(url: str) -> Any:
    """Return when the server started; None if it does not answer."""
    try:
        return query(url, "SELECT pg_postmaster_start_time()")
    except psycopg.OperationalError:
        return None


def kill_and_wait(home: Path, url: str) -> None:
    """Kill the server and wait until another one answers."""
    before = start_time(url)
    kill_server(home)
    wait_until(lambda: start_time(url) not in {before, None})


@pytest.mark.parametrize("name", ["short", LONG_NAME], ids=["short", "long"])
def test_a_killed_server_runs_again_at_the_same_address(
    folder: Path, move_home: MoveHome, watch: Watch, name: str, giving_up: GivingUp, caplog: pytest.LogCaptureFixture
) -> None:
    home = move_home(folder / name / "home")

    with watch(home) as url:
        for _ in range(2):
            kill_and_wait(home, url)

    assert not is_running(home)
    assert giving_up.reasons == []
    assert [record.message for record in caplog.records if record.name == "bookit.database"] == [
        "The embedded PostgreSQL has ended. BookIt starts it again.",
        "The embedded PostgreSQL runs again.",
    ] * 2


def test_two_processes_start_it_once(home: Path, watch: Watch) -> None:
    with watch(home) as url, watch(home), watch(home):
        kill_and_wait(home, url)

        log, log_before = (home / "postgres/log").read_text(), (home / "postgres/log.old").read_text()
    assert "database system was interrupted" in log
    assert "interrupted" not in log_before
    assert log.count("starting PostgreSQL") == 1


def test_a_server_that_dies_while_a_process_starts_is_started_once(
    home: Path, watch: Watch, start_process: StartProcess
) -> None:
    with watch(home) as url:
        kill_server(home)
        process = start_process(home)
        assert process.read_line() == url
        wait_until(lambda: does_answer(url))
        assert (home / "postgres/log").read_text().count("starting PostgreSQL") == 1
        process.leave()
        assert does_answer(url)


def test_a_start_that_fails_is_tried_again(
    home: Path, watch: Watch, giving_up: GivingUp, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restarts, "DELAYS", (0,) * 1000)
    control = home / "postgres/data/global/pg_control"
    with watch(home) as url:
        control.rename(control.with_name("hidden"))
        try:
            kill_server(home)
            wait_until(lambda: "The embedded PostgreSQL does not start." in caplog.messages)
        finally:
            control.with_name("hidden").rename(control)
        wait_until(lambda: does_answer(url))

    assert giving_up.reasons == []
    failures = [record for record in caplog.records if record.message == "The embedded PostgreSQL does not start."]
    assert "pg_control" in failures[0].detail  # type: ignore[attr-defined]
    assert failures[0].exc_info is None


def test_a_server_that_never_starts_again_is_given_up_once(home: Path, watch: Watch, giving_up: GivingUp) -> None:
    version = home / "postgres/data/PG_VERSION"
    current = version.read_text()
    with watch(home):
        version.write_text("17\n")
        try:
            kill_server(home)
            assert giving_up.has_happened.wait(60)
        finally:
            version.write_text(current)

    assert giving_up.reasons == ["The embedded PostgreSQL has died 3 times in a row. Its log says why."]
    assert not is_running(home)


def test_a_server_that_dies_again_and_again_is_given_up(home: Path, watch: Watch, giving_up: GivingUp) -> None:
    with watch(home) as url:
        for _ in range(4):
            kill_server(home)
            wait_until(lambda: giving_up.has_happened.is_set() or does_answer(url))

    assert len(giving_up.reasons) == 1


def test_a_folder_that_is_gone_is_given_up(home: Path, watch: Watch, giving_up: GivingUp) -> None:
    with watch(home):
        folder, other = home / "postgres", home / "moved"
        folder.rename(other)
        try:
            os.kill(int((other / "data/postmaster.pid").read_text().split()[0]), signal.SIGKILL)
            assert giving_up.has_happened.wait(60)
        finally:
            other.rename(folder)


def test_a_server_whose_socket_was_deleted_ends_and_is_started_again(home: Path, watch: Watch) -> None:
    with watch(home) as url:
        pid = server_pid(home)
        shutil.rmtree(home / "postgres/socket")
        wait_until(lambda: not (home / "postgres/data/postmaster.pid").exists())
        os.kill(pid, signal.SIGQUIT)  # what PostgreSQL does by itself, within a minute, without that file

        wait_until(lambda: does_answer(url))

        assert server_pid(home) != pid
    assert not is_running(home)


def test_a_process_that_leaves_starts_nothing(home: Path, watch: Watch) -> None:
    with watch(home):
        kill_server(home)

    assert not is_running(home)


def test_without_being_asked_nobody_starts_it_again(home: Path, giving_up: GivingUp) -> None:
    with postgres(home, NO_FSYNC):
        kill_server(home)
        wait_until(lambda: not is_running(home))
        assert not giving_up.has_happened.wait(0.1)
        assert not is_running(home)
