"""Only BookIt's own pages may write to the admin panel, and they load nothing from other sites."""

import pytest

from bookit.schema.tables import Booking
from tests.support.admin_client import ALL_VIEWS, AdminDesk, list_admin_routes
from tests.support.people import PASSWORD

FOREIGN: list[tuple[str, dict[str, str]]] = [
    ("another site", {"sec-fetch-site": "cross-site", "origin": "https://bookit.test"}),
    ("a sister", {"sec-fetch-site": "same-site", "origin": "https://bookit.test"}),
    ("the address bar", {"sec-fetch-site": "none", "origin": "https://bookit.test"}),
    ("a foreign origin", {"origin": "http://evil.test"}),
    ("another port", {"origin": "https://bookit.test:8080"}),
    ("a name like ours", {"origin": "https://bookit.test.evil.test"}),
    ("an origin kept secret", {"origin": "null"}),
    ("neither header", {}),
]


@pytest.mark.parametrize("headers", [headers for _, headers in FOREIGN], ids=[name for name, _ in FOREIGN])
async def test_requests_of_another_site_are_refused(
    desk: AdminDesk, visit: Booking, headers: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """D3: on every unsafe address, signing in and out among them."""
    unsafe = [(method, path) for method, path in list_admin_routes(desk) if method not in {"GET", "OPTIONS"}]
    assert {method for method, _ in unsafe} == {"POST", "DELETE"}
    del desk.ada.headers["origin"]
    fields = {"pks": "1", "username": "ada@example.com", "password": PASSWORD}

    for method, path in [*unsafe, ("POST", "/admin/login"), ("POST", "/admin/logout")]:
        sent = {"params": {"pks": "1"}} if method == "DELETE" else {"data": fields}
        answer = await desk.ada.request(method, path, headers=headers, **sent)  # type: ignore[arg-type]  # one of both
        assert answer.status_code == 403, (method, path)
        assert "set-cookie" not in answer.headers
    events = [getattr(record, "event_kind", None) for record in caplog.records]
    assert events.count("origin refused") == len(unsafe) + 2
    row = await desk.fetch_row("bookings", 1)
    assert row is not None
    assert (row["status"], row["version"]) == ("pending", 1)
    assert (await desk.ada.get("/admin/booking/list")).status_code == 200


@pytest.mark.parametrize("headers", [{"origin": "https://bookit.test"}, {"sec-fetch-site": "same-origin"}])
async def test_requests_of_our_own_pages_are_accepted(desk: AdminDesk, visit: Booking, headers: dict[str, str]) -> None:
    """D3."""
    del desk.ada.headers["origin"]

    answer = await desk.ada.post("/admin/booking/action/confirm", data={"pks": "1"}, headers=headers)

    assert answer.status_code == 303
    row = await desk.fetch_row("bookings", 1)
    assert row is not None
    assert row["status"] == "confirmed"


async def test_every_page_has_security_headers(desk: AdminDesk, visit: Booking) -> None:
    paths = [
        "/admin/login",
        *(f"/admin/{identity}/list" for identity in ALL_VIEWS),
        "/admin/booking/details/1",
        "/admin/nope/list",
    ]
    for path in paths:
        headers = (await desk.ada.get(path)).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
