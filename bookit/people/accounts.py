"""Accounts: registering, changing and removing people."""

from datetime import datetime
from typing import Any

from bookit import refusals as no
from bookit.db.session import Session
from bookit.people.sign_in import REVOKE_ALL
from bookit.policy.permissions import Actor
from bookit.schema.tables import Role, User

ERASED_DOMAIN = "@erased.invalid"  # Where nobody has an address (RFC 2606), and nobody may say they have.


async def register(
    session: Session, *, by: Actor, now: datetime, name: str, email: str, password_hash: str, role: Role = Role.USER
) -> User:
    """Give somebody an account. Only an admin gives out a role other than customer."""
    if role != Role.USER and by.role != Role.ADMIN:
        raise no.Forbidden
    require_unreserved_domain(email)
    return await session.insert(User(name=name, email=email, password_hash=password_hash, role=role, created_at=now))


async def change(session: Session, user: User, *, by: Actor, now: datetime, **changes: Any) -> User:
    """Change an account: one's own, or for staff a customer's name and e-mail, or for an admin anybody's.

    A new password, another role or being made inactive ends every sign-in there is. Refuses one that was erased.
    """
    del now
    require_may_change(user, set(changes), by=by)
    if is_erased(user) and changes:
        raise no.AlreadyErased
    require_unreserved_domain(changes.get("email", ""))
    if changes.keys() & {"password_hash", "role", "is_active"}:
        await session.fetch(REVOKE_ALL, user_id=user.id)
    return await session.update(user, **changes)


def require_may_change(user: User, columns: set[str], *, by: Actor) -> None:
    """Refuse a change of somebody else's account, or of what is not one's own to change."""
    if by.role == Role.ADMIN:
        return
    is_own = user.id == by.id and columns <= {"name", "email", "password_hash"}
    is_customers = by.is_staff and user.role == Role.USER and columns <= {"name", "email"}
    if not (is_own or is_customers):
        raise no.Forbidden


def erased_email(user_id: int) -> str:
    """Give the address that is nobody's, left to the erased customer of this number."""
    return f"erased-{user_id}{ERASED_DOMAIN}"


def is_erased(user: User) -> bool:
    """Whether this is what is left of an erased customer."""
    return user.email == erased_email(user.id)


def require_unreserved_domain(email: str) -> None:
    """Refuse an address where only the erased have one."""
    if email.lower().endswith(ERASED_DOMAIN):
        raise no.NotAnEmail


async def remove(session: Session, user: User, *, by: Actor, now: datetime) -> None:
    """Take an account away that nothing refers to; a customer with bookings stays."""
    del by, now
    await session.delete(user)
