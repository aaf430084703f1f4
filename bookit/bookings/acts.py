"""The acts on one booking: book, accept a hold, reschedule, set a status, remove."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timedelta
from typing import Any, cast
from zoneinfo import ZoneInfo

from sqlalchemy import text

from bookit import refusals as no
from bookit.bookings import availability
from bookit.bookings.availability import Visit
from bookit.bookings.availability_sql import checks_cte, days_later, is_bookable, whole_days
from bookit.db.audit import SET_AUDIT_CTE, AuditContext, limit_fields, notify_fields, overlap_fields
from bookit.db.errors import replace_refusal
from bookit.db.session import Reader, Session, SingleStatement
from bookit.policy import lifecycle, permissions, times
from bookit.policy.permissions import Actor
from bookit.schema.tables import Booking, Resource, Service, Status, from_row

# The resources that a booking may get, in this order.
WILLING = f"FROM checks c WHERE {is_bookable()} OR :is_override ORDER BY NOT {is_bookable()}, c.id"

# One statement: check the start against every rule, choose the first resource that passes and has a free seat, and
# insert the booking. Length, price and blocked time come from the service.
BOOK = text(f"""
{SET_AUDIT_CTE}, {checks_cte()}
INSERT INTO bookings
  (user_id, service_id, resource_id, start_time, end_time, blocks_from, blocks_until, status, price, expires_at,
   created_at)
SELECT CAST(:user_id AS bigint), rule.service_id, chosen.id, :since, visit.end_time,
       visit.blocks_from, visit.blocks_until, CAST(:status AS text), rule.price,
       CAST(:expires_at AS timestamptz), :now
  FROM rule CROSS JOIN audit_context
 CROSS JOIN LATERAL resource_for_booking(
   CASE WHEN audit_context.is_set THEN ARRAY(SELECT c.id {WILLING}) END,
   :since - rule.setup, ARRAY(SELECT c.blocks_until {WILLING})) AS chosen (id)
  JOIN checks AS visit ON visit.id = chosen.id
RETURNING bookings.*
""")

SHORTEST_DAY = timedelta(hours=12)  # by the clock on the wall, with room for any change of the clocks
SAME_LENGTH = text(f"""
SELECT CASE WHEN whole.days > 0 THEN {days_later("CAST(:start AS timestamptz)", "r.timezone", "whole.days")}
            ELSE CAST(:start AS timestamptz) + (b.end_time - b.start_time) END AS end_time
  FROM bookings b JOIN resources r ON r.id = b.resource_id
 CROSS JOIN LATERAL (SELECT
   {whole_days("((b.end_time AT TIME ZONE r.timezone) - (b.start_time AT TIME ZONE r.timezone))")} AS days) AS whole
 WHERE b.id = :booking_id
