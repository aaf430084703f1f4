"""Edit conflicts: a stale edit is refused, both versions are shown, and saving again is deliberate."""

import re
from typing import Any

import pytest
from sqlalchemy import text

from admin.history import edit_conflicts
from admin.views import VIEWS
from bookit import records
from bookit.db.pool import Database
from bookit.schema.tables import Booking, CalendarException, Service
from tests.support.admin_client import AdminDesk, FormResult, ParsedPage, get_page_text, post_form, submit_form
from tests.support.clock import NOW, TOMORROW_AT_TEN
from tests.support.people import OWNER, Person

BANNER = "Someone changed this while you were editing."
MOST_STATEMENTS = 6


@pytest.fixture
async def everything(database: Database, tom: Person, shared: Service) -> None:
    """Create a row of every table that has a form: Tom's visit with Lea, hours, and a holiday of Lea's."""
    async with database.transaction(by=OWNER) as session:
        who: dict[str, Any] = {"by": OWNER, "now": NOW}
        times: dict[str, Any] = {"start_time": NOW, "end_time": TOMORROW_AT_TEN}
        visit: dict[str, Any] = {"user_id": tom.id, "service_id": 1, "start_time": TOMORROW_AT_TEN, "resource_id": 1}
        await records.create(session, Booking, **who, **visit)
        await records.create(session, CalendarException, **who, **times, resource_id=1)
        await session.fetch(
            text("INSERT INTO opening_hours (resource_id, weekday, opens, closes) VALUES (1, 1, '09:00', '17:00')")
        )


async def open_fields(desk: AdminDesk, path: str) -> dict[str, str]:
    """Open a form, and return its fields; a browser fills in the look-up of a resource."""
    fields = ParsedPage((await desk.ada.get(path)).text).fields
    return fields | {"resource": "1"} if "resource" in fields else fields


def read_versions(answer: FormResult) -> dict[str, tuple[str, str]]:
    """Return for each differing field the typed value, and the current value with its author, without the time."""
    differences = {}
    for row in re.findall(r'<tr><th scope="row">(.*?)</tr>', answer.html, re.DOTALL):
        label, typed, now = (get_page_text(f"<p>{cell}") for cell in re.split(r"</th>|</td>", row)[:3])
        differences[label] = (typed, re.sub(r" ?, \w{3} \d\d \w{3} \d{4}, \d\d:\d\d$", "", now))
    return differences


async def test_both_versions_are_shown(desk: AdminDesk, everything: None) -> None:
    mine = await open_fields(desk, "/admin/service/edit/1")
    assert (await submit_form(desk.ada, "/admin/service/edit/1", price="66.50", cleanup_minutes="5")).status == 302

    with desk.record_statements() as statements:
        answer = await post_form(desk.ada, "/admin/service/edit/1", {**mine, "title": "Tint", "price": "70"})

    assert answer.status == 412
    assert BANNER in answer.text
    assert read_versions(answer) == {
        "Title": ("Tint", "Colour"),
        "Price": ("€70.00", "€66.50 Ada (owner)"),
        "Cleanup": ("0", "5 Ada (owner)"),
    }
    fields = ParsedPage(answer.html).fields
    assert (fields["title"], fields["price"], fields["version"]) == ("Tint", "70", "2")
    assert "Ada (owner) changed it at the desk. Price: €60.00 → €66.50 Cleanup: 0 → 5" in answer.text
    assert "Save my version" in answer.text
    assert "Save and add another" not in answer.text
    assert len(statements) <= MOST_STATEMENTS, statements
    row = await desk.fetch_row("services", 1)
    assert row is not None
    assert (row["title"], row["version"]) == ("Colour", 2)


async def test_saving_again_overwrites_deliberately(desk: AdminDesk, everything: None) -> None:
    mine = await open_fields(desk, "/admin/service/edit/1")
    assert (await submit_form(desk.ada, "/admin/service/edit/1", price="66.50")).status == 302
    refused = await post_form(desk.ada, "/admin/service/edit/1", {**mine, "title": "Tint"})

    saved = await post_form(desk.ada, "/admin/service/edit/1", ParsedPage(refused.html).fields)

    assert saved.status == 302
    row = await desk.fetch_row("services", 1)
    assert row is not None
    assert (row["title"], row["price"], row["version"]) == ("Tint", 60, 3)


async def test_another_change_meanwhile_is_refused_again(desk: AdminDesk, everything: None) -> None:
    mine = await open_fields(desk, "/admin/service/edit/1")
    assert (await submit_form(desk.ada, "/admin/service/edit/1", price="66.50")).status == 302
    refused = await post_form(desk.ada, "/admin/service/edit/1", {**mine, "title": "Tint"})
    assert (await submit_form(desk.ada, "/admin/service/edit/1", duration_minutes="35")).status == 302

    again = await post_form(desk.ada, "/admin/service/edit/1", ParsedPage(refused.html).fields)

    assert again.status == 412
    assert read_versions(again) == {
        "Title": ("Tint", "Colour"),
        "Price": ("€60.00", "€66.50"),  # Already shown the first time, with its author.
        "Duration": ("30", "35 Ada (owner)"),
    }


async def test_related_rows_are_shown_by_name(desk: AdminDesk, everything: None) -> None:
    mine = await open_fields(desk, "/admin/booking/edit/1")
    assert (
        await submit_form(desk.mara, "/admin/booking/edit/1", resource=2, start_time="2030-01-08T14:00")
    ).status == 302

    answer = await post_form(desk.ada, "/admin/booking/edit/1", mine)

    assert answer.status == 412
    assert read_versions(answer) == {
        "Resource": ("Lea", "Max Mara (desk)"),
        "Start": ("Tue 08 Jan 2030, 11:00", "Tue 08 Jan 2030, 14:00 Mara (desk)"),
    }


