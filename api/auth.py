"""Access tokens: signed JSON Web Tokens (RFC 7519) that live for minutes."""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

import jwt
from starlette.requests import Request

from bookit import refusals as no
from bookit.people import passwords, sign_in
from bookit.policy.limits import MAX_BIGINT
from bookit.schema.tables import User
from bookit.settings import Settings

ISSUER = "bookit"


def create_access_token(user: User, settings: Settings, *, now: datetime) -> str:
    """Sign who this is, until when, and with which password they signed in."""
    claims = {
        "iss": ISSUER,
        "sub": str(user.id),
        "iat": int(now.timestamp()),
        "exp": int((now + timedelta(minutes=settings.access_token_expire_minutes)).timestamp()),
        "pwd": passwords.password_fingerprint(user),
    }
    return jwt.encode(claims, settings.secret_key.get_secret_value(), algorithm=settings.algorithm)


def verify_token(token: str, settings: Settings, *, now: datetime) -> Mapping[str, Any]:
    """Give the claims of a token of ours that still lives. Refuses every other."""
    try:
        claims = decode_token(token, settings.secret_key.get_secret_value(), settings.algorithm)
    except (jwt.InvalidTokenError, ValueError):
        raise no.SignInEnded from None
    if not (isinstance(claims["exp"], int | float) and now.timestamp() < claims["exp"] and is_valid_id(claims["sub"])):
        raise no.SignInEnded
    return claims


@lru_cache(maxsize=1024)
def decode_token(token: str, secret: str, algorithm: str) -> Mapping[str, Any]:
    """Give what a token of ours says. A signature that held once holds: whoever comes again is not checked anew.

    Whether it still lives, and whose it is by now, is asked each time; a token that is not ours is never kept.
    """
    return jwt.decode(
        token,
        secret,
        algorithms=[algorithm],
        issuer=ISSUER,
        # The time is the door's own, so that there is one clock.
        options={"require": ["iss", "sub", "exp", "pwd"], "verify_exp": False, "verify_iat": False},
    )


def is_valid_id(sub: str) -> bool:
    """Whether this could be somebody's number."""
    return re.fullmatch(r"[0-9]{1,19}", sub) is not None and int(sub) <= MAX_BIGINT


async def get_current_user(request: Request, *, now: datetime) -> User:
    """Give the person who sent this, as they are at this moment and not as they were when the token was made."""
    given = request.headers.getlist("authorization")
    scheme, _, token = given[0].partition(" ") if len(given) == 1 else ("", "", "")
    if scheme.lower() != "bearer" or not token.strip():
        raise no.Unauthenticated
    claims = verify_token(token.strip(), request.app.state.settings, now=now)
    user = await sign_in.get_active_user(request.app.state.database, int(claims["sub"]))
    if claims["pwd"] != passwords.password_fingerprint(user):
        raise no.SignInEnded
    return user
