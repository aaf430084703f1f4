"""`bookit serve --only api` and `--only admin`: two processes on one database, as in production."""

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import httpx2
import psycopg
import pytest

from tests.support.admin_client import get_page_text
from tests.support.databases import TEMPLATE_DATABASE, create_database
from tests.support.people import PASSWORD, PASSWORD_HASH
from tests.support.polling import eventually
from tests.support.server import run_server

pytestmark = pytest.mark.process

TOM = {"name": "Tom", "email": "tom@example.com", "password": PASSWORD}
HAIRCUT = {"title": "Haircut", "price": "35", "duration_minutes": "45", "setup_minutes": "0", "cleanup_minutes": "0"}
NOTICE = {"min_notice_minutes": "0", "cancel_notice_minutes": "0", "is_active": "y", "save": "Save"}
TOMORROW = (datetime.now(UTC) + timedelta(days=1)).replace(hour=10, minute=0, second=0, microsecond=0)


class Apart(NamedTuple):
    """Both doors, each in its own process: a client of the panel, signed in as Ada, and a client of the API."""

    admin: httpx2.Client
    api: httpx2.Client


@pytest.fixture(scope="module")
def apart(server: str, worker_id: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apart]:
    """Start both processes on a database where Ada is an admin."""
    url = create_database(server, f"apart_{worker_id}", TEMPLATE_DATABASE)
    with psycopg.connect(url) as connection:
        connection.execute(
            "INSERT INTO users (name, email, role, password_hash) VALUES ('Ada', 'ada@example.com', 'admin', %s)",
            (PASSWORD_HASH,),
        )
    with ExitStack() as stack:

        def client(door: str) -> httpx2.Client:
            address = stack.enter_context(run_server(tmp_path_factory.mktemp(door), url, "--only", door, DEBUG="true"))
            return stack.enter_context(httpx2.Client(base_url=address, headers={"origin": address}, trust_env=False))

        admin, api = client("admin"), client("api")
        signed_in = admin.post("/admin/login", data={"username": "ada@example.com", "password": PASSWORD})
        assert signed_in.status_code == 303
        yield Apart(admin, api)


def test_one_door_shows_what_the_other_writes(apart: Apart) -> None:
    admin, api = apart
    assert admin.post("/admin/service/create", data=HAIRCUT | NOTICE).status_code == 302
    api.post("/auth/register", json=TOM).raise_for_status()
    tokens = api.post("/auth/login", json={"email": TOM["email"], "password": PASSWORD}).json()
    bearer = {"Authorization": f"Bearer {tokens['access_token']}"}

    (service,) = api.get("/services").json()
    visit = {"service_id": service["id"], "start_time": TOMORROW.isoformat()}
    booking = api.post("/bookings", json=visit, headers=bearer).raise_for_status().json()
    listed = get_page_text(admin.get("/admin/booking/list").text)
    admin.post("/admin/booking/action/confirm", data={"pks": str(booking["id"])})
    confirmed = api.get(f"/bookings/{booking['id']}", headers=bearer).json()

    assert (service["title"], booking["status"], confirmed["status"]) == ("Haircut", "pending", "confirmed")
    assert "Tom Haircut" in listed
    history = get_page_text(admin.get(f"/admin/booking/details/{booking['id']}").text)
    assert "created it through the API." in history
    assert "changed it at the desk." in history


async def test_both_processes_follow_the_settings_of_the_business(apart: Apart) -> None:
    admin, api = apart
    tokens = api.post("/auth/login", json={"email": "ada@example.com", "password": PASSWORD}).json()
    bearer = {"Authorization": f"Bearer {tokens['access_token']}"}

    def zone() -> str:
        return str(api.get("/reports/revenue", headers=bearer).raise_for_status().json()["timezone"])

    before = zone()
    business = {"name": "Salon", "timezone": "Asia/Tokyo", "currency": "JPY", "locale": "ja_JP", "version": "1"}
    saved = admin.post("/admin/business/edit/1", data=business | {"save": "Save"})
    shown_at_once = get_page_text(admin.get("/admin/").text)

    assert (before, saved.status_code) == ("UTC", 302)
    assert "Salon · " in shown_at_once
    await eventually(lambda: zone() == "Asia/Tokyo", seconds=10)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/services"), ("POST", "/bookings"), ("POST", "/auth/login"), ("GET", "/docs"),
        ("GET", "/openapi.json"), ("GET", "/v1/services"), ("GET", "/me"),
    ],
)  # fmt: skip
def test_the_panel_has_no_path_of_the_api(apart: Apart, method: str, path: str) -> None:
    of_admin, of_api = (client.request(method, path, json={}).status_code for client in apart)

    assert of_admin == 404
    assert of_api != 404


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/admin/"), ("GET", "/admin/login"), ("POST", "/admin/login"), ("GET", "/admin/booking/list"),
        ("POST", "/admin/booking/action/cancel"), ("GET", "/admin/static/staff.js"),
    ],
)  # fmt: skip
def test_the_api_has_no_path_of_the_panel(apart: Apart, method: str, path: str) -> None:
    cookies = dict(apart.admin.cookies)
    response = apart.api.request(method, path, headers={"cookie": f"bookit_staff={cookies['bookit_staff']}"})

    assert response.status_code == 404
    assert "set-cookie" not in response.headers
    assert apart.admin.request(method, path).status_code != 404


@pytest.mark.parametrize("door", ["admin", "api"])
def test_each_door_is_ready(apart: Apart, door: str) -> None:
    assert getattr(apart, door).get("/readyz").json() == {"status": "ok"}
