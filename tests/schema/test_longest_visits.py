"""A range of time finds visits that last weeks too, and ordinary pages read no more than before."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime

import psycopg
import pytest
from sqlalchemy import select
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from admin.framework.list_pages import select_count
from bookit.bookings.ranges import ends_after, meets
from bookit.schema.tables import Booking, table_of

# In all of 2031 and most of 2032, a visit of half an hour every five minutes, of which one in 500 lasts ten days.
ROWS = """
  ALTER TABLE bookings DISABLE TRIGGER USER;
  INSERT INTO users (name, email, password_hash)
    SELECT 'Tom', n || '@x.example', 'x' FROM generate_series(1, 2000) n;
  INSERT INTO resources (name, timezone) SELECT 'Van ' || n, 'UTC' FROM generate_series(1, 20) n;
  INSERT INTO services (title, price, duration_minutes) SELECT 'Rental ' || n, 10, 30 FROM generate_series(1, 10) n;
  INSERT INTO bookings
    (user_id, service_id, resource_id, start_time, end_time, blocks_from, blocks_until, price, status)
    SELECT (SELECT max(id) FROM users) - n % 2000, (SELECT max(id) FROM services) - n % 10,
           (SELECT max(id) FROM resources) - (n + n / 500) % 20, start, start + length, start, start + length, 10,
           'completed'
      FROM generate_series(1, 200000) n
     CROSS JOIN LATERAL (SELECT timestamptz '2031-01-01Z' + n * interval '5 minutes' AS start,
                                CASE WHEN n % 500 = 0 THEN interval '10 days' ELSE interval '30 min' END AS length) d;
  ANALYZE bookings
"""
BOOKINGS = table_of(Booking).c
A_DAY = "start_time < '2031-07-02Z' AND end_time > '2031-07-01Z'"
REACHING = f"SELECT id FROM bookings_reaching('2031-07-01Z') AS b WHERE {A_DAY}"
SHORT = f"SELECT id FROM bookings AS b WHERE start_time >= earliest_short_start('2031-07-01Z') AND {A_DAY}"


@pytest.fixture(scope="module")
def console(database_url: str) -> Iterator[psycopg.Connection]:
    """Open a console on 200,000 bookings, in a transaction that is rolled back. The tests only read."""
    with psycopg.connect(database_url) as connection:
        connection.execute(ROWS)
        yield connection
        connection.rollback()


def explain(console: psycopg.Connection, query: str) -> str:
    """Run a query and return its plan. The run before it passes the rows that an earlier test rolled back."""
    console.execute(query.encode())
    rows = console.execute(f"EXPLAIN (ANALYZE, BUFFERS, COSTS off, TIMING off, SUMMARY off) {query}".encode())
    return "\n".join(line for (line,) in rows.fetchall())


def count_buffers(plan: str) -> int:
    """Return how many pages the whole of a plan read: its first line of buffers is that of its topmost step."""
    total = next(line for line in plan.splitlines() if "Buffers:" in line)
    return sum(map(int, re.findall(r"(?:hit|read)=(\d+)", total)))


def test_a_day_is_read_in_two_indexes(console: psycopg.Connection) -> None:
    """Also of one resource. The second index has only the long visits, so it costs a few pages."""
    short, reaching = explain(console, SHORT), explain(console, REACHING)
    of_a_resource = explain(console, f"{REACHING} AND resource_id = (SELECT max(id) FROM resources)")

    assert "Seq Scan on bookings" not in reaching + of_a_resource
    assert "bookings_by_start" in reaching
    assert "bookings_that_are_long" in reaching
    assert "bookings_that_are_long" in of_a_resource
    assert count_buffers(reaching) <= count_buffers(short) + 25
    assert count_buffers(of_a_resource) <= 60


def test_a_list_of_a_day_reads_that_day(console: psycopg.Connection) -> None:
    """In its order and counted, with a long visit that began before. Without the index it would read half a year."""
    since, until = datetime(2031, 7, 1, tzinfo=UTC), datetime(2031, 7, 2, tzinfo=UTC)
    listed = select(BOOKINGS.id).where(meets(since, until))
    page = listed.order_by(BOOKINGS.start_time, BOOKINGS.id).limit(25)
    for statement in (page, page.where(BOOKINGS.resource_id == 1), select_count(listed)):
        dialect = PGDialect_psycopg()  # type: ignore[no-untyped-call]  # SQLAlchemy's
        plan = explain(console, str(statement.compile(dialect=dialect, compile_kwargs={"literal_binds": True})))
        assert "bookings_that_are_long" in plan
        assert count_buffers(plan) <= 150, plan


def test_a_list_from_a_day_on_reads_the_index_from_the_first_visit_that_runs(console: psycopg.Connection) -> None:
    """Without that, it would read all visits, or those of 62 days for each page."""
    since = datetime(2031, 7, 1, tzinfo=UTC)
    listed = select(BOOKINGS.id).where(ends_after(since)).order_by(BOOKINGS.start_time, BOOKINGS.id)
    dialect = PGDialect_psycopg()  # type: ignore[no-untyped-call]  # SQLAlchemy's
    every, page = (
        str(statement.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))
        for statement in (listed, listed.limit(25))
    )
    plan = explain(console, page)

    assert "Index Only Scan using bookings_by_start" in plan
    assert count_buffers(plan) <= 150, plan
    expected = "SELECT id FROM bookings WHERE end_time > '2031-07-01Z' ORDER BY start_time, id"
    assert console.execute(every.encode()).fetchall() == console.execute(expected.encode()).fetchall()


def test_what_is_found_is_what_meets_the_day(console: psycopg.Connection) -> None:
    found = sorted(console.execute(REACHING.encode()).fetchall())

    assert found == sorted(console.execute(f"SELECT id FROM bookings WHERE {A_DAY}".encode()).fetchall())
    assert len(found) > len(console.execute(SHORT.encode()).fetchall())
