"""History: every change of a row is recorded with its actor and door, and cannot be changed afterwards."""

from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from datetime import UTC, datetime, time
from decimal import Decimal
from typing import Any, LiteralString

import httpx2
import psycopg
import pytest
from psycopg.rows import TupleRow
from sqlalchemy import BigInteger, bindparam, text
from sqlmodel import SQLModel, col, select

from bookit import refusals as no
from bookit.db.pool import Database
from bookit.db.statements import Row
from bookit.policy.permissions import Actor
from bookit.schema import triggers
from bookit.schema.tables import (
    Booking,
    CalendarException,
    Event,
    OpeningHours,
    Resource,
    Review,
    Role,
    Service,
    Status,
    User,
    id_of,
    table_of,
)
from tests.support.clock import TOMORROW_AT_TEN
from tests.support.people import OWNER, PASSWORD, Person

Console = psycopg.Connection[TupleRow]

ADA = Actor("admin", 3, Role.ADMIN)
LAST = select(Event).order_by(col(Event.id).desc()).limit(bindparam("most", type_=BigInteger))
BUSINESS = """
    INSERT INTO users (name, email, password_hash) VALUES ('Tom', 'tom@example.com', 'none');
    INSERT INTO services (title, price, duration_minutes) VALUES ('Haircut', 35, 45);
    INSERT INTO resources (name, timezone) VALUES ('Chair', 'UTC');
    INSERT INTO bookings (user_id, service_id, resource_id, start_time, end_time, blocks_from, blocks_until, price)
      VALUES (1, 1, 1, '2030-01-07 10:00Z', '2030-01-07 11:00Z', '2030-01-07 10:00Z', '2030-01-07 11:00Z', 35);
"""
VISIT = Booking(
    user_id=1,
    service_id=1,
    resource_id=1,
    start_time=TOMORROW_AT_TEN,
    end_time=TOMORROW_AT_TEN.replace(hour=11),
    blocks_from=TOMORROW_AT_TEN,
    blocks_until=TOMORROW_AT_TEN.replace(hour=11),
    price=Decimal(35),
)
HOLIDAY = CalendarException(start_time=datetime(2030, 1, 9, tzinfo=UTC), end_time=datetime(2030, 1, 10, tzinfo=UTC))
# A row of each audited table, a change of it, and the old and new values that history records.
CHANGES: list[tuple[SQLModel, dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    (
        User(name="Eve", email="eve@example.com", password_hash="none"),
        {"name": "Eva", "email": "eve@example.com", "role": Role.STAFF},
        {"name": "Eve", "role": "user"},
        {"name": "Eva", "role": "staff"},
    ),
    (
        Service(title="Massage", price=Decimal(60), duration_minutes=60),
        {"price": 65, "is_active": False},
        {"price": 60, "is_active": True},
        {"price": 65, "is_active": False},
    ),
    (Resource(name="Room", timezone="UTC"), {"capacity": 12}, {"capacity": 1}, {"capacity": 12}),
    (VISIT, {"status": Status.CONFIRMED, "user_id": 1}, {"status": "pending"}, {"status": "confirmed"}),
    (Review(booking_id=1, rating=4, comment="Good"), {"rating": 5}, {"rating": 4}, {"rating": 5}),
    (
        OpeningHours(resource_id=1, weekday=1, opens=time(9), closes=time(17)),
        {"closes": time(18)},
        {"closes": "17:00:00"},
        {"closes": "18:00:00"},
    ),
    (
        HOLIDAY,
        {"resource_id": 1, "reason": "Leave"},
        {"resource_id": None, "reason": ""},
        {"resource_id": 1, "reason": "Leave"},
    ),
]


@pytest.fixture
def console(empty: str) -> Iterator[Console]:
    """Open an SQL console of a business with one booking."""
    with psycopg.connect(empty, autocommit=True) as connection:
        connection.execute(BUSINESS)
        yield connection


@pytest.fixture
def business(console: Console, database: Database) -> Database:
    """Return the database of that business."""
    del console
    return database


@pytest.fixture
async def single(console: Console, database_url: str) -> AsyncIterator[Database]:
    """Open that database with a single connection."""
    database = Database(database_url, size=1)
    await database.open()
    yield database
    await database.close()


async def fetch_last_events(database: Database, most: int, *columns: str) -> list[tuple[Any, ...]]:
    """Return these columns of the last events, oldest first."""
    rows = await database.fetch(LAST, most=most)
    return [tuple(row[name] for name in columns) for row in reversed(rows)]


def recorded_form(table: SQLModel) -> Any:
    """Return the query for a row in the format of history."""
    name = table_of(type(table)).name
    return text(f"SELECT to_jsonb(t) - 'password_hash' - 'is_blocking' AS row FROM {name} t ORDER BY id DESC LIMIT 1")


# Changes that are recorded.


@pytest.mark.parametrize(("row", "change", "old", "new"), CHANGES, ids=[type(row).__name__ for row, *_ in CHANGES])
async def test_every_change_of_a_row_is_recorded(
    business: Database, row: SQLModel, change: Row, old: Row, new: Row
) -> None:
    async with business.transaction(by=ADA, request_id="r-1") as session:
        await session.set_reason("As agreed")
        row = await session.insert(row)
        [first] = await session.fetch(recorded_form(row))
        await session.update(row, **change)
        [final] = await session.fetch(recorded_form(row))
        await session.delete(row)

    events = await fetch_last_events(business, 3, "table_name", "row_id", "action", "old", "new")
    about = (table_of(type(row)).name, id_of(row))
    assert events == [
        (*about, "created", None, first["row"]),
        (*about, "changed", old, new),
        (*about, "deleted", final["row"], None),
    ]
    who = await fetch_last_events(business, 3, "actor_id", "actor", "door", "request_id", "reason")
    assert who == [(3, "admin 3", "admin", "r-1", "As agreed")] * 3


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO users (name, email, password_hash) VALUES ('Eve', 'eve@example.com', 'none')",
        "UPDATE users SET name = 'Thomas'",
        "DELETE FROM bookings",
    ],
)
async def test_a_console_is_recorded_as_unknown(console: Console, database: Database, statement: LiteralString) -> None:
    console.execute(statement)

    who = await fetch_last_events(database, 1, "actor_id", "actor", "door", "request_id", "reason")
    assert who == [(None, "unknown", "sql", None, None)]


