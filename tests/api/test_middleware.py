"""Every response and request: security headers, request ids, log lines, CORS and health checks."""

import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
import httpx2
import psycopg
import pytest
from starlette.applications import Starlette
from structlog.testing import capture_logs

from bookit.schema.tables import Service
from bookit.settings import Settings
from server.app import EXPOSED_HEADERS, build
from tests.support.clock import Clock
from tests.support.databases import TEMPLATE_DATABASE, create_database
from tests.support.people import PASSWORD, Person
from tests.support.processes import wait_until
from tests.support.server import RunningServer

API_CSP = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
SECURITY_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-store",
}
SHOP = "https://shop.example"


@asynccontextmanager
async def open_client(app: Starlette) -> AsyncIterator[httpx2.AsyncClient]:
    """Open an application with its database, and yield a client of it."""
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://bookit.test") as client,
    ):
        yield client


OpenApp = Callable[..., AbstractAsyncContextManager[httpx2.AsyncClient]]


@pytest.fixture
def open_app(settings: Settings, clock: Clock) -> OpenApp:
    """Open BookIt with other settings."""
    return lambda **other: open_client(build(settings.model_copy(update=other), clock=clock))


@pytest.fixture
def empty_database_url(server: str, worker_id: str) -> str:
    """Create an empty database."""
    return create_database(server, f"nothing_{worker_id}", "template0")


def get_security_headers(answer: httpx2.Response) -> dict[str, str]:
    """Return the security headers of a response."""
    return {
        name: answer.headers[name] for name in answer.headers if name in {*SECURITY_HEADERS, "content-security-policy"}
    }


async def test_every_response_has_security_headers(
    visitor: httpx2.AsyncClient, ada: Person, tom: Person, haircut: Service
) -> None:
    visit = {"service_id": haircut.id, "start_time": "2030-01-08T10:00:00Z"}
    is_json = {"content-type": "application/json"}
    icon = await visitor.get("/static/icon.svg")

    answers = [
        await visitor.get("/services"),
        await visitor.head("/services"),
        await tom.request("POST", "/bookings", json=visit),
        await ada.request("DELETE", "/bookings/1"),
        await visitor.get("/static/icon.svg", headers={"If-None-Match": icon.headers["etag"]}),
        await visitor.get("/services/"),
        await tom.request("PATCH", "/bookings/1", content=b"{", headers=is_json),
        await visitor.get("/me"),
        await tom.request("POST", "/services", json={}),
        await visitor.get("/nowhere"),
        await visitor.put("/services"),
        await ada.request("PATCH", "/me", json={"email": "tom@example.com", "current_password": PASSWORD}),
        await ada.request("DELETE", "/services/1", headers={"If-Match": '"7"'}),
        await tom.request("POST", "/bookings", content=b"x" * 2_000_000, headers=is_json),
        await tom.request("POST", "/bookings", content=b"x"),
        await tom.request("POST", "/bookings", json={}),
        *[await visitor.get(path) for path in ("/openapi.json", "/healthz", "/readyz", "/problems/stale")],
        *[await visitor.get(path) for path in ("/static/docs.js", "/static/nowhere.js", "/v1/nowhere")],
    ]

    statuses = [200, 200, 201, 204, 304, 307, 400, 401, 403, 404, 405, 409, 412, 413, 415, 422, *[200] * 5, 404, 404]
    assert [answer.status_code for answer in answers] == statuses
    static = ("/static/icon.svg", "/static/docs.js")
    expected = [
        SECURITY_HEADERS
        | {"content-security-policy": API_CSP}
        | ({"cache-control": "no-cache"} if answer.url.path in static else {})
        for answer in answers
    ]
    assert [get_security_headers(answer) for answer in answers] == expected
    assert not any("server" in answer.headers or "x-powered-by" in answer.headers for answer in answers)


async def test_an_internal_error_has_security_headers_and_no_details(
    open_app: OpenApp, empty_database_url: str
) -> None:
    with capture_logs() as lines:
        async with open_app(database_url=empty_database_url) as client:
            answer = await client.get("/services?q=confidential", headers={"X-Request-Id": "req-1"})

    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
    assert answer.json() == {
        "type": "/problems/internal-server-error",
        "title": "Internal Server Error",
        "status": 500,
        "detail": "Something went wrong on our side. The error has been logged.",
        "code": "internal-server-error",
    }
    assert get_security_headers(answer) == SECURITY_HEADERS | {"content-security-policy": API_CSP}
    request_id = answer.headers["x-request-id"]
    ours = [(line["event"], line["request_id"]) for line in lines if line.get("request_id")]
    assert ours == [("unhandled error", request_id), ("request", request_id)]


