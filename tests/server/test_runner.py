"""`bookit serve` on the embedded database: start, several processes, stop, kill, logs and the demo."""

import json
import os
import pwd
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx2
import psycopg
import pytest

from bookit.db.embedded import DatabaseWillNotStart, postgres
from bookit.db.server_user import run_as
from tests.server.conftest import EMAIL, PASSWORD, WORKER_STARTED, get_me, sign_in
from tests.support.processes import BOOKIT_COMMAND, BookitProcess, Workspace, wait_until
from tests.support.server import ROOT

pytestmark = pytest.mark.process

INSERT_BOOKING = """
    WITH service AS (
        INSERT INTO services (title, price, duration_minutes) VALUES ('Haircut', 35, 45) RETURNING id
    ), resource AS (
        INSERT INTO resources (name, timezone) VALUES ('Chair', 'UTC') RETURNING id
    )
    INSERT INTO bookings (user_id, service_id, resource_id, price, start_time, end_time, blocks_from, blocks_until)
    SELECT 1, service.id, resource.id, 35, t, t + interval '1 hour', t, t + interval '1 hour'
    FROM service, resource, (VALUES (timestamptz '2030-01-08 10:00Z')) AS start (t)
"""


@pytest.fixture(scope="module")
def running(made_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Workspace, BookitProcess]]:
    """A folder where BookIt runs with DEBUG, and the process that runs there."""
    workspace = Workspace(tmp_path_factory.mktemp("running"))
    subprocess.run(["cp", "-a", made_home, workspace.home], check=True)
    yield workspace, workspace.serve(DEBUG="true")
    workspace.close()


def assert_each_responds_alone(pids: list[str], send: Callable[[], httpx2.Response]) -> None:
    """Pause each of two workers in turn: while one is paused, the other responds."""
    for pid in pids:
        os.kill(int(pid), signal.SIGSTOP)
        try:
            assert send().status_code == 200
        finally:
            os.kill(int(pid), signal.SIGCONT)


def test_the_first_start_creates_everything_and_prints_the_url(workspace: Workspace) -> None:
    server = workspace.serve(http_proxy="http://127.0.0.1:1")  # a proxy that does not respond

    with server.open_client() as client:
        assert client.get("/readyz").json() == {"status": "ok"}
    assert f"API, to try out      {server.url}/docs" in server.output
    assert "password" not in server.output
    assert sorted(path.name for path in workspace.home.iterdir()) == ["postgres", "secret_key"]
    assert (workspace.home / "secret_key").stat().st_mode & 0o777 == 0o600

    assert server.stop(signal.SIGINT) == 0
    assert "Traceback" not in server.output
    assert not workspace.is_database_running


def test_closing_the_terminal_stops_the_database_too(used: Workspace) -> None:
    python, option, program = BOOKIT_COMMAND
    reset = "import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL)"  # the tests may run under nohup
    used.command = (python, option, f"{reset}; {program}")
    server = used.serve()
    assert server.url

    assert server.stop(signal.SIGHUP) == 0
    assert "Traceback" not in server.output
    assert not used.is_database_running


@pytest.mark.parametrize("created", ["postgres/data.new", "postgres/log"])
def test_a_stop_during_the_first_start_leaves_nothing_running(workspace: Workspace, created: str) -> None:
    server = workspace.serve()
    wait_until((workspace.home / created).exists)

    server.send_signal(signal.SIGINT)
    time.sleep(0.05)
    assert server.stop(signal.SIGINT) == 0  # a second Ctrl-C
    assert server.output == ""
    assert not workspace.is_database_running
    with postgres(workspace.home) as url, psycopg.connect(url) as connection:
        assert connection.execute("SELECT 'usable'").fetchone() == ("usable",)


