"""The `bookit` command: what it says when all is well, and the one sentence it says when not."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx2
import psycopg
import pytest

from bookit import cleanup
from bookit.db.embedded import postgres
from bookit.db.pool import Database
from bookit.schema import revisions
from bookit.settings import SettingsError, read_settings
from tests.support.clock import NOW
from tests.support.databases import FAST_POSTGRES_SETTINGS, create_database, sibling_url
from tests.support.processes import Workspace, relay_postgres, wait_until

pytestmark = pytest.mark.process

COMMANDS = ("serve", "migrate", "create-admin", "worker", "check")
SECRET_KEY = "a secret that is long enough for HS256"
GUESSED = "geheim-und-falsch"
PASSWORD = "correct horse battery"
SOME_OF_EACH = """
    WITH person AS (
        INSERT INTO users (name, email, password_hash) VALUES ('Tom', 'tom@example.com', '-') RETURNING id
    ), tokens AS (
        INSERT INTO refresh_tokens (user_id, family, token_hash, expires_at)
        SELECT id, word, word, now() + lasts::interval
        FROM person, (VALUES ('live', '1 hour'), ('over', '0 seconds')) AS token (word, lasts)
    )
    INSERT INTO idempotency_keys (user_id, key, request_hash, created_at)
    SELECT id, word, '-', now() - age::interval
    FROM person, (VALUES ('live', '23 hours 59 minutes'), ('over', '24 hours')) AS key (word, age)
"""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Workspace]:
    """A folder where BookIt never ran."""
    place = Workspace(tmp_path)
    yield place
    place.close()


@pytest.fixture(scope="module")
def own_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL of somebody's own: an empty database, one in use, one of a newer BookIt; a role with a password."""
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
            rules = connection.execute("SHOW hba_file").fetchone()
            assert rules
            Path(rules[0]).write_text(f"local all clerk scram-sha-256\n{Path(rules[0]).read_text()}")
            connection.execute("SELECT pg_reload_conf()")
        yield url


@pytest.fixture(scope="module")
def tcp(own_url: str) -> Iterator[str]:
    """Where that PostgreSQL listens on TCP, without TLS."""
    folder = parse_qs(urlsplit(own_url).query)["host"][0]
    with relay_postgres(Path(folder)) as port:
        yield f"127.0.0.1:{port}"


@pytest.fixture
def installed(tmp_path: Path, tcp: str) -> Iterator[Workspace]:
    """A folder where BookIt runs on a PostgreSQL of somebody's own."""
    place = Workspace(tmp_path, DATABASE_URL=f"postgresql://clerk:right@{tcp}/bookit", SECRET_KEY=SECRET_KEY)
    yield place
    place.close()


def left(connection: psycopg.Connection) -> list[str]:
    """What is left of some of each."""
    rows = connection.execute("SELECT token_hash FROM refresh_tokens UNION ALL SELECT key FROM idempotency_keys")
    return [str(word) for (word,) in rows]


def test_help_fits_a_line_for_each_command(place: Workspace) -> None:
    helped = place.run("--help")

    assert (helped.status, helped.stderr) == (0, "")
    assert helped.stdout.startswith("Usage: bookit [OPTIONS] COMMAND [ARGS]...\n")
    commands = helped.stdout.partition("Commands:\n")[2]
    assert sorted(re.findall(r"^  ([a-z-]+) +[A-Z].*[a-zC]\.$", commands, re.MULTILINE)) == sorted(COMMANDS)
    assert len(commands.splitlines()) == len(COMMANDS)


def test_each_command_has_help_that_needs_nothing(place: Workspace) -> None:
    with ThreadPoolExecutor() as threads:
        helped = list(threads.map(lambda command: place.run(command, "--help", DATABASE_URL="nonsense"), COMMANDS))

    for command, answer in zip(COMMANDS, helped, strict=True):
        assert (answer.status, answer.stderr) == (0, "")
        assert answer.stdout.startswith(f"Usage: bookit {command} [OPTIONS]")
    assert "--password-stdin" in helped[COMMANDS.index("create-admin")].stdout
    assert not place.home.exists()


