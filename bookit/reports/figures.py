"""What the business did, in figures: revenue, use of time, no-shows, customers who come again. Pure reads.

A period is a day, a week from Monday, a month, or the whole, by the business's clock, cut where the range begins and
ends. A visit counts in the period it starts in; time counts where it passes. ``MEANS`` says what each figure is.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString

from sqlalchemy import TextClause, text

from bookit.bookings.availability import RESOURCE_PLANS_CTE
from bookit.db.session import Reader
from bookit.db.statements import Row
from bookit.reports.ranges import ONE_DAY, ReportRange

DEFINITIONS = {
    "revenue": """Revenue is the price of completed visits, as it was when they were booked. What is booked and still
        to come, pending or confirmed, stands apart: nobody has earned it yet.""",
    "utilisation": """Utilisation is booked minutes inside open minutes, by open minutes times places. Booked is the
        visit itself, whatever became of it unless it was cancelled; setup and cleanup are not. A resource without
        opening hours is always open and counts 24 hours a day. Too short to sell is open time that stays free, place
        by place, in stretches shorter than the shortest service the resource serves; setup and cleanup are not free.
        It counts where it begins. Active resources only, by the hours they keep now.""",
    "no-shows": """The no-show rate is visits marked as no-show, by these and completed visits together. Cancelled
        visits, and those that nobody has closed yet, are in neither.""",
    "repeat-customers": """A customer of a period completed a visit in it. A repeat customer had completed another one
        at any time before; a new customer had not. Whoever comes in several periods is in each, and in the total
        once.""",
}


DEFINITIONS = {report: " ".join(words.split()) for report, words in DEFINITIONS.items()}


COUNTS = "b.status <> 'cancelled' AND NOT is_expired(b.expires_at, :now)"


# Bookings are read period by period, each by the index on starts, and added up where they are few.
PERIODS_CTE = """period AS MATERIALIZED (
  SELECT n, since, until
    FROM unnest(CAST(:edges AS timestamptz[]), CAST(:ends AS timestamptz[])) WITH ORDINALITY AS edge (since, until, n)
)"""


# By period, by service, and in all, from one reading of the bookings.
VISIT_TOTALS = text(f"""
WITH {PERIODS_CTE}, tally AS (
  SELECT period.n AS period, b.*, counts AND is_coming AND is_live(status) AS is_to_come
    FROM period CROSS JOIN LATERAL (
      SELECT b.service_id, b.status, {COUNTS} AS counts, b.start_time > :now AS is_coming,
             count(*) AS visits, sum(b.price) AS price
        FROM bookings b WHERE b.start_time >= period.since AND b.start_time < period.until
       GROUP BY 1, 2, 3, 4
    ) AS b
)
SELECT period, service_id, s.title, GROUPING(period, service_id) AS level,
       coalesce(sum(visits) FILTER (WHERE counts), 0)::bigint AS visits,
       coalesce(sum(visits) FILTER (WHERE status = 'completed'), 0)::bigint AS completed,
       coalesce(sum(visits) FILTER (WHERE status = 'no_show'), 0)::bigint AS no_shows,
       coalesce(sum(visits) FILTER (WHERE is_to_come), 0)::bigint AS coming,
       coalesce(sum(t.price) FILTER (WHERE status = 'completed'), 0) AS revenue,
       coalesce(sum(t.price) FILTER (WHERE is_to_come), 0) AS to_come
  FROM tally t LEFT JOIN services s ON s.id = t.service_id
 GROUP BY GROUPING SETS ((period), (service_id, s.title), ())
 ORDER BY level, period, revenue DESC, to_come DESC, service_id
