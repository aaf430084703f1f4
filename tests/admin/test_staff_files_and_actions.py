"""The admin panel serves no stored file, and runs actions only by POST, on rows that the user may change."""

import inspect
import re

import pytest
from sqlalchemy import text

from admin.record_view import RecordView
from admin.views import VIEWS
from bookit.db.pool import Database
from bookit.schema.tables import Booking, Role
from tests.support.admin_client import ALL_VIEWS, INTERNALS_PATTERN, AdminDesk, list_admin_routes, shorten
from tests.support.people import OWNER


@pytest.mark.parametrize("way", ["download", "preview"])
async def test_no_file_is_served_for_a_path_in_a_column(
    desk: AdminDesk, visit: Booking, database: Database, way: str
) -> None:
    """D1."""
    async with database.transaction(by=OWNER) as session:
        await session.fetch(text("INSERT INTO resources (name, timezone) VALUES ('pyproject.toml', 'UTC')"))

    for path in ("/admin/resource/2/name", "/admin/resource/1/name", "/admin/booking/1/status"):
        answer = await desk.ada.get(f"{path}/{way}/")
        assert answer.status_code == 404
        assert "hatch" not in answer.text
    tables = [view for view in desk.site.views if isinstance(view, RecordView)]
    assert len(tables) >= len(ALL_VIEWS)
    for view in tables:
        with pytest.raises(Exception, match="404"):
            await view.get_object_filepath("1", "id")


async def test_actions_run_only_by_post(desk: AdminDesk, visit: Booking) -> None:
    """D2."""
    acts = [path for _, path in list_admin_routes(desk) if "/action/" in path]
    assert len(acts) == 5

    for path in [*acts, "/admin/logout"]:
        answer = await desk.ada.get(path, params={"pks": "1"})
        assert answer.status_code == 405, path
    row = await desk.fetch_row("bookings", 1)
    assert row is not None
    assert (row["status"], row["version"]) == ("pending", 1)
    assert (await desk.ada.get("/admin/booking/list")).status_code == 200  # Still signed in.


async def test_every_action_is_a_post_form(desk: AdminDesk, visit: Booking) -> None:
    """D2."""
    for path, acts in (("list", 5), ("details/1", 4)):  # It is already pending.
        html = (await desk.ada.get(f"/admin/booking/{path}")).text
        assert not re.findall(r'<a[^>]+href="[^"]*/action/', html)
        assert html.count('method="post" action="https://bookit.test/admin/booking/action/') == acts, path
    assert (await desk.ada.get("/admin/logout")).status_code == 405


@pytest.mark.parametrize("act", ["confirm", "cancel", "complete", "mark-no-show", "reopen"])
async def test_an_action_needs_permission(
    desk: AdminDesk, visit: Booking, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    """D20: an action changes a booking, so read access is not enough."""
    from bookit.policy import permissions  # noqa: PLC0415 -- to change it for this test alone

    mays = {
        **permissions.PERMISSIONS_BY_ROLE,
        Role.STAFF: {**permissions.PERMISSIONS_BY_ROLE[Role.STAFF], Booking: permissions.READ_ONLY},
    }
    monkeypatch.setattr(permissions, "PERMISSIONS_BY_ROLE", mays)

    answer = await desk.mara.post(f"/admin/booking/action/{act}", data={"pks": "1"})

    assert answer.status_code == 403
    row = await desk.fetch_row("bookings", 1)
    assert row is not None
    assert (row["status"], row["version"]) == ("pending", 1)


async def test_an_action_checks_and_reports_each_row(desk: AdminDesk, visit: Booking) -> None:
    """D20."""
    answer = await desk.mara.post("/admin/booking/action/confirm", data={"pks": "1,999"})

    assert answer.status_code == 303
    page_text = await desk.fetch_list_text(desk.mara)
    assert "Booking #1 is confirmed." in page_text
    assert "#999: There is no such booking." in page_text


def test_every_action_calls_a_rule() -> None:
    """D20: only the actions of bookings have routes of their own."""
    for view in VIEWS:
        for name, member in inspect.getmembers(view):
            assert not hasattr(member, "_exposed"), (view, name)
            if hasattr(member, "_action"):
                assert view.model is Booking
                assert member._confirmation_message


@pytest.mark.parametrize(
    "pks", ["", "abc", "1,abc", "9" * 30, "9" * 5000, "\0", ",", "-1", "²", ",".join(["1"] * 500)], ids=shorten
)
async def test_actions_on_invalid_ids_are_answered(desk: AdminDesk, visit: Booking, pks: str) -> None:
    """D21."""
    answer = await desk.mara.post("/admin/booking/action/cancel", data={"pks": pks, "reason": "They are ill"})
    assert answer.status_code == 303
    assert not INTERNALS_PATTERN.search(await desk.fetch_list_text(desk.mara))

    gone = await desk.ada.delete("/admin/booking/delete", params={"pks": pks})
    assert gone.status_code in {200, 400, 404}
    assert not INTERNALS_PATTERN.search(gone.text)
