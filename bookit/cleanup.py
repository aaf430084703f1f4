"""What nobody waits for: letting go of what has run out."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

import anyio

from bookit import idempotency
from bookit import refusals as no
from bookit.bookings import acts
from bookit.clock import Clock
from bookit.db.pool import Database
from bookit.people import sign_in
from bookit.policy.permissions import Actor

log = logging.getLogger("bookit.housekeeping")
INTERVAL_SECONDS = 3600


async def clean_up(database: Database, *, now: datetime) -> None:
    """Forget keys a day old and expired tokens, and cancel holds that ran out. Harmless to run twice at once."""
    async with database.transaction(by=Actor("worker"), now=now) as session:
        await acts.expire_holds(session, now=now)
        await idempotency.delete_expired(session, now=now)
        await sign_in.delete_expired(session, now=now)


async def clean_up_periodically(database: Database, *, clock: Clock) -> None:
    """Tidy now and every hour, for as long as this runs."""
    while True:
        try:
            await clean_up(database, now=clock())
        except no.Busy:
            log.warning("The database was busy; tidying up is left for the next hour.")
        except Exception:
            # What nobody waits for may fail, but must not take the server down with it.
            log.exception("Tidying up failed; it is left for the next hour.")
        await anyio.sleep(INTERVAL_SECONDS)


@asynccontextmanager
async def run_in_background(database: Database, *, clock: Clock) -> AsyncIterator[None]:
    """Keep tidy in the background while the block runs."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: clean_up_periodically(database, clock=clock))
        yield
        tasks.cancel_scope.cancel()
