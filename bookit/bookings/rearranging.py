"""Moves several bookings in one statement, and takes the locks that this needs.

A writer of several bookings first locks their rows in the order of ids, then the resources, then the customers, each in
the order of the locks. Any other writer holds at most its own row when it waits for a resource, and takes the lock of
its customer last. So no two writers wait for each other.
"""

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import text

from bookit import refusals as no
from bookit.bookings import acts
from bookit.db.session import Session
from bookit.policy import lifecycle, permissions, times
from bookit.policy.permissions import Actor
from bookit.schema.tables import Booking, from_row

LOCK_BOOKINGS = text("SELECT * FROM bookings WHERE id = ANY (:ids) ORDER BY id FOR UPDATE")
LOCK_RESOURCES = text("""
SELECT pg_advisory_xact_lock(id) FROM (
  SELECT id FROM (
    SELECT unnest(CAST(:resources AS bigint[])) AS id
    UNION
    SELECT sr.resource_id FROM service_resources sr WHERE sr.service_id = ANY (CAST(:services AS bigint[]))
    UNION
    SELECT customer_lock(id) FROM unnest(CAST(:customers AS bigint[])) AS customer (id)
  ) AS locks ORDER BY id < 0, id
) AS in_order
""")
# One statement, so that a booking may take the seat of another one that moves too. Only when all rows have moved does a
# trigger look for free seats, and the constraint refuse an overlap.
MOVE_ALL = text("""
UPDATE bookings b
   SET start_time = target.since, end_time = target.until, resource_id = target.resource_id,
       blocks_from = b.blocks_from + (target.since - b.start_time),
       blocks_until = b.blocks_until + (target.until - b.end_time)
  FROM unnest(CAST(:ids AS bigint[]), CAST(:starts AS timestamptz[]), CAST(:ends AS timestamptz[]),
              CAST(:resources AS bigint[])) AS target (id, since, until, resource_id)
 WHERE b.id = target.id
""")
Target = tuple[Booking, datetime, datetime, int]  # a booking, and its new start, end and resource id


async def lock_bookings(session: Session, booking_ids: Collection[int]) -> list[Booking]:
    """Lock the bookings with these ids and return those that exist, by id."""
    return [from_row(Booking, row) for row in await session.fetch(LOCK_BOOKINGS, ids=sorted(booking_ids))]


async def lock_resources(
    session: Session, rows: Sequence[Booking], *resource_ids: int, with_candidates: bool = False
) -> None:
    """Lock the resources and customers of these bookings and these other resources, so that nothing else is booked.

    With ``with_candidates``, also lock every resource that can serve one of the bookings.
    """
    resources = sorted({row.resource_id for row in rows} | set(resource_ids))
    services = sorted({row.service_id for row in rows}) if with_candidates else []
    customers = sorted({row.user_id for row in rows})
    await session.fetch(LOCK_RESOURCES, resources=resources, services=services, customers=customers)


async def move_all(session: Session, targets: Sequence[Target]) -> list[Booking]:
    """Move these bookings in one statement and return them, by id. Checks no rule but the overlap."""
    ids, starts, ends, resources = (
        [*column] for column in zip(*((row.id, *target) for row, *target in targets), strict=True)
    )
    await session.fetch(MOVE_ALL, ids=ids, starts=starts, ends=ends, resources=resources)
    return await lock_bookings(session, ids)


def overlaps(target: Target, other: Booking) -> bool:
    """Return whether a booking at its target would overlap another booking where that is now."""
    row, since, until, resource_id = target
    blocks_from, blocks_until = row.blocks_from + (since - row.start_time), row.blocks_until + (until - row.end_time)
    is_same_time = blocks_from < other.blocks_until and other.blocks_from < blocks_until
    return resource_id == other.resource_id and is_same_time


def require_movable(booking: Booking, *, now: datetime) -> None:
    """Raise a refusal unless the booking is live: NotOpen, or HoldExpired."""
    if booking.status not in lifecycle.OPEN_STATUSES:
        raise no.NotOpen(status=lifecycle.format_status(booking.status))
    lifecycle.require_not_expired(booking, now=now)


async def swap(
    session: Session, first: Booking, second: Booking, *, by: Actor, now: datetime, override_reason: str | None = None
) -> list[Booking]:
    """Swap start and resource of two bookings; each keeps its length. Return both, by id.

    Raise a refusal as ``reschedule`` does, also if one of them is too long for the gap that the other leaves.
    """
    permissions.require_override(override_reason, by=by)
    if override_reason:
        await session.set_reason(override_reason)
        await session.allow_overlap()
    targets: list[Target] = []
    for booking, other in ((first, second), (second, first)):
        start, end = other.start_time, await acts.end_of_same_length(session, booking, other.start_time)
        permissions.require_in_scope(booking, by=by)
        require_movable(booking, now=now)
        await acts.require_cancel_notice(session, booking, by=by, now=now)
        times.require_future(start, by=by, now=now)
        await acts.require_available(
            session, booking, start, end, other.resource_id, by=by, now=now, is_override=bool(override_reason)
        )
        targets.append((booking, start, end, other.resource_id))
    return await move_all(session, targets)
