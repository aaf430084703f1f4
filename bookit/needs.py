"""What a visit needs beside its first resource: for each position from 2 on, a role and who or what can fill it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import ARRAY, BigInteger, any_, bindparam, delete, func, text
from sqlmodel import col, select

from bookit import refusals as no
from bookit.db.session import Reader, Session
from bookit.db.statements import Row
from bookit.schema.tables import MAX_ROLES, NeedResource, ResourceRole, Service, ServiceNeed, from_row

FIRST_POSITION = 2  # of a need: the resource of the booking itself has position 1
RESOURCE_IDS = func.array(
    select(NeedResource.resource_id)
    .where(col(NeedResource.need_id) == col(ServiceNeed.id))
    .order_by(col(NeedResource.resource_id))
    .scalar_subquery(),
    type_=ARRAY(BigInteger),
).label("resource_ids")
SELECT_NEEDS: Any = (
    select(ServiceNeed, RESOURCE_IDS)
    .where(col(ServiceNeed.service_id) == bindparam("service_id"))
    .order_by(col(ServiceNeed.position))
)
DELETE_RESOURCES = delete(NeedResource).where(
    col(NeedResource.need_id) == bindparam("need_id"),
    col(NeedResource.resource_id) == any_(bindparam("resource_ids", type_=ARRAY(BigInteger))),
)
SELECT_ROLES_OF_SERVICE = text("""
SELECT 1 AS position, role FROM services WHERE id = :service_id
UNION ALL
SELECT position, role FROM service_needs WHERE service_id = :service_id
ORDER BY position
""")
SELECT_ROLES_OF_BOOKING = text("""
SELECT DISTINCT position, role FROM claims WHERE booking_id = :booking_id ORDER BY position
""")
SELECT_ROLES_BY_SERVICE = text("""
SELECT s.id, jsonb_object_agg(n.position, n.role) || jsonb_build_object('1', s.role) AS roles
  FROM services s JOIN service_needs n ON n.service_id = s.id WHERE s.is_active GROUP BY s.id, s.role ORDER BY s.id
""")
SELECT_NEEDS_WITH_NAMES = text("""
SELECT n.position, n.role, n.seats, n.free_from_minutes, n.free_until_minutes,
       ARRAY(SELECT r.name FROM need_resources o JOIN resources r ON r.id = o.resource_id
              WHERE o.need_id = n.id ORDER BY sort_key(r.name), r.id) AS names
  FROM service_needs n WHERE n.service_id = :service_id ORDER BY n.position
""")


@dataclass(frozen=True)
class Need:
    """Seats on one of some resources, in a role. ``free_from_minutes`` and ``free_until_minutes`` are its pause."""

    resource_ids: tuple[int, ...]
    role: ResourceRole = ResourceRole.WITH
    seats: int = 1
    free_from_minutes: int | None = None
    free_until_minutes: int | None = None

    @property
    def columns(self) -> dict[str, Any]:
        """The columns of the row, without its position."""
        return {name: value for name, value in asdict(self).items() if name != "resource_ids"}


async def get_needs(reader: Reader, service_id: int) -> list[Need]:
    """Return the needs of a service in the order of their positions."""
    rows = await reader.fetch(SELECT_NEEDS, service_id=service_id)
    values = [{name: row[name] for name in Need.__dataclass_fields__} for row in rows]
    return [Need(**one | {"resource_ids": tuple(one["resource_ids"])}) for one in values]


async def get_needs_with_names(reader: Reader, service_id: int) -> list[Row]:
    """Return the needs of a service as rows, each with the ``names`` of the resources that can fill it."""
    return await reader.fetch(SELECT_NEEDS_WITH_NAMES, service_id=service_id)


async def replace_needs(session: Session, service: Service, needs: Sequence[Need]) -> bool:
    """Replace the needs of a service by these. Return whether that changed anything. Bookings keep what they take.

    Raise TooManyNeeds, NeedWithoutResource or NeedPauseEndsBeforeStart. The caller has locked the service.
    """
    if len(needs) > MAX_ROLES - 1:
        raise no.TooManyNeeds
    if not all(need.resource_ids for need in needs):
        raise no.NeedWithoutResource
    require_pauses(needs)
    rows = await session.fetch(SELECT_NEEDS, service_id=service.id)
    is_changed = len(rows) != len(needs)
    for row in rows[len(needs) :]:
        await session.delete(read_need(row)[0])
    for position, need in enumerate(needs, start=FIRST_POSITION):
        index = position - FIRST_POSITION
        old_ids: Sequence[int] = ()
        if index < len(rows):
            stored, old_ids = read_need(rows[index])
            changes = {name: value for name, value in need.columns.items() if getattr(stored, name) != value}
            if changes:
                await session.update(stored, **changes)
            is_changed |= bool(changes)
        else:
            stored = await session.insert(ServiceNeed(service_id=service.id, position=position, **need.columns))
        is_changed |= await replace_resources(session, stored.id, old_ids, need.resource_ids)
    return is_changed


def read_need(row: Row) -> tuple[ServiceNeed, Sequence[int]]:
    """Return a row of ``SELECT_NEEDS`` as a need, and the ids of the resources that can fill it."""
    return from_row(ServiceNeed, {name: value for name, value in row.items() if name != "resource_ids"}), row[
        "resource_ids"
    ]


def require_pauses(needs: Sequence[Need]) -> None:
    """Raise NeedPauseEndsBeforeStart if a pause has no time or is the whole visit."""
    for need in needs:
        since, until = need.free_from_minutes, need.free_until_minutes
        if since == 0 if until is None else since is None or until <= since:
            raise no.NeedPauseEndsBeforeStart


async def replace_resources(session: Session, need_id: int, old_ids: Sequence[int], new_ids: Sequence[int]) -> bool:
    """Make these resources, and no others, able to fill a need. Return whether that changed anything."""
    old, new = set(old_ids), set(new_ids)
    if old - new:
        await session.fetch(DELETE_RESOURCES, need_id=need_id, resource_ids=sorted(old - new))
    for resource_id in sorted(new - old):
        await session.insert(NeedResource(need_id=need_id, resource_id=resource_id))
    return new != old


async def get_roles(reader: Reader, *, service_id: int | None = None, booking_id: int | None = None) -> dict[int, str]:
    """Return the role of each position of a service, or those that a booking has kept."""
    if booking_id is not None:
        rows = await reader.fetch(SELECT_ROLES_OF_BOOKING, booking_id=booking_id)
    else:
        rows = await reader.fetch(SELECT_ROLES_OF_SERVICE, service_id=service_id)
    return {row["position"]: row["role"] for row in rows}


async def get_roles_by_service(reader: Reader) -> dict[int, dict[int, str]]:
    """Return the role of each position of the active services that have needs, by the id of the service."""
    rows = await reader.fetch(SELECT_ROLES_BY_SERVICE)
    return {row["id"]: {int(position): role for position, role in sorted(row["roles"].items())} for row in rows}


def assign_positions(roles: Mapping[int, str], wanted: Sequence[tuple[str | None, int]]) -> dict[int, int]:
    """Return which position each of these resources fills: the first one that is left in its role.

    A resource without a role takes the first position that is left. Raise RoleNotNeeded if none is.
    """
    left, assigned = dict(roles), {}
    for role, resource_id in wanted:
        position = next((position for position, needed in left.items() if role in {None, needed}), None)
        if position is None:
            raise no.RoleNotNeeded
        del left[position]
        assigned[position] = resource_id
    return assigned
