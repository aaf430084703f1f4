"""A real PostgreSQL, a database for each worker, a clock that stands, and the cast.

Mara works at the desk, Ada owns the place, Tom books, and Eve should not.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest
from psycopg import sql
from sqlmodel import SQLModel
from starlette.applications import Starlette

from api.auth import create_access_token
from bookit import records
from bookit.db.embedded import postgres
from bookit.db.pool import Database
from bookit.people import passwords
from bookit.policy.permissions import Actor
from bookit.schema import revisions
from bookit.schema.tables import Resource, Role, Service, User
from bookit.settings import Settings
from server.app import build

ROOT = Path(__file__).parent.parent
NOW = datetime(2030, 1, 7, 9, tzinfo=UTC)  # A Monday.
TOMORROW_AT_TEN = datetime(2030, 1, 8, 10, tzinfo=UTC)
PASSWORD = "correct horse"
TEMPLATE_DATABASE = "bookit_template"
FAST_POSTGRES_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "max_connections": "1000",
}
OWNER = Actor("seed", role=Role.ADMIN)

passwords.CRYPT_CONTEXT.update(bcrypt__rounds=4)


def list_tables() -> list[type[SQLModel]]:
    """Give every table of BookIt."""
    return [found for found in SQLModel.__subclasses__() if "__table__" in vars(found)]


def status_and_code(answer: httpx2.Response) -> tuple[int, str | None]:
    """Give the status of an answer, and the code if it is a refusal."""
    is_problem = answer.headers.get("content-type") == "application/problem+json"
    return answer.status_code, answer.json()["code"] if is_problem else None


def sibling_url(url: str, name: str) -> str:
    """Give the URL of another database of the same server."""
    return url.replace("/bookit?", f"/{name}?")


def create_database(url: str, name: str, template: str) -> str:
    """Make a database from a template, in place of one of that name."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
        )
    return sibling_url(url, name)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Run every asynchronous test on one event loop, so that the pool can outlive a test."""
    return "asyncio"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[str]:
    """Start one PostgreSQL for all workers, with one migrated template; it stops with the last of them."""
    base = tmp_path_factory.getbasetemp()
    home = base if worker_id == "master" else base.parent
    with postgres(home / "bookit_home", settings=FAST_POSTGRES_SETTINGS) as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("SELECT pg_advisory_lock(1)")
            known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (TEMPLATE_DATABASE,)).fetchone()
            if not known:
                create_database(url, f"{TEMPLATE_DATABASE}_new", "template0")
                revisions.migrate(sibling_url(url, f"{TEMPLATE_DATABASE}_new"))
                connection.execute(
                    sql.SQL("ALTER DATABASE {} RENAME TO {}").format(
                        sql.Identifier(f"{TEMPLATE_DATABASE}_new"), sql.Identifier(TEMPLATE_DATABASE)
                    )
                )
        yield url


@pytest.fixture(scope="session")
def database_url(server: str, worker_id: str) -> str:
    """Clone the template for this worker."""
    return create_database(server, f"bookit_{worker_id}", TEMPLATE_DATABASE)


@pytest.fixture(scope="session")
async def pool(database_url: str) -> AsyncIterator[Database]:
    """One pool for all tests of this worker."""
    async with Database(database_url) as database:
        yield database


DELETE_ALL_ROWS = "; ".join(
    [
        "SET LOCAL session_replication_role = replica",  # No trigger guards or remembers; only a superuser may say so.
        *(f"DELETE FROM {name}" for name in SQLModel.metadata.tables),
        *(
            f"ALTER SEQUENCE {name}_id_seq RESTART"
            for name, table in SQLModel.metadata.tables.items()
            if "id" in table.columns
        ),
    ]
)


@pytest.fixture
def empty(database_url: str) -> str:
    """Take every row away, and history too, as only the server's own superuser can."""
    with psycopg.connect(database_url.replace("//bookit@", "//postgres@")) as connection:
        connection.execute(DELETE_ALL_ROWS)
    return database_url