def test_each_variable_that_makes_no_sense_has_its_line(place: Workspace) -> None:
    refusal = place.run(
        "serve",
        ALGORITHM="none",
        ACCESS_TOKEN_EXPIRE_MINUTES="abc",
        TIMEZONE="Mars/Olympus",
        DATABASE_POOL_SIZE="0",
        DATABASE_URL=f"mysql://bookit:{GUESSED}@127.0.0.1/bookit",
        DEBUG="perhaps",
    ).error_message

    assert refusal.splitlines() == [
        "DATABASE_URL: it must start with postgresql:// (BookIt supports no other database)",
        "DATABASE_POOL_SIZE: Input should be greater than or equal to 1",
        "ALGORITHM: Input should be 'HS256', 'HS384' or 'HS512'",
        "ACCESS_TOKEN_EXPIRE_MINUTES: Input should be a valid integer, unable to parse string as an integer",
        "DEBUG: Input should be a valid boolean, unable to interpret input",
        "TIMEZONE: Mars/Olympus is not a time zone; write an IANA name such as Europe/Berlin",
    ]


def test_dotenv_is_read_and_the_environment_beats_it(installed: Workspace) -> None:
    (installed.folder / ".env").write_text("TIMEZONE=Mars/Olympus\nALGORITHM=none\nUNKNOWN=1\n")

    assert [line.split(":")[0] for line in installed.run("check").error_message.splitlines()] == [
        "ALGORITHM",
        "TIMEZONE",
    ]
    assert installed.run("check", ALGORITHM="HS384", TIMEZONE="Europe/Berlin").status == 0


def test_a_dotenv_that_is_no_text_is_refused(place: Workspace) -> None:
    (place.folder / ".env").write_bytes(b"SECRET_KEY=\xff\xfe\n")

    assert place.run("check").error_message == "BookIt cannot read .env: it is not UTF-8."


def test_a_home_that_cannot_be_made_is_refused(place: Workspace) -> None:
    refusal = place.run("serve", BOOKIT_HOME="/dev/null/home").error_message

    reason = "BookIt cannot store its secret in /dev/null/home/secret_key: Not a directory."
    assert refusal == f"{reason} Set BOOKIT_HOME to another folder."


def test_a_kept_secret_that_was_lost_is_not_replaced_by_a_guessable_one(place: Workspace) -> None:
    place.home.mkdir()
    (place.home / "secret_key").touch()

    refusal = place.run("check").error_message

    assert (
        refusal == f"{place.home}/secret_key contains no secret of 32 bytes. Delete it, and BookIt creates a new one."
    )


@pytest.mark.parametrize(
    ("command", "secret", "what"), [("serve", "", "is missing"), ("check", "too short", "has only 9 bytes")]
)
def test_somebodys_own_database_needs_a_real_secret(installed: Workspace, command: str, secret: str, what: str) -> None:
    refusal = installed.run(command, SECRET_KEY=secret).error_message

    assert refusal.splitlines() == [
        f"SECRET_KEY {what}. It signs tokens and cookies; use 32 bytes or more. Create one with:",
        '  python3 -c "import secrets; print(secrets.token_hex(32))"',
    ]


