"""The acts on one booking: book, accept a hold, reschedule, set a status, remove."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, cast
from zoneinfo import ZoneInfo

from sqlalchemy import text

from bookit import refusals as no
from bookit.bookings import availability
from bookit.bookings.availability import Visit
from bookit.bookings.availability_sql import blocked, checks_cte, days_later, is_bookable, whole_days
from bookit.bookings.claims import first_combination, other_ids, require_different, resources_of, wanted_resources
from bookit.db.audit import SET_AUDIT_CTE, AuditContext, limit_fields, notify_fields, overlap_fields
from bookit.db.errors import replace_refusal
from bookit.db.session import Reader, Session, SingleStatement
from bookit.db.statements import Row
from bookit.policy import lifecycle, permissions, times
from bookit.policy.permissions import Actor
from bookit.schema.tables import MAX_PARTY, Booking, Resource, Service, Status, from_row

# The resources that a booking may get, in this order.
WILLING = f"FROM checks c WHERE {is_bookable()} OR :is_override ORDER BY NOT {is_bookable()}, c.id"

# One statement: check the start against every rule, choose the first resources that pass and have free seats, and
# insert the booking. Length, price and blocked time come from the service. ``resources`` are those that it takes, in
# the order of positions: ``role``, ``resource_id`` and ``name``.
BOOK = text(f"""
{SET_AUDIT_CTE}, {checks_cte()}
INSERT INTO bookings
  (user_id, service_id, resource_id, other_resource_ids, seats, start_time, end_time, blocks_from, blocks_until, status,
   price, expires_at, created_at, visitor_name)
SELECT CAST(:user_id AS bigint), rule.service_id, visit.id, chosen.ids[2:], visit.needed, :since, visit.end_time,
       visit.blocks_from, visit.blocks_until, CAST(:status AS text),
       rule.price * CASE WHEN rule.price_is_per_person THEN visit.needed ELSE 1 END,
       CAST(:expires_at AS timestamptz), :now, CAST(:visitor_name AS text)
  FROM rule CROSS JOIN audit_context
 CROSS JOIN LATERAL (
   SELECT CASE
     WHEN NOT audit_context.is_set OR CAST(:seats AS integer) > rule.max_party AND NOT :is_staff THEN NULL
     WHEN rule.is_plain THEN (
       SELECT ARRAY[resource_for_booking(array_agg(c.id), :since - rule.setup, array_agg(c.blocks_until))]
         FROM (SELECT c.id, c.blocks_until {WILLING}) AS c)
     ELSE (
       SELECT resources_for_visit(
                array_agg(c.position), array_agg(c.id), array_agg(c.needed),
                array_agg({blocked("c.blocks_from", "c.start_time", "c.blocks_until", of="c")}),
                array_agg(c.end_time), rule.roles)
         FROM (SELECT c.* {WILLING}) AS c) END AS ids
 ) AS chosen
  JOIN checks AS visit ON visit.position = 1 AND visit.id = chosen.ids[1]
RETURNING bookings.*, (
  SELECT jsonb_agg(jsonb_build_object('role', c.role, 'resource_id', c.id, 'name', c.name) ORDER BY c.position)
    FROM candidate c WHERE c.id = (bookings.resource_id || bookings.other_resource_ids)[c.position]
  ) AS resources
""")

UNCHANGED: str = "\0"  # No text that is stored has this sign.
SHORTEST_DAY = timedelta(hours=12)  # by the clock on the wall, with room for any change of the clocks
SAME_LENGTH = text(f"""
SELECT CASE WHEN whole.days > 0 THEN {days_later("CAST(:start AS timestamptz)", "r.timezone", "whole.days")}
            ELSE CAST(:start AS timestamptz) + (b.end_time - b.start_time) END AS end_time
  FROM bookings b JOIN resources own ON own.id = b.resource_id
  JOIN resources r ON r.id = coalesce(CAST(:resource_id AS bigint), b.resource_id)
 CROSS JOIN LATERAL (SELECT
   {whole_days("((b.end_time AT TIME ZONE own.timezone) - (b.start_time AT TIME ZONE own.timezone))")} AS days
 ) AS whole
 WHERE b.id = :booking_id
""")

FIRST_RESOURCE = text("""
SELECT r.id FROM service_resources sr JOIN resources r ON r.id = sr.resource_id
 WHERE sr.service_id = :service_id AND r.is_active LIMIT 1
