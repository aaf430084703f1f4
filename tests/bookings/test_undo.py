"""Undo: the last act on a booking is reversed by the same acts, if its slot is still free."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from bookit import records
from bookit import refusals as no
from bookit.bookings import undo
from bookit.bookings.bulk import BulkAction
from bookit.db.pool import Database
from bookit.policy.permissions import Actor
from bookit.schema.tables import Booking, Role, Status
from tests.support import bulk_scenario
from tests.support.admin_client import AdminDesk, get_page_text
from tests.support.bulk_scenario import (
    HALF_HOUR,
    LEA,
    MARA,
    MAX,
    TEN,
    create_booking,
    fetch_bookings,
    fetch_snapshot,
    fetch_starts,
    set_status,
)
from tests.support.clock import NOW
from tests.support.people import OWNER, Person


@pytest.fixture
async def business(database: Database, tom: Person, eve: Person, mara: Person) -> Database:
    """Create the business, with Tom (1), Eve (2) and Mara (3)."""
    await bulk_scenario.create_business(database)
    return database


async def change(database: Database, number: int, request_id: str = "a-change", **facts: Any) -> None:
    """Change a booking at the desk."""
    async with database.transaction(by=MARA, request_id=request_id) as session:
        row = await records.lock(session, Booking, number)
        await records.change(session, row, by=MARA, now=NOW, **facts)


async def undo_last(database: Database, number: int, *, by: Actor = MARA, event_id: int | None = None) -> None:
    """Undo the last act on a booking, or the one of this event."""
    last_event = (await bulk_scenario.fetch_events(database, number))[0]["id"]
    async with database.transaction(by=by, request_id="an-undo") as session:
        await undo.undo(session, number, by=by, now=NOW, event_id=event_id or last_event)


async def undo_request(database: Database, act: str, *, by: Actor = MARA) -> Sequence[Booking]:
    """Undo everything one request did."""
    async with database.transaction(by=by, request_id="an-undo") as session:
        return await undo.undo_request(session, act, by=by, now=NOW)


def undoable_fields(row: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a booking that an act can change, and so restore."""
    return {name: value for name, value in row.items() if name not in {"version", "expires_at"}}


CHANGES: list[tuple[str, dict[str, Any]]] = [
    ("moved", {"start_time": TEN + timedelta(hours=2)}),
    ("reassigned", {"resource_id": MAX}),
    ("moved", {"start_time": TEN + timedelta(hours=2), "resource_id": MAX}),
    ("confirmed", {"status": Status.CONFIRMED}),
    ("cancelled", {"status": Status.CANCELLED}),
    ("completed", {"status": Status.COMPLETED}),
    ("marked as no-show", {"status": Status.NO_SHOW}),
    ("moved", {"start_time": TEN + HALF_HOUR, "status": Status.CANCELLED}),
]


@pytest.mark.parametrize(("description", "facts"), CHANGES, ids=[f"{name} {[*facts]}" for name, facts in CHANGES])
async def test_undo_reverses_the_last_act_and_is_recorded(
    business: Database, description: str, facts: dict[str, Any]
) -> None:
    await create_booking(business, TEN)
    before = (await fetch_bookings(business))[1]
    await change(business, 1, **facts)
    last = await undo.last_change(business, 1)
    assert last is not None
    assert (last.description, last.is_move) == (description, description in {"moved", "reassigned"})

    await undo_last(business, 1)

    assert undoable_fields((await fetch_bookings(business))[1]) == undoable_fields(before)
    (event, *_) = await bulk_scenario.fetch_events(business, 1)
    assert (event["reason"], event["actor_id"], event["request_id"]) == (f"Undid: {description}", 3, "an-undo")


async def test_undoing_twice_redoes_the_act(business: Database) -> None:
    await create_booking(business, TEN)
    await change(business, 1, start_time=TEN + HALF_HOUR)

    await undo_last(business, 1)
    assert (await fetch_starts(business))[1] == (TEN, LEA)
    await undo_last(business, 1)

    assert (await fetch_starts(business))[1] == (TEN + HALF_HOUR, LEA)


async def test_undoing_a_reopening_closes_the_booking(business: Database) -> None:
    await create_booking(business, TEN)
    await set_status(business, 1, Status.CANCELLED)
    await change(business, 1, status=Status.PENDING)

    await undo_last(business, 1)

    assert (await fetch_bookings(business))[1]["status"] == "cancelled"


async def test_only_the_last_act_can_be_undone(business: Database) -> None:
    await create_booking(business, TEN)
    await change(business, 1, request_id="first", start_time=TEN + HALF_HOUR)
    await change(business, 1, request_id="second", status=Status.CONFIRMED)

    await undo_last(business, 1)

    row = (await fetch_bookings(business))[1]
    assert (row["status"], row["start_time"]) == ("pending", TEN + HALF_HOUR)


