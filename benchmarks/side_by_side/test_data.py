"""The database everybody is measured on: the made-up business, and beside it what only measuring needs.

Four services of eight resources each take the bookings; another service of eight is the one whose whole day opens at
once; five hundred customers, all of one password, come. The baseline has a database of its own on the same server,
with the same people, services and bookings; where BookIt books a resource, it books a service.
"""

import asyncio
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any, LiteralString

import jwt
import psycopg
from baseline.models import Base
from fill_database import fill_database
from psycopg import sql
from sqlalchemy import Engine, create_engine

from api.auth import create_access_token
from bookit import records
from bookit.db.embedded import postgres
from bookit.db.pool import Database
from bookit.db.session import Session
from bookit.people import passwords
from bookit.policy.permissions import Actor
from bookit.schema.tables import Booking, OpeningHours, Resource, Role, Service, User
from bookit.settings import Settings

OWNER = Actor("seed", role=Role.ADMIN)
PASSWORD = "bookit-bench"  # noqa: S105 -- of people who do not exist
CUSTOMER_COUNT = 500
SERVICE_COUNT, RESOURCES_PER_SERVICE = 4, 8
RESOURCE_COUNT = SERVICE_COUNT * RESOURCES_PER_SERVICE
OPENS, CLOSES, STEP_MINUTES = time(8), time(18), 15  # by UTC
STARTS_PER_DAY = 40  # in a day
LISTING_CUSTOMERS, BOOKINGS_PER_LISTING_CUSTOMER = 20, 40  # customers who list their bookings, and how many each has
FIRST_IDS = {"services": 70_001, "resources": 50_001, "users": 900_001}  # none that a limit or a page could have
DAYS_AHEAD = timedelta(days=400)  # no seed reaches so far
# The server as it comes, but for autovacuum, which would clean up in one round and not in the other.
POSTGRES_SETTINGS = {"autovacuum": "off"}


@dataclass(frozen=True)
class BenchmarkData:
    """The databases, filled, and who is measured in them."""

    folder: Path
    url: str
    baseline_url: str
    postmaster: int
    secret: str
    users: Sequence[User]
    service_ids: Sequence[int]
    resource_ids: Sequence[int]
    day_service_id: int
    baseline_service_ids: Sequence[int]

    @property
    def settings(self) -> Settings:
        """What BookIt is told here."""
        return Settings(
            database_url=self.url, secret_key=self.secret, bookit_home=self.folder, access_token_expire_minutes=1440,
            bookit_only="api", _env_file=None,
        )  # fmt: skip

    @property
    def env_vars(self) -> dict[str, str]:
        """The environment of every server here."""
        return {
            "DATABASE_URL": self.url,
            "SECRET_KEY": self.secret,
            "ACCESS_TOKEN_EXPIRE_MINUTES": "1440",
            "BASELINE_URL": f"postgresql+psycopg{self.baseline_url.removeprefix('postgresql')}",
            "BENCH_ANSWERS": str(self.folder),
        }

    def create_token(self, number: int = 0) -> str:
        """Sign one of the customers in to BookIt, as its own door would."""
        return create_access_token(self.users[number], self.settings, now=datetime.now(UTC))

    def create_baseline_token(self, number: int = 0) -> str:
        claims = {"sub": str(self.users[number].id), "exp": datetime.now(UTC) + timedelta(days=1)}
        return jwt.encode(claims, self.secret, algorithm="HS256")

    @property
    def tokens(self) -> list[str]:
        """Those of the customers who list their bookings."""
        return [self.create_token(number) for number in range(LISTING_CUSTOMERS)]

    @property
    def baseline_tokens(self) -> list[str]:
        """The same for the baseline."""
        return [self.create_baseline_token(number) for number in range(LISTING_CUSTOMERS)]

    def get_first_start(self, turn: int) -> datetime:
        """Give the first start of days that no other turn uses."""
        return datetime.combine(datetime.now(UTC).date() + DAYS_AHEAD + timedelta(days=100 * turn), OPENS, UTC)


@contextmanager
def open_data(folder: Path, bookings: int) -> Iterator[BenchmarkData]:
    """Have the databases for as long as the block runs."""
    with postgres(folder, POSTGRES_SETTINGS) as url:
        fill_database(folder, url, bookings)
        with psycopg.connect(url, autocommit=True) as console:
            for table, first in FIRST_IDS.items():
                restart = sql.SQL("ALTER TABLE {} ALTER id RESTART WITH {}").format(sql.Identifier(table), first)
                console.execute(restart)
        yield create_data(folder, url)


def create_data(folder: Path, url: str) -> BenchmarkData:
    users, services, resources = asyncio.run(create_rows(url))
    baseline_url = url.replace("/bookit?", "/baseline?")
    lanes = create_baseline(url, baseline_url)
    postmaster = int((folder / "postgres/data/postmaster.pid").read_text("ascii").split("\n")[0])
    return BenchmarkData(
        folder, url, baseline_url, postmaster, secrets.token_hex(32), users,
        services[:SERVICE_COUNT], resources[:RESOURCE_COUNT],
        services[-1], lanes,
    )  # fmt: skip


