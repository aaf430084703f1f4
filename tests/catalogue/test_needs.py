"""What the visits of a service need beside its first resource, and how many seats one booking may take."""

from typing import Any

import pytest
from sqlalchemy import text

from bookit import records
from bookit import refusals as no
from bookit.db.pool import Database
from bookit.needs import Need
from bookit.schema.tables import Resource, Service
from tests.support.clock import NOW
from tests.support.doors import AT_BOTH_DOORS, DoorClient
from tests.support.people import OWNER, Person
from tests.support.refusal_assertions import RefusalOutcome
from tests.support.request_helpers import status_and_code

MASSAGE: dict[str, Any] = {"title": "Massage", "price": 80, "duration_minutes": 60}
ROOM: dict[str, Any] = {
    "role": "in", "resource_ids": [2, 3], "seats": 1, "free_from_minutes": None, "free_until_minutes": None,
}  # fmt: skip
COLLEAGUE: dict[str, Any] = {
    "role": "with", "resource_ids": [4], "seats": 1, "free_from_minutes": 40, "free_until_minutes": None,
}  # fmt: skip
EVENTS_OF_NEEDS = text("SELECT action, old, new FROM events WHERE table_name = 'service_needs' ORDER BY id")


@pytest.fixture(autouse=True)
async def resources(database: Database) -> None:
    """Sofia (1), two rooms (2 and 3), and Marek (4)."""
    async with database.transaction(by=OWNER) as session:
        for name in ("Sofia", "Room 1", "Room 2", "Marek"):
            await records.create(session, Resource, by=OWNER, now=NOW, name=name)


async def read_needs(door: DoorClient, service: Any) -> Any:
    """Return the needs of a service as everyone reads them."""
    return (await door.desk.visitor.get(f"/services/{service['id']}")).json()["needs"]


@AT_BOTH_DOORS
async def test_a_service_needs_a_room_and_a_colleague(door: DoorClient) -> None:
    service = await door.add(Service, **MASSAGE, resource_ids=[1], needs=[ROOM, COLLEAGUE])

    assert await read_needs(door, service) == [ROOM, COLLEAGUE]


@AT_BOTH_DOORS
async def test_other_needs_replace_those_before_and_count_the_version(door: DoorClient) -> None:
    before = await door.add(Service, **MASSAGE, resource_ids=[1], needs=[ROOM, COLLEAGUE])
    room = ROOM | {"resource_ids": [3], "seats": 2}

    after = await door.change(Service, before, needs=[room])

    assert after == before | {"version": 2}
    assert await read_needs(door, after) == [room]
    assert await door.change(Service, after, needs=[room]) == after
    assert await door.change(Service, before, needs=[ROOM]) == RefusalOutcome(no.Stale)


@AT_BOTH_DOORS
async def test_the_resources_of_a_need_alone_count_the_version(door: DoorClient) -> None:
    before = await door.add(Service, **MASSAGE, resource_ids=[1], needs=[ROOM])

    after = await door.change(Service, before, needs=[ROOM | {"resource_ids": [2]}])

    assert after["version"] == 2
    assert await read_needs(door, after) == [ROOM | {"resource_ids": [2]}]


@AT_BOTH_DOORS
async def test_needs_that_are_taken_away_are_gone(door: DoorClient) -> None:
    before = await door.add(Service, **MASSAGE, resource_ids=[1], needs=[ROOM, COLLEAGUE])

    after = await door.change(Service, before, needs=[])

    assert await read_needs(door, after) == []


@AT_BOTH_DOORS
async def test_parties_role_and_pause_are_stored(door: DoorClient) -> None:
    facts: dict[str, Any] = {
        "max_party": 4, "price_is_per_person": True, "role": "in", "free_from_minutes": 20, "free_until_minutes": 40,
    }  # fmt: skip

    service = await door.add(Service, **MASSAGE, **facts)

    assert {name: service[name] for name in facts} == facts


@AT_BOTH_DOORS
@pytest.mark.parametrize(
    ("wrong", "refusal"),
    [
        ({"free_from_minutes": 40, "free_until_minutes": 40}, no.PauseEndsBeforeStart),
        ({"free_from_minutes": None, "free_until_minutes": 40}, no.PauseEndsBeforeStart),
        ({"free_from_minutes": 0, "free_until_minutes": None}, no.PauseEndsBeforeStart),
        ({"free_from_minutes": 86401}, no.Misshapen),
        ({"max_party": 0}, no.Misshapen),
        ({"max_party": 101}, no.Misshapen),
    ],
)
async def test_a_wrong_pause_or_party_is_refused(
    door: DoorClient, wrong: dict[str, Any], refusal: type[no.Refusal]
) -> None:
    field = "free_until_minutes" if refusal is no.PauseEndsBeforeStart else next(iter(wrong))

    assert await door.add(Service, **MASSAGE, **wrong) == RefusalOutcome(refusal, field)


@AT_BOTH_DOORS
async def test_a_need_has_its_own_pause(door: DoorClient) -> None:
    wrong = COLLEAGUE | {"free_from_minutes": 40, "free_until_minutes": 20}

    answer = await door.add(Service, **MASSAGE, resource_ids=[1], needs=[wrong])

    assert answer == RefusalOutcome(no.NeedPauseEndsBeforeStart)


async def test_a_need_has_a_resource_that_exists(ada: Person) -> None:
    """The desk offers only resources that exist."""
    body = MASSAGE | {"resource_ids": [1], "needs": [ROOM | {"resource_ids": [99]}]}

    assert status_and_code(await ada.request("POST", "/services", json=body)) == (404, "unknown-resource")


async def test_the_rule_wants_a_resource_for_each_need_and_at_most_five(database: Database) -> None:
    for needs, refusal in (([Need(())], no.NeedWithoutResource), ([Need((2,))] * 5, no.TooManyNeeds)):
        with pytest.raises(refusal):
            async with database.transaction(by=OWNER) as session:
                await records.create(session, Service, by=OWNER, now=NOW, **MASSAGE, resource_ids=[1], needs=needs)


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        {},
        [None],
        [ROOM] * 5,
        [ROOM | {"role": "under"}],
        [ROOM | {"role": None}],
        [ROOM | {"resource_ids": [2, 2]}],
        [ROOM | {"resource_ids": None}],
        [ROOM | {"resource_ids": [*range(1, 102)]}],
        [ROOM | {"resource_ids": [0]}],
        [ROOM | {"resource_ids": ["2"]}],
        [ROOM | {"seats": 0}],
        [ROOM | {"seats": 101}],
        [ROOM | {"position": 2}],
        [{"role": "in"}],
    ],
)
async def test_wrong_shapes_are_refused(ada: Person, wrong: Any) -> None:
    service = (await ada.request("POST", "/services", json=MASSAGE)).json()

    answer = await ada.request("PATCH", f"/services/{service['id']}", json={"needs": wrong})

    assert status_and_code(answer) == (422, "wrong-shape")
    assert answer.json()["errors"][0]["loc"][:2] == ["body", "needs"]


async def test_history_has_what_changed_in_a_need(ada: Person, database: Database) -> None:
    service = (await ada.request("POST", "/services", json=MASSAGE | {"needs": [ROOM]})).json()

    await ada.request("PATCH", f"/services/{service['id']}", json={"needs": [ROOM | {"seats": 2}]})

    events = await database.fetch(EVENTS_OF_NEEDS)
    assert [(event["action"], event["old"], event["new"] and event["new"]["seats"]) for event in events] == [
        ("created", None, 1),
        ("changed", {"seats": 1}, 2),
    ]
