"""Starts the embedded PostgreSQL again when it has died, for as long as a process uses it."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Protocol

log = logging.getLogger("bookit.database")

CHECK_SECONDS = 1
DELAYS = (0, 1, 2, 4, 8, 16)  # seconds before each new start; after the last one BookIt gives up
STABLE_SECONDS = 60  # a server that has run so long counts as started: its next death begins with the first delay
CHECKS_WITHOUT_SOCKET = 3


class DatabaseWillNotStart(Exception):
    """The embedded database cannot start; the text says why and what to do."""


class SocketMoved(DatabaseWillNotStart):
    """It runs, but not where this process would look for it."""


class Server(Protocol):
    """The server of one folder. Several processes may watch it: it starts once."""

    def is_alive(self) -> bool:
        """Return whether any process of the server lives."""
        ...

    def has_socket(self) -> bool:
        """Return whether clients find its socket."""
        ...

    def restart(self, is_leaving: Event) -> None:
        """Start it if it is dead. Raise ``DatabaseWillNotStart``."""
        ...

    def let_end(self) -> None:
        """Make a server without a socket end within a minute."""
        ...

    def last_words(self) -> str:
        """Return the last line of its log that says why it ended."""
        ...


@contextmanager
def restart_when_dead(server: Server, give_up: Callable[[str], None]) -> Iterator[None]:
    """Watch a server while the block runs, and start it again when it dies.

    Call ``give_up`` with a sentence, in another thread, if it dies again and again or does not start.
    """
    is_leaving = Event()
    Thread(target=Watch(server, is_leaving, give_up).run, name="bookit-restarts", daemon=True).start()
    try:
        yield
    finally:
        is_leaving.set()


class Watch:
    """What one process knows of the deaths of a server."""

    def __init__(self, server: Server, is_leaving: Event, give_up: Callable[[str], None]) -> None:
        self.server, self.is_leaving, self.give_up = server, is_leaving, give_up
        self.starts = 0  # in a row
        self.started_at = float("-inf")
        self.checks_without_socket = 0

    def run(self) -> None:
        """Check the server every second until the process leaves it or gives up."""
        while not self.is_leaving.wait(CHECK_SECONDS):
            if self.server.is_alive():
                self.check_socket()
            elif self.starts == len(DELAYS):
                self.give_up(f"The embedded PostgreSQL has died {self.starts} times in a row. Its log says why.")
                return
            else:
                self.start()

    def start(self) -> None:
        """Start the server after the delay that its last starts ask for."""
        if time.monotonic() - self.started_at > STABLE_SECONDS:
            self.starts = 0
        message = "The embedded PostgreSQL has ended. BookIt starts it again."
        log.error(message, extra={"detail": self.server.last_words()})
        if self.is_leaving.wait(DELAYS[self.starts]):
            return
        self.starts += 1
        try:
            self.server.restart(self.is_leaving)
        except SocketMoved as error:
            self.give_up(str(error))
        except DatabaseWillNotStart as error:
            detail = " ".join(str(error).split())
            log.error("The embedded PostgreSQL does not start.", extra={"detail": detail})  # noqa: TRY400 -- no bug
        else:
            log.warning("The embedded PostgreSQL runs again.")
        self.started_at = time.monotonic()

    def check_socket(self) -> None:
        """End a server that nobody can reach, because its socket was deleted: it is then started again."""
        if self.server.has_socket():
            self.checks_without_socket = 0
            return
        self.checks_without_socket += 1
        if self.checks_without_socket == CHECKS_WITHOUT_SOCKET:
            log.error("The socket of the embedded PostgreSQL is gone. BookIt starts it again within a minute.")
            self.server.let_end()
