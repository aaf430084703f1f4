"""A database that BookIt cannot use is refused in one line, which says what to do."""

import psycopg
import pytest
from psycopg import sql

from bookit.schema import revisions
from bookit.settings import Settings
from server import process
from server.process import CliError, require_database
from tests.support.databases import create_database, sibling_url
from tests.support.processes import Workspace

pytestmark = pytest.mark.process

COMMANDS = [("check",), ("serve",), ("migrate",), ("worker",), ("create-admin", "ada@example.com", "--password-stdin")]
PASSWORD = "correct horse battery\n"


@pytest.fixture(scope="module")
def encoded_urls(own_url: str) -> dict[str, str]:
    """Databases of other encodings."""
    with psycopg.connect(own_url, autocommit=True) as connection:
        for encoding in ("SQL_ASCII", "LATIN1"):
            command = "CREATE DATABASE {} TEMPLATE template0 ENCODING {} LOCALE 'C' LOCALE_PROVIDER libc"
            connection.execute(sql.SQL(command).format(sql.Identifier(encoding), sql.Literal(encoding)))
    return {encoding: sibling_url(own_url, encoding) for encoding in ("SQL_ASCII", "LATIN1")}


@pytest.fixture(scope="module")
def read_only_url(own_url: str) -> str:
    """A database with the schema of this version, that takes no writes."""
    url = create_database(own_url, "read_only", "bookit")
    with psycopg.connect(own_url, autocommit=True) as connection:
        connection.execute("ALTER DATABASE read_only SET default_transaction_read_only = on")
    return url


@pytest.mark.parametrize(
    ("command", "encoding"), [*((command, "SQL_ASCII") for command in COMMANDS), (("migrate",), "LATIN1")]
)
def test_another_encoding_is_refused(
    installed: Workspace, encoded_urls: dict[str, str], command: tuple[str, ...], encoding: str
) -> None:
    result = installed.run(*command, stdin_text=PASSWORD, DATABASE_URL=encoded_urls[encoding])

    assert result.status == 1
    assert result.stderr == (
        f"This database has the encoding {encoding}. BookIt needs UTF8. Create a database with:"
        " CREATE DATABASE bookit TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C.UTF-8'\n"
    )


def test_the_database_that_the_refusal_proposes_is_accepted(own_url: str) -> None:
    command = process.UTF8_HINT.partition("with: ")[2].replace("DATABASE bookit", "DATABASE proposed")
    with psycopg.connect(own_url, autocommit=True) as connection:
        connection.execute(command.encode())

    url = sibling_url(own_url, "proposed")
    revisions.migrate(url)

    assert require_database(Settings(database_url=url, _env_file=None), takes_writes=True) >= process.MIN_POSTGRES
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT lower('ŁÉ')").fetchone() == ("łé",)


def test_check_refuses_a_database_that_takes_no_writes(installed: Workspace, read_only_url: str) -> None:
    result = installed.run("check", DATABASE_URL=read_only_url)

    assert (result.status, result.stdout) == (1, "The settings are valid.\n")
    assert result.stderr == "The database takes no writes: it is a standby server, or is set to read-only.\n"


def test_a_database_that_takes_no_writes_is_served_but_not_ready(installed: Workspace, read_only_url: str) -> None:
    server = installed.serve("--only", "api", DATABASE_URL=read_only_url)
    person = {"name": "Tom", "email": "tom@example.com", "password": "correct horse battery"}

    server.wait_for_output("BookIt is not ready. The database takes no writes.")
    with server.open_client() as client:
        ready, services, written = (
            client.get("/readyz"),
            client.get("/services"),
            client.post("/auth/register", json=person),
        )

    assert (ready.status_code, ready.json()["detail"]) == (503, "The database takes no writes.")
    assert services.status_code == 200
    assert (written.status_code, written.headers["Retry-After"]) == (503, "1")
    assert server.stop() == 0
    assert "Traceback" not in server.output


def test_migrate_refuses_a_database_that_takes_no_writes(installed: Workspace, own_url: str) -> None:
    url = create_database(own_url, "read_only_empty", "template0")
    with psycopg.connect(own_url, autocommit=True) as connection:
        connection.execute("ALTER DATABASE read_only_empty SET default_transaction_read_only = on")

    assert installed.run("migrate", DATABASE_URL=url).error_message.startswith("The database takes no writes: ")


def test_an_old_postgresql_is_refused(own_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "MIN_POSTGRES", 99)

    with pytest.raises(CliError, match=r"^The database is PostgreSQL 18\. BookIt needs version 99 or newer\.$"):
        require_database(Settings(database_url=own_url, _env_file=None))
