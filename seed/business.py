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
from seed.schedule import Diary, Step, on_the_wall
from seed.studio import CUSTOMERS, DESK_NAMES, OFFERS, OWNER_NAME, PLACES, Exceptional, Offer, Place, address

DEMO_PASSWORD = "bookit-demo"  # noqa: S105 -- everybody's, and said aloud
DEMO_ADMIN = "admin@example.com"
DEMO_STAFF = "desk@example.com"
DEMO_CUSTOMER = "customer@example.com"

LIVED = 1000  # As many bookings as the studio can have; more are other rooms', in bulk.
OPENED = timedelta(days=200)  # before now
FOUNDER = Actor("seed", role=Role.ADMIN)

SOME_BOOKING = select(col(Booking.id)).limit(1)

Tell = Callable[[int], None]


class Outcome(StrEnum):
    """What planting came to."""

    PLANTED = "planted"
    WAS_THERE = "This database already has its demo business, so nothing was added."
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


def unheard(_done: int) -> None:
    """Tell nobody."""


async def plant(
    database: Database, *, now: datetime, seed: int = 1, bookings: int = 800, tell: Tell = unheard
) -> Summary:
    """Make the demo business around this moment, all of it or nothing; ``tell`` hears how many bookings there are.

    The same seed and moment make the same rows. A database that has the business, or bookings of its own, is left as
    it is. Refuses with ``EmailTaken`` where somebody else has the address of one of the demo's people.
    """
    if obstacle := await look(database):
        return Summary(obstacle)
    hashed = await passwords.hash_password(DEMO_PASSWORD)
    now = now.replace(second=0, microsecond=0)
    try:
        async with database.transaction(by=FOUNDER) as session:
            made = await Planting(session, Random(seed), now=now, hashed=hashed, tell=tell).all(bookings)
    except no.EmailTaken:
        if obstacle := await look(database):  # Somebody was faster.
            return Summary(obstacle)
        raise
    await database.fetch(bulk.COUNT_THEM)
    return made


async def look(database: Database) -> Outcome | None:
    """Say what speaks against planting here, if anything does."""
    if await database.fetch(sign_in.SELECT_BY_EMAIL, email=DEMO_ADMIN):
        return Outcome.WAS_THERE
    return Outcome.IN_USE if await database.fetch(SOME_BOOKING) else None


