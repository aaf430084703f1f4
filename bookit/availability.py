"""When a service can be had, and if not, why not: one query over the opening hours, exceptions and bookings.

Half-open everywhere: a visit is [start, end), and back to back is fine. What is worked out:

- A resource is open in its weekly hours, by the clock on its own wall; with no weekly hours at all, always.
- One-off openings and closures for everybody come over that, and a resource's own come over those. Where two of the
  same kind meet, the closure counts.
- The visit itself must lie in open time; setup and cleanup need only be free of other bookings.
- Starts are offered from each opening on, every ``slot_step_minutes``, or else as long as the service lasts; from
  midnight on where a resource is always open. A service with a step is booked at these starts and no others.

Wall-clock times are read as PostgreSQL does: in a gap by the clock before it, and where an hour comes twice, as the
second. A day that a zone skipped (Apia had no 30 December 2011) has no hours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from sqlalchemy import ClauseElement, text

from bookit import policy
from bookit import refusals as no
from bookit.database import Row
from bookit.policy import Actor

# For a service, from :since until :until, and, with a booking, as long as that one lasts and as if it were not there.
# A rule is what the service asks for; a candidate, who can serve it; a span, one opening of a candidate by itself, in
# which starts are counted; a plan, all of a candidate's open time.
PLANS = """
WITH rule AS MATERIALIZED (
  SELECT s.id, s.price, s.slot_step_minutes IS NOT NULL AS keeps_step,
         coalesce(b.end_time - b.start_time, make_interval(mins => s.duration_minutes)) AS lasts,
         coalesce(b.start_time - b.blocks_from, make_interval(mins => s.setup_minutes)) AS setup,
         coalesce(b.blocks_until - b.end_time, make_interval(mins => s.cleanup_minutes)) AS cleanup,
         make_interval(mins => coalesce(s.slot_step_minutes, s.duration_minutes)) AS step,
         :now + make_interval(mins => s.min_notice_minutes) AS earliest,
         :now + make_interval(days => s.horizon_days) AS latest
    FROM services s LEFT JOIN bookings b ON b.id = CAST(:booking_id AS bigint)
   WHERE s.id = CAST(:service_id AS bigint) AND s.is_active
), candidate AS MATERIALIZED (
  SELECT r.id, r.name, r.capacity, r.timezone,
         EXISTS (SELECT FROM opening_hours h WHERE h.resource_id = r.id) AS keeps_hours
    FROM service_resources sr JOIN resources r ON r.id = sr.resource_id
   WHERE sr.service_id = CAST(:service_id AS bigint) AND r.is_active
     AND (CAST(:resource_id AS bigint) IS NULL OR r.id = CAST(:resource_id AS bigint))
), exception AS MATERIALIZED (
  SELECT x.resource_id, x.is_open, x.start_time, x.end_time
    FROM rule JOIN calendar_exceptions x
      ON tstzrange(x.start_time, x.end_time) && tstzrange(:since, :until + rule.lasts, '[]')
), span AS MATERIALIZED (
  SELECT c.id, opening.since, opening.until
    FROM rule CROSS JOIN candidate c
   CROSS JOIN LATERAL generate_series(
     date_trunc('day', :since AT TIME ZONE c.timezone) - interval '2 days',
     (:until + rule.lasts) AT TIME ZONE c.timezone, interval '1 day') AS day
   CROSS JOIN LATERAL (
     SELECT (day + h.opens) AT TIME ZONE c.timezone AS since,
            (day + h.closes + CASE WHEN h.closes > h.opens THEN interval '0' ELSE interval '1 day' END)
              AT TIME ZONE c.timezone AS until
       FROM opening_hours h
      WHERE h.resource_id = c.id AND h.weekday = extract(isodow FROM day)
        AND day >= coalesce(h.valid_from, '-infinity') AND day <= coalesce(h.valid_until, 'infinity')
     UNION ALL
     SELECT day AT TIME ZONE c.timezone, (day + interval '1 day') AT TIME ZONE c.timezone WHERE NOT c.keeps_hours
   ) AS opening
   WHERE opening.since < opening.until
     AND ((day + interval '12 hours') AT TIME ZONE c.timezone) AT TIME ZONE c.timezone = day + interval '12 hours'
  UNION ALL
  SELECT c.id, x.start_time, x.end_time
    FROM candidate c JOIN exception x ON x.is_open AND (x.resource_id = c.id OR x.resource_id IS NULL)
), plan AS MATERIALIZED (
  SELECT c.*, opening.hours, opening.hours - closed.times AS open, closed.times AS closed
    FROM candidate c
   CROSS JOIN LATERAL (
     SELECT coalesce(range_agg(tstzrange(s.since, s.until)), '{}') AS hours FROM span s WHERE s.id = c.id
   ) AS opening
   CROSS JOIN LATERAL (
     SELECT coalesce(range_agg(tstzrange(x.start_time, x.end_time)) FILTER (WHERE x.resource_id IS NULL
                     AND NOT x.is_open), '{}')
            - coalesce(range_agg(tstzrange(x.start_time, x.end_time)) FILTER (WHERE x.resource_id = c.id
                       AND x.is_open), '{}')
            + coalesce(range_agg(tstzrange(x.start_time, x.end_time)) FILTER (WHERE x.resource_id = c.id
                       AND NOT x.is_open), '{}') AS times
       FROM exception x
   ) AS closed
)"""
# What is taken, place by place; a hold that has run out takes nothing.
BUSY = """, busy AS MATERIALIZED (
  SELECT c.id, taken.lane, taken.times
    FROM rule CROSS JOIN candidate c
   CROSS JOIN LATERAL (
     SELECT b.lane, range_agg(tstzrange(b.blocks_from, b.blocks_until)) AS times
       FROM bookings b
      WHERE b.resource_id = c.id AND b.lane <= c.capacity AND b.status IN ('pending', 'confirmed')
        AND tstzrange(b.blocks_from, b.blocks_until) && tstzrange(
              :since - rule.setup, :until + rule.lasts + rule.cleanup, '[]')
        AND (b.expires_at IS NULL OR b.expires_at > :now)
        AND b.id IS DISTINCT FROM CAST(:booking_id AS bigint)
      GROUP BY b.lane
   ) AS taken
)"""
SLOTS = text(f"""
{PLANS}{BUSY}, start AS (
  SELECT DISTINCT p.id, at
    FROM rule CROSS JOIN plan p JOIN span s ON s.id = p.id
   CROSS JOIN LATERAL generate_series(
     s.since + rule.step * ceil(extract(epoch FROM greatest(:since - s.since, interval '0'))
                                / extract(epoch FROM rule.step)),
     least(s.until - interval '1 microsecond', :until, rule.latest), rule.step) AS at
   WHERE at < :until AND at >= rule.earliest AND at > :now AND coalesce(at <= rule.latest, true)
     AND p.open @> tstzrange(at, at + rule.lasts)
)
SELECT start.at AS start_time, start.at + rule.lasts AS end_time, p.timezone,
       sum(p.capacity - taken.places) AS free_places,
       jsonb_agg(jsonb_build_object('id', p.id, 'name', p.name, 'free_places', p.capacity - taken.places)
                 ORDER BY p.id) AS resources
  FROM rule CROSS JOIN start JOIN plan p ON p.id = start.id
 CROSS JOIN LATERAL (
   SELECT count(*) AS places FROM busy
    WHERE busy.id = p.id
      AND busy.times && tstzrange(start.at - rule.setup, start.at + rule.lasts + rule.cleanup)
 ) AS taken
 WHERE taken.places < p.capacity
 GROUP BY start.at, rule.lasts, p.timezone
 ORDER BY start.at, p.timezone
 LIMIT :limit
