"""What may happen to a booking: book, hold, move, confirm, cancel, complete, mark as no-show, reopen, remove."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import text

from bookit import refusals as no
from bookit.bookings import availability
from bookit.bookings.availability import CHECKS_CTE, IS_BOOKABLE, Visit
from bookit.db.audit import SET_AUDIT_CTE, AuditContext, notify_fields
from bookit.db.session import Reader, Session, SingleStatement
from bookit.policy import lifecycle, permissions, times
from bookit.policy.permissions import Actor
from bookit.schema.tables import Booking, Resource, Service, Status, from_row

# One statement judges the start by every rule, takes the first free resource that passes, and books it. The visit is as
# the service makes it: how long, what it costs, what it blocks.
BOOK = text(f"""
{SET_AUDIT_CTE}, {CHECKS_CTE}
INSERT INTO bookings
  (user_id, service_id, resource_id, start_time, end_time, blocks_from, blocks_until, price, expires_at, created_at)
SELECT CAST(:user_id AS bigint), rule.service_id, place.id, :since, :since + rule.lasts,
       :since - rule.setup, :since + rule.lasts + rule.cleanup, rule.price, CAST(:expires_at AS timestamptz), :now
  FROM rule CROSS JOIN audit_context
 CROSS JOIN LATERAL resource_for_booking(
   CASE WHEN audit_context.is_set THEN ARRAY(
     SELECT s.id FROM standing s WHERE {IS_BOOKABLE} OR :is_override ORDER BY NOT {IS_BOOKABLE}, s.id) END,
   :since - rule.setup, :since + rule.lasts + rule.cleanup) AS place (id)
 WHERE place.id IS NOT NULL
