"""Services: what an admin maintains, and what everyone can search."""

from decimal import Decimal
from typing import Any

import httpx2
import pytest

from bookit import refusals as no
from bookit.db.pool import Database
from bookit.schema.tables import Resource, Service, ServiceResource, table_of
from tests.support.clock import NOW, TOMORROW_AT_TEN
from tests.support.doors import AT_BOTH_DOORS, DoorClient
from tests.support.people import Person
from tests.support.refusal_assertions import RefusalOutcome
from tests.support.request_helpers import status_and_code

MASSAGE: dict[str, Any] = {
    "title": "Massage",
    "description": "An hour of rest",
    "price": Decimal("79.90"),
    "duration_minutes": 60,
}
IN_JSON = MASSAGE | {"price": 79.9}


# At the API and at the desk.


@AT_BOTH_DOORS
async def test_an_admin_adds_a_service_with_its_own_resource(door: DoorClient, database: Database) -> None:
    service = await door.add(Service, **MASSAGE)

    assert service == MASSAGE | {
        "id": 1,
        "max_party": 1,
        "price_is_per_person": False,
        "role": "with",
        "free_from_minutes": None,
        "free_until_minutes": None,
        "setup_minutes": 0,
        "cleanup_minutes": 0,
        "slot_step_minutes": None,
        "min_notice_minutes": 0,
        "horizon_days": None,
        "cancel_notice_minutes": 0,
        "binds_hours_at_ends": False,
        "is_active": True,
        "created_at": NOW,
        "version": 1,
    }
    own = await database.fetch(table_of(Resource).select())
    links = await database.fetch(table_of(ServiceResource).select())
    assert [(row["name"], row["capacity"], row["timezone"]) for row in own] == [("Massage", 1, "UTC")]
    assert links == [{"service_id": 1, "resource_id": 1}]


@AT_BOTH_DOORS
async def test_every_field_of_a_service_is_stored(door: DoorClient) -> None:
    facts: dict[str, Any] = {
        "setup_minutes": 5, "cleanup_minutes": 10, "slot_step_minutes": 15, "min_notice_minutes": 120,
        "horizon_days": 90, "cancel_notice_minutes": 1440, "binds_hours_at_ends": True, "is_active": False,
    }  # fmt: skip

    service = await door.add(Service, **MASSAGE, **facts)

    assert {name: service[name] for name in facts} == facts


@AT_BOTH_DOORS
async def test_a_change_leaves_other_fields_unchanged(door: DoorClient) -> None:
    before = await door.add(Service, **MASSAGE)

    after = await door.change(Service, before, price=Decimal("40.50"), is_active=False)

    assert after == before | {"price": Decimal("40.50"), "is_active": False, "version": 2}


@AT_BOTH_DOORS
async def test_a_change_to_the_same_values_changes_nothing(door: DoorClient) -> None:
    before = await door.add(Service, **MASSAGE)

    assert await door.change(Service, before, **MASSAGE) == before


@AT_BOTH_DOORS
async def test_a_stale_change_is_refused(door: DoorClient) -> None:
    seen = await door.add(Service, **MASSAGE)
    changed = await door.change(Service, seen, price=80)

    assert await door.change(Service, seen, title="Late") == RefusalOutcome(no.Stale)
    assert await door.fetch_row(Service, seen["id"]) == changed


@AT_BOTH_DOORS
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("title", ""),
        ("title", "   "),
        ("title", "x" * 201),
        ("description", "x" * 1001),
        ("price", "-0.01"),
        ("price", "1.005"),
        ("price", "100000000"),
        ("duration_minutes", 0),
        ("duration_minutes", 86401),
        ("setup_minutes", -1),
        ("cleanup_minutes", 1441),
        ("slot_step_minutes", 0),
        ("min_notice_minutes", 527041),
        ("horizon_days", 3661),
        ("cancel_notice_minutes", -1),
    ],
)
async def test_an_invalid_value_is_reported_on_its_field(
    door: DoorClient, haircut: Service, field: str, value: Any
) -> None:
    wrong: dict[str, Any] = {field: Decimal(value) if field == "price" else value}

    assert await door.add(Service, **MASSAGE | wrong) == RefusalOutcome(no.Misshapen, field)
    assert await door.change(Service, haircut, **wrong) == RefusalOutcome(no.Misshapen, field)


@AT_BOTH_DOORS
async def test_bounds_are_inclusive(door: DoorClient) -> None:
    most: dict[str, Any] = {
        "title": "é" * 200, "description": "x" * 1000, "price": Decimal("99999999.99"), "duration_minutes": 86400,
        "setup_minutes": 1440, "slot_step_minutes": 1, "min_notice_minutes": 527040, "horizon_days": 3660,
    }  # fmt: skip

    service = await door.add(Service, **most)

    assert {name: service[name] for name in most} == most


@AT_BOTH_DOORS
async def test_deleting_an_unbooked_service_deletes_its_own_resource(
    door: DoorClient, haircut: Service, database: Database
) -> None:
    assert await door.remove(Service, haircut) is None
    assert await database.fetch(table_of(Resource).select()) == []


