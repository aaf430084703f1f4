"""Hashing and checking passwords, off the event loop."""

import asyncio
import os
import unicodedata
from collections.abc import Callable
from typing import Any

from passlib.context import CryptContext

from bookit import refusals as no
from bookit.db import incidents
from bookit.people import password_rules
from bookit.people.password_threads import PasswordThreads, Queue
from bookit.policy import limits

# Cost 12 takes about a quarter of a second of one core. There is one thread fewer than there are cores, so that the
# event loop has a core for other requests. The threads have a lower priority than the event loop.
CRYPT_CONTEXT = CryptContext(schemes=["bcrypt"], bcrypt__rounds=12)
THREADS = PasswordThreads(max(1, (os.cpu_count() or 2) - 1))
MAX_WAITING = 100  # Longest queue; beyond it the answer is Busy, rather than a wait of half a minute.
MAX_SIGN_UPS_WAITING = 40  # ten seconds


def normalise(password: str) -> str:
    """Return a password in NFC: ``é`` may be typed as one character or as two."""
    return unicodedata.normalize("NFC", password)


async def hash_password(password: str, queue: Queue = Queue.CUSTOMERS) -> str:
    """Return the bcrypt hash of a password of 8 characters to 72 bytes. Call it outside a transaction: it is slow.

    A password that a person chose goes through ``hash_new_password``.
    """
    password = normalise(password)
    if len(password) < limits.MIN_PASSWORD_LENGTH or "\0" in password:
        raise no.PasswordTooShort
    if len(password.encode()) > limits.MAX_PASSWORD_BYTES:
        raise no.PasswordTooLong
    return str(await run_in_pool(CRYPT_CONTEXT.hash, password, queue=queue))


async def hash_new_password(password: str, queue: Queue = Queue.CUSTOMERS, *, name: str, email: str) -> str:
    """Return the hash of a password that somebody with this name and e-mail address chose.

    Raise a refusal if it is easy to guess.
    """
    password_rules.require_strong(normalise(password), name=name, email=email)
    return await hash_password(password, queue)


async def verify_password(password: str, password_hash: str | None, queue: Queue = Queue.CUSTOMERS) -> bool:
    """Return whether this is the password. Takes the same time if there is no hash to compare with.

    A password that is not in NFC is tried in both forms, since earlier versions hashed what was typed.
    """
    normalised = normalise(password)
    forms = [normalised] if normalised == password else [normalised, password]
    return any([await verify_form(form, password_hash, queue) for form in forms])


async def verify_form(password: str, password_hash: str | None, queue: Queue) -> bool:
    if len(password.encode(errors="replace")) > limits.MAX_PASSWORD_BYTES or "\0" in password:
        password, password_hash = "", None
    if not password_hash:
        return bool(await run_in_pool(CRYPT_CONTEXT.dummy_verify, queue=queue))
    return bool(await run_in_pool(CRYPT_CONTEXT.verify, password, password_hash, queue=queue))


async def run_in_pool(function: Callable[..., Any], *args: str, queue: Queue = Queue.CUSTOMERS) -> Any:
    """Run blocking work in the threads for passwords. Raise Busy if the queue is full."""
    is_sign_up = queue == Queue.SIGN_UPS
    if THREADS.waiting(queue) >= (MAX_SIGN_UPS_WAITING if is_sign_up else MAX_WAITING):
        raise busy("too many sign-ups" if is_sign_up else "too many passwords to check")
    return await asyncio.wrap_future(THREADS.submit(queue, function, *args))


def busy(reason: str) -> no.Busy:
    refusal = no.Busy()
    incidents.report(refusal, reason)
    return refusal
