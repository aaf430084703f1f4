"""What the session of a browser remembers of a second factor: who has given a password, and what a passkey is asked.

A user who has given only the password is in the session under a name that no page but the second step reads.
"""

from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

from starlette.requests import Request

from admin.framework.context import context_of
from admin.framework.session_cookie import is_plain_allowed
from bookit import refusals as no
from bookit.people import passkeys
from bookit.people.passkeys import Ceremony
from bookit.policy import limits
from bookit.schema.tables import User

PASSWORD_GIVEN, CHALLENGE, CONFIRMED = "password_given", "challenge", "confirmed"


def remember_password(request: Request, user: User) -> None:
    """Remember that the password of this user was checked now, and forget everything but the page to come back to."""
    return_path = request.session.get("next")
    request.session.clear()
    if return_path:
        request.session["next"] = return_path
    at = context_of(request).now().isoformat()
    request.session[PASSWORD_GIVEN] = {"user": user.id, "at": at, "password": fingerprint(user)}


async def find_half_signed_in(request: Request) -> User | None:
    """Return the user who has given the password of today within five minutes, or None."""
    given, context = request.session.get(PASSWORD_GIVEN), context_of(request)
    if not isinstance(given, dict) or not is_recent(request, given["at"]):
        return None
    user = await context.database.get(User, given["user"])
    return user if user and user.is_active and fingerprint(user) == given["password"] else None


def fingerprint(user: User) -> str:
    """Return what tells this password hash from the next one, and nothing about the password."""
    return sha256((user.password_hash or "").encode()).hexdigest()[:16]


def is_recent(request: Request, at: str) -> bool:
    """Return whether this was less than five minutes ago."""
    began = datetime.fromisoformat(at)
    return began <= context_of(request).now() < began + limits.SECOND_FACTOR_TIME


# A change of a second factor needs the password or a passkey once more. A confirmation is good for one change.


def confirm(request: Request) -> None:
    """Remember that the user has confirmed who they are."""
    request.session[CONFIRMED] = context_of(request).now().isoformat()


def is_confirmed(request: Request) -> bool:
    """Return whether the user has confirmed who they are, and changed nothing since."""
    at = request.session.get(CONFIRMED)
    return isinstance(at, str) and is_recent(request, at)


def use_confirmation(request: Request) -> None:
    """Forget the confirmation, after a change."""
    request.session.pop(CONFIRMED, None)


# Passkeys.


def host_of(request: Request) -> str:
    return urlsplit(f"//{request.headers.get('host', '')}").hostname or ""


def origins_of(request: Request) -> list[str]:
    """Return the origins of the pages of this host: over https, and over http on the machine itself."""
    host = request.headers.get("host", "")
    return [f"https://{host}", *([f"http://{host}"] if is_plain_allowed(request.scope) else [])]


def ask_passkey(request: Request) -> Ceremony | None:
    """Return a new challenge for a passkey, which the session remembers; None where passkeys are not possible."""
    rp_id = passkeys.rp_id_of(host_of(request))
    if rp_id is None:
        return None
    challenge, now = passkeys.new_challenge(), context_of(request).now()
    request.session[CHALLENGE] = {"value": challenge.hex(), "at": now.isoformat()}
    return Ceremony(challenge, now, rp_id, origins_of(request))


def take_ceremony(request: Request) -> Ceremony:
    """Return what the browser was asked, and forget it. Raise PasskeyRefused if it was asked nothing."""
    asked: dict[str, Any] | None = request.session.pop(CHALLENGE, None)
    rp_id = passkeys.rp_id_of(host_of(request))
    if asked is None or rp_id is None:
        raise no.PasskeyRefused
    issued_at = datetime.fromisoformat(asked["at"])
    return Ceremony(bytes.fromhex(asked["value"]), issued_at, rp_id, origins_of(request))


def passkey_request(request: Request, known: Sequence[str] = ()) -> str:
    """Return as JSON what the page asks a passkey, or "" where passkeys are not possible."""
    ceremony = ask_passkey(request)
    return passkeys.request_options(ceremony, known=known) if ceremony else ""
