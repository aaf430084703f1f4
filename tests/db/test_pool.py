"""The pool: when no connection is free, when the database restarts, and how each connection is set up."""

import asyncio
from contextlib import AsyncExitStack, suppress
from typing import Any

import pytest
from sqlalchemy import text

from bookit import refusals as no
from bookit.db.pool import Database
from bookit.db.session import Session
from bookit.schema.tables import ServiceResource, User
from tests.db.conftest import APPLICATION_NAME, SELECT_NAMES, Console, OpenDatabase, resource, resource_names
from tests.support.people import OWNER

SELECT_SETTINGS = text(
    "SELECT pg_sleep(0.05), jsonb_object_agg(name, setting) AS settings FROM pg_settings WHERE name IN"
    " ('TimeZone', 'jit', 'statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout')"
)
COUNT_PREPARED = text("SELECT count(*) AS count FROM pg_prepared_statements WHERE NOT from_sql")
TERMINATE = f"""
    SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity
     WHERE application_name = '{APPLICATION_NAME}' AND datname = current_database()
"""


# No connection.


async def test_a_call_without_a_free_connection_is_refused_as_busy(open_database: OpenDatabase) -> None:
    database = await open_database(size=1)

    async with database.transaction(by=OWNER):
        database._pool.timeout = 0.05
        with pytest.raises(no.Busy):
            await database.fetch(SELECT_NAMES)
        with pytest.raises(no.Busy):
            await database.transaction(by=OWNER).__aenter__()

    assert await resource_names(database) == []


async def test_an_unreachable_database_is_refused_as_busy(open_database: OpenDatabase) -> None:
    database = await open_database("postgresql://bookit@:1/bookit?host=/nowhere", pool_timeout=0.05)

    with pytest.raises(no.Busy):
        await database.fetch(SELECT_NAMES)


# A restart.


async def fill_pool(database: Database) -> None:
    """Make the pool open three connections or more, which are then idle in it."""
    async with AsyncExitStack() as on_exit:
        for _ in range(3):
            await on_exit.enter_async_context(database.transaction(by=OWNER))


async def test_a_read_succeeds_after_the_database_restarted(open_database: OpenDatabase, console: Console) -> None:
    database = await open_database()
    await fill_pool(database)

    [[terminated]] = console.execute(TERMINATE).fetchall()

    assert terminated >= 3
    assert await resource_names(database) == []


async def test_an_act_is_refused_at_most_once_after_the_database_restarted(
    open_database: OpenDatabase, console: Console
) -> None:
    database = await open_database()
    await fill_pool(database)
    console.execute(TERMINATE)

    with suppress(no.Disconnected):
        async with database.transaction(by=OWNER) as session:
            await session.insert(resource("Room"))
    async with database.transaction(by=OWNER) as session:
        await session.insert(resource("Hall"))

    assert (await resource_names(database))[-1] == "Hall"


async def insert_around_termination(session: Session, console: Console) -> None:
    await session.insert(resource("Room"))
    console.execute(TERMINATE)
    await session.insert(resource("Hall"))


async def test_a_transaction_that_loses_its_connection_commits_nothing(
    open_database: OpenDatabase, console: Console
) -> None:
    database = await open_database()

    with pytest.raises(no.Disconnected) as caught:
        async with database.transaction(by=OWNER) as session:
            await insert_around_termination(session, console)

    assert str(caught.value) == "The connection to the database was lost. Please try again."
    assert await resource_names(database) == []


# Set-up and messages.


async def test_every_connection_has_its_time_zone_and_timeouts(open_database: OpenDatabase) -> None:
    database = await open_database(size=4)

    results = await asyncio.gather(*(database.fetch(SELECT_SETTINGS) for _ in range(4)))

    assert [row["settings"] for [row] in results] == [
        {
            "TimeZone": "UTC",
            "jit": "off",
            "statement_timeout": "30000",
            "lock_timeout": "10000",
            "idle_in_transaction_session_timeout": "60000",
        }
    ] * 4


@pytest.mark.parametrize(("is_enabled", "count"), [(True, 1), (False, 0)])
async def test_statements_are_prepared_unless_disabled(
    open_database: OpenDatabase, is_enabled: bool, count: int
) -> None:
    database = await open_database(size=1, uses_prepared_statements=is_enabled)
    for _ in range(7):
        await database.fetch(SELECT_NAMES)

    [row] = await database.fetch(COUNT_PREPARED)

    assert row["count"] == count


@pytest.mark.parametrize(
    "row",
    [
        User(name="private", email="private", password_hash="private"),
        User(name="private" * 20, email="private@example.com", password_hash="private"),
        User(name=None, email="private@example.com", password_hash="private"),  # type: ignore[arg-type]  # left out
        ServiceResource(service_id=4242, resource_id=4242),
    ],
    ids=["e-mail", "name", "nothing", "parent"],
)
async def test_no_refusal_contains_the_values_of_a_row(database: Database, row: Any) -> None:
    with pytest.raises(no.Refusal) as caught:
        async with database.transaction(by=OWNER) as session:
            await session.insert(row)

    message = f"{caught.value!s} {caught.value!r} {caught.value.args} {caught.value.details}"
    assert "private" not in message
    assert "4242" not in message
