"""Random businesses, with many difficult times: clock changes, nights, seasons, buffers, holds, pauses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Literal

from hypothesis import strategies as st

from bookit.db.session import Session
from bookit.schema.tables import (
    Booking,
    CalendarException,
    NeedResource,
    OpeningHours,
    Resource,
    Role,
    Service,
    ServiceNeed,
    ServiceResource,
    User,
)
from tests.support import oracle
from tests.support.oracle import DAY, BookedVisit, Business, Need, Pause, Span, WeeklyHours

# Clock changes: an hour in both hemispheres, half an hour, at midnight, a whole day; and a week without any.
CLOCK_CHANGES = [
    ("America/New_York", date(2030, 3, 10)), ("America/New_York", date(2030, 11, 3)),
    ("Europe/Berlin", date(2030, 3, 31)), ("Europe/Berlin", date(2030, 10, 27)),
    ("Australia/Lord_Howe", date(2030, 4, 7)), ("Australia/Lord_Howe", date(2030, 10, 6)),
    ("Pacific/Apia", date(2011, 12, 30)), ("Asia/Kolkata", date(2030, 1, 7)),
    ("America/Sao_Paulo", date(2018, 11, 4)), ("America/Sao_Paulo", date(2018, 2, 18)),
]  # fmt: skip
MINUTE = timedelta(minutes=1)
ZONES = sorted({zone for zone, _ in CLOCK_CHANGES} | {"UTC"})
CUSTOMER_COUNT = 2
ALWAYS: Sequence[WeeklyHours] = ()
Kind = Literal["plain", "party", "pause", "one need", "two needs"]
NEED_COUNTS: Mapping[Kind, int] = {"plain": 0, "party": 0, "pause": 0, "one need": 1, "two needs": 2}
RESOURCE_COUNTS: Mapping[Kind, Sequence[int]] = {
    "plain": (1, 1, 2, 3),
    "party": (1, 1, 2, 3),
    "pause": (1, 1, 2, 3),
    "one need": (2, 3, 3),
    "two needs": (3, 3, 4),
}
BY_DAY = [WeeklyHours(day, time(8), time(20)) for day in range(1, 8)]
FIRST_BOOKING_ID = 10**9  # Far from the ids that bookings get during a case.


@dataclass(frozen=True)
class Scenario:
    """A business, the current time, and the requested days."""

    business: Business
    original_capacities: tuple[
        int, ...
    ]  # The seats each resource had when its bookings were made: at least the current number.
    now: datetime
    since: datetime
    until: datetime
    clock_change: datetime
    needs_before: tuple[Need, ...] = ()  # What the service needed when its bookings were made.


def minutes(*choices: int) -> st.SearchStrategy[timedelta]:
    return st.sampled_from([number * MINUTE for number in choices])


def times_of_day() -> st.SearchStrategy[time]:
    """Return times of day, half of them around a clock change."""
    quarters = st.one_of(st.integers(0, 14), st.integers(0, 95)).map(lambda n: time(n // 4, n % 4 * 15))
    return st.one_of(quarters, quarters, st.just(time()), st.sampled_from([time(1, 50), time(2, 10), time(23, 59)]))


@st.composite
def draw_weekly_hours(draw: st.DrawFn, around: date) -> list[WeeklyHours]:
    """Draw opening hours of one day or of every day, all year or for a season around a day."""
    opens, closes = draw(times_of_day()), draw(times_of_day())
    season = draw(st.sampled_from([None, None, None, (-1, 1), (0, 0), (None, 0), (1, None)]))
    first, last = ((around + n * DAY if n is not None else None) for n in season) if season else (None, None)
    weekday = (around + draw(st.integers(-1, 1)) * DAY).isoweekday()
    weekdays = range(1, 8) if draw(st.booleans()) else [weekday]
    return [WeeklyHours(day, opens, closes, first, last) for day in weekdays]


@st.composite
def draw_exception_span(draw: st.DrawFn, base: datetime) -> Span:
    start = base + draw(st.integers(-2 * 24 * 4, 4 * 24 * 4)) * 15 * MINUTE + draw(st.sampled_from([0, 0, 10])) * DAY
    return start, start + draw(minutes(15, 50, 60, 120, 480, 1440, 4000))


@st.composite
def draw_bookings(draw: st.DrawFn, number: int, base: datetime, now: datetime, seats: int) -> list[BookedVisit]:
    """Draw the bookings of one resource: some single, some that fill many seats at once."""
    bookings: list[BookedVisit] = []
    for _ in range(draw(st.integers(0, 8))):
        start = base + draw(st.integers(-24 * 12, 4 * 24 * 12)) * 5 * MINUTE
        end = start + draw(minutes(5, 30, 45, 60, 60, 240, 1500, 3 * 1440, 9 * 1440 + 30))
        blocks = start - draw(minutes(0, 0, 10)), end + draw(minutes(0, 0, 15))
        kinds = ["pending", "confirmed", "hold", "dead hold", "cancelled", "completed", "no_show"]
        kind = draw(st.sampled_from(kinds[:4] * 2 + kinds))
        expires = {"hold": now + draw(minutes(1, 10)), "dead hold": now - draw(minutes(0, 1, 900))}.get(kind)
        status = "pending" if expires else kind
        taken = {other.seat for other in bookings if oracle.do_overlap(other.blocked, blocks)}
        free = [seat for seat in range(1, seats + 1) if seat not in taken]
        for seat in free[: draw(st.sampled_from([1, 1, 2, 20]))]:
            bookings.append(
                BookedVisit(
                    FIRST_BOOKING_ID + 10**6 * number + len(bookings), seat, (start, end), blocks, status, expires
                )
            )
    return bookings


@st.composite
def draw_pause(draw: st.DrawFn) -> Pause | None:
    """Draw a pause: mostly none, or one at the beginning, in the middle or at the end."""
    leaves, lasts = draw(st.sampled_from([0, 5, 15, 30, 60, 1440])), draw(st.sampled_from([5, 15, 20, 45, 480, 1500]))
    kind = draw(st.sampled_from(["none", "none", "begin", "middle", "middle", "end"]))
    if kind == "none":
        return None
    if kind == "end":
        return max(leaves, 5) * MINUTE, None
    leaves *= kind != "begin"
    return leaves * MINUTE, (leaves + lasts) * MINUTE


@st.composite
def draw_needs(draw: st.DrawFn, resource_ids: Sequence[int], count: int) -> tuple[Need, ...]:
    """Draw what a visit takes beside its first resource. Mostly any resource can fill each need."""
    able = st.one_of(
        st.just(resource_ids), st.just(resource_ids), st.lists(st.sampled_from(resource_ids), min_size=1, unique=True)
    )
    return tuple(
        Need(draw(st.sampled_from([1, 1, 2, 2, 3])), draw(draw_pause()), frozenset(draw(able))) for _ in range(count)
    )


@st.composite
def draw_visits(
    draw: st.DrawFn, business: Business, needs: Sequence[Need], capacities: Sequence[int], base: datetime, now: datetime
) -> list[BookedVisit]:
    """Draw bookings of the service with all that they take; each fits beside those before it."""
    visits: list[BookedVisit] = []
    ids = [one.id for one in business.resources]
    if len(ids) <= len(needs):
        return visits
    for number in range(draw(st.integers(0, 6))):
        start = base + draw(st.integers(-24 * 12, 3 * 24 * 12)) * 5 * MINUTE
        end = start + draw(minutes(5, 30, 45, 60, 60, 240, 1500, 2 * 1440))
        blocks = start - draw(minutes(0, 0, 10)), end + draw(minutes(0, 0, 15))
        kind = draw(st.sampled_from(["pending", "confirmed", "confirmed", "hold", "dead hold", "cancelled"]))
        expires = {"hold": now + draw(minutes(1, 10)), "dead hold": now - draw(minutes(0, 1, 900))}.get(kind)
        chosen = draw(st.permutations(ids))
        takes = [Need(draw(st.sampled_from([1, 1, 2, 4])), business.pause), *needs]
        taken = tuple(
            (resource_id, Need(need.seats, need.pause)) for resource_id, need in zip(chosen, takes, strict=False)
        )
        visit = BookedVisit(
            FIRST_BOOKING_ID * 2 + number, 0, (start, end), blocks, "pending" if expires else kind, expires, taken
        )
        if all(
            oracle.most_at_once(
                [load for sold in (*one.bookings, *visits, visit) for load in oracle.loads_on(one, sold)], [blocks]
            )
            <= seats
            for one, seats in zip(business.resources, capacities, strict=True)
        ):
            visits.append(visit)
    return visits


@st.composite
def draw_resource(
    draw: st.DrawFn, number: int, zone: str, base: datetime, now: datetime, *, is_simple: bool
) -> tuple[oracle.Resource, int]:
    """Draw a resource with its bookings, and how many seats it had when they were made."""
    capacity = draw(st.sampled_from([1, 1, 1, 2, 3, 5, 20]))
    places_once = capacity + draw(st.sampled_from([0, 0, 0, 1, 4]))
    some_hours = draw(st.lists(draw_weekly_hours(base.date()), max_size=4))
    exceptions = st.lists(draw_exception_span(base), max_size=1 if is_simple else 2)
    resource = oracle.Resource(
        number,
        zone if draw(st.integers(0, 3)) else draw(st.sampled_from(ZONES)),
        capacity,
        draw(st.sampled_from([ALWAYS, BY_DAY])) if is_simple else [row for rows in some_hours for row in rows],
        draw(exceptions),
        draw(exceptions),
        draw(draw_bookings(number, base, now, places_once)),
        is_suitable=is_simple or bool(draw(st.integers(0, 5))),
    )
    return resource, places_once


@st.composite
def draw_rules(draw: st.DrawFn, resources: Sequence[oracle.Resource], base: datetime, *, is_simple: bool) -> Business:
    """Draw the rules of the service. Simple ones are short visits that can be booked at once, and leave free slots."""
    long = (480, 1440, 2 * 1440, 10 * 1440, 2 * 1440 + 90, 60 * 1440)
    some, many = ((0, 0, 5, 15), (10, 15, 25, 30, 60)) if is_simple else ((0, 0, 0, 10, 90), (10, 15, 25, 30, 60, 1440))
    exceptions = st.lists(draw_exception_span(base), max_size=1 if is_simple else 2)
    return Business(
        duration=draw(minutes(15, 30, 45, 60, 60, 90, *(() if is_simple else (7, *long)))),
        setup=draw(minutes(*some)),
        cleanup=draw(minutes(*some)),
        step=draw(st.one_of(st.none(), minutes(*many))),
        notice=draw(minutes(0, 0, 60) if is_simple else minutes(0, 0, 60, 615, 2880)),
        horizon=draw(st.sampled_from([None, 3 * DAY] if is_simple else [None, None, DAY, 3 * DAY])),
        resources=resources,
        opened=draw(exceptions),
        closed=draw(exceptions),
        binds_at_ends=not draw(st.integers(0, 2)),
    )


@st.composite
def draw_scenarios(draw: st.DrawFn, kind: Kind, *, is_simple: bool) -> Scenario:
    """Draw a business with a service of this kind, and the time of a request.

    Simple rules leave many free slots; others are meant to be difficult.
    """
    zone, day = draw(st.sampled_from(CLOCK_CHANGES))
    base = datetime.combine(day, time(), UTC)
    seconds = draw(st.sampled_from([0, 0, 0, 29.5, 59.999999]))  # A real clock is rarely at a whole minute.
    quarters = st.integers(-3 * 24 * 4, 24 * 4).map(lambda n: 15 * n)
    past = st.one_of(quarters, st.integers(-3 * 24 * 60, 24 * 60))
    now = base + draw(past) * MINUTE + timedelta(seconds=seconds)
    since = now + draw(minutes(0, 0, -600, 7, 1440))
    until = since + draw(minutes(600, 1440, 2880) if is_simple else minutes(600, 2880, 7200))
    count = draw(st.sampled_from(RESOURCE_COUNTS[kind]))
    drawn = [draw(draw_resource(number, zone, base, now, is_simple=is_simple)) for number in range(1, count + 1)]
    resources, places_once = [one for one, _ in drawn], [places for _, places in drawn]
    business = draw(draw_rules(resources, base, is_simple=is_simple))
    needs_before: tuple[Need, ...] = ()
    if kind != "plain":
        needs = draw(draw_needs([one.id for one in resources], NEED_COUNTS[kind]))
        needs_before = needs
        if not draw(st.integers(0, 3)):
            needs_before = tuple(Need(draw(st.integers(1, 2)), draw(draw_pause()), need.resource_ids) for need in needs)
        business = replace(
            business,
            needs=needs,
            pause=draw(draw_pause()) if kind != "party" else None,
            max_party=draw(st.sampled_from([1, 3, 100])),
            party=draw(st.sampled_from([1, 1, 2, 3] if kind != "party" else [2, 3, 5])),
        )
        visits = draw(draw_visits(business, needs_before, places_once, base, now))
        business = replace(business, visits=visits)
    middle = oracle.wall_clock_to_utc(day, time(2), zone)
    return Scenario(business, tuple(places_once), now, since, until, middle, needs_before)


def to_whole_minutes(length: timedelta | None) -> int | None:
    return None if length is None else length // MINUTE


def pause_minutes(pause: Pause | None) -> tuple[int | None, int | None]:
    """Return the columns of a pause."""
    return (None, None) if pause is None else (to_whole_minutes(pause[0]), to_whole_minutes(pause[1]))


SERVICE_COLUMNS = ("id", "title", "price", "duration_minutes", "setup_minutes", "cleanup_minutes", "slot_step_minutes",
           "min_notice_minutes", "horizon_days", "binds_hours_at_ends", "max_party", "free_from_minutes",
           "free_until_minutes")  # fmt: skip
NEED_COLUMNS = ("id", "service_id", "position", "seats", "free_from_minutes", "free_until_minutes")
USER_COLUMNS = ("id", "name", "email", "password_hash", "role")
OPENING_HOURS_COLUMNS = ("resource_id", "weekday", "opens", "closes", "valid_from", "valid_until")
BOOKING_COLUMNS = ("id", "user_id", "service_id", "resource_id", "start_time", "end_time", "blocks_from",
           "blocks_until", "status", "price", "expires_at", "other_resource_ids", "seats")  # fmt: skip
OTHER_SERVICE = 2  # Of bookings that take one seat only, if the service takes more.


async def load_business(session: Session, scenario: Scenario) -> None:
    """Store the business of a case in the database."""
    business, resources = scenario.business, scenario.business.resources
    people = [(1, "Tom", "tom@example.com", "-", Role.USER), (2, "Mara", "mara@example.com", "-", Role.STAFF)]
    await session.copy_rows(User, USER_COLUMNS, people)
    lengths: Any = map(
        to_whole_minutes, (business.duration, business.setup, business.cleanup, business.step, business.notice)
    )
    horizon = business.horizon and business.horizon.days
    services = [
        (
            1,
            "Massage",
            60,
            *lengths,
            horizon,
            business.binds_at_ends,
            business.max_party,
            *pause_minutes(business.pause),
        ),
        (OTHER_SERVICE, "Haircut", 60, 60, 0, 0, None, 0, None, False, 1, None, None),
    ]
    await session.copy_rows(Service, SERVICE_COLUMNS, services)
    once_open = zip(resources, scenario.original_capacities, strict=True)
    await session.copy_rows(
        Resource, ("id", "name", "timezone", "capacity"), [(one.id, "Room", one.zone, n) for one, n in once_open]
    )
    await session.copy_rows(
        ServiceResource,
        ("service_id", "resource_id"),
        [(1, one.id) for one in resources if one.is_suitable or one.id % 2],
    )
    needs = [
        (number, 1, number, need.seats, *pause_minutes(need.pause))
        for number, need in enumerate(scenario.needs_before, start=2)
    ]
    await session.copy_rows(ServiceNeed, NEED_COLUMNS, needs)
    able = [(number, one) for number, need in enumerate(business.needs, start=2) for one in sorted(need.resource_ids)]
    await session.copy_rows(NeedResource, ("need_id", "resource_id"), able)
    hours = [
        (one.id, *(getattr(row, name) for name in OPENING_HOURS_COLUMNS[1:])) for one in resources for row in one.hours
    ]
    await session.copy_rows(OpeningHours, OPENING_HOURS_COLUMNS, hours)
    whom: list[tuple[int | None, Any]] = [(None, business), *((one.id, one) for one in resources)]
    exceptions = [(n, *span, True) for n, one in whom for span in one.opened]
    exceptions += [(n, *span, False) for n, one in whom for span in one.closed]
    await session.copy_rows(CalendarException, ("resource_id", "start_time", "end_time", "is_open"), exceptions)
    bookings: list[tuple[Any, ...]] = [
        (
            sold.id,
            1,
            1 if business.is_plain else OTHER_SERVICE,
            one.id,
            *sold.visit,
            *sold.blocked,
            sold.status,
            60,
            sold.expires_at,
            [],
            1,
        )
        for one in resources
        for sold in one.bookings
    ]
    bookings += [
        (sold.id, 1, 1, sold.taken[0][0], *sold.visit, *sold.blocked, sold.status, 60, sold.expires_at,
         [one for one, _ in sold.taken[1:]], sold.taken[0][1].seats)
        for sold in business.visits
    ]  # fmt: skip
    await session.copy_rows(Booking, BOOKING_COLUMNS, bookings)
    for number, need in enumerate(business.needs, start=2):
        row = await session.get(ServiceNeed, number)
        assert row
        leaves, comes = pause_minutes(need.pause)
        await session.update(row, seats=need.seats, free_from_minutes=leaves, free_until_minutes=comes)
    for one in resources:
        room = await session.get(Resource, one.id)
        assert room
        await session.update(room, capacity=one.capacity, is_active=one.is_suitable or not one.id % 2)
