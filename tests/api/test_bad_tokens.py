"""Invalid tokens: each is refused in a sentence and nothing is written."""

import base64
import json
from typing import Any

import httpx2
import jwt
import pytest

from api.auth import verify_token
from bookit.db.pool import Database
from bookit.settings import Settings
from tests.support.clock import NOW
from tests.support.people import PASSWORD, Person
from tests.support.request_helpers import RefusalFacts, request_refusal
from tests.support.sign_ins import token_of

SIGN_IN_ENDED = {(401, "sign-in-ended", None)}
SECONDS = int(NOW.timestamp())


@pytest.fixture
def key(settings: Settings) -> str:
    return settings.secret_key.get_secret_value()


@pytest.fixture
def claims(ada: Person, settings: Settings) -> dict[str, Any]:
    """Return the claims of a valid token of Ada, the admin."""
    return dict(verify_token(token_of(ada, settings, now=NOW), settings, now=NOW))


def make_unsigned_token(claims: dict[str, Any], **header: Any) -> str:
    """Return a token without a signature."""
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in (header, claims)]
    return ".".join([*parts, ""])


async def request_with_tokens(
    database: Database, visitor: httpx2.AsyncClient, *tokens: str | bytes
) -> set[RefusalFacts]:
    """Send each of these tokens to /me and to a route for admins."""
    answers = set()
    for token in tokens:
        headers = {"authorization": b"Bearer " + (token if isinstance(token, bytes) else token.encode())}
        answers.add(await request_refusal(database, visitor, "GET", "/me", headers=headers))
        answers.add(await request_refusal(database, visitor, "POST", "/services", headers=headers))
    return answers


async def test_an_unsigned_token_is_refused(
    claims: dict[str, Any], visitor: httpx2.AsyncClient, database: Database
) -> None:
    algorithms: list[Any] = ["none", "None", "NONE", "nOnE", "", None, "HS256", "RS256", 5, [], {}, "x" * 1000]
    tokens = [make_unsigned_token(claims, alg=algorithm, typ="JWT") for algorithm in algorithms]

    assert await request_with_tokens(database, visitor, *tokens) == SIGN_IN_ENDED
    assert await request_with_tokens(database, visitor, *(f"{token}AAAA" for token in tokens)) == SIGN_IN_ENDED
    assert await request_with_tokens(database, visitor, *(token.rstrip(".") for token in tokens)) == SIGN_IN_ENDED


async def test_a_token_with_another_signature_is_refused(
    claims: dict[str, Any], key: str, visitor: httpx2.AsyncClient, database: Database
) -> None:
    good = jwt.encode(claims, key, algorithm="HS256")
    other_key = jwt.encode(claims, key[::-1], algorithm="HS256")
    other_algorithm = jwt.encode(claims, key + key, algorithm="HS512")
    own_key_and_other_algorithm = jwt.encode(claims, key.ljust(64), algorithm="HS512")
    altered = ".".join([*good.split(".")[:2], other_key.split(".")[2]])
    tokens = (other_key, other_algorithm, own_key_and_other_algorithm, altered, good[:-2], f"{good}AA", f"{good}.")

    assert await request_with_tokens(database, visitor, *tokens) == SIGN_IN_ENDED


# Claims that are signed with the right key.
WRONG_CLAIMS: list[dict[str, Any]] = [
    {"exp": None}, {"exp": SECONDS}, {"exp": 0}, {"exp": -1}, {"exp": "soon"}, {"exp": []}, {"exp": "9" * 20},
    {"exp": True}, {"sub": None}, {"sub": 1}, {"sub": "999"}, {"sub": "-1"}, {"sub": "1.0"}, {"sub": "0"},
    {"sub": "1" + "0" * 30}, {"sub": "9" * 5000}, {"sub": ""}, {"sub": "\u0661"}, {"sub": "²"}, {"sub": "1\0"},
    {"sub": []}, {"iss": None}, {"iss": "other"}, {"aud": None}, {"aud": "bookit"}, {"aud": []},
    {"sid": None}, {"sid": "x" * 32}, {"sid": 1}, {"sid": []}, {"sid": ""}, {"sid": "x\0"}, {"sid": "9" * 5000},
    {"nbf": SECONDS + 10**10},
]  # fmt: skip


async def test_a_token_with_a_wrong_claim_is_refused(
    claims: dict[str, Any], key: str, visitor: httpx2.AsyncClient, database: Database
) -> None:
    for wrong in WRONG_CLAIMS:
        changed = {name: value for name, value in {**claims, **wrong}.items() if value is not None}

        answers = await request_with_tokens(database, visitor, jwt.encode(changed, key, algorithm="HS256"))

        assert (wrong, answers) == (wrong, SIGN_IN_ENDED)


async def test_a_token_may_expire_far_in_the_future(
    claims: dict[str, Any], key: str, visitor: httpx2.AsyncClient
) -> None:
    for end in (10**11, 10**30, 1e300):
        token = jwt.encode({**claims, "exp": end}, key, algorithm="HS256")

        assert (await visitor.get("/me", headers={"Authorization": f"Bearer {token}"})).status_code == 200


async def test_text_that_is_not_a_token_is_refused(visitor: httpx2.AsyncClient, database: Database) -> None:
    tokens = [
        "a",
        ".",
        "..",
        "...",
        "a.b",
        "a.b.c",
        "a.b.c.d",
        "e30.e30.",
        "null",
        "W10.W10.W10",
        "a b",
        "é",
        "\0",
        "[" * 1000,
    ]

    assert (
        await request_with_tokens(database, visitor, *tokens, b"\xff\xfe", b"a.\xff.c", b"x" * 60_000) == SIGN_IN_ENDED
    )


async def test_a_request_without_a_bearer_token_is_unauthorized(
    visitor: httpx2.AsyncClient, database: Database
) -> None:
    for value in (
        b"",
        b" ",
        b"Bearer",
        b"Bearer ",
        b"Bearer  ",
        b"Basic YTpi",
        b"Token abc",
        b"Bearer\tabc",
        b"bearerabc",
        b"\xff",
    ):
        answer = await request_refusal(database, visitor, "GET", "/me", headers={"authorization": value})

        assert (value, answer) == (value, (401, "unauthenticated", None))


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer "])
async def test_the_scheme_bearer_is_case_insensitive(
    scheme: str, tom: Person, visitor: httpx2.AsyncClient, settings: Settings
) -> None:
    token = token_of(tom, settings, now=NOW)

    answer = await visitor.get("/me", headers={"Authorization": f"{scheme} {token}"})

    assert (answer.status_code, answer.json()["id"]) == (200, tom.id)


async def test_two_authorization_headers_are_refused(
    tom: Person, eve: Person, visitor: httpx2.AsyncClient, settings: Settings, database: Database
) -> None:
    both = [("Authorization", f"Bearer {token_of(who, settings, now=NOW)}") for who in (tom, eve)]

    assert await request_refusal(database, visitor, "GET", "/me", headers=both) == (401, "unauthenticated", None)


async def test_access_and_refresh_tokens_are_not_interchangeable(
    tom: Person, visitor: httpx2.AsyncClient, database: Database
) -> None:
    tokens = (await visitor.post("/auth/login", json={"email": "tom@example.com", "password": PASSWORD})).json()
    swapped = {"refresh_token": tokens["access_token"]}

    assert await request_with_tokens(database, visitor, tokens["refresh_token"]) == SIGN_IN_ENDED
    assert await request_refusal(database, visitor, "POST", "/auth/refresh", json=swapped) == (
        401,
        "sign-in-ended",
        None,
    )
