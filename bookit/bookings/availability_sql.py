"""The SQL of availability: one query over opening hours, exceptions and bookings, in steps.

Each step is a common table expression (CTE). The comment above a CTE says what one row is, and lists the columns.
``docs/availability.md`` follows one example through the steps.

A visit has one position or more, each with a role, and in each position is one resource: position 1 is the resource of
the booking itself, and the others are the needs of the service.

The parameters: ``:service_id``; ``:resource_id``, or NULL for any resource; ``:other_ids``, the resources of positions
2, 3, ..., where NULL and what is left out are any; ``:seats``, or NULL for those of that booking or else one;
``:booking_id``, the booking to move, or NULL for a new visit; ``:duration``, or NULL for the length of that booking or
else of the service; ``:for_desk``, whether notice, horizon and slot step are left out; ``:since`` and ``:until``, the
range of starts, where both are the same moment for the check of one start; ``:now``.
"""

from typing import LiteralString

from sqlalchemy import text

from bookit.bookings.claims import RESOURCE_NAMES
from bookit.bookings.visitors import CUSTOMER


def whole_days(by_clock: LiteralString) -> LiteralString:
    """Return the expression for a length by the clock on the wall in days; 0 if it is not a number of whole days."""
    seconds: LiteralString = f"extract(epoch FROM {by_clock})"
    return f"CASE WHEN mod({seconds}, 86400) = 0 THEN CAST({seconds} / 86400 AS integer) ELSE 0 END"


def days_later(start: LiteralString, timezone: LiteralString, days: LiteralString) -> LiteralString:
    """Return the expression for the same time some days later, by the clock of a zone."""
    return f"({start} AT TIME ZONE {timezone} + make_interval(days => {days})) AT TIME ZONE {timezone}"


def visit_end(start: LiteralString, timezone: LiteralString) -> LiteralString:
    """Return the expression for when a visit of the rule ends that starts at a time."""
    return f"CASE WHEN rule.days > 0 THEN {days_later(start, timezone, 'rule.days')} ELSE {start} + rule.duration END"


def may_end(times: LiteralString, end: LiteralString) -> LiteralString:
    """Return the condition that a visit which is bound at its ends ends in these times, or just when they end."""
    return f"({times} @> {end} OR {times} @> {end} - interval '1 microsecond')"


def served(start: LiteralString, end: LiteralString, of: LiteralString) -> LiteralString:
    """Return the multirange in which a resource serves a visit: without its pause, and without setup and cleanup."""
    return (
        f"tstzmultirange(tstzrange({start}, least({start} + {of}.free_from, {end})),"
        f" tstzrange(least({start} + {of}.free_until, {end}), {end}))"
    )


def blocked(since: LiteralString, start: LiteralString, until: LiteralString, of: LiteralString) -> LiteralString:
    """Return the multirange that a visit blocks of a resource: without its pause, with setup and cleanup.

    The resource may have no pause, or one at the beginning, in the middle or at the end.
    """
    return (
        f"tstzmultirange(CASE WHEN {of}.free_from = interval '0' THEN 'empty'"
        f" ELSE tstzrange({since}, least({start} + {of}.free_from, {until})) END,"
        f" tstzrange(least({start} + {of}.free_until, {until}), {until}))"
    )


def is_in_hours(binds_at_ends: LiteralString, times: LiteralString) -> LiteralString:
    """Return the condition that the times of a visit lie in the hours of ``plan p``: all of them, or their two ends."""
    return (
        f"CASE WHEN {binds_at_ends}"
        f" THEN coalesce(p.hours @> lower({times}) AND {may_end('p.hours', f'upper({times})')}, true)"
        f" ELSE p.hours @> {times} END"
    )


def is_not_closed(binds_at_ends: LiteralString, times: LiteralString) -> LiteralString:
    """Return the condition that no closure of ``plan p`` meets the times of a visit, or the hours of their two ends."""
    return (
        f"CASE WHEN {binds_at_ends} THEN coalesce(NOT p.closed @> lower({times})"
        f" AND (NOT {may_end('p.hours', f'upper({times})')} OR {may_end('p.open', f'upper({times})')}), true)"
        f" ELSE NOT p.closed && {times} END"
    )


