"""Bulk changes of bookings: an outcome for each, all-or-nothing or best effort, and a preview by the same code."""

import re
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from bookit import refusals as no
from bookit.bookings import bulk
from bookit.bookings.bulk import BulkAction
from bookit.db.pool import Database
from bookit.policy.lifecycle import OPEN_STATUSES
from bookit.policy.permissions import Actor
from bookit.schema.tables import Role, Status
from tests.support import bulk_scenario
from tests.support.bulk_scenario import (
    COLOUR,
    HALF_HOUR,
    LEA,
    MARA,
    MAX,
    NAILS,
    TEN,
    ZOE,
    create_booking,
    fetch_snapshot,
    fetch_starts,
    refusal_names,
    run_bulk,
)
from tests.support.clock import NOW
from tests.support.people import Person

QUARTER = timedelta(minutes=15)
DONE = {
    BulkAction.CONFIRM: Status.CONFIRMED,
    BulkAction.CANCEL: Status.CANCELLED,
    BulkAction.COMPLETE: Status.COMPLETED,
    BulkAction.NO_SHOW: Status.NO_SHOW,
}


@pytest.fixture
async def business(database: Database, tom: Person, eve: Person, mara: Person) -> Database:
    """Create the business, with Tom (1), Eve (2) and Mara (3)."""
    await bulk_scenario.create_business(database)
    return database


# Each act.


@pytest.mark.parametrize("what", DONE)
async def test_many_bookings_change_status(business: Database, what: BulkAction) -> None:
    numbers = await bulk_scenario.fill_afternoon(business, 3)
    before = await bulk_scenario.fetch_bookings(business)

    outcomes = await run_bulk(business, numbers, what, reason="The power is out")

    after = await bulk_scenario.fetch_bookings(business)
    changes = {"status": DONE[what].value, "is_blocking": DONE[what] in OPEN_STATUSES, "version": 2}
    assert after == {number: before[number] | changes for number in numbers}
    assert [one.booking_id for one in outcomes] == numbers
    for one in outcomes:
        assert one.before is not None
        assert one.after is not None
        assert (one.before.status, one.after.status, one.refusal) == ("pending", DONE[what], None)
    events = [await bulk_scenario.fetch_events(business, number) for number in numbers]
    assert [(event[0]["reason"], event[0]["request_id"], event[0]["actor_id"]) for event in events] == [
        ("The power is out", "an-act", 3)
    ] * 3


@pytest.mark.parametrize("minutes", [15, -15, 60, -600, 1440])
async def test_a_full_afternoon_shifts_although_steps_overlap(business: Database, minutes: int) -> None:
    numbers = await bulk_scenario.fill_afternoon(business, 8)
    before = await bulk_scenario.fetch_bookings(business)

    outcomes = await run_bulk(business, numbers, BulkAction.SHIFT, minutes=minutes, override_reason="We run late")

    times = ("start_time", "end_time", "blocks_from", "blocks_until")
    moved = {
        number: row | {name: row[name] + timedelta(minutes=minutes) for name in times} | {"version": 2}
        for number, row in before.items()
    }
    assert await bulk_scenario.fetch_bookings(business) == moved
    assert refusal_names(outcomes) == dict.fromkeys(numbers)


async def test_shifting_there_and_back_restores_the_bookings(business: Database) -> None:
    numbers = await bulk_scenario.fill_afternoon(business, 8)
    before = await fetch_starts(business)

    await run_bulk(business, numbers, BulkAction.SHIFT, minutes=15)
    assert await fetch_starts(business) != before
    await run_bulk(business, numbers, BulkAction.SHIFT, minutes=-15)

    assert await fetch_starts(business) == before


