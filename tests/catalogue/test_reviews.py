"""Reviews: one for each of a customer's completed bookings."""

from typing import Any

import httpx2
import pytest

from bookit import records
from bookit import refusals as no
from bookit.db.pool import Database
from bookit.schema.tables import Booking, Review, Service, Status
from tests.support.clock import NOW, TOMORROW_AT_TEN
from tests.support.doors import AT_BOTH_DOORS, DoorClient
from tests.support.people import OWNER, Person
from tests.support.refusal_assertions import RefusalOutcome
from tests.support.request_helpers import status_and_code

GOOD: dict[str, Any] = {"booking_id": 1, "rating": 5, "comment": "Just as I like it."}


@pytest.fixture
async def visit(tom: Person, haircut: Service, database: Database) -> Booking:
    """Create a completed booking of Tom's."""
    async with database.transaction(by=OWNER) as session:
        facts: dict[str, Any] = {"user_id": tom.id, "service_id": haircut.id, "start_time": TOMORROW_AT_TEN}
        booking = await records.create(session, Booking, by=OWNER, now=NOW, **facts)
        return await records.change(session, booking, by=OWNER, now=NOW, status=Status.COMPLETED)


# At the API and at the desk.


@AT_BOTH_DOORS
async def test_an_admin_deletes_a_review(door: DoorClient, tom: Person, visit: Booking) -> None:
    review = (await tom.request("POST", "/reviews", json=GOOD)).json()

    assert await door.remove(Review, review) is None


@AT_BOTH_DOORS
async def test_staff_may_not_delete_a_review(door: DoorClient, mara: Person, tom: Person, visit: Booking) -> None:
    review = (await tom.request("POST", "/reviews", json=GOOD)).json()

    assert await door.remove(Review, review, by=mara) == RefusalOutcome(no.Forbidden)


@AT_BOTH_DOORS
async def test_deleting_an_unknown_review_is_refused(door: DoorClient) -> None:
    assert await door.remove(Review, {"id": 99}) == RefusalOutcome(no.Missing)


# At the API only: customers write and change their own reviews; the desk cannot do so for them.


async def test_a_customer_reviews_a_completed_booking(tom: Person, visit: Booking) -> None:
    answer = await tom.request("POST", "/reviews", json=GOOD)

    assert answer.status_code == 201
    assert answer.json() == GOOD | {"id": 1, "created_at": "2030-01-07T09:00:00Z", "version": 1}
    assert answer.headers["location"] == "/reviews/1"


async def test_a_booking_is_reviewed_once(tom: Person, visit: Booking) -> None:
    await tom.request("POST", "/reviews", json=GOOD)

    answer = await tom.request("POST", "/reviews", json=GOOD | {"rating": 1})

    assert status_and_code(answer) == (409, "already-reviewed")


@pytest.mark.parametrize("status", [Status.PENDING, Status.CONFIRMED, Status.CANCELLED, Status.NO_SHOW])
async def test_only_a_completed_booking_can_be_reviewed(
    tom: Person, visit: Booking, database: Database, status: Status
) -> None:
    async with database.transaction(by=OWNER) as session:
        await records.change(session, visit, by=OWNER, now=NOW, status=status)

    answer = await tom.request("POST", "/reviews", json=GOOD)

    assert status_and_code(answer) == (400, "not-yet-completed")


@pytest.mark.parametrize("who", ["eve", "mara", "ada"])
async def test_another_customers_booking_cannot_be_reviewed(who: str, visit: Booking, cast: dict[str, Person]) -> None:
    answer = await cast[who].request("POST", "/reviews", json=GOOD)

    assert status_and_code(answer) == (403, "not-your-booking")


async def test_an_unknown_booking_cannot_be_reviewed(tom: Person) -> None:
    answer = await tom.request("POST", "/reviews", json=GOOD)

    assert status_and_code(answer) == (404, "unknown-booking")


@pytest.mark.parametrize(
    "wrong",
    [{"rating": 0}, {"rating": 6}, {"rating": 4.5}, {"comment": ""}, {"comment": "x" * 1001}, {"comment": "  "}],
)
async def test_a_review_needs_a_rating_and_a_comment(tom: Person, visit: Booking, wrong: dict[str, Any]) -> None:
    answer = await tom.request("POST", "/reviews", json=GOOD | wrong)

    assert status_and_code(answer) == (422, "wrong-shape")
    assert answer.json()["field"] == next(iter(wrong))


async def test_the_reviews_of_a_service_are_public(tom: Person, visit: Booking, visitor: httpx2.AsyncClient) -> None:
    review = (await tom.request("POST", "/reviews", json=GOOD)).json()

    of_service = await visitor.get(f"/services/{visit.service_id}/reviews")

    assert of_service.json() == [review]
    assert (await visitor.get("/reviews/1")).json() == review
    assert status_and_code(await visitor.get("/services/99/reviews")) == (404, "missing")


async def test_only_its_author_changes_a_review(tom: Person, eve: Person, ada: Person, visit: Booking) -> None:
    await tom.request("POST", "/reviews", json=GOOD)

    mine = await tom.request("PATCH", "/reviews/1", json={"rating": 4}, headers={"If-Match": '"1"'})
    others = [await person.request("PATCH", "/reviews/1", json={"rating": 1}) for person in (eve, ada)]
    moved = await tom.request("PATCH", "/reviews/1", json={"booking_id": 2})

    assert mine.json()["rating"] == 4
    assert [status_and_code(answer) for answer in others] == [(403, "not-your-review")] * 2
    assert status_and_code(moved) == (422, "wrong-shape")


@pytest.mark.parametrize(("who", "expected"), [("tom", 204), ("ada", 204), ("eve", 403), ("mara", 403)])
async def test_its_author_or_an_admin_deletes_a_review(
    tom: Person, visit: Booking, who: str, expected: int, cast: dict[str, Person]
) -> None:
    await tom.request("POST", "/reviews", json=GOOD)
    answer = await cast[who].request("DELETE", "/reviews/1")

    assert answer.status_code == expected
