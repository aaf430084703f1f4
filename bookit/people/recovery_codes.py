"""Recovery codes: ten random codes, each for one sign-in when the phone or the passkey is lost."""

import re
import secrets
from hashlib import sha256

from bookit.policy import limits

ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"  # without signs that look alike
GROUPS, GROUP_LENGTH = 4, 4  # 79 bits, so that a plain hash is enough
PATTERN = re.compile(f"[{ALPHABET}]{{{GROUPS * GROUP_LENGTH}}}")


def make_codes() -> list[str]:
    """Return new codes as people read them: ``abcd-efgh-jkmn-pqrs``."""
    return ["-".join(make_group() for _ in range(GROUPS)) for _ in range(limits.RECOVERY_CODES)]


def make_group() -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(GROUP_LENGTH))


def normalise(code: str) -> str | None:
    """Return a code without what people add, or None if this has not the form of one."""
    text = re.sub(r"[\s-]", "", code).lower()
    return text if PATTERN.fullmatch(text) else None


def hash_code(code: str) -> str:
    """Return what is stored of a code."""
    return sha256((normalise(code) or "").encode()).hexdigest()
