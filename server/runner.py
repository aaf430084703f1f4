"""Runs the server: binds the port, seeds the demo, starts uvicorn and prints the addresses."""

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
    """The server cannot start; the text says why."""


@contextmanager
def listen(host: str, port: int) -> Iterator[socket.socket]:
    """Bind the port. This comes first, so that a port in use is reported at once. Raise CannotServe."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family)
    except (OSError, UnicodeError) as error:
        reason = (error.strerror or "").partition(" (")[0] if isinstance(error, OSError) else "invalid host name"
        raise CannotServe(
            f"BookIt cannot listen on {host}:{port}: {reason}. Choose another address with --host and --port."
        ) from None
    listener.set_inheritable(True)
    with listener:
        yield listener


def seed_demo(settings: Settings) -> bool:
    """Fill an empty database with the demo business. Return whether it has one; do not touch any other data."""
    from bookit.db.pool import Database
    from seed.business import Outcome, Summary, seed_database

    async def run() -> Summary:
        async with Database.from_settings(settings, size=1) as database:
            return await seed_database(database, now=system_clock())

    outcome = anyio.run(run).outcome
    if outcome == Outcome.IN_USE:
        click.echo(outcome, err=True)
    return outcome != Outcome.IN_USE


class Config(uvicorn.Config):
    """uvicorn's configuration. A worker process ends with its parent, even if the parent was killed."""

    def load(self) -> None:
        """Load the application. uvicorn calls this in the process that will serve it."""
        parent = multiprocessing.parent_process()
        if parent:
            Thread(target=exit_with_parent, args=(parent,), daemon=True).start()
        super().load()


def exit_with_parent(parent: BaseProcess) -> None:
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


def run(settings: Settings, listener: socket.socket, workers: int, *, demo: bool, only: str | None = None) -> None:
    """Serve on this socket until a signal arrives. The server processes read their settings from the environment."""
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
        raise CannotServe("BookIt could not start. The log lines above say why.")


def url_of(listener: socket.socket) -> str:
    """Return the URL at which a browser on this machine reaches the server."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 -- compares, does not bind
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def announce(url: str, demo: bool, only: str | None) -> None:  # noqa: FBT001 -- Thread passes positional arguments
    """Print the banner once the server is ready."""
    opener = build_opener(ProxyHandler({}))  # a proxy of the environment cannot reach this machine
    for _ in range(600):
        try:
            with opener.open(f"{url}/readyz", timeout=2):
                click.echo(banner(url, demo=demo, only=only), err=True)
                return
        except OSError:
            time.sleep(0.05)


def banner(url: str, *, demo: bool, only: str | None = None) -> str:
    """Return the text that names the addresses, and the accounts of the demo."""
    lines = ["", f"  BookIt is open at {url}", ""]
    if only != "api":
        lines.append(f"    staff panel          {url}/admin")
    if only != "admin":
        lines += [f"    API, to try out      {url}/docs", f"    API reference        {url}/redoc"]
    lines.append(f"    health check         {url}/readyz")
    if demo:
        from seed.business import DEMO_ADMIN, DEMO_CUSTOMER, DEMO_PASSWORD, DEMO_STAFF

        lines += [
            "",
            f"  Sign in with the password {DEMO_PASSWORD} as",
            f"    {DEMO_CUSTOMER} (a customer), {DEMO_STAFF} (staff) or {DEMO_ADMIN} (admin)",
        ]
    return "\n".join([*lines, "", "  Press Ctrl-C to stop BookIt.", ""])
