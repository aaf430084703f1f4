"""The databases of the benchmarks: the demo business, and rows that only the benchmarks need.

Four services with eight resources each take the bookings. A fifth service, also with eight, is the one that 500 clients
book at once. 500 customers share one password. The baseline has its own database on the same PostgreSQL, with the same
users, services and bookings. Where BookIt books a resource, the baseline books a service.
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
from bookit.policy.limits import BookingLimits
from bookit.policy.permissions import Actor
from bookit.schema.tables import Booking, OpeningHours, Resource, Role, Service, User
from bookit.settings import Settings

OWNER = Actor("seed", role=Role.ADMIN)
INSERT_SIGN_IN = """
INSERT INTO sign_ins (user_id, door, role, sid, idle_ends_at, expires_at) VALUES (%s, 'api', %s, %s, %s, %s)
"""
PASSWORD = "bookit-bench"  # noqa: S105 -- of accounts that exist only here
CUSTOMER_COUNT = 500
SERVICE_COUNT, RESOURCES_PER_SERVICE = 4, 8
RESOURCE_COUNT = SERVICE_COUNT * RESOURCES_PER_SERVICE
OPENS, CLOSES, STEP_MINUTES = time(8), time(18), 15  # in UTC
STARTS_PER_DAY = 40
LISTING_CUSTOMERS, BOOKINGS_PER_LISTING_CUSTOMER = (
    20,
    40,
)  # the customers who list their bookings, and how many each has
FIRST_IDS = {"services": 70_001, "resources": 50_001, "users": 900_001}  # numbers that no limit and no page size has
# What the baseline requires of a user and BookIt does not.
REQUIRED = {
    "email": sql.SQL("coalesce(email, id || '@example.com')"),
    "password_hash": sql.SQL("coalesce(password_hash, '')"),
}
DAYS_AHEAD = timedelta(days=400)  # the demo business has no bookings there
# The default settings, except for autovacuum, which would clean up in some rounds and not in others.
POSTGRES_SETTINGS = {"autovacuum": "off"}


@dataclass(frozen=True)
class BenchmarkData:
    """The filled databases, and the ids of the rows that the benchmarks use."""

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
        """The settings of BookIt."""
        return Settings(
            database_url=self.url, secret_key=self.secret, bookit_home=self.folder, access_token_expire_minutes=1440,
            bookit_only="api", rate_limits=0, max_open_bookings=0, _env_file=None,
        )  # fmt: skip

    @property
    def env_vars(self) -> dict[str, str]:
        """The environment of each server."""
        return {
            "DATABASE_URL": self.url,
            "SECRET_KEY": self.secret,
            "ACCESS_TOKEN_EXPIRE_MINUTES": "1440",
            "BASELINE_URL": f"postgresql+psycopg{self.baseline_url.removeprefix('postgresql')}",
            "BENCH_RESPONSES": str(self.folder),
        }

    def create_token(self, number: int = 0) -> str:
        """Return an access token of one of the customers, as BookIt issues it."""
        return issue_access_token(self.url, self.users[number], self.settings)

    def create_baseline_token(self, number: int = 0) -> str:
        claims = {"sub": str(self.users[number].id), "exp": datetime.now(UTC) + timedelta(days=1)}
        return jwt.encode(claims, self.secret, algorithm="HS256")

    @property
    def tokens(self) -> list[str]:
        """The tokens of the customers who list their bookings."""
        return [self.create_token(number) for number in range(LISTING_CUSTOMERS)]

    @property
    def baseline_tokens(self) -> list[str]:
        """The same tokens for the baseline."""
        return [self.create_baseline_token(number) for number in range(LISTING_CUSTOMERS)]

    def get_booking_tokens(self, *, is_baseline: bool) -> list[str]:
        """Return tokens of as many customers as there are resources: no customer books two visits at one time."""
        create = self.create_baseline_token if is_baseline else self.create_token
        return [create(number) for number in range(RESOURCE_COUNT)]

    def get_first_start(self, turn: int) -> datetime:
        """Return the first start time of this turn. No other turn uses its days."""
        return datetime.combine(datetime.now(UTC).date() + DAYS_AHEAD + timedelta(days=100 * turn), OPENS, UTC)


@contextmanager
def open_data(folder: Path, bookings: int) -> Iterator[BenchmarkData]:
    """Start PostgreSQL, fill the databases and yield their data; stop when the block ends."""
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
    baseline_service_ids = create_baseline(url, baseline_url)
    postmaster = int((folder / "postgres/data/postmaster.pid").read_text("ascii").split("\n")[0])
    return BenchmarkData(
        folder, url, baseline_url, postmaster, secrets.token_hex(32), users,
        services[:SERVICE_COUNT], resources[:RESOURCE_COUNT],
        services[-1], baseline_service_ids,
    )  # fmt: skip


async def create_rows(url: str) -> tuple[list[User], list[int], list[int]]:
    """Create the customers, resources and services, and the bookings of the first customers."""
    now = datetime.now(UTC)
    unlimited = BookingLimits(holds=0, bookings=0)
    async with (
        Database(url, size=1, booking_limits=unlimited) as database,
        database.transaction(by=OWNER, now=now) as session,
    ):
        password_hash = await passwords.hash_password(PASSWORD)
        names = [(f"Customer {n}", f"customer{n}@bench.example", password_hash) for n in range(CUSTOMER_COUNT)]
        await session.copy_rows(User, ("name", "email", "password_hash"), names)
        users = [await session.get(User, FIRST_IDS["users"] + n) for n in range(CUSTOMER_COUNT)]
        resources = [
            await create_resource(session, number, now) for number in range(RESOURCE_COUNT + RESOURCES_PER_SERVICE)
        ]
        hours = [(number, weekday, OPENS, CLOSES) for number in resources for weekday in range(1, 8)]
        await session.copy_rows(OpeningHours, ("resource_id", "weekday", "opens", "closes"), hours)
        services = [
            await create_service(session, n // RESOURCES_PER_SERVICE, resources[n : n + RESOURCES_PER_SERVICE], now)
            for n in range(0, len(resources), RESOURCES_PER_SERVICE)
        ]
        customers = [user for user in users if user]
        for number, user in enumerate(customers[:LISTING_CUSTOMERS]):
            await create_bookings(session, user, services[-1], number // RESOURCES_PER_SERVICE * STEP_MINUTES, now)
    return customers, services, resources


async def create_resource(session: Session, number: int, now: datetime) -> int:
    resource = await records.create(session, Resource, by=OWNER, now=now, name=f"Measured {number}", timezone="UTC")
    return resource.id


async def create_service(session: Session, number: int, resources: list[int], now: datetime) -> int:
    values: dict[str, Any] = {"title": f"Measured {number}", "description": "A service that only the benchmarks book."}
    values |= {"price": 50, "duration_minutes": STEP_MINUTES, "slot_step_minutes": STEP_MINUTES}
    return (await records.create(session, Service, by=OWNER, now=now, resource_ids=resources, **values)).id


async def create_bookings(session: Session, user: User, service_id: int, minutes: int, now: datetime) -> None:
    """Book one visit a day for this customer, this many minutes after opening time."""
    first = datetime.combine(
        now.date() + DAYS_AHEAD - timedelta(days=BOOKINGS_PER_LISTING_CUSTOMER), OPENS, UTC
    ) + timedelta(minutes=minutes)
    by = Actor("api", user.id, Role.USER)
    for day in range(BOOKINGS_PER_LISTING_CUSTOMER):
        start = first + timedelta(days=day)
        await records.create(session, Booking, by=by, now=now, service_id=service_id, start_time=start)


def create_baseline(url: str, baseline_url: str) -> list[int]:
    """Recreate the baseline's database with the same rows. Return the ids of the services to book there."""
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
        inserted = target.execute(
            "INSERT INTO services (title, description, price, duration_minutes, is_active)"
            " SELECT 'Measured ' || n, '', 50, %s, true FROM generate_series(1, %s) AS n RETURNING id",
            (STEP_MINUTES, RESOURCE_COUNT + RESOURCES_PER_SERVICE),
        )
        service_ids = sorted(int(service_id) for (service_id,) in inserted.fetchall())
        target.execute("VACUUM (ANALYZE)")
    return service_ids


