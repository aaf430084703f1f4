"""Where and how the embedded PostgreSQL starts, and the sentence when it does not."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest

from bookit.db.embedded import DatabaseWillNotStart, postgres
from tests.db.embedded.conftest import MoveHome, StartProcess
from tests.support.embedded import AS_ROOT, LONG_NAME, NO_FSYNC, is_running, mode, query, server_pid

pytestmark = pytest.mark.process


def test_the_first_start_creates_a_database_and_a_restart_keeps_it(folder: Path) -> None:
    (folder / "closed").mkdir(mode=0o700)
    home = folder / "closed/home"

    with postgres(home) as url:
        assert query(url, "SELECT current_database() || ' of ' || current_user") == "bookit of bookit"
        assert query(url, "SHOW fsync") == "on"
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE notes AS SELECT 'stored' AS word")
    assert not is_running(home)

    with postgres(home, NO_FSYNC) as url:
        assert query(url, "SELECT word FROM notes") == "stored"
        assert query(url, "SHOW fsync") == "off"
    assert not is_running(home)
    assert mode(folder / "closed") == "drwx------"


def test_the_environment_changes_neither_locale_nor_port(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.setenv("PGPORT", "1")

    with postgres(home, NO_FSYNC) as url:
        assert query(url, "SELECT lower('É')") == "é"


@pytest.mark.parametrize(
    "name", ['it\'s "here" $HOME `x` \\ 100% a:b & é 日本', "com,ma", LONG_NAME], ids=["odd", "comma", "long"]
)
def test_it_runs_in_any_folder(folder: Path, move_home: MoveHome, name: str, start_process: StartProcess) -> None:
    home = move_home(folder / name / "home")

    with postgres(home, NO_FSYNC) as url:
        process = start_process(home)
        assert process.read_line() == url
        process.leave()
        assert query(url, "SELECT 'any'") == "any"
        socket_folder = (home / "postgres/socket").resolve()
        assert mode(socket_folder) == "drwx------"

    assert not socket_folder.exists()


# After a crash.


def test_it_starts_again_after_the_server_was_killed(home: Path) -> None:
    with postgres(home, NO_FSYNC):
        os.kill(server_pid(home), signal.SIGKILL)
        while is_running(home):
            time.sleep(0.01)
        with postgres(home, NO_FSYNC) as url:
            assert query(url, "SELECT 'recovered'") == "recovered"


def test_a_pid_left_by_a_power_cut_is_ignored(home: Path) -> None:
    (home / "postgres/data/postmaster.pid").write_text(f"{os.getpid()}\n\n\n\n\n\n\nready\n")

    with postgres(home, NO_FSYNC) as url:
        assert query(url, "SELECT 'started'") == "started"


def test_incomplete_files_are_created_again(folder: Path, start_process: StartProcess) -> None:
    home = folder / "home"
    process = start_process(home)
    while not (home / "postgres/data.new/PG_VERSION").exists() and process.process.poll() is None:
        time.sleep(0.01)
    process.kill()
    assert not (home / "postgres/data").exists()

    with postgres(home, NO_FSYNC) as url:
        assert query(url, "SELECT 'whole'") == "whole"
    assert not (home / "postgres/data.new").exists()


# Refusals.


def test_files_of_another_version_are_refused_in_a_sentence(home: Path) -> None:
    version = home / "postgres/data/PG_VERSION"
    current = version.read_text()
    version.write_text("17\n")
    try:
        with pytest.raises(DatabaseWillNotStart) as refusal, postgres(home):
            pass
    finally:
        version.write_text(current)

    assert "Another version of PostgreSQL created its files" in str(refusal.value)
    assert "initialized by PostgreSQL version 17" in str(refusal.value)


def test_a_refusal_quotes_the_log_of_the_server(home: Path) -> None:
    with (
        pytest.raises(DatabaseWillNotStart, match='parameter "fsync" requires a Boolean value'),
        postgres(home, {"fsync": "?"}),
    ):
        pass


def test_a_home_that_cannot_be_created_is_refused_in_a_sentence(folder: Path) -> None:
    (folder / "file").touch()

    with (
        pytest.raises(DatabaseWillNotStart, match=r"cannot store its database in .*/file\. Set BOOKIT_HOME"),
        postgres(folder / "file"),
    ):
        pass


@AS_ROOT
def test_the_home_of_another_user_is_refused_in_a_sentence(
    folder: Path, ordinary_user: dict[str, Any], start_process: StartProcess
) -> None:
    (folder / "home/postgres").mkdir(parents=True)
    os.chown(folder / "home/postgres", 1, 1)

    message = start_process(folder / "home", **ordinary_user).read_line()

    assert "belongs to another user (uid 1)." in message
