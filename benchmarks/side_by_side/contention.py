"""Contention: 64 clients want one slot at the same moment; 500 clients want the seats of one day."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import starmap

import psycopg
from fill_database import print_progress

from side_by_side.clients import Client, TimedResponse, build_request, open_clients, percentile
from side_by_side.servers import Server
from side_by_side.test_data import (
    CUSTOMER_COUNT,
    RESOURCES_PER_SERVICE,
    STARTS_PER_DAY,
    STEP_MINUTES,
    BenchmarkData,
    delete_bookings,
    fetch_latest_booking_id,
)

CLIENT_COUNT = 64
DAY_CAPACITY = STARTS_PER_DAY * RESOURCES_PER_SERVICE


@dataclass
class ContentionResult:
    """The results of one or more rounds of simultaneous requests."""

    booked_counts: list[int] = field(default_factory=list)
    responses: list[TimedResponse] = field(default_factory=list)
    deadlock_count: int = 0

    @property
    def status_counts(self) -> Counter[int]:
        """How many responses had each status."""
        return Counter(response.status for response in self.responses)

    @property
    def server_error_count(self) -> int:
        """How many responses were server errors."""
        return sum(count for status, count in self.status_counts.items() if status >= 500)

    def wait_percentile(self, percent: float) -> float:
        """Return this percentile of the response times, in milliseconds."""
        return percentile([response.ms for response in self.responses], percent)


async def count_deadlocks(url: str) -> int:
    """Return how many deadlocks this database has had."""
    await asyncio.sleep(1.5)  # PostgreSQL's processes report their statistics within a second
    async with await psycopg.AsyncConnection.connect(url) as console:
        cursor = await console.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        row = await cursor.fetchone()
    return int(row[0]) if row else 0


async def send_concurrently(server: Server, requests: list[bytes]) -> list[TimedResponse]:
    """Connect every client first, then send all requests at the same moment."""
    async with open_clients(server.port, len(requests)) as clients:
        return await asyncio.gather(*starmap(Client.send, zip(clients, requests, strict=True)))


async def contend_for_slot(
    data: BenchmarkData, server: Server, *, rounds: int, is_baseline: bool = False
) -> ContentionResult:
    """Let 64 clients book one slot, then the next one, for this many rounds."""
    url = data.baseline_url if is_baseline else data.url
    result, latest_id, deadlocks = ContentionResult(), fetch_latest_booking_id(url), await count_deadlocks(url)
    tokens = [data.create_baseline_token(n) if is_baseline else data.create_token(n) for n in range(CLIENT_COUNT)]
    visit = {"service_id": data.service_ids[0], "resource_id": data.resource_ids[0]}
    if is_baseline:
        visit = {"service_id": data.baseline_service_ids[0]}
    for turn in range(rounds):
        body = {**visit, "start_time": nth_start(data.get_first_start(0), turn).isoformat()}
        requests = [build_request("POST", "/bookings", token=token, body=body) for token in tokens]
        responses = await send_concurrently(server, requests)
        result.booked_counts.append(sum(response.status == 201 for response in responses))
        result.responses += responses
    result.deadlock_count = await count_deadlocks(url) - deadlocks
    delete_bookings(url, latest_id)
    return result


def nth_start(first: datetime, number: int) -> datetime:
    return first + timedelta(days=number // STARTS_PER_DAY, minutes=STEP_MINUTES * (number % STARTS_PER_DAY))


async def contend_for_day(data: BenchmarkData, server: Server, *, rounds: int) -> ContentionResult:
    """Let 500 clients book the 320 seats of a day at once, spread over its start times."""
    result, latest_id = ContentionResult(), fetch_latest_booking_id(data.url)
    deadlocks = await count_deadlocks(data.url)
    tokens = [data.create_token(number) for number in range(CUSTOMER_COUNT)]
    for turn in range(rounds):
        first = data.get_first_start(0) + timedelta(days=turn)
        starts = (nth_start(first, number % STARTS_PER_DAY).isoformat() for number in range(CUSTOMER_COUNT))
        bodies = ({"service_id": data.day_service_id, "start_time": start} for start in starts)
        requests = [build_request("POST", "/bookings", token=t, body=b) for t, b in zip(tokens, bodies, strict=True)]
        result.responses += await send_concurrently(server, requests)
        result.booked_counts.append(count_distinct_seats(data, first))
    result.deadlock_count = await count_deadlocks(data.url) - deadlocks
    delete_bookings(data.url, latest_id)
    return result


def count_distinct_seats(data: BenchmarkData, first: datetime) -> int:
    """Return how many seats of this day are booked. A seat that is booked twice counts negatively."""
    with psycopg.connect(data.url) as console:
        row = console.execute(
            "SELECT 2 * count(DISTINCT (resource_id, seat, start_time)) - count(*) FROM claims"
            " WHERE booking_id IN (SELECT id FROM bookings WHERE service_id = %s AND status = 'pending')"
            " AND start_time >= %s AND start_time < %s",
            (data.day_service_id, first, first + timedelta(days=1)),
        ).fetchone()
    return int(row[0]) if row else 0


@dataclass(frozen=True)
class ContentionResults:
    """The results of BookIt and the baseline on one slot, and of BookIt on a whole day."""

    bookit: ContentionResult
    baseline: ContentionResult
    day: ContentionResult


def measure_contention(data: BenchmarkData, bookit: Server, baseline: Server, *, rounds: int) -> ContentionResults:
    """Measure contention for one slot on both systems, and for a day on BookIt."""
    print_progress(f"  {CLIENT_COUNT} clients on one slot, {rounds} times, at BookIt")
    bookit_result = asyncio.run(contend_for_slot(data, bookit, rounds=rounds))
    print_progress(f"  {CLIENT_COUNT} clients on one slot, {rounds} times, at the baseline")
    baseline_result = asyncio.run(contend_for_slot(data, baseline, rounds=rounds, is_baseline=True))
    days = max(1, min(5, rounds))
    print_progress(f"  {CUSTOMER_COUNT} clients for {DAY_CAPACITY} seats, {days} times")
    day_result = asyncio.run(contend_for_day(data, bookit, rounds=days))
    return ContentionResults(bookit_result, baseline_result, day_result)
