"""``KeyedQueue`` runs one caller at a time per key and shares one error with the callers that queued before it."""

import asyncio
from functools import partial

import pytest

from bookit.db.contention import KeyedQueue
from tests.support.polling import loop_turns


class Taken(Exception):
    """No seat is left."""


class SeatPool:
    """Seats that one caller at a time can take."""

    def __init__(self, seats: int) -> None:
        self.seats = seats
        self.attempts = 0

    async def enter(self) -> int:
        """Take a seat and return how many are left. Raise ``Taken`` if there was none when this began."""
        self.attempts += 1
        is_full = not self.seats
        await loop_turns(3)
        if is_full:
            raise Taken
        self.seats -= 1
        return self.seats


@pytest.mark.parametrize("seats", [0, 1, 3])
async def test_of_many_callers_only_one_fails_itself(seats: int) -> None:
    queue, pool = KeyedQueue(), SeatPool(seats)

    calls = (queue.run("slot", pool.enter, shared_error=Taken) for _ in range(50))
    results = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 5)

    assert (sum(type(result) is Taken for result in results), pool.seats) == (50 - seats, 0)
    assert pool.attempts == seats + 1 + (seats == 0)  # Without seats, the first began before the others had queued.


async def test_a_caller_that_comes_during_a_failing_run_tries_again() -> None:
    queue, pool = KeyedQueue(), SeatPool(0)
    first = asyncio.create_task(queue.run("slot", pool.enter, shared_error=Taken))
    await loop_turns(1)
    pool.seats = 1  # A cancellation, after the first had looked and before the second called.

    assert await queue.run("slot", pool.enter, shared_error=Taken) == 0
    with pytest.raises(Taken):
        await first


async def test_other_errors_are_not_shared() -> None:
    queue, numbers_run = KeyedQueue(), list[int]()

    async def act(number: int) -> None:
        await loop_turns(1)
        numbers_run.append(number)
        raise ZeroDivisionError

    calls = (queue.run("slot", partial(act, number), shared_error=Taken) for number in range(5))
    results = await asyncio.gather(*calls, return_exceptions=True)

    assert ([type(result) for result in results], numbers_run) == ([ZeroDivisionError] * 5, [0, 1, 2, 3, 4])


@pytest.mark.parametrize("cancelled", range(4))
@pytest.mark.parametrize("turns", range(24))
async def test_a_cancelled_caller_does_not_block_the_others(cancelled: int, turns: int) -> None:
    queue, pool = KeyedQueue(), SeatPool(10)
    calls = [asyncio.create_task(queue.run("slot", pool.enter, shared_error=Taken)) for _ in range(5)]
    await loop_turns(turns)

    calls[cancelled].cancel()
    results = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 5)

    assert sum(isinstance(result, int) for result in results) == 10 - pool.seats >= 4
    assert await queue.run("slot", pool.enter, shared_error=Taken) == pool.seats


async def test_callers_of_other_keys_do_not_wait() -> None:
    queue, gate = KeyedQueue(), asyncio.Event()

    async def answer() -> str:
        return "answer"

    waiting = asyncio.create_task(queue.run("slot", gate.wait, shared_error=Taken))
    await loop_turns(1)

    assert await queue.run("other slot", answer, shared_error=Taken) == "answer"
    gate.set()
    assert await waiting
