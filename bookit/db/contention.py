"""Runs one caller at a time per key."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from typing import TypeVar

T = TypeVar("T")


class KeyedQueue:
    """Who waits to do what somebody else is doing."""

    def __init__(self) -> None:
        self._waiters: dict[Hashable, deque[asyncio.Future[Exception | None]]] = {}

    async def run(self, key: Hashable, act: Callable[[], Awaitable[T]], *, shared_error: type[Exception]) -> T:
        """Do this when nobody else is doing the same.

        A refusal ``refused_alike`` is everybody's who came before the one who met it began: what was gone by then was
        gone for them. It is raised anew for each, without arguments.
        """
        waiting = self._waiters.get(key)
        if waiting is None:
            waiting = self._waiters[key] = deque()
        else:
            await self._wait(key, waiting)
        came_before = list(waiting)
        try:
            return await act()
        except shared_error as refusal:
            for turn in came_before:
                if not turn.done():
                    turn.set_result(refusal)
            raise
        finally:
            self._wake_next(key, waiting)

    async def _wait(self, key: Hashable, waiters: deque[asyncio.Future[Exception | None]]) -> None:
        turn: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        waiters.append(turn)
        try:
            refusal = await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.result() is None:
                self._wake_next(key, waiters)  # It was this one's turn, and is the next one's now.
            raise
        if refusal:
            raise type(refusal)

    def _wake_next(self, key: Hashable, waiters: deque[asyncio.Future[Exception | None]]) -> None:
        while waiters:
            turn = waiters.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        del self._waiters[key]
