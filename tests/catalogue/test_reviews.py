"""Reviews: of one's own completed booking, once."""

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
    """A visit of Tom's that took place."""
    async with database.transaction(by=OWNER) as session:
        facts: dict[str, Any] = {"user_id": tom.id, "service_id": haircut.id, "start_time": TOMORROW_AT_TEN}
        booking = await records.create(session, Booking, by=OWNER, now=NOW, **facts)
        return await records.change(session, booking, by=OWNER, now=NOW, status=Status.COMPLETED)


# Whoever takes a review away, and wherever.


@AT_BOTH_DOORS
async def test_an_admin_takes_a_review_away(door: DoorClient, tom: Person, visit: Booking) -> None:
    said = (await tom.request("POST", "/reviews", json=GOOD)).json()

    assert await door.remove(Review, said) is None


@AT_BOTH_DOORS
async def test_staff_take_no_review_away(door: DoorClient, mara: Person, tom: Person, visit: Booking) -> None:
    said = (await tom.request("POST", "/reviews", json=GOOD)).json()

    assert await door.remove(Review, said, by=mara) == RefusalOutcome(no.Forbidden)


@AT_BOTH_DOORS
async def test_a_review_that_is_not_there_is_refused(door: DoorClient) -> None:
    assert await door.remove(Review, {"id": 99}) == RefusalOutcome(no.Missing)


# At the API alone: a review is written and changed by whose visit it was, and nobody does so for them at the desk.


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
async def test_only_a_completed_booking_is_reviewed(
    tom: Person, visit: Booking, database: Database, status: Status
) -> None:
    async with database.transaction(by=OWNER) as session:
        await records.change(session, visit, by=OWNER, now=NOW, status=status)

    answer = await tom.request("POST", "/reviews", json=GOOD)

    assert status_and_code(answer) == (400, "not-yet-completed")


@pytest.mark.parametrize("who", ["eve", "mara", "ada"])
async def test_nobody_reviews_for_somebody_else(who: str, visit: Booking, cast: dict[str, Person]) -> None:
    answer = await cast[who].request("POST", "/reviews", json=GOOD)

    assert status_and_code(answer) == (403, "not-your-booking")


async def test_a_missing_booking_is_not_reviewed(tom: Person) -> None:
    answer = await tom.request("POST", "/reviews", json=GOOD)

    assert status_and_code(answer) == (404, "unknown-booking")


@pytest.mark.parametrize(
    "wrong",
    [{"rating": 0}, {"rating": 6}, {"rating": 4.5}, {"comment": ""}, {"comment": "x" * 1001}, {"comment": "  "}],
)
async def test_a_review_has_a_rating_and_words(tom: Person, visit: Booking, wrong: dict[str, Any]) -> None:
    answer = await tom.request("POST", "/reviews", json=GOOD | wrong)

    assert status_and_code(answer) == (422, "wrong-shape")
    assert answer.json()["field"] == next(iter(wrong))


async def test_everybody_reads_what_is_said_of_a_service(
    tom: Person, visit: Booking, visitor: httpx2.AsyncClient
) -> None:
    said = (await tom.request("POST", "/reviews", json=GOOD)).json()

    of_service = await visitor.get(f"/services/{visit.service_id}/reviews")

    assert of_service.json() == [said]
    assert (await visitor.get("/reviews/1")).json() == said
    assert status_and_code(await visitor.get("/services/99/reviews")) == (404, "missing")


async def test_who_wrote_it_changes_it(tom: Person, eve: Person, ada: Person, visit: Booking) -> None:
    await tom.request("POST", "/reviews", json=GOOD)

    mine = await tom.request("PATCH", "/reviews/1", json={"rating": 4}, headers={"If-Match": '"1"'})
    others = [await person.request("PATCH", "/reviews/1", json={"rating": 1}) for person in (eve, ada)]
    moved = await tom.request("PATCH", "/reviews/1", json={"booking_id": 2})

    assert mine.json()["rating"] == 4
    assert [status_and_code(answer) for answer in others] == [(403, "not-your-review")] * 2
    assert status_and_code(moved) == (422, "wrong-shape")


@pytest.mark.parametrize(("who", "expected"), [("tom", 204), ("ada", 204), ("eve", 403), ("mara", 403)])
async def test_who_wrote_it_or_an_admin_deletes_it(
    tom: Person, visit: Booking, who: str, expected: int, cast: dict[str, Person]
) -> None:
    await tom.request("POST", "/reviews", json=GOOD)
    answer = await cast[who].request("DELETE", "/reviews/1")

    assert answer.status_code == expected