@pytest.mark.parametrize(
    "spelled",
    [
        "postgres://clerk:right@{tcp}/bookit",
        "postgresql://clerk:right@{tcp}/bookit?sslmode=prefer",
        "postgresql+psycopg://clerk:r%69ght@{tcp}/bookit?sslmode=disable",
    ],
)
def test_every_usual_spelling_of_an_address_works(installed: Workspace, tcp: str, spelled: str) -> None:
    checked = installed.run("check", DATABASE_URL=spelled.format(tcp=tcp))

    assert (checked.status, checked.stderr) == (0, "")
    assert checked.stdout.splitlines() == [
        "The settings make sense.",
        "PostgreSQL 18 answers (the one of DATABASE_URL).",
        f"The schema is up to date ({revisions.latest_revision()}).",
    ]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("postgresql://clerk:GUESSED@127.0.0.1:1/bookit", 'server at "127.0.0.1", port 1 failed: Connection refused. '),
        ("postgresql://clerk:GUESSED@127.0.0.1:1,127.0.0.1:2/bookit", "Connection refused. "),
        ("postgresql://clerk:GUESSED@nowhere.invalid/bookit", "failed to resolve host 'nowhere.invalid': "),
        ("postgresql://clerk:GUESSED@{tcp}/bookit", 'failed: password authentication failed for user "clerk". '),
        ("postgresql://stranger:GUESSED@{tcp}/bookit", 'failed: role "stranger" does not exist. '),
        ("postgresql://clerk:right@{tcp}/nothing", 'failed: database "nothing" does not exist. '),
        (
            "postgresql://clerk:right@{tcp}/bookit?sslmode=require",
            "server does not support SSL, but SSL was required. ",
        ),
        ("postgresql://clerk:right@{tcp}/bookit?sslmode=maybe", 'invalid sslmode value: "maybe". '),
    ],
)
def test_a_database_that_cannot_be_used_is_told_in_a_sentence_without_the_password(
    installed: Workspace, tcp: str, url: str, reason: str
) -> None:
    refusal = installed.run("migrate", DATABASE_URL=url.format(tcp=tcp).replace("GUESSED", GUESSED)).error_message

    assert refusal.startswith("BookIt cannot reach its database: ")
    assert reason in refusal
    assert refusal.endswith(". Check DATABASE_URL.")
    assert len(refusal.splitlines()) == 1
    assert GUESSED not in refusal


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("127.0.0.1:5432", "it must start with postgresql://"),
        ("mysql://clerk:GUESSED@127.0.0.1/bookit", "it must start with postgresql://"),
        ("postgresql://clerk:100%GUESSED@127.0.0.1/bookit", "it is not an address such as"),
        ("postgresql://clerk:p@GUESSED@127.0.0.1/bookit", "it is not an address such as"),
        ("postgresql://clerk:p/GUESSED@127.0.0.1/bookit", "it is not an address such as"),
        ("postgresql://clerk:p GUESSED@127.0.0.1/bookit", "it is not an address such as"),
        ("postgresql://clerk:GUESSED@[::1/bookit", "it is not an address such as"),
        ("postgresql://clerk:GUESSED@127.0.0.1:abc/bookit", "it is not an address such as"),
        ("postgresql://clerk:GUESSED\udcff@127.0.0.1/bookit", "it is not an address such as"),
        ("postgresql://clerk:GUESSED@127.0.0.1/bookit?nonsense=1", 'invalid URI query parameter: "nonsense"'),
    ],
)
def test_what_is_no_address_is_refused_without_quoting_the_password(url: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=f"^DATABASE_URL: {reason}") as refusal:
        read_settings(database_url=url.replace("GUESSED", GUESSED), _env_file=None)

    assert GUESSED not in str(refusal.value)


def test_each_command_tells_alike_that_it_cannot_reach_its_database(installed: Workspace) -> None:
    def refusal(command: tuple[str, ...]) -> str:
        url = f"postgresql://clerk:{GUESSED}@127.0.0.1:1/bookit"
        return installed.run(*command, stdin_text=f"{PASSWORD}\n", DATABASE_URL=url).error_message

    with ThreadPoolExecutor() as threads:
        commands = [("serve",), ("migrate",), ("create-admin", "ada@example.com", "--password-stdin"), ("worker",)]
        told = set(threads.map(refusal, commands))

    (sentence,) = told
    assert sentence.startswith("BookIt cannot reach its database: ")


def test_an_old_schema_stops_the_start_until_it_is_migrated(installed: Workspace, own_url: str) -> None:
    installed.environment["DATABASE_URL"] = sibling_url(own_url, "empty")
    needed = (
        f"The database is empty, and this BookIt needs migration {revisions.latest_revision()}. Run: bookit migrate"
    )
    assert installed.run("serve").error_message == needed

    assert installed.run("migrate") == (0, f"Migrated from empty to {revisions.latest_revision()}.\n", "")
    assert installed.run("migrate") == (0, f"The database is up to date ({revisions.latest_revision()}).\n", "")

    server = installed.serve()
    assert httpx2.get(f"{server.url}/readyz", trust_env=False).status_code == 200
    assert server.stop() == 0
    assert not installed.home.exists()


