"""The actions of staff on a booking: each is offered or refused by one rule, with its own messages."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx2
import pytest

from bookit import records
from bookit import refusals as no
from bookit.bookings import acts
from bookit.db.pool import Database
from bookit.policy import lifecycle, permissions
from bookit.policy.permissions import Actor
from bookit.schema.tables import Booking, Role, Service, Status
from tests.support.admin_client import AdminDesk, ParsedPage, get_page_text, post_form, submit_form
from tests.support.clock import NOW, TOMORROW_AT_TEN
from tests.support.people import OWNER, Person

ACTS = {
    Status.PENDING: ("reopen", "Reopen", "reopened"),
    Status.CONFIRMED: ("confirm", "Confirm", "confirmed"),
    Status.COMPLETED: ("complete", "Complete", "completed"),
    Status.CANCELLED: ("cancel", "Cancel visit", "cancelled"),
    Status.NO_SHOW: ("mark-no-show", "No-show", "marked as no-show"),
}
SO = {status: "pending" if status == Status.PENDING else done for status, (_, _, done) in ACTS.items()}
DETAILS = "/admin/booking/details/1"


async def book(database: Database, person: Person, start: datetime = TOMORROW_AT_TEN) -> Booking:
    async with database.transaction(by=OWNER) as session:
        facts: dict[str, Any] = {"user_id": person.id, "service_id": 1, "start_time": start}
        return await records.create(session, Booking, by=OWNER, now=NOW, **facts)


@pytest.fixture
async def visit(database: Database, tom: Person, haircut: Service) -> Booking:
    """Create a booking of Tom's tomorrow at ten."""
    return await book(database, tom)


async def set_status(database: Database, booking: Booking, status: Status) -> None:
    """Set the status of a booking, unless it has it."""
    async with database.transaction(by=OWNER) as session:
        row = await records.lock(session, Booking, booking.id)
        await records.change(session, row, by=OWNER, now=NOW, status=status)


async def press(client: httpx2.AsyncClient, act: str, *numbers: int, **more: str) -> str:
    """Press an action's button on the page of a booking, and return the text of the next page."""
    sent = {"pks": ",".join(map(str, numbers)), "back": DETAILS, **more}
    answer = await client.post(f"/admin/booking/action/{act}", data=sent)
    assert (answer.status_code, answer.headers["location"]) == (303, DETAILS)
    return get_page_text((await client.get(DETAILS)).text)


def read_buttons(html: str) -> dict[str, str | None]:
    """Return the action buttons of a page, each with its explanation if it is disabled."""
    part = html.partition('class="bk-acts"')[2].partition("</div>")[0]
    buttons: dict[str, str | None] = {}
    for attributes, label in re.findall(r"<button ([^>]*)>([^<]*)</button>", part):
        described = re.search(r'aria-describedby="([^"]+)"', attributes)
        is_off = 'aria-disabled="true"' in attributes
        assert " disabled" not in attributes  # It stays focusable, so that its explanation is read out.
        assert is_off == ("data-bs-toggle" not in attributes) == bool(described)
        sentence = re.search(rf'id="{described[1]}">([^<]*)<', part) if described else None
        buttons[label] = sentence[1] if sentence else None
    return buttons


def make_booking(status: Status) -> Booking:
    """Return a booking of user 1 with a status."""
    times: dict[str, Any] = dict.fromkeys(("start_time", "end_time", "blocks_from", "blocks_until"), TOMORROW_AT_TEN)
    return Booking(user_id=1, service_id=1, resource_id=1, price=Decimal(35), status=status, **times)


# One rule.


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("target", Status)
def test_staff_may_set_any_status_but_the_current_one(status: Status, target: Status) -> None:
    refusal = lifecycle.refusal_for_status(make_booking(status), target, by=Actor("admin", 2, Role.STAFF), now=NOW)

    expected = f"This booking is already {SO[status]}." if status == target else "None"
    assert str(refusal) == expected


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("target", Status)
def test_a_customer_may_only_cancel(status: Status, target: Status) -> None:
    booking = make_booking(status)
    by, other = (Actor("api", number, Role.USER) for number in (1, 2))
    expected = (
        no.OnlyCancel
        if target != Status.CANCELLED
        else type(None)
        if status in {Status.PENDING, Status.CONFIRMED}
        else no.NoLongerOpen
    )

    assert type(lifecycle.refusal_for_status(booking, target, by=by, now=NOW)) is expected
    assert type(lifecycle.refusal_for_status(booking, target, by=other, now=NOW)) is no.NotYourBooking


