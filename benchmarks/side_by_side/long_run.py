"""A server over time: response times during sign-ins, memory after many requests, and the time to start."""

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

from fill_database import print_progress

from bookit.db.embedded import postgres
from side_by_side import servers
from side_by_side.clients import TimedResponse, build_request, open_clients, percentile
from side_by_side.cpu_time import read_memory
from side_by_side.load import run_wrk
from side_by_side.servers import ROOT, Server, build_bookit_command, build_environment, find_free_port, is_responding
from side_by_side.test_data import PASSWORD, BenchmarkData

REQUEST_INTERVAL = 0.005  # seconds between two requests
SIGN_INS_PER_SECOND = 20
MEMORY_STEPS = (1_000, 20_000, 40_000, 60_000, 80_000, 100_000)
COLD_START_COUNT = 5


@dataclass(frozen=True)
class SignInImpact:
    """The p50 and p99 in milliseconds, without and with sign-ins, and the statuses of the sign-ins."""

    idle: tuple[float, float]
    busy: tuple[float, float]
    sign_ins: Counter[int]


async def measure_latencies(server: Server, path: str, seconds: float) -> list[float]:
    """Send a request every few milliseconds, one after another, and return how long each response took."""
    request, latencies, until = build_request("GET", path), list[float](), time.perf_counter() + seconds
    async with open_clients(server.port, 1) as (client,):
        while time.perf_counter() < until:
            latencies.append((await client.send(request)).ms)
            await asyncio.sleep(REQUEST_INTERVAL)
    return latencies


async def send_once(server: Server, request: bytes) -> TimedResponse:
    async with open_clients(server.port, 1) as (client,):
        return await client.send(request)


async def run_sign_ins(data: BenchmarkData, server: Server, seconds: float) -> Counter[int]:
    """Start a sign-in every twentieth of a second, without waiting for the ones before."""
    tasks = []
    for number in range(int(seconds * SIGN_INS_PER_SECOND)):
        body = {"email": data.users[number].email, "password": PASSWORD}
        tasks.append(asyncio.create_task(send_once(server, build_request("POST", "/auth/login", body=body))))
        await asyncio.sleep(1 / SIGN_INS_PER_SECOND)
    return Counter(response.status for response in await asyncio.gather(*tasks))


async def measure_rounds(data: BenchmarkData, server: Server, *, rounds: int, seconds: float) -> SignInImpact:
    """Measure response times, in turn without and with sign-ins. Each round waits for its last sign-in."""
    idle, busy, statuses = list[list[float]](), list[list[float]](), Counter[int]()
    path = f"/services/{data.service_ids[0]}"
    for _ in range(rounds):
        idle.append(await measure_latencies(server, path, seconds))
        sign_ins = asyncio.create_task(run_sign_ins(data, server, seconds))
        busy.append(await measure_latencies(server, path, seconds))
        statuses += await sign_ins
    return SignInImpact(take_median_percentiles(idle), take_median_percentiles(busy), statuses)


def take_median_percentiles(rounds: list[list[float]]) -> tuple[float, float]:
    """Return the medians over the rounds of the p50 and of the p99."""
    return median(percentile(r, 50) for r in rounds), median(percentile(r, 99) for r in rounds)


def measure_sign_in_impact(data: BenchmarkData, server: Server, *, rounds: int, seconds: float) -> SignInImpact:
    print_progress(f"  response times during {SIGN_INS_PER_SECOND} sign-ins a second, {rounds} rounds")
    return asyncio.run(measure_rounds(data, server, rounds=rounds, seconds=seconds))


def measure_memory(data: BenchmarkData, *, max_requests: int) -> list[tuple[int, float, float]]:
    """Send more and more requests to a new server, and return its RSS and PSS in MB after each step."""
    sizes, done = [], 0
    paths = ("/services", f"/services/{data.service_ids[0]}", "/bookings")
    with servers.run_server(
        "BookIt, memory", build_bookit_command(), data.folder, data.env_vars, postmaster=data.postmaster
    ) as server:
        sizes.append((0, *read_memory(server.pid)))
        for step in (step for step in MEMORY_STEPS if step <= max_requests):
            while done < step:
                done += sum(run_wrk(server.url, path, tokens=data.tokens, seconds=1).requests for path in paths)
            sizes.append((done, *read_memory(server.pid)))
            print_progress(f"  memory after {done:,} requests: {sizes[-1][1]:.0f} MB")
    return sizes


def measure_cold_starts(folder: Path, start_count: int = COLD_START_COUNT) -> list[float]:
    """Return the seconds from ``bookit serve`` until it is ready. The embedded database exists but is not running."""
    home = folder / "cold"
    with postgres(home):
        pass
    env_vars = {"BOOKIT_HOME": str(home)}
    return [measure_cold_start(folder, env_vars) for _ in range(start_count + 1)][1:]


def measure_cold_start(folder: Path, env_vars: Mapping[str, str]) -> float:
    port, start = find_free_port(), time.perf_counter()
    command = [*servers.BOOKIT_COMMAND, "--port", str(port)]
    with subprocess.Popen(
        command,
        cwd=folder,
        env=build_environment(folder, **env_vars),
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        while not is_responding(f"http://127.0.0.1:{port}/readyz"):
            time.sleep(0.005)
        seconds = time.perf_counter() - start
        process.terminate()
    print_progress(f"  ready after {seconds:.2f} s")
    return seconds


def measure_imports() -> tuple[float, list[tuple[str, float]]]:
    """Return the milliseconds that importing the application takes, in total and of the ten slowest packages."""
    command = [sys.executable, "-X", "importtime", "-c", "import server.app"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    by_package = defaultdict[str, float](float)
    for microseconds, name in re.findall(r"^import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)$", result.stderr, re.MULTILINE):
        by_package[name.partition(".")[0]] += int(microseconds) / 1000
    return sum(by_package.values()), sorted(by_package.items(), key=lambda item: -item[1])[:10]
