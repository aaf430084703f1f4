"""The PostgreSQL that tests run on, and databases created from one migrated template."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql
from sqlmodel import SQLModel

import bookit.schema.tables  # noqa: F401 -- fills SQLModel.metadata
from bookit.db.embedded import postgres
from bookit.schema import revisions

TEMPLATE_DATABASE = "bookit_template"
FAST_POSTGRES_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "max_connections": "1000",
}
SERVER_VARIABLE = "BOOKIT_TEST_DATABASE_URL"  # a superuser's URL of a server to use instead of the embedded one
NUMBERED_TABLES = [
    name for name, table in SQLModel.metadata.tables.items() if "id" in table.columns and table.columns["id"].identity
]
# The business has one row, as a new database has it.
DELETE_ROWS = "; ".join(
    [*(f"DELETE FROM {name}" for name in SQLModel.metadata.tables), "INSERT INTO business DEFAULT VALUES"]
)
DELETE_ALL_ROWS = "; ".join([DELETE_ROWS, *(f"SELECT setval('{name}_id_seq', 1, false)" for name in NUMBERED_TABLES)])


def list_tables() -> list[type[SQLModel]]:
    """Return every table of BookIt."""
    return [table for table in SQLModel.__subclasses__() if "__table__" in vars(table)]


def sibling_url(url: str, name: str) -> str:
    """Return the URL of another database of the same server."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def superuser_url(url: str) -> str:
    """Return the URL by which the server's superuser reaches this database."""
    external_url = os.environ.get(SERVER_VARIABLE)
    netloc = urlsplit(external_url).netloc if external_url else urlsplit(url).netloc.replace("bookit@", "postgres@")
    return urlunsplit(urlsplit(url)._replace(netloc=netloc))


def create_database(url: str, name: str, template: str) -> str:
    """Create a database from a template, replacing one of that name, and return its URL."""
    drop_database(url, name)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
        )
    return sibling_url(url, name)


def drop_database(url: str, name: str) -> None:
    """Drop a database, whoever is connected: autovacuum too, which only a superuser may end."""
    with psycopg.connect(superuser_url(url), autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def connect_as_superuser(url: str) -> psycopg.Connection:
    """Connect to this database as one for whom no trigger guards or remembers."""
    options = "-c session_replication_role=replica"
    return psycopg.connect(superuser_url(url), autocommit=True, options=options)


def delete_all_rows(url: str) -> None:
    """Delete every row of a database that is served. The ids of events go on: its change feed counts by them."""
    with connect_as_superuser(url) as connection:
        connection.execute(DELETE_ROWS)
        for name in NUMBERED_TABLES:
            if name != "events":
                connection.execute(f"SELECT setval('{name}_id_seq', 1, false)".encode())


@contextmanager
def run_postgres(home: Path, run_id: str) -> Iterator[str]:
    """Start the PostgreSQL that all workers share, or use the one named outside, with one template for this run.

    The URL is of the database ``bookit`` and of the role ``bookit``, which is no superuser.
    """
    external_url = os.environ.get(SERVER_VARIABLE)
    if external_url:
        url = prepare_role(external_url)
        migrate_template(url, run_id)
        yield url
        return
    with postgres(home, settings=FAST_POSTGRES_SETTINGS) as url:
        migrate_template(url, run_id)
        yield url


def prepare_role(url: str) -> str:
    """Create the role and the database that the embedded PostgreSQL has, and return the URL of both."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(1)")
        if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = 'bookit'").fetchone():
            connection.execute("CREATE ROLE bookit LOGIN CREATEDB PASSWORD 'bookit'")
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = 'bookit'").fetchone():
            connection.execute("CREATE DATABASE bookit OWNER bookit")
    parts = urlsplit(sibling_url(url, "bookit"))
    return urlunsplit(parts._replace(netloc=f"bookit:bookit@{parts.netloc.rpartition('@')[2]}"))


def migrate_template(url: str, run_id: str) -> None:
    """Migrate the template, unless another worker of this run has done so."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(1)")
        made_by = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s"
        if connection.execute(made_by, (TEMPLATE_DATABASE,)).fetchone() == (run_id,):
            return
        revisions.migrate(create_database(url, TEMPLATE_DATABASE, "template0"))
        connection.execute(
            sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(TEMPLATE_DATABASE), sql.Literal(run_id))
        )
