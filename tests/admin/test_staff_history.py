"""The history of the admin panel: who changed what, when and through which door, on details pages and its own page."""

import json
import re
from typing import Any

import psycopg
import pytest
from sqlalchemy import text

from bookit import records
from bookit.db.pool import Database
from bookit.policy import permissions
from bookit.policy.permissions import Actor
from bookit.schema.tables import Booking, CalendarException, Resource, Role, Service
from tests.support.admin_client import AdminDesk, get_page_text, submit_form
from tests.support.clock import NOW, TOMORROW_AT_TEN
from tests.support.people import OWNER, Person

AS_KEPT = re.compile(r"\{'|\{&#39;|&#34;|\bNone\b|\d{4}-\d\d-\d\d|\+00:00|no_show|True|False|_id\b|_time\b|blocks_")
MOST_STATEMENTS = 6


@pytest.fixture
async def visit(database: Database, tom: Person, shared: Service) -> Booking:
    """Create a booking of Tom's tomorrow at ten, by himself, of a service that Lea or Max can serve."""
    answer = await tom.request(
        "POST", "/bookings", json={"service_id": shared.id, "start_time": "2030-01-08T10:00:00Z"}
    )
    assert answer.status_code == 201, answer.text
    return Booking(**(await database.fetch(text("SELECT * FROM bookings WHERE id = 1")))[0])


def read_story(html: str) -> list[str]:
    """Return the history entries of a details page, without their times."""
    part = html.partition('id="bk-history"')[2].partition("</section>")[0]
    assert '<time datetime="' in part
    items = re.split(r"<li><span class=\"bk-when\">", part)[1:]
    return [get_page_text(f"<p>{item}").partition(", ")[2].partition(" ")[2] for item in items]


async def read_entries(desk: AdminDesk, path: str) -> list[str]:
    """Return the entries of a details page."""
    with desk.record_statements() as statements:
        page = await desk.mara.get(f"/admin/{path}")
    assert page.status_code == 200
    assert len(statements) <= MOST_STATEMENTS, statements
    assert not AS_KEPT.search(get_page_text(page.text)), AS_KEPT.findall(get_page_text(page.text))
    return read_story(page.text)


async def test_the_history_of_a_booking_is_shown(desk: AdminDesk, visit: Booking, tom: Person) -> None:
    """Moved by Tom, moved to Max by Mara, confirmed, and marked from a console."""
    await tom.request("PATCH", "/bookings/1", json={"start_time": "2030-01-08T11:30:00Z"})
    assert (await submit_form(desk.mara, "/admin/booking/edit/1", resource=2)).status == 302
    await desk.mara.post("/admin/booking/action/confirm", data={"pks": "1", "reason": "They called"})
    async with await psycopg.AsyncConnection.connect(desk.database.url, autocommit=True) as console:
        await console.execute("UPDATE bookings SET status = 'no_show', price = 12.5 WHERE id = 1")

    assert await read_entries(desk, "booking/details/1") == [
        "Someone changed it in the database console. Status: Confirmed → No-show Price: €60.00 → €12.50",
        "Mara (desk) changed it at the desk. They called Status: Pending → Confirmed",
        "Mara (desk) changed it at the desk. Resource: Lea → Max",
        "Tom (customer) changed it through the API. Start: Tue 08 Jan 2030, 11:00 → Tue 08 Jan 2030, 12:30",
        "Tom (customer) created it through the API.",
    ]


