"""Accounts: registering, changing and removing users."""

from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from bookit import refusals as no
from bookit import security_log
from bookit.db.session import Session
from bookit.people import phones
from bookit.policy import permissions
from bookit.policy.permissions import Actor
from bookit.schema.tables import Language, Role, User

# What everybody changes of themselves, and what the desk changes of customers.
OWN_COLUMNS = {"name", "email", "phone", "password_hash", "birthday", "language"}
DESK_COLUMNS = OWN_COLUMNS - {"password_hash"}
EARLIEST_BIRTHDAY = date(1900, 1, 1)
ERASED_DOMAIN = "@erased.invalid"  # Reserved domain (RFC 2606) of erased accounts; registration refuses it.


async def register(
    session: Session,
    *,
    by: Actor,
    now: datetime,
    name: str,
    email: str | None = None,
    phone: str | None = None,
    password_hash: str | None = None,
    birthday: date | None = None,
    language: Language | None = None,
    role: Role = Role.USER,
    resource_id: int | None = None,
    is_demo: bool = False,
) -> User:
    """Create a person. Only an owner may give a role other than user, or say which resource a person works as.

    Who signs in needs an e-mail address; others need one or a phone number. A phone number is read as one of the
    business's country. Only the seed marks a person as one of the demo.
    """
    if is_demo and by.door != "seed":
        raise no.Forbidden
    if role != Role.USER or resource_id is not None:
        permissions.require_ability(by, "give_roles")
    facts = {"email": email, "phone": phone, "password_hash": password_hash, "birthday": birthday, "language": language}
    stored = read_values(session, {name: value for name, value in facts.items() if value is not None}, now=now)
    user = User(name=name, role=role, resource_id=resource_id, created_at=now, **stored)
    if is_demo:
        user.is_demo = True
    return await session.insert(user)


async def change(session: Session, user: User, *, by: Actor, now: datetime, **changes: Any) -> User:
    """Change a person: the actor; at the desk, a customer's name and how to reach them; as an owner, anybody.

    A manager changes customers, but gives no roles. Raise LastOwner if no active owner would be left.

    A new password, another role or a deactivation ends every sign-in of the user, except the one at the desk by which
    they change their own password. Another e-mail address ends none. Raise AlreadyErased if it was erased.
    """
    changes = read_values(session, changes, now=now)
    changes = {name: value for name, value in changes.items() if value != getattr(user, name)}
    require_may_change(user, set(changes), by=by)
    if is_erased(user) and changes:
        raise no.AlreadyErased
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
    is_own = user.id == by.id and columns <= OWN_COLUMNS
    if not (is_own or (user.role == Role.USER and columns <= columns_of_customers(by))):
        raise no.Forbidden


def columns_of_customers(by: Actor) -> set[str]:
    """Return which columns of a customer's account this actor may change."""
    if permissions.has_ability(by, "manage_customers"):
        return OWN_COLUMNS | {"is_active"}
    return DESK_COLUMNS if permissions.has_permission(by, "see", User) else set()


def erased_email(user_id: int) -> str:
    """Return the e-mail address of the erased customer with this id."""
    return f"erased-{user_id}{ERASED_DOMAIN}"


def is_erased(user: User) -> bool:
    """Return whether this customer has been erased."""
    return user.email == erased_email(user.id)


def read_values(session: Session, values: dict[str, Any], *, now: datetime) -> dict[str, Any]:
    """Return values of a person as they are stored: an empty text is none, and a phone number is in E.164.

    Raise NotAPhone, BirthdayOutOfRange, or NotAnEmail for the domain of erased accounts.
    """
    stored = values | {name: values[name] or None for name in ("email", "phone", "language") if name in values}
    if str(stored.get("email") or "").lower().endswith(ERASED_DOMAIN):
        raise no.NotAnEmail
    if stored.get("phone"):
        stored["phone"] = phones.parse_phone(stored["phone"], session.phone_country)
    birthday = stored.get("birthday")
    if birthday and not EARLIEST_BIRTHDAY <= birthday <= now.astimezone(ZoneInfo(session.timezone)).date():
        raise no.BirthdayOutOfRange
    return stored