""")

MOST_SEATS = text("""
SELECT max(r.capacity) AS most FROM resources r
 WHERE r.id = CAST(:resource_id AS bigint)
    OR CAST(:resource_id AS bigint) IS NULL AND r.is_active
       AND r.id IN (SELECT sr.resource_id FROM service_resources sr WHERE sr.service_id = :service_id)
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
    resources: Mapping[int, int] | None = None,
    seats: int = 1,
    user_id: int | None = None,
    visitor_name: str | None = None,
    hold: bool = False,
    overlap: bool = False,
    for_desk: bool = False,
    override_reason: str | None = None,
    notify_customer: bool | None = None,
) -> Booking:
    """Book a service for the actor or, as staff, for the customer ``user_id``; ``visitor_name`` comes in their place.

    The visit gets the first free resources, but those in ``resources``, by position; ``resource_id`` is that of the
    first. It takes ``seats`` of the first, all or none. End, price and blocked time come from the service as it is now.
    A booking of the desk is confirmed; any other is pending. A ``hold`` blocks its slot until it expires.
    With ``overlap``, the customer may have a visit of another service at this time; booked at the desk, of this service
    too. ``for_desk`` is for staff: notice, horizon and slot step, which are for customers, are not asked. With an
    ``override_reason``, staff may ignore these, hours, closures and overlaps; history keeps the reason. It also keeps
    ``notify_customer``, as false for a visit in the past.

    The row that is returned has ``resources`` as well, as ``BOOK`` says.

    Raise a refusal if a rule forbids the start, too few seats are free, or the service cannot be booked. Customers also
    meet PartyTooLarge, TooManyHolds, HoldRanOut and TooManyBookings.
    """
    start_time = times.cut_seconds(start_time)
    times.require_future(start_time, by=by, now=now)
    permissions.require_override(override_reason, by=by, for_desk=for_desk)
    permissions.require_own_customer(user_id, by=by)
    audit: AuditContext = overlap_fields(
        is_allowed=overlap or bool(override_reason), with_same_service=permissions.may_book_service_twice(by)
    )
    audit |= limit_fields(session.booking_limits, by=by)
    audit |= {"reason": override_reason} if override_reason else {}
    if notify_customer is not None:
        audit |= notify_fields(notify=notify_customer and not times.has_started(start_time, now=now))
    wanted = wanted_resources(resource_id, resources)
    others = {position: other for position, other in wanted.items() if position > 1}
    visit = Visit(service_id, wanted.get(1), seats=require_party(seats), others=others or None, for_desk=for_desk)
    rows = await session.fetch(
        BOOK,
        audit=audit,
        **availability.start_params(start_time, by=by, now=now),
        **visit.params(),
        user_id=user_id or by.id,
        visitor_name=visitor_name or None,
        status=lifecycle.first_status(by=by, is_hold=hold),
        expires_at=now + session.hold_duration if hold else None,
        is_override=bool(override_reason),
        is_staff=by.is_staff,
    )
    if not rows:
        raise await refusal_for_visit(
            session, visit, start=start_time, by=by, now=now, is_override=bool(override_reason)
        )
    return from_row(Booking, rows[0])


def require_party(seats: int) -> int:
    """Return the number of seats. Raise PartyOutOfRange if no booking can have so many."""
    if not 1 <= seats <= MAX_PARTY:
        raise no.PartyOutOfRange
    return seats


async def refusal_for_visit(
    reader: Reader, visit: Visit, *, start: datetime, by: Actor, now: datetime, is_override: bool = False
) -> no.Refusal:
    """Return the refusal for a visit that could not be booked."""
    if refusal := await refusal_for_party(reader, visit.service_id, visit.seats, by=by):
        return refusal
    checks = await availability.check_start(reader, visit, start=start, by=by, now=now)
    if refusal := await refusal_for_positions(reader, visit, checks):
        return refusal
    refusal = (None if is_override else availability.best_refusal(checks, now=now)) or no.SlotTaken()
    seats_refusal = await refusal_for_seats(reader, visit) if isinstance(refusal, no.SlotTaken) else None
    return seats_refusal or refusal


async def refusal_for_party(reader: Reader, service_id: int, seats: int | None, *, by: Actor) -> no.Refusal | None:
    """Return PartyTooLarge if a customer books more seats than the service lets them, or None."""
    if by.is_staff or (seats or 1) == 1:
        return None
    service = await reader.get(Service, service_id)
    return no.PartyTooLarge(most=service.max_party) if service and (seats or 1) > service.max_party else None


async def refusal_for_seats(reader: Reader, visit: Visit) -> no.Refusal | None:
    """Return TooFewSeats if the first resource, or each that can be the first, has fewer seats, or None."""
    if not visit.seats or visit.seats == 1:
        return None
    [row] = await reader.fetch(MOST_SEATS, service_id=visit.service_id, resource_id=visit.resource_id)
    return no.TooFewSeats(most=row["most"]) if (row["most"] or visit.seats) < visit.seats else None


