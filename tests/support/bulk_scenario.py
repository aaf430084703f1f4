"""A fully booked business with two colleagues who can replace each other, and a third who cannot."""

from collections.abc import Sequence
from datetime import datetime, time, timedelta
from typing import Any

from sqlalchemy import text

from bookit import records
from bookit.bookings import bulk
from bookit.bookings.bulk import BulkAction, BulkChange, Outcome
from bookit.db.pool import Database
from bookit.db.statements import Row
from bookit.policy.permissions import Actor
from bookit.schema.tables import Booking, OpeningHours, Resource, Role, Service, Status
from tests.support.clock import NOW, TOMORROW_AT_TEN
from tests.support.people import OWNER

MARA = Actor("admin", 3, Role.STAFF)
TEN = TOMORROW_AT_TEN
HALF_HOUR = timedelta(minutes=30)
LEA, MAX, ZOE = 1, 2, 3
COLOUR, NAILS = 1, 2
# Everything that an act could change.
SELECT_SNAPSHOT = """
SELECT (SELECT jsonb_agg(b ORDER BY id) FROM bookings b) AS bookings,
       (SELECT count(*) FROM events) AS events, (SELECT sum(version) FROM resources) AS versions
"""
SELECT_OVERLAPS = """
SELECT a.booking_id AS a, b.booking_id AS b FROM claims a JOIN claims b
    ON a.booking_id < b.booking_id AND a.resource_id = b.resource_id AND a.seat = b.seat
   AND tstzrange(a.since, a.until) && tstzrange(b.since, b.until)
 WHERE a.is_blocking AND b.is_blocking
"""


async def create_business(database: Database) -> None:
    """Create Lea (1) and Max (2), who do colours (1) of half an hour, and Zoe (3), who does nails (2)."""
    async with database.transaction(by=OWNER) as session:
        for name in ("Lea", "Max", "Zoe"):
            await records.create(session, Resource, by=OWNER, now=NOW, name=name)
        for title, ids in (("Colour", [LEA, MAX]), ("Nails", [ZOE])):
            facts: dict[str, Any] = {"title": title, "price": 60, "duration_minutes": 30, "resource_ids": ids}
            await records.create(session, Service, by=OWNER, now=NOW, **facts)


async def create_booking(
    database: Database, start: datetime, *, resource: int = LEA, service: int = COLOUR, user: int = 1
) -> Booking:
    """Create a booking for Tom or another customer."""
    async with database.transaction(by=OWNER) as session:
        facts: dict[str, Any] = {"service_id": service, "resource_id": resource, "start_time": start, "user_id": user}
        return await records.create(session, Booking, by=OWNER, now=NOW, **facts)


async def fill_afternoon(database: Database, count: int = 8, *, resource: int = LEA, user: int = 1) -> list[int]:
    """Create bookings of half an hour back to back from ten on."""
    starts = [TEN + HALF_HOUR * at for at in range(count)]
    return [(await create_booking(database, start, resource=resource, user=user)).id for start in starts]


async def add_tuesday_hours(database: Database, resource: int, opens: str, closes: str) -> None:
    """Add opening hours on Tuesdays, the weekday of tomorrow."""
    async with database.transaction(by=OWNER) as session:
        facts: dict[str, Any] = {"resource_id": resource, "weekday": 2, "accepts_stranded": True}
        times: dict[str, Any] = {"opens": time.fromisoformat(opens), "closes": time.fromisoformat(closes)}
        await records.create(session, OpeningHours, by=OWNER, now=NOW, **facts, **times)


async def run_bulk(
    database: Database,
    booking_ids: Sequence[int],
    action: BulkAction,
    *,
    dry_run: bool = False,
    by: Actor = MARA,
    seen_versions: dict[int, int | None] | None = None,
    request_id: str = "an-act",
    now: datetime = NOW,
    **more: Any,
) -> list[Outcome]:
    """Run or preview a bulk change."""
    chosen: dict[int, int | None] = seen_versions if seen_versions is not None else dict.fromkeys(booking_ids)
    async with database.transaction(by=by, now=now, request_id=request_id, dry_run=dry_run) as session:
        return await bulk.run(session, chosen, BulkChange(action, **more), by=by, now=now)


def refusal_names(outcomes: Sequence[Outcome]) -> dict[int, str | None]:
    """Return the refusal of each booking."""
    return {one.booking_id: type(one.refusal).__name__ if one.refusal else None for one in outcomes}


async def fetch_snapshot(database: Database) -> Row:
    return (await database.fetch(text(SELECT_SNAPSHOT)))[0]


async def fetch_bookings(database: Database) -> dict[int, Row]:
    """Return every booking as stored."""
    return {row["id"]: row for row in await database.fetch(text("SELECT * FROM bookings ORDER BY id"))}


async def fetch_starts(database: Database) -> dict[int, tuple[datetime, int]]:
    """Return start and resource of every booking."""
    return {number: (row["start_time"], row["resource_id"]) for number, row in (await fetch_bookings(database)).items()}


async def assert_no_overlap(database: Database) -> None:
    assert await database.fetch(text(SELECT_OVERLAPS)) == []


async def fetch_events(database: Database, number: int) -> list[Row]:
    """Return the events of a booking, newest first."""
    statement = "SELECT * FROM events WHERE table_name = 'bookings' AND row_id = :id ORDER BY id DESC"
    return await database.fetch(text(statement), id=number)


async def set_status(database: Database, number: int, status: Status) -> None:
    """Set the status of a booking as another user."""
    async with database.transaction(by=OWNER, request_id="elsewhere") as session:
        row = await records.lock(session, Booking, number)
        await records.change(session, row, by=OWNER, now=NOW, status=status)
