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
from bookit.people import second_factors, sign_ins
from bookit.people.sign_ins import SignedIn
from bookit.policy.limits import MAX_BIGINT
from bookit.schema.tables import User
from bookit.settings import Settings

ISSUER = "bookit"
AUDIENCE = "bookit-api"


def create_access_token(user: User, settings: Settings, *, now: datetime, sid: str) -> str:
    """Return a token with the user's id, the sign-in that ``sid`` names, and its expiry."""
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": str(user.id),
        "iat": int(now.timestamp()),
        "exp": int((now + timedelta(minutes=settings.access_token_expire_minutes)).timestamp()),
        "sid": sid,
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
            claims = decode_token(token, secret, settings.algorithm)
            if isinstance(claims["sid"], str) and re.fullmatch(r"[A-Za-z0-9_-]{1,64}", claims["sid"]):
                return claims
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
        audience=AUDIENCE,
        # ``verify_token`` checks the expiry by the clock of the application.
        options={"require": ["iss", "aud", "sub", "exp", "sid"], "verify_exp": False, "verify_iat": False},
    )


def is_valid_id(sub: str) -> bool:
    """Return whether this could be the id of a row."""
    return re.fullmatch(r"[0-9]{1,19}", sub) is not None and int(sub) <= MAX_BIGINT


async def get_current_user(request: Request, *, now: datetime) -> SignedIn:
    """Return the user whose token the request has, as the database has them now, and their sign-in.

    Raise ``Unauthenticated`` without a token, and ``SignInEnded`` if the token is not valid, its sign-in has ended, or
    the user is not active. Raise ``SecondFactorNotSetUp`` if the sign-in lacks the second factor that its role must
    have.
    """
    state = request.app.state
    claims = verify_token(read_bearer(request), state.settings, now=now)
    signed_in = await sign_ins.find(state.database, claims["sid"], door="api", now=now)
    if signed_in.user.id != int(claims["sub"]):
        raise no.SignInEnded
    second_factors.require(signed_in.user.role, signed_in.second_factor, state.settings)
    state.last_seen.note(state.database, signed_in, now=now)
    return signed_in


def read_sid(request: Request) -> str:
    """Return the name of the sign-in that the token of a request belongs to, even if the token has expired.

    Raise ``Unauthenticated`` without a token, and ``SignInEnded`` for a token that is not ours.
    """
    return str(verify_signature(read_bearer(request), request.app.state.settings)["sid"])


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
