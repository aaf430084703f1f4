"""`bookit serve` on the database that comes with it: starting, answering, sharing, being told to stop, being killed."""

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
from typing import Any

import httpx2
import psycopg
import pytest

from bookit.db import embedded
from bookit.db.embedded import DatabaseWillNotStart, postgres
from tests.support.processes import BOOKIT_COMMAND, BookitProcess, Workspace, wait_until
from tests.support.server import ROOT

pytestmark = pytest.mark.process

WORKER = r"Started server process \[(\d+)\]"
A_BOOKING = """
    WITH service AS (
        INSERT INTO services (title, price, duration_minutes) VALUES ('Haircut', 35, 45) RETURNING id
    ), resource AS (
        INSERT INTO resources (name, timezone) VALUES ('Chair', 'UTC') RETURNING id
    )
    INSERT INTO bookings (user_id, service_id, resource_id, price, start_time, end_time, blocks_from, blocks_until)
    SELECT 1, service.id, resource.id, 35, t, t + interval '1 hour', t, t + interval '1 hour'
    FROM service, resource, (VALUES (timestamptz '2030-01-08 10:00Z')) AS start (t)
"""
EMAIL, PASSWORD = "ada@example.com", "correct horse battery"


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Workspace]:
    """A folder where BookIt never ran."""
    place = Workspace(tmp_path)
    yield place
    place.close()


