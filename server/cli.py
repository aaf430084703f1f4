"""The `bookit` command: serve, migrate, create-admin, reset-second-factor, remove-demo, worker, check."""

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
    require_database,
    require_demo_people,
    require_no_demo_people,
    require_schema,
    require_timezones,
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
@click.option(
    "--port",
    default=8000,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="The port to listen on; 0 is any free port.",
)
@click.option(
    "--workers", default=1, show_default=True, type=click.IntRange(1, 64), help="The number of server processes."
)
@click.option(
    "--only", type=click.Choice(["api", "admin"]), help="Serve one door only; another process serves the other."
)
@click.option(
    "--demo",
    is_flag=True,
    help="Fill an empty embedded database with a demo business. Listens on this machine alone.",
)
def serve(host: str, port: int, workers: int, only: str | None, *, demo: bool) -> None:
    """Serve BookIt until Ctrl-C."""
    from server import runner

    install_signal_handlers(0, on_sigint=True)
    with user_errors():
        configured = read_settings().with_secret()
        if demo and not configured.is_embedded:
            require_demo_people(configured)
        listening = runner.listen(host, port, loopback_only=demo)
        with listening as listener, running_database(configured, restarts=True) as settings:
            require_schema(settings, may_migrate=configured.is_embedded)
            require_timezones(settings)
            if not demo:
                require_no_demo_people(settings)
            has_demo = demo and runner.seed_demo(settings)
            runner.run(settings, listener, workers, demo=has_demo, only=only)


@main.command()
def migrate() -> None:
    """Migrate the database to the schema of this version."""
    with user_errors(), running_database(read_settings()) as settings:
        from bookit.schema import revisions

        require_database(settings)
        before = revisions.current_revision(settings.database_url or "")
        require_schema(settings, may_migrate=True)
        after = revisions.current_revision(settings.database_url or "")
    if before == after:
        click.echo(f"The database is up to date ({after}).")
    else:
        click.echo(f"Migrated from {before or 'empty'} to {after}.")


