"""Turns what PostgreSQL refuses into BookIt's refusals."""

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
    refusal = REFUSAL_BY_CONSTRAINT.get((broken.table_name or "", broken.constraint_name or ""))
    if refusal and issubclass(refusal, no.Missing):
        return refusal(what=(refusal.field or "").removesuffix("_id"))
    return refusal() if refusal else None


async def retry_interrupted(act: Callable[[], Awaitable[T]]) -> T:
    """Run an act, and once more when PostgreSQL ended it only because of another's (40P01, 40001)."""
    try:
        return await act()
    except no.Interrupted:
        return await act()