def is_open(binds_at_ends: LiteralString, open_times: LiteralString, times: LiteralString) -> LiteralString:
    """Return the condition that the times of a visit lie in open times: all of them, or their two ends."""
    return (
        f"CASE WHEN {binds_at_ends}"
        f" THEN coalesce({open_times} @> lower({times}) AND {may_end(open_times, f'upper({times})')}, true)"
        f" ELSE {open_times} @> {times} END"
    )


# need: what a new visit takes in each position.
#   position                            1, 2, ...
#   role                                with, in or using
#   seats                               how many it takes
#   free_from, free_until               intervals from the start: the pause; NULL if there is none, or to the end
NEED = """need AS MATERIALIZED (
  SELECT 1 AS position, s.role, coalesce(CAST(:seats AS integer), 1) AS seats,
         make_interval(mins => s.free_from_minutes) AS free_from,
         make_interval(mins => s.free_until_minutes) AS free_until
    FROM services s WHERE s.id = CAST(:service_id AS bigint)
  UNION ALL
  SELECT n.position, n.role, n.seats, make_interval(mins => n.free_from_minutes),
         make_interval(mins => n.free_until_minutes)
    FROM service_needs n WHERE n.service_id = CAST(:service_id AS bigint)
)"""

# need, for a booking that moves: it keeps what it has, whatever its service needs by now. The same columns.
KEPT_NEED = """need AS MATERIALIZED (
  SELECT DISTINCT ON (k.position) k.position, k.role,
         coalesce(CASE WHEN k.position = 1 THEN CAST(:seats AS integer) END,
                  CAST(count(*) OVER (PARTITION BY k.position, k.part) AS integer)) AS seats,
         make_interval(mins => k.free_from_minutes) AS free_from,
         make_interval(mins => k.free_until_minutes) AS free_until
    FROM claims k WHERE k.booking_id = CAST(:booking_id AS bigint)
   ORDER BY k.position, k.part
)"""


# rule: what the service requires of a visit. One row; none if the service cannot be booked. A booking that moves keeps
# its own length, setup and cleanup, and can move even if the service is no longer active; a new visit has none.
#   service_id, price, price_is_per_person
#   has_step                            whether visits must start on the slot step
#   duration, setup, cleanup, step      intervals
#   days                                how many days later a visit ends at the time at which it began; 0 if it does not
#   shortest, longest                   the duration, or how long so many days can be
#   binds_at_ends                       whether only the start and the end must lie in open time
#   earliest                            the first start by the notice
#   horizon_days                        may be NULL
#   max_party                           the seats that a customer may book at once
#   roles                               how many positions a visit has
#   is_plain                            whether it takes one seat of one resource, without a pause
def rule_cte(is_moving: LiteralString) -> LiteralString:
    """Return ``rule``; ``is_moving`` is the condition that booking ``b`` is the one that moves."""
    return f"""rule AS MATERIALIZED (
  SELECT s.id AS service_id, s.price, s.slot_step_minutes IS NOT NULL AND NOT :for_desk AS has_step, length.*,
         coalesce(b.start_time - b.blocks_from, make_interval(mins => s.setup_minutes)) AS setup,
         coalesce(b.blocks_until - b.end_time, make_interval(mins => s.cleanup_minutes)) AS cleanup,
         make_interval(mins => coalesce(s.slot_step_minutes, s.duration_minutes)) AS step,
         :now + make_interval(mins => CASE WHEN :for_desk THEN 0 ELSE s.min_notice_minutes END) AS earliest,
         CASE WHEN NOT :for_desk THEN s.horizon_days END AS horizon_days,
         s.binds_hours_at_ends AS binds_at_ends, s.max_party, s.price_is_per_person, taken.*
    FROM services s LEFT JOIN bookings b ON {is_moving}
    LEFT JOIN resources r ON r.id = b.resource_id
   CROSS JOIN LATERAL (
     SELECT coalesce(CAST(:duration AS interval), b.end_time - b.start_time,
                     make_interval(mins => s.duration_minutes)) AS duration,
            CASE WHEN CAST(:duration AS interval) IS NULL THEN coalesce(
              (b.end_time AT TIME ZONE r.timezone) - (b.start_time AT TIME ZONE r.timezone),
              make_interval(mins => s.duration_minutes)) END AS by_clock
   ) AS kept
   CROSS JOIN LATERAL (
     SELECT {whole_days("kept.by_clock")} AS days
   ) AS whole
   CROSS JOIN LATERAL (
     SELECT kept.duration, whole.days,
            CASE WHEN whole.days > 0 THEN greatest(interval '12 hours', make_interval(hours => 24 * whole.days - 26))
                 ELSE kept.duration END AS shortest,
            CASE WHEN whole.days > 0 THEN make_interval(hours => 24 * whole.days + 26)
                 ELSE kept.duration END AS longest
   ) AS length
   CROSS JOIN (
     SELECT count(*) AS roles, bool_and(position = 1 AND seats = 1 AND free_from IS NULL) AS is_plain FROM need
   ) AS taken
   WHERE s.id = CAST(:service_id AS bigint) AND (s.is_active OR b.id IS NOT NULL)
     AND taken.roles > cardinality(CAST(:other_ids AS bigint[]))
)"""