""")


IN_RANGE = f"b.start_time >= earliest_start(:since) AND b.start_time < :until + interval '1 day' AND {COUNTS}"


VISIT_RANGES = "range_agg(tstzrange(b.start_time, b.end_time)) AS visits"


BLOCKED_RANGES = "range_agg(tstzrange(b.blocks_from, b.blocks_until)) AS blocks"


def occupied_cte(*ranges: LiteralString) -> LiteralString:
    """Give the start of a statement that has what is taken, place by place."""
    return f"""{RESOURCE_PLANS_CTE}, taken AS MATERIALIZED (
  SELECT b.resource_id AS id, b.seat, {", ".join(ranges)}
    FROM bookings b WHERE {IN_RANGE}
   GROUP BY b.resource_id, b.seat
)"""


# What is free: in each place that anything takes, and in all the others together.
FREE_CTE = """free AS (
  SELECT p.id, 1 AS places, p.open - t.blocks AS times
    FROM plan p JOIN taken t ON t.id = p.id AND t.seat <= p.capacity
  UNION ALL
  SELECT p.id, p.capacity - coalesce(busy.places, 0), p.open
    FROM plan p LEFT JOIN (
      SELECT t.id, count(*) AS places FROM plan p JOIN taken t ON t.id = p.id AND t.seat <= p.capacity GROUP BY t.id
    ) AS busy USING (id)
   WHERE p.capacity > coalesce(busy.places, 0)
)"""


TO_MINUTES = "round(extract(epoch FROM {}) / 60)::bigint"


# Times, period by period: cut where one ends and the next begins. Where there is but one, nothing is cut.
LENGTH_BY_PERIOD = """LATERAL (
  SELECT n, sum(least(upper, until) - greatest(lower, since)) AS length
    FROM (SELECT lower(o), upper(o), generate_series(width_bucket(lower(o), CAST(:edges AS timestamptz[])),
                                                     width_bucket(upper(o), CAST(:edges AS timestamptz[]))) AS n
            FROM unnest({}) AS o) AS piece
    JOIN period USING (n) GROUP BY n
) AS piece"""


LENGTH_IN_ALL = """LATERAL (
  SELECT CAST(1 AS bigint) AS n, sum(upper(o) - lower(o)) AS length FROM unnest({}) AS o
) AS piece"""


GAPS_CTE = f""", {FREE_CTE}, shortest AS (
  SELECT sr.resource_id AS id, make_interval(mins => min(s.duration_minutes)) AS lasts
    FROM service_resources sr JOIN services s ON s.id = sr.service_id AND s.is_active GROUP BY sr.resource_id
), gap AS (
  SELECT f.id, n, sum(length * f.places) AS length
    FROM free f JOIN shortest USING (id)
   CROSS JOIN LATERAL (
     SELECT width_bucket(lower(o), CAST(:edges AS timestamptz[])) AS n, sum(upper(o) - lower(o)) AS length
       FROM unnest(f.times) AS o
      WHERE upper(o) - lower(o) < shortest.lasts AND lower(o) < CAST(:last AS timestamptz) GROUP BY 1
   ) AS short GROUP BY f.id, n
)"""


NO_GAPS_CTE = ", gap (id, n, length) AS (VALUES (CAST(NULL AS bigint), CAST(NULL AS bigint), CAST(NULL AS interval)))"


def utilisation_sql(start: LiteralString, gaps: LiteralString, pieces: LiteralString) -> TextClause:
    """Give the statement that measures time: by resource, by period, and in all.

    Hours are worked out from a day before to a day after, so that what is free across the ends of the range is seen as
    long as it is.
    """
    return text(f"""{start}, {PERIODS_CTE}, within AS MATERIALIZED (
  SELECT p.id, p.capacity, p.open * whole.times AS open
    FROM plan p CROSS JOIN (SELECT tstzmultirange(tstzrange(min(since), max(until))) AS times FROM period) AS whole
), opened AS (
  SELECT w.id, n, length * w.capacity AS length FROM within w CROSS JOIN {pieces.format("w.open")}
), booked AS (
  SELECT w.id, n, sum(length) AS length
    FROM within w JOIN taken t USING (id) CROSS JOIN {pieces.format("w.open * t.visits")} GROUP BY w.id, n
){gaps}
SELECT n AS period, p.id, p.name, bool_or(NOT p.keeps_hours) AS is_always_open, GROUPING(n, p.id) AS level,
       coalesce({TO_MINUTES.format("sum(opened.length)")}, 0) AS open_minutes,
       coalesce({TO_MINUTES.format("sum(booked.length)")}, 0) AS booked_minutes,
       coalesce({TO_MINUTES.format("sum(gap.length)")}, 0) AS unsellable_minutes
  FROM plan p CROSS JOIN period
  LEFT JOIN opened USING (id, n) LEFT JOIN booked USING (id, n) LEFT JOIN gap USING (id, n)
 GROUP BY GROUPING SETS ((n), (p.id, p.name), ())
 ORDER BY level, period, p.name, p.id
""")


UTILISATION, WHOLE_UTILISATION = (
    utilisation_sql(occupied_cte(VISIT_RANGES), NO_GAPS_CTE, pieces) for pieces in (LENGTH_BY_PERIOD, LENGTH_IN_ALL)
)


UTILISATION_WITH_GAPS, WHOLE_UTILISATION_WITH_GAPS = (
    utilisation_sql(occupied_cte(VISIT_RANGES, BLOCKED_RANGES), GAPS_CTE, pieces)
    for pieces in (LENGTH_BY_PERIOD, LENGTH_IN_ALL)
)


# Whoever was never here before the range is new in the period they first came in, and nowhere else.
REPEAT_CUSTOMERS = text(f"""
WITH {PERIODS_CTE}, came AS MATERIALIZED (
  SELECT period.n, b.user_id
    FROM period CROSS JOIN LATERAL (
      SELECT b.user_id FROM bookings b
       WHERE b.status = 'completed' AND b.start_time >= period.since AND b.start_time < period.until
       GROUP BY b.user_id
    ) AS b
), customer AS MATERIALIZED (
  SELECT user_id, min(n) AS n FROM came GROUP BY user_id
), newcomer AS MATERIALIZED (
  SELECT n, count(*) AS many FROM customer c
   WHERE NOT EXISTS (
     SELECT FROM bookings b WHERE b.user_id = c.user_id AND b.start_time < :since AND b.status = 'completed')
   GROUP BY n
)
SELECT n AS period, customers, customers - coalesce(many, 0) AS repeat_customers
  FROM (SELECT n, count(*) AS customers FROM came GROUP BY n) AS counted LEFT JOIN newcomer USING (n)
