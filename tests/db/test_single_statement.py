"""``single_statement()``: an act in one statement, which cannot write without its actor, door and reason in history."""

from contextlib import suppress
from typing import Any

import pytest
from sqlalchemy import ClauseElement, text
from sqlmodel import SQLModel

from bookit import records
from bookit import refusals as no
from bookit.db.audit import SET_AUDIT_CTE
from bookit.db.pool import Database
from bookit.db.session import SingleStatement
from bookit.db.statements import Row, build_delete, build_insert, build_select_by_id, build_update
from bookit.policy.permissions import Actor
from bookit.schema.tables import Booking, OpeningHours, Resource, Role, Service
from tests.db.conftest import resource, resource_names
from tests.support.clock import NOW, TOMORROW_AT_TEN
from tests.support.people import OWNER, Person

INSERT_RESOURCE = text(f"""
{SET_AUDIT_CTE}
INSERT INTO resources (name, timezone, capacity)
SELECT :name, 'UTC', :capacity FROM audit_context WHERE is_set RETURNING id
""")
EVENTS = text("SELECT actor_id, actor, door, reason, notify_customer, request_id FROM events ORDER BY id")
UNAUDITED_WRITES = [
    build_insert(Resource, ("name", "timezone")),
    build_update(Resource, ("name",)),
    build_delete(Resource),
    build_select_by_id(Resource, for_update=True),
    text("INSERT INTO resources (name, timezone) VALUES ('Room', 'UTC')"),
    text("WITH new AS (insert into resources (name, timezone) VALUES ('Room', 'UTC') RETURNING id) SELECT id FROM new"),
    text("SELECT 'Room' AS name INTO rooms"),
    text("TRUNCATE resources"),
    text("COMMIT"),
]


async def last_event(database: Database) -> Row:
    return (await database.fetch(EVENTS))[-1]


def test_it_offers_reads_and_fetch_alone() -> None:
    public = {name for name in dir(SingleStatement) if not name.startswith("_")}

    assert public == {"fetch", "get", "coalesce"}


@pytest.mark.parametrize(
    "method",
    [
        "insert",
        "update",
        "delete",
        "copy_rows",
        "set_actor",
        "set_reason",
        "set_notify_customer",
        "savepoint",
        "commit",
        "execute",
    ],
)
def test_it_has_no_other_way_to_write(method: str) -> None:
    assert not hasattr(SingleStatement, method)


async def test_two_inserts_with_a_reason_keep_no_row_without_its_actor(database: Database) -> None:
    async def act() -> None:
        async with database.single_statement(by=OWNER, now=NOW) as statement:
            session: Any = statement
            await session.set_reason("a reason")
            await session.insert(resource("Room"))
            await session.insert(resource("Hall", capacity=0))

    with pytest.raises(AttributeError):
        await act()

    assert await resource_names(database) == []
    assert await database.fetch(EVENTS) == []


@pytest.mark.parametrize("write", UNAUDITED_WRITES, ids=str)
async def test_a_write_without_the_audit_context_is_refused(database: Database, write: ClauseElement) -> None:
    async with database.single_statement(by=OWNER, now=NOW) as statement:
        with pytest.raises(RuntimeError, match="must begin with SET_AUDIT_CTE"):
            await statement.fetch(write, name="Room", timezone="UTC", id=1, the_id=1)

    assert await resource_names(database) == []


async def test_its_event_has_actor_door_reason_and_request(database: Database) -> None:
    by = Actor("admin", id=7, role=Role.STAFF)

    async with database.single_statement(by=by, now=NOW, request_id="abc") as statement:
        await statement.fetch(INSERT_RESOURCE, audit={"reason": "A reason"}, name="Room", capacity=1)

    assert await last_event(database) == {
        "actor_id": 7,
        "actor": str(by),
        "door": "admin",
        "reason": "A reason",
        "notify_customer": None,
        "request_id": "abc",
    }


