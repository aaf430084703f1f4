"""Clients by the hundred, each a connection of its own that asks one thing at a time: as many as meet on one slot."""

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

TIMEOUT_SECONDS = 120  # seconds


@dataclass(frozen=True)
class TimedResponse:
    """A status, and how long it took in milliseconds."""

    status: int
    ms: float


@dataclass
class Client:
    """One connection that is kept."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, content: bytes) -> TimedResponse:
        """Send a request and wait for the whole answer."""
        began = time.perf_counter()
        self.writer.write(content)
        head = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), TIMEOUT_SECONDS)).lower()
        length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
        await self.reader.readexactly(int(length or 0))
        return TimedResponse(int(head[9:12]), (time.perf_counter() - began) * 1000)


@asynccontextmanager
async def open_clients(port: int, count: int) -> AsyncIterator[list[Client]]:
    """Have so many connections open for as long as the block runs."""
    opened: list[Client] = []
    try:
        while len(opened) < count:
            opened.append(Client(*await asyncio.open_connection("127.0.0.1", port)))
        yield opened
    finally:
        for client in opened:
            client.writer.close()


def build_request(method: str, path: str, *, token: str = "", body: Any = None) -> bytes:
    """Give a request as it is sent."""
    content = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: bookit.test"]
    lines += [f"Authorization: Bearer {token}"] if token else []
    lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"] if content else []
    return "\r\n".join([*lines, "", ""]).encode() + content


def percentile(values: Sequence[float], percent: float) -> float:
    """Give the smallest value that so many percent do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]
