"""The OpenAPI document: correct, complete, and respected by every response that schemathesis can provoke."""

import itertools
import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import httpx2
import pytest
import schemathesis
from hypothesis import strategies
from schemathesis.config import (
    ChecksConfig,
    GenerationConfig,
    PositiveDataAcceptanceConfig,
    ProjectConfig,
    ProjectsConfig,
    SchemathesisConfig,
)
from schemathesis.config._auth import AuthConfig
from schemathesis.core.parameters import ParameterLocation
from schemathesis.engine import events, from_schema
from schemathesis.python.asgi import shutdown_lifespans
from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR
from starlette.applications import Starlette
from starlette.routing import Mount, Route

from api.openapi import build_document
from api.pagination import BY_ID, BY_START, encode_cursor
from api.routes import ENDPOINTS, build_routes
from bookit import records
from bookit.db.pool import Database
from bookit.policy.permissions import Actor
from bookit.schema.tables import Booking, Review, Role, Service, Status, User
from bookit.settings import Settings
from server.app import build
from tests.support.clock import NOW, Clock
from tests.support.databases import TEMPLATE_DATABASE, connect_as_superuser, create_database
from tests.support.people import OWNER, PASSWORD_HASH
from tests.support.sign_ins import make_token

DOCUMENT = build_document(ENDPOINTS)
OPERATIONS = {
    f"{method.upper()} {path}": operation
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
}


async def test_the_document_is_served(visitor: httpx2.AsyncClient) -> None:
    answer = await visitor.get("/openapi.json")

    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json() == DOCUMENT


def test_the_document_is_openapi_3_1() -> None:
    assert [str(mistake) for mistake in OPENAPI_31_VALIDATOR.iter_errors(DOCUMENT)] == []


def test_every_reference_resolves_and_every_component_is_used() -> None:
    referred = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(DOCUMENT)))

    assert referred == set(DOCUMENT["components"]["schemas"])


def test_every_route_of_the_api_is_described() -> None:
    of_pages = {"/docs", "/redoc", "/openapi.json", "/healthz", "/readyz", "/problems/{code}", "/static", "/v1"}

    paths = {route.path for route in build_routes() if isinstance(route, Route | Mount)}

    assert paths - of_pages == set(DOCUMENT["paths"])


def test_every_operation_is_described() -> None:
    assert {name: operation["tags"] for name, operation in OPERATIONS.items() if len(operation["tags"]) != 1} == {}
    assert {
        name for name, operation in OPERATIONS.items() if not re.fullmatch(r"\S.+\.", operation["summary"])
    } == set()
    names = [operation["operationId"] for operation in OPERATIONS.values()]
    assert sorted(names) == sorted(set(names))


def test_every_operation_says_when_to_try_again() -> None:
    headers = {name: set(operation["responses"]["429"]["headers"]) for name, operation in OPERATIONS.items()}

    assert [name for name, names in headers.items() if names != {"RateLimit", "RateLimit-Policy", "Retry-After"}] == []


def test_every_status_is_described() -> None:
    assert {name: " ".join(operation["responses"]) for name, operation in OPERATIONS.items()} == {
        "POST /bookings": "201 400 401 403 404 409 413 415 422 429 503",
        "GET /bookings": "200 400 401 403 422 429 503",
        "GET /bookings/{id}": "200 304 401 403 404 422 429 503",
        "PATCH /bookings/{id}": "200 400 401 403 404 409 412 413 415 422 429 503",
        "DELETE /bookings/{id}": "204 400 401 403 404 409 412 422 429 503",
        "GET /services": "200 400 422 429 503",
        "GET /services/{id}": "200 304 404 422 429 503",
        "POST /services": "201 400 401 403 404 413 415 422 429 503",
        "PATCH /services/{id}": "200 400 401 403 404 409 412 413 415 422 429 503",
        "DELETE /services/{id}": "204 401 403 404 409 412 422 429 503",
        "GET /reviews/{id}": "200 304 404 422 429 503",
        "POST /reviews": "201 400 401 403 404 409 413 415 422 429 503",
        "PATCH /reviews/{id}": "200 400 401 403 404 412 413 415 422 429 503",
        "DELETE /reviews/{id}": "204 401 403 404 412 422 429 503",
        "GET /services/{id}/reviews": "200 404 422 429 503",
        "GET /services/{id}/availability": "200 304 400 401 403 404 409 422 429 503",
        "GET /services/{id}/availability/explain": "200 400 401 403 404 409 422 429 503",
        "POST /auth/register": "201 400 409 413 415 422 429 503",
        "POST /auth/login": "200 400 401 403 413 415 422 429 503",
        "POST /auth/refresh": "200 400 401 413 415 422 429 503",
        "POST /auth/logout": "200 400 401 413 415 422 429 503",
        "GET /me": "200 304 401 403 422 429 503",
        "GET /me/export": "200 401 403 422 429 503",
        "GET /me/sign-ins": "200 401 403 422 429 503",
        "DELETE /me/sign-ins": "204 401 403 422 429 503",
        "DELETE /me/sign-ins/{id}": "204 401 403 404 422 429 503",
        "GET /users/{id}/sign-ins": "200 401 403 404 422 429 503",
        "DELETE /users/{id}/sign-ins": "204 401 403 404 422 429 503",
        "DELETE /users/{id}/sign-ins/{sign_in_id}": "204 401 403 404 422 429 503",
        "PATCH /me": "200 400 401 403 409 412 413 415 422 429 503",
        "GET /reports/revenue": "200 400 401 403 422 429 503",
        "GET /reports/utilisation": "200 400 401 403 422 429 503",
        "GET /reports/no-shows": "200 400 401 403 422 429 503",
        "GET /reports/repeat-customers": "200 400 401 403 422 429 503",
    }


