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

MOST = 500
MOST_MINUTES = 24 * 60


class What(StrEnum):
    """What can be done to many bookings."""

    CONFIRM = "confirm"
    CANCEL = "cancel"
    COMPLETE = "complete"
    NO_SHOW = "no_show"
    SHIFT = "shift"
    REASSIGN = "reassign"
    ELSEWHERE = "elsewhere"
    SWAP = "swap"


STATUS_ACTS = {
    What.CONFIRM: acts.confirm,
    What.CANCEL: acts.cancel,
    What.COMPLETE: acts.complete,
    What.NO_SHOW: acts.mark_no_show,
}


@dataclass(frozen=True)
class Change:
    """What is to be done, to each of many bookings alike.

    ``minutes`` is how far a shift goes, earlier if below zero; ``resource_id`` who takes over. ``cancels_left_over``
    cancels the visits that nobody else is free for. ``tells_customers`` is about visits that are to come.
    """

    what: What
    minutes: int = 0
    resource_id: int = 0
    cancels_left_over: bool = False
    reason: str = ""
    override_reason: str | None = None
    is_all_or_nothing: bool = True
    tells_customers: bool = True


@dataclass(frozen=True)
class Outcome:
    """What came of one booking: what it was, and what it is then or why it stays as it is."""

    booking_id: int
    before: Booking | None
    after: Booking | None = None
    refusal: no.Refusal | None = None


async def run(
    session: Session, chosen: Mapping[int, int | None], change: Change, *, by: Actor, now: datetime
) -> list[Outcome]:
    """Do this to the bookings of these numbers, and give the outcomes in the order of the numbers.

    Each comes with the version that was seen, or None for any. All or nothing: refuses where one is refused, and
    says all the same what each would have been.
    """
    require_sense(chosen, change, by=by)
    if change.reason and change.override_reason:  # History keeps one reason, and neither is to be lost.
        change = replace(change, override_reason=f"{change.reason} {change.override_reason}")
    rows = {row.id: row for row in await rearranging.hold_many(session, chosen)}
    is_anywhere = change.what == What.ELSEWHERE
    more = [change.resource_id] if change.what == What.REASSIGN else []
    await rearranging.take_turn(session, [*rows.values()], *more, is_anywhere=is_anywhere)
    if change.reason:
        await session.because(change.reason)
    attempt = attempt_swap if change.what == What.SWAP else attempt_each
    found = {number: refused for number in chosen if (refused := unfit(number, rows.get(number), chosen[number]))}
    fit = [rows[number] for number in chosen if number not in found]
    if change.what != What.SWAP or not found:
        found |= {one.booking_id: one for one in await attempt(session, fit, change, by=by, now=now)}
    else:
        refusal = next(one.refusal for one in found.values())
        found |= {row.id: Outcome(row.id, row, refusal=refusal) for row in fit}
    outcomes = [found[number] for number in sorted(found)]
    if change.is_all_or_nothing and any(one.refusal for one in outcomes):
        raise torn(outcomes)
    return outcomes


def torn(outcomes: list[Outcome]) -> no.NotAllPossible:
    """Give the refusal of all for the sake of some."""
    refusal = no.NotAllPossible(refused=sum(bool(one.refusal) for one in outcomes), chosen=len(outcomes))
    refusal.outcomes = outcomes
    return refusal


def require_sense(chosen: Mapping[int, int | None], change: Change, *, by: Actor) -> None:
    """Refuse who may not do this, and what cannot be done to any booking."""
    permissions.require_may(by, "change", Booking)
    if not by.works_here:
        raise no.Forbidden
    if not chosen:
        raise no.NothingChosen
    if len(chosen) > MOST:
        raise no.TooManyAtOnce(most=MOST)
    if change.what == What.SWAP and len(chosen) != 2:  # noqa: PLR2004 -- a swap is of two
        raise no.SwapNeedsTwo
    if change.what == What.SHIFT and not 1 <= abs(change.minutes) <= MOST_MINUTES:
        raise no.ShiftOutOfRange(most=MOST_MINUTES)


def unfit(number: int, row: Booking | None, seen: int | None) -> Outcome | None:
    """Give the outcome of a booking that is gone, or not what was seen."""
    if row is None:
        return Outcome(number, None, refusal=no.Missing(what="booking"))
    if seen is not None and seen != row.version:
        return Outcome(number, row, refusal=no.Stale())
    return None


