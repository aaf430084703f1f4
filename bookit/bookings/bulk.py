"""One act over many bookings: each with its own outcome, all or nothing or what works, and rehearsed if so wished.

A preview is the same run in a transaction that is not kept; the run that follows takes the versions the preview saw.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from bookit import refusals as no
from bookit.bookings import acts, availability, rearranging
from bookit.bookings.availability import Visit
from bookit.db.session import Session
from bookit.policy import permissions
from bookit.policy.permissions import Actor
from bookit.schema.tables import Booking

MAX_BOOKINGS = 500
MAX_SHIFT_MINUTES = 24 * 60


class BulkAction(StrEnum):
    """What can be done to many bookings."""

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
    """What is to be done, to each of many bookings alike.

    ``minutes`` is how far a shift goes, earlier if below zero; ``resource_id`` who takes over. ``cancels_unassigned``
    cancels the visits that nobody else is free for. ``notify_customers`` is about visits that are to come.
    """

    action: BulkAction
    minutes: int = 0
    resource_id: int = 0
    cancels_unassigned: bool = False
    reason: str = ""
    override_reason: str | None = None
    is_all_or_nothing: bool = True
    notify_customers: bool = True


@dataclass(frozen=True)
class Outcome:
    """What came of one booking: what it was, and what it is then or why it stays as it is."""

    booking_id: int
    before: Booking | None
    after: Booking | None = None
    refusal: no.Refusal | None = None


async def run(
    session: Session, expected_versions: Mapping[int, int | None], change: BulkChange, *, by: Actor, now: datetime
) -> list[Outcome]:
    """Do this to the bookings of these numbers, and give the outcomes in the order of the numbers.

    Each comes with the version that was seen, or None for any. All or nothing: refuses where one is refused, and
    says all the same what each would have been.
    """
    validate(expected_versions, change, by=by)
    if change.reason and change.override_reason:  # History keeps one reason, and neither is to be lost.
        change = replace(change, override_reason=f"{change.reason} {change.override_reason}")
    rows = {row.id: row for row in await rearranging.lock_bookings(session, expected_versions)}
    is_anywhere = change.action == BulkAction.REASSIGN_TO_FREE
    more = [change.resource_id] if change.action == BulkAction.REASSIGN else []
    await rearranging.lock_resources(session, [*rows.values()], *more, with_candidates=is_anywhere)
    if change.reason:
        await session.set_reason(change.reason)
    attempt = run_swap if change.action == BulkAction.SWAP else run_each
    found = {
        number: refused
        for number in expected_versions
        if (refused := precheck(number, rows.get(number), expected_versions[number]))
    }
    fit = [rows[number] for number in expected_versions if number not in found]
    if change.action != BulkAction.SWAP or not found:
        found |= {one.booking_id: one for one in await attempt(session, fit, change, by=by, now=now)}
    else:
        refusal = next(one.refusal for one in found.values())
        found |= {row.id: Outcome(row.id, row, refusal=refusal) for row in fit}
    outcomes = [found[number] for number in sorted(found)]
    if change.is_all_or_nothing and any(one.refusal for one in outcomes):
        raise all_or_nothing_refusal(outcomes)
    return outcomes


def all_or_nothing_refusal(outcomes: list[Outcome]) -> no.NotAllPossible:
    """Give the refusal of all for the sake of some."""
    refusal = no.NotAllPossible(refused=sum(bool(one.refusal) for one in outcomes), chosen=len(outcomes))
    refusal.outcomes = outcomes
    return refusal


def validate(expected_versions: Mapping[int, int | None], change: BulkChange, *, by: Actor) -> None:
    """Refuse who may not do this, and what cannot be done to any booking."""
    permissions.require_permission(by, "change", Booking)
    if not by.is_staff:
        raise no.Forbidden
    if not expected_versions:
        raise no.NothingChosen
    if len(expected_versions) > MAX_BOOKINGS:
        raise no.TooManyAtOnce(most=MAX_BOOKINGS)
    if change.action == BulkAction.SWAP and len(expected_versions) != 2:  # noqa: PLR2004 -- a swap is of two
        raise no.SwapNeedsTwo
    if change.action == BulkAction.SHIFT and not 1 <= abs(change.minutes) <= MAX_SHIFT_MINUTES:
        raise no.ShiftOutOfRange(most=MAX_SHIFT_MINUTES)


def precheck(booking_id: int, row: Booking | None, expected_version: int | None) -> Outcome | None:
    """Give the outcome of a booking that is gone, or not what was seen."""
    if row is None:
        return Outcome(booking_id, None, refusal=no.Missing(what="booking"))
    if expected_version is not None and expected_version != row.version:
        return Outcome(booking_id, row, refusal=no.Stale())
    return None


async def run_each(
    session: Session, rows: list[Booking], change: BulkChange, *, by: Actor, now: datetime
) -> list[Outcome]:
    """Do it to one after another; later ones know what became of those before.

    Of those that move, the farthest goes first and makes room for the next.
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
    """Swap two, or say of both why not."""
    first, second = rows
    why = change.override_reason
    try:
        async with session.savepoint():
            await session.set_notify_customer(
                notify=change.notify_customers and any(row.start_time > now for row in rows)
            )
            after = await rearranging.swap(session, first, second, by=by, now=now, override_reason=why)
    except no.Busy:
        raise
    except no.Refusal as refusal:
        return [Outcome(row.id, row, refusal=refusal) for row in rows]
    became = {row.id: row for row in after}
    return [Outcome(row.id, row, became[row.id]) for row in rows]