@pytest.mark.parametrize("request_id", ["a", "req-1", "0af7651916cd43dd8448eb211c80319c", "A.b_c-9", "x" * 64])
async def test_a_plain_request_id_of_a_client_is_only_logged(request_id: str, visitor: httpx2.AsyncClient) -> None:
    with capture_logs() as lines:
        answer = await visitor.get("/healthz", headers={"X-Request-Id": request_id})

    [ours] = answer.headers.get_list("x-request-id")
    assert re.fullmatch("[0-9a-f]{32}", ours)
    assert [(line["request_id"], line["client_request_id"]) for line in lines] == [(ours, request_id)]


@pytest.mark.parametrize(
    "request_id",
    [b"", b" ", b"a b", b"x" * 65, b"a\nb", b"a\r\nSet-Cookie: x=1", b"\xff", b"<b>", b'"', b"a;b", b"\0", b"../a"],
)
async def test_any_other_request_id_is_ignored(request_id: bytes, visitor: httpx2.AsyncClient) -> None:
    with capture_logs() as lines:
        answer = await visitor.get("/healthz", headers=[(b"x-request-id", request_id)])

    assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])
    assert "client_request_id" not in lines[0]
    assert "set-cookie" not in answer.headers


async def test_every_request_has_its_own_id(visitor: httpx2.AsyncClient) -> None:
    numbers = {(await visitor.get("/healthz")).headers["x-request-id"] for _ in range(50)}

    assert len(numbers) == 50


async def test_every_request_logs_one_line_without_secrets(
    visitor: httpx2.AsyncClient, tom: Person, ada: Person, haircut: Service
) -> None:
    with capture_logs() as lines:
        signed_in = await visitor.post("/auth/login", json={"email": "tom@example.com", "password": PASSWORD})
        tokens = signed_in.json()
        bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
        await visitor.get("/services?q=confidential&limit=5", headers={**bearer, "X-Request-Id": "req-1"})
        await visitor.get("/me?utm_source=confidential", headers=bearer)
        await visitor.post("/auth/refresh", json={"refresh_token": tokens["refresh_token"]})
        await visitor.get("/me", headers={"Authorization": "Bearer not-a-token"})
        await ada.request("PATCH", "/services/1", json={"price": 36}, headers={"Idempotency-Key": "confidential"})
        await visitor.get("/nowhere")

    requests = [{name: line[name] for name in ("event", "method", "path", "status", "who")} for line in lines]
    assert requests == [
        {"event": "request", "method": "POST", "path": "/auth/login", "status": 200, "who": None},
        {"event": "request", "method": "GET", "path": "/services", "status": 200, "who": None},
        {"event": "request", "method": "GET", "path": "/me", "status": 200, "who": f"user {tom.id}"},
        {"event": "request", "method": "POST", "path": "/auth/refresh", "status": 200, "who": None},
        {"event": "request", "method": "GET", "path": "/me", "status": 401, "who": None},
        {"event": "request", "method": "PATCH", "path": "/services/1", "status": 200, "who": f"admin {ada.id}"},
        {"event": "request", "method": "GET", "path": "/nowhere", "status": 404, "who": None},
    ]
    assert lines[1]["client_request_id"] == "req-1"
    assert all(isinstance(line["ms"], float) and line["log_level"] == "info" for line in lines)
    secrets = [*tokens.values(), PASSWORD, "confidential", "not-a-token", "tom@example.com"]
    assert [secret for secret in secrets if secret != "bearer" and secret in str(lines)] == []


def test_a_server_logs_json_without_secrets(served: RunningServer) -> None:
    sign_in = {"email": "nobody@example.com", "password": "confidential"}
    headers = {"Authorization": "Bearer confidential", "X-Request-Id": "req-1"}

    refused = httpx2.post(f"{served.url}/auth/login?utm_source=confidential", json=sign_in, headers=headers, timeout=60)

    assert refused.status_code == 401
    wait_until(
        lambda: '"req-1"' in served.log.read_text("utf-8")
    )  # A response may arrive before its log line is written.
    log = served.log.read_text("utf-8")
    line = next(json.loads(line) for line in log.splitlines() if '"req-1"' in line)
    assert re.fullmatch(r"2\d{3}-\d\d-\d\dT[0-9:.]+Z", line.pop("timestamp"))
    assert isinstance(line.pop("ms"), float)
    assert line == {
        "event": "request",
        "level": "info",
        "logger": "bookit.requests",
        "method": "POST",
        "path": "/auth/login",
        "client_request_id": "req-1",
        "request_id": refused.headers["x-request-id"],
        "status": 401,
        "address": "127.0.0.1",
        "who": None,
    }
    assert "confidential" not in log
    assert "nobody@example.com" not in log


