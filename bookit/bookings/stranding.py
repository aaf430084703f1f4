"""Which visits to come a change would strand: they would no longer fit hours, closures, seats, services or resources.

A change of the business never touches its bookings. So each such change is compared: which visits fit before it, and
no longer after it. A visit that did not fit before, because staff overrode a rule, is not named again for that rule.
"""

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, LiteralString

from sqlalchemy import text
from sqlmodel import SQLModel

from bookit import refusals as no
from bookit.bookings.availability_sql import EMPTY_RULE, NAMED_CANDIDATE, is_in_hours, is_not_closed, plans_cte
from bookit.bookings.claims import RESOURCE_NAMES
from bookit.bookings.visitors import CUSTOMER
from bookit.db.session import Session
from bookit.policy.limits import CALENDAR_END, CALENDAR_START
from bookit.schema.tables import CalendarException, OpeningHours, Resource, Service

MAX_NAMED = 100  # stranded visits that a refusal has in full
CLOCK_DIFFERENCE = timedelta(hours=26)  # between two clocks: each resource has the times of a closure by its own
MARGIN = timedelta(days=4)  # around the visits, so that each lies in hours that are computed
# A visit to come that blocks its seat.
IS_TO_COME = "b.start_time > :now AND blocks_at(b.status, b.expires_at, :now)"


def extent_sql(condition: LiteralString) -> LiteralString:
    """Return the statement for the resources and the whole time of the visits to come in a range."""
    return f"""
SELECT array_agg(DISTINCT taken.id) AS resource_ids, min(b.start_time) AS since, max(b.end_time) AS until
  FROM bookings_reaching(:since) b CROSS JOIN LATERAL unnest(b.resource_id || b.other_resource_ids) AS taken (id)
 WHERE {IS_TO_COME} AND b.start_time < :until AND b.end_time > :since
   AND {condition}"""


EXTENT_OF_ALL = text(extent_sql("true"))
EXTENT_OF_SERVICE = text(extent_sql("b.service_id = :service_id"))
# By claims, which have an index by resource.
EXTENT_OF_SOME = text(f"""
SELECT array_agg(DISTINCT k.resource_id) AS resource_ids, min(b.start_time) AS since, max(b.end_time) AS until
  FROM claims k JOIN bookings b ON b.id = k.booking_id
 WHERE k.resource_id = ANY(CAST(:resource_ids AS bigint[])) AND k.is_blocking
   AND k.start_time >= earliest_start(:since) AND k.start_time < :until
   AND {IS_TO_COME} AND b.end_time > :since
""")

