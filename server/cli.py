"""The `bookit` command: serve, migrate, create-admin, worker, check."""

import signal
import sys
from typing import Any

import click

from bookit import __version__
from bookit.clock import system_clock
from bookit.settings import Settings, read_settings
from server.process import (
    CliError,
    install_signal_handlers,
    read_settings_or_exit,
    require_schema,
    running_database,
    user_errors,
)


@click.group()
@click.version_option(__version__, prog_name="bookit")
def main() -> None:
    """BookIt: the back office for businesses that sell time."""
    install_signal_handlers(1)


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="0 takes any free one.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1, 64), help="Processes that serve.")
@click.option("--only", type=click.Choice(["api", "admin"]), help="Open one door; another process opens the other.")
@click.option("--demo", is_flag=True, help="Fill an empty embedded database with a made-up business.")
def serve(host: str, port: int, workers: int, only: str | None, *, demo: bool) -> None:
    """Serve BookIt until Ctrl-C."""
    from server import runner

    install_signal_handlers(0, on_sigint=True)
    with user_errors():
        asked = read_settings().with_secret()
        if demo and not asked.is_embedded:
            raise CliError("--demo makes people with a known password, so it works on the embedded database alone.")
        with runner.listen(host, port) as listener, running_database(asked) as settings:
            require_schema(settings, may_migrate=asked.is_embedded)
            has_demo = demo and runner.seed_demo(settings)
            runner.run(settings, listener, workers, demo=has_demo, only=only)


@main.command()
def migrate() -> None:
    """Bring the database to the schema this version needs."""
    with user_errors(), running_database(read_settings()) as settings:
        from bookit.schema import revisions

        seen = revisions.current_revision(settings.database_url or "")
        require_schema(settings, may_migrate=True)
        done = revisions.current_revision(settings.database_url or "")
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
    asked = read_settings_or_exit()
    with user_errors(), running_database(asked) as settings:
        require_schema(settings, may_migrate=asked.is_embedded)
        anyio.run(add_admin, settings, email, name or email.partition("@")[0], password)
    click.echo(f"{email} is an admin.")


def ask_password() -> str:
    return str(click.prompt("Password", hide_input=True, confirmation_prompt="Once more"))


async def add_admin(settings: Settings, email: str, name: str, password: str) -> None:
    from bookit import records
    from bookit.db.pool import Database
    from bookit.people import passwords
    from bookit.policy.permissions import Actor
    from bookit.schema.tables import Role, User

    password_hash = await passwords.hash_password(password)
    by = Actor("cli", role=Role.ADMIN)
    facts: dict[str, Any] = {"name": name, "email": email, "password_hash": password_hash, "role": Role.ADMIN}
    async with Database.from_settings(settings, size=1) as database, database.transaction(by=by) as session:
        await records.create(session, User, by=by, now=system_clock(), **facts)


@main.command()
def worker() -> None:
    """Do what nobody waits for, until Ctrl-C."""
    import anyio

    from bookit import cleanup
    from bookit.db.pool import Database
    from server.logs import configure_logging

    async def run(settings: Settings) -> None:
        database = Database.from_settings(settings, size=1)
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as told_to_stop:
            async with database, cleanup.run_in_background(database, clock=system_clock):
                click.echo("BookIt's worker is at work. Ctrl-C ends it.", err=True)
                await anext(told_to_stop)
        click.echo("BookIt's worker has stopped.", err=True)

    install_signal_handlers(0, on_sigint=True)
    asked = read_settings_or_exit()
    configure_logging(debug=asked.debug)
    with user_errors(), running_database(asked) as settings:
        require_schema(settings, may_migrate=asked.is_embedded)
        anyio.run(run, settings)


@main.command()
def check() -> None:
    """Say whether BookIt could run here, or what stops it."""
    import psycopg

    from bookit.schema import revisions

    with user_errors():
        asked = read_settings().with_secret()
        click.echo("The settings make sense.")
        with running_database(asked) as settings:
            url = settings.database_url or ""
            with psycopg.connect(url, connect_timeout=10) as connection:
                number = connection.info.server_version
            if number < 150000:  # noqa: PLR2004 -- PostgreSQL 15, as the README says
                raise CliError(f"PostgreSQL {number // 10000} answers, and BookIt needs 15 or newer.")
            whose = "its own" if asked.is_embedded else "the one of DATABASE_URL"
            click.echo(f"PostgreSQL {number // 10000} answers ({whose}).")
            if asked.is_embedded and revisions.current_revision(url) is None:
                click.echo("The database is empty; bookit serve makes its schema.")
                return
            require_schema(settings, may_migrate=False)
            click.echo(f"The schema is up to date ({revisions.latest_revision()}).")
