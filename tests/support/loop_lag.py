"""How long an answer holds the event loop: while it does, every other request waits."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

WAKE_SECONDS = 0.001


class LoopLag:
    """The longest time in which the loop ran nothing but one callback, in milliseconds.

    It is CPU time, so that other processes of the machine do not count.
    """

    def __init__(self) -> None:
        self.longest_ms = 0.0

    async def watch(self) -> None:
        """Wake every millisecond, and note how much the loop has computed since."""
        before = time.thread_time()
        while True:
            await asyncio.sleep(WAKE_SECONDS)
            now = time.thread_time()
            self.longest_ms = max(self.longest_ms, (now - before) * 1000)
            before = now


@asynccontextmanager
async def watch_loop() -> AsyncIterator[LoopLag]:
    """Watch the loop while the block runs."""
    lag = LoopLag()
    watcher = asyncio.create_task(lag.watch())
    await asyncio.sleep(0)
    try:
        yield lag
        await asyncio.sleep(2 * WAKE_SECONDS)  # The watcher has to wake after the last slice.
    finally:
        watcher.cancel()
        with suppress(asyncio.CancelledError):
            await watcher
