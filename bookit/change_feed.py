"""What has just happened, for whoever watches: read from history, by one reader a process however many watch.

The numbers of history are given out before a transaction ends, so that number 12 can be seen before number 11. Where
one has read to is therefore no number but what one has not seen: "11-11,13-" is everything but 11 and from 13 on.
Whoever comes back with that gets what was missed and nothing twice, from any process. A number that is never used, as
after a refusal, is waited for no longer than any transaction that could hold it still runs: by the trigger that writes
history, whoever holds a number has a transaction number, so one that is taken after the gap was seen is larger than
theirs, and once PostgreSQL counts nothing older among what runs, nothing will fill the gap.
"""

import asyncio
import logging
from asyncio import Queue, QueueFull, Task
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NamedTuple, Self

from sqlalchemy import text

from bookit import refusals as no
from bookit.db.pool import Database
from bookit.db.session import Reader
from bookit.db.statements import Row
from bookit.reports import calendar

log = logging.getLogger("bookit.news")
POLL_INTERVAL_SECONDS = 0.4
RETRY_DELAY_SECONDS = 2
MAX_EVENTS_PER_POLL = 1_000
MAX_QUEUED_BATCHES = 32  # batches for one reader, who after that is told to come again
GAP_WINDOW = 5_000  # numbers, within which another transaction may be at work when a reader begins
OPEN_END = 2**62

SELECT_UNSEEN = text("""
SELECT CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text) AS bigint) AS oldest, event.*
  FROM (VALUES (1)) AS always LEFT JOIN (
    SELECT e.id, e.table_name, e.row_id
      FROM unnest(CAST(:firsts AS bigint[]), CAST(:lasts AS bigint[])) AS unseen (first, last)
     CROSS JOIN LATERAL (
       SELECT * FROM events WHERE id BETWEEN unseen.first AND unseen.last ORDER BY id LIMIT :limit) AS e
     ORDER BY e.id LIMIT :limit) AS event ON true
 ORDER BY event.id
""")
SELECT_LATEST_IDS = text("SELECT id FROM events ORDER BY id DESC LIMIT :limit")
ASSIGN_TRANSACTION_ID = text("SELECT CAST(CAST(pg_current_xact_id() AS text) AS bigint) AS number")


class IdRange(NamedTuple):
    """Numbers from the first to the last."""

    first: int
    last: int


@dataclass(frozen=True)
class Cursor:
    """What of history has not been seen: ranges, in order, the last of them without an end."""

    ranges: tuple[IdRange, ...]

    @classmethod
    def parse(cls, value: str) -> Self | None:
        """Read what ``str`` wrote; None if it did not."""
        found = []
        for part in value.split(",")[:100]:
            first, dash, last = part.partition("-")
            if not (dash and is_event_id(first) and (is_event_id(last) or not last)):
                return None
            found.append(IdRange(int(first), int(last or OPEN_END)))
        steps = [end for one in found for end in one]
        return cls(tuple(found)) if steps == sorted(steps) and steps[-1] == OPEN_END else None

    def __str__(self) -> str:
        return ",".join(f"{one.first}-{one.last if one.last < OPEN_END else ''}" for one in self.ranges)

    @property
    def next_id(self) -> int:
        """From which number on nothing was seen at all."""
        return self.ranges[-1].first

    def __contains__(self, event_id: int) -> bool:
        return any(one.first <= event_id <= one.last for one in self.ranges)

    def without(self, event_ids: Iterable[int]) -> "Cursor":
        """Give what is unseen when these, in order, were seen."""
        seen, found = list(event_ids), list[IdRange]()
        for first, last in self.ranges:
            begin = first
            for number in seen:
                if begin <= number <= last:
                    found += [IdRange(begin, number - 1)] if begin < number else []
                    begin = number + 1
            found += [IdRange(begin, last)] if begin <= last else []
        return Cursor(tuple(found))

    def skip_before(self, event_id: int) -> "Cursor":
        """Give what is unseen when nothing before this number is waited for."""
        return Cursor(tuple(IdRange(max(one.first, event_id), one.last) for one in self.ranges if one.last >= event_id))

    def intersect(self, other: "Cursor") -> "Cursor":
        """Give what is unseen to this and to the other."""
        found = [
            IdRange(max(a.first, b.first), min(a.last, b.last))
            for a in self.ranges
            for b in other.ranges
            if max(a.first, b.first) <= min(a.last, b.last)
        ]
        return Cursor(tuple(found))


def is_event_id(value: str) -> bool:
    return value.isascii() and value.isdigit() and len(value) < len(str(OPEN_END))


@dataclass(frozen=True)
class Changes:
    """What happened: the events, the visits among them as they now are, and what is unseen after that."""

    events: list[Row]
    bookings: dict[int, Row]
    cursor: Cursor
    is_truncated: bool = False


