"""Fills rooms beside the studio with as many bookings as a load test wants, years of them, in bulk.

Each room's day has the same seven starts, further apart than its longest visit, so no two visits can meet.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from itertools import cycle, islice
from random import Random
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam
from sqlmodel import col, select

from bookit.tables import Booking, OpeningHours, Resource, Review, Service, ServiceResource, Status, User
from seed.diary import DAYS_AHEAD, on_the_wall
from seed.studio import CUSTOMERS, OFFERS, Offer, week
from seed.voices import about

if TYPE_CHECKING:
    from seed.business import Planting

EACH = 5_000  # bookings to a room, about two and a half years
BATCH = 5_000  # rows to a statement
STARTS = (time(9), time(10, 15), time(11, 30), time(13, 30), time(14, 45), time(16), time(17, 15))
HOURS = week("Mon Tue Wed Thu Fri Sat 09:00-12:45 13:30-18:30")
SUNDAY = 6
PER_DAY, PER_DAY_AHEAD = 6, 2  # The days to come have room for more.
KINDS = ("hair", "body")
SHORT = {kind: [o for o in OFFERS if o.kind == kind and not o.setup and o.minutes + o.cleanup <= 75] for kind in KINDS}
REVIEWED = 0.1  # of the completed visits

USER = ("name", "email", "password_hash", "role", "created_at")
BOOKING = ("user_id", "service_id", "resource_id", "start_time", "end_time", "blocks_from", "blocks_until", "status",
           "price", "created_at")  # fmt: skip
REVIEW = ("booking_id", "rating", "comment", "created_at")
OURS = select(col(User.id)).where(
    col(User.password_hash) == bindparam("hashed"), col(User.id) > bindparam("after")
).order_by(col(User.id))  # fmt: skip
COMPLETED = select(col(Booking.id), col(Booking.service_id), col(Booking.end_time)).where(
    col(Booking.id) > bindparam("after"), col(Booking.status) == Status.COMPLETED.value
).order_by(col(Booking.id))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Made:
    """How many of each."""

    resources: int = 0
    customers: int = 0
    bookings: int = 0
    reviews: int = 0
