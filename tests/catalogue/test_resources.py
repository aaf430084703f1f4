"""Resources, their opening hours and exceptions.

The API has no routes for them, so these tests use the desk, or the rules directly.
"""

from datetime import UTC, date, datetime, time
from typing import Any

import pytest

from bookit import records
from bookit import refusals as no
from bookit.db.pool import Database
from bookit.schema.tables import CalendarException, OpeningHours, Resource, Service
from tests.support.claims import fetch_seats
from tests.support.clock import NOW, TOMORROW_AT_TEN
from tests.support.doors import AT_THE_ADMIN_ONLY, DoorClient
from tests.support.people import OWNER, Person
from tests.support.refusal_assertions import RefusalOutcome

LEA: dict[str, Any] = {"name": "Lea", "capacity": 3, "timezone": "Europe/Berlin"}
MONDAYS: dict[str, Any] = {"resource_id": 1, "weekday": 1, "opens": time(9), "closes": time(17)}
HOLIDAY: dict[str, Any] = {
    "start_time": datetime(2030, 12, 24, tzinfo=UTC),
    "end_time": datetime(2030, 12, 27, tzinfo=UTC),
    "reason": "Christmas",
}
NOTHING = {"id": 99, "version": 1}


@AT_THE_ADMIN_ONLY
async def test_a_resource_is_added_changed_and_deleted(door: DoorClient) -> None:
    lea = await door.add(Resource, **LEA)
    changed = await door.change(Resource, lea, capacity=1, is_active=False)

    assert lea == LEA | {"id": 1, "is_active": True, "created_at": NOW, "version": 1}
    assert changed == lea | {"capacity": 1, "is_active": False, "version": 2}
    assert await door.remove(Resource, lea) is None


@AT_THE_ADMIN_ONLY
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "x" * 201),
        ("capacity", 0),
        ("capacity", 1001),
        ("timezone", ""),
        ("timezone", "Mars/Olympus"),
        ("timezone", "../etc/passwd"),
    ],
)
async def test_an_invalid_value_is_reported_on_its_field(
    door: DoorClient, haircut: Service, field: str, value: Any
) -> None:
    seen = await door.fetch_row(Resource, 1)
    wrong: dict[str, Any] = {field: value}

    assert await door.add(Resource, **LEA | wrong) == RefusalOutcome(no.Misshapen, field)
    assert await door.change(Resource, seen, **wrong) == RefusalOutcome(no.Misshapen, field)


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", "../etc/passwd", "Europe/Berlin\0"])
async def test_the_rule_refuses_an_unknown_time_zone(database: Database, zone: str) -> None:
    with pytest.raises(no.UnknownTimezone):
        async with database.transaction(by=OWNER) as session:
            await records.create(session, Resource, by=OWNER, now=NOW, name="Lea", timezone=zone)


@AT_THE_ADMIN_ONLY
async def test_a_booked_resource_cannot_be_deleted(door: DoorClient, tom: Person, haircut: Service) -> None:
    await door.book(tom, haircut, TOMORROW_AT_TEN)

    assert await door.remove(Resource, {"id": 1}) == RefusalOutcome(no.StillInUse)


@AT_THE_ADMIN_ONLY
async def test_a_lower_capacity_keeps_existing_bookings(
    door: DoorClient, tom: Person, eve: Person, haircut: Service
) -> None:
    own = await door.change(Resource, await door.fetch_row(Resource, 1), capacity=2)
    sold = [await door.book(person, haircut, TOMORROW_AT_TEN) for person in (tom, eve)]

    await door.change(Resource, own, capacity=1)

    assert [await fetch_seats(door.desk.database, booking) for booking in sold] == [[1], [2]]
    assert await door.book(tom, haircut, TOMORROW_AT_TEN) == RefusalOutcome(no.SlotTaken)


@AT_THE_ADMIN_ONLY
async def test_only_an_admin_may_change_resources(door: DoorClient, mara: Person, haircut: Service) -> None:
    answers = [
        await door.add(Resource, by=mara, **LEA),
        await door.change(Resource, {"id": 1, "version": 1}, by=mara, capacity=2),
        await door.remove(Resource, {"id": 1}, by=mara),
    ]

    assert answers == [RefusalOutcome(no.Forbidden)] * 3


