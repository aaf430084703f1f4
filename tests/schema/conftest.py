"""A business without bookings, and the consoles and customers that will book there."""

from collections.abc import Iterator
from contextlib import ExitStack

import psycopg
import pytest
from sqlmodel import select

from bookit.db.pool import Database
from bookit.schema.tables import User
from tests.support.people import MakeClient, Person
from tests.support.races import BUSINESS, WRITERS, Console


@pytest.fixture(scope="module")
def creator(database_url: str) -> Iterator[Console]:
    """Open the console that creates what a module's tests begin with.

    A new one would first read the schema and each trigger. It does not last longer, since other tests end connections.
    """
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def console(empty: str, creator: Console) -> Iterator[Console]:
    """Open a console on a business with sixty-four customers and no bookings."""
    creator.execute(BUSINESS)
    with psycopg.connect(empty, autocommit=True) as connection:
        yield connection


def open_consoles(url: str, number: int, stack: ExitStack) -> list[Console]:
    return [stack.enter_context(psycopg.connect(url, autocommit=True)) for _ in range(number)]


@pytest.fixture
def two_writers(console: Console, database_url: str) -> Iterator[list[Console]]:
    """Return two consoles that write and one that watches."""
    with ExitStack() as stack:
        yield [*open_consoles(database_url, 2, stack), console]


@pytest.fixture(scope="module")
def other_consoles(database_url: str, server: str) -> Iterator[list[Console]]:
    """Open sixty-three consoles for all tests of a module: to open them takes longer than to write with them.

    PostgreSQL has too few connections for all workers, so the workers take turns.
    """
    with ExitStack() as stack:
        [turn] = open_consoles(server, 1, stack)
        turn.execute("SELECT pg_advisory_lock(64)")
        yield open_consoles(database_url, WRITERS - 1, stack)


@pytest.fixture
def consoles(console: Console, other_consoles: list[Console]) -> Iterator[list[Console]]:
    """Return sixty-four consoles, the first on its own."""
    yield [console, *other_consoles]
    for other in other_consoles:
        other.rollback()


@pytest.fixture
async def customers(database: Database, console: Console, client_of: MakeClient) -> list[Person]:
    rows = await database.fetch(select(User).order_by("id"))
    return [Person(user, client_of(user)) for user in (User(**row) for row in rows)]
