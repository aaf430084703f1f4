"""A real PostgreSQL, a database for each worker, a fixed clock, and the cast.

Mara works at the desk, Ada is the admin, Tom books, and Eve tries what she may not.
"""

import gc
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest
from starlette.applications import Starlette

from bookit import records
from bookit.db.pool import Database
from bookit.schema.tables import Booking, Resource, Role, Service, User
from bookit.settings import Settings
from tests.support.admin_client import AdminDesk, BuildApp, open_desk
from tests.support.applications import SharedApplications
from tests.support.clock import NOW, TOMORROW_AT_TEN, Clock
from tests.support.databases import (
    DELETE_ALL_ROWS,
    TEMPLATE_DATABASE,
    connect_as_superuser,
    create_database,
    delete_all_rows,
    run_postgres,
)
from tests.support.doors import AdminDoor, ApiDoor, DoorClient
from tests.support.people import OWNER, PASSWORD_HASH, JoinUser, MakeClient, Person
from tests.support.security_events import SecurityEvents, read_security_events
from tests.support.server import OpenServer, RunningServer, run_server
from tests.support.sign_ins import make_token

MARKER_OF_FIXTURE = {"browser": "browser", "served": "process"}
SLOW_FILES = ("test_openapi.py", "test_availability_oracle.py", "test_deployment.py")  # few tests, many seconds


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take longest first, then those with most tests; mark what drives a browser or a server.

    A worker takes the next file when it is done, so a slow file at the end would leave the other worker idle.
    """
    test_counts = Counter(item.path for item in items)
    items.sort(key=lambda item: (item.path.name not in SLOW_FILES, -test_counts[item.path]))
    for item in items:
        for fixture, marker in MARKER_OF_FIXTURE.items():
            if fixture in getattr(item, "fixturenames", ()):
                item.add_marker(marker)


def pytest_collection_finish() -> None:
    """Look for garbage among what tests create, not among the modules and tests, which all stay to the end."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Run every asynchronous test on one event loop, so that the pool can outlive a test."""
    return "asyncio"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, worker_id: str, testrun_uid: str) -> Iterator[str]:
    """Start one PostgreSQL for all workers, with one migrated template; it stops with the last of them."""
    base = tmp_path_factory.getbasetemp()
    home = base if worker_id == "master" else base.parent
    with run_postgres(home / "bookit_home", testrun_uid) as url:
        yield url


@pytest.fixture(scope="session")
def database_url(server: str, worker_id: str) -> str:
    """Clone the template for this worker."""
    return create_database(server, f"bookit_{worker_id}", TEMPLATE_DATABASE)


@pytest.fixture(scope="session")
async def pool(database_url: str) -> AsyncIterator[Database]:
    """Open one pool for all tests of this worker."""
    async with Database(database_url) as database:
        yield database


@pytest.fixture(scope="session")
def superuser(database_url: str) -> Iterator[psycopg.Connection]:
    """Open a superuser's connection, which can disable triggers."""
    with connect_as_superuser(database_url) as connection:
        yield connection


@pytest.fixture
def empty(database_url: str, superuser: psycopg.Connection) -> str:
    """Delete every row, including history."""
    superuser.execute(DELETE_ALL_ROWS)
    return database_url


@pytest.fixture
def database(pool: Database, empty: str) -> Database:
    """Return the empty database."""
    del empty
    return pool


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def settings_of_all(database_url: str) -> Settings:
    """Read the settings once: that takes as long as many a test."""
    return Settings(
        database_url=database_url,
        secret_key="a secret that is long enough for HS256",
        rate_limits=0,
        _env_file=None,
    )


@pytest.fixture
def settings(settings_of_all: Settings, tmp_path: Path) -> Settings:
    """Return the settings of this test, whose home is its folder."""
    return settings_of_all.model_copy(update={"bookit_home": tmp_path})


@pytest.fixture(scope="session")
async def every_application() -> AsyncIterator[SharedApplications]:
    """Return the applications that were built so far."""
    applications = SharedApplications()
    yield applications
    await applications.close()


@pytest.fixture
async def applications(every_application: SharedApplications) -> AsyncIterator[SharedApplications]:
    """Return the applications that were built so far; end the streams that a test left open."""
    yield every_application
    every_application.end_streams()


@pytest.fixture
def app(applications: SharedApplications, database: Database, settings: Settings, clock: Clock) -> Starlette:
    """Return the application on this test's database and clock."""
    return applications.open(settings, database=database, clock=clock)


@pytest.fixture
async def client_of(
    app: Starlette, settings: Settings, clock: Clock, superuser: psycopg.Connection
) -> AsyncIterator[MakeClient]:
    """Return a function that creates clients of the API, signed in or not."""
    opened: list[httpx2.AsyncClient] = []

    def make(user: User | None = None) -> httpx2.AsyncClient:
        headers = {}
        if user:
            headers["Authorization"] = f"Bearer {make_token(superuser, user, settings, now=clock())}"
        client = httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://bookit.test", headers=headers)
        opened.append(client)
        return client

    yield make
    for client in opened:
        await client.aclose()


