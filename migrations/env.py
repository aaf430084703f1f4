"""Runs the migrations: one at a time, never waiting long for a lock that keeps customers waiting too."""

from alembic import context
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool
from sqlmodel import SQLModel

from bookit.schema.revisions import sqlalchemy_url
from bookit.settings import read_settings

MIGRATING = 4_207  # The advisory lock under which one migration runs at a time.


def run() -> None:
    """Bring the database named by the caller, or by the environment, to the wanted revision."""
    url = context.config.attributes.get("url") or read_settings().database_url
    if not url:
        message = "Set DATABASE_URL: alembic itself does not start the embedded database. `bookit migrate` does."
        raise SystemExit(message)
    engine = create_engine(sqlalchemy_url(url), poolclass=NullPool)
    with engine.connect() as connection, connection.begin():
        connection.execute(text("SET LOCAL lock_timeout = '10s'; SET LOCAL statement_timeout = '15min'"))
        connection.execute(text(f"SELECT pg_advisory_xact_lock({MIGRATING}, 0)"))
        context.configure(connection=connection, target_metadata=SQLModel.metadata, compare_server_default=True)
        with context.begin_transaction():
            context.run_migrations()


run()
