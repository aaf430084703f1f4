"""Services, the resources that serve them, and the opening hours of resources."""

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, NamedTuple

from sqlalchemy import ARRAY, BigInteger, ClauseElement, and_, any_, bindparam, delete, exists
from sqlmodel import SQLModel, col, select

from bookit import refusals as no
from bookit import timezones
from bookit.db import timezone_check
from bookit.db.session import Reader, Session
from bookit.db.statements import Row
from bookit.needs import Need, replace_needs
from bookit.policy.business import count_decimals
from bookit.policy.permissions import Actor
from bookit.schema.tables import Business, OpeningHours, Resource, Service, ServiceResource, from_row

SELECT_RESOURCE_IDS = select(ServiceResource.resource_id).where(
    col(ServiceResource.service_id) == bindparam("service_id")
)
DELETE_LINKS = delete(ServiceResource).where(
    col(ServiceResource.service_id) == bindparam("service_id"),
    col(ServiceResource.resource_id) == any_(bindparam("resource_ids", type_=ARRAY(BigInteger))),
)
SELECT_CURRENCY = select(Business.currency).with_for_update(read=True)
SELECT_EXCLUSIVE_RESOURCES = select(Resource).where(
    col(Resource.id).in_(
        select(ServiceResource.resource_id).where(ServiceResource.service_id == bindparam("service_id"))
    ),
    col(Resource.id).not_in(
        select(ServiceResource.resource_id).where(ServiceResource.service_id != bindparam("service_id"))
    ),
)
HAS_NO_HOURS = and_(
    col(Resource.is_active), ~exists().where(col(OpeningHours.resource_id) == col(Resource.id)).correlate(Resource)
)
BY_NAME = (col(Resource.name), col(Resource.id))
IN_ROW_IDS = any_(bindparam("row_ids", type_=ARRAY(BigInteger)))
WITHOUT_HOURS = select(Resource.id, Resource.name).where(HAS_NO_HOURS).order_by(*BY_NAME)
WITHOUT_HOURS_OF_RESOURCES: ClauseElement = select(col(Resource.id).label("row_id"), Resource.id, Resource.name).where(
    HAS_NO_HOURS, col(Resource.id) == IN_ROW_IDS
)
WITHOUT_HOURS_OF_SERVICES: ClauseElement = (
    select(col(ServiceResource.service_id).label("row_id"), Resource.id, Resource.name)
    .join_from(ServiceResource, Resource, col(Resource.id) == col(ServiceResource.resource_id))
    .where(HAS_NO_HOURS, col(ServiceResource.service_id) == IN_ROW_IDS)
    .order_by(*BY_NAME)
)
SELECT_OPENING_HOURS = (
    select(OpeningHours)
    .where(OpeningHours.resource_id == bindparam("resource_id"))
    .order_by(col(OpeningHours.weekday), col(OpeningHours.opens), col(OpeningHours.id))
)


async def add_service(
    session: Session,
    *,
    by: Actor,
    now: datetime,
    resource_ids: Sequence[int] | None = None,
    needs: Sequence[Need] | None = None,
    **values: Any,
) -> Service:
    """Create a service that these resources serve; without any, create a resource of its own.

    ``needs`` are what a visit needs beside that resource.
    """
    await require_price(session, values)
    service = await session.insert(Service(**values, created_at=now))
    if not resource_ids:
        own = await add_resource(session, by=by, now=now, name=service.title)
        resource_ids = [own.id]
    await set_resources(session, service, resource_ids)
    if needs:
        await replace_needs(session, service, needs)
    return service


async def change_service(
    session: Session,
    service: Service,
    *,
    by: Actor,
    now: datetime,
    resource_ids: Sequence[int] | None = None,
    needs: Sequence[Need] | None = None,
    **changes: Any,
) -> Service:
    """Change a service, the resources that serve it, or what else it needs. Bookings stay as they are.

    If no resource is left to serve it, it gets its own.
    """
    await require_price(session, changes)
    is_changed = False
    if resource_ids is not None:
        chosen = resource_ids or [(await get_or_create_own_resource(session, service, by=by, now=now)).id]
        is_changed = await set_resources(session, service, chosen)
    if needs is not None:
        is_changed |= await replace_needs(session, service, needs)
    if is_changed:
        changes = {"title": service.title} | changes  # Write the title again, so that the version goes up.
    return await session.update(service, **changes)


async def require_price(session: Session, values: Mapping[str, Any]) -> None:
    """Raise PriceNotWhole if a price has a fraction that the currency of the business has not.

    The business is locked until the transaction ends, so that its currency cannot become such a one meanwhile.
    """
    if not Decimal(values.get("price") or 0) % 1:
        return
    for row in await session.fetch(SELECT_CURRENCY):
        if not count_decimals(row["currency"]):
            raise no.PriceNotWhole(currency=row["currency"])


