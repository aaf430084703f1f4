"""Pages of other origins: what they may send, and what they may read of the answers."""

from collections.abc import AsyncIterator

import httpx2
import pytest

from api.middleware import SECURITY_HEADERS
from bookit.schema.tables import Service
from bookit.settings import Settings
from server.app import ALLOWED_HEADERS, EXPOSED_HEADERS
from tests.support.admin_client import BuildApp
from tests.support.clock import NOW
from tests.support.people import Person
from tests.support.sign_ins import token_of

SHOP = "https://shop.example"
# Fetch: a page may always read these. Vary is for caches, and the rest is for the browser itself.
READABLE = {"cache-control", "content-length", "content-type", "last-modified"}
OF_THE_BROWSER = {"vary", "accept-ranges", *(name.lower() for name in SECURITY_HEADERS)}


@pytest.fixture
async def shop(open_door: BuildApp, settings: Settings) -> AsyncIterator[httpx2.AsyncClient]:
    """Return a page of another origin, which may call the API."""
    app = open_door(settings.model_copy(update={"allowed_origins": [SHOP], "rate_limits": 1}))
    headers = {"Origin": SHOP}
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app), base_url="http://bookit.test", headers=headers
    ) as client:
        yield client


def test_the_headers_of_tracing_and_of_conditions_are_admitted() -> None:
    assert {"If-Match", "If-None-Match", "traceparent", "tracestate", "baggage"} <= set(ALLOWED_HEADERS)


@pytest.mark.parametrize("name", ALLOWED_HEADERS)
async def test_a_page_may_send_every_header_that_the_api_reads(name: str, shop: httpx2.AsyncClient) -> None:
    preflight = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": name.lower()}

    answer = await shop.options("/services/1/availability", headers=preflight)

    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, SHOP)


async def test_a_page_may_not_send_other_headers(shop: httpx2.AsyncClient) -> None:
    preflight = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "x-forwarded-for"}

    assert (await shop.options("/services", headers=preflight)).status_code == 400


async def test_a_page_may_read_every_header_that_answers_carry(
    shop: httpx2.AsyncClient, ada: Person, haircut: Service, settings: Settings
) -> None:
    signed_in = {"Authorization": f"Bearer {token_of(ada, settings, now=NOW)}"}
    visit = {"service_id": haircut.id, "start_time": "2030-01-08T10:00:00Z"}
    keyed = {**signed_in, "Idempotency-Key": "first"}
    wrong = {"email": "ada@example.com", "password": "wrong"}
    answers = [
        await shop.post("/bookings", json=visit, headers=keyed),
        await shop.post("/bookings", json=visit, headers=keyed),
        await shop.post("/bookings", json={**visit, "start_time": "2030-01-09T10:00:00Z"}, headers=signed_in),
        await shop.get("/bookings?limit=1", headers=signed_in),
        await shop.get("/me/export", headers=signed_in),
        await shop.get("/me"),
        await shop.put("/services"),
        await shop.get("/services/"),
        await shop.get("/services/1/availability"),
        await shop.get("/docs"),
        await shop.get("/static/icon.svg"),
        *[await shop.post("/auth/login", json=wrong) for _ in range(11)],
    ]

    carried = {name for answer in answers for name in answer.headers if not name.startswith("access-control-")}
    exposed = {name.lower() for name in EXPOSED_HEADERS}
    assert carried - READABLE - OF_THE_BROWSER == exposed
    assert {answer.headers["access-control-expose-headers"] for answer in answers} == {", ".join(EXPOSED_HEADERS)}
    assert {answer.status_code for answer in answers} == {200, 201, 307, 401, 405, 429}


async def test_a_star_lets_every_page_read(open_door: BuildApp, settings: Settings) -> None:
    app = open_door(settings.model_copy(update={"allowed_origins": ["*"]}))
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://bookit.test") as client:
        answer = await client.get("/services", headers={"Origin": SHOP})
        preflight = await client.options(
            "/bookings",
            headers={
                "Origin": SHOP,
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "authorization,content-type,idempotency-key",
            },
        )

    assert [each.headers["access-control-allow-origin"] for each in (answer, preflight)] == ["*", "*"]
    assert (preflight.status_code, "access-control-allow-credentials" in answer.headers) == (200, False)
