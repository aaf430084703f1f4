"""Runs the migrations: one process at a time, and never waiting long for a lock that customers wait for too.

`bookit migrate` passes the URL of a database. Alembic's own commands pass none: they use DATABASE_URL, or join the
embedded database, or start it for as long as they run.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from alembic import context
from alembic.util import CommandError
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool
from sqlmodel import SQLModel

import bookit.schema.tables  # noqa: F401 -- fills SQLModel.metadata, or autogenerate would drop every table
from bookit.schema.revisions import BEFORE_FIRST_RELEASE, SchemaTooOld, engine_options
from migrations.autogenerate import complete_revision, render_type

MIGRATION_LOCK = 4_207  # the advisory lock under which one migration runs at a time


def configure(**connection_or_dialect: Any) -> None:
    context.configure(
        target_metadata=SQLModel.metadata,
        compare_server_default=True,
        process_revision_directives=complete_revision,
        render_item=render_type,
        **connection_or_dialect,
    )


def run(url: str) -> None:
    """Run the command on this database, in one transaction. Raises what psycopg raises."""
    engine = create_engine(**engine_options(url), poolclass=NullPool)
    try:
        with engine.connect() as connection, connection.begin():
            connection.execute(text("SET LOCAL lock_timeout = '10s'; SET LOCAL statement_timeout = '15min'"))
            connection.execute(text(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK}, 0)"))
            if connection.scalar(text(BEFORE_FIRST_RELEASE)):
                raise SchemaTooOld
            configure(connection=connection)
            with context.begin_transaction():
                context.run_migrations()
    except DBAPIError as error:
        raise error.orig or error from error


@contextmanager
def database() -> Iterator[str]:
    """Return the URL of the database that the environment names; what goes wrong is one sentence for Alembic."""
    from bookit.settings import read_settings  # noqa: PLC0415 -- only for Alembic's own commands
    from server import process  # noqa: PLC0415 -- as above

    process.install_signal_handlers(1, on_sigint=True)
    try:
        with process.user_errors(), process.running_database(read_settings()) as settings:
            process.require_database(settings)
            yield settings.database_url or ""
    except process.CliError as error:
        raise CommandError(error.message) from None


if bookit_url := context.config.attributes.get("url"):
    run(bookit_url)
elif context.is_offline_mode():
    configure(dialect_name="postgresql", dialect_opts={"paramstyle": "named"})
    with context.begin_transaction():
        context.run_migrations()
else:
    with database() as url:
        run(url)