def test_a_request_in_flight_is_answered_before_the_stop(used: Workspace) -> None:
    server = used.serve()
    body = json.dumps({"email": EMAIL, "password": PASSWORD}).encode()
    head = (
        "POST /auth/login HTTP/1.1\r\nHost: bookit\r\nExpect: 100-continue\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(head.encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")

        server.send_signal(signal.SIGTERM).wait_for_output("Shutting down")
        connection.sendall(body)

        assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")
    assert server.wait() == 0
    assert not used.is_database_running


def test_workers_share_the_database_and_a_killed_one_is_replaced(used: Workspace) -> None:
    server = used.serve("--workers", "2")
    first, second = server.wait_for_output(WORKER_STARTED, times=2)

    def send() -> httpx2.Response:
        with server.open_client() as client:
            return client.get("/readyz")

    assert_each_responds_alone([first, second], send)
    os.kill(int(first), signal.SIGKILL)
    third = server.wait_for_output(WORKER_STARTED, times=3)[2]
    assert_each_responds_alone([second, third], send)

    assert server.stop() == 0
    assert not used.is_database_running


def test_a_restart_after_a_kill_finds_the_port_free_and_keeps_the_tokens(used: Workspace) -> None:
    server = used.serve("--workers", "2")
    server.wait_for_output(WORKER_STARTED, times=2)
    with server.open_client() as client:
        tokens = sign_in(client)
    server.process.kill()
    assert server.wait() == -signal.SIGKILL
    assert used.is_database_running

    server = used.start("serve", "--port", server.url.rpartition(":")[2])
    with server.open_client() as client:
        assert get_me(client, tokens)["role"] == "admin"
    assert server.stop() == 0
    assert not used.is_database_running


def test_two_first_starts_at_once_share_one_database(workspace: Workspace) -> None:
    first, second = workspace.serve(), workspace.serve()
    person = {"name": "Tom", "email": "tom@example.com", "password": PASSWORD}

    with first.open_client() as client:
        client.post("/auth/register", json=person).raise_for_status()
        tokens = sign_in(client, person["email"])
    with second.open_client() as client:
        assert get_me(client, tokens)["name"] == "Tom"
        assert first.stop() == 0
        assert get_me(client, tokens)["name"] == "Tom"
    assert second.stop() == 0

    assert not workspace.is_database_running
    assert sorted(path.name for path in workspace.home.iterdir()) == ["postgres", "secret_key"]


def test_a_port_in_use_is_reported_at_once(workspace: Workspace) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])

        refusal = workspace.run("serve", "--port", port).error_message

    assert refusal == (
        f"BookIt cannot listen on 127.0.0.1:{port}: Address already in use."
        " Choose another address with --host and --port."
    )
    assert not (workspace.home / "postgres").exists()


@pytest.mark.parametrize("host", ["192.0.2.1", "x" * 64])
def test_a_host_of_another_machine_is_reported_at_once(workspace: Workspace, host: str) -> None:
    refusal = workspace.run("serve", "--host", host).error_message

    assert refusal.startswith(f"BookIt cannot listen on {host}:8000: ")
    assert refusal.endswith(". Choose another address with --host and --port.")
    assert len(refusal.splitlines()) == 1
    assert not (workspace.home / "postgres").exists()


def test_each_request_is_one_log_line_without_secrets(running: tuple[Workspace, BookitProcess]) -> None:
    workspace, server = running
    with server.open_client() as client:
        client.headers["X-Request-Id"] = "mine"
        tokens = sign_in(client)
        get_me(client, tokens)
        client.get("/services", params={"q": tokens["refresh_token"]})
        renewed = client.post("/auth/refresh", json={"refresh_token": tokens["refresh_token"]}).json()
        client.post("/auth/login", json={"email": EMAIL, "password": "wrong horse battery"})
        client.get("/nowhere", headers={"Cookie": f"session={PASSWORD}"})
    server.wait_for_output('"path":"/nowhere"')

    requests = [
        line for line in server.log_entries if line["event"] == "request" and line.get("client_request_id") == "mine"
    ]
    assert [(line["method"], line["path"], line["status"]) for line in requests] == [
        ("POST", "/auth/login", 200),
        ("GET", "/me", 200),
        ("GET", "/services", 200),
        ("POST", "/auth/refresh", 200),
        ("POST", "/auth/login", 401),
        ("GET", "/nowhere", 404),
    ]
    banner = [line for line in server.lines if not line.startswith("{")]
    assert all(line == "" or line.startswith("  ") for line in banner)
    output = server.output + (workspace.home / "postgres/log").read_text()
    secret = (workspace.home / "secret_key").read_text()
    for text in (PASSWORD, "wrong horse", "$2b$", secret, *tokens.values(), *renewed.values()):
        assert text == "bearer" or text not in output


