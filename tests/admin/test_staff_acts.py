"""What staff do to a booking: each act offered or refused by one rule, asked and told in its own words."""

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
    Status.CANCELLED: ("cancel", "Cancel", "cancelled"),
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
    """Tom's visit tomorrow at ten."""
    return await book(database, tom)


async def lead(database: Database, booking: Booking, status: Status) -> None:
    """Lead a booking to a status, unless it has it."""
    async with database.transaction(by=OWNER) as session:
        row = await records.lock(session, Booking, booking.id)
        await records.change(session, row, by=OWNER, now=NOW, status=status)


async def press(client: httpx2.AsyncClient, act: str, *numbers: int, **more: str) -> str:
    """Press a button as the page of a booking has it, and give what the next page says."""
    sent = {"pks": ",".join(map(str, numbers)), "back": DETAILS, **more}
    answer = await client.post(f"/admin/booking/action/{act}", data=sent)
    assert (answer.status_code, answer.headers["location"]) == (303, DETAILS)
    return get_page_text((await client.get(DETAILS)).text)


def offered(html: str) -> dict[str, str | None]:
    """Give the buttons of acts on a page, each with the sentence it is described by if it cannot be pressed."""
    part = html.partition('class="bk-acts"')[2].partition("</div>")[0]
    found: dict[str, str | None] = {}
    for attributes, label in re.findall(r"<button ([^>]*)>([^<]*)</button>", part):
        described = re.search(r'aria-describedby="([^"]+)"', attributes)
        is_off = 'aria-disabled="true"' in attributes
        assert " disabled" not in attributes  # It can be reached by keyboard, to hear why.
        assert is_off == ("data-bs-toggle" not in attributes) == bool(described)
        sentence = re.search(rf'id="{described[1]}">([^<]*)<', part) if described else None
        found[label] = sentence[1] if sentence else None
    return found


def standing(status: Status) -> Booking:
    """Give a booking of person 1 with a status."""
    times: dict[str, Any] = {"start_time": NOW, "end_time": NOW, "blocks_from": NOW, "blocks_until": NOW}
    return Booking(user_id=1, service_id=1, resource_id=1, price=Decimal(35), status=status, **times)


# One rule.


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("wanted", Status)
def test_staff_lead_a_booking_anywhere_but_where_it_is(status: Status, wanted: Status) -> None:
    refusal = lifecycle.refusal_for_status(standing(status), wanted, by=Actor("admin", 2, Role.STAFF))

    expected = f"This booking is already {SO[status]}." if status == wanted else "None"
    assert str(refusal) == expected


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("wanted", Status)
def test_a_customer_only_cancels(status: Status, wanted: Status) -> None:
    booking = standing(status)
    by = Actor("api", 1, Role.USER)
    expected = (
        no.OnlyCancel
        if wanted != Status.CANCELLED
        else type(None)
        if status in {Status.PENDING, Status.CONFIRMED}
        else no.NoLongerOpen
    )

    assert type(lifecycle.refusal_for_status(booking, wanted, by=by)) is expected
    assert type(lifecycle.refusal_for_status(booking, wanted, by=Actor("api", 2, Role.USER))) is no.NotYourBooking


@pytest.mark.parametrize("status", Status)
async def test_a_button_shows_the_refusal_its_act_meets(desk: AdminDesk, visit: Booking, status: Status) -> None:
    await lead(desk.database, visit, status)
    buttons = offered((await desk.mara.get(DETAILS)).text)

    refusal = f"This booking is already {SO[status]}."
    assert buttons == {
        f"{label}…" if led != status else label: refusal if led == status else None
        for led, (_, label, _) in ACTS.items()
    }
    told = await press(desk.mara, ACTS[status][0], 1)
    assert f"#1: {refusal}" in told
    row = await desk.fetch_row("bookings", 1)
    assert row is not None
    assert (row["status"], row["version"]) == (status, 1 if status == Status.PENDING else 2)


@pytest.mark.parametrize("status", Status)
async def test_the_act_itself_refuses_what_is_so_already(database: Database, visit: Booking, status: Status) -> None:
    await lead(database, visit, status)

    async with database.transaction(by=OWNER) as session:
        row = await records.lock(session, Booking, visit.id)
        with pytest.raises(no.AlreadySo):
            await acts.STATUS_ACTS[status](session, row, by=OWNER, now=NOW)


async def test_the_api_takes_the_status_a_booking_has(visit: Booking, mara: Person) -> None:
    """A program that sends what it wants twice gets it twice; at the desk, a second press is told."""
    for _ in range(2):
        answer = await mara.request("PATCH", "/bookings/1", json={"status": "confirmed"})
        assert (answer.status_code, answer.json()["status"]) == (200, "confirmed")


