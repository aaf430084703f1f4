"""Translates PostgreSQL's errors into BookIt's refusals."""

import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import psycopg

from bookit import refusals as no
from bookit.db.statements import Connection
from bookit.schema.tables import refusals_by_constraint

T = TypeVar("T")
REFUSAL_BY_CONSTRAINT = refusals_by_constraint()


@contextmanager
def translate_errors(connection: Connection) -> Iterator[None]:
    """Raise the refusal that is declared beside a violated constraint in place of PostgreSQL's error.

    Raise ``Interrupted`` for a deadlock or a serialization failure, ``Disconnected`` for a lost connection, and
    ``Busy`` for a timeout.
    """
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
    """Return the refusal of a violated constraint, or None if none is declared, which is a bug."""
    violation = error.diag
    if isinstance(error, psycopg.errors.NotNullViolation):
        return no.Required(violation.column_name or "everything")
    constraint = (violation.table_name or "", violation.constraint_name or "")
    refusal, details = REFUSAL_BY_CONSTRAINT.get(constraint, (None, {}))
    if refusal and issubclass(refusal, no.Missing):
        return refusal(what=(refusal.field or "").removesuffix("_id"))
    if refusal and issubclass(refusal, no.OverlappingBooking):
        return refusal(**json.loads(violation.message_detail or "{}"))
    return refusal(**details) if refusal else None


async def retry_interrupted(act: Callable[[], Awaitable[T]]) -> T:
    """Run an act, and once more if another transaction caused PostgreSQL to abort it (40P01, 40001)."""
    try:
        return await act()
    except no.Interrupted:
        return await act()