# rule, where no service is asked about: a visit of no length.
#   longest
EMPTY_RULE = """rule AS MATERIALIZED (
  SELECT interval '0' AS longest
)"""


# candidate: a resource that can be in a position. One row each. The condition on seats, which always holds, lets
# PostgreSQL expect few rows: with more it would plan each statement anew for its parameters, which takes longer than to
# run it.
#   position, role, free_from, free_until
#   needed                              how many seats the visit takes
#   id, name, capacity, timezone
def candidate_cte(others: LiteralString) -> LiteralString:
    """Return ``candidate``; ``others`` is the query for who can be in the further positions."""
    return f"""candidate AS MATERIALIZED (
  SELECT need.position, need.role, need.seats AS needed, need.free_from, need.free_until,
         r.id, r.name, r.capacity, r.timezone
    FROM (
      SELECT 1 AS position, sr.resource_id
        FROM service_resources sr
       WHERE sr.service_id = CAST(:service_id AS bigint)
         AND (CAST(:resource_id AS bigint) IS NULL OR sr.resource_id = CAST(:resource_id AS bigint))
      UNION ALL {others}
    ) AS able
    JOIN need USING (position) JOIN resources r ON r.id = able.resource_id
   WHERE r.is_active AND need.seats BETWEEN 1 AND 100
)"""


# The resources that can fill the needs of the service.
#   position, resource_id
OTHERS = """(
        SELECT n.position, nr.resource_id
          FROM service_needs n JOIN need_resources nr ON nr.need_id = n.id
         WHERE n.service_id = CAST(:service_id AS bigint)
           AND nr.resource_id = coalesce((CAST(:other_ids AS bigint[]))[n.position - 1], nr.resource_id))"""

# The same for a booking that moves: those that it has can stay, whatever its service needs by now.
KEPT_OTHERS = f"""({OTHERS}
        UNION
        SELECT k.position, k.resource_id
          FROM claims k
         WHERE k.booking_id = CAST(:booking_id AS bigint) AND k.position > 1
           AND k.resource_id = coalesce((CAST(:other_ids AS bigint[]))[k.position - 1], k.resource_id))"""

# candidate, for reports: each active resource, whatever it serves.
#   id, name, capacity, timezone
#   has_hours                           whether it has weekly hours; without them it is always open
ACTIVE_CANDIDATE = """candidate AS MATERIALIZED (
  SELECT r.id, r.name, r.capacity, r.timezone,
         EXISTS (SELECT FROM opening_hours h WHERE h.resource_id = r.id) AS has_hours
    FROM resources r WHERE r.is_active
)"""

# candidate, for utilisation: each resource that is active or has a counted visit in the range. :since and :until are a
# day before and after it. The columns of ACTIVE_CANDIDATE and:
#   is_active
USED_CANDIDATE = """candidate AS MATERIALIZED (
  SELECT r.id, r.name, r.capacity, r.timezone, r.is_active,
         EXISTS (SELECT FROM opening_hours h WHERE h.resource_id = r.id) AS has_hours
    FROM resources r WHERE r.is_active OR EXISTS (
      SELECT FROM claims c JOIN bookings b ON b.id = c.booking_id
       WHERE c.resource_id = r.id AND c.start_time >= earliest_start(:since)
         AND c.start_time < :until - interval '1 day' AND b.status <> 'cancelled' AND NOT is_expired(b.expires_at, :now)
         AND b.end_time > :since + interval '1 day')
)"""

# candidate, for the calendar: the resources in :resource_ids.
#   id, timezone
NAMED_CANDIDATE = """candidate AS MATERIALIZED (
  SELECT r.id, r.timezone
    FROM resources r WHERE r.id = ANY(CAST(:resource_ids AS bigint[]))
)"""