""")
# How one start, which is both :since and :until, stands with each candidate.
STANDING = f"""{PLANS}, standing AS MATERIALIZED (
  SELECT p.id, p.name, p.timezone, p.capacity, :since AS start_time, :since + rule.lasts AS end_time,
         :since - rule.setup AS blocks_from, :since + rule.lasts + rule.cleanup AS blocks_until,
         rule.earliest, rule.latest, rule.step,
         CASE WHEN :since > :now THEN :since >= rule.earliest ELSE :may_be_over END AS has_notice,
         coalesce(:since <= rule.latest, true) AS is_near,
         p.hours @> tstzrange(:since, :since + rule.lasts) AS is_in_hours,
         NOT p.closed && tstzrange(:since, :since + rule.lasts) AS is_not_closed,
         NOT rule.keeps_step OR EXISTS (
           SELECT FROM span s
            WHERE s.id = p.id AND s.since <= :since AND :since < s.until
              AND mod(extract(epoch FROM :since - s.since), extract(epoch FROM rule.step)) = 0) AS is_a_slot
    FROM rule CROSS JOIN plan p
)"""
FITS = "(has_notice AND is_near AND is_in_hours AND is_not_closed AND is_a_slot)"
VERDICT = text(f"{STANDING} SELECT * FROM standing ORDER BY id")
EXPLAIN = text(f"""{STANDING}{BUSY}
SELECT s.*, s.capacity - (
         SELECT count(*) FROM busy
          WHERE busy.id = s.id AND busy.times && tstzrange(s.blocks_from, s.blocks_until)
       ) AS free_places
  FROM standing s ORDER BY s.id
""")

# The visits that a closure falls upon.
TOUCHED = text("""
SELECT b.id, b.start_time, b.status, u.name AS customer, s.title AS service, r.name AS resource
  FROM bookings b JOIN users u ON u.id = b.user_id JOIN services s ON s.id = b.service_id
  JOIN resources r ON r.id = b.resource_id
 WHERE b.status IN ('pending', 'confirmed') AND (b.expires_at IS NULL OR b.expires_at > :now)
   AND tstzrange(b.start_time, b.end_time) && tstzrange(:since, :until)
   AND b.start_time >= :since - interval '2 days' AND b.start_time < :until
   AND (CAST(:resource_id AS bigint) IS NULL OR b.resource_id = CAST(:resource_id AS bigint))
 ORDER BY b.start_time, b.id
 LIMIT :limit
