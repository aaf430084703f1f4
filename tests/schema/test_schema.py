"""The migrations build what the tables declare, up and down, one at a time, and never wait long for a lock."""

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from psycopg.rows import TupleRow
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.pool import NullPool
from sqlmodel import SQLModel

from bookit.schema import revisions
from tests.architecture.test_architecture import imports
from tests.support.databases import TEMPLATE_DATABASE, create_database, drop_database

Console = psycopg.Connection[TupleRow]
Schema = dict[tuple[str, ...], str]
MakeScratch = Callable[[str], str]

MIGRATIONS = sorted((revisions.MIGRATIONS_FOLDER / "versions").glob("*.py"))
ALEMBICS_OWN = "alembic_version"
NOT_OF_AN_EXTENSION = "NOT EXISTS (SELECT FROM pg_depend WHERE objid = {}.oid AND deptype = 'e')"
# Each returns the kind, two names and a text. Alembic itself compares none of these texts.
EVERYTHING = f"""
    SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid)
      FROM pg_constraint WHERE connamespace = 'public'::regnamespace
  UNION ALL
    SELECT 'function', proname, pg_get_function_identity_arguments(oid), pg_get_functiondef(oid)
      FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND {NOT_OF_AN_EXTENSION.format("pg_proc")}
  UNION ALL
    SELECT 'trigger', tgrelid::regclass::text, tgname, pg_get_triggerdef(oid)
      FROM pg_trigger WHERE NOT tgisinternal
  UNION ALL
    SELECT 'index', tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
  UNION ALL
    SELECT 'column', table_name, column_name,
           concat_ws(' ', data_type, character_maximum_length, numeric_precision, numeric_scale, datetime_precision,
                     collation_name, 'null ' || is_nullable, 'default ' || column_default,
                     identity_generation || ' identity')
      FROM information_schema.columns WHERE table_schema = 'public'
  UNION ALL
    SELECT 'relation', relname, relkind::text, ''
      FROM pg_class WHERE relnamespace = 'public'::regnamespace
"""


def describe(console: Console) -> Schema:
    """Return everything that BookIt made in a database, by kind and names."""
    rows = console.execute(EVERYTHING).fetchall()
    return {row[:3]: row[3] for row in rows if not row[1].startswith(ALEMBICS_OWN)}


def diff_names(one: Schema, other: Schema) -> set[tuple[str, ...]]:
    """Return the names of what differs."""
    return {name for name in one.keys() | other.keys() if one.get(name) != other.get(name)}


@pytest.fixture(scope="module")
def scratch(server: str, worker_id: str) -> Iterator[MakeScratch]:
    """Create databases for one test or two; they are dropped after the tests of this file."""
    names: list[str] = []

    def make(template: str) -> str:
        names.append(f"scratch_{worker_id}_{len(names)}")
        return create_database(server, names[-1], template)

    yield make
    for name in names:
        drop_database(server, name)


@pytest.fixture(scope="module")
def migrated(scratch: MakeScratch) -> Iterator[Console]:
    with psycopg.connect(scratch(TEMPLATE_DATABASE)) as console:
        yield console


@pytest.fixture(scope="module")
def declared(scratch: MakeScratch) -> Schema:
    """Return the schema of a database made from the tables without migrations."""
    url = scratch("template0")
    engine = create_engine(**revisions.engine_options(url), poolclass=NullPool)
    SQLModel.metadata.create_all(engine)
    with psycopg.connect(url) as console:
        return describe(console)


@contextmanager
def impatient() -> Iterator[list[str]]:
    """Make every migration wait only a moment for a lock; yield the timeouts that it set."""
    waits: list[str] = []
    short = {"lock": "100ms", "statement": "5s"}

    def shorten(_: Any, __: Any, statement: str, values: Any, *___: Any) -> tuple[str, Any]:
        waits.extend(re.findall(r"lock_timeout = '(\w+)'", statement))
        return re.sub(
            r"(lock|statement)(_timeout = )'\w+'", lambda m: f"{m[1]}{m[2]}'{short[m[1]]}'", statement
        ), values

    event.listen(Engine, "before_cursor_execute", shorten, retval=True)
    try:
        yield waits
    finally:
        event.remove(Engine, "before_cursor_execute", shorten)


# What the tables declare.


def test_the_migrations_build_the_declared_schema(migrated: Console, declared: Schema) -> None:
    schema = describe(migrated)

    assert schema == declared
    assert {name[0] for name in schema} == {"constraint", "function", "trigger", "index", "column", "relation"}


