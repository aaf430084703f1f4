"""Concurrent reads of the same query share one call, which begins after each caller has called."""

import asyncio
import random
from collections.abc import Callable, Mapping
from typing import Any

import httpx2
import pytest

from bookit.db.coalescing import Coalescer
from bookit.schema.tables import Service
from tests.support.people import JoinUser, Person
from tests.support.polling import eventually, loop_turns

Keys = frozenset[Any]


class Source:
    """A value that is read slowly and written meanwhile."""

    def __init__(self) -> None:
        self.value = 0
        self.loads: list[Keys] = []
        self.has_begun = asyncio.Event()

    async def load(self, keys: Keys) -> Mapping[Any, int]:
        """Return the value as it was when this began."""
        self.loads.append(keys)
        self.has_begun.set()
        value = self.value
        await loop_turns(3)
        return dict.fromkeys(keys, value)


async def test_concurrent_callers_share_one_load() -> None:
    coalescer, source = Coalescer(), Source()

    results = await asyncio.gather(*(coalescer.load("page", source.load) for _ in range(100)))

    assert (results, source.loads) == ([0] * 100, [frozenset({None})])


async def test_callers_during_a_load_share_the_next_one() -> None:
    coalescer, source = Coalescer(), Source()
    first = asyncio.create_task(coalescer.load("rows", source.load, 0))
    await source.has_begun.wait()
    source.value = 5

    results = await asyncio.gather(*(coalescer.load("rows", source.load, number % 10) for number in range(50)))

    assert (await first, results) == (0, [5] * 50)
    assert source.loads == [frozenset({0}), frozenset(range(10))]


async def test_different_queries_do_not_wait_for_each_other() -> None:
    coalescer, gate = Coalescer(), asyncio.Event()

    async def slow(keys: Keys) -> Mapping[Any, str]:
        await gate.wait()
        return dict.fromkeys(keys, "slow")

    async def quick(keys: Keys) -> Mapping[Any, str]:
        return dict.fromkeys(keys, "quick")

    waiting = asyncio.create_task(coalescer.load("slow", slow))
    await loop_turns(1)

    assert await coalescer.load("quick", quick) == "quick"
    gate.set()
    assert await waiting == "slow"


@pytest.mark.parametrize("seed", range(20))
async def test_a_result_is_never_older_than_the_call(seed: int) -> None:
    coalescer, source, chance = Coalescer(), Source(), random.Random(seed)
    calls = 0

    async def writer() -> None:
        for _ in range(100):
            source.value += 1
            await loop_turns(chance.randrange(1, 6))

    async def reader() -> None:
        nonlocal calls
        for _ in range(20):
            calls, before = calls + 1, source.value
            assert await coalescer.load("page", source.load, chance.randrange(3)) >= before
            await loop_turns(chance.choice([0, 0, chance.randrange(12)]))

    await asyncio.wait_for(asyncio.gather(writer(), *(reader() for _ in range(10))), 10)

    assert len(source.loads) < calls == 200


async def test_callers_between_two_loads_are_answered() -> None:
    coalescer, source = Coalescer(), Source()

    async def call_twice() -> int:
        await coalescer.load("page", source.load)
        source.value += 1
        return int(await coalescer.load("page", source.load))

    results = await asyncio.wait_for(asyncio.gather(*(call_twice() for _ in range(30))), 5)

    assert min(results) >= 1


async def test_an_error_reaches_its_whole_batch_and_no_later_caller() -> None:
    coalescer, source = Coalescer(), Source()

    async def fail(keys: Keys) -> Mapping[Any, int]:
        await loop_turns(1)
        raise ZeroDivisionError(sorted(keys))

    calls = (coalescer.load("rows", fail, number) for number in range(4))
    results = await asyncio.gather(*calls, return_exceptions=True)

    assert [repr(result) for result in results] == ["ZeroDivisionError([0, 1, 2, 3])"] * 4
    assert await coalescer.load("rows", source.load, 1) == 0


@pytest.mark.parametrize("has_begun", [False, True])
@pytest.mark.parametrize("cancelled", range(4), ids=["first", "joined", "first of the next", "joined the next"])
async def test_a_cancelled_caller_takes_no_result_from_the_others(cancelled: int, has_begun: bool) -> None:
    coalescer, source = Coalescer(), Source()
    calls = [asyncio.create_task(coalescer.load("page", source.load)) for _ in range(2)]
    if has_begun:
        await source.has_begun.wait()
    calls += [asyncio.create_task(coalescer.load("page", source.load)) for _ in range(2)]
    await loop_turns(1)

    calls[cancelled].cancel()
    results = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 5)

    others = [result for number, result in enumerate(results) if number != cancelled]
    assert (others, type(results[cancelled])) == ([0, 0, 0], asyncio.CancelledError)