async def test_a_request_is_recorded_with_its_actor_and_id(tom: Person, database: Database) -> None:
    answer = await tom.request("PATCH", "/me", json={"name": "Thomas"}, headers={"X-Request-Id": "r-42"})
    ours = answer.headers["x-request-id"]

    events = await fetch_last_events(
        database, 1, "actor_id", "actor", "door", "request_id", "table_name", "row_id", "old", "new"
    )
    assert events == [(tom.id, f"user {tom.id}", "api", ours, "users", tom.id, {"name": "Tom"}, {"name": "Thomas"})]


async def test_one_transaction_may_have_several_actors(business: Database) -> None:
    async with business.transaction(by=OWNER) as session:
        await session.set_actor(ADA)
        await session.insert(Resource(name="Room", timezone="UTC"))
        await session.set_actor(OWNER)
        await session.insert(Resource(name="Hall", timezone="UTC"))

    assert await fetch_last_events(business, 2, "actor_id", "actor", "door") == [
        (3, "admin 3", "admin"),
        (None, "admin", "seed"),
    ]


async def test_rows_of_a_bulk_insert_are_recorded_one_by_one(business: Database) -> None:
    async with business.transaction(by=ADA) as session:
        await session.copy_rows(Resource, ["name", "timezone"], [("Room", "UTC"), ("Hall", "UTC")])

    assert await fetch_last_events(business, 2, "action", "row_id", "actor") == [
        ("created", 2, "admin 3"),
        ("created", 3, "admin 3"),
    ]


# Changes that are not recorded.


async def test_an_update_without_changes_is_not_recorded(console: Console, database: Database) -> None:
    before = await fetch_last_events(database, 100, "id")

    console.execute("UPDATE users SET name = name; UPDATE bookings SET status = 'pending', seats = 1")

    assert await fetch_last_events(database, 100, "id") == before


async def test_rolled_back_changes_are_not_recorded(business: Database) -> None:
    before = await fetch_last_events(business, 100, "id")

    with suppress(no.Forbidden):
        async with business.transaction(by=ADA) as session:
            await session.insert(Resource(name="Room", timezone="UTC"))
            raise no.Forbidden

    assert await fetch_last_events(business, 100, "id") == before


async def test_a_refused_savepoint_is_not_recorded_and_the_rest_is(business: Database) -> None:
    async with business.transaction(by=ADA) as session:
        await session.insert(Resource(name="Room", timezone="UTC"))
        with suppress(no.Forbidden):
            async with session.savepoint():
                await session.insert(Resource(name="Hall", timezone="UTC"))
                raise no.Forbidden
        await session.insert(Resource(name="Yard", timezone="UTC"))

    events = await fetch_last_events(business, 2, "action", "new")
    assert [(action, new["name"]) for action, new in events] == [("created", "Room"), ("created", "Yard")]


