"""Runs one caller at a time per key."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from typing import TypeVar

T = TypeVar("T")


class Turns:
    """Who waits to do what somebody else is doing."""

    def __init__(self) -> None:
        self._waiting: dict[Hashable, deque[asyncio.Future[Exception | None]]] = {}

    async def take(self, what: Hashable, act: Callable[[], Awaitable[T]], *, refused_alike: type[Exception]) -> T:
        """Do this when nobody else is doing the same.

        A refusal ``refused_alike`` is everybody's who came before the one who met it began: what was gone by then was
        gone for them. It is raised anew for each, without arguments.
        """
        waiting = self._waiting.get(what)
        if waiting is None:
            waiting = self._waiting[what] = deque()
        else:
            await self._wait(what, waiting)
        came_before = list(waiting)
        try:
            return await act()
        except refused_alike as refusal:
            for turn in came_before:
                if not turn.done():
                    turn.set_result(refusal)
            raise
        finally:
            self._next(what, waiting)

    async def _wait(self, what: Hashable, waiting: deque[asyncio.Future[Exception | None]]) -> None:
        turn: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        waiting.append(turn)
        try:
            refusal = await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.result() is None:
                self._next(what, waiting)  # It was this one's turn, and is the next one's now.
            raise
        if refusal:
            raise type(refusal)

    def _next(self, what: Hashable, waiting: deque[asyncio.Future[Exception | None]]) -> None:
        while waiting:
            turn = waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        del self._waiting[what]
