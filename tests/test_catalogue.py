"""Services: what everybody finds, and what the admin keeps."""

from decimal import Decimal
from typing import Any

import httpx2
import pytest

from bookit import records
from bookit.database import Database
from bookit.policy import Actor
from bookit.refusals import UnknownTimezone
from bookit.tables import Resource, Role, Service, ServiceResource, home
from tests.conftest import NOW, OWNER, TOMORROW_AT_TEN, Person, refused

MASSAGE: dict[str, Any] = {"title": "Massage", "description": "An hour of rest", "price": 79.9, "duration_minutes": 60}


async def test_an_admin_adds_a_service_with_a_resource_of_its_own(ada: Person, database: Database) -> None:
    answer = await ada.asks("POST", "/services", json=MASSAGE)

    assert answer.status_code == 201
    assert answer.json() == MASSAGE | {
        "id": 1,
        "setup_minutes": 0,
        "cleanup_minutes": 0,
        "slot_step_minutes": None,
        "min_notice_minutes": 0,
        "horizon_days": None,
        "cancel_notice_minutes": 0,
        "is_active": True,
        "created_at": "2030-01-07T09:00:00Z",
        "version": 1,
    }
    assert answer.headers["location"] == "/services/1"
    own = await database.fetch(home(Resource).select())
    assert [(row["name"], row["capacity"], row["timezone"]) for row in own] == [("Massage", 1, "UTC")]


async def test_a_service_is_served_by_the_resources_chosen(ada: Person, shared: Service, database: Database) -> None:
    answer = await ada.asks("POST", "/services", json=MASSAGE | {"resource_ids": [2, 1, 2]})

    links = await database.fetch(home(ServiceResource).select())
    assert answer.status_code == 201
    assert [row["resource_id"] for row in links if row["service_id"] == answer.json()["id"]] == [1, 2]


async def test_who_serves_a_service_can_be_changed(ada: Person, shared: Service, database: Database) -> None:
    answer = await ada.asks("PATCH", f"/services/{shared.id}", json={"resource_ids": [2]})

    links = await database.fetch(home(ServiceResource).select())
    assert answer.status_code == 200
    assert [row["resource_id"] for row in links] == [2]


async def test_a_resource_that_is_not_there_cannot_serve(ada: Person) -> None:
    answer = await ada.asks("POST", "/services", json=MASSAGE | {"resource_ids": [99]})

    assert refused(answer) == (404, "unknown-resource")
    assert (await ada.asks("GET", "/services")).json() == []


@pytest.mark.parametrize("who", ["tom", "mara"])
async def test_only_an_admin_writes_the_catalogue(who: str, haircut: Service, cast: dict[str, Person]) -> None:
    answers = [
        await cast[who].asks("POST", "/services", json=MASSAGE),
        await cast[who].asks("PATCH", f"/services/{haircut.id}", json={"price": 1}),
        await cast[who].asks("DELETE", f"/services/{haircut.id}"),
    ]

    assert [refused(answer) for answer in answers] == [(403, "forbidden")] * 3


async def test_everybody_finds_services(visitor: httpx2.AsyncClient, ada: Person, haircut: Service) -> None:
    await ada.asks("POST", "/services", json=MASSAGE)
    await ada.asks("POST", "/services", json=MASSAGE | {"title": "100% Relaxed_", "price": 120, "is_active": False})

    async def found(**query: Any) -> list[str]:
        return [row["title"] for row in (await visitor.get("/services", params=query)).json()]

    assert await found() == ["Haircut", "Massage", "100% Relaxed_"]
    assert await found(q="MASS") == ["Massage"]
    assert await found(q="hour of") == ["Massage", "100% Relaxed_"]
    assert await found(q="0%") == ["100% Relaxed_"]
    assert await found(q="d_") == ["100% Relaxed_"]
    assert await found(q="\\") == []
    assert await found(price_min=79.9) == ["Massage", "100% Relaxed_"]
    assert await found(price_min=35, price_max=79.9) == ["Haircut", "Massage"]
    assert await found(active="true") == ["Haircut", "Massage"]
    assert await found(active="false") == ["100% Relaxed_"]


async def test_one_service_is_shown_with_its_version(visitor: httpx2.AsyncClient, haircut: Service) -> None:
    answer = await visitor.get(f"/services/{haircut.id}")

    assert (answer.status_code, answer.json()["title"], answer.headers["etag"]) == (200, "Haircut", '"1"')
    assert refused(await visitor.get("/services/99")) == (404, "missing")
    assert (await visitor.get(f"/v1/services/{haircut.id}")).json() == answer.json()


async def test_a_change_leaves_the_rest_as_it_is(ada: Person, haircut: Service) -> None:
    before = (await ada.asks("GET", f"/services/{haircut.id}")).json()

    answer = await ada.asks("PATCH", f"/services/{haircut.id}", json={"price": 40.5}, headers={"If-Match": '"1"'})
    stale = await ada.asks("PATCH", f"/services/{haircut.id}", json={"price": 41}, headers={"If-Match": '"1"'})

    assert answer.json() == before | {"price": 40.5, "version": 2}
    assert refused(stale) == (412, "stale")


async def test_a_change_to_the_same_changes_nothing(ada: Person, haircut: Service) -> None:
    answer = await ada.asks("PATCH", f"/services/{haircut.id}", json={"price": 35, "title": "Haircut"})

    assert (answer.status_code, answer.json()["version"]) == (200, 1)


async def test_a_service_nobody_booked_goes_with_its_own_resource(
    ada: Person, haircut: Service, database: Database
) -> None:
    answer = await ada.asks("DELETE", f"/services/{haircut.id}")

    assert answer.status_code == 204
    assert await database.fetch(home(Resource).select()) == []


async def test_a_service_somebody_booked_stays(ada: Person, tom: Person, haircut: Service) -> None:
    wanted = {"service_id": haircut.id, "start_time": TOMORROW_AT_TEN.isoformat()}
    await tom.asks("POST", "/bookings", json=wanted)

    answer = await ada.asks("DELETE", f"/services/{haircut.id}")

    assert refused(answer) == (409, "still-in-use")
    assert (await ada.asks("GET", f"/services/{haircut.id}")).status_code == 200


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", "../etc/passwd", "Europe/Berlin\0"])
async def test_a_zone_that_is_none_is_refused(database: Database, zone: str) -> None:
    with pytest.raises(UnknownTimezone):
        async with database.transaction(by=OWNER) as session:
            await records.create(session, Resource, by=OWNER, now=NOW, name="Lea", timezone=zone)


async def test_a_resource_changes_and_goes(database: Database) -> None:
    ada = Actor("admin", 1, Role.ADMIN)
    async with database.transaction(by=ada) as session:
        lea = await records.create(session, Resource, by=ada, now=NOW, name="Lea", timezone="Europe/Berlin")
        lea = await records.change(session, lea, by=ada, now=NOW, capacity=3, timezone="Europe/Paris")
        changed = (lea.capacity, lea.timezone)
        await records.remove(session, lea, by=ada, now=NOW)

    assert changed == (3, "Europe/Paris")
    assert await database.fetch(home(Resource).select()) == []


async def test_money_is_exact(ada: Person, visitor: httpx2.AsyncClient, database: Database) -> None:
    await ada.asks("POST", "/services", json=MASSAGE | {"price": 35 * 0.01})

    rows = await database.fetch(home(Service).select())
    assert rows[0]["price"] == Decimal("0.35")
    assert '"price":0.35,' in (await visitor.get("/services/1")).text
