"""The `bookit` command: serve, migrate, create-admin, worker, check."""

import atexit
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import click

from bookit.clock import system_clock
from bookit.settings import Settings, SettingsRefused, read_settings

if TYPE_CHECKING:
    import psycopg


class Stop(click.ClickException):
    """End with one plain sentence and exit status 1."""

    def show(self, file: Any = None) -> None:
        """Say it on standard error, without a prefix."""
        click.echo(self.message, err=True, file=file)


@contextmanager
def plainly() -> Iterator[None]:
    """Turn what can go wrong outside BookIt into a sentence for whoever started it."""
    import psycopg

    from bookit.embedded import DatabaseWillNotStart
    from bookit.refusals import Refusal

    try:
        yield
    except (SettingsRefused, DatabaseWillNotStart, Refusal) as error:
        raise Stop(str(error)) from None
    except psycopg.Error as error:
        raise Stop(unusable(error)) from None


def unusable(error: "psycopg.Error") -> str:
    """Say why a database cannot be used, from PostgreSQL's sentence or libpq's first line; none has the password."""
    if error.diag.message_primary:
        return f"The database refuses: {error.diag.message_primary}."
    said = (str(error).splitlines() or ["no answer"])[0]
    reason = re.sub(r"^connection (failed|is bad): |FATAL: +|\[Errno -?\d+\] ", "", said)
    return f"BookIt cannot reach its database: {reason.rstrip('.')}. Check DATABASE_URL."


@contextmanager
def database_of(settings: Settings) -> Iterator[Settings]:
    """Give the settings with a database that runs: the one named, or the embedded one for as long as this lasts."""
    if not settings.is_embedded:
        yield settings
        return
    from bookit.embedded import postgres

    with postgres(settings.bookit_home) as url:
        try:
            yield settings.model_copy(update={"database_url": url})
        finally:
            stop_listening()


def require_schema(settings: Settings, *, may_migrate: bool) -> None:
    """Bring the embedded database up to date; refuse to run on another one that is not."""
    from bookit import schema

    url = settings.database_url or ""
    seen, needed = schema.current(url), schema.newest()
    if seen == needed:
        return
    if seen and seen > needed:
        raise Stop(f"This database is of a newer BookIt (migration {seen}; this one knows {needed}). Update BookIt.")
    if not may_migrate:
        found = f"is at migration {seen}" if seen else "is empty"
        raise Stop(f"The database {found}, and this BookIt needs migration {needed}. Run: bookit migrate")
    schema.migrate(url)


def when_told_to_stop(status: int, *, by_ctrl_c: bool = False) -> None:
    """Leave with this status then, by way of every context manager, so that the embedded database stops too."""

    def leave(*_: object) -> NoReturn:
        stop_listening()
        sys.exit(status)

    signal.signal(signal.SIGTERM, leave)
    if by_ctrl_c:
        signal.signal(signal.SIGINT, leave)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as nohup has it
        signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))


