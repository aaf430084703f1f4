"""Undoing: the last act on a booking is taken back through the same acts, while nothing stands in its place."""

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
async def house(database: Database, tom: Person, eve: Person, mara: Person) -> Database:
    """The business, with Tom (1), Eve (2) and Mara (3)."""
    await bulk_scenario.create_business(database)
    return database


async def change(database: Database, number: int, request_id: str = "a-change", **wanted: Any) -> None:
    """Change a booking at the desk."""
    async with database.transaction(by=MARA, request_id=request_id) as session:
        row = await records.lock(session, Booking, number)
        await records.change(session, row, by=MARA, now=NOW, **wanted)


async def take_back(database: Database, number: int, *, by: Actor = MARA, event_id: int | None = None) -> None:
    """Undo the last act on a booking, or the one of this event."""
    last = (await bulk_scenario.fetch_events(database, number))[0]["id"]
    async with database.transaction(by=by, request_id="an-undo") as session:
        await undo.undo(session, number, by=by, now=NOW, event_id=event_id or last)


async def take_all_back(database: Database, act: str, *, by: Actor = MARA) -> Sequence[Booking]:
    """Undo all that one request did."""
    async with database.transaction(by=by, request_id="an-undo") as session:
        return await undo.undo_request(session, act, by=by, now=NOW)


def placed(row: dict[str, Any]) -> dict[str, Any]:
    """Give what of a booking an act can change, and so bring back."""
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


@pytest.mark.parametrize(("told", "wanted"), CHANGES, ids=[f"{told} {[*wanted]}" for told, wanted in CHANGES])
async def test_the_last_act_is_taken_back_and_that_is_in_history(
    house: Database, told: str, wanted: dict[str, Any]
) -> None:
    await create_booking(house, TEN)
    before = (await fetch_bookings(house))[1]
    await change(house, 1, **wanted)
    deed = await undo.last_change(house, 1)
    assert deed is not None
    assert (deed.description, deed.is_move) == (told, told in {"moved", "reassigned"})

    await take_back(house, 1)

    assert placed((await fetch_bookings(house))[1]) == placed(before)
    (event, *_) = await bulk_scenario.fetch_events(house, 1)
    assert (event["reason"], event["actor_id"], event["request_id"]) == (f"Undid: {told}", 3, "an-undo")


async def test_undoing_twice_is_doing_it_again(house: Database) -> None:
    await create_booking(house, TEN)
    await change(house, 1, start_time=TEN + HALF_HOUR)

    await take_back(house, 1)
    assert (await fetch_starts(house))[1] == (TEN, LEA)
    await take_back(house, 1)

    assert (await fetch_starts(house))[1] == (TEN + HALF_HOUR, LEA)


async def test_a_reopened_booking_is_closed_again(house: Database) -> None:
    await create_booking(house, TEN)
    await set_status(house, 1, Status.CANCELLED)
    await change(house, 1, status=Status.PENDING)

    await take_back(house, 1)

    assert (await fetch_bookings(house))[1]["status"] == "cancelled"


async def test_only_the_last_act_is_undone(house: Database) -> None:
    await create_booking(house, TEN)
    await change(house, 1, request_id="first", start_time=TEN + HALF_HOUR)
    await change(house, 1, request_id="second", status=Status.CONFIRMED)

    await take_back(house, 1)

    row = (await fetch_bookings(house))[1]
    assert (row["status"], row["start_time"]) == ("pending", TEN + HALF_HOUR)


async def test_where_it_was_is_where_it_may_be_again_even_outside_hours(house: Database) -> None:
    await create_booking(house, TEN)
    await bulk_scenario.add_tuesday_hours(house, LEA, "14:00", "18:00")
    await change(house, 1, start_time=TEN + timedelta(hours=4))

    await take_back(house, 1)

    assert (await fetch_starts(house))[1] == (TEN, LEA)


@pytest.mark.parametrize("wanted", [{"start_time": TEN + timedelta(hours=2)}, {"status": Status.CANCELLED}])
async def test_a_place_that_is_somebody_elses_by_now_is_not_taken_back(house: Database, wanted: dict[str, Any]) -> None:
    await create_booking(house, TEN)
    await change(house, 1, **wanted)
    await create_booking(house, TEN, user=2)
    before = await fetch_snapshot(house)

    with pytest.raises(no.SlotTaken):
        await take_back(house, 1)

    assert await fetch_snapshot(house) == before


async def test_what_changed_since_is_not_undone(house: Database) -> None:
    await create_booking(house, TEN)
    await change(house, 1, status=Status.CONFIRMED)
    seen = (await bulk_scenario.fetch_events(house, 1))[0]["id"]
    await change(house, 1, request_id="later", start_time=TEN + HALF_HOUR)
    before = await fetch_snapshot(house)

    with pytest.raises(no.ChangedSince):
        await take_back(house, 1, event_id=seen)

    assert await fetch_snapshot(house) == before


async def test_there_is_nothing_to_undo_of_a_new_booking(house: Database) -> None:
    await create_booking(house, TEN)

    assert await undo.last_change(house, 1) is None
    with pytest.raises(no.NothingToUndo):
        await take_back(house, 1)


@pytest.mark.parametrize("changed", ["price = 5", "user_id = 2", "expires_at = now() + interval '1 day'"])
async def test_what_no_act_can_bring_back_is_not_undone(house: Database, changed: str) -> None:
    await create_booking(house, TEN)
    await house.fetch(text(f"UPDATE bookings SET {changed} WHERE id = 1"))

    assert await undo.last_change(house, 1) is None


