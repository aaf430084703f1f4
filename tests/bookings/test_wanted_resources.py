"""Booking and finding visits that take several resources or several seats, at the API."""

from typing import Any

import httpx2
import pytest

from bookit import records
from bookit.db.pool import Database
from bookit.needs import Need
from bookit.schema.tables import Booking, Resource, ResourceRole, Service
from tests.support.clock import NOW, TOMORROW_AT_TEN
from tests.support.people import OWNER, Person
from tests.support.request_helpers import status_and_code

SOFIA, MAREK, ROOM_1, ROOM_2 = 1, 2, 3, 4
TEN = TOMORROW_AT_TEN.isoformat()


@pytest.fixture(autouse=True)
async def massage(database: Database) -> Service:
    """A massage with Sofia or Marek, in one of two rooms. Up to two guests share Sofia, who has three seats."""
    async with database.transaction(by=OWNER) as session:
        for name, capacity in (("Sofia", 3), ("Marek", 1), ("Room 1", 1), ("Room 2", 1)):
            await records.create(session, Resource, by=OWNER, now=NOW, name=name, capacity=capacity)
        facts: dict[str, Any] = {
            "title": "Massage", "price": 80, "duration_minutes": 60, "resource_ids": [SOFIA, MAREK],
            "needs": [Need((ROOM_1, ROOM_2), ResourceRole.IN)], "max_party": 2, "price_is_per_person": True,
        }  # fmt: skip
        return await records.create(session, Service, by=OWNER, now=NOW, **facts)


async def book(person: Person, **facts: Any) -> httpx2.Response:
    """Book a massage at ten."""
    return await person.request("POST", "/bookings", json={"service_id": 1, "start_time": TEN, **facts})


def ids_of(answer: httpx2.Response) -> Any:
    """Return the ids of the resources of a booking, or its refusal."""
    return [one["resource_id"] for one in answer.json()["resources"]] if answer.is_success else status_and_code(answer)


async def test_without_wishes_the_first_combination_is_taken(tom: Person) -> None:
    booking = (await book(tom)).json()

    assert booking["resources"] == [
        {"role": "with", "resource_id": SOFIA, "name": "Sofia"},
        {"role": "in", "resource_id": ROOM_1, "name": "Room 1"},
    ]


@pytest.mark.parametrize(
    ("wishes", "taken"),
    [
        ({"resource_id": MAREK}, [MAREK, ROOM_1]),
        ({"resources": [{"resource_id": MAREK}]}, [MAREK, ROOM_1]),
        ({"resources": [{"resource_id": MAREK}, {"resource_id": ROOM_2}]}, [MAREK, ROOM_2]),
        ({"resources": [{"role": "in", "resource_id": ROOM_2}]}, [SOFIA, ROOM_2]),
        (
            {"resources": [{"role": "in", "resource_id": ROOM_2}, {"role": "with", "resource_id": MAREK}]},
            [MAREK, ROOM_2],
        ),
        ({"resource_id": MAREK, "resources": [{"role": "in", "resource_id": ROOM_2}]}, [MAREK, ROOM_2]),
        ({"resource_id": MAREK, "resources": [{"resource_id": MAREK}]}, [MAREK, ROOM_1]),
        ({"resource_id": MAREK, "resources": [{"resource_id": SOFIA}]}, (422, "resources-differ")),
        ({"resources": [{"role": "using", "resource_id": ROOM_2}]}, (400, "role-not-needed")),
        ({"resources": [{"resource_id": number} for number in (SOFIA, ROOM_1, ROOM_2)]}, (400, "role-not-needed")),
        ({"resources": [{"resource_id": SOFIA}, {"resource_id": SOFIA}]}, (400, "one-role-each")),
        ({"resources": [{"role": "in", "resource_id": SOFIA}]}, (400, "resource-unsuitable")),
        ({"resources": [{"role": "in", "resource_id": 99}]}, (404, "unknown-resource")),
        ({"resources": []}, (422, "wrong-shape")),
        ({"resources": {}}, (422, "wrong-shape")),
        ({"resources": [1]}, (422, "wrong-shape")),
        ({"resources": [{}]}, (422, "wrong-shape")),
        ({"resources": [{"role": "under", "resource_id": 1}]}, (422, "wrong-shape")),
        ({"resources": [{"resource_id": None}]}, (422, "wrong-shape")),
        ({"resources": [{"resource_id": SOFIA}] * 6}, (422, "wrong-shape")),
        ({"seats": 0}, (422, "wrong-shape")),
        ({"seats": 101}, (422, "wrong-shape")),
        ({"seats": None}, (422, "wrong-shape")),
        ({"seats": 3}, (400, "party-too-large")),
        ({"service_id": 99, "resources": [{"resource_id": SOFIA}]}, (404, "unknown-service")),
    ],
)
async def test_a_booking_takes_the_resources_that_it_names(tom: Person, wishes: dict[str, Any], taken: Any) -> None:
    assert ids_of(await book(tom, **wishes)) == taken


