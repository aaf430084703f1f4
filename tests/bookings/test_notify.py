"""Whether the customer is to be notified of a change: recorded in history, and not asked while nothing is sent."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from bookit.bookings import undo
from bookit.bookings.bulk import BulkAction
from bookit.db.pool import Database
from bookit.schema.tables import Booking, Service
from tests.support import bulk_scenario
from tests.support.admin_client import AdminDesk, ParsedPage, get_page_text, post_form
from tests.support.bulk_scenario import HALF_HOUR, MAX, TEN, create_booking, fetch_events
from tests.support.clock import NOW, TOMORROW_AT_TEN
from tests.support.people import Person

DETAILS = "/admin/booking/details/1"
OVER = NOW - timedelta(days=3)


@pytest.fixture
async def business(database: Database, tom: Person, mara: Person, ada: Person) -> Database:
    """Create the business, with Tom (1), Mara (2) and Ada (3)."""
    await bulk_scenario.create_business(database)
    return database


async def recorded_notice(database: Database, number: int = 1) -> object:
    """Return what history records of the last change of a booking."""
    return (await fetch_events(database, number))[0]["notify_customer"]


NO_MESSAGES = "BookIt sends no messages yet: call the customer"
EVERY_PAGE = (
    "booking/create", "booking/edit/1", "booking/details/1", "booking/list", "booking/bulk?pks=1", "act/an-act",
    "event/list", "event/details/1", "calendar", "",
)  # fmt: skip


@pytest.mark.parametrize("path", EVERY_PAGE)
async def test_no_page_offers_to_notify_while_bookit_sends_nothing(
    desk: AdminDesk, business: Database, path: str
) -> None:
    await create_booking(business, TEN)
    await bulk_scenario.run_bulk(business, [1], BulkAction.CONFIRM, request_id="an-act", notify_customers=True)

    page = await desk.ada.get(f"/admin/{path}")

    assert page.status_code == 200
    assert "notify" not in page.text.lower()
    assert "notified" not in page.text.lower()
    says_so = path in {"booking/details/1", "booking/list", "act/an-act"}
    assert (NO_MESSAGES in get_page_text(page.text)) == says_so


async def test_a_bulk_change_asks_to_call_the_customers(desk: AdminDesk, business: Database) -> None:
    await create_booking(business, TEN)
    fields = {"booking": "1", "bulk_action": "shift", "minutes": "15", "direction": "later", "mode": "all"}

    preview = (await desk.mara.post("/admin/booking/bulk", data={**fields, "step": "preview"})).text
    sent = {**fields, "step": "apply", "versions": ParsedPage(preview).fields["versions"]}
    done = (await desk.mara.post("/admin/booking/bulk", data=sent)).text

    assert "Changed 1 of 1." in get_page_text(done)
    assert [NO_MESSAGES in get_page_text(page) for page in (preview, done)] == [True, True]
    assert "notify_customers" not in preview + done


async def test_history_does_not_say_that_a_customer_is_told(desk: AdminDesk, visit: Booking) -> None:
    await desk.mara.post("/admin/booking/action/confirm", data={"pks": "1", "back": DETAILS, "notify_customer": "y"})

    assert await recorded_notice(desk.database) is True
    assert "notif" not in get_page_text((await desk.mara.get(DETAILS)).text).lower()


async def test_a_visit_that_is_over_asks_for_no_call(desk: AdminDesk, visit: Booking) -> None:
    to_come = get_page_text((await desk.mara.get(DETAILS)).text)
    await desk.database.fetch(text(
        "UPDATE bookings SET (start_time, end_time, blocks_from, blocks_until) = (start_time - interval '9 days',"
        " end_time - interval '9 days', blocks_from - interval '9 days', blocks_until - interval '9 days')"
    ))  # fmt: skip

    assert NO_MESSAGES in to_come
    assert NO_MESSAGES not in get_page_text((await desk.mara.get(DETAILS)).text)


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


async def test_undoing_at_the_desk_keeps_a_choice_that_is_sent(desk: AdminDesk, business: Database) -> None:
    await create_booking(business, NOW - HALF_HOUR)
    await create_booking(business, TEN)
    for numbers in ([1, 2], [2], [1]):
        act = f"act-{len(numbers)}-{numbers[0]}"
        await desk.database.fetch(text("UPDATE bookings SET status = 'pending'"))
        await bulk_scenario.run_bulk(business, numbers, BulkAction.CONFIRM, request_id=act)

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
    fields = {"user": tom.id, "service": 1, "start_time": "2030-01-08T11:00"}

    made = await post_form(desk.mara, "/admin/booking/create", fields)

    assert made.status == 302, made
    assert (await recorded_notice(database, 1), await recorded_notice(database, 2)) == (None, None)
    assert (await fetch_events(database, 1))[0]["door"] == "clock"