async def test_a_shift_keeps_each_booking_on_its_seat(business: Database) -> None:
    """On a resource of two seats, no booking takes the seat that the next one is about to take."""
    await business.fetch(text("UPDATE resources SET capacity = 2 WHERE id = 1"))
    early = await create_booking(business, TEN - HALF_HOUR)
    taken = await create_booking(business, TEN - HALF_HOUR, user=2)  # on the second seat, where it stays
    first = await create_booking(business, TEN)
    late = await create_booking(business, TEN, user=3)  # on the second seat
    await business.fetch(text("DELETE FROM bookings WHERE id = :id"), id=first.id)
    later = "end_time = end_time + interval '25 min', blocks_until = blocks_until + interval '25 min'"
    await business.fetch(text(f"UPDATE bookings SET {later} WHERE id = 1"))

    outcomes = await run_bulk(business, [early.id, late.id], BulkAction.SHIFT, minutes=29)

    assert refusal_names(outcomes) == {early.id: None, late.id: None}
    assert (await fetch_starts(business))[taken.id] == (TEN - HALF_HOUR, LEA)
    await bulk_scenario.assert_no_overlap(business)


async def test_many_bookings_are_reassigned(business: Database) -> None:
    numbers = await bulk_scenario.fill_afternoon(business, 3)

    outcomes = await run_bulk(business, numbers, BulkAction.REASSIGN, resource_id=MAX)

    assert refusal_names(outcomes) == dict.fromkeys(numbers)
    assert await fetch_starts(business) == {number: (TEN + HALF_HOUR * at, MAX) for at, number in enumerate(numbers)}


async def test_a_sick_colleagues_day_goes_to_free_resources(business: Database) -> None:
    numbers = await bulk_scenario.fill_afternoon(business, 3)
    busy = await create_booking(business, TEN + HALF_HOUR, resource=MAX, user=2)
    nails = await create_booking(business, TEN, resource=ZOE, service=NAILS, user=2)

    outcomes = await run_bulk(
        business, [*numbers, nails.id], BulkAction.REASSIGN_TO_FREE, is_all_or_nothing=False, reason="Lea is ill"
    )

    assert refusal_names(outcomes) == {1: None, 2: "NobodyElseFree", 3: None, nails.id: "NobodyElseFree"}
    assert await fetch_starts(business) == {
        1: (TEN, MAX),
        2: (TEN + HALF_HOUR, LEA),
        3: (TEN + 2 * HALF_HOUR, MAX),
        busy.id: (TEN + HALF_HOUR, MAX),
        nails.id: (TEN, ZOE),
    }


async def test_bookings_without_another_resource_are_cancelled_on_request(business: Database) -> None:
    numbers = await bulk_scenario.fill_afternoon(business, 2)
    await create_booking(business, TEN, resource=MAX, user=2)

    outcomes = await run_bulk(
        business, numbers, BulkAction.REASSIGN_TO_FREE, cancels_unassigned=True, reason="Lea is ill"
    )

    assert [(one.after.status, one.after.resource_id) for one in outcomes if one.after] == [
        ("cancelled", LEA),
        ("pending", MAX),
    ]
    assert (await bulk_scenario.fetch_events(business, 1))[0]["reason"] == "Lea is ill"


async def test_two_bookings_swap_times_and_resources(business: Database) -> None:
    first, second = await create_booking(business, TEN), await create_booking(business, TEN + HALF_HOUR, resource=MAX)

    outcomes = await run_bulk(business, [first.id, second.id], BulkAction.SWAP)

    assert await fetch_starts(business) == {first.id: (TEN + HALF_HOUR, MAX), second.id: (TEN, LEA)}
    assert refusal_names(outcomes) == {first.id: None, second.id: None}
    assert [(one.before.resource_id, one.after.resource_id) for one in outcomes if one.before and one.after] == [
        (LEA, MAX),
        (MAX, LEA),
    ]


async def test_adjacent_bookings_of_one_resource_swap(business: Database) -> None:
    first, second = await create_booking(business, TEN), await create_booking(business, TEN + HALF_HOUR)

    await run_bulk(business, [first.id, second.id], BulkAction.SWAP)

    assert await fetch_starts(business) == {first.id: (TEN + HALF_HOUR, LEA), second.id: (TEN, LEA)}


async def test_an_impossible_swap_is_refused_for_both(business: Database) -> None:
    colour, nails = (
        await create_booking(business, TEN),
        await create_booking(business, TEN, resource=ZOE, service=NAILS, user=2),
    )
    before = await fetch_snapshot(business)

    outcomes = await run_bulk(business, [colour.id, nails.id], BulkAction.SWAP, is_all_or_nothing=False)

    assert refusal_names(outcomes) == {colour.id: "ResourceUnsuitable", nails.id: "ResourceUnsuitable"}
    assert await fetch_snapshot(business) == before


