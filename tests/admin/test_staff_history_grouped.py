"""The history list has one entry for what one request did, however many rows that changed."""

import re
from typing import Any

import pytest
from sqlalchemy import text

from admin.framework import list_pages
from admin.history import grouping
from bookit.bookings.bulk import BulkAction
from bookit.db.pool import Database
from bookit.schema.tables import Status
from tests.support import bulk_scenario
from tests.support.admin_client import AdminDesk, get_page_text
from tests.support.bulk_scenario import HALF_HOUR, MAX, TEN, create_booking
from tests.support.clock import NOW, TOMORROW_AT_TEN
from tests.support.people import Person

LIST = "/admin/event/list"
MOST_STATEMENTS = 6


@pytest.fixture
async def business(database: Database, tom: Person, desk: AdminDesk) -> Database:
    """Create the business, with Mara and Ada at the desk, and Tom."""
    await bulk_scenario.create_business(database)
    return database


async def change_price(database: Database, request: str | None, numbers: str = "1 = 1", by: int = 1) -> None:
    """Change bookings at a console, with one request id or several."""
    await database.fetch(text(
        f"WITH setting AS MATERIALIZED (SELECT set_config('bookit.request_id', :request, true)),"
        f" who AS MATERIALIZED (SELECT set_config('bookit.actor_id', '{by}', true) FROM setting)"
        f" UPDATE bookings SET price = price + 1 FROM who WHERE {numbers}"
    ), request=request or "")  # fmt: skip


async def read_entries(desk: AdminDesk, **query: Any) -> list[str]:
    """Return the text of each entry of the list, without id and time."""
    with desk.record_statements() as statements:
        page = await desk.ada.get(LIST, params=query)
    assert page.status_code == 200
    assert len(statements) <= MOST_STATEMENTS, statements
    rows = page.text.partition("<tbody>")[2].partition("</tbody>")[0].split("<tr>")[1:]
    return [re.sub(r"^\d+ \w{3} \d\d \w{3} \d{4}, \d\d:\d\d ", "", get_page_text(f"<table><tr>{row}")) for row in rows]


DONE: list[tuple[BulkAction, dict[str, Any], str]] = [
    (BulkAction.SHIFT, {"minutes": 30}, "Moved 3 bookings 30 minutes later"),
    (BulkAction.SHIFT, {"minutes": -120}, "Moved 3 bookings 2 hours earlier"),
    (BulkAction.CANCEL, {}, "cancelled 3 bookings"),
    (BulkAction.NO_SHOW, {}, "marked 3 bookings as no-show"),
    (BulkAction.REASSIGN, {"resource_id": MAX}, "moved 3 bookings to another resource"),
]


@pytest.mark.parametrize(
    ("what", "more", "expected"), DONE, ids=[f"{what}{[*more.values()]}" for what, more, _ in DONE]
)
async def test_a_bulk_change_is_one_entry(
    desk: AdminDesk, business: Database, what: BulkAction, more: dict[str, Any], expected: str
) -> None:
    numbers = await bulk_scenario.fill_afternoon(business, 3)
    before = await read_entries(desk)
    await bulk_scenario.run_bulk(business, numbers, what, reason="The train is late", **more)

    entry, *rest = await read_entries(desk)

    assert rest == before
    sentence = expected[0].upper() + expected[1:]
    assert entry.startswith(f"Tom (desk) at the desk changed 3 bookings {sentence} The train is late Booking ")
    assert entry.endswith("Show all 3 changes")
    for number in numbers:
        assert f"Booking {number} changed" in entry


async def test_an_entry_expands_without_script_and_links_to_its_act(desk: AdminDesk, business: Database) -> None:
    numbers = await bulk_scenario.fill_afternoon(business, 3)
    await bulk_scenario.run_bulk(business, numbers, BulkAction.CONFIRM)

    html = (await desk.ada.get(LIST)).text

    fold = html.partition("<details")[2].partition("</details>")[0]
    assert "<summary>Confirmed 3 bookings</summary>" in fold
    assert 'href="https://bookit.test/admin/act/an-act"' in fold
    assert 'href="https://bookit.test/admin/booking/details/2"' in fold
    assert "Confirmed 3 bookings" not in get_page_text((await desk.ada.get("/admin/event/details/1")).text)
    assert "2 other changes made together" not in get_page_text(html)


async def test_one_act_does_not_fill_a_page(
    desk: AdminDesk, business: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grouping, "MAX_LISTED_EVENTS", 5)
    numbers = await bulk_scenario.fill_afternoon(business, 40)
    before = await read_entries(desk, pageSize=100)
    await bulk_scenario.run_bulk(business, numbers, BulkAction.CONFIRM)

    first, *rest = await read_entries(desk, pageSize=100)

    assert rest == before
    assert first.count("Status: Pending → Confirmed") == 5
    assert "Show all 40 changes" in first


