"""Outages: the pool refuses at once while no connection can be had, and is back soon after its database."""

import asyncio
import logging
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from bookit import refusals as no
from bookit.db import incidents
from bookit.db.embedded import PORT
from bookit.db.outage import connection_parameters
from bookit.db.pool import Database
from tests.support.embedded import server_pid
from tests.support.outages import BREAKS, COUNT, INSERT, RecordedPool, Server, book, stop_and_start
from tests.support.people import OWNER
from tests.support.polling import eventually

pytestmark = pytest.mark.process

MAX_DELAY_SECONDS = 2.5  # two seconds, which psycopg_pool makes a tenth longer or shorter
DEADLINE_SECONDS = 20  # for what takes milliseconds; only a failing test waits so long


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path that every user can pass."""
    with tempfile.TemporaryDirectory(prefix="b-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="b-") as name:
        Path(name).chmod(0o755)
        server = Server(Path(name))
        yield server
        server.stop()


@pytest.fixture(autouse=True)
def new_incidents(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incidents, "_incidents", {})


@pytest.fixture
async def database(server: Server) -> AsyncIterator[Database]:
    async with Database(server.url) as database:
        await database._pool.wait()  # An attempt that begins before a test would keep its long delays.
        await book(database)
        yield database


@pytest.fixture
def recorded(database: Database, monkeypatch: pytest.MonkeyPatch) -> RecordedPool:
    return RecordedPool(database, monkeypatch)


async def is_booked(database: Database) -> bool:
    try:
        await book(database)
    except no.Busy:
        return False
    return True


async def book_soon(database: Database) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not await is_booked(database):  # noqa: ASYNC110 -- the pool sets no event
            await asyncio.sleep(0.01)


async def begin_outage(database: Database) -> None:
    """Ask for connections until the pool knows that there are none."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not database._outage.is_on:
            assert not await is_booked(database)


@pytest.mark.parametrize("break_server", BREAKS, ids=lambda break_server: break_server.__name__)
async def test_after_any_outage_the_first_booking_succeeds_soon(
    server: Server, database: Database, recorded: RecordedPool, break_server: Callable[[Server], Callable[[], None]]
) -> None:
    mend = break_server(server)
    try:
        await begin_outage(database)
        await eventually(lambda: len(recorded.delays) > 10)
    finally:
        mend()
    await book_soon(database)

    assert max(recorded.delays) < MAX_DELAY_SECONDS


async def test_the_pool_comes_back_without_any_request(
    server: Server, database: Database, recorded: RecordedPool
) -> None:
    start = stop_and_start(server)
    await begin_outage(database)
    asked = database._pool.get_stats()["requests_num"]
    await eventually(lambda: len(recorded.delays) > 10)
    start()

    await eventually(lambda: not database._outage.is_on)

    assert database._pool.get_stats()["requests_num"] == asked
    assert max(recorded.delays) < MAX_DELAY_SECONDS


@pytest.mark.usefixtures("recorded")
async def test_during_an_outage_nobody_waits_for_a_connection(server: Server, database: Database) -> None:
    start = stop_and_start(server)
    try:
        async with asyncio.timeout(DEADLINE_SECONDS / 2):  # the pool's own timeout is ten seconds
            outcomes = await asyncio.gather(*(is_booked(database) for _ in range(30)))
        asked = database._pool.get_stats()["requests_num"]
        outcomes += await asyncio.gather(*(is_booked(database) for _ in range(30)))
        with pytest.raises(no.Busy) as refusal:
            await database.fetch(COUNT)
    finally:
        start()

    assert outcomes == [False] * 60
    assert database._pool.get_stats()["requests_num"] == asked
    assert refusal.value.retry_after_seconds == 1
    await book_soon(database)


@pytest.mark.usefixtures("recorded")
async def test_a_pool_that_has_connections_serves_although_no_new_one_can_be_had(
    server: Server, database: Database
) -> None:
    server.run("ALTER ROLE bookit CONNECTION LIMIT 0")
    try:
        outcomes = [await asyncio.gather(*(is_booked(database) for _ in range(10))) for _ in range(10)]
    finally:
        server.run("ALTER ROLE bookit CONNECTION LIMIT -1")

    assert database._pool.get_stats()["connections_errors"] > 0
    assert outcomes == [[True] * 10] * 10


async def test_a_server_that_answers_no_new_connection_is_an_outage_too(server: Server, database: Database) -> None:
    pid = server_pid(server.cluster.folder.parent)
    with server.connect() as console:
        os.kill(pid, signal.SIGSTOP)
        try:
            console.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'bookit'")
            await begin_outage(database)
        finally:
            os.kill(pid, signal.SIGCONT)
    await book_soon(database)