async def test_a_booking_too_long_for_the_gap_is_not_swapped(business: Database) -> None:
    (long, _, short) = await bulk_scenario.fill_afternoon(business, 3)
    await business.fetch(
        text("UPDATE bookings SET start_time = start_time - interval '1 hour', blocks_from = blocks_from -"
                       " interval '1 hour' WHERE id = 1")
    )  # fmt: skip
    await create_booking(business, TEN + 3 * HALF_HOUR)
    before = await fetch_snapshot(business)

    outcomes = await run_bulk(business, [long, short], BulkAction.SWAP, is_all_or_nothing=False)

    assert refusal_names(outcomes) == {long: "SlotTaken", short: "SlotTaken"}
    assert await fetch_snapshot(business) == before


# All or nothing, and best effort.


async def test_best_effort_changes_some_and_explains_the_rest(business: Database) -> None:
    numbers = await bulk_scenario.fill_afternoon(business, 3)
    await create_booking(business, TEN + 3 * HALF_HOUR)  # blocks the last one, and so all of them

    outcomes = await run_bulk(business, [*numbers, 999], BulkAction.SHIFT, minutes=15, is_all_or_nothing=False)

    assert refusal_names(outcomes) == {1: "SlotTaken", 2: "SlotTaken", 3: "SlotTaken", 999: "Missing"}
    await bulk_scenario.set_status(business, 4, Status.CANCELLED)
    await bulk_scenario.set_status(business, 2, Status.CANCELLED)
    outcomes = await run_bulk(business, [*numbers, 4], BulkAction.SHIFT, minutes=15, is_all_or_nothing=False)
    assert refusal_names(outcomes) == {1: None, 2: "NotOpen", 3: None, 4: "NotOpen"}
    assert await fetch_starts(business) == {
        1: (TEN + QUARTER, LEA),
        2: (TEN + HALF_HOUR, LEA),
        3: (TEN + 2 * HALF_HOUR + QUARTER, LEA),
        4: (TEN + 3 * HALF_HOUR, LEA),
    }


async def test_all_or_nothing_changes_nothing_and_reports_each_outcome(business: Database) -> None:
    numbers = await bulk_scenario.fill_afternoon(business, 3)
    await bulk_scenario.set_status(business, 2, Status.CONFIRMED)
    before = await fetch_snapshot(business)

    with pytest.raises(
        no.NotAllPossible, match=r"^Nothing was changed: 1 of 3 bookings could not be changed\.$"
    ) as torn:
        await run_bulk(business, numbers, BulkAction.CONFIRM)

    assert refusal_names(torn.value.outcomes) == {1: None, 2: "AlreadySo", 3: None}
    assert await fetch_snapshot(business) == before


async def test_rules_bind_staff_unless_they_name_a_reason(business: Database) -> None:
    numbers = await bulk_scenario.fill_afternoon(business, 4)
    await bulk_scenario.add_tuesday_hours(business, LEA, "10:00", "12:00")

    outcomes = await run_bulk(business, numbers, BulkAction.SHIFT, minutes=15, is_all_or_nothing=False)
    assert refusal_names(outcomes) == {1: "SlotTaken", 2: "SlotTaken", 3: "SlotTaken", 4: "OutsideHours"}

    outcomes = await run_bulk(business, numbers, BulkAction.SHIFT, minutes=15, override_reason="Overtime")
    assert refusal_names(outcomes) == dict.fromkeys(numbers)
    assert {(await bulk_scenario.fetch_events(business, number))[0]["reason"] for number in numbers} == {"Overtime"}


async def test_substitutes_outside_their_hours_need_a_reason(business: Database) -> None:
    await create_booking(business, TEN)
    await bulk_scenario.add_tuesday_hours(business, MAX, "14:00", "18:00")

    assert refusal_names(await run_bulk(business, [1], BulkAction.REASSIGN_TO_FREE, is_all_or_nothing=False)) == {
        1: "NobodyElseFree"
    }
    assert refusal_names(
        await run_bulk(business, [1], BulkAction.REASSIGN_TO_FREE, override_reason="Max comes early")
    ) == {1: None}


