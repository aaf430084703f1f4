"""Availability and booking agree: every offered slot can be booked and no other, compared with an oracle.

Each request accepts that the customer has another visit at the time, which availability cannot know.
Each case creates its own business and runs in one transaction that is rolled back at the end.
``BOOKIT_CASES=3000`` tries more cases than ``make test``, different ones each time; ``-s`` prints what was compared.
"""

import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from api.schemas import slot_from_row
from bookit import records
from bookit import refusals as no
from bookit.bookings import availability
from bookit.bookings.availability import Visit
from bookit.db.pool import Database
from bookit.db.session import Session
from bookit.policy.limits import BookingLimits
from bookit.policy.permissions import Actor
from bookit.schema.tables import Booking, Role
from tests.support import oracle
from tests.support.oracle import DAY, BookedVisit
from tests.support.strategies import MINUTE, Scenario, draw_scenarios, load_business

CASES = int(os.environ.get("BOOKIT_CASES", "150"))
TOM = Actor("worker", 1, Role.USER)  # At the API no overlap with a visit of the same service is accepted.
MARA = Actor("worker", 2, Role.STAFF)
# Outcomes that every run must include, even with few cases.
REQUIRED_OUTCOMES = {"booked", "moved", "not moved", "moved elsewhere", "moved in place", "another length",
       "not another length", "in-the-past", "too-soon", "too-far-ahead", "outside-hours", "closed",
       "between-slots", "slot-taken", "resource-unsuitable", "nothing-to-serve-it"}  # fmt: skip
NEXT = 3 * DAY
LENGTHS = (5, 20, 45, 60, 75, 240, 1440, 5 * 1440, 6 * 1440 + 30)  # minutes
OF_ANOTHER_START = {"too-soon", "too-far-ahead", "between-slots"}
SEEN: Counter[str] = Counter()

AT_RANDOM = settings(
    max_examples=CASES,
    derandomize="BOOKIT_CASES" not in os.environ,
    database=None,
    deadline=None,
    phases=[Phase.generate],  # A failing case names its start; to make it smaller would take minutes.
    suppress_health_check=list(HealthCheck),
)


class RolledBack(Exception):
    """Rolls back the transaction of a case."""


async def try_and_roll_back(session: Session, act: Callable[[], Awaitable[Booking]]) -> int | str:
    """Run the act and roll it back; return the id of its resource, or the code of the refusal."""
    done: Booking | None = None
    try:
        async with session.savepoint():
            done = await act()
            raise no.Refusal  # noqa: TRY301 -- only what is refused is taken back
    except no.Refusal as refusal:
        return done.resource_id if done else refusal.code()


def to_offered_slots(rows: list[Any]) -> list[oracle.OfferedSlot]:
    """Return slots as clients receive them, in the oracle's format."""
    return [
        (sent.start_time, sent.end_time, sent.timezone, sent.free_places,
         [(one.id, one.free_places) for one in sent.resources])
        for sent in map(slot_from_row, rows)
    ]  # fmt: skip


def draw_edges(case: Scenario, rest: random.Random) -> list[datetime]:
    """Return starts where something begins, ends or changes, some shortly before or after, and some random ones."""
    business, now = case.business, case.now
    at = [case.clock_change, now, now + business.notice, now + (business.horizon or 9 * DAY)]
    for diary in oracle.build_schedules(business, now, case.since, case.until, None):
        spans = [*diary.openings, *diary.closed, *(sold.blocked for sold in diary.bookings)]
        near = [moment for span in spans for moment in span if case.since - DAY < moment < case.until + DAY]
        at += rest.sample(near, min(len(near), 6))
    back = [
        0 * MINUTE,
        business.duration,
        business.duration + business.cleanup,
        -business.setup,
        (business.step or business.duration),
    ]
    off = [0, 0, 0, 1, -1, 5, -5, 30, -30, 60, 7]
    near_by = {moment - rest.choice(back) + rest.choice(off) * MINUTE for moment in at for _ in range(2)}
    starts = {moment.replace(second=0, microsecond=0) for moment in near_by}
    return rest.sample(sorted(starts), min(len(starts), 16))


