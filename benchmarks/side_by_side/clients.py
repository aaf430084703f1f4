"""Hundreds of clients in this process, each with its own connection and one request at a time."""

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

TIMEOUT_SECONDS = 120


@dataclass(frozen=True)
class TimedResponse:
    """The status of a response, and how many milliseconds it took."""

    status: int
    ms: float


@dataclass
class Client:
    """One connection, kept open between requests."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, content: bytes) -> TimedResponse:
        """Send a request and wait for the whole response."""
        start = time.perf_counter()
        self.writer.write(content)
        head = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), TIMEOUT_SECONDS)).lower()
        length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
        await self.reader.readexactly(int(length or 0))
        return TimedResponse(int(head[9:12]), (time.perf_counter() - start) * 1000)


@asynccontextmanager
async def open_clients(port: int, count: int) -> AsyncIterator[list[Client]]:
    """Open this many connections; close them when the block ends."""
    clients: list[Client] = []
    try:
        while len(clients) < count:
            clients.append(Client(*await asyncio.open_connection("127.0.0.1", port)))
        yield clients
    finally:
        for client in clients:
            client.writer.close()


def build_request(method: str, path: str, *, token: str = "", body: Any = None) -> bytes:
    """Return the bytes of a request."""
    content = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: bookit.test"]
    lines += [f"Authorization: Bearer {token}"] if token else []
    lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"] if content else []
    return "\r\n".join([*lines, "", ""]).encode() + content


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that this percentage of the values does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]
