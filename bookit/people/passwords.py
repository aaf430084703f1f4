"""Hashing and checking passwords, off the event loop."""

import asyncio
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from anyio import CapacityLimiter
from passlib.context import CryptContext

from bookit import refusals as no
from bookit.db import incidents
from bookit.policy import limits


def lower_priority() -> None:
    """Lower the priority of this thread. Only Linux has priorities of threads."""
    if sys.platform == "linux":
        os.nice(10)


# Cost 12 takes about a quarter of a second of one core. The pool has one thread fewer than there are cores, so that the
# event loop has a core for other requests. The threads have a lower priority than the event loop.
CRYPT_CONTEXT = CryptContext(schemes=["bcrypt"], bcrypt__rounds=12)
THREAD_COUNT = max(1, (os.cpu_count() or 2) - 1)
POOL = ThreadPoolExecutor(THREAD_COUNT, "passwords", initializer=lower_priority)
LIMITER = CapacityLimiter(THREAD_COUNT)
MAX_WAITING = 100  # Longest queue; beyond it the answer is Busy, rather than a wait of half a minute.

SIGN_UPS = CapacityLimiter(1)  # that are hashed or wait for a thread; more wait here, where no sign-in waits
MAX_SIGN_UPS_WAITING = 40  # ten seconds

UNUSABLE_PASSWORD_HASH = ""  # No password has this hash.


async def hash_password(password: str) -> str:
    """Return the bcrypt hash of a password of 8 characters to 72 bytes. Call it outside a transaction: it is slow."""
    if len(password) < limits.MIN_PASSWORD_LENGTH or "\0" in password:
        raise no.PasswordTooShort
    if len(password.encode()) > limits.MAX_PASSWORD_BYTES:
        raise no.PasswordTooLong
    return str(await run_in_pool(CRYPT_CONTEXT.hash, password))


async def hash_first_password(password: str) -> str:
    """Return the hash of the password of somebody who registers: one at a time, so that a flood delays no sign-in."""
    if SIGN_UPS.statistics().tasks_waiting >= MAX_SIGN_UPS_WAITING:
        raise busy("too many sign-ups")
    async with SIGN_UPS:
        return await hash_password(password)


async def verify_password(password: str, password_hash: str | None) -> bool:
    """Return whether this is the password. Takes the same time if there is no hash to compare with."""
    if len(password.encode()) > limits.MAX_PASSWORD_BYTES or "\0" in password:
        password, password_hash = "", None
    if not password_hash:
        return bool(await run_in_pool(CRYPT_CONTEXT.dummy_verify))
    return bool(await run_in_pool(CRYPT_CONTEXT.verify, password, password_hash))


async def run_in_pool(function: Callable[..., Any], *args: str) -> Any:
    """Run blocking work in the password thread pool. Raise Busy if the queue is full."""
    if LIMITER.statistics().tasks_waiting >= MAX_WAITING:
        raise busy("too many passwords to check")
    async with LIMITER:
        return await asyncio.get_running_loop().run_in_executor(POOL, function, *args)


def busy(reason: str) -> no.Busy:
    refusal = no.Busy()
    incidents.report(refusal, reason)
    return refusal
