"""The accounts of the demo, whose password is public: nobody serves a business in which one of them can sign in."""

import sys
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import text

from bookit import records
from bookit import refusals as no
from bookit.db.embedded import postgres
from bookit.db.pool import Database
from bookit.people import demo
from bookit.policy.permissions import Actor
from bookit.schema import revisions
from bookit.schema.tables import Role, User
from bookit.settings import Settings
from seed.business import DEMO_PASSWORD, seed_database
from server import runner
from server.process import CliError, require_demo_people, require_no_demo_people
from tests.support.clock import NOW
from tests.support.databases import TEMPLATE_DATABASE, create_database, drop_database
from tests.support.doors import AT_BOTH_DOORS, DoorClient
from tests.support.people import OWNER, Person
from tests.support.processes import BOOKIT_COMMAND, Workspace
from tests.support.server import ROOT

SECRET = "a secret that is long enough for HS256"
CLI = Actor("cli", role=Role.ADMIN)
UVICORN = (sys.executable, "-m", "uvicorn", "--app-dir", str(ROOT), "main:app", "--port", "0")
ONE_CAN_SIGN_IN = (
    "An account of the demo can still sign in, and the demo's password is public: to make them inactive, run:"
    " bookit remove-demo"
)
INSERT_DEMO_OWNER = """
INSERT INTO users (name, email, password_hash, role, is_demo)
VALUES ('Katrin', 'admin@example.com', 'known', 'admin', true)
"""
PEOPLE = text("SELECT id, is_demo, is_active, password_hash, version FROM users ORDER BY id")
# A user of the seed, whose password was changed; two of the API; the last has an address that the seed never gives.
PEOPLE_OF_BEFORE = """
SELECT set_config('bookit.door', 'seed', false);
INSERT INTO users (name, email, password_hash, role) VALUES
  ('Katrin', 'admin@example.com', 'known', 'admin'), ('Amy', 'amy.1@example.org', 'known', 'user'),
  ('Ina', 'desk@example.com', 'known', 'staff'), ('Own', 'own@studio.example', 'known', 'user');
SELECT set_config('bookit.door', 'api', false);
INSERT INTO users (name, email, password_hash) VALUES ('Tom', 'tom@example.com', 'own');
UPDATE users SET password_hash = 'own' WHERE name = 'Ina';
UPDATE users SET name = 'Kathrin' WHERE name = 'Katrin';
"""


@pytest.fixture
def installed(tmp_path: Path, server: str, worker_id: str) -> Iterator[Workspace]:
    """A folder where BookIt runs on a database of one's own, whose only owner is the demo's."""
    url = create_database(server, f"demo_{worker_id}", TEMPLATE_DATABASE)
    with psycopg.connect(url) as console:
        console.execute(INSERT_DEMO_OWNER)
    workspace = Workspace(tmp_path, DATABASE_URL=url, SECRET_KEY=SECRET)
    yield workspace
    workspace.close()


async def mark(database: Database, *people: Person) -> None:
    async with database.transaction(by=OWNER) as session:
        for person in people:
            await session.fetch(text("UPDATE users SET is_demo = true WHERE id = :id"), id=person.id)


async def test_a_seeded_database_of_ones_own_is_served_as_a_demo(
    database: Database, settings: Settings, tom: Person
) -> None:
    """--demo creates nobody in a database of one's own; what `python -m seed` has created there, it serves."""
    with pytest.raises(CliError, match=r"^--demo creates accounts with a known password\."):
        require_demo_people(settings)

    await mark(database, tom)
    require_demo_people(settings)


async def test_the_seed_marks_whom_it_creates(database: Database, settings: Settings) -> None:
    await seed_database(database, now=NOW, bookings=0)

    assert {row["is_demo"] for row in await database.fetch(PEOPLE)} == {True}
    with pytest.raises(CliError, match=r"^72 accounts of the demo can still sign in") as error:
        require_no_demo_people(settings)
    assert error.value.message.endswith("run: bookit remove-demo")


async def test_only_the_seed_marks(database: Database) -> None:
    facts: dict[str, Any] = {"name": "Eve", "email": "eve@example.com", "password_hash": "x", "is_demo": True}
    with pytest.raises(no.Forbidden):
        async with database.transaction(by=CLI) as session:
            await records.create(session, User, by=CLI, now=NOW, **facts)


@AT_BOTH_DOORS
async def test_another_password_makes_a_person_real(
    door: DoorClient, database: Database, settings: Settings, tom: Person
) -> None:
    await mark(database, tom)

    renamed = await door.change_user(tom, name="Thomas")
    assert renamed["is_demo"]
    with pytest.raises(CliError, match="An account of the demo can still sign in"):
        require_no_demo_people(settings)

    changed = await door.change_user(tom, password="a secret of his own")
    assert not changed["is_demo"]
    require_no_demo_people(settings)


async def test_the_demo_goes_and_everything_else_stays(
    database: Database, settings: Settings, tom: Person, eve: Person, mara: Person, ada: Person
) -> None:
    await mark(database, tom, mara)
    before = {row["id"]: dict(row) for row in await database.fetch(PEOPLE)}

    async with database.transaction(by=CLI) as session:
        assert await demo.deactivate(session, by=CLI) == (1, 1)

    after = {row["id"]: dict(row) for row in await database.fetch(PEOPLE)}
    assert [after[person.id] for person in (eve, ada)] == [before[person.id] for person in (eve, ada)]
    for person in (tom, mara):
        gone = {"is_demo": True, "is_active": False, "password_hash": None, "version": before[person.id]["version"] + 1}
        assert after[person.id] == {"id": person.id, **gone}
    events = await database.fetch(text("SELECT row_id, door FROM events WHERE new ? 'is_active' AND old ? 'is_active'"))
    assert {(row["row_id"], row["door"]) for row in events} == {(tom.id, "cli"), (mara.id, "cli")}
    require_no_demo_people(settings)
    async with database.transaction(by=CLI) as session:
        assert await demo.deactivate(session, by=CLI) == (0, 0)