async def get_or_create_own_resource(session: Session, service: Service, *, by: Actor, now: datetime) -> Resource:
    """Return the resource that was created with a service and serves no other service, or create one."""
    for row in await session.fetch(SELECT_EXCLUSIVE_RESOURCES, service_id=service.id):
        if row["name"] == service.title:
            return from_row(Resource, row)
    return await add_resource(session, by=by, now=now, name=service.title)


async def set_resources(session: Session, service: Service, resource_ids: Sequence[int]) -> bool:
    """Make these resources, and no others, serve a service. Return whether that changed anything."""
    new = set(resource_ids)
    old = {row["resource_id"] for row in await session.fetch(SELECT_RESOURCE_IDS, service_id=service.id)}
    if old - new:
        await session.fetch(DELETE_LINKS, service_id=service.id, resource_ids=sorted(old - new))
    for resource_id in sorted(new - old):
        await session.insert(ServiceResource(service_id=service.id, resource_id=resource_id))
    return new != old


async def remove_service(session: Session, service: Service, *, by: Actor, now: datetime) -> None:
    """Delete a service and its own resource. Raise StillInUse if it was ever booked."""
    del by, now
    owned = await session.fetch(SELECT_EXCLUSIVE_RESOURCES, service_id=service.id)
    await session.delete(service)
    for row in owned:
        if row["name"] == service.title:
            await session.delete(from_row(Resource, row))


async def add_resource(session: Session, *, by: Actor, now: datetime, **values: Any) -> Resource:
    """Create a resource. Without ``timezone`` it has the time zone of the business."""
    del by
    values.setdefault("timezone", session.timezone)
    await require_timezone(session, values, now=now)
    return await session.insert(Resource(**values, created_at=now))


async def change_resource(
    session: Session, resource: Resource, *, by: Actor, now: datetime, **changes: Any
) -> Resource:
    """Change a resource. With fewer seats than are booked, the bookings stay as they are."""
    del by
    await require_timezone(session, changes, now=now)
    return await session.update(resource, **changes)


async def remove_resource(session: Session, resource: Resource, *, by: Actor, now: datetime) -> None:
    """Delete a resource. Raise StillInUse if it was ever booked."""
    del by, now
    await session.delete(resource)


class Opening(NamedTuple):
    """One weekly opening, by the wall clock of the resource. If not after ``opens``, ``closes`` is on the next day."""

    weekday: int
    opens: time
    closes: time
    valid_from: date | None = None
    valid_until: date | None = None


def opening_from_row(row: Mapping[str, Any]) -> Opening:
    return Opening(*(row[name] for name in Opening._fields))


async def fetch_without_hours(reader: Reader) -> list[Row]:
    """Return id and name of the active resources without weekly hours, which are always open."""
    return await reader.fetch(WITHOUT_HOURS)


async def fetch_missing_hours(reader: Reader, table: type[SQLModel], row_ids: Sequence[int]) -> list[Row]:
    """Return those without weekly hours among these resources, or among the resources of these services.

    ``row_id`` is the resource or service of ``row_ids``; ``id`` and ``name`` are of the resource.
    """
    statement = WITHOUT_HOURS_OF_SERVICES if table is Service else WITHOUT_HOURS_OF_RESOURCES
    return await reader.fetch(statement, row_ids=list(row_ids))


async def get_opening_hours(reader: Reader, resource_id: int) -> list[Row]:
    """Return the weekly hours of a resource, by weekday and opening time."""
    return await reader.fetch(SELECT_OPENING_HOURS, resource_id=resource_id)


def version_tag(hours: Sequence[Mapping[str, Any]]) -> str:
    """Return a tag that changes with any change of these hours."""
    return " ".join(f"{row['id']}.{row['version']}" for row in hours)


async def replace_opening_hours(
    session: Session,
    resource: Resource,
    openings: Collection[Opening],
    *,
    by: Actor,
    now: datetime,
    expected_tag: str | None = None,
) -> None:
    """Replace the weekly hours of a resource by these. Without any, the resource is always open.

    Rows that stay the same are not written. Raise Stale if ``expected_tag`` is not the tag of the current hours. The
    caller has locked the resource.
    """
    del by, now
    rows = await get_opening_hours(session, resource.id)
    if expected_tag is not None and expected_tag != version_tag(rows):
        raise no.Stale
    unchanged: set[Opening] = set()
    for row in rows:
        opening = opening_from_row(row)
        if opening in openings and opening not in unchanged:
            unchanged.add(opening)
        else:
            await session.delete(from_row(OpeningHours, row))
    for opening in sorted(set(openings) - unchanged, key=lambda opening: opening[:3]):
        await session.insert(OpeningHours(resource_id=resource.id, **opening._asdict()))


async def require_timezone(session: Session, values: Mapping[str, Any], *, now: datetime) -> None:
    """Raise UnknownTimezone or TimezonesDiffer unless BookIt and its database have one clock for this time zone."""
    name = values.get("timezone", session.timezone)
    try:
        timezones.read_zone(name)
    except ValueError:
        raise no.UnknownTimezone from None
    if name != session.timezone and await timezone_check.find_difference(session, [name], now=now):
        raise no.TimezonesDiffer
