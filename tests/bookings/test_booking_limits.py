"""How much one customer may hold and book, and that it grows with the visits that they keep."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest

from bookit import records
from bookit.db.pool import Database
from bookit.policy.limits import BookingLimits
from bookit.policy.permissions import Actor
from bookit.schema.tables import Booking, Role, Service
from tests.support.clock import NOW
from tests.support.opening_hours import create_service
from tests.support.people import Person
from tests.support.request_helpers import status_and_code

FIRST = NOW.replace(hour=10) + timedelta(days=1)
HOLDS, BOOKINGS = BookingLimits().holds, BookingLimits().bookings
KEPT_VISITS = """
    INSERT INTO bookings (user_id, service_id, resource_id, start_time, end_time, blocks_from, blocks_until, price,
                          status)
    SELECT %s, 1, 1, day, day + interval '1 h', day, day + interval '1 h', 35, 'completed'
      FROM (SELECT timestamptz '2029-01-01 10:00Z' + n * interval '1 day' FROM generate_series(1, %s) AS n) AS _ (day)
"""


@pytest.fixture
async def massage(database: Database) -> Service:
    """Create an hour that is always open."""
    return await create_service(database, {"name": "Lea"})


def starts(count: int, first: datetime = FIRST) -> list[str]:
    """Return the start times of as many days."""
    return [(first + timedelta(days=number)).isoformat() for number in range(count)]


async def book_all(person: Person, times: Sequence[str], **more: Any) -> Counter[str]:
    """Book all these times at once. Return how many were booked, and how many refused with which code."""
    answers = await asyncio.gather(
        *(person.request("POST", "/bookings", json={"service_id": 1, "start_time": start, **more}) for start in times)
    )
    return Counter(status_and_code(answer)[1] or "" if answer.is_error else "booked" for answer in answers)


def keep_visits(database: Database, person: Person, count: int) -> None:
    with psycopg.connect(database.url) as console:
        console.execute(KEPT_VISITS, (person.id, count))


@pytest.mark.parametrize(("kept", "most"), [(0, HOLDS), (1, HOLDS + 1), (4, HOLDS + 4), (35, 10)])
async def test_a_customer_holds_a_few_times_at_once(
    tom: Person, database: Database, massage: Service, kept: int, most: int
) -> None:
    keep_visits(database, tom, kept)

    assert await book_all(tom, starts(most + 6), hold=True) == {"booked": most, "too-many-holds": 6}
    # A hold that is booked makes room for another.
    listed = (await tom.request("GET", "/bookings?status=pending&limit=1")).json()
    held = (listed["items"] if isinstance(listed, dict) else listed)[0]
    assert (await tom.request("PATCH", f"/bookings/{held['id']}", json={"hold": False})).status_code == 200
    assert await book_all(tom, starts(2, FIRST + timedelta(days=90)), hold=True) == {"booked": 1, "too-many-holds": 1}


@pytest.mark.parametrize(("kept", "most"), [(0, BOOKINGS), (2, BOOKINGS + 10)])
async def test_a_customer_has_a_number_of_bookings_to_come(
    tom: Person, eve: Person, database: Database, massage: Service, kept: int, most: int
) -> None:
    keep_visits(database, tom, kept)

    assert await book_all(tom, starts(most + 3)) == {"booked": most, "too-many-bookings": 3}
    refused = await tom.request("POST", "/bookings", json={"service_id": 1, "start_time": starts(90)[-1]})
    assert refused.json()["detail"] == f"You have {most} bookings to come already. Please ask us if you need more."
    assert await book_all(eve, starts(1, FIRST + timedelta(days=200))) == {"booked": 1}


async def test_what_is_cancelled_or_over_does_not_count(tom: Person, database: Database, massage: Service) -> None:
    assert await book_all(tom, starts(BOOKINGS)) == {"booked": BOOKINGS}
    with psycopg.connect(database.url) as console:
        console.execute("UPDATE bookings SET status = 'cancelled' WHERE id IN (SELECT id FROM bookings LIMIT 2)")

    assert await book_all(tom, starts(3, FIRST + timedelta(days=90))) == {"booked": 2, "too-many-bookings": 1}


async def test_the_desk_books_as_much_as_it_likes(
    tom: Person, mara: Person, database: Database, massage: Service
) -> None:
    assert await book_all(tom, starts(BOOKINGS)) == {"booked": BOOKINGS}

    by = Actor("admin", mara.id, Role.STAFF)
    async with database.transaction(by=by, now=NOW) as session:
        for start in starts(5, FIRST + timedelta(days=90)):
            facts: dict[str, Any] = {"user_id": tom.id, "service_id": 1, "start_time": datetime.fromisoformat(start)}
            await records.create(session, Booking, by=by, now=NOW, **facts)


@pytest.mark.parametrize(("most", "booked"), [(2, 2), (0, BOOKINGS + 5)])
async def test_the_business_sets_its_own_limits(
    tom: Person, database: Database, massage: Service, monkeypatch: pytest.MonkeyPatch, most: int, booked: int
) -> None:
    """MAX_OPEN_BOOKINGS; zero is no limit."""
    monkeypatch.setattr(database, "booking_limits", BookingLimits(bookings=most))

    assert (await book_all(tom, starts(BOOKINGS + 5)))["booked"] == booked
