"""Rows as a file for a spreadsheet, streamed: constant memory, whatever their number."""

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from typing import Protocol

from anyio import CancelScope, Semaphore
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from admin.framework.csv_format import CsvWriter
from admin.framework.export_columns import ExportSelection, make_batch_formatter
from admin.framework.types import Cell
from admin.framework.xlsx_format import XlsxSheetWriter

BATCH_ROWS = 250  # rows: other requests wait while a batch is written, about 8 ms
EXPORT_SLOTS = Semaphore(3)  # exports; more wait for their turn, so that pages have connections left
CSV_TYPE = "text/csv; charset=utf-8"
XLSX_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


class SheetWriter(Protocol):
    """Writes a file part by part."""

    def start(self, titles: Sequence[str]) -> bytes:
        """Return the beginning of the file, with the heading of each column."""

    def write(self, rows: Iterable[Sequence[Cell]]) -> bytes:
        """Return the rows as the next part of the file."""

    def finish(self) -> bytes:
        """Return the end of the file."""

    def close(self) -> None:
        """Release what the writer holds, also if the file is not finished."""


@dataclass(frozen=True)
class ExportFormat:
    """A kind of file: its label, and how it is written; the writer takes a name for the sheet."""

    label: str
    extension: str
    media_type: str
    make_writer: Callable[[str], SheetWriter]

    def headers(self, filename: str) -> Mapping[str, str]:
        """Return the headers of a response with such a file."""
        return {"Content-Disposition": f'attachment; filename="{filename}.{self.extension}"'}


EXPORT_FORMATS: Mapping[str, ExportFormat] = {
    "csv": ExportFormat("CSV with commas", "csv", CSV_TYPE, lambda _: CsvWriter(",")),
    "csv-semicolon": ExportFormat("CSV with semicolons", "csv", CSV_TYPE, lambda _: CsvWriter(";")),
    "xlsx": ExportFormat("Excel (XLSX)", "xlsx", XLSX_TYPE, XlsxSheetWriter),
}


class ExportStreamingResponse(StreamingResponse):
    """Rows as a stream. The query ends with the response, also when the client has disconnected."""

    body_iterator: AsyncGenerator[bytes, None]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the rows, and release the connection."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            with CancelScope(shield=True):
                await self.body_iterator.aclose()


def stream_rows(
    session_maker: async_sessionmaker[AsyncSession],
    selection: ExportSelection,
    export_format: ExportFormat,
    *,
    name: str,
    day: date,
) -> ExportStreamingResponse:
    """Return a response that sends the columns of a selection, a batch of rows at a time."""
    columns = selection.columns
    expressions = [expression for column in columns for expression in column.expressions]
    selected = selection.statement.with_only_columns(*expressions, maintain_column_froms=True)
    batches = selected.execution_options(yield_per=BATCH_ROWS)
    format_batch, writer = make_batch_formatter(columns), export_format.make_writer(name)

    async def parts() -> AsyncGenerator[bytes, None]:
        with closing(writer):
            yield writer.start([column.title for column in columns])
            async with EXPORT_SLOTS, session_maker() as session:
                result = await session.stream(batches)
                try:
                    async for batch in result.partitions(BATCH_ROWS):
                        yield writer.write(await format_batch(batch))
                finally:
                    await result.close()
            yield writer.finish()

    headers = export_format.headers(f"{name.lower().replace(' ', '-')}-{day}")
    return ExportStreamingResponse(parts(), media_type=export_format.media_type, headers=headers)


def render_rows(
    titles: Sequence[str], rows: Iterable[Sequence[Cell]], export_format: ExportFormat, *, name: str, filename: str
) -> Response:
    """Return a response with few rows."""
    writer = export_format.make_writer(name)
    with closing(writer):
        content = writer.start(titles) + writer.write(rows) + writer.finish()
    return Response(content, headers=export_format.headers(filename), media_type=export_format.media_type)