async def test_undo_restores_a_time_outside_opening_hours(business: Database) -> None:
    await create_booking(business, TEN)
    await bulk_scenario.add_tuesday_hours(business, LEA, "14:00", "18:00")
    await change(business, 1, start_time=TEN + timedelta(hours=4))

    await undo_last(business, 1)

    assert (await fetch_starts(business))[1] == (TEN, LEA)


@pytest.mark.parametrize("facts", [{"start_time": TEN + timedelta(hours=2)}, {"status": Status.CANCELLED}])
async def test_undo_is_refused_when_the_slot_is_taken(business: Database, facts: dict[str, Any]) -> None:
    await create_booking(business, TEN)
    await change(business, 1, **facts)
    await create_booking(business, TEN, user=2)
    before = await fetch_snapshot(business)

    with pytest.raises(no.SlotTaken):
        await undo_last(business, 1)

    assert await fetch_snapshot(business) == before


async def test_a_booking_changed_since_is_not_undone(business: Database) -> None:
    await create_booking(business, TEN)
    await change(business, 1, status=Status.CONFIRMED)
    seen = (await bulk_scenario.fetch_events(business, 1))[0]["id"]
    await change(business, 1, request_id="later", start_time=TEN + HALF_HOUR)
    before = await fetch_snapshot(business)

    with pytest.raises(no.ChangedSince):
        await undo_last(business, 1, event_id=seen)

    assert await fetch_snapshot(business) == before


async def test_a_new_booking_has_nothing_to_undo(business: Database) -> None:
    await create_booking(business, TEN)

    assert await undo.last_change(business, 1) is None
    with pytest.raises(no.NothingToUndo):
        await undo_last(business, 1)


@pytest.mark.parametrize("changed", ["price = 5", "user_id = 2", "expires_at = now() + interval '1 day'"])
async def test_changes_that_no_act_restores_are_not_undone(business: Database, changed: str) -> None:
    await create_booking(business, TEN)
    await business.fetch(text(f"UPDATE bookings SET {changed} WHERE id = 1"))

    assert await undo.last_change(business, 1) is None


async def test_a_deleted_booking_cannot_be_undone(business: Database) -> None:
    await create_booking(business, TEN)
    await change(business, 1, status=Status.CONFIRMED)
    last = (await bulk_scenario.fetch_events(business, 1))[0]["id"]
    async with business.transaction(by=OWNER) as session:
        await records.remove(session, await records.lock(session, Booking, 1), by=OWNER, now=NOW)

    with pytest.raises(no.Missing):
        await undo_last(business, 1, event_id=last)


async def test_changes_without_a_request_id_are_undone_one_by_one(business: Database) -> None:
    await create_booking(business, TEN)
    for status in ("confirmed", "completed"):
        await business.fetch(text(f"UPDATE bookings SET status = '{status}' WHERE id = 1"))

    await undo_last(business, 1)

    assert (await fetch_bookings(business))[1]["status"] == "confirmed"


@pytest.mark.parametrize("by", [Actor("api", 1, Role.USER), Actor("api", 2, Role.USER)])
async def test_only_staff_may_undo(business: Database, by: Actor) -> None:
    await create_booking(business, TEN)
    await change(business, 1, status=Status.CANCELLED)

    with pytest.raises(no.Forbidden):
        await undo_last(business, 1, by=by)


# Bulk changes.

MANY: list[tuple[BulkAction, dict[str, Any]]] = [
    (BulkAction.CONFIRM, {}),
    (BulkAction.CANCEL, {}),
    (BulkAction.SHIFT, {"minutes": 15}),
    (BulkAction.SHIFT, {"minutes": -15}),
    (BulkAction.SHIFT, {"minutes": 600}),
    (BulkAction.REASSIGN, {"resource_id": MAX}),
    (BulkAction.REASSIGN_TO_FREE, {}),
]


@pytest.mark.parametrize(("what", "more"), MANY, ids=[f"{what}{more.get('minutes', '')}" for what, more in MANY])
async def test_a_bulk_change_is_undone_as_a_whole(business: Database, what: BulkAction, more: dict[str, Any]) -> None:
    numbers = await bulk_scenario.fill_afternoon(business, 5)
    before = await fetch_bookings(business)
    await bulk_scenario.run_bulk(business, numbers, what, **more)
    assert await fetch_bookings(business) != before

    rows = await undo_request(business, "an-act")

    assert {number: undoable_fields(row) for number, row in (await fetch_bookings(business)).items()} == {
        number: undoable_fields(row) for number, row in before.items()
    }
    assert [row.id for row in rows] == numbers


