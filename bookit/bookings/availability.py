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

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import text

from bookit import refusals as no
from bookit.db.session import Reader
from bookit.db.statements import Row
from bookit.policy import limits, times
from bookit.policy.permissions import Actor
from bookit.schema.tables import Booking

# For a service, from :since until :until; for a booking of it, as long as that one lasts, or as it would by :lasts, and
# as if it were not there, even where nobody can book the service any more. A rule is what the service asks for; a
# candidate, who can serve it.
REQUEST_CTE = """
rule AS MATERIALIZED (
  SELECT s.id AS service_id, s.price, s.slot_step_minutes IS NOT NULL AS keeps_step,
         coalesce(CAST(:lasts AS interval), b.end_time - b.start_time,
                  make_interval(mins => s.duration_minutes)) AS lasts,
         coalesce(b.start_time - b.blocks_from, make_interval(mins => s.setup_minutes)) AS setup,
         coalesce(b.blocks_until - b.end_time, make_interval(mins => s.cleanup_minutes)) AS cleanup,
         make_interval(mins => coalesce(s.slot_step_minutes, s.duration_minutes)) AS step,
         :now + make_interval(mins => s.min_notice_minutes) AS earliest,
         :now + make_interval(days => s.horizon_days) AS latest
    FROM services s LEFT JOIN bookings b ON b.id = CAST(:booking_id AS bigint)
   WHERE s.id = CAST(:service_id AS bigint) AND (s.is_active OR b.id IS NOT NULL)
), candidate AS MATERIALIZED (
  SELECT r.id, r.name, r.capacity, r.timezone,
         EXISTS (SELECT FROM opening_hours h WHERE h.resource_id = r.id) AS keeps_hours
    FROM service_resources sr JOIN resources r ON r.id = sr.resource_id
   WHERE sr.service_id = CAST(:service_id AS bigint) AND r.is_active
     AND (CAST(:resource_id AS bigint) IS NULL OR r.id = CAST(:resource_id AS bigint))
)"""
# The hours a candidate keeps, midnight to midnight where it keeps none; what hours are in time is worked out once for
# all who keep the same. A span is one opening of a candidate by itself, in which starts are counted; a plan, all of a
# candidate's open time.
OPEN_TIME_CTE = """, exception AS MATERIALIZED (
  SELECT x.resource_id, x.is_open, x.start_time, x.end_time
    FROM rule JOIN calendar_exceptions x
      ON tstzrange(x.start_time, x.end_time) && tstzrange(:since, :until + rule.lasts, '[]')
), exceptional AS MATERIALIZED (
  SELECT x.resource_id, range_agg(tstzrange(x.start_time, x.end_time)) FILTER (WHERE x.is_open) AS opened,
         range_agg(tstzrange(x.start_time, x.end_time)) FILTER (WHERE NOT x.is_open) AS closed
    FROM exception x GROUP BY x.resource_id
), kept AS MATERIALIZED (
  SELECT c.id, c.timezone, h.weekday, h.opens, h.closes, h.valid_from, h.valid_until
    FROM candidate c JOIN opening_hours h ON h.resource_id = c.id
  UNION ALL
  SELECT c.id, c.timezone, weekday, time '00:00', time '00:00', NULL, NULL
    FROM candidate c CROSS JOIN generate_series(1, 7) AS weekday WHERE NOT c.keeps_hours
), opening AS MATERIALIZED (
  SELECT k.*, day, (day + k.opens) AT TIME ZONE k.timezone AS since,
         (day + k.closes + CASE WHEN k.closes > k.opens THEN interval '0' ELSE interval '1 day' END)
           AT TIME ZONE k.timezone AS until
    FROM rule CROSS JOIN (SELECT DISTINCT timezone, weekday, opens, closes FROM kept) AS k
   CROSS JOIN LATERAL generate_series(
     date_trunc('week', (:since AT TIME ZONE k.timezone) - interval '2 days') + make_interval(days => k.weekday - 1),
     (:until + rule.lasts) AT TIME ZONE k.timezone, interval '7 days') AS day
   WHERE ((day + interval '12 hours') AT TIME ZONE k.timezone) AT TIME ZONE k.timezone = day + interval '12 hours'
), span AS MATERIALIZED (
  SELECT k.id, o.since, o.until
    FROM kept k JOIN opening o USING (timezone, weekday, opens, closes)
   WHERE o.since < o.until AND o.until > :since
     AND o.day >= coalesce(k.valid_from, '-infinity') AND o.day <= coalesce(k.valid_until, 'infinity')
  UNION ALL
  SELECT c.id, x.start_time, x.end_time
    FROM candidate c JOIN exception x ON x.is_open AND (x.resource_id = c.id OR x.resource_id IS NULL)
), plan AS MATERIALIZED (
  SELECT c.*, coalesce(opening.hours, '{}') AS hours, coalesce(opening.hours, '{}') - closed.times AS open,
         closed.times AS closed
    FROM candidate c
    LEFT JOIN (
      SELECT s.id, range_agg(tstzrange(s.since, s.until)) AS hours FROM span s GROUP BY s.id
    ) AS opening USING (id)
    LEFT JOIN exceptional AS own ON own.resource_id = c.id
    LEFT JOIN exceptional AS shared ON shared.resource_id IS NULL
   CROSS JOIN LATERAL (
     SELECT coalesce(shared.closed, '{}') - coalesce(own.opened, '{}') + coalesce(own.closed, '{}') AS times
   ) AS closed
)"""
PLANS_CTE = f"{REQUEST_CTE}{OPEN_TIME_CTE}"
# The same for each active resource by itself, whatever it serves.
RESOURCE_PLANS_CTE = f"""
WITH rule AS MATERIALIZED (
  SELECT interval '0' AS lasts
), candidate AS MATERIALIZED (
  SELECT r.id, r.name, r.capacity, r.timezone,
         EXISTS (SELECT FROM opening_hours h WHERE h.resource_id = r.id) AS keeps_hours
    FROM resources r WHERE r.is_active
){OPEN_TIME_CTE}"""
# When resources are open, whatever they serve.
OPEN_TIMES = text(f"""
WITH rule AS (SELECT interval '0' AS lasts), candidate AS MATERIALIZED (
  SELECT r.id, r.timezone, EXISTS (SELECT FROM opening_hours h WHERE h.resource_id = r.id) AS keeps_hours
    FROM resources r WHERE r.id = ANY(CAST(:resource_ids AS bigint[]))
){OPEN_TIME_CTE}
SELECT p.id AS resource_id, lower(o) AS start_time, upper(o) AS end_time
  FROM plan p CROSS JOIN LATERAL unnest(p.open * tstzmultirange(tstzrange(:since, :until))) AS o
 ORDER BY p.id, lower(o)
""")
# What is taken, seat by seat; an expired hold takes nothing.
BUSY_CTE = """, busy AS MATERIALIZED (
  SELECT c.id, taken.seat, taken.times
    FROM rule CROSS JOIN candidate c
   CROSS JOIN LATERAL (
     SELECT b.seat, range_agg(tstzrange(b.blocks_from, b.blocks_until)) AS times
       FROM bookings b
      WHERE b.resource_id = c.id AND b.seat <= c.capacity AND blocks_at(b.status, b.expires_at, :now)
        AND tstzrange(b.blocks_from, b.blocks_until) && tstzrange(
              :since - rule.setup, :until + rule.lasts + rule.cleanup, '[]')
        AND b.id IS DISTINCT FROM CAST(:booking_id AS bigint)
      GROUP BY b.seat
   ) AS taken
)"""
# Seats that are taken alike make a group: each busy seat by itself, and all empty seats together. A room is when a
# visit could start in a group, a set of times: open time without its end, less what is taken and what leads up to it.
SLOTS = text(f"""
WITH {PLANS_CTE}{BUSY_CTE}, seat_group AS MATERIALIZED (
  SELECT id, seat, 1 AS seats, times FROM busy
  UNION ALL
  SELECT c.id, 0, c.capacity - count(b.id), '{{}}'
    FROM candidate c LEFT JOIN busy b ON b.id = c.id
   GROUP BY c.id, c.capacity HAVING c.capacity > count(b.id)
), room AS MATERIALIZED (
  SELECT g.id, g.seat, g.seats, rule.step,
         ((SELECT range_agg(tstzrange(lower(o), upper(o) - rule.lasts, '[]'))
             FROM unnest(p.open) AS o WHERE upper(o) - rule.lasts >= lower(o))
          - coalesce((SELECT range_agg(tstzrange(lower(t) - rule.lasts - rule.cleanup, upper(t) + rule.setup, '()'))
                        FROM unnest(g.times) AS t), '{{}}'))
         * tstzmultirange(tstzrange(:since, :until) * tstzrange(rule.earliest, NULL)
                          * tstzrange(:now, rule.latest, '(]')) AS starts
    FROM rule CROSS JOIN seat_group g JOIN plan p USING (id)
), start AS (
  SELECT DISTINCT at, room.id, room.seat, room.seats
    FROM room JOIN span s USING (id)
   CROSS JOIN LATERAL unnest(room.starts * tstzmultirange(tstzrange(s.since, s.until))) AS gap
   CROSS JOIN LATERAL generate_series(
     s.since + room.step * ceil(extract(epoch FROM lower(gap) - s.since) / extract(epoch FROM room.step)),
     upper(gap), room.step) AS at
   WHERE gap @> at
), free AS (
  SELECT at, id, CAST(sum(seats) AS integer) AS places FROM start GROUP BY at, id
)
SELECT free.at AS start_time, free.at + rule.lasts AS end_time, c.timezone,
       array_agg(c.id ORDER BY c.id) AS ids, array_agg(c.name ORDER BY c.id) AS names,
       array_agg(free.places ORDER BY c.id) AS places
  FROM rule CROSS JOIN free JOIN candidate c USING (id)
 GROUP BY free.at, rule.lasts, c.timezone
 ORDER BY free.at, c.timezone
 LIMIT :limit
""")
# How one start, which is both :since and :until, stands with each candidate.
CHECKS_CTE = f"""{PLANS_CTE}, standing AS MATERIALIZED (
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
IS_BOOKABLE = "(has_notice AND is_near AND is_in_hours AND is_not_closed AND is_a_slot)"
CHECK = text(f"WITH {CHECKS_CTE} SELECT * FROM standing ORDER BY id")
CHECK_WITH_FREE_SEATS = text(f"""WITH {CHECKS_CTE}{BUSY_CTE}
SELECT s.*, s.capacity - (
         SELECT count(*) FROM busy
          WHERE busy.id = s.id AND busy.times && tstzrange(s.blocks_from, s.blocks_until)
       ) AS free_places
  FROM standing s ORDER BY s.id
