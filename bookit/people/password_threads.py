"""Threads that hash passwords, and the queues before them: staff first, and strangers last."""

import os
import sys
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from enum import IntEnum
from threading import Condition, Thread
from typing import Any, NamedTuple


class Queue(IntEnum):
    """The queues for the hashing of passwords, in the order in which they are served. The last two take turns.

    A queue is chosen by what a request shows, and never by the account it names: else, while others wait, the time of
    an answer would say whose account it is.
    """

    STAFF = 0  # who has signed in as staff, now or before on this device
    STAFF_PANEL = 1
    CUSTOMERS = 2
    SIGN_UPS = 3


class Task(NamedTuple):
    """What a thread runs next, and where its result goes."""

    future: Future[Any]
    function: Callable[..., Any]
    args: tuple[str, ...]


class PasswordThreads:
    """A few threads of low priority. They start with the first task and end with the process."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._threads: list[Thread] = []
        self._tasks: dict[Queue, deque[Task]] = {queue: deque() for queue in Queue}
        self._last = Queue.SIGN_UPS
        self._changed = Condition()

    def waiting(self, queue: Queue) -> int:
        """Return how many tasks wait in a queue."""
        return len(self._tasks[queue])

    def submit(self, queue: Queue, function: Callable[..., Any], *args: str) -> Future[Any]:
        """Put a task in a queue. Its future can be cancelled until a thread takes it."""
        task = Task(Future(), function, args)
        with self._changed:
            while len(self._threads) < self.count:
                self._threads.append(Thread(target=self._run, name="passwords", daemon=True))
                self._threads[-1].start()
            self._tasks[queue].append(task)
            self._changed.notify()
        return task.future

    def _run(self) -> None:
        lower_priority()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: any(self._tasks.values()))
                task = self._take()
            if task.future.set_running_or_notify_cancel():
                try:
                    result = task.function(*task.args)
                except BaseException as error:  # noqa: BLE001 -- it is raised where the result is awaited
                    task.future.set_exception(error)
                else:
                    task.future.set_result(result)
            del task

    def _take(self) -> Task:
        order = list(Queue)
        if self._last == Queue.CUSTOMERS:
            order[-2:] = Queue.SIGN_UPS, Queue.CUSTOMERS
        queue = next(queue for queue in order if self._tasks[queue])
        if queue >= Queue.CUSTOMERS:
            self._last = queue
        return self._tasks[queue].popleft()


def lower_priority() -> None:
    """Lower the priority of this thread. Only Linux has priorities of threads."""
    if sys.platform == "linux":
        os.nice(10)