@pytest.fixture(scope="session")
def made_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a database and an admin, made once."""
    place = Workspace(tmp_path_factory.mktemp("made"))
    made = place.run("create-admin", EMAIL, "--password-stdin", stdin_text=f"{PASSWORD}\n")
    assert made == (0, f"{EMAIL} is an admin.\n", "")
    with (place.home / "postgres/data/postgresql.conf").open("a") as conf:
        conf.write("fsync = off\n")
    return place.home


@pytest.fixture
def place(made_home: Path, fresh: Workspace) -> Workspace:
    """A folder where BookIt has run before, and has an admin."""
    subprocess.run(["cp", "-a", made_home, fresh.home], check=True)
    return fresh


@pytest.fixture(scope="module")
def running(made_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Workspace, BookitProcess]]:
    """A folder where BookIt runs, telling all it can, and what runs there."""
    place = Workspace(tmp_path_factory.mktemp("running"))
    subprocess.run(["cp", "-a", made_home, place.home], check=True)
    yield place, place.serve(DEBUG="true")
    place.close()


def sign_in(client: httpx2.Client, email: str = EMAIL, password: str = PASSWORD) -> dict[str, Any]:
    answer = client.post("/auth/login", json={"email": email, "password": password})
    assert answer.status_code == 200, answer.text
    tokens: dict[str, Any] = answer.json()
    return tokens


def whoever(client: httpx2.Client, tokens: dict[str, Any]) -> dict[str, Any]:
    answer = client.get("/me", headers={"Authorization": f"Bearer {tokens['access_token']}"})
    assert answer.status_code == 200, answer.text
    me: dict[str, Any] = answer.json()
    return me


def one_answers_while_the_other_stands_still(pids: list[str], ask: Callable[[], httpx2.Response]) -> None:
    """Stop each of two workers in turn: while one stands still, the other answers."""
    for pid in pids:
        os.kill(int(pid), signal.SIGSTOP)
        try:
            assert ask().status_code == 200
        finally:
            os.kill(int(pid), signal.SIGCONT)


def test_the_first_start_makes_everything_and_says_where_bookit_is_open(fresh: Workspace) -> None:
    server = fresh.serve(http_proxy="http://127.0.0.1:1")  # which leads nowhere

    with server.open_client() as client:
        assert client.get("/readyz").json() == {"status": "ok"}
    assert f"the API, to try      {server.url}/docs" in server.output
    assert "password" not in server.output
    assert sorted(path.name for path in fresh.home.iterdir()) == ["postgres", "secret_key"]
    assert (fresh.home / "secret_key").stat().st_mode & 0o777 == 0o600

    assert server.stop(signal.SIGINT) == 0
    assert "Traceback" not in server.output
    assert not fresh.is_database_running


def test_when_its_terminal_is_closed_it_stops_its_database_too(place: Workspace) -> None:
    python, option, program = BOOKIT_COMMAND
    heeding = "import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL)"  # which whoever runs the tests may ignore
    place.command = (python, option, f"{heeding}; {program}")
    server = place.serve()
    assert server.url

    assert server.stop(signal.SIGHUP) == 0
    assert "Traceback" not in server.output
    assert not place.is_database_running


@pytest.mark.parametrize("sign", ["postgres/data.new", "postgres/log"])
def test_told_to_stop_in_the_middle_of_the_first_start_it_leaves_nothing_running(fresh: Workspace, sign: str) -> None:
    server = fresh.serve()
    wait_until((fresh.home / sign).exists)

    server.send_signal(signal.SIGINT)
    time.sleep(0.05)
    assert server.stop(signal.SIGINT) == 0  # Told again, by somebody impatient.
    assert server.output == ""
    assert not fresh.is_database_running
    with postgres(fresh.home) as url, psycopg.connect(url) as connection:
        assert connection.execute("SELECT 'usable'").fetchone() == ("usable",)


def test_a_request_in_flight_is_answered_before_the_end(place: Workspace) -> None:
    server = place.serve()
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
    assert not place.is_database_running


def test_workers_share_the_database_and_a_killed_one_is_replaced(place: Workspace) -> None:
    server = place.serve("--workers", "2")
    first, second = server.wait_for_output(WORKER, times=2)

    def ask() -> httpx2.Response:
        with server.open_client() as client:
            return client.get("/readyz")

    one_answers_while_the_other_stands_still([first, second], ask)
    os.kill(int(first), signal.SIGKILL)
    third = server.wait_for_output(WORKER, times=3)[2]
    one_answers_while_the_other_stands_still([second, third], ask)

    assert server.stop() == 0
    assert not place.is_database_running


def test_after_its_parent_was_killed_the_next_start_finds_the_port_free_and_the_sign_in_valid(place: Workspace) -> None:
    server = place.serve("--workers", "2")
    server.wait_for_output(WORKER, times=2)
    with server.open_client() as client:
        tokens = sign_in(client)
    server.process.kill()
    assert server.wait() == -signal.SIGKILL
    assert place.is_database_running

    server = place.start("serve", "--port", server.url.rpartition(":")[2])
    with server.open_client() as client:
        assert whoever(client, tokens)["role"] == "admin"
    assert server.stop() == 0
    assert not place.is_database_running


def test_two_first_starts_at_once_work_together_until_the_second_ends(fresh: Workspace) -> None:
    first, second = fresh.serve(), fresh.serve()
    person = {"name": "Tom", "email": "tom@example.com", "password": PASSWORD}

    with first.open_client() as client:
        client.post("/auth/register", json=person).raise_for_status()
        tokens = sign_in(client, person["email"])
    with second.open_client() as client:
        assert whoever(client, tokens)["name"] == "Tom"
        assert first.stop() == 0
        assert whoever(client, tokens)["name"] == "Tom"
    assert second.stop() == 0

    assert not fresh.is_database_running
    assert sorted(path.name for path in fresh.home.iterdir()) == ["postgres", "secret_key"]


def test_a_taken_port_is_said_at_once(fresh: Workspace) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])

        refusal = fresh.run("serve", "--port", port).error_message

    assert refusal == (
        f"BookIt cannot listen on 127.0.0.1:{port}: Address already in use. Choose others with --host and --port."
    )
    assert not (fresh.home / "postgres").exists()


@pytest.mark.parametrize("host", ["192.0.2.1", "x" * 64])
def test_a_host_that_is_not_here_is_said_at_once(fresh: Workspace, host: str) -> None:
    refusal = fresh.run("serve", "--host", host).error_message

    assert refusal.startswith(f"BookIt cannot listen on {host}:8000: ")
    assert refusal.endswith(". Choose others with --host and --port.")
    assert len(refusal.splitlines()) == 1
    assert not (fresh.home / "postgres").exists()


def test_each_request_is_one_line_of_log_and_none_tells_a_secret(running: tuple[Workspace, BookitProcess]) -> None:
    place, server = running
    with server.open_client() as client:
        client.headers["X-Request-Id"] = "mine"
        tokens = sign_in(client)
        whoever(client, tokens)
        client.get("/services", params={"q": tokens["refresh_token"]})
        renewed = client.post("/auth/refresh", json={"refresh_token": tokens["refresh_token"]}).json()
        client.post("/auth/login", json={"email": EMAIL, "password": "wrong horse battery"})
        client.get("/nowhere", headers={"Cookie": f"session={PASSWORD}"})
    server.wait_for_output('"path":"/nowhere"')

    requests = [line for line in server.log_entries if line["event"] == "request" and line["request_id"] == "mine"]
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
    all_said = server.output + (place.home / "postgres/log").read_text()
    secret = (place.home / "secret_key").read_text()
    for told in (PASSWORD, "wrong horse", "$2b$", secret, *tokens.values(), *renewed.values()):
        assert told == "bearer" or told not in all_said


def test_an_admin_is_made_while_it_serves_and_no_trace_has_the_password(
    running: tuple[Workspace, BookitProcess],
) -> None:
    place, server = running
    secret = "a passphrase of many words"

    made = place.run("create-admin", "Bea@Example.com", "--name", "Bea", "--password-stdin", stdin_text=f"{secret}\n")

    assert made == (0, "Bea@Example.com is an admin.\n", "")
    with server.open_client() as client:
        me = whoever(client, sign_in(client, "bea@example.com", secret))
        assert (me["name"], me["role"]) == ("Bea", "admin")
    with postgres(place.home) as url, psycopg.connect(url) as connection:
        events = str(connection.execute("SELECT * FROM events").fetchall())
    assert "bea@example.com" in events.lower()
    for trace in (events, server.output, (place.home / "postgres/log").read_text()):
        assert secret not in trace
        assert "$2b$" not in trace


def test_a_demo_has_a_sign_in_that_the_banner_tells(fresh: Workspace) -> None:
    server = fresh.serve("--demo")

    server.wait_for_output("Ctrl-C")
    password, *people = re.findall(r"(?<=password )\S+|\S+@example.com", server.output)

    with server.open_client() as client:
        roles = [whoever(client, sign_in(client, who, password))["role"] for who in people]
        assert len(client.get("/services").json()) == 12
    assert roles == ["user", "staff", "admin"]
    assert server.stop() == 0


def test_a_database_in_use_gets_no_demo_and_the_banner_no_sign_in(place: Workspace) -> None:
    with postgres(place.home) as url, psycopg.connect(url) as connection:
        connection.execute(A_BOOKING)

    server = place.serve("--demo")

    assert server.url
    assert "This database has bookings of its own" in server.output
    assert "Sign in" not in server.output


def test_a_demo_is_for_the_database_of_its_own_alone(fresh: Workspace) -> None:
    url = "postgresql://bookit@127.0.0.1:1/bookit"

    refusal = fresh.run("serve", "--demo", DATABASE_URL=url, SECRET_KEY="s" * 32).error_message

    assert refusal == "--demo makes people with a known password, so it works on the embedded database alone."


@pytest.mark.skipif(os.geteuid() != 0, reason="everything here runs as an ordinary user already")
def test_an_ordinary_user_serves_from_a_folder_of_their_own() -> None:
    nobody = pwd.getpwnam("nobody")
    try:
        bridge, who = embedded._run_as(nobody.pw_uid, nobody.pw_gid, sys.executable, sys.prefix, str(ROOT))
    except DatabaseWillNotStart:
        pytest.skip("an ordinary user cannot reach this Python")
    with tempfile.TemporaryDirectory(prefix="b-") as folder, ExitStack() as on_leaving:
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        place = Workspace(Path(folder))
        on_leaving.callback(place.close)
        place.command, place.popen_options = (*bridge, *BOOKIT_COMMAND), who

        server = place.serve()

        with server.open_client() as client:
            assert client.get("/readyz").status_code == 200
        assert {path.owner() for path in [place.home, *place.home.iterdir()]} == {"nobody"}
        assert server.stop() == 0
        assert not place.is_database_running