async def test_an_act_is_undone_without_what_others_did_under_its_id(desk: AdminDesk, business: Database) -> None:
    """Clients could once choose the id of their request, and so join their changes to the desk's."""
    numbers = await bulk_scenario.fill_afternoon(business, 3)
    await bulk_scenario.run_bulk(business, numbers[:2], BulkAction.CONFIRM)
    for by in (Actor("api", 1, Role.USER), Actor("api", MARA.id, MARA.role)):
        async with business.transaction(by=by, request_id="an-act") as session:
            row = await records.lock(session, Booking, numbers[2])
            await records.change(session, row, by=by, now=NOW, start_time=row.start_time + timedelta(hours=4))

    page = await desk.mara.get("/admin/act/an-act")
    rows = await undo_request(business, "an-act")

    assert [f"Booking {number}" in get_page_text(page.text) for number in numbers] == [True, True, False]
    assert [row.id for row in rows] == numbers[:2]


async def test_a_swap_is_undone(business: Database) -> None:
    await create_booking(business, TEN)
    await create_booking(business, TEN + HALF_HOUR, resource=MAX)
    before = await fetch_starts(business)
    await bulk_scenario.run_bulk(business, [1, 2], BulkAction.SWAP)

    await undo_request(business, "an-act")

    assert await fetch_starts(business) == before


async def test_a_bulk_undo_is_all_or_nothing_and_then_one_by_one(business: Database) -> None:
    numbers = await bulk_scenario.fill_afternoon(business, 3)
    await bulk_scenario.run_bulk(business, numbers, BulkAction.CANCEL)
    await create_booking(business, TEN + HALF_HOUR, user=2)
    before = await fetch_snapshot(business)

    with pytest.raises(no.SlotTaken):
        await undo_request(business, "an-act")
    assert await fetch_snapshot(business) == before

    for number in (1, 3):
        await undo_last(business, number)
    assert [row["status"] for row in (await fetch_bookings(business)).values()] == [
        "pending",
        "cancelled",
        "pending",
        "pending",
    ]


async def test_a_bulk_change_with_a_later_change_is_not_undone(business: Database) -> None:
    numbers = await bulk_scenario.fill_afternoon(business, 3)
    await bulk_scenario.run_bulk(business, numbers, BulkAction.CONFIRM)
    await change(business, 2, status=Status.COMPLETED)

    with pytest.raises(no.ChangedSince):
        await undo_request(business, "an-act")


async def test_undoing_an_unknown_act_is_refused(business: Database) -> None:
    with pytest.raises(no.NothingToUndo):
        await undo_request(business, "nothing")


async def test_a_bulk_change_over_the_limit_is_not_undone(business: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(undo, "MAX_BOOKINGS", 2)
    await bulk_scenario.run_bulk(business, await bulk_scenario.fill_afternoon(business, 3), BulkAction.CONFIRM)

    with pytest.raises(no.TooManyAtOnce):
        await undo_request(business, "an-act")


# At the desk.


async def test_a_booking_is_undone_from_its_page(desk: AdminDesk, database: Database, tom: Person) -> None:
    await bulk_scenario.create_business(database)
    await create_booking(database, TEN)
    page = await desk.mara.get("/admin/booking/details/1")
    assert "Undo" not in get_page_text(page.text)
    await change(database, 1, start_time=TEN + HALF_HOUR)
    page = await desk.mara.get("/admin/booking/details/1")
    assert "Undo: moved" in get_page_text(page.text)
    event = (await bulk_scenario.fetch_events(database, 1))[0]["id"]

    answer = await desk.mara.post("/admin/booking/1/undo", data={"event": event, "notify_customer": "y"})

    assert answer.status_code == 303
    assert "Undone: booking #1 is as it was before." in get_page_text(
        (await desk.mara.get(answer.headers["location"])).text
    )
    assert (await fetch_starts(database))[1] == (TEN, LEA)
    (last, *_) = await bulk_scenario.fetch_events(database, 1)
    assert (last["reason"], last["door"], last["notify_customer"]) == ("Undid: moved", "admin", True)


async def test_a_refused_undo_suggests_free_slots(desk: AdminDesk, database: Database, tom: Person) -> None:
    await bulk_scenario.create_business(database)
    await create_booking(database, TEN)
    await change(database, 1, start_time=TEN + timedelta(hours=3))
    await create_booking(database, TEN)
    event = (await bulk_scenario.fetch_events(database, 1))[0]["id"]

    answer = await desk.mara.post("/admin/booking/1/undo", data={"event": event})

    page_text = get_page_text((await desk.mara.get(answer.headers["location"])).text)
    assert "time slot is not available Next free: Tue 08 Jan, 11:30" in page_text


@pytest.mark.parametrize(
    ("pk", "event", "status"), [("1", "999", 303), ("1", "\0", 303), ("999", "1", 404), ("x", "1", 404)]
)
async def test_an_invalid_undo_request_changes_nothing(
    desk: AdminDesk, business: Database, pk: str, event: str, status: int
) -> None:
    await create_booking(business, TEN)
    await change(business, 1, status=Status.CONFIRMED)
    before = await fetch_snapshot(business)

    answer = await desk.mara.post(f"/admin/booking/{pk}/undo", data={"event": event})

    assert answer.status_code == status
    assert await fetch_snapshot(business) == before