""")

# The visits that a closure falls upon.
AFFECTED = text("""
SELECT b.id, b.start_time, b.status, u.name AS customer, s.title AS service, r.name AS resource
  FROM bookings b JOIN users u ON u.id = b.user_id JOIN services s ON s.id = b.service_id
  JOIN resources r ON r.id = b.resource_id
 WHERE blocks_at(b.status, b.expires_at, :now)
   AND tstzrange(b.start_time, b.end_time) && tstzrange(:since, :until)
   AND b.start_time >= earliest_start(:since) AND b.start_time < :until
   AND (CAST(:resource_id AS bigint) IS NULL OR b.resource_id = CAST(:resource_id AS bigint))
 ORDER BY b.start_time, b.id
 LIMIT :limit
""")
LOOK_AHEAD_DAYS = (2, 14, 62)  # days; most businesses are free within the first
# What staff may set aside, saying why; and all that another time would not meet.
OVERRIDABLE_REFUSALS = (no.TooSoon, no.TooFarAhead, no.OutsideHours, no.Closed, no.BetweenSlots)
TIME_REFUSALS = (no.InThePast, *OVERRIDABLE_REFUSALS, no.SlotTaken)


@dataclass(frozen=True)
class Visit:
    """What somebody would like to book: a service, perhaps on one resource, perhaps in place of a booking there is.

    Without ``lasts`` it is as long as that booking, or else as the service.
    """

    service_id: int
    resource_id: int | None = None
    booking_id: int | None = None
    lasts: timedelta | None = None


def visit_after(
    booking: Booking,
    *,
    start_time: datetime | None = None,
    end_time: datetime | None = None,
    resource_id: int | None = None,
) -> Visit:
    """Give what a booking would be that is changed so: it keeps its length, unless it is told when to end."""
    start = start_time or booking.start_time
    lasts = end_time - start if end_time else booking.end_time - booking.start_time
    return Visit(booking.service_id, resource_id or booking.resource_id, booking.id, lasts)


async def slots(
    reader: Reader, visit: Visit, *, since: datetime, until: datetime, now: datetime, limit: int = limits.MAX_SLOTS + 1
) -> list[Row]:
    """Give the slots that start from ``since`` on and before ``until``, by start.

    Each has ``start_time`` and ``end_time`` in UTC, the ``timezone`` of its resources, and of these, in the order of
    their numbers, ``ids``, ``names`` and free ``places``.
    """
    return await reader.fetch(SLOTS, since=since, until=until, now=now, limit=limit, **vars(visit))


async def open_times(reader: Reader, resource_ids: Collection[int], *, since: datetime, until: datetime) -> list[Row]:
    """Give when each of these resources is open within this time, closures taken off and extra openings put on.

    Each stretch has ``resource_id``, ``start_time`` and ``end_time``; they come by resource, and then by start.
    """
    return await reader.fetch(OPEN_TIMES, resource_ids=list(resource_ids), since=since, until=until)


async def next_free(reader: Reader, visit: Visit, *, since: datetime, now: datetime, count: int = 3) -> list[Row]:
    """Give the next slots from a moment on, looking no further than two months ahead."""
    since = max(since, now)

    async def look() -> list[Row]:
        found: list[Row] = []
        for days in LOOK_AHEAD_DAYS:
            until = min(since + timedelta(days=days), limits.CALENDAR_RANGE[1])
            found = await slots(reader, visit, since=since, until=until, now=now, limit=count)
            if len(found) == count or until == limits.CALENDAR_RANGE[1]:
                break
        return found

    # Whoever lost a race for a slot asks this, and all at once.
    return await reader.coalesce((visit, since, count), look)


async def attach_next_free(
    reader: Reader, refusal: no.Refusal, visit: Visit, *, since: datetime, now: datetime
) -> None:
    """Put beside a refusal of a time the next slots, if it is one that another time would not meet.

    To be asked when the transaction that was refused is over, and its locks with it.
    """
    if isinstance(refusal, TIME_REFUSALS):
        refusal.next_free = await next_free(reader, visit, since=since, now=now)


async def check_start(
    reader: Reader, visit: Visit, *, start: datetime, by: Actor, now: datetime, with_free_seats: bool = False
) -> list[Row]:
    """Tell for each resource that can serve this visit how a start at this moment stands with each rule.

    ``with_places`` also counts its ``free_places``.
    """
    statement = CHECK_WITH_FREE_SEATS if with_free_seats else CHECK
    return await reader.fetch(statement, **start_params(start, by=by, now=now), **vars(visit))


def start_params(start: datetime, *, by: Actor, now: datetime) -> dict[str, Any]:
    """Give the values with which one start is judged; staff also write down visits that were."""
    return {"since": start, "until": start, "now": now, "may_be_over": by.is_staff}


def obstacles(check: Row, *, now: datetime) -> list[no.Refusal]:
    """Give every rule that keeps a visit from this resource; none: it can be booked there."""
    found: list[no.Refusal] = []
    if not check["has_notice"]:
        is_over = check["start_time"] <= now
        found.append(no.InThePast() if is_over else no.TooSoon(notice=times.format_duration(check["earliest"] - now)))
    if not check["is_near"]:
        found.append(no.TooFarAhead(horizon=times.format_duration(timedelta(days=(check["latest"] - now).days))))
    if not check["is_in_hours"]:
        found.append(no.OutsideHours())
    elif not check["is_a_slot"]:
        found.append(no.BetweenSlots(step=times.format_step(check["step"])))
    if not check["is_not_closed"]:
        found.append(no.Closed())
    if check.get("free_places") == 0:
        found.append(no.SlotTaken())
    return found


def best_refusal(
    checks: Sequence[Row], *, now: datetime, ignoring: tuple[type[no.Refusal], ...] = ()
) -> no.Refusal | None:
    """Give why nobody at all can serve this visit: of the resource with the least in its way. None: somebody can."""
    ways = [[way for way in obstacles(one, now=now) if not isinstance(way, ignoring)] for one in checks]
    least = min(ways, key=len, default=[])
    return least[0] if least else None


async def affected_bookings(
    reader: Reader, *, since: datetime, until: datetime, resource_id: int | None, now: datetime, limit: int
) -> list[Row]:
    """Give the bookings, pending or confirmed, that meet this time on this resource, or on any, by start.

    Each has ``id``, ``start_time``, ``status``, and ``customer``, ``service`` and ``resource`` by name.
    """
    return await reader.fetch(AFFECTED, since=since, until=until, resource_id=resource_id, now=now, limit=limit)
