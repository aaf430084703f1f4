"""Notes of staff about a customer or a booking. Customers see them in the export of their data alone."""

from datetime import datetime
from typing import Any

from sqlalchemy import text

from bookit import refusals as no
from bookit.db.session import Reader, Session
from bookit.db.statements import Row
from bookit.people import accounts
from bookit.policy import permissions
from bookit.policy.permissions import Actor
from bookit.schema.tables import Booking, Note, User

ON_CUSTOMER = text("""
SELECT n.id, n.user_id, n.booking_id, n.text, n.is_pinned, n.created_at, n.version, u.name AS author
  FROM notes n LEFT JOIN users u ON u.id = n.author_id
 WHERE n.user_id = :user_id ORDER BY n.is_pinned DESC, n.id DESC
""")
ON_BOOKING = text("""
SELECT n.id, n.user_id, n.booking_id, n.text, n.is_pinned, n.created_at, n.version, u.name AS author
  FROM notes n LEFT JOIN users u ON u.id = n.author_id
 WHERE n.id IN (
   SELECT id FROM notes WHERE booking_id = :booking_id
   UNION ALL
   SELECT id FROM notes WHERE user_id = (SELECT user_id FROM bookings WHERE id = :booking_id) AND is_pinned)
 ORDER BY n.is_pinned DESC, n.id DESC
""")


async def on_customer(reader: Reader, user_id: int) -> list[Row]:
    """Return the notes on a customer: the pinned ones first, then the latest."""
    return await reader.fetch(ON_CUSTOMER, user_id=user_id)


async def on_booking(reader: Reader, booking_id: int) -> list[Row]:
    """Return the pinned notes on the customer of a booking, and then the notes on the booking itself."""
    return await reader.fetch(ON_BOOKING, booking_id=booking_id)


async def find(reader: Reader, note_id: int, *, by: Actor) -> Note | None:
    """Return a note, or None if there is none or if the actor does not see what it is about."""
    note = await reader.get(Note, note_id)
    if note is None or note.booking_id is None:
        return note if permissions.has_permission(by, "see", User) else None
    booking = await reader.get(Booking, note.booking_id)
    return note if booking and permissions.is_in_scope(booking, by=by) else None


async def write(
    session: Session,
    *,
    by: Actor,
    now: datetime,
    text: str,
    user_id: int | None = None,
    booking_id: int | None = None,
    is_pinned: bool = False,
) -> Note:
    """Write a note on a customer or on a booking. Raise AlreadyErased if the customer is erased."""
    permissions.require_permission(by, "create", Note)
    await require_visible(session, user_id, booking_id, by=by)
    note = Note(user_id=user_id, booking_id=booking_id, text=text, is_pinned=is_pinned, author_id=by.id, created_at=now)
    return await session.insert(note)


async def change(session: Session, note: Note, *, by: Actor, now: datetime, **changes: Any) -> Note:
    """Change the text of a note, or whether it is pinned."""
    del now
    permissions.require_permission(by, "change", Note)
    await require_visible(session, note.user_id, note.booking_id, by=by)
    return await session.update(note, **changes)


async def remove(session: Session, note: Note, *, by: Actor, now: datetime) -> None:
    """Delete a note."""
    del now
    permissions.require_permission(by, "remove", Note)
    await require_visible(session, note.user_id, note.booking_id, by=by)
    await session.delete(note)


async def require_visible(session: Session, user_id: int | None, booking_id: int | None, *, by: Actor) -> None:
    """Raise the refusal unless the actor sees what a note is about, and unless its customer is erased.

    The customer is locked, so that nobody erases them meanwhile.
    """
    if booking_id is not None:
        booking = await session.get(Booking, booking_id)
        if booking is None:
            raise no.UnknownBooking
        permissions.require_in_scope(booking, by=by)
    else:
        permissions.require_permission(by, "see", User)
        booking = None
    customer_id = booking.user_id if booking else user_id
    customer = await session.get(User, customer_id, for_update=True, keeps_key=True) if customer_id else None
    if customer is None:
        raise no.UnknownUser if customer_id else no.NoteOnOneThing
    if accounts.is_erased(customer):
        raise no.AlreadyErased
