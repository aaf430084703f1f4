"""Moves several bookings in one statement, and takes the locks that this needs.

A writer of several bookings first locks their rows in the order of ids, then the resources, then the customers, each in
the order of the locks. Any other writer holds at most its own row when it waits for a resource, and takes the lock of
its customer last. So no two writers wait for each other.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import text

from bookit import refusals as no
from bookit.bookings import acts, availability
from bookit.bookings.claims import other_ids, require_different, resources_of
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
    SELECT nr.resource_id FROM service_needs n JOIN need_resources nr ON nr.need_id = n.id
     WHERE n.service_id = ANY (CAST(:services AS bigint[]))
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
       other_resource_ids = CAST(target.other_ids AS bigint[]), seats = target.seats, price = target.price,
       blocks_from = b.blocks_from + (target.since - b.start_time),
       blocks_until = b.blocks_until + (target.until - b.end_time)
  FROM unnest(CAST(:ids AS bigint[]), CAST(:starts AS timestamptz[]), CAST(:ends AS timestamptz[]),
              CAST(:resources AS bigint[]), CAST(:others AS text[]), CAST(:seats AS smallint[]),
              CAST(:prices AS numeric[])) AS target (id, since, until, resource_id, other_ids, seats, price)
 WHERE b.id = target.id
""")


@dataclass(frozen=True)
class Target:
    """A booking, and its new start, end, resources by position, seats and price."""

    row: Booking
    start: datetime
    end: datetime
    resources: Mapping[int, int]
    seats: int
    price: Decimal

    @property
    def blocked(self) -> tuple[datetime, datetime]:
        """The time that the booking blocks at its target."""
        row = self.row
        return row.blocks_from + (self.start - row.start_time), row.blocks_until + (self.end - row.end_time)


async def lock_bookings(session: Session, booking_ids: Collection[int]) -> list[Booking]:
    """Lock the bookings with these ids and return those that exist, by id."""
    return [from_row(Booking, row) for row in await session.fetch(LOCK_BOOKINGS, ids=sorted(booking_ids))]


async def lock_resources(
    session: Session, rows: Sequence[Booking], *resource_ids: int, with_candidates: bool = False
) -> None:
    """Lock all resources and customers of these bookings and these other resources, so that nothing else is booked.

    With ``with_candidates``, also lock every resource that can serve one of the bookings.
    """
    resources = sorted({taken for row in rows for taken in resources_of(row).values()} | set(resource_ids))
    services = sorted({row.service_id for row in rows}) if with_candidates else []
    customers = sorted({row.user_id for row in rows})
    await session.fetch(LOCK_RESOURCES, resources=resources, services=services, customers=customers)


async def move_all(session: Session, targets: Sequence[Target]) -> list[Booking]:
    """Move these bookings in one statement and return them, by id. Checks no rule but the overlap."""
    for target in targets:
        require_different(target.resources.values())
    await session.fetch(
        MOVE_ALL,
        ids=[target.row.id for target in targets],
        starts=[target.start for target in targets],
        ends=[target.end for target in targets],
        resources=[target.resources[1] for target in targets],
        others=[f"{{{','.join(map(str, other_ids(target.resources)))}}}" for target in targets],
        seats=[target.seats for target in targets],
        prices=[target.price for target in targets],
    )
    return await lock_bookings(session, [target.row.id for target in targets])


def overlaps(target: Target, other: Booking) -> bool:
    """Return whether a booking at its target would overlap another booking where that is now, on some resource.

    A pause is not looked at: then two bookings move together that could move one after the other.
    """
    since, until = target.blocked
    is_same_time = since < other.blocks_until and other.blocks_from < until
    return is_same_time and not {*target.resources.values()}.isdisjoint(resources_of(other).values())


def require_movable(booking: Booking, *, now: datetime) -> None:
    """Raise a refusal unless the booking is live: NotOpen, or HoldExpired."""
    if booking.status not in lifecycle.OPEN_STATUSES:
        raise no.NotOpen(status=lifecycle.format_status(booking.status))
    lifecycle.require_not_expired(booking, now=now)


async def swap(
    session: Session, first: Booking, second: Booking, *, by: Actor, now: datetime, override_reason: str | None = None
) -> list[Booking]:
    """Swap start and resources of two bookings; each keeps its length and its seats. Return both, by id.

    A position that only one of them has keeps its resource. Raise a refusal as ``reschedule`` does, also if one of them
    is too long for the gap that the other leaves.
    """
    permissions.require_override(override_reason, by=by)
    if override_reason:
        await session.set_reason(override_reason)
        await session.allow_overlap()
    targets: list[Target] = []
    for booking, other in ((first, second), (second, first)):
        start = other.start_time
        permissions.require_in_scope(booking, by=by)
        require_movable(booking, now=now)
        await acts.require_cancel_notice(session, booking, by=by, now=now)
        times.require_future(start, by=by, now=now)
        own, others = resources_of(booking), resources_of(other)
        resources = own | {position: others[position] for position in own.keys() & others.keys()}
        require_different(resources.values())
        end = await acts.end_of_same_length(session, booking, start, resource_id=resources[1])
        visit = availability.visit_after(booking, start_time=start, end_time=end, resources=resources)
        await acts.require_available(session, booking, visit, start, by=by, now=now, is_override=bool(override_reason))
        targets.append(Target(booking, start, end, resources, booking.seats, booking.price))
    return await move_all(session, targets)
