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
from bookit.db.audit import AUDIT_FIELDS, AuditContext, build_audit_context, compose_set_local
from bookit.db.coalescing import Coalescer
from bookit.db.contention import KeyedQueue
from bookit.db.errors import translate_errors
from bookit.db.session import Session
from bookit.db.statements import Connection, Row, build_batch, build_select_by_id, run
from bookit.policy.permissions import Actor
from bookit.schema.tables import TableRow, from_row
from bookit.settings import Settings

T = TypeVar("T")


DEFAULT_HOLD_DURATION = timedelta(minutes=10)


# Set by statement and not as start-up options, which PgBouncer does not pass on. jit costs half a second where the
# planner overestimates, as it does for the free slots.
SESSION_SETTINGS = (
    "SET timezone = 'UTC'; SET jit = off; SET statement_timeout = '30s'; SET lock_timeout = '10s';"
    "SET idle_in_transaction_session_timeout = '60s'"
)


class Database:
    """A pool of connections to one PostgreSQL."""

    def __init__(
        self,
        url: str,
        *,
        timezone: str = "UTC",
        hold_duration: timedelta = DEFAULT_HOLD_DURATION,
        size: int = 16,
        uses_prepared_statements: bool = True,
    ) -> None:
        """``timezone`` and ``hold`` are as in ``Session``.

        ``prepared`` is off behind a pooler that shares connections without following prepared statements.
        """
        self.url = url
        self.timezone = timezone
        self.hold_duration = hold_duration
        self.coalescer = Coalescer()
        self.keyed_queue = KeyedQueue()
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            url,
            connection_class=AsyncConnection[tuple[Any, ...]],
            kwargs={
                "autocommit": True,
                "cursor_factory": AsyncRawCursor,
                "prepare_threshold": 1 if uses_prepared_statements else None,
            },
            configure=configure,
            min_size=min(2, size),
            max_size=size,
            timeout=10,
            open=False,
        )

    @classmethod
    def from_settings(cls, settings: Settings, *, size: int | None = None) -> Self:
        """Make the pool that the environment describes, or a smaller one."""
        return cls(
            settings.database_url or "",
            timezone=settings.timezone,
            hold_duration=timedelta(minutes=settings.hold_minutes),
            size=size or settings.database_pool_size,
            uses_prepared_statements=settings.database_prepared,
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

    async def get(self, table: type[TableRow], row_id: int) -> TableRow | None:
        """Read the row of this number."""
        row = await self.get_row(table, row_id)
        return from_row(table, row) if row else None

    async def get_row(self, table: type[SQLModel], row_id: int) -> Row | None:
        """Read the columns of the row of this number."""
        rows = await self.fetch_batched(build_select_by_id(table, for_update=False), id=row_id)
        return rows[0] if rows else None

    async def fetch_batched(self, statement: ClauseElement, **values: Any) -> list[Row]:
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
            for row in await self.fetch(build_batch(statement, names), **lists):
                found[many[row.pop("asked_at") - 1]].append(row)
            return found

        rows: list[Row] = await self.coalescer.load((statement, names), read, tuple(values.values()))
        return rows

    async def coalesce(self, key: Hashable, read: Callable[[], Awaitable[T]]) -> T:
        """Read what all who ask this question now want to know, once for all of them."""

        async def answer(_: Any) -> dict[None, T]:
            return {None: await read()}

        found: T = await self.coalescer.load(key, answer)
        return found

    async def _read(self, statement: ClauseElement, values: Row) -> list[Row]:
        async with self._connection() as connection:
            with translate_errors(connection):
                return await run(connection, statement, values)

    @asynccontextmanager
    async def transaction(
        self, *, by: Actor, now: datetime | None = None, request_id: str = "", dry_run: bool = False
    ) -> AsyncIterator[Session]:
        """All or nothing, remembered as done by this person; a broken promise leaves as its refusal.

        ``now`` is the moment by which holds run out; without one, the database's own clock says. With
        ``dry_run`` everything runs and is checked as usual, and is then rolled back.
        """
        async with self._connection() as connection:
            try:
                with translate_errors(connection):
                    told = build_audit_context(by, now, request_id)
                    await connection.execute(sql.SQL("BEGIN; {}").format(compose_set_local(told)), prepare=False)
                    yield self._new_session(connection, told, is_transaction=True)
                    await (connection.execute("ROLLBACK") if dry_run else commit(connection))
            except BaseException:
                with CancelScope(shield=True):
                    await self._rollback(connection)
                raise

    @asynccontextmanager
    async def single_statement(self, *, by: Actor, now: datetime, request_id: str = "") -> AsyncIterator[Session]:
        """As ``transaction``, for an act whose one writing statement begins with ``TELLING``: run, it is kept."""
        async with self._connection() as connection:
            with translate_errors(connection):
                yield self._new_session(connection, build_audit_context(by, now, request_id), is_transaction=False)

    def _new_session(self, connection: Connection, context: AuditContext, *, is_transaction: bool) -> Session:
        everything = {f"told_{name}": context.get(name, "") for name in AUDIT_FIELDS}
        return Session(connection, self.timezone, self.hold_duration, everything, is_transaction=is_transaction)

    async def _rollback(self, connection: Connection) -> None:
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
    await connection.execute(SESSION_SETTINGS)


async def commit(connection: Connection) -> None:
    """Keep what was done. PostgreSQL quietly rolls back where a statement failed and somebody swallowed the error."""
    done = await connection.execute("COMMIT")
    if done.statusmessage != "COMMIT":
        raise psycopg.errors.InFailedSqlTransaction("A statement of this transaction failed, so nothing was kept.")
