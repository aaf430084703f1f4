"""All connections of a server process: how many there may be, and the log of those that were refused."""

import asyncio
import resource
import time
from collections import Counter
from dataclasses import dataclass
from typing import Protocol

from uvicorn.config import Config

from bookit import security_log
from bookit.policy import limits
from bookit.settings import Settings, read_settings
from web.client_address import network_of

ATTRIBUTE = "bookit_connections"  # of uvicorn's configuration, which all connections of a server share
SWEEP_SECONDS = 1  # so that sweeps count seconds
OTHERS = ""  # in the log: the addresses beyond those that are counted one by one


@dataclass(frozen=True)
class WireLimits:
    """How much of the server one client may take. Zero connections of one address are as many as there may be."""

    max_connections: int
    max_connections_per_address: int
    max_head_bytes: int = limits.MAX_HEAD_BYTES
    head_seconds: int = limits.HEAD_SECONDS
    body_seconds: int = limits.BODY_SECONDS
    response_seconds: int = limits.RESPONSE_SECONDS

    @classmethod
    def from_settings(cls, settings: Settings) -> "WireLimits":
        """Return the limits of a server process with these settings and the file limit of this process."""
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        own = limits.OWN_FILES + 2 * settings.database_pool_size
        total = limits.MAX_CONNECTIONS if files == resource.RLIM_INFINITY else min(limits.MAX_CONNECTIONS, files - own)
        return cls(max(total, files // 4 if files > 0 else 1, 1), settings.max_connections_per_address)


class Connection(Protocol):
    """A connection, as its limits see it."""

    address: str

    def sweep(self) -> None:
        """Count a second, and close the connection if its client is late."""


class Connections:
    """The connections of one server process, counted by the network of their client."""

    def __init__(self, wire_limits: WireLimits) -> None:
        self.limits = wire_limits
        self.open: set[Connection] = set()
        self.counts: Counter[str] = Counter()
        self.reports: dict[str, tuple[float, int, str]] = {}
        self.is_sweeping = False

    def add(self, connection: Connection) -> str:
        """Count a connection. Return why it is one too many, or ""."""
        network, most = network_of(connection.address), self.limits.max_connections_per_address
        if len(self.open) >= self.limits.max_connections:
            return "too many connections"
        if most and self.counts[network] >= most:
            return "too many connections of this address"
        self.open.add(connection)
        self.counts[network] += 1
        if not self.is_sweeping:
            self.is_sweeping = True
            asyncio.get_running_loop().call_later(SWEEP_SECONDS, self.sweep)
        return ""

    def discard(self, connection: Connection) -> None:
        """Forget a connection that has ended."""
        if connection not in self.open:
            return
        self.open.discard(connection)
        network = network_of(connection.address)
        self.counts[network] -= 1
        if not self.counts[network]:
            del self.counts[network]

    def sweep(self) -> None:
        """Look at every connection; sleep while there is none, and nothing to report."""
        for connection in [*self.open]:
            connection.sweep()
        self.report_counts()
        self.is_sweeping = bool(self.open or self.reports)
        if self.is_sweeping:
            asyncio.get_running_loop().call_later(SWEEP_SECONDS, self.sweep)

    def report(self, address: str, reason: str) -> None:
        """Log that a connection was refused or cut: at most one line a minute for each address, with a count."""
        if address not in self.reports and len(self.reports) >= limits.MAX_REPORTED_ADDRESSES:
            address = OTHERS
        if address in self.reports:
            reported_at, count, _ = self.reports[address]
            self.reports[address] = (reported_at, count + 1, reason)
            return
        self.reports[address] = (time.monotonic(), 0, reason)
        write_report(address, reason, 1)

    def report_counts(self) -> None:
        """Log what was refused after the last line of an address, once a minute has passed."""
        now = time.monotonic()
        due = [key for key, (at, _, _) in self.reports.items() if now - at >= limits.REPORT_SECONDS]
        for address in due:
            _, count, reason = self.reports.pop(address)
            if count:
                self.reports[address] = (now, 0, reason)
                write_report(address, reason, count)


def write_report(address: str, reason: str, count: int) -> None:
    token = security_log.request_source.set(security_log.RequestSource(address))
    try:
        security_log.report("connection refused", detail=reason, count=count)
    finally:
        security_log.request_source.reset(token)


def connections_of(config: Config) -> Connections:
    """Return the connections of the server with this configuration. The first of them reads the settings."""
    connections: Connections | None = vars(config).get(ATTRIBUTE)
    if connections is None:
        connections = Connections(WireLimits.from_settings(read_settings()))
        setattr(config, ATTRIBUTE, connections)
    return connections
