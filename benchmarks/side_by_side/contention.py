"""Crowds: 64 clients on one slot, again and again, and a whole day of a service that opens at once."""

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
    """What came of everybody coming at once, once or more often."""

    booked_counts: list[int] = field(default_factory=list)
    responses: list[TimedResponse] = field(default_factory=list)
    deadlock_count: int = 0

    @property
    def status_counts(self) -> Counter[int]:
        """How many answers there were of each status."""
        return Counter(answer.status for answer in self.responses)

    @property
    def server_error_count(self) -> int:
        """How many were answered by a failure of the server."""
        return sum(count for status, count in self.status_counts.items() if status >= 500)

    def wait_percentile(self, percent: float) -> float:
        """Give the milliseconds that so many percent did not wait longer than."""
        return percentile([answer.ms for answer in self.responses], percent)


async def count_deadlocks(url: str) -> int:
    """Count the deadlocks this database ever had; its processes tell of theirs within a second."""
    await asyncio.sleep(1.5)
    async with await psycopg.AsyncConnection.connect(url) as console:
        found = await console.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        row = await found.fetchone()
    return int(row[0]) if row else 0


async def send_concurrently(server: Server, requests: list[bytes]) -> list[TimedResponse]:
    """Have everybody connect, and then ask at the same moment."""
    async with open_clients(server.port, len(requests)) as crowd:
        return await asyncio.gather(*starmap(Client.send, zip(crowd, requests, strict=True)))


async def contend_for_slot(
    data: BenchmarkData, server: Server, *, rounds: int, is_baseline: bool = False
) -> ContentionResult:
    """Have 64 clients want one slot, and then the next, so many times."""
    url = data.baseline_url if is_baseline else data.url
    found, before, had = ContentionResult(), fetch_latest_booking_id(url), await count_deadlocks(url)
    tokens = [data.create_baseline_token(n) if is_baseline else data.create_token(n) for n in range(CLIENT_COUNT)]
    what = {"service_id": data.baseline_service_ids[0]} if is_baseline else {
        "service_id": data.service_ids[0], "resource_id": data.resource_ids[0]}  # fmt: skip
    for turn in range(rounds):
        body = {**what, "start_time": nth_start(data.get_first_start(0), turn).isoformat()}
        answers = await send_concurrently(
            server, [build_request("POST", "/bookings", token=token, body=body) for token in tokens]
        )
        found.booked_counts.append(sum(answer.status == 201 for answer in answers))
        found.responses += answers
    found.deadlock_count = await count_deadlocks(url) - had
    delete_bookings(url, before)
    return found


def nth_start(first: datetime, number: int) -> datetime:
    return first + timedelta(days=number // STARTS_PER_DAY, minutes=STEP_MINUTES * (number % STARTS_PER_DAY))


async def contend_for_day(data: BenchmarkData, server: Server, *, rounds: int) -> ContentionResult:
    """Have 500 people come for the 320 places of a day at once, each for a start of their own liking."""
    found, before, had = ContentionResult(), fetch_latest_booking_id(data.url), await count_deadlocks(data.url)
    tokens = [data.create_token(number) for number in range(CUSTOMER_COUNT)]
    for turn in range(rounds):
        first = data.get_first_start(0) + timedelta(days=turn)
        wanted = (nth_start(first, number % STARTS_PER_DAY).isoformat() for number in range(CUSTOMER_COUNT))
        bodies = ({"service_id": data.day_service_id, "start_time": start} for start in wanted)
        sent = [build_request("POST", "/bookings", token=t, body=b) for t, b in zip(tokens, bodies, strict=True)]
        found.responses += await send_concurrently(server, sent)
        found.booked_counts.append(count_distinct_seats(data, first))
    found.deadlock_count = await count_deadlocks(data.url) - had
    delete_bookings(data.url, before)
    return found


def count_distinct_seats(data: BenchmarkData, first: datetime) -> int:
    """Count the places of this day that are sold, each once; those sold twice, had there been any, count less."""
    with psycopg.connect(data.url) as console:
        row = console.execute(
            "SELECT 2 * count(DISTINCT (resource_id, seat, start_time)) - count(*) FROM bookings"
            " WHERE service_id = %s AND start_time >= %s AND start_time < %s AND status = 'pending'",
            (data.day_service_id, first, first + timedelta(days=1)),
        ).fetchone()
    return int(row[0]) if row else 0


@dataclass(frozen=True)
class ContentionResults:
    """All of them."""

    bookit: ContentionResult
    baseline: ContentionResult
    day: ContentionResult


def measure_contention(data: BenchmarkData, bookit: Server, baseline: Server, *, rounds: int) -> ContentionResults:
    """Have every crowd come."""
    print_progress(f"  {CLIENT_COUNT} clients on one slot, {rounds} times, at BookIt")
    ours = asyncio.run(contend_for_slot(data, bookit, rounds=rounds))
    print_progress(f"  {CLIENT_COUNT} clients on one slot, {rounds} times, at the baseline")
    theirs = asyncio.run(contend_for_slot(data, baseline, rounds=rounds, is_baseline=True))
    days = max(1, min(5, rounds))
    print_progress(f"  {CUSTOMER_COUNT} people for {DAY_CAPACITY} places, {days} times")
    return ContentionResults(ours, theirs, asyncio.run(contend_for_day(data, bookit, rounds=days)))