def test_internal_fields_are_not_named() -> None:
    inside = {"password_hash", "blocks_from", "blocks_until", "token_hash", "request_hash", "family", "pwd"}
    text = json.dumps(DOCUMENT)

    assert set(re.findall(r"\w+", text)) & inside == set()
    assert '"seat"' not in text  # the word occurs in sentences, but not as a field name


# A schema cannot express this: a password is measured in bytes, contains no NUL, and is hard to guess.
schemathesis.openapi.format(
    "password",
    strategies.text(strategies.characters(codec="ascii", exclude_characters="\0"), max_size=60).map(
        "plum kiosk ".__add__
    ),
)
# Nor can one say which texts can be seen.
for text_format in ("line", "paragraphs"):
    schemathesis.openapi.format(
        text_format,
        strategies.text(strategies.characters(codec="latin-1", categories=["Lu", "Ll", "Nd"]), min_size=1, max_size=50),
    )
NEW_KEYS = itertools.count()


@schemathesis.hook
def before_call(context: Any, case: Any, **more: Any) -> None:
    """Make generated requests valid where they should be: an issued cursor, a new key, a quoted ETag."""

    def is_meant_valid(name: str, parameters: Any, location: ParameterLocation) -> bool:
        meta = case.meta
        return name in (parameters or ()) and not (
            meta and meta.generation.mode.is_negative and meta.is_negative_at(location)
        )

    if is_meant_valid("cursor", case.query, ParameterLocation.QUERY):
        key = BY_START if case.operation.path == "/bookings" else BY_ID
        case.query["cursor"] = encode_cursor({"start_time": NOW, "id": 1}, key)
    if is_meant_valid("Idempotency-Key", case.headers, ParameterLocation.HEADER):
        case.headers["Idempotency-Key"] = f"key-{next(NEW_KEYS)}"
    for name, etag in (("If-Match", "*"), ("If-None-Match", '"0"')):
        if is_meant_valid(name, case.headers, ParameterLocation.HEADER) and case.headers[name] == "0":
            case.headers[name] = etag


class SampleApp(NamedTuple):
    """An application with data, and the tokens of its users."""

    app: Starlette
    tokens: dict[str, str]


async def seed_rows(url: str) -> dict[str, User]:
    """Create a service, a booking in each status and a review for two customers; return the users."""
    database = Database(url)
    await database.open()
    here: dict[str, Any] = {"by": OWNER, "now": NOW, "password_hash": PASSWORD_HASH}
    cast = {}
    async with database.transaction(by=OWNER) as session:
        for name, role in (("Tom", Role.USER), ("Eve", Role.USER), ("Ada", Role.ADMIN)):
            cast[name] = await records.create(session, User, **here, name=name, email=f"{name}@example.com", role=role)
        del here["password_hash"]
        haircut = await records.create(session, Service, **here, title="Haircut", price=35, duration_minutes=45)
        for hours, (name, status) in enumerate(itertools.product(("Tom", "Eve"), Status)):
            visit: dict[str, Any] = {
                "user_id": cast[name].id,
                "service_id": haircut.id,
                "start_time": NOW + timedelta(hours=hours + 1),
            }
            booking = await records.create(session, Booking, **here, **visit)
            await records.change(session, booking, **here, status=status)
            if status == Status.COMPLETED:
                by = Actor("seed", id=cast[name].id, role=Role.USER)
                review: dict[str, Any] = {"booking_id": booking.id, "rating": 5, "comment": "Good."}
                await records.create(session, Review, by=by, now=NOW, **review)
    await database.close()
    return cast


