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
from fill_database import fill
from psycopg import sql
from sqlalchemy import Engine, create_engine

from api.auth import access_token
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
PEOPLE = 500
SERVICES, EACH = 4, 8
LANES = SERVICES * EACH
OPENS, CLOSES, STEP = time(8), time(18), 15  # by UTC
STARTS = 40  # in a day
LISTERS, OWN = 20, 40  # customers who list their bookings, and how many each has
FIRST_NUMBERS = {"services": 70_001, "resources": 50_001, "users": 900_001}  # none that a limit or a page could have
AFTER = timedelta(days=400)  # no seed reaches so far
# The server as it comes, but for autovacuum, which would clean up in one round and not in the other.
SETTINGS = {"autovacuum": "off"}


@dataclass(frozen=True)
class Stage:
    """The databases, filled, and who is measured in them."""

    folder: Path
    url: str
    baseline_url: str
    postmaster: int
    secret: str
    users: Sequence[User]
    services: Sequence[int]
    resources: Sequence[int]
    day_service: int
    lanes: Sequence[int]

    @property
    def settings(self) -> Settings:
        """What BookIt is told here."""
        return Settings(
            database_url=self.url, secret_key=self.secret, bookit_home=self.folder, access_token_expire_minutes=1440,
            bookit_only="api", _env_file=None,
        )  # fmt: skip

    @property
    def told(self) -> dict[str, str]:
        """The environment of every server here."""
        return {
            "DATABASE_URL": self.url,
            "SECRET_KEY": self.secret,
            "ACCESS_TOKEN_EXPIRE_MINUTES": "1440",
            "BASELINE_URL": f"postgresql+psycopg{self.baseline_url.removeprefix('postgresql')}",
            "BENCH_ANSWERS": str(self.folder),
        }

    def token(self, number: int = 0) -> str:
        """Sign one of the customers in to BookIt, as its own door would."""
        return access_token(self.users[number], self.settings, now=datetime.now(UTC))

    def baseline_token(self, number: int = 0) -> str:
        claims = {"sub": str(self.users[number].id), "exp": datetime.now(UTC) + timedelta(days=1)}
        return jwt.encode(claims, self.secret, algorithm="HS256")

    @property
    def tokens(self) -> list[str]:
        """Those of the customers who list their bookings."""
        return [self.token(number) for number in range(LISTERS)]

    @property
    def baseline_tokens(self) -> list[str]:
        """The same for the baseline."""
        return [self.baseline_token(number) for number in range(LISTERS)]

    def first_start(self, turn: int) -> datetime:
        """Give the first start of days that no other turn uses."""
        return datetime.combine(datetime.now(UTC).date() + AFTER + timedelta(days=100 * turn), OPENS, UTC)


@contextmanager
def staged(folder: Path, bookings: int) -> Iterator[Stage]:
    """Have the databases for as long as the block runs."""
    with postgres(folder, SETTINGS) as url:
        fill(folder, url, bookings)
        with psycopg.connect(url, autocommit=True) as console:
            for table, first in FIRST_NUMBERS.items():
                restart = sql.SQL("ALTER TABLE {} ALTER id RESTART WITH {}").format(sql.Identifier(table), first)
                console.execute(restart)
        yield make(folder, url)


def make(folder: Path, url: str) -> Stage:
    users, services, resources = asyncio.run(furnish(url))
    baseline_url = url.replace("/bookit?", "/baseline?")
    lanes = make_baseline(url, baseline_url)
    postmaster = int((folder / "postgres/data/postmaster.pid").read_text("ascii").split("\n")[0])
    return Stage(
        folder, url, baseline_url, postmaster, secrets.token_hex(32), users, services[:SERVICES], resources[:LANES],
        services[-1], lanes,
    )  # fmt: skip