async def set_notify_customer(session: Session, booking: Booking, change: BulkChange, *, now: datetime) -> None:
    """Have history keep whether this customer is to be told: nobody is, of a visit that is over."""
    await session.set_notify_customer(notify=change.notify_customers and booking.start_time > now)


async def set_status(session: Session, booking: Booking, change: BulkChange, *, by: Actor, now: datetime) -> Booking:
    return await STATUS_ACTIONS[change.action](session, booking, by=by, now=now)


async def shift(session: Session, booking: Booking, change: BulkChange, *, by: Actor, now: datetime) -> Booking:
    """Move a booking some minutes later or earlier."""
    rearranging.require_movable(booking, now=now)
    start = booking.start_time + timedelta(minutes=change.minutes)
    why = change.override_reason
    return await acts.reschedule(
        session, booking, by=by, now=now, start_time=start, override_reason=why, keeps_seat=True
    )


async def reassign(session: Session, booking: Booking, change: BulkChange, *, by: Actor, now: datetime) -> Booking:
    """Have another resource serve a booking."""
    rearranging.require_movable(booking, now=now)
    if change.resource_id <= 0:
        raise no.UnknownResource(what="resource")
    if booking.resource_id == change.resource_id:
        raise no.AlreadyThere
    why, to = change.override_reason, change.resource_id
    return await acts.reschedule(session, booking, by=by, now=now, resource_id=to, override_reason=why)


async def reassign_to_free(
    session: Session, booking: Booking, change: BulkChange, *, by: Actor, now: datetime
) -> Booking:
    """Have whoever else is free serve a booking; where nobody is, cancel it if that was chosen."""
    rearranging.require_movable(booking, now=now)
    why = change.override_reason
    visit = Visit(booking.service_id, None, booking.id)
    stand = await availability.check_start(
        session, visit, start=booking.start_time, by=by, now=now, with_free_seats=True
    )
    for one in stand:
        ways = [way for way in availability.obstacles(one, now=now) if not isinstance(way, acts.START_RULE_REFUSALS)]
        binding = [way for way in ways if isinstance(way, no.SlotTaken) or not why]
        if one["id"] != booking.resource_id and not binding:
            return await acts.reschedule(session, booking, by=by, now=now, resource_id=one["id"], override_reason=why)
    if not change.cancels_unassigned:
        raise no.NobodyElseFree
    return await acts.cancel(session, booking, by=by, now=now)


ACTS: Mapping[BulkAction, Callable[..., Awaitable[Booking]]] = {
    **dict.fromkeys(STATUS_ACTIONS, set_status),
    BulkAction.SHIFT: shift,
    BulkAction.REASSIGN: reassign,
    BulkAction.REASSIGN_TO_FREE: reassign_to_free,
}
