"""The change feed: new events of history, read once per process for all subscribers.

The problem it solves is gaps in a sequence under concurrent commits. PostgreSQL assigns an event's id before the
transaction commits, so a reader can see id 12 before id 11; one that remembers only "up to 12" never sees 11. A cursor
is therefore the set of ids not yet seen: "11-11,13-" is id 11 and everything from 13. A client that reconnects with its
cursor, to any process, gets the missed events exactly once.

An id that is never used, after a rollback say, is waited for only while a transaction that could hold it still runs.
The history trigger makes sure that a transaction with an event id has a transaction id. The feed assigns a transaction
id after it has seen the gap; that one is larger than the id of any transaction that could fill the gap. Once the oldest
running transaction is newer, nothing will fill the gap.
"""

import asyncio
import logging
from asyncio import Queue, QueueFull, Task
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Self

from sqlalchemy import text

from bookit import refusals as no
from bookit.db.pool import Database
from bookit.db.session import Reader
from bookit.db.statements import Row
from bookit.reports import calendar

log = logging.getLogger("bookit.change_feed")
POLL_INTERVAL_SECONDS = 0.4
RETRY_DELAY_SECONDS = 2
MAX_EVENTS_PER_POLL = 1_000
MAX_QUEUED_BATCHES = 32  # per subscriber; a slower one is disconnected and must reconnect
GAP_WINDOW = 5_000  # latest ids, among which running transactions may hold gaps when the feed starts
OPEN_END = 2**62

SELECT_UNSEEN = text("""
SELECT CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text) AS bigint) AS oldest_transaction, event.*
  FROM (VALUES (1)) AS always LEFT JOIN (
    SELECT e.id, e.table_name, e.row_id, CAST(e.old ->> 'resource_id' AS bigint) AS old_resource_id,
           ARRAY(SELECT CAST(id AS bigint)
                   FROM jsonb_array_elements_text(nullif(e.old -> 'other_resource_ids', 'null')) AS id)
             AS old_other_resource_ids
      FROM unnest(CAST(:firsts AS bigint[]), CAST(:lasts AS bigint[])) AS unseen (first, last)
     CROSS JOIN LATERAL (
       SELECT * FROM events WHERE id BETWEEN unseen.first AND unseen.last ORDER BY id LIMIT :limit) AS e
     ORDER BY e.id LIMIT :limit) AS event ON true
 ORDER BY event.id
""")
SELECT_LATEST_IDS = text("SELECT id FROM events ORDER BY id DESC LIMIT :limit")
ASSIGN_TRANSACTION_ID = text("SELECT CAST(CAST(pg_current_xact_id() AS text) AS bigint) AS id")


class IdRange(NamedTuple):
    """Event ids from the first to the last, both included."""

    first: int
    last: int


@dataclass(frozen=True)
class Cursor:
    """The event ids not yet seen: ranges in ascending order, the last of them without an end."""

    ranges: tuple[IdRange, ...]

    @classmethod
    def parse(cls, value: str) -> Self | None:
        """Return the cursor that ``str()`` wrote, or None for any other text."""
        ranges = []
        for part in value.split(",")[:100]:
            first, dash, last = part.partition("-")
            if not (dash and is_event_id(first) and (is_event_id(last) or not last)):
                return None
            ranges.append(IdRange(int(first), int(last or OPEN_END)))
        bounds = [bound for id_range in ranges for bound in id_range]
        return cls(tuple(ranges)) if bounds == sorted(bounds) and bounds[-1] == OPEN_END else None

    def __str__(self) -> str:
        return ",".join(f"{first}-{last if last < OPEN_END else ''}" for first, last in self.ranges)

    @property
    def next_id(self) -> int:
        """The id from which no event has been seen."""
        return self.ranges[-1].first

    def __contains__(self, event_id: int) -> bool:
        return any(first <= event_id <= last for first, last in self.ranges)

    def without(self, event_ids: Iterable[int]) -> "Cursor":
        """Return the ids still unseen when these, in ascending order, have been seen."""
        seen_ids, ranges = list(event_ids), list[IdRange]()
        for first, last in self.ranges:
            start = first
            for seen_id in seen_ids:
                if start <= seen_id <= last:
                    ranges += [IdRange(start, seen_id - 1)] if start < seen_id else []
                    start = seen_id + 1
            ranges += [IdRange(start, last)] if start <= last else []
        return Cursor(tuple(ranges))

    def skip_before(self, event_id: int) -> "Cursor":
        """Return the ids still unseen when the gaps before this id are given up."""
        return Cursor(tuple(IdRange(max(first, event_id), last) for first, last in self.ranges if last >= event_id))

    def intersect(self, other: "Cursor") -> "Cursor":
        """Return the ids that neither this cursor nor the other has seen."""
        overlaps = (IdRange(max(a.first, b.first), min(a.last, b.last)) for a in self.ranges for b in other.ranges)
        return Cursor(tuple(overlap for overlap in overlaps if overlap.first <= overlap.last))


def is_event_id(value: str) -> bool:
    return value.isascii() and value.isdigit() and len(value) < len(str(OPEN_END))


@dataclass(frozen=True)
class Changes:
    """New events, the bookings among them as they are now, by id, and the cursor after them.

    With ``is_truncated`` there are more events than one poll reads.
    """

    events: list[Row]
    bookings: dict[int, Row]
    cursor: Cursor
    is_truncated: bool = False


