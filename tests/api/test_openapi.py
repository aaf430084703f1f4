"""The OpenAPI document: true, complete, and kept by every answer that schemathesis can provoke."""

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

from api.auth import create_access_token
from api.openapi import build_document
from api.pagination import BY_ID, BY_START, encode_cursor
from api.routes import ENDPOINTS, build_routes
from bookit import records
from bookit.db.pool import Database
from bookit.people import passwords
from bookit.policy.permissions import Actor
from bookit.schema.tables import Booking, Review, Role, Service, Status, User
from bookit.settings import Settings
from server.app import build
from tests.support.clock import NOW, Clock
from tests.support.databases import TEMPLATE_DATABASE, create_database
from tests.support.people import OWNER, PASSWORD

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


def test_whatever_is_referred_to_is_there_and_whatever_is_there_is_referred_to() -> None:
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


def test_every_status_is_described() -> None:
    assert {name: " ".join(operation["responses"]) for name, operation in OPERATIONS.items()} == {
        "POST /bookings": "201 400 401 403 404 409 413 415 422 503",
        "GET /bookings": "200 400 401 422 503",
        "GET /bookings/{id}": "200 401 403 404 422 503",
        "PATCH /bookings/{id}": "200 400 401 403 404 409 412 413 415 422 503",
        "DELETE /bookings/{id}": "204 400 401 403 404 409 412 422 503",
        "GET /services": "200 422 503",
        "GET /services/{id}": "200 404 422 503",
        "POST /services": "201 400 401 403 404 413 415 422 503",
        "PATCH /services/{id}": "200 400 401 403 404 412 413 415 422 503",
        "DELETE /services/{id}": "204 401 403 404 409 412 422 503",
        "GET /reviews/{id}": "200 404 422 503",
        "POST /reviews": "201 400 401 403 404 409 413 415 422 503",
        "PATCH /reviews/{id}": "200 400 401 403 404 412 413 415 422 503",
        "DELETE /reviews/{id}": "204 401 403 404 412 422 503",
        "GET /services/{id}/reviews": "200 404 422 503",
        "GET /services/{id}/availability": "200 304 400 401 403 404 422 503",
        "GET /services/{id}/availability/explain": "200 400 401 403 404 422 503",
        "POST /auth/register": "201 400 409 413 415 422 503",
        "POST /auth/login": "200 400 401 413 415 422 429 503",
        "POST /auth/refresh": "200 400 401 413 415 422 503",
        "POST /auth/logout": "200 400 413 415 422 503",
        "GET /me": "200 401 503",
        "GET /me/export": "200 401 503",
        "PATCH /me": "200 400 401 409 413 415 422 429 503",
        "GET /reports/revenue": "200 400 401 403 422 503",
        "GET /reports/utilisation": "200 400 401 403 422 503",
        "GET /reports/no-shows": "200 400 401 403 422 503",
        "GET /reports/repeat-customers": "200 400 401 403 422 503",
    }


def test_what_must_stay_inside_is_not_named() -> None:
    inside = {"password_hash", "blocks_from", "blocks_until", "token_hash", "request_hash", "family", "pwd"}
    text = json.dumps(DOCUMENT)

    assert set(re.findall(r"\w+", text)) & inside == set()
    assert '"seat"' not in text  # a word of the sentences too, but the name of no field


# What no schema can say. A password is measured in bytes, and holds no NUL.
schemathesis.openapi.format(
    "password", strategies.text(strategies.characters(codec="ascii", exclude_characters="\0"), min_size=8, max_size=72)
)
NEW_KEYS = itertools.count()


@schemathesis.hook
def before_call(context: Any, case: Any, **more: Any) -> None:
    """Where a request is meant to be good: a cursor is one that was given out, a key is new, an ETag has its quotes."""

    def is_good(name: str, place: Any, location: ParameterLocation) -> bool:
        meant = case.meta
        return name in (place or ()) and not (
            meant and meant.generation.mode.is_negative and meant.is_negative_at(location)
        )

    if is_good("cursor", case.query, ParameterLocation.QUERY):
        key = BY_START if case.operation.path == "/bookings" else BY_ID
        case.query["cursor"] = encode_cursor({"start_time": NOW, "id": 1}, key)
    if is_good("Idempotency-Key", case.headers, ParameterLocation.HEADER):
        case.headers["Idempotency-Key"] = f"key-{next(NEW_KEYS)}"
    if is_good("If-Match", case.headers, ParameterLocation.HEADER) and case.headers["If-Match"] == "0":
        case.headers["If-Match"] = "*"