""")
LOOK_AHEAD = (2, 14, 62)  # days; most businesses are free within the first
OF_THIS_TIME = (
    no.SlotTaken, no.TooSoon, no.TooFarAhead, no.OutsideHours, no.Closed, no.BetweenSlots, no.InThePast
)  # fmt: skip


class Reads(Protocol):
    """What rows can be read through: the pool, or a transaction."""

    async def fetch(self, statement: ClauseElement, **values: Any) -> list[Row]:
        """Run a statement and give its rows."""
        ...


@dataclass(frozen=True)
class Visit:
    """What somebody would like to book: a service, perhaps on one resource, perhaps in place of a booking there is."""

    service_id: int
    resource_id: int | None = None
    booking_id: int | None = None


async def slots(
    reads: Reads, visit: Visit, *, since: datetime, until: datetime, now: datetime, limit: int = policy.MOST_SLOTS + 1
) -> list[Row]:
    """Give the slots that start from ``since`` on and before ``until``, by start.

    Each has ``start_time`` and ``end_time`` in UTC, the ``timezone`` of its resources, ``free_places``, and
    ``resources`` as a list of ``id``, ``name`` and ``free_places``.
    """
    return await reads.fetch(SLOTS, since=since, until=until, now=now, limit=limit, **vars(visit))


async def next_free(reads: Reads, visit: Visit, *, since: datetime, now: datetime, count: int = 3) -> list[Row]:
    """Give the next slots from a moment on, looking no further than two months ahead."""
    since, found = max(since, now), []
    for days in LOOK_AHEAD:
        until = min(since + timedelta(days=days), policy.CALENDAR[1])
        found = await slots(reads, visit, since=since, until=until, now=now, limit=count)
        if len(found) == count or until == policy.CALENDAR[1]:
            break
    return found


async def offer_next(reads: Reads, refusal: no.Refusal, visit: Visit, *, since: datetime, now: datetime) -> None:
    """Put beside a refusal of a time the next slots, if it is one that another time would not meet.

    To be asked when the transaction that was refused is over, and its locks with it.
    """
    if isinstance(refusal, OF_THIS_TIME):
        refusal.next_free = await next_free(reads, visit, since=since, now=now)


async def standing(
    reads: Reads, visit: Visit, *, at: datetime, by: Actor, now: datetime, with_places: bool = False
) -> list[Row]:
    """Tell for each resource that can serve this visit how a start at this moment stands with each rule.

    ``with_places`` also counts its ``free_places``.
    """
    statement = EXPLAIN if with_places else VERDICT
    return await reads.fetch(statement, **asked(at, by=by, now=now), **vars(visit))


def asked(at: datetime, *, by: Actor, now: datetime) -> dict[str, Any]:
    """Give the values with which one start is judged; staff also write down visits that were."""
    return {"since": at, "until": at, "now": now, "may_be_over": by.works_here}


def in_the_way(stands: Row, *, now: datetime) -> list[no.Refusal]:
    """Give every rule that keeps a visit from this resource; none: it can be booked there."""
    found: list[no.Refusal] = []
    if not stands["has_notice"]:
        is_over = stands["start_time"] <= now
        found.append(no.InThePast() if is_over else no.TooSoon(notice=policy.spoken_time(stands["earliest"] - now)))
    if not stands["is_near"]:
        found.append(no.TooFarAhead(days=(stands["latest"] - now).days))
    if not stands["is_in_hours"]:
        found.append(no.OutsideHours())
    elif not stands["is_a_slot"]:
        found.append(no.BetweenSlots(step=policy.spoken_time(stands["step"])))
    if not stands["is_not_closed"]:
        found.append(no.Closed())
    if stands.get("free_places") == 0:
        found.append(no.SlotTaken())
    return found


def nearest(stand: Sequence[Row], *, now: datetime, but_for: tuple[type[no.Refusal], ...] = ()) -> no.Refusal | None:
    """Give why nobody at all can serve this visit: of the resource with the least in its way. None: somebody can."""
    ways = [[way for way in in_the_way(one, now=now) if not isinstance(way, but_for)] for one in stand]
    least = min(ways, key=len, default=[])
    return least[0] if least else None


async def touched(
    reads: Reads, *, since: datetime, until: datetime, resource_id: int | None, now: datetime, limit: int
) -> list[Row]:
    """Give the bookings, pending or confirmed, that meet this time on this resource, or on any, by start.

    Each has ``id``, ``start_time``, ``status``, and ``customer``, ``service`` and ``resource`` by name.
    """
    return await reads.fetch(TOUCHED, since=since, until=until, resource_id=resource_id, now=now, limit=limit)
