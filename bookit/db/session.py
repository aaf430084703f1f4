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
from bookit.db.audit import AuditContext, actor_fields, compose_set_local
from bookit.db.errors import translate_errors
from bookit.db.statements import Connection, Row, build_delete, build_insert, build_select_by_id, build_update, run
from bookit.policy.permissions import Actor
from bookit.schema.tables import TableRow, from_row, id_of, table_of

T = TypeVar("T")


class Reader(Protocol):
    """What rows can be read through: the pool, or a transaction."""

    async def fetch(self, statement: ClauseElement, **values: Any) -> list[Row]:
        """Run a statement and give its rows."""
        ...

    async def coalesce(self, key: Hashable, read: Callable[[], Awaitable[T]]) -> T:
        """Read something, with others who want to know the same if that can be."""
        ...


class Session:
    """One transaction. Whatever is done through it happens together or not at all."""

    def __init__(
        self,
        connection: Connection,
        timezone: str,
        hold_duration: timedelta,
        audit_params: AuditContext,
        *,
        is_transaction: bool,
    ) -> None:
        """``timezone`` is the business's own; ``hold`` is how long somebody may keep a slot before they decide.

        ``told`` is what history is to keep: a statement that begins with ``TELLING`` takes it along. The others know it
        of the transaction, if it ``is_lasting`` longer than one.
        """
        self._connection = connection
        self.timezone = timezone
        self.hold_duration = hold_duration
        self.audit_params = audit_params
        self._is_transaction = is_transaction

    async def fetch(self, statement: ClauseElement, **values: Any) -> list[Row]:
        """Run a statement inside this transaction and give its rows."""
        return await run(self._connection, statement, values)

    async def coalesce(self, key: Hashable, read: Callable[[], Awaitable[T]]) -> T:
        """Read something here: what a transaction sees is its own."""
        del key
        return await read()

    async def get(self, table: type[TableRow], row_id: int, *, for_update: bool = False) -> TableRow | None:
        """Give the row of this number; ``hold`` keeps others from changing it until this transaction ends."""
        rows = await self.fetch(build_select_by_id(table, for_update=for_update), id=row_id)
        return from_row(table, rows[0]) if rows else None

    async def insert(self, row: TableRow) -> TableRow:
        """Add a row and give it back as the database filled it in."""
        table = type(row)
        values = {name: getattr(row, name) for name in sorted(row.model_fields_set)}
        rows = await self.fetch(build_insert(table, tuple(values)), **values)
        return from_row(table, rows[0])

    async def update(self, row: TableRow, **changes: Any) -> TableRow:
        """Change these columns of a row and give it back as it now is."""
        if not changes:
            return row
        rows = await self.fetch(build_update(type(row), tuple(sorted(changes))), the_id=id_of(row), **changes)
        return from_row(type(row), rows[0])

    async def delete(self, row: SQLModel) -> None:
        """Take a row away. Refuses one that another row refers to."""
        try:
            await self.fetch(build_delete(type(row)), id=id_of(row))
        except (psycopg.errors.ForeignKeyViolation, psycopg.errors.RestrictViolation) as error:
            raise no.StillInUse from error

    async def copy_rows(self, table: type[SQLModel], columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> int:
        """Add many rows at once, as they are; constraints and triggers hold for each. Gives how many."""
        names = sql.SQL(", ").join(map(sql.Identifier, columns))
        into = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table_of(table).name), names)
        async with self._connection.cursor() as cursor:
            async with cursor.copy(into) as copy:
                for row in rows:
                    await copy.write_row(row)
            return cursor.rowcount

    async def set_actor(self, by: Actor) -> None:
        """Have history name this person for what follows, where one transaction tells of several."""
        await self._set_audit(**actor_fields(by))

    async def set_reason(self, reason: str) -> None:
        """Have history keep this reason beside what follows."""
        await self._set_audit(reason=reason)

    async def set_notify_customer(self, *, notify: bool) -> None:
        """Have history keep whether the customer is to be told of what follows."""
        await self._set_audit(tells_customer=str(notify).lower())

    async def _set_audit(self, **settings: str) -> None:
        self.audit_params |= {f"told_{name}": value for name, value in settings.items()}
        if self._is_transaction:
            await self._connection.execute(compose_set_local(settings), prepare=False)

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """A part that may be refused without ending the whole."""
        await self._connection.execute("SAVEPOINT attempt")
        try:
            with translate_errors(self._connection):
                yield
        except no.Refusal:
            await self._connection.execute("ROLLBACK TO SAVEPOINT attempt; RELEASE SAVEPOINT attempt")
            raise
        await self._connection.execute("RELEASE SAVEPOINT attempt")
