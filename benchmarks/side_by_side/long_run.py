"""A server over time: how long others wait while people sign in, what its memory does, how long it takes to start."""

import asyncio
import re
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from fill_database import tell

from bookit.db.embedded import postgres
from side_by_side import servers
from side_by_side.clients import Answer, clients, percentile, request
from side_by_side.cpu_time import memory
from side_by_side.load import wrk
from side_by_side.servers import ROOT, Server, answers, bookit, environment, free_port
from side_by_side.test_data import PASSWORD, Stage

EVERY = 0.005  # seconds between two that ask
SIGN_INS = 20  # a second
STEPS = (1_000, 20_000, 40_000, 60_000, 80_000, 100_000)
STARTS = 5


@dataclass(frozen=True)
class Waits:
    """What others waited, in milliseconds, while nobody signed in and while many did, and how these were answered."""

    idle: tuple[float, float]
    busy: tuple[float, float]
    sign_ins: Counter[int]


async def pace(server: Server, path: str, seconds: float) -> list[float]:
    """Ask every few milliseconds, one after another, and give how long each answer took."""
    sent, found, until = request("GET", path), list[float](), time.perf_counter() + seconds
    async with clients(server.port, 1) as (client,):
        while time.perf_counter() < until:
            found.append((await client.ask(sent)).ms)
            await asyncio.sleep(EVERY)
    return found


async def once(server: Server, sent: bytes) -> Answer:
    async with clients(server.port, 1) as (client,):
        return await client.ask(sent)


async def sign_in(stage: Stage, server: Server, seconds: float) -> Counter[int]:
    """Have somebody sign in every twentieth of a second, whether or not those before were answered."""
    tasks = []
    for number in range(int(seconds * SIGN_INS)):
        body = {"email": stage.users[number].email, "password": PASSWORD}
        tasks.append(asyncio.create_task(once(server, request("POST", "/auth/login", body=body))))
        await asyncio.sleep(1 / SIGN_INS)
    return Counter(answer.status for answer in await asyncio.gather(*tasks))


async def wait(stage: Stage, server: Server, *, rounds: int, seconds: float) -> Waits:
    """Measure what others wait, in turn without and with sign-ins; each round lets the last sign-in end."""
    idle, busy, statuses = list[list[float]](), list[list[float]](), Counter[int]()
    path = f"/services/{stage.services[0]}"
    for _ in range(rounds):
        idle.append(await pace(server, path, seconds))
        signing_in = asyncio.create_task(sign_in(stage, server, seconds))
        busy.append(await pace(server, path, seconds))
        statuses += await signing_in
    return Waits(middle_of(idle), middle_of(busy), statuses)


def middle_of(rounds: list[list[float]]) -> tuple[float, float]:
    """Give the median over the rounds of the p50 and of the p99."""
    return median(percentile(r, 50) for r in rounds), median(percentile(r, 99) for r in rounds)


def waits(stage: Stage, server: Server, *, rounds: int, seconds: float) -> Waits:
    tell(f"  others while {SIGN_INS} a second sign in, {rounds} rounds")
    return asyncio.run(wait(stage, server, rounds=rounds, seconds=seconds))


def grow(stage: Stage, *, most: int) -> list[tuple[int, float, float]]:
    """Have a server of its own answer more and more requests, and give its RSS and PSS in MB after so many."""
    sizes, done = [], 0
    paths = ("/services", f"/services/{stage.services[0]}", "/bookings")
    with servers.serving(
        "BookIt, its memory", bookit(), stage.folder, stage.told, postmaster=stage.postmaster
    ) as server:
        sizes.append((0, *memory(server.pid)))
        for step in (step for step in STEPS if step <= most):
            while done < step:
                done += sum(wrk(server.address, path, tokens=stage.tokens, seconds=1).requests for path in paths)
            sizes.append((done, *memory(server.pid)))
            tell(f"  memory after {done:,} requests: {sizes[-1][1]:.0f} MB")
    return sizes


def cold_starts(folder: Path, times: int = STARTS) -> list[float]:
    """Give the seconds from ``bookit serve`` to a ready answer, the database being there but not running."""
    home = folder / "cold"
    with postgres(home):
        pass
    told = {"BOOKIT_HOME": str(home)}
    return [cold_start(folder, told) for _ in range(times + 1)][1:]


def cold_start(folder: Path, told: Mapping[str, str]) -> float:
    port, began = free_port(), time.perf_counter()
    command = [*servers.BOOKIT, "--port", str(port)]
    with subprocess.Popen(
        command, cwd=folder, env=environment(folder, **told), stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        while not answers(f"http://127.0.0.1:{port}/readyz"):
            time.sleep(0.005)
        took = time.perf_counter() - began
        process.terminate()
    tell(f"  ready after {took:.2f} s")
    return took


def imports() -> tuple[float, list[tuple[str, float]]]:
    """Give the milliseconds it takes to import BookIt's doors, and the ten packages that most of it goes to."""
    command = [sys.executable, "-X", "importtime", "-c", "import server.app"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    own = defaultdict[str, float](float)
    for microseconds, name in re.findall(r"^import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)$", ran.stderr, re.MULTILINE):
        own[name.partition(".")[0]] += int(microseconds) / 1000
    return sum(own.values()), sorted(own.items(), key=lambda item: -item[1])[:10]
