"""What bookings take of resources, as the database has it."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import text

from bookit.db.pool import Database

SELECT_SEATS = text("SELECT seat FROM claims WHERE booking_id = :id ORDER BY number")


async def fetch_seats(database: Database, booking: Mapping[str, Any]) -> list[int]:
    """Return the seats that a booking takes, in the order of its claims."""
    return [row["seat"] for row in await database.fetch(SELECT_SEATS, id=booking["id"])]
