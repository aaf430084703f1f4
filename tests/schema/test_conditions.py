"""The conditions of live bookings, expired holds and longest visits: each is defined once and costs nothing."""

import re
from collections.abc import Iterator

import psycopg
import pytest

from tests.support.server import ROOT

HOME = "bookit/schema/before_tables.sql"
SOURCES = ("bookit", "api", "admin", "seed", "server", "benchmarks")
# Tests spell the conditions out, and migrations are never edited.
CONDITIONS = {
    "live": r"'pending', 'confirmed'\)|PENDING, Status\.CONFIRMED\]",
    "expired": r"expires_at (IS NOT NULL AND \w*\.?expires_at <= |IS NULL OR \w*\.?expires_at)|expires_at\.is_\(None\)",
    "how far back": r"(start_time >=? ?:\w+|RETURN \w+) - interval",
}
LIVE = "SELECT id FROM bookings WHERE id = 1 AND "
STARTING = "SELECT id FROM bookings WHERE start_time < '2030-01-02' AND start_time >= "
EXPIRED = "SELECT id FROM bookings WHERE resource_id = 1 AND status = 'pending' AND "

DROP_OTHERS = """
    DO $$ DECLARE other record; BEGIN
      FOR other IN SELECT i.indexrelid::regclass AS name, c.conname AS constraint
                     FROM pg_index i LEFT JOIN pg_constraint c
                       ON c.conindid = i.indexrelid AND c.conrelid = i.indrelid
                    WHERE i.indrelid = 'bookings'::regclass AND NOT i.indisprimary
                      AND i.indexrelid <> '{}'::regclass LOOP
        EXECUTE coalesce('ALTER TABLE bookings DROP CONSTRAINT ' || other.constraint || ' CASCADE',
                         'DROP INDEX ' || other.name);
      END LOOP;
    END $$
"""


def sources() -> Iterator[tuple[str, str]]:
    for folder in SOURCES:
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in {".py", ".sql"}:
                yield str(path.relative_to(ROOT)), " ".join(path.read_text(encoding="utf-8").split())


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_condition_is_written_in_one_place(condition: str) -> None:
    places = [name for name, text in sources() for _ in re.finditer(CONDITIONS[condition], text)]

    assert places == [HOME] * (2 if condition == "how far back" else 1)  # of any visit, and of a short one


@pytest.mark.parametrize(
    ("by_name", "in_full", "index"),
    [
        (
            f"{LIVE} blocks_at(status, expires_at, now())",
            f"{LIVE} status IN ('pending', 'confirmed') AND (expires_at IS NULL OR expires_at > now())",
            "bookings_pkey",
        ),
        (f"{STARTING} earliest_start(now())", f"{STARTING} now() - interval '62 days'", "bookings_by_start"),
        (f"{EXPIRED} is_expired(expires_at, now())", f"{EXPIRED} expires_at <= now()", "bookings_that_expire"),
    ],
    ids=["live", "how far back", "expired"],
)
def test_a_named_condition_is_planned_as_if_written_out(
    database_url: str, by_name: str, in_full: str, index: str
) -> None:
    with psycopg.connect(database_url) as console:
        # Which of several indexes is cheapest depends on rows that other tests left: one alone remains to choose.
        console.execute(f"SET enable_seqscan = off; SET enable_bitmapscan = off; {DROP_OTHERS}".format(index).encode())
        one, other = (
            "\n".join(line for (line,) in console.execute(f"EXPLAIN (COSTS off) {query}").fetchall())
            for query in (by_name, in_full)
        )
        console.rollback()

    assert f"using {index}" in one
    assert one == other


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("array_agg(status) FILTER (WHERE is_live(status))", ["pending", "confirmed"]),
        ("array_agg(status) FILTER (WHERE blocks_at(status, now(), now()))", None),
        ("array_agg(status) FILTER (WHERE blocks_at(status, now() + interval '1 s', now()))", ["pending", "confirmed"]),
        ("array_agg(status) FILTER (WHERE NOT is_expired(NULL, now()))", ["pending", "confirmed", "completed"]),
        ("bool_and(is_expired(now(), now()))", True),
    ],
)
def test_a_condition_has_its_documented_meaning(database_url: str, expression: str, value: object) -> None:
    query = f"SELECT {expression} FROM unnest(ARRAY['pending', 'confirmed', 'completed']) AS status"
    with psycopg.connect(database_url) as console:
        row = console.execute(query.encode()).fetchone()

    assert row == (value,)
