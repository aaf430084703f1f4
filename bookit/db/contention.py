"""Runs one caller at a time per key and shares one error with the callers that queued before it was met.

The queue is per process: callers in two workers meet only in the database, whose constraints decide. Gain: of 64
callers of one process that book one slot, two or three ask the database.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from typing import TypeVar

T = TypeVar("T")
Turn = asyncio.Future[Exception | None]  # None: it is the caller's turn; an error: raise it without a turn


class KeyedQueue:
    """A first-in-first-out queue per key, for the callers of this process."""

    def __init__(self) -> None:
        self._queues: dict[Hashable, deque[Turn]] = {}  # a key is present while one of its callers runs

    async def run(self, key: Hashable, act: Callable[[], Awaitable[T]], *, shared_error: type[Exception]) -> T:
        """Run ``act`` when no other caller runs with this key, and return its result.

        If it raises ``shared_error``, the callers that had queued before it began get an error of the same type, made
        without arguments, and do not run: what was gone by then is gone for them too.
        """
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = deque()
        else:
            await self._wait(key, queue)
        queued_before = list(queue)
        try:
            return await act()
        except shared_error as error:
            for turn in queued_before:
                if not turn.done():
                    turn.set_result(error)
            raise
        finally:
            self._wake_next(key, queue)

    async def _wait(self, key: Hashable, queue: deque[Turn]) -> None:
        turn: Turn = asyncio.get_running_loop().create_future()
        queue.append(turn)
        try:
            error = await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.result() is None:
                self._wake_next(key, queue)  # This caller was cancelled on its turn; pass the turn on.
            raise
        if error:
            raise type(error)

    def _wake_next(self, key: Hashable, queue: deque[Turn]) -> None:
        while queue:
            turn = queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        del self._queues[key]
