"""Known devices: a signed token says that this person has signed in on this device before (OWASP, device cookies).

It signs nobody in. It has a counter of wrong passwords of its own, so that no stranger who guesses can
keep its owner out.
"""

import hmac
import secrets as randomness
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256

LIFETIME = timedelta(days=366)
MAX_LENGTH = 200  # of a token that is looked at


def create_token(user_id: int, secrets: Sequence[str], *, now: datetime) -> str:
    """Return the token of a device on which this user has just signed in. The first secret signs."""
    expires_at = round((now + LIFETIME).timestamp())
    content = f"{user_id}.{expires_at}.{randomness.token_hex(12)}"
    return f"{content}.{signature(content, secrets[0])}"


def find_device(token: str, *, user_id: int, secrets: Sequence[str], now: datetime) -> str | None:
    """Return the name of the device, or None unless the token is ours, of this user and not expired."""
    content, _, signed = token[:MAX_LENGTH].rpartition(".")
    is_ours = any(
        hmac.compare_digest(signature(content, secret).encode(), signed.encode(errors="replace")) for secret in secrets
    )
    if not is_ours:
        return None
    owner, expires_at, device = content.split(".")
    is_current = datetime.fromtimestamp(int(expires_at), UTC) > now
    return device if owner == str(user_id) and is_current else None


def signature(content: str, secret: str) -> str:
    return hmac.new(f"device {secret}".encode(), content.encode(errors="replace"), sha256).hexdigest()
