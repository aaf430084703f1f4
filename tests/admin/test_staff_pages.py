"""The pages of the admin panel: who sees what, and a booking from creation to cancellation."""

import re
from typing import Any

import pytest
from sqlalchemy import text

from admin.record_view import RecordView
from admin.views import VIEWS
from bookit import records
from bookit.db.pool import Database
from bookit.policy import permissions
from bookit.policy.permissions import Actor
from bookit.schema.tables import Booking, Role, Service, Status, table_of
from tests.support.admin_client import ALL_VIEWS, AdminDesk, get_page_text, post_form, submit_form
from tests.support.clock import NOW, TOMORROW_AT_TEN
from tests.support.databases import list_tables
from tests.support.people import OWNER, Person

WITHOUT_A_PAGE = {
    "Refund",  # The page of a booking has them.
    "ServiceResource", "ServiceNeed", "NeedResource", "Claim", "SignIn", "Authenticator", "Passkey", "RecoveryCodes",
    "RefreshToken", "IdempotencyKey", "Try", "Note",
}  # fmt: skip
PAYMENT = """
INSERT INTO payments (booking_id, amount, currency, method, state, settled_at)
VALUES (1, 100, 'EUR', 'cash', 'succeeded', now())
"""
EDITABLE = ("booking", "service", "resource", "opening-hours", "calendar-exception", "user")


@pytest.fixture
async def busy(database: Database, tom: Person, haircut: Service) -> Booking:
    """Create a row of every table: Tom's completed visit, his review, hours and a holiday."""
    async with database.transaction(by=OWNER) as session:
        facts: dict[str, Any] = {"user_id": tom.id, "service_id": 1, "start_time": TOMORROW_AT_TEN}
        booking = await records.create(session, Booking, by=OWNER, now=NOW, **facts)
        for statement in (
            "INSERT INTO reviews (booking_id, rating, comment) VALUES (1, 5, 'Lovely')",
            PAYMENT,
            "INSERT INTO opening_hours (resource_id, weekday, opens, closes) VALUES (1, 1, '09:00', '17:00')",
            "INSERT INTO calendar_exceptions (start_time, end_time) VALUES ('2030-12-24Z', '2030-12-27Z')",
        ):
            await session.fetch(text(statement))
    return booking


async def first(desk: AdminDesk, identity: str) -> int:
    """Return the id of a row of a page's table."""
    view = next(view for view in VIEWS if view.identity == identity)
    rows = await desk.database.fetch(text(f"SELECT min(id) AS id FROM {table_of(view.model).name}"))
    number: int = rows[0]["id"]
    return number


def test_every_table_has_a_record_view() -> None:
    assert all(issubclass(view, RecordView) for view in VIEWS)
    assert {view.model.__name__ for view in VIEWS} | WITHOUT_A_PAGE == {
        table.__name__ for table in list_tables() if table.__module__.startswith("bookit")
    }
    assert {view.identity for view in VIEWS if not view.is_single} == {*ALL_VIEWS}  # each has a list
    assert {view.category for view in VIEWS} == {"Front desk", "Set-up", "People", "History"}


@pytest.mark.parametrize("identity", ALL_VIEWS)
async def test_every_page_answers(desk: AdminDesk, busy: Booking, identity: str) -> None:
    number = await first(desk, identity)
    view = next(view for view in VIEWS if view.identity == identity)
    pages = ["list", f"details/{number}", "export/csv"]
    pages += ["create"] if view.can_create else []
    pages += [f"edit/{number}"] if view.can_edit else []

    for page in pages:
        answer = await desk.ada.get(f"/admin/{identity}/{page}")
        assert answer.status_code == 200, page
        assert "Status." not in answer.text
        assert "+00:00" not in get_page_text(answer.text) or page == "export/csv"
        assert " object at 0x" not in answer.text


@pytest.mark.parametrize("identity", ALL_VIEWS)
@pytest.mark.parametrize("who", ["mara", "ada"])
async def test_pages_follow_the_permissions(desk: AdminDesk, busy: Booking, who: str, identity: str) -> None:
    """Every page and its buttons follow policy.may."""
    client = getattr(desk, who)
    actor = Actor("admin", role=Role.STAFF if who == "mara" else Role.ADMIN)
    view = next(view for view in VIEWS if view.identity == identity)
    number = await first(desk, identity)

    def expected(verb: permissions.Verb, able: bool = True) -> int:
        return 200 if able and permissions.has_permission(actor, verb, view.model) else 403

    listed = await client.get(f"/admin/{identity}/list")
    is_shown = listed.status_code == 200 and f"/admin/{identity}/details/{number}" in listed.text
    assert is_shown == permissions.has_permission(actor, "see", view.model)
    assert (await client.get(f"/admin/{identity}/details/{number}")).status_code == expected("see")
    assert (await client.get(f"/admin/{identity}/export/csv")).status_code == expected("export")
    assert (await client.get(f"/admin/{identity}/create")).status_code == expected("create", view.can_create)
    edit = (await client.get(f"/admin/{identity}/edit/{number}")).status_code
    assert edit == expected("change", view.can_edit)
    offered = f'href="https://bookit.test/admin/{identity}/create"' in listed.text
    assert offered == (expected("create", view.can_create) == 200)


