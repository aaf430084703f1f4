"""The desk's pages of visits that take several resources: with Sofia in Room 1."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from bookit.db.pool import Database
from bookit.schema.tables import Booking, Service
from tests.support.admin_client import AdminDesk
from tests.support.claims import create_massage, insert_massage
from tests.support.clock import TOMORROW_AT_TEN, Clock
from tests.support.people import OWNER, Person

DAY = {"start": "2030-01-08T00:00:00", "end": "2030-01-09T00:00:00"}
PAUSE = text("UPDATE services SET free_from_minutes = 20, free_until_minutes = 40 WHERE id = :id")
SOFIA, MAREK, ROOM_1, ROOM_2 = 1, 2, 3, 4


@pytest.fixture
async def massage(database: Database) -> Service:
    return await create_massage(database)


@pytest.fixture
async def visit(desk: AdminDesk, clock: Clock, massage: Service, tom: Person) -> Booking:
    """Book Tom a massage with Sofia in Room 1, tomorrow at 11:00 in Berlin."""
    return await insert_massage(desk.database, massage, tom.id, [SOFIA, ROOM_1])


async def feed(desk: AdminDesk, **more: Any) -> list[dict[str, Any]]:
    answer = await desk.mara.get("/admin/calendar/feed", params={**DAY, **more})
    visits: list[dict[str, Any]] = answer.json()["visits"]
    return visits


async def test_the_calendar_has_a_visit_in_each_column_that_it_takes(desk: AdminDesk, visit: Booking) -> None:
    [fed] = await feed(desk)

    span = {"start": "2030-01-08T11:00:00", "end": "2030-01-08T12:00:00"}
    assert (fed["resource"], fed["resource_ids"]) == ("Sofia and Room 1", [SOFIA, ROOM_1])
    assert fed["parts"] == [
        {**span, "resource_id": SOFIA, "position": 1, "role": "with", "name": "Sofia"},
        {**span, "resource_id": ROOM_1, "position": 2, "role": "in", "name": "Room 1"},
    ]


@pytest.mark.parametrize(("resource", "count"), [(SOFIA, 1), (ROOM_1, 1), (MAREK, 0), (ROOM_2, 0)])
async def test_the_calendar_of_a_resource_has_the_visits_that_take_it(
    desk: AdminDesk, visit: Booking, resource: int, count: int
) -> None:
    assert len(await feed(desk, resource=resource)) == count


async def test_the_calendar_shows_a_pause_as_free(desk: AdminDesk, massage: Service, tom: Person) -> None:
    async with desk.database.transaction(by=OWNER) as session:
        await session.fetch(PAUSE, id=massage.id)
    await insert_massage(desk.database, massage, tom.id, [SOFIA, ROOM_1], TOMORROW_AT_TEN + timedelta(hours=2))

    [fed] = await feed(desk)

    assert [(part["name"], part["start"][11:16], part["end"][11:16]) for part in fed["parts"]] == [
        ("Sofia", "13:00", "13:20"),
        ("Sofia", "13:40", "14:00"),
        ("Room 1", "13:00", "14:00"),
    ]
