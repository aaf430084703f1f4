"""The connection pool: ``fetch()`` for reads, ``transaction()`` and ``single_statement()`` for acts."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from typing import Any, Self, TypeVar

import psycopg
from anyio import CancelScope
from psycopg import AsyncRawCursor, sql
from psycopg.types.numeric import Int8BinaryDumper, Int8Dumper
from psycopg_pool import AsyncConnectionPool
from sqlalchemy import ClauseElement
from sqlmodel import SQLModel

from bookit import refusals as no
from bookit.db import incidents
from bookit.db.audit import build_audit_context, compose_set_local
from bookit.db.coalescing import Coalescer
from bookit.db.contention import KeyedQueue
from bookit.db.errors import translate_errors
from bookit.db.outage import Outage, PooledConnection, connection_parameters
from bookit.db.session import Session, SingleStatement
from bookit.db.statements import Connection, Row, build_batch, build_select_by_id, run
from bookit.policy.business import CurrentBusiness
from bookit.policy.limits import DEFAULT_BOOKING_LIMITS, BookingLimits
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
# The pool doubles the delay between two attempts to connect until this time has passed: 1 and 2 seconds, and then it
# begins again. With its default of 300, the database could be back for a minute before the pool notices.
RECONNECT_SECONDS = 4
DRAIN_SECONDS = 1  # at least, between two replacements of all connections
# A megabyte that is never committed: its table is gone with the transaction.
PROBE_WRITE = """
    BEGIN;
    CREATE TEMPORARY TABLE bookit_probe AS SELECT repeat('x', 1000) AS filler FROM generate_series(1, 1000);
    ROLLBACK