# exception: a one-off opening or closure that meets the range, as candidates of one time zone have it: at the time that
# was written, by their own clock. One without a zone is at an exact time. The range is a day wider, as clocks differ.
#   resource_id                         NULL: of all resources
#   timezone, is_open, start_time, end_time
EXCEPTION = """exception AS MATERIALIZED (
  SELECT x.resource_id, zone.timezone, x.is_open, local.start_time,
         greatest(local.start_time, local.end_time) AS end_time
    FROM rule CROSS JOIN (SELECT DISTINCT c.timezone FROM candidate c) AS zone
    JOIN calendar_exceptions x
      ON tstzrange(x.start_time, x.end_time) && tstzrange(
           :since - interval '26 hours', :until + rule.longest + interval '26 hours', '[]')
   CROSS JOIN LATERAL (
     SELECT coalesce(x.start_time AT TIME ZONE x.timezone AT TIME ZONE zone.timezone, x.start_time) AS start_time,
            coalesce(x.end_time AT TIME ZONE x.timezone AT TIME ZONE zone.timezone, x.end_time) AS end_time
   ) AS local
)"""

# exception_times: all exceptions of one resource, or of all resources (resource_id is NULL), in one time zone.
#   resource_id, timezone
#   opened, closed                      multiranges; NULL if there are none
EXCEPTION_TIMES = """exception_times AS MATERIALIZED (
  SELECT x.resource_id, x.timezone,
         range_agg(tstzrange(x.start_time, x.end_time)) FILTER (WHERE x.is_open) AS opened,
         range_agg(tstzrange(x.start_time, x.end_time)) FILTER (WHERE NOT x.is_open) AS closed
    FROM exception x GROUP BY x.resource_id, x.timezone
)"""

# weekly_hours: a weekly opening of a candidate; from midnight to midnight on every day if it has none.
#   id, timezone, opens, closes, valid_from, valid_until
#   weekday                             1 to 7, or 0 for every day
WEEKLY_HOURS = """weekly_hours AS MATERIALIZED (
  SELECT c.id, c.timezone, coalesce(h.weekday, 0) AS weekday, coalesce(h.opens, '00:00') AS opens,
         coalesce(h.closes, '00:00') AS closes, h.valid_from, h.valid_until
    FROM candidate c LEFT JOIN opening_hours h ON h.resource_id = c.id
)"""

# dated_hours: the same opening on one date, in absolute time. Candidates with equal hours share the rows. A date that
# the zone skipped has none.
#   timezone, weekday, opens, closes, day, since, until
DATED_HOURS = """dated_hours AS MATERIALIZED (
  SELECT w.*, day, (day + w.opens) AT TIME ZONE w.timezone AS since,
         (day + w.closes + CASE WHEN w.closes > w.opens THEN interval '0' ELSE interval '1 day' END)
           AT TIME ZONE w.timezone AS until
    FROM rule CROSS JOIN (SELECT DISTINCT timezone, weekday, opens, closes FROM weekly_hours) AS w
   CROSS JOIN LATERAL generate_series(
     CASE WHEN w.weekday = 0 THEN date_trunc('day', (:since AT TIME ZONE w.timezone) - interval '2 days')
          ELSE date_trunc('week', (:since AT TIME ZONE w.timezone) - interval '2 days')
               + make_interval(days => w.weekday - 1) END,
     (:until + rule.longest) AT TIME ZONE w.timezone,
     CASE WHEN w.weekday = 0 THEN interval '1 day' ELSE interval '7 days' END) AS day
   WHERE ((day + interval '12 hours') AT TIME ZONE w.timezone) AT TIME ZONE w.timezone = day + interval '12 hours'
)"""

# span: one opening of a candidate, weekly or one-off. The slot step counts from its beginning.
#   id, since, until
SPAN = """span AS MATERIALIZED (
  SELECT w.id, d.since, d.until
    FROM weekly_hours w JOIN dated_hours d USING (timezone, weekday, opens, closes)
   WHERE d.since < d.until AND d.until > :since
     AND d.day >= coalesce(w.valid_from, '-infinity') AND d.day <= coalesce(w.valid_until, 'infinity')
  UNION ALL
  SELECT c.id, x.start_time, x.end_time
    FROM candidate c JOIN exception x
      ON x.is_open AND x.timezone = c.timezone AND (x.resource_id = c.id OR x.resource_id IS NULL)
)"""