""")

# Rules about the start. They do not apply to a booking that keeps its start and changes only its end or its resource.
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
    overlap: bool = False,
    override_reason: str | None = None,
    notify_customer: bool | None = None,
) -> Booking:
    """Book a service for the actor or, as staff, for the customer ``user_id``.

    Without ``resource_id`` the visit goes to the first free resource. End, price and blocked time come from the service
    as it is now. A booking of the desk is confirmed; any other is pending. A ``hold`` blocks its slot until it expires.
    With ``overlap``, the customer may have a visit of another service at this time; booked at the desk, of this service
    too. With an ``override_reason``, staff may ignore the same, and notice, horizon, hours, closures and slot step;
    history keeps the reason. It also keeps ``notify_customer``, as false for a visit in the past.

    Raise a refusal if a rule forbids the start, no seat is free, or the service cannot be booked. Customers also meet
    TooManyHolds, HoldRanOut and TooManyBookings.
    """
    start_time = times.cut_seconds(start_time)
    times.require_future(start_time, by=by, now=now)
    permissions.require_override(override_reason, by=by)
    permissions.require_own_customer(user_id, by=by)
    audit: AuditContext = overlap_fields(
        is_allowed=overlap or bool(override_reason), with_same_service=permissions.may_book_service_twice(by)
    )
    audit |= limit_fields(session.booking_limits, by=by)
    audit |= {"reason": override_reason} if override_reason else {}
    if notify_customer is not None:
        audit |= notify_fields(notify=notify_customer and not times.has_started(start_time, now=now))
    visit = Visit(service_id, resource_id)
    rows = await session.fetch(
        BOOK,
        audit=audit,
        **availability.start_params(start_time, by=by, now=now),
        **vars(visit),
        user_id=user_id or by.id,
        status=lifecycle.first_status(by=by, is_hold=hold),
        expires_at=now + session.hold_duration if hold else None,
        is_override=bool(override_reason),
    )
    if not rows:
        raise await refusal_for_visit(session, visit, start=start_time, by=by, now=now)
    return from_row(Booking, rows[0])


async def refusal_for_visit(reader: Reader, visit: Visit, *, start: datetime, by: Actor, now: datetime) -> no.Refusal:
    """Return the refusal for a visit that could not be booked."""
    checks = await availability.check_start(reader, visit, start=start, by=by, now=now)
    if not checks:
        return await refusal_without_resource(reader, visit)
    return availability.best_refusal(checks, now=now) or no.SlotTaken()


async def refusal_without_resource(reader: Reader, visit: Visit) -> no.Refusal:
    """Return the refusal for a visit that no resource can serve at any time."""
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
    overlap: bool = False,
    override_reason: str | None = None,
    notify_customer: bool | None = None,
) -> Booking:
    """Accept a hold, reschedule a booking, set its status, or several of these.

    With ``overlap``, the customer may have a visit of another service at the new time; staff may give one of the same
    service too, as a repeated change adds no visit. History keeps ``notify_customer``.
    """
    permissions.require_in_scope(booking, by=by)
    if overlap:
        await session.allow_overlap(with_same_service=by.is_staff or permissions.may_book_service_twice(by))
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
    """Turn a hold into a pending booking. Raise AlreadyStarted, NoLongerOpen or HoldExpired if it is too late."""
    permissions.require_in_scope(booking, by=by)
    lifecycle.require_open(booking, by=by, now=now)
    lifecycle.require_not_expired(booking, now=now)
    if not booking.expires_at:
        return booking
    with hiding_other_calendars(by):
        return await session.update(booking, expires_at=None)


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
) -> Booking:
    """Move a booking to another time or resource, or, as staff, give it another end.

    Without ``resource_id`` staff keep the resource. A customer's booking keeps its resource if that is free at the new
    time, and otherwise gets the first one that is, as a new booking does: availability offers these times too.

    Without ``end_time`` the booking keeps its length. Setup, cleanup and price never change. It leaves its seat only if
    the seat is taken: if many bookings move one after another, none moves into the way of the next.

    Raise a refusal if the actor may not move it, if a rule forbids the new time, or if no seat is free.
    """
    permissions.require_in_scope(booking, by=by)
    lifecycle.require_open(booking, by=by, now=now)
    permissions.require_override(override_reason, by=by)
    permissions.require_own_resource(resource_id, by=by)
    await require_cancel_notice(session, booking, by=by, now=now)
    start = times.cut_seconds(start_time or booking.start_time)
    end = times.cut_seconds(end_time or await end_of_same_length(session, booking, start))
    times.require_future(start, by=by, now=now)
    if end_time:
        lifecycle.require_length(booking, start, end, by=by, zone=ZoneInfo(session.timezone))
    if override_reason:
        await session.set_reason(override_reason)
        await session.allow_overlap()
    is_override = bool(override_reason)
    if not resource_id and start != booking.start_time and not by.is_staff:
        resource_id = await choose_resource(session, booking, start, end, by=by, now=now)
    await require_available(session, booking, start, end, resource_id, by=by, now=now, is_override=is_override)
    changes = shifted_times(booking, start, end)
    if resource_id and resource_id != booking.resource_id:
        changes["resource_id"] = resource_id
    with hiding_other_calendars(by):
        return await session.update(booking, **changes)


async def end_of_same_length(reader: Reader, booking: Booking, start: datetime) -> datetime:
    """Return when a booking ends that starts at another time: one that lasts whole days ends at the same time of day.

    The days are by the clock of its resource, and so each lasts 23 to 25 hours.
    """
    length = booking.end_time - booking.start_time
    if length < SHORTEST_DAY:
        return start + length
    rows = await reader.fetch(SAME_LENGTH, booking_id=booking.id, start=start)
    return cast("datetime", rows[0]["end_time"])


async def choose_resource(
    session: Session, booking: Booking, start: datetime, end: datetime, *, by: Actor, now: datetime
) -> int:
    """Return the resource for a booking at another time: its own if that is free then, or else the first that is.

    Before it chooses another one, it locks them all and looks again. Raise a refusal if none is free.
    """
    visit = Visit(booking.service_id, None, booking.id, end - start)
    free = await free_resources(session, visit, start=start, by=by, now=now)
    if free and booking.resource_id not in free:
        await session.fetch(LOCK_IN_ORDER, ids=[booking.resource_id, *free])
        free = await free_resources(session, visit, start=start, by=by, now=now)
    if not free:
        raise await refusal_for_visit(session, visit, start=start, by=by, now=now)
    return booking.resource_id if booking.resource_id in free else free[0]


async def free_resources(reader: Reader, visit: Visit, *, start: datetime, by: Actor, now: datetime) -> list[int]:
    """Return the ids of the resources that are free for a visit at this start, in order."""
    checks = await availability.check_start(reader, visit, start=start, by=by, now=now, with_free_seats=True)
    return [check["id"] for check in checks if not availability.obstacles(check, now=now)]


def hiding_other_calendars(by: Actor) -> AbstractContextManager[None]:
    """Raise BusyElsewhere instead of a refusal that names a visit which the actor's own calendar may not show."""
    if permissions.own_resource(by) is None:
        return nullcontext()
    return replace_refusal(no.OverlappingBooking, no.BusyElsewhere())


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
    """Raise a refusal if a rule forbids this time, length or resource; the table itself refuses an overlap.

    A booking that only becomes shorter is not checked.
    """
    visit = availability.visit_after(booking, start_time=start, end_time=end, resource_id=resource_id)
    keeps_start = start == booking.start_time
    if keeps_start and visit.resource_id == booking.resource_id and end < booking.end_time:
        return
    checks = await availability.check_start(session, visit, start=start, by=by, now=now)
    if not checks:
        raise await refusal_without_resource(session, visit)
    refusal = availability.best_refusal(checks, now=now, ignoring=START_RULE_REFUSALS if keeps_start else ())
    if refusal and not is_override:
        raise refusal


