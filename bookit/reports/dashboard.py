"""The first page of the panel: what is next, what waits for an answer, what is not closed yet, and what is free."""

from datetime import datetime

from sqlalchemy import text

from bookit.bookings.availability_sql import active_plans_cte
from bookit.bookings.claims import takes
from bookit.bookings.visitors import CUSTOMER_OF_N
from bookit.db.session import Reader
from bookit.db.statements import Row
from bookit.policy import limits
from bookit.reports.figures_sql import BLOCKED_RANGES, FREE_TIME, in_minutes, occupied_cte

# How much open time each active resource has in the range, and how much of it is free; both times seats.
# remaining: the range, as a multirange.    times
FREE_TODAY = text(f"""
WITH {occupied_cte(active_plans_cte(), BLOCKED_RANGES)}, {FREE_TIME}, remaining AS (
  SELECT tstzmultirange(tstzrange(:since, :until)) AS times
)
SELECT p.id, p.name, p.capacity, NOT p.has_hours AS is_always_open,
       coalesce({in_minutes("open_length.length * p.capacity")}, 0) AS open_minutes,
       coalesce({in_minutes("free_length.length")}, 0) AS free_minutes
  FROM plan p CROSS JOIN remaining
 CROSS JOIN LATERAL (
   SELECT sum(upper(o) - lower(o)) AS length FROM unnest(p.open * remaining.times) AS o
 ) AS open_length
  LEFT JOIN (
    SELECT f.id, sum((upper(o) - lower(o)) * f.seats) AS length
      FROM free_time f CROSS JOIN remaining CROSS JOIN LATERAL unnest(f.times * remaining.times) AS o GROUP BY f.id
  ) AS free_length USING (id)
 ORDER BY free_minutes DESC, sort_key(p.name), p.id
""")
# The conditions and the order of each list; a list may have two conditions, so that each has its index. A long visit is
# closed when it is over, and not soon after its start.
RUNS_LONG = "(is_long(b.start_time, b.end_time) AND b.end_time >= :late)"
LIST_CONDITIONS = (
    (
        "next",
        """blocks_at(b.status, b.expires_at, :now) AND b.start_time >= :now AND b.start_time < :until
           ORDER BY b.start_time, b.id""",
    ),
    # A visit that has just begun may still be confirmed; after that it waits to be closed, as a confirmed one does.
    ("pending", "b.status = 'pending' AND b.start_time >= :late AND b.expires_at IS NULL ORDER BY b.start_time, b.id"),
    (
        "pending",
        f"""b.status = 'pending' AND b.start_time < :late AND b.start_time >= earliest_start(:late) AND {RUNS_LONG}
           AND b.expires_at IS NULL ORDER BY b.start_time, b.id""",
    ),
    (
        "late",
        f"""b.status = 'confirmed' AND b.start_time < :late AND NOT {RUNS_LONG}
           ORDER BY b.start_time DESC, b.id DESC""",
    ),
    (
        "late",
        f"""b.status = 'pending' AND b.start_time < :late AND NOT {RUNS_LONG} AND b.expires_at IS NULL
           ORDER BY b.start_time DESC, b.id DESC""",
    ),
    ("holds", "b.status = 'pending' AND b.expires_at > :now ORDER BY b.expires_at, b.id"),
)
IS_OF_RESOURCE = f"(CAST(:resource_id AS bigint) IS NULL OR {takes('CAST(:resource_id AS bigint)')})"
LISTED_BOOKINGS = " UNION ALL ".join(
    f"(SELECT '{name}' AS list, b.* FROM bookings b WHERE {IS_OF_RESOURCE} AND {condition} LIMIT :many)"
    for name, condition in LIST_CONDITIONS
)
# listed: the bookings of all lists, up to a limit for each condition.
# numbered: the same, with their position (at) in the list and the length (many) of the list.
BOOKING_LISTS = text(f"""
WITH listed AS MATERIALIZED ({LISTED_BOOKINGS}), numbered AS (
  SELECT listed.*, row_number() OVER by_list AS at, least(count(*) OVER (PARTITION BY list), :many) AS many
    FROM listed WINDOW by_list AS (
      PARTITION BY list ORDER BY CASE list WHEN 'holds' THEN expires_at WHEN 'late' THEN NULL ELSE start_time END,
                                 CASE list WHEN 'late' THEN start_time END DESC, id)
)
SELECT n.list, n.many, n.id, n.start_time, n.status, n.expires_at, n.user_id, {CUSTOMER_OF_N} AS customer,
       s.title AS service, s.is_active AS is_service_active, (
         SELECT jsonb_agg(
                  jsonb_build_object('id', r.id, 'name', r.name, 'is_active', r.is_active) ORDER BY taken.number)
           FROM unnest(n.resource_id || n.other_resource_ids) WITH ORDINALITY AS taken (id, number)
           JOIN resources r ON r.id = taken.id
       ) AS resources
  FROM numbered n JOIN users u ON u.id = n.user_id JOIN services s ON s.id = n.service_id
 WHERE n.at <= :max_rows
 ORDER BY n.list, n.at
""")


async def free_today(reader: Reader, *, now: datetime, until: datetime) -> list[Row]:
    """Return ``open_minutes`` and ``free_minutes`` of each active resource from now on, both times seats.

    The resource with the most free time comes first.
    """
    return await reader.fetch(FREE_TODAY, since=now, until=until, now=now)


async def booking_lists(
    reader: Reader, *, now: datetime, until: datetime, resource_id: int | None = None
) -> dict[str, list[Row]]:
    """Return four lists: visits that come ``next`` before ``until``, ``pending`` ones, ``late`` ones, and ``holds``.

    They are the visits of one resource, or of all if it is None.

    A list has up to ``MAX_DASHBOARD_ROWS`` bookings. In each row, ``many`` is the whole length of the list, counted up
    to ``MAX_DASHBOARD_COUNT``.
    """
    rows = await reader.fetch(
        BOOKING_LISTS,
        now=now,
        until=until,
        resource_id=resource_id,
        late=now - limits.OVERDUE_AFTER,
        many=limits.MAX_DASHBOARD_COUNT,
        max_rows=limits.MAX_DASHBOARD_ROWS,
    )
    lists: dict[str, list[Row]] = {name: [] for name, _ in LIST_CONDITIONS}
    for row in rows:
        lists[row["list"]].append(row)
    return lists