class Planting:
    """The business while it is being made, inside one transaction."""

    def __init__(self, session: Session, rng: Random, *, now: datetime, hashed: str, tell: Tell) -> None:
        self.session, self.rng, self.now, self.hashed, self.tell = session, rng, now, hashed, tell
        self.zone = ZoneInfo(session.timezone)
        self.speaker = FOUNDER
        self.desk: list[Actor] = []
        self.customers: dict[int, Actor] = {}
        self.places: dict[str, Resource] = {}
        self.services: dict[str, Service] = {}
        self.bookings: dict[int, Booking] = {}

    async def all(self, count: int) -> Summary:
        """Make everything, with so many bookings."""
        diary = Diary(self.rng, now=self.now, zone=self.zone)
        diary.fill(min(count, LIVED))
        steps = diary.steps()
        await self.found(diary.exceptions)
        for step in steps:
            await self.take(step, diary)
        for number in range(len(CUSTOMERS)):
            await self.customer(number, self.now)
        await self.speak(FOUNDER)
        loader = bulk.Bulk(self.session, self.rng, by=FOUNDER, now=self.now, hashed=self.hashed, tell=self.tell)
        more = await loader.fill(count - len(self.bookings), after=len(self.bookings))
        return Summary(
            Outcome.PLANTED,
            services=len(self.services) + more.services,
            resources=len(self.places) + more.resources,
            customers=len(self.customers) + more.customers,
            bookings=len(self.bookings) + more.bookings,
            reviews=sum(bool(step.text) for step in steps) + more.reviews,
        )

    async def found(self, special: Iterable[Exceptional]) -> None:
        """Make the people who work here, what they offer, and when."""
        then = self.now - OPENED
        owner = await self.account(FOUNDER, then, OWNER_NAME, DEMO_ADMIN, Role.ADMIN)
        emails = (DEMO_STAFF, address(DESK_NAMES[1]))
        for name, email in zip(DESK_NAMES, emails, strict=True):
            self.desk.append(await self.account(owner, then, name, email, Role.STAFF))
        for place in PLACES:
            await self.place(owner, then, place)
        for offer in OFFERS:
            self.services[offer.title] = await self.make(Service, owner, then, **self.facts(offer))
        for one in special:
            await self.make(CalendarException, owner, then, **self.closure(one))

    async def make(self, table: type[Any], by: Actor, at: datetime, **facts: Any) -> Any:
        """Add a row as this person, at this moment."""
        await self.speak(by)
        return await records.create(self.session, table, by=by, now=at, **facts)

    async def speak(self, by: Actor) -> None:
        """Have history name this person from here on."""
        if by != self.speaker:
            self.speaker = by
            await self.session.set_actor(by)

    async def account(self, by: Actor, at: datetime, name: str, email: str, role: Role) -> Actor:
        user = await self.make(User, by, at, name=name, email=email, role=role, password_hash=self.hashed)
        return Actor("seed", id=user.id, role=role)

    async def place(self, by: Actor, at: datetime, place: Place) -> None:
        made = await self.make(Resource, by, at, name=place.name, capacity=place.capacity)
        self.places[place.name] = made
        for window in place.hours:
            hours = {"weekday": window.weekday, "opens": window.opens, "closes": window.closes}
            await self.make(OpeningHours, by, at, resource_id=made.id, **hours)

    def facts(self, offer: Offer) -> dict[str, Any]:
        return {
            "title": offer.title,
            "description": offer.description,
            "price": offer.price,
            "duration_minutes": offer.minutes,
            "setup_minutes": offer.setup,
            "cleanup_minutes": offer.cleanup,
            "slot_step_minutes": offer.step,
            "min_notice_minutes": offer.notice,
            "horizon_days": offer.horizon,
            "cancel_notice_minutes": offer.cancel,
            "resource_ids": [self.places[name].id for name in offer.by],
        }

    def closure(self, one: Exceptional) -> dict[str, Any]:
        opens, closes = one.hours or (datetime.min.time(), datetime.min.time())
        last = one.first + timedelta(days=0 if one.hours else one.days)
        return {
            "resource_id": self.places[one.place].id if one.place else None,
            "start_time": on_the_wall(one.first, opens, self.zone),
            "end_time": on_the_wall(last, closes, self.zone),
            "is_open": one.hours is not None,
            "reason": one.reason,
        }

    async def customer(self, number: int, at: datetime) -> Actor:
        """Give this customer, who joins when they are first needed."""
        if number not in self.customers:
            email = DEMO_CUSTOMER if number == 0 else address(CUSTOMERS[number])
            joined = at - timedelta(minutes=self.rng.randrange(2, 20))
            visitor = Actor("seed")
            self.customers[number] = await self.account(visitor, joined, CUSTOMERS[number], email, Role.USER)
        return self.customers[number]

    async def take(self, step: Step, diary: Diary) -> None:
        """Do what this step says, as the customer or as staff, at its moment."""
        visit = diary.visits[step.visit]
        customer = await self.customer(visit.customer, visit.made)
        by = self.desk[step.visit % len(self.desk)] if step.by_desk else customer
        if step.leads_to == Status.PENDING:
            service, place = self.services[visit.offer.title], self.places[visit.place.name]
            what = {"service_id": service.id, "resource_id": place.id}
            booked = await self.make(Booking, by, step.at, start_time=visit.start, user_id=customer.id, **what)
            self.bookings[step.visit] = booked
            self.tell(len(self.bookings))
        elif step.text:
            said = {"rating": step.stars, "comment": step.text}
            await self.make(Review, by, step.at, booking_id=self.bookings[step.visit].id, **said)
        else:
            await self.speak(by)
            booking = self.bookings[step.visit]
            changed = await records.change(self.session, booking, by=by, now=step.at, status=step.leads_to)
            self.bookings[step.visit] = changed
