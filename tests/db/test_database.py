"""The pool, ``fetch()`` and ``transaction()``: all or nothing, and a plain word when the database has none to spare."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, suppress
from typing import Any

import anyio.to_thread
import psycopg
import pytest
from psycopg.rows import TupleRow
from sqlalchemy import text
from sqlmodel import col, select

from bookit import refusals as no
from bookit.db.errors import retry_interrupted
from bookit.db.pool import Database
from bookit.db.session import Session
from bookit.schema.tables import Resource, ServiceResource, User
from tests.conftest import OWNER

Console = psycopg.Connection[TupleRow]
Opponent = psycopg.AsyncConnection[TupleRow]
MakeDatabase = Callable[..., Awaitable[Database]]

NAMES = select(Resource.name).order_by(col(Resource.id))
LONG_NAP = text("SELECT pg_sleep(60)")
SETTINGS = text(
    "SELECT pg_sleep(0.05), jsonb_object_agg(name, setting) AS settings FROM pg_settings WHERE name IN"
    " ('TimeZone', 'jit', 'statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout')"
)
KILL = """
    SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity
     WHERE application_name = 'ill-treated' AND datname = current_database()
"""


BOOKED = """
    WITH customer AS (
      INSERT INTO users (name, email, password_hash) VALUES ('Tom', 'tom@example.com', 'none') RETURNING id
    ), service AS (
      INSERT INTO services (title, price, duration_minutes) VALUES ('Haircut', 35, 60) RETURNING id
    )
    INSERT INTO bookings (user_id, service_id, resource_id, start_time, end_time, blocks_from, blocks_until, price)
    SELECT c.id, s.id, r.id, start, start + '1 h', start, start + '1 h', 35
      FROM customer c, service s, resources r, CAST('2030-01-08 10:00Z' AS timestamptz) AS start
