"""A database that fails, at both doors: every write is 503 with Retry-After, and readyz says why."""

from collections.abc import Iterator
from typing import Any

import httpx2
import psycopg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from bookit.db import incidents
from bookit.db import pool as pool_module
from bookit.db.pool import Database
from bookit.refusals import Busy
from bookit.schema.tables import Booking, Service
from tests.support.admin_client import AdminDesk, get_page_text
from tests.support.clock import TOMORROW_AT_TEN
from tests.support.databases import superuser_url
from tests.support.doors import AT_BOTH_DOORS, DoorClient
from tests.support.outages import RecordedPool
from tests.support.people import Person
from tests.support.refusal_assertions import RefusalOutcome

HTML = {"accept": "text/html"}


@pytest.fixture(autouse=True)
def new_incidents(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incidents, "_incidents", {})


@pytest.fixture
def console(empty: str) -> Iterator[psycopg.Connection]:
    """A superuser's connection to the database of this test."""
    with psycopg.connect(superuser_url(empty), autocommit=True) as connection:
        yield connection


@pytest.fixture
def full_disk(console: psycopg.Connection, desk: AdminDesk) -> Iterator[psycopg.Connection]:
    """Let every INSERT into bookings, and every new table, fail as on a full disk."""
    del desk
    raising = "BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END"
    console.execute(f"CREATE FUNCTION full_table() RETURNS trigger LANGUAGE plpgsql AS $$ {raising} $$".encode())
    console.execute(f"CREATE FUNCTION full_disk() RETURNS event_trigger LANGUAGE plpgsql AS $$ {raising} $$".encode())
    console.execute("CREATE TRIGGER full_table BEFORE INSERT ON bookings EXECUTE FUNCTION full_table()")
    console.execute(
        "CREATE EVENT TRIGGER full_disk ON ddl_command_start WHEN TAG IN ('CREATE TABLE AS')"
        " EXECUTE FUNCTION full_disk()"
    )
    yield console
    console.execute("DROP EVENT TRIGGER full_disk")
    console.execute("DROP FUNCTION full_table, full_disk CASCADE")


async def readiness(client: httpx2.AsyncClient) -> tuple[int, Any]:
    answer = await client.get("/readyz")
    return answer.status_code, answer.json().get("detail")


@AT_BOTH_DOORS
async def test_a_write_to_a_read_only_database_is_refused(
    door: DoorClient, tom: Person, haircut: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{door.desk.database.url}&options=-c%20default_transaction_read_only%3Don"
    async with Database(url) as standby:
        monkeypatch.setattr(door.desk.app.state, "database", standby)
        answer = await door.book(tom, haircut, TOMORROW_AT_TEN)
        ready = await readiness(door.desk.visitor)

    assert answer == RefusalOutcome(Busy)
    assert ready == (503, "The database takes no writes.")


@AT_BOTH_DOORS
async def test_a_write_to_a_full_disk_is_refused_and_readiness_follows_the_disk(
    full_disk: psycopg.Connection, door: DoorClient, tom: Person, haircut: Service, visitor: httpx2.AsyncClient
) -> None:
    assert await readiness(visitor) == (200, None)

    answer = await door.book(tom, haircut, TOMORROW_AT_TEN)

    assert answer == RefusalOutcome(Busy)
    assert await readiness(visitor) == (503, "The database takes no writes: disk full.")
    full_disk.execute("ALTER EVENT TRIGGER full_disk DISABLE")
    assert await readiness(visitor) == (200, None)


@pytest.mark.usefixtures("full_disk")
async def test_every_refused_request_has_a_time_to_retry_and_one_line_is_logged(
    desk: AdminDesk, tom: Person, haircut: Service, caplog: pytest.LogCaptureFixture
) -> None:
    body = {"service_id": haircut.id, "start_time": TOMORROW_AT_TEN.isoformat()}

    answers = [await tom.client.post("/bookings", json=body) for _ in range(20)]

    assert [(answer.status_code, answer.headers["Retry-After"]) for answer in answers] == [(503, "1")] * 20
    logged = [record for record in caplog.records if record.levelname in {"WARNING", "ERROR"}]
    assert [(record.name, record.reason, record.exc_info) for record in logged] == [  # type: ignore[attr-defined]
        ("bookit.database", "disk full", None)
    ]


# The panel.


async def test_a_restart_of_the_database_breaks_no_page_of_the_panel(
    desk: AdminDesk, visit: Booking, console: psycopg.Connection
) -> None:
    for _ in range(2):
        answer = await desk.mara.get("/admin/booking/list", headers=HTML)
        assert answer.status_code == 200
        console.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND usename = 'bookit'"
        )
    await desk.database._pool.check()


async def test_a_page_that_waits_too_long_says_so(
    desk: AdminDesk, console: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    await desk.database._pool.wait()  # A connection that it opened later would keep these settings.
    settings = pool_module.SESSION_SETTINGS.replace("lock_timeout = '10s'", "lock_timeout = '50ms'")
    monkeypatch.setattr(pool_module, "SESSION_SETTINGS", settings)
    assert isinstance(desk.site.engine, AsyncEngine)
    await desk.site.engine.dispose()
    with console.transaction():
        console.execute("LOCK TABLE bookings")
        answer = await desk.mara.get("/admin/booking/list", headers=HTML)
    await desk.site.engine.dispose()

    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert str(Busy()) in get_page_text(answer.text)


async def test_a_page_without_a_database_says_so(desk: AdminDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Database("postgresql://bookit@:1/bookit?host=/nowhere") as gone:
        RecordedPool(gone, monkeypatch)
        monkeypatch.setattr(desk.app.state, "database", gone)
        page = await desk.mara.get("/admin/booking/list", headers=HTML)
        script = await desk.mara.get("/admin/calendar/feed", headers={"accept": "application/json"})

    assert (page.status_code, page.headers["Retry-After"]) == (503, "1")
    assert str(Busy()) in get_page_text(page.text)
    assert (script.status_code, script.json()) == (503, {"message": str(Busy())})