# plan: when a candidate is open. One row each, with the columns of candidate and:
#   hours                               all spans, as a multirange
#   closed                              what closures take away
#   open                                hours without closed
PLAN = """plan AS MATERIALIZED (
  SELECT c.*, coalesce(spans.hours, '{}') AS hours, coalesce(spans.hours, '{}') - closed.times AS open,
         closed.times AS closed
    FROM candidate c
    LEFT JOIN (
      SELECT s.id, range_agg(tstzrange(s.since, s.until)) AS hours FROM span s GROUP BY s.id
    ) AS spans USING (id)
    LEFT JOIN exception_times AS own ON own.resource_id = c.id AND own.timezone = c.timezone
    LEFT JOIN exception_times AS shared ON shared.resource_id IS NULL AND shared.timezone = c.timezone
   CROSS JOIN LATERAL (
     SELECT coalesce(shared.closed, '{}') - coalesce(own.opened, '{}') + coalesce(own.closed, '{}') AS times
   ) AS closed
)"""

# busy_level: when at least so many seats of a candidate are blocked at one moment. Claims are counted, whatever their
# seats. An expired hold blocks nothing, and the booking that moves does not block itself.
#   position, id
#   level                               from 1 to the capacity
#   times                               a multirange, with setup and cleanup
BUSY_LEVEL = """busy_level AS MATERIALIZED (
  SELECT c.position, c.id, level, range_agg(tstzrange(load.since, load.until)) AS times
    FROM rule CROSS JOIN candidate c
   CROSS JOIN LATERAL (
     SELECT change.at AS since, lead(change.at) OVER (ORDER BY change.at, change.step) AS until,
            CAST(sum(change.step) OVER (ORDER BY change.at, change.step) AS integer) AS seats
       FROM claims k JOIN bookings b ON b.id = k.booking_id
      CROSS JOIN LATERAL (VALUES (k.since, 1), (k.until, -1)) AS change (at, step)
      WHERE k.resource_id = c.id AND k.is_blocking AND NOT is_expired(b.expires_at, :now)
        AND tstzrange(k.since, k.until) && tstzrange(
              :since - rule.setup, :until + rule.longest + rule.cleanup, '[]')
        AND b.id IS DISTINCT FROM CAST(:booking_id AS bigint)
   ) AS load
   CROSS JOIN LATERAL generate_series(1, least(load.seats, c.capacity)) AS level
   WHERE load.since < load.until
   GROUP BY c.position, c.id, level
)"""

# seat_group: seats of a first resource that are free at the same times. Each level is a seat, and all others are one
# group.
#   id, level                           level is 0 for the group of the others
#   seats                               how many
#   times                               when they are blocked
SEAT_GROUP = """seat_group AS MATERIALIZED (
  SELECT id, level, 1 AS seats, times FROM busy_level WHERE position = 1
  UNION ALL
  SELECT c.id, 0, CAST(c.capacity - count(b.id) AS integer), '{}'
    FROM candidate c LEFT JOIN busy_level b ON b.position = 1 AND b.id = c.id
   WHERE c.position = 1
   GROUP BY c.id, c.capacity HAVING c.capacity > count(b.id)
)"""

# The last start by the horizon, whose days have 23 to 25 hours by the clock of the resource; NULL without one.
LATEST = "(:now AT TIME ZONE p.timezone + make_interval(days => rule.horizon_days)) AT TIME ZONE p.timezone"

# start_range: when a visit could start in a group. The visit fits in open time, or only its ends do if they alone are
# bound, and setup and cleanup meet no booking.
#   id, level, seats, step, timezone
#   starts                              a multirange, cut to the range, the notice and the horizon
#   is_rough                            whether each start must be checked once more: days are not equally long, or the
#                                       resource has a pause
#   open, times, free_from, free_until  for that check
START_RANGE = (
    """start_range AS MATERIALIZED (
  SELECT g.id, g.level, g.seats, rule.step, p.timezone, rough.*, p.free_from, p.free_until,
         CASE WHEN rough.is_rough THEN p.open END AS open, CASE WHEN rough.is_rough THEN g.times END AS times,
         CASE WHEN p.free_from IS NOT NULL THEN tstzmultirange(tstzrange(NULL, NULL))
              ELSE (CASE WHEN rule.binds_at_ends THEN p.open * (
                           SELECT range_agg(tstzrange(lower(o) - rule.longest, upper(o) - rule.shortest, '[]'))
                             FROM unnest(p.open) AS o)
                         ELSE (SELECT range_agg(tstzrange(lower(o), upper(o) - rule.shortest, '[]'))
                                 FROM unnest(p.open) AS o WHERE upper(o) - rule.shortest >= lower(o)) END
                    - coalesce((
                        SELECT range_agg(tstzrange(
                                 lower(t) - rule.shortest - rule.cleanup, upper(t) + rule.setup, '()'))
                          FROM unnest(g.times) AS t), '{}')) END
         * tstzmultirange(tstzrange(:since, :until) * tstzrange(rule.earliest, NULL)
                          * tstzrange(:now, """
    + LATEST
    + """, '(]')) AS starts
    FROM rule CROSS JOIN seat_group g JOIN plan p ON p.position = 1 AND p.id = g.id
   CROSS JOIN LATERAL (SELECT rule.days > 0 OR p.free_from IS NOT NULL AS is_rough) AS rough
)"""
)

