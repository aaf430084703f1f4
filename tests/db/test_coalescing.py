"""Those who ask the same at once share an answer, which was begun after each of them asked."""

import asyncio
import random
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import httpx2
import pytest

from bookit.db.coalescing import Coalescer
from bookit.db.contention import KeyedQueue
from bookit.schema.tables import Service
from tests.conftest import JoinUser, Person

Numbers = frozenset[Any]


class Ledger:
    """Something that is read slowly, and written meanwhile."""

    def __init__(self) -> None:
        self.written = 0
        self.read: list[Numbers] = []
        self.has_begun = asyncio.Event()

    async def reading(self, about: Numbers) -> Mapping[Any, int]:
        """Give what was written when this began."""
        self.read.append(about)
        self.has_begun.set()
        found = self.written
        await asyncio.sleep(0.001)
        return dict.fromkeys(about, found)


async def test_all_who_ask_at_once_are_answered_together() -> None:
    gathering, ledger = Coalescer(), Ledger()

    found = await asyncio.gather(*(gathering.load("page", ledger.reading) for _ in range(100)))

    assert (found, ledger.read) == ([0] * 100, [frozenset({None})])


async def test_all_who_ask_while_one_is_answered_are_answered_together() -> None:
    gathering, ledger = Coalescer(), Ledger()
    first = asyncio.create_task(gathering.load("rows", ledger.reading, 0))
    await ledger.has_begun.wait()
    ledger.written = 5

    found = await asyncio.gather(*(gathering.load("rows", ledger.reading, n % 10) for n in range(50)))

    assert (await first, found) == (0, [5] * 50)
    assert ledger.read == [frozenset({0}), frozenset(range(10))]


async def test_other_questions_do_not_wait_for_each_other() -> None:
    gathering, gate = Coalescer(), asyncio.Event()

    async def slow(about: Numbers) -> Mapping[Any, str]:
        await gate.wait()
        return dict.fromkeys(about, "slow")

    async def quick(about: Numbers) -> Mapping[Any, str]:
        return dict.fromkeys(about, "quick")

    waits = asyncio.create_task(gathering.load("slow", slow))
    await asyncio.sleep(0)

    assert await gathering.load("quick", quick) == "quick"
    gate.set()
    assert await waits == "slow"


@pytest.mark.parametrize("seed", range(20))
async def test_an_answer_is_never_older_than_its_question(seed: int) -> None:
    gathering, ledger, chance = Coalescer(), Ledger(), random.Random(seed)
    asked = 0

    async def writer() -> None:
        for _ in range(100):
            ledger.written += 1
            await asyncio.sleep(chance.random() / 1000)

    async def reader() -> None:
        nonlocal asked
        for _ in range(20):
            asked, before = asked + 1, ledger.written
            assert await gathering.load("page", ledger.reading, chance.randrange(3)) >= before
            await asyncio.sleep(chance.choice([0, 0, chance.random() / 500]))

    await asyncio.wait_for(asyncio.gather(writer(), *(reader() for _ in range(10))), 10)

    assert len(ledger.read) < asked == 200


async def test_who_asks_between_two_rounds_is_not_forgotten() -> None:
    gathering, ledger = Coalescer(), Ledger()

    async def asks_again() -> int:
        await gathering.load("page", ledger.reading)
        ledger.written += 1
        return int(await gathering.load("page", ledger.reading))

    found = await asyncio.wait_for(asyncio.gather(*(asks_again() for _ in range(30))), 5)

    assert min(found) >= 1


async def test_what_an_answer_raises_all_of_its_round_meet_and_nobody_after_them() -> None:
    gathering, ledger = Coalescer(), Ledger()

    async def fails(about: Numbers) -> Mapping[Any, int]:
        await asyncio.sleep(0.001)
        raise ZeroDivisionError(sorted(about))

    found = await asyncio.gather(*(gathering.load("rows", fails, n) for n in range(4)), return_exceptions=True)

    assert [repr(one) for one in found] == ["ZeroDivisionError([0, 1, 2, 3])"] * 4
    assert await gathering.load("rows", ledger.reading, 1) == 0


@pytest.mark.parametrize("has_begun", [False, True])
@pytest.mark.parametrize("leaves", range(4), ids=["who asked", "who joined", "who began a round", "who joined it"])
async def test_nobody_who_leaves_takes_the_answer_from_the_others(leaves: int, has_begun: bool) -> None:
    gathering, ledger = Coalescer(), Ledger()
    asks = [asyncio.create_task(gathering.load("page", ledger.reading)) for _ in range(2)]
    if has_begun:
        await ledger.has_begun.wait()
    asks += [asyncio.create_task(gathering.load("page", ledger.reading)) for _ in range(2)]
    await asyncio.sleep(0)

    asks[leaves].cancel()
    found = await asyncio.wait_for(asyncio.gather(*asks, return_exceptions=True), 5)

    stays = [one for number, one in enumerate(found) if number != leaves]
    assert (stays, type(found[leaves])) == ([0, 0, 0], asyncio.CancelledError)


