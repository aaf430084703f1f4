"""A change that leaves visits to come without their place names them, and asks before anything is written."""

import re
from collections.abc import Awaitable, Callable
from datetime import datetime, time, timedelta
from typing import Any

import httpx2
import pytest
from sqlalchemy import text

from bookit import catalogue, records
from bookit import refusals as no
from bookit.bookings.stranding import MISFITS_OF_RESOURCES, MISFITS_OF_SERVICE
from bookit.catalogue import Opening
from bookit.db.pool import Database
from bookit.db.session import Session
from bookit.schema.tables import Booking, CalendarException, OpeningHours, Resource, Service, Status
from tests.support.admin_client import AdminDesk, ParsedPage, get_page_text
from tests.support.clock import NOW, TOMORROW_AT_TEN
from tests.support.doors import AT_BOTH_DOORS, AdminDoor, DoorClient
from tests.support.people import OWNER, Person
from tests.support.refusal_assertions import RefusalOutcome
from tests.support.request_helpers import count_rows, status_and_code

TEN = TOMORROW_AT_TEN  # a Tuesday
HOW: dict[str, Any] = {"by": OWNER, "now": NOW}
Change = Callable[..., Awaitable[Any]]  # takes a session, and which stranded visits are accepted


async def write(database: Database, act: Change, **consent: Any) -> Any:
    async with database.transaction(by=OWNER) as session:
        return await act(session, **{"accepts_stranded": False, **consent})


async def book(database: Database, person: Person, start: datetime, **more: Any) -> Booking:
    facts = {"user_id": person.id, "service_id": 1, "start_time": start, "override_reason": "A test.", **more}

    async with database.transaction(by=OWNER) as session:
        return await records.create(session, Booking, **HOW, **facts)


async def stranded_ids(database: Database, act: Change, **consent: Any) -> list[int]:
    """Return the visits that a change would strand, after checking that a refusal wrote nothing."""
    before = await count_rows(database)
    try:
        await write(database, act, **consent)
    except no.StrandsVisits as refusal:
        visits = [visit["id"] for visit in refusal.visits]
    else:
        return []
    assert await count_rows(database) == before
    return visits


def change(table: Any, row_id: int = 1, **values: Any) -> Change:
    async def act(session: Session, **consent: Any) -> None:
        await records.change(session, await records.lock(session, table, row_id), **HOW, **consent, **values)

    return act


def create(table: Any, **values: Any) -> Change:
    async def act(session: Session, **consent: Any) -> None:
        await records.create(session, table, **HOW, **consent, **values)

    return act


def remove(table: Any, row_id: int = 1) -> Change:
    async def act(session: Session, **consent: Any) -> None:
        await records.remove(session, await records.lock(session, table, row_id), **HOW, **consent)

    return act


def replace_hours(*openings: Opening) -> Change:
    async def act(session: Session, **consent: Any) -> None:
        tag = catalogue.version_tag(await catalogue.get_opening_hours(session, 1))
        await records.replace_opening_hours(session, 1, openings, **HOW, **consent, expected_tag=tag)

    return act


TUESDAY: dict[str, Any] = {"resource_id": 1, "weekday": 2, "opens": time(9), "closes": time(12)}
DAY: dict[str, Any] = {"start_time": TEN.replace(hour=0), "end_time": TEN.replace(hour=0) + timedelta(days=1)}
# Each change strands a visit of Tuesday at ten on resource 1, and not one of Wednesday on resource 2.
STRANDING: dict[str, Change] = {
    "the resource becomes inactive": change(Resource, is_active=False),
    "the service becomes inactive": change(Service, is_active=False),
    "the resource serves it no longer": change(Service, resource_ids=[2]),
    "first hours": create(OpeningHours, resource_id=1, weekday=1, opens=time(9), closes=time(12)),
    "a new week": replace_hours(Opening(2, time(9), time(10, 15))),
    "a closure": create(CalendarException, resource_id=1, **DAY),
    "a closure of all": create(CalendarException, **DAY),
    "a closure of a minute of it": create(
        CalendarException, resource_id=1, start_time=TEN + timedelta(minutes=29), end_time=TEN + timedelta(minutes=30)
    ),
}


@pytest.mark.parametrize("name", STRANDING)
async def test_a_change_names_the_visits_that_it_strands(
    database: Database, tom: Person, eve: Person, shared: Service, name: str
) -> None:
    await book(database, eve, TEN + timedelta(days=1), resource_id=2)
    visit = await book(database, tom, TEN, resource_id=1)

    expected = [visit.id, 1] if name == "the service becomes inactive" else [visit.id]
    assert await stranded_ids(database, STRANDING[name]) == expected


