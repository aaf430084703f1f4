"""What a booking takes: the resources in its positions, and what people read of them.

A visit has position 1, whose resource is the booking's own, and further positions, one for each need of its service.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, LiteralString

from sqlalchemy import text

from bookit import refusals as no
from bookit.db.session import Reader
from bookit.db.statements import Row
from bookit.schema.tables import MAX_ROLES, Booking

# The names of the resources of booking ``b`` in the order of their positions: "Sofia and Room 1".
RESOURCE_NAMES: LiteralString = """CASE WHEN b.other_resource_ids = '{}' THEN (
  SELECT r.name FROM resources r WHERE r.id = b.resource_id
) ELSE (
  SELECT string_agg(named.name, CASE WHEN named.is_last THEN ' and ' ELSE ', ' END ORDER BY named.number)
    FROM (
      SELECT r.name, taken.number, taken.number = 1 + cardinality(b.other_resource_ids) AS is_last
        FROM unnest(b.resource_id || b.other_resource_ids) WITH ORDINALITY AS taken (id, number)
        JOIN resources r ON r.id = taken.id
    ) AS named
) END"""

NAMES_OF_BOOKING = text(f"SELECT {RESOURCE_NAMES} AS names FROM bookings b WHERE b.id = :id")


async def fetch_resource_names(reader: Reader, booking_id: int) -> str:
    """Return the names of the resources of a booking, as in "Sofia and Room 1"."""
    rows = await reader.fetch(NAMES_OF_BOOKING, id=booking_id)
    return str(rows[0]["names"])


def takes(resource: LiteralString) -> LiteralString:
    """Return the condition that booking ``b`` takes this resource, in any position."""
    return f"(b.resource_id = {resource} OR {resource} = ANY (b.other_resource_ids))"


def resources_of(booking: Booking) -> dict[int, int]:
    """Return the id of the resource in each position of a booking."""
    return by_position(booking.resource_id, booking.other_resource_ids)


def by_position(resource_id: int, other_ids: Sequence[int]) -> dict[int, int]:
    """Return the id of the resource in each position, of the first one and of the others in their order."""
    return dict(enumerate([resource_id, *other_ids], start=1))


def resources_of_slot(slot: Mapping[str, Any]) -> dict[int, int]:
    """Return the id of the resource in each position of a free slot: the first combination of it."""
    return {1: slot["ids"][0]} | {other["position"]: other["resource_id"] for other in first_others(slot)}


def names_of_slot(slot: Mapping[str, Any]) -> str:
    """Return the names of these resources, as in "Sofia and Room 1"."""
    return join_names([slot["names"][0], *(other["name"] for other in first_others(slot))])


def first_others(slot: Mapping[str, Any]) -> Sequence[Row]:
    return (slot.get("others") or [()])[0] or ()


def join_names(names: Sequence[str]) -> str:
    """Return names as people list them: "Sofia", "Sofia and Room 1", "Sofia, Room 1 and Van"."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def other_ids(resources: Mapping[int, int]) -> list[int]:
    """Return the resources of the positions after the first, in their order."""
    return [resources[position] for position in sorted(resources) if position > 1]


def wanted_resources(resource_id: int | None, resources: Mapping[int, int] | None) -> dict[int, int]:
    """Return the resources that a request names, by position. Raise OneRoleEach if one is named twice.

    Raise ResourceUnsuitable for a position that no visit has.
    """
    wanted = ({1: resource_id} if resource_id else {}) | dict(resources or {})
    require_different(wanted.values())
    if any(not 1 <= position <= MAX_ROLES for position in wanted):
        raise no.ResourceUnsuitable
    return wanted


def require_different(resource_ids: Collection[int]) -> None:
    """Raise OneRoleEach if a resource is in two positions."""
    if len(set(resource_ids)) < len(resource_ids):
        raise no.OneRoleEach


def first_combination(candidates: Mapping[int, Sequence[int]], roles: int) -> dict[int, int] | None:
    """Return a different resource for each position from 1 to ``roles``, or None if there is no such combination.

    ``candidates`` has the resources that each position can get; the first ones are preferred, position by position.
    """

    def fill(chosen: dict[int, int]) -> dict[int, int] | None:
        position = len(chosen) + 1
        if position > roles:
            return chosen
        for resource_id in candidates.get(position, ()):
            if resource_id not in chosen.values() and (filled := fill(chosen | {position: resource_id})):
                return filled
        return None

    return fill({})
