"""Waiting for a condition instead of sleeping for a fixed time."""

import asyncio
from collections.abc import Callable


async def eventually(condition: Callable[[], bool], *, seconds: float = 20) -> None:
    """Return once the condition holds. Raise TimeoutError if it does not within these seconds."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 -- the condition sets no event
            await asyncio.sleep(0.005)


async def loop_turns(count: int) -> None:
    """Return after so many iterations of the event loop, so that a test's order of steps is the same each time."""
    for _ in range(count):
        await asyncio.sleep(0)
