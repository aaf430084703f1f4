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
from hypothesis import strategies as st

from api.schemas import slot_from_row
from bookit import records
from bookit import refusals as no
from bookit.bookings import availability
from bookit.bookings.availability import Visit
from bookit.bookings.claims import resources_of
from bookit.db.pool import Database
from bookit.db.session import Session
from bookit.policy.limits import BookingLimits
from bookit.policy.permissions import Actor
from bookit.schema.tables import Booking, Role
from tests.support import oracle
from tests.support.oracle import DAY, BookedVisit
from tests.support.strategies import MINUTE, Kind, Scenario, draw_scenarios, load_business

pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")  # A failing case is printed in full.

CASES = int(os.environ.get("BOOKIT_CASES", "150"))
TOM = Actor("worker", 1, Role.USER)  # At the API no overlap with a visit of the same service is accepted.
MARA = Actor("worker", 2, Role.STAFF)
# Outcomes that every run must include, even with few cases.
REQUIRED_OUTCOMES = {
    *(
        "booked on 1",
        "booked on 2",
        "booked on 3",
        "one-role-each",
        "moved",
        "not moved",
        "moved elsewhere on 1",
        "moved elsewhere on 2",
    ),
    *("moved in place on 1", "moved in place on 2", "another length", "not another length", "another party"),
    *("not another party", "party-too-large", "in-the-past", "too-soon", "too-far-ahead", "outside-hours", "closed"),
    *("between-slots", "slot-taken", "too-few-seats", "resource-unsuitable", "nothing-to-serve-it"),
}
NEXT = 3 * DAY
LENGTHS = (5, 20, 45, 60, 75, 240, 1440, 5 * 1440, 6 * 1440 + 30)  # minutes
OF_ANOTHER_START = {"too-soon", "too-far-ahead", "between-slots"}
SEEN: Counter[str] = Counter()

AT_RANDOM = settings(
    max_examples=CASES // 10,
    derandomize="BOOKIT_CASES" not in os.environ,
    database=None,
    deadline=None,
    phases=[Phase.generate],  # A failing case names its start; to make it smaller would take minutes.
    suppress_health_check=list(HealthCheck),
)


class RolledBack(Exception):
    """Rolls back the transaction of a case."""


async def try_and_roll_back(session: Session, act: Callable[[], Awaitable[Booking]]) -> oracle.Outcome:
    """Run the act and roll it back; return the ids of its resources, or the code of the refusal."""
    done: Booking | None = None
    try:
        async with session.savepoint():
            done = await act()
            raise no.Refusal  # noqa: TRY301 -- only what is refused is taken back
    except no.Refusal as refusal:
        return tuple(resources_of(done).values()) if done else refusal.code()


def to_offered_slots(rows: list[Any]) -> list[oracle.OfferedSlot]:
    """Return slots as clients receive them, in the oracle's format."""
    return [
        (sent.start_time, sent.end_time, sent.timezone, sent.free_places,
         [(one.id, one.free_places, [(other["position"], other["resource_id"]) for other in others])
          for one, others in zip(sent.resources, row["others"] or [[]] * len(row["ids"]), strict=True)])
        for row, sent in ((row, slot_from_row(row)) for row in rows)
    ]  # fmt: skip


def draw_edges(case: Scenario, rest: random.Random) -> list[datetime]:
    """Return starts where something begins, ends or changes, some shortly before or after, and some random ones."""
    business, now = case.business, case.now
    at = [case.clock_change, now, now + business.notice, now + (business.horizon or 9 * DAY)]
    for diary in oracle.build_schedules(business, now, case.since, case.until, None):
        spans = [*diary.openings, *diary.closed, *(span for span, _ in diary.loads)]
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
    return rest.sample(sorted(starts), min(len(starts), 10))


async def compare_slots(
    session: Session, case: Scenario, only: int | None, moves: BookedVisit | None
) -> list[oracle.OfferedSlot]:
    business = replace(case.business, moved_booking=moves)
    visit = Visit(1, only, moves.id if moves else None, seats=None if moves else business.party)
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
        wanted = draw_wanted(case.business, rest)
        by, reason = rest.choice([(TOM, None), (TOM, None), (MARA, None), (MARA, "A good friend.")])
        facts: dict[str, Any] = {"service_id": 1, "start_time": at, "resources": wanted, "override_reason": reason}
        facts |= {"overlap": True, "seats": case.business.party}

        outcome = await try_and_roll_back(
            session, partial(records.create, session, Booking, by=by, now=case.now, **facts)
        )

        expected = oracle.predict_outcome(
            case.business, case.now, at, wanted=wanted, is_staff=by.is_staff, is_override=bool(reason)
        )
        assert (at, by.role, facts, outcome) == (at, by.role, facts, expected)
        SEEN[expected if isinstance(expected, str) else f"booked on {len(expected)}"] += 1