class House(NamedTuple):
    """An application with something in it, and who is there."""

    app: Starlette
    tokens: dict[str, str]


async def fill(url: str) -> dict[str, User]:
    """Make a service, a booking in each status and a review for two customers, and give who is there."""
    database = Database(url)
    await database.open()
    here: dict[str, Any] = {"by": OWNER, "now": NOW, "password_hash": passwords.CRYPT_CONTEXT.hash(PASSWORD)}
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
                said: dict[str, Any] = {"booking_id": booking.id, "rating": 5, "comment": "Good."}
                await records.create(session, Review, by=by, now=NOW, **said)
    await database.close()
    return cast


@pytest.fixture
def house(server: str, worker_id: str, settings: Settings) -> Iterator[House]:
    """BookIt with something in it, on a database of its own; schemathesis starts it on an event loop of its own."""
    url = create_database(server, f"openapi_{worker_id}", TEMPLATE_DATABASE)
    own = settings.model_copy(update={"database_url": url})
    tokens = {name: create_access_token(user, own, now=NOW) for name, user in anyio.run(fill, url).items()}
    yield House(build(own, clock=Clock()), tokens)
    shutdown_lifespans()


def storm(app: Starlette, auth: AuthConfig, *, examples: int) -> tuple[int, list[str]]:
    """Ask everything the document allows and much that it forbids; give how often, and what was answered wrongly."""
    statuses = ["2xx", "401", "403", "404", "409", "429"]
    # Rules are not shapes: a start that is over, an inactive service (400), a stale If-Match (412), a known ETag (304).
    positive = PositiveDataAcceptanceConfig(expected_statuses=[*statuses, "304", "400", "412"])
    project = ProjectConfig(
        auth=auth,
        checks=ChecksConfig(positive_data_acceptance=positive),
        generation=GenerationConfig(max_examples=examples, deterministic=True, database="none"),
    )
    config = SchemathesisConfig(seed=1, projects=ProjectsConfig(default=project))
    schema = schemathesis.openapi.from_asgi("/openapi.json", app, config=config)
    asked = 0
    wrong = []
    for event in from_schema(schema).execute():
        if isinstance(event, events.NonFatalError | events.FatalError):
            wrong.append(str(event.info if isinstance(event, events.NonFatalError) else event.exception))
        if isinstance(event, events.ScenarioFinished):
            asked += len(event.recorder.interactions)
            wrong += list(failures(event.recorder))
    return asked, wrong


def failures(recorder: Any) -> Iterator[str]:
    for case_id, checks in recorder.checks.items():
        for check in checks:
            if check.failure_info:
                answer = recorder.interactions[case_id].response
                said = f"{answer.status_code} {answer.text[:300]}" if answer else ""
                yield f"{check.name}: {check.failure_info.failure}\n{check.failure_info.code_sample}\n{said}"


def test_the_admin_finds_nothing_wrong(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    auth = AuthConfig(openapi={"bearer": {"bearer": house.tokens["Ada"]}})

    asked, wrong = storm(house.app, auth, examples=20)

    capsys.readouterr()  # A thousand lines of the log say nothing here.
    assert not wrong, "\n\n".join(wrong)
    assert asked > 1000


def test_two_customers_find_nothing_wrong_nor_what_is_each_others(
    house: House, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sign_ins = [
        {"name": name, "fixedHeaders": [{"name": "Authorization", "value": f"Bearer {house.tokens[name]}"}]}
        for name in ("Tom", "Eve")
    ]
    path = tmp_path / "sign_ins.json"
    path.write_text(json.dumps({"auth": sign_ins}), encoding="utf-8")

    asked, wrong = storm(house.app, AuthConfig(wfc={"path": str(path), "peers": ["Tom", "Eve"]}), examples=5)

    capsys.readouterr()
    assert not wrong, "\n\n".join(wrong)
    assert asked > 500


def test_a_visitor_finds_nothing_wrong(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    asked, wrong = storm(house.app, AuthConfig(auto_signup=False), examples=5)

    capsys.readouterr()
    assert not wrong, "\n\n".join(wrong)
    assert asked > 500
