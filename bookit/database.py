"""The pool, ``fetch()`` for reads and ``transaction()`` for acts. There is no third way to the rows.

Statements are SQLModel expressions, compiled once and run by psycopg itself: an ORM session costs three to ten
times as much a request. A statement must therefore be a constant or come out of a cache; what varies is passed
as values.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Hashable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import datetime, timedelta
from typing import Any, Protocol, Self, TypeVar

import psycopg
from anyio import CancelScope
from psycopg import AsyncConnection, AsyncRawCursor, sql
from psycopg.types.numeric import Int8BinaryDumper, Int8Dumper
from psycopg_pool import AsyncConnectionPool
from sqlalchemy import ClauseElement
from sqlmodel import SQLModel

from bookit import refusals as no
from bookit.gathering import Gathering, Turns
from bookit.policy import Actor
from bookit.settings import Settings
from bookit.statements import by_number, compiled, deleting, for_many, inserting, updating
from bookit.tables import TableRow, home, number_of, row_of, spoken
from bookit.telling import ABOUT_AN_ACT, Told, named, telling, telling_of

Row = dict[str, Any]
Connection = AsyncConnection[tuple[Any, ...]]
T = TypeVar("T")
TEN_MINUTES = timedelta(minutes=10)

SPOKEN = spoken()
# Set by statement and not as start-up options, which PgBouncer does not pass on. jit costs half a second where the
# planner overestimates, as it does for the free slots.
ON_CONNECT = (
    "SET timezone = 'UTC'; SET jit = off; SET statement_timeout = '30s'; SET lock_timeout = '10s';"
    "SET idle_in_transaction_session_timeout = '60s'"
)
# The columns a statement gave last: psycopg would work out their names anew for each result.
COLUMNS: dict[str, tuple[str, ...]] = {}


async def run(connection: Connection, statement: ClauseElement, values: Row) -> list[Row]:
    """Run one statement and give its rows, if it has any."""
    text, names, written = compiled(statement)
    given = [values[name] if name in values else written[name] for name in names]
    cursor = await connection.execute(text, given, binary=True)
    result = cursor.pgresult
    if result is None or not result.nfields:
        return []
    columns = COLUMNS.get(text, ())
    if len(columns) != result.nfields:
        columns = COLUMNS[text] = tuple(column.name for column in cursor.description or ())
    return [dict(zip(columns, row, strict=True)) for row in await cursor.fetchall()]


class Reads(Protocol):
    """What rows can be read through: the pool, or a transaction."""

    async def fetch(self, statement: ClauseElement, **values: Any) -> list[Row]:
        """Run a statement and give its rows."""
        ...

    async def together(self, question: Hashable, read: Callable[[], Awaitable[T]]) -> T:
        """Read something, with others who want to know the same if that can be."""
        ...


class Session:
    """One transaction. Whatever is done through it happens together or not at all."""

    def __init__(self, connection: Connection, timezone: str, hold: timedelta, told: Told, *, is_lasting: bool) -> None:
        """``timezone`` is the business's own; ``hold`` is how long somebody may keep a slot before they decide.

        ``told`` is what history is to keep: a statement that begins with ``TELLING`` takes it along. The others know it
        of the transaction, if it ``is_lasting`` longer than one.
        """
        self._connection = connection
        self.timezone = timezone
        self.hold = hold
        self.told = told
        self._is_lasting = is_lasting

    async def fetch(self, statement: ClauseElement, **values: Any) -> list[Row]:
        """Run a statement inside this transaction and give its rows."""
        return await run(self._connection, statement, values)

    async def together(self, question: Hashable, read: Callable[[], Awaitable[T]]) -> T:
        """Read something here: what a transaction sees is its own."""
        del question
        return await read()

    async def get(self, table: type[TableRow], number: int, *, hold: bool = False) -> TableRow | None:
        """Give the row of this number; ``hold`` keeps others from changing it until this transaction ends."""
        rows = await self.fetch(by_number(table, hold=hold), id=number)
        return row_of(table, rows[0]) if rows else None

    async def insert(self, row: TableRow) -> TableRow:
        """Add a row and give it back as the database filled it in."""
        table = type(row)
        values = {name: getattr(row, name) for name in sorted(row.model_fields_set)}
        rows = await self.fetch(inserting(table, tuple(values)), **values)
        return row_of(table, rows[0])

    async def update(self, row: TableRow, **changes: Any) -> TableRow:
        """Change these columns of a row and give it back as it now is."""
        if not changes:
            return row
        rows = await self.fetch(updating(type(row), tuple(sorted(changes))), the_id=number_of(row), **changes)
        return row_of(type(row), rows[0])

    async def delete(self, row: SQLModel) -> None:
        """Take a row away. Refuses one that another row refers to."""
        try:
            await self.fetch(deleting(type(row)), id=number_of(row))
        except (psycopg.errors.ForeignKeyViolation, psycopg.errors.RestrictViolation) as error:
            raise no.StillInUse from error

    async def load(self, table: type[SQLModel], columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> int:
        """Add many rows at once, as they are; constraints and triggers hold for each. Gives how many."""
        names = sql.SQL(", ").join(map(sql.Identifier, columns))
        into = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(home(table).name), names)
        async with self._connection.cursor() as cursor:
            async with cursor.copy(into) as copy:
                for row in rows:
                    await copy.write_row(row)
            return cursor.rowcount

    async def speak_for(self, by: Actor) -> None:
        """Have history name this person for what follows, where one transaction tells of several."""
        await self._tell(**named(by))

    async def because(self, reason: str) -> None:
        """Have history keep this reason beside what follows."""
        await self._tell(reason=reason)

    async def tell_customer(self, *, tells: bool) -> None:
        """Have history keep whether the customer is to be told of what follows."""
        await self._tell(tells_customer=str(tells).lower())

    async def _tell(self, **more: str) -> None:
        self.told |= {f"told_{name}": value for name, value in more.items()}
        if self._is_lasting:
            await self._connection.execute(telling(more), prepare=False)

    @asynccontextmanager
    async def attempt(self) -> AsyncIterator[None]:
        """A part that may be refused without ending the whole."""
        await self._connection.execute("SAVEPOINT attempt")
        try:
            with speaking(self._connection):
                yield
        except no.Refusal:
            await self._connection.execute("ROLLBACK TO SAVEPOINT attempt; RELEASE SAVEPOINT attempt")
            raise
        await self._connection.execute("RELEASE SAVEPOINT attempt")


@contextmanager
def speaking(connection: Connection) -> Iterator[None]:
    """Turn what PostgreSQL refuses into the refusal declared beside the broken constraint."""
    try:
        yield
    except psycopg.IntegrityError as error:
        refusal = refusal_for(error)
        if refusal is None:
            raise
        raise refusal from error
    except (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure) as error:
        raise no.Interrupted from error
    except psycopg.OperationalError as error:
        raise (no.Disconnected if connection.broken else no.Busy) from error


def refusal_for(error: psycopg.IntegrityError) -> no.Refusal | None:
    """Give the refusal of a broken constraint; None if nobody wrote one, which is a bug."""
    broken = error.diag
    if isinstance(error, psycopg.errors.NotNullViolation):
        return no.Required(broken.column_name or "everything")
    refusal = SPOKEN.get((broken.table_name or "", broken.constraint_name or ""))
    if refusal and issubclass(refusal, no.Missing):
        return refusal(what=(refusal.field or "").removesuffix("_id"))
    return refusal() if refusal else None


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


async def retrying(act: Callable[[], Awaitable[T]]) -> T:
    """Run an act, and once more when PostgreSQL ended it only because of another's (40P01, 40001)."""
    try:
        return await act()
    except no.Interrupted:
        return await act()