@pytest.mark.parametrize("command", ["serve", "check"])
def test_a_newer_schema_is_left_alone(installed: Workspace, own_url: str, command: str) -> None:
    answer = installed.run(command, DATABASE_URL=sibling_url(own_url, "newer"))

    assert answer.status == 1
    assert answer.stderr == (
        f"This database is of a newer BookIt (migration 9999; this one knows {revisions.latest_revision()})."
        " Update BookIt.\n"
    )


def test_a_role_that_may_not_make_tables_is_told_so(installed: Workspace, own_url: str) -> None:
    url = create_database(own_url, "closed", "template0").replace("bookit@", "guest@")

    assert installed.run("migrate", DATABASE_URL=url).error_message.startswith(
        "The database refuses: permission denied "
    )


def test_check_says_what_is_well_with_its_own_database(place: Workspace) -> None:
    well = "The settings make sense.\nPostgreSQL 18 answers (its own).\n"
    empty = "The database is empty; bookit serve makes its schema.\n"

    assert place.run("check") == (0, well + empty, "")
    assert place.run("migrate") == (0, f"Migrated from empty to {revisions.latest_revision()}.\n", "")
    assert place.run("check") == (0, f"{well}The schema is up to date ({revisions.latest_revision()}).\n", "")
    assert not place.is_database_running


def test_an_admin_is_refused_by_the_rules_for_everybody(installed: Workspace, own_url: str) -> None:
    def refusal(email: str, password: str) -> str:
        return installed.run("create-admin", email, "--password-stdin", stdin_text=password).error_message

    with psycopg.connect(own_url) as connection:
        connection.execute("INSERT INTO users (name, email, password_hash) VALUES ('Ada', 'ada@example.com', '-')")
    with ThreadPoolExecutor() as threads:
        emails = ["ADA@example.com", "bea", "bea@example.com", "bea@example.com"]
        refused = list(threads.map(refusal, emails, [f"{PASSWORD}\n", f"{PASSWORD}\r\n", "1234567\n", "p" * 73]))

    assert refused == [
        "This e-mail address is already registered.",
        "Enter an e-mail address such as name@example.com.",
        "Use at least 8 characters.",
        "Use at most 72 bytes. A letter such as ä takes two.",
    ]


def test_the_worker_lets_go_of_what_has_run_out_until_it_is_told_to_stop(installed: Workspace, own_url: str) -> None:
    with psycopg.connect(own_url, autocommit=True) as connection:
        connection.execute(SOME_OF_EACH)
        worker = installed.start("worker")
        worker.wait_for_output("BookIt's worker is at work")
        wait_until(lambda: "over" not in left(connection))
        assert left(connection) == ["live", "live"]
    assert worker.stop() == 0
    assert worker.lines[-1] == "BookIt's worker has stopped."
    assert "Traceback" not in worker.output


def test_a_migration_that_was_told_to_stop_does_not_claim_success(installed: Workspace, own_url: str) -> None:
    url = create_database(own_url, "locked", "template0")
    with psycopg.connect(url) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(4207, 0)")
        migration = installed.start("migrate", DATABASE_URL=url)
        waiting = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        wait_until(lambda: connection.execute(waiting).fetchone() is not None)

        assert migration.stop() == 1
    assert "Traceback" not in migration.output


async def test_tidying_up_keeps_what_still_lives(database: Database) -> None:
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute(SOME_OF_EACH.replace("now()", f"timestamptz '{NOW.isoformat()}'"))

        await cleanup.clean_up(database, now=NOW)
        assert left(connection) == ["live", "live"]

        await cleanup.clean_up(database, now=NOW + timedelta(hours=25))
        assert left(connection) == []
