"""How much one address or one account may ask: every route has a limit, and every refusal says when to try again."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import httpx2
import pytest
from sqlalchemy import text
from starlette.applications import Starlette
from starlette.routing import BaseRoute, Mount, Route

from admin.calendar import event_stream
from api.endpoint import MethodDispatcher
from bookit.db.pool import Database
from bookit.people import passwords
from bookit.policy import rates
from bookit.policy.rates import Audience, Rate, RequestKind
from bookit.schema.tables import Service
from bookit.settings import Settings
from server.app import build
from tests.support.admin_client import BASE_URL, BuildApp, sign_in
from tests.support.clock import NOW
from tests.support.people import PASSWORD, Person
from tests.support.polling import eventually
from tests.support.request_helpers import read_refusal
from tests.support.server import ROOT
from tests.support.sign_ins import token_of
from web.rate_limits import RateLimited

STRANGER = "203.0.113.7"
FACTOR = 0.02  # of every quota: two sign-ups, 6 writes of a customer, 120 reads


@pytest.fixture
def limited_app(open_door: BuildApp, staff_settings: Settings) -> Starlette:
    """Return an application that allows little."""
    app = open_door(staff_settings.model_copy(update={"rate_limits": FACTOR}))
    app.state.rate_limits.clock = lambda: 0
    return app


@pytest.fixture
async def client_at(limited_app: Starlette, staff_settings: Settings) -> AsyncIterator[Any]:
    """Return a function that creates clients at an address, signed in or not."""
    opened: list[httpx2.AsyncClient] = []

    def make(address: str = STRANGER, person: Person | None = None) -> httpx2.AsyncClient:
        token = token_of(person, staff_settings, now=NOW) if person else ""
        headers = {"Authorization": f"Bearer {token}"} if person else {"origin": BASE_URL}
        transport = httpx2.ASGITransport(limited_app, client=(address, 1))
        opened.append(httpx2.AsyncClient(transport=transport, base_url=BASE_URL, headers=headers))
        return opened[-1]

    yield make
    for client in opened:
        await client.aclose()


# Every route has a limit.


def every_route(routes: list[BaseRoute], path: str = "") -> Iterator[tuple[str, Route | Mount]]:
    """Yield each route with its path: those of a mount, or the mount itself where it has none."""
    for route in routes:
        assert isinstance(route, Route | Mount), route
        if isinstance(route, Mount) and route.routes:
            yield from every_route(route.routes, path + route.path)
        else:
            yield path + route.path, route


def kinds_of(route: Route | Mount) -> Mapping[str, RequestKind]:
    """Return the kind of request by method, or by "reads" and "writes"."""
    if isinstance(route.app, MethodDispatcher):
        return {method: endpoint.kind for method, endpoint in route.app.endpoints.items() if endpoint.kind}
    if isinstance(route.app, RateLimited):
        return {"reads": route.app.reads, "writes": route.app.writes}
    return {}


def test_every_route_of_both_doors_has_a_limit(settings: Settings) -> None:
    app = build(settings)

    routes = list(every_route(app.routes))

    assert [path for path, route in routes if not kinds_of(route)] == []
    assert {kind.title for _, route in routes for kind in kinds_of(route).values()} == {
        kind.title for kind in rates.KINDS
    } - {rates.EVERYTHING.title, rates.AVAILABILITY.title, rates.HOLDS.title}  # These are counted besides another.


def test_every_endpoint_has_a_limit_for_whoever_may_call_it(settings: Settings) -> None:
    unlimited = []
    for path, route in every_route(build(settings).routes):
        for method, endpoint in route.app.endpoints.items() if isinstance(route.app, MethodDispatcher) else ():
            assert endpoint.kind
            audiences: set[Audience] = {"staff"} if endpoint.access.ability else {"customer", "staff"}
            if endpoint.access.verb and endpoint.access.table is Service:
                audiences = {"staff"}
            if not endpoint.access.is_auth_required:
                audiences = {"visitor"}
            unlimited += [(method, path) for each in audiences if not endpoint.kind.rates_for(each)]

    assert unlimited == []


# What a refusal looks like.


async def test_a_refused_request_says_when_to_try_again(client_at: Any) -> None:
    eve = client_at()

    answers = [await register(eve, number) for number in range(3)]

    assert [answer.status_code for answer in answers] == [201, 201, 429]
    assert answers[0].headers["RateLimit-Policy"] == '"sign-up";q=2;w=3600'
    assert [answer.headers["RateLimit"] for answer in answers] == [
        '"sign-up";r=1;t=1800', '"sign-up";r=0;t=3600', '"sign-up";r=0;t=1800',
    ]  # fmt: skip
    assert read_refusal(answers[2]) == (429, "too-many-requests", None)
    assert answers[2].headers["Retry-After"] == "1800"


async def register(client: httpx2.AsyncClient, number: int) -> httpx2.Response:
    return await client.post(
        "/auth/register", json={"name": "Eve", "email": f"eve{number}@example.com", "password": PASSWORD}
    )


async def test_a_sign_up_too_many_is_refused_before_its_password_is_hashed(
    client_at: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[str] = []

    async def count(password: str, _queue: object) -> str:
        hashed.append(password)
        return "-"

    monkeypatch.setattr(passwords, "hash_password", count)
    addresses = (STRANGER, STRANGER, STRANGER, "203.0.113.8")
    statuses = [(await register(client_at(address), 1)).status_code for address in addresses]

    assert (statuses, len(hashed)) == ([201, 409, 429, 409], 3)


async def test_a_refused_address_writes_no_rows(client_at: Any, database: Database) -> None:
    eve, rows = client_at(), []

    for number in range(20):
        await eve.post("/auth/login", json={"email": f"{number}{'x' * 800}", "password": "x"})
        rows += [(await database.fetch(text("SELECT count(*), max(length(name)) FROM tries")))[0]]

    assert rows[11] == rows[19]
    assert (rows[0]["count"] < rows[11]["count"] < 20, rows[19]["max"]) == (True, 64)


async def test_an_ipv6_network_is_one_sender_and_the_machine_itself_signs_up_no_more(client_at: Any) -> None:
    addresses = ["2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8:0:1::1", *["127.0.0.1"] * 3]

    statuses = [(await register(client_at(address), number)).status_code for number, address in enumerate(addresses)]

    assert statuses == [201, 201, 429, 201, 201, 201, 429]


async def test_the_machine_itself_may_ask_ten_times_as_much(client_at: Any) -> None:
    policies = [
        (await client_at(address).get("/healthz")).headers["RateLimit-Policy"] for address in ("127.0.0.1", STRANGER)
    ]

    assert [policy.partition("health")[2] for policy in policies] == ['";q=120;w=60', '";q=12;w=60']


async def test_the_shared_limits_of_an_account_are_the_same_on_the_machine_itself(client_at: Any, tom: Person) -> None:
    local = client_at("127.0.0.1", tom)

    assert await send_until_refused(local, "POST", "/bookings", json={}) == 60  # ten times six
    assert await send_until_refused(local, "GET", "/me/export") == 1


# Each kind.


async def send_until_refused(client: httpx2.AsyncClient, method: str, path: str, **more: Any) -> int:
    """Return how many requests were allowed."""
    for count in range(1000):
        answer = await client.request(method, path, **more)
        if answer.status_code == httpx2.codes.TOO_MANY_REQUESTS:
            assert int(answer.headers["Retry-After"]) >= 1
            return count
    return 1000


@pytest.mark.parametrize(
    ("who", "request_line", "allowed"),
    [
        ("visitor", "GET /services", 120),
        ("visitor", "GET /no-such-page", 600),  # the limit of any request
        ("tom", "GET /me", 120),
        ("tom", "PATCH /me", 6),
        ("tom", "POST /bookings", 6),
        ("mara", "POST /bookings", 24),
        ("ada", "GET /reports/revenue", 12),
        ("tom", "GET /me/export", 1),
        ("visitor", "POST /auth/refresh", 6),
        ("visitor", "POST /auth/login", 12),
        ("visitor", "GET /services/1/availability?to_date=2030-03-01", 1),
        ("mara", "GET /services/1/availability?to_date=2030-03-01", 13),
        ("visitor", "GET /services/1/availability/explain?start_time=2030-01-08T10:00:00Z", 74),
        ("visitor", "GET /readyz", 12),
        ("visitor", "GET /admin/login", 120),
    ],
)
async def test_each_kind_of_request_has_its_limit(
    who: str, request_line: str, allowed: int, client_at: Any, cast: dict[str, Person], haircut: Service
) -> None:
    del haircut
    client = client_at(person=cast.get(who))
    method, path = request_line.split()
    body: dict[str, Any] = {"json": {}} if method != "GET" else {}

    assert await send_until_refused(client, method, path, **body) == allowed


async def test_a_hold_counts_besides_the_booking(client_at: Any, tom: Person, haircut: Service) -> None:
    body = {"service_id": haircut.id, "start_time": "2030-01-08T10:00:00Z", "hold": True}
    another, key = {**body, "start_time": "2030-01-09T10:00:00Z"}, {"Idempotency-Key": "one"}

    first = await client_at(person=tom).post("/bookings", json=body, headers={"Idempotency-Key": "zero"})
    second = await client_at(person=tom).post("/bookings", json=another, headers=key)
    again = await client_at(person=tom).post("/bookings", json=another, headers=key)

    assert [answer.status_code for answer in (first, second, again)] == [201, 429, 429]
    assert "Idempotency-Replayed" not in again.headers  # A refusal for now is not stored.


async def test_staff_pages_have_the_same_limits(client_at: Any, mara: Person, haircut: Service) -> None:
    del haircut
    desk = client_at()
    signed_in = await sign_in(desk, "mara@example.com")
    assert (signed_in.status_code, signed_in.headers["RateLimit-Policy"]) == (303, '"sign-in";q=12;w=300')

    counts = {
        path: await send_until_refused(desk, "GET", path)
        for path in ("/admin/booking/export/csv", "/admin/search?q=tom", f"/admin/user/{mara.id}/data")
    }
    page = await desk.get("/admin/search?q=tom", headers={"accept": "text/html"})
    script = await desk.get("/admin/search?q=tom")
    writes = await send_until_refused(desk, "POST", "/admin/service/create")

    assert counts == {"/admin/booking/export/csv": 1, "/admin/search?q=tom": 12, f"/admin/user/{mara.id}/data": 1}
    assert (page.status_code, "Too many requests." in page.text) == (429, True)
    assert script.json() == {"message": "Too many requests. Please try again in a minute."}
    assert '"searches";q=12;w=60' in script.headers["RateLimit-Policy"]
    assert writes == 24


async def test_an_account_has_only_so_many_streams_open_at_once(
    client_at: Any, limited_app: Starlette, mara: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    del mara
    monkeypatch.setattr(event_stream, "STREAM_SECONDS", 0.3)
    counter = limited_app.state.rate_limits.counter_of(*rates.STREAMS.staff)
    desk = client_at()
    assert (await sign_in(desk, "mara@example.com")).status_code == 303

    first = asyncio.create_task(desk.get("/admin/calendar/stream"))
    await eventually(lambda: bool(counter.open_count))
    second = await desk.get("/admin/calendar/stream")

    assert (second.status_code, second.headers["RateLimit"].split(", ")[-1]) == (429, '"streams";r=0')
    assert (await first).status_code == 200
    assert counter.open_count == {}


async def test_health_checks_are_answered_whatever_else_their_address_sends(
    client_at: Any, limited_app: Starlette
) -> None:
    moment = [0.0]
    limited_app.state.rate_limits.clock = lambda: moment[0]
    probe = client_at()
    await send_until_refused(probe, "GET", "/no-such-page")
    page = await probe.get("/admin/login")
    assert (page.status_code, page.text) == (429, "Too many requests. Please try again in a minute.")

    statuses = set()
    for second in range(100):
        moment[0] = second * 60 / 12  # Twelve a minute are what is left of 600 here.
        statuses.add((await probe.get("/healthz")).status_code)

    assert statuses == {200}


# What it costs.


async def test_a_read_and_a_booking_cost_no_round_trip_for_their_limits(
    limited_app: Starlette, client_at: Any, tom: Person, haircut: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    statements: list[str] = []
    fetch = Database.fetch

    async def note(self: Database, statement: Any, **values: Any) -> Any:
        statements.append(str(statement))
        return await fetch(self, statement, **values)

    monkeypatch.setattr(Database, "fetch", note)
    client = client_at(person=tom)
    await client.get("/services")
    await client.get("/services/1/availability")
    booked = await client.post("/bookings", json={"service_id": haircut.id, "start_time": "2030-01-08T10:00:00Z"})

    assert booked.status_code == 201
    assert limited_app.state.rate_limits.is_on
    assert [statement for statement in statements if "take_from_rate" in statement] == []


async def test_without_limits_answers_say_nothing_of_them(tom: Person) -> None:
    answer = await tom.request("GET", "/me")

    assert not {"ratelimit", "ratelimit-policy"} & set(answer.headers)


async def test_a_refusal_is_in_the_security_log_once(client_at: Any, caplog: pytest.LogCaptureFixture) -> None:
    eve = client_at()

    for number in range(5):
        await register(eve, number)

    lines = [record for record in caplog.records if record.name == "bookit.security"]
    assert [(vars(line)["event_kind"], vars(line)["detail"], vars(line)["address"]) for line in lines] == [
        ("rate limited", "sign-up", STRANGER)
    ]


# What the documents say.


def describe(rate: Rate) -> str:
    """Return a rate in words: "60 an hour", "3,720 days a minute", "3 in 3 minutes"."""
    count = f"{rate.quota:,}" + (f" {rate.unit}" if rate.unit == "days" else "")
    if rate.unit == "concurrent-requests":
        return f"{count} at once"
    minutes = round(rate.window.total_seconds() / 60)
    window = {1: "a minute", 60: "an hour", 24 * 60: "a day"}.get(minutes, f"in {minutes} minutes")
    return f"{count} {window}" + (" †" if rate.is_shared else "")


def describe_kind(kind: RequestKind) -> str:
    """Return the row of a kind in the table of the document."""
    columns = [", ".join(map(describe, each)) or "–" for each in (kind.visitor, kind.customer, kind.staff)]
    return f"| {' | '.join([kind.title, *columns, kind.why])} |"


def test_the_document_says_each_limit() -> None:
    lines = (ROOT / "docs/api.md").read_text(encoding="utf-8").splitlines()
    first = lines.index("| kind | a visitor's address | a customer's account | a staff account | why |") + 2

    assert lines[first : first + len(rates.KINDS)] == [describe_kind(kind) for kind in rates.KINDS]
