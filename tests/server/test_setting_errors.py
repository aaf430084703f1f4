"""Invalid settings: each one is reported in a sentence, which never quotes the password of the database."""

import pytest

from bookit.schema import revisions
from bookit.settings import SettingsError, read_settings
from tests.support.processes import Workspace

pytestmark = pytest.mark.process

PASSWORD = "a-password-of-the-database"


def test_each_invalid_variable_has_its_line(workspace: Workspace) -> None:
    refusal = workspace.run(
        "serve",
        ALGORITHM="none",
        ACCESS_TOKEN_EXPIRE_MINUTES="abc",
        TIMEZONE="Mars/Olympus",
        DATABASE_POOL_SIZE="0",
        DATABASE_URL=f"mysql://bookit:{PASSWORD}@127.0.0.1/bookit",
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


def test_the_environment_overrides_dotenv(installed: Workspace) -> None:
    (installed.folder / ".env").write_text("TIMEZONE=Mars/Olympus\nALGORITHM=none\nUNKNOWN=1\n")

    assert [line.split(":")[0] for line in installed.run("check").error_message.splitlines()] == [
        "ALGORITHM",
        "TIMEZONE",
    ]
    assert installed.run("check", ALGORITHM="HS384", TIMEZONE="Europe/Berlin").status == 0


def test_a_dotenv_that_is_not_text_is_refused(workspace: Workspace) -> None:
    (workspace.folder / ".env").write_bytes(b"SECRET_KEY=\xff\xfe\n")

    assert workspace.run("check").error_message == "BookIt cannot read .env: it is not UTF-8."


def test_a_home_that_cannot_be_created_is_refused(workspace: Workspace) -> None:
    refusal = workspace.run("serve", BOOKIT_HOME="/dev/null/home").error_message

    reason = "BookIt cannot store its secret in /dev/null/home/secret_key: Not a directory."
    assert refusal == f"{reason} Set BOOKIT_HOME to another folder."


def test_an_empty_secret_file_is_refused(workspace: Workspace) -> None:
    workspace.home.mkdir()
    (workspace.home / "secret_key").touch()

    refusal = workspace.run("check").error_message

    assert (
        refusal
        == f"{workspace.home}/secret_key contains no secret of 32 bytes. Delete it, and BookIt creates a new one."
    )


@pytest.mark.parametrize(
    ("command", "secret", "problem"), [("serve", "", "is missing"), ("check", "too short", "has only 9 bytes")]
)
def test_the_users_own_database_needs_a_real_secret(
    installed: Workspace, command: str, secret: str, problem: str
) -> None:
    refusal = installed.run(command, SECRET_KEY=secret).error_message

    assert refusal.splitlines() == [
        f"SECRET_KEY {problem}. It signs tokens and cookies; use 32 bytes or more. Create one with:",
        '  python3 -c "import secrets; print(secrets.token_hex(32))"',
    ]


@pytest.mark.parametrize(
    "url",
    [
        "postgres://clerk:right@{tcp}/bookit",
        "postgresql://clerk:right@{tcp}/bookit?sslmode=prefer",
        "postgresql+psycopg://clerk:r%69ght@{tcp}/bookit?sslmode=disable",
    ],
)
def test_every_usual_spelling_of_a_url_works(installed: Workspace, tcp: str, url: str) -> None:
    result = installed.run("check", DATABASE_URL=url.format(tcp=tcp))

    assert (result.status, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "The settings are valid.",
        "PostgreSQL 18 is running (from DATABASE_URL).",
        f"The schema is up to date ({revisions.latest_revision()}).",
        "BookIt and its database have the same time zones.",
    ]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (
            "postgresql://clerk:PASSWORD@127.0.0.1:1/bookit",
            'server at "127.0.0.1", port 1 failed: Connection refused. ',
        ),
        ("postgresql://clerk:PASSWORD@127.0.0.1:1,127.0.0.1:2/bookit", "Connection refused. "),
        ("postgresql://clerk:PASSWORD@nowhere.invalid/bookit", "failed to resolve host 'nowhere.invalid': "),
        ("postgresql://clerk:PASSWORD@{tcp}/bookit", 'failed: password authentication failed for user "clerk". '),
        ("postgresql://stranger:PASSWORD@{tcp}/bookit", 'failed: role "stranger" does not exist. '),
        ("postgresql://clerk:right@{tcp}/nothing", 'failed: database "nothing" does not exist. '),
        (
            "postgresql://clerk:right@{tcp}/bookit?sslmode=require",
            "server does not support SSL, but SSL was required. ",
        ),
        ("postgresql://clerk:right@{tcp}/bookit?sslmode=maybe", 'invalid sslmode value: "maybe". '),
    ],
)
def test_a_database_out_of_reach_is_named_without_the_password(
    installed: Workspace, tcp: str, url: str, reason: str
) -> None:
    refusal = installed.run("migrate", DATABASE_URL=url.format(tcp=tcp).replace("PASSWORD", PASSWORD)).error_message

    assert refusal.startswith("BookIt cannot reach its database: ")
    assert reason in refusal
    assert refusal.endswith(". Check DATABASE_URL.")
    assert len(refusal.splitlines()) == 1
    assert PASSWORD not in refusal


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("127.0.0.1:5432", "it must start with postgresql://"),
        ("mysql://clerk:PASSWORD@127.0.0.1/bookit", "it must start with postgresql://"),
        ("postgresql://clerk:100%PASSWORD@127.0.0.1/bookit", "it is not an address such as"),
        ("postgresql://clerk:p@PASSWORD@127.0.0.1/bookit", "it is not an address such as"),
        ("postgresql://clerk:p/PASSWORD@127.0.0.1/bookit", "it is not an address such as"),
        ("postgresql://clerk:p PASSWORD@127.0.0.1/bookit", "it is not an address such as"),
        ("postgresql://clerk:PASSWORD@[::1/bookit", "it is not an address such as"),
        ("postgresql://clerk:PASSWORD@127.0.0.1:abc/bookit", "it is not an address such as"),
        ("postgresql://clerk:PASSWORD\udcff@127.0.0.1/bookit", "it is not an address such as"),
        ("postgresql://clerk:PASSWORD@127.0.0.1/bookit?nonsense=1", 'invalid URI query parameter: "nonsense"'),
    ],
)
def test_an_invalid_url_is_refused_without_quoting_the_password(url: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=f"^DATABASE_URL: {reason}") as refusal:
        read_settings(database_url=url.replace("PASSWORD", PASSWORD), _env_file=None)

    assert PASSWORD not in str(refusal.value)
