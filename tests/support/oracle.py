"""Availability computed a second time, from the documented rules alone, with spans of time in plain Python."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from zoneinfo import ZoneInfo

Span = tuple[datetime, datetime]  # A half-open span: from the first moment until just before the second.
DAY = timedelta(days=1)
MARGIN = 4 * DAY  # How far around a moment openings and closures are searched, beside the length of the visit.


@dataclass(frozen=True)
class WeeklyHours:
    """Opening hours of a weekday in local time; a closing time before the opening time is on the next day."""

    weekday: int
    opens: time
    closes: time
    valid_from: date | None = None
    valid_until: date | None = None


@dataclass(frozen=True)
class BookedVisit:
    """A booking on its seat."""

    id: int
    seat: int
    visit: Span
    blocked: Span
    status: str
    expires_at: datetime | None = None

    def is_blocking(self, now: datetime) -> bool:
        """Whether it blocks its seat: it is open, and not an expired hold."""
        return self.status in {"pending", "confirmed"} and (self.expires_at is None or self.expires_at > now)


@dataclass(frozen=True)
class Resource:
    """A person or thing that can be booked."""

    id: int
    zone: str
    capacity: int
    hours: Sequence[WeeklyHours] = ()
    opened: Sequence[Span] = ()
    closed: Sequence[Span] = ()
    bookings: Sequence[BookedVisit] = ()
    is_suitable: bool = True  # Whether it is active and linked to the service.


@dataclass(frozen=True)
class Business:
    """A service, the resources that can serve it, and the rules for all of them."""

    duration: timedelta
    setup: timedelta
    cleanup: timedelta
    step: timedelta | None
    notice: timedelta
    horizon: timedelta | None
    resources: Sequence[Resource]
    opened: Sequence[Span] = ()
    closed: Sequence[Span] = ()
    moved_booking: BookedVisit | None = None  # The booking that is to be moved; it does not block itself.
    new_duration: timedelta | None = None  # The new duration, if it changes.
    binds_at_ends: bool = False  # Whether only the start and the end must be in open time, as of a rental.

    def get_visit_lengths(self) -> tuple[timedelta, timedelta, timedelta]:
        """Return the duration of a visit and what it blocks before and after, by the service or by the booking."""
        if self.moved_booking is None:
            return self.duration, self.setup, self.cleanup
        (start, end), (since, until) = self.moved_booking.visit, self.moved_booking.blocked
        return self.new_duration or end - start, start - since, until - end

    @property
    def days(self) -> int:
        """How many days later a visit ends at the time at which it began; 0 if it ends at another time."""
        if self.new_duration:
            return 0
        by_clock = self.duration
        if self.moved_booking is not None:
            zone = next(ZoneInfo(one.zone) for one in self.resources if self.moved_booking in one.bookings)
            start, end = (moment.astimezone(zone).replace(tzinfo=None) for moment in self.moved_booking.visit)
            by_clock = end - start
        return 0 if by_clock % DAY else by_clock // DAY


@cache
def wall_clock_to_utc(day: date, clock: time, zone: str) -> datetime:
    """Convert a local time: a skipped time by the offset before it, a repeated time to its second occurrence."""
    wall = datetime.combine(day, clock)
    first, second = (wall.replace(tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC) for fold in (0, 1))
    exists = first.astimezone(ZoneInfo(zone)).replace(tzinfo=None) == wall
    return second if exists else first


def merge_spans(spans: Sequence[Span]) -> list[Span]:
    """Return the same moments in as few spans as possible."""
    merged: list[Span] = []
    for since, until in sorted(spans):
        follows_on = merged and since <= merged[-1][1]
        first, last = merged.pop() if follows_on else (since, until)
        merged.append((first, max(last, until)))
    return merged


def do_overlap(one: Span, other: Span) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def subtract_spans(spans: Sequence[Span], removed: Sequence[Span]) -> list[Span]:
    """Return the moments of the first that are not in the second."""
    left = list(spans)
    for since, until in removed:
        left = [span for a, b in left for span in ((a, min(b, since)), (max(a, until), b)) if span[0] < span[1]]
    return left


ALWAYS_OPEN = [WeeklyHours(weekday, time(), time()) for weekday in range(1, 8)]


def iter_opening_spans(resource: Resource, since: datetime, until: datetime) -> Iterator[Span]:
    """Yield each weekly span of a resource; without any, every day. A day skipped by its zone has none."""
    zone = resource.zone
    first, last = (moment.astimezone(ZoneInfo(zone)).date() for moment in (since, until))
    for day in (first + n * DAY for n in range((last - first).days + 1)):
        exists = wall_clock_to_utc(day, time(), zone).astimezone(ZoneInfo(zone)).date() == day
        for weekly in resource.hours or ALWAYS_OPEN:
            is_in_season = (weekly.valid_from or day) <= day <= (weekly.valid_until or day)
            if exists and is_in_season and weekly.weekday == day.isoweekday():
                closes_on = day + DAY if weekly.closes <= weekly.opens else day
                yield wall_clock_to_utc(day, weekly.opens, zone), wall_clock_to_utc(closes_on, weekly.closes, zone)


class ResourceSchedule:
    """The openings, closures and bookings of one resource on some days."""

    def __init__(self, business: Business, resource: Resource, now: datetime, since: datetime, until: datetime) -> None:
        self.business, self.resource, self.now = business, resource, now
        self.duration, self.before, self.after = business.get_visit_lengths()
        weekly = iter_opening_spans(resource, since - MARGIN, until + self.duration + MARGIN)
        self.openings = [(a, b) for a, b in [*weekly, *business.opened, *resource.opened] if a < b]
        self.hours = merge_spans(self.openings)
        self.closed = [*subtract_spans(business.closed, resource.opened), *resource.closed]
        self.bookings = [sold for sold in resource.bookings if sold.is_blocking(now) and sold != business.moved_booking]

    @property
    def horizon_end(self) -> datetime:
        """The same time of day after the days of the horizon, by the clock of the resource."""
        wall = self.now.astimezone(ZoneInfo(self.resource.zone)).replace(tzinfo=None) + (self.business.horizon or DAY)
        return wall_clock_to_utc(wall.date(), wall.time(), self.resource.zone)

    def end_of(self, at: datetime) -> datetime:
        """Return when a visit ends that starts at this moment."""
        if not self.business.days:
            return at + self.duration
        wall = at.astimezone(ZoneInfo(self.resource.zone)).replace(tzinfo=None) + self.business.days * DAY
        return wall_clock_to_utc(wall.date(), wall.time(), self.resource.zone)

    def list_starts(self) -> set[datetime]:
        """Return every start that is offered if no rule is against it."""
        every = self.business.step or self.business.duration
        return {a + n * every for a, b in self.openings for n in range(-((a - b) // every))}

    def count_free_seats(self, at: datetime) -> int:
        """Return the number of free seats for a visit from this moment on, setup and cleanup included."""
        since, until = at - self.before, self.end_of(at) + self.after
        blocked = [sold.blocked for sold in self.bookings if do_overlap(sold.blocked, (since, until))]
        moments = {since, *(start for start, _ in blocked if start > since)}
        most_at_once = max(sum(start <= moment < end for start, end in blocked) for moment in moments)
        return max(self.resource.capacity - most_at_once, 0)

    def list_obstacles(self, at: datetime, *, is_staff: bool = False) -> list[str]:
        """Return the code of each rule against a start, but not whether it is taken."""
        visit, codes = (at, self.end_of(at)), list[str]()
        if at <= self.now and not is_staff:
            codes.append("in-the-past")
        elif self.now < at < self.now + self.business.notice:
            codes.append("too-soon")
        if self.business.horizon and at > self.horizon_end:
            codes.append("too-far-ahead")
        if not self.lies_in_hours(*visit):
            codes.append("outside-hours")
        elif (step := self.business.step) and not any(a <= at < b and not (at - a) % step for a, b in self.openings):
            codes.append("between-slots")
        if self.is_closed(*visit):
            codes.append("closed")
        return codes

    def lies_in_hours(self, start: datetime, end: datetime) -> bool:
        """Whether the visit lies in the hours: the whole of it, or its two ends if only these are bound."""
        if not self.business.binds_at_ends:
            return any(a <= start and end <= b for a, b in self.hours)
        return any(a <= start < b for a, b in self.hours) and self.may_end(end, self.hours)

    def is_closed(self, start: datetime, end: datetime) -> bool:
        """Whether a closure meets the visit or, if only its ends are bound, the start, or the hours of the end."""
        if not self.business.binds_at_ends:
            return any(do_overlap((start, end), span) for span in self.closed)
        if any(a <= start < b for a, b in self.closed):
            return True
        return self.may_end(end, self.hours) and not self.may_end(end, subtract_spans(self.hours, self.closed))

    def may_end(self, end: datetime, times: Sequence[Span]) -> bool:
        """Whether a visit may end now: in these times, or at the moment at which they begin or end."""
        return any(a <= end <= b for a, b in times)


OfferedSlot = tuple[datetime, datetime, str, int, list[tuple[int, int]]]


def build_schedules(
    business: Business, now: datetime, since: datetime, until: datetime, resource_id: int | None
) -> list[ResourceSchedule]:
    able = [one for one in business.resources if one.is_suitable and resource_id in {None, one.id}]
    return [ResourceSchedule(business, one, now, since, until) for one in sorted(able, key=lambda one: one.id)]


def find_slots(
    business: Business, now: datetime, since: datetime, until: datetime, resource_id: int | None = None
) -> list[OfferedSlot]:
    """Return the offered slots: start, end, zone, free seats in total, and of each resource that has some."""
    slots: dict[tuple[datetime, datetime, str], list[tuple[int, int]]] = {}
    for diary in build_schedules(business, now, since, until, resource_id):
        for at in diary.list_starts():
            if since <= at < until and not diary.list_obstacles(at) and (seats := diary.count_free_seats(at)):
                slots.setdefault((at, diary.end_of(at), diary.resource.zone), []).append((diary.resource.id, seats))
    by_start_and_zone = sorted(slots.items(), key=lambda slot: (slot[0][0], slot[0][2]))
    return [(*when, sum(seats for _, seats in free), free) for when, free in by_start_and_zone]


def predict_outcome(
    business: Business, now: datetime, at: datetime, *, resource_id: int | None = None, is_staff: bool = False,
    is_override: bool = False, ignored_codes: Collection[str] = (),
) -> int | str:  # fmt: skip
    """Return the expected outcome of booking this start: the id of the resource, or the code of the refusal."""
    if at <= now and not is_staff:
        return "in-the-past"
    stand = build_schedules(business, now, at, at, resource_id)
    obstacles = {diary.resource.id: diary.list_obstacles(at, is_staff=is_staff) for diary in stand}
    against = {number: [code for code in codes if code not in ignored_codes] for number, codes in obstacles.items()}
    if not stand:
        return "nothing-to-serve-it" if resource_id is None else "resource-unsuitable"
    willing = [diary for diary in stand if is_override or not against[diary.resource.id]]
    if not willing:
        return min(against.values(), key=len)[0]
    free = [diary.resource.id for diary in willing if diary.count_free_seats(at)]
    return min(free, key=lambda number: bool(against[number]), default="slot-taken")
