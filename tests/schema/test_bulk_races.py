"""Many bookings move while twenty customers book and move on the same resources: no deadlock reaches anyone."""

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from bookit import refusals as no
from bookit.bookings.bulk import BulkAction
from bookit.db.pool import Database
from tests.support import bulk_scenario
from tests.support.bulk_scenario import COLOUR, HALF_HOUR, LEA, MAX, TEN, fetch_bookings, refusal_names, run_bulk
from tests.support.people import JoinUser, Person

pytestmark = pytest.mark.race

WRITERS = 20
CLEAN = {200, 201, 409}


async def write(person: Person, at: int) -> list[tuple[int, str]]:
    """Book a slot and move it, repeatedly, as a customer."""
    met = []
    for turn in range(4):
        start = TEN + HALF_HOUR * ((at + turn) % 16) + timedelta(minutes=10 * (turn % 2))
        booked = await person.request(
            "POST",
            "/bookings",
            json={"service_id": COLOUR, "resource_id": (LEA, MAX)[at % 2], "start_time": start.isoformat()},
        )
        met.append((booked.status_code, booked.text))
        if booked.status_code == 201:
            later = (start + HALF_HOUR * 3).isoformat()
            body = {"start_time": later, "resource_id": (MAX, LEA)[at % 2]}
            moved = await person.request("PATCH", f"/bookings/{booked.json()['id']}", json=body)
            met.append((moved.status_code, moved.text))
    return met


async def shift_and_reassign(database: Database, numbers: list[int]) -> Counter[str]:
    """Shift an afternoon back and forth, and reassign it from one colleague to the other."""
    met: Counter[str] = Counter()
    for turn in range(6):
        acts: Any = (
            (BulkAction.SHIFT, {"minutes": 15}),
            (BulkAction.REASSIGN_TO_FREE, {}),
            (BulkAction.SHIFT, {"minutes": -15}),
        )
        what, more = acts[turn % 3]
        outcomes = await run_bulk(database, numbers, what, is_all_or_nothing=False, **more)
        met.update(why or "done" for why in refusal_names(outcomes).values())
    return met


async def test_bulk_moves_race_with_twenty_customers(database: Database, join: JoinUser) -> None:
    people = [await join(f"Customer{at}") for at in range(WRITERS)]
    await bulk_scenario.create_business(database)
    leas = await bulk_scenario.fill_afternoon(database, 6)
    maxs = await bulk_scenario.fill_afternoon(database, 6, resource=MAX, user=2)

    *met, first, second = await asyncio.gather(
        *(write(person, at) for at, person in enumerate(people)),
        shift_and_reassign(database, leas),
        shift_and_reassign(database, [*reversed(maxs), *leas]),
    )

    answers = [answer for one in met for answer in one]
    assert {status for status, _ in answers} <= CLEAN, [body for status, body in answers if status not in CLEAN]
    assert Counter(status for status, _ in answers)[201] > 0
    done = first + second  # type: ignore[operator]  # of movers, counts
    assert done["done"] > 0
    assert set(done) <= {"done", "SlotTaken", "AlreadyBooked", "NobodyElseFree"}
    await bulk_scenario.assert_no_overlap(database)


async def test_the_same_bulk_change_twice_at_once_is_refused_once(database: Database, join: JoinUser) -> None:
    await join("Tom")
    await bulk_scenario.create_business(database)
    numbers = await bulk_scenario.fill_afternoon(database, 8)
    seen: dict[int, int | None] = dict.fromkeys(numbers, 1)

    outcomes = await asyncio.gather(
        *(run_bulk(database, numbers, BulkAction.SHIFT, seen_versions=seen, minutes=15) for _ in range(4)),
        return_exceptions=True,
    )

    assert sorted(type(one).__name__ for one in outcomes) == ["NotAllPossible"] * 3 + ["list"]
    for one in outcomes:
        if isinstance(one, no.NotAllPossible):
            assert refusal_names(one.outcomes) == dict.fromkeys(numbers, "Stale")
    assert [row["start_time"] for row in (await fetch_bookings(database)).values()] == [
        TEN + HALF_HOUR * at + HALF_HOUR / 2 for at in range(8)
    ]
    counted = await database.fetch(text("SELECT count(*) AS n FROM events WHERE request_id = 'an-act'"))
    assert counted[0]["n"] == 8
