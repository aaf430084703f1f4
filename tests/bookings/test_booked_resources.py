"""Which resources a booking takes, as the API answers."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from psycopg import AsyncConnection

from bookit import records
from bookit.db.pool import Database
from bookit.needs import Need
from bookit.schema.tables import Booking, Resource, ResourceRole, Service, Status
from tests.support.clock import NOW, TOMORROW_AT_TEN
from tests.support.people import OWNER, Person
from tests.support.request_helpers import status_and_code

SOFIA, ROOM, VAN = 1, 2, 3
WITH_SOFIA: dict[str, Any] = {"role": "with", "resource_id": SOFIA, "name": "Sofia"}
IN_ROOM: dict[str, Any] = {"role": "in", "resource_id": ROOM, "name": "Room 1"}
BookVisit = Callable[..., Awaitable[int]]


@pytest.fixture
async def massage(database: Database) -> Service:
    """A massage with Sofia, in Room 1. There is a van too."""
    async with database.transaction(by=OWNER) as session:
        for name, capacity in (("Sofia", 1), ("Room 1", 1), ("Van", 4)):
            await records.create(session, Resource, by=OWNER, now=NOW, name=name, capacity=capacity)
        facts: dict[str, Any] = {"title": "Massage", "price": 80, "duration_minutes": 60, "resource_ids": [SOFIA]}
        needs = [Need((ROOM,), ResourceRole.IN)]
        return await records.create(session, Service, by=OWNER, now=NOW, **facts, needs=needs)


@pytest.fixture
def book_visit(database: Database, tom: Person, massage: Service) -> BookVisit:
    """Return a function that writes a massage of Tom's, some hours after ten, and returns its id."""

    async def book(hours: int = 0) -> int:
        start = TOMORROW_AT_TEN + timedelta(hours=hours)
        end = start + timedelta(hours=1)
        async with database.transaction(by=OWNER) as session:
            booking = await session.insert(
                Booking(
                    user_id=tom.id,
                    service_id=massage.id,
                    resource_id=SOFIA,
                    other_resource_ids=[ROOM],
                    price=Decimal(80),
                    status=Status.CONFIRMED,
                    start_time=start,
                    end_time=end,
                    blocks_from=start,
                    blocks_until=end,
                    created_at=NOW,
                )
            )
        return booking.id

    return book


async def test_a_booking_names_all_its_resources(tom: Person, book_visit: BookVisit) -> None:
    number = await book_visit()

    answers = [
        (await tom.request("GET", f"/bookings/{number}")).json(),
        (await tom.request("GET", "/bookings")).json()[0],
        (await tom.request("PATCH", f"/bookings/{number}", json={"status": "cancelled"})).json(),
    ]

    assert [(answer["resource_id"], answer["resources"], answer["seats"]) for answer in answers] == [
        (SOFIA, [WITH_SOFIA, IN_ROOM], 1)
    ] * 3


async def test_a_booking_keeps_its_roles_when_its_service_needs_something_else(
    ada: Person, tom: Person, massage: Service, book_visit: BookVisit
) -> None:
    number = await book_visit()

    changes = {"role": "using", "needs": [{"role": "using", "resource_ids": [VAN]}], "accepts_stranded": True}
    await ada.request("PATCH", f"/services/{massage.id}", json=changes)

    answer = (await tom.request("GET", f"/bookings/{number}")).json()
    assert answer["resources"] == [WITH_SOFIA, IN_ROOM]


async def test_a_booking_of_one_resource_names_it(tom: Person, haircut: Service) -> None:
    facts = {"service_id": haircut.id, "start_time": TOMORROW_AT_TEN.isoformat()}

    booking = (await tom.request("POST", "/bookings", json=facts)).json()

    assert booking["resources"] == [{"role": "with", "resource_id": booking["resource_id"], "name": "Haircut"}]


@pytest.mark.parametrize(("resource_id", "hits"), [(SOFIA, 1), (ROOM, 1), (VAN, 0)])
async def test_a_list_finds_bookings_by_any_of_their_resources(
    mara: Person, book_visit: BookVisit, resource_id: int, hits: int
) -> None:
    await book_visit()

    answer = await mara.request("GET", f"/bookings?resource_id={resource_id}")

    assert len(answer.json()) == hits


async def test_a_page_of_bookings_is_read_in_one_statement(
    mara: Person, book_visit: BookVisit, monkeypatch: pytest.MonkeyPatch
) -> None:
    for hours in range(5):
        await book_visit(hours)
    seen: list[str] = []
    execute = AsyncConnection.execute

    async def note(connection: AsyncConnection[Any], query: Any, *args: Any, **more: Any) -> Any:
        seen.append(str(query))
        return await execute(connection, query, *args, **more)

    monkeypatch.setattr(AsyncConnection, "execute", note)
    answer = await mara.request("GET", "/bookings")

    assert [len(booking["resources"]) for booking in answer.json()] == [2] * 5
    assert len([query for query in seen if "bookings" in query]) == 1


async def test_a_need_without_the_resource_of_a_visit_strands_it(
    ada: Person, massage: Service, book_visit: BookVisit
) -> None:
    number = await book_visit()
    path, other_room = f"/services/{massage.id}", {"needs": [{"role": "in", "resource_ids": [VAN]}]}

    refused = await ada.request("PATCH", path, json=other_room)
    accepted = await ada.request("PATCH", path, json=other_room | {"accepts_stranded": True})

    assert status_and_code(refused) == (409, "strands-visits")
    assert [visit["id"] for visit in refused.json()["stranded"]] == [number]
    assert accepted.status_code == 200
