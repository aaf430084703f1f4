"""Availability computed a second time, from the documented rules alone, with spans of time in plain Python."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from itertools import product
from zoneinfo import ZoneInfo

Span = tuple[datetime, datetime]  # A half-open span: from the first moment until just before the second.
Pause = tuple[timedelta, timedelta | None]  # From and until, after the start; None is the end.
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
class Need:
    """What a visit takes in one position: seats of one of these resources, except in a pause."""

    seats: int = 1
    pause: Pause | None = None
    resource_ids: Collection[int] = ()  # Those that can be in this position; of the first position, the suitable ones.

    def spans(self, since: datetime, start: datetime, until: datetime) -> list[Span]:
        """Return when a visit with this start takes the resource, of the time from ``since`` until ``until``."""
        if self.pause is None:
            return [(since, until)]
        leaves, comes = self.pause
        spans = [(since, min(start + leaves, until))] if leaves else []
        if comes is not None:
            spans.append((min(start + comes, until), until))
        return [(a, b) for a, b in spans if a < b]


@dataclass(frozen=True)
class BookedVisit:
    """A booking; on one seat, or with what it takes of each of its resources."""

    id: int
    seat: int
    visit: Span
    blocked: Span
    status: str
    expires_at: datetime | None = None
    taken: Sequence[tuple[int, Need]] = ()  # In the order of positions.

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
    pause: Pause | None = None  # Of the first resource.
    needs: Sequence[Need] = ()  # What a visit takes beside its first resource.
    max_party: int = 1  # How many seats a customer may book at once.
    party: int = 1  # How many seats are asked for.
    visits: Sequence[BookedVisit] = ()  # Bookings of this service, if it takes more than one seat of one resource.

    @property
    def is_plain(self) -> bool:
        """Whether a visit takes one seat of one resource, without a pause."""
        return not self.needs and self.pause is None

    def is_active(self, resource: Resource) -> bool:
        """Whether a resource is active; of those that are not suitable, the others are not linked."""
        return resource.is_suitable or not resource.id % 2

    def own_resources(self) -> dict[int, int]:
        """Return the resources of the booking that moves, by position."""
        if self.moved_booking is None:
            return {}
        if self.moved_booking.taken:
            return {number: taken[0] for number, taken in enumerate(self.moved_booking.taken, start=1)}
        return {1: next(one.id for one in self.resources if self.moved_booking in one.bookings)}

    def positions(self) -> dict[int, Need]:
        """Return what the visit takes, by position. A booking that moves keeps what it has, and may stay where it is.

        Its first resource must be one of the service by now.
        """
        suitable = [one.id for one in self.resources if one.is_suitable]
        active = {one.id for one in self.resources if self.is_active(one)}
        offered = {1: Need(self.party, self.pause, suitable)}
        for number, need in enumerate(self.needs, start=2):
            offered[number] = Need(need.seats, need.pause, active.intersection(need.resource_ids))
        if self.moved_booking is None:
            return offered
        if not self.moved_booking.taken:
            return {1: Need(1, None, suitable)}
        own: dict[int, Need] = {}
        for number, (resource_id, need) in enumerate(self.moved_booking.taken, start=1):
            able = set(offered[number].resource_ids) if number in offered else set()
            own[number] = Need(need.seats, need.pause, able | (active & {resource_id} if number > 1 else set()))
        return own

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
            zone = next(ZoneInfo(one.zone) for one in self.resources if one.id == self.own_resources()[1])
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
    """The openings, closures and bookings of one resource on some days, for one position of a visit."""

    def __init__(
        self, business: Business, resource: Resource, now: datetime, since: datetime, until: datetime,
        position: int = 1, need: Need | None = None,
    ) -> None:  # fmt: skip
        self.business, self.resource, self.now = business, resource, now
        self.position, self.need = position, need or Need()
        self.duration, self.before, self.after = business.get_visit_lengths()
        weekly = iter_opening_spans(resource, since - MARGIN, until + self.duration + MARGIN)
        self.openings = [(a, b) for a, b in [*weekly, *business.opened, *resource.opened] if a < b]
        self.hours = merge_spans(self.openings)
        self.closed = [*subtract_spans(business.closed, resource.opened), *resource.closed]
        self.loads: list[tuple[Span, int]] = []  # What blocks so many seats when.
        for sold in (*resource.bookings, *business.visits):
            if sold.is_blocking(now) and sold != business.moved_booking:
                self.loads += loads_on(resource, sold)

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

    def count_free_seats(self, at: datetime, end: datetime | None = None) -> int:
        """Return the number of free seats for a visit from this moment on, setup and cleanup included."""
        end = end or self.end_of(at)
        spans = self.need.spans(at - self.before, at, end + self.after)
        return max(self.resource.capacity - most_at_once(self.loads, spans), 0)

    def has_room(self, at: datetime, end: datetime | None = None) -> bool:
        """Whether all seats that a visit takes here are free. It takes none if the pause covers the whole visit."""
        end = end or self.end_of(at)
        takes_none = not self.need.spans(at - self.before, at, end + self.after)
        return takes_none or self.count_free_seats(at, end) >= self.need.seats

    def has_room_for_more(self) -> bool:
        """Whether there is room for what the booking that moves takes by another end and did not take before."""
        moved = self.business.moved_booking
        assert moved
        (since, until), start = moved.blocked, moved.visit[0]
        before = dict(self.need.spans(since, start, until))
        spans = self.need.spans(since, start, start + self.duration + self.after)
        more = [(a, b) for a, b in spans if a not in before or before[a] < b]
        return self.resource.capacity - most_at_once(self.loads, more) >= self.need.seats or not more

    def list_obstacles(self, at: datetime, end: datetime | None = None, *, is_staff: bool = False) -> list[str]:
        """Return the code of each rule against a start, but not whether it is taken.

        When a visit may start is asked of its first resource.
        """
        visit, codes = self.need.spans(at, at, end or self.end_of(at)), list[str]()
        if self.position > 1:
            codes += [] if self.lies_in_hours(visit) else ["outside-hours"]
            return codes + (["closed"] if self.is_closed(visit) else [])
        if at <= self.now and not is_staff:
            codes.append("in-the-past")
        elif self.now < at < self.now + self.business.notice:
            codes.append("too-soon")
        if self.business.horizon and at > self.horizon_end:
            codes.append("too-far-ahead")
        if not self.lies_in_hours(visit):
            codes.append("outside-hours")
        elif (step := self.business.step) and not any(a <= at < b and not (at - a) % step for a, b in self.openings):
            codes.append("between-slots")
        if self.is_closed(visit):
            codes.append("closed")
        return codes

    def lies_in_hours(self, visit: Sequence[Span]) -> bool:
        """Whether the visit lies in the hours: all parts of it, or its two ends if only these are bound."""
        if not self.business.binds_at_ends:
            return all(any(a <= start and end <= b for a, b in self.hours) for start, end in visit)
        if not visit:
            return True
        return any(a <= visit[0][0] < b for a, b in self.hours) and self.may_end(visit[-1][1], self.hours)

    def is_closed(self, visit: Sequence[Span]) -> bool:
        """Whether a closure meets the visit or, if only its ends are bound, the start, or the hours of the end."""
        if not self.business.binds_at_ends:
            return any(do_overlap(part, span) for part in visit for span in self.closed)
        if not visit:
            return False
        start, end = visit[0][0], visit[-1][1]
        if any(a <= start < b for a, b in self.closed):
            return True
        return self.may_end(end, self.hours) and not self.may_end(end, subtract_spans(self.hours, self.closed))

    def may_end(self, end: datetime, times: Sequence[Span]) -> bool:
        """Whether a visit may end now: in these times, or at the moment at which they begin or end."""
        return any(a <= end <= b for a, b in times)


def loads_on(resource: Resource, sold: BookedVisit) -> list[tuple[Span, int]]:
    """Return when a booking blocks how many seats of a resource."""
    if not sold.taken:
        return [(sold.blocked, 1)]
    since, until = sold.blocked
    return [
        (span, need.seats)
        for resource_id, need in sold.taken
        if resource_id == resource.id
        for span in need.spans(since, sold.visit[0], until)
    ]


def most_at_once(loads: Sequence[tuple[Span, int]], spans: Sequence[Span]) -> int:
    """Return the most seats that are blocked at one moment of these spans."""
    moments = {since for since, _ in spans}
    moments |= {start for (start, _), _ in loads for since, until in spans if since <= start < until}
    return max((sum(n for (start, end), n in loads if start <= moment < end) for moment in moments), default=0)


Others = list[tuple[int, int]]  # The resources of the further positions: position and id.
OfferedSlot = tuple[datetime, datetime, str, int, list[tuple[int, int, Others]]]


def build_schedules(
    business: Business, now: datetime, since: datetime, until: datetime, resource_id: int | None
) -> list[ResourceSchedule]:
    """Return the schedules of the resources that can be the first of a visit, by id."""
    wanted = {} if resource_id is None else {1: resource_id}
    return build_all_schedules(business, now, since, until, wanted)[1]


def build_all_schedules(
    business: Business, now: datetime, since: datetime, until: datetime, wanted: Mapping[int, int]
) -> dict[int, list[ResourceSchedule]]:
    """Return the schedules of the resources that can be in each position, by id, or only those that are wanted."""
    resources = sorted(business.resources, key=lambda one: one.id)
    return {
        position: [
            ResourceSchedule(business, one, now, since, until, position, need)
            for one in resources
            if one.id in need.resource_ids and wanted.get(position) in {None, one.id}
        ]
        for position, need in business.positions().items()
    }


def find_others(
    diaries: Mapping[int, Sequence[ResourceSchedule]], first: ResourceSchedule, at: datetime
) -> Others | None:
    """Return the first combination of resources that can take part beside a first one, all different; None if none."""
    end = first.end_of(at)
    free = [
        [
            diary.resource.id
            for diary in diaries[position]
            if not diary.list_obstacles(at, end) and diary.has_room(at, end)
        ]
        for position in sorted(diaries)[1:]
    ]
    for chosen in product(*free):
        if len({first.resource.id, *chosen}) == 1 + len(chosen):
            return [*enumerate(chosen, start=2)]
    return None


def find_slots(
    business: Business, now: datetime, since: datetime, until: datetime, resource_id: int | None = None
) -> list[OfferedSlot]:
    """Return the offered slots: start, end, zone, free seats in total, and of each first resource that has enough.

    With each first resource are those that would take part beside it.
    """
    slots: dict[tuple[datetime, datetime, str], list[tuple[int, int, Others]]] = {}
    wanted = {} if resource_id is None else {1: resource_id}
    diaries = build_all_schedules(business, now, since, until, wanted)
    for diary in diaries[1]:
        for at in diary.list_starts():
            if since <= at < until and not diary.list_obstacles(at) and diary.has_room(at):
                others = find_others(diaries, diary, at)
                if others is not None:
                    free = (diary.resource.id, diary.count_free_seats(at), others)
                    slots.setdefault((at, diary.end_of(at), diary.resource.zone), []).append(free)
    by_start_and_zone = sorted(slots.items(), key=lambda slot: (slot[0][0], slot[0][2]))
    return [(*when, sum(seats for _, seats, _ in free), free) for when, free in by_start_and_zone]


def list_all_obstacles(
    diaries: Mapping[int, Sequence[ResourceSchedule]], at: datetime, *, is_staff: bool, ignored_codes: Collection[str]
) -> dict[tuple[int, int, datetime], list[str]]:
    """Return the codes against a start by position, resource and end: days are by the clock of the first resource."""
    ends = {diary.end_of(at) for diary in diaries[1]}
    return {
        (position, diary.resource.id, end): [
            code for code in diary.list_obstacles(at, end, is_staff=is_staff) if code not in ignored_codes
        ]
        for position, stand in diaries.items()
        for diary in stand
        for end in ({diary.end_of(at)} if position == 1 else ends)
    }


Outcome = tuple[int, ...] | str  # the ids of the resources in the order of positions, or the code of the refusal


def predict_outcome(
    business: Business, now: datetime, at: datetime, *, wanted: Mapping[int, int] | None = None,
    is_staff: bool = False, is_override: bool = False, ignored_codes: Collection[str] = (),
    preferred: Mapping[int, int] | None = None,
) -> Outcome:  # fmt: skip
    """Return the expected outcome of booking this start: the ids of the resources, or the code of the refusal.

    ``wanted`` are resources that the request names, and ``preferred`` those that it keeps if they are free.
    """
    wanted, own = wanted or {}, preferred or {}
    if at <= now and not is_staff:
        return "in-the-past"
    if not is_staff and business.moved_booking is None and business.party > business.max_party:
        return "party-too-large"
    diaries = build_all_schedules(business, now, at, at, wanted)
    for position, stand in diaries.items():
        if not stand:
            return "resource-unsuitable" if position in wanted else "nothing-to-serve-it"
    against = list_all_obstacles(diaries, at, is_staff=is_staff, ignored_codes=ignored_codes)
    for position in diaries if not is_override else ():
        fewest = min((codes for key, codes in sorted(against.items()) if key[0] == position), key=len)
        if fewest:
            return fewest[0]

    rivals = {
        key: (key[1] != own.get(key[0]), bool(codes), key[1])
        for key, codes in against.items()
        if (is_override or not codes)
        and any(diary.resource.id == key[1] and diary.has_room(at, key[2]) for diary in diaries[key[0]])
    }
    most = max(diary.resource.capacity for diary in diaries[1])
    is_too_large = business.moved_booking is None and business.party > most
    return choose_combination(rivals, len(diaries)) or ("too-few-seats" if is_too_large else "slot-taken")


def choose_combination(
    rivals: Mapping[tuple[int, int, datetime], tuple[bool, bool, int]], roles: int
) -> tuple[int, ...] | None:
    """Return the first combination of different resources with the same end, by the order of each, or None."""
    in_order = sorted(rivals, key=lambda key: (key[0], rivals[key]))
    for _, first, end in (key for key in in_order if key[0] == 1):
        rest = [[one for place, one, until in in_order if (place, until) == (n, end)] for n in range(2, roles + 1)]
        for chosen in product([first], *rest):
            if len(set(chosen)) == len(chosen):
                return chosen
    return None