def stop_listening() -> None:
    """Let no impatient second Ctrl-C keep the embedded database from stopping."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)  # not SIG_IGN: Python complains if one is on its way already
        atexit.register(signal.signal, number, signal.SIG_IGN)  # since Python forgets functions before its very end


@click.group()
@click.version_option(package_name="bookit")
def main() -> None:
    """BookIt: the back office for businesses that sell time."""
    when_told_to_stop(1)


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="0 takes any free one.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1, 64), help="Processes that serve.")
@click.option("--only", type=click.Choice(["api", "admin"]), help="Open one door; another process opens the other.")
@click.option("--demo", is_flag=True, help="Fill an empty embedded database with a made-up business.")
def serve(host: str, port: int, workers: int, only: str | None, *, demo: bool) -> None:
    """Serve BookIt until Ctrl-C."""
    from bookit import serving

    when_told_to_stop(0, by_ctrl_c=True)
    with plainly():
        asked = read_settings().with_secret()
        if demo and not asked.is_embedded:
            raise Stop("--demo makes people with a known password, so it works on the embedded database alone.")
        with serving.listening(host, port) as listener, database_of(asked) as settings:
            require_schema(settings, may_migrate=asked.is_embedded)
            has_demo = demo and serving.plant_demo(settings)
            serving.run(settings, listener, workers, demo=has_demo, only=only)


@main.command()
def migrate() -> None:
    """Bring the database to the schema this version needs."""
    with plainly(), database_of(read_settings()) as settings:
        from bookit import schema

        seen = schema.current(settings.database_url or "")
        require_schema(settings, may_migrate=True)
        done = schema.current(settings.database_url or "")
        click.echo(
            f"The database is up to date ({done})." if seen == done else f"Migrated from {seen or 'empty'} to {done}."
        )


@main.command("create-admin")
@click.argument("email")
@click.option("--name", help="What to call them; the part before the @ if not given.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
def create_admin(email: str, name: str | None, *, password_stdin: bool) -> None:
    """Make the first admin, who then makes everybody else."""
    import anyio

    password = sys.stdin.readline().rstrip("\r\n") if password_stdin else ask_password()
    asked = read_or_stop()
    with plainly(), database_of(asked) as settings:
        require_schema(settings, may_migrate=asked.is_embedded)
        anyio.run(add_admin, settings, email, name or email.partition("@")[0], password)
    click.echo(f"{email} is an admin.")


def ask_password() -> str:
    return str(click.prompt("Password", hide_input=True, confirmation_prompt="Once more"))


async def add_admin(settings: Settings, email: str, name: str, password: str) -> None:
    from bookit import people, records
    from bookit.database import Database
    from bookit.policy import Actor
    from bookit.tables import Role, User

    password_hash = await people.hash_password(password)
    by = Actor("cli", role=Role.ADMIN)
    facts: dict[str, Any] = {"name": name, "email": email, "password_hash": password_hash, "role": Role.ADMIN}
    async with Database.of(settings, size=1) as database, database.transaction(by=by) as session:
        await records.create(session, User, by=by, now=system_clock(), **facts)


@main.command()
def worker() -> None:
    """Do what nobody waits for, until Ctrl-C."""
    import anyio

    from bookit import housekeeping
    from bookit.database import Database
    from bookit.logs import write_logs

    async def run(settings: Settings) -> None:
        database = Database.of(settings, size=1)
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as told_to_stop:
            async with database, housekeeping.going_on(database, clock=system_clock):
                click.echo("BookIt's worker is at work. Ctrl-C ends it.", err=True)
                await anext(told_to_stop)
        click.echo("BookIt's worker has stopped.", err=True)

    when_told_to_stop(0, by_ctrl_c=True)
    asked = read_or_stop()
    write_logs(debug=asked.debug)
    with plainly(), database_of(asked) as settings:
        require_schema(settings, may_migrate=asked.is_embedded)
        anyio.run(run, settings)


def read_or_stop() -> Settings:
    with plainly():
        return read_settings()


@main.command()
def check() -> None:
    """Say whether BookIt could run here, or what stops it."""
    import psycopg

    from bookit import schema

    with plainly():
        asked = read_settings().with_secret()
        click.echo("The settings make sense.")
        with database_of(asked) as settings:
            url = settings.database_url or ""
            with psycopg.connect(url, connect_timeout=10) as connection:
                number = connection.info.server_version
            if number < 150000:  # noqa: PLR2004 -- PostgreSQL 15, as the README says
                raise Stop(f"PostgreSQL {number // 10000} answers, and BookIt needs 15 or newer.")
            whose = "its own" if asked.is_embedded else "the one of DATABASE_URL"
            click.echo(f"PostgreSQL {number // 10000} answers ({whose}).")
            if asked.is_embedded and schema.current(url) is None:
                click.echo("The database is empty; bookit serve makes its schema.")
                return
            require_schema(settings, may_migrate=False)
            click.echo(f"The schema is up to date ({schema.newest()}).")
