"""The wire, against a real server: how many bytes, seconds and connections a stranger may take, and what the log says.

The server waits one second where BookIt waits ten or thirty, and takes 40 connections of one address.
"""

import json
import re
import socket
import struct
import time
from contextlib import ExitStack, closing
from random import Random
from typing import Any

import httpx2
import psycopg
import pytest

from admin.framework.session_cookie import PLAIN_NAME
from tests.support.people import PASSWORD, PASSWORD_HASH
from tests.support.processes import wait_until
from tests.support.server import PROGRAM, OpenServer, RunningServer

pytestmark = pytest.mark.process

MAX_HEAD = 32 * 1024
MAX_CONNECTIONS = 40
SHORT_DEADLINES = (
    "from bookit.policy import limits\n"
    "limits.HEAD_SECONDS = limits.BODY_SECONDS = limits.RESPONSE_SECONDS = limits.REPORT_SECONDS = 1\n"
)
GET = b"GET /healthz HTTP/1.1\r\nHost: here\r\n"
CHUNKED = b"POST /auth/login HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n"
RESET = struct.pack("ii", 1, 0)  # closes a connection at once, without the usual farewell


@pytest.fixture(scope="module")
def wire(open_server: OpenServer) -> RunningServer:
    """A server with short deadlines."""
    program = SHORT_DEADLINES + PROGRAM
    return open_server("wire", program=program, MAX_CONNECTIONS_PER_ADDRESS=str(MAX_CONNECTIONS))


def connect(server: RunningServer, address: str = "127.0.0.1") -> socket.socket:
    url = httpx2.URL(server.url)
    assert url.port
    return socket.create_connection((url.host, url.port), timeout=20, source_address=(address, 0))


def read_all(connection: socket.socket) -> bytes:
    """Return what arrives until the server closes the connection."""
    parts = []
    try:
        while part := connection.recv(100_000):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def is_cut(connection: socket.socket, part: bytes, *, times: int, pause: float = 0) -> bool:
    """Send this again and again. Return whether the server closes the connection meanwhile."""
    try:
        for _ in range(times):
            connection.sendall(part)
            time.sleep(pause)
    except (ConnectionResetError, BrokenPipeError):
        return True
    return False


def ask(server: RunningServer, *parts: bytes, address: str = "127.0.0.1") -> bytes:
    with closing(connect(server, address)) as connection:
        for part in parts:
            connection.sendall(part)
        return read_all(connection)


def is_healthy(server: RunningServer, address: str = "127.0.0.2") -> bool:
    return ask(server, GET + b"Connection: close\r\n\r\n", address=address).startswith(b"HTTP/1.1 200 ")


def log_entries(server: RunningServer, start: int = 0) -> list[dict[str, Any]]:
    lines = server.log.read_text("utf-8")[start:].splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def wait_for_refusal(server: RunningServer, address: str) -> list[dict[str, Any]]:
    """Wait for a line of the log about connections of this address, and return all of them."""

    def read() -> list[dict[str, Any]]:
        return [
            entry
            for entry in log_entries(server)
            if entry.get("event_kind") == "connection refused" and entry.get("address") == address
        ]

    wait_until(lambda: bool(read()))
    return read()


@pytest.mark.parametrize(
    ("size", "status"), [(MAX_HEAD - 100, b"200"), (MAX_HEAD + 100, b"431"), (3 * MAX_HEAD, b"431")]
)
@pytest.mark.parametrize("piece", [7_000, 1_000_000])
def test_a_head_has_32_kib_at_most(wire: RunningServer, size: int, status: bytes, piece: int) -> None:
    head = GET + b"Connection: close\r\nX: " + b"a" * (size - 80) + b"\r\n\r\n"

    answer = ask(wire, *(head[start : start + piece] for start in range(0, min(len(head), MAX_HEAD + 200), piece)))

    assert answer[9:12] == status