@pytest.mark.parametrize("status", Status)
async def test_a_disabled_button_shows_the_refusal_of_its_action(
    desk: AdminDesk, visit: Booking, status: Status
) -> None:
    await set_status(desk.database, visit, status)
    buttons = read_buttons((await desk.mara.get(DETAILS)).text)

    refusal = f"This booking is already {SO[status]}."
    assert buttons == {
        f"{label}…" if led != status else label: refusal if led == status else None
        for led, (_, label, _) in ACTS.items()
    }
    page_text = await press(desk.mara, ACTS[status][0], 1)
    assert f"#1: {refusal}" in page_text
    row = await desk.fetch_row("bookings", 1)
    assert row is not None
    assert (row["status"], row["version"]) == (status, 1 if status == Status.PENDING else 2)


@pytest.mark.parametrize("status", Status)
async def test_an_action_refuses_the_current_status(database: Database, visit: Booking, status: Status) -> None:
    await set_status(database, visit, status)

    async with database.transaction(by=OWNER) as session:
        row = await records.lock(session, Booking, visit.id)
        with pytest.raises(no.AlreadySo):
            await acts.STATUS_ACTS[status](session, row, by=OWNER, now=NOW)


async def test_the_api_accepts_the_current_status(visit: Booking, mara: Person) -> None:
    """A repeated request of a program succeeds; at the desk, a second press is refused."""
    for _ in range(2):
        answer = await mara.request("PATCH", "/bookings/1", json={"status": "confirmed"})
        assert (answer.status_code, answer.json()["status"]) == (200, "confirmed")


async def test_users_who_may_not_change_bookings_see_no_buttons(
    desk: AdminDesk, visit: Booking, monkeypatch: pytest.MonkeyPatch
) -> None:
    mays = {
        **permissions.PERMISSIONS_BY_ROLE,
        Role.STAFF: {**permissions.PERMISSIONS_BY_ROLE[Role.STAFF], Booking: permissions.READ_ONLY},
    }
    monkeypatch.setattr(permissions, "PERMISSIONS_BY_ROLE", mays)

    for path in (DETAILS, "/admin/booking/list"):
        page = await desk.mara.get(path)
        assert page.status_code == 200
        assert "/action/" not in page.text
        assert "modal-confirmation" not in page.text
        assert read_buttons(page.text) == {}


# Messages.


@pytest.mark.parametrize("status", [status for status in Status if status != Status.PENDING])
async def test_an_action_reports_its_booking(desk: AdminDesk, visit: Booking, status: Status) -> None:
    act, _, done = ACTS[status]

    assert f"Booking #1 is {done}." in await press(desk.mara, act, 1, reason="They called")

    page = get_page_text((await desk.mara.get(DETAILS)).text)
    assert "They called" in page
    assert "Mara (desk) changed it at the desk." in page


async def test_the_confirmation_is_about_this_booking(desk: AdminDesk, visit: Booking) -> None:
    page = get_page_text((await desk.mara.get(DETAILS)).text)
    listed = get_page_text((await desk.mara.get("/admin/booking/list")).text)

    assert "Cancel this booking? Its slot becomes free. Reason (shown in the history)" in page
    assert "these" not in page
    assert "Cancel these bookings? Their slots become free." in listed
    assert "selected?" not in page + listed


async def test_several_bookings_are_reported_in_one_sentence(desk: AdminDesk, visit: Booking, tom: Person) -> None:
    for hours in (1, 2, 3):
        await book(desk.database, tom, TOMORROW_AT_TEN + timedelta(hours=hours))
    await press(desk.mara, "mark-no-show", 2)

    page_text = await press(desk.mara, "mark-no-show", 1, 2, 3, 4, 999)

    assert "3 bookings marked as no-show." in page_text
    assert "#2: This booking is already marked as no-show." in page_text
    assert "#999: There is no such booking." in page_text


async def test_equal_refusals_are_grouped(desk: AdminDesk, visit: Booking, tom: Person) -> None:
    for hours in range(1, 9):
        await book(desk.database, tom, TOMORROW_AT_TEN + timedelta(hours=hours))
    everyone = range(1, 10)
    await press(desk.mara, "confirm", *everyone)

    page_text = await press(desk.mara, "confirm", *everyone)

    assert f"{', '.join(f'#{number}' for number in everyone)}: This booking is already confirmed." in page_text


