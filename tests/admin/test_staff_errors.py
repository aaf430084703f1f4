"""Errors in the admin panel are shown as sentences, on their field, without internals."""

from typing import Any

import pytest

from bookit import records
from bookit.schema.tables import Booking, Service
from tests.support.admin_client import ALL_VIEWS, INTERNALS_PATTERN, AdminDesk, post_form, shorten, submit_form
from tests.support.people import Person


async def test_a_taken_email_is_refused_on_its_field(desk: AdminDesk, tom: Person, eve: Person) -> None:
    """D4."""
    answer = await submit_form(desk.ada, f"/admin/user/edit/{eve.id}", email="tom@example.com")

    assert answer.is_refused, answer
    assert answer.text.count("This e-mail address is already registered.") == 2
    assert not INTERNALS_PATTERN.search(answer.html)
    row = await desk.fetch_row("users", eve.id)
    assert row is not None
    assert row["email"] == "eve@example.com"


async def test_a_taken_slot_is_refused_on_its_field(desk: AdminDesk, eve: Person, visit: Booking) -> None:
    """D4."""
    fields = {"user": eve.id, "service": 1, "resource": 1, "start_time": "2030-01-08T11:00"}  # 10:00 in UTC

    answer = await post_form(desk.mara, "/admin/booking/create", fields)

    assert answer.is_refused, answer
    assert answer.text.count("Booking conflict: time slot is not available") == 2
    assert not INTERNALS_PATTERN.search(answer.html)


@pytest.mark.parametrize(
    "wrong",
    [
        {"user": "999999"},
        {"user": "abc"},
        {"user": "9" * 30},
        {"service": "9" * 30},
        {"resource": "9" * 30},
        {"resource": "-1"},
        {"start_time": "9999-12-31T23:59"},
        {"start_time": "0001-01-01T00:00"},
        {"start_time": "2030-03-31T02:30"},  # Skipped in Berlin.
        {"start_time": "now\0"},
        {"user": ""},
        {"start_time": ""},
        {"user": "1\0"},
    ],
    ids=shorten,
)
async def test_an_invalid_field_is_refused_in_a_sentence(
    desk: AdminDesk, tom: Person, haircut: Service, wrong: dict[str, str]
) -> None:
    """D4, D8, D21."""
    fields = {"user": str(tom.id), "service": "1", "resource": "1", "start_time": "2030-01-08T11:00", **wrong}

    answer = await post_form(desk.mara, "/admin/booking/create", fields)

    assert answer.is_refused, answer
    assert not INTERNALS_PATTERN.search(answer.html), INTERNALS_PATTERN.findall(answer.html)
    assert await desk.fetch_row("bookings", 1) is None


@pytest.mark.parametrize("act", ["create", "change", "remove"])
async def test_an_unforeseen_error_is_not_shown(
    desk: AdminDesk, visit: Booking, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    """D4: a database error is logged, and neither shown on a page nor put into a URL."""

    async def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("[SQL: INSERT INTO users (password_hash) VALUES ('hunter2')]")

    monkeypatch.setattr(records, act, fail)
    if act == "remove":
        html = (await desk.ada.delete("/admin/booking/delete", params={"pks": "1"})).text
    elif act == "create":
        html = (
            await post_form(desk.ada, "/admin/resource/create", {"name": "L", "capacity": 1, "timezone": "UTC"})
        ).html
    else:
        html = (await submit_form(desk.ada, "/admin/resource/edit/1", name="L")).html

    assert "hunter2" not in html
    assert "SQL" not in html


async def test_the_reading_engine_hides_its_parameters(desk: AdminDesk) -> None:
    """D4."""
    assert desk.site.engine.sync_engine.hide_parameters  # type: ignore[union-attr]  # an asynchronous one


async def test_a_sentence_in_the_url_is_not_shown(desk: AdminDesk) -> None:
    """D5."""
    for identity in ALL_VIEWS:
        answer = await desk.ada.get(f"/admin/{identity}/list", params={"error": "Call 0190 666"}, follow_redirects=True)
        assert answer.status_code == 200
        assert "0190" not in answer.text


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("price", "-5"),
        ("price", "NaN"),
        ("price", "sNaN"),
        ("price", "Infinity"),
        ("price", "1e400"),
        ("price", "9" * 40),
        ("price", "1.005"),
        ("price", "cheap"),
        ("duration_minutes", "0"),
        ("duration_minutes", "-5"),
        ("duration_minutes", "9" * 30),
        ("duration_minutes", "9" * 5000),
        ("horizon_days", "0"),
        ("setup_minutes", "-1"),
        ("title", ""),
        ("title", "x" * 201),
        ("title", "a\0b"),
        ("title", "   "),
        ("description", "x" * 1001),
        ("description", "a\0b"),
    ],
    ids=shorten,
)
async def test_the_bounds_of_the_tables_apply_in_forms(
    desk: AdminDesk, haircut: Service, field: str, value: str
) -> None:
    """D8."""
    answer = await submit_form(desk.ada, "/admin/service/edit/1", **{field: value})

    assert answer.is_refused, answer
    assert not INTERNALS_PATTERN.search(answer.html), INTERNALS_PATTERN.findall(answer.html)
    assert "is-invalid" in answer.html
    row = await desk.fetch_row("services", 1)
    assert row is not None
    assert row["version"] == 1
