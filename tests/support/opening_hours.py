"""A business with opening hours, created as the desk would."""

from collections.abc import Iterable
from datetime import datetime, time
from typing import Any

from bookit import records
from bookit.db.pool import Database
from bookit.schema.tables import CalendarException, OpeningHours, Resource, Service
from tests.support.clock import NOW
from tests.support.people import OWNER, Person

AS_OWNER: dict[str, Any] = {"by": OWNER, "now": NOW}
EVERY_DAY = range(1, 8)


async def create_service(database: Database, *resources: dict[str, Any], **facts: Any) -> Service:
    """Create a service, a massage of an hour by default, with these resources, or its own if there are none."""
    about: dict[str, Any] = {"title": "Massage", "price": 60, "duration_minutes": 60, **facts}
    async with database.transaction(by=OWNER) as session:
        rooms = [await records.create(session, Resource, **AS_OWNER, **one) for one in resources]
        return await records.create(session, Service, **AS_OWNER, **about, resource_ids=[room.id for room in rooms])


async def add_opening_hours(
    database: Database, resource: int, hours: str, weekdays: Iterable[int] = EVERY_DAY, **season: Any
) -> None:
    """Open a resource at these hours, such as "09:00-17:00"."""
    first, last = map(time.fromisoformat, hours.split("-"))
    async with database.transaction(by=OWNER) as session:
        for weekday in weekdays:
            facts: dict[str, Any] = {"weekday": weekday, "opens": first, "closes": last, **season}
            await records.create(session, OpeningHours, **AS_OWNER, resource_id=resource, **facts)


async def add_exception(
    database: Database, start: str, end: str, *, resource: int | None = None, is_open: bool = False, **more: Any
) -> None:
    """Add a closure or a special opening for one resource or for all."""
    span: dict[str, Any] = {"start_time": datetime.fromisoformat(start), "end_time": datetime.fromisoformat(end)}
    async with database.transaction(by=OWNER) as session:
        await records.create(
            session, CalendarException, **AS_OWNER, resource_id=resource, is_open=is_open, **span, **more
        )


async def change_row(database: Database, table: Any, number: int, **changes: Any) -> None:
    """Change a row as the owner."""
    async with database.transaction(by=OWNER) as session:
        row = await records.lock(session, table, number)
        await records.change(session, row, **AS_OWNER, **changes)


async def create_booking(person: Person, start: str, service: int = 1, **more: Any) -> dict[str, Any]:
    """Create a booking and return it."""
    answer = await person.request("POST", "/bookings", json={"service_id": service, "start_time": start, **more})
    assert answer.status_code == 201, answer.text
    booking: dict[str, Any] = answer.json()
    return booking


def format_starts(slots: Iterable[dict[str, Any]]) -> list[str]:
    """Return the starts of slots, without seconds: "2030-01-08 10:00"."""
    return [slot["start_time"].replace("T", " ").removesuffix(":00Z") for slot in slots]
