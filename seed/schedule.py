"""Lays out who comes when, for what, and how each visit ends.

This is pure: the same random numbers and the same moment give the same schedule.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import cached_property
from random import Random
from typing import NamedTuple
from zoneinfo import ZoneInfo

from bookit.policy.times import to_utc
from bookit.schema.fields import MINUTES_PER_DAY
from bookit.schema.tables import Status
from seed.review_texts import find_review_texts
from seed.studio import CUSTOMERS, RESOURCES, SERVICES, OpeningWindow, ResourceSpec, ServiceSpec, build_exceptions

DAYS_BACK, DAYS_AHEAD = 56, 28
WEEKDAY_WEIGHTS = (0.8, 0.9, 1.0, 1.1, 1.3, 2.2, 1.0)  # Monday to Sunday
HOUR_WEIGHTS = {12: 2.0, 13: 2.0, 17: 2.5, 18: 3.0, 19: 2.5}  # by local time; any other hour has weight 1
DAILY_DECAY = 0.94  # the weight of each further day ahead, relative to the day before
RESOURCE_BY_NAME = {resource.name: resource for resource in RESOURCES}
MAX_ATTEMPTS_PER_VISIT = 40  # after that, the studio counts as full


class Span(NamedTuple):
    """A span of time."""

    since: datetime
    until: datetime

    def overlaps(self, other: "Span") -> bool:
        """Whether the two spans share any time."""
        return self.since < other.until and other.since < self.until


PARTIES = (1, 1, 1, 1, 1, 1, 2, 2, 3)  # how many people come, where several can


@dataclass(frozen=True, slots=True)
class Visit:
    """A customer's visit, without setup and cleanup. Staff book some of them, for customers who call."""

    customer: int
    service: ServiceSpec
    resource: ResourceSpec
    start: datetime
    end: datetime
    booked_at: datetime
    is_booked_by_staff: bool
    seats: int = 1


@dataclass(frozen=True, slots=True)
class Step:
    """A change of a visit. ``PENDING`` means that it is booked; a step with a comment is its review."""

    at: datetime
    visit_index: int
    status: Status
    is_by_staff: bool
    rating: int = 0
    comment: str = ""


