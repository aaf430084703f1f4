"""Pagination: every row exactly once, whatever is added or deleted between pages."""

import re
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from bookit import records
from bookit.db.pool import Database
from bookit.policy.permissions import Actor
from bookit.schema.tables import Booking, Resource, Review, Role, Service, Status
from tests.support.clock import NOW, TOMORROW_AT_TEN
from tests.support.people import OWNER, Person

BY: dict[str, Any] = {"by": OWNER, "now": NOW}
Book = Callable[..., Awaitable[Booking]]


def next_page(answer: httpx2.Response) -> str | None:
    """Return the URL of the next page, or None."""
    assert answer.status_code == 200, answer.text
    if "link" not in answer.headers:
        return None
    match = re.fullmatch(r'<(/[^<>]*)>; rel="next"', answer.headers["link"])
    assert match, answer.headers["link"]
    return match[1]


async def fetch_pages(who: httpx2.AsyncClient, path: str) -> list[list[int]]:
    """Follow the links from the first page to the last; return the ids of the rows on each."""
    pages = []
    following: str | None = path
    while following:
        answer = await who.get(following)
        pages.append([row["id"] for row in answer.json()])
        following = next_page(answer)
    return pages


@pytest.fixture
async def catalogue(database: Database) -> list[Service]:
    """Create seven services: every other one active, each dearer than the one before."""
    async with database.transaction(by=OWNER) as session:
        facts: dict[str, Any] = {"duration_minutes": 30}
        return [
            await records.create(
                session, Service, **BY, **facts, title=f"Café & Bar {n}", price=10 * n, is_active=n % 2 == 1
            )
            for n in range(1, 8)
        ]


@pytest.fixture
async def book(database: Database) -> Book:
    """Book seats of a class of a hundred for a customer, who may take several."""
    async with database.transaction(by=OWNER) as session:
        hall = await records.create(session, Resource, **BY, name="Hall", capacity=100)
        facts: dict[str, Any] = {"title": "Yoga", "price": 12, "duration_minutes": 60, "resource_ids": [hall.id]}
        yoga = await records.create(session, Service, **BY, **facts)

    async def make(person: Person, *, hours: float = 0, status: Status = Status.PENDING) -> Booking:
        visit: dict[str, Any] = {
            "service_id": yoga.id,
            "start_time": TOMORROW_AT_TEN + timedelta(hours=hours),
            "user_id": person.id,
        }
        async with database.transaction(by=OWNER) as session:
            booking = await records.create(session, Booking, **BY, **visit, overlap=True)
            return await records.change(session, booking, **BY, status=status)

    return make


async def test_services_are_paginated(visitor: httpx2.AsyncClient, catalogue: list[Service]) -> None:
    assert await fetch_pages(visitor, "/services?limit=3") == [[1, 2, 3], [4, 5, 6], [7]]


async def test_a_full_last_page_has_no_link(visitor: httpx2.AsyncClient, catalogue: list[Service]) -> None:
    assert await fetch_pages(visitor, "/services?limit=7") == [[1, 2, 3, 4, 5, 6, 7]]
    assert await fetch_pages(visitor, "/services?limit=1") == [[1], [2], [3], [4], [5], [6], [7]]


async def test_an_empty_list_is_one_empty_page(visitor: httpx2.AsyncClient, tom: Person) -> None:
    assert await fetch_pages(visitor, "/services") == [[]]
    assert await fetch_pages(tom.client, "/bookings") == [[]]


async def test_a_page_has_20_rows_by_default_and_at_most_100(tom: Person, book: Book) -> None:
    for _ in range(100):
        await book(tom)
    await book(tom, hours=1)

    assert [len(page) for page in await fetch_pages(tom.client, "/bookings")] == [20, 20, 20, 20, 20, 1]
    assert [len(page) for page in await fetch_pages(tom.client, "/bookings?limit=100")] == [100, 1]


async def test_bookings_with_equal_starts_are_each_listed_once(tom: Person, book: Book) -> None:
    later = [(await book(tom, hours=1 / 60)).id for _ in range(3)]
    first = [(await book(tom)).id for _ in range(4)]

    assert await fetch_pages(tom.client, "/bookings?limit=2") == [first[:2], first[2:], later[:2], later[2:]]


