"""Crowds: 64 clients on one slot, again and again, and a whole day of a service that opens at once."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import starmap

import psycopg
from fill_database import tell

from side_by_side.clients import Answer, Client, clients, percentile, request
from side_by_side.servers import Server
from side_by_side.test_data import EACH, PEOPLE, STARTS, STEP, Stage, newest, sweep

CLIENTS = 64
PLACES = STARTS * EACH


@dataclass
class Crowd:
    """What came of everybody coming at once, once or more often."""

    sold: list[int] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    deadlocks: int = 0

    @property
    def statuses(self) -> Counter[int]:
        """How many answers there were of each status."""
        return Counter(answer.status for answer in self.answers)

    @property
    def broken(self) -> int:
        """How many were answered by a failure of the server."""
        return sum(count for status, count in self.statuses.items() if status >= 500)

    def waited(self, percent: float) -> float:
        """Give the milliseconds that so many percent did not wait longer than."""
        return percentile([answer.ms for answer in self.answers], percent)


async def deadlocks(url: str) -> int:
    """Count the deadlocks this database ever had; its processes tell of theirs within a second."""
    await asyncio.sleep(1.5)
    async with await psycopg.AsyncConnection.connect(url) as console:
        found = await console.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        row = await found.fetchone()
    return int(row[0]) if row else 0


async def together(server: Server, requests: list[bytes]) -> list[Answer]:
    """Have everybody connect, and then ask at the same moment."""
    async with clients(server.port, len(requests)) as crowd:
        return await asyncio.gather(*starmap(Client.ask, zip(crowd, requests, strict=True)))


async def meet(stage: Stage, server: Server, *, rounds: int, is_baseline: bool = False) -> Crowd:
    """Have 64 clients want one slot, and then the next, so many times."""
    url = stage.baseline_url if is_baseline else stage.url
    found, before, had = Crowd(), newest(url), await deadlocks(url)
    tokens = [stage.baseline_token(n) if is_baseline else stage.token(n) for n in range(CLIENTS)]
    what = {"service_id": stage.lanes[0]} if is_baseline else {
        "service_id": stage.services[0], "resource_id": stage.resources[0]}  # fmt: skip
    for turn in range(rounds):
        body = {**what, "start_time": slot(stage.first_start(0), turn).isoformat()}
        answers = await together(server, [request("POST", "/bookings", token=token, body=body) for token in tokens])
        found.sold.append(sum(answer.status == 201 for answer in answers))
        found.answers += answers
    found.deadlocks = await deadlocks(url) - had
    sweep(url, before)
    return found


def slot(first: datetime, number: int) -> datetime:
    return first + timedelta(days=number // STARTS, minutes=STEP * (number % STARTS))


async def open_days(stage: Stage, server: Server, *, rounds: int) -> Crowd:
    """Have 500 people come for the 320 places of a day at once, each for a start of their own liking."""
    found, before, had = Crowd(), newest(stage.url), await deadlocks(stage.url)
    tokens = [stage.token(number) for number in range(PEOPLE)]
    for turn in range(rounds):
        first = stage.first_start(0) + timedelta(days=turn)
        wanted = (slot(first, number % STARTS).isoformat() for number in range(PEOPLE))
        bodies = ({"service_id": stage.day_service, "start_time": start} for start in wanted)
        sent = [request("POST", "/bookings", token=t, body=b) for t, b in zip(tokens, bodies, strict=True)]
        found.answers += await together(server, sent)
        found.sold.append(distinct(stage, first))
    found.deadlocks = await deadlocks(stage.url) - had
    sweep(stage.url, before)
    return found


def distinct(stage: Stage, first: datetime) -> int:
    """Count the places of this day that are sold, each once; those sold twice, had there been any, count less."""
    with psycopg.connect(stage.url) as console:
        row = console.execute(
            "SELECT 2 * count(DISTINCT (resource_id, seat, start_time)) - count(*) FROM bookings"
            " WHERE service_id = %s AND start_time >= %s AND start_time < %s AND status = 'pending'",
            (stage.day_service, first, first + timedelta(days=1)),
        ).fetchone()
    return int(row[0]) if row else 0


@dataclass(frozen=True)
class Crowds:
    """All of them."""

    bookit: Crowd
    baseline: Crowd
    day: Crowd


def gather(stage: Stage, bookit: Server, baseline: Server, *, rounds: int) -> Crowds:
    """Have every crowd come."""
    tell(f"  {CLIENTS} clients on one slot, {rounds} times, at BookIt")
    ours = asyncio.run(meet(stage, bookit, rounds=rounds))
    tell(f"  {CLIENTS} clients on one slot, {rounds} times, at the baseline")
    theirs = asyncio.run(meet(stage, baseline, rounds=rounds, is_baseline=True))
    days = max(1, min(5, rounds))
    tell(f"  {PEOPLE} people for {PLACES} places, {days} times")
    return Crowds(ours, theirs, asyncio.run(open_days(stage, bookit, rounds=days)))
