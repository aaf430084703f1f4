"""When each sign-in was last used: written beside the requests, and at most every few minutes."""

import asyncio
import logging
from datetime import datetime, timedelta

from sqlalchemy import text

from bookit import refusals as no
from bookit.db.pool import Database
from bookit.people.sign_ins import SignedIn

log = logging.getLogger("bookit.sign_ins")

INTERVAL = timedelta(minutes=5)
INTERVALS_PER_IDLE_TIME = 6  # With a short idle time, use is noted more often, so that it never ends during use.

# Two requests at two processes write it once.
WRITE = text("""
UPDATE sign_ins SET last_seen_at = :now, idle_ends_at = coalesce(:idle_ends_at, idle_ends_at)
 WHERE id = :id AND ended_at IS NULL AND last_seen_at <= :seen_at
""")


class LastSeen:
    """Notes the use of sign-ins in the background. What is lost when the process stops is noted at the next use."""

    def __init__(self) -> None:
        self._tasks: dict[int, asyncio.Task[None]] = {}  # by sign-in

    def note(self, database: Database, signed_in: SignedIn, *, now: datetime, idle: timedelta | None = None) -> None:
        """Note that a sign-in was used now, if that was not noted lately.

        ``idle`` is how long it lasts unused from now on; without it, the use does not prolong it.
        """
        interval = INTERVAL if idle is None else min(INTERVAL, idle / INTERVALS_PER_IDLE_TIME)
        sign_in_id = signed_in.sign_in_id
        if now - signed_in.last_seen_at < interval or sign_in_id in self._tasks:
            return
        task = asyncio.get_running_loop().create_task(write(database, signed_in, now=now, idle=idle))
        self._tasks[sign_in_id] = task
        task.add_done_callback(lambda _: self._tasks.pop(sign_in_id, None))

    async def finish(self) -> None:
        """Wait until everything that was noted is written."""
        await asyncio.gather(*self._tasks.values())


async def write(database: Database, signed_in: SignedIn, *, now: datetime, idle: timedelta | None) -> None:
    """Write when a sign-in was used. A database that does not answer is no reason to refuse what it was used for."""
    try:
        await database.fetch(
            WRITE,
            id=signed_in.sign_in_id,
            now=now,
            seen_at=signed_in.last_seen_at,
            idle_ends_at=now + idle if idle else None,
        )
    except no.Refusal as refusal:
        log.debug("The last use of a sign-in was not written: %s", refusal)
