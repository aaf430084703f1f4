"""The limiter: counts what is taken from each rate of ``policy.rates``, in memory or in PostgreSQL.

Both ways are the generic cell rate algorithm, which keeps one moment for each sender: when their quota is full again.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from math import ceil
from typing import NamedTuple

from sqlalchemy import ClauseElement, Integer, Interval, String, bindparam, column, func, select

from bookit import refusals as no
from bookit import security_log
from bookit.db.session import Reader
from bookit.policy import rates
from bookit.policy.rates import LOOPBACK_FACTOR, Rate

# of a second, by which a full quota may be exceeded: quotas do not divide every window into whole microseconds
ROUNDING = 0.001
TAKE: ClauseElement = select(
    column("wait"), column("used")
).select_from(
    func.take_from_rate(
        bindparam("name", type_=String),
        bindparam("burst", type_=Integer),
        bindparam("per", type_=Interval),
        bindparam("cost", type_=Integer),
    ).table_valued("wait", "used")
)  # fmt: skip


class Usage(NamedTuple):
    """What is left of a quota after a request: ``used`` is the seconds until it is full, ``wait`` those until a retry.

    ``wait`` is 0 if the request was allowed.
    """

    counter: "Counter"
    used: float
    wait: float = 0

    @property
    def remaining(self) -> int:
        """How much may be taken at once."""
        return 0 if self.wait else self.counter.remaining(self.used)

    @property
    def header_item(self) -> str:
        """Its item of the header RateLimit."""
        seconds = self.wait or self.used
        end = f";t={ceil(seconds)}" if self.counter.window else ""
        return f'"{self.counter.name}";r={self.remaining}{end}'


class Counter:
    """What each sender has taken from one rate, in the memory of this process."""

    def __init__(self, rate: Rate, factor: float) -> None:
        self.rate = rate
        self.name = rate.name
        self.quota = max(1, round(rate.quota * factor))
        self.window = 0.0 if rate.unit == "concurrent-requests" else rate.window.total_seconds()
        self.step = self.window / self.quota
        self.full_at: OrderedDict[str | int, float] = OrderedDict()  # the least recently used first
        self.open_count: dict[str | int, int] = {}
        unit = "" if rate.unit == "requests" else f';qu="{rate.unit}"'
        self.policy_item = f'"{rate.name}";q={self.quota}{unit}' + (f";w={round(self.window)}" if self.window else "")

    def take(self, who: str | int, now: float, cost: int) -> Usage:
        """Take from the quota of a sender, unless less than ``cost`` is left."""
        full_at = self.full_at.get(who, now)
        if not now <= full_at <= now + self.window + ROUNDING:
            full_at = now
        due = full_at + self.step * min(cost, self.quota)
        excess = due - now - self.window
        if excess > ROUNDING:
            if who in self.full_at:
                self.full_at.move_to_end(who)
            return Usage(self, full_at - now, excess)
        self.full_at[who] = due
        self.full_at.move_to_end(who)
        if len(self.full_at) > rates.MAX_COUNTERS:
            self.full_at.popitem(last=False)
        return Usage(self, due - now)

    def remaining(self, used: float) -> int:
        """Return how much of the quota is left when it is full again in so many seconds."""
        return int((self.window - used + ROUNDING) / self.step) if self.window else int(self.quota - used)


class RateLimits:
    """The limits of one process. ``factor`` multiplies every quota; with 0 nothing is limited."""

    def __init__(self, factor: float = 1, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.is_on = factor > 0
        self.clock = clock
        every_rate = tuple(rates.all_rates()) if self.is_on else ()
        self._counters = {rate: Counter(rate, factor) for rate in every_rate}
        self._loopback = {
            rate: Counter(rate, factor * (1 if rate.is_strict else LOOPBACK_FACTOR)) for rate in every_rate
        }
        self._reports: OrderedDict[tuple[str, str | int], tuple[float, int]] = OrderedDict()

    def counter_of(self, rate: Rate, *, is_loopback: bool = False) -> Counter:
        """Return what counts a rate; requests of the machine itself have a larger quota."""
        return (self._loopback if is_loopback else self._counters)[rate]

    def take(self, rate: Rate, who: str | int, cost: int = 1, *, is_loopback: bool = False) -> Usage:
        """Take from the quota of a sender, in memory."""
        return (self._loopback if is_loopback else self._counters)[rate].take(who, self.clock(), cost)

    async def take_shared(
        self, reader: Reader, rate: Rate, who: str | int, cost: int = 1, *, is_loopback: bool = False
    ) -> Usage:
        """Take from the quota of a sender, which all processes share."""
        counter = self.counter_of(rate, is_loopback=is_loopback)
        [row] = await reader.fetch(TAKE, name=f"{rate.name} {who}", burst=counter.quota, per=rate.window, cost=cost)
        return Usage(counter, row["used"], row["wait"])

    @contextmanager
    def opened(self, rate: Rate, who: str | int) -> Iterator[Usage]:
        """Count a request of a sender as open while the block runs. Yield a usage with a wait if too many are."""
        counter = self._counters[rate]
        count = counter.open_count.get(who, 0)
        if count >= counter.quota:
            yield Usage(counter, count, 1)
            return
        counter.open_count[who] = count + 1
        try:
            yield Usage(counter, count + 1)
        finally:
            release(counter.open_count, who)

    def refuse(self, usage: Usage, who: str | int, *, account: int | None) -> no.TooManyRequests:
        """Return the refusal of a request, and report it: one line a minute for each rate and sender."""
        now, key = self.clock(), (usage.counter.name, who)
        reported_at, unreported = self._reports.get(key, (-rates.REPORT_SECONDS, 0))
        if now - reported_at >= rates.REPORT_SECONDS:
            security_log.report("rate limited", account=account, detail=usage.counter.name, count=unreported + 1)
            reported_at, unreported = now, -1
        self._reports[key] = (reported_at, unreported + 1)
        self._reports.move_to_end(key)
        if len(self._reports) > rates.MAX_COUNTERS:
            self._reports.popitem(last=False)
        return no.TooManyRequests(seconds=usage.wait)


def release(open_count: MutableMapping[str | int, int], who: str | int) -> None:
    open_count[who] -= 1
    if not open_count[who]:
        del open_count[who]
