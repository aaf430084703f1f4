"""Sign-ins: beginning, finding and ending them. One table is for both doors, so each can be seen and ended anywhere."""

import secrets
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

from sqlalchemy import BigInteger, ClauseElement, Select, String, bindparam, delete, func, select, text
from sqlmodel import col

from bookit import refusals as no
from bookit import security_log
from bookit.db.pool import Database
from bookit.db.session import Reader, Session
from bookit.policy.permissions import Actor
from bookit.schema.tables import EndReason, Role, SignIn, User, from_row
from bookit.settings import Settings

SignInDoor = Literal["api", "admin"]

# The lock makes this wait for a change of the user that has begun, and a change wait for this: so a new password ends
# also the sign-in for which the old one has just been checked.
BEGIN = text("""
INSERT INTO sign_ins (user_id, door, role, sid, created_at, last_seen_at, idle_ends_at, expires_at, address, browser,
                      second_factor)
SELECT id, :door, role, :sid, :now, :now, :idle_ends_at, :expires_at, :address, :browser, :second_factor
  FROM users WHERE id = :user_id AND is_active AND password_hash = :password_hash AND role = :role FOR SHARE
RETURNING *
""")
# Who sets up a second factor locks the user too: either it is seen here, or its set-up ends the sign-in that has begun.
HAS_SECOND_FACTOR = text("""
SELECT EXISTS (SELECT FROM authenticators WHERE user_id = :user_id)
    OR EXISTS (SELECT FROM passkeys WHERE user_id = :user_id) AS is_set_up
""")
ENDS_AT = func.least(col(SignIn.idle_ends_at), col(SignIn.expires_at))
SELECT_BY_SID: ClauseElement = (
    select(
        User,
        col(SignIn.id).label("sign_in_id"),
        col(SignIn.last_seen_at).label("sign_in_seen_at"),
        ENDS_AT.label("sign_in_ends_at"),
        col(SignIn.second_factor).label("sign_in_second_factor"),
    )
    .join(SignIn, col(SignIn.user_id) == col(User.id))
    .where(
        col(SignIn.sid) == bindparam("sid", type_=String),
        col(SignIn.door) == bindparam("door", type_=String),
        col(SignIn.ended_at).is_(None),
        col(User.is_active),
    )
)
SELECT_LASTING: Select[Any] = select(
    col(SignIn.id),
    col(SignIn.door),
    col(SignIn.created_at),
    col(SignIn.last_seen_at),
    ENDS_AT.label("ends_at"),
    col(SignIn.address),
    col(SignIn.browser),
    col(SignIn.second_factor),
    func.coalesce(col(SignIn.id) == bindparam("current_id", type_=BigInteger), False).label("is_current"),
).where(
    col(SignIn.user_id) == bindparam("user_id", type_=BigInteger),
    col(SignIn.ended_at).is_(None),
    bindparam("now") < ENDS_AT,
)
END_BY_SID = text("""
UPDATE sign_ins SET ended_at = :now, end_reason = :reason WHERE sid = :sid AND ended_at IS NULL RETURNING id, user_id
""")
END_BY_ID = text("""
UPDATE sign_ins SET ended_at = :now, end_reason = :reason
 WHERE id = :id AND user_id = :user_id AND ended_at IS NULL AND least(idle_ends_at, expires_at) > :now
RETURNING id, user_id
""")
END_ALL = text("""
UPDATE sign_ins SET ended_at = :now, end_reason = :reason
 WHERE user_id = :user_id AND ended_at IS NULL AND id <> ALL (:kept) RETURNING id, user_id
""")
DELETE_OF_USER = delete(SignIn).where(col(SignIn.user_id) == bindparam("user_id"))
END_EXPIRED = text("""
UPDATE sign_ins SET ended_at = least(idle_ends_at, expires_at), end_reason = 'expired'
 WHERE ended_at IS NULL AND least(idle_ends_at, expires_at) <= :now
""")
DELETE_ENDED = delete(SignIn).where(col(SignIn.ended_at) <= bindparam("before"))


class Client(NamedTuple):
    """Where a request comes from: the address, and the browser in words."""

    address: str = ""
    browser: str = ""


class Lifetime(NamedTuple):
    """How long a sign-in lasts: unused, and however much it is used."""

    idle: timedelta
    absolute: timedelta


class SignedIn(NamedTuple):
    """A user as the database has them now, and the sign-in by which they came."""

    user: User
    sign_in_id: int
    last_seen_at: datetime
    ends_at: datetime
    second_factor: str | None