def shifted_times(booking: Booking, start: datetime, end: datetime) -> dict[str, Any]:
    """Return the columns that change if a booking starts and ends at these times."""
    changes: dict[str, Any] = {}
    if shift := start - booking.start_time:
        changes |= {"start_time": start, "blocks_from": booking.blocks_from + shift}
    if shift := end - booking.end_time:
        changes |= {"end_time": end, "blocks_until": booking.blocks_until + shift}
    return changes


async def require_cancel_notice(reader: Reader, booking: Booking, *, by: Actor, now: datetime) -> None:
    """Raise TooLateToCancel if a customer is later than the cancellation notice. It does not bind staff."""
    if by.is_staff:
        return
    service = await reader.get(Service, booking.service_id)
    if service:
        lifecycle.require_cancel_notice(booking, service, now=now)


async def set_status(session: Session, booking: Booking, status: Status, *, by: Actor, now: datetime) -> Booking:
    """Set the status of a booking, which is no longer a hold. Raise a refusal if the life cycle forbids it.

    A booking that its customer has deleted gets another status from staff only. Then the customer sees it again.
    """
    refusal = lifecycle.refusal_for_status(booking, status, by=by, now=now)
    if refusal:
        raise refusal
    # A cancelled hold stays known as one: its customer cannot hold the time again at once.
    expires_at = booking.expires_at if status == Status.CANCELLED else None
    with hiding_other_calendars(by):
        return await session.update(booking, status=status, expires_at=expires_at, deleted_by_customer_at=None)


async def confirm(session: Session, booking: Booking, *, by: Actor, now: datetime) -> Booking:
    """Confirm a booking."""
    return await set_status(session, booking, Status.CONFIRMED, by=by, now=now)


async def cancel(session: Session, booking: Booking, *, by: Actor, now: datetime) -> Booking:
    """Cancel a booking, which frees its seat. Raise a refusal if a customer cancels too late."""
    await require_cancellable(session, booking, by=by, now=now)
    return await set_status(session, booking, Status.CANCELLED, by=by, now=now)


async def require_cancellable(session: Session, booking: Booking, *, by: Actor, now: datetime) -> None:
    """Raise a refusal unless the actor may cancel this booking now."""
    refusal = lifecycle.refusal_for_status(booking, Status.CANCELLED, by=by, now=now)
    if refusal:
        raise refusal
    await require_cancel_notice(session, booking, by=by, now=now)


async def complete(session: Session, booking: Booking, *, by: Actor, now: datetime) -> Booking:
    """Record that the visit took place."""
    return await set_status(session, booking, Status.COMPLETED, by=by, now=now)


async def mark_no_show(session: Session, booking: Booking, *, by: Actor, now: datetime) -> Booking:
    """Record that the customer did not come."""
    return await set_status(session, booking, Status.NO_SHOW, by=by, now=now)


async def reopen(session: Session, booking: Booking, *, by: Actor, now: datetime) -> Booking:
    """Set a booking back to pending. Raise SlotTaken if its slot is no longer free."""
    return await set_status(session, booking, Status.PENDING, by=by, now=now)


# The act that sets each status. The doors derive their buttons and their ``status`` field from it.
STATUS_ACTS: Mapping[Status, Callable[..., Awaitable[Booking]]] = {
    Status.PENDING: reopen,
    Status.CONFIRMED: confirm,
    Status.COMPLETED: complete,
    Status.CANCELLED: cancel,
    Status.NO_SHOW: mark_no_show,
}


async def remove(session: Session, booking: Booking, *, by: Actor, now: datetime) -> None:
    """Delete a booking as staff; history keeps its values. A customer's own booking is cancelled and hidden from them.

    Raise AlreadyStarted, NoLongerOpen or TooLateToCancel if the customer can no longer cancel it. One that is cancelled
    already can be hidden at any time.
    """
    permissions.require_in_scope(booking, by=by)
    if by.is_staff:
        await session.delete(booking)
    elif booking.status == Status.CANCELLED:
        await session.update(booking, deleted_by_customer_at=now)
    else:
        await require_cancellable(session, booking, by=by, now=now)
        await session.update(booking, status=Status.CANCELLED, deleted_by_customer_at=now)


LOCK_IN_ORDER = text("""
SELECT pg_advisory_xact_lock(id) FROM (SELECT unnest(CAST(:ids AS bigint[])) AS id ORDER BY 1) AS in_order
""")