def copy_table(source: psycopg.Connection[Any], target: psycopg.Connection[Any], table: str, names: str) -> None:
    name, columns = sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, names.split(", ")))
    values = sql.SQL(", ").join(REQUIRED.get(column, sql.Identifier(column)) for column in names.split(", "))
    copy_out = sql.SQL("COPY (SELECT {} FROM {}) TO STDOUT").format(values, name)
    copy_in = sql.SQL("COPY {} ({}) FROM STDIN").format(name, columns)
    with source.cursor().copy(copy_out) as rows, target.cursor().copy(copy_in) as writer:
        for row in rows:
            writer.write(row)
    set_sequence = sql.SQL("SELECT setval(pg_get_serial_sequence({}, 'id'), (SELECT max(id) FROM {}))").format(
        table, name
    )
    target.execute(set_sequence)


def issue_access_token(url: str, user: User, settings: Settings) -> str:
    """Sign a user in, and return the access token."""
    now, sid = datetime.now(UTC), secrets.token_urlsafe(24)
    with psycopg.connect(url, autocommit=True) as console:
        console.execute(INSERT_SIGN_IN, (user.id, user.role, sid, now + timedelta(days=1), now + timedelta(days=1)))
    return create_access_token(user, settings, now=now, sid=sid)


def fetch_int(url: str, query: LiteralString) -> int:
    with psycopg.connect(url) as console:
        row = console.execute(query).fetchone()
        return int(row[0]) if row else 0


def fetch_latest_booking_id(url: str) -> int:
    return fetch_int(url, "SELECT coalesce(max(id), 0) FROM bookings")


def count_bookings(url: str) -> int:
    return fetch_int(url, "SELECT count(*) FROM bookings")


def delete_bookings(url: str, after_id: int) -> None:
    """Delete the bookings after this one and their events, and vacuum the tables.

    The next measurement starts with the same tables. Only their owner can delete from history.
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