@pytest.fixture
def sample_app(server: str, worker_id: str, settings: Settings) -> Iterator[SampleApp]:
    """Build BookIt with data on its own database; schemathesis runs it on its own event loop."""
    url = create_database(server, f"openapi_{worker_id}", TEMPLATE_DATABASE)
    own = settings.model_copy(update={"database_url": url})
    cast = anyio.run(seed_rows, url)
    with connect_as_superuser(url) as superuser:
        tokens = {name: make_token(superuser, user, own, now=NOW) for name, user in cast.items()}
    yield SampleApp(build(own, clock=Clock()), tokens)
    shutdown_lifespans()


def fuzz(app: Starlette, auth: AuthConfig, *, examples: int) -> tuple[int, list[str]]:
    """Send what the document allows and much that it forbids; return the number of requests and the wrong responses."""
    statuses = ["2xx", "401", "403", "404", "409", "429"]
    # Rules go beyond schemas: a past start, an inactive service (400), a stale If-Match (412), a known ETag (304).
    positive = PositiveDataAcceptanceConfig(expected_statuses=[*statuses, "304", "400", "412"])
    project = ProjectConfig(
        auth=auth,
        checks=ChecksConfig(positive_data_acceptance=positive),
        generation=GenerationConfig(max_examples=examples, deterministic=True, database="none"),
    )
    config = SchemathesisConfig(seed=1, projects=ProjectsConfig(default=project))
    schema = schemathesis.openapi.from_asgi("/openapi.json", app, config=config)
    request_count = 0
    wrong = []
    for event in from_schema(schema).execute():
        if isinstance(event, events.NonFatalError | events.FatalError):
            wrong.append(str(event.info if isinstance(event, events.NonFatalError) else event.exception))
        if isinstance(event, events.ScenarioFinished):
            request_count += len(event.recorder.interactions)
            wrong += list(iter_failures(event.recorder))
    return request_count, wrong


def iter_failures(recorder: Any) -> Iterator[str]:
    for case_id, checks in recorder.checks.items():
        for check in checks:
            if check.failure_info:
                answer = recorder.interactions[case_id].response
                response_text = f"{answer.status_code} {answer.text[:300]}" if answer else ""
                yield f"{check.name}: {check.failure_info.failure}\n{check.failure_info.code_sample}\n{response_text}"


def test_requests_of_an_admin_match_the_document(sample_app: SampleApp, capsys: pytest.CaptureFixture[str]) -> None:
    auth = AuthConfig(openapi={"bearer": {"bearer": sample_app.tokens["Ada"]}})

    request_count, wrong = fuzz(sample_app.app, auth, examples=20)

    capsys.readouterr()  # Drop a thousand irrelevant log lines.
    assert not wrong, "\n\n".join(wrong)
    assert request_count > 1000


def test_requests_of_two_customers_match_and_stay_separate(
    sample_app: SampleApp, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sign_ins = [
        {"name": name, "fixedHeaders": [{"name": "Authorization", "value": f"Bearer {sample_app.tokens[name]}"}]}
        for name in ("Tom", "Eve")
    ]
    path = tmp_path / "sign_ins.json"
    path.write_text(json.dumps({"auth": sign_ins}), encoding="utf-8")

    request_count, wrong = fuzz(
        sample_app.app, AuthConfig(wfc={"path": str(path), "peers": ["Tom", "Eve"]}), examples=5
    )

    capsys.readouterr()
    assert not wrong, "\n\n".join(wrong)
    assert request_count > 500


def test_requests_of_a_visitor_match_the_document(sample_app: SampleApp, capsys: pytest.CaptureFixture[str]) -> None:
    request_count, wrong = fuzz(sample_app.app, AuthConfig(auto_signup=False), examples=5)

    capsys.readouterr()
    assert not wrong, "\n\n".join(wrong)
    assert request_count > 500
