"""`bookit` as its users run it: commands and servers in their own processes and environment."""

import fcntl
import json
import os
import re
import signal
import socket
import socketserver
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Condition, Thread
from typing import Any, NamedTuple, Self

import httpx2

from bookit.db.embedded import PORT, postgres
from tests.support.server import ROOT

BOOKIT_COMMAND = (sys.executable, "-c", "from server.cli import main; main(prog_name='bookit')")
TIMEOUT_SECONDS = 60  # seconds; only a failing test waits this long


class CommandResult(NamedTuple):
    """The exit status and the output of a command."""

    status: int
    stdout: str
    stderr: str

    @property
    def error_message(self) -> str:
        """The error message of a refusal: one sentence, and nothing else."""
        assert (self.status, self.stdout) == (1, "")
        assert "Traceback" not in self.stderr
        return self.stderr.strip()


class BookitProcess:
    """A command that runs until it is stopped."""

    def __init__(self, command: tuple[str, ...], **popen: Any) -> None:
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True, **popen
        )
        self.lines: list[str] = []
        self.has_ended = False
        self._changed = Condition()
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr
        with self.process.stderr as stderr:
            for line in stderr:
                with self._changed:
                    self.lines.append(line.rstrip("\n"))
                    self._changed.notify_all()
        with self._changed:
            self.has_ended = True
            self._changed.notify_all()

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    @property
    def log_entries(self) -> list[dict[str, Any]]:
        """Return its log lines; the lines of the banner have another format."""
        return [json.loads(line) for line in self.lines if line.startswith("{")]

    def wait_for_output(self, pattern: str, times: int = 1) -> list[str]:
        """Wait until the pattern has occurred so many times; return its matches."""
        with self._changed:
            self._changed.wait_for(
                lambda: self.has_ended or len(re.findall(pattern, self.output)) >= times, TIMEOUT_SECONDS
            )
        matches = re.findall(pattern, self.output)
        assert len(matches) >= times, f"{pattern} is not in:\n{self.output}"
        return matches

    @property
    def url(self) -> str:
        """Return its URL, once it has printed it."""
        return self.wait_for_output(r"BookIt is open at (\S+)")[0]

    @contextmanager
    def open_client(self) -> Iterator[httpx2.Client]:
        """Create a client of this process."""
        with httpx2.Client(base_url=self.url, trust_env=False, timeout=TIMEOUT_SECONDS) as client:
            yield client

    def send_signal(self, signal_number: int) -> Self:
        """Send it a signal; Ctrl-C also goes to its children, as from a terminal."""
        if signal_number == signal.SIGINT:
            os.killpg(self.process.pid, signal_number)
        else:
            self.process.send_signal(signal_number)
        return self

    def wait(self) -> int:
        """Wait for the end of it and of its children, which write to the same standard error."""
        self._reader.join(TIMEOUT_SECONDS)
        assert self.has_ended, f"something of it still runs:\n{self.output}"
        return self.process.wait(TIMEOUT_SECONDS)

    def stop(self, signal_number: int = signal.SIGTERM) -> int:
        """Stop it, wait for its end, and return its exit status."""
        return self.send_signal(signal_number).wait()

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.wait()


class Workspace:
    """A folder to run BookIt in: the working directory, its home, and nothing of our environment."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PYTHONPATH": str(ROOT),
            "BOOKIT_HOME": str(self.home),
            "RATE_LIMITS": "0",
            **environment,
        }
        self.command: tuple[str, ...] = BOOKIT_COMMAND
        self.popen_options: dict[str, Any] = {}
        self.processes: list[BookitProcess] = []

    def start(self, *arguments: str, **environment: str) -> BookitProcess:
        """Start a command that runs until it is stopped."""
        process = BookitProcess((*self.command, *arguments), **self._popen_options(environment))
        self.processes.append(process)
        return process

    def serve(self, *arguments: str, **environment: str) -> BookitProcess:
        """Start a server on any free port."""
        return self.start("serve", "--port", "0", *arguments, **environment)

    def run(self, *arguments: str, stdin_text: str = "", **environment: str) -> CommandResult:
        """Run a command to its end; a server, if it started one, on any free port."""
        how = self._popen_options(environment)
        arguments += ("--port", "0") if arguments == ("serve",) else ()
        ran = subprocess.run(
            [*self.command, *arguments],
            input=stdin_text,
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_SECONDS,
            **how,
        )
        return CommandResult(ran.returncode, ran.stdout, ran.stderr)

    def _popen_options(self, environment: dict[str, str]) -> dict[str, Any]:
        return {"cwd": self.folder, "env": {**self.environment, **environment}, **self.popen_options}

    @property
    def is_database_running(self) -> bool:
        """Return whether any process of the home's PostgreSQL lives: each of them holds this lock."""
        try:
            with (self.home / "postgres/server.lock").open() as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def close(self) -> None:
        """Stop everything that still runs."""
        for process in self.processes:
            process.kill()
        if self.is_database_running:
            with postgres(self.home):
                pass


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait until the condition holds."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@contextmanager
def relay_postgres(socket_folder: Path) -> Iterator[int]:
    """Offer a PostgreSQL that listens only on its socket on a TCP port of this machine, without TLS."""

    class Passing(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.socket(socket.AF_UNIX) as server:
                server.connect(str(socket_folder / f".s.PGSQL.{PORT}"))
                back = Thread(target=copy_bytes, args=(server, self.request))
                back.start()
                copy_bytes(self.request, server)
                back.join()

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Passing) as tcp:
        Thread(target=tcp.serve_forever, args=(0.05,), daemon=True).start()
        yield int(tcp.server_address[1])
        tcp.shutdown()


def copy_bytes(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while part := source.recv(65536):
            sink.sendall(part)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
