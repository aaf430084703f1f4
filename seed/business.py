"""Plants the made-up business: its people and catalogue, and a diary of visits lived through step by step."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

from sqlmodel import col, select

from bookit import records
from bookit import refusals as no
from bookit.db.pool import Database
from bookit.db.session import Session
from bookit.people import passwords, sign_in
from bookit.policy.permissions import Actor
from bookit.schema.tables import Booking, CalendarException, OpeningHours, Resource, Review, Role, Service, Status, User
from seed import bulk
from seed.schedule import Schedule, Step, from_wall_clock
from seed.studio import (
    CUSTOMERS,
    DESK_NAMES,
    OWNER_NAME,
    RESOURCES,
    SERVICES,
    ExceptionSpec,
    ResourceSpec,
    ServiceSpec,
    make_email,
)

DEMO_PASSWORD = "bookit-demo"  # noqa: S105 -- everybody's, and said aloud
DEMO_ADMIN = "admin@example.com"
DEMO_STAFF = "desk@example.com"
DEMO_CUSTOMER = "customer@example.com"

MAX_DETAILED_BOOKINGS = 1000  # As many bookings as the studio can have; more are other rooms', in bulk.
BUSINESS_AGE = timedelta(days=200)  # before now
SEED_ACTOR = Actor("seed", role=Role.ADMIN)

SELECT_ANY_BOOKING = select(col(Booking.id)).limit(1)

OnProgress = Callable[[int], None]


class Outcome(StrEnum):
    """What planting came to."""

    SEEDED = "planted"
    ALREADY_SEEDED = "This database already has its demo business, so nothing was added."
    IN_USE = (
        "This database has bookings of its own, and the demo's people have a password that everybody knows."
        " So nothing was added."
    )


@dataclass(frozen=True, slots=True)
class Summary:
    """What was made, nothing unless the outcome is ``PLANTED``."""

    outcome: Outcome
    services: int = 0
    resources: int = 0
    customers: int = 0
    bookings: int = 0
    reviews: int = 0


def ignore_progress(_done: int) -> None:
    """Tell nobody."""


async def seed_database(
    database: Database, *, now: datetime, seed: int = 1, bookings: int = 800, on_progress: OnProgress = ignore_progress
) -> Summary:
    """Make the demo business around this moment, all of it or nothing; ``tell`` hears how many bookings there are.

    The same seed and moment make the same rows. A database that has the business, or bookings of its own, is left as
    it is. Refuses with ``EmailTaken`` where somebody else has the address of one of the demo's people.
    """
    if obstacle := await check_database(database):
        return Summary(obstacle)
    hashed = await passwords.hash_password(DEMO_PASSWORD)
    now = now.replace(second=0, microsecond=0)
    try:
        async with database.transaction(by=SEED_ACTOR) as session:
            made = await Seeder(session, Random(seed), now=now, password_hash=hashed, on_progress=on_progress).run(
                bookings
            )
    except no.EmailTaken:
        if obstacle := await check_database(database):  # Somebody was faster.
            return Summary(obstacle)
        raise
    await database.fetch(bulk.ANALYZE_TABLES)
    return made


async def check_database(database: Database) -> Outcome | None:
    """Say what speaks against planting here, if anything does."""
    if await database.fetch(sign_in.SELECT_BY_EMAIL, email=DEMO_ADMIN):
        return Outcome.ALREADY_SEEDED
    return Outcome.IN_USE if await database.fetch(SELECT_ANY_BOOKING) else None


class Seeder:
    """The business while it is being made, inside one transaction."""

    def __init__(
        self, session: Session, rng: Random, *, now: datetime, password_hash: str, on_progress: OnProgress
    ) -> None:
        self.session, self.rng, self.now, self.password_hash, self.on_progress = (
            session,
            rng,
            now,
            password_hash,
            on_progress,
        )
        self.zone = ZoneInfo(session.timezone)
        self.actor = SEED_ACTOR
        self.staff: list[Actor] = []
        self.customers: dict[int, Actor] = {}
        self.resources: dict[str, Resource] = {}
        self.services: dict[str, Service] = {}
        self.bookings: dict[int, Booking] = {}

    async def run(self, booking_count: int) -> Summary:
        """Make everything, with so many bookings."""
        diary = Schedule(self.rng, now=self.now, zone=self.zone)
        diary.fill_with_visits(min(booking_count, MAX_DETAILED_BOOKINGS))
        steps = diary.list_past_steps()
        await self.create_business(diary.exceptions)
        for step in steps:
            await self.run_step(step, diary)
        for number in range(len(CUSTOMERS)):
            await self.ensure_customer(number, self.now)
        await self.set_actor(SEED_ACTOR)
        loader = bulk.BulkSeeder(
            self.session,
            self.rng,
            by=SEED_ACTOR,
            now=self.now,
            password_hash=self.password_hash,
            on_progress=self.on_progress,
        )
        more = await loader.load_bookings(booking_count - len(self.bookings), existing_count=len(self.bookings))
        return Summary(
            Outcome.SEEDED,
            services=len(self.services) + more.services,
            resources=len(self.resources) + more.resources,
            customers=len(self.customers) + more.customers,
            bookings=len(self.bookings) + more.bookings,
            reviews=sum(bool(step.comment) for step in steps) + more.reviews,
        )

    async def create_business(self, exceptions: Iterable[ExceptionSpec]) -> None:
        """Make the people who work here, what they offer, and when."""
        then = self.now - BUSINESS_AGE
        owner = await self.create_account(SEED_ACTOR, then, OWNER_NAME, DEMO_ADMIN, Role.ADMIN)
        emails = (DEMO_STAFF, make_email(DESK_NAMES[1]))
        for name, email in zip(DESK_NAMES, emails, strict=True):
            self.staff.append(await self.create_account(owner, then, name, email, Role.STAFF))
        for place in RESOURCES:
            await self.create_resource(owner, then, place)
        for offer in SERVICES:
            self.services[offer.title] = await self.create_row(Service, owner, then, **self.make_service_values(offer))
        for one in exceptions:
            await self.create_row(CalendarException, owner, then, **self.make_exception_values(one))

    async def create_row(self, table: type[Any], by: Actor, at: datetime, **facts: Any) -> Any:
        """Add a row as this person, at this moment."""
        await self.set_actor(by)
        return await records.create(self.session, table, by=by, now=at, **facts)

    async def set_actor(self, by: Actor) -> None:
        """Have history name this person from here on."""
        if by != self.actor:
            self.actor = by
            await self.session.set_actor(by)

    async def create_account(self, by: Actor, at: datetime, name: str, email: str, role: Role) -> Actor:
        user = await self.create_row(User, by, at, name=name, email=email, role=role, password_hash=self.password_hash)
        return Actor("seed", id=user.id, role=role)

    async def create_resource(self, by: Actor, at: datetime, spec: ResourceSpec) -> None:
        made = await self.create_row(Resource, by, at, name=spec.name, capacity=spec.capacity)
        self.resources[spec.name] = made
        for window in spec.hours:
            hours = {"weekday": window.weekday, "opens": window.opens, "closes": window.closes}
            await self.create_row(OpeningHours, by, at, resource_id=made.id, **hours)

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
        }

    def make_exception_values(self, spec: ExceptionSpec) -> dict[str, Any]:
        opens, closes = spec.hours or (datetime.min.time(), datetime.min.time())
        last = spec.first_day + timedelta(days=0 if spec.hours else spec.days)
        return {
            "resource_id": self.resources[spec.resource_name].id if spec.resource_name else None,
            "start_time": from_wall_clock(spec.first_day, opens, self.zone),
            "end_time": from_wall_clock(last, closes, self.zone),
            "is_open": spec.hours is not None,
            "reason": spec.reason,
        }

    async def ensure_customer(self, number: int, at: datetime) -> Actor:
        """Give this customer, who joins when they are first needed."""
        if number not in self.customers:
            email = DEMO_CUSTOMER if number == 0 else make_email(CUSTOMERS[number])
            joined = at - timedelta(minutes=self.rng.randrange(2, 20))
            visitor = Actor("seed")
            self.customers[number] = await self.create_account(visitor, joined, CUSTOMERS[number], email, Role.USER)
        return self.customers[number]

    async def run_step(self, step: Step, schedule: Schedule) -> None:
        """Do what this step says, as the customer or as staff, at its moment."""
        visit = schedule.visits[step.visit_index]
        customer = await self.ensure_customer(visit.customer, visit.booked_at)
        by = self.staff[step.visit_index % len(self.staff)] if step.is_by_staff else customer
        if step.status == Status.PENDING:
            service, place = self.services[visit.service.title], self.resources[visit.resource.name]
            what = {"service_id": service.id, "resource_id": place.id}
            booked = await self.create_row(Booking, by, step.at, start_time=visit.start, user_id=customer.id, **what)
            self.bookings[step.visit_index] = booked
            self.on_progress(len(self.bookings))
        elif step.comment:
            said = {"rating": step.rating, "comment": step.comment}
            await self.create_row(Review, by, step.at, booking_id=self.bookings[step.visit_index].id, **said)
        else:
            await self.set_actor(by)
            booking = self.bookings[step.visit_index]
            changed = await records.change(self.session, booking, by=by, now=step.at, status=step.status)
            self.bookings[step.visit_index] = changed
