"""Sign-ins and their refresh tokens: issuing, renewing, ending."""

import hashlib
import secrets
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import bindparam, delete, update
from sqlmodel import col, select

from bookit import refusals as no
from bookit.db.pool import Database
from bookit.db.session import Session
from bookit.schema.tables import RefreshToken, User

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
DELETE_EXPIRED_TOKENS = delete(RefreshToken).where(col(RefreshToken.expires_at) <= bindparam("now"))


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
    """Delete expired refresh tokens."""
    await session.fetch(DELETE_EXPIRED_TOKENS, now=now)
