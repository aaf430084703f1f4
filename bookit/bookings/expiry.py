"""Bookings that end by themselves: expired holds, and bookings of strangers that nobody has confirmed."""

from datetime import datetime, timedelta

from sqlalchemy import text

from bookit.db.session import Session

LOCK_RESOURCES = text("""
SELECT pg_advisory_xact_lock(expired.resource_id) FROM (
  SELECT DISTINCT unnest(resource_id || other_resource_ids) AS resource_id
    FROM bookings WHERE status = 'pending' AND is_expired(expires_at, :now) ORDER BY 1
) AS expired
""")
EXPIRE_HOLDS = text(
    "UPDATE bookings SET status = 'cancelled' WHERE status = 'pending' AND is_expired(expires_at, :now)"
)
# Bookings to come that only their customer has touched, who has never come and of whom staff have confirmed no booking.
# A row for each of their resources, in the order of resources, as every writer locks them.
LOCK_UNCONFIRMED = text("""
SELECT b.id, pg_advisory_xact_lock(b.resource_id) FROM (
  SELECT b.id, unnest(b.resource_id || b.other_resource_ids) AS resource_id FROM bookings b
   WHERE b.status = 'pending' AND b.expires_at IS NULL AND b.created_at <= :created_before AND b.start_time > :now
     AND NOT EXISTS (SELECT FROM bookings other
                      WHERE other.user_id = b.user_id AND other.status IN ('confirmed', 'completed'))
     AND NOT EXISTS (SELECT FROM events e
                      WHERE e.table_name = 'bookings' AND e.row_id = b.id AND e.actor_id IS DISTINCT FROM b.user_id)
   ORDER BY 2, 1
) AS b
""")
CANCEL = text("UPDATE bookings SET status = 'cancelled' WHERE id = ANY (CAST(:ids AS bigint[])) AND status = 'pending'")


async def expire_holds(session: Session, *, now: datetime) -> None:
    """Cancel every expired hold, so that lists show it. An expired hold blocks nothing even before that."""
    await session.set_reason("The hold expired.")
    await session.fetch(LOCK_RESOURCES, now=now)
    await session.fetch(EXPIRE_HOLDS, now=now)


async def expire_unconfirmed(session: Session, *, after: timedelta, now: datetime) -> None:
    """Cancel the bookings to come of strangers that nobody has confirmed in time. Zero is never.

    A stranger is a customer who has never come and has no confirmed booking.
    """
    if not after:
        return
    await session.set_reason("Nobody confirmed it in time.")
    rows = await session.fetch(LOCK_UNCONFIRMED, created_before=now - after, now=now)
    await session.fetch(CANCEL, ids=sorted({row["id"] for row in rows}))
