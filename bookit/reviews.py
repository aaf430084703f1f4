"""Reviews of completed bookings."""

from datetime import datetime
from typing import Any

from bookit import refusals as no
from bookit.db.session import Session
from bookit.policy import permissions
from bookit.policy.permissions import Actor
from bookit.schema.tables import Booking, Review, Status


async def write(session: Session, *, by: Actor, now: datetime, booking_id: int, rating: int, comment: str) -> Review:
    """Write a review of the actor's own completed booking. Raise AlreadyReviewed if it has one."""
    booking = await session.get(Booking, booking_id)
    if booking is None:
        raise no.UnknownBooking(what="booking")
    if booking.user_id != by.id:
        raise no.NotYourBooking
    if booking.status != Status.COMPLETED:
        raise no.NotYetCompleted
    return await session.insert(Review(booking_id=booking_id, rating=rating, comment=comment, created_at=now))


async def change(session: Session, review: Review, *, by: Actor, now: datetime, **changes: Any) -> Review:
    """Change the actor's own review."""
    del now
    await require_author(session, review, by=by)
    return await session.update(review, **changes)


async def remove(session: Session, review: Review, *, by: Actor, now: datetime) -> None:
    """Delete the actor's own review or, as a manager or an owner, any review."""
    del now
    if not permissions.has_ability(by, "remove_any_review"):
        await require_author(session, review, by=by)
    await session.delete(review)


async def require_author(session: Session, review: Review, *, by: Actor) -> None:
    """Raise NotYourReview unless the actor wrote the review."""
    booking = await session.get(Booking, review.booking_id)
    if booking is None or booking.user_id != by.id:
        raise no.NotYourReview
