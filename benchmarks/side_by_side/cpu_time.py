"""CPU time of a server and of PostgreSQL, and memory, as the kernel counts them. This needs Linux."""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

TICK_NS = 10**9 // os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")


@dataclass(frozen=True)
class Cost:
    """CPU time, in nanoseconds."""

    server: int
    postgres: int

    def __sub__(self, other: "Cost") -> "Cost":
        return Cost(self.server - other.server, self.postgres - other.postgres)


def list_process_tree(pid: int) -> list[int]:
    """Return the ids of a process and its descendants."""
    pids = [pid]
    for parent in pids:  # grows while the loop runs
        with suppress(OSError):
            for children in (PROC / str(parent) / "task").glob("*/children"):
                pids += map(int, children.read_text("ascii").split())
    return pids


def read_thread_cpu_ns(pid: int) -> int:
    """Return the CPU time of a single-threaded process so far, to the nanosecond."""
    with suppress(OSError):
        return int((PROC / f"{pid}/schedstat").read_text("ascii").split()[0])
    return 0


def read_process_cpu_ns(pid: int) -> tuple[int, int]:
    """Return the CPU time of a process with all its threads, and of its ended children, to the clock tick."""
    with suppress(OSError):
        ticks = (PROC / f"{pid}/stat").read_text("ascii").rpartition(")")[2].split()[11:15]
        user, system, childrens_user, childrens_system = (int(each) * TICK_NS for each in ticks)
        return user + system, childrens_user + childrens_system
    return 0, 0


def is_backend(pid: int) -> bool:
    """Whether this PostgreSQL process serves a connection, or has just ended; not a background process."""
    with suppress(OSError):
        command = (PROC / str(pid) / "cmdline").read_bytes()
        return not command or b"[local]" in command
    return False


def read_postgres_cpu_ns(postmaster: int) -> int:
    """Return the CPU time of PostgreSQL's connections so far, closed ones included."""
    while True:
        children = list_children(postmaster)
        running = sum(read_thread_cpu_ns(pid) for pid in children if is_backend(pid))
        ended = read_process_cpu_ns(postmaster)[1]
        if children == list_children(postmaster):  # else a process that ended in between would count twice
            return running + ended


def list_children(pid: int) -> list[int]:
    return [int(child) for child in (PROC / f"{pid}/task/{pid}/children").read_text("ascii").split()]


@dataclass(frozen=True)
class CpuMeter:
    """Reads the CPU time of a server and of its PostgreSQL."""

    postmaster: int
    server: int | None = None

    def read(self) -> Cost:
        """Return the CPU time so far."""
        server = sum(read_process_cpu_ns(pid)[0] for pid in list_process_tree(self.server)) if self.server else 0
        return Cost(server, read_postgres_cpu_ns(self.postmaster))


def read_memory(pid: int) -> tuple[float, float]:
    """Return the RSS and the PSS of a process and its descendants, in MB of 2**20 bytes."""
    sizes = {"Rss:": 0.0, "Pss:": 0.0}
    for member in list_process_tree(pid):
        with suppress(OSError):
            for line in (PROC / f"{member}/smaps_rollup").read_text("ascii").splitlines():
                name, size = [*line.split(), "", ""][:2]
                if name in sizes:
                    sizes[name] += int(size) / 1024
    return sizes["Rss:"], sizes["Pss:"]
