"""A customer's move: what availability offers is accepted, on another resource if the own one is not free."""

from datetime import timedelta
from typing import Any

import httpx2
import pytest
from sqlalchemy import text

from bookit import refusals as no
from bookit.db.pool import Database
from bookit.schema.tables import Service
from tests.support.clock import NOW, TOMORROW_AT_TEN, Clock
from tests.support.doors import AT_BOTH_DOORS, DoorClient
from tests.support.people import OWNER, Person
from tests.support.refusal_assertions import RefusalOutcome
from tests.support.request_helpers import status_and_code

TEN = TOMORROW_AT_TEN.isoformat()
NOON = TOMORROW_AT_TEN.replace(hour=12).isoformat()
# Each keeps resource 1 from serving the booking at noon.
OBSTACLES = {
    "inactive": "UPDATE resources SET is_active = false WHERE id = 1",
    "not serving it": "DELETE FROM service_resources WHERE resource_id = 1",
    "outside its hours": "INSERT INTO opening_hours (resource_id, weekday, opens, closes)"
    " VALUES (1, 2, '09:00', '11:00')",
    "closed": "INSERT INTO calendar_exceptions (resource_id, start_time, end_time)"
    " VALUES (1, '2030-01-08 11:00Z', '2030-01-08 13:00Z')",
    "taken": "INSERT INTO bookings (user_id, service_id, resource_id, start_time, end_time, blocks_from, blocks_until,"
    " price) SELECT id, 1, 1, '2030-01-08 12:00Z', '2030-01-08 12:30Z', '2030-01-08 12:00Z', '2030-01-08 12:30Z', 60"
    " FROM users WHERE name = 'Eve'",
}


async def run_sql(database: Database, statement: str) -> None:
    async with database.transaction(by=OWNER) as session:
        await session.fetch(text(statement))


async def book(person: Person, **more: Any) -> dict[str, Any]:
    answer = await person.request("POST", "/bookings", json={"service_id": 1, "start_time": TEN, **more})
    assert answer.status_code == 201, answer.text
    booking: dict[str, Any] = answer.json()
    return booking


async def move(person: Person, **to: Any) -> httpx2.Response:
    return await person.request("PATCH", "/bookings/1", json={"start_time": NOON, **to})


async def offered(person: Person, **query: Any) -> httpx2.Response:
    query = {"booking_id": 1, "from_date": NOON, "to_date": "2030-01-08T12:01:00Z", **query}
    return await person.request("GET", "/services/1/availability", params=query)


# At the API only: staff keep the resource unless they choose another one.


@pytest.mark.parametrize("obstacle", OBSTACLES)
async def test_a_move_finds_another_resource_as_availability_offers(
    tom: Person, eve: Person, shared: Service, database: Database, obstacle: str
) -> None:
    await book(tom, resource_id=1)
    await run_sql(database, OBSTACLES[obstacle])

    (slot,) = (await offered(tom)).json()
    moved = await move(tom)

    assert [resource["id"] for resource in slot["resources"]] == [2]
    assert (moved.status_code, moved.json()["resource_id"], moved.json()["start_time"]) == (
        200,
        2,
        "2030-01-08T12:00:00Z",
    )


@pytest.mark.parametrize("obstacle", OBSTACLES)
async def test_a_move_that_names_its_resource_is_refused_there(
    tom: Person, eve: Person, shared: Service, database: Database, obstacle: str
) -> None:
    await book(tom, resource_id=1)
    await run_sql(database, OBSTACLES[obstacle])

    slots = (await offered(tom, resource_id=1)).json()
    moved = await move(tom, resource_id=1)

    assert slots == []
    assert moved.status_code in {400, 409}
    assert (await tom.request("GET", "/bookings/1")).json()["resource_id"] == 1


async def test_a_move_keeps_its_resource_while_that_is_free(tom: Person, shared: Service) -> None:
    await book(tom, resource_id=2)

    assert (await move(tom)).json()["resource_id"] == 2


async def test_a_refused_move_suggests_slots_of_any_resource(tom: Person, shared: Service, database: Database) -> None:
    await book(tom, resource_id=1)
    await run_sql(database, OBSTACLES["inactive"])
    await run_sql(
        database,
        "INSERT INTO calendar_exceptions (start_time, end_time) VALUES ('2030-01-08 11:00Z', '2030-01-08 13:00Z')",
    )

    answer = await move(tom)

    assert status_and_code(answer) == (400, "closed")
    first = answer.json()["next_free"][0]
    assert (first["start_time"], [one["id"] for one in first["resources"]]) == ("2030-01-08T13:00:00Z", [2])
    assert (await move(tom, start_time=first["start_time"])).status_code == 200


async def test_a_move_that_nothing_can_serve_is_refused(tom: Person, shared: Service, database: Database) -> None:
    await book(tom)
    await run_sql(database, "UPDATE resources SET is_active = false")

    assert (await offered(tom)).json() == []
    assert status_and_code(await move(tom)) == (400, "nothing-to-serve-it")


@AT_BOTH_DOORS
async def test_staff_keep_the_resource_of_a_visit_that_they_move(
    door: DoorClient, tom: Person, eve: Person, shared: Service
) -> None:
    noon = TOMORROW_AT_TEN.replace(hour=12)
    first = await door.book(tom, shared, TOMORROW_AT_TEN)
    await door.book(eve, shared, noon)

    assert (first["resource_id"], (await door.reschedule(first, start_time=noon))) == (1, RefusalOutcome(no.SlotTaken))


# A booking that its customer can no longer move is offered no time.


@pytest.mark.parametrize(
    ("status", "minutes", "cancel_notice", "code"),
    [
        ("pending", 10, 0, "already-started"),
        ("completed", 10, 0, "already-started"),
        ("cancelled", 0, 0, "no-longer-open"),
        ("completed", 0, 0, "no-longer-open"),
        ("pending", 0, 60, "too-late-to-cancel"),
    ],
)
async def test_nothing_is_offered_that_a_move_would_refuse(
    tom: Person, mara: Person, shared: Service, database: Database, clock: Clock,
    status: str, minutes: int, cancel_notice: int, code: str,
) -> None:  # fmt: skip
    await book(tom, start_time=(NOW + timedelta(minutes=10)).isoformat())
    await run_sql(database, f"UPDATE bookings SET status = '{status}'")
    await run_sql(database, f"UPDATE services SET cancel_notice_minutes = {cancel_notice}")
    clock.advance(minutes=minutes)

    answers = [await offered(tom), await move(tom)]
    explained = await tom.request(
        "GET", "/services/1/availability/explain", params={"booking_id": 1, "start_time": NOON}
    )

    assert [status_and_code(answer) for answer in (*answers, explained)] == [(400, code)] * 3
    assert (await offered(mara)).status_code == 200
