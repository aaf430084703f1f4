"""Runs the server: takes the port, fills the demo, starts uvicorn, and tells the person where BookIt is."""

import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from threading import Thread
from urllib.request import ProxyHandler, build_opener

import anyio
import click
import uvicorn
from uvicorn.supervisors import Multiprocess

from bookit.clock import system_clock
from bookit.settings import Settings, SettingsError
from server.logs import configure_logging


class CannotServe(SettingsError):
    """BookIt cannot serve there; the text says why."""


@contextmanager
def listen(host: str, port: int) -> Iterator[socket.socket]:
    """Take the port before anything else, so that a taken one is said at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family)
    except (OSError, UnicodeError) as error:
        reason = (error.strerror or "").partition(" (")[0] if isinstance(error, OSError) else "that is no host name"
        raise CannotServe(
            f"BookIt cannot listen on {host}:{port}: {reason}. Choose others with --host and --port."
        ) from None
    listener.set_inheritable(True)
    with listener:
        yield listener


def seed_demo(settings: Settings) -> bool:
    """Fill an empty database with the demo business, and tell whether it is there; one in use stays as it is."""
    from bookit.db.pool import Database
    from seed.business import Outcome, Summary, seed_database

    async def run() -> Summary:
        async with Database.from_settings(settings, size=1) as database:
            return await seed_database(database, now=system_clock())

    made = anyio.run(run)
    if made.outcome == Outcome.IN_USE:
        click.echo(made.outcome, err=True)
    return made.outcome != Outcome.IN_USE


class Config(uvicorn.Config):
    """uvicorn's own, by which workers end with the process that started them, even when that was killed."""

    def load(self) -> None:
        """Load the application, in the process that will serve it."""
        starter = multiprocessing.parent_process()
        if starter:
            Thread(target=exit_with_parent, args=(starter,), daemon=True).start()
        super().load()


def exit_with_parent(parent: BaseProcess) -> None:
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


def run(settings: Settings, listener: socket.socket, workers: int, *, demo: bool, only: str | None = None) -> None:
    """Serve on this socket until told to stop. The serving processes learn database and secret from the environment."""
    os.environ["DATABASE_URL"] = settings.database_url or ""
    os.environ["BOOKIT_DEMO"] = str(demo)
    os.environ["BOOKIT_ONLY"] = only or ""
    os.environ["SECRET_KEY"] = settings.secret_key.get_secret_value()
    configure_logging(debug=settings.debug)
    config = Config(
        "server.app:create",
        factory=True,
        workers=workers,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=10,
    )
    Thread(target=announce, args=(url_of(listener), demo, only), daemon=True).start()
    if workers > 1:
        Multiprocess(config, sockets=[listener]).run()
        return
    server = uvicorn.Server(config)
    server.run(sockets=[listener])
    if not server.started:
        raise CannotServe("BookIt could not start; the lines above say why.")


def url_of(listener: socket.socket) -> str:
    """Give the address a person on this machine can open."""
    host, port = listener.getsockname()[:2]
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104 -- asked, not bound
    return f"http://{shown}:{port}"


def announce(address: str, demo: bool, only: str | None) -> None:  # noqa: FBT001 -- a thread takes its arguments by place
    """Wait until BookIt answers, then say so."""
    direct = build_opener(ProxyHandler({}))  # the environment's proxy knows nothing of this machine
    for _ in range(600):
        try:
            with direct.open(f"{address}/readyz", timeout=2):
                click.echo(banner(address, demo=demo, only=only), err=True)
                return
        except OSError:
            time.sleep(0.05)


def banner(address: str, *, demo: bool, only: str | None = None) -> str:
    """Say where BookIt is, and in a demo how to sign in."""
    lines = ["", f"  BookIt is open at {address}", ""]
    if only != "api":
        lines.append(f"    for staff            {address}/admin")
    if only != "admin":
        lines += [f"    the API, to try      {address}/docs", f"    the API, to read     {address}/redoc"]
    lines.append(f"    is it well?          {address}/readyz")
    if demo:
        from seed.business import DEMO_ADMIN, DEMO_CUSTOMER, DEMO_PASSWORD, DEMO_STAFF

        lines += [
            "",
            f"  Sign in with the password {DEMO_PASSWORD} as",
            f"    {DEMO_CUSTOMER} (a customer), {DEMO_STAFF} (staff) or {DEMO_ADMIN} (admin)",
        ]
    return "\n".join([*lines, "", "  Ctrl-C closes it.", ""])
