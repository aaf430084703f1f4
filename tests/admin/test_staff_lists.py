"""The lists of the admin panel: their default range, their filters, and the notice of hidden rows."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx2
import pytest

from admin.framework.filters import RowFilter
from bookit import records
from bookit.db.pool import Database
from bookit.schema.tables import Booking, Service
from tests.support.admin_client import AdminDesk, get_page_text
from tests.support.clock import NOW, Clock
from tests.support.people import OWNER, Person

BERLIN = ZoneInfo("Europe/Berlin")
HIDDEN = "Earlier bookings are hidden."


def at(days: int, hour: int = 12) -> datetime:
    """Return a time some days from today, by the clock of Berlin."""
    day = NOW.astimezone(BERLIN).replace(hour=hour, minute=0, second=0, microsecond=0, tzinfo=None)
    return (day + timedelta(days=days)).replace(tzinfo=BERLIN).astimezone(UTC)


@pytest.fixture
async def visits(database: Database, tom: Person, eve: Person, shared: Service) -> list[int]:
    """Create visits of Tom a week ago (1, Lea), today (2, Lea) and next week (3, Max), and of Eve tomorrow (4, Lea)."""
    bookings = [(tom, at(-7), 1), (tom, at(0, 0), 1), (tom, at(7), 2), (eve, at(1), 1)]
    async with database.transaction(by=OWNER) as session:
        for who, start, resource in bookings:
            facts: dict[str, Any] = {"user_id": who.id, "service_id": 1, "resource_id": resource, "start_time": start}
            await records.create(session, Booking, by=OWNER, now=NOW, **facts)
        facts = {"title": "Wash", "price": 10, "duration_minutes": 15, "resource_ids": [2]}
        await records.create(session, Service, by=OWNER, now=NOW, **facts)
    return [1, 2, 3, 4]


def read_ids(html: str) -> list[int]:
    """Return the ids of the bookings that a list shows, in its order."""
    return [int(number) for number in dict.fromkeys(re.findall(r"/admin/booking/details/(\d+)", html))]


async def listed(client: httpx2.AsyncClient, query: str = "") -> list[int]:
    answer = await client.get(f"/admin/booking/list?{query}", follow_redirects=True)
    assert answer.status_code == 200
    return read_ids(answer.text)


async def test_the_list_of_bookings_starts_today_and_says_so(desk: AdminDesk, visits: list[int]) -> None:
    page = (await desk.mara.get("/admin/booking/list")).text

    assert read_ids(page) == [2, 4, 3]
    assert HIDDEN in get_page_text(page)
    assert re.search(r'aria-current="true">From today</a>', page)
    everything = re.search(r'<a href="([^"]*)">Show all days</a>', page)
    assert everything
    all_of_them = (await desk.mara.get(everything[1])).text
    assert read_ids(all_of_them) == [3, 4, 2, 1]
    assert HIDDEN not in get_page_text(all_of_them)
    assert re.search(r'list\?start_time=all" aria-current="true">All</a>', all_of_them)


async def test_an_empty_list_still_mentions_hidden_rows(desk: AdminDesk) -> None:
    page_text = await desk.fetch_list_text(desk.mara)

    assert HIDDEN in page_text
    assert "No visits are booked from today on." in page_text


@pytest.mark.parametrize("query", ["search=1", "search=%231", "search=tom", "search=tom%40example.com"])
async def test_a_search_covers_all_days(desk: AdminDesk, visits: list[int], query: str) -> None:
    page = (await desk.mara.get(f"/admin/booking/list?{query}")).text

    assert 1 in read_ids(page)
    assert HIDDEN not in get_page_text(page)
    assert not re.search(r'aria-current="true">From today</a>', page)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("status=pending", [2, 4, 3]),
        ("resource_id=1", [2, 4]),
        ("resource_id=2", [3]),
        ("resource_id=1&start_time=all", [4, 2, 1]),
        ("service_id=1&start_time=all", [3, 4, 2, 1]),
        ("service_id=2&start_time=all", []),
        ("resource_id=abc", []),
        ("resource_id=99999999999999999999", []),
        ("resource_id=all", [2, 4, 3]),
        ("sortBy=start_time&sort=desc", [3, 4, 2]),
        ("sortBy=start_time&sort=asc", [2, 4, 3]),
        ("start_time=all&sortBy=start_time&sort=asc", [1, 2, 4, 3]),
        ("start_time=", [2, 4, 3]),
        ("search=tom&resource_id=2", [3]),
    ],
)
async def test_a_list_is_filtered_and_sorted(
    desk: AdminDesk, visits: list[int], query: str, expected: list[int]
) -> None:
    assert await listed(desk.mara, query) == expected
    exported = (await desk.ada.get(f"/admin/booking/export/csv?{query}")).text.splitlines()[1:]
    assert [int(row.split(",")[0]) for row in exported] == expected


@pytest.mark.parametrize("column", ["id", "price", "user", "nonsense"])
async def test_a_list_is_sorted_only_by_an_index(desk: AdminDesk, visits: list[int], column: str) -> None:
    for page in ("list", "export/csv"):
        answer = await desk.ada.get(f"/admin/booking/{page}?sortBy={column}&sort=asc")
        assert (answer.status_code, "This list cannot be sorted so." in get_page_text(answer.text)) == (400, True), page


async def test_the_bookings_of_one_resource_on_one_day(desk: AdminDesk, visits: list[int]) -> None:
    page = (await desk.mara.get("/admin/booking/list")).text
    leas = re.search(r'<a href="([^"]*resource_id=1)">Lea</a>', page)
    assert leas
    chosen = (await desk.mara.get(leas[1])).text
    today = re.search(r'<a href="([^"]*)">Today</a>', chosen)
    assert today

    html = (await desk.mara.get(today[1].replace("&amp;", "&"))).text

    assert read_ids(html) == [2]
    assert "<summary>Lea</summary>" in html
    assert re.search(r'aria-current="true">Today</a>', html)


async def test_a_filter_lists_at_most_two_hundred_names(
    desk: AdminDesk, visits: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "Only some are listed" not in await desk.fetch_list_text(desk.mara)
    monkeypatch.setattr(RowFilter, "max_choices", 1)

    assert "Only some are listed" in await desk.fetch_list_text(desk.mara)


async def test_today_begins_at_midnight_of_the_business(desk: AdminDesk, clock: Clock) -> None:
    """At 23:30 in London it is already tomorrow in Berlin."""
    for time, today in ((datetime(2030, 1, 7, 22, 59, tzinfo=UTC), 7), (datetime(2030, 1, 7, 23, 30, tzinfo=UTC), 8)):
        clock.now = time
        assert str(desk.site.context.today) == f"2030-01-0{today}"
        assert f'value="2030-01-0{today}"' in (await desk.mara.get("/admin/booking/list")).text


async def test_the_list_of_exceptions_shows_all_days(desk: AdminDesk, visits: list[int]) -> None:
    page_text = (await desk.mara.get("/admin/calendar-exception/list")).text

    assert HIDDEN not in get_page_text(page_text)
    assert re.search(r'aria-current="true">All</a>', page_text)


async def test_a_list_of_bookings_is_read_in_few_statements(desk: AdminDesk, visits: list[int]) -> None:
    with desk.record_statements() as statements:
        assert await listed(desk.mara) == [2, 4, 3]

    ranges = ["WITH running AS MATERIALIZED"] * 2  # the count, and the ids of the page
    expected = [*ranges, "SELECT bookings.id", "SELECT services.id", "SELECT resources.id"]
    assert [
        statement.partition(",")[0].partition("(")[0].split("\n")[0].strip() for statement in statements
    ] == expected