async def attempt_each(
    session: Session, rows: list[Booking], change: Change, *, by: Actor, now: datetime
) -> list[Outcome]:
    """Do it to one after another; later ones know what became of those before.

    Of those that move, the farthest goes first and makes room for the next.
    """
    is_later = change.what == What.SHIFT and change.minutes > 0
    outcomes = []
    for row in sorted(rows, key=lambda row: (row.start_time, row.id), reverse=is_later):
        try:
            async with session.attempt():
                await tell(session, row, change, now=now)
                outcomes.append(Outcome(row.id, row, await ACTS[change.what](session, row, change, by=by, now=now)))
        except no.Busy:
            raise
        except no.Refusal as refusal:
            outcomes.append(Outcome(row.id, row, refusal=refusal))
    return outcomes


async def attempt_swap(
    session: Session, rows: list[Booking], change: Change, *, by: Actor, now: datetime
) -> list[Outcome]:
    """Swap two, or say of both why not."""
    first, second = rows
    why = change.override_reason
    try:
        async with session.attempt():
            await session.tell_customer(tells=change.tells_customers and any(row.start_time > now for row in rows))
            after = await rearranging.swap(session, first, second, by=by, now=now, override_reason=why)
    except no.Busy:
        raise
    except no.Refusal as refusal:
        return [Outcome(row.id, row, refusal=refusal) for row in rows]
    became = {row.id: row for row in after}
    return [Outcome(row.id, row, became[row.id]) for row in rows]


async def tell(session: Session, booking: Booking, change: Change, *, now: datetime) -> None:
    """Have history keep whether this customer is to be told: nobody is, of a visit that is over."""
    await session.tell_customer(tells=change.tells_customers and booking.start_time > now)


async def lead(session: Session, booking: Booking, change: Change, *, by: Actor, now: datetime) -> Booking:
    return await STATUS_ACTS[change.what](session, booking, by=by, now=now)


async def shift(session: Session, booking: Booking, change: Change, *, by: Actor, now: datetime) -> Booking:
    """Move a booking some minutes later or earlier."""
    rearranging.require_placed(booking, now=now)
    start = booking.start_time + timedelta(minutes=change.minutes)
    why = change.override_reason
    return await acts.reschedule(
        session, booking, by=by, now=now, start_time=start, override_reason=why, keeps_place=True
    )


async def reassign(session: Session, booking: Booking, change: Change, *, by: Actor, now: datetime) -> Booking:
    """Have another resource serve a booking."""
    rearranging.require_placed(booking, now=now)
    if change.resource_id <= 0:
        raise no.UnknownResource(what="resource")
    if booking.resource_id == change.resource_id:
        raise no.AlreadyThere
    why, to = change.override_reason, change.resource_id
    return await acts.reschedule(session, booking, by=by, now=now, resource_id=to, override_reason=why)


async def elsewhere(session: Session, booking: Booking, change: Change, *, by: Actor, now: datetime) -> Booking:
    """Have whoever else is free serve a booking; where nobody is, cancel it if that was chosen."""
    rearranging.require_placed(booking, now=now)
    why = change.override_reason
    visit = Visit(booking.service_id, None, booking.id)
    stand = await availability.standing(session, visit, at=booking.start_time, by=by, now=now, with_places=True)
    for one in stand:
        ways = [way for way in availability.in_the_way(one, now=now) if not isinstance(way, acts.OF_ANOTHER_TIME)]
        binding = [way for way in ways if isinstance(way, no.SlotTaken) or not why]
        if one["id"] != booking.resource_id and not binding:
            return await acts.reschedule(session, booking, by=by, now=now, resource_id=one["id"], override_reason=why)
    if not change.cancels_left_over:
        raise no.NobodyElseFree
    return await acts.cancel(session, booking, by=by, now=now)


ACTS: Mapping[What, Callable[..., Awaitable[Booking]]] = {
    **dict.fromkeys(STATUS_ACTS, lead),
    What.SHIFT: shift,
    What.REASSIGN: reassign,
    What.ELSEWHERE: elsewhere,
}
