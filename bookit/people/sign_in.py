"""Passwords of a sign-in: checking them, and counting failed attempts."""

from datetime import datetime

from sqlalchemy import ARRAY, Integer, Interval, String, bindparam, delete, func
from sqlmodel import col, select

from bookit import refusals as no
from bookit.db.pool import Database
from bookit.db.session import Session
from bookit.people.passwords import hash_password, verify_password
from bookit.policy import limits
from bookit.schema.tables import Try, User, from_row

SELECT_BY_EMAIL = select(User).where(func.lower(col(User.email)) == func.lower(bindparam("email")))
COUNT_ATTEMPT = select(
    func.seconds_until_next_try(
        bindparam("name", type_=String), bindparam("most", type_=Integer), bindparam("per", type_=Interval)
    ).label("seconds")
)
NAMES = func.unnest(bindparam("names", type_=ARRAY(String)))
RESET_ATTEMPTS = delete(Try).where(col(Try.name).in_(select(func.counter_name(NAMES))))
DELETE_OLD_ATTEMPTS = delete(Try).where(col(Try.due_at) <= bindparam("now"))


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


async def delete_expired(session: Session, *, now: datetime) -> None:
    """Delete old attempts."""
    await session.fetch(DELETE_OLD_ATTEMPTS, now=now)