@pytest.fixture
def join(database: Database, client_of: MakeClient) -> JoinUser:
    """Return a function that registers a customer."""

    async def make(name: str, role: Role = Role.USER) -> Person:
        facts: dict[str, Any] = {"name": name, "email": f"{name.lower()}@example.com", "role": role}
        async with database.transaction(by=OWNER) as session:
            user = await records.create(session, User, by=OWNER, now=NOW, password_hash=PASSWORD_HASH, **facts)
        return Person(user, client_of(user))

    return make


@pytest.fixture
async def tom(join: JoinUser) -> Person:
    """Return a customer who books."""
    person: Person = await join("Tom")
    return person


@pytest.fixture
async def eve(join: JoinUser) -> Person:
    """Return a customer who tries what she may not."""
    person: Person = await join("Eve")
    return person


@pytest.fixture
async def mara(join: JoinUser) -> Person:
    """Return a staff member."""
    person: Person = await join("Mara", Role.STAFF)
    return person


@pytest.fixture
async def ada(join: JoinUser) -> Person:
    """Return the admin."""
    person: Person = await join("Ada", Role.ADMIN)
    return person


@pytest.fixture
def cast(tom: Person, eve: Person, mara: Person, ada: Person) -> dict[str, Person]:
    """Return everyone by name, for tests with the actor as a parameter."""
    return {"tom": tom, "eve": eve, "mara": mara, "ada": ada}


@pytest.fixture
def security_events(caplog: pytest.LogCaptureFixture) -> SecurityEvents:
    """Return a function that returns the security events so far: event, account and detail."""
    return partial(read_security_events, caplog)


@pytest.fixture
def visitor(client_of: MakeClient) -> httpx2.AsyncClient:
    """Return a client that is not signed in."""
    return client_of()


@pytest.fixture
async def haircut(database: Database) -> Service:
    """Create a service of 45 minutes with its own resource."""
    async with database.transaction(by=OWNER) as session:
        facts: dict[str, Any] = {"title": "Haircut", "price": 35, "duration_minutes": 45}
        return await records.create(session, Service, by=OWNER, now=NOW, **facts)


@pytest.fixture
async def shared(database: Database) -> Service:
    """Create a service that either of two resources can serve."""
    async with database.transaction(by=OWNER) as session:
        for name in ("Lea", "Max"):
            await records.create(session, Resource, by=OWNER, now=NOW, name=name)
        facts: dict[str, Any] = {"title": "Colour", "price": 60, "duration_minutes": 30, "resource_ids": [1, 2]}
        return await records.create(session, Service, by=OWNER, now=NOW, **facts)


@pytest.fixture
def staff_settings(settings: Settings) -> Settings:
    """Return settings with the time zone of Berlin."""
    return settings.model_copy(update={"timezone": "Europe/Berlin"})


@pytest.fixture
def open_door(applications: SharedApplications, database: Database, clock: Clock) -> BuildApp:
    """Return a function that opens applications with other settings on this test's database and clock."""
    return partial(applications.open, database=database, clock=clock)


@pytest.fixture
async def desk(
    open_door: BuildApp,
    staff_settings: Settings,
    database: Database,
    superuser: psycopg.Connection,
    mara: Person,
    ada: Person,
) -> AsyncIterator[AdminDesk]:
    """Open the admin panel."""
    async with open_desk(open_door(staff_settings), database, superuser, mara, ada) as desk:
        yield desk


@pytest.fixture
async def visit(database: Database, tom: Person, haircut: Service) -> Booking:
    """Create a booking of Tom's tomorrow at ten."""
    async with database.transaction(by=OWNER) as session:
        facts: dict[str, Any] = {"user_id": tom.id, "service_id": haircut.id, "start_time": TOMORROW_AT_TEN}
        return await records.create(session, Booking, by=OWNER, now=NOW, **facts)


@pytest.fixture
def door(request: pytest.FixtureRequest, desk: AdminDesk, mara: Person, ada: Person) -> DoorClient:
    """Return the door that the parameter names; both belong to one application, clock and database."""
    kinds: dict[str, type[DoorClient]] = {"api": ApiDoor, "admin": AdminDoor}
    return kinds[request.param](desk, mara, ada)


@pytest.fixture(scope="session")
def open_server(server: str, worker_id: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenServer]:
    """Open a BookIt in a process of its own, on an empty database; it runs until the last test has ended."""
    running: dict[str, RunningServer] = {}
    with ExitStack() as on_leaving:

        def make(name: str, **environment: str) -> RunningServer:
            if name not in running:
                url, home = (
                    create_database(server, f"{name}_{worker_id}", TEMPLATE_DATABASE),
                    tmp_path_factory.mktemp(name),
                )
                address = on_leaving.enter_context(run_server(home, url, **environment))
                running[name] = RunningServer(address, url, home / "log")
            delete_all_rows(running[name].database_url)
            return running[name]

        yield make


@pytest.fixture(scope="module")
def served(open_server: OpenServer) -> RunningServer:
    """A BookIt that is served, whose database is empty when the first test of a module begins."""
    return open_server("served")