@dataclass(eq=False)
class Subscriber:
    """Somebody who watches. Their queue holds a few batches; None ends it."""

    queue: "Queue[Changes | None]" = field(default_factory=lambda: Queue(MAX_QUEUED_BATCHES))

    def deliver(self, changes: Changes | None) -> None:
        """Put news where this reader finds it; one who is too slow is sent away, and misses nothing by coming again."""
        try:
            self.queue.put_nowait(changes)
        except QueueFull:
            while not self.queue.empty():
                self.queue.get_nowait()
            self.queue.put_nowait(None)


async def poll(reader: Reader, cursor: Cursor) -> tuple[Changes, int]:
    """Read what is unseen, as much as goes at once, and the oldest transaction that still ran at that moment."""
    firsts, lasts = zip(*cursor.ranges, strict=True)
    rows = await reader.fetch(SELECT_UNSEEN, firsts=list(firsts), lasts=list(lasts), limit=MAX_EVENTS_PER_POLL)
    events = [row for row in rows if row["id"] is not None]
    numbers = {row["row_id"] for row in events if row["table_name"] == "bookings"}
    visits = {row["id"]: row for row in await calendar.bookings_by_id(reader, numbers)}
    is_too_much = len(events) == MAX_EVENTS_PER_POLL
    return Changes(events, visits, cursor.without(row["id"] for row in events), is_too_much), rows[0]["oldest"]


class ChangeFeed:
    """Reads history while anybody watches, and tells all of them."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.subscribers: set[Subscriber] = set()
        self.cursor = Cursor((IdRange(1, OPEN_END),))
        self._gaps: list[tuple[int, int]] = []  # a transaction number, and before which number of history it holds
        self._gaps_recorded_before = 0
        self._task: Task[None] | None = None
        self._start_lock = asyncio.Lock()
        self._is_closed = False

    @asynccontextmanager
    async def subscribe(self) -> AsyncIterator[Subscriber]:
        """Tell somebody what happens, as long as the block runs."""
        reader = Subscriber()
        async with self._start_lock:
            if self._task is None and not self._is_closed:
                await self._start()
                self._task = asyncio.create_task(self._run())
            self.subscribers.add(reader)
        if self._is_closed:
            reader.deliver(None)
        try:
            yield reader
        finally:
            self.subscribers.discard(reader)
            if not self.subscribers:
                self._stop()

    def close(self) -> None:
        """Send everybody away, and read no more."""
        self._is_closed = True
        for reader in self.subscribers:
            reader.deliver(None)
        self._stop()

    def _stop(self) -> None:
        if self._task:
            self._task.cancel()
        self._task = None

    async def _start(self) -> None:
        """Begin at what is there by now. Numbers that are missing of late may be of transactions still at work."""
        rows = await self.database.fetch(SELECT_LATEST_IDS, limit=GAP_WINDOW)
        numbers = sorted(row["id"] for row in rows)
        first = numbers[0] if len(numbers) == GAP_WINDOW else 1
        self.cursor = Cursor((IdRange(first, OPEN_END),)).without(numbers)
        self._gaps, self._gaps_recorded_before = [], 0

    async def _run(self) -> None:
        is_more = False
        while True:
            try:
                is_more = await self._poll()
            except no.Busy:
                log.warning("The database was busy; news come later.")
                await asyncio.sleep(RETRY_DELAY_SECONDS)
            except Exception:
                # Whoever watches waits; nothing is lost, for what is unseen stays so.
                log.exception("News could not be read; they come later.")
                await asyncio.sleep(RETRY_DELAY_SECONDS)
            await asyncio.sleep(0 if is_more else POLL_INTERVAL_SECONDS)

    async def _poll(self) -> bool:
        """Read on and tell; say whether there is more already."""
        news, oldest = await poll(self.database, self.cursor)
        self.cursor = news.cursor
        if not news.is_truncated:
            self._close_gaps(oldest)
        await self._record_gap()
        if news.events:
            for reader in [*self.subscribers]:
                reader.deliver(Changes(news.events, news.bookings, self.cursor, news.is_truncated))
        return news.is_truncated

    def _close_gaps(self, oldest: int) -> None:
        """Wait no longer for numbers that nobody holds any more."""
        for number, before in [*self._gaps]:
            if number < oldest:
                self.cursor = self.cursor.skip_before(before)
                self._gaps.remove((number, before))

    async def _record_gap(self) -> None:
        """Note which transactions may hold the numbers that are missing, if new ones are."""
        if len(self.cursor.ranges) > 1 and self.cursor.ranges[-2].first >= self._gaps_recorded_before:
            before = self.cursor.next_id
            taken = await self.database.fetch(ASSIGN_TRANSACTION_ID)
            self._gaps.append((taken[0]["number"], before))
            self._gaps_recorded_before = before