async def compare_slots(
    session: Session, case: Scenario, only: int | None, moves: BookedVisit | None
) -> list[oracle.OfferedSlot]:
    business = replace(case.business, moved_booking=moves)
    visit = Visit(1, only, moves.id if moves else None)
    since = max(case.since, case.now)

    rows = await availability.slots(session, visit, since=since, until=case.until, now=case.now)

    expected = oracle.find_slots(business, case.now, since, case.until, only)
    slots = to_offered_slots(rows)
    assert {
        "not offered": [one for one in expected if one not in slots][:3],
        "offered": [one for one in slots if one not in expected][:3],
    } == {"not offered": [], "offered": []}
    assert slots == expected
    SEEN["slots"] += len(expected)
    return expected


async def compare_bookings(session: Session, case: Scenario, starts: list[datetime], rest: random.Random) -> None:
    """Book each of these starts as a random actor, and compare the outcome with the oracle."""
    for at in starts:
        only = rest.choice([None, None, rest.choice(case.business.resources).id])
        by, reason = rest.choice([(TOM, None), (TOM, None), (MARA, None), (MARA, "A good friend.")])
        facts: dict[str, Any] = {"service_id": 1, "start_time": at, "resource_id": only, "override_reason": reason}
        facts["overlap"] = True

        outcome = await try_and_roll_back(
            session, partial(records.create, session, Booking, by=by, now=case.now, **facts)
        )

        expected = oracle.predict_outcome(
            case.business, case.now, at, resource_id=only, is_staff=by.is_staff, is_override=bool(reason)
        )
        assert (at, by.role, facts, outcome) == (at, by.role, facts, expected)
        SEEN[expected if isinstance(expected, str) else "booked"] += 1


async def compare_explanations(session: Session, case: Scenario, starts: list[datetime]) -> None:
    for at in starts:
        rows = await availability.check_start(session, Visit(1), start=at, by=TOM, now=case.now, with_free_seats=True)

        codes = {row["id"]: [why.code() for why in availability.obstacles(row, now=case.now)] for row in rows}
        expected = {
            diary.resource.id: diary.list_obstacles(at) + ["slot-taken"] * (not diary.count_free_seats(at))
            for diary in oracle.build_schedules(case.business, case.now, at, at, None)
        }
        assert (at, codes) == (at, expected)
        SEEN["explained"] += 1


async def compare_next(session: Session, case: Scenario, at: datetime) -> None:
    """Ask for the next three free slots; the oracle only looks as far as the clock changes of the case."""
    since = max(at, case.now)

    slots = to_offered_slots(await availability.next_free(session, Visit(1), since=at, now=case.now))

    known = oracle.find_slots(case.business, case.now, since, since + NEXT)[:3]
    assert slots[: len(known)] == known
    assert all(later[0] >= since + NEXT for later in slots[len(known) :])
    SEEN["next free"] += len(known)


async def compare_moves(
    session: Session, case: Scenario, moves: BookedVisit, starts: list[datetime], rest: random.Random
) -> None:
    booking = await session.get(Booking, moves.id)
    assert booking
    business = replace(case.business, moved_booking=moves)
    for at in starts:
        resource_id = rest.choice(case.business.resources).id
        by = rest.choice([TOM, MARA])
        if by is TOM and moves.expires_at and moves.expires_at <= case.now:
            continue
        facts: dict[str, Any] = {"start_time": at, "resource_id": resource_id, "overlap": True}

        outcome = await try_and_roll_back(
            session, partial(records.change, session, booking, by=by, now=case.now, **facts)
        )

        expected = oracle.predict_outcome(business, case.now, at, resource_id=resource_id, is_staff=by.is_staff)
        if booking.start_time <= case.now and not by.is_staff:
            expected = "already-started"
        if at != booking.start_time:
            assert (booking.id, at, resource_id, by.role, outcome) == (booking.id, at, resource_id, by.role, expected)
            SEEN["moved" if isinstance(expected, int) else "not moved"] += 1


async def compare_moves_anywhere(
    session: Session, case: Scenario, moves: BookedVisit, starts: list[datetime], offered: set[datetime]
) -> None:
    """Move a booking as its customer without naming a resource: each start that is offered is accepted, and no other.

    The booking stays on its resource if that is free then.
    """
    booking = await session.get(Booking, moves.id)
    assert booking
    if booking.start_time <= case.now or (booking.expires_at and booking.expires_at <= case.now):
        return
    business = replace(case.business, moved_booking=moves)
    for at in starts:
        if at == booking.start_time:
            continue
        outcome = await try_and_roll_back(
            session, partial(records.change, session, booking, by=TOM, now=case.now, start_time=at, overlap=True)
        )

        stays = oracle.predict_outcome(business, case.now, at, resource_id=booking.resource_id, is_staff=False)
        anywhere = oracle.predict_outcome(business, case.now, at, resource_id=None, is_staff=False)
        assert (booking.id, at, outcome) == (booking.id, at, stays if isinstance(stays, int) else anywhere)
        assert isinstance(outcome, int) or at not in offered
        is_elsewhere = isinstance(outcome, int) and outcome != booking.resource_id
        SEEN["moved elsewhere" if is_elsewhere else "moved in place" if isinstance(outcome, int) else "not moved"] += 1


