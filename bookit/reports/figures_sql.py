"""The SQL of the reports. The comment above a common table expression (CTE) says what one row is, and its columns.

The parameters: ``:edges`` and ``:ends``, the beginnings and the ends of the periods; ``:since`` and ``:until``, the
range; ``:now``; ``:last``, the end of the range for gaps. ``tests/reports/snapshots/`` has the statements in full.
"""

from collections.abc import Callable
from typing import LiteralString

from sqlalchemy import TextClause, text

from bookit.bookings.availability_sql import used_plans_cte

# Whether a booking counts: neither cancelled nor an expired hold.
IS_COUNTED = "b.status <> 'cancelled' AND NOT is_expired(b.expires_at, :now)"

# period: a period of the report. Bookings are read period by period, each through the index on starts.
#   n                                   its number, from 1
#   since, until
PERIOD = """period AS MATERIALIZED (
  SELECT n, since, until
    FROM unnest(CAST(:edges AS timestamptz[]), CAST(:ends AS timestamptz[])) WITH ORDINALITY AS edge (since, until, n)
)"""

# Visits and money by period, by service and in total, from one reading of the bookings.
# booking_totals: bookings of a period that are alike.
#   period, service_id, status, is_counted, is_future, is_upcoming
#   visits                              how many
#   price                               the sum of their prices
VISIT_TOTALS = text(f"""
WITH {PERIOD}, booking_totals AS (
  SELECT period.n AS period, b.*, is_counted AND is_future AND is_live(status) AS is_upcoming
    FROM period CROSS JOIN LATERAL (
      SELECT b.service_id, b.status, {IS_COUNTED} AS is_counted, b.start_time > :now AS is_future,
             count(*) AS visits, sum(b.price) AS price
        FROM bookings b WHERE b.start_time >= period.since AND b.start_time < period.until
       GROUP BY 1, 2, 3, 4
    ) AS b
)
SELECT period, service_id, s.title, bool_and(s.is_active) AS is_active, GROUPING(period, service_id) AS level,
       coalesce(sum(visits) FILTER (WHERE is_counted), 0)::bigint AS visits,
       coalesce(sum(visits) FILTER (WHERE status = 'completed'), 0)::bigint AS completed,
       coalesce(sum(visits) FILTER (WHERE status = 'no_show'), 0)::bigint AS no_shows,
       coalesce(sum(visits) FILTER (WHERE is_upcoming), 0)::bigint AS coming,
       coalesce(sum(t.price) FILTER (WHERE status = 'completed'), 0) AS revenue,
       coalesce(sum(t.price) FILTER (WHERE is_upcoming), 0) AS to_come
  FROM booking_totals t LEFT JOIN services s ON s.id = t.service_id
 GROUP BY GROUPING SETS ((period), (service_id, s.title), ())
 ORDER BY level, period, revenue DESC, to_come DESC, service_id
""")

# The two columns that occupied can have.
VISIT_RANGES = "range_agg(tstzrange(c.since, c.until) * tstzrange(b.start_time, b.end_time)) AS visits"
BLOCKED_RANGES = "range_agg(tstzrange(c.since, c.until)) AS blocks"


def occupied_cte(plans: LiteralString, *ranges: LiteralString) -> LiteralString:
    """Return the CTEs ``plans``, and ``occupied`` after them. Needs ``:since`` and ``:until``.

    occupied: a seat that bookings take.
      id, seat
      visits, blocks                    multiranges of the visits alone, and with setup and cleanup; as asked by ranges
    """
    return f"""{plans}, occupied AS MATERIALIZED (
  SELECT c.resource_id AS id, c.seat, {", ".join(ranges)}
    FROM bookings_reaching(:since) b JOIN claims c ON c.booking_id = b.id
   WHERE b.start_time < :until + interval '1 day' AND {IS_COUNTED}
   GROUP BY c.resource_id, c.seat
)"""


# free_time: when seats are free. A seat that bookings use has a row of its own; all others of a resource share one.
#   id
#   seats                               how many
#   times                               a multirange
FREE_TIME = """free_time AS (
  SELECT p.id, 1 AS seats, p.open - t.blocks AS times
    FROM plan p JOIN occupied t ON t.id = p.id AND t.seat <= p.capacity
  UNION ALL
  SELECT p.id, p.capacity - coalesce(used.seats, 0), p.open
    FROM plan p LEFT JOIN (
      SELECT t.id, count(*) AS seats FROM plan p JOIN occupied t ON t.id = p.id AND t.seat <= p.capacity GROUP BY t.id
    ) AS used USING (id)
   WHERE p.capacity > coalesce(used.seats, 0)
)"""


def in_minutes(interval: LiteralString) -> LiteralString:
    """Return the expression for an interval in whole minutes."""
    return f"round(extract(epoch FROM {interval}) / 60)::bigint"


def length_by_period(times: LiteralString) -> LiteralString:
    """Return a lateral subquery ``piece (n, length)``: how long a multirange is in each period. Cuts at each edge."""
    return f"""LATERAL (
  SELECT n, sum(least(upper, until) - greatest(lower, since)) AS length
    FROM (SELECT lower(o), upper(o), generate_series(width_bucket(lower(o), CAST(:edges AS timestamptz[])),
                                                     width_bucket(upper(o), CAST(:edges AS timestamptz[]))) AS n
            FROM unnest({times}) AS o) AS piece
    JOIN period USING (n) GROUP BY n
) AS piece"""


