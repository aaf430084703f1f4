"""Folders to run the `bookit` command in, and a PostgreSQL that BookIt did not start itself."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import psycopg
import pytest

from bookit.db.embedded import postgres
from bookit.schema import revisions
from tests.support.databases import FAST_POSTGRES_SETTINGS, create_database
from tests.support.processes import Workspace, relay_postgres

SECRET_KEY = "a secret that is long enough for HS256"
WORKER_STARTED = r"Started server process \[(\d+)\]"
EMAIL, PASSWORD = "ada@example.com", "correct horse battery"


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    """A folder where BookIt has never run."""
    workspace = Workspace(tmp_path)
    yield workspace
    workspace.close()


@pytest.fixture(scope="session")
def own_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL of the user's own, with three databases: in use, empty, and made by a newer BookIt.

    The role "clerk" has a password; the role "guest" cannot create tables.
    """
    with postgres(tmp_path_factory.mktemp("own"), FAST_POSTGRES_SETTINGS) as url:
        revisions.migrate(url)
        create_database(url, "empty", "template0")
        newer = create_database(url, "newer", "bookit")
        with psycopg.connect(newer) as connection:
            connection.execute("UPDATE alembic_version SET version_num = '9999'")
        with psycopg.connect(url.replace("bookit@", "postgres@")) as connection:
            connection.execute("CREATE ROLE clerk LOGIN PASSWORD 'right'")
            connection.execute("GRANT bookit TO clerk")
            connection.execute("CREATE ROLE guest LOGIN")
            row = connection.execute("SHOW hba_file").fetchone()
            assert row
            hba_file = Path(row[0])
            hba_file.write_text(f"local all clerk scram-sha-256\n{hba_file.read_text()}")
            connection.execute("SELECT pg_reload_conf()")
        yield url


@pytest.fixture(scope="session")
def tcp(own_url: str) -> Iterator[str]:
    """The host and port where that PostgreSQL listens on TCP, without TLS."""
    folder = parse_qs(urlsplit(own_url).query)["host"][0]
    with relay_postgres(Path(folder)) as port:
        yield f"127.0.0.1:{port}"


@pytest.fixture
def installed(tmp_path: Path, tcp: str) -> Iterator[Workspace]:
    """A folder where BookIt runs on the user's own PostgreSQL."""
    workspace = Workspace(tmp_path, DATABASE_URL=f"postgresql://clerk:right@{tcp}/bookit", SECRET_KEY=SECRET_KEY)
    yield workspace
    workspace.close()


@pytest.fixture(scope="session")
def made_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BOOKIT_HOME with a database and an admin."""
    workspace = Workspace(tmp_path_factory.mktemp("made"))
    result = workspace.run("create-admin", EMAIL, "--password-stdin", stdin_text=f"{PASSWORD}\n")
    assert result == (0, f"{EMAIL} is an admin.\n", "")
    with (workspace.home / "postgres/data/postgresql.conf").open("a") as conf:
        conf.write("fsync = off\n")
    return workspace.home


@pytest.fixture
def used(made_home: Path, workspace: Workspace) -> Workspace:
    """A folder where BookIt has run before, with an admin."""
    subprocess.run(["cp", "-a", made_home, workspace.home], check=True)
    return workspace


def sign_in(client: httpx2.Client, email: str = EMAIL, password: str = PASSWORD) -> dict[str, Any]:
    answer = client.post("/auth/login", json={"email": email, "password": password})
    assert answer.status_code == 200, answer.text
    tokens: dict[str, Any] = answer.json()
    return tokens


def get_me(client: httpx2.Client, tokens: dict[str, Any]) -> dict[str, Any]:
    answer = client.get("/me", headers={"Authorization": f"Bearer {tokens['access_token']}"})
    assert answer.status_code == 200, answer.text
    me: dict[str, Any] = answer.json()
    return me
