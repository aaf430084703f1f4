"""Runs the server: binds the port, seeds the demo, starts uvicorn and prints the addresses."""

import json
import logging
import multiprocessing
import os
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from multiprocessing.process import BaseProcess
from threading import Thread
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

import anyio
import click
import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from bookit.clock import system_clock
from bookit.settings import Settings, SettingsError
from server.http_protocol import HttpProtocol
from server.logs import configure_logging

log = logging.getLogger("bookit.server")

MAX_DEATHS, DEATHS_SECONDS = 5, 60  # of a worker, in a row: then none of them would live


class CannotServe(SettingsError):
    """The server cannot start; the text says why."""


@contextmanager
def listen(host: str, port: int, *, loopback_only: bool = False) -> Iterator[socket.socket]:
    """Bind the port. This comes first, so that a port in use is reported at once. Raise CannotServe.

    With ``loopback_only``, also raise it for an address that other machines can reach.
    """
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
        if loopback_only and not ip_address(listener.getsockname()[0]).is_loopback:
            raise CannotServe(
                f"--demo serves this machine alone, because its password is public, and {host} is an address for"
                " others. Leave --host out, or create a business of your own without --demo."
            )
        yield listener


def seed_demo(settings: Settings) -> bool:
    """Fill an empty database with the demo business; do not touch any other data.

    Return whether people of the demo can sign in; if not, print why.
    """
    from bookit.db.pool import Database
    from bookit.people import demo
    from seed.business import Outcome, seed_database

    async def run() -> tuple[Outcome, int]:
        async with Database.from_settings(settings, size=1) as database:
            summary = await seed_database(database, now=system_clock())
            return summary.outcome, await demo.count_able_to_sign_in(database)

    outcome, count = anyio.run(run)
    if outcome == Outcome.IN_USE:
        click.echo(outcome, err=True)
    elif not count:
        click.echo("The demo of this database was removed: none of its accounts can sign in.", err=True)
    return outcome != Outcome.IN_USE and count > 0


class Config(uvicorn.Config):
    """uvicorn's configuration. A worker process ends with its parent, even if the parent was killed."""

    def load(self) -> None:
        """Load the application. uvicorn calls this in the process that will serve it.

        If that fails, exit with the status by which the parent knows that no other worker would start either.
        """
        parent = multiprocessing.parent_process()
        if parent:
            configure_logging()
            Thread(target=exit_with_parent, args=(parent,), daemon=True).start()
        try:
            super().load()
        except SettingsError as error:
            log.error(str(error))  # noqa: TRY400 -- a sentence for the user, no bug
            sys.exit(STARTUP_FAILURE)
        except Exception:
            log.exception("The application cannot be loaded.")
            sys.exit(STARTUP_FAILURE)


class Workers(Multiprocess):
    """uvicorn's supervisor. It replaces workers that die, and gives up if they cannot start or die all the time."""

    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket]) -> None:
        super().__init__(config, sockets)
        self.deaths: deque[float] = deque(maxlen=MAX_DEATHS * config.workers)

    @property
    def has_failed(self) -> bool:
        """Whether a worker could not start, or as many have died as are too many."""
        return any(process.exitcode == STARTUP_FAILURE for process in self.processes) or (
            len(self.deaths) == self.deaths.maxlen and self.deaths[-1] - self.deaths[0] < DEATHS_SECONDS
        )

    def keep_subprocess_alive(self) -> None:
        """Replace the workers that have died."""
        before = list(self.processes)
        super().keep_subprocess_alive()
        self.deaths.extend(time.monotonic() for process in before if process not in self.processes)
        if self.has_failed:
            self.should_exit.set()


def exit_with_parent(parent: BaseProcess) -> None:
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


def run(settings: Settings, listener: socket.socket, workers: int, *, demo: bool, only: str | None = None) -> None:
    """Serve on this socket until a signal arrives. The server processes read their settings from the environment."""
    os.environ["DATABASE_URL"] = settings.database_url or ""
    os.environ["BOOKIT_ONLY"] = only or ""
    os.environ["SECRET_KEY"] = settings.secret_key.get_secret_value()
    configure_logging(debug=settings.debug)
    config = Config(
        "server.app:create",
        factory=True,
        http=HttpProtocol,
        ws="none",
        workers=workers,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # The application knows which proxies it trusts, whatever serves it.
        timeout_graceful_shutdown=10,
    )
    Thread(target=announce, args=(url_of(listener), demo, only), daemon=True).start()
    if workers > 1:
        supervisor = Workers(config, [listener])
        supervisor.run()
        has_failed = supervisor.has_failed
    else:
        server = uvicorn.Server(config)
        with suppress_startup_failure():
            server.run(sockets=[listener])
        has_failed = not server.started
    if has_failed:
        raise CannotServe("BookIt could not start. The log lines above say why.")


@contextmanager
def suppress_startup_failure() -> Iterator[None]:
    """Let uvicorn's exit status for a server that did not start not end this process: `bookit` has its own."""
    try:
        yield
    except SystemExit as error:
        if error.code != STARTUP_FAILURE:
            raise


def url_of(listener: socket.socket) -> str:
    """Return the URL at which a browser on this machine reaches the server."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 -- compares, does not bind
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def announce(url: str, demo: bool, only: str | None) -> None:  # noqa: FBT001 -- Thread passes positional arguments
    """Print the banner once the server answers, and what keeps it from being ready."""
    opener = build_opener(ProxyHandler({}))  # a proxy of the environment cannot reach this machine
    for _ in range(600):
        try:
            with opener.open(f"{url}/readyz", timeout=5):
                click.echo(banner(url, demo=demo, only=only), err=True)
                return
        except HTTPError as error:
            with error:
                reason = json.load(error)["detail"]
            click.echo(f"{banner(url, demo=demo, only=only)}  BookIt is not ready. {reason}\n", err=True)
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
        from seed.business import DEMO_ADMIN, DEMO_CUSTOMER, DEMO_MANAGER, DEMO_PASSWORD, DEMO_STAFF, DEMO_STYLIST

        lines += [
            "",
            f"  Sign in with the password {DEMO_PASSWORD} as",
            f"    {DEMO_CUSTOMER} (a customer), {DEMO_STYLIST} (a stylist, own calendar), {DEMO_STAFF} (desk),",
            f"    {DEMO_MANAGER} (manager) or {DEMO_ADMIN} (owner)",
        ]
    return "\n".join([*lines, "", "  Press Ctrl-C to stop BookIt.", ""])
