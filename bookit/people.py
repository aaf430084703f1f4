"""Accounts: joining, signing in and out, and changing one's own."""

import asyncio
import hashlib
import os
import secrets
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

from anyio import CapacityLimiter
from passlib.context import CryptContext
from sqlalchemy import ARRAY, Integer, Interval, String, any_, bindparam, delete, func, update
from sqlmodel import col, select

from bookit import policy
from bookit import refusals as no
from bookit.database import Database, Session
from bookit.policy import Actor
from bookit.tables import RefreshToken, Role, Try, User, row_of


def give_way() -> None:
    """Have this thread let others go first; only Linux gives a thread a priority of its own."""
    if sys.platform == "linux":
        os.nice(10)


# Cost 12 takes about a quarter of a second of one core. Its own few threads, one fewer than there are cores, leave
# the event loop a core to answer everybody else with, and give way to it on the others.
PASSWORDS = CryptContext(schemes=["bcrypt"], bcrypt__rounds=12)
MOST_AT_ONCE = max(1, (os.cpu_count() or 2) - 1)
THREADS = ThreadPoolExecutor(MOST_AT_ONCE, "passwords", initializer=give_way)
PLACES = CapacityLimiter(MOST_AT_ONCE)
NO_PASSWORD = ""  # The hash that no password has.
ERASED_PLACE = "@erased.invalid"  # Where nobody has an address (RFC 2606), and nobody may say they have.
MOST_WAITING = 100  # Who comes after so many is asked to come again, rather than left waiting for half a minute.

OF_EMAIL = select(User).where(func.lower(col(User.email)) == func.lower(bindparam("email")))
TRY = select(
    func.seconds_until_next_try(
        bindparam("name", type_=String), bindparam("most", type_=Integer), bindparam("per", type_=Interval)
    ).label("seconds")
)
FORGIVE = delete(Try).where(col(Try.name) == any_(bindparam("names", type_=ARRAY(String))))
SPEND = (
    update(RefreshToken)
    .where(
        col(RefreshToken.token_hash) == bindparam("hashed"),
        col(RefreshToken.spent_at).is_(None),
        col(RefreshToken.expires_at) > bindparam("now"),
    )
    .values(spent_at=bindparam("now"))
    .returning(col(RefreshToken.user_id), col(RefreshToken.family))
)
FAMILY = select(RefreshToken.family).where(RefreshToken.token_hash == bindparam("hashed"))
END_FAMILY = delete(RefreshToken).where(col(RefreshToken.family) == bindparam("family"))
END_ALL = delete(RefreshToken).where(col(RefreshToken.user_id) == bindparam("user_id"))

OLD_TRIES = delete(Try).where(col(Try.due_at) <= bindparam("now"))
EXPIRED = delete(RefreshToken).where(col(RefreshToken.expires_at) <= bindparam("now"))


async def hash_password(password: str) -> str:
    """Hash a password of 8 to 72 bytes with bcrypt. Done before a transaction: it takes a while."""
    if len(password) < policy.PASSWORD_LEAST or "\0" in password:
        raise no.PasswordTooShort
    if len(password.encode()) > policy.PASSWORD_BYTES:
        raise no.PasswordTooLong
    return str(await in_turn(PASSWORDS.hash, password))


async def is_password(password: str, password_hash: str | None) -> bool:
    """Whether this is the password; takes as long for a person who does not exist."""
    if len(password.encode()) > policy.PASSWORD_BYTES or "\0" in password:
        password, password_hash = "", None
    if not password_hash:
        return bool(await in_turn(PASSWORDS.dummy_verify))
    return bool(await in_turn(PASSWORDS.verify, password, password_hash))


async def in_turn(work: Callable[..., Any], *given: str) -> Any:
    """Do slow work off the event loop, in one's turn. Refuses when too many are waiting already."""
    if PLACES.statistics().tasks_waiting >= MOST_WAITING:
        raise no.Busy
    async with PLACES:
        return await asyncio.get_running_loop().run_in_executor(THREADS, work, *given)


async def recognise(database: Database, *, email: str, password: str, address: str = "") -> User:
    """Give the active person of this e-mail and password. Refuses everyone else alike, in the same time.

    ``address`` is where this comes from. Whoever guesses too often, at one account or from one address, must wait.
    """
    if "\0" in email:
        raise no.WrongPassword
    names = await count_try(database, email=email, address=address)
    rows = await database.fetch(OF_EMAIL, email=email)
    is_right = await is_password(password, rows[0]["password_hash"] if rows else None)
    if not (is_right and rows[0]["is_active"]):
        raise no.WrongPassword
    await database.fetch(FORGIVE, names=names)
    return row_of(User, rows[0])


