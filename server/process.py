"""What the commands share: errors in one sentence, a running database, a current schema, signals."""

import atexit
import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NoReturn

import click

from bookit.settings import Settings, SettingsError, read_settings

if TYPE_CHECKING:
    import psycopg

MIN_POSTGRES = 15  # the major version
UTF8_HINT = (
    "BookIt needs UTF8. Create a database with:"
    " CREATE DATABASE bookit TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C.UTF-8'"
)


class CliError(click.ClickException):
    """Ends the command with one sentence and exit status 1."""

    def show(self, file: Any = None) -> None:
        """Print the sentence on standard error, without click's prefix."""
        click.echo(self.message, err=True, file=file)


@contextmanager
def user_errors() -> Iterator[None]:
    """Turn an error that the user can solve into a sentence, without a traceback."""
    import psycopg

    from bookit.db.embedded import DatabaseWillNotStart
    from bookit.refusals import Refusal
    from bookit.schema.revisions import SchemaTooOld

    try:
        yield
    except (SettingsError, DatabaseWillNotStart, SchemaTooOld, Refusal) as error:
        raise CliError(str(error)) from None
    except psycopg.Error as error:
        raise CliError(describe_database_error(error)) from None


def describe_database_error(error: "psycopg.Error") -> str:
    """Return why the database cannot be used: PostgreSQL's message or libpq's first line, never the password."""
    if error.diag.message_primary:
        return f"The database reports an error: {error.diag.message_primary}."
    message = (str(error).splitlines() or ["no response"])[0]
    reason = re.sub(r"^connection (failed|is bad): |FATAL: +|\[Errno -?\d+\] ", "", message)
    return f"BookIt cannot reach its database: {reason.rstrip('.')}. Check DATABASE_URL."


@contextmanager
def running_database(settings: Settings, *, restarts: bool = False) -> Iterator[Settings]:
    """Yield the settings with the URL of a running database.

    Without DATABASE_URL that is the embedded database, which runs at least until the block ends. With ``restarts`` it
    is started again when it dies; if that fails again and again, this process stops and raises CliError.
    """
    if not settings.is_embedded:
        yield settings
        return
    from bookit.db.embedded import postgres

    reasons: list[str] = []

    def stop(reason: str) -> None:
        reasons.append(reason)
        os.kill(os.getpid(), signal.SIGTERM)

    with postgres(settings.bookit_home, give_up=stop if restarts else None) as url:
        try:
            yield settings.model_copy(update={"database_url": url})
        finally:
            ignore_stop_signals()
            if reasons:
                raise CliError(reasons[0])


def require_database(settings: Settings, *, takes_writes: bool = False) -> int:
    """Return PostgreSQL's major version. Raise CliError if BookIt cannot use this database."""
    import psycopg

    with psycopg.connect(settings.database_url or "", connect_timeout=10) as connection:
        version = connection.info.server_version // 10_000
        if version < MIN_POSTGRES:
            raise CliError(f"The database is PostgreSQL {version}. BookIt needs version {MIN_POSTGRES} or newer.")
        encoding = connection.info.parameter_status("server_encoding")
        if encoding != "UTF8":
            raise CliError(f"This database has the encoding {encoding}. {UTF8_HINT}")
        query = "SELECT current_setting('transaction_read_only') = 'on'"
        if takes_writes and connection.execute(query).fetchone() == (True,):
            raise CliError("The database takes no writes: it is a standby server, or is set to read-only.")
    return version


def require_schema(settings: Settings, *, may_migrate: bool) -> None:
    """Raise CliError unless the database has the schema of this version. Migrate it first if allowed."""
    from bookit.schema import revisions

    require_database(settings)
    url = settings.database_url or ""
    current, latest = revisions.current_revision(url), revisions.latest_revision()
    if current == latest:
        return
    if current and current > latest:
        raise CliError(
            "This database was made by a newer version of BookIt"
            f" (migration {current}; this version has {latest}). Update BookIt."
        )
    if not may_migrate:
        state = f"is at migration {current}" if current else "is empty"
        raise CliError(f"The database {state}. This version of BookIt needs migration {latest}. Run: bookit migrate")
    require_database(settings, takes_writes=True)
    revisions.migrate(url)


def count_demo_people(settings: Settings) -> int:
    """Return how many people of the demo can sign in. Raise psycopg.Error if the database cannot be asked."""
    import psycopg

    from bookit.people.demo import COUNT_ABLE_TO_SIGN_IN

    with psycopg.connect(settings.database_url or "", connect_timeout=10) as connection:
        row = connection.execute(COUNT_ABLE_TO_SIGN_IN).fetchone()
    return int(row[0]) if row else 0


def require_no_demo_people(settings: Settings) -> None:
    """Raise CliError if people of the demo can sign in: their password is public."""
    count = count_demo_people(settings)
    if count:
        accounts = f"{count:,} accounts of the demo" if count > 1 else "An account of the demo"
        raise CliError(
            f"{accounts} can still sign in, and the demo's password is public: to make them inactive, run:"
            " bookit remove-demo"
        )


def require_demo_people(settings: Settings) -> None:
    """Raise CliError unless this database of one's own has people of the demo: --demo makes none there."""
    import psycopg

    with suppress(psycopg.Error):
        if count_demo_people(settings):
            return
    raise CliError("--demo creates accounts with a known password. Unset DATABASE_URL to use it.")


def require_timezones(settings: Settings) -> None:
    """Raise CliError if BookIt and its database have different clocks for a zone in use; warn of zones left behind."""
    import anyio

    from bookit import business
    from bookit.clock import system_clock
    from bookit.db import timezone_check
    from bookit.db.pool import Database

    async def compare() -> tuple[str | None, str | None]:
        async with Database.from_settings(settings, size=1) as database:
            await business.read(database, database.business)
            zone = database.timezone
            return (
                await timezone_check.explain_difference_in_use(database, zone, now=system_clock()),
                await timezone_check.warn_of_default(database, zone),
            )

    difference, warning = anyio.run(compare)
    if difference:
        raise CliError(difference)
    if warning:
        click.echo(warning, err=True)


def install_signal_handlers(exit_code: int, *, on_sigint: bool = False) -> None:
    """Exit with this status on SIGTERM and SIGHUP, and on SIGINT if asked for.

    The exit is an exception, so every context manager ends and the embedded database stops too.
    """

    def stop(*_: object) -> NoReturn:
        ignore_stop_signals()
        sys.exit(exit_code)

    signal.signal(signal.SIGTERM, stop)
    if on_sigint:
        signal.signal(signal.SIGINT, stop)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup sets this
        signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))


def ignore_stop_signals() -> None:
    """Ignore further signals, so that a second Ctrl-C cannot interrupt the stop of the embedded database."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)  # not SIG_IGN: Python prints an error if a signal is pending
        atexit.register(signal.signal, number, signal.SIG_IGN)  # Python drops these functions before it ends


def read_settings_or_exit() -> Settings:
    with user_errors():
        return read_settings()
