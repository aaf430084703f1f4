"""The example of ``docs/availability.md``, step by step."""

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from psycopg.types.multirange import Multirange
from sqlalchemy import text

from bookit.bookings import availability_sql as steps
from bookit.bookings.availability import Visit
from bookit.db.pool import Database
from tests.support.people import OWNER

BERLIN = ZoneInfo("Europe/Berlin")
EXAMPLE = """
    INSERT INTO users (name, email, password_hash) VALUES ('Tom', 'tom@example.com', '-');
    INSERT INTO services (title, price, duration_minutes, cleanup_minutes, slot_step_minutes)
      VALUES ('Haircut', 35, 45, 15, 30);
    INSERT INTO resources (name, timezone, capacity) VALUES ('Chairs', 'Europe/Berlin', 2);
    INSERT INTO service_resources (service_id, resource_id) VALUES (1, 1);
    INSERT INTO opening_hours (resource_id, weekday, opens, closes) VALUES (1, 2, '10:00', '13:00');
    INSERT INTO calendar_exceptions (resource_id, start_time, end_time)
      VALUES (1, '2030-01-08 12:30+01', '2030-01-08 14:00+01');
    INSERT INTO bookings (user_id, service_id, resource_id, start_time, end_time, blocks_from, blocks_until, price)
      VALUES (1, 1, 1, '2030-01-08 10:30+01', '2030-01-08 11:15+01', '2030-01-08 10:30+01', '2030-01-08 11:30+01', 35)
"""
ALL_STEPS = (
    f"{steps.visit_plans_cte()}, {steps.BUSY_LEVEL}, {steps.SEAT_GROUP}, {steps.START_RANGE}, {steps.START},"
    f" {steps.FREE_START}"
)
CHECK_STEPS = steps.checks_cte()
# Columns of a step, and its rows in the example. Multiranges are lists of clock times.
EXPECTED = {
    "rule": ("step", [("0:30:00",)]),
    "candidate": ("id, name, capacity, needed", [(1, "Chairs", 2, 1)]),
    "exception": ("timezone, is_open, start_time, end_time", [("Europe/Berlin", False, "12:30", "14:00")]),
    "exception_times": ("opened, closed", [(None, ["12:30-14:00"])]),
    "weekly_hours": ("weekday, opens, closes", [(2, "10:00:00", "13:00:00")]),
    "dated_hours": ("day, since", [("2030-01-01 00:00:00", "10:00"), ("2030-01-08 00:00:00", "10:00")]),
    "span": ("since, until", [("10:00", "13:00")]),
    "plan": ("hours, closed, open", [(["10:00-13:00"], ["12:30-14:00"], ["10:00-12:30"])]),
    "busy_level": ("level, times", [(1, ["10:30-11:30"])]),
    "seat_group": ("level, seats, times", [(0, 1, []), (1, 1, ["10:30-11:30"])]),
    "start_range": ("level, starts", [(0, ["10:00-11:45"]), (1, ["11:30-11:45"])]),
    "start": ("at, level", [("10:00", 0), ("10:30", 0), ("11:00", 0), ("11:30", 0), ("11:30", 1)]),
    "free_start": ("at, seats", [("10:00", 1), ("10:30", 1), ("11:00", 1), ("11:30", 2)]),
}
CHECK_COLUMNS = "has_notice, is_within_horizon, is_in_hours, is_not_closed, is_on_step"


def moment(clock: str) -> datetime:
    return datetime.fromisoformat(f"2030-01-08 {clock}").replace(tzinfo=BERLIN)


@pytest.fixture
async def example(database: Database) -> Database:
    async with database.transaction(by=OWNER) as session:
        for statement in EXAMPLE.split(";"):
            await session.fetch(text(statement))
    return database


def readable(value: Any) -> Any:
    """Return clock times for moments and multiranges, and text for what has no JSON type."""
    if isinstance(value, Multirange):
        return [f"{readable(part.lower)}-{readable(part.upper)}" for part in value]
    if isinstance(value, datetime) and value.tzinfo:
        return value.astimezone(BERLIN).strftime("%H:%M")
    return value if value is None or isinstance(value, int | str) else str(value)


async def select(database: Database, ctes: str, columns: str, step: str, **params: Any) -> list[tuple[Any, ...]]:
    statement = text(f"WITH {ctes} SELECT {columns} FROM {step} ORDER BY {columns}")
    visit = Visit(1).params()
    rows = await database.fetch(statement, **visit, **params, now=datetime(2030, 1, 7, 12, tzinfo=BERLIN))
    return [tuple(readable(value) for value in row.values()) for row in rows]


@pytest.mark.parametrize("step", EXPECTED)
async def test_a_step_returns_the_documented_rows(example: Database, step: str) -> None:
    columns, expected = EXPECTED[step]

    rows = await select(example, ALL_STEPS, columns, step, since=moment("00:00"), until=moment("23:59"))

    assert rows == expected


async def test_a_start_between_two_steps_fails_only_that_check(example: Database) -> None:
    start = moment("11:45")

    rows = await select(example, CHECK_STEPS, CHECK_COLUMNS, "checks", since=start, until=start, allows_past=False)

    assert rows == [(True, True, True, True, False)]