"""


class Database:
    """A pool of connections to one PostgreSQL."""

    def __init__(
        self,
        url: str,
        *,
        timezone: str = "UTC",
        hold_duration: timedelta = DEFAULT_HOLD_DURATION,
        booking_limits: BookingLimits = DEFAULT_BOOKING_LIMITS,
        phone_country: str = "GB",
        size: int = 16,
        uses_prepared_statements: bool = True,
    ) -> None:
        """``hold_duration``, ``booking_limits`` and ``phone_country`` are as in ``Session``.

        ``timezone`` is that of a business without one.

        ``uses_prepared_statements`` must be False behind a pooler that shares connections between clients and does not
        track prepared statements.
        """
        self.url = url
        self.business = CurrentBusiness(default_timezone=timezone)
        self.hold_duration = hold_duration
        self.booking_limits = booking_limits
        self.phone_country = phone_country
        self.coalescer = Coalescer()
        self.keyed_queue = KeyedQueue()
        self._outage = Outage()
        self._failed_write: str | None = None  # why a write has failed, until another one succeeds
        self._drained_at = float("-inf")
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            url,
            connection_class=PooledConnection,
            kwargs={
                **connection_parameters(url),
                "outage": self._outage,
                "autocommit": True,
                "cursor_factory": AsyncRawCursor,
                "prepare_threshold": 1 if uses_prepared_statements else None,
            },
            configure=self._configure,
            min_size=min(2, size),
            max_size=size,
            timeout=10,
            reconnect_timeout=RECONNECT_SECONDS,
            reconnect_failed=self._retry_connecting,
            open=False,
        )

    @property
    def timezone(self) -> str:
        """The time zone of the business."""
        return self.business.profile.timezone

    @classmethod
    def from_settings(cls, settings: Settings, *, size: int | None = None) -> Self:
        """Return the pool that the environment describes, or one of another size."""
        return cls(
            settings.database_url or "",
            timezone=settings.timezone,
            hold_duration=timedelta(minutes=settings.hold_minutes),
            booking_limits=BookingLimits(
                settings.max_holds, settings.max_open_bookings, timedelta(hours=settings.confirm_within_hours)
            ),
            phone_country=settings.phone_country,
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
        """Run a query by itself and return its rows. Raise ``Busy`` if the database does not answer."""
        try:
            return await self._read(statement, values)
        except no.Disconnected:
            # The database was restarted: drop its dead connections from the pool and retry once.
            await self._pool.check()
            return await self._read(statement, values)

    async def get(self, table: type[TableRow], row_id: int) -> TableRow | None:
        """Return the row with this id, or None; concurrent calls are batched into one query."""
        row = await self.get_row(table, row_id)
        return from_row(table, row) if row else None

    async def get_row(self, table: type[SQLModel], row_id: int) -> Row | None:
        """Return the columns of the row with this id, or None; concurrent calls are batched into one query."""
        rows = await self.fetch_batched(build_select_by_id(table, for_update=False), id=row_id)
        return rows[0] if rows else None

    async def fetch_batched(self, statement: ClauseElement, **values: Any) -> list[Row]:
        """Like ``fetch``, for a quick query: concurrent calls of the same statement are batched into one query.

        They share one round trip, which is most of the cost of a quick query.
        """
        names = tuple(values)

        async def load(keys: frozenset[tuple[Any, ...]]) -> dict[tuple[Any, ...], list[Row]]:
            inputs = list(keys)
            if len(inputs) == 1:
                return {inputs[0]: await self.fetch(statement, **dict(zip(names, inputs[0], strict=True)))}
            rows_by_key: dict[tuple[Any, ...], list[Row]] = {key: [] for key in inputs}
            lists = dict(zip(names, map(list, zip(*inputs, strict=True)), strict=True))
            for row in await self.fetch(build_batch(statement, names), **lists):
                rows_by_key[inputs[row.pop("input_number") - 1]].append(row)
            return rows_by_key

        rows: list[Row] = await self.coalescer.load((statement, names), load, tuple(values.values()))
        return rows

    async def coalesce(self, key: Hashable, read: Callable[[], Awaitable[T]]) -> T:
        """Return what ``read`` returns; concurrent callers of this key share one call."""

        async def load(_: frozenset[None]) -> dict[None, T]:
            return {None: await read()}

        result: T = await self.coalescer.load(key, load)
        return result

    async def _read(self, statement: ClauseElement, values: Row) -> list[Row]:
        async with self._connection() as connection:
            with translate_errors(connection):
                return await run(connection, statement, values)

    @asynccontextmanager
    async def transaction(
        self, *, by: Actor, now: datetime | None = None, request_id: str = "", dry_run: bool = False
    ) -> AsyncIterator[Session]:
        """Open a transaction, all or nothing, whose changes history records as made by this actor.

        Raise the refusal of a violated constraint. ``now`` is the time by which holds expire; without it the database's
        clock counts. With ``dry_run`` everything runs and is checked as usual, and is then rolled back.
        """
        async with self._connection() as connection:
            try:
                with translate_errors(connection):
                    audit_context = build_audit_context(by, now, request_id)
                    begin = sql.SQL("BEGIN; {}").format(compose_set_local(audit_context))
                    await connection.execute(begin, prepare=False)
                    yield Session(
                        connection,
                        timezone=self.timezone,
                        hold_duration=self.hold_duration,
                        booking_limits=self.booking_limits,
                        phone_country=self.phone_country,
                        audit_context=audit_context,
                    )
                    await (connection.execute("ROLLBACK") if dry_run else commit(connection))
            except BaseException:
                with CancelScope(shield=True):
                    await self._rollback(connection)
                raise

    @asynccontextmanager
    async def single_statement(
        self, *, by: Actor, now: datetime, request_id: str = ""
    ) -> AsyncIterator[SingleStatement]:
        """Like ``transaction``, for an act that is one writing statement: no BEGIN and no COMMIT around it."""
        async with self._connection() as connection:
            with translate_errors(connection):
                yield SingleStatement(
                    connection,
                    timezone=self.timezone,
                    hold_duration=self.hold_duration,
                    booking_limits=self.booking_limits,
                    phone_country=self.phone_country,
                    audit_context=build_audit_context(by, now, request_id),
                )

    async def _rollback(self, connection: Connection) -> None:
        """Roll back; PostgreSQL has done so by itself if the connection was lost."""
        with suppress(psycopg.OperationalError):
            await connection.execute("ROLLBACK")
        if connection.broken:
            await self._pool.check()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        connection = await self._get_connection()
        try:
            yield connection
        except no.Busy as refusal:
            with CancelScope(shield=True):
                await self._note_failure(connection, refusal.__cause__)
            raise
        finally:
            with CancelScope(shield=True):
                if not connection.closed:
                    self._outage.connection_is_available()
                await self._pool.putconn(connection)

    async def _get_connection(self) -> Connection:
        """Return a connection. Raise ``Busy`` if none becomes free in time, and at once during an outage."""
        outage = self._outage
        if not outage.is_on or self._pool.get_stats()["pool_available"]:
            with CancelScope() as scope:
                outage.waiting.add(scope)
                try:
                    return await self._pool.getconn()
                except psycopg.OperationalError as error:
                    incidents.report(error)
                    raise no.Busy from error
                finally:
                    outage.waiting.discard(scope)
        if outage.error:
            incidents.report(outage.error, incidents.NO_CONNECTION)
        raise no.Busy from outage.error

    async def _configure(self, connection: Connection) -> None:
        """Set up a new connection. A failure of it counts as one of the attempt to connect."""
        try:
            await configure(connection)
        except psycopg.Error as error:
            self._outage.attempt_fails(error)
            raise
        self._outage.connected()

    async def _retry_connecting(self, _: object) -> None:
        """Make the pool try again, also while no request asks for a connection, because all are refused."""
        if self._outage.is_on:
            await self._pool.check()

    async def _note_failure(self, connection: Connection, error: BaseException | None) -> None:
        """Remember that the disk is full. Give up the connections to a server that takes no writes.

        Another server may be the primary by now, and the URL may lead to it.
        """
        reason = incidents.reason_of(error) if error else ""
        if reason == incidents.DISK_FULL:
            self._failed_write = reason
        if reason == incidents.READ_ONLY:
            await connection.close()
            if time.monotonic() - self._drained_at >= DRAIN_SECONDS:
                self._drained_at = time.monotonic()
                await self._pool.drain()

    async def failing_write(self) -> str | None:
        """Return why no write succeeds, or None. Only if one has failed, try one, and roll it back.

        Raise ``Busy`` if the database does not answer.
        """
        if self._failed_write is None:
            return None
        async with self._connection() as connection:
            try:
                await connection.execute(PROBE_WRITE, prepare=False)
            except psycopg.Error as error:
                await self._rollback(connection)
                if incidents.reason_of(error) == self._failed_write:
                    return self._failed_write
        self._failed_write = None
        return None


async def configure(connection: Connection) -> None:
    # Send every integer as bigint: a statement would get a plan for each width.
    for dumper in (Int8Dumper, Int8BinaryDumper):
        connection.adapters.register_dumper(int, dumper)
    await connection.execute(SESSION_SETTINGS)


async def commit(connection: Connection) -> None:
    """Commit. Raise if a statement failed and the caller swallowed its error: PostgreSQL then rolls back silently."""
    cursor = await connection.execute("COMMIT")
    if cursor.statusmessage != "COMMIT":
        raise psycopg.errors.InFailedSqlTransaction("A statement of this transaction failed, so nothing was committed.")
