"""Background cleanup: expired holds, idempotency keys, refresh tokens and sign-ins."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import anyio

from bookit import idempotency
from bookit import refusals as no
from bookit.bookings import expiry
from bookit.clock import Clock
from bookit.db.pool import Database
from bookit.people import refresh_tokens, sign_in, sign_ins
from bookit.policy.permissions import Actor

log = logging.getLogger("bookit.cleanup")
INTERVAL_SECONDS = 3600
DEFAULT_RETENTION = timedelta(days=30)  # of sign-ins that have ended


async def clean_up(database: Database, *, now: datetime, retention: timedelta = DEFAULT_RETENTION) -> None:
    """Cancel expired holds and what nobody confirmed; delete expired idempotency keys and tokens.

    Two processes may run it at once.
    """
    async with database.transaction(by=Actor("worker"), now=now) as session:
        await expiry.expire_holds(session, now=now)
        await expiry.expire_unconfirmed(session, after=database.booking_limits.unconfirmed_for, now=now)
        await idempotency.delete_expired(session, now=now)
        await sign_in.delete_expired(session, now=now)
        await sign_ins.delete_old(session, now=now, retention=retention)
        await refresh_tokens.delete_useless(session, now=now)


async def clean_up_periodically(database: Database, *, clock: Clock, retention: timedelta) -> None:
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
    database: Database, *, clock: Clock, retention: timedelta = DEFAULT_RETENTION
) -> AsyncIterator[None]:
    """Clean up periodically in the background while the block runs."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: clean_up_periodically(database, clock=clock, retention=retention))
        yield
        tasks.cancel_scope.cancel()