async def test_the_actor_links_to_their_page(
    desk: AdminDesk, visit: Booking, tom: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = f'<a href="https://bookit.test/admin/user/details/{tom.id}">Tom</a> (customer)'
    assert link in (await desk.mara.get("/admin/booking/details/1")).text

    mays = {**permissions.PERMISSIONS_BY_ROLE, Role.STAFF: {Booking: permissions.FULL_ACCESS}}
    monkeypatch.setattr(permissions, "PERMISSIONS_BY_ROLE", mays)
    page = (await desk.mara.get("/admin/booking/details/1")).text

    assert link not in page
    assert "Tom (customer) created it" in get_page_text(page)


@pytest.mark.parametrize(
    ("by", "entry"),
    [
        (Actor("cli", role=Role.ADMIN), "An owner created it on the command line."),
        (Actor("seed", role=Role.ADMIN), "An owner created it from the seed script."),
        (Actor("worker"), "BookIt created it in the background."),
        (Actor("api"), "A visitor created it through the API."),
        (Actor("admin", 999, Role.STAFF), "A deleted account (desk) created it at the desk."),
    ],
    ids=lambda case: case if isinstance(case, str) else case.door,
)
async def test_every_actor_has_a_label(desk: AdminDesk, database: Database, by: Actor, entry: str) -> None:
    async with database.transaction(by=by) as session:
        facts: dict[str, Any] = {"name": "Lea", "timezone": "UTC", "capacity": 1}
        await records.create(session, Resource, by=OWNER, now=NOW, **facts)

    assert await read_entries(desk, "resource/details/1") == [entry]


async def test_values_are_formatted_for_readers(desk: AdminDesk, database: Database, shared: Service) -> None:
    async with database.transaction(by=OWNER) as session:
        facts: dict[str, Any] = {"start_time": NOW, "end_time": TOMORROW_AT_TEN, "resource_id": 1}
        row = await records.create(session, CalendarException, by=OWNER, now=NOW, **facts)
        await session.fetch(
            text("INSERT INTO opening_hours (resource_id, weekday, opens, closes) VALUES (1, 1, '09:00', '17:00');")
        )
    async with database.transaction(by=OWNER) as session:
        held = await records.lock(session, CalendarException, row.id)
        await records.change(session, held, by=OWNER, now=NOW, is_open=True, resource_id=None, reason="Fair")
        await session.fetch(text("UPDATE opening_hours SET opens = '08:30', valid_from = '2030-02-01'"))
        await session.fetch(text("UPDATE services SET is_active = false, price = 1234.5 WHERE id = 1"))

    assert (await read_entries(desk, "calendar-exception/details/1"))[0] == (
        "An owner changed it from the seed script. Resource: Lea → – Open: No → Yes Reason: – → Fair"
    )
    assert (await read_entries(desk, "opening-hours/details/1"))[0] == (
        "An owner changed it from the seed script. Opens: 09:00 → 08:30 From: – → 01 Feb 2030"
    )
    assert (await read_entries(desk, "service/details/1"))[0] == (
        "An owner changed it from the seed script. Price: €60.00 → €1,234.50 Active: Yes → No"
    )


async def test_history_only_says_that_a_password_changed(desk: AdminDesk, tom: Person) -> None:
    assert (
        await submit_form(desk.ada, f"/admin/user/edit/{tom.id}", password="another one", role="staff")
    ).status == 302

    entries = await read_entries(desk, f"user/details/{tom.id}")
    listed = (await desk.ada.get("/admin/event/list")).text
    number = (await desk.database.fetch(text("SELECT max(id) AS id FROM events")))[0]["id"]
    single = (await desk.ada.get(f"/admin/event/details/{number}")).text

    assert entries[0] == "Ada (owner) changed it at the desk. Password: changed Role: Customer → Desk"
    for html in (listed, single):
        assert "Password: changed" in get_page_text(html)
        assert "$2b$" not in html
        assert "hidden" not in get_page_text(html)


async def test_a_long_history_takes_no_more_statements(desk: AdminDesk, visit: Booking) -> None:
    async with desk.database.transaction(by=OWNER) as session:
        for _ in range(60):
            await session.fetch(text("UPDATE bookings SET price = price + 1"))
    entries = await read_entries(desk, "booking/details/1")

    assert len(entries) == 50
    assert entries[0] == "An owner changed it from the seed script. Price: €119.00 → €120.00"


async def test_html_in_history_is_escaped(desk: AdminDesk, visit: Booking, tom: Person) -> None:
    bad = "<script>alert(1)</script>'\"><img src=x>"
    async with desk.database.transaction(by=OWNER) as session:
        await session.fetch(text("UPDATE users SET name = :bad WHERE id = :id"), bad=bad, id=tom.id)
        await session.fetch(text("UPDATE services SET description = :bad"), bad=bad)
        await session.set_reason(bad)
        await session.fetch(text("UPDATE bookings SET price = 1"))

    for path in ("booking/details/1", "service/details/1", f"user/details/{tom.id}", "event/list"):
        html = (await desk.ada.get(f"/admin/{path}")).text
        assert "<script>alert" not in html, path
        assert "<img src=x" not in html, path
        assert "<script>alert(1)</script>" in get_page_text(html), path


# The page of events.


async def fetch_last_event(desk: AdminDesk, table: str, action: str) -> tuple[int, str]:
    """Return the id and the page of the last event of this kind."""
    query = text("SELECT max(id) AS id FROM events WHERE table_name = :table AND action = :action")
    number: int = (await desk.database.fetch(query, table=table, action=action))[0]["id"]
    with desk.record_statements() as statements:
        html = (await desk.ada.get(f"/admin/event/details/{number}")).text
    assert len(statements) <= MOST_STATEMENTS, statements
    return number, html


async def test_events_link_to_their_rows(desk: AdminDesk, visit: Booking) -> None:
    await desk.mara.post("/admin/booking/action/confirm", data={"pks": "1", "reason": "They called"})
    with desk.record_statements() as statements:
        listed = (await desk.ada.get("/admin/event/list")).text
    assert len(statements) <= MOST_STATEMENTS, statements

    _, html = await fetch_last_event(desk, "bookings", "changed")

    link = '<a href="https://bookit.test/admin/booking/details/1">Booking 1</a>'
    for page in (listed, html):
        assert link in page
        assert "Status: Pending → Confirmed" in get_page_text(page)
        assert "They called" in get_page_text(page)
        assert "Mara (desk)" in get_page_text(page)
        assert "at the desk" in get_page_text(page)
        assert not AS_KEPT.search(get_page_text(page)), AS_KEPT.findall(get_page_text(page))
    assert "History Nothing is known" not in get_page_text(html)


async def test_a_new_row_is_shown_in_full_only_on_its_event_page(desk: AdminDesk, visit: Booking) -> None:
    _, html = await fetch_last_event(desk, "bookings", "created")

    whole = "Customer: Tom Service: Colour Resource: Lea Start: Tue 08 Jan 2030, 11:00"
    assert whole in get_page_text(html)
    assert whole not in get_page_text((await desk.ada.get("/admin/event/list")).text)
    assert not AS_KEPT.search(get_page_text(html)), AS_KEPT.findall(get_page_text(html))


async def test_a_deleted_row_has_no_link(desk: AdminDesk, visit: Booking) -> None:
    answer = await desk.ada.delete("/admin/booking/delete", params={"pks": "1"})
    assert answer.status_code == 200

    _, html = await fetch_last_event(desk, "bookings", "deleted")

    listed = (await desk.ada.get("/admin/event/list")).text
    for page in (html, listed):
        assert "Booking 1" in get_page_text(page)
        assert "/admin/booking/details/1" not in page
    assert "Status: Pending" in get_page_text(html)


async def test_an_event_of_an_unknown_table_is_shown(desk: AdminDesk) -> None:
    """A table may be new or dropped, or the event written by hand; what is known is shown."""
    values = json.dumps({"size": 3, "made_at": "2030-01-01", "none": None, "nested": {"a": [1]}})
    await desk.database.fetch(
        text(
            "INSERT INTO events (actor, door, table_name, row_id, action, new)"
            " VALUES ('robot', 'pigeon', 'wheels', 7, 'created', CAST(:values AS jsonb))"
        ),
        values=values,
    )

    _, html = await fetch_last_event(desk, "wheels", "created")

    page_text = get_page_text(html)
    assert "Someone" in page_text
    assert "pigeon" in page_text
    assert "wheels 7" in page_text
    assert "size: 3" in page_text


@pytest.mark.parametrize(
    "value", ["infinity", "nonsense", 7, None, "294276-01-01T00:00:00+00:00", "9999-12-31T23:30:00+00:00"]
)
async def test_an_unreadable_value_is_shown_as_it_is(desk: AdminDesk, visit: Booking, value: object) -> None:
    changed = json.dumps({"start_time": value, "status": "odd", "price": "NaN", "user_id": 999, "resource_id": 10**30})
    await desk.database.fetch(
        text(
            "INSERT INTO events (actor, door, table_name, row_id, action, old, new)"
            " VALUES ('staff', 'sql', 'bookings', 1, 'changed', '{}', CAST(:changed AS jsonb))"
        ),
        changed=changed,
    )

    _, html = await fetch_last_event(desk, "bookings", "changed")

    page_text = get_page_text(html)
    assert f"Start: – → {'–' if value is None else value}" in page_text
    assert "Status: – → Odd" in page_text
    assert "Customer: – → #999" in page_text
    assert f"Resource: – → #{10**30}" in page_text


async def test_history_is_exported_in_full(desk: AdminDesk, visit: Booking) -> None:
    rows = (await desk.ada.get("/admin/event/export/csv")).text.splitlines()
    event_count = (await desk.database.fetch(text("SELECT count(*) AS count FROM events")))[0]["count"]

    assert len(rows) == event_count  # without the export itself, and with the headings
    assert ",Tom (customer),3,through the API,created,Booking,1,," in rows[1]