DRIFT_OF_A_NOT_NULL = ("constraint", "bookings", "bookings_expires_at_not_null")
DRIFT: dict[str, tuple[LiteralString, set[tuple[str, ...]]]] = {
    "the text of a CHECK": (
        """
        ALTER TABLE reviews DROP CONSTRAINT review_rating_is_1_to_5,
          ADD CONSTRAINT review_rating_is_1_to_5 CHECK (rating BETWEEN 0 AND 5)
        """,
        {("constraint", "reviews", "review_rating_is_1_to_5")},
    ),
    "an EXCLUDE that cannot wait": (
        """
        ALTER TABLE claims DROP CONSTRAINT booking_slot_free, ADD CONSTRAINT booking_slot_free
          EXCLUDE USING gist (resource_id WITH =, seat WITH =, tstzrange(since, until) WITH &&)
          WHERE (is_blocking)
        """,
        {("constraint", "claims", "booking_slot_free")},
    ),
    "what a foreign key does": (
        """
        ALTER TABLE reviews DROP CONSTRAINT review_is_of_a_booking,
          ADD CONSTRAINT review_is_of_a_booking FOREIGN KEY (booking_id) REFERENCES bookings ON DELETE CASCADE
        """,
        {("constraint", "reviews", "review_is_of_a_booking")},
    ),
    "the body of a function": (
        "CREATE OR REPLACE FUNCTION check_erasure() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        {("function", "check_erasure", "")},
    ),
    "when a trigger fires": (
        """
        CREATE OR REPLACE TRIGGER forbid_history_change BEFORE UPDATE ON events
          FOR EACH STATEMENT EXECUTE FUNCTION forbid_history_change()
        """,
        {("trigger", "events", "forbid_history_change")},
    ),
    "the columns of an index": (
        "DROP INDEX bookings_by_user; CREATE INDEX bookings_by_user ON bookings (user_id)",
        {("index", "bookings", "bookings_by_user")},
    ),
    "a default": ("ALTER TABLE resources ALTER capacity SET DEFAULT 2", {("column", "resources", "capacity")}),
    "digits": ("ALTER TABLE services ALTER price TYPE numeric(11, 2)", {("column", "services", "price")}),
    "fractions of a second": ("ALTER TABLE events ALTER at TYPE timestamptz(3)", {("column", "events", "at")}),
    "a length": ("ALTER TABLE users ALTER name TYPE varchar(100)", {("column", "users", "name")}),
    "an identity": ("ALTER TABLE users ALTER id SET GENERATED ALWAYS", {("column", "users", "id")}),
    "a NOT NULL": (
        "ALTER TABLE bookings ALTER expires_at SET NOT NULL",
        {("column", "bookings", "expires_at"), DRIFT_OF_A_NOT_NULL},
    ),
    "a view": ("CREATE VIEW busy AS SELECT 1 AS a", {("relation", "busy", "v"), ("column", "busy", "a")}),
}


@pytest.mark.parametrize("change", DRIFT)
def test_drift_is_detected(migrated: Console, declared: Schema, change: str) -> None:
    statements, seen = DRIFT[change]
    with migrated.transaction(force_rollback=True):
        migrated.execute(statements)

        changed = diff_names(describe(migrated), declared)

    assert changed == seen - names_of_later_versions(migrated)


def names_of_later_versions(console: Console) -> set[tuple[str, ...]]:
    """Return what this server has no name for: PostgreSQL names a NOT NULL since version 18."""
    return set() if console.info.server_version >= 180_000 else {DRIFT_OF_A_NOT_NULL}


# Up and down.


def test_up_down_and_up_again_leaves_nothing_behind(scratch: MakeScratch) -> None:
    url = scratch("template0")
    with psycopg.connect(url, autocommit=True) as console:
        revisions.migrate(url)
        first, number = describe(console), revisions.current_revision(url)
        revisions.migrate(url, "base")
        base, no_number = describe(console), revisions.current_revision(url)
        revisions.migrate(url)
        again = describe(console)

    assert (number, no_number) == (revisions.latest_revision(), None)
    assert base == {}
    assert again == first


def test_an_unneeded_migration_changes_nothing(scratch: MakeScratch, declared: Schema) -> None:
    url = scratch(TEMPLATE_DATABASE)

    revisions.migrate(url)

    with psycopg.connect(url) as console:
        assert describe(console) == declared


# One at a time, with a timeout.


@pytest.mark.process
def test_two_migrations_at_once_take_turns(scratch: MakeScratch) -> None:
    url = scratch("template0")
    command = [sys.executable, "-c", f"from bookit.schema import revisions; revisions.migrate({url!r})"]

    with ThreadPoolExecutor(2) as threads:
        both = list(threads.map(lambda _: subprocess.run(command, capture_output=True, check=False), range(2)))

    assert [(done.returncode, done.stderr) for done in both] == [(0, b""), (0, b"")]
    assert revisions.current_revision(url) == revisions.latest_revision()


@pytest.mark.parametrize(
    "lock", ["SELECT pg_advisory_xact_lock(4207, 0)", "LOCK TABLE bookings IN ACCESS SHARE MODE"], ids=["turn", "table"]
)
def test_a_migration_without_its_lock_changes_nothing(scratch: MakeScratch, lock: str) -> None:
    url = scratch(TEMPLATE_DATABASE)
    with psycopg.connect(url) as console, impatient() as waits:
        before = describe(console)
        console.execute(lock)

        with pytest.raises(psycopg.errors.LockNotAvailable):
            revisions.migrate(url, "base")

        assert waits == ["10s"]
        assert describe(console) == before


# The files.


def test_the_newest_migration_is_alembics_head() -> None:
    config = Config()
    config.set_main_option("script_location", str(revisions.MIGRATIONS_FOLDER))

    assert revisions.latest_revision() == ScriptDirectory.from_config(config).get_current_head()


@pytest.mark.parametrize("path", MIGRATIONS, ids=lambda path: path.stem)
def test_a_migration_has_a_number_a_title_and_a_reason(path: Path) -> None:
    written = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""

    assert path.name == "0001_initial.py" or re.fullmatch(r"\d{4}(_[a-z0-9]+){2,}\.py", path.name)
    assert re.search(r"^Why: ", written, re.MULTILINE)


@pytest.mark.parametrize("path", MIGRATIONS, ids=lambda path: path.stem)
def test_a_migration_imports_no_code_that_may_change(path: Path) -> None:
    assert {module.split(".")[0] for module in imports(path)} <= {"alembic", "sqlalchemy"}


def test_the_migrations_are_numbered_without_a_gap() -> None:
    assert [path.name[:4] for path in MIGRATIONS] == [f"{n:04}" for n in range(1, len(MIGRATIONS) + 1)]