async def test_staff_do_not_see_the_full_history(desk: AdminDesk, busy: Booking) -> None:
    assert (await desk.mara.get("/admin/event/list")).status_code in {403, 404}
    menu = (await desk.mara.get("/admin/booking/list")).text
    assert "/admin/event/list" not in menu
    assert "/admin/event/list" in (await desk.ada.get("/admin/booking/list")).text


async def test_an_admin_assigns_roles_in_the_panel(desk: AdminDesk, tom: Person) -> None:
    answer = await submit_form(desk.ada, f"/admin/user/edit/{tom.id}", role="staff")

    assert answer.status == 302, answer
    row = await desk.fetch_row("users", tom.id)
    assert row is not None
    assert row["role"] == "staff"


async def test_staff_change_a_customers_name(desk: AdminDesk, tom: Person) -> None:
    answer = await submit_form(desk.mara, f"/admin/user/edit/{tom.id}", name="Thomas")

    assert answer.status == 302, answer
    row = await desk.fetch_row("users", tom.id)
    assert row is not None
    assert row["name"] == "Thomas"


@pytest.mark.parametrize("identity", EDITABLE)
async def test_labels_are_those_of_the_tables(desk: AdminDesk, busy: Booking, identity: str) -> None:
    view = next(view for view in VIEWS if view.identity == identity)
    number = await first(desk, identity)
    fields: dict[str, Any] = vars(view)["model"].model_fields
    visible = [name for name in view.form_edit_rules if name != "version"]

    page = get_page_text((await desk.ada.get(f"/admin/{identity}/edit/{number}")).text)
    listed = get_page_text((await desk.ada.get(f"/admin/{identity}/list")).text)

    for name, (label, helping) in view.many_relations.items():
        assert label in page or name not in visible, name
        assert helping in page, name
    for name in (name for name in visible if name not in view.many_relations):
        declared = fields.get(name) or fields[f"{name}_id"]
        assert declared.title in page, name
        assert (declared.description or "") in page, name
    for column in view.column_list:
        name = str(column)
        declared = fields.get(name) or fields[f"{name}_id"]
        assert declared.title in listed, name


async def test_times_are_shown_in_local_business_time(desk: AdminDesk, busy: Booking) -> None:
    """10:00 in UTC is 11:00 in Berlin."""
    for page in ("list", "details/1"):
        page_text = get_page_text((await desk.mara.get(f"/admin/booking/{page}")).text)
        assert "Tue 08 Jan 2030, 11:00" in page_text
        assert "Tue 08 Jan 2030, 10:00" not in page_text
    form = (await desk.mara.get("/admin/booking/edit/1")).text
    assert re.search(r'type="datetime-local"[^>]*value="2030-01-08[T ]11:00', form)
    assert "Europe/Berlin" in form


async def test_a_list_shows_customer_and_service(desk: AdminDesk, busy: Booking) -> None:
    page_text = get_page_text((await desk.mara.get("/admin/booking/list")).text)

    for cell in ("Tom", "Haircut", "Pending", "€35.00"):
        assert cell in page_text


@pytest.mark.parametrize(
    ("query", "is_found"),
    [
        ("search=tom", True),
        ("search=TOM@EXAMPLE", True),
        ("search=1", True),
        ("search=%231", True),
        ("search=eve", False),
        ("search=2", False),
        ("status=pending", True),
        ("status=confirmed", False),
        ("start_time=2030-01-08", True),
        ("start_time=2030-01-07", False),
        ("start_time=2030-01-01..2030-01-08", True),
        ("start_time=2030-01-09..", False),
    ],
)
async def test_a_booking_is_found_by_searching(
    desk: AdminDesk, busy: Booking, eve: Person, query: str, is_found: bool
) -> None:
    for page, sign in (("list", "/admin/booking/details/1"), ("export/csv", "2030-01-08")):
        html = (await desk.ada.get(f"/admin/booking/{page}?{query}")).text
        assert (sign in (html if page == "list" else html.partition("\r\n")[2])) == is_found, page