def get_cors_headers(answer: httpx2.Response) -> dict[str, str]:
    """Return the CORS headers of a response."""
    return {name: value for name, value in answer.headers.items() if name.startswith("access-control")}


async def test_only_allowed_origins_may_read(open_app: OpenApp, database: Any) -> None:
    exposed = ", ".join(EXPOSED_HEADERS)

    async with open_app(allowed_origins=[SHOP]) as client:
        answers = [
            await client.get(path, headers={"Origin": origin})
            for path in ("/services", "/nowhere")
            for origin in (SHOP, "https://evil.example", "null", f"{SHOP}.evil.example", "http://shop.example")
        ]

    for_shop = {"access-control-allow-origin": SHOP, "access-control-expose-headers": exposed}
    for_others = {"access-control-expose-headers": exposed}
    assert [get_cors_headers(answer) for answer in answers] == [for_shop, *[for_others] * 4] * 2
    assert all(
        answer.headers["vary"] == "Origin" for answer in answers if answer.headers.get("access-control-allow-origin")
    )


async def test_no_other_origin_may_read_by_default(visitor: httpx2.AsyncClient) -> None:
    answers = [
        await visitor.get("/services", headers={"Origin": SHOP}),
        await visitor.options("/services", headers={"Origin": SHOP, "Access-Control-Request-Method": "GET"}),
    ]

    assert [(answer.status_code, get_cors_headers(answer)) for answer in answers] == [(200, {}), (405, {})]


async def test_an_allowed_origin_gets_a_preflight_response(open_app: OpenApp, database: Any) -> None:
    preflight = {"Access-Control-Request-Method": "PATCH", "Access-Control-Request-Headers": "authorization,if-match"}

    async with open_app(allowed_origins=[SHOP]) as client:
        allowed = await client.options("/bookings/1", headers={"Origin": SHOP, **preflight})
        other = await client.options("/bookings/1", headers={"Origin": "https://evil.example", **preflight})

    assert allowed.status_code == 200
    requests = get_cors_headers(allowed)
    headers = set(requests.pop("access-control-allow-headers").split(", "))
    assert headers >= {"Authorization", "Content-Type", "Idempotency-Key", "If-Match", "X-Request-Id"}
    assert requests == {
        "access-control-allow-origin": SHOP,
        "access-control-allow-methods": "GET, POST, PATCH, DELETE",
        "access-control-max-age": "600",
    }
    assert (other.status_code, "access-control-allow-origin" in other.headers) == (400, False)
    assert (
        get_security_headers(allowed)
        == get_security_headers(other)
        == SECURITY_HEADERS | {"content-security-policy": API_CSP}
    )


async def test_a_healthy_application_reports_so(visitor: httpx2.AsyncClient) -> None:
    answers = [await visitor.get(path) for path in ("/healthz", "/readyz")]

    assert [(answer.status_code, answer.json()) for answer in answers] == [(200, {"status": "ok"})] * 2


async def probe(client: httpx2.AsyncClient) -> list[tuple[int, Any]]:
    """Return the responses of liveness and readiness; a probe waits five seconds at most."""
    with anyio.fail_after(5):
        answers = [await client.get(path) for path in ("/healthz", "/readyz")]
    assert all(answer.headers["content-type"] == "application/json" for answer in answers)
    return [(answer.status_code, answer.json()) for answer in answers]


HEALTHY = (200, {"status": "ok"})
WRONG_SCHEMA = (503, {"status": "unavailable", "detail": "The database needs `bookit migrate`."})


async def test_without_its_database_bookit_is_alive_but_not_ready(open_app: OpenApp) -> None:
    async with open_app(database_url="postgresql://nobody@127.0.0.1:1/none") as client:
        gone = (503, {"status": "unavailable", "detail": "The database does not answer."})

        assert await probe(client) == [HEALTHY, gone]


async def test_on_an_old_schema_bookit_is_not_ready(open_app: OpenApp, server: str, worker_id: str) -> None:
    url = create_database(server, f"old_{worker_id}", TEMPLATE_DATABASE)
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0000'")

    async with open_app(database_url=url) as client:
        assert await probe(client) == [HEALTHY, WRONG_SCHEMA]


async def test_on_an_empty_database_bookit_is_not_ready(open_app: OpenApp, empty_database_url: str) -> None:
    async with open_app(database_url=empty_database_url) as client:
        assert await probe(client) == [HEALTHY, WRONG_SCHEMA]
