"""Which user the server runs as, what that user can read, and who can connect."""

import os
from pathlib import Path
from typing import Any

import psycopg
import pytest

from bookit.db.embedded import postgres
from tests.db.embedded.conftest import StartProcess
from tests.support.embedded import AS_ROOT, NO_FSYNC, is_running, mode, permissions, query, server_pid

pytestmark = pytest.mark.process


def effective_capabilities(pid: int) -> str:
    """Return the capabilities of root that a process has, as bits; none is 0."""
    return Path(f"/proc/{pid}/status").read_text().split("CapEff:")[1].split()[0].strip("0") or "0"


def tcp_sockets(pid: int) -> set[str]:
    """Return the TCP sockets of a process, as far as this system shows them."""
    open_files = {str(file.readlink()) for file in Path(f"/proc/{pid}/fd").glob("*")}
    tables = [table.read_text().splitlines()[1:] for table in Path("/proc/net").glob("tcp*")]
    return open_files & {f"socket:[{line.split()[9]}]" for table in tables for line in table}


def test_an_ordinary_user_needs_only_a_folder(
    folder: Path, ordinary_user: dict[str, Any], start_process: StartProcess
) -> None:
    os.chown(folder, ordinary_user["user"], ordinary_user.get("group", -1))
    home = folder / "home"
    process = start_process(home, **ordinary_user)

    assert query(process.read_line(), "SELECT 'here'") == "here"
    assert (home.stat().st_uid, mode(home)) == (ordinary_user["user"], "drwx------")

    process.leave()
    assert not is_running(home)


@AS_ROOT
def test_root_can_use_the_home_of_an_ordinary_user(
    folder: Path, ordinary_user: dict[str, Any], start_process: StartProcess
) -> None:
    os.chown(folder, ordinary_user["user"], ordinary_user["group"])
    home = folder / "home"
    home.mkdir(mode=0o700)
    os.chown(home, ordinary_user["user"], ordinary_user["group"])

    with postgres(home, NO_FSYNC) as url:
        assert query(url, "SELECT 'root'") == "root"

    assert query(start_process(home, **ordinary_user).read_line(), "SELECT 'owner'") == "owner"


def test_it_listens_only_on_its_socket_which_only_its_user_reaches(home: Path) -> None:
    folder = home / "postgres"

    with postgres(home, NO_FSYNC) as url:
        assert query(url, "SHOW listen_addresses") == ""
        assert tcp_sockets(server_pid(home)) == set()
        assert [mode(path) for path in (folder, folder / "socket")] == ["drwx------"] * 2
        assert mode(folder / "socket/.s.PGSQL.5432") == "srwx------"


def test_bookit_can_create_databases_and_extensions_as_no_superuser(home: Path) -> None:
    with postgres(home, NO_FSYNC) as url, psycopg.connect(url) as connection:
        role = "SELECT rolsuper, rolcreatedb FROM pg_roles WHERE rolname = current_user"
        assert connection.execute(role).fetchone() == (False, True)
        connection.execute("CREATE EXTENSION btree_gist")
        connection.rollback()


@AS_ROOT
@pytest.mark.parametrize("closed", ["home", "programs"])
def test_it_runs_below_a_closed_folder_and_changes_no_permissions_outside(
    home: Path, programs: Path, closed: str
) -> None:
    folder = home.parent if closed == "home" else programs.parent
    folder.chmod(0o700)
    outside = [*home.parents, *programs.parents]
    before = [permissions(path) for path in outside]
    try:
        with postgres(home, NO_FSYNC) as url:
            assert query(url, "SELECT 'inside'") == "inside"
            # To read any file, or to access any file: one of them and no other.
            assert effective_capabilities(server_pid(home)) in {"4", "2"}
        assert [permissions(path) for path in outside] == before
    finally:
        folder.chmod(0o755)


@AS_ROOT
def test_in_open_folders_the_server_has_no_capabilities_of_root(home: Path, programs: Path) -> None:
    with postgres(home, NO_FSYNC):
        assert effective_capabilities(server_pid(home)) == "0"
        assert Path(f"/proc/{server_pid(home)}").owner() != "root"