async def test_a_booking_selected_twice_is_changed_once(desk: AdminDesk, visit: Booking) -> None:
    page_text = await press(desk.mara, "confirm", 1, 1, 1)

    assert "Booking #1 is confirmed." in page_text
    assert "already" not in page_text.partition("History")[0].replace("This booking is already confirmed.", "", 1)


async def test_a_selection_over_the_limit_is_reported(desk: AdminDesk, visit: Booking) -> None:
    page_text = await press(desk.mara, "cancel", *range(1, 203))

    assert "Booking #1 is cancelled." in page_text
    assert "At most 200 bookings at once. Not changed: 2." in page_text


# Reasons.


@pytest.mark.parametrize(
    ("reason", "page_text"),
    [
        ("x" * 201, "Use at most 200 characters."),
        ("late\0bus", "Type this again without the hidden sign U+0000."),
    ],
)
async def test_an_invalid_reason_is_refused_and_stays_in_the_form(
    desk: AdminDesk, visit: Booking, reason: str, page_text: str
) -> None:
    sent = {"pks": "1", "back": DETAILS, "reason": reason}
    answer = await desk.mara.post("/admin/booking/action/cancel", data=sent)

    assert (answer.status_code, page_text in get_page_text(answer.text)) == (422, True)
    assert "Cancel this booking? Its slot becomes free. #1" in get_page_text(answer.text)
    assert ParsedPage(answer.text).fields == {"q": "", **sent}
    row = await desk.fetch_row("bookings", 1)
    assert row is not None
    assert (row["status"], row["version"]) == ("pending", 1)

    assert "Booking #1 is cancelled." in await press(desk.mara, "cancel", 1, reason="x" * 200)
    assert "x" * 200 in get_page_text((await desk.mara.get(DETAILS)).text)


async def test_a_repeated_question_redirects_to_no_other_site(desk: AdminDesk, visit: Booking, tom: Person) -> None:
    await book(desk.database, tom, TOMORROW_AT_TEN + timedelta(hours=1))
    sent = {"pks": "1,2", "back": "https://elsewhere.example", "reason": "\0"}
    answer = await desk.mara.post("/admin/booking/action/confirm", data=sent)

    assert answer.status_code == 422
    assert "Confirm these bookings? 2 selected." in get_page_text(answer.text)
    assert "elsewhere.example" not in answer.text
    assert "notify_customer" not in ParsedPage(answer.text).fields


# The past.

LONG_AGO = datetime(2020, 3, 2, 10, tzinfo=UTC)
WARNING = "This visit is in the past."


@pytest.mark.parametrize(("start", "is_past"), [("2020-03-02T11:00", True), ("2030-03-02T11:00", False)])
async def test_staff_may_book_in_the_past_with_a_warning(
    desk: AdminDesk, tom: Person, haircut: Service, start: str, is_past: bool
) -> None:
    fields = {"user": tom.id, "service": 1, "resource": 1, "start_time": start}

    made = await post_form(desk.mara, "/admin/booking/create", fields)

    assert made.status == 302, made
    assert (WARNING in await desk.fetch_list_text(desk.mara)) == is_past
    row = await desk.fetch_row("bookings", 1)
    assert row is not None


@pytest.mark.parametrize(("start", "is_past"), [("2020-03-02T11:00", True), ("2030-03-02T11:00", False)])
async def test_staff_may_move_a_visit_into_the_past_with_a_warning(
    desk: AdminDesk, visit: Booking, start: str, is_past: bool
) -> None:
    moved = await submit_form(desk.mara, "/admin/booking/edit/1", start_time=start)

    assert moved.status == 302, moved
    assert (WARNING in await desk.fetch_list_text(desk.mara)) == is_past
    row = await desk.fetch_row("bookings", 1)
    assert row is not None
    assert row["start_time"] == datetime.fromisoformat(start).replace(hour=10, tzinfo=UTC)


async def test_an_unchanged_past_visit_gives_no_warning(desk: AdminDesk, tom: Person, shared: Service) -> None:
    await book(desk.database, tom, LONG_AGO)

    saved = await submit_form(desk.mara, "/admin/booking/edit/1", resource=2)

    assert saved.status == 302, saved
    assert WARNING not in await desk.fetch_list_text(desk.mara)
    row = await desk.fetch_row("bookings", 1)
    assert row is not None
    assert row["resource_id"] == 2
