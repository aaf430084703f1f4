"""Refresh tokens (RFC 6749, 6): each works once and returns the next one of its sign-in."""

import hashlib
import hmac
import secrets
from base64 import urlsafe_b64encode
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import text

from bookit import security_log
from bookit.db.session import Session
from bookit.people import sign_ins
from bookit.people.sign_ins import Client
from bookit.schema.tables import EndReason, RefreshToken, SignIn, User, from_row

# A client that got no answer, or a second tab of it, may send a spent token again within this time.
GRACE = timedelta(seconds=10)

SPEND = text("""
UPDATE refresh_tokens t SET spent_at = :now, seed = :seed
  FROM sign_ins s
 WHERE t.token_hash = :hashed AND t.spent_at IS NULL AND t.expires_at > :now
   AND s.id = t.sign_in_id AND s.ended_at IS NULL AND s.expires_at > :now
RETURNING s.*
""")
SELECT_SPENT = text("""
SELECT t.spent_at, t.seed, s.id, s.user_id, s.sid
  FROM refresh_tokens t JOIN sign_ins s ON s.id = t.sign_in_id
 WHERE t.token_hash = :hashed AND t.spent_at IS NOT NULL AND s.ended_at IS NULL
   AND least(s.idle_ends_at, s.expires_at) > :now
""")
IS_UNSPENT = text("SELECT 1 FROM refresh_tokens WHERE token_hash = :hashed AND spent_at IS NULL AND expires_at > :now")
CARRY_ON = text("""
UPDATE sign_ins SET last_seen_at = :now, idle_ends_at = :idle_ends_at, address = :address, browser = :browser
 WHERE id = :id
""")
END = text("UPDATE sign_ins SET ended_at = :now, end_reason = :reason WHERE id = :id AND ended_at IS NULL")
SELECT_SIGN_IN = text("""
SELECT s.sid FROM refresh_tokens t JOIN sign_ins s ON s.id = t.sign_in_id WHERE t.token_hash = :hashed
""")
DELETE_USELESS = text("""
DELETE FROM refresh_tokens t USING sign_ins s
 WHERE s.id = t.sign_in_id AND (t.expires_at <= :now OR s.ended_at IS NOT NULL)
""")


class Renewed(NamedTuple):
    """What a refresh token was exchanged for: its user, the next token, and the sign-in of both."""

    user: User
    token: str
    sid: str


def hash_token(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def next_token(token: str, seed: str) -> str:
    """Return the token that follows this one. Nobody can make it who has only the token or only the database."""
    return urlsafe_b64encode(hmac.digest(seed.encode(), token.encode(), "sha256")).decode().rstrip("=")


async def issue(session: Session, sign_in: SignIn, *, now: datetime, lifetime: timedelta, token: str = "") -> str:
    """Return a new refresh token of this sign-in. Only its hash is stored."""
    token = token or secrets.token_urlsafe(32)
    await session.insert(
        RefreshToken(
            sign_in_id=sign_in.id,
            token_hash=hash_token(token),
            created_at=now,
            expires_at=now + lifetime,
        )
    )
    return token


async def rotate(session: Session, token: str, *, now: datetime, lifetime: timedelta, client: Client) -> Renewed | None:
    """Exchange a refresh token for the next one.

    A token that was spent less than ``GRACE`` ago returns the same next token again, unless that one has been spent.
    Otherwise a spent token may have been copied, so its sign-in ends. Return None then, and if the token is unknown or
    its sign-in has ended. That change must be committed, so this raises nothing.
    """
    seed = secrets.token_urlsafe(32)
    rows = await session.fetch(SPEND, hashed=hash_token(token), now=now, seed=seed)
    if not rows:
        return await repeat(session, token, now=now)
    sign_in = from_row(SignIn, rows[0])
    issued = await issue(session, sign_in, now=now, lifetime=lifetime, token=next_token(token, seed))
    await session.fetch(
        CARRY_ON,
        id=sign_in.id,
        now=now,
        idle_ends_at=now + lifetime,
        address=client.address,
        browser=client.browser,
    )
    return await renewed(session, sign_in.user_id, issued, sign_in.sid)


async def repeat(session: Session, token: str, *, now: datetime) -> Renewed | None:
    """Return again what a spent token was exchanged for, or end its sign-in."""
    rows = await session.fetch(SELECT_SPENT, hashed=hash_token(token), now=now)
    if not rows:
        return None
    row = rows[0]
    following = next_token(token, row["seed"]) if row["seed"] else ""
    is_recent = now - row["spent_at"] < GRACE
    if is_recent and await session.fetch(IS_UNSPENT, hashed=hash_token(following), now=now):
        return await renewed(session, row["user_id"], following, row["sid"])
    await session.fetch(END, id=row["id"], now=now, reason=EndReason.TOKEN_REUSED)
    security_log.report("refresh token reused", account=row["user_id"])
    return None


async def renewed(session: Session, user_id: int, token: str, sid: str) -> Renewed | None:
    user = await session.get(User, user_id)
    return Renewed(user, token, sid) if user else None


async def sign_out(session: Session, token: str, *, now: datetime) -> None:
    """End the sign-in that this token belongs to, if there is one."""
    for row in await session.fetch(SELECT_SIGN_IN, hashed=hash_token(token)):
        await sign_ins.sign_out(session, row["sid"], now=now)


async def delete_useless(session: Session, *, now: datetime) -> None:
    """Delete the tokens that have expired, and those of sign-ins that have ended."""
    await session.fetch(DELETE_USELESS, now=now)
