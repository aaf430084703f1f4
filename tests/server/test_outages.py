"""`bookit serve` and `bookit worker` come back when their database or a process dies, or end with status 1."""

import os
import signal

import pytest
from sqlalchemy import text

from admin.site import create_read_engine
from tests.server.conftest import WORKER_STARTED, get_me, sign_in
from tests.support.databases import create_database
from tests.support.embedded import server_pid
from tests.support.processes import BOOKIT_COMMAND, BookitProcess, Workspace, wait_until

pytestmark = pytest.mark.process

GIVE_UP = "The embedded PostgreSQL has died 2 times in a row. Its log says why."
CANNOT_START = "BookIt could not start. The log lines above say why."


def run_first(workspace: Workspace, code: str) -> None:
    """Run this code in the main process before the command."""
    python, option, program = BOOKIT_COMMAND
    workspace.command = (python, option, f"{code}; {program}")


def run_first_in_workers(workspace: Workspace, code: str) -> None:
    """Run this code first in each worker process."""
    lines = ["import os, sys", "if '--multiprocessing-fork' in sys.orig_argv:", f"    {code}"]
    (workspace.folder / "sitecustomize.py").write_text("\n".join(lines))
    workspace.environment["PYTHONPATH"] += os.pathsep + str(workspace.folder)


def kill_database(workspace: Workspace) -> None:
    os.kill(server_pid(workspace.home), signal.SIGKILL)


def messages(process: BookitProcess) -> list[tuple[str, str]]:
    return [(line["level"], line["event"]) for line in process.log_entries if line.get("logger") == "bookit.database"]


def test_a_killed_database_is_started_again_also_while_a_worker_starts(used: Workspace) -> None:
    server = used.serve("--workers", "2")
    first, *_ = server.wait_for_output(WORKER_STARTED, times=2)
    with server.open_client() as client:
        tokens = sign_in(client)
        kill_database(used)
        os.kill(int(first), signal.SIGKILL)
        server.wait_for_output("The embedded PostgreSQL runs again")
        server.wait_for_output(WORKER_STARTED, times=3)
        wait_until(lambda: client.get("/readyz").status_code == 200)
    with server.open_client() as client:
        assert get_me(client, tokens)["role"] == "admin"
        assert sign_in(client)

    assert server.stop() == 0
    assert not used.is_database_running
    assert "Traceback" not in server.output
    assert [message for message in messages(server) if "embedded" in message[1]] == [
        ("error", "The embedded PostgreSQL has ended. BookIt starts it again."),
        ("warning", "The embedded PostgreSQL runs again."),
    ]


@pytest.mark.parametrize("command", [("serve", "--port", "0"), ("serve", "--port", "0", "--workers", "2"), ("worker",)])
def test_a_database_that_does_not_start_again_ends_the_process(used: Workspace, command: tuple[str, ...]) -> None:
    run_first(used, "from bookit.db import restarts; restarts.DELAYS = (0, 0)")
    process = used.start(*command)
    process.wait_for_output("The worker is running|BookIt is open at")
    kill_database(used)
    process.wait_for_output("The embedded PostgreSQL runs again")

    (used.home / "postgres/data/PG_VERSION").write_text("17\n")
    kill_database(used)

    assert process.wait() == 1
    assert process.lines[-1] == GIVE_UP
    assert "Traceback" not in process.output
    [reason] = [entry["detail"] for entry in process.log_entries if "does not start" in entry["event"]]
    assert "Another version of PostgreSQL created its files" in reason


# Workers that do not start.


@pytest.mark.parametrize(
    ("workers", "code", "reason"),
    [
        ("2", "os.environ['TIMEZONE'] = 'Mars/Olympus'", "TIMEZONE: Mars/Olympus is not a time zone"),
        ("1", "import sys; sys.modules['admin.site'] = None", "The application cannot be loaded."),
    ],
    ids=["a setting, two workers", "a bug, one worker"],
)
def test_a_worker_that_cannot_start_ends_the_server(installed: Workspace, workers: str, code: str, reason: str) -> None:
    (run_first_in_workers if workers == "2" else run_first)(installed, code)

    server = installed.serve("--workers", workers)

    assert server.wait() == 1
    assert reason in server.output
    assert server.lines[-1] == CANNOT_START
    assert ("Traceback" in server.output) == ("loaded" in reason)
    assert "BookIt is open" not in server.output


def test_workers_that_die_all_the_time_end_the_server(installed: Workspace) -> None:
    run_first(installed, "from server import runner; runner.MAX_DEATHS = 2")
    run_first_in_workers(installed, "os.kill(os.getpid(), 9)")

    server = installed.serve("--workers", "2")

    assert server.wait() == 1
    assert server.lines[-1] == CANNOT_START


# Two hosts.


@pytest.fixture
def two_hosts(tcp: str) -> str:
    """The usual spelling of two hosts: nobody listens at the first one."""
    return f"postgresql://clerk:right@127.0.0.1:1,{tcp}/bookit?target_session_attrs=read-write"


def test_two_hosts_in_the_url_work_in_every_command(installed: Workspace, own_url: str, two_hosts: str) -> None:
    create_database(own_url, "two", "template0")
    installed.environment["DATABASE_URL"] = two_hosts.replace("/bookit?", "/two?")

    assert installed.run("migrate").stdout.startswith("Migrated from empty to ")
    assert installed.run("check").status == 0
    server = installed.serve()
    with server.open_client() as client:
        assert client.get("/readyz").status_code == 200
    assert server.stop() == 0


async def test_two_hosts_in_the_url_work_in_the_panel(two_hosts: str) -> None:
    engine = create_read_engine(two_hosts)
    try:
        async with engine.connect() as connection:
            assert await connection.scalar(text("SHOW transaction_read_only")) == "on"
            assert await connection.scalar(text("SHOW client_encoding")) == "UTF8"
    finally:
        await engine.dispose()
