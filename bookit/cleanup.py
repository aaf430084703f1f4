"""Background cleanup: expired holds, idempotency keys, refresh tokens and sign-ins."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self

import anyio
from sqlalchemy import text

from bookit import idempotency
from bookit import refusals as no
from bookit.bookings import expiry
from bookit.clock import Clock
from bookit.db.pool import Database
from bookit.people import refresh_tokens, sign_in, sign_ins
from bookit.policy.permissions import Actor
from bookit.settings import Settings

log = logging.getLogger("bookit.cleanup")
INTERVAL_SECONDS = 3600
MAX_DELETED_EVENTS = 50_000  # of history, by one run

# History is in the order of its ids, so the oldest are found at its beginning.
SET_HISTORY_DAYS = text("SELECT set_config('bookit.history_days', :days, true)")
DELETE_OLD_EVENTS = text("""
WITH oldest AS MATERIALIZED (SELECT id, at FROM events ORDER BY id LIMIT CAST(:most AS int))
DELETE FROM events USING oldest
 WHERE events.id = oldest.id AND oldest.at < clock_timestamp() - make_interval(days => CAST(:days AS int))
""")


@dataclass(frozen=True, slots=True)
class Retention:
    """How long ended sign-ins and history are kept. History is kept for ever without ``history_days``."""

    sign_ins: timedelta = timedelta(days=30)
    history_days: int = 0

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Return the retention that the environment describes."""
        return cls(timedelta(days=settings.sign_in_retention_days), settings.history_retention_days)


KEEP_HISTORY = Retention()


async def clean_up(database: Database, *, now: datetime, retention: Retention = KEEP_HISTORY) -> None:
    """Cancel expired holds and what nobody confirmed; delete expired keys and tokens, and old sign-ins and history.

    Two processes may run it at once.
    """
    async with database.transaction(by=Actor("worker"), now=now) as session:
        await expiry.expire_holds(session, now=now)
        await expiry.expire_unconfirmed(session, after=database.booking_limits.unconfirmed_for, now=now)
        await idempotency.delete_expired(session, now=now)
        await sign_in.delete_expired(session, now=now)
        await sign_ins.delete_old(session, now=now, retention=retention.sign_ins)
        await refresh_tokens.delete_useless(session, now=now)
        if retention.history_days:
            # The DELETE is judged before its first row, so the setting must stand by then.
            await session.fetch(SET_HISTORY_DAYS, days=str(retention.history_days))
            await session.fetch(DELETE_OLD_EVENTS, days=retention.history_days, most=MAX_DELETED_EVENTS)


async def clean_up_periodically(database: Database, *, clock: Clock, retention: Retention) -> None:
    """Clean up now and every hour, until cancelled."""
    while True:
        try:
            await clean_up(database, now=clock(), retention=retention)
        except no.Busy:
            log.warning("Cleanup was refused; it runs again in an hour.")
        except Exception:
            # A failed cleanup must not stop the server.
            log.exception("Cleanup failed; it runs again in an hour.")
        await anyio.sleep(INTERVAL_SECONDS)


@asynccontextmanager
async def run_in_background(
    database: Database, *, clock: Clock, retention: Retention = KEEP_HISTORY
) -> AsyncIterator[None]:
    """Clean up periodically in the background while the block runs."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: clean_up_periodically(database, clock=clock, retention=retention))
        yield
        tasks.cancel_scope.cancel()