async def test_a_booking_goes_through_its_statuses(desk: AdminDesk, tom: Person, haircut: Service) -> None:
    """Created, moved, reopened and cancelled with a reason; history shows all of it."""
    fields = {"user": tom.id, "service": 1, "resource": 1, "start_time": "2030-01-08T11:00"}
    made = await post_form(desk.mara, "/admin/booking/create", fields)
    assert made.status == 302, made
    moved = await submit_form(desk.mara, "/admin/booking/edit/1", start_time="2030-01-08T12:30")
    assert moved.status == 302, moved
    row = await desk.fetch_row("bookings", 1)
    assert row is not None
    assert f"{row['start_time']:%d %H:%M} {row['end_time']:%H:%M}" == "08 11:30 12:15"

    await desk.mara.post("/admin/booking/action/reopen", data={"pks": "1"})
    assert "Booking #1 is reopened." in await desk.fetch_list_text(desk.mara)
    answer = await desk.mara.post(
        "/admin/booking/action/cancel",
        data={"pks": "1", "reason": "Tom is <b>ill</b>", "back": "/admin/booking/details/1"},
    )
    assert answer.headers["location"] == "/admin/booking/details/1"

    row = await desk.fetch_row("bookings", 1)
    assert row is not None
    assert row["status"] == Status.CANCELLED
    page = await desk.mara.get("/admin/booking/details/1")
    page_text = get_page_text(page.text)
    assert "Cancelled" in page_text
    assert "<b>ill" not in page.text
    assert "Tom is <b>ill</b>" in page_text
    assert page_text.count("Mara (desk)") == 4
    events = await desk.database.fetch(
        text("SELECT action, actor_id, door, reason, new FROM events WHERE table_name = 'bookings' ORDER BY id")
    )
    assert [row["action"] for row in events] == ["created", "changed", "changed", "changed"]
    assert [row["new"].get("status") for row in events] == ["confirmed", None, "pending", "cancelled"]
    assert [row["reason"] for row in events] == [None, None, None, "Tom is <b>ill</b>"]
    assert {row["door"] for row in events} == {"admin"}


async def test_each_row_has_its_own_outcome(desk: AdminDesk, busy: Booking, database: Database, eve: Person) -> None:
    """A cancelled visit whose slot was taken cannot be reopened; the others can."""
    await desk.mara.post("/admin/booking/action/cancel", data={"pks": "1"})
    async with database.transaction(by=OWNER) as session:
        for start in (TOMORROW_AT_TEN, TOMORROW_AT_TEN.replace(hour=14)):
            facts: dict[str, Any] = {"user_id": eve.id, "service_id": 1, "start_time": start}
            why = "It closes early, but not for her"
            await records.create(session, Booking, by=OWNER, now=NOW, override_reason=why, **facts)
    await desk.mara.post("/admin/booking/action/confirm", data={"pks": "3"})
    await desk.fetch_list_text(desk.mara)

    await desk.mara.post("/admin/booking/action/reopen", data={"pks": "1,3"})

    page_text = await desk.fetch_list_text(desk.mara)
    assert "Booking #3 is reopened." in page_text
    assert "#1: Booking conflict: time slot is not available" in page_text
    rows = [await desk.fetch_row("bookings", number) for number in (1, 3)]
    assert [row and row["status"] for row in rows] == ["cancelled", "pending"]


async def test_a_refusal_is_shown_on_its_field_and_above_the_form(desk: AdminDesk, busy: Booking, eve: Person) -> None:
    fields = {"user": eve.id, "service": 1, "resource": 1, "start_time": "2030-01-08T11:15", "override_reason": "Ok"}

    answer = await post_form(desk.mara, "/admin/booking/create", fields)

    sentence = "Booking conflict: time slot is not available"
    assert answer.is_refused
    banner, field = (match.start() for match in re.finditer(sentence, answer.html))
    assert 'role="alert"' in answer.html[banner - 60 : banner]
    start = answer.html.index('name="start_time"')
    assert start < field < start + 600
    assert 'value="2030-01-08' in answer.html  # The input is still there.


async def test_consecutive_refusals_do_not_mix(desk: AdminDesk, busy: Booking, eve: Person) -> None:
    fields = {"user": eve.id, "service": 1, "resource": 1, "start_time": "2030-01-08T11:15", "override_reason": "Ok"}
    assert (await post_form(desk.mara, "/admin/booking/create", fields)).is_refused

    again = await desk.mara.get("/admin/booking/create")

    assert "Booking conflict" not in again.text