async def test_a_person_of_the_demo_made_active_again_has_no_password(
    database: Database, settings: Settings, ada: Person, tom: Person
) -> None:
    await mark(database, tom)
    async with database.transaction(by=CLI) as session:
        await demo.deactivate(session, by=CLI)
        user = await records.lock(session, User, tom.id)
        await records.change(session, user, by=Actor.of("admin", ada.user), now=NOW, is_active=True)

    answer = await tom.client.post("/auth/login", json={"email": tom.user.email, "password": DEMO_PASSWORD})

    assert answer.status_code == 401
    require_no_demo_people(settings)


@pytest.mark.process
def test_a_database_of_ones_own_is_served_once_the_demo_is_removed(installed: Workspace) -> None:
    assert installed.run("serve").error_message == ONE_CAN_SIGN_IN
    assert installed.run("serve", BOOKIT_DEMO="true").error_message == ONE_CAN_SIGN_IN
    assert installed.run("check").stderr.strip() == ONE_CAN_SIGN_IN
    installed.command = UVICORN
    assert ONE_CAN_SIGN_IN in installed.run(BOOKIT_DEMO="true").stderr.splitlines()
    installed.command = BOOKIT_COMMAND

    assert installed.run("remove-demo").error_message == (
        "bookit remove-demo asks first, and this is no terminal. Add --yes."
    )
    assert installed.run("remove-demo", "--yes").error_message == (
        "Only the demo has an owner. First create a real one: bookit create-admin EMAIL"
    )
    assert installed.run("serve").error_message == ONE_CAN_SIGN_IN

    created = installed.run("create-admin", "ada@example.com", "--password-stdin", stdin_text="correct horse battery\n")
    assert created.status == 0
    removed = "Made inactive: 1 of the demo's staff and 0 of its customers.\n"
    assert installed.run("remove-demo", "--yes") == (0, removed, "")
    assert installed.run("remove-demo", "--yes") == (0, "Nobody of the demo can sign in.\n", "")
    server = installed.serve()
    assert server.url
    assert server.stop() == 0


@pytest.mark.process
def test_a_home_that_began_as_a_demo_is_served_once_the_demo_is_removed(used: Workspace) -> None:
    server = used.serve("--demo")
    server.wait_for_output("Sign in with the password")
    assert server.stop() == 0

    assert "accounts of the demo can still sign in" in used.run("serve").error_message
    used.command = UVICORN
    refused = used.run(BOOKIT_DEMO="true")
    assert (refused.status, "accounts of the demo can still sign in" in refused.stderr) == (3, True)
    used.command = BOOKIT_COMMAND

    assert used.run("remove-demo", "--yes").stdout.startswith("Made inactive: 5 of the demo's staff and ")
    with postgres(used.home) as url, psycopg.connect(url) as console:
        people = console.execute("SELECT * FROM users ORDER BY id").fetchall()
    server = used.serve("--demo")
    assert server.url
    assert "The demo of this database was removed: none of its accounts can sign in." in server.output
    assert "Sign in with" not in server.output
    assert server.stop() == 0
    with postgres(used.home) as url, psycopg.connect(url) as console:
        assert console.execute("SELECT * FROM users ORDER BY id").fetchall() == people


@pytest.mark.parametrize("host", ["0.0.0.0", "0", ""], ids=["address", "name", "all"])  # noqa: S104 -- refused
def test_a_demo_does_not_listen_for_other_machines(host: str) -> None:
    with pytest.raises(runner.CannotServe) as error, runner.listen(host, 0, loopback_only=True):
        pytest.fail("It listens.")

    assert str(error.value).startswith("--demo serves this machine alone, because its password is public, and ")
    with runner.listen(host, 0) as listener:
        assert listener.getsockname()[1]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost"])
def test_a_demo_listens_on_this_machine(host: str) -> None:
    with runner.listen(host, 0, loopback_only=True) as listener:
        assert ip_address(listener.getsockname()[0]).is_loopback


@pytest.mark.process
def test_the_command_refuses_a_demo_for_other_machines(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)

    refusal = workspace.run("serve", "--demo", "--port", "0", "--host", "0.0.0.0").error_message  # noqa: S104 -- refused

    assert refusal == (
        "--demo serves this machine alone, because its password is public, and 0.0.0.0 is an address for others."
        " Leave --host out, or create a business of your own without --demo."
    )
    assert not workspace.home.joinpath("postgres").exists()


def test_an_upgrade_marks_the_demo_of_before(server: str, worker_id: str) -> None:
    url = create_database(server, f"demo_of_before_{worker_id}", "template0")
    revisions.migrate(url, "0015")
    with psycopg.connect(url, autocommit=True) as console:
        console.execute(PEOPLE_OF_BEFORE.encode())
        before = console.execute("SELECT count(*) FROM events").fetchone()
        revisions.migrate(url, "0016")
        marked = console.execute("SELECT name, version FROM users WHERE is_demo ORDER BY id").fetchall()
        after = console.execute("SELECT count(*) FROM events").fetchone()
        console.execute("UPDATE users SET name = 'Amelie' WHERE name = 'Amy'")
        last = console.execute("SELECT new FROM events ORDER BY id DESC LIMIT 1").fetchone()
    drop_database(server, f"demo_of_before_{worker_id}")

    assert marked == [("Kathrin", 2), ("Amy", 1)]
    assert before == after
    assert last == ({"name": "Amelie"},)
