"""Whether the customer is to be told of a change: asked at the desk, kept in history."""

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
async def house(database: Database, tom: Person, mara: Person, ada: Person) -> Database:
    """The business, with Tom (1), Mara (2) and Ada (3)."""
    await bulk_scenario.create_business(database)
    return database


async def told(database: Database, number: int = 1) -> object:
    """Give what history keeps of the last change of a booking."""
    return (await fetch_events(database, number))[0]["notify_customer"]


@pytest.mark.parametrize(("box", "tells"), [({"notify_customer": "y"}, True), ({}, False)])
async def test_booking_for_somebody_asks(desk: AdminDesk, tom: Person, haircut: Service, box: Any, tells: bool) -> None:
    opened = await desk.mara.get("/admin/booking/create")
    assert ParsedPage(opened.text).fields["notify_customer"] == "y"
    fields = {"user": tom.id, "service": 1, "start_time": "2030-01-08T11:00"}

    made = await post_form(desk.mara, "/admin/booking/create", fields | box)

    assert made.status == 302, made
    assert await told(desk.database) is tells


@pytest.mark.parametrize(("without", "tells"), [((), True), (("notify_customer",), False)])
async def test_moving_asks(desk: AdminDesk, visit: Booking, without: tuple[str, ...], tells: bool) -> None:
    moved = await submit_form(desk.mara, "/admin/booking/edit/1", *without, start_time="2030-01-08T15:00")

    assert moved.status == 302, moved
    assert await told(desk.database) is tells


@pytest.mark.parametrize("act", ["confirm", "cancel", "complete", "mark-no-show"])
@pytest.mark.parametrize(("box", "tells"), [({"notify_customer": "y"}, True), ({}, False)])
async def test_each_act_asks(desk: AdminDesk, visit: Booking, act: str, box: Any, tells: bool) -> None:
    page = await desk.mara.get(DETAILS)
    assert page.text.count(f"{BOX} checked> Notify the customer<") == 4

    await desk.mara.post(f"/admin/booking/action/{act}", data={"pks": "1", "back": DETAILS, **box})

    assert await told(desk.database) is tells
    said = "Customer to be notified." if tells else "Customer not notified."
    assert said in get_page_text((await desk.mara.get(DETAILS)).text)


async def test_of_what_is_over_nobody_is_told_unless_asked(desk: AdminDesk, visit: Booking) -> None:
    await desk.database.fetch(text(
        "UPDATE bookings SET start_time = start_time - interval '9 days', blocks_from = blocks_from - interval '9 days'"
    ))  # fmt: skip
    page = await desk.mara.get(DETAILS)
    edit = await desk.mara.get("/admin/booking/edit/1")

    assert f"{BOX}> Notify the customer<" in page.text
    assert f"{BOX} checked> Notify the customer<" not in page.text
    assert "notify_customer" not in ParsedPage(edit.text).fields
    await desk.mara.post("/admin/booking/action/confirm", data={"pks": "1", "notify_customer": "y"})
    assert await told(desk.database) is True


async def test_of_many_those_are_told_whose_visits_are_to_come(
    desk: AdminDesk, database: Database, tom: Person
) -> None:
    await bulk_scenario.create_business(database)
    await create_booking(database, TEN)
    await create_booking(database, OVER)

    await desk.mara.post("/admin/booking/action/confirm", data={"pks": "1,2", "notify_customer": "y"})
    assert [await told(database, number) for number in (1, 2)] == [True, False]
    await bulk_scenario.run_bulk(database, [1, 2], BulkAction.CANCEL)
    assert [await told(database, number) for number in (1, 2)] == [True, False]


@pytest.mark.parametrize(
    ("what", "more"),
    [
        (BulkAction.SHIFT, {"minutes": 15}),
        (BulkAction.REASSIGN, {"resource_id": MAX}),
        (BulkAction.REASSIGN_TO_FREE, {}),
    ],
)
@pytest.mark.parametrize("tells", [True, False])
async def test_many_at_once_keep_what_was_asked(
    house: Database, what: BulkAction, more: dict[str, Any], tells: bool
) -> None:
    numbers = await bulk_scenario.fill_afternoon(house, 2)

    await bulk_scenario.run_bulk(house, numbers, what, notify_customers=tells, **more)

    assert [await told(house, number) for number in numbers] == [tells, tells]


@pytest.mark.parametrize("tells", [True, False])
async def test_a_swap_keeps_what_was_asked(house: Database, tells: bool) -> None:
    await create_booking(house, TEN)
    await create_booking(house, TEN + HALF_HOUR)

    await bulk_scenario.run_bulk(house, [1, 2], BulkAction.SWAP, notify_customers=tells)

    assert [await told(house, number) for number in (1, 2)] == [tells, tells]