@pytest.mark.parametrize(
    ("start", "part"),
    [
        (GET, b"x-a: aaaaaaaaaaaaaaaaaa\r\n" * 500),
        (GET + b"x: ", b"a" * 10_000),
        (b"GET /", b"a" * 10_000),
        (b"", b"a" * 10_000),
        (CHUNKED + b"0\r\n", b"x-a: aaaaaaaaaaaaaaaaaa\r\n" * 500),
        (CHUNKED + b"1;", b"a" * 10_000),
    ],
    ids=["headers", "header-value", "url", "method", "trailers", "chunk-extension"],
)
def test_nothing_is_endless(wire: RunningServer, start: bytes, part: bytes) -> None:
    with closing(connect(wire)) as connection:
        connection.sendall(start)

        assert is_cut(connection, part, times=2_000)

    assert is_healthy(wire)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (GET, b"408"),
        (b"POST /auth/login HTTP/1.1\r\nHost: here\r\nContent-Length: 10\r\n\r\n{", b""),
        (b"\r\n", b"408"),
        (b"", b""),
    ],
    ids=["head", "body", "blank-lines", "nothing"],
)
def test_a_client_that_is_late_is_cut(wire: RunningServer, sent: bytes, status: bytes) -> None:
    started = time.monotonic()

    answer = ask(wire, sent)

    assert answer[9:12] == status
    assert 0.9 < time.monotonic() - started < 10


def test_a_drop_now_and_then_wins_no_time(wire: RunningServer) -> None:
    with closing(connect(wire)) as connection:
        connection.sendall(GET)

        assert is_cut(connection, b"x: y\r\n", times=100, pause=0.1)


def test_a_reader_that_takes_nothing_is_cut(wire: RunningServer) -> None:
    before = len(wire.log.read_text("utf-8"))
    with closing(connect(wire, "127.0.0.3")) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: here\r\n\r\n" * 200)

        assert [entry["detail"] for entry in wait_for_refusal(wire, "127.0.0.3")] == ["answer not taken"]

    assert {entry["level"] for entry in log_entries(wire, before)} <= {"info", "warning"}


def test_half_requests_of_one_address_keep_nobody_else_out(wire: RunningServer) -> None:
    with ExitStack() as stack:
        connections = [stack.enter_context(closing(connect(wire, "127.0.0.4"))) for _ in range(3 * MAX_CONNECTIONS)]
        for connection in connections[:MAX_CONNECTIONS]:
            connection.sendall(GET)
        assert is_healthy(wire, "127.0.0.5")
        refused = read_all(connections[-1])
        assert refused.startswith(b"HTTP/1.1 503 ")
        late = read_all(connections[0])
        assert late.startswith(b"HTTP/1.1 408 ")

    assert is_healthy(wire, "127.0.0.4")
    wait_until(lambda: len(wait_for_refusal(wire, "127.0.0.4")) > 1)
    first, second = wait_for_refusal(wire, "127.0.0.4")[:2]
    assert (first["detail"], first["count"]) == ("too many connections of this address", 1)
    assert second["count"] >= 2 * MAX_CONNECTIONS - 1


def test_two_thousand_pipelined_requests_are_answered_in_order(wire: RunningServer) -> None:
    paths = [f"/problems/{number}" for number in range(2_000)]
    requests = "".join(f"GET {path} HTTP/1.1\r\nHost: here\r\n\r\n" for path in paths[:-1])
    last = f"GET {paths[-1]} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n"

    answers = ask(wire, (requests + last).encode())

    assert answers.count(b"HTTP/1.1 404 ") == 2_000
    logged = [entry["path"] for entry in log_entries(wire) if entry.get("path", "").startswith("/problems/")]
    assert logged[-2_000:] == paths


def test_a_pipelined_body_is_read_before_the_next_request(wire: RunningServer) -> None:
    body = json.dumps({"email": "a" * 12_000}).encode()
    post = b"POST /auth/login HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    requests = (post % len(body) + body + GET + b"\r\n") * 20

    answers = ask(wire, requests + GET + b"Connection: close\r\n\r\n")

    assert re.findall(rb"HTTP/1\.1 (\d+)", answers) == [b"422", b"200"] * 20 + [b"200"]


