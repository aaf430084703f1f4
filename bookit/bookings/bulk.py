"""One change applied to many bookings. Each booking has its own outcome, and the change is all or nothing if wanted.

A preview runs the same code in a dry run. The run that follows passes the versions that the preview saw.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from bookit import refusals as no
from bookit.bookings import acts, availability, rearranging
from bookit.bookings.claims import resources_of
from bookit.db.session import Session
from bookit.db.statements import Row
from bookit.policy import permissions, times
from bookit.policy.permissions import Actor
from bookit.schema.tables import Booking

MAX_BOOKINGS = 500
MAX_SHIFT_MINUTES = 24 * 60
SWAP_SIZE = 2


class BulkAction(StrEnum):
    """What a bulk change can do."""

    CONFIRM = "confirm"
    CANCEL = "cancel"
    COMPLETE = "complete"
    NO_SHOW = "no_show"
    SHIFT = "shift"
    REASSIGN = "reassign"
    REASSIGN_TO_FREE = "elsewhere"
    SWAP = "swap"


STATUS_ACTIONS = {
    BulkAction.CONFIRM: acts.confirm,
    BulkAction.CANCEL: acts.cancel,
    BulkAction.COMPLETE: acts.complete,
    BulkAction.NO_SHOW: acts.mark_no_show,
}


@dataclass(frozen=True)
class BulkChange:
    """An action and its options.

    ``minutes`` is how far a shift moves a booking, negative for earlier. ``resource_id`` is the new resource, and
    ``replaced_id`` the one whose place it takes, as of a colleague who is ill; 0 is the first of each booking that has
    a resource which can be replaced so.
    ``cancels_unassigned`` cancels a booking that no other resource can serve. With ``accepts_overlap`` the customers
    may have other visits at the time. ``notify_customers`` applies to visits that are still to come.
    """

    action: BulkAction
    minutes: int = 0
    resource_id: int = 0
    replaced_id: int = 0
    cancels_unassigned: bool = False
    reason: str = ""
    override_reason: str | None = None
    accepts_overlap: bool = False
    is_all_or_nothing: bool = True
    notify_customers: bool = True


@dataclass(frozen=True)
class Outcome:
    """The outcome for one booking: its values before, and its values after or the refusal."""

    booking_id: int
    before: Booking | None
    after: Booking | None = None
    refusal: no.Refusal | None = None


async def run(
    session: Session, expected_versions: Mapping[int, int | None], change: BulkChange, *, by: Actor, now: datetime
) -> list[Outcome]:
    """Apply a change to these bookings and return the outcomes, in the order of ids.

    ``expected_versions`` has the version of each booking that the user saw, or None to accept any. If all or nothing
    is wanted and a booking is refused, raise NotAllPossible, which carries the outcomes.
    """
    validate(expected_versions, change, by=by)
    rows = await lock_rows(session, expected_versions, change)
    if change.reason and change.override_reason:  # History keeps one reason for each change.
        change = replace(change, override_reason=f"{change.reason} {change.override_reason}")
    if change.reason:
        await session.set_reason(change.reason)
    if change.accepts_overlap:
        await session.allow_overlap()
    outcomes = await run_rows(session, expected_versions, rows, change, by=by, now=now)
    if change.is_all_or_nothing and any(outcome.refusal for outcome in outcomes):
        raise all_or_nothing_refusal(outcomes)
    return outcomes


async def lock_rows(
    session: Session, expected_versions: Mapping[int, int | None], change: BulkChange
) -> dict[int, Booking]:
    """Lock the bookings that exist and every resource that the change may use. Return the bookings by id."""
    rows = await rearranging.lock_bookings(session, expected_versions)
    new_resources = [change.resource_id] if change.action == BulkAction.REASSIGN else []
    needs_candidates = change.action == BulkAction.REASSIGN_TO_FREE
    await rearranging.lock_resources(session, rows, *new_resources, with_candidates=needs_candidates)
    return {row.id: row for row in rows}


async def run_rows(
    session: Session,
    expected_versions: Mapping[int, int | None],
    rows: Mapping[int, Booking],
    change: BulkChange,
    *,
    by: Actor,
    now: datetime,
) -> list[Outcome]:
    """Check each booking and apply the change to those that pass. Return all outcomes in the order of ids."""
    failed = [
        outcome
        for booking_id, version in expected_versions.items()
        if (outcome := precheck(booking_id, rows.get(booking_id), version))
    ]
    failed_ids = {outcome.booking_id for outcome in failed}
    ready = [rows[booking_id] for booking_id in expected_versions if booking_id not in failed_ids]
    if change.action != BulkAction.SWAP:
        done = await run_each(session, ready, change, by=by, now=now)
    elif not failed:
        done = await run_swap(session, ready, change, by=by, now=now)
    else:  # A swap needs both.
        done = [Outcome(row.id, row, refusal=failed[0].refusal) for row in ready]
    return sorted([*failed, *done], key=lambda outcome: outcome.booking_id)


def all_or_nothing_refusal(outcomes: list[Outcome]) -> no.NotAllPossible:
    refusal = no.NotAllPossible(refused=sum(bool(outcome.refusal) for outcome in outcomes), chosen=len(outcomes))
    refusal.outcomes = outcomes
    return refusal


def validate(expected_versions: Mapping[int, int | None], change: BulkChange, *, by: Actor) -> None:
    """Raise a refusal if the actor may not do this, or if the change makes no sense for any booking."""
    permissions.require_permission(by, "change", Booking)
    permissions.require_ability(by, "change_many")
    if not expected_versions:
        raise no.NothingChosen
    if len(expected_versions) > MAX_BOOKINGS:
        raise no.TooManyAtOnce(most=MAX_BOOKINGS)
    if change.action == BulkAction.SWAP and len(expected_versions) != SWAP_SIZE:
        raise no.SwapNeedsTwo
    if change.action == BulkAction.SHIFT and not 1 <= abs(change.minutes) <= MAX_SHIFT_MINUTES:
        raise no.ShiftOutOfRange(most=MAX_SHIFT_MINUTES)


def precheck(booking_id: int, row: Booking | None, expected_version: int | None) -> Outcome | None:
    """Return the outcome of a booking that is missing or has another version than expected, or None."""
    if row is None:
        return Outcome(booking_id, None, refusal=no.Missing(what="booking"))
    if expected_version is not None and expected_version != row.version:
        return Outcome(booking_id, row, refusal=no.Stale())
    return None


async def run_each(
    session: Session, rows: list[Booking], change: BulkChange, *, by: Actor, now: datetime
) -> list[Outcome]:
    """Apply the change to one booking after another; each sees the results of those before it.

    In a shift to later times the last booking goes first, so that it makes room for the one before.
    """
    is_later = change.action == BulkAction.SHIFT and change.minutes > 0
    outcomes = []
    for row in sorted(rows, key=lambda row: (row.start_time, row.id), reverse=is_later):
        try:
            async with session.savepoint():
                await set_notify_customer(session, row, change, now=now)
                outcomes.append(Outcome(row.id, row, await ACTS[change.action](session, row, change, by=by, now=now)))
        except no.Busy:
            raise
        except no.Refusal as refusal:
            outcomes.append(Outcome(row.id, row, refusal=refusal))
    return outcomes


async def run_swap(
    session: Session, rows: list[Booking], change: BulkChange, *, by: Actor, now: datetime
) -> list[Outcome]:
    """Swap two bookings. If the swap is refused, both outcomes have the refusal."""
    first, second = rows
    is_upcoming = any(row.start_time > now for row in rows)
    try:
        async with session.savepoint():
            await session.set_notify_customer(notify=change.notify_customers and is_upcoming)
            swapped = await rearranging.swap(
                session, first, second, by=by, now=now, override_reason=change.override_reason
            )
    except no.Busy:
        raise
    except no.Refusal as refusal:
        return [Outcome(row.id, row, refusal=refusal) for row in rows]
    after = {row.id: row for row in swapped}
    return [Outcome(row.id, row, after[row.id]) for row in rows]


async def set_notify_customer(session: Session, booking: Booking, change: BulkChange, *, now: datetime) -> None:
    """Set whether history says to notify this customer; never for a visit in the past."""
    await session.set_notify_customer(notify=change.notify_customers and booking.start_time > now)


async def set_status(session: Session, booking: Booking, change: BulkChange, *, by: Actor, now: datetime) -> Booking:
    return await STATUS_ACTIONS[change.action](session, booking, by=by, now=now)


async def shift(session: Session, booking: Booking, change: BulkChange, *, by: Actor, now: datetime) -> Booking:
    """Move a booking some minutes later or earlier; whole days move it to the same time by the business's clock."""
    rearranging.require_movable(booking, now=now)
    reason, by_how_much = change.override_reason, timedelta(minutes=change.minutes)
    start = times.shift(booking.start_time, by_how_much, ZoneInfo(session.timezone))
    return await acts.reschedule(session, booking, by=by, now=now, start_time=start, override_reason=reason)


