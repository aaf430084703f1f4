"""Accounts: registering, changing and removing users."""

from datetime import datetime
from typing import Any

from bookit import refusals as no
from bookit import security_log
from bookit.db.session import Session
from bookit.policy import permissions
from bookit.policy.permissions import Actor
from bookit.schema.tables import Role, User

ERASED_DOMAIN = "@erased.invalid"  # Reserved domain (RFC 2606) of erased accounts; registration refuses it.


async def register(
    session: Session,
    *,
    by: Actor,
    now: datetime,
    name: str,
    email: str,
    password_hash: str,
    role: Role = Role.USER,
    resource_id: int | None = None,
    is_demo: bool = False,
) -> User:
    """Create an account. Only an owner may give a role other than user, or say which resource a person works as.

    Only the seed marks it as one of the demo.
    """
    if is_demo and by.door != "seed":
        raise no.Forbidden
    if role != Role.USER or resource_id is not None:
        permissions.require_ability(by, "give_roles")
    require_unreserved_domain(email)
    user = User(name=name, email=email, password_hash=password_hash, role=role, resource_id=resource_id, created_at=now)
    if is_demo:
        user.is_demo = True
    return await session.insert(user)


async def change(session: Session, user: User, *, by: Actor, now: datetime, **changes: Any) -> User:
    """Change an account: the actor's own; at the desk, a customer's name and e-mail; as an owner, any.

    A manager changes customers, but gives no roles. Raise LastOwner if no active owner would be left.

    A new password, another role or a deactivation ends every sign-in of the user, except the one at the desk by which
    they change their own password. Another e-mail address ends none. Raise AlreadyErased if it was erased.
    """
    del now
    require_may_change(user, set(changes), by=by)
    if is_erased(user) and changes:
        raise no.AlreadyErased
    require_unreserved_domain(changes.get("email", ""))
    if "password_hash" in changes and by.door == "admin" and by.id == user.id and by.sign_in_id:
        await session.keep_sign_in(by.sign_in_id)
    changed = await session.update(user, **changes)
    if "password_hash" in changes:
        security_log.report("password changed", account=user.id)
    if "email" in changes:
        security_log.report("email changed", account=user.id, detail="sign-ins go on")
    if changes.keys() & {"role", "resource_id"}:
        security_log.report("role changed", account=user.id, detail=str(changed.role))
    return changed


def require_may_change(user: User, columns: set[str], *, by: Actor) -> None:
    """Raise Forbidden unless the actor may change these columns of this account."""
    if permissions.has_ability(by, "give_roles"):
        return
    is_own = user.id == by.id and columns <= {"name", "email", "password_hash"}
    if not (is_own or (user.role == Role.USER and columns <= columns_of_customers(by))):
        raise no.Forbidden


def columns_of_customers(by: Actor) -> set[str]:
    """Return which columns of a customer's account this actor may change."""
    if permissions.has_ability(by, "manage_customers"):
        return {"name", "email", "password_hash", "is_active"}
    return {"name", "email"} if permissions.has_permission(by, "see", User) else set()


def erased_email(user_id: int) -> str:
    """Return the e-mail address of the erased customer with this id."""
    return f"erased-{user_id}{ERASED_DOMAIN}"


def is_erased(user: User) -> bool:
    """Return whether this customer has been erased."""
    return user.email == erased_email(user.id)


def require_unreserved_domain(email: str) -> None:
    """Raise NotAnEmail for the domain of erased accounts."""
    if email.lower().endswith(ERASED_DOMAIN):
        raise no.NotAnEmail
