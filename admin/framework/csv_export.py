"""Rows as CSV, streamed: constant memory, whatever their number."""

import csv
import io
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from datetime import datetime

from anyio import CancelScope, Semaphore
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from admin.framework.types import Column, Statement

BATCH_ROWS = 250  # rows: other requests wait while a batch is written, about 3 ms
EXPORT_SLOTS = Semaphore(3)  # exports; more wait for their turn, so that pages have connections left
FORMULA_PREFIXES = ("=", "+", "-", "@", "\t", "\r")


class CsvStreamingResponse(StreamingResponse):
    """Rows as a stream. The query ends with the response, also when the client has disconnected."""

    body_iterator: AsyncGenerator[str, None]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the rows, and release the connection."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            with CancelScope(shield=True):
                await self.body_iterator.aclose()


def stream_rows(
    session_maker: async_sessionmaker[AsyncSession],
    statement: Statement,
    columns: Sequence[Column],
    labels: Mapping[str, str],
    filename: str,
) -> CsvStreamingResponse:
    """Return a response that sends these columns of a statement's rows, a batch at a time."""
    batches = statement.with_only_columns(*columns, maintain_column_froms=True).execution_options(yield_per=BATCH_ROWS)

    async def parts() -> AsyncGenerator[str, None]:
        yield format_csv([[labels.get(column.name, column.name) for column in columns]])
        async with EXPORT_SLOTS, session_maker() as session:
            result = await session.stream(batches)
            try:
                async for batch in result.partitions(BATCH_ROWS):
                    yield format_csv([format_csv_value(value) for value in row] for row in batch)
            finally:
                await result.close()

    headers = {"Content-Disposition": f'attachment; filename="{filename}"'}
    return CsvStreamingResponse(parts(), media_type="text/csv; charset=utf-8", headers=headers)


def format_csv(rows: Iterable[Sequence[object]]) -> str:
    """Return rows as lines of CSV."""
    buffer = io.StringIO()
    csv.writer(buffer).writerows(rows)
    return buffer.getvalue()


def format_csv_value(value: object) -> object:
    """Return a value as a spreadsheet should read it: a text that looks like a formula stays a text."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, str) and value.startswith(FORMULA_PREFIXES):
        return f"'{value}"
    return "" if value is None else value