# start: a start on the slot step in a group.
#   at, id, level, seats
START = (
    """start AS (
  SELECT DISTINCT at, start_range.id, start_range.level, start_range.seats
    FROM rule CROSS JOIN start_range JOIN span s USING (id)
   CROSS JOIN LATERAL unnest(start_range.starts * tstzmultirange(tstzrange(s.since, s.until))) AS possible
   CROSS JOIN LATERAL generate_series(
     s.since
     + start_range.step * ceil(extract(epoch FROM lower(possible) - s.since) / extract(epoch FROM start_range.step)),
     upper(possible), start_range.step) AS at
   CROSS JOIN LATERAL (SELECT """
    + visit_end("at", "start_range.timezone")
    + """ AS ends) AS visit
   CROSS JOIN LATERAL (SELECT """
    + served("at", "visit.ends", of="start_range")
    + """ AS served) AS times
   WHERE possible @> at AND (NOT start_range.is_rough OR (
     """
    + is_open("rule.binds_at_ends", "start_range.open", "times.served")
    + """
     AND NOT start_range.times && """
    + blocked("at - rule.setup", "at", "visit.ends + rule.cleanup", of="start_range")
    + """))
)"""
)

# free_start: a start on a first resource that has a free seat.
#   at, id
#   seats                               how many are free
FREE_START = """free_start AS (
  SELECT at, id, CAST(sum(seats) AS integer) AS seats FROM start GROUP BY at, id
)"""

# other: a candidate of a further position.
#   position, role, id, name, free_from, free_until, open
#   full                                when it has fewer free seats than are needed: a multirange
OTHER = """other AS MATERIALIZED (
  SELECT p.position, p.role, p.id, p.name, p.free_from, p.free_until, p.open,
         CASE WHEN p.capacity < p.needed THEN '{(,)}' ELSE coalesce(b.times, '{}') END AS full
    FROM plan p
    LEFT JOIN busy_level b ON b.position = p.position AND b.id = p.id AND b.level = p.capacity - p.needed + 1
   WHERE p.position > 1
)"""

# whole_start: a start on a first resource with enough free seats, at which the further positions can be filled, each
# with another resource. A visit that takes the first resource at no time, as its pause is longer, needs no seat.
#   at, id, name, seats, timezone
#   others                              for a service with needs: position, role, resource_id and name of each, as JSON
WHOLE_START = (
    """whole_start AS (
  SELECT f.at, f.id, c.name, f.seats, c.timezone, CASE WHEN rule.roles > 1 THEN (
           SELECT jsonb_agg(jsonb_build_object('position', o.position, 'role', o.role, 'resource_id', o.id,
                                               'name', o.name) ORDER BY o.position)
             FROM other o WHERE o.id = chosen.ids[o.position]) END AS others
    FROM rule CROSS JOIN free_start f JOIN candidate c ON c.position = 1 AND c.id = f.id
   CROSS JOIN LATERAL (SELECT """
    + visit_end("f.at", "c.timezone")
    + """ AS ends) AS visit
   CROSS JOIN LATERAL (
     SELECT CASE WHEN rule.roles > 1 THEN (
       SELECT first_combination(ARRAY[f.id], array_agg(o.position ORDER BY o.position, o.id),
                                array_agg(o.id ORDER BY o.position, o.id), rule.roles)
         FROM other o
        WHERE """
    + is_open("rule.binds_at_ends", "o.open", served("f.at", "visit.ends", of="o"))
    + """
          AND NOT o.full && """
    + blocked("f.at - rule.setup", "f.at", "visit.ends + rule.cleanup", of="o")
    + """) END AS ids
   ) AS chosen
   WHERE (rule.roles = 1 OR chosen.ids IS NOT NULL)
     AND (f.seats >= c.needed
          OR CASE WHEN c.free_from = interval '0' THEN f.at + c.free_until >= visit.ends + rule.cleanup END)
)"""
)

