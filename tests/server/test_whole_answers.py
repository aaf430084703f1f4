"""An answer's head leaves with its body, and without one none the later."""

import asyncio
import re
import socket
import struct

import httpx2

from server.runner import Whole
from tests.support.processes import wait_until
from tests.support.server import RunningServer


class Wire:
    """Stands for the network: keeps what is sent, and in which pieces."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.is_closed = False

    def write(self, data: bytes) -> None:
        """Send this."""
        assert not self.is_closed
        self.sent.append(data)

    def close(self) -> None:
        """Send nothing more."""
        self.is_closed = True

    def is_closing(self) -> bool:
        """Whether nobody is there any more."""
        return self.is_closed


async def test_a_head_leaves_with_its_body() -> None:
    wire = Wire()
    whole = Whole(wire)

    for body in (b"one", b"two"):
        whole.write(b"head ")
        whole.write(body)
    await asyncio.sleep(0)

    assert wire.sent == [b"head one", b"head two"]


async def test_a_head_alone_leaves_at_the_end_of_the_turn() -> None:
    wire = Wire()
    whole = Whole(wire)

    whole.write(b"head ")
    await asyncio.sleep(0)
    whole.write(b"later")
    await asyncio.sleep(0)

    assert wire.sent == [b"head ", b"later"]


async def test_what_waits_leaves_before_the_connection_is_closed() -> None:
    wire = Wire()
    whole = Whole(wire)

    whole.write(b"head ")
    whole.close()
    await asyncio.sleep(0)

    assert (wire.sent, wire.is_closed) == ([b"head "], True)


async def test_who_has_left_is_sent_nothing() -> None:
    wire = Wire()
    whole = Whole(wire)

    whole.write(b"head ")
    wire.close()
    await asyncio.sleep(0)
    whole.write(b"head ")
    await asyncio.sleep(0)

    assert wire.sent == []


def test_who_hangs_up_on_what_they_asked_is_no_bug(served: RunningServer) -> None:
    address = httpx2.URL(served.url)
    at_once = struct.pack("ii", 1, 0)  # to reset the connection, rather than to close it in peace

    for _ in range(100):
        with socket.create_connection((address.host, address.port), timeout=20) as connection:
            connection.sendall(b"GET /services HTTP/1.1\r\nHost: here\r\n\r\n" * 20)
            connection.recv(10)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
    httpx2.get(f"{served.url}/healthz", headers={"X-Request-Id": "the-last"})

    wait_until(lambda: '"the-last"' in served.log.read_text("utf-8"))
    assert '"event":"unhandled error"' not in served.log.read_text("utf-8")


def test_answers_keep_their_order_with_and_without_a_body(served: RunningServer) -> None:
    asked = ["HEAD /healthz", "GET /healthz", "GET /nowhere", "HEAD /healthz"]
    address = httpx2.URL(served.url)
    lines = [f"{one} HTTP/1.1\r\nHost: here\r\n" for one in asked]

    with socket.create_connection((address.host, address.port), timeout=20) as connection:
        connection.sendall(("\r\n".join(lines) + "Connection: close\r\n\r\n").encode())
        answers = b"".join(iter(lambda: connection.recv(100_000), b""))

    assert re.findall(rb"HTTP/1\.1 (\d+)", answers) == [b"200", b"200", b"404", b"200"]
    assert answers.count(b'{"status": "ok"}') == 1
    assert answers.endswith(b"\r\n\r\n")
