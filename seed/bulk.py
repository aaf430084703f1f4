"""Adds branches of the studio with years of bookings, as many as a load test needs.

Every room has the same seven start times a day. They are further apart than the longest visit, so no two visits
overlap.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import cycle, islice
from random import Random
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import bindparam, select, text

from bookit import records
from bookit.db.session import Session
from bookit.db.statements import Row
from bookit.policy import money
from bookit.policy.permissions import Actor
from bookit.schema.tables import (
    Booking,
    OpeningHours,
    Payment,
    PaymentMethod,
    PaymentState,
    Resource,
    Review,
    Service,
    Status,
    User,
    table_of,
)
from seed.review_texts import find_review_texts
from seed.schedule import DAYS_AHEAD, from_wall_clock
from seed.studio import (
    CUSTOMERS,
    SERVICES,
    ServiceKind,
    ServiceSpec,
    build_exceptions,
    make_email,
    make_phone,
    parse_weekly_hours,
)

BOOKINGS_PER_ROOM = 5_000  # about two and a half years
BATCH_SIZE = 5_000  # rows per COPY statement
# PostgreSQL's statistics do not count the rows of an open transaction. A trigger that is planned meanwhile would read
# the whole table for each booking.
KEEP_INDEXES = (text("SET LOCAL enable_seqscan = off"), text("DISCARD PLANS"))
ROOMS_PER_BRANCH = 10
START_TIMES = (time(9), time(10, 15), time(11, 30), time(13, 30), time(14, 45), time(16), time(17, 15))
OPENING_WINDOWS = parse_weekly_hours("Mon Tue Wed Thu Fri Sat 09:00-12:45 13:30-18:30")
MAX_VISIT_MINUTES = 75  # cleanup included
SUNDAY = 6
VISITS_PER_PAST_DAY, VISITS_PER_FUTURE_DAY = 6, 2  # the days ahead are not yet full
REVIEW_SHARE = 0.1  # of the completed visits
ROOM_NAMES: dict[ServiceKind, str] = {"hair": "Chair", "body": "Massage room"}
DISTRICTS = (
    "Mitte", "Wedding", "Kreuzberg", "Neukölln", "Pankow", "Moabit", "Schöneberg", "Friedrichshain", "Charlottenburg",
    "Steglitz", "Spandau", "Köpenick", "Lichtenberg", "Tempelhof", "Weißensee", "Tegel", "Dahlem", "Britz", "Karow",
    "Buch",
)  # fmt: skip

USER_COLUMNS = ("name", "email", "phone", "password_hash", "is_demo", "created_at")
OPENING_HOURS_COLUMNS = ("resource_id", "weekday", "opens", "closes")
BOOKING_COLUMNS = (
    "user_id", "service_id", "resource_id", "start_time", "end_time", "blocks_from", "blocks_until", "status", "price",
    "created_at",
)  # fmt: skip
PAYMENT_COLUMNS = (
    "key", "booking_id", "amount", "currency", "method", "state", "settled_at", "created_at",
)  # fmt: skip
REVIEW_COLUMNS = ("booking_id", "rating", "comment", "created_at")

USERS, BOOKINGS = table_of(User).c, table_of(Booking).c
SELECT_SEEDED_USERS = (
    select(USERS.id)
    .where(USERS.password_hash == bindparam("password_hash"), USERS.email.regexp_match("[0-9]@"))
    .order_by(USERS.id)
)
SELECT_LATEST_BOOKINGS = (
    select(BOOKINGS.id, BOOKINGS.service_id, BOOKINGS.end_time, BOOKINGS.status, BOOKINGS.price)
    .order_by(BOOKINGS.id.desc())
    .limit(bindparam("count"))
)
SELECT_CURRENCY = text("SELECT business_currency() AS currency")
# Without this, the planner would treat the full tables as empty until autovacuum runs.
ANALYZE_TABLES = text(
    "ANALYZE users, services, resources, service_resources, opening_hours, bookings, payments, reviews, events"
)


def draw_payment_method(chance: float) -> PaymentMethod | None:
    """Return how a completed visit is paid, or None if it is not paid yet, by a number between 0 and 1."""
    if chance < 0.55:
        return PaymentMethod.CARD
    if chance < 0.92:
        return PaymentMethod.CASH
    return PaymentMethod.TRANSFER if chance < 0.96 else None


@dataclass(frozen=True, slots=True)
class BulkSummary:
    """How many rows were created."""

    services: int = 0
    resources: int = 0
    customers: int = 0
    bookings: int = 0
    reviews: int = 0


@dataclass(frozen=True, slots=True)
class BranchService:
    """A service of a branch, with the time that a visit takes and blocks."""

    service_id: int
    spec: ServiceSpec
    price: Decimal
    duration: timedelta
    blocked_duration: timedelta


@dataclass(frozen=True, slots=True)
class Room:
    """A resource of a branch, with its services."""

    resource_id: int
    services: list[BranchService]


class BulkSeeder:
    """Creates branches and their bookings inside one transaction."""

    def __init__(
        self,
        session: Session,
        rng: Random,
        *,
        by: Actor,
        now: datetime,
        password_hash: str,
        on_progress: Callable[[int], None],
    ) -> None:
        self.session, self.rng, self.by, self.now = session, rng, by, now
        self.password_hash, self.on_progress = password_hash, on_progress
        self.zone = ZoneInfo(session.timezone)
        self.currency = ""
        self.rooms: list[Room] = []
        self.service_by_id: dict[int, BranchService] = {}
        self.customers: list[int] = []

    async def load_bookings(self, booking_count: int, *, existing_count: int) -> BulkSummary:
        """Create this many bookings and what they need. ``existing_count`` is added to the reported progress."""
        if booking_count <= 0:
            return BulkSummary()
        self.currency = (await self.session.fetch(SELECT_CURRENCY))[0]["currency"]
        await self.create_branches(-(-booking_count // BOOKINGS_PER_ROOM))
        await self.add_customers(max(len(CUSTOMERS), booking_count // 10))
        for statement in KEEP_INDEXES:
            await self.session.fetch(statement)
        rows, done, reviews = self.make_booking_rows(booking_count), 0, 0
        while batch := list(islice(rows, BATCH_SIZE)):
            done += await self.session.copy_rows(Booking, BOOKING_COLUMNS, batch)
            latest = await self.session.fetch(SELECT_LATEST_BOOKINGS, count=len(batch))
            reviews += await self.add_reviews(latest)
            await self.add_payments(latest)
            self.on_progress(existing_count + done)
        return BulkSummary(len(self.service_by_id), len(self.rooms), len(self.customers), done, reviews)

    async def create_branches(self, rooms: int) -> None:
        """Create enough branches for this many rooms. Half of the rooms are for hair."""
        for first in range(0, rooms, ROOMS_PER_BRANCH):
            round_number, index = divmod(first // ROOMS_PER_BRANCH, len(DISTRICTS))
            name = f"{DISTRICTS[index]} {round_number + 1}" if round_number else DISTRICTS[index]
            count = min(ROOMS_PER_BRANCH, rooms - first)
            await self.create_branch(name, "hair", -(-count // 2))
            await self.create_branch(name, "body", count // 2)
        rows = [(room.resource_id, w.weekday, w.opens, w.closes) for room in self.rooms for w in OPENING_WINDOWS]
        await self.session.copy_rows(OpeningHours, OPENING_HOURS_COLUMNS, rows)

    async def create_branch(self, branch: str, kind: ServiceKind, rooms: int) -> None:
        opened_at = self.now - timedelta(days=2000)
        ids = []
        for number in range(1, rooms + 1):
            name = f"{ROOM_NAMES[kind]} {number}, {branch}"
            ids.append((await records.create(self.session, Resource, by=self.by, now=opened_at, name=name)).id)
        specs = [s for s in SERVICES if s.kind == kind and not s.setup and s.minutes + s.cleanup <= MAX_VISIT_MINUTES]
        services = [await self.create_service(spec, branch, ids, opened_at) for spec in specs if ids]
        self.rooms += [Room(resource_id, services) for resource_id in ids]

    async def create_service(
        self, spec: ServiceSpec, branch: str, resource_ids: list[int], created_at: datetime
    ) -> BranchService:
        service = await records.create(
            self.session,
            Service,
            by=self.by,
            now=created_at,
            title=f"{spec.title}, {branch}",
            description=spec.description,
            price=spec.price,
            duration_minutes=spec.minutes,
            cleanup_minutes=spec.cleanup,
            slot_step_minutes=spec.step,
            resource_ids=resource_ids,
        )
        duration = timedelta(minutes=spec.minutes)
        blocked_duration = duration + timedelta(minutes=spec.cleanup)
        self.service_by_id[service.id] = BranchService(service.id, spec, service.price, duration, blocked_duration)
        return self.service_by_id[service.id]

    async def add_customers(self, count: int) -> None:
        """Create this many customers, who share the password of the demo."""
        await self.session.copy_rows(
            User, USER_COLUMNS, (self.make_customer_row(number + 1) for number in range(count))
        )
        self.customers = [
            row["id"] for row in await self.session.fetch(SELECT_SEEDED_USERS, password_hash=self.password_hash)
        ]
        self.rng.shuffle(self.customers)

    def make_customer_row(self, number: int) -> tuple[str, str, str, str, bool, datetime]:
        first, last = (self.rng.choice(CUSTOMERS).split() for _ in range(2))
        name = f"{first[0]} {last[-1]}"
        joined_at = self.now - timedelta(minutes=self.rng.randrange(1_500_000))
        return name, make_email(name, number), make_phone(number), self.password_hash, True, joined_at

    def plan_days(self, count: int) -> tuple[list[tuple[date, int]], int]:
        """Return the days for this many visits, each with its visits per room, and the surplus of visits."""
        today = self.now.astimezone(self.zone).date()
        closed = {exception.first_day for exception in build_exceptions(today) if not exception.resource_name}
        ahead = [today + timedelta(days=n) for n in range(DAYS_AHEAD, 0, -1)]
        days = [(day, VISITS_PER_FUTURE_DAY) for day in ahead if day.weekday() != SUNDAY and day not in closed]
        capacity, day = sum(per_room for _, per_room in days) * len(self.rooms), today
        while capacity < count:
            if day.weekday() != SUNDAY and day not in closed:
                days.append((day, VISITS_PER_PAST_DAY))
                capacity += VISITS_PER_PAST_DAY * len(self.rooms)
            day -= timedelta(days=1)
        return days[::-1], capacity - count

    def make_booking_rows(self, count: int) -> Iterator[tuple[object, ...]]:
        """Yield the rows of this many bookings, oldest day first."""
        days, surplus = self.plan_days(count)
        return islice(self.make_rows_by_day(days), surplus, None)

    def make_rows_by_day(self, days: list[tuple[date, int]]) -> Iterator[tuple[object, ...]]:
        customers, chance = cycle(self.customers), self.rng.random
        for day, per_room in days:
            starts = [from_wall_clock(day, hour, self.zone).astimezone(UTC) for hour in START_TIMES]
            for room in self.rooms:
                for start in sorted(self.rng.sample(starts, per_room)):
                    service = room.services[int(chance() * len(room.services))]
                    end = start + service.duration
                    booked_at = start - timedelta(minutes=180 + int(chance() * 20_000))
                    if booked_at > self.now:
                        booked_at = self.now - timedelta(minutes=int(chance() * 20_000))
                    status = self.draw_status(is_over=end <= self.now)
                    blocks_until = start + service.blocked_duration
                    yield (next(customers), service.service_id, room.resource_id, start, end, start, blocks_until,
                           status, service.price, booked_at)  # fmt: skip

    def draw_status(self, *, is_over: bool) -> str:
        chance = self.rng.random()
        if chance < 0.09:
            return Status.CANCELLED.value
        if is_over:
            return Status.NO_SHOW.value if chance < 0.14 else Status.COMPLETED.value
        return Status.PENDING.value if chance < 0.3 else Status.CONFIRMED.value

    async def add_payments(self, rows: list[Row]) -> None:
        """Add the payments of those of these bookings that are completed; a few are not paid."""
        rng = Random(rows[-1]["id"])
        completed = [row for row in reversed(rows) if row["status"] == Status.COMPLETED]
        drawn = [(row, draw_payment_method(rng.random())) for row in completed]
        paid = [self.make_payment_row(rng, row, method) for row, method in drawn if method and row["price"]]
        await self.session.copy_rows(Payment, PAYMENT_COLUMNS, paid)

    def make_payment_row(self, rng: Random, row: Row, method: PaymentMethod) -> tuple[object, ...]:
        currency, paid_at = self.currency, min(row["end_time"], self.now)
        amount = int(row["price"].scaleb(money.count_decimals(currency)))
        key = UUID(int=rng.getrandbits(128), version=4)
        return key, row["id"], amount, currency, method.value, PaymentState.SUCCEEDED.value, paid_at, paid_at

    async def add_reviews(self, rows: list[Row]) -> int:
        """Add reviews to some of these bookings, and return how many."""
        reviewed = [row for row in rows if self.is_reviewable(row) and self.rng.random() < REVIEW_SHARE]
        return await self.session.copy_rows(
            Review, REVIEW_COLUMNS, [self.make_review_row(row) for row in reversed(reviewed)]
        )

    def is_reviewable(self, row: Row) -> bool:
        return row["service_id"] in self.service_by_id and row["status"] == Status.COMPLETED

    def make_review_row(self, row: Row) -> tuple[object, ...]:
        rating, comment = self.rng.choice(find_review_texts(self.service_by_id[row["service_id"]].spec))
        later = row["end_time"] + timedelta(minutes=self.rng.randrange(60, 5000))
        return row["id"], rating, comment, min(later, self.now)