@pytest.mark.parametrize("name", STRANDING)
async def test_a_change_that_is_accepted_is_made(database: Database, tom: Person, shared: Service, name: str) -> None:
    await book(database, tom, TEN, resource_id=1)
    with pytest.raises(no.StrandsVisits) as refused:
        await write(database, STRANDING[name])

    assert await stranded_ids(database, STRANDING[name], accepts_stranded="another tag") == [1]
    assert await stranded_ids(database, STRANDING[name], accepts_stranded=refused.value.tag) == []

    assert (await database.fetch(text("SELECT status FROM bookings")))[0]["status"] == Status.PENDING


async def test_a_rental_is_stranded_by_its_ends_alone(database: Database, tom: Person, shared: Service) -> None:
    """Ten days from Tuesday at ten to a Friday: what closes in between does not matter, nor what begins as it ends."""
    open_days = [Opening(day, time(9), time(18)) for day in range(1, 6)]
    await write(database, change(Service, duration_minutes=14400, binds_hours_at_ends=True))
    await write(database, replace_hours(*open_days))
    rental = await book(database, tom, TEN, resource_id=1)
    ends = rental.end_time
    hour = timedelta(hours=1)

    async def stranded_by_closure(since: datetime, until: datetime) -> list[int]:
        return await stranded_ids(database, create(CalendarException, resource_id=1, start_time=since, end_time=until))

    assert ends == TEN + timedelta(days=10)
    assert await stranded_by_closure(TEN + 5 * hour, ends - 5 * hour) == []
    assert await stranded_by_closure(ends, ends + hour) == []
    assert await stranded_by_closure(ends - hour, ends + hour) == [rental.id]
    assert await stranded_by_closure(TEN - hour, TEN + hour) == [rental.id]
    assert await stranded_ids(database, change(Service, binds_hours_at_ends=False)) == [rental.id]
    assert await stranded_ids(database, change(Service, binds_hours_at_ends=False, resource_ids=[1, 2])) == [rental.id]
    assert await stranded_ids(database, replace_hours(*open_days[:2], open_days[4])) == []
    assert await stranded_ids(database, replace_hours(*open_days[:4])) == [rental.id]


async def test_visits_that_are_over_or_not_live_are_not_stranded(
    database: Database, tom: Person, eve: Person, shared: Service
) -> None:
    await book(database, tom, NOW - timedelta(hours=2), resource_id=1)
    await book(database, tom, NOW, resource_id=1)  # It has begun.
    cancelled = await book(database, eve, TEN, resource_id=1)
    await write(database, change(Booking, cancelled.id, status=Status.CANCELLED))

    stranded = {name: await stranded_ids(database, act) for name, act in STRANDING.items()}
    assert stranded == {name: [] for name in STRANDING}


async def test_a_visit_by_override_is_not_named_for_the_rule_that_it_already_broke(
    database: Database, tom: Person, shared: Service
) -> None:
    await write(database, create(OpeningHours, **TUESDAY))
    await book(database, tom, TEN.replace(hour=20), resource_id=1)

    assert await stranded_ids(database, change(OpeningHours, closes=time(11))) == []
    assert await stranded_ids(database, change(Resource, is_active=False)) == [1]
    assert await stranded_ids(database, create(CalendarException, timezone="UTC", **DAY)) == [1]


async def test_fewer_seats_strand_the_visits_that_begin_last(
    database: Database, tom: Person, eve: Person, mara: Person, shared: Service
) -> None:
    await write(database, change(Resource, capacity=3))
    for person, minutes in ((tom, 0), (eve, 10), (mara, 20)):
        await book(database, person, TEN + timedelta(minutes=minutes), resource_id=1)
    await book(database, tom, TEN + timedelta(minutes=30), resource_id=1)  # When the first has ended.

    assert await stranded_ids(database, change(Resource, capacity=2)) == [3, 4]
    assert await stranded_ids(database, change(Resource, capacity=1)) == [2, 3, 4]
    assert await stranded_ids(database, change(Resource, capacity=4)) == []