UNION ALL
SELECT NULL, count(*), count(*) - coalesce((SELECT sum(many) FROM newcomer), 0)::bigint FROM customer
 ORDER BY 1
""")


@dataclass(frozen=True)
class PeriodReport:
    """A report: by period, by service or resource, and in all."""

    days: ReportRange
    periods: list[Row]
    groups: list[Row]
    total: Row


async def visits(reader: Reader, report_range: ReportRange, *, now: datetime) -> PeriodReport:
    """Count visits and money by period and by service.

    Each row has ``visits`` (all but cancelled ones), ``completed``, ``no_shows``, ``coming``, ``revenue``, ``to_come``
    and ``no_show_rate``, which is None where nobody was to come.
    """
    rows = await reader.fetch(VISIT_TOTALS, edges=report_range.period_starts, ends=report_range.period_ends, now=now)
    nothing = dict.fromkeys(("visits", "completed", "no_shows", "coming", "revenue", "to_come"), 0)

    def told(row: Row) -> Row:
        whole = nothing | {name: value for name, value in row.items() if value is not None}
        return whole | {"no_show_rate": ratio(whole["no_shows"], whole["no_shows"] + whole["completed"])}

    return split_levels(report_range, rows, told)


async def utilisation(
    reader: Reader, report_range: ReportRange, *, now: datetime, with_gaps: bool = True
) -> PeriodReport:
    """Measure time by period and by resource.

    Each row has ``open_minutes`` (times places), ``booked_minutes``, ``unsellable_minutes`` and ``utilisation``, which
    is None where nothing was open; one of a resource also ``is_always_open``.
    """
    moments = {"since": report_range.since - ONE_DAY, "until": report_range.until + ONE_DAY, "now": now}
    if with_gaps:
        moments["last"] = report_range.until
    statements = (UTILISATION_WITH_GAPS, WHOLE_UTILISATION_WITH_GAPS) if with_gaps else (UTILISATION, WHOLE_UTILISATION)
    statement = statements[len(report_range.periods) == 1]
    rows = await reader.fetch(statement, edges=report_range.period_starts, ends=report_range.period_ends, **moments)
    nothing = dict.fromkeys(("open_minutes", "booked_minutes", "unsellable_minutes"), 0)

    def told(row: Row) -> Row:
        whole = nothing | row
        return whole | {"utilisation": ratio(whole["booked_minutes"], whole["open_minutes"])}

    return split_levels(report_range, rows, told)


async def repeat_customers(reader: Reader, report_range: ReportRange) -> PeriodReport:
    """Count ``customers``, ``repeat_customers`` and ``new_customers`` by period, and the ``repeat_rate``."""
    rows = await reader.fetch(
        REPEAT_CUSTOMERS, edges=report_range.period_starts, ends=report_range.period_ends, since=report_range.since
    )

    def told(row: Row) -> Row:
        whole = {"customers": 0, "repeat_customers": 0} | row
        new = whole["customers"] - whole["repeat_customers"]
        return whole | {"new_customers": new, "repeat_rate": ratio(whole["repeat_customers"], whole["customers"])}

    for row in rows:
        row["level"] = LEVEL_PERIOD if row["period"] else LEVEL_TOTAL
    return split_levels(report_range, rows, told)


LEVEL_PERIOD, LEVEL_GROUP, LEVEL_TOTAL = 1, 2, 3  # as GROUPING numbers them


def split_levels(report_range: ReportRange, rows: list[Row], with_rates: Any) -> PeriodReport:
    """Sort the rows of a report by what they are about."""
    at: dict[int, list[Row]] = {LEVEL_PERIOD: [], LEVEL_GROUP: [], LEVEL_TOTAL: []}
    for row in rows:
        at[row["level"]].append(row)
    total = with_rates((at[LEVEL_TOTAL] or [{}])[0])
    return PeriodReport(
        report_range,
        [with_rates(row) for row in report_range.fill_periods(at[LEVEL_PERIOD])],
        [with_rates(row) for row in at[LEVEL_GROUP]],
        total,
    )


def ratio(part: int, whole: int) -> float | None:
    """Give a part of a whole, to four digits; no whole has no parts."""
    return round(part / whole, 4) if whole else None
