"""One transaction's view of the rows."""

from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Protocol, TypeVar

import psycopg
from psycopg import sql
from sqlalchemy import ClauseElement
from sqlmodel import SQLModel

from bookit import refusals as no
from bookit.db.audit import Told, named, telling
from bookit.db.errors import speaking
from bookit.db.statements import Connection, Row, by_number, deleting, inserting, run, updating
from bookit.policy.permissions import Actor
from bookit.schema.tables import TableRow, home, id_of, row_of

T = TypeVar("T")


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
        rows = await self.fetch(updating(type(row), tuple(sorted(changes))), the_id=id_of(row), **changes)
        return row_of(type(row), rows[0])

    async def delete(self, row: SQLModel) -> None:
        """Take a row away. Refuses one that another row refers to."""
        try:
            await self.fetch(deleting(type(row)), id=id_of(row))
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