# possible_end: an end that the visit can have, by the clock of a first resource. :since and :until are the same.
#   end_time
#   timezones                           of the first resources for which it is this one
POSSIBLE_END = (
    """possible_end AS MATERIALIZED (
  SELECT ends.end_time, array_agg(first.timezone) AS timezones
    FROM rule CROSS JOIN candidate first
   CROSS JOIN LATERAL (SELECT """
    + visit_end(":since", "first.timezone")
    + """ AS end_time) AS ends
   WHERE first.position = 1
   GROUP BY ends.end_time
)"""
)

# checks: how one start (:since and :until are the same) meets each rule on a candidate. One row each; for a further
# position, one for each end that the visit can have by the clock of a first resource. Notice, horizon and step are
# asked of the first resource.
#   position, role, id, name, timezone, capacity, start_time, end_time, blocks_from, blocks_until, free_from, free_until
#   needed, roles, earliest, horizon_days, step
#   has_notice, is_within_horizon, is_in_hours, is_not_closed, is_on_step
#                                       one for each rule; whether a seat is free is asked of busy_level
CHECKS = (
    """checks AS MATERIALIZED (
  SELECT p.position, p.role, p.id, p.name, p.timezone, p.capacity, :since AS start_time, visit.end_time,
         :since - rule.setup AS blocks_from, visit.end_time + rule.cleanup AS blocks_until, p.free_from, p.free_until,
         p.needed, rule.roles, rule.earliest, rule.horizon_days, rule.step,
         p.position > 1 OR CASE WHEN :since > :now THEN :since >= rule.earliest ELSE :allows_past END AS has_notice,
         p.position > 1 OR coalesce(:since <= """
    + LATEST
    + """, true) AS is_within_horizon,
         """
    + is_in_hours("rule.binds_at_ends", served(":since", "visit.end_time", of="p"))
    + """ AS is_in_hours,
         """
    + is_not_closed("rule.binds_at_ends", served(":since", "visit.end_time", of="p"))
    + """ AS is_not_closed,
         p.position > 1 OR NOT rule.has_step OR EXISTS (
           SELECT FROM span s
            WHERE s.id = p.id AND s.since <= :since AND :since < s.until
              AND mod(extract(epoch FROM :since - s.since), extract(epoch FROM rule.step)) = 0) AS is_on_step
    FROM rule CROSS JOIN plan p
    JOIN possible_end AS visit ON p.position > 1 OR p.timezone = ANY (visit.timezones)
)"""
)


def plans_cte(rule: LiteralString, candidate: LiteralString) -> LiteralString:
    """Return the CTEs up to ``plan`` for these versions of ``rule`` and ``candidate``."""
    return f"{rule}, {candidate}, {EXCEPTION}, {EXCEPTION_TIMES}, {WEEKLY_HOURS}, {DATED_HOURS}, {SPAN}, {PLAN}"


def visit_plans_cte(*, moves: bool = False) -> LiteralString:
    """Return the CTEs up to ``plan`` for a new visit, or for a booking that ``moves``.

    PostgreSQL starts and ends each step of a plan, even if it finds nothing, so a new visit looks for no booking.
    """
    if moves:
        rule = rule_cte("b.id = CAST(:booking_id AS bigint)")
        return plans_cte(f"{KEPT_NEED}, {rule}", candidate_cte(KEPT_OTHERS))
    return plans_cte(f"{NEED}, {rule_cte('false')}", candidate_cte(OTHERS))


def active_plans_cte() -> LiteralString:
    """Return the CTEs up to ``plan`` for every active resource. Needs ``:since`` and ``:until``."""
    return plans_cte(EMPTY_RULE, ACTIVE_CANDIDATE)


def used_plans_cte() -> LiteralString:
    """Return the CTEs up to ``plan`` for every resource that is active or was used. Needs ``:now`` as well."""
    return plans_cte(EMPTY_RULE, USED_CANDIDATE)


