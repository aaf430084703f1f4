"""Rows as CSV, streamed: constant memory, whatever their number."""

import csv
import io
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from anyio import CancelScope, Semaphore
from sqlalchemy import Column, Select
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

A_BATCH = 250  # rows: other requests wait while a batch is written, about 3 ms
AT_ONCE = Semaphore(3)  # exports; more wait for their turn, so that pages have connections left
FORMULA = ("=", "+", "-", "@", "\t", "\r")


class StreamedRows(StreamingResponse):
    """Rows on their way; the query ends with the answer, also when nobody waits for it any more."""

    body_iterator: AsyncGenerator[str, None]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send them, and let go of the connection."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            with CancelScope(shield=True):
                await self.body_iterator.aclose()


def stream_rows(
    session_maker: Any, statement: Select[Any], columns: Sequence[Column[Any]], labels: Mapping[str, str], name: str
) -> StreamedRows:
    """Send these columns of what a statement gives, a batch at a time."""
    wanted = statement.with_only_columns(*columns, maintain_column_froms=True).execution_options(yield_per=A_BATCH)

    async def parts() -> AsyncGenerator[str, None]:
        yield lines([[labels.get(column.name, column.name) for column in columns]])
        async with AT_ONCE, session_maker() as session:
            result = await session.stream(wanted)
            try:
                async for batch in result.partitions(A_BATCH):
                    yield lines([plain(value) for value in row] for row in batch)
            finally:
                await result.close()

    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamedRows(parts(), media_type="text/csv; charset=utf-8", headers=headers)


def lines(rows: Iterable[Sequence[Any]]) -> str:
    """Write rows as lines of CSV."""
    buffer = io.StringIO()
    csv.writer(buffer).writerows(rows)
    return buffer.getvalue()


def plain(value: Any) -> Any:
    """Give a value as a spreadsheet should take it: a text that looks like a formula stays a text."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, str) and value.startswith(FORMULA):
        return f"'{value}"
    return "" if value is None else value
