"""`bookit` as its users meet it: commands and servers in processes of their own, in an environment of their own."""

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
from tests.conftest import ROOT

BOOKIT = (sys.executable, "-c", "from server.cli import main; main(prog_name='bookit')")
PATIENCE = 60  # seconds: only a test that fails waits so long


class Answer(NamedTuple):
    """How a command ended and what it said."""

    status: int
    said: str
    complained: str

    @property
    def refusal(self) -> str:
        """What it said when it refused: words for a person, and nothing else."""
        assert (self.status, self.said) == (1, "")
        assert "Traceback" not in self.complained
        return self.complained.strip()


class Process:
    """A command that runs until it is told to stop."""

    def __init__(self, command: tuple[str, ...], **popen: Any) -> None:
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True, **popen
        )
        self.lines: list[str] = []
        self.is_over = False
        self._news = Condition()
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr
        with self.process.stderr as stderr:
            for line in stderr:
                with self._news:
                    self.lines.append(line.rstrip("\n"))
                    self._news.notify_all()
        with self._news:
            self.is_over = True
            self._news.notify_all()

    @property
    def said(self) -> str:
        return "\n".join(self.lines)

    @property
    def logged(self) -> list[dict[str, Any]]:
        """Its lines of log; the banner has none of their shape."""
        return [json.loads(line) for line in self.lines if line.startswith("{")]

    def says(self, pattern: str, times: int = 1) -> list[str]:
        """Wait until it has said so, so many times, and give what the pattern found."""
        with self._news:
            self._news.wait_for(lambda: self.is_over or len(re.findall(pattern, self.said)) >= times, PATIENCE)
        found = re.findall(pattern, self.said)
        assert len(found) >= times, f"{pattern} is not in:\n{self.said}"
        return found

    @property
    def address(self) -> str:
        """Where it is open, once it says so."""
        return self.says(r"BookIt is open at (\S+)")[0]

    @contextmanager
    def visited(self) -> Iterator[httpx2.Client]:
        """A client of this very process."""
        with httpx2.Client(base_url=self.address, trust_env=False, timeout=PATIENCE) as client:
            yield client

    def tell(self, number: int) -> Self:
        """Send it a signal; Ctrl-C goes to all that it started, too, as from a terminal."""
        if number == signal.SIGINT:
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)
        return self

    def ends(self) -> int:
        """Wait for the end of it and of all that it started, who say their last on the same standard error."""
        self._reader.join(PATIENCE)
        assert self.is_over, f"something of it still runs:\n{self.said}"
        return self.process.wait(PATIENCE)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Tell it to stop, wait until it has, and give its exit status."""
        return self.tell(number).ends()

    def is_killed(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.ends()


class Place:
    """A folder where somebody runs BookIt: the working directory, its home, and nothing of our environment."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PYTHONPATH": str(ROOT),
            "BOOKIT_HOME": str(self.home),
            **environment,
        }
        self.command: tuple[str, ...] = BOOKIT
        self.popen: dict[str, Any] = {}
        self.started: list[Process] = []

    def start(self, *arguments: str, **environment: str) -> Process:
        """Start a command that runs until told to stop."""
        process = Process((*self.command, *arguments), **self._how(environment))
        self.started.append(process)
        return process

    def serve(self, *arguments: str, **environment: str) -> Process:
        """Start a server on any free port."""
        return self.start("serve", "--port", "0", *arguments, **environment)

    def run(self, *arguments: str, told: str = "", **environment: str) -> Answer:
        """Run a command to its end; a server, had it started, on any free port."""
        how = self._how(environment)
        arguments += ("--port", "0") if arguments == ("serve",) else ()
        ran = subprocess.run(
            [*self.command, *arguments],
            input=told,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
            **how,
        )
        return Answer(ran.returncode, ran.stdout, ran.stderr)

    def _how(self, environment: dict[str, str]) -> dict[str, Any]:
        return {"cwd": self.folder, "env": {**self.environment, **environment}, **self.popen}

    @property
    def has_a_database_running(self) -> bool:
        """Whether any process of the home's PostgreSQL lives: each of them holds this lock."""
        try:
            with (self.home / "postgres/server.lock").open() as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def close(self) -> None:
        """Leave nothing running, whatever a test did."""
        for process in self.started:
            process.is_killed()
        if self.has_a_database_running:
            with postgres(self.home):
                pass


def eventually(is_so: Callable[[], bool]) -> None:
    """Wait until it is so."""
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@contextmanager
def relay(socket_folder: Path) -> Iterator[int]:
    """Offer a PostgreSQL that listens on its socket alone on a TCP port of this machine, as one without TLS."""

    class Passing(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.socket(socket.AF_UNIX) as server:
                server.connect(str(socket_folder / f".s.PGSQL.{PORT}"))
                back = Thread(target=pump, args=(server, self.request))
                back.start()
                pump(self.request, server)
                back.join()

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Passing) as tcp:
        Thread(target=tcp.serve_forever, args=(0.05,), daemon=True).start()
        yield int(tcp.server_address[1])
        tcp.shutdown()


def pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while part := source.recv(65536):
            sink.sendall(part)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