async def test_a_load_cancelled_from_outside_leaves_no_caller_waiting() -> None:
    coalescer, source = Coalescer(), Source()
    first = asyncio.create_task(coalescer.load("page", source.load))
    await source.has_begun.wait()
    tasks = [task for task in asyncio.all_tasks() if "Coalescer._run" in repr(task.get_coro())]
    second = asyncio.create_task(coalescer.load("page", source.load))
    await loop_turns(1)

    tasks[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await first

    assert await asyncio.wait_for(coalescer.load("page", source.load), 5) == 0
    assert await asyncio.wait_for(second, 5) == 0


# At the API.

GetTitle = Callable[[httpx2.Response], str]


@pytest.mark.parametrize(
    ("path", "get_title"),
    [
        ("/services/1", lambda response: response.json()["title"]),
        ("/services", lambda response: response.json()[0]["title"]),
        ("/services?limit=1&q=cut", lambda response: response.json()[0]["title"]),
    ],
)
async def test_every_read_sees_what_was_written_before_it(
    path: str, get_title: GetTitle, ada: Person, visitor: httpx2.AsyncClient, haircut: Service
) -> None:
    written = 0

    async def write() -> None:
        nonlocal written
        for number in range(1, 31):
            response = await ada.request("PATCH", f"/services/{haircut.id}", json={"title": f"Haircut {number:03}"})
            assert response.status_code == 200
            written = number
            assert get_title(await visitor.get(path)) == f"Haircut {number:03}"

    async def read() -> None:
        while written < 30:
            before = f"Haircut {written:03}" if written else "Haircut"
            assert get_title(await visitor.get(path)) >= before

    await asyncio.wait_for(asyncio.gather(write(), *(read() for _ in range(8))), 60)


async def test_a_session_that_ends_has_ended_for_every_later_read(tom: Person, ada: Person, eve: Person) -> None:
    is_ended = False
    stop = asyncio.Event()
    customers = (tom, tom, eve, ada) * 3
    reads = [0] * len(customers)

    async def read(number: int, person: Person) -> None:
        while not stop.is_set():
            was_ended = is_ended
            response = await person.request("GET", "/me")
            assert (response.status_code, response.json().get("email")) == (200, person.user.email) or (
                response.status_code == 401 and person is tom
            )
            assert not (was_ended and person is tom and response.status_code == 200)
            reads[number] += 1

    async def all_read_again(times: int) -> None:
        before = [*reads]
        await eventually(lambda: all(now >= then + times for now, then in zip(reads, before, strict=True)))

    async def change_password() -> None:
        nonlocal is_ended
        await all_read_again(3)
        passwords = {"password": "another one entirely", "current_password": "correct horse"}
        assert (await tom.request("PATCH", "/me", json=passwords)).status_code == 200
        is_ended = True
        await all_read_again(3)
        stop.set()

    readers = (read(number, person) for number, person in enumerate(customers))
    await asyncio.wait_for(asyncio.gather(change_password(), *readers), 60)
    assert (await tom.request("GET", "/me")).status_code == 401


async def test_concurrent_readers_each_get_their_own_rows(join: JoinUser, haircut: Service) -> None:
    customers = [await join(f"Customer{number}") for number in range(5)]
    for hour in range(20):
        visit = {"service_id": haircut.id, "start_time": f"2030-01-{8 + hour // 10:02}T{8 + hour % 10:02}:00:00Z"}
        assert (await customers[hour * hour % 5].request("POST", "/bookings", json=visit)).status_code == 201
    paths = ["/bookings", "/bookings?limit=2", "/bookings?limit=100", "/bookings?status=pending", "/bookings/1", "/me"]
    requests = [(person, path) for person in customers for path in paths] * 3
    one_by_one = [(await person.request("GET", path)).content for person, path in requests]

    responses = await asyncio.gather(*(person.request("GET", path) for person, path in requests))

    assert [response.content for response in responses] == one_by_one
    assert len({response.content for response in responses}) > len(paths)