async def test_the_audit_context_ends_with_the_statement(database: Database) -> None:
    async with database.single_statement(by=OWNER, now=NOW) as statement:
        await statement.fetch(INSERT_RESOURCE, name="Room", capacity=1)
        [row] = await statement.fetch(text("SELECT current_setting('bookit.actor', true) AS actor"))

    assert not row["actor"]


async def test_it_reads_before_and_after_its_write(database: Database) -> None:
    async with database.single_statement(by=OWNER, now=NOW) as statement:
        before = await statement.get(Resource, 1)
        await statement.fetch(INSERT_RESOURCE, name="Room", capacity=1)
        after = await statement.get(Resource, 1)

    assert before is None
    assert after is not None
    assert after.name == "Room"


async def test_a_second_write_is_refused(database: Database) -> None:
    async with database.single_statement(by=OWNER, now=NOW) as statement:
        await statement.fetch(INSERT_RESOURCE, name="Room", capacity=1)
        with pytest.raises(RuntimeError, match="has already written"):
            await statement.fetch(INSERT_RESOURCE, name="Hall", capacity=1)

    assert await resource_names(database) == ["Room"]


async def test_a_violated_constraint_is_its_refusal_and_leaves_nothing(database: Database) -> None:
    with pytest.raises(no.CapacityOutOfRange):
        async with database.single_statement(by=OWNER, now=NOW) as statement:
            await statement.fetch(INSERT_RESOURCE, name="Room", capacity=0)

    assert await resource_names(database) == []
    assert await database.fetch(EVENTS) == []


@pytest.mark.parametrize("notify", [True, False, None])
async def test_a_booking_records_its_reason_and_whether_to_notify(
    database: Database, haircut: Service, tom: Person, notify: bool | None
) -> None:
    async with database.single_statement(by=OWNER, now=NOW) as statement:
        booking = await records.create(
            statement,
            Booking,
            by=OWNER,
            now=NOW,
            service_id=haircut.id,
            start_time=TOMORROW_AT_TEN,
            user_id=tom.id,
            override_reason="As agreed",
            notify_customer=notify,
        )

    event = await last_event(database)
    assert (booking.user_id, booking.start_time) == (tom.id, TOMORROW_AT_TEN)
    assert (event["actor"], event["door"], event["reason"]) == (str(OWNER), "seed", "As agreed")
    assert event["notify_customer"] is notify


@pytest.mark.parametrize("table", [Resource, OpeningHours])
async def test_only_a_booking_is_created_through_it(database: Database, table: type[SQLModel]) -> None:
    async with database.single_statement(by=OWNER, now=NOW) as statement:
        with pytest.raises(TypeError, match="Only a booking"):
            await records.create(statement, table, by=OWNER, now=NOW, name="Room")

    assert await database.fetch(EVENTS) == []


async def test_in_a_transaction_its_audit_fields_hold_until_the_end(database: Database) -> None:
    async with database.transaction(by=OWNER, now=NOW) as session:
        await session.set_reason("The first reason")
        await session.fetch(INSERT_RESOURCE, name="Room", capacity=1)
        await session.fetch(INSERT_RESOURCE, audit={"reason": "The second reason"}, name="Hall", capacity=1)
        await session.insert(resource("Yard"))
        await session.fetch(INSERT_RESOURCE, name="Loft", capacity=1)
        await session.fetch(
            build_update(Resource, ("name",)), audit={"reason": "The third reason"}, the_id=1, name="Attic"
        )

    reasons = [event["reason"] for event in await database.fetch(EVENTS)]
    assert reasons == ["The first reason", *["The second reason"] * 3, "The third reason"]


async def test_a_transaction_rolls_its_statement_back(database: Database) -> None:
    with suppress(no.Forbidden):
        async with database.transaction(by=OWNER, now=NOW) as session:
            await session.fetch(INSERT_RESOURCE, name="Room", capacity=1)
            raise no.Forbidden

    assert await resource_names(database) == []
