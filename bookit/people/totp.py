"""Codes of authenticator apps: time-based one-time passwords (TOTP, RFC 6238) of six digits, new every 30 seconds."""

import hmac
import re
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache

import pyotp
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

ISSUER = "BookIt"
STEP_SECONDS = 30
# A clock may be half a minute off: the code before and the one after are taken too.
STEPS_OFF = (0, -1, 1)


def new_secret() -> str:
    """Return a new key of 160 bits, as text that an app takes (base32)."""
    return pyotp.random_base32()


def setup_uri(secret: str, *, email: str) -> str:
    """Return the address that an app reads from a QR code."""
    return pyotp.TOTP(secret).provisioning_uri(name=email, issuer_name=ISSUER)


def find_step(secret: str, code: str, *, now: datetime) -> int | None:
    """Return the time step of which this is the code, or None if it is no code of now."""
    digits = re.sub(r"[\s-]", "", code)
    if not re.fullmatch(r"[0-9]{6}", digits):
        return None
    generator, step = pyotp.TOTP(secret), int(now.timestamp()) // STEP_SECONDS
    for candidate in (step + off for off in STEPS_OFF):
        if hmac.compare_digest(generator.generate_otp(candidate), digits):
            return candidate
    return None


def encrypt(secret: str, secret_keys: Sequence[str]) -> str:
    """Return a key as it is stored: encrypted with the newest of these secrets."""
    return cipher(tuple(secret_keys)).encrypt(secret.encode()).decode()


def decrypt(stored: str, secret_keys: Sequence[str]) -> str | None:
    """Return a key that is stored, or None if none of these secrets encrypted it."""
    try:
        return cipher(tuple(secret_keys)).decrypt(stored.encode()).decode()
    except InvalidToken:
        return None


@lru_cache(maxsize=8)
def cipher(secret_keys: tuple[str, ...]) -> MultiFernet:
    """Return what encrypts with a key that is made of the first of these secrets, and decrypts with that of each."""
    return MultiFernet([Fernet(urlsafe_b64encode(derive_key(secret))) for secret in secret_keys])


def derive_key(secret: str) -> bytes:
    return HKDF(SHA256(), 32, salt=None, info=b"bookit authenticator").derive(secret.encode())
