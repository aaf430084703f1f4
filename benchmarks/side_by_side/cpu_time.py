"""What work costs, as the kernel counts it: CPU time of a server and of PostgreSQL, and memory. Only Linux tells it."""

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

    def __sub__(self, before: "Cost") -> "Cost":
        return Cost(self.server - before.server, self.postgres - before.postgres)


def list_process_tree(pid: int) -> list[int]:
    """Give a process and all that it started."""
    found = [pid]
    for parent in found:
        with suppress(OSError):
            for children in (PROC / str(parent) / "task").glob("*/children"):
                found += map(int, children.read_text("ascii").split())
    return found


def read_thread_cpu_ns(pid: int) -> int:
    """Give the CPU time of a process of one thread so far, to the nanosecond."""
    with suppress(OSError):
        return int((PROC / f"{pid}/schedstat").read_text("ascii").split()[0])
    return 0


def read_process_cpu_ns(pid: int) -> tuple[int, int]:
    """Give the CPU time of a process, threads that ended included, and of its children that ended: to the tick."""
    with suppress(OSError):
        ticks = (PROC / f"{pid}/stat").read_text("ascii").rpartition(")")[2].split()[11:15]
        user, system, childrens_user, childrens_system = (int(each) * TICK_NS for each in ticks)
        return user + system, childrens_user + childrens_system
    return 0, 0


def is_backend(pid: int) -> bool:
    """Whether this process of PostgreSQL serves a connection, or did until just now, rather than the whole server."""
    with suppress(OSError):
        command = (PROC / str(pid) / "cmdline").read_bytes()
        return not command or b"[local]" in command
    return False


def read_postgres_cpu_ns(postmaster: int) -> int:
    """Give the CPU time of PostgreSQL's connections so far, those that are closed included."""
    while True:
        children = list_children(postmaster)
        living = sum(read_thread_cpu_ns(pid) for pid in children if is_backend(pid))
        ended = read_process_cpu_ns(postmaster)[1]
        if children == list_children(postmaster):  # or one that ended in between would count twice
            return living + ended


def list_children(pid: int) -> list[int]:
    return [int(child) for child in (PROC / f"{pid}/task/{pid}/children").read_text("ascii").split()]


@dataclass(frozen=True)
class CpuMeter:
    """Reads what a server and the PostgreSQL behind it have used."""

    postmaster: int
    server: int | None = None

    def read(self) -> Cost:
        """Give what was used so far."""
        mine = sum(read_process_cpu_ns(pid)[0] for pid in list_process_tree(self.server)) if self.server else 0
        return Cost(mine, read_postgres_cpu_ns(self.postmaster))


def read_memory(pid: int) -> tuple[float, float]:
    """Give the RSS and the PSS of a process and all that it started, in MB of 2**20 bytes."""
    sizes = {"Rss:": 0.0, "Pss:": 0.0}
    for each in list_process_tree(pid):
        with suppress(OSError):
            for line in (PROC / f"{each}/smaps_rollup").read_text("ascii").splitlines():
                name, size = [*line.split(), "", ""][:2]
                if name in sizes:
                    sizes[name] += int(size) / 1024
    return sizes["Rss:"], sizes["Pss:"]