class Schedule:
    """The studio's visits in the weeks around one moment."""

    def __init__(self, rng: Random, *, now: datetime, zone: ZoneInfo) -> None:
        self.rng, self.now, self.zone = rng, now, zone
        self.today = now.astimezone(zone).date()
        self.days = [self.today + timedelta(days=n) for n in range(-DAYS_BACK, DAYS_AHEAD + 1)]
        self.exceptions = build_exceptions(self.today)
        self.visits: list[Visit] = []
        self._spans_by_resource: dict[str, list[Span]] = defaultdict(list)
        self._spans_by_customer: dict[int, list[Span]] = defaultdict(list)
        self._used_comments: set[str] = set()

    def fill_with_visits(self, visit_count: int) -> None:
        """Add this many visits, or fewer if the studio is full. No resource and no customer has two at one time."""
        for _ in range(visit_count * MAX_ATTEMPTS_PER_VISIT):
            if len(self.visits) == visit_count:
                break
            self._try_add_visit()
        self.visits.sort(key=lambda visit: (visit.booked_at, visit.start, visit.resource.name))

    def list_past_steps(self) -> list[Step]:
        """Return every step until now, in order of time."""
        steps = [step for number, visit in enumerate(self.visits) for step in self._list_steps(number, visit)]
        return sorted((step for step in steps if step.at <= self.now), key=lambda step: (step.at, step.visit_index))

    @cached_property
    def _day_weights(self) -> list[float]:
        return [WEEKDAY_WEIGHTS[day.weekday()] * DAILY_DECAY ** max(0, (day - self.today).days) for day in self.days]

    def _try_add_visit(self) -> None:
        day = self.rng.choices(self.days, self._day_weights)[0]
        service = self.rng.choices(SERVICES, [service.share for service in SERVICES])[0]
        resource = RESOURCE_BY_NAME[self.rng.choice(service.resource_names)]
        starts = list(self._list_starts(resource, service, day))
        customer = self.rng.choices(range(len(CUSTOMERS)), [1 / (n + 20) for n in range(len(CUSTOMERS))])[0]
        if not starts:
            return
        hour_weights = [HOUR_WEIGHTS.get(start.astimezone(self.zone).hour, 1.0) for start in starts]
        start = self.rng.choices(starts, hour_weights)[0]
        end = self._find_end(service, start)
        block = get_blocked_span(service, start, end)
        seats = min(self.rng.choice(PARTIES), service.max_party)
        taken = sum(block.overlaps(other) for other in self._spans_by_resource[resource.name])
        if taken + seats > resource.capacity or any(
            block.overlaps(other) for other in self._spans_by_customer[customer]
        ):
            return
        self._spans_by_resource[resource.name] += [block] * seats
        self._spans_by_customer[customer].append(block)
        booked_at = self._draw_booking_time(service, start)
        self.visits.append(Visit(customer, service, resource, start, end, booked_at, self.rng.random() < 0.2, seats))

    def _list_windows(self, resource: ResourceSpec, day: date) -> list[OpeningWindow]:
        exceptions = [exception for exception in self.exceptions if exception.covers(resource.name, day)]
        if any(exception.hours is None for exception in exceptions):
            return []
        extra = [OpeningWindow(day.isoweekday(), *exception.hours) for exception in exceptions if exception.hours]
        return [window for window in resource.hours if window.weekday == day.isoweekday()] + extra

    def _list_starts(self, resource: ResourceSpec, service: ServiceSpec, day: date) -> Iterator[datetime]:
        """Yield the start times, in UTC, of visits that fit into the opening hours with setup and cleanup.

        A rental starts and ends in opening hours.
        """
        for opens, closes in self._list_hours(resource, day, service):
            start = opens
            while start < closes:
                end = self._find_end(service, start)
                since, until = get_blocked_span(service, start, end)
                if (
                    self._is_open_at(resource, service, end)
                    if service.kind == "rental"
                    else opens <= since < until <= closes
                ):
                    yield start
                start += timedelta(minutes=service.step)

    def _list_hours(self, resource: ResourceSpec, day: date, service: ServiceSpec) -> Iterator[Span]:
        for window in self._list_windows(resource, day):
            if window.class_title in {"", service.title}:
                yield Span(*(from_wall_clock(day, hour, self.zone) for hour in (window.opens, window.closes)))

    def _is_open_at(self, resource: ResourceSpec, service: ServiceSpec, end: datetime) -> bool:
        hours = self._list_hours(resource, end.astimezone(self.zone).date(), service)
        return any(opens < end <= closes for opens, closes in hours)

    def _find_end(self, service: ServiceSpec, start: datetime) -> datetime:
        """Return the end of a visit: whole days later at the same hour, by the clock on the wall."""
        days, minutes = divmod(service.minutes, MINUTES_PER_DAY)
        if minutes:
            return start + timedelta(minutes=service.minutes)
        local = start.astimezone(self.zone)
        return from_wall_clock(local.date() + timedelta(days=days), local.time(), self.zone)

    def _draw_booking_time(self, service: ServiceSpec, start: datetime) -> datetime:
        """Return when this visit was booked: some days before, during the day, with the notice of the service."""
        latest = min(start - timedelta(minutes=service.notice), self.now)
        earliest = start - timedelta(days=service.horizon - 1)
        draft = latest - timedelta(days=self.rng.expovariate(1 / 6))
        daytime = from_wall_clock(draft.astimezone(self.zone).date(), time(self.rng.randrange(7, 23)), self.zone)
        booked_at = daytime + timedelta(seconds=self.rng.randrange(3600))
        return booked_at if earliest < booked_at < latest else latest - timedelta(minutes=self.rng.randrange(1, 60))

    def _list_steps(self, number: int, visit: Visit) -> Iterator[Step]:
        yield Step(visit.booked_at, number, Status.PENDING, visit.is_booked_by_staff)
        has_begun, is_over = visit.start <= self.now, visit.end <= self.now
        chance = self.rng.random()
        latest = min(visit.start, self.now)
        confirmed = draw_time_between(self.rng, visit.booked_at, min(latest, visit.booked_at + timedelta(hours=5)))
        if has_begun or chance > 0.3 or visit.is_booked_by_staff:
            yield Step(confirmed, number, Status.CONFIRMED, is_by_staff=True)
        if chance < 0.11:
            in_time = visit.start - timedelta(minutes=visit.service.cancel)
            cancelled = draw_time_between(self.rng, confirmed, latest)
            yield Step(
                cancelled, number, Status.CANCELLED, is_by_staff=visit.is_booked_by_staff or cancelled >= in_time
            )
        elif is_over and chance < 0.16:
            late = visit.start + timedelta(minutes=self.rng.randrange(10, 40))
            yield Step(late, number, Status.NO_SHOW, is_by_staff=True)
        elif is_over:
            yield from self._list_completion_steps(number, visit)

    def _list_completion_steps(self, number: int, visit: Visit) -> Iterator[Step]:
        left = visit.end + timedelta(seconds=self.rng.randrange(30, 900))
        yield Step(left, number, Status.COMPLETED, is_by_staff=True)
        unused = [review for review in find_review_texts(visit.service) if review[1] not in self._used_comments]
        if unused and self.rng.random() < 0.16:
            rating, comment = self.rng.choices(unused, [rating for rating, _ in unused])[0]
            self._used_comments.add(comment)
            later = left + timedelta(minutes=self.rng.randrange(45, 5000))
            yield Step(later, number, Status.COMPLETED, is_by_staff=False, rating=rating, comment=comment)


def get_blocked_span(service: ServiceSpec, start: datetime, end: datetime) -> Span:
    """Return the time that a visit blocks on its resource: with setup and cleanup."""
    return Span(start - timedelta(minutes=service.setup), end + timedelta(minutes=service.cleanup))


def draw_time_between(rng: Random, since: datetime, until: datetime) -> datetime:
    """Return a random moment between these two."""
    return since + (until - since) * rng.uniform(0.02, 0.98)


def from_wall_clock(day: date, hour: time, zone: ZoneInfo) -> datetime:
    """Return the moment at which the clocks of this time zone show this hour."""
    return to_utc(datetime.combine(day, hour), zone)