# claim: what visits take of these resources in the range, also one that has begun: it takes a seat.
#   id                                  of the booking
#   resource_id, since, until, start_time, end_time, binds_hours_at_ends
# visit: a visit of one of these resources.
#   id, resource_id, start_time, binds_hours_at_ends
#   served                              when the resource serves it: a multirange, without a pause, setup and cleanup
# edge: when a visit begins or ends to block a seat, with how many seats are blocked from then on.
#   resource_id, id, step               step is 1 at the beginning and -1 at the end
#   blocked
# misfit: a visit, one of its resources, and a rule that it does not fit there.
#   id, resource_id, rule
MISFITS_OF_RESOURCES = text(f"""
WITH {plans_cte(EMPTY_RULE, NAMED_CANDIDATE)}, claim AS MATERIALIZED (
  SELECT b.id, k.resource_id, k.since, k.until, b.start_time, b.end_time, s.binds_hours_at_ends
    FROM claims k JOIN bookings b ON b.id = k.booking_id JOIN services s ON s.id = b.service_id
   WHERE k.resource_id = ANY(CAST(:resource_ids AS bigint[])) AND k.is_blocking
     AND k.start_time >= earliest_start(greatest(:since, :now)) AND k.start_time < :until AND k.blocks_until > :now
     AND blocks_at(b.status, b.expires_at, :now)
), visit AS MATERIALIZED (
  SELECT c.id, c.resource_id, c.start_time, c.binds_hours_at_ends,
         range_agg(tstzrange(least(greatest(c.since, c.start_time), c.end_time), least(c.until, c.end_time))) AS served
    FROM claim c GROUP BY c.id, c.resource_id, c.start_time, c.binds_hours_at_ends
), edge AS (
  SELECT e.*, sum(e.step) OVER (PARTITION BY e.resource_id ORDER BY e.at, e.step, e.id) AS blocked
    FROM (SELECT resource_id, id, 1 AS step, since AS at FROM claim WHERE since < until
          UNION ALL SELECT resource_id, id, -1, until FROM claim WHERE since < until) AS e
), misfit AS (
  SELECT v.id, v.resource_id, 'hours' AS rule
    FROM visit v JOIN plan p ON p.id = v.resource_id
   WHERE NOT {is_in_hours("v.binds_hours_at_ends", "v.served")}
  UNION ALL
  SELECT v.id, v.resource_id, 'closure'
    FROM visit v JOIN plan p ON p.id = v.resource_id
   WHERE NOT {is_not_closed("v.binds_hours_at_ends", "v.served")}
  UNION ALL
  SELECT v.id, r.id, 'inactive' FROM visit v JOIN resources r ON r.id = v.resource_id WHERE NOT r.is_active
  UNION ALL
  SELECT e.id, r.id, 'seats'
    FROM edge e JOIN resources r ON r.id = e.resource_id WHERE e.step = 1 AND e.blocked > r.capacity
)
SELECT m.id, m.resource_id, m.rule FROM misfit m JOIN visit v USING (id, resource_id) WHERE v.start_time > :now
""")
MISFITS_OF_SERVICE = text(f"""
SELECT b.id, b.resource_id, 'inactive' AS rule
  FROM bookings b JOIN services s ON s.id = b.service_id
 WHERE b.service_id = :service_id AND {IS_TO_COME} AND NOT s.is_active
UNION ALL
SELECT b.id, b.resource_id, 'not offered'
  FROM bookings b LEFT JOIN service_resources sr USING (service_id, resource_id)
 WHERE b.service_id = :service_id AND {IS_TO_COME} AND sr.service_id IS NULL
UNION ALL
SELECT b.id, taken.id, 'not offered'
  FROM bookings b CROSS JOIN LATERAL unnest(b.other_resource_ids) WITH ORDINALITY AS taken (id, number)
 WHERE b.service_id = :service_id AND {IS_TO_COME} AND NOT EXISTS (
   SELECT FROM service_needs n JOIN need_resources nr ON nr.need_id = n.id
    WHERE (n.service_id, n.position, nr.resource_id) = (b.service_id, taken.number + 1, taken.id))
""")
# A booking that is being written is counted before and after the change.
WAIT_FOR_BOOKINGS = text("""
SELECT pg_advisory_xact_lock(id) FROM (SELECT unnest(CAST(:resource_ids AS bigint[])) AS id ORDER BY 1) AS in_order
""")
VISITS = text(f"""
SELECT b.id, b.start_time, b.end_time, b.status, b.service_id, b.resource_id,
       {CUSTOMER} AS customer, s.title AS service, {RESOURCE_NAMES} AS resource
  FROM bookings b JOIN users u ON u.id = b.user_id JOIN services s ON s.id = b.service_id
 WHERE b.id = ANY(CAST(:ids AS bigint[])) ORDER BY b.start_time, b.id LIMIT :limit
""")

Values = Mapping[str, Any]
Accepted = bool | str  # True accepts whatever is stranded; a tag accepts exactly the visits that a refusal named
Misfit = tuple[int, int, str]  # the ids of a booking and of one of its resources, and the rule


@dataclass(frozen=True)
class Scope:
    """What a change is about: a service, or resources in a range of time. ``resource_ids`` None is all of them.

    With ``is_about_hours`` a service changes how opening hours bind its visits, and with ``is_about_seats`` a resource
    changes its capacity.
    """

    service_id: int | None = None
    is_about_hours: bool = False
    is_about_seats: bool = False
    resource_ids: Sequence[int] | None = None
    since: datetime = CALENDAR_START
    until: datetime = CALENDAR_END


# The columns whose change can strand visits, beside those of hours and exceptions, where each column can.
STRANDING_COLUMNS: Mapping[type[SQLModel], frozenset[str]] = {
    Resource: frozenset({"is_active", "capacity", "timezone"}),
    Service: frozenset({"is_active", "resource_ids", "needs", "binds_hours_at_ends"}),
}


