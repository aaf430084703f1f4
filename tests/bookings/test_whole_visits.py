"""Visits that take a colleague and a room, or several seats: booked, moved, swapped and put back as a whole."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from bookit import records
from bookit import refusals as no
from bookit.bookings import acts, availability, bulk, undo
from bookit.bookings.availability import Visit
from bookit.bookings.bulk import BulkAction, BulkChange
from bookit.bookings.claims import resources_of
from bookit.db.pool import Database
from bookit.needs import Need
from bookit.policy.permissions import Actor
from bookit.schema.tables import Booking, Resource, Role, Service, User
from tests.support.clock import NOW
from tests.support.people import OWNER

TEN, TWELVE = datetime(2030, 1, 8, 10, tzinfo=UTC), datetime(2030, 1, 8, 12, tzinfo=UTC)
SOFIA, MAREK, ROOM_1, ROOM_2 = 1, 2, 3, 4
MARA = Actor("admin", role=Role.STAFF)


@pytest.fixture
async def massage(database: Database) -> Database:
    """A massage by Sofia or Marek, in Room 1 or 2; two customers, 1 and 2."""
    async with database.transaction(by=OWNER, now=NOW) as session:
        for name in ("Sofia", "Marek", "Room 1", "Room 2"):
            await records.create(session, Resource, by=OWNER, now=NOW, name=name)
        for name in ("tom", "eve"):
            await session.insert(User(name=name, email=f"{name}@example.com", password_hash="-", created_at=NOW))
        await records.create(
            session, Service, by=OWNER, now=NOW, title="Massage", price=60, duration_minutes=60,
            resource_ids=[SOFIA, MAREK], needs=[Need((ROOM_1, ROOM_2))], max_party=1,
        )  # fmt: skip
    return database


async def book(database: Database, start: datetime = TEN, *, user: int = 1, **values: Any) -> Booking:
    async with database.transaction(by=MARA, now=NOW, request_id="booked") as session:
        facts: dict[str, Any] = {"service_id": 1, "start_time": start, "user_id": user, "overlap": True, **values}
        return await acts.book(session, by=MARA, now=NOW, **facts)


async def run(database: Database, change: BulkChange, *ids: int, request_id: str = "moved") -> list[dict[int, int]]:
    async with database.transaction(by=MARA, now=NOW, request_id=request_id) as session:
        outcomes = await bulk.run(session, dict.fromkeys(ids), change, by=MARA, now=NOW)
    return [resources_of(outcome.after) for outcome in outcomes if outcome.after]


async def test_a_visit_gets_the_first_colleague_and_room(massage: Database) -> None:
    first, second = await book(massage), await book(massage, user=2)

    assert (resources_of(first), resources_of(second)) == ({1: SOFIA, 2: ROOM_1}, {1: MAREK, 2: ROOM_2})
    with pytest.raises(no.SlotTaken):
        await book(massage)


async def test_a_named_room_is_taken_or_refused(massage: Database) -> None:
    assert resources_of(await book(massage, resources={2: ROOM_2})) == {1: SOFIA, 2: ROOM_2}

    for resources, refusal in (
        ({2: ROOM_2}, no.SlotTaken),
        ({2: SOFIA}, no.ResourceUnsuitable),
        ({3: ROOM_1}, no.ResourceUnsuitable),
        ({2: 99}, no.UnknownResource),
        ({1: SOFIA, 2: SOFIA}, no.OneRoleEach),
    ):
        with pytest.raises(refusal):
            await book(massage, resources=resources)


async def test_availability_names_who_is_free(massage: Database) -> None:
    await book(massage)

    (slot, *_) = await availability.next_free(massage, Visit(1), since=TEN, now=NOW)

    assert (slot["ids"], slot["others"]) == (
        [MAREK],
        [[{"position": 2, "role": "with", "resource_id": ROOM_2, "name": "Room 2"}]],
    )


async def test_a_colleague_who_is_ill_is_replaced_and_the_room_stays(massage: Database) -> None:
    booking = await book(massage, resources={2: ROOM_2})

    moved = await run(massage, BulkChange(BulkAction.REASSIGN_TO_FREE, replaced_id=SOFIA), booking.id)

    assert moved == [{1: MAREK, 2: ROOM_2}]
    assert await run(massage, BulkChange(BulkAction.REASSIGN_TO_FREE, replaced_id=ROOM_2), booking.id) == [
        {1: MAREK, 2: ROOM_1}
    ]
    assert await run(massage, BulkChange(BulkAction.REASSIGN, resource_id=ROOM_2), booking.id) == [
        {1: MAREK, 2: ROOM_2}
    ]


async def test_a_swap_and_its_undo_take_all_resources(massage: Database) -> None:
    first, second = await book(massage), await book(massage, TWELVE, user=2, resources={1: MAREK, 2: ROOM_2})

    swapped = await run(massage, BulkChange(BulkAction.SWAP), first.id, second.id, request_id="swap")
    async with massage.transaction(by=MARA, now=NOW, request_id="undo") as session:
        undone = await undo.undo_request(session, "swap", by=MARA, now=NOW)

    assert swapped == [{1: MAREK, 2: ROOM_2}, {1: SOFIA, 2: ROOM_1}]
    assert [(resources_of(row), row.start_time) for row in undone] == [
        ({1: SOFIA, 2: ROOM_1}, TEN),
        ({1: MAREK, 2: ROOM_2}, TWELVE),
    ]


async def offer_room_2_only(database: Database) -> None:
    async with database.transaction(by=OWNER, now=NOW) as session:
        service = await records.lock(session, Service, 1)
        needs = [Need((ROOM_2,))]
        await records.change(session, service, by=OWNER, now=NOW, needs=needs, accepts_stranded=False)


async def test_a_room_that_is_no_longer_offered_strands_its_visits(massage: Database) -> None:
    await book(massage)

    with pytest.raises(no.StrandsVisits) as refused:
        await offer_room_2_only(massage)

    assert [visit["resource"] for visit in refused.value.visits] == ["Sofia and Room 1"]


async def test_a_party_pays_for_each_person_and_can_change(database: Database) -> None:
    async with database.transaction(by=OWNER, now=NOW) as session:
        await records.create(session, Resource, by=OWNER, now=NOW, name="Studio", capacity=5)
        await session.insert(User(name="Tom", email="tom@example.com", password_hash="-", created_at=NOW))
        await records.create(
            session, Service, by=OWNER, now=NOW, title="Yoga", price=20, duration_minutes=60, resource_ids=[1],
            max_party=3, price_is_per_person=True,
        )  # fmt: skip
    booking = await book(database, seats=4)
    tom = Actor("api", 1, Role.USER)

    async with database.transaction(by=MARA, now=NOW, request_id="fewer") as session:
        fewer = await acts.change(session, booking, by=MARA, now=NOW, seats=2)
    async with database.transaction(by=MARA, now=NOW) as session:
        (undone,) = await undo.undo_request(session, "fewer", by=MARA, now=NOW)

    assert [(row.seats, row.price) for row in (booking, fewer, undone)] == [
        (4, Decimal("80.00")),
        (2, Decimal("40.00")),
        (4, Decimal("80.00")),
    ]
    with pytest.raises(no.SlotTaken):
        await book(database, seats=2)
    with pytest.raises(no.TooFewSeats, match=r"^There is room for 5 at most\. Choose fewer seats\.$"):
        await book(database, seats=6)
    with pytest.raises(no.PartyOutOfRange):
        await book(database, seats=0)
    with pytest.raises(no.PartyTooLarge):
        async with database.transaction(by=tom, now=NOW) as session:
            await acts.book(session, by=tom, now=NOW, service_id=1, start_time=TWELVE, seats=4)