def draw_wanted(business: oracle.Business, rest: random.Random) -> dict[int, int]:
    """Return resources that a request names, by position: mostly none, sometimes one or each."""
    positions = [one for one in business.positions() if not rest.randrange(3)]
    ids = rest.sample([one.id for one in business.resources], min(len(positions), len(business.resources)))
    return dict(zip(positions, ids, strict=False))


async def compare_explanations(session: Session, case: Scenario, starts: list[datetime]) -> None:
    for at in starts:
        visit = Visit(1, seats=case.business.party)
        rows = await availability.check_start(session, visit, start=at, by=TOM, now=case.now, with_free_seats=True)

        codes = {
            (row["position"], row["id"], row["end_time"]): [
                why.code() for why in availability.obstacles(row, now=case.now)
            ]
            for row in rows
        }
        diaries = oracle.build_all_schedules(case.business, case.now, at, at, {})
        expected = {
            (position, diary.resource.id, end): diary.list_obstacles(at, end)
            + ["slot-taken"] * (not diary.has_room(at, end))
            for position, stand in diaries.items()
            for diary in stand
            for end in ({diary.end_of(at)} if position == 1 else {first.end_of(at) for first in diaries[1]})
        }
        assert (at, codes) == (at, expected)
        SEEN["explained"] += 1


async def compare_next(session: Session, case: Scenario, at: datetime) -> None:
    """Ask for the next three free slots; the oracle only looks as far as the clock changes of the case."""
    since = max(at, case.now)

    visit = Visit(1, seats=case.business.party)
    slots = to_offered_slots(await availability.next_free(session, visit, since=at, now=case.now))

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
        resource_id = rest.choice([one.id for one in case.business.resources] + [one for one, _ in moves.taken[1:]])
        by = rest.choice([TOM, MARA])
        if by is TOM and moves.expires_at and moves.expires_at <= case.now:
            continue
        facts: dict[str, Any] = {"start_time": at, "resource_id": resource_id, "overlap": True}

        outcome = await try_and_roll_back(
            session, partial(records.change, session, booking, by=by, now=case.now, **facts)
        )

        expected = predict_move(business, case.now, at, {1: resource_id}, by)
        if booking.start_time <= case.now and not by.is_staff:
            expected = "already-started"
        if at != booking.start_time:
            assert (booking.id, at, resource_id, by.role, outcome) == (booking.id, at, resource_id, by.role, expected)
            SEEN["not moved" if isinstance(expected, str) else "moved"] += 1
            SEEN["one-role-each"] += expected == "one-role-each"


def predict_move(
    business: oracle.Business, now: datetime, at: datetime, wanted: dict[int, int], by: Actor
) -> oracle.Outcome:
    """Return the expected outcome of a move. Staff keep the resources that they do not name, customers where free."""
    own = business.own_resources()
    if not by.is_staff:
        return oracle.predict_outcome(business, now, at, wanted=wanted, preferred=own)
    outcome = oracle.predict_outcome(business, now, at, wanted=own | wanted, is_staff=True)
    has_twice = len(set((own | wanted).values())) < len(own)
    return "one-role-each" if has_twice and outcome in {"slot-taken", "too-few-seats"} else outcome


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

        expected = predict_move(business, case.now, at, {}, TOM)
        assert (booking.id, at, outcome) == (booking.id, at, expected)
        if isinstance(outcome, str):
            assert at not in offered
            SEEN["not moved"] += 1
        else:
            is_in_place = outcome == tuple(business.own_resources().values())
            SEEN[f"moved {'in place' if is_in_place else 'elsewhere'} on {len(outcome)}"] += 1


async def compare_lengths(session: Session, case: Scenario, moves: BookedVisit, rest: random.Random) -> None:
    """Change the length of a booking, at its start and at other starts, and compare the outcome with the oracle."""
    booking = await session.get(Booking, moves.id)
    assert booking
    has = booking.end_time - booking.start_time
    for at in (booking.start_time, *draw_edges(case, rest)[:2]):
        lasts = rest.choice([minutes for minutes in LENGTHS if minutes * MINUTE != has]) * MINUTE
        facts: dict[str, Any] = {"start_time": at, "end_time": at + lasts, "overlap": True}

        outcome = await try_and_roll_back(
            session, partial(records.change, session, booking, by=MARA, now=case.now, **facts)
        )

        business = replace(case.business, moved_booking=moves, new_duration=lasts)
        expected = predict_length(business, booking, case.now, at, gives_back=lasts < has)
        assert (booking.id, at, lasts, outcome) == (booking.id, at, lasts, expected)
        SEEN["not another length" if isinstance(expected, str) else "another length"] += 1


