"""A disk that is full: writes are refused, the server may die, and both end when there is space again."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text

from bookit import refusals as no
from bookit.db import restarts
from bookit.db.pool import Database
from tests.support.outages import Server, book
from tests.support.people import OWNER
from tests.support.polling import eventually

pytestmark = pytest.mark.process

INSERT_LARGE = text("INSERT INTO large SELECT repeat('x', 1000) FROM generate_series(1, 1000)")
WRITE_WAL = "SELECT pg_logical_emit_message(false, 'test', repeat('x', 1000000)) FROM generate_series(1, 40)"


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A disk of 100 MB."""
    with tempfile.TemporaryDirectory(prefix="b-") as name:
        command = ["mount", "-t", "tmpfs", "-o", "size=100m,mode=755", "tmpfs", name]
        if subprocess.run(command, check=False, capture_output=True).returncode:
            pytest.skip("only root mounts a disk, and not in every container")
        try:
            yield Path(name)
        finally:
            subprocess.run(["umount", "--lazy", name], check=True)


def fill(disk: Path) -> None:
    status = os.statvfs(disk)
    with (disk / "filler").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, status.f_bavail * status.f_frsize)


async def insert_large(database: Database) -> None:
    async with database.transaction(by=OWNER) as session:
        await session.fetch(INSERT_LARGE)


async def test_a_full_disk_is_named_and_survived(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(restarts, "CHECK_SECONDS", 0.01)
    monkeypatch.setattr(restarts, "DELAYS", (0,) * 1000)
    reasons: list[str] = []
    server = Server(small_disk / "home")
    server.run("CREATE TABLE large (filler text)", "bookit", user="bookit")

    with restarts.restart_when_dead(server.cluster, reasons.append), server.connect() as console:
        async with Database(server.url) as database:
            await insert_large(database)
            assert await database.failing_write() is None
            fill(small_disk)
            with pytest.raises(no.Busy):
                await insert_large(database)
            assert await database.failing_write() == "disk full"

            with suppress(psycopg.OperationalError):
                console.execute(WRITE_WAL)
            await eventually(lambda: "The embedded PostgreSQL does not start." in caplog.messages)

            (small_disk / "filler").unlink()
            await eventually(lambda: "The embedded PostgreSQL runs again." in caplog.messages)
            await book_again(database)
            assert await database.failing_write() is None
    server.stop()

    assert reasons == []
    details = [record.detail for record in caplog.records if record.message.startswith("The embedded PostgreSQL does")]  # type: ignore[attr-defined]
    assert "The disk is full: free some space and start again." in details[0]


async def book_again(database: Database) -> None:
    """Book. The first connections of the pool are those of the server that has died."""
    for _ in range(3):
        with suppress(no.Disconnected):
            await book(database)
            return
    raise AssertionError