async def test_a_deleted_booking_is_gone(house: Database) -> None:
    await create_booking(house, TEN)
    await change(house, 1, status=Status.CONFIRMED)
    last = (await bulk_scenario.fetch_events(house, 1))[0]["id"]
    async with house.transaction(by=OWNER) as session:
        await records.remove(session, await records.lock(session, Booking, 1), by=OWNER, now=NOW)

    with pytest.raises(no.Missing):
        await take_back(house, 1, event_id=last)


async def test_a_console_that_says_no_request_is_undone_one_by_one(house: Database) -> None:
    await create_booking(house, TEN)
    for status in ("confirmed", "completed"):
        await house.fetch(text(f"UPDATE bookings SET status = '{status}' WHERE id = 1"))

    await take_back(house, 1)

    assert (await fetch_bookings(house))[1]["status"] == "confirmed"


@pytest.mark.parametrize("by", [Actor("api", 1, Role.USER), Actor("api", 2, Role.USER)])
async def test_undoing_is_for_the_desk(house: Database, by: Actor) -> None:
    await create_booking(house, TEN)
    await change(house, 1, status=Status.CANCELLED)

    with pytest.raises(no.Forbidden):
        await take_back(house, 1, by=by)


# An act over many.

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
async def test_an_act_over_many_is_undone_as_a_whole(house: Database, what: BulkAction, more: dict[str, Any]) -> None:
    numbers = await bulk_scenario.fill_afternoon(house, 5)
    before = await fetch_bookings(house)
    await bulk_scenario.run_bulk(house, numbers, what, **more)
    assert await fetch_bookings(house) != before

    rows = await take_all_back(house, "an-act")

    assert {number: placed(row) for number, row in (await fetch_bookings(house)).items()} == {
        number: placed(row) for number, row in before.items()
    }
    assert [row.id for row in rows] == numbers


async def test_a_swap_is_undone(house: Database) -> None:
    await create_booking(house, TEN)
    await create_booking(house, TEN + HALF_HOUR, resource=MAX)
    before = await fetch_starts(house)
    await bulk_scenario.run_bulk(house, [1, 2], BulkAction.SWAP)

    await take_all_back(house, "an-act")

    assert await fetch_starts(house) == before


async def test_an_act_is_undone_whole_or_not_at_all_and_then_one_by_one(house: Database) -> None:
    numbers = await bulk_scenario.fill_afternoon(house, 3)
    await bulk_scenario.run_bulk(house, numbers, BulkAction.CANCEL)
    await create_booking(house, TEN + HALF_HOUR, user=2)
    before = await fetch_snapshot(house)

    with pytest.raises(no.SlotTaken):
        await take_all_back(house, "an-act")
    assert await fetch_snapshot(house) == before

    for number in (1, 3):
        await take_back(house, number)
    assert [row["status"] for row in (await fetch_bookings(house)).values()] == [
        "pending",
        "cancelled",
        "pending",
        "pending",
    ]


async def test_an_act_of_which_one_changed_since_is_not_undone(house: Database) -> None:
    numbers = await bulk_scenario.fill_afternoon(house, 3)
    await bulk_scenario.run_bulk(house, numbers, BulkAction.CONFIRM)
    await change(house, 2, status=Status.COMPLETED)

    with pytest.raises(no.ChangedSince):
        await take_all_back(house, "an-act")


async def test_an_act_that_never_was_is_not_undone(house: Database) -> None:
    with pytest.raises(no.NothingToUndo):
        await take_all_back(house, "nothing")


async def test_an_act_over_more_than_can_be_undone_at_once_is_not(
    house: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(undo, "MAX_BOOKINGS", 2)
    await bulk_scenario.run_bulk(house, await bulk_scenario.fill_afternoon(house, 3), BulkAction.CONFIRM)

    with pytest.raises(no.TooManyAtOnce):
        await take_all_back(house, "an-act")


# At the desk.


async def test_a_booking_is_put_back_from_its_page(desk: AdminDesk, database: Database, tom: Person) -> None:
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


async def test_the_desk_is_told_when_it_would_be_free_instead(desk: AdminDesk, database: Database, tom: Person) -> None:
    await bulk_scenario.create_business(database)
    await create_booking(database, TEN)
    await change(database, 1, start_time=TEN + timedelta(hours=3))
    await create_booking(database, TEN)
    event = (await bulk_scenario.fetch_events(database, 1))[0]["id"]

    answer = await desk.mara.post("/admin/booking/1/undo", data={"event": event})

    said = get_page_text((await desk.mara.get(answer.headers["location"])).text)
    assert "time slot is not available Next free: Tue 08 Jan, 11:30" in said


@pytest.mark.parametrize(
    ("pk", "event", "status"), [("1", "999", 303), ("1", "\0", 303), ("999", "1", 404), ("x", "1", 404)]
)
async def test_what_no_page_sends_undoes_nothing(
    desk: AdminDesk, house: Database, pk: str, event: str, status: int
) -> None:
    await create_booking(house, TEN)
    await change(house, 1, status=Status.CONFIRMED)
    before = await fetch_snapshot(house)

    answer = await desk.mara.post(f"/admin/booking/{pk}/undo", data={"event": event})

    assert answer.status_code == status
    assert await fetch_snapshot(house) == before