@main.command("create-admin")
@click.argument("email")
@click.option("--name", show_default="the part of EMAIL before the @", help="The admin's name.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
def create_admin(email: str, name: str | None, *, password_stdin: bool) -> None:
    """Create an admin, who can create all other accounts."""
    import anyio

    password = sys.stdin.readline().rstrip("\r\n") if password_stdin else ask_password()
    configured = read_settings_or_exit()
    with user_errors(), running_database(configured) as settings:
        require_schema(settings, may_migrate=configured.is_embedded)
        anyio.run(add_admin, settings, email, name or email.partition("@")[0], password)
    click.echo(f"{email} is an admin.")


def ask_password() -> str:
    return str(click.prompt("Password", hide_input=True, confirmation_prompt="Repeat the password"))


async def add_admin(settings: Settings, email: str, name: str, password: str) -> None:
    from bookit import records
    from bookit.db.pool import Database
    from bookit.people import passwords
    from bookit.policy.permissions import Actor
    from bookit.schema.tables import Role, User

    password_hash = await passwords.hash_new_password(password, name=name, email=email)
    by = Actor("cli", role=Role.ADMIN)
    facts: dict[str, Any] = {"name": name, "email": email, "password_hash": password_hash, "role": Role.ADMIN}
    async with Database.from_settings(settings, size=1) as database, database.transaction(by=by) as session:
        await records.create(session, User, by=by, now=system_clock(), **facts)


@main.command("reset-second-factor")
@click.argument("email")
def reset_second_factor(email: str) -> None:
    """Remove the second factor of a person who lost it."""
    import anyio

    configured = read_settings_or_exit()
    with user_errors(), running_database(configured) as settings:
        require_schema(settings, may_migrate=configured.is_embedded)
        was_set_up = anyio.run(remove_second_factor, settings, email)
    if was_set_up:
        click.echo(f"{email} signs in with the password alone now, and was signed out everywhere.")
    else:
        click.echo(f"{email} had no second factor.")


async def remove_second_factor(settings: Settings, email: str) -> bool:
    from bookit.db.pool import Database
    from bookit.people import second_factor_setup, second_factors
    from bookit.policy.permissions import Actor
    from bookit.schema.tables import Role

    by, now = Actor("cli", role=Role.ADMIN), system_clock()
    async with Database.from_settings(settings, size=1) as database, database.transaction(by=by, now=now) as session:
        user = await second_factors.find_user(session, email)
        if user is None:
            raise CliError(f"Nobody has the e-mail address {email}.")
        return await second_factor_setup.reset(session, user.id, by=by, now=now)


@main.command("remove-demo")
@click.option("--yes", is_flag=True, help="Do not ask.")
def remove_demo(*, yes: bool) -> None:
    """Make the accounts of a demo inactive."""
    import anyio

    configured = read_settings_or_exit()
    if not yes and not sys.stdin.isatty():
        raise CliError("bookit remove-demo asks first, and this is no terminal. Add --yes.")
    with user_errors(), running_database(configured) as settings:
        require_schema(settings, may_migrate=configured.is_embedded)
        if not yes:
            click.confirm("Make all accounts of the demo inactive, for good?", abort=True)
        staff, customers = anyio.run(deactivate_demo, settings)
    if staff or customers:
        click.echo(f"Made inactive: {staff:,} of the demo's staff and {customers:,} of its customers.")
    else:
        click.echo("Nobody of the demo can sign in.")


async def deactivate_demo(settings: Settings) -> tuple[int, int]:
    from bookit.db.pool import Database
    from bookit.people import demo
    from bookit.policy.permissions import Actor
    from bookit.refusals import LastOwner
    from bookit.schema.tables import Role

    by = Actor("cli", role=Role.ADMIN)
    async with Database.from_settings(settings, size=1) as database:
        try:
            async with database.transaction(by=by) as session:
                return await demo.deactivate(session, by=by)
        except LastOwner:
            raise CliError("Only the demo has an owner. First create a real one: bookit create-admin EMAIL") from None


@main.command()
def worker() -> None:
    """Expire holds, keys and tokens hourly until Ctrl-C."""
    import anyio

    from server.logs import configure_logging

    install_signal_handlers(0, on_sigint=True)
    configured = read_settings_or_exit()
    configure_logging(debug=configured.debug)
    with user_errors(), running_database(configured, restarts=True) as settings:
        require_schema(settings, may_migrate=configured.is_embedded)
        anyio.run(run_worker, settings)


async def run_worker(settings: Settings) -> None:
    import anyio

    from bookit import cleanup
    from bookit.db.pool import Database

    database = Database.from_settings(settings, size=1)
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        retention = cleanup.Retention.from_settings(settings)
        async with database, cleanup.run_in_background(database, clock=system_clock, retention=retention):
            click.echo("The worker is running. Press Ctrl-C to stop it.", err=True)
            await anext(signals)
    click.echo("The worker has stopped.", err=True)


@main.command()
def check() -> None:
    """Check whether BookIt can run, or what is missing."""
    from bookit.schema import revisions

    with user_errors():
        configured = read_settings().with_secret()
        click.echo("The settings are valid.")
        with running_database(configured) as settings:
            version = require_database(settings, takes_writes=True)
            kind = "embedded" if configured.is_embedded else "from DATABASE_URL"
            click.echo(f"PostgreSQL {version} is running ({kind}).")
            if configured.is_embedded and revisions.current_revision(settings.database_url or "") is None:
                click.echo("The database is empty. bookit serve creates its schema.")
                return
            require_schema(settings, may_migrate=False)
            click.echo(f"The schema is up to date ({revisions.latest_revision()}).")
            require_timezones(settings)
            click.echo("BookIt and its database have the same time zones.")
            require_no_demo_people(settings)
