"""``uvicorn main:app`` on a database of one's own: it serves, or says in one line why it cannot."""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.databases import TEMPLATE_DATABASE, create_database
from tests.support.processes import Workspace
from tests.support.server import ROOT

pytestmark = pytest.mark.process

SECRET = "a secret that is long enough for HS256"
UVICORN = (sys.executable, "-m", "uvicorn", "--app-dir", str(ROOT), "main:app", "--port", "0")


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    """Return a folder in which a command starts uvicorn instead of BookIt's own command."""
    workspace = Workspace(tmp_path, SECRET_KEY=SECRET)
    workspace.command = UVICORN
    yield workspace
    workspace.close()


def test_the_application_serves_on_a_migrated_database(workspace: Workspace, server: str, worker_id: str) -> None:
    url = create_database(server, f"asgi_{worker_id}", TEMPLATE_DATABASE)

    process = workspace.start(DATABASE_URL=url)
    process.wait_for_output(r"Uvicorn running on (http://\S+)")

    process.stop(signal.SIGINT)
    assert "Traceback" not in process.output
    assert not workspace.home.exists()


@pytest.mark.parametrize(
    ("database", "secret", "line"),
    [
        ("asgi_empty", SECRET, "The database is empty. This version of BookIt needs migration"),
        ("asgi_empty", "changeme" * 5, "SECRET_KEY can be guessed: it is an example or a pattern."),
    ],
    ids=["an empty database", "an example of a secret"],
)
def test_what_stops_the_start_is_one_line(
    database: str, secret: str, line: str, workspace: Workspace, server: str, worker_id: str
) -> None:
    url = create_database(server, f"{database}_{worker_id}", "template0")

    result = workspace.run(DATABASE_URL=url, SECRET_KEY=secret)

    assert (result.status, result.stdout, "Traceback" in result.stderr) == (1, "", False)
    assert [text for text in result.stderr.splitlines() if text.startswith(line)] != []


def test_a_setting_that_is_nonsense_stops_the_start_in_one_line(workspace: Workspace) -> None:
    result = workspace.run(ALLOWED_ORIGINS="example.com")

    assert result.status == 1
    assert result.stderr.splitlines()[-1] == (
        "ALLOWED_ORIGINS: example.com is not an origin; write * or scheme://host[:port], such as https://www.example.com"
    )
