"""Signing in and out: failed attempts, refresh tokens."""

import hashlib
import secrets
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import ARRAY, Integer, Interval, String, any_, bindparam, delete, func, update
from sqlmodel import col, select

from bookit import refusals as no
from bookit.db.pool import Database
from bookit.db.session import Session
from bookit.people.passwords import hash_password, verify_password
from bookit.policy import limits
from bookit.schema.tables import RefreshToken, Try, User, from_row

SELECT_BY_EMAIL = select(User).where(func.lower(col(User.email)) == func.lower(bindparam("email")))
COUNT_ATTEMPT = select(
    func.seconds_until_next_try(
        bindparam("name", type_=String), bindparam("most", type_=Integer), bindparam("per", type_=Interval)
    ).label("seconds")
)
RESET_ATTEMPTS = delete(Try).where(col(Try.name) == any_(bindparam("names", type_=ARRAY(String))))
SPEND_TOKEN = (
    update(RefreshToken)
    .where(
        col(RefreshToken.token_hash) == bindparam("hashed"),
        col(RefreshToken.spent_at).is_(None),
        col(RefreshToken.expires_at) > bindparam("now"),
    )
    .values(spent_at=bindparam("now"))
    .returning(col(RefreshToken.user_id), col(RefreshToken.family))
)
SELECT_FAMILY = select(RefreshToken.family).where(RefreshToken.token_hash == bindparam("hashed"))
REVOKE_FAMILY = delete(RefreshToken).where(col(RefreshToken.family) == bindparam("family"))
REVOKE_ALL = delete(RefreshToken).where(col(RefreshToken.user_id) == bindparam("user_id"))
DELETE_OLD_ATTEMPTS = delete(Try).where(col(Try.due_at) <= bindparam("now"))
DELETE_EXPIRED_TOKENS = delete(RefreshToken).where(col(RefreshToken.expires_at) <= bindparam("now"))


async def authenticate(database: Database, *, email: str, password: str, client_address: str = "") -> User:
    """Return the active user with this e-mail and password.

    Raise WrongPassword in all other cases, after the same time. Raise TooManyGuesses after too many failed attempts at
    this account or from this ``client_address``.
    """
    if "\0" in email:
        raise no.WrongPassword
    names = await count_attempt(database, email=email, client_address=client_address)
    rows = await database.fetch(SELECT_BY_EMAIL, email=email)
    is_right = await verify_password(password, rows[0]["password_hash"] if rows else None)
    if not (is_right and rows[0]["is_active"]):
        raise no.WrongPassword
    await database.fetch(RESET_ATTEMPTS, names=names)
    return from_row(User, rows[0])


async def count_attempt(database: Database, *, email: str, client_address: str) -> list[str]:
    """Count an attempt, and return the names to reset if it succeeds. Raise TooManyGuesses beyond the limit."""
    names = {
        f"account {email.lower()}": limits.MAX_ATTEMPTS_PER_ACCOUNT,
        f"address {client_address}": limits.MAX_ATTEMPTS_PER_ADDRESS,
    }
    for name, max_attempts in names.items():
        rows = await database.fetch(COUNT_ATTEMPT, name=name, most=max_attempts, per=limits.ATTEMPT_WINDOW)
        if rows[0]["seconds"]:
            raise no.TooManyGuesses(seconds=rows[0]["seconds"])
    return list(names)


async def hash_own_password(
    database: Database, user: User, password: str, *, current: str | None, client_address: str = ""
) -> str:
    """Return the hash of a new password of this user.

    Raise a refusal if the ``current`` password is missing or wrong. A wrong one counts as a failed sign-in.
    """
    if not current:
        raise no.CurrentPasswordNeeded
    names = await count_attempt(database, email=user.email, client_address=client_address)
    if not await verify_password(current, user.password_hash):
        raise no.WrongCurrentPassword
    await database.fetch(RESET_ATTEMPTS, names=names)
    return await hash_password(password)


async def get_active_user(database: Database, user_id: int) -> User:
    """Return the user with this id. Raise SignInEnded if the user is deleted or inactive."""
    user = await database.get(User, user_id)
    if user is None or not user.is_active:
        raise no.SignInEnded
    return user


def hash_token(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


class IssuedToken(NamedTuple):
    """A new refresh token, and the sign-in that it belongs to."""

    token: str
    family: str


async def issue_refresh_token(
    session: Session, user: User, *, now: datetime, lifetime: timedelta, family: str = ""
) -> IssuedToken:
    """Return a new refresh token, for a new sign-in or for an existing ``family``. Only its hash is stored."""
    issued = IssuedToken(secrets.token_urlsafe(32), family or secrets.token_hex(16))
    await session.insert(
        RefreshToken(
            user_id=user.id,
            family=issued.family,
            token_hash=hash_token(issued.token),
            created_at=now,
            expires_at=now + lifetime,
        )
    )
    return issued


async def rotate_refresh_token(
    session: Session, token: str, *, now: datetime, lifetime: timedelta
) -> tuple[User, IssuedToken] | None:
    """Exchange a refresh token for the next one. Return the user and the new token.

    Return None if the token is unknown or expired, or if the user is inactive. If the token was used before, it may
    have been copied, so its whole family ends. That change must be committed, so this returns None and raises nothing.
    """
    spent = await session.fetch(SPEND_TOKEN, hashed=hash_token(token), now=now)
    if not spent:
        await sign_out(session, token)
        return None
    user = await session.get(User, spent[0]["user_id"])
    if user is None or not user.is_active:
        return None
    return user, await issue_refresh_token(session, user, now=now, lifetime=lifetime, family=spent[0]["family"])


async def sign_out(session: Session, token: str) -> None:
    """End the sign-in that this token belongs to, if there is one."""
    for row in await session.fetch(SELECT_FAMILY, hashed=hash_token(token)):
        await end_sign_in(session, row["family"])


async def end_sign_in(session: Session, family: str) -> None:
    """End a sign-in: none of its refresh tokens works any more."""
    await session.fetch(REVOKE_FAMILY, family=family)


async def delete_expired(session: Session, *, now: datetime) -> None:
    """Delete expired refresh tokens and old attempts."""
    await session.fetch(DELETE_EXPIRED_TOKENS, now=now)
    await session.fetch(DELETE_OLD_ATTEMPTS, now=now)
