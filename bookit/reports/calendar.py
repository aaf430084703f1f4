"""The data of the calendar: the bookings and closures in a range, and the resources and services to choose from."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString

from sqlalchemy import text

from bookit.bookings.claims import RESOURCE_NAMES, takes
from bookit.bookings.visitors import CUSTOMER
from bookit.db.session import Reader
from bookit.db.statements import Row

MAX_BOOKINGS = 2_000  # at one time
# When each resource of a visit serves it, without setup and cleanup; NULL for a visit that takes one all the time.
PARTS: LiteralString = """(
  SELECT jsonb_agg(jsonb_build_object(
           'resource_id', c.resource_id, 'position', c.position, 'role', c.role, 'name', o.name,
           'start_time', c.since, 'end_time', c.until) ORDER BY c.position, c.part)
    FROM (
      SELECT DISTINCT position, part, role, resource_id, free_from_minutes,
             greatest(since, b.start_time) AS since, least(until, b.end_time) AS until
        FROM claims WHERE booking_id = b.id
    ) AS c JOIN resources o ON o.id = c.resource_id
   WHERE c.since < c.until
  HAVING bool_or(c.position > 1 OR c.free_from_minutes IS NOT NULL)
)"""
VISIT_COLUMNS: LiteralString = f"""
SELECT b.id, b.start_time, b.end_time, b.status, b.expires_at, b.version, b.user_id, b.service_id, b.resource_id,
       b.other_resource_ids, b.seats, {CUSTOMER} AS customer, s.title AS service, {RESOURCE_NAMES} AS resource,
       {PARTS} AS parts
"""
NAMES: LiteralString = "JOIN users u ON u.id = b.user_id JOIN services s ON s.id = b.service_id"
IS_IN_RANGE = """b.start_time < :until AND b.end_time > :since
   AND (:with_cancelled OR (b.status <> 'cancelled' AND NOT is_expired(b.expires_at, :now)))"""
IS_OF_RESOURCE: LiteralString = f"(CAST(:resource_id AS bigint) IS NULL OR {takes('CAST(:resource_id AS bigint)')})"
SELECT_IN_RANGE = text(f"""{VISIT_COLUMNS}
  FROM bookings_reaching(:since) b {NAMES}
 WHERE {IS_IN_RANGE}
   AND {IS_OF_RESOURCE}
   AND (CAST(:service_id AS bigint) IS NULL OR b.service_id = CAST(:service_id AS bigint))
 ORDER BY b.start_time, b.id
 LIMIT {MAX_BOOKINGS + 1}
""")
SELECT_BY_IDS = text(
    f"{VISIT_COLUMNS} FROM bookings b {NAMES} WHERE b.id = ANY(CAST(:ids AS bigint[])) ORDER BY b.start_time, b.id"
)
CLOSURES = text("""
SELECT x.id, x.resource_id, x.start_time, x.end_time, x.reason
  FROM calendar_exceptions x
 WHERE NOT x.is_open AND tstzrange(x.start_time, x.end_time) && tstzrange(:since, :until)
   AND (CAST(:resource_id AS bigint) IS NULL OR x.resource_id IS NULL OR x.resource_id = CAST(:resource_id AS bigint))
 ORDER BY x.start_time, x.id
 LIMIT 500
""")
INACTIVE_IN_RANGE = text(f"""
SELECT 'resources' AS kind, r.id, r.name
  FROM resources r
 WHERE NOT r.is_active AND EXISTS (
   SELECT FROM claims c JOIN bookings b ON b.id = c.booking_id
    WHERE c.resource_id = r.id AND c.start_time >= earliest_start(:since) AND c.start_time < :until AND {IS_IN_RANGE})
   AND (CAST(:resource_id AS bigint) IS NULL OR r.id = CAST(:resource_id AS bigint))
UNION ALL
SELECT 'services', s.id, s.title
  FROM services s
 WHERE NOT s.is_active AND EXISTS (
   SELECT FROM bookings_reaching(:since) b
    WHERE b.service_id = s.id AND {IS_IN_RANGE} AND {IS_OF_RESOURCE})
 ORDER BY 3, 2
""")
RESOURCES = text("SELECT id, name FROM resources WHERE is_active ORDER BY sort_key(name), id")
SERVICES = text("""
SELECT s.id, s.title, s.duration_minutes,
       array(SELECT sr.resource_id FROM service_resources sr WHERE sr.service_id = s.id ORDER BY 1) AS resource_ids,
       (SELECT coalesce(jsonb_object_agg(nr.resource_id, n.position), '{}')
          FROM service_needs n JOIN need_resources nr ON nr.need_id = n.id WHERE n.service_id = s.id) AS other_positions
  FROM services s WHERE s.is_active ORDER BY sort_key(s.title), s.id
""")


@dataclass(frozen=True)
class CalendarFilter:
    """Which bookings the calendar shows. None means all resources, or all services."""

    resource_id: int | None = None
    service_id: int | None = None
    with_cancelled: bool = False


async def bookings_in_range(
    reader: Reader, calendar_filter: CalendarFilter, *, since: datetime, until: datetime, now: datetime
) -> list[Row]:
    """Return the bookings that overlap a range, by start; at most ``MAX_BOOKINGS`` + 1, so that a caller sees a cut.

    A row has the columns that the calendar needs, and the names of ``customer``, ``service`` and ``resource``: of all
    resources, as in "Sofia and Room 1". ``parts`` are when each of them serves the visit, or None for one resource that
    serves all of it.
    """
    return await reader.fetch(SELECT_IN_RANGE, since=since, until=until, now=now, **vars(calendar_filter))


async def bookings_by_id(reader: Reader, booking_ids: Collection[int]) -> list[Row]:
    """Return the bookings with these ids that exist, with the columns of ``bookings_in_range``."""
    return await reader.fetch(SELECT_BY_IDS, ids=list(booking_ids)) if booking_ids else []


async def closures(reader: Reader, *, since: datetime, until: datetime, resource_id: int | None) -> list[Row]:
    """Return the closures that overlap a range, by start: of one resource and of all together, or every one if None."""
    return await reader.fetch(CLOSURES, since=since, until=until, resource_id=resource_id)


async def inactive_in_range(
    reader: Reader, *, since: datetime, until: datetime, now: datetime, with_cancelled: bool, resource_id: int | None
) -> dict[str, list[Row]]:
    """Return the inactive ``resources`` and ``services`` with visits in a range, by name: ``id`` and ``name``.

    The visits are those of one resource, or of all if it is None.
    """
    params = {"since": since, "until": until, "now": now, "with_cancelled": with_cancelled, "resource_id": resource_id}
    rows = await reader.fetch(INACTIVE_IN_RANGE, **params)
    return {
        kind: [{"id": row["id"], "name": row["name"]} for row in rows if row["kind"] == kind]
        for kind in ("resources", "services")
    }


async def resources(reader: Reader) -> list[Row]:
    """Return the active resources, by name."""
    return await reader.fetch(RESOURCES)


async def services(reader: Reader) -> list[Row]:
    """Return the active services, by title, each with the ``resource_ids`` that serve it.

    ``other_positions`` has the position that a resource can have beside them, by its id.
    """
    return await reader.fetch(SERVICES)
