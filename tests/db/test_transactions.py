"""``transaction()`` commits everything or nothing; a savepoint is a part of it that can fail alone."""

import asyncio
from contextlib import suppress
from typing import Any

import anyio
import psycopg
import pytest
from sqlalchemy import text

from bookit import refusals as no
from bookit.db.pool import Database
from bookit.schema.tables import Resource, ServiceResource
from tests.db.conftest import OpenDatabase, resource, resource_names
from tests.support.people import OWNER

SLEEP = text("SELECT pg_sleep(60)")
INSERT_BOOKING = """
    WITH customer AS (
      INSERT INTO users (name, email, password_hash) VALUES ('Tom', 'tom@example.com', 'none') RETURNING id
    ), service AS (
      INSERT INTO services (title, price, duration_minutes) VALUES ('Haircut', 35, 60) RETURNING id
    )
    INSERT INTO bookings (user_id, service_id, resource_id, start_time, end_time, blocks_from, blocks_until, price)
    SELECT c.id, s.id, r.id, start, start + '1 h', start, start + '1 h', 35
      FROM customer c, service s, resources r, CAST('2030-01-08 10:00Z' AS timestamptz) AS start
"""


# All or nothing.


async def test_a_transaction_commits_at_its_end(database: Database) -> None:
    async with database.transaction(by=OWNER) as session:
        await session.insert(resource("Room"))
        await session.insert(resource("Hall"))
        before = await resource_names(database)

    assert before == []
    assert await resource_names(database) == ["Room", "Hall"]


async def test_a_dry_run_is_rolled_back(database: Database) -> None:
    async with database.transaction(by=OWNER, dry_run=True) as session:
        inserted = await session.insert(resource("Room"))

    assert inserted.id == 1
    assert await resource_names(database) == []


@pytest.mark.parametrize("error", [no.Forbidden, ValueError, KeyboardInterrupt, asyncio.CancelledError])
async def test_an_error_rolls_the_transaction_back(database: Database, error: type[BaseException]) -> None:
    with suppress(error):
        async with database.transaction(by=OWNER) as session:
            await session.insert(resource("Room"))
            raise error

    assert await resource_names(database) == []


async def test_a_violated_constraint_rolls_the_transaction_back(database: Database) -> None:
    with suppress(no.CapacityOutOfRange):
        async with database.transaction(by=OWNER) as session:
            await session.insert(resource("Room"))
            await session.insert(resource("Hall", capacity=0))

    assert await resource_names(database) == []


@pytest.mark.parametrize("statement", [SLEEP, None], ids=["in a statement", "between statements"])
async def test_a_cancelled_transaction_is_rolled_back_and_returns_its_connection(
    open_database: OpenDatabase, statement: Any
) -> None:
    database = await open_database(size=1)

    with suppress(TimeoutError):
        async with asyncio.timeout(0.1), database.transaction(by=OWNER) as session:
            await session.insert(resource("Room"))
            await (anyio.sleep(60) if statement is None else session.fetch(statement))

    assert await resource_names(database) == []


async def test_a_cancelled_read_returns_its_connection(open_database: OpenDatabase) -> None:
    database = await open_database(size=1)

    with suppress(TimeoutError):
        async with asyncio.timeout(0.1):
            await database.fetch(SLEEP)

    assert await resource_names(database) == []


async def test_a_transaction_with_a_swallowed_error_raises_at_its_end(database: Database) -> None:
    async def swallow() -> None:
        async with database.transaction(by=OWNER) as session:
            await session.insert(resource("Room"))
            with suppress(psycopg.Error):
                await session.insert(resource("Hall", capacity=0))

    with pytest.raises(psycopg.errors.InFailedSqlTransaction):
        await swallow()


# Savepoints.


async def test_a_refused_savepoint_leaves_the_rest(database: Database) -> None:
    async with database.transaction(by=OWNER) as session:
        await session.insert(resource("Room"))
        with suppress(no.CapacityOutOfRange):
            async with session.savepoint():
                await session.insert(resource("Hall"))
                await session.insert(resource("Yard", capacity=0))
        async with session.savepoint():
            await session.insert(resource("Loft"))

    assert await resource_names(database) == ["Room", "Loft"]


async def test_another_error_in_a_savepoint_ends_the_transaction(database: Database) -> None:
    with suppress(ValueError):
        async with database.transaction(by=OWNER) as session:
            await session.insert(resource("Room"))
            async with session.savepoint():
                raise ValueError

    assert await resource_names(database) == []


async def test_a_savepoint_inside_a_savepoint_is_rolled_back_with_it(database: Database) -> None:
    async with database.transaction(by=OWNER) as session:
        await session.insert(resource("Room"))
        with suppress(no.Forbidden):
            async with session.savepoint():
                await session.insert(resource("Hall"))
                with suppress(no.CapacityOutOfRange):
                    async with session.savepoint():
                        await session.insert(resource("Yard", capacity=0))
                raise no.Forbidden

    assert await resource_names(database) == ["Room"]


async def test_after_a_refused_deletion_a_missing_parent_is_still_called_missing(database: Database) -> None:
    async with database.transaction(by=OWNER) as session:
        chair = await session.insert(resource("Chair"))
        await session.fetch(text(INSERT_BOOKING))
        with suppress(no.StillInUse):
            async with session.savepoint():
                await session.delete(chair)

        with pytest.raises(no.UnknownService) as caught:
            async with session.savepoint():
                await session.insert(ServiceResource(service_id=999, resource_id=chair.id))

    assert str(caught.value) == "There is no such service."


# Rows.


async def test_get_returns_none_for_an_unknown_id(database: Database) -> None:
    async with database.transaction(by=OWNER) as session:
        assert await session.get(Resource, 1) is None


async def test_copied_rows_obey_the_constraints(database: Database) -> None:
    with suppress(no.CapacityOutOfRange):
        async with database.transaction(by=OWNER) as session:
            await session.copy_rows(
                Resource, ["name", "timezone", "capacity"], [("Room", "UTC", 1), ("Hall", "UTC", 0)]
            )
    async with database.transaction(by=OWNER) as session:
        count = await session.copy_rows(Resource, ["name", "timezone"], [("Yard", "UTC"), ("Loft", "UTC")])

    assert count == 2
    assert await resource_names(database) == ["Yard", "Loft"]
