"""Signing out: by the refresh token, or by the access token alone."""

from typing import Any

import httpx2
import jwt
import pytest

from bookit.settings import Settings
from tests.support.clock import Clock
from tests.support.people import PASSWORD, Person
from tests.support.request_helpers import status_and_code


@pytest.fixture
async def tokens(tom: Person, visitor: httpx2.AsyncClient) -> dict[str, str]:
    """Sign Tom in."""
    return await sign_in(visitor)


async def sign_in(visitor: httpx2.AsyncClient) -> dict[str, str]:
    answer = await visitor.post("/auth/login", json={"email": "tom@example.com", "password": PASSWORD})
    tokens: dict[str, str] = answer.json()
    return tokens


async def sign_out(visitor: httpx2.AsyncClient, token: str, **more: Any) -> httpx2.Response:
    return await visitor.post("/auth/logout", headers={"Authorization": f"Bearer {token}"}, **more)


async def can_refresh(visitor: httpx2.AsyncClient, tokens: dict[str, str]) -> bool:
    answer = await visitor.post("/auth/refresh", json={"refresh_token": tokens["refresh_token"]})
    return answer.status_code == 200


@pytest.mark.parametrize(
    "more",
    [{}, {"content": b""}, {"json": {}}, {"json": {"refresh_token": None}}],
    ids=["no body", "an empty body", "an empty object", "null"],
)
async def test_an_access_token_alone_ends_its_sign_in(
    more: dict[str, Any], tokens: dict[str, str], visitor: httpx2.AsyncClient
) -> None:
    other = await sign_in(visitor)

    answer = await sign_out(visitor, tokens["access_token"], **more)

    assert (answer.status_code, answer.json()) == (200, {"detail": "Signed out."})
    assert [await can_refresh(visitor, tokens), await can_refresh(visitor, other)] == [False, True]


async def test_the_access_token_of_a_refreshed_sign_in_ends_it(
    tokens: dict[str, str], visitor: httpx2.AsyncClient
) -> None:
    renewed = (await visitor.post("/auth/refresh", json={"refresh_token": tokens["refresh_token"]})).json()

    answer = await sign_out(visitor, tokens["access_token"])

    assert answer.status_code == 200
    assert not await can_refresh(visitor, renewed)


async def test_an_expired_access_token_ends_its_sign_in(
    tokens: dict[str, str], visitor: httpx2.AsyncClient, clock: Clock
) -> None:
    clock.advance(hours=5)

    answer = await sign_out(visitor, tokens["access_token"])

    assert answer.status_code == 200
    assert not await can_refresh(visitor, tokens)


async def test_signing_out_twice_is_no_error(tokens: dict[str, str], visitor: httpx2.AsyncClient) -> None:
    answers = [await sign_out(visitor, tokens["access_token"]) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 200]


async def test_a_refresh_token_in_the_body_needs_no_valid_access_token(
    tokens: dict[str, str], visitor: httpx2.AsyncClient
) -> None:
    answer = await sign_out(visitor, "nonsense", json={"refresh_token": tokens["refresh_token"]})

    assert answer.status_code == 200
    assert not await can_refresh(visitor, tokens)


async def test_without_any_token_signing_out_is_refused(
    tokens: dict[str, str], tom: Person, visitor: httpx2.AsyncClient, settings: Settings
) -> None:
    claims = {"iss": "bookit", "sub": str(tom.id), "exp": 2**40, "pwd": "-"}
    of_before = jwt.encode(claims, settings.secret_key.get_secret_value())

    nothing = await visitor.post("/auth/logout")
    others = [await sign_out(visitor, token) for token in ("nonsense", tokens["refresh_token"], of_before)]

    assert (status_and_code(nothing), nothing.headers["www-authenticate"]) == ((401, "unauthenticated"), "Bearer")
    assert [status_and_code(answer) for answer in others] == [(401, "sign-in-ended")] * 3
    assert [answer.headers["www-authenticate"].split(",")[0] for answer in others] == [
        'Bearer error="invalid_token"'
    ] * 3
    assert await can_refresh(visitor, tokens)


async def test_only_a_refused_access_token_is_called_an_invalid_token(
    tom: Person, visitor: httpx2.AsyncClient, clock: Clock
) -> None:
    wrong_password = await visitor.post("/auth/login", json={"email": "tom@example.com", "password": "wrong"})
    wrong_refresh_token = await visitor.post("/auth/refresh", json={"refresh_token": "none"})
    no_token = await visitor.get("/me")
    clock.advance(hours=1)
    expired = await tom.request("GET", "/me")

    answers = [wrong_password, wrong_refresh_token, no_token, expired]
    invalid = 'Bearer error="invalid_token", error_description="Your session has ended. Please sign in again."'
    assert [(answer.status_code, answer.headers["www-authenticate"]) for answer in answers] == [
        (401, "Bearer"),
        (401, "Bearer"),
        (401, "Bearer"),
        (401, invalid),
    ]
