"""What acts read and write rows through: the session of a transaction, and the single statement outside one."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Hashable, Iterable, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import timedelta
from typing import Any, Protocol, TypeVar

import psycopg
from psycopg import sql
from sqlalchemy import ClauseElement
from sqlmodel import SQLModel

from bookit import refusals as no
from bookit.db.audit import (
    AuditContext,
    actor_fields,
    audit_params,
    compose_set_local,
    is_audited,
    notify_fields,
    overlap_fields,
)
from bookit.db.errors import translate_errors
from bookit.db.statements import (
    Connection,
    Row,
    build_delete,
    build_insert,
    build_select_by_id,
    build_update,
    is_read,
    run,
    stream,
)
from bookit.policy.limits import BookingLimits
from bookit.policy.permissions import Actor
from bookit.schema.tables import TableRow, from_row, id_of, table_of

T = TypeVar("T")


class Reader(Protocol):
    """What rows can be read through: the pool, a transaction or a single statement."""

    async def fetch(self, statement: ClauseElement, **values: Any) -> list[Row]:
        """Run a statement and return its rows."""
        ...

    async def get(self, table: type[TableRow], row_id: int, /) -> TableRow | None:
        """Return the row with this id, or None."""
        ...

    async def coalesce(self, key: Hashable, read: Callable[[], Awaitable[T]]) -> T:
        """Return what ``read`` returns, sharing one call with concurrent callers of this key where possible."""
        ...


class ConnectionReader:
    """Reads rows on one connection. What a statement of it sees is its own, so nothing is coalesced."""

    def __init__(
        self,
        connection: Connection,
        *,
        timezone: str,
        hold_duration: timedelta,
        booking_limits: BookingLimits,
        phone_country: str,
        audit_context: AuditContext,
    ) -> None:
        """``timezone`` and ``phone_country`` are the business's own.

        ``hold_duration`` is how long a hold blocks its slot.
        """
        self._connection = connection
        self._audit_context = audit_context
        self.timezone = timezone
        self.hold_duration = hold_duration
        self.booking_limits = booking_limits
        self.phone_country = phone_country

    async def fetch(self, statement: ClauseElement, **values: Any) -> list[Row]:
        """Run a statement on this connection and return its rows."""
        return await run(self._connection, statement, values)

    async def get(self, table: type[TableRow], row_id: int) -> TableRow | None:
        """Return the row with this id, or None."""
        rows = await self.fetch(build_select_by_id(table, for_update=False), id=row_id)
        return from_row(table, rows[0]) if rows else None

    async def coalesce(self, key: Hashable, read: Callable[[], Awaitable[T]]) -> T:
        """Return what ``read`` returns."""
        del key
        return await read()


class SingleStatement(ConnectionReader):
    """An act that is exactly one writing statement, outside a transaction: PostgreSQL commits it as it ends.

    It cannot write without history: the statement must begin with ``SET_AUDIT_CTE``, and gets its parameters here. Any
    other statement may only read. A mistake is the developer's and raises RuntimeError before anything is sent.
    """

    _has_written = False

    async def fetch(self, statement: ClauseElement, *, audit: AuditContext | None = None, **values: Any) -> list[Row]:
        """Run the one writing statement, or a query, and return its rows.

        ``audit`` adds fields such as the reason to the audit context of the writing statement.
        """
        if is_audited(statement):
            if self._has_written:
                raise RuntimeError("A single statement has already written. Use a transaction for several writes.")
            self._has_written = True
            values |= audit_params(self._audit_context | (audit or {}))
        elif audit or not is_read(statement):
            raise RuntimeError("A statement that writes outside a transaction must begin with SET_AUDIT_CTE.")
        return await run(self._connection, statement, values)


class Session(ConnectionReader):
    """One transaction: all that is done through it is committed together or not at all."""

    async def fetch(self, statement: ClauseElement, *, audit: AuditContext | None = None, **values: Any) -> list[Row]:
        """Run a statement inside this transaction and return its rows.

        ``audit`` adds fields such as the reason to the audit context, from this statement to the transaction's end.
        """
        if is_audited(statement):
            self._audit_context |= audit or {}
            values |= audit_params(self._audit_context)
        elif audit:
            await self._set_audit(audit)
        return await run(self._connection, statement, values)

    async def stream(self, statement: ClauseElement, **values: Any) -> AsyncGenerator[list[Row], None]:
        """Yield the rows of a query, some at a time, however many there are. One query at a time can be streamed."""
        async with aclosing(stream(self._connection, statement, values)) as batches:
            async for rows in batches:
                yield rows

    async def get(
        self, table: type[TableRow], row_id: int, *, for_update: bool = False, keeps_key: bool = False
    ) -> TableRow | None:
        """Return the row with this id, or None; ``for_update`` locks it until this transaction ends.

        Rows that refer to it can only be added meanwhile if this transaction ``keeps_key``.
        """
        rows = await self.fetch(build_select_by_id(table, for_update=for_update, keeps_key=keeps_key), id=row_id)
        return from_row(table, rows[0]) if rows else None

    async def insert(self, row: TableRow) -> TableRow:
        """Insert a row and return it with the values that the database filled in."""
        table = type(row)
        values = {name: getattr(row, name) for name in sorted(row.model_fields_set)}
        rows = await self.fetch(build_insert(table, tuple(values)), **values)
        return from_row(table, rows[0])

    async def update(self, row: TableRow, **changes: Any) -> TableRow:
        """Change these columns of a row and return the changed row."""
        if not changes:
            return row
        rows = await self.fetch(build_update(type(row), tuple(sorted(changes))), the_id=id_of(row), **changes)
        return from_row(type(row), rows[0])

    async def delete(self, row: SQLModel) -> None:
        """Delete a row. Raise ``StillInUse`` if another row refers to it."""
        try:
            await self.fetch(build_delete(type(row)), id=id_of(row))
        except (psycopg.errors.ForeignKeyViolation, psycopg.errors.RestrictViolation) as error:
            raise no.StillInUse from error

    async def copy_rows(self, table: type[SQLModel], columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> int:
        """Insert many rows with COPY and return their number; constraints and triggers apply to each row."""
        names = sql.SQL(", ").join(map(sql.Identifier, columns))
        command = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table_of(table).name), names)
        async with self._connection.cursor() as cursor:
            async with cursor.copy(command) as copy:
                for row in rows:
                    await copy.write_row(row)
            return cursor.rowcount

    async def set_actor(self, by: Actor) -> None:
        """Set the actor that history records for the following statements."""
        await self._set_audit(actor_fields(by))

    async def set_reason(self, reason: str) -> None:
        """Set the reason that history records for the following statements."""
        await self._set_audit({"reason": reason})

    async def set_notify_customer(self, *, notify: bool) -> None:
        """Set whether history records that the customer must be notified of the following statements."""
        await self._set_audit(notify_fields(notify=notify))

    async def allow_overlap(self, *, with_same_service: bool = True) -> None:
        """Let the following statements give a customer several visits at one time."""
        await self._set_audit(overlap_fields(is_allowed=True, with_same_service=with_same_service))

    async def keep_sign_in(self, sign_in_id: int) -> None:
        """Let the following statements change a password without ending this sign-in."""
        await self._set_audit({"sign_in_id": str(sign_in_id)})

    async def _set_audit(self, fields: AuditContext) -> None:
        self._audit_context |= fields
        await self._connection.execute(compose_set_local(fields), prepare=False)

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """Run a part that may be refused without ending the transaction: a refusal undoes this part alone."""
        await self._connection.execute("SAVEPOINT attempt")
        try:
            with translate_errors(self._connection):
                yield
        except no.Refusal:
            await self._connection.execute("ROLLBACK TO SAVEPOINT attempt; RELEASE SAVEPOINT attempt")
            raise
        await self._connection.execute("RELEASE SAVEPOINT attempt")
