"""A request sent twice with one key is carried out once and answered alike, for a day."""

from typing import Any

import anyio
import httpx2
import pytest

from api.routes import ENDPOINTS
from bookit.cleanup import clean_up
from bookit.db.pool import Database
from bookit.schema.tables import Service
from tests.support.clock import Clock
from tests.support.people import MakeClient, Person
from tests.support.request_helpers import VALID_BODIES, count_rows, request_refusal, status_and_code

TEN = "2030-01-08T10:00:00Z"
ELEVEN = "2030-01-08T11:00:00Z"


async def post_booking(
    person: Person, service: Service, start: str = TEN, key: str = "first", **more: Any
) -> httpx2.Response:
    body = {"service_id": service.id, "start_time": start, **more}
    return await person.request("POST", "/bookings", json=body, headers={"Idempotency-Key": key})


async def count_bookings(person: Person) -> int:
    return len((await person.request("GET", "/bookings")).json())


async def test_a_repeated_request_gets_the_first_response(tom: Person, haircut: Service) -> None:
    first = await post_booking(tom, haircut)
    again = await post_booking(tom, haircut)

    assert (first.status_code, again.status_code) == (201, 201)
    assert again.content == first.content
    assert [again.headers[name] == first.headers[name] for name in ("location", "etag", "content-type")] == [True] * 3
    assert ("idempotency-replayed" in first.headers, again.headers["idempotency-replayed"]) == (False, "true")
    assert await count_bookings(tom) == 1


async def test_a_refusal_is_repeated_too(tom: Person, eve: Person, haircut: Service) -> None:
    taken = await post_booking(eve, haircut)
    first = await post_booking(tom, haircut)
    await eve.request("DELETE", f"/bookings/{taken.json()['id']}")

    again = await post_booking(tom, haircut)
    with_another_key = await post_booking(tom, haircut, key="second")

    assert status_and_code(first) == status_and_code(again) == (409, "slot-taken")
    assert again.content == first.content
    assert with_another_key.status_code == 201


async def test_the_same_key_with_another_request_is_refused(tom: Person, haircut: Service) -> None:
    await post_booking(tom, haircut)

    other = await post_booking(tom, haircut, ELEVEN)

    assert status_and_code(other) == (422, "key-reused")
    assert await count_bookings(tom) == 1


async def test_whitespace_does_not_change_a_request(tom: Person, haircut: Service) -> None:
    first = await post_booking(tom, haircut)
    body = f'{{ "start_time" : "{TEN}",\n "service_id": {haircut.id} }}'
    headers = {"Idempotency-Key": "first", "Content-Type": "application/json"}

    again = await tom.request("POST", "/v1/bookings", content=body, headers=headers)

    assert again.content == first.content


async def test_a_key_belongs_to_its_user(tom: Person, eve: Person, haircut: Service) -> None:
    mine = await post_booking(tom, haircut)
    eves = await post_booking(eve, haircut, ELEVEN)

    assert (mine.status_code, eves.status_code) == (201, 201)
    assert mine.json()["user_id"] != eves.json()["user_id"]


@pytest.mark.parametrize(("hours", "replayed"), [(23.9, True), (24, False)])
async def test_a_key_expires_after_a_day(
    tom: Person, haircut: Service, clock: Clock, client_of: Any, *, hours: float, replayed: bool
) -> None:
    start = "2030-01-10T10:00:00Z"
    await post_booking(tom, haircut, start)
    clock.advance(hours=hours)

    later = Person(tom.user, client_of(tom.user))
    again = await post_booking(later, haircut, start)

    assert ("idempotency-replayed" in again.headers, again.status_code) == (replayed, 201 if replayed else 409)


@pytest.mark.parametrize(("minutes", "replayed"), [(9, True), (11, False)])
async def test_the_key_of_a_refusal_is_kept_for_ten_minutes(
    minutes: int, replayed: bool, tom: Person, haircut: Service, clock: Clock, client_of: MakeClient, database: Database
) -> None:
    assert (await post_booking(tom, haircut, "2030-01-01T10:00:00Z")).status_code == 400
    clock.advance(minutes=minutes)

    await clean_up(database, now=clock())
    kept = await count_rows(database)
    again = await post_booking(Person(tom.user, client_of(tom.user)), haircut, "2030-01-01T10:00:00Z")

    assert (kept["idempotency_keys"], "idempotency-replayed" in again.headers) == (int(replayed), replayed)


