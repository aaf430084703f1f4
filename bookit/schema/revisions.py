"""Whether the database is what this version of BookIt needs, and how it gets there."""

from functools import cache
from pathlib import Path
from typing import Any

import psycopg

import migrations

MIGRATIONS_FOLDER = Path(migrations.__file__).parent
# No released schema has had this column. The migrations of that time were numbered 0001 to 0008 too.
BEFORE_FIRST_RELEASE = """
SELECT EXISTS (
  SELECT FROM pg_attribute WHERE attrelid = to_regclass('bookings') AND attname = 'lane' AND NOT attisdropped)
"""


class SchemaTooOld(Exception):
    """This database was made before BookIt 0.1.0, and there is no way to bring it up to date.

    Use an empty one: move the folder .bookit (or BOOKIT_HOME) away, or name another database in DATABASE_URL.
    """

    def __str__(self) -> str:
        return " ".join((self.__doc__ or "").split())


@cache
def latest_revision() -> str:
    """Return the number of the newest migration."""
    return max(path.name.split("_")[0] for path in (MIGRATIONS_FOLDER / "versions").glob("[0-9]*.py"))


def current_revision(url: str) -> str | None:
    """Return the number of the last migration that ran here; None if none did. Raise SchemaTooOld."""
    with psycopg.connect(url, connect_timeout=10) as connection:
        table = connection.execute("SELECT to_regclass('alembic_version')").fetchone()
        if table is None or table[0] is None:
            return None
        is_too_old = connection.execute(BEFORE_FIRST_RELEASE).fetchone()
        if is_too_old and is_too_old[0]:
            raise SchemaTooOld
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        return str(row[0]) if row else None


def migrate(url: str, revision: str = "head") -> None:
    """Bring the database to this migration; several at once run one after the other. Raises what psycopg raises."""
    from alembic import command  # noqa: PLC0415 -- half a second that a start on a current schema does not pay
    from alembic.config import Config  # noqa: PLC0415 -- as above

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS_FOLDER).replace("%", "%%"))
    config.attributes["url"] = url
    (command.downgrade if revision == "base" else command.upgrade)(config, revision)


def engine_options(url: str) -> dict[str, Any]:
    """Return the arguments of create_engine for this URL.

    psycopg reads the URL, as everywhere else: SQLAlchemy does not know all that libpq knows, such as two hosts.
    SQLAlchemy's own URL must not be empty, or it passes an empty ``conninfo`` too.
    """
    return {"url": "postgresql+psycopg://?client_encoding=UTF8", "connect_args": {"conninfo": url}}