@pytest.mark.parametrize(
    ("act", "expected"),
    [
        (change(OpeningHours, closes=time(10, 15)), [1]),
        (change(OpeningHours, weekday=3), [1]),
        (remove(OpeningHours), []),  # Without hours it is always open.
        (change(OpeningHours, resource_id=2), []),  # as above
        (change(OpeningHours, valid_until=NOW.date()), [1]),
        (change(OpeningHours, opens=time(8)), []),
        (change(Resource, timezone="America/New_York"), [1]),
    ],
)
async def test_changed_hours_strand_visits(
    database: Database, tom: Person, shared: Service, act: Change, expected: list[int]
) -> None:
    await write(database, create(OpeningHours, **TUESDAY))
    await book(database, tom, TEN, resource_id=1)

    assert await stranded_ids(database, act) == expected


async def test_an_extra_opening_that_moves_or_goes_strands_its_visits(
    database: Database, tom: Person, shared: Service
) -> None:
    await write(database, create(OpeningHours, resource_id=1, weekday=1, opens=time(9), closes=time(12)))
    await write(database, create(CalendarException, resource_id=1, is_open=True, **DAY))
    await book(database, tom, TEN, resource_id=1)
    later: dict[str, Any] = {name: moment + timedelta(days=7) for name, moment in DAY.items()}

    for act in (
        change(CalendarException, **later),
        change(CalendarException, is_open=False),
        remove(CalendarException),
    ):
        assert await stranded_ids(database, act) == [1]
    assert await stranded_ids(database, change(CalendarException, reason="Sunday shopping")) == []


async def test_a_closure_that_moves_strands_the_visits_of_its_new_days(
    database: Database, tom: Person, eve: Person, shared: Service
) -> None:
    far: dict[str, Any] = {"start_time": TEN + timedelta(days=400), "end_time": TEN + timedelta(days=401)}
    await write(database, create(CalendarException, **far))
    await book(database, tom, TEN, resource_id=1)
    await book(database, eve, TEN + timedelta(days=200), resource_id=2)

    assert await stranded_ids(database, change(CalendarException, **DAY)) == [1]
    assert await stranded_ids(database, change(CalendarException, start_time=DAY["start_time"])) == [1, 2]


async def test_a_day_off_strands_the_visits_of_each_resource_by_its_own_clock(
    database: Database, tom: Person, eve: Person, shared: Service
) -> None:
    """In Auckland, Tuesday begins at 11:00 UTC on Monday."""
    await write(database, change(Resource, 2, timezone="Pacific/Auckland"))
    await book(database, tom, DAY["start_time"] - timedelta(hours=12), resource_id=2)
    await book(database, eve, DAY["start_time"] - timedelta(hours=12), resource_id=1)
    await book(database, eve, DAY["end_time"] - timedelta(hours=12), resource_id=2)

    assert await stranded_ids(database, create(CalendarException, timezone="UTC", **DAY)) == [1]


@AT_BOTH_DOORS
@pytest.mark.parametrize("facts", [{"is_active": False}, {"resource_ids": [2]}])
async def test_a_service_with_visits_to_come_is_not_changed_unasked(
    door: DoorClient, tom: Person, shared: Service, facts: dict[str, Any]
) -> None:
    seen = await door.fetch_row(Service, shared.id)
    await door.book(tom, shared, TEN, resource_id=1)
    if isinstance(door, AdminDoor) and "resource_ids" in facts:
        facts = {"resources": 2}

    assert await door.change(Service, seen, **facts) == RefusalOutcome(no.StrandsVisits)


# At the API only: the field that accepts it. At the desk, the page has a button.


async def test_the_api_lists_stranded_visits_and_takes_the_consent(
    ada: Person, tom: Person, shared: Service, database: Database
) -> None:
    await book(database, tom, TEN)

    refused = await ada.request("PATCH", "/services/1", json={"is_active": False})
    saved = await ada.request("PATCH", "/services/1", json={"is_active": False, "accepts_stranded": True})

    problem = refused.json()
    assert (status_and_code(refused), problem["detail"]) == (
        (409, "strands-visits"),
        "1 visit to come would no longer fit.",
    )
    assert problem["stranded"] == [
        {"id": 1, "service_id": 1, "resource_id": 1, "start_time": "2030-01-08T10:00:00Z",
         "end_time": "2030-01-08T10:30:00Z"}
    ]  # fmt: skip
    assert (saved.status_code, saved.json()["is_active"]) == (200, False)


# At the desk only: each page that makes such a change asks.


async def press_save(client: httpx2.AsyncClient, path: str, **typed: str) -> httpx2.Response:
    fields = {**ParsedPage((await client.get(path)).text).fields, **typed}
    return await client.post(path, data={name: value for name, value in fields.items() if value != "UNTICKED"})