def scope_of_change(table: type[SQLModel], before: Values | None, after: Values | None) -> Scope | None:
    """Return which visits a change can strand, or None.

    ``before`` is the row and ``after`` what changes in it; a new row has no ``before``, a removed one no ``after``.
    """
    if table in STRANDING_COLUMNS:
        if not (before and after and after.keys() & STRANDING_COLUMNS[table]):
            return None
        if table is Service:
            return Scope(service_id=before["id"], is_about_hours="binds_hours_at_ends" in after)
        return Scope(resource_ids=[before["id"]], is_about_seats="capacity" in after)
    if table not in {OpeningHours, CalendarException}:
        return None
    versions = [version for version in (before, {**(before or {}), **after} if after else None) if version]
    resource_ids = {int(version["resource_id"]) for version in versions if version.get("resource_id")}
    if table is OpeningHours:
        return Scope(resource_ids=sorted(resource_ids))
    moments = [version[name] for version in versions for name in ("start_time", "end_time") if version.get(name)]
    return Scope(
        resource_ids=sorted(resource_ids) if all(version.get("resource_id") for version in versions) else None,
        since=max(min(moments, default=CALENDAR_START), CALENDAR_START) - CLOCK_DIFFERENCE,
        until=min(max(moments, default=CALENDAR_END), CALENDAR_END) + CLOCK_DIFFERENCE,
    )


@asynccontextmanager
async def strands_none(
    session: Session, scope: Scope | None, *, now: datetime, accepted: Accepted
) -> AsyncIterator[None]:
    """Run a change. Raise StrandsVisits if visits to come fit before it and not after it, unless that is accepted.

    The transaction must then be rolled back. Without a ``scope`` the change strands nothing.
    """
    extent = await find_extent(session, scope, now=now) if scope and accepted is not True else None
    if extent is None:
        yield
        return
    before = await find_misfits(session, extent, now=now)
    yield
    stranded = sorted({booking_id for booking_id, *_ in await find_misfits(session, extent, now=now) - before})
    tag = make_tag(stranded)
    if stranded and accepted != tag:
        visits = await session.fetch(VISITS, ids=stranded, limit=MAX_NAMED)
        raise no.StrandsVisits(count=len(stranded), visits=visits, tag=tag)


async def find_extent(session: Session, scope: Scope, *, now: datetime) -> Scope | None:
    """Return a scope cut to its visits to come, or None if it has none."""
    values: dict[str, Any] = {"since": max(scope.since, now), "until": scope.until, "now": now}
    if scope.service_id is not None:
        if not scope.is_about_hours:
            return scope
        rows = await session.fetch(EXTENT_OF_SERVICE, **values, service_id=scope.service_id)
    elif scope.resource_ids is None:
        rows = await session.fetch(EXTENT_OF_ALL, **values)
    else:
        if scope.is_about_seats:
            await session.fetch(WAIT_FOR_BOOKINGS, resource_ids=list(scope.resource_ids))
        rows = await session.fetch(EXTENT_OF_SOME, **values, resource_ids=list(scope.resource_ids))
    extent = rows[0]
    if not extent["resource_ids"]:
        return None
    since, until = extent["since"] - MARGIN, extent["until"] + MARGIN
    return replace(scope, resource_ids=extent["resource_ids"], since=since, until=until)


async def find_misfits(session: Session, scope: Scope, *, now: datetime) -> set[Misfit]:
    """Return each visit to come in a scope with each rule that it does not fit, as the rows are now."""
    misfits: set[Misfit] = set()
    if scope.service_id is not None:
        rows = await session.fetch(MISFITS_OF_SERVICE, service_id=scope.service_id, now=now)
        misfits |= {(row["id"], row["resource_id"], row["rule"]) for row in rows}
    if scope.resource_ids is not None:
        rows = await session.fetch(
            MISFITS_OF_RESOURCES, resource_ids=scope.resource_ids, since=scope.since, until=scope.until, now=now
        )
        misfits |= {(row["id"], row["resource_id"], row["rule"]) for row in rows}
    return misfits


def make_tag(booking_ids: Sequence[int]) -> str:
    """Return a short text that stands for exactly these bookings."""
    return hashlib.sha256(" ".join(map(str, booking_ids)).encode()).hexdigest()[:16]