async def test_a_booking_already_in_place_is_reported(business: Database) -> None:
    await create_booking(business, TEN)

    assert refusal_names(
        await run_bulk(business, [1], BulkAction.REASSIGN, resource_id=LEA, is_all_or_nothing=False)
    ) == {1: "AlreadyThere"}
    for resource, why in ((ZOE, "ResourceUnsuitable"), (999, "UnknownResource"), (2**62, "UnknownResource")):
        outcomes = await run_bulk(business, [1], BulkAction.REASSIGN, resource_id=resource, is_all_or_nothing=False)
        assert refusal_names(outcomes) == {1: why}


# Preview.

EVERY_ACT: list[tuple[BulkAction, dict[str, Any]]] = [
    *((what, {}) for what in DONE),
    (BulkAction.SHIFT, {"minutes": 15}),
    (BulkAction.REASSIGN, {"resource_id": MAX}),
    (BulkAction.REASSIGN_TO_FREE, {"cancels_unassigned": True}),
]


@pytest.mark.parametrize("is_all_or_nothing", [True, False])
@pytest.mark.parametrize(("what", "more"), EVERY_ACT, ids=[what for what, _ in EVERY_ACT])
async def test_a_preview_changes_nothing_and_matches_the_run(
    business: Database, what: BulkAction, more: dict[str, Any], is_all_or_nothing: bool
) -> None:
    numbers = await bulk_scenario.fill_afternoon(business, 4)
    await create_booking(business, TEN + HALF_HOUR, resource=MAX, user=2)
    if not is_all_or_nothing:
        numbers += [999]
        await bulk_scenario.set_status(business, 3, Status.CANCELLED)
    elif what == BulkAction.REASSIGN:
        numbers.remove(2)
    before = await fetch_snapshot(business)
    facts = {**more, "is_all_or_nothing": is_all_or_nothing}

    preview = await run_bulk(business, numbers, what, dry_run=True, **facts)
    assert await fetch_snapshot(business) == before

    seen = {one.booking_id: one.before.version if one.before else None for one in preview}
    done = await run_bulk(business, numbers, what, seen_versions=seen, **facts)
    assert [comparable(one) for one in done] == [comparable(one) for one in preview]
    assert (await fetch_snapshot(business) != before) == any(one.after for one in preview)
    assert any(one.after for one in done)


async def test_a_preview_of_a_swap_matches_the_swap(business: Database) -> None:
    await create_booking(business, TEN)
    await create_booking(business, TEN, resource=MAX, user=2)
    before = await fetch_snapshot(business)

    preview = await run_bulk(business, [1, 2], BulkAction.SWAP, dry_run=True)

    assert await fetch_snapshot(business) == before
    assert [comparable(one) for one in await run_bulk(business, [1, 2], BulkAction.SWAP)] == [
        comparable(one) for one in preview
    ]


def comparable(one: bulk.Outcome) -> tuple[object, ...]:
    """Return all of an outcome in a comparable form."""
    before, after = (
        {name: getattr(row, name) for name in type(row).model_fields} if row else None
        for row in (one.before, one.after)
    )
    return one.booking_id, before, after, str(one.refusal)


async def test_a_booking_changed_after_the_preview_is_stale(business: Database) -> None:
    numbers = await bulk_scenario.fill_afternoon(business, 3)
    preview = await run_bulk(business, numbers, BulkAction.CANCEL, dry_run=True)
    seen = {one.booking_id: one.before.version if one.before else None for one in preview}
    await bulk_scenario.set_status(business, 2, Status.CONFIRMED)

    with pytest.raises(no.NotAllPossible) as torn:
        await run_bulk(business, numbers, BulkAction.CANCEL, seen_versions=seen)
    assert refusal_names(torn.value.outcomes) == {1: None, 2: "Stale", 3: None}

    outcomes = await run_bulk(business, numbers, BulkAction.CANCEL, seen_versions=seen, is_all_or_nothing=False)
    assert refusal_names(outcomes) == {1: None, 2: "Stale", 3: None}
    assert {number: row["status"] for number, row in (await bulk_scenario.fetch_bookings(business)).items()} == {
        1: "cancelled",
        2: "confirmed",
        3: "cancelled",
    }


