"""Databases that belong to one test, and an SQL console beside BookIt."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg.rows import TupleRow
from sqlmodel import col, select

from bookit.db.pool import Database
from bookit.schema.tables import Resource

Console = psycopg.Connection[TupleRow]
OpenDatabase = Callable[..., Awaitable[Database]]

APPLICATION_NAME = "opened-by-test"
SELECT_NAMES = select(Resource.name).order_by(col(Resource.id))


def resource(name: str, **values: Any) -> Resource:
    return Resource(name=name, timezone="UTC", **values)


async def resource_names(database: Database) -> list[str]:
    return [row["name"] for row in await database.fetch(SELECT_NAMES)]


@pytest.fixture
def console(empty: str) -> Iterator[Console]:
    with psycopg.connect(empty, autocommit=True) as connection:
        yield connection


@pytest.fixture
async def open_database(empty: str) -> AsyncIterator[OpenDatabase]:
    """Open a pool that the test may break; it is closed after the test."""
    opened: list[Database] = []
    named_url = psycopg.conninfo.make_conninfo(empty, application_name=APPLICATION_NAME)

    async def open_database(url: str = named_url, *, pool_timeout: float = 5, **options: Any) -> Database:
        database = Database(url, **options)
        database._pool.timeout = pool_timeout
        await database.open()
        opened.append(database)
        return database

    yield open_database
    for database in opened:
        await database.close()
