"""Whole minutes, and days by the clock on the wall, which have 23 to 25 hours where the clocks change."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import text

from bookit import refusals as no
from bookit.bookings.bulk import BulkAction
from bookit.db.pool import Database
from bookit.policy import lifecycle, times
from bookit.schema.tables import Booking, Service
from tests.support.admin_client import AdminDesk
from tests.support.bulk_scenario import TEN, create_booking, create_business, run_bulk
from tests.support.clock import Clock
from tests.support.doors import AT_BOTH_DOORS, DoorClient
from tests.support.opening_hours import create_service
from tests.support.people import OWNER, Person
from tests.support.refusal_assertions import RefusalOutcome

BERLIN = ZoneInfo("Europe/Berlin")
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def berlin(moment: str) -> datetime:
    return datetime.fromisoformat(moment).replace(tzinfo=BERLIN).astimezone(UTC)


# Whole minutes.


@AT_BOTH_DOORS
@pytest.mark.parametrize("beyond", [timedelta(seconds=1), timedelta(seconds=59.5), timedelta(microseconds=1)], ids=str)
async def test_seconds_are_cut_off(door: DoorClient, tom: Person, haircut: Service, beyond: timedelta) -> None:
    booking = await door.book(tom, haircut, TEN + beyond)
    moved = await door.reschedule(booking, start_time=TEN + DAY + beyond)
    longer = await door.reschedule(moved, end_time=TEN + DAY + HOUR + beyond)

    assert (booking["start_time"], moved["start_time"]) == (TEN, TEN + DAY)
    assert (longer["start_time"], longer["end_time"]) == (TEN + DAY, TEN + DAY + HOUR)
    assert await door.book(tom, haircut, TEN + DAY + 2 * HOUR) != RefusalOutcome(no.SlotTaken)


# The longest visit.


@pytest.mark.parametrize(
    ("start", "hours", "is_refused"),
    [
        ("2030-01-08 10:00", 60 * 24, False),
        ("2030-01-08 10:00", 60 * 24 + 1, True),
        ("2030-10-26 10:00", 60 * 24 + 1, False),  # The clocks go back in the night.
        ("2030-10-27 04:00", 60 * 24 + 1, True),
        ("2030-03-30 10:00", 60 * 24 - 1, False),  # The clocks go forward in the night.
        ("2030-03-30 10:00", 60 * 24, True),
    ],
)
def test_a_visit_lasts_until_the_same_time_60_days_later_at_most(start: str, hours: int, *, is_refused: bool) -> None:
    since = berlin(start)
    booking = Booking(start_time=since, end_time=since + HOUR, blocks_from=since, blocks_until=since + HOUR)

    if is_refused:
        with pytest.raises(no.LengthOutOfRange):
            lifecycle.require_length(booking, since, since + hours * HOUR, by=OWNER, zone=BERLIN)
    else:
        lifecycle.require_length(booking, since, since + hours * HOUR, by=OWNER, zone=BERLIN)


# Visits of a day.


@pytest.fixture
async def stay(database: Database) -> Service:
    """Create a stay of a day in Berlin, which begins at any full hour, with an hour for cleaning."""
    facts = {"duration_minutes": 1440, "slot_step_minutes": 60, "cleanup_minutes": 60}
    return await create_service(database, {"name": "Flat", "timezone": "Europe/Berlin"}, **facts)


DAYS = pytest.mark.parametrize(
    ("day", "next_day", "hours"), [("2030-03-30", "2030-03-31", 23), ("2030-10-26", "2030-10-27", 25),
                                   ("2030-07-01", "2030-07-02", 24)],
)  # fmt: skip


@AT_BOTH_DOORS
@DAYS
async def test_a_day_ends_at_the_same_time_of_the_next(
    door: DoorClient, tom: Person, stay: Service, day: str, next_day: str, hours: int
) -> None:
    """Booked, and moved there and away again; the cleaning follows it."""
    booked = await door.book(tom, stay, berlin(f"{day} 11:00"))
    away = await door.reschedule(booked, start_time=berlin("2030-05-06 11:00"))
    back = await door.reschedule(away, start_time=berlin(f"{day} 12:00"))

    assert (booked["end_time"], booked["blocks_until"]) == (berlin(f"{next_day} 11:00"), berlin(f"{next_day} 12:00"))
    assert booked["end_time"] - booked["start_time"] == hours * HOUR
    assert away["end_time"] == berlin("2030-05-07 11:00")
    assert (back["end_time"], back["blocks_until"]) == (berlin(f"{next_day} 12:00"), berlin(f"{next_day} 13:00"))


@DAYS
async def test_what_availability_offers_of_days_is_what_can_be_booked(
    tom: Person, eve: Person, stay: Service, day: str, next_day: str, hours: int
) -> None:
    """Each hour around a stay over the change of clocks: offered if and only if it can be booked."""
    await create_booking_at(tom, berlin(f"{day} 11:00"))
    since, until = berlin(day) - 2 * DAY, berlin(next_day) + 2 * DAY
    query = {"from_date": since.isoformat(), "to_date": until.isoformat()}
    slots = (await eve.request("GET", "/services/1/availability", params=query)).json()
    offered = {slot["start_time"]: slot["end_time"] for slot in slots}

    for hour in range(int((until - since) / HOUR)):
        start = since + hour * HOUR
        answer = await eve.request("POST", "/bookings", json={"service_id": 1, "start_time": start.isoformat()})
        at = start.isoformat().replace("+00:00", "Z")
        assert (answer.status_code == 201) == (at in offered), (at, answer.text)
        if answer.status_code == 201:
            assert answer.json()["end_time"] == offered[at]
            await eve.request("DELETE", answer.headers["location"])
    assert {datetime.fromisoformat(end) - datetime.fromisoformat(start) for start, end in offered.items()} <= {
        hours * HOUR, 24 * HOUR
    }  # fmt: skip


async def create_booking_at(person: Person, start: datetime) -> None:
    sent = {"service_id": 1, "start_time": start.isoformat()}
    assert (await person.request("POST", "/bookings", json=sent)).status_code == 201


# Moves by days.


@pytest.mark.parametrize(
    ("start", "minutes", "expected"),
    [
        ("2030-03-30 10:00", 1440, "2030-03-31 10:00"),
        ("2030-03-31 10:00", -1440, "2030-03-30 10:00"),
        ("2030-10-26 10:00", 1440, "2030-10-27 10:00"),
        ("2030-10-26 10:00", 1439, "2030-10-27 08:59"),  # Less than a day is by the minute.
        ("2030-01-08 10:00", 1440, "2030-01-09 10:00"),
    ],
)
async def test_bookings_move_by_a_day_to_the_same_time(
    database: Database, tom: Person, start: str, minutes: int, expected: str
) -> None:
    del tom
    await create_business(database)
    booking = await create_booking(database, berlin(start))
    async with Database(database.url, timezone="Europe/Berlin", size=1) as in_berlin:
        [outcome] = await run_bulk(in_berlin, [booking.id], BulkAction.SHIFT, minutes=minutes)

    assert outcome.after
    assert outcome.after.start_time == berlin(expected)


def test_a_move_by_a_day_to_a_time_that_is_skipped_is_refused() -> None:
    with pytest.raises(no.NoSuchTime):
        times.shift(berlin("2030-03-30 02:30"), DAY, BERLIN)


# The horizon.


@AT_BOTH_DOORS
@pytest.mark.parametrize(
    ("now", "horizon", "last"),
    [
        ("2030-03-30 12:00", 1, "2030-03-31 12:00"),  # 23 hours later
        ("2030-10-26 12:00", 1, "2030-10-27 12:00"),  # 25 hours later
        ("2030-10-20 12:00", 14, "2030-11-03 12:00"),
    ],
)
async def test_a_day_of_the_horizon_is_one_of_the_resource(
    door: DoorClient, clock: Clock, tom: Person, haircut: Service, now: str, horizon: int, last: str
) -> None:
    database, clock.now = door.desk.database, berlin(now)
    await database.fetch(text(f"UPDATE services SET horizon_days = {horizon}"))
    await database.fetch(text("UPDATE resources SET timezone = 'Europe/Berlin'"))

    beyond = await door.book(tom, haircut, berlin(last) + MINUTE)

    assert beyond == RefusalOutcome(no.TooFarAhead)
    assert (await door.book(tom, haircut, berlin(last)))["start_time"] == berlin(last)


# The list of a day.


@pytest.mark.parametrize(
    ("days", "is_listed"),
    [("2030-01-08", True), ("2030-01-09", True), ("2030-01-10", False), ("2030-01-07", False)],
)
async def test_the_list_of_a_day_has_the_visits_that_meet_it(
    desk: AdminDesk, tom: Person, haircut: Service, days: str, *, is_listed: bool
) -> None:
    del haircut
    late = berlin("2030-01-08 23:30")
    await create_booking(desk.database, late, resource=1, service=1, user=tom.id)

    page = (await desk.mara.get("/admin/booking/list", params={"start_time": days})).text

    assert ("/admin/booking/details/1" in page) == is_listed


@pytest.mark.parametrize(("day", "is_listed"), [("2030-12-23", False), ("2030-12-25", True), ("2030-12-27", False)])
async def test_the_list_of_closures_has_those_that_meet_the_day(desk: AdminDesk, day: str, *, is_listed: bool) -> None:
    holiday = "('2030-12-24 00:00+01', '2030-12-27 00:00+01')"
    await desk.database.fetch(text(f"INSERT INTO calendar_exceptions (start_time, end_time) VALUES {holiday}"))

    page = (await desk.mara.get("/admin/calendar-exception/list", params={"start_time": day})).text

    assert ("/admin/calendar-exception/details/1" in page) == is_listed


# Closures and openings.


async def offered_hours(tom: Person, service_id: int, day: str, zone: str) -> list[str]:
    """Return the local times of the starts that are offered on a day of this zone."""
    path = f"/services/{service_id}/availability?from_date=2030-02-08&to_date=2030-02-13"
    slots = (await tom.request("GET", path)).json()
    local = [datetime.fromisoformat(slot["start_time"]).astimezone(ZoneInfo(zone)) for slot in slots]
    return [f"{moment:%H:%M}" for moment in local if f"{moment:%Y-%m-%d}" == day]


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Pacific/Auckland", "America/Los_Angeles", "Asia/Kathmandu", "UTC"])
@pytest.mark.parametrize("is_of_all", [True, False], ids=["of all", "of one"])
async def test_a_day_off_is_a_day_by_the_clock_of_each_resource(
    desk: AdminDesk, tom: Person, zone: str, *, is_of_all: bool
) -> None:
    await desk.database.fetch(text(
        f"INSERT INTO resources (name, timezone) VALUES ('Lea', '{zone}')"
    ))  # fmt: skip
    await desk.database.fetch(text("INSERT INTO services (title, price, duration_minutes) VALUES ('Cut', 30, 60)"))
    await desk.database.fetch(text("INSERT INTO service_resources (service_id, resource_id) VALUES (1, 1)"))
    await desk.database.fetch(text(
        "INSERT INTO opening_hours (resource_id, weekday, opens, closes)"
        " SELECT 1, weekday, '00:00', '00:00' FROM generate_series(1, 7) AS weekday"
    ))  # fmt: skip
    form = {"start_time": "2030-02-10T00:00", "end_time": "2030-02-11T00:00", "reason": "Holiday"}
    saved = await desk.mara.post(
        "/admin/calendar-exception/create", data=form | ({} if is_of_all else {"resource": "1"})
    )

    assert saved.status_code == 302
    days = {day: await offered_hours(tom, 1, f"2030-02-{day}", zone) for day in ("09", "10", "11")}
    full = [f"{hour:02}:00" for hour in range(24)]
    assert days == {"09": full, "10": [], "11": full}


async def test_a_closure_shows_the_times_that_were_typed(desk: AdminDesk) -> None:
    form = {"start_time": "2030-02-10T08:00", "end_time": "2030-02-10T12:30", "reason": "Training"}
    await desk.mara.post("/admin/calendar-exception/create", data=form)

    page = (await desk.mara.get("/admin/calendar-exception/edit/1")).text
    [row] = await desk.database.fetch(text("SELECT timezone, start_time FROM calendar_exceptions"))

    assert ("2030-02-10T08:00" in page, "2030-02-10T12:30" in page) == (True, True)
    assert (row["timezone"], row["start_time"]) == ("Europe/Berlin", berlin("2030-02-10 08:00"))