async def test_whoever_may_not_change_bookings_has_no_buttons(
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
        assert offered(page.text) == {}


# Own words.


@pytest.mark.parametrize("status", [status for status in Status if status != Status.PENDING])
async def test_an_act_tells_of_its_booking(desk: AdminDesk, visit: Booking, status: Status) -> None:
    act, _, done = ACTS[status]

    assert f"Booking #1 is {done}." in await press(desk.mara, act, 1, reason="They called")

    page = get_page_text((await desk.mara.get(DETAILS)).text)
    assert "They called" in page
    assert "Mara (staff) changed it at the desk." in page


async def test_the_page_of_a_booking_asks_of_this_booking(desk: AdminDesk, visit: Booking) -> None:
    page = get_page_text((await desk.mara.get(DETAILS)).text)
    listed = get_page_text((await desk.mara.get("/admin/booking/list")).text)

    assert "Cancel this booking? Its slot becomes free. Reason (shown in the history)" in page
    assert "these" not in page
    assert "Cancel these bookings? Their slots become free." in listed
    assert "selected?" not in page + listed


async def test_several_are_told_in_one_sentence_and_each_refusal_by_number(
    desk: AdminDesk, visit: Booking, tom: Person
) -> None:
    for hours in (1, 2, 3):
        await book(desk.database, tom, TOMORROW_AT_TEN + timedelta(hours=hours))
    await press(desk.mara, "mark-no-show", 2)

    told = await press(desk.mara, "mark-no-show", 1, 2, 3, 4, 999)

    assert "3 bookings marked as no-show." in told
    assert "#2: This booking is already marked as no-show." in told
    assert "#999: There is no such booking." in told


async def test_the_same_refusal_is_said_once_for_all_it_is_about(desk: AdminDesk, visit: Booking, tom: Person) -> None:
    for hours in range(1, 9):
        await book(desk.database, tom, TOMORROW_AT_TEN + timedelta(hours=hours))
    everyone = range(1, 10)
    await press(desk.mara, "confirm", *everyone)

    told = await press(desk.mara, "confirm", *everyone)

    assert f"{', '.join(f'#{number}' for number in everyone)}: This booking is already confirmed." in told


async def test_a_booking_named_twice_is_acted_on_once(desk: AdminDesk, visit: Booking) -> None:
    told = await press(desk.mara, "confirm", 1, 1, 1)

    assert "Booking #1 is confirmed." in told
    assert "already" not in told.partition("History")[0].replace("This booking is already confirmed.", "", 1)


async def test_more_than_can_be_done_at_once_is_told(desk: AdminDesk, visit: Booking) -> None:
    told = await press(desk.mara, "cancel", *range(1, 203))

    assert "Booking #1 is cancelled." in told
    assert "At most 200 bookings at once. Not changed: 2." in told


# Reasons.


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("x" * 201, "String should have at most 200 characters."),
        ("late\0bus", "Enter some text, without NUL characters."),
    ],
)
async def test_a_reason_nobody_can_keep_is_refused_and_its_words_stay(
    desk: AdminDesk, visit: Booking, reason: str, told: str
) -> None:
    sent = {"pks": "1", "back": DETAILS, "reason": reason, "notify_customer": "y"}
    answer = await desk.mara.post("/admin/booking/action/cancel", data=sent)

    assert (answer.status_code, told in get_page_text(answer.text)) == (422, True)
    assert "Cancel this booking? Its slot becomes free. #1" in get_page_text(answer.text)
    assert ParsedPage(answer.text).fields == {"q": "", **sent}
    row = await desk.fetch_row("bookings", 1)
    assert row is not None
    assert (row["status"], row["version"]) == ("pending", 1)

    assert "Booking #1 is cancelled." in await press(desk.mara, "cancel", 1, reason="x" * 200)
    assert "x" * 200 in get_page_text((await desk.mara.get(DETAILS)).text)


async def test_a_question_asked_again_leads_nowhere_else(desk: AdminDesk, visit: Booking, tom: Person) -> None:
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
async def test_staff_may_book_the_past_and_are_told(
    desk: AdminDesk, tom: Person, haircut: Service, start: str, is_past: bool
) -> None:
    fields = {"user": tom.id, "service": 1, "resource": 1, "start_time": start}

    made = await post_form(desk.mara, "/admin/booking/create", fields)

    assert made.status == 302, made
    assert (WARNING in await desk.fetch_list_text(desk.mara)) == is_past
    row = await desk.fetch_row("bookings", 1)
    assert row is not None


@pytest.mark.parametrize(("start", "is_past"), [("2020-03-02T11:00", True), ("2030-03-02T11:00", False)])
async def test_staff_may_move_a_visit_into_the_past_and_are_told(
    desk: AdminDesk, visit: Booking, start: str, is_past: bool
) -> None:
    moved = await submit_form(desk.mara, "/admin/booking/edit/1", start_time=start)

    assert moved.status == 302, moved
    assert (WARNING in await desk.fetch_list_text(desk.mara)) == is_past
    row = await desk.fetch_row("bookings", 1)
    assert row is not None
    assert row["start_time"] == datetime.fromisoformat(start).replace(hour=10, tzinfo=UTC)


async def test_a_visit_that_stays_in_the_past_is_no_news(desk: AdminDesk, tom: Person, shared: Service) -> None:
    await book(desk.database, tom, LONG_AGO)

    saved = await submit_form(desk.mara, "/admin/booking/edit/1", resource=2)

    assert saved.status == 302, saved
    assert WARNING not in await desk.fetch_list_text(desk.mara)
    row = await desk.fetch_row("bookings", 1)
    assert row is not None
    assert row["resource_id"] == 2