async def test_every_row_is_in_one_entry_in_either_order(desk: AdminDesk, business: Database) -> None:
    """Also where an act ends one page and another begins the next."""
    await bulk_scenario.fill_afternoon(business, 9)
    for at, some in enumerate(([1, 2, 3], [4], [5, 6], [7, 8, 9], [1], [2, 3])):
        await bulk_scenario.run_bulk(
            business, some, BulkAction.CONFIRM if at < 4 else BulkAction.COMPLETE, request_id=f"act-{at}"
        )
    for way in ("asc", "desc"):
        whole = await read_entries(desk, sortBy="id", sort=way, pageSize=100)
        paged = []
        for page in range(1, len(whole) // 4 + 2):
            paged += await read_entries(desk, sortBy="id", sort=way, pageSize=4, page=page)
        assert len(whole) % 4 > 0
        assert paged == whole
        assert sum("Confirmed 3 bookings" in entry for entry in whole) == 2
        assert sum("Confirmed 2 bookings" in entry for entry in whole) == 1
        assert sum("Completed 2 bookings" in entry for entry in whole) == 1
        assert f"of {len(whole)} items" in get_page_text((await desk.ada.get(LIST)).text)


async def test_only_consecutive_changes_are_grouped(desk: AdminDesk, business: Database) -> None:
    """Two requests may interleave; a console has no request id, and background jobs have no actor."""
    await bulk_scenario.fill_afternoon(business, 2)
    for request, number, by in (
        ("a", 1, 1),
        ("b", 1, 1),
        ("a", 2, 1),
        ("b", 2, 1),
        ("b", 1, 2),
        (None, 1, 1),
        (None, 2, 1),
    ):
        await change_price(business, request, f"id = {number}", by)

    listed = await read_entries(desk)

    assert not any("on one page" in entry for entry in listed[:7])
    assert sum("1 other change made together" in entry for entry in listed[:7]) == 5


async def test_an_act_on_several_tables_names_each(desk: AdminDesk, business: Database) -> None:
    await create_booking(business, TEN)
    await business.fetch(text(
        "WITH setting AS MATERIALIZED (SELECT set_config('bookit.request_id', 'an-act', true)),"
        " one AS (UPDATE bookings SET price = 1 FROM setting RETURNING bookings.id),"
        " two AS (UPDATE services SET price = 1 FROM setting WHERE services.id < 3 RETURNING services.id)"
        " SELECT count(*) FROM one, two"
    ))  # fmt: skip

    (entry, *_) = await read_entries(desk)

    assert "Changed 1 booking; changed 2 services" in entry or "Changed 2 services; changed 1 booking" in entry


@pytest.mark.parametrize(
    ("was", "became", "expected"),
    [
        ("2030-01-08T10:00:00+00:00", "infinity", "Moved 2 bookings <"),
        ("nonsense", "2030-01-08T10:00:00+00:00", "Moved 2 bookings <"),
        ("2030-01-08T10:00:00", "2030-01-08T10:00:00+00:00", "Moved 2 bookings <"),
        ("2030-01-08T10:00:00+00:00", "2030-01-09T10:00:00+00:00", "Moved 2 bookings 1 day later <"),
    ],
)
async def test_unreadable_events_are_shown_as_far_as_possible(
    desk: AdminDesk, business: Database, was: str, became: str, expected: str
) -> None:
    """A console may also set a request id that no URL can contain."""
    for number in (1, 2):
        await business.fetch(
            text(
                "INSERT INTO events (actor, door, table_name, row_id, action, old, new, request_id)"
                " VALUES ('staff', 'sql', 'bookings', :number, 'changed',"
                " jsonb_build_object('start_time', CAST(:was AS text)),"
                " jsonb_build_object('start_time', CAST(:became AS text)), '../<b>/é')"
            ),
            number=number, was=was, became=became,
        )  # fmt: skip

    html = (await desk.ada.get(LIST)).text

    assert f"<summary>{expected}"[:-2] in html
    assert "on one page" not in html
    assert "<b>/é" not in html


async def test_an_incomplete_count_is_labelled(
    desk: AdminDesk, business: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bulk_scenario.run_bulk(business, await bulk_scenario.fill_afternoon(business, 5), BulkAction.CONFIRM)
    count = len(await read_entries(desk, pageSize=100))
    assert f"Showing 1 to {count} of {count} items" in get_page_text((await desk.ada.get(LIST)).text)

    monkeypatch.setattr(list_pages, "MAX_COUNTED", 6)

    assert "Showing 1 to 3 of more than 3 items" in get_page_text((await desk.ada.get(LIST)).text)
    assert (await desk.ada.get(LIST, params={"page": 9})).headers["location"].endswith("page=1")


async def test_an_export_groups_nothing(desk: AdminDesk, business: Database) -> None:
    await bulk_scenario.run_bulk(business, await bulk_scenario.fill_afternoon(business, 3), BulkAction.CONFIRM)
    event_count = (await business.fetch(text("SELECT count(*) AS count FROM events")))[0]["count"]

    assert len((await desk.ada.get("/admin/event/export/csv")).text.splitlines()) == event_count + 1


async def test_an_expired_hold_is_a_separate_entry(desk: AdminDesk, business: Database) -> None:
    await create_booking(business, TOMORROW_AT_TEN)
    await business.fetch(text("UPDATE bookings SET expires_at = :at WHERE id = 1"), at=NOW)
    await create_booking(business, TEN + HALF_HOUR)
    await bulk_scenario.set_status(business, 2, Status.CONFIRMED)
    await bulk_scenario.run_bulk(business, [2], BulkAction.SHIFT, minutes=-30)

    first, second, *_ = await read_entries(desk)

    entries = f"{first} / {second}"
    assert "The hold expired." in entries
    assert entries.count("1 other change made together") == 2
