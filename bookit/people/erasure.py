"""Erasing a customer: who they were goes, from history too; that somebody came, when and for how much stays."""

from datetime import datetime

from sqlalchemy import text

from bookit import refusals as no
from bookit.bookings import acts
from bookit.db.session import Reader, Session
from bookit.people import accounts, passwords, sign_in
from bookit.policy.permissions import Actor
from bookit.schema.tables import Booking, Role, User, from_row

ERASED_NAME = "Erased customer"
ERASED_COMMENT = "(erased)"

COUNT_UPCOMING = text("""
SELECT count(*) FROM bookings
 WHERE user_id = :user_id AND is_live(status) AND start_time > :now
""")
# In the order of resources, whose locks every writer of several takes so.
LOCK_UPCOMING = text("""
SELECT * FROM bookings
 WHERE user_id = :user_id AND is_live(status) AND start_time > :now
 ORDER BY resource_id, id FOR UPDATE
""")
# A review keeps its rating, which the business's averages rest on and which says nothing of anybody by itself.
ERASE_COMMENTS = text("""
UPDATE reviews SET comment = :comment
 WHERE booking_id IN (SELECT id FROM bookings WHERE user_id = :user_id) AND comment <> :comment
""")
DELETE_IDEMPOTENCY_KEYS = text("DELETE FROM idempotency_keys WHERE user_id = :user_id")
# Tries go by an e-mail; history knows theirs, and those before it.
DELETE_ATTEMPTS = text("""
DELETE FROM tries WHERE name IN (
  SELECT 'account ' || lower(address) FROM events CROSS JOIN unnest(ARRAY[old ->> 'email', new ->> 'email']) address
   WHERE table_name = 'users' AND row_id = :user_id)
""")
ERASE_FROM_HISTORY = text("SELECT erase_from_history(:user_id)")


def refusal_for_erasure(user: User) -> no.Refusal | None:
    """Give the refusal that erasing this person would meet; none if it can be."""
    if accounts.is_erased(user):
        return no.AlreadyErased()
    return None if user.role == Role.USER else no.OnlyCustomersErased()


async def count_upcoming(reader: Reader, user: User, *, now: datetime) -> int:
    """Count the bookings that erasing this customer would cancel."""
    return int((await reader.fetch(COUNT_UPCOMING, user_id=user.id, now=now))[0]["count"])


async def erase(session: Session, user: User, *, email: str, by: Actor, now: datetime) -> int:
    """Erase a customer for good; gives how many coming bookings that cancelled.

    ``email`` is theirs, typed again. Numbers, times and prices of their bookings stay, and so do ratings. Refuses
    whoever is no customer, who is erased already, and another e-mail.
    """
    if refusal := refusal_for_erasure(user):
        raise refusal
    if email.strip().lower() != user.email.lower():
        raise no.NotTheirEmail
    given_back = await session.fetch(LOCK_UPCOMING, user_id=user.id, now=now)
    for row in given_back:
        await acts.cancel(session, from_row(Booking, row), by=by, now=now)
    await session.fetch(ERASE_COMMENTS, user_id=user.id, comment=ERASED_COMMENT)
    await session.fetch(DELETE_IDEMPOTENCY_KEYS, user_id=user.id)
    await session.fetch(DELETE_ATTEMPTS, user_id=user.id)
    await session.fetch(sign_in.REVOKE_ALL, user_id=user.id)
    nobody = {
        "name": ERASED_NAME,
        "email": accounts.erased_email(user.id),
        "password_hash": passwords.UNUSABLE_PASSWORD_HASH,
    }
    await session.update(user, **nobody, is_active=False)
    await session.fetch(ERASE_FROM_HISTORY, user_id=user.id)
    return len(given_back)
