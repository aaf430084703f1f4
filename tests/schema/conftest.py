"""A business in which nothing is booked, and those who are about to book."""

from collections.abc import Iterator
from contextlib import ExitStack

import psycopg
import pytest
from sqlmodel import select

from bookit.db.pool import Database
from bookit.schema.tables import User
from tests.conftest import MakeClient, Person
from tests.support.races import BUSINESS, WRITERS, Console


@pytest.fixture
def console(empty: str) -> Iterator[Console]:
    """Open a console of a business with sixty-four customers, and nothing booked."""
    with psycopg.connect(empty, autocommit=True) as connection:
        connection.execute(BUSINESS)
        yield connection


def open_consoles(url: str, number: int, on_leaving: ExitStack) -> list[Console]:
    return [on_leaving.enter_context(psycopg.connect(url, autocommit=True)) for _ in range(number)]


@pytest.fixture
def two_writers(console: Console, database_url: str) -> Iterator[list[Console]]:
    """Give mine, yours, and one that looks on."""
    with ExitStack() as on_leaving:
        yield [*open_consoles(database_url, 2, on_leaving), console]


@pytest.fixture
def consoles(console: Console, database_url: str, server: str) -> Iterator[list[Console]]:
    """Give sixty-four. One PostgreSQL has too few for all workers at once, so these take turns."""
    with ExitStack() as on_leaving:
        [turn] = open_consoles(server, 1, on_leaving)
        turn.execute("SELECT pg_advisory_lock(64)")
        yield [console, *open_consoles(database_url, WRITERS - 1, on_leaving)]


@pytest.fixture
async def customers(database: Database, console: Console, client_of: MakeClient) -> list[Person]:
    rows = await database.fetch(select(User).order_by("id"))
    return [Person(user, client_of(user)) for user in (User(**row) for row in rows)]