async def reassign(session: Session, booking: Booking, change: BulkChange, *, by: Actor, now: datetime) -> Booking:
    """Replace one resource of a booking by another. All others stay."""
    rearranging.require_movable(booking, now=now)
    if change.resource_id <= 0:
        raise no.UnknownResource(what="resource")
    if change.resource_id in resources_of(booking).values():
        raise no.AlreadyThere
    checks = await check_elsewhere(session, booking, by=by, now=now)
    able = {check["position"] for check in checks if check["id"] == change.resource_id}
    positions = replaceable_positions(booking, change)
    position = next((position for position in positions if position in able), positions[0])
    resources, reason = {position: change.resource_id}, change.override_reason
    return await acts.reschedule(session, booking, by=by, now=now, resources=resources, override_reason=reason)


async def reassign_to_free(
    session: Session, booking: Booking, change: BulkChange, *, by: Actor, now: datetime
) -> Booking:
    """Replace one resource of a booking by another that is free. If there is none, cancel it if the change says so."""
    rearranging.require_movable(booking, now=now)
    reason = change.override_reason
    position = replaceable_positions(booking, change)[0]
    for check in await check_elsewhere(session, booking, by=by, now=now):
        is_new = check["position"] == position and check["id"] not in resources_of(booking).values()
        if is_new and can_take_over(check, is_override=bool(reason), now=now):
            resources = {position: check["id"]}
            return await acts.reschedule(session, booking, by=by, now=now, resources=resources, override_reason=reason)
    if not change.cancels_unassigned:
        raise no.NobodyElseFree
    return await acts.cancel(session, booking, by=by, now=now)