@pytest.fixture
def database(pool: Database, empty: str) -> Database:
    """Give the database, empty."""
    del empty
    return pool


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        """Give the time this clock shows."""
        return self.now

    def advance(self, **time: float) -> None:
        """Let some time go by."""
        self.now += timedelta(**time)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    return Settings(
        database_url=database_url,
        secret_key="a secret that is long enough for HS256",
        bookit_home=tmp_path,
        _env_file=None,
    )


@pytest.fixture
def app(database: Database, settings: Settings, clock: Clock) -> Starlette:
    """The application on this test's database and clock."""
    built = build(settings, clock=clock)
    built.state.database = database
    return built


MakeClient = Callable[..., httpx2.AsyncClient]


@pytest.fixture
async def client_of(app: Starlette, settings: Settings, clock: Clock) -> AsyncIterator[MakeClient]:
    """Make clients of the API: signed in as somebody, or as nobody."""
    opened: list[httpx2.AsyncClient] = []

    def make(user: User | None = None) -> httpx2.AsyncClient:
        headers = {"Authorization": f"Bearer {create_access_token(user, settings, now=clock())}"} if user else {}
        client = httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://bookit.test", headers=headers)
        opened.append(client)
        return client

    yield make
    for client in opened:
        await client.aclose()


@dataclass(frozen=True)
class Person:
    """Somebody of the cast, with their client of the API."""

    user: User
    client: httpx2.AsyncClient

    @property
    def id(self) -> int:
        """Their number."""
        return self.user.id

    async def request(self, method: str, path: str, **more: Any) -> httpx2.Response:
        """Send a request as this person."""
        return await self.client.request(method, path, **more)


JoinUser = Callable[..., Any]


@pytest.fixture
def join(database: Database, client_of: MakeClient) -> JoinUser:
    """Let somebody join."""
    hashed = passwords.CRYPT_CONTEXT.hash(PASSWORD)

    async def make(name: str, role: Role = Role.USER) -> Person:
        facts: dict[str, Any] = {"name": name, "email": f"{name.lower()}@example.com", "role": role}
        async with database.transaction(by=OWNER) as session:
            user = await records.create(session, User, by=OWNER, now=NOW, password_hash=hashed, **facts)
        return Person(user, client_of(user))

    return make


@pytest.fixture
async def tom(join: JoinUser) -> Person:
    """A customer who books."""
    person: Person = await join("Tom")
    return person


@pytest.fixture
async def eve(join: JoinUser) -> Person:
    """A customer who tries what she should not."""
    person: Person = await join("Eve")
    return person


@pytest.fixture
async def mara(join: JoinUser) -> Person:
    """Staff at the desk."""
    person: Person = await join("Mara", Role.STAFF)
    return person


@pytest.fixture
async def ada(join: JoinUser) -> Person:
    """The admin, who owns the place."""
    person: Person = await join("Ada", Role.ADMIN)
    return person


@pytest.fixture
def cast(tom: Person, eve: Person, mara: Person, ada: Person) -> dict[str, Person]:
    """Everybody, by name, for tests that are told who acts."""
    return {"tom": tom, "eve": eve, "mara": mara, "ada": ada}


@pytest.fixture
def visitor(client_of: MakeClient) -> httpx2.AsyncClient:
    """Somebody who has not signed in."""
    return client_of()


@pytest.fixture
async def haircut(database: Database) -> Service:
    """A service of 45 minutes on a resource of its own."""
    async with database.transaction(by=OWNER) as session:
        facts: dict[str, Any] = {"title": "Haircut", "price": 35, "duration_minutes": 45}
        return await records.create(session, Service, by=OWNER, now=NOW, **facts)


@pytest.fixture
async def shared(database: Database) -> Service:
    """A service that either of two resources can serve."""
    async with database.transaction(by=OWNER) as session:
        for name in ("Lea", "Max"):
            await records.create(session, Resource, by=OWNER, now=NOW, name=name)
        facts: dict[str, Any] = {"title": "Colour", "price": 60, "duration_minutes": 30, "resource_ids": [1, 2]}
        return await records.create(session, Service, by=OWNER, now=NOW, **facts)
