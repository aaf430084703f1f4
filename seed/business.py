"""Creates the demo business: staff, customers, catalogue, and a schedule of visits that it replays step by step."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from random import Random
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlmodel import col, select

from bookit import business, notes, payments, records
from bookit import refusals as no
from bookit.db.pool import Database
from bookit.db.session import Session
from bookit.needs import Need
from bookit.people import passwords, sign_in
from bookit.policy.permissions import Actor
from bookit.schema.tables import (
    BUSINESS_ID,
    Booking,
    Business,
    CalendarException,
    OpeningHours,
    Resource,
    ResourceRole,
    Review,
    Role,
    Service,
    Status,
    User,
)
from seed import bulk
from seed.schedule import Schedule, Step, from_wall_clock
from seed.studio import (
    BOOKING_NOTES,
    BUSINESS,
    CUSTOMER_NOTES,
    CUSTOMERS,
    DESK_NAMES,
    MANAGER_NAME,
    OWNER_NAME,
    RESOURCES,
    SERVICES,
    STYLIST_NAME,
    ExceptionSpec,
    ResourceSpec,
    ServiceSpec,
    make_email,
    make_phone,
)

DEMO_PASSWORD = "bookit-demo"  # noqa: S105 -- public, and printed by the command
DEMO_ADMIN = "admin@example.com"
DEMO_STAFF = "desk@example.com"
DEMO_MANAGER = "manager@example.com"
DEMO_STYLIST = "stylist@example.com"
DEMO_CUSTOMER = "customer@example.com"

MAX_DETAILED_BOOKINGS = 1000  # the studio has room for these; BulkSeeder adds the rest
BUSINESS_AGE = timedelta(days=200)
SEED_ACTOR = Actor("seed", role=Role.ADMIN)

SELECT_ANY_BOOKING = select(col(Booking.id)).limit(1)

OnProgress = Callable[[int], None]


class Outcome(StrEnum):
    """How seeding ended."""

    SEEDED = "seeded"
    ALREADY_SEEDED = "This database already has its demo business, so nothing was added."
    IN_USE = (
        "This database has bookings of its own, and the password of the demo's accounts is public."
        " So nothing was added."
    )


@dataclass(frozen=True, slots=True)
class Summary:
    """How many rows were created; none unless the outcome is ``SEEDED``."""

    outcome: Outcome
    services: int = 0
    resources: int = 0
    customers: int = 0
    bookings: int = 0
    reviews: int = 0


def only_calls(number: int) -> bool:
    """Return whether the customer with this number has no account: the desk books for them, and they review nothing."""
    return number % 6 == 5


def has_no_phone(number: int) -> bool:
    """Return whether the customer with this number gave no phone number. All others can be called."""
    return number % 9 == 4


def ignore_progress(_done: int) -> None:
    """Do nothing; the default for ``on_progress``."""


async def seed_database(
    database: Database, *, now: datetime, seed: int = 1, bookings: int = 800, on_progress: OnProgress = ignore_progress
) -> Summary:
    """Create the demo business around this moment, all of it or nothing, and return how many rows there are.

    The same seed and moment give the same rows. A database that has the demo business, or bookings of its own, is not
    changed. ``on_progress`` is called with the number of bookings so far. Raise ``EmailTaken`` if another user has the
    e-mail address of a demo account.
    """
    if obstacle := await check_database(database):
        return Summary(obstacle)
    await business.read(database, database.business)
    password_hash = await passwords.hash_password(DEMO_PASSWORD)
    now = now.replace(second=0, microsecond=0)
    try:
        async with database.transaction(by=SEED_ACTOR) as session:
            seeder = Seeder(session, Random(seed), now=now, password_hash=password_hash, on_progress=on_progress)
            summary = await seeder.run(bookings)
    except no.EmailTaken:
        if obstacle := await check_database(database):  # another process seeded it meanwhile
            return Summary(obstacle)
        raise
    await database.fetch(bulk.ANALYZE_TABLES)
    return summary


async def check_database(database: Database) -> Outcome | None:
    """Return why this database must not be seeded, or None."""
    if await database.fetch(sign_in.SELECT_BY_EMAIL, email=DEMO_ADMIN):
        return Outcome.ALREADY_SEEDED
    return Outcome.IN_USE if await database.fetch(SELECT_ANY_BOOKING) else None


class Seeder:
    """Creates the business inside one transaction."""

    def __init__(
        self, session: Session, rng: Random, *, now: datetime, password_hash: str, on_progress: OnProgress
    ) -> None:
        self.session, self.rng, self.now = session, rng, now
        self.password_hash, self.on_progress = password_hash, on_progress
        self.zone = ZoneInfo(session.timezone)
        self.actor = SEED_ACTOR
        self.staff: list[Actor] = []
        self.customers: dict[int, Actor] = {}
        self.resources: dict[str, Resource] = {}
        self.services: dict[str, Service] = {}
        self.bookings: dict[int, Booking] = {}

    async def run(self, booking_count: int) -> Summary:
        """Create everything, with this many bookings."""
        schedule = Schedule(self.rng, now=self.now, zone=self.zone)
        schedule.fill_with_visits(min(booking_count, MAX_DETAILED_BOOKINGS))
        steps = [
            step
            for step in schedule.list_past_steps()
            if not (step.comment and only_calls(schedule.visits[step.visit_index].customer))
        ]
        await self.create_business(schedule.exceptions)
        for step in steps:
            await self.run_step(step, schedule)
        for number in range(len(CUSTOMERS)):
            await self.ensure_customer(number, self.now)
        await self.write_notes()
        await self.set_actor(SEED_ACTOR)
        more = await self.add_bulk_bookings(booking_count - len(self.bookings))
        return Summary(
            Outcome.SEEDED,
            services=len(self.services) + more.services,
            resources=len(self.resources) + more.resources,
            customers=len(self.customers) + more.customers,
            bookings=len(self.bookings) + more.bookings,
            reviews=sum(bool(step.comment) for step in steps) + more.reviews,
        )

    async def add_bulk_bookings(self, booking_count: int) -> bulk.BulkSummary:
        seeder = bulk.BulkSeeder(
            self.session,
            self.rng,
            by=SEED_ACTOR,
            now=self.now,
            password_hash=self.password_hash,
            on_progress=self.on_progress,
        )
        return await seeder.load_bookings(booking_count, existing_count=len(self.bookings))

    async def create_business(self, exceptions: Iterable[ExceptionSpec]) -> None:
        """Create the staff, the resources with their hours, the services and the exceptions."""
        opened_at = self.now - BUSINESS_AGE
        owner = await self.create_account(SEED_ACTOR, opened_at, OWNER_NAME, DEMO_ADMIN, Role.ADMIN)
        await self.name_business(owner, opened_at)
        emails = (DEMO_STAFF, make_email(DESK_NAMES[1]))
        for name, email in zip(DESK_NAMES, emails, strict=True):
            self.staff.append(await self.create_account(owner, opened_at, name, email, Role.STAFF))
        await self.create_account(owner, opened_at, MANAGER_NAME, DEMO_MANAGER, Role.MANAGER)
        for resource in RESOURCES:
            await self.create_resource(owner, opened_at, resource)
        own = self.resources[STYLIST_NAME].id
        await self.create_account(owner, opened_at, STYLIST_NAME, DEMO_STYLIST, Role.OWN_CALENDAR, resource_id=own)
        for service in SERVICES:
            values = self.make_service_values(service)
            self.services[service.title] = await self.create_row(Service, owner, opened_at, **values)
        for exception in exceptions:
            await self.create_row(CalendarException, owner, opened_at, **self.make_exception_values(exception))

    async def name_business(self, by: Actor, at: datetime) -> None:
        """Name the business as the demo is called, unless an owner has named it."""
        await self.set_actor(by)
        row = await records.lock(self.session, Business, BUSINESS_ID)
        if row.timezone is None:
            await records.change(self.session, row, by=by, now=at, **BUSINESS, timezone=self.zone.key)

    async def create_row(self, table: type[Any], by: Actor, at: datetime, **values: Any) -> Any:
        """Create a row as this actor, at this moment."""
        await self.set_actor(by)
        return await records.create(self.session, table, by=by, now=at, **values)

    async def set_actor(self, by: Actor) -> None:
        """Set the actor that history records for the following rows."""
        if by != self.actor:
            self.actor = by
            await self.session.set_actor(by)

    async def create_account(
        self,
        by: Actor,
        at: datetime,
        name: str,
        email: str | None,
        role: Role,
        *,
        phone: str | None = None,
        resource_id: int | None = None,
    ) -> Actor:
        """Create a person. One without an e-mail address has no password."""
        values = {"name": name, "email": email, "phone": phone, "role": role, "resource_id": resource_id}
        password_hash = self.password_hash if email else None
        user = await self.create_row(User, by, at, **values, password_hash=password_hash, is_demo=True)
        return Actor.of("seed", user)

    async def create_resource(self, by: Actor, at: datetime, spec: ResourceSpec) -> None:
        resource = await self.create_row(Resource, by, at, name=spec.name, capacity=spec.capacity)
        self.resources[spec.name] = resource
        for window in spec.hours:
            hours = {"weekday": window.weekday, "opens": window.opens, "closes": window.closes}
            await self.create_row(OpeningHours, by, at, resource_id=resource.id, **hours)

    def make_service_values(self, spec: ServiceSpec) -> dict[str, Any]:
        return {
            "title": spec.title,
            "description": spec.description,
            "price": spec.price,
            "duration_minutes": spec.minutes,
            "setup_minutes": spec.setup,
            "cleanup_minutes": spec.cleanup,
            "slot_step_minutes": spec.step,
            "min_notice_minutes": spec.notice,
            "horizon_days": spec.horizon,
            "cancel_notice_minutes": spec.cancel,
            "resource_ids": [self.resources[name].id for name in spec.resource_names],
            "max_party": spec.max_party,
            "price_is_per_person": spec.max_party > 1,
            "role": ResourceRole.USING if spec.kind == "rental" else ResourceRole.WITH,
            "binds_hours_at_ends": spec.kind == "rental",
            "needs": [Need(tuple(self.resources[name].id for name in spec.room_names), ResourceRole.IN)]
            if spec.room_names
            else [],
        }

    def make_exception_values(self, spec: ExceptionSpec) -> dict[str, Any]:
        opens, closes = spec.hours or (datetime.min.time(), datetime.min.time())
        last_day = spec.first_day + timedelta(days=0 if spec.hours else spec.days)
        return {
            "resource_id": self.resources[spec.resource_name].id if spec.resource_name else None,
            "start_time": from_wall_clock(spec.first_day, opens, self.zone),
            "end_time": from_wall_clock(last_day, closes, self.zone),
            "is_open": spec.hours is not None,
            "reason": spec.reason,
        }

    async def ensure_customer(self, number: int, at: datetime) -> Actor:
        """Return this customer. Create the account, shortly before this moment, if there is none yet."""
        if number not in self.customers:
            name, phone = CUSTOMERS[number], None if has_no_phone(number) else make_phone(number)
            email = DEMO_CUSTOMER if number == 0 else None if only_calls(number) else make_email(name)
            joined_at = at - timedelta(minutes=self.rng.randrange(2, 20))
            by = self.staff[0] if only_calls(number) else Actor("seed")
            self.customers[number] = await self.create_account(by, joined_at, name, email, Role.USER, phone=phone)
        return self.customers[number]

    async def write_notes(self) -> None:
        """Write notes on some customers, and on their next bookings."""
        for index, (number, text) in enumerate(CUSTOMER_NOTES):
            by, at = self.staff[index % len(self.staff)], self.now - timedelta(hours=40 - 3 * index)
            await self.set_actor(by)
            user_id, is_pinned = self.customers[number].id, index % 3 == 0
            await notes.write(self.session, by=by, now=at, user_id=user_id, text=text, is_pinned=is_pinned)
        coming = [one for one in self.bookings.values() if one.start_time > self.now and one.status != Status.CANCELLED]
        coming.sort(key=lambda one: (one.start_time, one.id))
        for booking, text in zip(coming[::4], BOOKING_NOTES, strict=False):
            await self.set_actor(self.staff[0])
            at = self.now - timedelta(hours=1)
            await notes.write(self.session, by=self.staff[0], now=at, booking_id=booking.id, text=text)

    async def run_step(self, step: Step, schedule: Schedule) -> None:
        """Replay one step at its moment, as the customer or as staff."""
        visit = schedule.visits[step.visit_index]
        customer = await self.ensure_customer(visit.customer, visit.booked_at)
        is_by_staff = step.is_by_staff or only_calls(visit.customer)
        by = self.staff[step.visit_index % len(self.staff)] if is_by_staff else customer
        if step.status == Status.PENDING:
            service, resource = self.services[visit.service.title], self.resources[visit.resource.name]
            values = {
                "service_id": service.id,
                "resource_id": resource.id,
                "start_time": visit.start,
                "seats": visit.seats,
            }
            booking = await self.create_row(Booking, by, step.at, user_id=customer.id, **values)
            self.bookings[step.visit_index] = booking
            self.on_progress(len(self.bookings))
        elif step.comment:
            values = {"rating": step.rating, "comment": step.comment}
            await self.create_row(Review, by, step.at, booking_id=self.bookings[step.visit_index].id, **values)
        else:
            await self.set_actor(by)
            booking = self.bookings[step.visit_index]
            booking = await records.change(self.session, booking, by=by, now=step.at, status=step.status)
            self.bookings[step.visit_index] = booking
            if step.status == Status.COMPLETED:
                await self.take_payment(booking, by, step.at)

    async def take_payment(self, booking: Booking, by: Actor, at: datetime) -> None:
        """Take the price of nearly every completed visit. The number of the booking decides how."""
        rng = Random(booking.id)
        method = bulk.draw_payment_method(rng.random())
        due = (await payments.paid_and_due(self.session, booking.id)).due
        if method and due:
            key = UUID(int=rng.getrandbits(128), version=4)
            facts: dict[str, Any] = {"booking_id": booking.id, "amount": due, "method": method, "key": key}
            await payments.record_payment(self.session, **facts, by=by, now=at)
