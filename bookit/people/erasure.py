"""Erasing a customer: their personal data goes, from history too. Numbers, times and prices of bookings stay."""

from contextlib import suppress
from datetime import datetime

from sqlalchemy import text

from bookit import refusals as no
from bookit.bookings import acts
from bookit.db.session import Reader, Session
from bookit.people import accounts, phones, sign_ins
from bookit.policy.permissions import Actor
from bookit.schema.tables import Booking, Role, User, from_row

ERASED_NAME = "Erased customer"
ERASED_COMMENT = "(erased)"

COUNT_UPCOMING = text("""
SELECT count(*) FROM bookings
 WHERE user_id = :user_id AND is_live(status) AND start_time > :now
""")
# In the order of resources, as every writer of several bookings locks them.
LOCK_UPCOMING = text("""
SELECT * FROM bookings
 WHERE user_id = :user_id AND is_live(status) AND start_time > :now
 ORDER BY resource_id, id FOR UPDATE
""")
# The rating stays: averages need it, and it identifies nobody.
ERASE_COMMENTS = text("""
UPDATE reviews SET comment = :comment
 WHERE booking_id IN (SELECT id FROM bookings WHERE user_id = :user_id) AND comment <> :comment
""")
DELETE_NOTES = text("""
DELETE FROM notes
 WHERE user_id = :user_id OR booking_id IN (SELECT id FROM bookings WHERE user_id = :user_id)
""")
# In the order of resources, as above.
ERASE_VISITORS = text("""
WITH locked AS MATERIALIZED (
  SELECT id FROM bookings WHERE user_id = :user_id AND visitor_name IS NOT NULL ORDER BY resource_id, id FOR UPDATE
)
UPDATE bookings SET visitor_name = NULL FROM locked WHERE bookings.id = locked.id
""")
DELETE_IDEMPOTENCY_KEYS = text("DELETE FROM idempotency_keys WHERE user_id = :user_id")
DELETE_ATTEMPTS = text("""
DELETE FROM tries WHERE name IN (
  counter_name('account ' || CAST(:user_id AS bigint)), counter_name('password of ' || CAST(:user_id AS bigint)))
""")
ERASE_FROM_HISTORY = text("SELECT erase_from_history(:user_id)")


def refusal_for_erasure(user: User) -> no.Refusal | None:
    """Return the refusal if this user is erased, or None if that is possible."""
    if accounts.is_erased(user):
        return no.AlreadyErased()
    return None if user.role == Role.USER else no.OnlyCustomersErased()


async def count_upcoming(reader: Reader, user: User, *, now: datetime) -> int:
    """Return how many bookings an erasure of this customer cancels."""
    return int((await reader.fetch(COUNT_UPCOMING, user_id=user.id, now=now))[0]["count"])


async def erase(session: Session, user: User, *, email: str, by: Actor, now: datetime) -> int:
    """Erase a customer permanently, and return how many upcoming bookings were cancelled.

    ``email`` is the customer's address, typed as a confirmation, or their phone number if they have no address.
    Numbers, times and prices of the bookings stay, and so do ratings. Raise OnlyCustomersErased, AlreadyErased, or
    NotTheirEmail or NotTheirPhone if it is another one.
    """
    if refusal := refusal_for_erasure(user):
        raise refusal
    require_confirmation(user, email.strip(), country=session.phone_country)
    upcoming = await session.fetch(LOCK_UPCOMING, user_id=user.id, now=now)
    for row in upcoming:
        await acts.cancel(session, from_row(Booking, row), by=by, now=now)
    await session.fetch(ERASE_COMMENTS, user_id=user.id, comment=ERASED_COMMENT)
    await session.fetch(DELETE_NOTES, user_id=user.id)
    await session.fetch(ERASE_VISITORS, user_id=user.id)
    await session.fetch(DELETE_IDEMPOTENCY_KEYS, user_id=user.id)
    await session.fetch(DELETE_ATTEMPTS, user_id=user.id)
    await session.fetch(sign_ins.DELETE_OF_USER, user_id=user.id)
    await session.update(
        user,
        name=ERASED_NAME,
        email=accounts.erased_email(user.id),
        phone=None,
        birthday=None,
        language=None,
        password_hash=None,
        is_active=False,
    )
    await session.fetch(ERASE_FROM_HISTORY, user_id=user.id)
    return len(upcoming)


def require_confirmation(user: User, typed: str, *, country: str) -> None:
    """Raise NotTheirEmail or NotTheirPhone unless this is the address of the user, or their number without one."""
    if user.email is not None:
        if typed.lower() != user.email.lower():
            raise no.NotTheirEmail
        return
    with suppress(no.NotAPhone):
        typed = phones.parse_phone(typed, country)
    if typed != user.phone:
        raise no.NotTheirPhone


async def remove(session: Session, user: User, *, by: Actor, now: datetime) -> None:
    """Delete a customer without bookings, and erase them first: history would keep their name and address for good.

    Raise StillInUse if they have bookings, and OnlyCustomersDeleted for staff, whose names history needs.
    """
    if user.role != Role.USER:
        raise no.OnlyCustomersDeleted
    if not accounts.is_erased(user):
        await erase(session, user, email=user.email or user.phone or "", by=by, now=now)
    await session.delete(user)
