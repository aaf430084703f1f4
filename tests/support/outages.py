"""A PostgreSQL of its own that a test may stop, lock, rename or freeze, and a pool whose delays are a tenth."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg_pool.base import AttemptWithBackoff
from sqlalchemy import text

from bookit.db import outage
from bookit.db.embedded import _Cluster
from bookit.db.pool import Database
from tests.support.people import OWNER

SCALE = 0.1  # of the delays of the pool and of the outage
INSERT = text("INSERT INTO visits DEFAULT VALUES")
COUNT = text("SELECT count(*) AS count FROM visits")


class Server:
    """A PostgreSQL with a table of visits; ``bookit`` is its ordinary role."""

    def __init__(self, home: Path) -> None:
        self.cluster = _Cluster(home, {"fsync": "off"})
        self.start()
        self.run("CREATE TABLE visits (id bigint GENERATED ALWAYS AS IDENTITY)", "bookit", user="bookit")

    @property
    def url(self) -> str:
        return self.cluster.url

    def start(self) -> None:
        self.cluster.ensure_running()

    def stop(self) -> None:
        self.cluster.stop()

    def run(self, statement: str, database: str = "postgres", *, user: str = "postgres") -> list[tuple[Any, ...]]:
        """Run a statement on a connection of its own, and return its rows."""
        with self.connect(database, user=user) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def connect(self, database: str = "postgres", *, user: str = "postgres") -> psycopg.Connection:
        """Open a connection beside the pool's."""
        url = self.url.replace("bookit@", f"{user}@").replace("/bookit?", f"/{database}?")
        return psycopg.connect(url, autocommit=True)

    def pids(self) -> list[int]:
        """Return the backends of the pool's connections."""
        return [pid for (pid,) in self.run("SELECT pid FROM pg_stat_activity WHERE usename = 'bookit'")]

    def end_connections(self) -> None:
        self.run("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'bookit'")


def stop_and_start(server: Server) -> Callable[[], None]:
    server.stop()
    return server.start


def rename_database(server: Server) -> Callable[[], None]:
    server.run("ALTER DATABASE bookit ALLOW_CONNECTIONS false")
    server.end_connections()
    server.run("ALTER DATABASE bookit RENAME TO other")

    def mend() -> None:
        server.run("ALTER DATABASE other RENAME TO bookit")
        server.run("ALTER DATABASE bookit ALLOW_CONNECTIONS true")

    return mend


def leave_no_connections(server: Server) -> Callable[[], None]:
    server.run("ALTER ROLE bookit CONNECTION LIMIT 0")
    server.end_connections()

    def mend() -> None:
        server.run("ALTER ROLE bookit CONNECTION LIMIT -1")

    return mend


def change_password(server: Server) -> Callable[[], None]:
    hba = server.cluster.folder / "data/pg_hba.conf"
    original = hba.read_text()
    hba.write_text(f"local all bookit scram-sha-256\n{original}")
    server.run("SELECT pg_reload_conf()")
    server.end_connections()

    def mend() -> None:
        hba.write_text(original)
        server.run("SELECT pg_reload_conf()")

    return mend


def hide_socket(server: Server) -> Callable[[], None]:
    folder = server.cluster.folder
    server.end_connections()
    (folder / "socket").rename(folder / "hidden")

    def mend() -> None:
        (folder / "hidden").rename(folder / "socket")

    return mend


BREAKS = [stop_and_start, rename_database, leave_no_connections, change_password, hide_socket]


class RecordedPool:
    """Delays that the pool of a database has waited between attempts to connect."""

    def __init__(self, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        pool, self.delays = database._pool, list[float]()
        monkeypatch.setattr(AttemptWithBackoff, "INITIAL_DELAY", SCALE)
        monkeypatch.setattr(outage, "OUTAGE_AFTER_SECONDS", outage.OUTAGE_AFTER_SECONDS * SCALE)
        pool.reconnect_timeout *= SCALE
        schedule = pool.schedule_task

        async def record(task: object, delay: float) -> None:
            if delay < 60:  # not the task that closes idle connections, every ten minutes
                self.delays.append(delay / SCALE)
            await schedule(task, delay)  # type: ignore[arg-type]  # passed on as it came

        monkeypatch.setattr(pool, "schedule_task", record)


async def book(database: Database) -> None:
    async with database.transaction(by=OWNER) as session:
        await session.fetch(INSERT)
