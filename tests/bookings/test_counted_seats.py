"""Free seats are the capacity less what stands at one moment, whatever seats the bookings have."""

from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import text

from bookit import records
from bookit import refusals as no
from bookit.db.pool import Database
from bookit.needs import Need
from bookit.schema.tables import Resource, Service, Status
from tests.support.bulk_scenario import TEN
from tests.support.clock import NOW
from tests.support.doors import AT_BOTH_DOORS, DoorClient
from tests.support.opening_hours import create_service
from tests.support.people import OWNER, JoinUser, Person
from tests.support.races import HOUR
from tests.support.refusal_assertions import RefusalOutcome


async def make_class(database: Database, seats: int) -> Service:
    async with database.transaction(by=OWNER) as session:
        room = await records.create(session, Resource, by=OWNER, now=NOW, name="Room", capacity=seats)
        facts: dict[str, Any] = {"title": "Yoga", "price": 12, "duration_minutes": 60, "resource_ids": [room.id]}
        return await records.create(session, Service, by=OWNER, now=NOW, **facts)


async def free_places(tom: Person) -> int:
    """Return how many places the API offers at ten o'clock."""
    slots = (await tom.request("GET", "/services/1/availability")).json()
    return sum(slot["free_places"] for slot in slots if slot["start_time"] == f"{TEN:%Y-%m-%dT%H:%M:%SZ}")


# At the API and at the desk.


@AT_BOTH_DOORS
@pytest.mark.parametrize(
    ("sold", "lowered_to", "cancelled", "free"),
    [
        (2, 1, [0], 0),  # The one who stays has the seat that was removed.
        (2, 1, [1], 0),
        (2, 1, [0, 1], 1),
        (4, 2, [0, 1], 0),
        (4, 2, [1, 2, 3], 1),
        (5, 3, [0, 1, 2], 1),
        (3, 1, [], 0),
    ],
)
async def test_a_lowered_capacity_is_never_oversold_later(
    door: DoorClient,
    database: Database,
    tom: Person,
    join: JoinUser,
    sold: int,
    lowered_to: int,
    cancelled: Sequence[int],
    free: int,
) -> None:
    service = await make_class(database, sold)
    people = [await join(f"Guest{n}") for n in range(sold + free + 1)]
    bookings = [await door.book(person, service, TEN) for person in people[:sold]]
    await database.fetch(text(f"UPDATE resources SET capacity = {lowered_to}"))
    for index in cancelled:
        await door.set_status(bookings[index], Status.CANCELLED)

    offered = await free_places(tom)
    accepted = [await door.book(person, service, TEN) for person in people[sold:]]

    assert offered == free
    assert [isinstance(outcome, dict) for outcome in accepted] == [True] * free + [False]
    assert accepted[-1] == RefusalOutcome(no.SlotTaken)


@AT_BOTH_DOORS
async def test_a_longer_visit_fits_where_no_single_seat_is_free_throughout(
    door: DoorClient, database: Database, tom: Person, join: JoinUser
) -> None:
    service = await make_class(database, 2)
    early, late, gone, longer = [await join(f"Guest{n}") for n in range(4)]
    await door.book(early, service, TEN)  # seat 1
    first = await door.book(gone, service, TEN + HOUR)  # seat 1
    await door.book(late, service, TEN + HOUR)  # seat 2
    await door.set_status(first, Status.CANCELLED)
    await database.fetch(text("UPDATE services SET duration_minutes = 120"))

    assert await free_places(tom) == 1
    assert (await door.book(longer, service, TEN))["end_time"] == TEN + 2 * HOUR
    assert await free_places(tom) == 0
    assert await door.book(tom, service, TEN) == RefusalOutcome(no.SlotTaken)


@AT_BOTH_DOORS
async def test_an_expired_hold_comes_back_only_while_there_is_a_seat(
    door: DoorClient, database: Database, join: JoinUser
) -> None:
    service = await make_class(database, 2)
    holds = [await door.book(await join(f"Guest{n}"), service, TEN) for n in range(2)]
    await database.fetch(text("UPDATE bookings SET status = 'pending', expires_at = '2030-01-07 08:00Z'"))
    await database.fetch(text("UPDATE resources SET capacity = 1"))

    first, second = [await door.set_status({**hold, "version": 2}, Status.CONFIRMED) for hold in holds]

    assert first["status"] == Status.CONFIRMED
    assert second == RefusalOutcome(no.SlotTaken)


@AT_BOTH_DOORS
async def test_what_a_visit_never_takes_needs_no_seat(door: DoorClient, database: Database, tom: Person) -> None:
    service = await make_class(database, 1)
    async with database.transaction(by=OWNER) as session:
        van = await records.create(session, Resource, by=OWNER, now=NOW, name="Van", capacity=1)
        need = Need((van.id,), seats=2, free_from_minutes=0, free_until_minutes=90)
        row = await records.get(session, Service, service.id)
        await records.change(session, row, by=OWNER, now=NOW, needs=[need])

    offered = await free_places(tom)
    booked = await door.book(tom, service, TEN)
    async with database.transaction(by=OWNER) as session:
        row = await records.get(session, Service, service.id)
        await records.change(session, row, by=OWNER, now=NOW, cleanup_minutes=31)
    refused = await door.book(tom, service, TEN + 3 * HOUR)

    assert offered == 1
    assert booked["start_time"] == TEN
    assert refused == RefusalOutcome(no.SlotTaken)


@AT_BOTH_DOORS
async def test_a_party_larger_than_any_resource_is_refused_in_words(door: DoorClient, tom: Person) -> None:
    """Another time would not help, so it is not said that this one is taken."""
    rooms: list[dict[str, Any]] = [{"name": name, "capacity": seats} for name, seats in (("Hall", 3), ("Room", 2))]
    yoga = await create_service(door.desk.database, *rooms, max_party=5)

    assert await door.book(tom, yoga, TEN, seats=4) == RefusalOutcome(no.TooFewSeats, "seats")
    assert await door.book(tom, yoga, TEN, seats=3, resource_id=2) == RefusalOutcome(no.TooFewSeats, "seats")
    booked = await door.book(tom, yoga, TEN, seats=3)
    assert (booked["seats"], booked["resource_id"]) == (3, 1)