async def refusal_for_positions(reader: Reader, visit: Visit, checks: Sequence[Row]) -> no.Refusal | None:
    """Return the refusal for the first position that no resource can be in at any time, or None."""
    if not checks:
        return await refusal_without_resource(reader, visit)
    filled = {check["position"] for check in checks}
    empty = [position for position in range(1, checks[0]["roles"] + 1) if position not in filled]
    return await refusal_for_resource(reader, (visit.others or {}).get(empty[0])) if empty else None


async def refusal_without_resource(reader: Reader, visit: Visit) -> no.Refusal:
    """Return the refusal for a visit whose first resource none can be at any time."""
    service = await reader.get(Service, visit.service_id)
    if service is None:
        return no.UnknownService(what="service")
    if not service.is_active:
        return no.ServiceInactive()
    if visit.resource_id is None and visit.others and await reader.fetch(FIRST_RESOURCE, service_id=service.id):
        return await refusal_for_resource(reader, next(iter(visit.others.values())))
    return await refusal_for_resource(reader, visit.resource_id)


async def refusal_for_resource(reader: Reader, resource_id: int | None) -> no.Refusal:
    """Return the refusal for a resource that cannot be in its position; without an id, for all that could be."""
    if resource_id is None:
        return no.NothingToServeIt()
    resource = await reader.get(Resource, resource_id)
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
    resources: Mapping[int, int] | None = None,
    seats: int | None = None,
    status: Status | None = None,
    hold: bool | None = None,
    visitor_name: str | None = UNCHANGED,
    overlap: bool = False,
    override_reason: str | None = None,
    notify_customer: bool | None = None,
) -> Booking:
    """Accept a hold, reschedule a booking, say who comes, set its status, or several of these.

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
    if start_time or end_time or resource_id or resources or seats is not None:
        booking = await reschedule(
            session,
            booking,
            by=by,
            now=now,
            start_time=start_time,
            end_time=end_time,
            resource_id=resource_id,
            resources=resources,
            seats=seats,
            override_reason=override_reason,
        )
    if visitor_name != UNCHANGED and (visitor_name or None) != booking.visitor_name:
        lifecycle.require_open(booking, by=by, now=now)
        booking = await session.update(booking, visitor_name=visitor_name or None)
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
    resources: Mapping[int, int] | None = None,
    seats: int | None = None,
    override_reason: str | None = None,
) -> Booking:
    """Move a booking to another time or other resources, change its seats, or, as staff, give it another end.

    ``resources`` are by position, and ``resource_id`` is that of the first. In other positions staff keep the resource.
    A customer's booking keeps a resource if that is free at the new time, and otherwise gets the first one that is, as
    a new booking does: availability offers these times too.

    Without ``end_time`` the booking keeps its length. Setup and cleanup never change, and the price only with the seats
    of a service with a price for each person. It leaves its seats only if they are taken: if many bookings move one
    after another, none moves into the way of the next.

    Raise a refusal if the actor may not move it, if a rule forbids the new time, or if too few seats are free.
    """
    permissions.require_in_scope(booking, by=by)
    lifecycle.require_open(booking, by=by, now=now)
    permissions.require_override(override_reason, by=by)
    wanted = wanted_resources(resource_id, resources)
    permissions.require_kept_resources(booking, wanted, by=by)
    await require_cancel_notice(session, booking, by=by, now=now)
    start = times.cut_seconds(start_time or booking.start_time)
    new_end = times.cut_seconds(end_time) if end_time else None
    times.require_future(start, by=by, now=now)
    if new_end:
        lifecycle.require_length(booking, start, new_end, by=by, zone=ZoneInfo(session.timezone))
    if override_reason:
        await session.set_reason(override_reason)
        await session.allow_overlap()
    party = await changed_party(session, booking, seats, by=by)
    visit = availability.visit_after(
        booking,
        start_time=start,
        end_time=new_end,
        resources=wanted,
        seats=party.get("seats"),
        keeps_resource=by.is_staff or start == booking.start_time,
    )
    if not by.is_staff and start != booking.start_time and len(wanted) < len(resources_of(booking)):
        wanted = await choose_resources(session, booking, visit, start, by=by, now=now)
        visit = availability.visit_after(
            booking, start_time=start, end_time=new_end, resources=wanted, seats=visit.seats
        )
    end = new_end or await end_of_same_length(session, booking, start, resource_id=wanted.get(1))
    changes = shifted_times(booking, start, end) | party
    if set(changes) != {"seats", "price"} or wanted:
        await require_available(session, booking, visit, start, by=by, now=now, is_override=bool(override_reason))
    changes |= changed_resources(booking, wanted)
    with hiding_other_calendars(by):
        return await session.update(booking, **changes)


def changed_resources(booking: Booking, wanted: Mapping[int, int]) -> dict[str, Any]:
    """Return the columns that change if a booking gets these resources.

    Raise OneRoleEach if one would be in two positions.
    """
    resources = resources_of(booking) | dict(wanted)
    require_different(resources.values())
    columns = {"resource_id": resources[1], "other_resource_ids": other_ids(resources)}
    return {name: value for name, value in columns.items() if value != getattr(booking, name)}


async def changed_party(reader: Reader, booking: Booking, seats: int | None, *, by: Actor) -> dict[str, Any]:
    """Return the columns that change if a booking takes so many seats. Raise PartyTooLarge if a customer may not.

    Where each person pays, those who come pay what was agreed for each.
    """
    if seats is None or require_party(seats) == booking.seats:
        return {}
    if seats > booking.seats and (refusal := await refusal_for_party(reader, booking.service_id, seats, by=by)):
        raise refusal
    service = await reader.get(Service, booking.service_id)
    is_per_person = service is not None and service.price_is_per_person
    price = (booking.price * seats / booking.seats).quantize(Decimal("0.01")) if is_per_person else booking.price
    return {"seats": seats, "price": price}


async def end_of_same_length(reader: Reader, booking: Booking, start: datetime, *, resource_id: int | None) -> datetime:
    """Return when a booking ends that starts at another time: one that lasts whole days ends at the same time of day.

    The days are by the clock of the resource that it gets, or else has, and so each lasts 23 to 25 hours.
    """
    length = booking.end_time - booking.start_time
    if length < SHORTEST_DAY:
        return start + length
    rows = await reader.fetch(SAME_LENGTH, booking_id=booking.id, start=start, resource_id=resource_id)
    return cast("datetime", rows[0]["end_time"])


async def choose_resources(
    session: Session, booking: Booking, visit: Visit, start: datetime, *, by: Actor, now: datetime
) -> dict[int, int]:
    """Return the resources for a booking at another time, by position: its own where they are free then.

    In other positions it gets the first that is. Before it chooses another one, it locks them all and looks again.
    Raise a refusal if none is free.
    """
    chosen = await first_free_combination(session, booking, visit, start, by=by, now=now)
    if chosen and chosen != resources_of(booking):
        checks = await availability.check_start(session, visit, start=start, by=by, now=now)
        await session.fetch(LOCK_IN_ORDER, ids=[*resources_of(booking).values(), *(check["id"] for check in checks)])
        chosen = await first_free_combination(session, booking, visit, start, by=by, now=now)
    if not chosen:
        raise await refusal_for_visit(session, visit, start=start, by=by, now=now)
    return chosen


async def first_free_combination(
    reader: Reader, booking: Booking, visit: Visit, start: datetime, *, by: Actor, now: datetime
) -> dict[int, int] | None:
    """Return the first resources that are free for a booking at this start, by position; its own are preferred."""
    checks = await availability.check_start(reader, visit, start=start, by=by, now=now, with_free_seats=True)
    free = [check for check in checks if not availability.obstacles(check, now=now)]
    own = resources_of(booking)
    preferred = sorted(free, key=lambda check: check["id"] != own.get(check["position"]))
    for first in [check for check in preferred if check["position"] == 1]:
        candidates: dict[int, list[int]] = {1: [first["id"]]}
        for check in preferred:
            if check["position"] > 1 and check["end_time"] == first["end_time"]:
                candidates.setdefault(check["position"], []).append(check["id"])
        if chosen := first_combination(candidates, first["roles"]):
            return chosen
    return None


def hiding_other_calendars(by: Actor) -> AbstractContextManager[None]:
    """Raise BusyElsewhere instead of a refusal that names a visit which the actor's own calendar may not show."""
    if permissions.own_resource(by) is None:
        return nullcontext()
    return replace_refusal(no.OverlappingBooking, no.BusyElsewhere())


async def require_available(
    session: Session,
    booking: Booking,
    visit: Visit,
    start: datetime,
    *,
    by: Actor,
    now: datetime,
    is_override: bool,
) -> None:
    """Raise a refusal if a rule forbids a booking this start, length or resource; the table itself refuses an overlap.

    A booking that only becomes shorter is not checked.
    """
    keeps_start = start == booking.start_time
    keeps_resources = {1: visit.resource_id, **(visit.others or {})} == resources_of(booking)
    is_shorter = visit.duration is not None and visit.duration < booking.end_time - booking.start_time
    if keeps_start and keeps_resources and is_shorter:
        return
    checks = await availability.check_start(session, visit, start=start, by=by, now=now)
    if refusal := await refusal_for_positions(session, visit, checks):
        raise refusal
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