@AT_BOTH_DOORS
async def test_deleting_a_service_keeps_shared_resources(door: DoorClient, shared: Service, database: Database) -> None:
    assert await door.remove(Service, shared) is None
    names = {row["name"] for row in await database.fetch(table_of(Resource).select())}
    assert names == {"Lea", "Max"}


@AT_BOTH_DOORS
async def test_a_booked_service_cannot_be_deleted(door: DoorClient, tom: Person, haircut: Service) -> None:
    await door.book(tom, haircut, TOMORROW_AT_TEN)

    assert await door.remove(Service, haircut) == RefusalOutcome(no.StillInUse)


@AT_BOTH_DOORS
async def test_an_unknown_service_is_refused(door: DoorClient) -> None:
    nothing = {"id": 99, "version": 1}

    assert await door.change(Service, nothing, price=1) == RefusalOutcome(no.Missing)
    assert await door.remove(Service, nothing) == RefusalOutcome(no.Missing)


@AT_BOTH_DOORS
async def test_only_an_admin_may_change_the_catalogue(door: DoorClient, mara: Person, haircut: Service) -> None:
    answers = [
        await door.add(Service, by=mara, **MASSAGE),
        await door.change(Service, haircut, by=mara, price=1),
        await door.remove(Service, haircut, by=mara),
    ]

    assert answers == [RefusalOutcome(no.Forbidden)] * 3


# At the API only: customers and searching.


async def test_customers_may_not_change_the_catalogue(tom: Person, haircut: Service) -> None:
    answers = [
        await tom.request("POST", "/services", json=IN_JSON),
        await tom.request("PATCH", f"/services/{haircut.id}", json={"price": 1}),
        await tom.request("DELETE", f"/services/{haircut.id}"),
    ]

    assert [status_and_code(answer) for answer in answers] == [(403, "forbidden")] * 3


async def test_services_can_be_searched_and_filtered(
    visitor: httpx2.AsyncClient, ada: Person, haircut: Service
) -> None:
    await ada.request("POST", "/services", json=IN_JSON)
    await ada.request("POST", "/services", json=IN_JSON | {"title": "100% Relaxed_", "price": 120, "is_active": False})

    async def search(**query: Any) -> list[str]:
        return [row["title"] for row in (await visitor.get("/services", params=query)).json()]

    assert await search() == ["Haircut", "Massage", "100% Relaxed_"]
    assert await search(q="MASS") == ["Massage"]
    assert await search(q="hour of") == ["Massage", "100% Relaxed_"]
    assert await search(q="0%") == ["100% Relaxed_"]
    assert await search(q="d_") == ["100% Relaxed_"]
    assert await search(q="\\") == []
    assert await search(price_min=79.9) == ["Massage", "100% Relaxed_"]
    assert await search(price_min=35, price_max=79.9) == ["Haircut", "Massage"]
    assert await search(active="true") == ["Haircut", "Massage"]
    assert await search(active="false") == ["100% Relaxed_"]


async def test_a_service_is_returned_with_its_version(visitor: httpx2.AsyncClient, haircut: Service) -> None:
    answer = await visitor.get(f"/services/{haircut.id}")

    assert (answer.status_code, answer.json()["title"], answer.headers["etag"]) == (200, "Haircut", '"1"')
    assert status_and_code(await visitor.get("/services/99")) == (404, "missing")
    assert (await visitor.get(f"/v1/services/{haircut.id}")).json() == answer.json()


async def test_a_new_service_is_returned_with_its_location(ada: Person) -> None:
    answer = await ada.request("POST", "/services", json=IN_JSON)

    assert (answer.status_code, answer.headers["location"], answer.headers["etag"]) == (201, "/services/1", '"1"')


async def test_money_is_exact(ada: Person, visitor: httpx2.AsyncClient, database: Database) -> None:
    """A JSON number may not hold a price exactly; a form's text always does."""
    await ada.request("POST", "/services", json=IN_JSON | {"price": 35 * 0.01})

    rows = await database.fetch(table_of(Service).select())
    assert rows[0]["price"] == Decimal("0.35")
    assert '"price":0.35,' in (await visitor.get("/services/1")).text


# At the API only: the resources of a service.


async def test_a_service_gets_the_chosen_resources(ada: Person, shared: Service, database: Database) -> None:
    answer = await ada.request("POST", "/services", json=IN_JSON | {"resource_ids": [2, 1, 2]})

    links = await database.fetch(table_of(ServiceResource).select())
    assert answer.status_code == 201
    assert [row["resource_id"] for row in links if row["service_id"] == answer.json()["id"]] == [1, 2]


async def test_the_resources_of_a_service_can_be_changed(ada: Person, shared: Service, database: Database) -> None:
    answer = await ada.request("PATCH", f"/services/{shared.id}", json={"resource_ids": [2]})

    links = await database.fetch(table_of(ServiceResource).select())
    assert answer.status_code == 200
    assert [row["resource_id"] for row in links] == [2]


async def test_an_unknown_resource_is_refused(ada: Person) -> None:
    answer = await ada.request("POST", "/services", json=IN_JSON | {"resource_ids": [99]})

    assert status_and_code(answer) == (404, "unknown-resource")
    assert (await ada.request("GET", "/services")).json() == []
