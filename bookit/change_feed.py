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
from bookit.db.session import Reads
from bookit.db.statements import Row
from bookit.reports import calendar

log = logging.getLogger("bookit.news")
EVERY_SECONDS = 0.4
AFTER_TROUBLE_SECONDS = 2
MOST_AT_ONCE = 1_000
MOST_WAITING = 32  # batches for one reader, who after that is told to come again
LOOK_BACK = 5_000  # numbers, within which another transaction may be at work when a reader begins
FOR_EVER = 2**62

READ = text("""
SELECT CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text) AS bigint) AS oldest, event.*
  FROM (VALUES (1)) AS always LEFT JOIN (
    SELECT e.id, e.table_name, e.row_id
      FROM unnest(CAST(:firsts AS bigint[]), CAST(:lasts AS bigint[])) AS unseen (first, last)
     CROSS JOIN LATERAL (
       SELECT * FROM events WHERE id BETWEEN unseen.first AND unseen.last ORDER BY id LIMIT :limit) AS e
     ORDER BY e.id LIMIT :limit) AS event ON true
 ORDER BY event.id
""")
LATEST = text("SELECT id FROM events ORDER BY id DESC LIMIT :limit")
TAKE_NUMBER = text("SELECT CAST(CAST(pg_current_xact_id() AS text) AS bigint) AS number")


class Range(NamedTuple):
    """Numbers from the first to the last."""

    first: int
    last: int


@dataclass(frozen=True)
class Unseen:
    """What of history has not been seen: ranges, in order, the last of them without an end."""

    ranges: tuple[Range, ...]

    @classmethod
    def read(cls, spelled: str) -> Self | None:
        """Read what ``str`` wrote; None if it did not."""
        found = []
        for part in spelled.split(",")[:100]:
            first, dash, last = part.partition("-")
            if not (dash and is_number(first) and (is_number(last) or not last)):
                return None
            found.append(Range(int(first), int(last or FOR_EVER)))
        steps = [end for one in found for end in one]
        return cls(tuple(found)) if steps == sorted(steps) and steps[-1] == FOR_EVER else None

    def __str__(self) -> str:
        return ",".join(f"{one.first}-{one.last if one.last < FOR_EVER else ''}" for one in self.ranges)

    @property
    def next(self) -> int:
        """From which number on nothing was seen at all."""
        return self.ranges[-1].first

    def __contains__(self, number: int) -> bool:
        return any(one.first <= number <= one.last for one in self.ranges)

    def without(self, numbers: Iterable[int]) -> "Unseen":
        """Give what is unseen when these, in order, were seen."""
        seen, found = list(numbers), list[Range]()
        for first, last in self.ranges:
            begin = first
            for number in seen:
                if begin <= number <= last:
                    found += [Range(begin, number - 1)] if begin < number else []
                    begin = number + 1
            found += [Range(begin, last)] if begin <= last else []
        return Unseen(tuple(found))

    def since(self, number: int) -> "Unseen":
        """Give what is unseen when nothing before this number is waited for."""
        return Unseen(tuple(Range(max(one.first, number), one.last) for one in self.ranges if one.last >= number))

    def both(self, other: "Unseen") -> "Unseen":
        """Give what is unseen to this and to the other."""
        found = [
            Range(max(a.first, b.first), min(a.last, b.last))
            for a in self.ranges
            for b in other.ranges
            if max(a.first, b.first) <= min(a.last, b.last)
        ]
        return Unseen(tuple(found))


def is_number(spelled: str) -> bool:
    return spelled.isascii() and spelled.isdigit() and len(spelled) < len(str(FOR_EVER))


@dataclass(frozen=True)
class News:
    """What happened: the events, the visits among them as they now are, and what is unseen after that."""

    events: list[Row]
    visits: dict[int, Row]
    unseen: Unseen
    is_too_much: bool = False


@dataclass(eq=False)
class Reader:
    """Somebody who watches. Their queue holds a few batches; None ends it."""

    queue: "Queue[News | None]" = field(default_factory=lambda: Queue(MOST_WAITING))

    def tell(self, news: News | None) -> None:
        """Put news where this reader finds it; one who is too slow is sent away, and misses nothing by coming again."""
        try:
            self.queue.put_nowait(news)
        except QueueFull:
            while not self.queue.empty():
                self.queue.get_nowait()
            self.queue.put_nowait(None)


