"""Translates PostgreSQL's errors into BookIt's refusals."""

import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import psycopg

from bookit import refusals as no
from bookit.db import incidents
from bookit.db.statements import Connection
from bookit.schema.tables import refusals_by_constraint

T = TypeVar("T")
REFUSAL_BY_CONSTRAINT = refusals_by_constraint()


@contextmanager
def translate_errors(connection: Connection) -> Iterator[None]:
    """Raise the refusal that is declared beside a violated constraint in place of PostgreSQL's error.

    Raise ``Interrupted`` for a deadlock or a serialization failure, ``Disconnected`` for a lost connection, and
    ``Busy`` for a timeout, a full disk or a database that takes no writes. The log has a line for the reason.
    """
    try:
        yield
    except psycopg.IntegrityError as error:
        refusal = refusal_for(error)
        if refusal is None:
            raise
        raise refusal from error
    except (psycopg.OperationalError, psycopg.InternalError) as error:
        refusal = refusal_for_failure(error, is_broken=connection.broken)
        if refusal is None:
            raise
        incidents.report(error, incidents.CONNECTION_LOST if connection.broken else None)
        raise refusal from error


@contextmanager
def replace_refusal(kind: type[no.Refusal], replacement: no.Refusal) -> Iterator[None]:
    """Raise the replacement if a statement breaks a constraint whose refusal is of this kind."""
    try:
        yield
    except psycopg.IntegrityError as error:
        if isinstance(refusal_for(error), kind):
            raise replacement from error
        raise


def refusal_for_failure(error: psycopg.Error, *, is_broken: bool) -> no.Busy | None:
    """Return the refusal for a failure of the server or the connection; None for one that is a bug."""
    if isinstance(error, psycopg.errors.DeadlockDetected | psycopg.errors.SerializationFailure):
        return no.Interrupted()
    if is_broken:
        return no.Disconnected()
    is_busy = isinstance(error, psycopg.OperationalError | psycopg.errors.ReadOnlySqlTransaction)
    return no.Busy() if is_busy else None


def refusal_for(error: psycopg.IntegrityError) -> no.Refusal | None:
    """Return the refusal of a violated constraint, or None if none is declared, which is a bug."""
    violation = error.diag
    if isinstance(error, psycopg.errors.NotNullViolation):
        return no.Required(violation.column_name or "everything")
    constraint = (violation.table_name or "", violation.constraint_name or "")
    refusal, details = REFUSAL_BY_CONSTRAINT.get(constraint, (None, {}))
    if refusal and issubclass(refusal, no.Missing):
        return refusal(what=(refusal.field or "").removesuffix("_id"))
    if refusal and issubclass(refusal, no.OverlappingBooking | no.TooManyHolds | no.TooManyBookings | no.OwesLess):
        return refusal(**json.loads(violation.message_detail or "{}"))
    return refusal(**details) if refusal else None


async def retry_interrupted(act: Callable[[], Awaitable[T]]) -> T:
    """Run an act, and once more if another transaction caused PostgreSQL to abort it (40P01, 40001)."""
    try:
        return await act()
    except no.Interrupted:
        return await act()
