"""SQL consoles that write history in transactions of their own, and a change feed that polls quickly."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest

from bookit import change_feed

AsyncConsole = psycopg.AsyncConnection[Any]


@asynccontextmanager
async def two_consoles(url: str) -> AsyncIterator[tuple[AsyncConsole, AsyncConsole]]:
    """Open two consoles, each in a transaction of its own."""
    async with await psycopg.AsyncConnection.connect(url) as one, await psycopg.AsyncConnection.connect(url) as other:
        yield one, other


async def insert_resource(console: AsyncConsole, name: str) -> None:
    """Write one event."""
    await console.execute("INSERT INTO resources (name, timezone) VALUES (%s, 'UTC')", (name,))


class Polls:
    """How often the change feeds have read history."""

    count = 0


@pytest.fixture
def polls(monkeypatch: pytest.MonkeyPatch) -> Polls:
    """Count the polls, and let them follow each other quickly."""
    counted, original = Polls(), change_feed.poll

    async def poll(*arguments: Any) -> Any:
        counted.count += 1
        return await original(*arguments)

    monkeypatch.setattr(change_feed, "poll", poll)
    monkeypatch.setattr(change_feed, "POLL_INTERVAL_SECONDS", 0.02)
    return counted
