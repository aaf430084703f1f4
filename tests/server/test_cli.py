"""The `bookit` command: its help, and what it reports about the database."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import psycopg
import pytest

from bookit import refusals as no
from bookit.schema import revisions
from tests.support.databases import create_database, sibling_url
from tests.support.processes import Workspace, wait_until
from tests.support.timezones import OTHER_ZONE, write_other_clocks

pytestmark = pytest.mark.process

COMMANDS = ("serve", "migrate", "create-admin", "reset-second-factor", "remove-demo", "worker", "check")
PASSWORD = "correct horse battery"


def test_help_has_one_line_for_each_command(workspace: Workspace) -> None:
    printed = workspace.run("--help")

    assert (printed.status, printed.stderr) == (0, "")
    assert printed.stdout.startswith("Usage: bookit [OPTIONS] COMMAND [ARGS]...\n")
    commands = printed.stdout.partition("Commands:\n")[2]
    assert sorted(re.findall(r"^  ([a-z-]+) +[A-Z].*[a-zC]\.$", commands, re.MULTILINE)) == sorted(COMMANDS)
    assert len(commands.splitlines()) == len(COMMANDS)


def test_the_help_of_a_command_needs_no_settings(workspace: Workspace) -> None:
    with ThreadPoolExecutor() as threads:
        results = list(threads.map(lambda command: workspace.run(command, "--help", DATABASE_URL="nonsense"), COMMANDS))

    for command, result in zip(COMMANDS, results, strict=True):
        assert (result.status, result.stderr) == (0, "")
        assert result.stdout.startswith(f"Usage: bookit {command} [OPTIONS]")
    assert "--password-stdin" in results[COMMANDS.index("create-admin")].stdout
    assert not workspace.home.exists()


def test_each_command_reports_a_database_out_of_reach_alike(installed: Workspace) -> None:
    def refusal(command: tuple[str, ...]) -> str:
        url = "postgresql://clerk:wrong@127.0.0.1:1/bookit"
        return installed.run(*command, stdin_text=f"{PASSWORD}\n", DATABASE_URL=url).error_message

    with ThreadPoolExecutor() as threads:
        commands = [("serve",), ("migrate",), ("create-admin", "ada@example.com", "--password-stdin"), ("worker",)]
        refusals = set(threads.map(refusal, commands))

    (sentence,) = refusals
    assert sentence.startswith("BookIt cannot reach its database: ")


def test_serve_refuses_an_old_schema_until_it_is_migrated(installed: Workspace, own_url: str) -> None:
    installed.environment["DATABASE_URL"] = sibling_url(own_url, "empty")
    needed = (
        "The database is empty. This version of BookIt needs migration"
        f" {revisions.latest_revision()}. Run: bookit migrate"
    )
    assert installed.run("serve").error_message == needed

    assert installed.run("migrate") == (0, f"Migrated from empty to {revisions.latest_revision()}.\n", "")
    assert installed.run("migrate") == (0, f"The database is up to date ({revisions.latest_revision()}).\n", "")

    server = installed.serve()
    assert httpx2.get(f"{server.url}/readyz", trust_env=False).status_code == 200
    assert server.stop() == 0
    assert not installed.home.exists()


@pytest.mark.parametrize("command", ["serve", "check"])
def test_a_newer_schema_is_refused(installed: Workspace, own_url: str, command: str) -> None:
    result = installed.run(command, DATABASE_URL=sibling_url(own_url, "newer"))

    assert result.status == 1
    assert result.stderr == (
        "This database was made by a newer version of BookIt"
        f" (migration 9999; this version has {revisions.latest_revision()}). Update BookIt.\n"
    )


def test_migrate_reports_a_role_that_cannot_create_tables(installed: Workspace, own_url: str) -> None:
    url = create_database(own_url, "closed", "template0").replace("bookit@", "guest@")

    assert installed.run("migrate", DATABASE_URL=url).error_message.startswith(
        "The database reports an error: permission denied "
    )


def test_check_reports_the_state_of_the_embedded_database(workspace: Workspace) -> None:
    running = "The settings are valid.\nPostgreSQL 18 is running (embedded).\n"
    empty = "The database is empty. bookit serve creates its schema.\n"

    assert workspace.run("check") == (0, running + empty, "")
    assert workspace.run("migrate") == (0, f"Migrated from empty to {revisions.latest_revision()}.\n", "")
    ready = f"The schema is up to date ({revisions.latest_revision()}).\n"
    clocks = "BookIt and its database have the same time zones.\n"
    assert workspace.run("check") == (0, running + ready + clocks, "")
    assert not workspace.is_database_running


def test_the_rules_for_accounts_hold_for_an_admin_too(installed: Workspace, own_url: str) -> None:
    def refusal(email: str, password: str) -> str:
        return installed.run("create-admin", email, "--password-stdin", stdin_text=password).error_message

    with psycopg.connect(own_url) as connection:
        connection.execute("INSERT INTO users (name, email, password_hash) VALUES ('Ada', 'ada@example.com', '-')")
    with ThreadPoolExecutor() as threads:
        emails = ["ADA@example.com", "bea", *["bea@example.com"] * 4]
        weak = ["1234567\n", "pear " * 15, "password123\n", "bea-1990\n"]
        refusals = list(threads.map(refusal, emails, [f"{PASSWORD}\n", f"{PASSWORD}\r\n", *weak]))

    assert refusals == [
        "This e-mail address is already registered.",
        "Enter an e-mail address such as name@example.com.",
        "Use at least 8 characters.",
        "Use at most 72 bytes. A letter such as ä takes two.",
        no.PasswordTooCommon.__doc__,
        no.PasswordIsYourName.__doc__,
    ]


def test_the_lone_owner_who_lost_their_second_factor_resets_it(installed: Workspace, own_url: str) -> None:
    with psycopg.connect(own_url, autocommit=True) as connection:
        add = "INSERT INTO users (name, email, password_hash, role) VALUES ('Ona', 'ona@example.com', '-', 'admin')"
        (number,) = connection.execute(f"{add} RETURNING id").fetchone() or (0,)
        connection.execute("INSERT INTO authenticators (user_id, secret, last_step) VALUES (%s, 's', 0)", [number])

        results = [
            installed.run("reset-second-factor", email) for email in ("ONA@example.com", "ona@example.com", "x@y.z")
        ]

        left = connection.execute("SELECT count(*) FROM authenticators WHERE user_id = %s", [number]).fetchone()
        events = "SELECT action, actor, door, reason FROM events WHERE table_name = 'authenticators' ORDER BY id DESC"
        event = connection.execute(events).fetchone()
    assert results[0].stdout == (
        "ONA@example.com signs in with the password alone now, and was signed out everywhere.\n"
    )
    assert results[1].stdout == "ona@example.com had no second factor.\n"
    assert results[2].error_message == "Nobody has the e-mail address x@y.z."
    assert (left, event) == ((0,), ("deleted", "admin", "cli", "Second factor reset"))


def test_a_stopped_migration_does_not_report_success(installed: Workspace, own_url: str) -> None:
    url = create_database(own_url, "locked", "template0")
    with psycopg.connect(url) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(4207, 0)")
        migration = installed.start("migrate", DATABASE_URL=url)
        blocked = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        wait_until(lambda: connection.execute(blocked).fetchone() is not None)

        assert migration.stop() == 1
    assert "Traceback" not in migration.output


@pytest.mark.parametrize("command", [["check"], ["serve", "--port", "0"]])
def test_a_server_with_other_clocks_is_refused_at_the_start(
    installed: Workspace, own_url: str, tmp_path: Path, command: list[str]
) -> None:
    zones = write_other_clocks(tmp_path)

    result = installed.run(*command, DATABASE_URL=own_url, TIMEZONE=OTHER_ZONE, PYTHONTZPATH=str(zones))

    assert result.status == 1
    assert re.match(r"The clocks of America/Vancouver differ: at [-\d]+ [:\d]+ UTC, PostgreSQL \d+", result.stderr)
    assert f"and Python ({zones}) has UTC+05:45. Update the time-zone data" in result.stderr
