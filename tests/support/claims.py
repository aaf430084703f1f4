"""What bookings take of resources, as the database has it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import text

from bookit import records
from bookit.db.pool import Database
from bookit.schema.tables import Booking, Resource, Service
from tests.support.clock import NOW, TOMORROW_AT_TEN
from tests.support.people import OWNER

INSERT_NEED = text("""
WITH need AS (
  INSERT INTO service_needs (service_id, position, role) VALUES (:service_id, :position, 'in') RETURNING id
)
INSERT INTO need_resources (need_id, resource_id) SELECT need.id, unnest(CAST(:ids AS bigint[])) FROM need
""")
INSERT_BOOKING = text("""
INSERT INTO bookings
  (user_id, service_id, resource_id, other_resource_ids, start_time, end_time, blocks_from, blocks_until, status, price,
   created_at)
SELECT :user_id, s.id, (CAST(:ids AS bigint[]))[1], (CAST(:ids AS bigint[]))[2:], span.since, span.until, span.since,
       span.until, 'pending', s.price, :now
  FROM services s CROSS JOIN LATERAL (
    SELECT CAST(:start AS timestamptz) AS since,
           CAST(:start AS timestamptz) + make_interval(mins => s.duration_minutes) AS until) AS span
 WHERE s.id = :service_id
RETURNING id
""")
SELECT_SEATS = text("SELECT seat FROM claims WHERE booking_id = :id ORDER BY number")


async def fetch_seats(database: Database, booking: Mapping[str, Any]) -> list[int]:
    """Return the seats that a booking takes, in the order of its claims."""
    return [row["seat"] for row in await database.fetch(SELECT_SEATS, id=booking["id"])]


async def create_massage(database: Database) -> Service:
    """Create a massage of an hour with Sofia or Marek in Room 1 or Room 2, and no other resources."""
    async with database.transaction(by=OWNER) as session:
        rows = [
            await records.create(session, Resource, by=OWNER, now=NOW, name=name)
            for name in ("Sofia", "Marek", "Room 1", "Room 2")
        ]
        ids = [row.id for row in rows]
        facts: dict[str, Any] = {"title": "Massage", "price": 80, "duration_minutes": 60, "resource_ids": ids[:2]}
        service = await records.create(session, Service, by=OWNER, now=NOW, **facts)
        await session.fetch(INSERT_NEED, service_id=service.id, position=2, ids=ids[2:])
    return service


async def insert_massage(
    database: Database, service: Service, user_id: int, ids: list[int], start: datetime = TOMORROW_AT_TEN
) -> Booking:
    """Insert a massage with these resources, in the order of their positions."""
    facts: dict[str, Any] = {"service_id": service.id, "user_id": user_id, "ids": ids, "start": start, "now": NOW}
    async with database.transaction(by=OWNER) as session:
        [row] = await session.fetch(INSERT_BOOKING, **facts)
        booking = await session.get(Booking, row["id"])
    assert booking
    return booking
