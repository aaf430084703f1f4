"""What becomes of a visit that was given another length: it is taken back, moves among many, and races for its time."""

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


# Taken back.


async def change(database: Database, number: int, *, request_id: str = "a-change", **wanted: Any) -> None:
    async with database.transaction(by=MARA, request_id=request_id) as session:
        row = await records.lock(session, Booking, number)
        await records.change(session, row, by=MARA, now=NOW, **wanted)


async def take_back(database: Database, number: int) -> None:
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


@pytest.mark.parametrize(("told", "wanted"), CHANGES, ids=map(str, range(len(CHANGES))))
async def test_a_lengthening_is_taken_back_and_done_again(
    database: Database, tom: Person, eve: Person, mara: Person, told: str, wanted: dict[str, Any]
) -> None:
    await bulk_scenario.create_business(database)
    await bulk_scenario.create_booking(database, TEN)
    before = times_of((await bulk_scenario.fetch_bookings(database))[1])
    await change(database, 1, **wanted)
    after = times_of((await bulk_scenario.fetch_bookings(database))[1])
    deed = await undo.last_change(database, 1)
    assert deed is not None
    assert (deed.description, deed.is_move) == (told, True)

    await take_back(database, 1)
    assert times_of((await bulk_scenario.fetch_bookings(database))[1]) == before
    assert (await bulk_scenario.fetch_events(database, 1))[0]["reason"] == f"Undid: {told}"
    await take_back(database, 1)
    assert times_of((await bulk_scenario.fetch_bookings(database))[1]) == after


def times_of(row: dict[str, Any]) -> dict[str, Any]:
    names = ("start_time", "end_time", "blocks_from", "blocks_until", "resource_id", "status", "price")
    return {name: row[name] for name in names}


async def test_a_shortening_is_not_taken_back_where_somebody_sits_by_now(
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

    said = get_page_text((await desk.mara.get(answer.headers["location"])).text)
    assert "time slot is not available Next free: Tue 08 Jan, 12:00" in said
    assert await bulk_scenario.fetch_snapshot(database) == before


# Many at once.


async def test_a_shift_and_a_swap_keep_the_new_length(database: Database, tom: Person, mara: Person) -> None:
    await bulk_scenario.create_business(database)
    for resource in (LEA, MAX):
        await bulk_scenario.create_booking(database, TEN, resource=resource)
    await change(database, 1, end_time=TEN + 2 * HALF_HOUR)

    await bulk_scenario.run_bulk(database, [1], BulkAction.SHIFT, minutes=15)
    await bulk_scenario.run_bulk(database, [1, 2], BulkAction.SWAP)

    rows = await bulk_scenario.fetch_bookings(database)
    assert [(row["start_time"], row["end_time"] - row["start_time"]) for row in rows.values()] == [
        (TEN, 2 * HALF_HOUR), (TEN + HALF_HOUR / 2, HALF_HOUR),
    ]  # fmt: skip


async def test_who_lengthens_and_who_books_the_time_behind_race_and_one_wins(
    mara: Person, tom: Person, eve: Person, haircut: Service, database: Database
) -> None:
    """Each round one visit would grow over the time that somebody else books at the same moment."""
    outcomes = []
    for day in range(12):
        start = TEN + day * DAY
        wanted = {"service_id": haircut.id, "start_time": start.isoformat()}
        number = (await tom.request("POST", "/bookings", json=wanted)).json()["id"]
        behind = {**wanted, "start_time": (start + LASTS).isoformat()}

        answers = await asyncio.gather(
            lengthen(mara, number, start + 2 * LASTS), eve.request("POST", "/bookings", json=behind)
        )

        outcomes.append(sorted(answer.json().get("code", "done") for answer in answers))
    assert outcomes == [["done", "slot-taken"]] * 12
    await bulk_scenario.assert_no_overlap(database)


async def test_of_many_who_lengthen_over_one_gap_as_many_win_as_there_are_places(
    mara: Person, tom: Person, haircut: Service, database: Database
) -> None:
    await database.fetch(text("UPDATE resources SET capacity = 3"))
    wanted = {"service_id": haircut.id, "start_time": TEN.isoformat()}
    numbers = [(await tom.request("POST", "/bookings", json=wanted)).json()["id"] for _ in range(3)]
    await tom.request("POST", "/bookings", json={**wanted, "start_time": END.isoformat()})

    answers = await asyncio.gather(*(lengthen(mara, number, END + HALF_HOUR) for number in numbers))

    assert sorted(answer.json().get("code", "done") for answer in answers) == ["done", "done", "slot-taken"]
    await bulk_scenario.assert_no_overlap(database)
