"""When a service can be had, worked out a second time, from the promise alone: spans of time in plain Python."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from zoneinfo import ZoneInfo

Span = tuple[datetime, datetime]  # From the first moment until just before the second.
DAY = timedelta(days=1)
MARGIN = 4 * DAY  # How far around a moment openings and closures are looked for; no visit is longer.


@dataclass(frozen=True)
class Weekly:
    """Opening hours of a weekday, by the clock on the wall; closing not after opening is closing the next day."""

    weekday: int
    opens: time
    closes: time
    valid_from: date | None = None
    valid_until: date | None = None


@dataclass(frozen=True)
class Sold:
    """A booking, in its place."""

    id: int
    seat: int
    visit: Span
    blocks: Span
    status: str
    expires_at: datetime | None = None

    def is_in_the_way(self, now: datetime) -> bool:
        """Whether it takes its place: it is open, and no hold that has run out."""
        return self.status in {"pending", "confirmed"} and (self.expires_at is None or self.expires_at > now)


@dataclass(frozen=True)
class Resource:
    """Somebody or something that can be busy."""

    id: int
    zone: str
    capacity: int
    hours: Sequence[Weekly] = ()
    opened: Sequence[Span] = ()
    closed: Sequence[Span] = ()
    sold: Sequence[Sold] = ()
    serves: bool = True  # Whether it is active and linked to the service.


@dataclass(frozen=True)
class Business:
    """A service, who can serve it, and what holds for everybody."""

    duration: timedelta
    setup: timedelta
    cleanup: timedelta
    step: timedelta | None
    notice: timedelta
    horizon: timedelta | None
    resources: Sequence[Resource]
    opened: Sequence[Span] = ()
    closed: Sequence[Span] = ()
    moves: Sold | None = None  # The booking that is to be moved: it is not in its own way.
    lasts: timedelta | None = None  # How long it is to be, if not as long as it is.

    def visit(self) -> tuple[timedelta, timedelta, timedelta]:
        """Give how long a visit is, and what it blocks before and after: as the service has it, or as the booking."""
        if self.moves is None:
            return self.duration, self.setup, self.cleanup
        (start, end), (since, until) = self.moves.visit, self.moves.blocks
        return self.lasts or end - start, start - since, until - end


@cache
def instant(day: date, clock: time, zone: str) -> datetime:
    """Read a clock on the wall: a skipped time as the clock before would have it, of two readings the second."""
    wall = datetime.combine(day, clock)
    first, second = (wall.replace(tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC) for fold in (0, 1))
    exists = first.astimezone(ZoneInfo(zone)).replace(tzinfo=None) == wall
    return second if exists else first


def joined(spans: Sequence[Span]) -> list[Span]:
    """Give the same moments in as few spans as can be."""
    found: list[Span] = []
    for since, until in sorted(spans):
        follows_on = found and since <= found[-1][1]
        first, last = found.pop() if follows_on else (since, until)
        found.append((first, max(last, until)))
    return found


def meet(one: Span, other: Span) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def without(spans: Sequence[Span], gone: Sequence[Span]) -> list[Span]:
    """Give the moments of the first that are not among the second."""
    left = list(spans)
    for since, until in gone:
        left = [span for a, b in left for span in ((a, min(b, since)), (max(a, until), b)) if span[0] < span[1]]
    return left


ALWAYS = [Weekly(weekday, time(), time()) for weekday in range(1, 8)]


def hours_of(resource: Resource, since: datetime, until: datetime) -> Iterator[Span]:
    """Give each weekly span of a resource; of one without any, each day. A day that its zone skipped has none."""
    zone = resource.zone
    first, last = (moment.astimezone(ZoneInfo(zone)).date() for moment in (since, until))
    for day in (first + n * DAY for n in range((last - first).days + 1)):
        exists = instant(day, time(), zone).astimezone(ZoneInfo(zone)).date() == day
        for found in resource.hours or ALWAYS:
            is_in_season = (found.valid_from or day) <= day <= (found.valid_until or day)
            if exists and is_in_season and found.weekday == day.isoweekday():
                closes_on = day + DAY if found.closes <= found.opens else day
                yield instant(day, found.opens, zone), instant(closes_on, found.closes, zone)


class Diary:
    """One resource through some days: each single opening, when it is closed, and who sits where."""

    def __init__(self, business: Business, resource: Resource, now: datetime, since: datetime, until: datetime) -> None:
        self.business, self.resource, self.now = business, resource, now
        self.lasts, self.before, self.after = business.visit()
        weekly = hours_of(resource, since - MARGIN, until + MARGIN)
        self.openings = [(a, b) for a, b in [*weekly, *business.opened, *resource.opened] if a < b]
        self.hours = joined(self.openings)
        self.closed = [*without(business.closed, resource.opened), *resource.closed]
        self.busy = [sold for sold in resource.sold if sold.is_in_the_way(now) and sold != business.moves]

    def starts(self) -> set[datetime]:
        """Give every start that is offered if nothing is against it."""
        every = self.business.step or self.business.duration
        return {a + n * every for a, b in self.openings for n in range(-((a - b) // every))}

    def free_places(self, at: datetime) -> int:
        """Count the places that nobody sits in while a visit from this moment on, setup and cleanup, takes one."""
        wants = at - self.before, at + self.lasts + self.after
        taken = {sold.seat for sold in self.busy if meet(sold.blocks, wants)}
        return len(set(range(1, self.resource.capacity + 1)) - taken)

    def obstacles(self, at: datetime, *, is_staff: bool = False) -> list[str]:
        """Give the code of each rule against a start, but not whether it is taken."""
        visit, found = (at, at + self.lasts), list[str]()
        if at <= self.now and not is_staff:
            found.append("in-the-past")
        elif self.now < at < self.now + self.business.notice:
            found.append("too-soon")
        if self.business.horizon and at > self.now + self.business.horizon:
            found.append("too-far-ahead")
        if not any(a <= at and visit[1] <= b for a, b in self.hours):
            found.append("outside-hours")
        elif (step := self.business.step) and not any(a <= at < b and not (at - a) % step for a, b in self.openings):
            found.append("between-slots")
        if any(meet(visit, span) for span in self.closed):
            found.append("closed")
        return found


Offer = tuple[datetime, datetime, str, int, list[tuple[int, int]]]


def diaries(business: Business, now: datetime, since: datetime, until: datetime, only: int | None) -> list[Diary]:
    able = [one for one in business.resources if one.serves and only in {None, one.id}]
    return [Diary(business, one, now, since, until) for one in sorted(able, key=lambda one: one.id)]


def slots(business: Business, now: datetime, since: datetime, until: datetime, only: int | None = None) -> list[Offer]:
    """Give what is offered: start, end, zone, free places in all, and of each resource that has some."""
    found: dict[tuple[datetime, datetime, str], list[tuple[int, int]]] = {}
    for diary in diaries(business, now, since, until, only):
        for at in diary.starts():
            if since <= at < until and not diary.obstacles(at) and (places := diary.free_places(at)):
                found.setdefault((at, at + diary.lasts, diary.resource.zone), []).append((diary.resource.id, places))
    return [(*when, sum(places for _, places in free), free) for when, free in sorted(found.items())]


def verdict(
    business: Business, now: datetime, at: datetime, *, only: int | None = None, is_staff: bool = False,
    is_override: bool = False, but_for: Collection[str] = (),
) -> int | str:  # fmt: skip
    """Say what comes of booking this start: the number of who serves it, or the code of the refusal."""
    if at <= now and not is_staff:
        return "in-the-past"
    stand = diaries(business, now, at, at, only)
    obstacles = {diary.resource.id: diary.obstacles(at, is_staff=is_staff) for diary in stand}
    against = {number: [code for code in codes if code not in but_for] for number, codes in obstacles.items()}
    if not stand:
        return "nothing-to-serve-it" if only is None else "resource-unsuitable"
    willing = [diary for diary in stand if is_override or not against[diary.resource.id]]
    if not willing:
        return min(against.values(), key=len)[0]
    free = [diary.resource.id for diary in willing if diary.free_places(at)]
    return min(free, key=lambda number: bool(against[number]), default="slot-taken")
