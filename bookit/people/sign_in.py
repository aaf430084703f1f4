"""Passwords of a sign-in: checking them, and counting failed attempts.

An attempt is counted by its network, and then by the account. Neither can keep out a person for long: an account whose
attempts are used up gives each network a turn, in the order in which they came, and a device or a network from which
the person has signed in before has a counter of its own.
"""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Integer, Interval, String, bindparam, delete, func, text
from sqlmodel import col, select

from bookit import refusals as no
from bookit import security_log
from bookit.db.pool import Database
from bookit.db.session import Session
from bookit.people import devices
from bookit.people.password_threads import Queue
from bookit.people.passwords import hash_new_password, verify_password
from bookit.policy import limits, rates
from bookit.schema.tables import Role, Try, User, from_row

SELECT_BY_EMAIL = select(User).where(func.lower(col(User.email)) == func.lower(bindparam("email")))
# What was typed names a counter in the same case as the look-up, if there is no account.
COUNT_ATTEMPT = select(
    func.seconds_until_attempt(
        func.concat(bindparam("name", type_=String), func.lower(bindparam("typed", type_=String))),
        bindparam("network", type_=String),
        bindparam("most", type_=Integer),
        bindparam("per", type_=Interval),
        bindparam("longest_wait", type_=Interval),
        bindparam("now"),
    ).label("seconds")
)
NAME = func.counter_name(bindparam("name", type_=String))
# Nothing is forgiven while others wait for their turn: their turns have been counted.
RESET_ATTEMPTS = delete(Try).where(col(Try.name) == NAME, col(Try.due_at) <= bindparam("before"))
TAKE_BACK_ATTEMPT = text("UPDATE tries SET due_at = due_at - CAST(:step AS interval) WHERE name = counter_name(:name)")
DELETE_OLD_ATTEMPTS = delete(Try).where(col(Try.due_at) <= bindparam("before"))
# A network is an address, or the /64 network of one. What a test or a proxy gives instead is no network.
NETWORK = re.compile(r"[0-9a-f:.]+(/64)?")
HAS_SIGNED_IN_FROM = text("""
SELECT EXISTS (
  SELECT FROM sign_ins
   WHERE user_id = :user_id
     AND CASE WHEN address ~ '^[0-9a-f:.]+$' THEN CAST(address AS inet) <<= CAST(:network AS cidr) END) AS is_known
""")
NO_WAIT = timedelta(0)


class Source(NamedTuple):
    """Where a sign-in comes from: network, whether that is this machine, token of the device, and door."""

    network: str = ""
    is_loopback: bool = False
    device_token: str = ""
    is_staff_panel: bool = False


class Counter(NamedTuple):
    """What counts attempts: a name, and what was typed if there is no account; the most attempts in the window."""

    name: str
    typed: str = ""
    most: int = limits.MAX_ATTEMPTS_PER_ACCOUNT
    longest_wait: timedelta = NO_WAIT


async def authenticate(
    database: Database,
    *,
    email: str,
    password: str,
    now: datetime,
    source: Source = Source(),  # noqa: B008 -- it cannot change
    secrets: Sequence[str] = (),
) -> User:
    """Return the active user with this e-mail and password.

    Raise WrongPassword in all other cases, after the same time. Raise TooManyGuesses after too many failed attempts
    from this network or at this account. ``secrets`` are those that sign the tokens of devices.
    """
    if "\0" in email:
        raise no.WrongPassword
    # Every address is ASCII (user_email_looks_like_one). PostgreSQL would make an "i" of "İ", and find another account.
    rows = await database.fetch(SELECT_BY_EMAIL, email=email if email.isascii() else "")
    user = from_row(User, rows[0]) if rows else None
    device = user and devices.find_device(source.device_token, user_id=user.id, secrets=secrets, now=now)
    is_strange = False
    if user and device:
        counter = Counter(f"account {user.id} device {device}")
        await count_attempt(database, counter, account=user.id, now=now)
    else:
        try:
            counter = await count_strange_attempt(database, user, email=email, source=source, now=now)
            is_strange = True
        except no.TooManyGuesses:
            if not (user and await has_signed_in_from(database, user, source.network)):
                raise
            counter = Counter(f"account {user.id} network {source.network}")
            await count_attempt(database, counter, account=user.id, now=now)
    queue = Queue.STAFF_PANEL if source.is_staff_panel else Queue.CUSTOMERS
    if user and device and user.role != Role.USER:
        queue = Queue.STAFF
    is_right = await verify_password(password, user.password_hash if user else None, queue)
    if not (user and is_right and user.is_active):
        security_log.report("wrong password", account=user.id if user else None)
        raise no.WrongPassword
    await database.fetch(RESET_ATTEMPTS, name=counter.name, before=now + limits.ATTEMPT_WINDOW)
    if is_strange:
        address = address_counter(source)
        await database.fetch(TAKE_BACK_ATTEMPT, name=address.name, step=limits.ATTEMPT_WINDOW / address.most)
    return user


