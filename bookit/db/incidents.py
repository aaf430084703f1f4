"""Incidents: why the database refuses work. Each reason is one log line a minute, however many requests it refuses."""

import logging
import time
from dataclasses import dataclass

import psycopg
from psycopg import errors
from psycopg_pool import PoolClosed, PoolTimeout

log = logging.getLogger("bookit.database")

REPEAT_SECONDS = 60  # between two lines of one reason
DISK_FULL, READ_ONLY, TIMEOUT = "disk full", "read-only", "timeout"
NO_CONNECTION, CONNECTION_LOST, SHUTDOWN = "no connection", "connection lost", "BookIt stops"
# A class stands before its base classes.
REASONS: dict[type[BaseException], str] = {
    errors.DiskFull: DISK_FULL,
    errors.IoError: "disk error",
    errors.OutOfMemory: "out of memory",
    errors.TooManyConnections: "too many connections",
    errors.ReadOnlySqlTransaction: READ_ONLY,
    errors.QueryCanceled: TIMEOUT,
    errors.LockNotAvailable: TIMEOUT,
    errors.TransactionTimeout: TIMEOUT,
    errors.IdleInTransactionSessionTimeout: TIMEOUT,
    errors.DeadlockDetected: "conflict",
    errors.SerializationFailure: "conflict",
    PoolTimeout: "no free connection",
    PoolClosed: SHUTDOWN,
}
# Two writers met, and one is asked to try again; or BookIt ends.
EXPECTED = {"conflict", SHUTDOWN}
NEEDS_TRACEBACK = {TIMEOUT, "other"}  # It names the statement.


@dataclass
class Incident:
    """What happened for one reason since its last log line."""

    logged_at: float
    count: int = 0


_incidents: dict[str, Incident] = {}


def reason_of(error: BaseException) -> str:
    """Return why the database did not do its work, in a few words."""
    return next((reason for kind, reason in REASONS.items() if isinstance(error, kind)), "other")


def report(error: BaseException, reason: str | None = None) -> None:
    """Log the first incident of a reason at once, and then at most one line a minute with their number."""
    reason, now = reason or reason_of(error), time.monotonic()
    incident = _incidents.get(reason)
    if incident is None:
        incident = _incidents[reason] = Incident(now - REPEAT_SECONDS)
    incident.count += 1
    if now - incident.logged_at < REPEAT_SECONDS:
        return
    log.log(
        logging.WARNING if reason in EXPECTED else logging.ERROR,
        "database",
        extra={"reason": reason, "detail": detail_of(error), "count": incident.count},
        exc_info=error if reason in NEEDS_TRACEBACK else None,
    )
    _incidents[reason] = Incident(now)


def detail_of(error: BaseException) -> str:
    """Return what PostgreSQL, or libpq, says about it, in one line. It never contains the password."""
    primary = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    return primary or " ".join(str(error).split())