@AT_THE_ADMIN_ONLY
async def test_staff_maintain_opening_hours(door: DoorClient, mara: Person, haircut: Service) -> None:
    season = {"valid_from": date(2030, 1, 1), "valid_until": date(2030, 3, 31)}
    hours = await door.add(OpeningHours, by=mara, **MONDAYS)
    changed = await door.change(OpeningHours, hours, by=mara, closes=time(2), **season)

    assert hours == MONDAYS | {"id": 1, "valid_from": None, "valid_until": None, "version": 1}
    assert changed == hours | season | {"closes": time(2), "version": 2}  # Open until two in the morning.
    assert await door.change(OpeningHours, hours, by=mara, weekday=2) == RefusalOutcome(no.Stale)
    assert await door.remove(OpeningHours, hours, by=mara) is None


@AT_THE_ADMIN_ONLY
@pytest.mark.parametrize(
    ("wrong", "refusal"),
    [
        ({"weekday": 0}, RefusalOutcome(no.Misshapen, "weekday")),
        ({"weekday": 8}, RefusalOutcome(no.Misshapen, "weekday")),
        ({"valid_from": date(2030, 2, 1), "valid_until": date(2030, 1, 31)}, RefusalOutcome(no.SeasonEndsBeforeStart)),
        ({"resource_id": 99}, RefusalOutcome(no.UnknownResource)),
        ({"resource_id": None}, RefusalOutcome(no.Misshapen, "resource_id")),
        ({"opens": None}, RefusalOutcome(no.Misshapen, "opens")),
    ],
)
async def test_invalid_hours_are_refused(
    door: DoorClient, haircut: Service, wrong: dict[str, Any], refusal: RefusalOutcome
) -> None:
    hours = await door.add(OpeningHours, **MONDAYS)

    assert await door.add(OpeningHours, **MONDAYS | wrong) == refusal
    assert await door.change(OpeningHours, hours, **wrong) == refusal


@AT_THE_ADMIN_ONLY
async def test_staff_maintain_exceptions(door: DoorClient, mara: Person, haircut: Service) -> None:
    holiday = await door.add(CalendarException, by=mara, **HOLIDAY)
    changed = await door.change(CalendarException, holiday, by=mara, resource_id=1, is_open=True)

    assert holiday == HOLIDAY | {
        "id": 1,
        "resource_id": None,
        "is_open": False,
        "timezone": "Europe/Berlin",  # the clock of the desk
        "version": 1,
    }
    assert changed == holiday | {"resource_id": 1, "is_open": True, "version": 2}
    assert await door.change(CalendarException, changed, resource_id=None) == changed | {
        "resource_id": None,
        "version": 3,
    }
    assert await door.remove(CalendarException, holiday, by=mara) is None


@AT_THE_ADMIN_ONLY
@pytest.mark.parametrize(
    ("wrong", "refusal"),
    [
        ({"end_time": HOLIDAY["start_time"]}, RefusalOutcome(no.EndsBeforeStart)),
        ({"end_time": datetime(3001, 1, 1, tzinfo=UTC)}, RefusalOutcome(no.OutsideTheCalendar, "end_time")),
        ({"reason": "x" * 201}, RefusalOutcome(no.Misshapen, "reason")),
        ({"resource_id": 99}, RefusalOutcome(no.UnknownResource)),
        ({"start_time": None}, RefusalOutcome(no.Misshapen, "start_time")),
    ],
)
async def test_invalid_exceptions_are_refused(
    door: DoorClient, haircut: Service, wrong: dict[str, Any], refusal: RefusalOutcome
) -> None:
    holiday = await door.add(CalendarException, **HOLIDAY)

    assert await door.add(CalendarException, **HOLIDAY | wrong) == refusal
    assert await door.change(CalendarException, holiday, **wrong) == refusal


@AT_THE_ADMIN_ONLY
@pytest.mark.parametrize("table", [Resource, OpeningHours, CalendarException])
async def test_unknown_rows_are_refused(door: DoorClient, table: type[Any]) -> None:
    assert await door.change(table, NOTHING) == RefusalOutcome(no.Missing)
    assert await door.remove(table, NOTHING) == RefusalOutcome(no.Missing)
