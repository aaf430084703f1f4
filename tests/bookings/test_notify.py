"""Whether the customer is to be notified of a change: a question at the desk, recorded in history."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from bookit.bookings import undo
from bookit.bookings.bulk import BulkAction
from bookit.db.pool import Database
from bookit.schema.tables import Booking, Service
from tests.support import bulk_scenario
from tests.support.admin_client import AdminDesk, ParsedPage, get_page_text, post_form, submit_form
from tests.support.bulk_scenario import HALF_HOUR, MAX, TEN, create_booking, fetch_events
from tests.support.clock import NOW, TOMORROW_AT_TEN
from tests.support.people import Person

DETAILS = "/admin/booking/details/1"
OVER = NOW - timedelta(days=3)
BOX = 'name="notify_customer" value="y"'


@pytest.fixture
async def business(database: Database, tom: Person, mara: Person, ada: Person) -> Database:
    """Create the business, with Tom (1), Mara (2) and Ada (3)."""
    await bulk_scenario.create_business(database)
    return database


async def recorded_notice(database: Database, number: int = 1) -> object:
    """Return what history records of the last change of a booking."""
    return (await fetch_events(database, number))[0]["notify_customer"]


@pytest.mark.parametrize(("box", "tells"), [({"notify_customer": "y"}, True), ({}, False)])
async def test_booking_for_a_customer_offers_to_notify(
    desk: AdminDesk, tom: Person, haircut: Service, box: Any, tells: bool
) -> None:
    opened = await desk.mara.get("/admin/booking/create")
    assert ParsedPage(opened.text).fields["notify_customer"] == "y"
    fields = {"user": tom.id, "service": 1, "start_time": "2030-01-08T11:00"}

    made = await post_form(desk.mara, "/admin/booking/create", fields | box)

    assert made.status == 302, made
    assert await recorded_notice(desk.database) is tells


@pytest.mark.parametrize(("without", "tells"), [((), True), (("notify_customer",), False)])
async def test_moving_offers_to_notify(desk: AdminDesk, visit: Booking, without: tuple[str, ...], tells: bool) -> None:
    moved = await submit_form(desk.mara, "/admin/booking/edit/1", *without, start_time="2030-01-08T15:00")

    assert moved.status == 302, moved
    assert await recorded_notice(desk.database) is tells


@pytest.mark.parametrize("act", ["confirm", "cancel", "complete", "mark-no-show"])
@pytest.mark.parametrize(("box", "tells"), [({"notify_customer": "y"}, True), ({}, False)])
async def test_each_act_offers_to_notify(desk: AdminDesk, visit: Booking, act: str, box: Any, tells: bool) -> None:
    page = await desk.mara.get(DETAILS)
    assert page.text.count(f"{BOX} checked> Notify the customer<") == 4

    await desk.mara.post(f"/admin/booking/action/{act}", data={"pks": "1", "back": DETAILS, **box})

    assert await recorded_notice(desk.database) is tells
    sentence = "Customer to be notified." if tells else "Customer not notified."
    assert sentence in get_page_text((await desk.mara.get(DETAILS)).text)


async def test_changes_of_past_visits_notify_only_on_request(desk: AdminDesk, visit: Booking) -> None:
    await desk.database.fetch(text(
        "UPDATE bookings SET start_time = start_time - interval '9 days', blocks_from = blocks_from - interval '9 days'"
    ))  # fmt: skip
    page = await desk.mara.get(DETAILS)
    edit = await desk.mara.get("/admin/booking/edit/1")

    assert f"{BOX}> Notify the customer<" in page.text
    assert f"{BOX} checked> Notify the customer<" not in page.text
    assert "notify_customer" not in ParsedPage(edit.text).fields
    await desk.mara.post("/admin/booking/action/confirm", data={"pks": "1", "notify_customer": "y"})
    assert await recorded_notice(desk.database) is True


async def test_a_bulk_change_notifies_customers_of_future_visits(
    desk: AdminDesk, database: Database, tom: Person
) -> None:
    await bulk_scenario.create_business(database)
    await create_booking(database, TEN)
    await create_booking(database, OVER)

    await desk.mara.post("/admin/booking/action/confirm", data={"pks": "1,2", "notify_customer": "y"})
    assert [await recorded_notice(database, number) for number in (1, 2)] == [True, False]
    await bulk_scenario.run_bulk(database, [1, 2], BulkAction.CANCEL)
    assert [await recorded_notice(database, number) for number in (1, 2)] == [True, False]


@pytest.mark.parametrize(
    ("what", "more"),
    [
        (BulkAction.SHIFT, {"minutes": 15}),
        (BulkAction.REASSIGN, {"resource_id": MAX}),
        (BulkAction.REASSIGN_TO_FREE, {}),
    ],
)
@pytest.mark.parametrize("tells", [True, False])
async def test_a_bulk_change_records_the_choice_to_notify(
    business: Database, what: BulkAction, more: dict[str, Any], tells: bool
) -> None:
    numbers = await bulk_scenario.fill_afternoon(business, 2)

    await bulk_scenario.run_bulk(business, numbers, what, notify_customers=tells, **more)

    assert [await recorded_notice(business, number) for number in numbers] == [tells, tells]


@pytest.mark.parametrize("tells", [True, False])
async def test_a_swap_records_the_choice_to_notify(business: Database, tells: bool) -> None:
    await create_booking(business, TEN)
    await create_booking(business, TEN + HALF_HOUR)

    await bulk_scenario.run_bulk(business, [1, 2], BulkAction.SWAP, notify_customers=tells)

    assert [await recorded_notice(business, number) for number in (1, 2)] == [tells, tells]


@pytest.mark.parametrize(("start", "tells"), [("2030-01-07T09:00", False), ("2030-01-08T11:00", True)])
async def test_recording_a_past_visit_notifies_no_customer(
    desk: AdminDesk, tom: Person, haircut: Service, start: str, tells: bool
) -> None:
    """The box is ticked because the form does not know the time yet; its label says what it applies to."""
    opened = await desk.mara.get("/admin/booking/create")
    assert "Customers are not notified of past visits." in get_page_text(opened.text)

    made = await submit_form(desk.mara, "/admin/booking/create", user=tom.id, service=1, start_time=start)

    assert made.status == 302, made
    assert await recorded_notice(desk.database) is tells
    assert "Customers are not notified" not in get_page_text((await desk.mara.get("/admin/booking/edit/1")).text)


# Undoing.

UNDONE: list[tuple[int, BulkAction, dict[str, Any]]] = [
    (25, BulkAction.SHIFT, {"minutes": 15}),
    (10, BulkAction.SHIFT, {"minutes": -15}),
    (10, BulkAction.CANCEL, {}),
    (10, BulkAction.CONFIRM, {}),
    (10, BulkAction.REASSIGN, {"resource_id": MAX}),
]


async def undo_all(database: Database, *, tells: bool) -> None:
    """Undo a bulk change."""
    async with database.transaction(by=bulk_scenario.MARA, now=NOW, request_id="an-undo") as session:
        await undo.undo_request(session, "an-act", by=bulk_scenario.MARA, now=NOW, notify_customers=tells)


@pytest.mark.parametrize(("ago", "what", "more"), UNDONE)
@pytest.mark.parametrize("tells", [True, False])
async def test_undoing_an_act_notifies_customers_of_future_visits(
    business: Database, ago: int, what: BulkAction, more: dict[str, Any], tells: bool
) -> None:
    """Also where one booking returns to a slot that is still taken by one with another choice."""
    began = NOW - timedelta(minutes=ago)
    for start in (began - HALF_HOUR, began, began + HALF_HOUR, TEN):
        await create_booking(business, start)
    before = await bulk_scenario.fetch_bookings(business)
    await bulk_scenario.run_bulk(business, [1, 2, 3, 4], what, **more)

    await undo_all(business, tells=tells)

    assert [await recorded_notice(business, number) for number in (1, 2, 3, 4)] == [False, False, tells, tells]
    for number, row in (await bulk_scenario.fetch_bookings(business)).items():
        for name in ("start_time", "end_time", "resource_id", "status"):
            assert row[name] == before[number][name]


@pytest.mark.parametrize("tells", [True, False])
async def test_undoing_a_swap_with_a_past_visit_records_one_choice(business: Database, tells: bool) -> None:
    await create_booking(business, NOW - HALF_HOUR)
    await create_booking(business, TEN)
    before = await bulk_scenario.fetch_starts(business)
    await bulk_scenario.run_bulk(business, [1, 2], BulkAction.SWAP)

    await undo_all(business, tells=tells)

    assert await bulk_scenario.fetch_starts(business) == before
    assert [await recorded_notice(business, number) for number in (1, 2)] == [tells, tells]


async def test_the_undo_page_offers_to_notify_of_future_visits(desk: AdminDesk, business: Database) -> None:
    await create_booking(business, NOW - HALF_HOUR)
    await create_booking(business, TEN)
    for numbers, is_offered in (([1, 2], True), ([2], True), ([1], False)):
        act = f"act-{len(numbers)}-{numbers[0]}"
        await desk.database.fetch(text("UPDATE bookings SET status = 'pending'"))
        await bulk_scenario.run_bulk(business, numbers, BulkAction.CONFIRM, request_id=act)
        page = await desk.mara.get(f"/admin/act/{act}")
        assert (f"{BOX} checked" in page.text) == is_offered
        assert ("not notified" in get_page_text(page.text)) != is_offered

        await desk.mara.post(f"/admin/act/{act}", data={"notify_customer": "y"})

        assert [await recorded_notice(business, number) for number in numbers] == [number == 2 for number in numbers]


async def test_customers_are_not_notified_of_their_own_changes(
    database: Database, tom: Person, haircut: Service
) -> None:
    start = TOMORROW_AT_TEN.isoformat()
    await tom.request("POST", "/bookings", json={"service_id": haircut.id, "start_time": start})
    assert await recorded_notice(database) is None

    await tom.request("PATCH", "/bookings/1", json={"status": "cancelled"})

    assert await recorded_notice(database) is None


async def test_an_expired_hold_records_no_choice_to_notify(
    desk: AdminDesk, database: Database, tom: Person, eve: Person, haircut: Service
) -> None:
    """The booking that takes its slot cancels it, without a choice made at the desk."""
    start = TOMORROW_AT_TEN.isoformat()
    await eve.request("POST", "/bookings", json={"service_id": haircut.id, "start_time": start, "hold": True})
    await database.fetch(text("UPDATE bookings SET expires_at = :at WHERE id = 1"), at=NOW)
    fields = {"user": tom.id, "service": 1, "start_time": "2030-01-08T11:00", "notify_customer": "y"}

    made = await post_form(desk.mara, "/admin/booking/create", fields)

    assert made.status == 302, made
    assert (await recorded_notice(database, 1), await recorded_notice(database, 2)) == (None, True)
    assert (await fetch_events(database, 1))[0]["door"] == "clock"
