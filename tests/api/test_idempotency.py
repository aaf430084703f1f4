"""A request sent twice with one key is carried out once and answered alike, for a day."""

from typing import Any

import httpx2
import pytest

from bookit.schema.tables import Service
from tests.support.clock import Clock
from tests.support.people import Person
from tests.support.request_helpers import status_and_code

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


async def test_an_invalid_request_claims_no_key(tom: Person, haircut: Service) -> None:
    garbled = await post_booking(tom, haircut, "tomorrow")
    right = await post_booking(tom, haircut)

    assert (garbled.status_code, right.status_code) == (422, 201)