PAGES: dict[str, tuple[str, dict[str, str]]] = {
    "a resource's form": ("/admin/resource/edit/1", {"is_active": "UNTICKED"}),
    "a resource's seats": ("/admin/resource/edit/1", {"capacity": "1"}),
    "a service's form": ("/admin/service/edit/1", {"is_active": "UNTICKED"}),
    "the week": ("/admin/resource/1/week", {"opens-0-1": "09:00", "closes-0-1": "10:00"}),
    "new hours": (
        "/admin/opening-hours/create",
        {"resource": "1", "weekday": "1", "opens": "09:00", "closes": "10:00"},
    ),
    "a new closure": (
        "/admin/calendar-exception/create",
        {"start_time": "2030-01-08T00:00", "end_time": "2030-01-09T00:00"},
    ),
}


@pytest.mark.parametrize("page", PAGES)
async def test_a_page_names_the_visits_and_saves_when_asked_again(
    desk: AdminDesk, tom: Person, eve: Person, shared: Service, page: str
) -> None:
    path, typed = PAGES[page]
    await write(desk.database, change(Resource, capacity=2))
    await book(desk.database, tom, TEN, resource_id=1)
    await book(desk.database, eve, TEN, resource_id=1)
    before = await count_rows(desk.database)

    asked = await press_save(desk.ada, path, save="Save", **typed)

    page_text = get_page_text(asked.text)
    expected = [2] if page == "a resource's seats" else [1, 2]
    count = "1 visit" if len(expected) == 1 else "2 visits"
    assert (asked.status_code, f"{count} to come would no longer fit." in page_text) == (409, True)
    assert "#2 Tue 08 Jan 2030, 11:00 : Eve, Colour, Lea" in page_text
    assert [int(number) for number in re.findall(r'/booking/details/(\d+)"', asked.text)] == expected
    assert "Save anyway" in page_text
    assert await count_rows(desk.database) == before

    fields = {**ParsedPage(asked.text).fields, **typed, "save": "Save"}
    saved = await desk.ada.post(path, data={name: value for name, value in fields.items() if value != "UNTICKED"})

    assert saved.is_redirect, get_page_text(saved.text)


async def test_what_was_not_shown_is_asked_again(desk: AdminDesk, tom: Person, eve: Person, shared: Service) -> None:
    path = "/admin/resource/edit/1"
    await book(desk.database, tom, TEN, resource_id=1)
    asked = await press_save(desk.ada, path, save="Save", is_active="UNTICKED")
    await book(desk.database, eve, TEN + timedelta(hours=1), resource_id=1)
    fields = ParsedPage(asked.text).fields

    again = await desk.ada.post(path, data={**fields, "save": "Save"})

    assert (again.status_code, "2 visits to come would no longer fit." in get_page_text(again.text)) == (409, True)


async def test_deleting_an_opening_asks_on_a_page_of_its_own(desk: AdminDesk, tom: Person, shared: Service) -> None:
    await write(desk.database, create(OpeningHours, resource_id=1, weekday=1, opens=time(9), closes=time(12)))
    await write(desk.database, create(OpeningHours, **TUESDAY))
    await book(desk.database, tom, TEN, resource_id=1)

    answer = await desk.ada.delete("/admin/opening-hours/delete", params={"pks": "2"})
    page = await desk.ada.get(answer.text)

    assert (page.status_code, await desk.fetch_row("opening_hours", 2) is not None) == (409, True)
    assert "Without #2: 1 visit to come would no longer fit." in get_page_text(page.text)
    done = await desk.ada.post(answer.text, data=ParsedPage(page.text).fields)
    assert (done.status_code, await desk.fetch_row("opening_hours", 2)) == (303, None)


async def test_staff_may_not_delete_what_they_may_not_change(desk: AdminDesk, shared: Service) -> None:
    answers = [await desk.mara.request(method, "/admin/service/confirm-deletion?pks=1") for method in ("GET", "POST")]

    assert [answer.status_code for answer in answers] == [403, 403]


# Speed: the visits are found by indexes.


@pytest.mark.parametrize("statement", [MISFITS_OF_RESOURCES, MISFITS_OF_SERVICE])
async def test_stranded_visits_are_found_by_an_index(database: Database, statement: Any) -> None:
    values: dict[str, Any] = {"resource_ids": [1], "service_id": 1, "since": NOW, "until": TEN, "now": NOW}

    async with database.transaction(by=OWNER) as session:
        await session.fetch(text("SET LOCAL enable_seqscan = off"))
        plan = await session.fetch(text(f"EXPLAIN (COSTS off) {statement}"), **values)

    assert "Seq Scan on bookings" not in str(plan)