async def check_elsewhere(session: Session, booking: Booking, *, by: Actor, now: datetime) -> list[Row]:
    """Check the start of a booking on every resource that can be in one of its positions."""
    visit = availability.visit_after(booking, keeps_resource=False)
    return await availability.check_start(
        session, visit, start=booking.start_time, by=by, now=now, with_free_seats=True
    )


def replaceable_positions(booking: Booking, change: BulkChange) -> list[int]:
    """Return the positions in which a change may replace the resource. Raise ResourceUnsuitable if there is none."""
    resources = resources_of(booking)
    if not change.replaced_id:
        return [*resources]
    positions = [position for position, resource_id in resources.items() if resource_id == change.replaced_id]
    if not positions:
        raise no.ResourceUnsuitable
    return positions


def can_take_over(check: Row, *, is_override: bool, now: datetime) -> bool:
    """Return whether a resource can take over a booking as it is. An override ignores everything but a taken seat."""
    refusals = availability.obstacles(check, now=now)
    if is_override:
        return not any(isinstance(refusal, no.SlotTaken) for refusal in refusals)
    return all(isinstance(refusal, acts.START_RULE_REFUSALS) for refusal in refusals)


ACTS: Mapping[BulkAction, Callable[..., Awaitable[Booking]]] = {
    **dict.fromkeys(STATUS_ACTIONS, set_status),
    BulkAction.SHIFT: shift,
    BulkAction.REASSIGN: reassign,
    BulkAction.REASSIGN_TO_FREE: reassign_to_free,
}
