"""Access tokens: signed JSON Web Tokens (RFC 7519) that are valid for minutes."""

import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

import jwt
from starlette.requests import Request

from bookit import refusals as no
from bookit.people import passwords, sign_ins
from bookit.policy.limits import MAX_BIGINT
from bookit.schema.tables import User
from bookit.settings import Settings

ISSUER = "bookit"


def create_access_token(user: User, settings: Settings, *, now: datetime, sign_in_id: str = "") -> str:
    """Return a token with the user's id and sign-in, its expiry, and a fingerprint of the user's password."""
    claims = {
        "iss": ISSUER,
        "sub": str(user.id),
        "iat": int(now.timestamp()),
        "exp": int((now + timedelta(minutes=settings.access_token_expire_minutes)).timestamp()),
        "pwd": passwords.password_fingerprint(user),
        "sid": sign_in_id,
    }
    return jwt.encode(claims, settings.secret_key.get_secret_value(), algorithm=settings.algorithm)


def verify_token(token: str, settings: Settings, *, now: datetime) -> Mapping[str, Any]:
    """Return the claims of a token. Raise ``SignInEnded`` if it is not valid or has expired."""
    claims = verify_signature(token, settings)
    if not (isinstance(claims["exp"], int | float) and now.timestamp() < claims["exp"] and is_valid_id(claims["sub"])):
        raise no.SignInEnded
    return claims


def verify_signature(token: str, settings: Settings) -> Mapping[str, Any]:
    """Return the claims of a token that we signed, even if it has expired. Raise ``SignInEnded`` for any other."""
    for secret in settings.secrets:
        with suppress(jwt.InvalidTokenError, ValueError):
            return decode_token(token, secret, settings.algorithm)
    raise no.SignInEnded


@lru_cache(maxsize=1024)
def decode_token(token: str, secret: str, algorithm: str) -> Mapping[str, Any]:
    """Return the claims of a token, whatever its expiry. Raise ``InvalidTokenError`` if its signature is not valid.

    The cache saves the check of a signature that was valid before; errors are not cached. The callers check expiry and
    user at each request.
    """
    return jwt.decode(
        token,
        secret,
        algorithms=[algorithm],
        issuer=ISSUER,
        # ``verify_token`` checks the expiry by the clock of the application.
        options={"require": ["iss", "sub", "exp", "pwd"], "verify_exp": False, "verify_iat": False},
    )


def is_valid_id(sub: str) -> bool:
    """Return whether this could be the id of a row."""
    return re.fullmatch(r"[0-9]{1,19}", sub) is not None and int(sub) <= MAX_BIGINT


async def get_current_user(request: Request, *, now: datetime) -> User:
    """Return the user whose token the request has, as the database has them now.

    Raise ``Unauthenticated`` without a token, and ``SignInEnded`` if the token is not valid, the user is not active, or
    the password has changed since.
    """
    claims = verify_token(read_bearer(request), request.app.state.settings, now=now)
    user = await sign_ins.get_active_user(request.app.state.database, int(claims["sub"]))
    if claims["pwd"] != passwords.password_fingerprint(user):
        raise no.SignInEnded
    return user


def read_sign_in_id(request: Request) -> str:
    """Return the sign-in that the token of a request belongs to, even if the token has expired.

    Raise ``Unauthenticated`` without a token, and ``SignInEnded`` for a token that names no sign-in.
    """
    sign_in_id = verify_signature(read_bearer(request), request.app.state.settings).get("sid")
    if not (isinstance(sign_in_id, str) and sign_in_id):
        raise no.SignInEnded
    return sign_in_id


def read_bearer(request: Request) -> str:
    """Return the token of a request. Raise ``Unauthenticated`` unless there is exactly one."""
    values = request.headers.getlist("authorization")
    scheme, _, token = values[0].partition(" ") if len(values) == 1 else ("", "", "")
    if scheme.lower() != "bearer" or not token.strip():
        raise no.Unauthenticated
    return token.strip()


def challenge(refusal: no.Refusal) -> Mapping[str, str]:
    """Return the header that RFC 6750 asks for where a token was refused, and none for any other refusal."""
    if isinstance(refusal, no.SignInEnded):
        return {"WWW-Authenticate": f'Bearer error="invalid_token", error_description="{refusal}"'}
    return {}