async def read_on(reads: Reads, unseen: Unseen) -> tuple[News, int]:
    """Read what is unseen, as much as goes at once, and the oldest transaction that still ran at that moment."""
    firsts, lasts = zip(*unseen.ranges, strict=True)
    rows = await reads.fetch(READ, firsts=list(firsts), lasts=list(lasts), limit=MOST_AT_ONCE)
    events = [row for row in rows if row["id"] is not None]
    numbers = {row["row_id"] for row in events if row["table_name"] == "bookings"}
    visits = {row["id"]: row for row in await calendar.visits_of(reads, numbers)}
    is_too_much = len(events) == MOST_AT_ONCE
    return News(events, visits, unseen.without(row["id"] for row in events), is_too_much), rows[0]["oldest"]


class Newsroom:
    """Reads history while anybody watches, and tells all of them."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.readers: set[Reader] = set()
        self.unseen = Unseen((Range(1, FOR_EVER),))
        self._waits: list[tuple[int, int]] = []  # a transaction number, and before which number of history it holds
        self._doubted = 0
        self._task: Task[None] | None = None
        self._opening = asyncio.Lock()
        self._is_closed = False

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[Reader]:
        """Tell somebody what happens, as long as the block runs."""
        reader = Reader()
        async with self._opening:
            if self._task is None and not self._is_closed:
                await self._begin()
                self._task = asyncio.create_task(self._go_on())
            self.readers.add(reader)
        if self._is_closed:
            reader.tell(None)
        try:
            yield reader
        finally:
            self.readers.discard(reader)
            if not self.readers:
                self._stop()

    def close(self) -> None:
        """Send everybody away, and read no more."""
        self._is_closed = True
        for reader in self.readers:
            reader.tell(None)
        self._stop()

    def _stop(self) -> None:
        if self._task:
            self._task.cancel()
        self._task = None

    async def _begin(self) -> None:
        """Begin at what is there by now. Numbers that are missing of late may be of transactions still at work."""
        rows = await self.database.fetch(LATEST, limit=LOOK_BACK)
        numbers = sorted(row["id"] for row in rows)
        first = numbers[0] if len(numbers) == LOOK_BACK else 1
        self.unseen = Unseen((Range(first, FOR_EVER),)).without(numbers)
        self._waits, self._doubted = [], 0

    async def _go_on(self) -> None:
        is_more = False
        while True:
            try:
                is_more = await self._read()
            except no.Busy:
                log.warning("The database was busy; news come later.")
                await asyncio.sleep(AFTER_TROUBLE_SECONDS)
            except Exception:
                # Whoever watches waits; nothing is lost, for what is unseen stays so.
                log.exception("News could not be read; they come later.")
                await asyncio.sleep(AFTER_TROUBLE_SECONDS)
            await asyncio.sleep(0 if is_more else EVERY_SECONDS)

    async def _read(self) -> bool:
        """Read on and tell; say whether there is more already."""
        news, oldest = await read_on(self.database, self.unseen)
        self.unseen = news.unseen
        if not news.is_too_much:
            self._give_up(oldest)
        await self._doubt()
        if news.events:
            for reader in [*self.readers]:
                reader.tell(News(news.events, news.visits, self.unseen, news.is_too_much))
        return news.is_too_much

    def _give_up(self, oldest: int) -> None:
        """Wait no longer for numbers that nobody holds any more."""
        for number, before in [*self._waits]:
            if number < oldest:
                self.unseen = self.unseen.since(before)
                self._waits.remove((number, before))

    async def _doubt(self) -> None:
        """Note which transactions may hold the numbers that are missing, if new ones are."""
        if len(self.unseen.ranges) > 1 and self.unseen.ranges[-2].first >= self._doubted:
            before = self.unseen.next
            taken = await self.database.fetch(TAKE_NUMBER)
            self._waits.append((taken[0]["number"], before))
            self._doubted = before
