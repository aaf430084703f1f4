"""Invalid URLs, queries, headers and methods: each is refused in a sentence and nothing is written."""

import base64
import json
from typing import Any

import httpx2
import pytest

from api.openapi import build_document
from api.routes import ENDPOINTS
from bookit.db.pool import Database
from bookit.schema.tables import Service
from tests.support.people import Person
from tests.support.request_helpers import read_refusal, request_refusal

WITH_ID: list[tuple[str, str, Any]] = [
    ("GET", "/bookings/{}", None),
    ("PATCH", "/bookings/{}", {"status": "cancelled"}),
    ("DELETE", "/bookings/{}", None),
    ("GET", "/services/{}", None),
    ("PATCH", "/services/{}", {"title": "Massage"}),
    ("DELETE", "/services/{}", None),
    ("GET", "/reviews/{}", None),
    ("PATCH", "/reviews/{}", {"rating": 5}),
    ("DELETE", "/reviews/{}", None),
    ("GET", "/services/{}/reviews", None),
    ("GET", "/services/{}/availability", None),
    ("GET", "/services/{}/availability/explain?start_time=2030-01-08T10:00:00Z", None),
]
# Ada has sign-ins of her own, so that these ids exist.
OF_SIGN_INS: list[tuple[str, str, Any]] = [
    ("DELETE", "/me/sign-ins/{}", None),
    ("GET", "/users/{}/sign-ins", None),
    ("DELETE", "/users/{}/sign-ins", None),
    ("DELETE", "/users/{}/sign-ins/1", None),
]
LISTS = ["/services", "/bookings", "/services/1/reviews"]


def test_every_route_with_an_id_is_tested() -> None:
    with_id = {
        (endpoint.method, endpoint.path.replace("{id}", "{}").replace("{sign_in_id}", "1"))
        for endpoint in ENDPOINTS
        if "id" in endpoint.inputs
    }

    assert {(method, path.partition("?")[0]) for method, path, _ in WITH_ID + OF_SIGN_INS} == with_id


INVALID_IDS = [
    "0", "-1", str(2**63), str(2**64), "1" + "0" * 30, "9" * 60_000, "abc", "1.0", "1e3", "+1", "1_0", "%201", "0x1",
    "null", "%00", "1%00", "%D9%A1", "%EF%BC%91", "%FF", "%ED%A0%80", "1;2", "1,2", "*", "'", "%25",
]  # fmt: skip


async def test_an_id_must_be_ascii_digits(ada: Person, database: Database) -> None:
    for number in INVALID_IDS:
        answers = [
            await request_refusal(database, ada.client, method, path.format(number), json=body)
            for method, path, body in WITH_ID + OF_SIGN_INS
        ]

        assert (number, answers) == (number, [(422, "wrong-shape", "id")] * len(WITH_ID + OF_SIGN_INS))


async def test_an_unknown_id_is_missing(ada: Person, database: Database) -> None:
    for number in ("1", "007", "9223372036854775807"):
        answers = [
            await request_refusal(database, ada.client, method, path.format(number), json=body)
            for method, path, body in WITH_ID
        ]

        assert answers == [(404, "missing", None)] * len(WITH_ID)


INVALID_LIMITS = [
    "0",
    "-1",
    "101",
    "1" + "0" * 30,
    "9" * 5000,
    "abc",
    "1.5",
    "",
    "null",
    "%D9%A1",
    "1_0",
    "+5",
    "%205",
    "5%00",
]


async def test_a_limit_outside_1_to_100_is_refused(ada: Person, database: Database) -> None:
    answers = {
        (path, limit): await request_refusal(database, ada.client, "GET", f"{path}?limit={limit}")
        for path in LISTS
        for limit in INVALID_LIMITS
    }

    assert answers == dict.fromkeys(answers, (422, "wrong-shape", "limit"))


INVALID_FILTERS = {
    "/services": [
        ("q", "a" * 201), ("q", "%00"), ("q", "a%00b"), ("price_min", "abc"), ("price_min", "-1"),
        ("price_min", "NaN"), ("price_max", "Infinity"), ("price_max", "1e400"), ("price_max", "0.001"),
        ("price_max", ""), ("active", "maybe"), ("active", ""), ("active", "%00"), ("color", "red"),
        ("limit", "5&limit=6"), ("q", "a&q=a"), ("", "1"), ("q[]", "a"), ("cursor", "a" * 201),
    ],
    "/services/1/reviews": [("rating", "5"), ("limit", "5&limit=5")],
    "/bookings": [
        ("status", ""), ("status", "open"), ("status", "PENDING"), ("status", "pending,confirmed"), ("status", "%00"),
        ("service_id", "0"), ("service_id", "abc"), ("service_id", str(2**63)), ("user_id", "1"),
        ("service_id", "1&service_id=1"),
    ],
}  # fmt: skip