async def test_a_swap_with_a_stale_booking_changes_neither(business: Database) -> None:
    await create_booking(business, TEN)
    await create_booking(business, TEN, resource=MAX, user=2)
    await bulk_scenario.set_status(business, 2, Status.CONFIRMED)
    before = await fetch_snapshot(business)

    outcomes = await run_bulk(business, [], BulkAction.SWAP, seen_versions={1: 1, 2: 1}, is_all_or_nothing=False)

    assert refusal_names(outcomes) == {1: "Stale", 2: "Stale"}
    assert await fetch_snapshot(business) == before


# Requests that are refused as a whole.


@pytest.mark.parametrize(
    ("numbers", "what", "more", "why"),
    [
        ([], BulkAction.CANCEL, {}, no.NothingChosen),
        (range(1, 502), BulkAction.CANCEL, {}, no.TooManyAtOnce),
        ([1], BulkAction.SWAP, {}, no.SwapNeedsTwo),
        ([1, 2, 3], BulkAction.SWAP, {}, no.SwapNeedsTwo),
        ([1], BulkAction.SHIFT, {"minutes": 0}, no.ShiftOutOfRange),
        ([1], BulkAction.SHIFT, {"minutes": 1441}, no.ShiftOutOfRange),
        ([1], BulkAction.SHIFT, {"minutes": -1441}, no.ShiftOutOfRange),
    ],
)
async def test_invalid_bulk_requests_are_refused(
    business: Database, numbers: list[int], what: BulkAction, more: dict[str, Any], why: type[no.Refusal]
) -> None:
    with pytest.raises(why):
        await run_bulk(business, numbers, what, **more)


async def test_five_hundred_bookings_move_at_once(business: Database) -> None:
    numbers = [(await create_booking(business, TEN + HALF_HOUR * at)).id for at in range(3)]

    outcomes = await run_bulk(business, [*numbers, *range(1000, 1497)], BulkAction.CONFIRM, is_all_or_nothing=False)

    assert len(outcomes) == bulk.MAX_BOOKINGS
    assert refusal_names(outcomes[:4]) == {1: None, 2: None, 3: None, 1000: "Missing"}


@pytest.mark.parametrize("by", [Actor("api", 1, Role.USER), Actor("admin", 2, Role.USER)])
async def test_a_customer_may_not_change_bookings_in_bulk(business: Database, by: Actor) -> None:
    await create_booking(business, TEN)
    before = await fetch_snapshot(business)

    with pytest.raises(no.Forbidden):
        await run_bulk(business, [1], BulkAction.CANCEL, by=by)

    assert await fetch_snapshot(business) == before


async def test_a_visitor_may_not_change_bookings_in_bulk(business: Database) -> None:
    with pytest.raises(no.Unauthenticated):
        await run_bulk(business, [1], BulkAction.CANCEL, by=Actor("admin"))


async def test_a_shift_beyond_the_calendar_is_refused(business: Database) -> None:
    await create_booking(business, datetime.fromisoformat("2999-12-31T23:00Z"))

    outcomes = await run_bulk(business, [1], BulkAction.SHIFT, minutes=90, override_reason="x", is_all_or_nothing=False)

    assert refusal_names(outcomes) == {1: "OutsideTheCalendar"}


async def test_an_expired_hold_cannot_be_moved(business: Database) -> None:
    await create_booking(business, TEN)
    await business.fetch(text("UPDATE bookings SET expires_at = :at WHERE id = 1"), at=NOW)

    for what, more in EVERY_ACT[len(DONE) :]:
        outcomes = await run_bulk(business, [1], what, is_all_or_nothing=False, **more)
        assert refusal_names(outcomes) == {1: "HoldExpired"}


def test_refusals_are_complete_sentences() -> None:
    for refusal in (no.NotAllPossible(refused=1, chosen=2), no.TooManyAtOnce(most=3), no.ShiftOutOfRange(most=3)):
        assert re.fullmatch(r"[A-Z].*\.", str(refusal))
        assert "{" not in str(refusal)
    assert str(no.NotAllPossible(refused=1, chosen=1)) == "Nothing was changed: 1 of 1 booking could not be changed."
    assert (MARA.is_staff, COLOUR) == (True, 1)