async def test_passwords_and_tokens_are_not_recorded(
    visitor: httpx2.AsyncClient, console: Console, database: Database
) -> None:
    eve = {"email": "eve@example.com", "password": PASSWORD}
    await visitor.post("/auth/register", json={"name": "Eve", **eve})
    tokens = (await visitor.post("/auth/login", json=eve)).json()
    again = (await visitor.post("/auth/refresh", json={"refresh_token": tokens["refresh_token"]})).json()
    first = console.execute("SELECT password_hash FROM users WHERE id = 2").fetchall()[0][0]
    hashes = [row[0] for row in console.execute("SELECT token_hash FROM refresh_tokens")]

    answer = await visitor.patch(
        "/me",
        json={"name": "Eva", "password": "battery staple", "current_password": PASSWORD},
        headers={"Authorization": f"Bearer {again['access_token']}"},
    )

    second = console.execute("DELETE FROM users WHERE id = 2 RETURNING password_hash").fetchall()[0][0]
    events = await fetch_last_events(database, 3, "action", "old", "new")
    everything = "\n".join(row[0] for row in console.execute("SELECT events::text FROM events"))
    secrets = [PASSWORD, "battery staple", first, second, *hashes, *tokens.values(), *again.values()]
    assert answer.status_code == 200
    assert first != second
    assert len(hashes) == 2
    assert [secret for secret in secrets if secret != "bearer" and secret in everything] == []
    assert "$2b$" not in everything
    assert events[1] == (
        "changed",
        {"name": "Eve", "password_hash": "hidden"},
        {"name": "Eva", "password_hash": "changed"},
    )
    assert ["password_hash" in (old or new) for _, old, new in events] == [False, True, False]


# Reasons.


async def test_a_reason_applies_until_the_end_of_its_transaction(single: Database) -> None:
    async with single.transaction(by=ADA) as session:
        await session.insert(Resource(name="Room", timezone="UTC"))
        await session.set_reason('The flood; it\'s "wet"')
        await session.insert(Resource(name="Hall", timezone="UTC"))
    async with single.transaction(by=OWNER) as session:
        await session.insert(Resource(name="Yard", timezone="UTC"))

    events = await fetch_last_events(single, 3, "actor", "reason")
    assert events == [("admin 3", None), ("admin 3", 'The flood; it\'s "wet"'), ("admin", None)]


async def test_the_actor_is_reset_with_the_transaction(single: Database) -> None:
    async with single.transaction(by=ADA, request_id="r-1") as session:
        await session.insert(Resource(name="Room", timezone="UTC"))
    await single.fetch(text("INSERT INTO resources (name, timezone) VALUES ('Hall', 'UTC')"))

    events = await fetch_last_events(single, 2, "actor_id", "actor", "door", "request_id")
    assert events == [(3, "admin 3", "admin", "r-1"), (None, "unknown", "sql", None)]


# History is append-only.


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET actor = 'nobody'",
        "UPDATE events SET actor = 'nobody' WHERE false",
        "DELETE FROM events",
        "TRUNCATE events",
        "INSERT INTO events SELECT * FROM events ON CONFLICT (id) DO UPDATE SET actor = 'nobody'",
        "MERGE INTO events USING users ON true WHEN MATCHED THEN DELETE",
    ],
)
def test_a_console_cannot_change_history(console: Console, statement: LiteralString) -> None:
    with pytest.raises(psycopg.errors.CheckViolation) as caught:
        console.execute(statement)

    assert (caught.value.diag.table_name, caught.value.diag.constraint_name) == ("events", "history_is_append_only")


@pytest.mark.parametrize("act", ["update", "delete"])
async def test_changing_history_is_refused(business: Database, act: str) -> None:
    event = Event(**(await business.fetch(LAST, most=1))[0])

    with pytest.raises(no.HistoryIsKept):
        async with business.transaction(by=ADA) as session:
            await (session.update(event, actor="nobody") if act == "update" else session.delete(event))

    assert await business.fetch(LAST, most=1) == [event.model_dump()]


@pytest.mark.parametrize("table", [table.name for table in triggers.audited(SQLModel.metadata)])
def test_an_audited_table_cannot_be_truncated(empty: str, table: str) -> None:
    with psycopg.connect(empty) as console, pytest.raises(psycopg.errors.CheckViolation) as caught:
        console.execute(f"TRUNCATE {table} CASCADE")

    assert caught.value.diag.constraint_name == "rows_are_not_truncated"