async def count_try(database: Database, *, email: str, address: str) -> list[str]:
    """Count a try of a password, and give what to forgive if it was right. Refuses one too many."""
    names = {f"account {email.lower()}": policy.TRIES_OF_ACCOUNT, f"address {address}": policy.TRIES_OF_ADDRESS}
    for name, most in names.items():
        waits = await database.fetch(TRY, name=name, most=most, per=policy.TRIES_PER)
        if waits[0]["seconds"]:
            raise no.TooManyGuesses(seconds=waits[0]["seconds"])
    return list(names)


async def hash_own_password(
    database: Database, user: User, password: str, *, current: str | None, address: str = ""
) -> str:
    """Hash somebody's own new password. Refuses without the current one, guesses of which count as those to sign in."""
    if not current:
        raise no.CurrentPasswordNeeded
    names = await count_try(database, email=user.email, address=address)
    if not await is_password(current, user.password_hash):
        raise no.WrongCurrentPassword
    await database.fetch(FORGIVE, names=names)
    return await hash_password(password)


async def signed_in(database: Database, number: int) -> User:
    """Give the person of this number as they are now. Refuses one who is gone or inactive."""
    user = await database.get(User, number)
    if user is None or not user.is_active:
        raise no.SignInEnded
    return user


def password_mark(user: User) -> str:
    """Give a short mark that changes with the password, so that a sign-in can be tied to it."""
    return hashlib.sha256(user.password_hash.encode()).hexdigest()[:16]


def hash_token(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


async def start_sign_in(session: Session, user: User, *, now: datetime, lasts: timedelta, family: str = "") -> str:
    """Begin a sign-in, or carry on one, and give its refresh token; only a hash of it is kept."""
    token = secrets.token_urlsafe(32)
    await session.insert(
        RefreshToken(
            user_id=user.id,
            family=family or secrets.token_hex(16),
            token_hash=hash_token(token),
            created_at=now,
            expires_at=now + lasts,
        )
    )
    return token


async def renew_sign_in(session: Session, token: str, *, now: datetime, lasts: timedelta) -> tuple[User, str] | None:
    """Spend a refresh token for the next one.

    None when it is unknown, expired or its person is inactive. A token that was spent before has been stolen or
    copied: its whole family ends. That must be kept, so it is an answer and not a refusal.
    """
    spent = await session.fetch(SPEND, hashed=hash_token(token), now=now)
    if not spent:
        await sign_out(session, token)
        return None
    user = await session.get(User, spent[0]["user_id"])
    if user is None or not user.is_active:
        return None
    return user, await start_sign_in(session, user, now=now, lasts=lasts, family=spent[0]["family"])


async def sign_out(session: Session, token: str) -> None:
    """End the sign-in this token belongs to, if there is one."""
    for row in await session.fetch(FAMILY, hashed=hash_token(token)):
        await session.fetch(END_FAMILY, family=row["family"])


async def forget_sign_ins(session: Session, *, now: datetime) -> None:
    """Let go of the refresh tokens that have expired, and of tries that are long past."""
    await session.fetch(EXPIRED, now=now)
    await session.fetch(OLD_TRIES, now=now)


async def register(
    session: Session, *, by: Actor, now: datetime, name: str, email: str, password_hash: str, role: Role = Role.USER
) -> User:
    """Give somebody an account. Only an admin gives out a role other than customer."""
    if role != Role.USER and by.role != Role.ADMIN:
        raise no.Forbidden
    require_address(email)
    return await session.insert(User(name=name, email=email, password_hash=password_hash, role=role, created_at=now))


async def change(session: Session, user: User, *, by: Actor, now: datetime, **changes: Any) -> User:
    """Change an account: one's own, or for staff a customer's name and e-mail, or for an admin anybody's.

    A new password, another role or being made inactive ends every sign-in there is. Refuses one that was erased.
    """
    del now
    require_own(user, set(changes), by=by)
    if is_erased(user) and changes:
        raise no.AlreadyErased
    require_address(changes.get("email", ""))
    if changes.keys() & {"password_hash", "role", "is_active"}:
        await session.fetch(END_ALL, user_id=user.id)
    return await session.update(user, **changes)


def require_own(user: User, columns: set[str], *, by: Actor) -> None:
    """Refuse a change of somebody else's account, or of what is not one's own to change."""
    if by.role == Role.ADMIN:
        return
    is_own = user.id == by.id and columns <= {"name", "email", "password_hash"}
    is_customers = by.works_here and user.role == Role.USER and columns <= {"name", "email"}
    if not (is_own or is_customers):
        raise no.Forbidden


def erased_email(number: int) -> str:
    """Give the address that is nobody's, left to the erased customer of this number."""
    return f"erased-{number}{ERASED_PLACE}"


def is_erased(user: User) -> bool:
    """Whether this is what is left of an erased customer."""
    return user.email == erased_email(user.id)


def require_address(email: str) -> None:
    """Refuse an address where only the erased have one."""
    if email.lower().endswith(ERASED_PLACE):
        raise no.NotAnEmail


async def remove(session: Session, user: User, *, by: Actor, now: datetime) -> None:
    """Take an account away that nothing refers to; a customer with bookings stays."""
    del by, now
    await session.delete(user)