RETURNING bookings.*
""")

# What does not matter to a visit that keeps its start, and only changes its end or who serves it.
START_RULE_REFUSALS = (no.TooSoon, no.TooFarAhead, no.BetweenSlots)


async def book(
    session: Session | SingleStatement,
    *,
    by: Actor,
    now: datetime,
    service_id: int,
    start_time: datetime,
    resource_id: int | None = None,
    user_id: int | None = None,
    hold: bool = False,
    override_reason: str | None = None,
    notify_customer: bool | None = None,
) -> Booking:
    """Book a service for oneself, or as staff for somebody; without a resource named, on the first free one.

    End, price and blocked time are the service's own at this moment. A ``hold`` blocks its slot for some minutes and
    then no longer. Refuses a start that is over, too soon, too far ahead, outside hours, closed or between slots, a
    service that is inactive or that nothing can serve, and a time that is taken. Staff who give a reason set aside
    everything but the last three; history keeps it, and whether the customer is to be told: of a visit that is over,
    nobody is.
    """
    times.require_future(start_time, by=by, now=now)
    permissions.require_override(override_reason, by=by)
    if user_id not in {None, by.id} and not by.is_staff:
        raise no.Forbidden
    audit: AuditContext = {"reason": override_reason} if override_reason else {}
    if notify_customer is not None:
        audit |= notify_fields(notify=notify_customer and not times.has_started(start_time, now=now))
    visit = Visit(service_id, resource_id)
    rows = await session.fetch(
        BOOK,
        audit=audit,
        **availability.start_params(start_time, by=by, now=now),
        **vars(visit),
        user_id=user_id or by.id,
        expires_at=now + session.hold_duration if hold else None,
        is_override=bool(override_reason),
    )
    if not rows:
        raise await refusal_for_visit(session, visit, start=start_time, by=by, now=now)
    return from_row(Booking, rows[0])


async def refusal_for_visit(reader: Reader, visit: Visit, *, start: datetime, by: Actor, now: datetime) -> no.Refusal:
    """Say why a visit could not be booked."""
    stand = await availability.check_start(reader, visit, start=start, by=by, now=now)
    return availability.best_refusal(stand, now=now) or await refusal_without_resource(reader, visit)


async def refusal_without_resource(reader: Reader, visit: Visit) -> no.Refusal:
    """Say why there is nobody and nothing to serve this, whenever it be."""
    service = await reader.get(Service, visit.service_id)
    if service is None:
        return no.UnknownService(what="service")
    if not service.is_active:
        return no.ServiceInactive()
    if visit.resource_id is None:
        return no.NothingToServeIt()
    resource = await reader.get(Resource, visit.resource_id)
    return no.ResourceUnsuitable() if resource else no.UnknownResource(what="resource")


async def change(
    session: Session,
    booking: Booking,
    *,
    by: Actor,
    now: datetime,
    start_time: datetime | None = None,
    end_time: datetime | None = None,
    resource_id: int | None = None,
    status: Status | None = None,
    hold: bool | None = None,
    override_reason: str | None = None,
    notify_customer: bool | None = None,
) -> Booking:
    """Move a booking, as staff give it another length, decide on a hold, lead it to another status, or all of these.

    It keeps its price, its identity and, unless it is told when to end, its length. History keeps whether the customer
    is to be told.
    """
    permissions.require_own_or_staff(booking, by=by)
    if notify_customer is not None:
        await session.set_notify_customer(notify=notify_customer)
    if hold is False:
        booking = await accept_hold(session, booking, by=by, now=now)
    if start_time or end_time or resource_id:
        booking = await reschedule(
            session,
            booking,
            by=by,
            now=now,
            start_time=start_time,
            end_time=end_time,
            resource_id=resource_id,
            override_reason=override_reason,
        )
    if status and status != booking.status:
        booking = await STATUS_ACTS[status](session, booking, by=by, now=now)
    return booking


async def accept_hold(session: Session, booking: Booking, *, by: Actor, now: datetime) -> Booking:
    """Turn a hold into a booking that waits for confirmation. Refuses one that has run out."""
    permissions.require_own_or_staff(booking, by=by)
    lifecycle.require_open(booking, by=by, now=now)
    lifecycle.require_not_expired(booking, now=now)
    return await session.update(booking, expires_at=None) if booking.expires_at else booking


async def reschedule(
    session: Session,
    booking: Booking,
    *,
    by: Actor,
    now: datetime,
    start_time: datetime | None = None,
    end_time: datetime | None = None,
    resource_id: int | None = None,
    override_reason: str | None = None,
    keeps_seat: bool = False,
) -> Booking:
    """Move a booking to another time or resource, if that is free and the rules of booking allow it there.

    It keeps its length, setup and cleanup; with ``end_time``, which is for staff, it gets another length, and may be
    refused for what then lies in its way. Its price stays what was agreed, however long it becomes.

    With ``keeps_place`` it leaves its place on the resource only where that is taken: whoever moves many, one after
    another, does not have one sit down where the next is about to come.
    """
    permissions.require_own_or_staff(booking, by=by)
    lifecycle.require_open(booking, by=by, now=now)
    permissions.require_override(override_reason, by=by)
    await require_cancel_notice(session, booking, by=by, now=now)
    start = start_time or booking.start_time
    end = end_time or start + (booking.end_time - booking.start_time)
    times.require_future(start, by=by, now=now)
    lifecycle.require_length(booking, start, end, by=by)
    if override_reason:
        await session.set_reason(override_reason)
    await require_available(
        session, booking, start, end, resource_id, by=by, now=now, is_override=bool(override_reason)
    )
    new_times = shifted_times(booking, start, end)
    if keeps_seat:
        new_times.pop("seat", None)
    row = await session.update(booking, **new_times, **({"resource_id": resource_id} if resource_id else {}))
    if new_times.keys() == {
        "end_time",
        "blocks_until",
    }:  # It may have sat down elsewhere since, which counts as a change.
        return await session.get(Booking, row.id) or row
    return row


async def require_available(
    session: Session,
    booking: Booking,
    start: datetime,
    end: datetime,
    resource_id: int | None,
    *,
    by: Actor,
    now: datetime,
    is_override: bool,
) -> None:
    """Refuse a time, a length or a resource that the rules of booking do not allow.

    Whether it is free is the table's to say. A visit that only gives back some of its end asks nobody.
    """
    visit = availability.visit_after(booking, start_time=start, end_time=end, resource_id=resource_id)
    keeps_start = start == booking.start_time
    if keeps_start and visit.resource_id == booking.resource_id and end < booking.end_time:
        return
    stand = await availability.check_start(session, visit, start=start, by=by, now=now)
    if not stand:
        raise await refusal_without_resource(session, visit)
    refusal = availability.best_refusal(stand, now=now, ignoring=START_RULE_REFUSALS if keeps_start else ())
    if refusal and not is_override:
        raise refusal


def shifted_times(booking: Booking, start: datetime, end: datetime) -> dict[str, Any]:
    """Give the columns of a booking that starts or ends at another time; any free place will do for another start.

    One that only ends at another time keeps its place, unless somebody else sits there by then.
    """
    new_times: dict[str, Any] = {}
    if later := start - booking.start_time:
        new_times |= {"start_time": start, "blocks_from": booking.blocks_from + later, "seat": None}
    if longer := end - booking.end_time:
        new_times |= {"end_time": end, "blocks_until": booking.blocks_until + longer}
    return new_times


async def require_cancel_notice(session: Session, booking: Booking, *, by: Actor, now: datetime) -> None:
    """Refuse a customer who gives back a visit too late; the deadline binds them and not the house."""
    if by.is_staff:
        return
    service = await session.get(Service, booking.service_id)
    if service:
        lifecycle.require_cancel_notice(booking, service, now=now)


async def set_status(session: Session, booking: Booking, status: Status, *, by: Actor) -> Booking:
    """Lead a booking to a status, if the chart of its life and this person allow it. It is a hold no longer."""
    refusal = lifecycle.refusal_for_status(booking, status, by=by)
    if refusal:
        raise refusal
    return await session.update(booking, status=status, expires_at=None)


async def confirm(session: Session, booking: Booking, *, by: Actor, now: datetime) -> Booking:
    """Promise the visit."""
    del now
    return await set_status(session, booking, Status.CONFIRMED, by=by)


async def cancel(session: Session, booking: Booking, *, by: Actor, now: datetime) -> Booking:
    """Free the slot. Refuses a customer who comes too late."""
    if lifecycle.refusal_for_status(booking, Status.CANCELLED, by=by) is None:
        await require_cancel_notice(session, booking, by=by, now=now)
    return await set_status(session, booking, Status.CANCELLED, by=by)


async def complete(session: Session, booking: Booking, *, by: Actor, now: datetime) -> Booking:
    """Say that the visit took place."""
    del now
    return await set_status(session, booking, Status.COMPLETED, by=by)


async def mark_no_show(session: Session, booking: Booking, *, by: Actor, now: datetime) -> Booking:
    """Say that the customer did not come."""
    del now
    return await set_status(session, booking, Status.NO_SHOW, by=by)


async def reopen(session: Session, booking: Booking, *, by: Actor, now: datetime) -> Booking:
    """Let a booking wait for confirmation again; it needs its slot to be free."""
    del now
    return await set_status(session, booking, Status.PENDING, by=by)


# Which act leads to which status. Doors make their buttons and their handling of ``status`` from this.
STATUS_ACTS: Mapping[Status, Callable[..., Awaitable[Booking]]] = {
    Status.PENDING: reopen,
    Status.CONFIRMED: confirm,
    Status.COMPLETED: complete,
    Status.CANCELLED: cancel,
    Status.NO_SHOW: mark_no_show,
}


async def remove(session: Session, booking: Booking, *, by: Actor, now: datetime) -> None:
    """Delete a booking, before it starts if a customer does; history keeps what it was."""
    permissions.require_own_or_staff(booking, by=by)
    lifecycle.require_not_started(booking, by=by, now=now)
    await require_cancel_notice(session, booking, by=by, now=now)
    await session.delete(booking)


LOCK_RESOURCES = text("""
SELECT pg_advisory_xact_lock(over.resource_id) FROM (
  SELECT DISTINCT resource_id FROM bookings WHERE status = 'pending' AND is_expired(expires_at, :now) ORDER BY 1
) AS over
""")
EXPIRE_HOLDS = text(
    "UPDATE bookings SET status = 'cancelled' WHERE status = 'pending' AND is_expired(expires_at, :now)"
)


async def expire_holds(session: Session, *, now: datetime) -> None:
    """Cancel every hold that has run out, so that lists say so too; they block nobody meanwhile."""
    await session.set_reason("The hold ran out.")
    await session.fetch(LOCK_RESOURCES, now=now)
    await session.fetch(EXPIRE_HOLDS, now=now)