def checks_cte(*, moves: bool = False) -> LiteralString:
    """Return the CTEs up to ``checks``. Needs ``:allows_past`` besides the parameters above."""
    return f"{visit_plans_cte(moves=moves)}, {POSSIBLE_END}, {CHECKS}"


def is_bookable() -> LiteralString:
    """Return the condition that a row of ``checks`` meets every rule."""
    return "(has_notice AND is_within_horizon AND is_in_hours AND is_not_closed AND is_on_step)"


def slots_query(*, moves: bool) -> LiteralString:
    """Return the starts at which the service is free, by start and zone; arrays hold the free first resources by id."""
    return f"""
WITH {visit_plans_cte(moves=moves)}, {BUSY_LEVEL}, {SEAT_GROUP}, {START_RANGE}, {START}, {FREE_START}, {OTHER},
{WHOLE_START}
SELECT w.at AS start_time, {visit_end("w.at", "w.timezone")} AS end_time, w.timezone,
       array_agg(w.id ORDER BY w.id) AS ids, array_agg(w.name ORDER BY w.id) AS names,
       array_agg(w.seats ORDER BY w.id) AS seats,
       jsonb_agg(w.others ORDER BY w.id) FILTER (WHERE rule.roles > 1) AS others
  FROM rule CROSS JOIN whole_start w
 GROUP BY w.at, w.timezone, rule.days, rule.duration
 ORDER BY w.at, w.timezone
 LIMIT :limit
"""


def check_query(*, moves: bool) -> LiteralString:
    """Return how one start meets each rule, by position and candidate."""
    return f"WITH {checks_cte(moves=moves)} SELECT * FROM checks ORDER BY position, id, end_time"


def check_with_free_seats_query(*, moves: bool) -> LiteralString:
    """Return the same, with the number of free seats, and whether they are enough."""
    return f"""WITH {checks_cte(moves=moves)}, {BUSY_LEVEL}
SELECT c.*, free.seats AS free_seats, free.seats >= c.needed OR isempty(taken.times) AS has_room
  FROM checks c
 CROSS JOIN LATERAL (
   SELECT {blocked("c.blocks_from", "c.start_time", "c.blocks_until", of="c")} AS times
 ) AS taken
 CROSS JOIN LATERAL (
   SELECT c.capacity - count(*) AS seats
     FROM busy_level b WHERE b.position = c.position AND b.id = c.id AND b.times && taken.times
 ) AS free
 ORDER BY c.position, c.id, c.end_time
"""


# By whether a booking moves.
SLOTS = {moves: text(slots_query(moves=moves)) for moves in (False, True)}
CHECK = {moves: text(check_query(moves=moves)) for moves in (False, True)}
CHECK_WITH_FREE_SEATS = {moves: text(check_with_free_seats_query(moves=moves)) for moves in (False, True)}

# When the named resources are open, whatever they serve.
OPEN_TIMES = text(f"""
WITH {plans_cte(EMPTY_RULE, NAMED_CANDIDATE)}
SELECT p.id AS resource_id, lower(o) AS start_time, upper(o) AS end_time
  FROM plan p CROSS JOIN LATERAL unnest(p.open * tstzmultirange(tstzrange(:since, :until))) AS o
 ORDER BY p.id, lower(o)
""")

# The live bookings that meet a closure. One with several resources is named once.
AFFECTED = text(f"""
SELECT DISTINCT b.id, b.start_time, b.status, {CUSTOMER} AS customer, s.title AS service, {RESOURCE_NAMES} AS resource
  FROM bookings_reaching(greatest(:since - interval '2 days', :ends_after)) b
  JOIN users u ON u.id = b.user_id JOIN services s ON s.id = b.service_id
  JOIN resources r ON r.id = ANY (b.resource_id || b.other_resource_ids)
 CROSS JOIN LATERAL (
   SELECT coalesce(:since AT TIME ZONE CAST(:timezone AS text) AT TIME ZONE r.timezone, :since) AS since,
          coalesce(:until AT TIME ZONE CAST(:timezone AS text) AT TIME ZONE r.timezone, :until) AS until) AS local
 WHERE blocks_at(b.status, b.expires_at, :now)
   AND b.start_time < local.until AND b.end_time > greatest(local.since, :ends_after)
   AND b.start_time < :until + interval '2 days'
   AND (CAST(:resource_id AS bigint) IS NULL OR r.id = CAST(:resource_id AS bigint))
 ORDER BY b.start_time, b.id
 LIMIT :limit
""")
