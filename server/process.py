"""What the `bookit` command and `python -m seed` share: errors as one sentence, the database, signals."""

import atexit
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import click

from bookit.settings import Settings, SettingsError, read_settings

if TYPE_CHECKING:
    import psycopg


class CliError(click.ClickException):
    """End with one plain sentence and exit status 1."""

    def show(self, file: Any = None) -> None:
        """Say it on standard error, without a prefix."""
        click.echo(self.message, err=True, file=file)


@contextmanager
def user_errors() -> Iterator[None]:
    """Turn what can go wrong outside BookIt into a sentence for whoever started it."""
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
    """Say why a database cannot be used, from PostgreSQL's sentence or libpq's first line; none has the password."""
    if error.diag.message_primary:
        return f"The database refuses: {error.diag.message_primary}."
    said = (str(error).splitlines() or ["no answer"])[0]
    reason = re.sub(r"^connection (failed|is bad): |FATAL: +|\[Errno -?\d+\] ", "", said)
    return f"BookIt cannot reach its database: {reason.rstrip('.')}. Check DATABASE_URL."


@contextmanager
def running_database(settings: Settings) -> Iterator[Settings]:
    """Give the settings with a database that runs: the one named, or the embedded one for as long as this lasts."""
    if not settings.is_embedded:
        yield settings
        return
    from bookit.db.embedded import postgres

    with postgres(settings.bookit_home) as url:
        try:
            yield settings.model_copy(update={"database_url": url})
        finally:
            ignore_stop_signals()


def require_schema(settings: Settings, *, may_migrate: bool) -> None:
    """Bring the embedded database up to date; refuse to run on another one that is not."""
    from bookit.schema import revisions

    url = settings.database_url or ""
    seen, needed = revisions.current_revision(url), revisions.latest_revision()
    if seen == needed:
        return
    if seen and seen > needed:
        raise CliError(
            f"This database is of a newer BookIt (migration {seen}; this one knows {needed}). Update BookIt."
        )
    if not may_migrate:
        found = f"is at migration {seen}" if seen else "is empty"
        raise CliError(f"The database {found}, and this BookIt needs migration {needed}. Run: bookit migrate")
    revisions.migrate(url)


def install_signal_handlers(exit_code: int, *, on_sigint: bool = False) -> None:
    """Leave with this status then, by way of every context manager, so that the embedded database stops too."""

    def leave(*_: object) -> NoReturn:
        ignore_stop_signals()
        sys.exit(exit_code)

    signal.signal(signal.SIGTERM, leave)
    if on_sigint:
        signal.signal(signal.SIGINT, leave)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as nohup has it
        signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))


def ignore_stop_signals() -> None:
    """Let no impatient second Ctrl-C keep the embedded database from stopping."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)  # not SIG_IGN: Python complains if one is on its way already
        atexit.register(signal.signal, number, signal.SIG_IGN)  # since Python forgets functions before its very end


def read_settings_or_exit() -> Settings:
    with user_errors():
        return read_settings()
