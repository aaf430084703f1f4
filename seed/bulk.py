"""Fills branches of the studio with as many bookings as a load test wants, years of them, in bulk.

Each room's day has the same seven starts, further apart than its longest visit, so no two visits can meet.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import cycle, islice
from random import Random
from zoneinfo import ZoneInfo

from sqlalchemy import bindparam, select, text

from bookit import records
from bookit.db.session import Session
from bookit.db.statements import Row
from bookit.policy.permissions import Actor
from bookit.schema.tables import Booking, OpeningHours, Resource, Review, Service, Status, User, table_of
from seed.review_texts import about
from seed.schedule import DAYS_AHEAD, on_the_wall
from seed.studio import CUSTOMERS, OFFERS, Kind, Offer, address, exceptions, week

EACH = 5_000  # bookings to a room, about two and a half years
BATCH = 5_000  # rows to a statement
ROOMS = 10  # to a branch
STARTS = (time(9), time(10, 15), time(11, 30), time(13, 30), time(14, 45), time(16), time(17, 15))
HOURS = week("Mon Tue Wed Thu Fri Sat 09:00-12:45 13:30-18:30")
LONGEST = 75  # minutes, cleanup included
SUNDAY = 6
PER_DAY, PER_DAY_AHEAD = 6, 2  # The days to come have room for more.
REVIEWED = 0.1  # of the completed visits
ROOM_NAMES: dict[Kind, str] = {"hair": "Chair", "body": "Massage room"}
DISTRICTS = (
    "Mitte", "Wedding", "Kreuzberg", "Neukölln", "Pankow", "Moabit", "Schöneberg", "Friedrichshain", "Charlottenburg",
    "Steglitz", "Spandau", "Köpenick", "Lichtenberg", "Tempelhof", "Weißensee", "Tegel", "Dahlem", "Britz", "Karow",
    "Buch",
)  # fmt: skip

USER = ("name", "email", "password_hash", "created_at")
HOUR = ("resource_id", "weekday", "opens", "closes")
BOOKING = ("user_id", "service_id", "resource_id", "start_time", "end_time", "blocks_from", "blocks_until", "status",
           "price", "created_at")  # fmt: skip
REVIEW = ("booking_id", "rating", "comment", "created_at")

USERS, BOOKINGS = table_of(User).c, table_of(Booking).c
OURS = (
    select(USERS.id)
    .where(USERS.password_hash == bindparam("hashed"), USERS.email.regexp_match("[0-9]@"))
    .order_by(USERS.id)
)
LATEST = (
    select(BOOKINGS.id, BOOKINGS.service_id, BOOKINGS.end_time, BOOKINGS.status)
    .order_by(BOOKINGS.id.desc())
    .limit(bindparam("most"))
)
# The planner would otherwise take a full database for an empty one until autovacuum comes round.
COUNT_THEM = text("ANALYZE users, services, resources, service_resources, opening_hours, bookings, reviews, events")


@dataclass(frozen=True, slots=True)
class Made:
    """How many of each."""

    services: int = 0
    resources: int = 0
    customers: int = 0
    bookings: int = 0
    reviews: int = 0


@dataclass(frozen=True, slots=True)
class Sold:
    """A branch's service: what a visit of it takes."""

    service_id: int
    offer: Offer
    price: Decimal
    lasts: timedelta
    blocks: timedelta


@dataclass(frozen=True, slots=True)
class Room:
    """A branch's resource, and what it serves."""

    resource_id: int
    sells: list[Sold]


