"""An edit in the admin panel changes only its own fields, for authorized users, and only if it is not stale."""

import pytest

from bookit.schema.tables import Booking, Service
from tests.support.admin_client import INTERNALS_PATTERN, AdminDesk, ParsedPage, post_form, shorten, submit_form
from tests.support.claims import fetch_seats
from tests.support.people import Person


async def test_a_stale_edit_is_refused(desk: AdminDesk, haircut: Service) -> None:
    """D7."""
    opened = ParsedPage((await desk.ada.get("/admin/service/edit/1")).text).fields
    assert opened["version"] == "1"
    assert (await submit_form(desk.ada, "/admin/service/edit/1", price="36")).status == 302

    late = await post_form(desk.ada, "/admin/service/edit/1", {**opened, "title": "Late"})

    assert late.is_refused, late
    assert "Someone changed this while you were editing." in late.text
    row = await desk.fetch_row("services", 1)
    assert row is not None
    assert (row["title"], row["price"], row["version"]) == ("Haircut", 36, 2)


@pytest.mark.parametrize("version", [None, "", "0", "-1", "abc", "9" * 30, "9" * 5000, "1\0", "²"], ids=shorten)
async def test_an_edit_without_a_version_is_refused(desk: AdminDesk, haircut: Service, version: str | None) -> None:
    """D7."""
    fields = ParsedPage((await desk.ada.get("/admin/service/edit/1")).text).fields
    del fields["version"]

    answer = await post_form(
        desk.ada, "/admin/service/edit/1", fields | ({} if version is None else {"version": version})
    )

    assert answer.is_refused, answer
    assert "Someone changed this while you were editing." in answer.text
    assert not INTERNALS_PATTERN.search(answer.html)


async def test_a_form_changes_only_its_own_fields(
    desk: AdminDesk, visit: Booking, eve: Person, shared: Service
) -> None:
    """D18: price, status, place and customer of a booking are no fields of its form."""
    before = await desk.fetch_row("bookings", 1)
    extra = {
        "price": "1", "status": "completed", "seat": "7", "user": eve.id, "user_id": eve.id, "service": shared.id,
        "service_id": shared.id, "id": "9", "end_time": "2031-01-01T10:00", "blocks_from": "2031-01-01T10:00",
        "created_at": "2031-01-01T10:00", "expires_at": "2031-01-01T10:00",
    }  # fmt: skip

    answer = await submit_form(desk.ada, "/admin/booking/edit/1", **extra)

    assert answer.is_refused or answer.status == 302
    assert await desk.fetch_row("bookings", 1) == before


async def test_a_new_booking_gets_price_and_status_from_the_rule(
    desk: AdminDesk, tom: Person, haircut: Service
) -> None:
    """D18."""
    fields = {"user": tom.id, "service": 1, "resource": 1, "start_time": "2030-01-08T11:00"}
    extra = {
        "price": "1",
        "status": "completed",
        "seat": "7",
        "version": "9",
        "id": "77",
        "end_time": "2031-01-01T10:00",
    }

    assert (await post_form(desk.mara, "/admin/booking/create", fields | extra)).status == 302

    row = await desk.fetch_row("bookings", 1)
    assert row is not None
    assert (row["price"], row["status"], row["version"]) == (35, "confirmed", 1)
    assert await fetch_seats(desk.database, row) == [1]


@pytest.mark.parametrize("who", ["mara", "ada"])
async def test_no_form_accepts_a_password_hash(desk: AdminDesk, tom: Person, who: str) -> None:
    """D18: and leaving it out does not empty it."""
    before = await desk.fetch_row("users", tom.id)
    client = getattr(desk, who)

    await submit_form(client, f"/admin/user/edit/{tom.id}", name="Thomas", password_hash="x", password="x", id="9")
    await submit_form(client, f"/admin/user/edit/{tom.id}", "name", "role", "is_active")

    row = await desk.fetch_row("users", tom.id)
    assert row is not None
    assert before is not None
    assert row["password_hash"] == before["password_hash"]
    assert row["role"] == "user"
