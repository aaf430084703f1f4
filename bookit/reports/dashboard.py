"""What a desk looks at first: who comes next, what waits, who has not come, and what is still free. Pure reads."""

from datetime import datetime

from sqlalchemy import text

from bookit.db.session import Reader
from bookit.db.statements import Row
from bookit.policy import limits
from bookit.reports.figures import BLOCKED_RANGES, FREE_CTE, TO_MINUTES, occupied_cte

# Open time from :since on that nobody has taken, times places.
FREE_TODAY = text(f"""{occupied_cte(BLOCKED_RANGES)}, {FREE_CTE}, rest AS (
  SELECT tstzmultirange(tstzrange(:since, :until)) AS times
)
SELECT p.id, p.name, p.capacity, NOT p.keeps_hours AS is_always_open,
       coalesce({TO_MINUTES.format("opened.length")}, 0) * p.capacity AS open_minutes,
       coalesce({TO_MINUTES.format("unsold.length")}, 0) AS free_minutes
  FROM plan p CROSS JOIN rest
 CROSS JOIN LATERAL (SELECT sum(upper(o) - lower(o)) AS length FROM unnest(p.open * rest.times) AS o) AS opened
  LEFT JOIN (
    SELECT f.id, sum((upper(o) - lower(o)) * f.places) AS length
      FROM free f CROSS JOIN rest CROSS JOIN LATERAL unnest(f.times * rest.times) AS o GROUP BY f.id
  ) AS unsold USING (id)
 ORDER BY free_minutes DESC, p.name, p.id
""")
# Each list by itself, its rows by name, and how many there are.
LIST_CONDITIONS = {
    "next": "blocks_at(b.status, b.expires_at, :now) AND b.start_time >= :now AND b.start_time < :until"
    " ORDER BY b.start_time, b.id",
    "pending": "b.status = 'pending' AND b.start_time >= :now AND b.expires_at IS NULL ORDER BY b.start_time, b.id",
    "late": "b.status = 'confirmed' AND b.start_time < :late ORDER BY b.start_time DESC, b.id DESC",
    "holds": "b.status = 'pending' AND b.expires_at > :now ORDER BY b.expires_at, b.id",
}
LISTED_BOOKINGS = " UNION ALL ".join(
    f"(SELECT '{name}' AS list, b.* FROM bookings b WHERE {which} LIMIT :many)"
    for name, which in LIST_CONDITIONS.items()
)
BOOKING_LISTS = text(f"""
WITH found AS MATERIALIZED ({LISTED_BOOKINGS}), numbered AS (
  SELECT found.*, row_number() OVER by_list AS at, count(*) OVER (PARTITION BY list) AS many
    FROM found WINDOW by_list AS (
      PARTITION BY list ORDER BY CASE list WHEN 'holds' THEN expires_at WHEN 'late' THEN NULL ELSE start_time END,
                                 CASE list WHEN 'late' THEN start_time END DESC, id)
)
SELECT n.list, n.many, n.id, n.start_time, n.status, n.expires_at, n.user_id, u.name AS customer, s.title AS service,
       n.resource_id, r.name AS resource
  FROM numbered n JOIN users u ON u.id = n.user_id JOIN services s ON s.id = n.service_id
  JOIN resources r ON r.id = n.resource_id
 WHERE n.at <= :shown
 ORDER BY n.list, n.at
""")


async def free_today(reader: Reader, *, now: datetime, until: datetime) -> list[Row]:
    """Give each active resource's ``open_minutes`` and ``free_minutes`` from now on, times places; the freest first."""
    return await reader.fetch(FREE_TODAY, since=now, until=until, now=now)


async def booking_lists(reader: Reader, *, now: datetime, until: datetime) -> dict[str, list[Row]]:
    """Give what is ``next`` before a moment, what is ``pending``, who is ``late`` and the ``holds`` that run.

    Each list has its first bookings, by name, and in each row how ``many`` there are, up to ``policy.MOST_COUNTED``.
    """
    rows = await reader.fetch(
        BOOKING_LISTS,
        now=now,
        until=until,
        late=now - limits.OVERDUE_AFTER,
        many=limits.MAX_DASHBOARD_COUNT,
        shown=limits.MAX_DASHBOARD_ROWS,
    )
    found: dict[str, list[Row]] = {name: [] for name in LIST_CONDITIONS}
    for row in rows:
        found[row["list"]].append(row)
    return found