class Bulk:
    """Branches while they are being made, inside one transaction."""

    def __init__(
        self, session: Session, rng: Random, *, by: Actor, now: datetime, hashed: str, tell: Callable[[int], None]
    ) -> None:
        self.session, self.rng, self.by, self.now, self.hashed, self.tell = session, rng, by, now, hashed, tell
        self.zone = ZoneInfo(session.timezone)
        self.rooms: list[Room] = []
        self.sold: dict[int, Sold] = {}
        self.customers: list[int] = []

    async def fill(self, count: int, *, after: int) -> Made:
        """Make so many bookings, and what they need; ``after`` is how many there are already."""
        if count <= 0:
            return Made()
        await self.open_branches(-(-count // EACH))
        await self.add_customers(max(len(CUSTOMERS), count // 10))
        visits, made, reviews = self.visits(count), 0, 0
        while batch := list(islice(visits, BATCH)):
            made += await self.session.copy_rows(Booking, BOOKING, batch)
            reviews += await self.review(len(batch))
            self.tell(after + made)
        return Made(len(self.sold), len(self.rooms), len(self.customers), made, reviews)

    async def open_branches(self, rooms: int) -> None:
        """Open as many branches as it takes for so many rooms, half of them for hair."""
        for first in range(0, rooms, ROOMS):
            turn, place = divmod(first // ROOMS, len(DISTRICTS))
            name = f"{DISTRICTS[place]} {turn + 1}" if turn else DISTRICTS[place]
            here = min(ROOMS, rooms - first)
            await self.open_branch(name, "hair", -(-here // 2))
            await self.open_branch(name, "body", here // 2)
        rows = [(room.resource_id, w.weekday, w.opens, w.closes) for room in self.rooms for w in HOURS]
        await self.session.copy_rows(OpeningHours, HOUR, rows)

    async def open_branch(self, branch: str, kind: Kind, rooms: int) -> None:
        then = self.now - timedelta(days=2000)
        ids = []
        for number in range(1, rooms + 1):
            name = f"{ROOM_NAMES[kind]} {number}, {branch}"
            ids.append((await records.create(self.session, Resource, by=self.by, now=then, name=name)).id)
        short = [o for o in OFFERS if o.kind == kind and not o.setup and o.minutes + o.cleanup <= LONGEST]
        sells = [await self.sell(offer, branch, ids, then) for offer in short if ids]
        self.rooms += [Room(number, sells) for number in ids]

    async def sell(self, offer: Offer, branch: str, resource_ids: list[int], then: datetime) -> Sold:
        service = await records.create(
            self.session,
            Service,
            by=self.by,
            now=then,
            title=f"{offer.title}, {branch}",
            description=offer.description,
            price=offer.price,
            duration_minutes=offer.minutes,
            cleanup_minutes=offer.cleanup,
            slot_step_minutes=offer.step,
            resource_ids=resource_ids,
        )
        lasts = timedelta(minutes=offer.minutes)
        sold = Sold(service.id, offer, service.price, lasts, lasts + timedelta(minutes=offer.cleanup))
        self.sold[service.id] = sold
        return sold

    async def add_customers(self, count: int) -> None:
        """Add so many customers, who share the demo's password."""
        await self.session.copy_rows(User, USER, (self.customer(number + 1) for number in range(count)))
        self.customers = [row["id"] for row in await self.session.fetch(OURS, hashed=self.hashed)]
        self.rng.shuffle(self.customers)

    def customer(self, number: int) -> tuple[str, str, str, datetime]:
        first, last = (self.rng.choice(CUSTOMERS).split() for _ in range(2))
        name = f"{first[0]} {last[-1]}"
        joined = self.now - timedelta(minutes=self.rng.randrange(1_500_000))
        return name, address(name, number), self.hashed, joined

    def days(self, count: int) -> tuple[list[tuple[date, int]], int]:
        """Give the days, each with the visits of a room, that hold so many; and how many too many they hold."""
        today = self.now.astimezone(self.zone).date()
        closed = {one.first for one in exceptions(today) if not one.place}
        ahead = [today + timedelta(days=n) for n in range(DAYS_AHEAD, 0, -1)]
        days = [(day, PER_DAY_AHEAD) for day in ahead if day.weekday() != SUNDAY and day not in closed]
        room_for, day = sum(each for _, each in days) * len(self.rooms), today
        while room_for < count:
            if day.weekday() != SUNDAY and day not in closed:
                days.append((day, PER_DAY))
                room_for += PER_DAY * len(self.rooms)
            day -= timedelta(days=1)
        return days[::-1], room_for - count

    def visits(self, count: int) -> Iterator[tuple[object, ...]]:
        """Give the rows of so many bookings, from the oldest day on."""
        days, surplus = self.days(count)
        return islice(self.rows(days), surplus, None)

    def rows(self, days: list[tuple[date, int]]) -> Iterator[tuple[object, ...]]:
        who, chance = cycle(self.customers), self.rng.random
        for day, each in days:
            starts = [on_the_wall(day, hour, self.zone).astimezone(UTC) for hour in STARTS]
            for room in self.rooms:
                for start in sorted(self.rng.sample(starts, each)):
                    sold = room.sells[int(chance() * len(room.sells))]
                    end = start + sold.lasts
                    made = start - timedelta(minutes=180 + int(chance() * 20_000))
                    if made > self.now:
                        made = self.now - timedelta(minutes=int(chance() * 20_000))
                    status = self.status(is_over=end <= self.now)
                    yield (next(who), sold.service_id, room.resource_id, start, end, start, start + sold.blocks,
                           status, sold.price, made)  # fmt: skip

    def status(self, *, is_over: bool) -> str:
        chance = self.rng.random()
        if chance < 0.09:
            return Status.CANCELLED.value
        if is_over:
            return Status.NO_SHOW.value if chance < 0.14 else Status.COMPLETED.value
        return Status.PENDING.value if chance < 0.3 else Status.CONFIRMED.value

    async def review(self, latest: int) -> int:
        """Have some of the latest bookings reviewed, and give how many."""
        rows = await self.session.fetch(LATEST, most=latest)
        chosen = [row for row in rows if self.may_review(row) and self.rng.random() < REVIEWED]
        return await self.session.copy_rows(Review, REVIEW, [self.reviewed(row) for row in reversed(chosen)])

    def may_review(self, row: Row) -> bool:
        return row["service_id"] in self.sold and row["status"] == Status.COMPLETED

    def reviewed(self, row: Row) -> tuple[object, ...]:
        stars, comment = self.rng.choice(about(self.sold[row["service_id"]].offer))
        later = row["end_time"] + timedelta(minutes=self.rng.randrange(60, 5000))
        return row["id"], stars, comment, min(later, self.now)
