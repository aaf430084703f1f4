"""What may happen to a booking: book, amend, confirm, cancel, complete, mark as no-show, reopen, remove."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, DateTime, bindparam, func, insert, select

from bookit import catalogue, policy
from bookit import refusals as no
from bookit.database import Session
from bookit.policy import Actor
from bookit.tables import Booking, Resource, Service, Status, home

SERVICE = home(Service).c
START = bindparam("start_time", type_=DateTime(timezone=True))


def after(time: ColumnElement[Any], minutes: ColumnElement[int]) -> ColumnElement[Any]:
    return time + func.make_interval(0, 0, 0, 0, 0, minutes)


# The visit as the service makes it: how long, what it costs, what it blocks, and who or what serves it.
BLOCKS_FROM = START - func.make_interval(0, 0, 0, 0, 0, SERVICE.setup_minutes)
BLOCKS_UNTIL = after(after(START, SERVICE.duration_minutes), SERVICE.cleanup_minutes)
VISIT = (
    select(
        bindparam("user_id", type_=BigInteger).label("user_id"),
        SERVICE.id.label("service_id"),
        func.resource_for_booking(
            SERVICE.id, bindparam("resource_id", type_=BigInteger), BLOCKS_FROM, BLOCKS_UNTIL
        ).label("resource_id"),
        START.label("start_time"),
        after(START, SERVICE.duration_minutes).label("end_time"),
        BLOCKS_FROM.label("blocks_from"),
        BLOCKS_UNTIL.label("blocks_until"),
        SERVICE.price,
        bindparam("now", type_=DateTime(timezone=True)).label("created_at"),
    )
    .where(SERVICE.id == bindparam("service_id"), SERVICE.is_active)
    .subquery()
)
BOOK = (
    insert(home(Booking))
    .from_select([column.name for column in VISIT.c], select(VISIT).where(VISIT.c.resource_id.is_not(None)))
    .returning(home(Booking))
)


async def book(
    session: Session,
    *,
    by: Actor,
    now: datetime,
    service_id: int,
    start_time: datetime,
    resource_id: int | None = None,
    user_id: int | None = None,
) -> Booking:
    """Book a service for oneself, or as staff for somebody; without a resource named, on the first free one.

    End, price and blocked time are the service's own at this moment. Refuses a start that is over, a service that
    is inactive or that nothing can serve, and a time that is taken.
    """
    policy.require_future(start_time, by=by, now=now)
    if user_id not in {None, by.id} and not by.works_here:
        raise no.Forbidden
    rows = await session.fetch(
        BOOK, user_id=user_id or by.id, service_id=service_id, resource_id=resource_id, start_time=start_time, now=now
    )
    if not rows:
        raise await why_not(session, service_id, resource_id)
    return Booking(**rows[0])


async def why_not(session: Session, service_id: int, resource_id: int | None) -> no.Refusal:
    """Say why a service could not be booked at all."""
    service = await session.get(Service, service_id)
    if service is None:
        return no.UnknownService(what="service")
    if not service.is_active:
        return no.ServiceInactive()
    if resource_id is None:
        return no.NothingToServeIt()
    resource = await session.get(Resource, resource_id)
    return no.ResourceUnsuitable() if resource else no.UnknownResource(what="resource")


async def amend(
    session: Session,
    booking: Booking,
    *,
    by: Actor,
    now: datetime,
    start_time: datetime | None = None,
    resource_id: int | None = None,
    status: Status | None = None,
) -> Booking:
    """Move a booking, lead it to another status, or both. It keeps its length, its price and its identity."""
    policy.require_own(booking, by=by)
    if start_time or resource_id:
        booking = await reschedule(session, booking, by=by, now=now, start_time=start_time, resource_id=resource_id)
    if status and status != booking.status:
        booking = await LEADS[status](session, booking, by=by, now=now)
    return booking


async def reschedule(
    session: Session,
    booking: Booking,
    *,
    by: Actor,
    now: datetime,
    start_time: datetime | None = None,
    resource_id: int | None = None,
) -> Booking:
    """Move a booking to another time or resource, if that is free."""
    policy.require_own(booking, by=by)
    policy.require_open(booking, by=by)
    changes: dict[str, Any] = {}
    if start_time:
        policy.require_future(start_time, by=by, now=now)
        moved = start_time - booking.start_time
        for name in ("start_time", "end_time", "blocks_from", "blocks_until"):
            changes[name] = getattr(booking, name) + moved
        changes["lane"] = None  # Any free place will do there.
    if resource_id:
        if not await session.fetch(catalogue.SERVES, service_id=booking.service_id, resource_id=resource_id):
            raise await why_not(session, booking.service_id, resource_id)
        changes["resource_id"] = resource_id
    return await session.update(booking, **changes)


async def become(session: Session, booking: Booking, status: Status, *, by: Actor) -> Booking:
    """Lead a booking to a status, if the chart of its life and this person allow it."""
    refusal = policy.why_not(booking, status, by=by)
    if refusal:
        raise refusal
    return await session.update(booking, status=status)


async def confirm(session: Session, booking: Booking, *, by: Actor, now: datetime) -> Booking:
    """Promise the visit."""
    del now
    return await become(session, booking, Status.CONFIRMED, by=by)


async def cancel(session: Session, booking: Booking, *, by: Actor, now: datetime) -> Booking:
    """Free the slot."""
    del now
    return await become(session, booking, Status.CANCELLED, by=by)


async def complete(session: Session, booking: Booking, *, by: Actor, now: datetime) -> Booking:
    """Say that the visit took place."""
    del now
    return await become(session, booking, Status.COMPLETED, by=by)


async def mark_no_show(session: Session, booking: Booking, *, by: Actor, now: datetime) -> Booking:
    """Say that the customer did not come."""
    del now
    return await become(session, booking, Status.NO_SHOW, by=by)


async def reopen(session: Session, booking: Booking, *, by: Actor, now: datetime) -> Booking:
    """Let a booking wait for confirmation again; it needs its slot to be free."""
    del now
    return await become(session, booking, Status.PENDING, by=by)


# Which act leads to which status. Doors make their buttons and their handling of ``status`` from this.
LEADS: Mapping[Status, Callable[..., Awaitable[Booking]]] = {
    Status.PENDING: reopen,
    Status.CONFIRMED: confirm,
    Status.COMPLETED: complete,
    Status.CANCELLED: cancel,
    Status.NO_SHOW: mark_no_show,
}


async def remove(session: Session, booking: Booking, *, by: Actor, now: datetime) -> None:
    """Delete a booking, before it starts if a customer does; history keeps what it was."""
    policy.require_own(booking, by=by)
    policy.require_not_started(booking, by=by, now=now)
    await session.delete(booking)
