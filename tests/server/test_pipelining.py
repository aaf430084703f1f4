"""Several requests on one connection, each sent before the response to the one before it."""

import json
import re
import socket
import struct

import httpx2
import pytest

from tests.support.processes import wait_until
from tests.support.server import RunningServer


@pytest.mark.parametrize("request_count", [1, 20])
def test_a_client_that_disconnects_early_leaves_no_error_in_the_log(served: RunningServer, request_count: int) -> None:
    address = httpx2.URL(served.url)
    before = len(served.log.read_text("utf-8"))  # Other tests of this worker use the server, too.
    reset = struct.pack("ii", 1, 0)  # closes the connection at once, without the usual farewell

    for _ in range(100):
        with socket.create_connection((address.host, address.port), timeout=20) as connection:
            connection.sendall(b"GET /services HTTP/1.1\r\nHost: here\r\n\r\n" * request_count)
            if request_count > 1:
                connection.recv(10)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
    last = f"the-last-{request_count}"
    httpx2.get(f"{served.url}/healthz", headers={"X-Request-Id": last})

    wait_until(lambda: f'"{last}"' in served.log.read_text("utf-8"))
    lines = served.log.read_text("utf-8")[before:].splitlines()
    entries = [json.loads(line) for line in lines if line.startswith("{")]
    assert {entry["level"] for entry in entries} == {"info"}


def test_responses_keep_their_order_with_and_without_a_body(served: RunningServer) -> None:
    requests = ["HEAD /healthz", "GET /healthz", "GET /nowhere", "HEAD /healthz"]
    address = httpx2.URL(served.url)
    lines = [f"{request} HTTP/1.1\r\nHost: here\r\n" for request in requests]

    with socket.create_connection((address.host, address.port), timeout=20) as connection:
        connection.sendall(("\r\n".join(lines) + "Connection: close\r\n\r\n").encode())
        responses = b"".join(iter(lambda: connection.recv(100_000), b""))

    assert re.findall(rb"HTTP/1\.1 (\d+)", responses) == [b"200", b"200", b"404", b"200"]
    assert responses.count(b'{"status": "ok"}') == 1
    assert responses.endswith(b"\r\n\r\n")
