"""Outages: while no connection can be had, requests are refused at once and not after the pool's timeout."""

import time
from typing import TYPE_CHECKING, Any, Self

import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict

from bookit.db import incidents

if TYPE_CHECKING:
    from anyio import CancelScope

OUTAGE_AFTER_SECONDS = 2  # without a connection; a restart of the database takes less


class Outage:
    """Whether the pool can get connections.

    An outage begins when all attempts have failed for two seconds and no connection was returned meanwhile. It ends
    with the first connection. The callers that wait for a connection at its beginning are cancelled.
    """

    def __init__(self) -> None:
        self.is_on = False
        self.error: BaseException | None = None  # why the last attempt failed
        self.waiting: set[CancelScope] = set()
        self._attempts_since: float | None = None  # the first attempt after the last success
        self._available_at = float("-inf")  # when a connection was last made or returned

    def attempt_begins(self) -> None:
        """Note an attempt to connect."""
        if self._attempts_since is None:
            self._attempts_since = time.monotonic()

    def attempt_fails(self, error: BaseException) -> None:
        """Note that it failed: begin an outage if that has lasted."""
        incidents.report(error, incidents.NO_CONNECTION)
        self.error, now = error, time.monotonic()
        begun = max(self._attempts_since or now, self._available_at)
        if now - begun >= OUTAGE_AFTER_SECONDS:
            self.is_on = True
            for scope in self.waiting:
                scope.cancel()

    def connected(self) -> None:
        """Note a new connection."""
        if self.is_on:
            incidents.log.info("The database can be reached again.")
        self._attempts_since = None
        self.connection_is_available()

    def connection_is_available(self) -> None:
        """Note a connection that works and is free again."""
        self._available_at, self.is_on = time.monotonic(), False


class PooledConnection(AsyncConnection[tuple[Any, ...]]):
    """A connection whose attempts to connect are noted in the ``outage`` among its arguments."""

    @classmethod
    async def connect(cls, *args: Any, **kwargs: Any) -> Self:
        """Connect. Raise what psycopg raises."""
        outage: Outage = kwargs.pop("outage")
        outage.attempt_begins()
        try:
            return await super().connect(*args, **kwargs)
        except (psycopg.Error, OSError) as error:
            outage.attempt_fails(error)
            raise


def connection_parameters(url: str) -> dict[str, Any]:
    """Return how every connection is made, unless the URL says otherwise: no attempt may last, no dead peer either.

    The client's encoding is not for the URL, the environment or the role to say: names would be refused or changed.
    """
    defaults: dict[str, Any] = {"connect_timeout": 3, "tcp_user_timeout": 10_000}
    defaults |= {"keepalives_idle": 30, "keepalives_interval": 5, "keepalives_count": 3}
    chosen = conninfo_to_dict(url)
    return {**{name: value for name, value in defaults.items() if name not in chosen}, "client_encoding": "UTF8"}