async def test_a_round_that_is_ended_from_outside_leaves_nobody_waiting_for_ever() -> None:
    gathering, ledger = Coalescer(), Ledger()
    first = asyncio.create_task(gathering.load("page", ledger.reading))
    await ledger.has_begun.wait()
    answering = [task for task in asyncio.all_tasks() if "Coalescer._run" in repr(task.get_coro())]
    next_one = asyncio.create_task(gathering.load("page", ledger.reading))
    await asyncio.sleep(0)

    answering[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await first

    assert await asyncio.wait_for(gathering.load("page", ledger.reading), 5) == 0
    assert await asyncio.wait_for(next_one, 5) == 0


class Taken(Exception):
    """All places are gone."""


class Room:
    """Somewhere that takes so many, one after another."""

    def __init__(self, places: int) -> None:
        self.places = places
        self.tries = 0

    async def enter(self) -> int:
        """Take a place; refuses when there was none at the beginning."""
        self.tries += 1
        is_full = not self.places
        await asyncio.sleep(0.001)
        if is_full:
            raise Taken
        self.places -= 1
        return self.places


@pytest.mark.parametrize("places", [0, 1, 3])
async def test_of_many_who_want_the_same_only_one_finds_it_gone(places: int) -> None:
    turns, room = KeyedQueue(), Room(places)

    wants = (turns.run("slot", room.enter, shared_error=Taken) for _ in range(50))
    found = await asyncio.wait_for(asyncio.gather(*wants, return_exceptions=True), 5)

    assert (sum(type(one) is Taken for one in found), room.places) == (50 - places, 0)
    assert room.tries == places + 1 + (places == 0)  # Of none, the first began before the others came.


async def test_who_comes_while_it_is_found_gone_tries_anew() -> None:
    turns, room = KeyedQueue(), Room(0)
    first = asyncio.create_task(turns.run("slot", room.enter, shared_error=Taken))
    await asyncio.sleep(0)
    room.places = 1  # Somebody cancelled, after the first had looked and before the second came.

    assert await turns.run("slot", room.enter, shared_error=Taken) == 0
    with pytest.raises(Taken):
        await first


async def test_other_refusals_are_ones_own() -> None:
    turns, met = KeyedQueue(), list[int]()

    async def act(number: int) -> None:
        await asyncio.sleep(0)
        met.append(number)
        raise ZeroDivisionError

    wants = (turns.run("slot", partial(act, number), shared_error=Taken) for number in range(5))
    found = await asyncio.gather(*wants, return_exceptions=True)

    assert ([type(one) for one in found], met) == ([ZeroDivisionError] * 5, [0, 1, 2, 3, 4])


@pytest.mark.parametrize("leaves", range(4))
@pytest.mark.parametrize("ticks", range(12))
async def test_nobody_who_leaves_keeps_the_others_waiting(leaves: int, ticks: int) -> None:
    turns, room = KeyedQueue(), Room(10)
    wants = [asyncio.create_task(turns.run("slot", room.enter, shared_error=Taken)) for _ in range(5)]
    for _ in range(ticks):
        await asyncio.sleep(0.0003)

    wants[leaves].cancel()
    found = await asyncio.wait_for(asyncio.gather(*wants, return_exceptions=True), 5)

    assert sum(isinstance(one, int) for one in found) == 10 - room.places >= 4
    assert await turns.run("slot", room.enter, shared_error=Taken) == room.places


Read = Callable[[httpx2.Response], str]


@pytest.mark.parametrize(
    ("path", "read"),
    [
        ("/services/1", lambda answer: answer.json()["title"]),
        ("/services", lambda answer: answer.json()[0]["title"]),
        ("/services?limit=1&q=cut", lambda answer: answer.json()[0]["title"]),
    ],
)
async def test_everybody_reads_what_was_written_before_they_asked(
    path: str, read: Read, ada: Person, visitor: httpx2.AsyncClient, haircut: Service
) -> None:
    written = 0

    async def owner() -> None:
        nonlocal written
        for number in range(1, 31):
            answer = await ada.request("PATCH", f"/services/{haircut.id}", json={"title": f"Haircut {number:03}"})
            assert answer.status_code == 200
            written = number
            assert read(await visitor.get(path)) == f"Haircut {number:03}"

    async def anybody() -> None:
        while written < 30:
            before = f"Haircut {written:03}" if written else "Haircut"
            assert read(await visitor.get(path)) >= before

    await asyncio.wait_for(asyncio.gather(owner(), *(anybody() for _ in range(8))), 60)


async def test_who_is_shut_out_is_shut_out_at_once(tom: Person, ada: Person, eve: Person) -> None:
    is_shut = False
    stop = asyncio.Event()

    async def reads(person: Person) -> None:
        while not stop.is_set():
            was_shut = is_shut
            answer = await person.request("GET", "/me")
            assert (answer.status_code, answer.json().get("email")) == (200, person.user.email) or (
                answer.status_code == 401 and person is tom
            )
            assert not (was_shut and person is tom and answer.status_code == 200)

    async def owner() -> None:
        nonlocal is_shut
        await asyncio.sleep(0.05)
        password = {"password": "another one entirely", "current_password": "correct horse"}
        assert (await tom.request("PATCH", "/me", json=password)).status_code == 200
        is_shut = True
        await asyncio.sleep(0.1)
        stop.set()

    await asyncio.wait_for(asyncio.gather(owner(), *(reads(one) for one in (tom, tom, eve, ada) * 3)), 60)
    assert (await tom.request("GET", "/me")).status_code == 401


async def test_everybody_who_asks_at_once_gets_their_own(join: JoinUser, haircut: Service) -> None:
    customers = [await join(f"Customer{number}") for number in range(5)]
    for hour in range(20):
        visit = {"service_id": haircut.id, "start_time": f"2030-01-{8 + hour // 10:02}T{8 + hour % 10:02}:00:00Z"}
        assert (await customers[hour * hour % 5].asks("POST", "/bookings", json=visit)).status_code == 201
    paths = ["/bookings", "/bookings?limit=2", "/bookings?limit=100", "/bookings?status=pending", "/bookings/1", "/me"]
    asked = [(person, path) for person in customers for path in paths] * 3
    alone = [(await person.asks("GET", path)).content for person, path in asked]

    together = await asyncio.gather(*(person.asks("GET", path) for person, path in asked))

    assert [answer.content for answer in together] == alone
    assert len({answer.content for answer in together}) > len(paths)
