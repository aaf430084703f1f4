"""Lays out who comes when, for what, and how it ends. Pure: the same numbers and moment give the same diary."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import cached_property
from random import Random
from typing import NamedTuple
from zoneinfo import ZoneInfo

from bookit.policy.times import to_utc
from bookit.schema.tables import Status
from seed.review_texts import about
from seed.studio import CUSTOMERS, OFFERS, PLACES, Offer, Place, Window, exceptions

DAYS_BACK, DAYS_AHEAD = 56, 28
BUSY_DAYS = (0.8, 0.9, 1.0, 1.1, 1.3, 2.2, 1.0)  # Monday to Sunday
BUSY_HOURS = {12: 2.0, 13: 2.0, 17: 2.5, 18: 3.0, 19: 2.5}  # by the clock on the wall; any other hour counts 1
FADES = 0.94  # Each day further ahead is booked this much less.
PLACE = {place.name: place for place in PLACES}
TRIES = 40  # for each visit, before the studio counts as full


class Span(NamedTuple):
    """From one moment until another."""

    since: datetime
    until: datetime

    def meets(self, other: "Span") -> bool:
        """Whether they share any time."""
        return self.since < other.until and other.since < self.until


@dataclass(frozen=True, slots=True)
class Visit:
    """Somebody's appointment; ``by_desk`` when staff booked it on the telephone."""

    customer: int
    offer: Offer
    place: Place
    start: datetime
    made: datetime
    by_desk: bool

    @property
    def end(self) -> datetime:
        """When the customer leaves."""
        return self.start + timedelta(minutes=self.offer.minutes)


@dataclass(frozen=True, slots=True)
class Step:
    """Something that happens to a visit: pending is its booking; with a text, it is reviewed."""

    at: datetime
    visit: int
    leads_to: Status
    by_desk: bool
    stars: int = 0
    text: str = ""


