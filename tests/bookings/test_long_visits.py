"""Visits of many days: a van that is rented for ten, bound to opening hours only where it is collected and returned."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import text

from bookit import refusals as no
from bookit.bookings.bulk import BulkAction
from bookit.db.pool import Database
from bookit.reports import figures
from bookit.reports.ranges import ReportRange
from bookit.schema.tables import Booking, Service, Status
from tests.support.admin_client import AdminDesk, get_page_text
from tests.support.bulk_scenario import run_bulk
from tests.support.clock import NOW, Clock
from tests.support.doors import AT_BOTH_DOORS, DoorClient
from tests.support.opening_hours import add_exception, add_opening_hours, change_row, create_service
from tests.support.people import Person
from tests.support.refusal_assertions import RefusalOutcome

BERLIN = ZoneInfo("Europe/Berlin")
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
TEN_DAYS = 14_400  # minutes


def berlin(moment: str) -> datetime:
    return datetime.fromisoformat(moment).replace(tzinfo=BERLIN).astimezone(UTC)


MONDAY = berlin("2030-01-14 09:00")  # when the van opens


@pytest.fixture
async def van(database: Database) -> Service:
    """Create a rental of ten days of a van, on weekdays from nine to six in Berlin, and a ride of an hour in it."""
    facts: dict[str, Any] = {"title": "Rental", "duration_minutes": TEN_DAYS, "binds_hours_at_ends": True}
    rental = await create_service(database, {"name": "Van", "timezone": "Europe/Berlin"}, **facts)
    await add_opening_hours(database, 1, "09:00-18:00", range(1, 6))
    await create_service(database, title="Ride")
    await change_row(database, Service, 2, resource_ids=[1])
    return rental


# Booking.


@AT_BOTH_DOORS
@pytest.mark.parametrize(
    ("start", "end", "hours"),
    [
        ("2030-01-14 09:00", "2030-01-24 09:00", 240),
        ("2030-03-25 12:00", "2030-04-04 12:00", 239),  # The clocks go forward on 31 March,
        ("2030-10-18 18:00", "2030-10-28 18:00", None),  # and it is closed at six.
        ("2030-10-18 17:59", "2030-10-28 17:59", 241),  # They go back on 27 October.
    ],
)
async def test_a_van_is_rented_until_the_same_time_ten_days_later(
    door: DoorClient, tom: Person, van: Service, start: str, end: str, hours: int | None
) -> None:
    booked = await door.book(tom, van, berlin(start))

    if hours is None:
        assert booked == RefusalOutcome(no.OutsideHours)
        return
    assert (booked["end_time"], booked["end_time"] - booked["start_time"]) == (berlin(end), hours * HOUR)
    moved = await door.reschedule(booked, start_time=berlin("2030-05-06 10:00"))
    assert moved["end_time"] == berlin("2030-05-16 10:00")


@AT_BOTH_DOORS
async def test_an_hour_on_the_ninth_day_overlaps_it(door: DoorClient, tom: Person, eve: Person, van: Service) -> None:
    """Also the other way round, and for the same customer with another resource."""
    await door.book(tom, van, MONDAY)
    own = await create_service(door.desk.database, {"name": "Room"})

    assert await door.book(eve, {"id": 2}, MONDAY + 9 * DAY + HOUR) == RefusalOutcome(no.SlotTaken)
    assert await door.book(tom, own, MONDAY + 9 * DAY + HOUR) == RefusalOutcome(no.OverlappingBooking)
    ride = await door.book(eve, {"id": 2}, MONDAY + 10 * DAY)
    assert ride["start_time"] == MONDAY + 10 * DAY
    assert await door.book(tom, van, MONDAY + 4 * DAY) == RefusalOutcome(no.SlotTaken)


@AT_BOTH_DOORS
async def test_only_the_ends_are_bound_to_opening_hours(door: DoorClient, tom: Person, van: Service) -> None:
    """The last moment of a day is the time to return it and not to collect it; without the switch nothing fits."""
    outside = [berlin("2030-01-14 08:59"), berlin("2030-01-12 12:00"), berlin("2030-01-16 12:00"),
               berlin("2030-01-14 18:00")]  # fmt: skip
    for start in outside:  # Too early, on a Saturday, back on a Saturday, at the time of closing.
        assert await door.book(tom, van, start) == RefusalOutcome(no.OutsideHours)
    seen = await door.fetch_row(Service, 1)
    back_at_six = await door.change(Service, seen, duration_minutes=TEN_DAYS + 9 * 60)
    booked = await door.book(tom, back_at_six, MONDAY)
    assert booked["end_time"] == berlin("2030-01-24 18:00")

    assert await door.change(Service, back_at_six, binds_hours_at_ends=False) == RefusalOutcome(no.StrandsVisits)
    await change_row(door.desk.database, Service, 1, binds_hours_at_ends=False)
    assert await door.book(tom, van, MONDAY + 28 * DAY) == RefusalOutcome(no.OutsideHours)


@AT_BOTH_DOORS
async def test_a_closure_in_the_middle_does_not_matter(door: DoorClient, tom: Person, van: Service) -> None:
    """One that covers the start or the end does. It may begin when the van comes back."""
    database = door.desk.database
    await add_exception(database, "2030-01-16T00:00+01:00", "2030-01-18T00:00+01:00")
    await add_exception(database, "2030-01-29T00:00+01:00", "2030-01-30T00:00+01:00")
    assert await door.book(tom, van, berlin("2030-01-29 12:00")) == RefusalOutcome(no.Closed)
    assert await door.book(tom, van, berlin("2030-01-07 12:00")) == RefusalOutcome(no.Closed)
    booked = await door.book(tom, van, MONDAY)

    assert booked["end_time"] == MONDAY + 10 * DAY
    await add_exception(database, "2030-02-14T10:00+01:00", "2030-02-14T12:00+01:00")
    assert await door.book(tom, van, berlin("2030-02-04 11:00")) == RefusalOutcome(no.Closed)
    assert (await door.book(tom, van, berlin("2030-02-04 10:00")))["end_time"] == berlin("2030-02-14 10:00")


# What is offered.


async def test_what_is_offered_of_the_van_can_be_booked(database: Database, eve: Person, van: Service) -> None:
    """Each half hour of five days: offered if and only if it can be booked, with the same end."""
    await change_row(database, Service, van.id, slot_step_minutes=30)
    await add_exception(database, "2030-04-04T00:00+02:00", "2030-04-04T12:00+02:00")
    since = berlin("2030-03-22 00:00")
    query = {"from_date": since.isoformat(), "to_date": (since + 5 * DAY).isoformat()}
    slots = (await eve.request("GET", "/services/1/availability", params=query)).json()
    offered = {slot["start_time"]: slot["end_time"] for slot in slots}

    for half in range(5 * 48):
        start = since + half * HOUR / 2
        answer = await eve.request("POST", "/bookings", json={"service_id": 1, "start_time": start.isoformat()})
        at = start.isoformat().replace("+00:00", "Z")
        assert (answer.status_code == 201) == (at in offered), (at, answer.text)
        if answer.status_code == 201:
            assert answer.json()["end_time"] == offered[at]
            await eve.request("DELETE", answer.headers["location"])
    assert len(offered) == 18 + 12 + 18  # On Friday, on Monday to come back on Thursday from noon on, and on Tuesday.


# On the fifth day.


FIFTH = {"start": "2030-01-18T00:00:00", "end": "2030-01-19T00:00:00"}


async def test_the_calendar_shows_it_on_each_of_its_days(
    desk: AdminDesk, tom: Person, van: Service, clock: Clock
) -> None:
    await book_van(tom)

    for day in range(13, 26):
        range_of_day = {"start": f"2030-01-{day:02}", "end": f"2030-01-{day + 1:02}"}
        fed = (await desk.mara.get("/admin/calendar/feed", params=range_of_day)).json()
        times = [visit["times"] for visit in fed["visits"]]
        assert times == (["Mon 14 Jan 09:00 – Thu 24 Jan 09:00"] if 14 <= day <= 24 else []), day


async def test_lists_of_a_day_have_it(desk: AdminDesk, tom: Person, van: Service, clock: Clock) -> None:
    """Also together with an ordinary visit and a filter; the day after it, it is gone."""
    await book_van(tom)

    async def listed(query: str) -> int:
        rows = (await desk.ada.get(f"/admin/booking/export/csv?{query}")).text.splitlines()
        page = get_page_text((await desk.mara.get(f"/admin/booking/list?{query}")).text)
        assert ("Tom Rental Van" in page) == (len(rows) == 2)
        return len(rows) - 1

    assert [await listed(f"start_time=2030-01-{day}") for day in (13, 14, 18, 24, 25)] == [0, 1, 1, 1, 0]
    assert await listed("start_time=2030-01-18&resource_id=1") == 1
    assert await listed("start_time=2030-01-18&status=completed") == 0


@AT_BOTH_DOORS
async def test_lists_of_several_days_have_what_still_runs(
    door: DoorClient, tom: Person, eve: Person, van: Service, clock: Clock
) -> None:
    """In its place in the order, before an ordinary visit; not once it has ended."""
    rental = await book_van(tom)
    cut = await create_service(door.desk.database, title="Cut")
    visit = (await door.book(eve, cut, berlin("2030-01-16 10:00")))["id"]

    days = [("16", "17"), ("18", "20"), ("24", "30"), ("25", "30"), ("10", "13"), ("10", "14")]
    listed = [await door.list_bookings(f"2030-01-{first}", f"2030-01-{last}") for first, last in days]

    assert listed == [[rental, visit], [rental], [rental], [], [], [rental]]
    assert await door.list_bookings("2030-01-16", "") == [rental, visit]
    assert await door.list_bookings("", "2030-01-14") == [rental]


async def test_the_list_of_bookings_to_come_has_what_still_runs(
    desk: AdminDesk, tom: Person, van: Service, clock: Clock
) -> None:
    await book_van(tom)
    clock.now = MONDAY + 5 * DAY

    assert "Tom Rental Van" in get_page_text((await desk.mara.get("/admin/booking/list")).text)
    clock.now = MONDAY + 11 * DAY
    assert "Tom Rental Van" not in get_page_text((await desk.mara.get("/admin/booking/list")).text)


async def test_a_customer_sees_what_still_runs(tom: Person, mara: Person, van: Service, clock: Clock) -> None:
    """A list of a customer has another condition. Pages that follow have the rest."""
    rental = await book_van(tom)
    later = {"service_id": 2, "start_time": berlin("2030-01-24 10:00").isoformat()}
    ride = (await tom.request("POST", "/bookings", json=later)).json()["id"]
    lists = [
        "/bookings?from_date=2030-01-18",
        "/bookings?from_date=2030-01-24T12:00:00Z",
        "/bookings?to_date=2030-01-18",
    ]

    async def listed(person: Person) -> list[list[int]]:
        return [[row["id"] for row in (await person.request("GET", path)).json()] for path in lists]

    own, of_all = await listed(tom), await listed(mara)
    first = await mara.request("GET", f"{lists[0]}&limit=1")
    second = await mara.request("GET", first.links["next"]["url"])

    assert own == of_all == [[rental, ride], [], [rental]]
    assert [[row["id"] for row in page.json()] for page in (first, second)] == [[rental], [ride]]


async def test_a_closure_lists_the_bookings_in_it(desk: AdminDesk, tom: Person, van: Service, clock: Clock) -> None:
    await book_van(tom)
    await add_exception(desk.database, "2030-01-18T10:00+01:00", "2030-01-18T11:00+01:00", resource=1)

    page = get_page_text((await desk.mara.get("/admin/calendar-exception/details/1")).text)

    assert "Tom" in page


async def test_utilisation_counts_the_time_where_it_lies(database: Database, tom: Person, van: Service) -> None:
    """Of each open day that the rental covers, and from the middle of it on."""
    await book_van(tom)
    first, last = date(2030, 1, 18), date(2030, 1, 24)

    report = await figures.utilisation(database, ReportRange(first, last, BERLIN, "day"), now=NOW)

    booked = [row["booked_minutes"] for row in report.periods]
    assert booked == [540, 0, 0, 540, 540, 540, 0]


async def test_the_dashboard_closes_a_rental_when_it_is_over(
    desk: AdminDesk, tom: Person, van: Service, clock: Clock
) -> None:
    """Completed while it runs, the van would be free. Until it is confirmed, it waits for that."""
    booking = await book_van(tom)

    async def sections() -> tuple[str, list[str]]:
        html = (await desk.mara.get("/admin/")).text
        page = {name: get_page_text(html[html.index(f'aria-labelledby="{name}"'):].split("</section>", 1)[0])
                for name in ("pending", "late")}  # fmt: skip
        acts = (await desk.mara.get("/admin/calendar/visit/1")).json()["acts"]
        return ([name for name, shown in page.items() if "Tom" in shown] or [""])[0], [
            act["name"] for act in acts if act["is_primary"]
        ]

    clock.now = MONDAY + 5 * DAY
    assert await sections() == ("pending", ["confirm"])
    await change_row(desk.database, Booking, booking, status=Status.CONFIRMED)
    assert await sections() == ("", [])
    clock.now = MONDAY + 10 * DAY + HOUR
    assert await sections() == ("late", ["complete"])


async def book_van(person: Person) -> int:
    answer = await person.request("POST", "/bookings", json={"service_id": 1, "start_time": MONDAY.isoformat()})
    assert answer.status_code == 201, answer.text
    return int(answer.json()["id"])


# Many at once.


async def test_rentals_in_a_row_move_by_a_day(database: Database, tom: Person, van: Service) -> None:
    """One after the other, over the change of clocks: each keeps its times of day."""
    await change_row(database, Service, van.id, duration_minutes=7 * 1440)
    starts = [berlin(f"2030-03-{day} 09:00") for day in (12, 19, 26)]
    for start in starts:
        sent = {"service_id": van.id, "start_time": start.isoformat()}
        assert (await tom.request("POST", "/bookings", json=sent)).status_code == 201

    async with Database(database.url, timezone="Europe/Berlin", size=1) as in_berlin:
        await run_bulk(in_berlin, [1, 2, 3], BulkAction.SHIFT, minutes=1440)

    rows = await database.fetch(text("SELECT start_time, end_time FROM bookings ORDER BY id"))
    moved = [(row["start_time"], row["end_time"]) for row in rows]
    assert moved == [
        (berlin("2030-03-13 09:00"), berlin("2030-03-20 09:00")),
        (berlin("2030-03-20 09:00"), berlin("2030-03-27 09:00")),
        (berlin("2030-03-27 09:00"), berlin("2030-04-03 09:00")),
    ]


# Each resource has its own end.


async def test_the_end_on_each_resource_decides_which_is_free(
    database: Database, tom: Person, eve: Person, van: Service
) -> None:
    """Where the clocks go forward in Berlin, two days end an hour earlier there, and the flat there is still free."""
    flats = [
        {"name": "Flat in Berlin", "timezone": "Europe/Berlin"},
        {"name": "Flat in Kolkata", "timezone": "Asia/Kolkata"},
    ]
    stay = await create_service(database, *flats, title="Stay", duration_minutes=2880)
    short = await create_service(database, title="Visit")
    ids = [
        row["id"] for row in await database.fetch(text("SELECT id FROM resources WHERE name LIKE 'Flat%' ORDER BY 1"))
    ]
    await change_row(database, Service, short.id, resource_ids=ids)
    start = berlin("2030-03-30 12:00")
    sent = {"service_id": short.id, "resource_id": ids[0], "start_time": (start + 47 * HOUR).isoformat()}
    assert (await eve.request("POST", "/bookings", json=sent)).status_code == 201

    answer = await tom.request("POST", "/bookings", json={"service_id": stay.id, "start_time": start.isoformat()})

    assert (answer.status_code, answer.json().get("resource_id")) == (201, ids[0])
