"""The links of a page: each route is looked up once, and every URL is the one that Starlette makes."""

from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
from starlette.requests import Request
from starlette.routing import NoMatchFound, Router
from structlog.testing import capture_logs

from admin.framework.url_cache import CachingRouter
from bookit.db.pool import Database
from bookit.schema.tables import Booking
from bookit.settings import Settings
from server.app import build
from tests.support.admin_client import AdminDesk, open_desk
from tests.support.clock import Clock
from tests.support.people import Person

ROUTES: list[tuple[str, dict[str, Any]]] = [
    ("admin:index", {}),
    ("admin:list", {"identity": "booking"}),
    ("admin:list", {"identity": "user"}),
    ("admin:details", {"identity": "booking", "pk": 7}),
    ("admin:details", {"identity": "user", "pk": "7"}),
    ("admin:details", {"identity": "user", "pk": 2**63 - 1}),
    ("admin:details", {"identity": "user", "pk": "nobody"}),
    ("admin:edit", {"identity": "opening-hours", "pk": 70}),
    ("admin:undo", {"pk": 7}),
    ("admin:static", {"path": "staff.css"}),
]


def request_to(host: str, router: object, root_path: str = "") -> Request:
    return Request(
        {
            "type": "http", "router": router, "scheme": "https", "server": ("localhost", 8000), "path": "/",
            "root_path": root_path, "query_string": b"", "headers": [(b"host", host.encode())],
        }
    )  # fmt: skip


async def test_a_cached_url_is_the_one_that_the_router_makes(desk: AdminDesk) -> None:
    cached = CachingRouter(desk.app.router)

    for host, root_path in (("bookit.test", ""), ("desk.bookit.test:8443", ""), ("bookit.test", "/salon")) * 2:
        plain, ours = request_to(host, desk.app.router, root_path), request_to(host, cached, root_path)
        for name, params in ROUTES:
            assert str(ours.url_for(name, **params)) == str(plain.url_for(name, **params))


async def test_a_route_that_does_not_exist_has_no_url(desk: AdminDesk) -> None:
    with pytest.raises(NoMatchFound):
        request_to("bookit.test", CachingRouter(desk.app.router)).url_for("admin:nowhere", pk=1)


@pytest.fixture
async def new_desk(
    staff_settings: Settings,
    database: Database,
    superuser: psycopg.Connection,
    clock: Clock,
    mara: Person,
    ada: Person,
) -> AsyncIterator[AdminDesk]:
    """The admin of an application that has answered no request but to sign in."""
    app = build(staff_settings, clock=clock)
    app.state.database = database
    async with open_desk(app, database, superuser, mara, ada) as desk:
        yield desk
    await app.state.staff_site.close()


@pytest.mark.parametrize("path", ["booking/list", "user/list", "booking/details/1", ""])
async def test_a_page_looks_up_no_route_a_second_time(
    new_desk: AdminDesk, visit: Booking, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    names: list[str] = []
    look_up = Router.url_path_for

    def count(router: Router, name: str, /, **params: Any) -> Any:
        names.append(name)
        return look_up(router, name, **params)

    monkeypatch.setattr(Router, "url_path_for", count)
    for expected in (True, False):
        assert (await new_desk.mara.get(f"/admin/{path}")).status_code == 200
        assert bool(names) is expected
        names.clear()


async def test_the_log_names_the_user_of_a_request(desk: AdminDesk, mara: Person) -> None:
    """A middleware that passes on a copy of the request would hide the user from the log."""
    with capture_logs() as lines:
        await desk.mara.get("/admin/booking/list")

    assert [line["who"] for line in lines if line["event"] == "request"] == [f"staff {mara.id}"]