def lifetime_at(door: SignInDoor, role: Role, settings: Settings) -> Lifetime:
    """Return how long a sign-in of this role at this door lasts."""
    if door == "api":
        return Lifetime(timedelta(days=settings.refresh_token_expire_days), timedelta(days=settings.sign_in_days))
    minutes = settings.admin_idle_minutes if role == Role.ADMIN else settings.staff_idle_minutes
    return Lifetime(timedelta(minutes=minutes), timedelta(hours=settings.staff_sign_in_hours))


async def begin(
    session: Session,
    user: User,
    *,
    door: SignInDoor,
    now: datetime,
    lifetime: Lifetime,
    client: Client,
    second_factor: str | None = None,
) -> SignIn:
    """Sign in a user whose password was checked. Raise WrongPassword if they have changed meanwhile.

    Raise SecondFactorNeeded if they have a second factor, and none was checked.
    """
    rows = await session.fetch(
        BEGIN,
        user_id=user.id,
        password_hash=user.password_hash,
        role=user.role,
        door=door,
        sid=secrets.token_urlsafe(24),
        now=now,
        idle_ends_at=now + lifetime.idle,
        expires_at=now + lifetime.absolute,
        address=client.address,
        browser=client.browser,
        second_factor=second_factor,
    )
    if not rows:
        raise no.WrongPassword
    if second_factor is None and await has_second_factor(session, user.id):
        raise no.SecondFactorNeeded
    security_log.report("signed in", account=user.id, detail=f"door {door}")
    return from_row(SignIn, rows[0])


async def has_second_factor(reader: Reader, user_id: int) -> bool:
    """Return whether a user has a second factor."""
    return bool((await reader.fetch(HAS_SECOND_FACTOR, user_id=user_id))[0]["is_set_up"])


async def find(database: Database, sid: str, *, door: SignInDoor, now: datetime) -> SignedIn:
    """Return the sign-in that a cookie or a token names, with its user. Raise SignInEnded if they may not come in.

    Concurrent calls are batched into one query.
    """
    rows = await database.fetch_batched(SELECT_BY_SID, sid=sid, door=door)
    if not rows:
        raise no.SignInEnded
    row = dict(rows[0])  # The callers of a batch share it.
    names = ("id", "seen_at", "ends_at", "second_factor")
    sign_in_id, seen_at, ends_at, second_factor = (row.pop(f"sign_in_{name}") for name in names)
    if ends_at <= now:
        raise no.SignInEnded
    return SignedIn(from_row(User, row), sign_in_id, seen_at, ends_at, second_factor)


async def sign_out(session: Session, sid: str, *, now: datetime) -> None:
    """End the sign-in that a cookie or a token names, if it has not ended."""
    for row in await session.fetch(END_BY_SID, sid=sid, now=now, reason=EndReason.SIGNED_OUT):
        report_end(row["user_id"], EndReason.SIGNED_OUT)


async def end(session: Session, sign_in_id: int, *, user_id: int, by: Actor, now: datetime) -> None:
    """End one sign-in of this user. Raise Missing if they have none with this id that lasts."""
    reason = reason_of(user_id, by=by)
    if not await session.fetch(END_BY_ID, id=sign_in_id, user_id=user_id, now=now, reason=reason):
        raise no.Missing(what="sign-in")
    report_end(user_id, reason)


async def end_all(session: Session, *, user_id: int, by: Actor, now: datetime) -> int:
    """End the sign-ins of this user, but not the one of the actor, and return how many that were."""
    reason = reason_of(user_id, by=by)
    kept = [by.sign_in_id] if by.sign_in_id else []
    count = len(await session.fetch(END_ALL, user_id=user_id, kept=kept, now=now, reason=reason))
    if count:
        report_end(user_id, reason, count=count)
    return count


def reason_of(user_id: int, *, by: Actor) -> EndReason:
    """Return why a sign-in ends that this actor ends from elsewhere."""
    return EndReason.ENDED_ELSEWHERE if by.id == user_id else EndReason.ENDED_BY_ADMIN


def report_end(user_id: int, reason: EndReason, *, count: int | None = None) -> None:
    security_log.report("signed out", account=user_id, detail=reason.replace("_", " "), count=count)


async def delete_old(session: Session, *, now: datetime, retention: timedelta) -> None:
    """Mark what has expired as ended, and delete what ended longer ago than ``retention``."""
    await session.fetch(END_EXPIRED, now=now)
    await session.fetch(DELETE_ENDED, before=now - retention)
