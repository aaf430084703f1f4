"""Staff cannot exceed their permissions in the admin panel: not by a button, a form or a URL."""

import pytest

from bookit.schema.tables import Service
from tests.support.admin_client import AdminDesk, ParsedPage, post_form
from tests.support.people import Person


async def test_staff_cannot_assign_roles(desk: AdminDesk, tom: Person, mara: Person) -> None:
    """D18."""
    for number in (tom.id, mara.id):
        before = await desk.fetch_row("users", number)
        for changed in ({"role": "admin"}, {"role": "admin", "name": "Boss"}):
            opened = await desk.mara.get(f"/admin/user/edit/{number}")
            fields = (
                ParsedPage(opened.text).fields
                if opened.status_code == 200
                else {"version": "1", "name": "x", "email": "x@x.example"}
            )
            answer = await post_form(desk.mara, f"/admin/user/edit/{number}", fields | changed)
            assert answer.is_refused or answer.status == 302
            row = await desk.fetch_row("users", number)
            assert row is not None
            assert before is not None
            assert row["role"] == before["role"]


async def test_staff_cannot_change_a_colleague(desk: AdminDesk, ada: Person) -> None:
    """D18, D20."""
    before = await desk.fetch_row("users", ada.id)
    opened = await desk.mara.get(f"/admin/user/edit/{ada.id}")
    fields = (
        ParsedPage(opened.text).fields
        if opened.status_code == 200
        else {"version": "1", "name": "x", "email": "x@x.example"}
    )

    answer = await post_form(desk.mara, f"/admin/user/edit/{ada.id}", fields | {"email": "mine@example.com"})

    assert answer.is_refused
    assert await desk.fetch_row("users", ada.id) == before


@pytest.mark.parametrize("identity", ["service", "resource"])
async def test_staff_cannot_change_the_catalogue(desk: AdminDesk, haircut: Service, identity: str) -> None:
    """D18, D20: neither by its buttons nor by a known URL."""
    before = await desk.fetch_row(f"{identity}s", 1)
    fields = {
        "title": "Mine",
        "name": "Mine",
        "price": "1",
        "duration_minutes": "1",
        "version": "1",
        "capacity": "1",
        "timezone": "UTC",
    }

    for path in ("create", "edit/1"):
        assert (await desk.mara.get(f"/admin/{identity}/{path}")).status_code == 403
        assert (await desk.mara.post(f"/admin/{identity}/{path}", data=fields)).status_code == 403
    assert (await desk.mara.delete(f"/admin/{identity}/delete", params={"pks": "1"})).status_code == 403
    assert await desk.fetch_row(f"{identity}s", 1) == before
    assert await desk.fetch_row(f"{identity}s", 2) is None


@pytest.mark.parametrize("verb", ["create", "edit/1", "delete"])
async def test_history_cannot_be_changed(desk: AdminDesk, verb: str) -> None:
    """D19."""
    for client in (desk.ada, desk.mara):
        method = "DELETE" if verb == "delete" else "POST"
        answer = await client.request(method, f"/admin/event/{verb}", params={"pks": "1"})
        assert answer.status_code == 403
