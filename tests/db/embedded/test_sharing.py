"""Processes that share one server: they join it, are killed, and the last one stops it."""

import subprocess
from pathlib import Path

import psycopg
import pytest

from bookit.db.embedded import postgres
from tests.db.embedded.conftest import MoveHome, StartProcess
from tests.support.embedded import LONG_NAME, NO_FSYNC, is_running, query, server_pid

pytestmark = pytest.mark.process


def test_two_processes_share_one_server_until_the_second_leaves(home: Path, start_process: StartProcess) -> None:
    first, second = start_process(home), start_process(home)
    url = first.read_line()
    assert second.read_line() == url

    first.leave()
    assert query(url, "SELECT 'still here'") == "still here"

    second.leave()
    assert not is_running(home)


def test_one_process_can_use_it_twice(home: Path) -> None:
    with postgres(home, NO_FSYNC) as url:
        with postgres(home) as same_url:
            assert same_url == url
        assert query(url, "SELECT 'still here'") == "still here"


def test_after_its_only_user_was_killed_the_next_joins_and_stops_it(home: Path, start_process: StartProcess) -> None:
    process = start_process(home)
    process.read_line()
    pid = server_pid(home)
    process.kill()
    assert is_running(home)

    with postgres(home):
        assert server_pid(home) == pid
    assert not is_running(home)


@pytest.mark.parametrize("child", ["with a child", "with a child program"])
def test_the_child_of_a_killed_process_is_no_user(home: Path, start_process: StartProcess, child: str) -> None:
    process = start_process(home, child)
    assert "forked" in {process.read_line(), process.read_line()}
    process.kill()

    with postgres(home):
        pass

    assert not is_running(home)


def test_ctrl_c_ends_a_process_and_not_the_server_of_others(home: Path, start_process: StartProcess) -> None:
    process = start_process(home)
    url = process.read_line()
    start_process(home).read_line()

    with psycopg.connect(url) as connection:
        process.press_ctrl_c()
        assert connection.execute("SELECT 'not even disturbed'").fetchone() == ("not even disturbed",)


@pytest.mark.parametrize("name", ["short", LONG_NAME], ids=["short", "long"])
def test_a_copy_of_a_running_home_is_a_separate_database(folder: Path, move_home: MoveHome, name: str) -> None:
    home, copied_home = move_home(folder / name / "home"), folder / name / "copy"
    start_time = "SELECT pg_postmaster_start_time()"

    with postgres(home, NO_FSYNC) as url:
        subprocess.run(["cp", "-a", home, copied_home], check=True)
        with postgres(copied_home, NO_FSYNC) as copied_url:
            assert copied_url != url
            assert query(copied_url, start_time) != query(url, start_time)
        assert query(url, "SELECT 'still here'") == "still here"
