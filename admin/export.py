"""Rows as CSV, streamed: constant memory, whatever their number."""

import csv
import io
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Column, Select
from starlette.responses import StreamingResponse

A_BATCH = 1000
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def stream_rows(
    session_maker: Any, statement: Select[Any], columns: Sequence[Column[Any]], labels: Mapping[str, str], name: str
) -> StreamingResponse:
    """Send these columns of what a statement gives, a batch at a time."""
    wanted = statement.with_only_columns(*columns, maintain_column_froms=True).execution_options(yield_per=A_BATCH)

    async def parts() -> AsyncIterator[str]:
        yield line([labels.get(column.name, column.name) for column in columns])
        async with session_maker() as session:
            result = await session.stream(wanted)
            async for batch in result.partitions(A_BATCH):
                yield "".join(line([plain(value) for value in row]) for row in batch)

    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(parts(), media_type="text/csv; charset=utf-8", headers=headers)


def line(values: Sequence[Any]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer).writerow(values)
    return buffer.getvalue()


def plain(value: Any) -> Any:
    """Give a value as a spreadsheet should take it: a text that looks like a formula stays a text."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, str) and value.startswith(FORMULA):
        return f"'{value}"
    return "" if value is None else value