async def test_reviews_are_paginated(visitor: httpx2.AsyncClient, tom: Person, book: Book, database: Database) -> None:
    by = Actor("seed", id=tom.id, role=Role.USER)
    for rating in (1, 2, 3, 4, 5):
        visit = await book(tom, status=Status.COMPLETED)
        async with database.transaction(by=by) as session:
            review: dict[str, Any] = {"booking_id": visit.id, "rating": rating, "comment": "So it was."}
            await records.create(session, Review, by=by, now=NOW, **review)

    assert await fetch_pages(visitor, "/services/1/reviews?limit=2") == [[1, 2], [3, 4], [5]]
    assert await fetch_pages(visitor, "/v1/services/1/reviews?limit=4") == [[1, 2, 3, 4], [5]]


async def test_every_remaining_row_is_listed_once_despite_changes(tom: Person, mara: Person, book: Book) -> None:
    there = [(await book(tom, hours=hours)).id for hours in range(6)]

    first = await tom.request("GET", "/bookings?limit=2")
    await mara.request("DELETE", f"/bookings/{there[0]}")  # on the first page
    await mara.request("DELETE", f"/bookings/{there[1]}")  # the row after which the next page starts
    await mara.request("DELETE", f"/bookings/{there[4]}")  # not yet listed
    await book(tom, hours=0.5)  # sorts before the next page, so it is not listed
    new = (await book(tom, hours=2.5)).id
    last = (await book(tom, hours=9)).id

    assert [row["id"] for row in first.json()] == there[:2]
    assert await fetch_pages(tom.client, next_page(first) or "") == [[there[2], new], [there[3], there[5]], [last]]


async def test_a_booking_moved_ahead_is_listed_again(tom: Person, mara: Person, book: Book) -> None:
    moved, other = (await book(tom)).id, (await book(tom, hours=1)).id

    first = await tom.request("GET", "/bookings?limit=1")
    answer = await mara.request("PATCH", f"/bookings/{moved}", json={"start_time": "2030-01-09T10:00:00Z"})

    assert answer.status_code == 200
    assert await fetch_pages(tom.client, next_page(first) or "") == [[other], [moved]]


@pytest.mark.parametrize("prefix", ["", "/v1"])
async def test_a_link_keeps_path_and_filters(
    prefix: str, visitor: httpx2.AsyncClient, catalogue: list[Service]
) -> None:
    query = "q=caf%C3%A9%20%26%20b&price_min=15&price_max=70&active=true&limit=1"

    first = next_page(await visitor.get(f"{prefix}/services?{query}")) or ""
    second = next_page(await visitor.get(first)) or ""

    filters = {"q": ["café & b"], "price_min": ["15"], "price_max": ["70"], "active": ["true"], "limit": ["1"]}
    for link in (first, second):
        parameters = parse_qs(urlsplit(link).query, strict_parsing=True)
        cursor = parameters.pop("cursor")
        assert (urlsplit(link).path, parameters, len(cursor)) == (f"{prefix}/services", filters, 1)
    assert await fetch_pages(visitor, first) == [[5], [7]]


async def test_filters_apply_to_every_page(mara: Person, tom: Person, eve: Person, book: Book) -> None:
    cancelled = [(await book(who, hours=h, status=Status.CANCELLED)).id for h in (0, 24, 48) for who in (tom, eve)]
    for hours in (0, 24, 48):
        await book(tom, hours=hours)

    query = "status=cancelled&from_date=2030-01-09&to_date=2030-01-10T23:00:00%2B02:00&service_id=1&limit=1"

    assert await fetch_pages(mara.client, f"/bookings?{query}") == [[number] for number in cancelled[2:]]


async def test_another_users_cursor_shows_only_own_bookings(tom: Person, eve: Person, mara: Person, book: Book) -> None:
    of_both = [await book(who, hours=hours) for hours in range(3) for who in (tom, eve)]
    toms = [booking.id for booking in of_both if booking.user_id == tom.id]

    of_staff = next_page(await mara.request("GET", "/bookings?limit=2")) or ""
    of_eve = next_page(await eve.request("GET", "/bookings?limit=1")) or ""

    assert await fetch_pages(tom.client, of_staff) == [toms[1:]]
    assert await fetch_pages(tom.client, of_eve) == [[toms[1]], [toms[2]]]
