"""Services and the resources that serve them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import ARRAY, BigInteger, any_, bindparam, delete
from sqlmodel import col, select

from bookit import refusals as no
from bookit.database import Session
from bookit.policy import Actor
from bookit.tables import Resource, Service, ServiceResource

SERVING = select(ServiceResource.resource_id).where(col(ServiceResource.service_id) == bindparam("service_id"))
UNLINK = delete(ServiceResource).where(
    col(ServiceResource.service_id) == bindparam("service_id"),
    col(ServiceResource.resource_id) == any_(bindparam("resource_ids", type_=ARRAY(BigInteger))),
)
ONLY_OF = select(Resource).where(
    col(Resource.id).in_(
        select(ServiceResource.resource_id).where(ServiceResource.service_id == bindparam("service_id"))
    ),
    col(Resource.id).not_in(
        select(ServiceResource.resource_id).where(ServiceResource.service_id != bindparam("service_id"))
    ),
)
SERVES = select(ServiceResource).where(
    ServiceResource.service_id == bindparam("service_id"), ServiceResource.resource_id == bindparam("resource_id")
)


async def add_service(
    session: Session, *, by: Actor, now: datetime, resource_ids: Sequence[int] | None = None, **facts: Any
) -> Service:
    """Offer a service, served by these resources; none given, by a new one of its own."""
    service = await session.insert(Service(**facts, created_at=now))
    if not resource_ids:
        own = await add_resource(session, by=by, now=now, name=service.title)
        resource_ids = [own.id]
    await serve_by(session, service, resource_ids)
    return service


async def change_service(
    session: Session,
    service: Service,
    *,
    by: Actor,
    now: datetime,
    resource_ids: Sequence[int] | None = None,
    **changes: Any,
) -> Service:
    """Change a service, or what serves it: none chosen, one of its own. Bookings made before stay as they are."""
    if resource_ids is not None:
        chosen = resource_ids or [(await own_resource(session, service, by=by, now=now)).id]
        if await serve_by(session, service, chosen):
            changes = {"title": service.title} | changes  # Written again, so that the service counts this change.
    return await session.update(service, **changes)


async def own_resource(session: Session, service: Service, *, by: Actor, now: datetime) -> Resource:
    """Give the resource that came with a service and serves no other, or else a new one."""
    for row in await session.fetch(ONLY_OF, service_id=service.id):
        if row["name"] == service.title:
            return Resource(**row)
    return await add_resource(session, by=by, now=now, name=service.title)


async def serve_by(session: Session, service: Service, resource_ids: Sequence[int]) -> bool:
    """Have a service served by these resources and no others; gives whether that is a change."""
    wanted = set(resource_ids)
    serving = {row["resource_id"] for row in await session.fetch(SERVING, service_id=service.id)}
    if serving - wanted:
        await session.fetch(UNLINK, service_id=service.id, resource_ids=sorted(serving - wanted))
    for resource_id in sorted(wanted - serving):
        await session.insert(ServiceResource(service_id=service.id, resource_id=resource_id))
    return wanted != serving


async def remove_service(session: Session, service: Service, *, by: Actor, now: datetime) -> None:
    """Take away a service nobody ever booked, and its own resource with it."""
    del by, now
    owned = await session.fetch(ONLY_OF, service_id=service.id)
    await session.delete(service)
    for row in owned:
        if row["name"] == service.title:
            await session.delete(Resource(**row))


async def add_resource(session: Session, *, by: Actor, now: datetime, **facts: Any) -> Resource:
    """Add what can be busy; without a time zone of its own it keeps the business's."""
    del by
    facts.setdefault("timezone", session.timezone)
    require_zone(facts)
    return await session.insert(Resource(**facts, created_at=now))


async def change_resource(
    session: Session, resource: Resource, *, by: Actor, now: datetime, **changes: Any
) -> Resource:
    """Change a resource. Fewer places than are sold leaves those bookings where they are."""
    del by, now
    require_zone(changes)
    return await session.update(resource, **changes)


async def remove_resource(session: Session, resource: Resource, *, by: Actor, now: datetime) -> None:
    """Take away a resource that was never booked."""
    del by, now
    await session.delete(resource)


def require_zone(facts: dict[str, Any]) -> None:
    """Refuse a time zone that the clocks of this program do not know."""
    try:
        ZoneInfo(facts.get("timezone", "UTC"))
    except (KeyError, ValueError, OSError):
        raise no.UnknownTimezone from None