"""


def room(name: str, **more: Any) -> Resource:
    return Resource(name=name, timezone="UTC", **more)


@pytest.fixture
def console(empty: str) -> Iterator[Console]:
    with psycopg.connect(empty, autocommit=True) as connection:
        yield connection


@pytest.fixture
async def opponent(empty: str) -> AsyncIterator[Opponent]:
    """Somebody else at a console."""
    async with await psycopg.AsyncConnection.connect(empty, autocommit=True) as connection:
        yield connection


@pytest.fixture
async def make(empty: str) -> AsyncIterator[MakeDatabase]:
    """Make pools to ill-treat."""
    opened: list[Database] = []

    async def make(url: str = f"{empty}&application_name=ill-treated", patience: float = 5, **more: Any) -> Database:
        database = Database(url, **more)
        database._pool.timeout = patience
        await database.open()
        opened.append(database)
        return database

    yield make
    for database in opened:
        await database.close()


async def names(database: Database) -> list[str]:
    """Give the names of the resources there are."""
    return [row["name"] for row in await database.fetch(NAMES)]


# All or nothing.


async def test_a_transaction_keeps_what_was_done_in_it(database: Database) -> None:
    async with database.transaction(by=OWNER) as session:
        await session.insert(room("Room"))
        await session.insert(room("Hall"))
        before = await names(database)

    assert before == []
    assert await names(database) == ["Room", "Hall"]


@pytest.mark.parametrize("error", [no.Forbidden, ValueError, KeyboardInterrupt, asyncio.CancelledError])
async def test_a_transaction_that_raises_keeps_nothing(database: Database, error: type[BaseException]) -> None:
    with suppress(error):
        async with database.transaction(by=OWNER) as session:
            await session.insert(room("Room"))
            raise error

    assert await names(database) == []


async def test_a_broken_promise_takes_the_whole_transaction_with_it(database: Database) -> None:
    with suppress(no.CapacityOutOfRange):
        async with database.transaction(by=OWNER) as session:
            await session.insert(room("Room"))
            await session.insert(room("Hall", capacity=0))

    assert await names(database) == []


@pytest.mark.parametrize("statement", [LONG_NAP, None], ids=["in a statement", "between statements"])
async def test_a_transaction_that_is_called_off_keeps_nothing_and_gives_its_connection_back(
    make: MakeDatabase, statement: Any
) -> None:
    database = await make(size=1)

    with anyio.move_on_after(0.1):
        async with database.transaction(by=OWNER) as session:
            await session.insert(room("Room"))
            await (anyio.sleep(60) if statement is None else session.fetch(statement))

    assert await names(database) == []


async def test_a_read_that_is_called_off_gives_its_connection_back(make: MakeDatabase) -> None:
    database = await make(size=1)

    with anyio.move_on_after(0.1):
        await database.fetch(LONG_NAP)

    assert await names(database) == []


async def test_a_transaction_that_failed_half_way_does_not_pretend_to_have_worked(database: Database) -> None:
    async def swallow() -> None:
        async with database.transaction(by=OWNER) as session:
            await session.insert(room("Room"))
            with suppress(psycopg.Error):
                await session.insert(room("Hall", capacity=0))

    with pytest.raises(psycopg.errors.InFailedSqlTransaction):
        await swallow()


# A part that may fail.


async def test_a_refused_attempt_keeps_the_rest(database: Database) -> None:
    async with database.transaction(by=OWNER) as session:
        await session.insert(room("Room"))
        with suppress(no.CapacityOutOfRange):
            async with session.savepoint():
                await session.insert(room("Hall"))
                await session.insert(room("Yard", capacity=0))
        async with session.savepoint():
            await session.insert(room("Loft"))

    assert await names(database) == ["Room", "Loft"]


async def test_an_attempt_that_raises_something_else_ends_the_whole(database: Database) -> None:
    with suppress(ValueError):
        async with database.transaction(by=OWNER) as session:
            await session.insert(room("Room"))
            async with session.savepoint():
                raise ValueError

    assert await names(database) == []


async def test_an_attempt_inside_an_attempt_is_undone_with_it(database: Database) -> None:
    async with database.transaction(by=OWNER) as session:
        await session.insert(room("Room"))
        with suppress(no.Forbidden):
            async with session.savepoint():
                await session.insert(room("Hall"))
                with suppress(no.CapacityOutOfRange):
                    async with session.savepoint():
                        await session.insert(room("Yard", capacity=0))
                raise no.Forbidden

    assert await names(database) == ["Room"]


async def test_after_a_refused_deletion_a_missing_parent_is_still_called_missing(database: Database) -> None:
    async with database.transaction(by=OWNER) as session:
        chair = await session.insert(room("Chair"))
        await session.fetch(text(BOOKED))
        with suppress(no.StillInUse):
            async with session.savepoint():
                await session.delete(chair)

        with pytest.raises(no.UnknownService) as caught:
            async with session.savepoint():
                await session.insert(ServiceResource(service_id=999, resource_id=chair.id))

    assert str(caught.value) == "There is no such service."


# Others at work.


def wait_until_blocked(watcher: Console, number: int) -> None:
    """Come back when this process of PostgreSQL waits for somebody's lock."""
    blocked = "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = %s"
    while watcher.execute(blocked, [number]).fetchall() != [(True,)]:
        time.sleep(0.005)


async def make_them_deadlock(session: Session, opponent: Opponent, watcher: Console) -> None:
    """Have both wait for what the other holds. PostgreSQL ends the one that waited first: this session."""
    first, second = await session.get(Resource, 1), await session.get(Resource, 2)
    [me] = await session.fetch(text("SELECT pg_backend_pid() AS number"))
    assert first
    assert second

    async def close_the_circle() -> None:
        await anyio.to_thread.run_sync(wait_until_blocked, watcher, me["number"])
        await opponent.execute("UPDATE resources SET capacity = 5 WHERE id = 1")

    await opponent.execute("BEGIN")
    await opponent.execute("UPDATE resources SET capacity = 5 WHERE id = 2")
    await session.update(first, capacity=7)
    closing = asyncio.create_task(close_the_circle())
    try:
        await session.update(second, capacity=7)
    finally:
        await closing
        await opponent.execute("ROLLBACK")