async def test_changes_outside_the_form_are_shown_too(desk: AdminDesk, everything: None) -> None:
    mine = await open_fields(desk, "/admin/booking/edit/1")
    await desk.mara.post("/admin/booking/action/cancel", data={"pks": "1", "reason": "They are ill"})

    answer = await post_form(desk.ada, "/admin/booking/edit/1", mine)

    assert answer.status == 412
    assert read_versions(answer) == {}
    assert "Your values match the current ones. Something else was changed." in answer.text
    assert "Mara (desk) changed it at the desk. They are ill Status: Pending → Cancelled" in answer.text


async def test_changes_of_a_console_are_shown(desk: AdminDesk, everything: None) -> None:
    mine = await open_fields(desk, "/admin/service/edit/1")
    await desk.database.fetch(text("UPDATE services SET is_active = false"))

    answer = await post_form(desk.ada, "/admin/service/edit/1", mine)

    assert read_versions(answer) == {"Active": ("Yes", "No Someone")}


EDITS: dict[str, tuple[str, dict[str, str]]] = {
    "booking": ("UPDATE bookings SET price = 1", {"start_time": "2030-01-08T18:00", "override_reason": "After work"}),
    "service": ("UPDATE services SET price = 1", {"title": "Tint"}),
    "resource": ("UPDATE resources SET capacity = 2", {"name": "Leah"}),
    "opening-hours": ("UPDATE opening_hours SET opens = '08:00'", {"closes": "18:00"}),
    "calendar-exception": ("UPDATE calendar_exceptions SET is_open = true", {"reason": "Leave"}),
    "business": ("UPDATE business SET phone = '1'", {"name": "Salon"}),
    "user": ("UPDATE users SET name = 'Somebody'", {"email": "new@example.com"}),
}


@pytest.mark.parametrize("identity", EDITS)
async def test_every_form_shows_both_versions(desk: AdminDesk, everything: None, identity: str) -> None:
    statement, typed = EDITS[identity]
    mine = await open_fields(desk, f"/admin/{identity}/edit/1")
    await desk.database.fetch(text(statement))

    answer = await post_form(desk.ada, f"/admin/{identity}/edit/1", {**mine, **typed})

    assert (answer.status, BANNER in answer.text) == (412, True), answer
    table: Any = next(view.model for view in VIEWS if view.identity == identity)
    assert {table.model_fields[name].title for name in typed if name in table.model_fields} <= read_versions(
        answer
    ).keys()
    assert ParsedPage(answer.html).fields["version"] == "2"
    saved = await post_form(desk.ada, f"/admin/{identity}/edit/1", {**mine, **typed, "version": "2"})
    assert saved.status == 302, saved.text


def test_every_form_is_tested() -> None:
    assert EDITS.keys() == {view.identity for view in VIEWS if view.can_edit}


async def test_a_password_is_not_shown_again(desk: AdminDesk, everything: None, tom: Person) -> None:
    path = f"/admin/user/edit/{tom.id}"
    mine = await open_fields(desk, path) | {"resource": ""}
    await desk.database.fetch(text("UPDATE users SET name = 'Thomas' WHERE id = :id"), id=tom.id)

    with_one = await post_form(desk.ada, path, {**mine, "password": "a secret of Tom's"})
    without = await post_form(desk.ada, path, mine)

    assert read_versions(with_one) == read_versions(without) == {"Name": ("Tom", "Thomas Someone")}
    assert "a secret of Tom" not in with_one.html
    assert "$2b$" not in with_one.html
    assert "Please type the password again." in with_one.text
    assert "Please type the password again." not in without.text


async def test_an_error_while_comparing_is_not_shown(
    desk: AdminDesk, everything: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The edit stays refused, and no internals are shown."""

    async def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("[SQL: SELECT password_hash]")

    mine = await open_fields(desk, "/admin/service/edit/1")
    await desk.database.fetch(text("UPDATE services SET price = 1"))
    monkeypatch.setattr(edit_conflicts, "compare_versions", fail)

    answer = await post_form(desk.ada, "/admin/service/edit/1", {**mine, "title": "Tint"})

    assert (answer.status, BANNER in answer.text) == (412, True)
    assert "SQL" not in answer.html
    assert (ParsedPage(answer.html).fields["version"], ParsedPage(answer.html).fields["title"]) == ("1", "Tint")
    assert (await post_form(desk.ada, "/admin/service/edit/1", ParsedPage(answer.html).fields)).status == 412


async def test_html_in_either_version_is_escaped(desk: AdminDesk, everything: None) -> None:
    bad = "<script>alert(1)</script>"
    mine = await open_fields(desk, "/admin/service/edit/1")
    await desk.database.fetch(text("UPDATE services SET title = :bad"), bad=bad)

    answer = await post_form(desk.ada, "/admin/service/edit/1", {**mine, "title": bad + "!"})

    assert "<script>alert" not in answer.html
    assert read_versions(answer) == {"Title": (bad + "!", f"{bad} Someone")}


async def test_an_edit_without_conflict_shows_no_versions(desk: AdminDesk, everything: None) -> None:
    opened_now = await desk.ada.get("/admin/service/edit/1")
    refused = await submit_form(desk.ada, "/admin/service/edit/1", price="-1")

    for html in (opened_now.text, refused.html):
        assert "bk-stale" not in html
        assert "Save mine" not in html
        assert "Save and add another" in html
