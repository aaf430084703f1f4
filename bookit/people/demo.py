"""The people of the demo business, whose password is public.

The seed marks them. The trigger unmark_demo unmarks a person who gets another password.
"""

from sqlalchemy import text

from bookit.db.session import Reader, Session
from bookit.policy import permissions
from bookit.policy.permissions import Actor
from bookit.schema.tables import Role, User

COUNT_ABLE_TO_SIGN_IN = "SELECT count(*) FROM users WHERE is_demo AND is_active AND password_hash IS NOT NULL"
DEACTIVATE = text("""
UPDATE users SET is_active = false, password_hash = NULL
 WHERE is_demo AND (is_active OR password_hash IS NOT NULL)
RETURNING role
""")


async def count_able_to_sign_in(reader: Reader) -> int:
    """Return how many people of the demo can sign in with its password."""
    return int((await reader.fetch(text(COUNT_ABLE_TO_SIGN_IN)))[0]["count"])


async def deactivate(session: Session, *, by: Actor) -> tuple[int, int]:
    """Make every person of the demo inactive, without a password, and return how many are staff and customers.

    They stay marked, and their bookings stay as they are. Raise LastOwner if no active owner would be left.
    """
    permissions.require_permission(by, "change", User)
    rows = await session.fetch(DEACTIVATE)
    staff = sum(row["role"] != Role.USER for row in rows)
    return staff, len(rows) - staff