async def test_an_invalid_filter_is_refused(ada: Person, database: Database) -> None:
    answers = {
        (path, name, value): await request_refusal(database, ada.client, "GET", f"{path}?{name}={value}")
        for path, filters in INVALID_FILTERS.items()
        for name, value in filters
    }

    assert answers == {sent: (422, "wrong-shape", sent[1]) for sent in answers}


INVALID_DATES = [
    "", "today", "2030", "1893492000", "2030-02-30", "2030-1-1", "2030-W02-2", "0000-01-01", "10000-01-01",
    "2030-01-08T24:00:00Z", "2030-01-08%00", "%D9%A2%D9%A0%D9%A3%D9%A0-01-08", "2030-06-30T23:59:60Z",
]  # fmt: skip
DATES_OUT_OF_RANGE = ["0001-01-01", "1999-12-30", "9999-12-31", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59-23:59"]


@pytest.mark.parametrize(
    ("days", "status", "code"),
    [(INVALID_DATES, 422, "wrong-shape"), (DATES_OUT_OF_RANGE, 400, "outside-the-calendar")],
    ids=["written as RFC 3339 has it", "in the calendar"],
)
async def test_an_invalid_day_is_refused(
    days: list[str], status: int, code: str, ada: Person, database: Database
) -> None:
    answers = {
        (name, day): await request_refusal(database, ada.client, "GET", f"/bookings?{name}={day}")
        for name in ("from_date", "to_date")
        for day in days
    }

    assert answers == {sent: (status, code, sent[0]) for sent in answers}


def forge_cursor(values: Any) -> str:
    """Return an encoded cursor that BookIt never issued."""
    text = values if isinstance(values, str) else json.dumps(values)
    return base64.urlsafe_b64encode(text.encode("utf-8", "surrogatepass")).decode().rstrip("=")


INVALID_CURSOR_VALUES: list[Any] = [
    "null", "{", "[NaN]", "[1e400]", "[" * 140, "[" + "9" * 130 + "]", '["\\ud800", 1]', "\ud800", [], {}, [None],
    [0], [-1], [1.5], [True], ["1"], [2**63], [10**30], [1, 1], [[1]], {"id": 1}, ["2030-01-01T00:00:00Z"],
    [1, "2030-01-01T00:00:00Z"], ["2030-01-01", "1"], ["2030-01-01", True], ["soon", 1], ["0000-01-01T00:00:00Z", 1],
    ["0001-01-01T00:00:00+23:59", 1], ["9999-12-31T23:59:59-23:59", 1], ["2030-01-01T00:00:00Z", 2**63],
    ["2030-01-01T00:00:00Z", 1, 1], [1893492000, 1], [None, None],
]  # fmt: skip


async def test_an_invalid_cursor_is_refused(ada: Person, database: Database) -> None:
    cursors = ["x", "=", "====", "%00", "%FF", "!!!!", "AAAA", "é", *map(forge_cursor, INVALID_CURSOR_VALUES)]

    answers = {
        (path, cursor): await request_refusal(database, ada.client, "GET", f"{path}?cursor={cursor}")
        for path in LISTS
        for cursor in cursors
    }

    assert answers == dict.fromkeys(answers, (422, "wrong-shape", "cursor"))


async def test_a_cursor_with_an_extreme_date_is_harmless(ada: Person) -> None:
    for start in ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2030-01-01T00:00:00"):
        answer = await ada.request("GET", f"/bookings?cursor={forge_cursor([start, 1])}")

        assert answer.status_code == 200 or read_refusal(answer) == (422, "wrong-shape", "cursor")


INVALID_ETAGS = [
    [""], ["1"], ["abc"], ['"1'], ['1"'], ['"1" "1"'], ["W/"], ["w/1"], ['w/"1"'], ["**"], ["\xb2"], ['"1\0"'], [","],
    ["*", '"7"'], ['"7"', "*"], ['"7", *'], ['"7"; "8"'],
]  # fmt: skip
OTHER_ETAGS = [
    ['"2"'], ['"0"'], ['"999999999"'], ['"abc"'], ['""'], ['"-1"'], ['"1.0"'], ['W/"1"'], ['W/"2"'], ['"\xb2"'],
    ['"' + "9" * 5000 + '"'], ['"2", "3"'], ['"2"', '"3"'], ['W/"1", "2"'],
]  # fmt: skip


@pytest.mark.parametrize(
    ("tags", "refused"),
    [(INVALID_ETAGS, (422, "wrong-shape", "If-Match")), (OTHER_ETAGS, (412, "stale", None))],
    ids=["a list of ETags", "the newest"],
)
async def test_an_invalid_or_stale_if_match_is_refused(
    tags: list[list[str]], refused: Any, ada: Person, haircut: Service, database: Database
) -> None:
    for tag in tags:
        headers = [(b"if-match", value.encode("latin-1")) for value in tag]
        change = await request_refusal(database, ada.client, "PATCH", "/services/1", json={"price": 1}, headers=headers)
        delete = await request_refusal(database, ada.client, "DELETE", "/services/1", headers=headers)

        assert (tag, change, delete) == (tag, refused, refused)


@pytest.mark.parametrize("tag", ['"1"', "*", '"0", "1"', ', "1" ,, W/"7"'])
async def test_a_returned_etag_is_accepted_in_if_match(tag: str, ada: Person, haircut: Service) -> None:
    answer = await ada.request("PATCH", f"/services/{haircut.id}", json={"price": 1}, headers={"If-Match": tag})

    assert (answer.status_code, answer.headers["etag"]) == (200, '"2"')


INVALID_KEYS = [[""], [" "], ["a b"], ["k" * 256], ["é"], ["\xff"], ["a\0b"], ["\t"], ["a\x7f"], ["a", "a"], ["a", "b"]]


async def test_an_invalid_idempotency_key_is_refused(ada: Person, haircut: Service, database: Database) -> None:
    for keys in INVALID_KEYS:
        headers = [(b"idempotency-key", key.encode("latin-1")) for key in keys]
        body = {"service_id": haircut.id, "start_time": "2030-01-08T10:00:00Z"}

        answer = await request_refusal(database, ada.client, "POST", "/bookings", json=body, headers=headers)

        assert (keys, answer) == (keys, (422, "wrong-shape", "Idempotency-Key"))


PATHS = build_document(ENDPOINTS)["paths"]
METHODS = {path.replace("{id}", "1"): sorted(map(str.upper, methods)) for path, methods in PATHS.items()}
PAGES = ["/docs", "/redoc", "/openapi.json", "/healthz", "/readyz", "/problems/stale", "/static/docs.js"]
ALLOWED = METHODS | {f"/v1{path}": methods for path, methods in METHODS.items()} | {path: ["GET"] for path in PAGES}


@pytest.mark.parametrize("method", ["PUT", "TRACE", "OPTIONS", "BREW", "QUERY"])
async def test_an_unsupported_method_is_answered_with_allow(method: str, visitor: httpx2.AsyncClient) -> None:
    allowed = {}
    for path in ALLOWED:
        answer = await visitor.request(method, path)
        assert (path, read_refusal(answer)) == (path, (405, "method-not-allowed", None))
        allowed[path] = sorted(set(answer.headers["allow"].split(", ")) - {"HEAD"})

    assert allowed == ALLOWED


async def test_head_is_answered_like_get(ada: Person, haircut: Service) -> None:
    paths = [path for path, methods in ALLOWED.items() if "GET" in methods]

    statuses = {path: (await ada.request("HEAD", path)).status_code for path in paths}

    assert statuses == {path: (await ada.request("GET", path)).status_code for path in paths}


UNKNOWN_PATHS = [
    "/static/../endpoint.py", "/static/%2e%2e/endpoint.py", "/static/..%2fendpoint.py",
    "/static/%2e%2e%2fendpoint.py", "/static/..%5cendpoint.py", "/static/%2fetc/passwd", "/static//etc/passwd",
    "/static/vendor/../../endpoint.py", "/static/....//endpoint.py", "/static/", "/static/vendor", "/static/%00",
    "/static/docs.js%00.css", "/static/%FF", "/static/" + "a" * 300, "/static/" + "a/" * 3000, "/%00", "/%FF", "/..",
    "/../../etc/passwd", "//evil.example/", "/.env", "/.git/config", "/v1/v1/services", "/v2/services", "/v1/",
    "/SERVICES", "/services;x=1", "/" + "a" * 60_000, "/problems/%00", "/problems/nothing", "/problems/..%2f..",
    "/problems/Stale",
]  # fmt: skip


async def test_unknown_paths_are_not_found(visitor: httpx2.AsyncClient, database: Database) -> None:
    answers = {path: await request_refusal(database, visitor, "GET", path) for path in UNKNOWN_PATHS}

    assert answers == dict.fromkeys(UNKNOWN_PATHS, (404, "not-found", None))


async def test_very_long_input_is_handled_like_any_other(visitor: httpx2.AsyncClient, database: Database) -> None:
    long = "a" * 60_000
    many = "&".join(f"k{number}=1" for number in range(4000))

    unknown = await request_refusal(database, visitor, "GET", f"/services?{long}=1")
    unknowns = await request_refusal(database, visitor, "GET", f"/services?{many}")
    signed_in = await request_refusal(database, visitor, "GET", "/me", headers={"Authorization": f"Bearer {long}"})
    nowhere = await request_refusal(database, visitor, "GET", "/nowhere", headers={"X-Request-Id": long, long: long})

    assert unknown == (422, "wrong-shape", long)
    assert unknowns == (422, "wrong-shape", "k0")
    assert [signed_in, nowhere] == [(401, "sign-in-ended", None), (404, "not-found", None)]