def test_what_cannot_be_read_is_no_bug(wire: RunningServer) -> None:
    before = len(wire.log.read_text("utf-8"))
    values = [
        b"",
        b"[",
        b"\xff\xfe",
        b"a b",
        b"%",
        b"-1",
        b"9" * 400,
        b"null",
        b"\t;=,",
        b"http://[",
        b"*/*;q=x",
        b"[::1",
    ]
    names = (
        b"Origin Content-Length Content-Type Cookie Range If-None-Match If-Match Accept-Language Accept Expect Upgrade"
        b" Referer Authorization Idempotency-Key X-Forwarded-For X-Forwarded-Proto Transfer-Encoding Connection"
    ).split()
    lines = [b"%s: %s" % (name, value) for name in names for value in values]
    heads = [
        b"%s %s HTTP/1.1\r\nHost: here\r\n%s\r\nConnection: close\r\n\r\n" % (method, path, line)
        for line in lines
        for method, path in ((b"GET", b"/services"), (b"GET", b"/admin/login"), (b"POST", b"/admin/login"))
    ]
    heads += [b"GET /healthz HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n" % value for value in values]
    heads += [
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET http://here/services HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n",
        b"GET http://[ HTTP/1.1\r\nHost: here\r\n\r\n",
        b"CONNECT here:80 HTTP/1.1\r\nHost: here\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n",
        GET + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: \r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: here\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ]
    random = Random(1)

    answers = [send_and_end(wire, head) for head in heads]
    answers += [send_and_end(wire, random.randbytes(5_000)) for _ in range(100)]
    answers += [send_and_end(wire, GET + random.randbytes(1_000)) for _ in range(50)]

    statuses = [answer[9:10] for answer in answers]
    assert b"5" not in statuses
    assert statuses.count(b"2") > 100
    assert statuses.count(b"4") > 100
    problems = [entry for entry in log_entries(wire, before) if entry["level"] == "error" or "exception" in entry]
    assert problems == []
    assert is_healthy(wire)


def send_and_end(server: RunningServer, data: bytes) -> bytes:
    """Send all there is, and return the answer."""
    with closing(connect(server)) as connection:
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            return b""
        return read_all(connection)


def test_clients_that_pipeline_and_hang_up_are_no_bug(wire: RunningServer) -> None:
    before = len(wire.log.read_text("utf-8"))
    requests = [
        b"GET /services HTTP/1.1\r\nHost: here\r\n\r\n",
        b"GET /admin/login HTTP/1.1\r\nHost: here\r\n\r\n",
        CHUNKED,
        CHUNKED.replace(b"/auth", b"/admin").replace(b"here\r\n", b"here\r\nOrigin: http://here\r\n") + b"1\r\na\r\n",
    ]

    for number in range(300):
        with closing(connect(wire, "127.0.0.6")) as connection:
            connection.sendall(requests[number % 2] * (number % 20 + 1) + requests[number % 4])
            if number % 3 == 0:
                connection.recv(10)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)

    assert is_healthy(wire)
    entries = log_entries(wire, before)
    assert [entry for entry in entries if entry["level"] == "error" or entry.get("status", 0) >= 500] == []


def test_a_stream_lasts_longer_than_any_deadline(wire: RunningServer) -> None:
    """The calendar listens all day. Only bytes that a client does not take have a deadline."""
    with psycopg.connect(wire.database_url) as console:
        facts = ("Mara", "mara.of.the.wire@example.com", PASSWORD_HASH)
        console.execute("INSERT INTO users (name, email, password_hash, role) VALUES (%s, %s, %s, 'staff')", facts)
    with httpx2.Client(base_url=wire.url, headers={"origin": wire.url}, trust_env=False) as client:
        client.post("/admin/login", data={"username": facts[1], "password": PASSWORD})
        cookie = f"{PLAIN_NAME}={client.cookies[PLAIN_NAME]}"

    with closing(connect(wire)) as connection:
        connection.sendall(
            f"GET /admin/calendar/stream HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {cookie}\r\n\r\n".encode()
        )
        assert connection.recv(100_000).startswith(b"HTTP/1.1 200 ")
        connection.settimeout(0.5)
        until = time.monotonic() + 3.5
        while time.monotonic() < until:
            try:
                assert connection.recv(100_000) != b""  # nothing is the end
            except TimeoutError:
                continue