async def compare_lengths(session: Session, case: Scenario, moves: BookedVisit, rest: random.Random) -> None:
    """Change the length of a booking, at its start and at other starts, and compare the outcome with the oracle."""
    booking = await session.get(Booking, moves.id)
    assert booking
    has = booking.end_time - booking.start_time
    for at in (booking.start_time, *draw_edges(case, rest)[:3]):
        lasts = rest.choice([minutes for minutes in LENGTHS if minutes * MINUTE != has]) * MINUTE
        facts: dict[str, Any] = {"start_time": at, "end_time": at + lasts, "overlap": True}

        outcome = await try_and_roll_back(
            session, partial(records.change, session, booking, by=MARA, now=case.now, **facts)
        )

        business = replace(case.business, moved_booking=moves, new_duration=lasts)
        expected = predict_length(business, booking, case.now, at, gives_back=lasts < has)
        assert (booking.id, at, lasts, outcome) == (booking.id, at, lasts, expected)
        SEEN["another length" if isinstance(expected, int) else "not another length"] += 1


def predict_length(
    business: oracle.Business, booking: Booking, now: datetime, at: datetime, *, gives_back: bool
) -> int | str:
    """Return the expected outcome of another length.

    A visit that only becomes shorter meets no rule. With another start it needs a free seat, even within its own time.
    """
    resource = next(one for one in business.resources if one.id == booking.resource_id)
    if at != booking.start_time:
        return oracle.predict_outcome(business, now, at, resource_id=resource.id, is_staff=True)
    if not gives_back:
        return oracle.predict_outcome(
            business, now, at, resource_id=resource.id, is_staff=True, ignored_codes=OF_ANOTHER_START
        )
    return resource.id


def movable_bookings(case: Scenario) -> list[BookedVisit]:
    return [
        sold for one in case.business.resources for sold in one.bookings if sold.is_blocking(case.now)
    ]  # fmt: skip


async def run_case(database: Database, case: Scenario) -> None:
    rest = random.Random(str(case))
    with suppress(RolledBack):
        async with database.transaction(by=TOM, now=case.now) as session:
            await session.allow_overlap()
            session.booking_limits = BookingLimits(holds=0, bookings=0)  # Tom has as many bookings as a case has seats.
            await load_business(session, case)
            offers = await compare_slots(session, case, None, None)
            offered = [offer[0] for offer in rest.sample(offers, min(len(offers), 6))]
            starts = [*offered, *draw_edges(case, rest)]
            assert all(isinstance(oracle.predict_outcome(case.business, case.now, at), int) for at in offered)
            await compare_bookings(session, case, starts, rest)
            await compare_explanations(session, case, starts[::4])
            await compare_next(session, case, starts[-1])
            await compare_slots(session, case, rest.choice(case.business.resources).id, None)
            if movable := movable_bookings(case):
                moves = rest.choice(movable)
                offers = await compare_slots(session, case, None, moves)
                offered = [offer[0] for offer in rest.sample(offers, min(len(offers), 3))]
                await compare_moves(session, case, moves, [*offered, *draw_edges(case, rest)[:5]], rest)
                starts = [*offered, *draw_edges(case, rest)[:5]]
                await compare_moves_anywhere(session, case, moves, starts, {offer[0] for offer in offers})
                await compare_lengths(session, case, moves, rest)
            SEEN["cases"] += 1
            raise RolledBack


@pytest.fixture(scope="module")
def tally(request: pytest.FixtureRequest) -> Iterator[None]:
    """Print what was compared, and fail a run that compared too few cases to be meaningful."""
    yield
    reporter: Any = request.config.pluginmanager.get_plugin("terminalreporter")
    if reporter:
        reporter.write_line(f" {dict(SEEN.most_common())}")
    assert set(SEEN) >= REQUIRED_OUTCOMES
    assert SEEN["slots"] > 50 * CASES


@AT_RANDOM
@given(case=draw_scenarios())
async def test_offered_slots_are_bookable_and_no_others(tally: None, database: Database, case: Scenario) -> None:
    await run_case(database, case)