async def create_rows(url: str) -> tuple[list[User], list[int], list[int]]:
    """Make people, resources and services, and the bookings of the first customers."""
    now = datetime.now(UTC)
    async with Database(url, size=1) as database, database.transaction(by=OWNER, now=now) as session:
        hashed = await passwords.hash_password(PASSWORD)
        names = [(f"Customer {n}", f"customer{n}@bench.example", hashed) for n in range(CUSTOMER_COUNT)]
        await session.copy_rows(User, ("name", "email", "password_hash"), names)
        users = [await session.get(User, FIRST_IDS["users"] + n) for n in range(CUSTOMER_COUNT)]
        resources = [
            await create_resource(session, number, now) for number in range(RESOURCE_COUNT + RESOURCES_PER_SERVICE)
        ]
        hours = [(number, weekday, OPENS, CLOSES) for number in resources for weekday in range(1, 8)]
        await session.copy_rows(OpeningHours, ("resource_id", "weekday", "opens", "closes"), hours)
        services = [
            await create_service(session, at // RESOURCES_PER_SERVICE, resources[at : at + RESOURCES_PER_SERVICE], now)
            for at in range(0, len(resources), RESOURCES_PER_SERVICE)
        ]
        found = [user for user in users if user]
        for number, user in enumerate(found[:LISTING_CUSTOMERS]):
            await create_bookings(session, user, services[-1], number // RESOURCES_PER_SERVICE * STEP_MINUTES, now)
    return found, services, resources


async def create_resource(session: Session, number: int, now: datetime) -> int:
    made = await records.create(session, Resource, by=OWNER, now=now, name=f"Measured {number}", timezone="UTC")
    return made.id


async def create_service(session: Session, number: int, resources: list[int], now: datetime) -> int:
    facts: dict[str, Any] = {"title": f"Measured {number}", "description": "A visit that is there to be measured."}
    facts |= {"price": 50, "duration_minutes": STEP_MINUTES, "slot_step_minutes": STEP_MINUTES}
    return (await records.create(session, Service, by=OWNER, now=now, resource_ids=resources, **facts)).id


async def create_bookings(session: Session, user: User, service_id: int, minutes: int, now: datetime) -> None:
    """Have this customer book so many visits, one a day, so many minutes after the opening."""
    first = datetime.combine(
        now.date() + DAYS_AHEAD - timedelta(days=BOOKINGS_PER_LISTING_CUSTOMER), OPENS, UTC
    ) + timedelta(minutes=minutes)
    by = Actor("api", user.id, Role.USER)
    for day in range(BOOKINGS_PER_LISTING_CUSTOMER):
        start = first + timedelta(days=day)
        await records.create(session, Booking, by=by, now=now, service_id=service_id, start_time=start)


def create_baseline(url: str, baseline_url: str) -> list[int]:
    """Make the baseline's database anew, with the same rows, and give the services it is booked by."""
    with psycopg.connect(url, autocommit=True) as console:
        console.execute("DROP DATABASE IF EXISTS baseline WITH (FORCE)")
        console.execute("CREATE DATABASE baseline")
    engine: Engine = create_engine(f"postgresql+psycopg{baseline_url.removeprefix('postgresql')}")
    Base.metadata.create_all(engine)
    engine.dispose()
    columns = {
        "users": "id, created_at, name, email, password_hash, role",
        "services": "id, created_at, title, description, price, duration_minutes, is_active",
        "bookings": "id, created_at, user_id, service_id, start_time, end_time, status",
    }
    with psycopg.connect(url) as source, psycopg.connect(baseline_url, autocommit=True) as target:
        for table, names in columns.items():
            copy_table(source, target, table, names)
        made = target.execute(
            "INSERT INTO services (title, description, price, duration_minutes, is_active)"
            " SELECT 'Lane ' || n, '', 50, %s, true FROM generate_series(1, %s) AS n RETURNING id",
            (STEP_MINUTES, RESOURCE_COUNT + RESOURCES_PER_SERVICE),
        )
        lanes = sorted(int(number) for (number,) in made.fetchall())
        target.execute("VACUUM (ANALYZE)")
    return lanes


def copy_table(source: psycopg.Connection[Any], target: psycopg.Connection[Any], table: str, names: str) -> None:
    name, columns = sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, names.split(", ")))
    out = sql.SQL("COPY (SELECT {} FROM {}) TO STDOUT").format(columns, name)
    into = sql.SQL("COPY {} ({}) FROM STDIN").format(name, columns)
    with source.cursor().copy(out) as reading, target.cursor().copy(into) as writing:
        for part in reading:
            writing.write(part)
    last = sql.SQL("SELECT setval(pg_get_serial_sequence({}, 'id'), (SELECT max(id) FROM {}))").format(table, name)
    target.execute(last)


def fetch_int(url: str, query: LiteralString) -> int:
    with psycopg.connect(url) as console:
        row = console.execute(query).fetchone()
        return int(row[0]) if row else 0


def fetch_latest_booking_id(url: str) -> int:
    return fetch_int(url, "SELECT coalesce(max(id), 0) FROM bookings")


def count_bookings(url: str) -> int:
    return fetch_int(url, "SELECT count(*) FROM bookings")


def delete_bookings(url: str, after_id: int) -> None:
    """Take away, as the owner of the tables, the bookings after this one and what history says of them.

    Before the next measurement the tables are as they were: vacuumed, and no larger.
    """
    has_history = fetch_int(url, "SELECT count(to_regclass('events'))")
    tables = sql.SQL(", ").join(map(sql.Identifier, ("bookings", "events")[: 1 + has_history]))
    with psycopg.connect(url, autocommit=True) as console:
        with console.transaction():
            if has_history:
                console.execute("ALTER TABLE bookings DISABLE TRIGGER USER; ALTER TABLE events DISABLE TRIGGER USER")
                console.execute("DELETE FROM events WHERE table_name = 'bookings' AND row_id > %s", (after_id,))
            console.execute("DELETE FROM bookings WHERE id > %s", (after_id,))
            if has_history:
                console.execute("ALTER TABLE bookings ENABLE TRIGGER USER; ALTER TABLE events ENABLE TRIGGER USER")
        console.execute(sql.SQL("VACUUM {}").format(tables))