@pytest.mark.parametrize(("start", "tells"), [("2030-01-07T09:00", False), ("2030-01-08T11:00", True)])
async def test_of_a_visit_that_is_entered_when_it_is_over_nobody_is_told(
    desk: AdminDesk, tom: Person, haircut: Service, start: str, tells: bool
) -> None:
    """Its box is ticked, since a form knows no time before one is typed; it says what that is about."""
    opened = await desk.mara.get("/admin/booking/create")
    assert "Customers are not notified of past visits." in get_page_text(opened.text)

    made = await submit_form(desk.mara, "/admin/booking/create", user=tom.id, service=1, start_time=start)

    assert made.status == 302, made
    assert await told(desk.database) is tells
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
    """Take back an act over many."""
    async with database.transaction(by=bulk_scenario.MARA, now=NOW, request_id="an-undo") as session:
        await undo.undo_request(session, "an-act", by=bulk_scenario.MARA, now=NOW, notify_customers=tells)


@pytest.mark.parametrize(("ago", "what", "more"), UNDONE)
@pytest.mark.parametrize("tells", [True, False])
async def test_an_act_is_undone_and_those_are_told_whose_visits_are_to_come(
    house: Database, ago: int, what: BulkAction, more: dict[str, Any], tells: bool
) -> None:
    """Also where one goes back to where another sits still, of whom the answer is another."""
    began = NOW - timedelta(minutes=ago)
    for start in (began - HALF_HOUR, began, began + HALF_HOUR, TEN):
        await create_booking(house, start)
    before = await bulk_scenario.fetch_bookings(house)
    await bulk_scenario.run_bulk(house, [1, 2, 3, 4], what, **more)

    await undo_all(house, tells=tells)

    assert [await told(house, number) for number in (1, 2, 3, 4)] == [False, False, tells, tells]
    for number, row in (await bulk_scenario.fetch_bookings(house)).items():
        for name in ("start_time", "end_time", "resource_id", "status"):
            assert row[name] == before[number][name]


@pytest.mark.parametrize("tells", [True, False])
async def test_a_swap_with_a_visit_that_is_over_is_undone_and_told_as_one(house: Database, tells: bool) -> None:
    await create_booking(house, NOW - HALF_HOUR)
    await create_booking(house, TEN)
    before = await bulk_scenario.fetch_starts(house)
    await bulk_scenario.run_bulk(house, [1, 2], BulkAction.SWAP)

    await undo_all(house, tells=tells)

    assert await bulk_scenario.fetch_starts(house) == before
    assert [await told(house, number) for number in (1, 2)] == [tells, tells]


async def test_the_page_of_an_act_asks_of_the_visits_to_come(desk: AdminDesk, house: Database) -> None:
    await create_booking(house, NOW - HALF_HOUR)
    await create_booking(house, TEN)
    for numbers, asked in (([1, 2], True), ([2], True), ([1], False)):
        act = f"act-{len(numbers)}-{numbers[0]}"
        await desk.database.fetch(text("UPDATE bookings SET status = 'pending'"))
        await bulk_scenario.run_bulk(house, numbers, BulkAction.CONFIRM, request_id=act)
        page = await desk.mara.get(f"/admin/act/{act}")
        assert (f"{BOX} checked" in page.text) == asked
        assert ("not notified" in get_page_text(page.text)) != asked

        await desk.mara.post(f"/admin/act/{act}", data={"notify_customer": "y"})

        assert [await told(house, number) for number in numbers] == [number == 2 for number in numbers]


async def test_what_a_customer_does_is_no_news_to_them(database: Database, tom: Person, haircut: Service) -> None:
    start = TOMORROW_AT_TEN.isoformat()
    await tom.request("POST", "/bookings", json={"service_id": haircut.id, "start_time": start})
    assert await told(database) is None

    await tom.request("PATCH", "/bookings/1", json={"status": "cancelled"})

    assert await told(database) is None


async def test_a_hold_that_runs_out_on_the_way_is_not_told_of(
    desk: AdminDesk, database: Database, tom: Person, eve: Person, haircut: Service
) -> None:
    """It is cancelled by whoever takes its place, but nobody at the desk was asked about it."""
    start = TOMORROW_AT_TEN.isoformat()
    await eve.request("POST", "/bookings", json={"service_id": haircut.id, "start_time": start, "hold": True})
    await database.fetch(text("UPDATE bookings SET expires_at = :at WHERE id = 1"), at=NOW)
    fields = {"user": tom.id, "service": 1, "start_time": "2030-01-08T11:00", "notify_customer": "y"}

    made = await post_form(desk.mara, "/admin/booking/create", fields)

    assert made.status == 302, made
    assert (await told(database, 1), await told(database, 2)) == (None, True)
    assert (await fetch_events(database, 1))[0]["door"] == "clock"
