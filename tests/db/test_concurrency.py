"""Deadlocks, conflicts and locks: what an act meets when another transaction changes the same rows."""

import asyncio
import time
from collections.abc import AsyncIterator

import anyio.to_thread
import psycopg
import pytest
from psycopg.rows import TupleRow
from sqlalchemy import text

from bookit import refusals as no
from bookit.db.errors import retry_interrupted
from bookit.db.pool import Database
from bookit.db.session import Session
from bookit.schema.tables import Resource
from tests.db.conftest import Console, resource
from tests.support.people import OWNER

OtherConnection = psycopg.AsyncConnection[TupleRow]


@pytest.fixture
async def other(empty: str) -> AsyncIterator[OtherConnection]:
    """Another connection, which changes the same rows."""
    async with await psycopg.AsyncConnection.connect(empty, autocommit=True) as connection:
        yield connection


def wait_until_blocked(console: Console, backend_pid: int) -> None:
    """Return when this backend of PostgreSQL waits for a lock."""
    blocked = "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = %s"
    while console.execute(blocked, [backend_pid]).fetchall() != [(True,)]:
        time.sleep(0.005)


async def cause_deadlock(session: Session, other: OtherConnection, console: Console) -> None:
    """Make both wait for the other's lock. PostgreSQL aborts the one that waited first: this session."""
    first, second = await session.get(Resource, 1), await session.get(Resource, 2)
    [backend] = await session.fetch(text("SELECT pg_backend_pid() AS pid"))
    assert first
    assert second

    async def close_the_circle() -> None:
        await anyio.to_thread.run_sync(wait_until_blocked, console, backend["pid"])
        await other.execute("UPDATE resources SET capacity = 5 WHERE id = 1")

    await other.execute("BEGIN")
    await other.execute("UPDATE resources SET capacity = 5 WHERE id = 2")
    await session.update(first, capacity=7)
    closing = asyncio.create_task(close_the_circle())
    try:
        await session.update(second, capacity=7)
    finally:
        await closing
        await other.execute("ROLLBACK")


@pytest.mark.parametrize("deadlocks", [1, 2])
async def test_an_act_is_retried_once_after_a_deadlock(
    database: Database, other: OtherConnection, console: Console, deadlocks: int
) -> None:
    console.execute("INSERT INTO resources (name, timezone) VALUES ('Room', 'UTC'), ('Hall', 'UTC')")
    runs: list[str] = []

    async def act() -> str:
        async with database.transaction(by=OWNER) as session:
            runs.append("run")
            if len(runs) <= deadlocks:
                await cause_deadlock(session, other, console)
            return "done"

    [outcome] = await asyncio.gather(retry_interrupted(act), return_exceptions=True)

    assert len(runs) == 2
    assert type(outcome) is (str if deadlocks == 1 else no.Interrupted)
    assert console.execute("SELECT capacity FROM resources").fetchall() == [(1,), (1,)]


async def read_then_update(session: Session, console: Console) -> None:
    await session.fetch(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
    row = await session.get(Resource, 1)
    console.execute("UPDATE resources SET name = 'Hall'")
    if row:
        await session.update(row, name="Yard")


async def test_a_serialization_failure_is_an_interruption(database: Database, console: Console) -> None:
    console.execute("INSERT INTO resources (name, timezone) VALUES ('Room', 'UTC')")

    with pytest.raises(no.Interrupted):
        async with database.transaction(by=OWNER) as session:
            await read_then_update(session, console)


async def test_no_other_connection_changes_a_row_read_for_update(database: Database, console: Console) -> None:
    console.execute("INSERT INTO resources (name, timezone) VALUES ('Room', 'UTC'); SET lock_timeout = '50ms'")

    async with database.transaction(by=OWNER) as session:
        await session.get(Resource, 1, for_update=True)

        with pytest.raises(psycopg.errors.LockNotAvailable):
            console.execute("UPDATE resources SET name = 'Hall'")


async def insert_with_timeout(session: Session, setting: str) -> None:
    await session.fetch(text(f"SET LOCAL {setting} = '50ms'"))
    await session.insert(resource("Room"))


@pytest.mark.parametrize("setting", ["lock_timeout", "statement_timeout"])
async def test_a_timeout_is_refused_as_busy(database: Database, console: Console, setting: str) -> None:
    console.execute("BEGIN; LOCK TABLE resources IN EXCLUSIVE MODE")

    with pytest.raises(no.Busy) as caught:
        async with database.transaction(by=OWNER) as session:
            await insert_with_timeout(session, setting)

    assert (type(caught.value), str(caught.value)) == (no.Busy, "BookIt is busy. Please try again in a moment.")
