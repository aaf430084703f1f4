"""What a day took: by method, one by one, and which of its completed visits are not paid."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import text

from bookit.db.session import Reader
from bookit.db.statements import Row
from bookit.policy import limits
from bookit.reports.ranges import ReportRange

ENTRIES = """
  SELECT 'payment' AS kind, p.id, p.booking_id, p.settled_at AS at, p.method, p.currency, p.amount AS taken,
         0::bigint AS given_back, NULL AS reason, p.recorded_by_id
    FROM payments p WHERE p.state = 'succeeded' AND p.settled_at >= :since AND p.settled_at < :until
  UNION ALL
  SELECT 'refund', r.id, p.booking_id, r.settled_at, p.method, r.currency, 0, r.amount, r.reason, r.recorded_by_id
    FROM refunds r JOIN payments p ON p.id = r.payment_id
   WHERE r.state = 'succeeded' AND r.settled_at >= :since AND r.settled_at < :until
"""
BY_METHOD = text(f"""
SELECT currency, method, count(*) FILTER (WHERE kind = 'payment') AS payments,
       sum(taken)::bigint AS taken, sum(given_back)::bigint AS given_back, sum(taken - given_back)::bigint AS kept
  FROM ({ENTRIES}) AS entries GROUP BY currency, method ORDER BY currency, method
""")
LIST = text(f"""
SELECT entries.*, customer.name AS customer, u.name AS recorded_by
  FROM ({ENTRIES}) AS entries
  JOIN bookings b ON b.id = entries.booking_id JOIN users customer ON customer.id = b.user_id
  LEFT JOIN users u ON u.id = entries.recorded_by_id
 ORDER BY at, kind, id LIMIT :max_rows
""")
# With the number and the sum of all of them in each row.
UNPAID = text("""
SELECT b.id, b.start_time, u.name AS customer, s.title AS service, m.currency, m.due,
       count(*) OVER () AS many, sum(m.due) OVER (PARTITION BY m.currency)::bigint AS total
  FROM bookings b CROSS JOIN LATERAL booking_money(b.id) m
  JOIN users u ON u.id = b.user_id JOIN services s ON s.id = b.service_id
 WHERE b.status = 'completed' AND b.start_time >= :since AND b.start_time < :until AND m.due > 0
 ORDER BY b.start_time, b.id LIMIT :max_rows
""")


@dataclass(frozen=True)
class Takings:
    """What a day took, in minor units: sums ``by_method``, its ``entries``, and its completed visits that owe money."""

    by_method: Sequence[Row]
    entries: Sequence[Row]
    unpaid: Sequence[Row]


async def takings(reader: Reader, days: ReportRange) -> Takings:
    """Return what was taken and given back in these days. Lists end after ``MAX_TAKINGS_ROWS``; the sums have all."""
    range_and_limit = {"since": days.since, "until": days.until, "max_rows": limits.MAX_TAKINGS_ROWS}
    return Takings(
        await reader.fetch(BY_METHOD, since=days.since, until=days.until),
        await reader.fetch(LIST, **range_and_limit),
        await reader.fetch(UNPAID, **range_and_limit),
    )