def length_in_total(times: LiteralString) -> LiteralString:
    """Return the same for a report of one period, where nothing needs cutting: half the work."""
    return f"""LATERAL (
  SELECT CAST(1 AS bigint) AS n, sum(upper(o) - lower(o)) AS length FROM unnest({times}) AS o
) AS piece"""


# shortest_service: the length of the shortest active service of a resource.
#   id, duration
# gap: the free time in stretches shorter than that, times seats. A stretch counts in the period in which it begins.
#   id, n, length
GAPS = f"""{FREE_TIME}, shortest_service AS (
  SELECT sr.resource_id AS id, make_interval(mins => min(s.duration_minutes)) AS duration
    FROM service_resources sr JOIN services s ON s.id = sr.service_id AND s.is_active GROUP BY sr.resource_id
), gap AS (
  SELECT f.id, n, sum(length * f.seats) AS length
    FROM free_time f JOIN shortest_service USING (id)
   CROSS JOIN LATERAL (
     SELECT width_bucket(lower(o), CAST(:edges AS timestamptz[])) AS n, sum(upper(o) - lower(o)) AS length
       FROM unnest(f.times) AS o
      WHERE upper(o) - lower(o) < shortest_service.duration AND lower(o) < CAST(:last AS timestamptz) GROUP BY 1
   ) AS short GROUP BY f.id, n
)"""
NO_GAPS = "gap (id, n, length) AS (VALUES (CAST(NULL AS bigint), CAST(NULL AS bigint), CAST(NULL AS interval)))"


def utilisation_sql(
    occupied: LiteralString, gaps: LiteralString, length_of: Callable[[LiteralString], LiteralString]
) -> TextClause:
    """Return the statement that measures time by resource, by period and in total.

    Hours are computed from a day before the range to a day after it, so that a free stretch across an end of the range
    has its whole length.

    open_in_range: the open time of a resource within the range.    id, capacity, open
    open_length: how long that is in a period, times seats.         id, n, length
    booked_length: how much of it visits use.                       id, n, length
    """
    return text(f"""
WITH {occupied}, {PERIOD}, open_in_range AS MATERIALIZED (
  SELECT p.id, p.capacity, p.open * whole.times AS open
    FROM plan p CROSS JOIN (SELECT tstzmultirange(tstzrange(min(since), max(until))) AS times FROM period) AS whole
), open_length AS (
  SELECT r.id, n, length * r.capacity AS length FROM open_in_range r CROSS JOIN {length_of("r.open")}
), booked_length AS (
  SELECT r.id, n, sum(length) AS length
    FROM open_in_range r JOIN occupied t USING (id) CROSS JOIN {length_of("r.open * t.visits")} GROUP BY r.id, n
), {gaps}
SELECT n AS period, p.id, p.name, bool_or(NOT p.has_hours) AS is_always_open, bool_and(p.is_active) AS is_active,
       GROUPING(n, p.id) AS level,
       coalesce({in_minutes("sum(open_length.length)")}, 0) AS open_minutes,
       coalesce({in_minutes("sum(booked_length.length)")}, 0) AS booked_minutes,
       coalesce({in_minutes("sum(gap.length)")}, 0) AS unsellable_minutes
  FROM plan p CROSS JOIN period
  LEFT JOIN open_length USING (id, n) LEFT JOIN booked_length USING (id, n) LEFT JOIN gap USING (id, n)
 GROUP BY GROUPING SETS ((n), (p.id, p.name), ())
 ORDER BY level, period, sort_key(p.name), p.id
""")


# By whether the report has gaps, and whether it has one period.
UTILISATION = {
    (with_gaps, is_one_period): utilisation_sql(
        occupied_cte(used_plans_cte(), VISIT_RANGES, *([BLOCKED_RANGES] if with_gaps else [])),
        GAPS if with_gaps else NO_GAPS,
        length_in_total if is_one_period else length_by_period,
    )
    for with_gaps in (False, True)
    for is_one_period in (False, True)
}

# Customers by period and in total.
# customer_period: a customer who completed a visit in a period.    n, user_id
# first_period: the first of these periods.                         user_id, n
# new_customers: how many customers had not completed a visit before the range, by first period.    n, many
REPEAT_CUSTOMERS = text(f"""
WITH {PERIOD}, customer_period AS MATERIALIZED (
  SELECT period.n, b.user_id
    FROM period CROSS JOIN LATERAL (
      SELECT b.user_id FROM bookings b
       WHERE b.status = 'completed' AND b.start_time >= period.since AND b.start_time < period.until
       GROUP BY b.user_id
    ) AS b
), first_period AS MATERIALIZED (
  SELECT user_id, min(n) AS n FROM customer_period GROUP BY user_id
), new_customers AS MATERIALIZED (
  SELECT n, count(*) AS many FROM first_period c
   WHERE NOT EXISTS (
     SELECT FROM bookings b WHERE b.user_id = c.user_id AND b.start_time < :since AND b.status = 'completed')
   GROUP BY n
)
SELECT n AS period, customers, customers - coalesce(many, 0) AS repeat_customers
  FROM (SELECT n, count(*) AS customers FROM customer_period GROUP BY n) AS counted LEFT JOIN new_customers USING (n)
UNION ALL
SELECT NULL, count(*), count(*) - coalesce((SELECT sum(many) FROM new_customers), 0)::bigint FROM first_period
 ORDER BY 1
""")
