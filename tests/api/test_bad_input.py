"""Invalid bodies, sent to every route that takes one: each is refused in a sentence and nothing is written."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from api.routes import ENDPOINTS
from bookit.db.pool import Database
from bookit.policy.limits import MAX_BODY_BYTES
from tests.support.people import Person
from tests.support.request_helpers import (
    JSON_HEADERS,
    VALID_BODIES,
    RefusalFacts,
    count_rows,
    read_refusal,
    request_refusal,
    request_with_field,
)


def routes_with_field(*names: str) -> list[tuple[str, str]]:
    """Return every route that takes one of these fields, with the field."""
    return [(where, name) for where, body in VALID_BODIES.items() for name in body if name in names]


async def send_to_all(database: Database, ada: Person, **more: Any) -> dict[str, RefusalFacts]:
    """Send the same request to every route that takes a body."""
    return {where: await request_refusal(database, ada.client, *where.split(), **more) for where in VALID_BODIES}


def test_every_route_with_a_body_is_tested() -> None:
    taking = {
        f"{endpoint.method} {endpoint.path.replace('{id}', '1')}" for endpoint in ENDPOINTS if "body" in endpoint.inputs
    }

    assert set(VALID_BODIES) == taking


INVALID_JSON = [
    b" ", b"{", b'{"a": 1,}', b"{'a': 1}", b'{"a": 1} {"b": 2}', b"nul", b"\x00", b'{"name": "a\x00b"}',
    b'{"name": "\xff"}', b'{"name": "\xed\xa0\x80"}', b'{"name": "\\ud800"}', b'{"\\udc00": 1}',
    b"\xff\xfe{\x00}\x00", b"name=Ada&email=ada",
    b"[" * 50_000, b'{"a":' * 10_000, b'{"service_id": ' + b"9" * 5000 + b"}",
]  # fmt: skip


@pytest.mark.parametrize("body", INVALID_JSON, ids=lambda body: repr(body[:20]))
async def test_invalid_json_is_refused(body: bytes, ada: Person, database: Database) -> None:
    answers = await send_to_all(database, ada, content=body, headers=JSON_HEADERS)

    assert answers == dict.fromkeys(VALID_BODIES, (400, "unreadable", None))


@pytest.mark.parametrize("kind", [None, "application/json", "text/plain"])
async def test_a_missing_body_is_refused_with_the_fields_to_send(
    kind: str | None, ada: Person, visitor: httpx2.AsyncClient, database: Database
) -> None:
    headers = {} if kind is None else {"content-type": kind}
    needing = [where for where in VALID_BODIES if where != "POST /auth/logout"]

    answers = {where: await ada.request(*where.split(), headers=headers) for where in needing}
    refused = {where: read_refusal(answer) for where, answer in answers.items()}
    signing_out = await request_refusal(database, visitor, "POST", "/auth/logout", headers=headers)

    assert refused == dict.fromkeys(needing, (422, "wrong-shape", None))
    assert answers["POST /auth/login"].json()["errors"] == [
        {
            "loc": ["body"],
            "msg": "This request needs a body. Send a JSON object as application/json."
            " Its fields are email, password, code, device_token.",
        }
    ]
    assert signing_out == (401, "unauthenticated", None)


@pytest.mark.parametrize("body", [b"[]", b"[{}]", b'"text"', b"1", b"null", b"true", b"[[[[[[1]]]]]]"])
async def test_json_other_than_an_object_is_refused(body: bytes, ada: Person, database: Database) -> None:
    answers = await send_to_all(database, ada, content=body, headers=JSON_HEADERS)

    assert answers == dict.fromkeys(VALID_BODIES, (422, "wrong-shape", None))


@pytest.mark.parametrize(
    "kind", [None, "", "text/plain", "application/x-www-form-urlencoded", "application/jsonx", "json", "\xa0;;,/"]
)
async def test_a_body_requires_the_content_type_of_json(kind: str | None, ada: Person, database: Database) -> None:
    headers = {} if kind is None else {"content-type": kind.encode("latin-1")}

    answers = await send_to_all(database, ada, content=b"{}", headers=headers)

    assert answers == dict.fromkeys(VALID_BODIES, (415, "not-json", None))


async def test_a_content_type_may_name_its_charset(visitor: httpx2.AsyncClient, database: Database) -> None:
    for kind in ("application/json; charset=utf-8", "Application/JSON;charset=UTF-8", " application/json "):
        headers = {"content-type": kind}

        answer = await request_refusal(database, visitor, "POST", "/auth/login", content=b"{}", headers=headers)

        assert answer == (422, "wrong-shape", "email")


@pytest.mark.parametrize("is_chunked", [False, True], ids=["at once", "in chunks"])
async def test_a_body_of_ten_megabytes_is_refused(is_chunked: bool, ada: Person, database: Database) -> None:
    sent = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(160):
            sent += 65536
            yield b"x" * 65536

    answers = {}
    for where in VALID_BODIES:
        body = chunks() if is_chunked else b"x" * 10_485_760
        answers[where] = await request_refusal(database, ada.client, *where.split(), content=body, headers=JSON_HEADERS)

    assert answers == dict.fromkeys(VALID_BODIES, (413, "too-large", None))
    assert sent <= len(VALID_BODIES) * (MAX_BODY_BYTES + 2 * 65536)


async def test_a_body_of_the_maximum_size_is_accepted(visitor: httpx2.AsyncClient, database: Database) -> None:
    body = b'{"email": "a@example.com"}'.ljust(MAX_BODY_BYTES)

    answer = await request_refusal(database, visitor, "POST", "/auth/login", content=body, headers=JSON_HEADERS)

    assert answer == (422, "wrong-shape", "password")


async def test_a_long_list_of_errors_is_truncated(ada: Person) -> None:
    answer = await ada.request("POST", "/bookings", json={f"k{number}": 1 for number in range(5_000)})

    assert read_refusal(answer) == (422, "wrong-shape", "service_id")
    assert len(answer.content) < 100_000


async def test_the_last_of_duplicate_keys_is_used(ada: Person, database: Database) -> None:
    body = b'{"booking_id": 1, "comment": "Good.", "rating": 5, "rating": 9}'

    answer = await request_refusal(database, ada.client, "POST", "/reviews", content=body, headers=JSON_HEADERS)

    assert answer == (422, "wrong-shape", "rating")


@pytest.mark.parametrize(
    "key", ["id", "user_id", "created_at", "seat", "role", "password_hash", "__class__", "", "ключ"]
)
async def test_an_unknown_key_is_refused(key: str, ada: Person, database: Database) -> None:
    answers = {where: await request_with_field(database, ada, where, key, "1") for where in VALID_BODIES}

    assert answers == dict.fromkeys(VALID_BODIES, (422, "wrong-shape", key))


async def test_an_empty_change_is_refused(ada: Person, database: Database) -> None:
    changes = [where for where in VALID_BODIES if where.startswith("PATCH")]

    answers = [await request_refusal(database, ada.client, *where.split(), json={}) for where in changes]

    assert answers == [(422, "wrong-shape", None)] * len(changes)


TEXT = ("name", "email", "password", "current_password", "refresh_token", "title", "description", "comment")
REQUIRED_TEXT = [
    *routes_with_field("name", "title", "comment"),
    ("POST /auth/register", "email"),
    ("PATCH /me", "email"),
]
INTEGERS = routes_with_field("service_id", "booking_id", "rating", "duration_minutes")
INVALID_NUMBERS = ["true", '"1"', '"abc"', '"\\u0661"', "null", "[]", "[1]", "{}", "NaN", "-Infinity", "1e400"]
INVALID_PRICES = [
    "NaN",
    "Infinity",
    "1e400",
    "1e99",
    "-1",
    "-0.01",
    "0.001",
    "10.005",
    "100000000",
    '"10"',
    "true",
    "null",
    "[]",
]
INVALID_EMAILS = [
    "a",
    "a@b",
    "@example.com",
    "a@",
    "a b@example.com",
    "a@example..com",
    "a@-x.com",
    "é@example.com",
    "a@b.c" * 60,
]


@pytest.mark.parametrize(
    ("fields", "values"),
    [
        pytest.param(routes_with_field(*TEXT), ["\0", "a\0b", 1, True, [], {}, "x" * 1001], id="text without NUL"),
        pytest.param(REQUIRED_TEXT, ["", " ", "\t\n"], id="words"),
        pytest.param(routes_with_field("status"), ["", "open", "PENDING", 1, True, [], "pending\0"], id="a status"),
        pytest.param(REQUIRED_TEXT[-2:], INVALID_EMAILS, id="an e-mail"),
    ],
)  # fmt: skip
async def test_a_field_refuses_values_of_another_type(
    fields: list[tuple[str, str]], values: list[Any], ada: Person, database: Database
) -> None:
    answers = {
        (where, field, repr(value)): await request_with_field(database, ada, where, field, json.dumps(value))
        for where, field in fields
        for value in values
    }

    assert answers == {place: (422, "wrong-shape", place[1]) for place in answers}


@pytest.mark.parametrize(
    ("fields", "values"),
    [
        pytest.param([*INTEGERS, ("POST /services", "resource_ids")], INVALID_NUMBERS, id="a number"),
        pytest.param(
            INTEGERS, ["0", "-0", "-1", str(2**63), str(2**64), "1" + "0" * 30, "1.5", "1e-400"], id="within bounds"
        ),
        pytest.param(
            [("POST /services", "resource_ids")], ["[0]", f"[{2**63}]", '["1"]', "[1.5]", "[[1]]"], id="numbers"
        ),
        pytest.param(routes_with_field("price"), INVALID_PRICES, id="an amount to the cent"),
    ],
)
async def test_a_numeric_field_refuses_other_numbers(
    fields: list[tuple[str, str]], values: list[str], ada: Person, database: Database
) -> None:
    answers = {
        (where, field, value): await request_with_field(database, ada, where, field, value)
        for where, field in fields
        for value in values
        if (field, value) not in {("resource_ids", "null"), ("resource_ids", "[]"), ("resource_ids", "[1]")}
    }

    assert answers == {place: (422, "wrong-shape", place[1]) for place in answers}


async def test_minus_zero_and_whole_decimals_are_accepted(ada: Person) -> None:
    body = b'{"title": "Chat", "price": -0.0, "duration_minutes": 5.0}'

    answer = await ada.request("POST", "/services", content=body, headers=JSON_HEADERS)

    assert answer.status_code == 201, answer.text
    assert '"price":0.0,"duration_minutes":5,' in answer.text


@pytest.mark.parametrize(
    ("password", "is_taken"),
    [("gk7rm2x", False), ("gk7rm2xq", True), ("gk7rm2xq" * 9, True), ("gk7rm2xq" * 9 + "a", False),
     ("éäöß" * 9, True), ("éäöß" * 9 + "é", False), ("éäöüßñç", False), ("😀😎🤖🐙🍋🍉" * 3, True),
     ("😀😎🤖🐙🍋🍉" * 3 + "a", False), ("       ", False), ("gk7rm2xq" * 125, False)],
)  # fmt: skip
async def test_a_password_has_8_characters_and_at_most_72_bytes(
    password: str, is_taken: bool, visitor: httpx2.AsyncClient, database: Database
) -> None:
    answer = await visitor.post("/auth/register", json={**VALID_BODIES["POST /auth/register"], "password": password})

    if is_taken:
        assert answer.status_code == 201
    else:
        assert read_refusal(answer)[0::2] == (422, "password")
        rows = await count_rows(database)
        assert {table for table, count in rows.items() if count} == {"business"}


async def test_signing_in_with_an_impossible_password_is_refused(ada: Person, database: Database) -> None:
    for password in ("", "a" * 73, "é" * 37, "a" * 1000):
        body = {"email": "ada@example.com", "password": password}

        assert await request_refusal(database, ada.client, "POST", "/auth/login", json=body) == (
            401,
            "wrong-password",
            None,
        )