async def test_an_invalid_request_claims_no_key(tom: Person, haircut: Service) -> None:
    garbled = await post_booking(tom, haircut, "tomorrow")
    right = await post_booking(tom, haircut)

    assert (garbled.status_code, right.status_code) == (422, 201)


POSTS = [endpoint for endpoint in ENDPOINTS if endpoint.method == "POST"]
TAKING_KEYS = ["POST /services", "POST /bookings", "POST /reviews"]


def test_every_post_of_a_signed_in_user_takes_a_key() -> None:
    taking = {f"{endpoint.method} {endpoint.path}": "Idempotency-Key" in endpoint.headers for endpoint in POSTS}

    assert taking == {where: where in TAKING_KEYS for where in VALID_BODIES if where.startswith("POST")}


async def test_every_post_honours_a_key_or_refuses_it(
    ada: Person, haircut: Service, visitor: httpx2.AsyncClient, database: Database
) -> None:
    await ada.request("POST", "/bookings", json=VALID_BODIES["POST /bookings"])
    await ada.request("PATCH", "/bookings/1", json={"status": "completed"})

    for endpoint in POSTS:
        where = f"POST {endpoint.path}"
        if where not in TAKING_KEYS:
            refused = await request_refusal(
                database, visitor, "POST", endpoint.path, json=VALID_BODIES[where], headers={"Idempotency-Key": "first"}
            )
            assert (where, refused) == (where, (422, "wrong-shape", "Idempotency-Key"))
            continue
        headers = {"Idempotency-Key": endpoint.name}
        body = VALID_BODIES[where] | ({"start_time": ELEVEN} if where == "POST /bookings" else {})
        first = await ada.request("POST", endpoint.path, json=body, headers=headers)
        before = await count_rows(database)
        again = await ada.request("POST", endpoint.path, json=body, headers=headers)

        assert (where, first.status_code, again.status_code) == (where, 201, 201)
        assert (again.content, again.headers["idempotency-replayed"]) == (first.content, "true")
        assert await count_rows(database) == before


async def test_a_refusal_of_any_post_is_repeated(ada: Person, tom: Person, haircut: Service) -> None:
    body = {"title": "Massage", "price": 10, "duration_minutes": 60, "resource_ids": [7]}
    headers = {"Idempotency-Key": "first"}

    first = await ada.request("POST", "/services", json=body, headers=headers)
    again = await ada.request("POST", "/services", json=body, headers=headers)
    forbidden = await tom.request("POST", "/services", json=body, headers=headers)

    assert status_and_code(first) == (404, "unknown-resource")
    assert (again.content, again.headers["idempotency-replayed"]) == (first.content, "true")
    assert status_and_code(forbidden) == (403, "forbidden")
    assert [service["title"] for service in (await ada.request("GET", "/services")).json()] == ["Haircut"]


async def test_a_key_belongs_to_one_endpoint(ada: Person, haircut: Service) -> None:
    headers = {"Idempotency-Key": "first"}
    await ada.request("POST", "/services", json={"title": "A", "price": 1, "duration_minutes": 5}, headers=headers)

    other = await post_booking(ada, haircut)

    assert status_and_code(other) == (422, "key-reused")


async def test_a_refusal_with_a_key_offers_the_next_slots(tom: Person, eve: Person, haircut: Service) -> None:
    await post_booking(eve, haircut)

    refused = await post_booking(tom, haircut)

    assert status_and_code(refused) == (409, "slot-taken")
    assert len(refused.json()["next_free"]) == 3


async def test_one_key_sent_many_times_at_once_creates_one_row(ada: Person, haircut: Service) -> None:
    body = {"title": "Massage", "price": 10, "duration_minutes": 60}
    answers: list[httpx2.Response] = []

    async def send() -> None:
        answers.append(await ada.request("POST", "/services", json=body, headers={"Idempotency-Key": "first"}))

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(send)

    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert len((await ada.request("GET", "/services?q=massage")).json()) == 1