def predict_length(
    business: oracle.Business, booking: Booking, now: datetime, at: datetime, *, gives_back: bool
) -> oracle.Outcome:
    """Return the expected outcome of another length.

    A visit that only becomes shorter meets no rule. With another start it needs a free seat, even within its own time;
    with another end, for what it takes beyond what it had.
    """
    own = business.own_resources()
    if at != booking.start_time:
        return oracle.predict_outcome(business, now, at, wanted=own, is_staff=True)
    if gives_back:
        return tuple(own.values())
    outcome = oracle.predict_outcome(business, now, at, wanted=own, is_staff=True, ignored_codes=OF_ANOTHER_START)
    is_free = outcome == "slot-taken" and all(
        diary.has_room_for_more()
        for stand in oracle.build_all_schedules(business, now, at, at, own).values()
        for diary in stand
    )
    return tuple(own.values()) if is_free else outcome


async def compare_parties(session: Session, case: Scenario, moves: BookedVisit, rest: random.Random) -> None:
    """Change for how many people a booking is, and compare the outcome with the oracle."""
    booking = await session.get(Booking, moves.id)
    assert booking
    business = replace(case.business, moved_booking=moves)
    own, (start, end) = business.own_resources(), moves.visit
    seats = rest.choice([number for number in (1, 2, 3, 5) if number != booking.seats])

    outcome = await try_and_roll_back(
        session, partial(records.change, session, booking, by=MARA, now=case.now, seats=seats)
    )

    resource = next(one for one in business.resources if one.id == own[1])
    need = replace(business.positions()[1], seats=seats)
    diary = oracle.ResourceSchedule(business, resource, case.now, start, end, 1, need)
    fits = seats < booking.seats or diary.has_room(start, end)
    assert (booking.id, seats, outcome) == (booking.id, seats, tuple(own.values()) if fits else "slot-taken")
    SEEN["another party" if fits else "not another party"] += 1


def movable_bookings(case: Scenario) -> list[BookedVisit]:
    """Return the bookings of the service that could move."""
    business = case.business
    bookings = [sold for one in business.resources for sold in one.bookings] if business.is_plain else business.visits
    return [sold for sold in bookings if sold.is_blocking(case.now)]


async def run_case(database: Database, case: Scenario) -> None:
    rest = random.Random(str(case))
    with suppress(RolledBack):
        async with database.transaction(by=TOM, now=case.now) as session:
            await session.allow_overlap()
            session.booking_limits = BookingLimits(holds=0, bookings=0)  # Tom has as many bookings as a case has seats.
            await load_business(session, case)
            offers = await compare_slots(session, case, None, None)
            offered = [offer[0] for offer in rest.sample(offers, min(len(offers), 4))]
            starts = [*offered, *draw_edges(case, rest)]
            for at in offered:
                outcome = oracle.predict_outcome(case.business, case.now, at)
                assert not isinstance(outcome, str) or outcome == "party-too-large"
            await compare_bookings(session, case, starts, rest)
            await compare_explanations(session, case, starts[::4])
            await compare_next(session, case, starts[-1])
            await compare_slots(session, case, rest.choice(case.business.resources).id, None)
            if movable := movable_bookings(case):
                moves = rest.choice(movable)
                offers = await compare_slots(session, case, None, moves)
                own = replace(case.business, moved_booking=moves).own_resources()[1]
                away = [offer for offer in offers if own not in {first for first, *_ in offer[4]}]
                offered = [offer[0] for some in (offers, away) for offer in rest.sample(some, min(len(some), 2))]
                await compare_moves(session, case, moves, [*offered, *draw_edges(case, rest)[:3]], rest)
                starts = [*offered, *draw_edges(case, rest)[:3]]
                await compare_moves_anywhere(session, case, moves, starts, {offer[0] for offer in offers})
                await compare_lengths(session, case, moves, rest)
                await compare_parties(session, case, moves, rest)
            SEEN["cases"] += 1
            raise RolledBack


@pytest.fixture(scope="module")
def tally(request: pytest.FixtureRequest) -> Iterator[None]:
    """Print what was compared, and fail a run that compared too few cases to be meaningful."""
    yield
    reporter: Any = request.config.pluginmanager.get_plugin("terminalreporter")
    if reporter:
        reporter.write_line(f" {dict(SEEN.most_common())}")
    assert set(+SEEN) >= REQUIRED_OUTCOMES
    assert SEEN["slots"] > 50 * CASES


def make_test(kind: Kind) -> Callable[..., None]:
    """Return a test that compares slots, bookings and moves of services of this kind with the oracle."""

    @AT_RANDOM
    @given(cases=st.tuples(draw_scenarios(kind, is_simple=True), draw_scenarios(kind, is_simple=False)))
    async def test(tally: None, database: Database, cases: tuple[Scenario, Scenario]) -> None:
        for case in cases:
            await run_case(database, case)

    return test


test_slots_of_visits_with_two_needs = make_test("two needs")
test_slots_of_visits_with_one_need = make_test("one need")
test_slots_of_visits_with_a_pause = make_test("pause")
test_slots_of_parties = make_test("party")
test_slots_of_visits_on_one_seat = make_test("plain")