@dataclass(eq=False)
class Subscriber:
    """A client of the feed. Its queue holds a few batches of changes; None ends it."""

    queue: "Queue[Changes | None]" = field(default_factory=lambda: Queue(MAX_QUEUED_BATCHES))

    def deliver(self, changes: Changes | None) -> None:
        """Queue changes. A subscriber whose queue is full is disconnected; it reconnects with its cursor."""
        try:
            self.queue.put_nowait(changes)
        except QueueFull:
            while not self.queue.empty():
                self.queue.get_nowait()
            self.queue.put_nowait(None)


async def poll(reader: Reader, cursor: Cursor) -> tuple[Changes, int]:
    """Return the unseen events, up to a limit, and the id of the oldest transaction that ran at that moment."""
    firsts, lasts = zip(*cursor.ranges, strict=True)
    rows = await reader.fetch(SELECT_UNSEEN, firsts=list(firsts), lasts=list(lasts), limit=MAX_EVENTS_PER_POLL)
    events = [row for row in rows if row["id"] is not None]
    booking_ids = {event["row_id"] for event in events if event["table_name"] == "bookings"}
    bookings = {row["id"]: row for row in await calendar.bookings_by_id(reader, booking_ids)}
    changes = Changes(
        events,
        bookings,
        cursor.without(event["id"] for event in events),
        is_truncated=len(events) == MAX_EVENTS_PER_POLL,
    )
    return changes, rows[0]["oldest_transaction"]


class ChangeFeed:
    """Polls history while there are subscribers, and delivers new events to each of them.

    One task polls. It ends by itself and is cancelled only when the feed closes: ``asyncio.wait_for``, which psycopg
    waits with, swallows a cancellation in Python 3.11 if its result is ready at that moment. The task would then go on
    beside its successor.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self.subscribers: set[Subscriber] = set()
        self.cursor = Cursor((IdRange(1, OPEN_END),))
        # (transaction id, event id): only transactions older than the first can fill gaps before the second
        self._gaps: list[tuple[int, int]] = []
        self._gaps_recorded_before = 0
        self._task: Task[None] | None = None
        self._start_lock = asyncio.Lock()
        self._is_closed = False

    @asynccontextmanager
    async def subscribe(self) -> AsyncIterator[Subscriber]:
        """Deliver changes to a new subscriber while the block runs."""
        subscriber = Subscriber()
        async with self._start_lock:
            if self._task is None and not self._is_closed:
                await self._start()
                self._task = asyncio.create_task(self._run())
            self.subscribers.add(subscriber)
        if self._is_closed:
            subscriber.deliver(None)
        try:
            yield subscriber
        finally:
            self.subscribers.discard(subscriber)

    def close(self) -> None:
        """Disconnect all subscribers and stop polling."""
        self._is_closed = True
        for subscriber in self.subscribers:
            subscriber.deliver(None)
        if self._task:
            self._task.cancel()

    async def _start(self) -> None:
        """Start at the current end of history. Ids missing among the latest may belong to running transactions."""
        rows = await self.database.fetch(SELECT_LATEST_IDS, limit=GAP_WINDOW)
        latest_ids = sorted(row["id"] for row in rows)
        first = latest_ids[0] if len(latest_ids) == GAP_WINDOW else 1
        self.cursor = Cursor((IdRange(first, OPEN_END),)).without(latest_ids)
        self._gaps, self._gaps_recorded_before = [], 0

    async def _run(self) -> None:
        try:
            while self.subscribers and not self._is_closed:
                await self._poll_and_wait()
        finally:
            self._task = None

    async def _poll_and_wait(self) -> None:
        is_truncated = False
        try:
            is_truncated = await self._poll()
        except no.Busy:
            # bookit.db.incidents has logged the reason, once a minute.
            await asyncio.sleep(RETRY_DELAY_SECONDS)
        except Exception:
            # Subscribers wait. Nothing is lost: the cursor keeps what is unseen.
            log.exception("The change feed cannot read history; it retries.")
            await asyncio.sleep(RETRY_DELAY_SECONDS)
        await asyncio.sleep(0 if is_truncated else POLL_INTERVAL_SECONDS)

    async def _poll(self) -> bool:
        """Read and deliver new events. Return whether there are more."""
        changes, oldest_transaction = await poll(self.database, self.cursor)
        self.cursor = changes.cursor
        if not changes.is_truncated:
            self._close_gaps(oldest_transaction)
        await self._record_gap()
        if changes.events:
            for subscriber in [*self.subscribers]:
                subscriber.deliver(replace(changes, cursor=self.cursor))
        return changes.is_truncated

    def _close_gaps(self, oldest_transaction: int) -> None:
        """Drop the gaps whose transactions have all ended."""
        for transaction_id, event_id in [*self._gaps]:
            if transaction_id < oldest_transaction:
                self.cursor = self.cursor.skip_before(event_id)
                self._gaps.remove((transaction_id, event_id))

    async def _record_gap(self) -> None:
        """If there are new gaps, record a transaction id larger than that of any transaction that can fill them."""
        if len(self.cursor.ranges) > 1 and self.cursor.ranges[-2].first >= self._gaps_recorded_before:
            event_id = self.cursor.next_id
            [transaction] = await self.database.fetch(ASSIGN_TRANSACTION_ID)
            self._gaps.append((transaction["id"], event_id))
            self._gaps_recorded_before = event_id
