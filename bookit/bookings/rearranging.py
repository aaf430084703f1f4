"""Several bookings that change places at one stroke, and whose turn it is meanwhile.

Whoever changes several locks their rows first, in the order of their numbers, and then their resources, in the order
of theirs: every other writer holds at most its own row when it asks for a resource, so nobody waits in a circle.
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

LOCK_BOOKINGS = text("SELECT * FROM bookings WHERE id = ANY (:numbers) ORDER BY id FOR UPDATE")
LOCK_RESOURCES = text("""
SELECT pg_advisory_xact_lock(id) FROM (
  SELECT unnest(CAST(:resources AS bigint[])) AS id
  UNION
  SELECT sr.resource_id FROM service_resources sr WHERE sr.service_id = ANY (CAST(:services AS bigint[]))
  ORDER BY id
) AS in_order
""")
# One statement: each may come to sit where another sat, and only when all have moved is a place found or refused.
MOVE_ALL = text("""
UPDATE bookings b
   SET start_time = to_be.since, end_time = to_be.until, resource_id = to_be.resource_id,
       blocks_from = b.blocks_from + (to_be.since - b.start_time),
       blocks_until = b.blocks_until + (to_be.until - b.end_time)
  FROM unnest(CAST(:numbers AS bigint[]), CAST(:starts AS timestamptz[]), CAST(:ends AS timestamptz[]),
              CAST(:resources AS bigint[])) AS to_be (id, since, until, resource_id)
 WHERE b.id = to_be.id
""")
Target = tuple[
    Booking, datetime, datetime, int
]  # a booking, and from when until when and on which resource it is to be


async def lock_bookings(session: Session, booking_ids: Collection[int]) -> list[Booking]:
    """Give the bookings of these numbers that there are, in their order, and keep others from changing them."""
    return [from_row(Booking, row) for row in await session.fetch(LOCK_BOOKINGS, numbers=sorted(booking_ids))]


async def lock_resources(
    session: Session, rows: Sequence[Booking], *resource_ids: int, with_candidates: bool = False
) -> None:
    """Keep others from booking these bookings' resources and more; with ``is_anywhere``, all that could serve them."""
    resources = sorted({row.resource_id for row in rows} | set(resource_ids))
    services = sorted({row.service_id for row in rows}) if with_candidates else []
    await session.fetch(LOCK_RESOURCES, resources=resources, services=services)


async def move_all(session: Session, targets: Sequence[Target]) -> list[Booking]:
    """Put bookings elsewhere at one stroke, so that one may take another's place. Judges no rule but the overlap."""
    numbers, starts, ends, resources = (
        [*column] for column in zip(*((row.id, since, until, to) for row, since, until, to in targets), strict=True)
    )
    await session.fetch(MOVE_ALL, numbers=numbers, starts=starts, ends=ends, resources=resources)
    return await lock_bookings(session, numbers)


def overlaps(target: Target, other: Booking) -> bool:
    """Whether a booking that goes there would sit where another sits now."""
    row, since, until, resource = target
    begins, ends = row.blocks_from + (since - row.start_time), row.blocks_until + (until - row.end_time)
    is_at_once = begins < other.blocks_until and other.blocks_from < ends
    return resource == other.resource_id and is_at_once


def require_movable(booking: Booking, *, now: datetime) -> None:
    """Refuse to move what takes no place: a booking whose life is over, or a hold that has run out."""
    if booking.status not in lifecycle.OPEN_STATUSES:
        raise no.NotOpen(status=lifecycle.format_status(booking.status))
    lifecycle.require_not_expired(booking, now=now)


async def swap(
    session: Session, first: Booking, second: Booking, *, by: Actor, now: datetime, override_reason: str | None = None
) -> list[Booking]:
    """Give each of two bookings the start and the resource of the other; each keeps its length.

    Refused like any move, and where one of them is too long for the gap that the other leaves.
    """
    permissions.require_override(override_reason, by=by)
    if override_reason:
        await session.set_reason(override_reason)
    there: list[Target] = []
    for one, other in ((first, second), (second, first)):
        start, end = other.start_time, other.start_time + (one.end_time - one.start_time)
        permissions.require_own_or_staff(one, by=by)
        require_movable(one, now=now)
        await acts.require_cancel_notice(session, one, by=by, now=now)
        times.require_future(start, by=by, now=now)
        await acts.require_available(
            session, one, start, end, other.resource_id, by=by, now=now, is_override=bool(override_reason)
        )
        there.append((one, start, end, other.resource_id))
    return await move_all(session, there)