class Diary:
    """The studio's days around one moment, filling up with visits."""

    def __init__(self, rng: Random, *, now: datetime, zone: ZoneInfo) -> None:
        self.rng, self.now, self.zone = rng, now, zone
        self.today = now.astimezone(zone).date()
        self.days = [self.today + timedelta(days=n) for n in range(-DAYS_BACK, DAYS_AHEAD + 1)]
        self.exceptions = exceptions(self.today)
        self.visits: list[Visit] = []
        self._taken: dict[str, list[Span]] = defaultdict(list)
        self._busy: dict[int, list[Span]] = defaultdict(list)
        self._said: set[str] = set()

    def fill(self, count: int) -> None:
        """Make so many visits, fewer when the studio is full; none meets another on its place or of its customer."""
        for _ in range(count * TRIES):
            if len(self.visits) == count:
                break
            self._try_visit()
        self.visits.sort(key=lambda visit: (visit.made, visit.start, visit.place.name))

    def steps(self) -> list[Step]:
        """Give all that has happened until now, in order."""
        steps = [step for number, visit in enumerate(self.visits) for step in self._life(number, visit)]
        return sorted((step for step in steps if step.at <= self.now), key=lambda step: (step.at, step.visit))

    @cached_property
    def _weights(self) -> list[float]:
        return [BUSY_DAYS[day.weekday()] * FADES ** max(0, (day - self.today).days) for day in self.days]

    def _try_visit(self) -> None:
        day = self.rng.choices(self.days, self._weights)[0]
        offer = self.rng.choices(OFFERS, [offer.demand for offer in OFFERS])[0]
        place = PLACE[self.rng.choice(offer.by)]
        starts = list(self._starts(place, offer, day))
        customer = self.rng.choices(range(len(CUSTOMERS)), [1 / (n + 20) for n in range(len(CUSTOMERS))])[0]
        if not starts:
            return
        busyness = [BUSY_HOURS.get(start.astimezone(self.zone).hour, 1.0) for start in starts]
        start = self.rng.choices(starts, busyness)[0]
        block = blocked(offer, start)
        is_full = sum(block.meets(other) for other in self._taken[place.name]) >= place.capacity
        if is_full or any(block.meets(other) for other in self._busy[customer]):
            return
        self._taken[place.name].append(block)
        self._busy[customer].append(block)
        self.visits.append(Visit(customer, offer, place, start, self._made(offer, start), self.rng.random() < 0.2))

    def _windows(self, place: Place, day: date) -> list[Window]:
        special = [one for one in self.exceptions if one.covers(place.name, day)]
        if any(one.hours is None for one in special):
            return []
        extra = [Window(day.isoweekday(), *one.hours) for one in special if one.hours]
        return [window for window in place.hours if window.weekday == day.isoweekday()] + extra

    def _starts(self, place: Place, offer: Offer, day: date) -> Iterator[datetime]:
        """Give the starts, in UTC, whose visit lies in the opening hours with all that it blocks."""
        for window in self._windows(place, day):
            if window.lesson in {"", offer.title}:
                opens, closes = (on_the_wall(day, hour, self.zone) for hour in (window.opens, window.closes))
                start = opens
                while blocked(offer, start).until <= closes:
                    if blocked(offer, start).since >= opens:
                        yield start
                    start += timedelta(minutes=offer.step)

    def _made(self, offer: Offer, start: datetime) -> datetime:
        """Give a moment somebody would have booked this: some days before, awake, within the service's notice."""
        latest = min(start - timedelta(minutes=offer.notice), self.now)
        earliest = start - timedelta(days=offer.horizon - 1)
        made = latest - timedelta(days=self.rng.expovariate(1 / 6))
        awake = on_the_wall(made.astimezone(self.zone).date(), time(self.rng.randrange(7, 23)), self.zone)
        made = awake + timedelta(seconds=self.rng.randrange(3600))
        return made if earliest < made < latest else latest - timedelta(minutes=self.rng.randrange(1, 60))

    def _life(self, number: int, visit: Visit) -> Iterator[Step]:
        yield Step(visit.made, number, Status.PENDING, visit.by_desk)
        has_begun, is_over = visit.start <= self.now, visit.end <= self.now
        chance = self.rng.random()
        latest = min(visit.start, self.now)
        confirmed = between(self.rng, visit.made, min(latest, visit.made + timedelta(hours=5)))
        if has_begun or chance > 0.3 or visit.by_desk:
            yield Step(confirmed, number, Status.CONFIRMED, by_desk=True)
        if chance < 0.11:
            in_time = visit.start - timedelta(minutes=visit.offer.cancel)
            cancelled = between(self.rng, confirmed, latest)
            yield Step(cancelled, number, Status.CANCELLED, by_desk=visit.by_desk or cancelled >= in_time)
        elif is_over and chance < 0.16:
            late = visit.start + timedelta(minutes=self.rng.randrange(10, 40))
            yield Step(late, number, Status.NO_SHOW, by_desk=True)
        elif is_over:
            yield from self._completed(number, visit)

    def _completed(self, number: int, visit: Visit) -> Iterator[Step]:
        left = visit.end + timedelta(seconds=self.rng.randrange(30, 900))
        yield Step(left, number, Status.COMPLETED, by_desk=True)
        unsaid = [said for said in about(visit.offer) if said[1] not in self._said]
        if unsaid and self.rng.random() < 0.16:
            stars, text = self.rng.choices(unsaid, [stars for stars, _ in unsaid])[0]
            self._said.add(text)
            later = left + timedelta(minutes=self.rng.randrange(45, 5000))
            yield Step(later, number, Status.COMPLETED, by_desk=False, stars=stars, text=text)


def blocked(offer: Offer, start: datetime) -> Span:
    """Give the time a visit takes from its place, with setup and cleanup."""
    return Span(start - timedelta(minutes=offer.setup), start + timedelta(minutes=offer.minutes + offer.cleanup))


def between(rng: Random, since: datetime, until: datetime) -> datetime:
    """Give some moment after one and before another."""
    return since + (until - since) * rng.uniform(0.02, 0.98)


def on_the_wall(day: date, hour: time, zone: ZoneInfo) -> datetime:
    """Give the moment the clock in this zone shows this hour."""
    return to_utc(datetime.combine(day, hour), zone)