async def test_after_a_failover_the_pool_finds_the_new_primary(server: Server, folder: Path) -> None:
    other = Server(folder)
    folders = ",".join(str(each.cluster.socket_folder) for each in (server, other))
    url = f"postgresql://bookit@/bookit?host={folders}&port={PORT}&target_session_attrs=read-write"
    try:
        async with Database(url) as database:
            await book(database)
            assert other.run("SELECT count(*) FROM visits", "bookit") == [(0,)]
            server.run("ALTER SYSTEM SET default_transaction_read_only = on")
            server.run("SELECT pg_reload_conf()")
            await eventually(lambda: server.run("SHOW transaction_read_only") == [("on",)])

            await book_soon(database)

            [(count,)] = other.run("SELECT count(*) FROM visits", "bookit")
            assert count > 0
            assert await database.fetch(text("SELECT current_setting('transaction_read_only') AS is_read_only")) == [
                {"is_read_only": "off"}
            ]
    finally:
        other.stop()
        with server.connect() as console:
            console.execute("SET default_transaction_read_only = off")
            console.execute("ALTER SYSTEM RESET default_transaction_read_only")
            console.execute("SELECT pg_reload_conf()")
        await eventually(lambda: server.run("SHOW transaction_read_only") == [("off",)])


@pytest.mark.parametrize(
    ("query", "parameters"),
    [
        ("", {"connect_timeout": 3, "tcp_user_timeout": 10_000, "client_encoding": "UTF8"}),
        ("?connect_timeout=9", {"tcp_user_timeout": 10_000, "client_encoding": "UTF8"}),
        ("?tcp_user_timeout=1&client_encoding=LATIN1", {"connect_timeout": 3, "client_encoding": "UTF8"}),
    ],
)
def test_the_url_may_set_other_timeouts(query: str, parameters: dict[str, object]) -> None:
    made = connection_parameters(f"postgresql://bookit@/bookit{query}")

    assert {name: value for name, value in made.items() if not name.startswith("keepalives")} == parameters


# A server that is there and does not work.


async def test_writes_to_a_read_only_database_are_refused_until_the_pool_finds_a_primary(
    server: Server, database: Database
) -> None:
    server.run("ALTER DATABASE bookit SET default_transaction_read_only = on")
    server.end_connections()
    try:
        [row] = await database.fetch(COUNT)
        with pytest.raises(no.Busy) as refusal:
            await book(database)
    finally:
        server.run("ALTER DATABASE bookit RESET default_transaction_read_only")

    assert row["count"] > 0
    assert type(refusal.value) is no.Busy
    await book_soon(database)


async def test_a_transaction_that_was_idle_for_too_long_is_a_lost_connection(
    server: Server, database: Database
) -> None:
    async def wait_too_long() -> None:
        async with database.transaction(by=OWNER) as session:
            await session._connection.execute("SET LOCAL idle_in_transaction_session_timeout = '1ms'")
            await eventually(lambda: session._connection.info.backend_pid not in server.pids())
            await session.fetch(INSERT)

    with pytest.raises(no.Disconnected):
        await wait_too_long()

    await book(database)


async def test_each_reason_is_one_line_a_minute(
    database: Database, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail = "DO $$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END $$"

    async def fill_disk() -> None:
        with pytest.raises(no.Busy):
            async with database.transaction(by=OWNER) as session:
                await session._connection.execute(fail)

    for _ in range(50):
        await fill_disk()
    monkeypatch.setattr(incidents, "REPEAT_SECONDS", 0)
    await fill_disk()

    lines = [record for record in caplog.records if record.name == "bookit.database"]
    assert [(line.levelno, line.reason, line.detail, line.count, line.exc_info) for line in lines] == [  # type: ignore[attr-defined]
        (logging.ERROR, "disk full", "could not extend file", 1, None),
        (logging.ERROR, "disk full", "could not extend file", 50, None),
    ]


async def test_every_connection_speaks_utf_8(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    server.run("ALTER ROLE bookit SET client_encoding = 'LATIN1'")
    try:
        async with Database(f"{server.url}&client_encoding=LATIN1") as database, database._connection() as connection:
            cursor = await connection.execute("SELECT 'Łukasz', current_setting('client_encoding')")
            assert await cursor.fetchone() == ("Łukasz", "UTF8")
    finally:
        server.run("ALTER ROLE bookit RESET client_encoding")
