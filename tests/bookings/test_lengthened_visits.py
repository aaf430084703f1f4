"""Lengthened visits: how they are undone, moved in bulk, and contend for a time."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import httpx2
import pytest
from sqlalchemy import text

from bookit import records
from bookit.bookings import undo
from bookit.bookings.bulk import BulkAction
from bookit.db.pool import Database
from bookit.schema.tables import Booking, Service, Status
from tests.support import bulk_scenario
from tests.support.admin_client import AdminDesk, get_page_text
from tests.support.bulk_scenario import HALF_HOUR, LEA, MARA, MAX, TEN
from tests.support.clock import NOW
from tests.support.people import Person

LASTS = timedelta(minutes=45)  # A haircut.
END = TEN + LASTS
DAY = timedelta(days=1)


async def lengthen(person: Person, number: int, end: datetime) -> httpx2.Response:
    return await person.request("PATCH", f"/bookings/{number}", json={"end_time": end.isoformat()})


# Undo.


async def change(database: Database, number: int, *, request_id: str = "a-change", **facts: Any) -> None:
    async with database.transaction(by=MARA, request_id=request_id) as session:
        row = await records.lock(session, Booking, number)
        await records.change(session, row, by=MARA, now=NOW, **facts)


async def undo_last(database: Database, number: int) -> None:
    event = (await bulk_scenario.fetch_events(database, number))[0]["id"]
    async with database.transaction(by=MARA, request_id="an-undo") as session:
        await undo.undo(session, number, by=MARA, now=NOW, event_id=event)


CHANGES: list[tuple[str, dict[str, Any]]] = [
    ("lengthened", {"end_time": TEN + 2 * HALF_HOUR}),
    ("shortened", {"end_time": TEN + HALF_HOUR / 2}),
    ("lengthened", {"end_time": TEN + 2 * HALF_HOUR, "status": Status.CONFIRMED}),
    ("moved", {"start_time": TEN - HALF_HOUR, "end_time": TEN + 2 * HALF_HOUR}),
    ("moved", {"start_time": TEN - HALF_HOUR, "end_time": TEN + HALF_HOUR}),
    ("reassigned", {"resource_id": MAX, "end_time": TEN + 2 * HALF_HOUR}),
]


@pytest.mark.parametrize(("description", "facts"), CHANGES, ids=map(str, range(len(CHANGES))))
async def test_a_lengthening_is_undone_and_redone(
    database: Database, tom: Person, eve: Person, mara: Person, description: str, facts: dict[str, Any]
) -> None:
    await bulk_scenario.create_business(database)
    await bulk_scenario.create_booking(database, TEN)
    before = fetch_times((await bulk_scenario.fetch_bookings(database))[1])
    await change(database, 1, **facts)
    after = fetch_times((await bulk_scenario.fetch_bookings(database))[1])
    last = await undo.last_change(database, 1)
    assert last is not None
    assert (last.description, last.is_move) == (description, True)

    await undo_last(database, 1)
    assert fetch_times((await bulk_scenario.fetch_bookings(database))[1]) == before
    assert (await bulk_scenario.fetch_events(database, 1))[0]["reason"] == f"Undid: {description}"
    await undo_last(database, 1)
    assert fetch_times((await bulk_scenario.fetch_bookings(database))[1]) == after


def fetch_times(row: dict[str, Any]) -> dict[str, Any]:
    names = ("start_time", "end_time", "blocks_from", "blocks_until", "resource_id", "status", "price")
    return {name: row[name] for name in names}


async def test_a_shortening_is_not_undone_when_the_time_is_taken(
    database: Database, desk: AdminDesk, tom: Person, eve: Person, mara: Person
) -> None:
    await bulk_scenario.create_business(database)
    await bulk_scenario.create_booking(database, TEN)
    await change(database, 1, end_time=TEN + HALF_HOUR / 2)
    await bulk_scenario.create_booking(database, TEN + HALF_HOUR / 2, user=2)
    before = await bulk_scenario.fetch_snapshot(database)
    page = get_page_text((await desk.mara.get("/admin/booking/details/1")).text)
    assert "Undo: shortened" in page
    event = (await bulk_scenario.fetch_events(database, 1))[0]["id"]

    answer = await desk.mara.post("/admin/booking/1/undo", data={"event": event})

    page_text = get_page_text((await desk.mara.get(answer.headers["location"])).text)
    assert "time slot is not available Next free: Tue 08 Jan, 12:00" in page_text
    assert await bulk_scenario.fetch_snapshot(database) == before


# Bulk changes.


async def test_shifts_and_swaps_keep_the_new_length(database: Database, tom: Person, mara: Person) -> None:
    await bulk_scenario.create_business(database)
    for user, resource in ((1, LEA), (2, MAX)):
        await bulk_scenario.create_booking(database, TEN, resource=resource, user=user)
    await change(database, 1, end_time=TEN + 2 * HALF_HOUR)

    await bulk_scenario.run_bulk(database, [1], BulkAction.SHIFT, minutes=15)
    await bulk_scenario.run_bulk(database, [1, 2], BulkAction.SWAP)

    rows = await bulk_scenario.fetch_bookings(database)
    assert [(row["start_time"], row["end_time"] - row["start_time"]) for row in rows.values()] == [
        (TEN, 2 * HALF_HOUR), (TEN + HALF_HOUR / 2, HALF_HOUR),
    ]  # fmt: skip


async def test_a_lengthening_and_a_booking_race_and_one_wins(
    mara: Person, tom: Person, eve: Person, haircut: Service, database: Database
) -> None:
    """In each round, a visit is lengthened into a time that another customer books at the same moment."""
    outcomes = []
    for day in range(12):
        start = TEN + day * DAY
        facts = {"service_id": haircut.id, "start_time": start.isoformat()}
        number = (await tom.request("POST", "/bookings", json=facts)).json()["id"]
        behind = {**facts, "start_time": (start + LASTS).isoformat()}

        answers = await asyncio.gather(
            lengthen(mara, number, start + 2 * LASTS), eve.request("POST", "/bookings", json=behind)
        )

        outcomes.append(sorted(answer.json().get("code", "done") for answer in answers))
    assert outcomes == [["done", "slot-taken"]] * 12
    await bulk_scenario.assert_no_overlap(database)


async def test_as_many_lengthenings_win_as_there_are_seats(
    mara: Person, ada: Person, tom: Person, eve: Person, haircut: Service, database: Database
) -> None:
    await database.fetch(text("UPDATE resources SET capacity = 3"))
    facts = {"service_id": haircut.id, "start_time": TEN.isoformat()}
    numbers = [(await person.request("POST", "/bookings", json=facts)).json()["id"] for person in (tom, ada, mara)]
    await eve.request("POST", "/bookings", json={**facts, "start_time": END.isoformat()})

    answers = await asyncio.gather(*(lengthen(mara, number, END + HALF_HOUR) for number in numbers))

    assert sorted(answer.json().get("code", "done") for answer in answers) == ["done", "done", "slot-taken"]
    await bulk_scenario.assert_no_overlap(database)
