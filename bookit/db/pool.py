"""The connection pool: ``fetch()`` for reads and ``transaction()`` for acts."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Hashable
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from typing import Any, Self, TypeVar

import psycopg
from anyio import CancelScope
from psycopg import AsyncConnection, AsyncRawCursor, sql
from psycopg.types.numeric import Int8BinaryDumper, Int8Dumper
from psycopg_pool import AsyncConnectionPool
from sqlalchemy import ClauseElement
from sqlmodel import SQLModel

from bookit import refusals as no
from bookit.db.audit import ABOUT_AN_ACT, Told, telling, telling_of
from bookit.db.coalescing import Gathering
from bookit.db.contention import Turns
from bookit.db.errors import speaking
from bookit.db.session import Session
from bookit.db.statements import Connection, Row, by_number, for_many, run
from bookit.policy.permissions import Actor
from bookit.schema.tables import TableRow, row_of
from bookit.settings import Settings

T = TypeVar("T")


TEN_MINUTES = timedelta(minutes=10)


# Set by statement and not as start-up options, which PgBouncer does not pass on. jit costs half a second where the
# planner overestimates, as it does for the free slots.
ON_CONNECT = (
    "SET timezone = 'UTC'; SET jit = off; SET statement_timeout = '30s'; SET lock_timeout = '10s';"
    "SET idle_in_transaction_session_timeout = '60s'"
)


class Database:
    """A pool of connections to one PostgreSQL."""

    def __init__(
        self, url: str, *, timezone: str = "UTC", hold: timedelta = TEN_MINUTES, size: int = 16, prepared: bool = True
    ) -> None:
        """``timezone`` and ``hold`` are as in ``Session``.

        ``prepared`` is off behind a pooler that shares connections without following prepared statements.
        """
        self.url = url
        self.timezone = timezone
        self.hold = hold
        self.gathering = Gathering()
        self.turns = Turns()
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            url,
            connection_class=AsyncConnection[tuple[Any, ...]],
            kwargs={
                "autocommit": True,
                "cursor_factory": AsyncRawCursor,
                "prepare_threshold": 1 if prepared else None,
            },
            configure=configure,
            min_size=min(2, size),
            max_size=size,
            timeout=10,
            open=False,
        )

    @classmethod
    def of(cls, settings: Settings, *, size: int | None = None) -> Self:
        """Make the pool that the environment describes, or a smaller one."""
        return cls(
            settings.database_url or "",
            timezone=settings.timezone,
            hold=timedelta(minutes=settings.hold_minutes),
            size=size or settings.database_pool_size,
            prepared=settings.database_prepared,
        )

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self) -> None:
        await self._pool.open()

    async def close(self) -> None:
        await self._pool.close()

    async def fetch(self, statement: ClauseElement, **values: Any) -> list[Row]:
        """Read: one statement of its own, plain rows. Raises ``Busy`` when the database does not answer."""
        try:
            return await self._read(statement, values)
        except no.Disconnected:
            # The database was restarted under us: drop what it left in the pool, and ask once more.
            await self._pool.check()
            return await self._read(statement, values)

    async def get(self, table: type[TableRow], number: int) -> TableRow | None:
        """Read the row of this number."""
        row = await self.row(table, number)
        return row_of(table, row) if row else None

    async def row(self, table: type[SQLModel], number: int) -> Row | None:
        """Read the columns of the row of this number."""
        rows = await self.fetch_with_others(by_number(table, hold=False), id=number)
        return rows[0] if rows else None

    async def fetch_with_others(self, statement: ClauseElement, **values: Any) -> list[Row]:
        """As ``fetch``, for a quick read: all who run this statement now, whatever their values, run it at once.

        One round trip serves all of them, and that is most of what a quick read costs.
        """
        names = tuple(values)

        async def read(asked: Collection[tuple[Any, ...]]) -> dict[tuple[Any, ...], list[Row]]:
            many = list(asked)
            if len(many) == 1:
                return {many[0]: await self.fetch(statement, **dict(zip(names, many[0], strict=True)))}
            found: dict[tuple[Any, ...], list[Row]] = {one: [] for one in many}
            lists = dict(zip(names, map(list, zip(*many, strict=True)), strict=True))
            for row in await self.fetch(for_many(statement, names), **lists):
                found[many[row.pop("asked_at") - 1]].append(row)
            return found

        rows: list[Row] = await self.gathering.ask((statement, names), read, tuple(values.values()))
        return rows

    async def together(self, question: Hashable, read: Callable[[], Awaitable[T]]) -> T:
        """Read what all who ask this question now want to know, once for all of them."""

        async def answer(_: Any) -> dict[None, T]:
            return {None: await read()}

        found: T = await self.gathering.ask(question, answer)
        return found

    async def _read(self, statement: ClauseElement, values: Row) -> list[Row]:
        async with self._connection() as connection:
            with speaking(connection):
                return await run(connection, statement, values)

    @asynccontextmanager
    async def transaction(
        self, *, by: Actor, now: datetime | None = None, request_id: str = "", keep: bool = True
    ) -> AsyncIterator[Session]:
        """All or nothing, remembered as done by this person; a broken promise leaves as its refusal.

        ``now`` is the moment by which holds run out; without one, the database's own clock says. Without ``keep`` it
        is a preview: all is done and judged as ever, and then taken back.
        """
        async with self._connection() as connection:
            try:
                with speaking(connection):
                    told = telling_of(by, now, request_id)
                    await connection.execute(sql.SQL("BEGIN; {}").format(telling(told)), prepare=False)
                    yield self._session(connection, told, is_lasting=True)
                    await (commit(connection) if keep else connection.execute("ROLLBACK"))
            except BaseException:
                with CancelScope(shield=True):
                    await self._undo(connection)
                raise

    @asynccontextmanager
    async def at_once(self, *, by: Actor, now: datetime, request_id: str = "") -> AsyncIterator[Session]:
        """As ``transaction``, for an act whose one writing statement begins with ``TELLING``: run, it is kept."""
        async with self._connection() as connection:
            with speaking(connection):
                yield self._session(connection, telling_of(by, now, request_id), is_lasting=False)

    def _session(self, connection: Connection, told: Told, *, is_lasting: bool) -> Session:
        everything = {f"told_{name}": told.get(name, "") for name in ABOUT_AN_ACT}
        return Session(connection, self.timezone, self.hold, everything, is_lasting=is_lasting)

    async def _undo(self, connection: Connection) -> None:
        """Take everything back; a connection that was lost has done so by itself."""
        with suppress(psycopg.OperationalError):
            await connection.execute("ROLLBACK")
        if connection.broken:
            await self._pool.check()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        try:
            connection = await self._pool.getconn()
        except psycopg.OperationalError as error:
            raise no.Busy from error
        try:
            yield connection
        finally:
            with CancelScope(shield=True):
                await self._pool.putconn(connection)


async def configure(connection: Connection) -> None:
    # Numbers as wide as can be, or small and large ones would each have a plan of their own.
    for dumper in (Int8Dumper, Int8BinaryDumper):
        connection.adapters.register_dumper(int, dumper)
    await connection.execute(ON_CONNECT)


async def commit(connection: Connection) -> None:
    """Keep what was done. PostgreSQL quietly rolls back where a statement failed and somebody swallowed the error."""
    done = await connection.execute("COMMIT")
    if done.statusmessage != "COMMIT":
        raise psycopg.errors.InFailedSqlTransaction("A statement of this transaction failed, so nothing was kept.")
