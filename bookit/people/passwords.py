"""Hashing and checking passwords, off the event loop."""

import asyncio
import hashlib
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from anyio import CapacityLimiter
from passlib.context import CryptContext

from bookit import refusals as no
from bookit.policy import limits
from bookit.schema.tables import User


def lower_priority() -> None:
    """Have this thread let others go first; only Linux gives a thread a priority of its own."""
    if sys.platform == "linux":
        os.nice(10)


# Cost 12 takes about a quarter of a second of one core. Its own few threads, one fewer than there are cores, leave
# the event loop a core to answer everybody else with, and give way to it on the others.
CRYPT_CONTEXT = CryptContext(schemes=["bcrypt"], bcrypt__rounds=12)


THREAD_COUNT = max(1, (os.cpu_count() or 2) - 1)


POOL = ThreadPoolExecutor(THREAD_COUNT, "passwords", initializer=lower_priority)


LIMITER = CapacityLimiter(THREAD_COUNT)


UNUSABLE_PASSWORD_HASH = ""  # The hash that no password has.


MAX_WAITING = 100  # Who comes after so many is asked to come again, rather than left waiting for half a minute.


async def hash_password(password: str) -> str:
    """Hash a password of 8 to 72 bytes with bcrypt. Done before a transaction: it takes a while."""
    if len(password) < limits.MIN_PASSWORD_LENGTH or "\0" in password:
        raise no.PasswordTooShort
    if len(password.encode()) > limits.MAX_PASSWORD_BYTES:
        raise no.PasswordTooLong
    return str(await run_in_pool(CRYPT_CONTEXT.hash, password))


async def verify_password(password: str, password_hash: str | None) -> bool:
    """Whether this is the password; takes as long for a person who does not exist."""
    if len(password.encode()) > limits.MAX_PASSWORD_BYTES or "\0" in password:
        password, password_hash = "", None
    if not password_hash:
        return bool(await run_in_pool(CRYPT_CONTEXT.dummy_verify))
    return bool(await run_in_pool(CRYPT_CONTEXT.verify, password, password_hash))


async def run_in_pool(function: Callable[..., Any], *args: str) -> Any:
    """Do slow work off the event loop, in one's turn. Refuses when too many are waiting already."""
    if LIMITER.statistics().tasks_waiting >= MAX_WAITING:
        raise no.Busy
    async with LIMITER:
        return await asyncio.get_running_loop().run_in_executor(POOL, function, *args)


def password_fingerprint(user: User) -> str:
    """Give a short mark that changes with the password, so that a sign-in can be tied to it."""
    return hashlib.sha256(user.password_hash.encode()).hexdigest()[:16]