async def has_signed_in_from(database: Database, user: User, network: str) -> bool:
    """Return whether this user has signed in from this network, as far as sign-ins are kept."""
    if not NETWORK.fullmatch(network):
        return False
    return bool((await database.fetch(HAS_SIGNED_IN_FROM, user_id=user.id, network=network))[0]["is_known"])


def address_counter(source: Source) -> Counter:
    """Return the counter of a network."""
    factor = rates.LOOPBACK_FACTOR if source.is_loopback else 1
    return Counter(f"address {source.network}", most=limits.MAX_ATTEMPTS_PER_ADDRESS * factor)


async def count_strange_attempt(
    database: Database, user: User | None, *, email: str, source: Source, now: datetime
) -> Counter:
    """Count an attempt from a device that is not known, and return the counter of the account.

    A network that is blocked counts nothing against accounts.
    """
    account = user.id if user else None
    await count_attempt(database, address_counter(source), now=now, account=account, is_address=True)
    name, typed = (f"account {user.id}", "") if user else ("email ", email)
    counter = Counter(name, typed, longest_wait=limits.MAX_ATTEMPT_WAIT)
    await count_attempt(database, counter, account=account, network=source.network, now=now)
    return counter


async def count_attempt(
    database: Database,
    counter: Counter,
    *,
    now: datetime,
    account: int | None = None,
    network: str = "",
    is_address: bool = False,
) -> None:
    """Count an attempt. Raise TooManyGuesses beyond the limit."""
    rows = await database.fetch(
        COUNT_ATTEMPT, **counter._asdict(), network=network, per=limits.ATTEMPT_WINDOW, now=now
    )  # fmt: skip
    if rows[0]["seconds"]:
        security_log.report("address blocked" if is_address else "account locked", account=account)
        raise no.TooManyGuesses(seconds=rows[0]["seconds"])


async def require_current_password(database: Database, user: User, current: str | None, *, now: datetime) -> None:
    """Raise a refusal if the ``current`` password of a user who has signed in is missing or wrong.

    Wrong ones are counted for this user alone, so that no stranger can keep them from changing their password.
    """
    if not current:
        raise no.CurrentPasswordNeeded
    counter = Counter(f"password of {user.id}")
    await count_attempt(database, counter, account=user.id, now=now)
    if not await verify_password(current, user.password_hash, queue_of(user)):
        security_log.report("wrong password", account=user.id, detail="current password")
        raise no.WrongCurrentPassword
    await database.fetch(RESET_ATTEMPTS, name=counter.name, before=now + limits.ATTEMPT_WINDOW)


async def hash_own_password(user: User, password: str, **changes: str) -> str:
    """Return the hash of a new password of this user, who has signed in and said the current one.

    ``changes`` has the name and the e-mail address that change with it.
    """
    facts = {"name": user.name, "email": user.email or ""} | changes
    return await hash_new_password(password, queue_of(user), name=facts["name"], email=facts["email"])


def queue_of(user: User) -> Queue:
    """Return where somebody waits who has signed in."""
    return Queue.CUSTOMERS if user.role == Role.USER else Queue.STAFF


async def delete_expired(session: Session, *, now: datetime) -> None:
    """Delete old attempts, and turns that were not taken."""
    await session.fetch(DELETE_OLD_ATTEMPTS, before=now - limits.ATTEMPT_WINDOW)