def test_create_admin_works_beside_a_server_and_leaks_no_password(
    running: tuple[Workspace, BookitProcess],
) -> None:
    workspace, server = running
    secret = "a passphrase of many words"

    result = workspace.run(
        "create-admin", "Bea@Example.com", "--name", "Bea", "--password-stdin", stdin_text=f"{secret}\n"
    )

    assert result == (0, "Bea@Example.com is an admin.\n", "")
    with server.open_client() as client:
        me = get_me(client, sign_in(client, "bea@example.com", secret))
        assert (me["name"], me["role"]) == ("Bea", "admin")
    with postgres(workspace.home) as url, psycopg.connect(url) as connection:
        events = str(connection.execute("SELECT * FROM events").fetchall())
    assert "bea@example.com" in events.lower()
    for trace in (events, server.output, (workspace.home / "postgres/log").read_text()):
        assert secret not in trace
        assert "$2b$" not in trace


def test_the_banner_of_a_demo_names_accounts_that_work(workspace: Workspace) -> None:
    server = workspace.serve("--demo")

    server.wait_for_output("Ctrl-C")
    password, *emails = re.findall(r"(?<=password )\S+|\S+@example.com", server.output)

    with server.open_client() as client:
        roles = [get_me(client, sign_in(client, email, password))["role"] for email in emails]
        assert len(client.get("/services").json()) == 13
    assert roles == ["user", "own_calendar", "staff", "manager", "admin"]
    assert server.stop() == 0


def test_a_database_in_use_gets_no_demo_accounts(used: Workspace) -> None:
    with postgres(used.home) as url, psycopg.connect(url) as connection:
        connection.execute(INSERT_BOOKING)

    server = used.serve("--demo")

    assert server.url
    assert "This database has bookings of its own" in server.output
    assert "Sign in" not in server.output


def test_a_demo_needs_the_embedded_database(workspace: Workspace) -> None:
    url = "postgresql://bookit@127.0.0.1:1/bookit"

    refusal = workspace.run(
        "serve", "--demo", DATABASE_URL=url, SECRET_KEY="a secret that is long enough for HS256"
    ).error_message

    assert refusal == "--demo creates accounts with a known password. Unset DATABASE_URL to use it."


@pytest.mark.skipif(os.geteuid() != 0, reason="everything here runs as an ordinary user already")
def test_an_ordinary_user_can_serve_from_their_own_folder() -> None:
    nobody = pwd.getpwnam("nobody")
    try:
        bridge, who = run_as(nobody.pw_uid, nobody.pw_gid, sys.executable, sys.prefix, str(ROOT))
    except DatabaseWillNotStart:
        pytest.skip("an ordinary user cannot reach this Python")
    with tempfile.TemporaryDirectory(prefix="b-") as folder, ExitStack() as stack:
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        workspace = Workspace(Path(folder))
        stack.callback(workspace.close)
        workspace.command, workspace.popen_options = (*bridge, *BOOKIT_COMMAND), who

        server = workspace.serve()

        with server.open_client() as client:
            assert client.get("/readyz").status_code == 200
        assert {path.owner() for path in [workspace.home, *workspace.home.iterdir()]} == {"nobody"}
        assert server.stop() == 0
        assert not workspace.is_database_running