async def furnish(url: str) -> tuple[list[User], list[int], list[int]]:
    """Make people, resources and services, and the bookings of the first customers."""
    now = datetime.now(UTC)
    async with Database(url, size=1) as database, database.transaction(by=OWNER, now=now) as session:
        hashed = await passwords.hash_password(PASSWORD)
        names = [(f"Customer {n}", f"customer{n}@bench.example", hashed) for n in range(PEOPLE)]
        await session.copy_rows(User, ("name", "email", "password_hash"), names)
        users = [await session.get(User, FIRST_NUMBERS["users"] + n) for n in range(PEOPLE)]
        resources = [await room(session, number, now) for number in range(LANES + EACH)]
        hours = [(number, weekday, OPENS, CLOSES) for number in resources for weekday in range(1, 8)]
        await session.copy_rows(OpeningHours, ("resource_id", "weekday", "opens", "closes"), hours)
        services = [
            await service(session, at // EACH, resources[at : at + EACH], now) for at in range(0, len(resources), EACH)
        ]
        found = [user for user in users if user]
        for number, user in enumerate(found[:LISTERS]):
            await visit(session, user, services[-1], number // EACH * STEP, now)
    return found, services, resources


async def room(session: Session, number: int, now: datetime) -> int:
    made = await records.create(session, Resource, by=OWNER, now=now, name=f"Measured {number}", timezone="UTC")
    return made.id


async def service(session: Session, number: int, resources: list[int], now: datetime) -> int:
    facts: dict[str, Any] = {"title": f"Measured {number}", "description": "A visit that is there to be measured."}
    facts |= {"price": 50, "duration_minutes": STEP, "slot_step_minutes": STEP}
    return (await records.create(session, Service, by=OWNER, now=now, resource_ids=resources, **facts)).id


async def visit(session: Session, user: User, service_id: int, minutes: int, now: datetime) -> None:
    """Have this customer book so many visits, one a day, so many minutes after the opening."""
    first = datetime.combine(now.date() + AFTER - timedelta(days=OWN), OPENS, UTC) + timedelta(minutes=minutes)
    by = Actor("api", user.id, Role.USER)
    for day in range(OWN):
        start = first + timedelta(days=day)
        await records.create(session, Booking, by=by, now=now, service_id=service_id, start_time=start)


def make_baseline(url: str, baseline_url: str) -> list[int]:
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
            copy(source, target, table, names)
        made = target.execute(
            "INSERT INTO services (title, description, price, duration_minutes, is_active)"
            " SELECT 'Lane ' || n, '', 50, %s, true FROM generate_series(1, %s) AS n RETURNING id",
            (STEP, LANES + EACH),
        )
        lanes = sorted(int(number) for (number,) in made.fetchall())
        target.execute("VACUUM (ANALYZE)")
    return lanes


def copy(source: psycopg.Connection[Any], target: psycopg.Connection[Any], table: str, names: str) -> None:
    name, columns = sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, names.split(", ")))
    out = sql.SQL("COPY (SELECT {} FROM {}) TO STDOUT").format(columns, name)
    into = sql.SQL("COPY {} ({}) FROM STDIN").format(name, columns)
    with source.cursor().copy(out) as reading, target.cursor().copy(into) as writing:
        for part in reading:
            writing.write(part)
    last = sql.SQL("SELECT setval(pg_get_serial_sequence({}, 'id'), (SELECT max(id) FROM {}))").format(table, name)
    target.execute(last)


def asked(url: str, question: LiteralString) -> int:
    with psycopg.connect(url) as console:
        row = console.execute(question).fetchone()
        return int(row[0]) if row else 0


def newest(url: str) -> int:
    return asked(url, "SELECT coalesce(max(id), 0) FROM bookings")


def count(url: str) -> int:
    return asked(url, "SELECT count(*) FROM bookings")


def sweep(url: str, after: int) -> None:
    """Take away, as the owner of the tables, the bookings after this one and what history says of them.

    Before the next measurement the tables are as they were: vacuumed, and no larger.
    """
    has_history = asked(url, "SELECT count(to_regclass('events'))")
    tables = sql.SQL(", ").join(map(sql.Identifier, ("bookings", "events")[: 1 + has_history]))
    with psycopg.connect(url, autocommit=True) as console:
        with console.transaction():
            if has_history:
                console.execute("ALTER TABLE bookings DISABLE TRIGGER USER; ALTER TABLE events DISABLE TRIGGER USER")
                console.execute("DELETE FROM events WHERE table_name = 'bookings' AND row_id > %s", (after,))
            console.execute("DELETE FROM bookings WHERE id > %s", (after,))
            if has_history:
                console.execute("ALTER TABLE bookings ENABLE TRIGGER USER; ALTER TABLE events ENABLE TRIGGER USER")
        console.execute(sql.SQL("VACUUM {}").format(tables))