@pytest.mark.parametrize("deadlocks", [1, 2])
async def test_an_act_that_met_a_deadlock_runs_once_more(
    database: Database, opponent: Opponent, console: Console, deadlocks: int
) -> None:
    console.execute("INSERT INTO resources (name, timezone) VALUES ('Room', 'UTC'), ('Hall', 'UTC')")
    runs: list[str] = []

    async def act() -> str:
        async with database.transaction(by=OWNER) as session:
            runs.append("run")
            if len(runs) <= deadlocks:
                await make_them_deadlock(session, opponent, console)
            return "done"

    outcome = await asyncio.gather(retry_interrupted(act), return_exceptions=True)

    assert len(runs) == 2
    assert [type(found) for found in outcome] == [str if deadlocks == 1 else no.Interrupted]
    assert console.execute("SELECT capacity FROM resources").fetchall() == [(1,), (1,)]


async def read_then_update(session: Session, console: Console) -> None:
    await session.fetch(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
    found = await session.get(Resource, 1)
    console.execute("UPDATE resources SET name = 'Hall'")
    if found:
        await session.update(found, name="Yard")


async def test_a_row_changed_under_a_repeatable_read_is_an_interruption(database: Database, console: Console) -> None:
    console.execute("INSERT INTO resources (name, timezone) VALUES ('Room', 'UTC')")

    with pytest.raises(no.Interrupted):
        async with database.transaction(by=OWNER) as session:
            await read_then_update(session, console)


async def test_a_row_that_is_held_is_nobody_elses_to_change(database: Database, console: Console) -> None:
    console.execute("INSERT INTO resources (name, timezone) VALUES ('Room', 'UTC'); SET lock_timeout = '50ms'")

    async with database.transaction(by=OWNER) as session:
        await session.get(Resource, 1, for_update=True)

        with pytest.raises(psycopg.errors.LockNotAvailable):
            console.execute("UPDATE resources SET name = 'Hall'")


# Too much at once, or nobody there.


async def insert_impatiently(session: Session, limit: str) -> None:
    await session.fetch(text(f"SET LOCAL {limit} = '50ms'"))
    await session.insert(room("Room"))


@pytest.mark.parametrize("limit", ["lock_timeout", "statement_timeout"])
async def test_who_waits_too_long_hears_that_bookit_is_busy(database: Database, console: Console, limit: str) -> None:
    console.execute("BEGIN; LOCK TABLE resources IN EXCLUSIVE MODE")

    with pytest.raises(no.Busy) as caught:
        async with database.transaction(by=OWNER) as session:
            await insert_impatiently(session, limit)

    assert (type(caught.value), str(caught.value)) == (no.Busy, "BookIt is busy. Please try again in a moment.")


async def test_who_finds_no_connection_free_hears_that_bookit_is_busy(make: MakeDatabase) -> None:
    database = await make(size=1)

    async with database.transaction(by=OWNER):
        database._pool.timeout = 0.05
        with pytest.raises(no.Busy):
            await database.fetch(NAMES)
        with pytest.raises(no.Busy):
            await database.transaction(by=OWNER).__aenter__()

    assert await names(database) == []


async def test_a_database_that_is_not_there_is_busy(make: MakeDatabase) -> None:
    database = await make("postgresql://bookit@:1/bookit?host=/nowhere", patience=0.05)

    with pytest.raises(no.Busy):
        await database.fetch(NAMES)


async def open_several(database: Database) -> None:
    """Have the pool open three connections or more, which then lie idle in it."""
    async with AsyncExitStack() as on_leaving:
        for _ in range(3):
            await on_leaving.enter_async_context(database.transaction(by=OWNER))


async def test_a_read_does_not_notice_that_the_database_restarted(make: MakeDatabase, console: Console) -> None:
    database = await make()
    await open_several(database)

    [[killed]] = console.execute(KILL).fetchall()

    assert killed >= 3
    assert await names(database) == []


async def test_an_act_is_refused_at_most_once_after_the_database_restarted(
    make: MakeDatabase, console: Console
) -> None:
    database = await make()
    await open_several(database)
    console.execute(KILL)

    with suppress(no.Disconnected):
        async with database.transaction(by=OWNER) as session:
            await session.insert(room("Room"))
    async with database.transaction(by=OWNER) as session:
        await session.insert(room("Hall"))

    assert (await names(database))[-1] == "Hall"


async def insert_and_be_killed(session: Session, console: Console) -> None:
    await session.insert(room("Room"))
    console.execute(KILL)
    await session.insert(room("Hall"))


async def test_a_transaction_cut_off_half_way_keeps_nothing(make: MakeDatabase, console: Console) -> None:
    database = await make()

    with pytest.raises(no.Disconnected) as caught:
        async with database.transaction(by=OWNER) as session:
            await insert_and_be_killed(session, console)

    assert str(caught.value) == "The connection to the database was lost. Please try again."
    assert await names(database) == []


# What people hear, and what each connection is told.


@pytest.mark.parametrize(
    "row",
    [
        User(name="private", email="private", password_hash="private"),
        User(name="private" * 20, email="private@example.com", password_hash="private"),
        User(name="private", email="private@example.com", password_hash=None),  # type: ignore[arg-type]  # left out
        ServiceResource(service_id=4242, resource_id=4242),
    ],
    ids=["e-mail", "name", "nothing", "parent"],
)
async def test_what_somebody_wrote_is_in_no_refusal(database: Database, row: Any) -> None:
    with pytest.raises(no.Refusal) as caught:
        async with database.transaction(by=OWNER) as session:
            await session.insert(row)

    said = f"{caught.value!s} {caught.value!r} {caught.value.args} {caught.value.details}"
    assert "private" not in said
    assert "4242" not in said


async def test_every_connection_knows_its_zone_and_its_limits(make: MakeDatabase) -> None:
    database = await make(size=4)

    rows = await asyncio.gather(*(database.fetch(SETTINGS) for _ in range(4)))

    assert [row["settings"] for [row] in rows] == [
        {
            "TimeZone": "UTC",
            "jit": "off",
            "statement_timeout": "30000",
            "lock_timeout": "10000",
            "idle_in_transaction_session_timeout": "60000",
        }
    ] * 4


@pytest.mark.parametrize(("prepared", "kept"), [(True, 1), (False, 0)])
async def test_statements_are_prepared_unless_a_pooler_forbids_it(
    make: MakeDatabase, prepared: bool, kept: int
) -> None:
    database = await make(size=1, uses_prepared_statements=prepared)
    for _ in range(7):
        await database.fetch(NAMES)

    [row] = await database.fetch(text("SELECT count(*) AS number FROM pg_prepared_statements WHERE NOT from_sql"))

    assert row["number"] == kept


async def test_a_row_that_is_not_there_is_none(database: Database) -> None:
    async with database.transaction(by=OWNER) as session:
        assert await session.get(Resource, 1) is None


async def test_many_rows_are_added_under_the_same_promises(database: Database) -> None:
    with suppress(no.CapacityOutOfRange):
        async with database.transaction(by=OWNER) as session:
            await session.copy_rows(
                Resource, ["name", "timezone", "capacity"], [("Room", "UTC", 1), ("Hall", "UTC", 0)]
            )
    async with database.transaction(by=OWNER) as session:
        added = await session.copy_rows(Resource, ["name", "timezone"], [("Yard", "UTC"), ("Loft", "UTC")])

    assert added == 2
    assert await names(database) == ["Yard", "Loft"]