async def test_a_party_takes_its_seats_and_pays_for_each(tom: Person, eve: Person) -> None:
    booking = (await book(tom, resource_id=SOFIA, seats=2)).json()

    assert (booking["seats"], booking["price"]) == (2, 160.0)
    assert status_and_code(await book(eve, resource_id=SOFIA, seats=2)) == (409, "slot-taken")


async def test_a_booking_changes_its_resources_and_seats(tom: Person, mara: Person) -> None:
    number = (await book(tom, seats=1)).json()["id"]

    async def change(**facts: Any) -> Any:
        return ids_of(await mara.request("PATCH", f"/bookings/{number}", json=facts))

    assert await change(resources=[{"role": "in", "resource_id": ROOM_2}]) == [SOFIA, ROOM_2]
    assert await change(resource_id=MAREK) == [MAREK, ROOM_2]
    assert await change(resources=[{"resource_id": SOFIA}, {"resource_id": ROOM_1}], seats=2) == [SOFIA, ROOM_1]
    assert (await tom.request("GET", f"/bookings/{number}")).json()["seats"] == 2
    assert await change(resource_id=MAREK, resources=[{"resource_id": SOFIA}]) == (422, "resources-differ")
    assert await change(resources=None) == (422, "wrong-shape")
    assert await change(seats=None) == (422, "wrong-shape")


async def test_a_key_books_a_combination_once(tom: Person, database: Database) -> None:
    body = {"service_id": 1, "start_time": TEN, "resources": [{"resource_id": MAREK}]}

    answers = [await tom.request("POST", "/bookings", json=body, headers={"Idempotency-Key": "once"}) for _ in range(2)]

    assert answers[0].json() == answers[1].json()
    assert ids_of(answers[1]) == [MAREK, ROOM_1]
    assert await database.get(Booking, 2) is None


async def test_slots_name_what_is_free_with_each_resource(tom: Person, visitor: httpx2.AsyncClient) -> None:
    await book(tom, resources=[{"role": "in", "resource_id": ROOM_1}], resource_id=MAREK)

    async def at_ten(**query: Any) -> Any:
        answer = await visitor.get("/services/1/availability", params={"from_date": TEN, **query})
        slots = [slot for slot in answer.json() if slot["start_time"] == "2030-01-08T10:00:00Z"]
        return [
            (resource["id"], resource["free_places"], [other["resource_id"] for other in resource["others"]])
            for slot in slots
            for resource in slot["resources"]
        ]

    assert await at_ten() == [(SOFIA, 3, [ROOM_2])]
    assert await at_ten(resources=f"{SOFIA},{ROOM_2}") == [(SOFIA, 3, [ROOM_2])]
    assert await at_ten(resources=f",{ROOM_1}") == []
    assert await at_ten(seats=2) == [(SOFIA, 3, [ROOM_2])]


@pytest.mark.parametrize(
    ("query", "refusal"),
    [
        ({"seats": "0"}, (422, "wrong-shape")),
        ({"seats": "1_0"}, (422, "wrong-shape")),
        ({"seats": "3"}, (400, "party-too-large")),
        ({"resources": "a"}, (422, "wrong-shape")),
        ({"resources": "1,2,3,4,5,6"}, (422, "wrong-shape")),
        ({"resources": "1,1"}, (400, "one-role-each")),
        ({"resources": "1", "resource_id": "2"}, (422, "resources-differ")),
    ],
)
async def test_wrong_queries_are_refused(
    visitor: httpx2.AsyncClient, query: dict[str, str], refusal: tuple[int, str]
) -> None:
    for path in ("availability", "availability/explain"):
        start = {"start_time": TEN} if path.endswith("explain") else {}
        assert status_and_code(await visitor.get(f"/services/1/{path}", params=start | query)) == refusal


async def test_explain_says_for_each_role_what_stands_in_the_way(
    tom: Person, eve: Person, visitor: httpx2.AsyncClient
) -> None:
    await book(tom, resource_id=MAREK)
    await book(eve)

    answer = (await visitor.get("/services/1/availability/explain", params={"start_time": TEN})).json()

    assert [
        (one["position"], one["role"], one["name"], [rule["rule"] for rule in one["in_the_way"]])
        for one in answer["resources"]
    ] == [
        (1, "with", "Sofia", []),
        (1, "with", "Marek", ["taken"]),
        (2, "in", "Room 1", ["taken"]),
        (2, "in", "Room 2", ["taken"]),
    ]
    assert answer["can_be_booked"] is False
