"""Exports as XLSX, written while the rows are read: dates, times and amounts are typed cells, and texts stay texts.

XlsxWriter makes the package around the rows: styles, sheets, headings. It keeps rows on disk until the last is known,
so the rows are written here.
"""

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from math import isfinite
from typing import IO
from xml.sax.saxutils import escape
from zipfile import ZIP_DEFLATED, ZipFile

from xlsxwriter import Workbook

from admin.framework.types import Cell
from bookit.schema.fields import MINUTES_PER_DAY

MAX_SHEET_ROWS = 1_048_576  # rows of a sheet, as Excel has them
MAX_SHEET_BYTES = 1 << 30  # bytes of a sheet; Excel warns of larger ones, which need ZIP64
MAX_TEXT = 32_767  # characters of a cell
MAX_EXACT_INTEGER = 10**15  # Excel rounds larger numbers.
FIRST_DAY = date(1900, 3, 1)  # Excel has no earlier days, or has them wrong.
DAY_ZERO = date(1899, 12, 30).toordinal()
COMPRESSION = 4  # half the time of the default, for a few percent more bytes
# Each kind of cell has a style, numbered in this order; style 0 has no format.
STYLES = {"heading": {"bold": True}} | {
    kind: {"num_format": number_format}
    for kind, number_format in (("date", "yyyy-mm-dd"), ("time", "hh:mm"), ("amount", "#,##0.00"), ("rate", "0.0%"))
}
PLAIN, (DATE, TIME, AMOUNT, RATE) = 0, (list(STYLES).index(kind) + 1 for kind in ("date", "time", "amount", "rate"))
END_OF_HEADINGS, END_OF_ROWS = b"</row>", b"</sheetData>"
ESCAPE = "_x{:04X}_"
UNSAFE = re.compile("[\0-\x08\x0b-\x1f\ufffe\uffff]|_(?=x[0-9A-Fa-f]{4}_)")  # what XML cannot hold, or Excel decodes


class ChunkBuffer:
    """A file that keeps what was written until it is taken."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []

    def write(self, data: bytes) -> int:
        """Keep bytes."""
        self.chunks.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Do nothing: what is written is taken, not flushed."""

    def close(self) -> None:
        """Do nothing: there is nothing to release."""

    def take(self) -> bytes:
        """Return what was written since the last time."""
        data = b"".join(self.chunks)
        self.chunks.clear()
        return data


class XlsxSheetWriter:
    """Writes rows as one sheet of a workbook, or more if they do not fit."""

    def __init__(self, name: str) -> None:
        self.name, self.titles, self.tail = name, [""], b""
        self.buffer = ChunkBuffer()
        self.package = ZipFile(self.buffer, "w", ZIP_DEFLATED, compresslevel=COMPRESSION)
        self.sheet: IO[bytes] = io.BytesIO()
        self.sheet_count = self.row_count = self.byte_count = 0

    def start(self, titles: Sequence[str]) -> bytes:
        """Return the beginning of the file, with the heading of each column."""
        self.titles = [*titles]
        self.begin_sheet()
        return self.buffer.take()

    def write(self, rows: Iterable[Sequence[Cell]]) -> bytes:
        """Return the rows as a part of the file; compression may hold them back until a later part."""
        parts: list[str] = []
        for row in rows:
            if self.row_count >= MAX_SHEET_ROWS or self.byte_count >= MAX_SHEET_BYTES:
                self.write_parts(parts)
                self.end_sheet()
                self.begin_sheet()
                parts = []
            parts.append(f"<row>{''.join(map(format_cell, row))}</row>")
            self.row_count += 1
        self.write_parts(parts)
        return self.buffer.take()

    def finish(self) -> bytes:
        """Return the end of the file."""
        self.end_sheet()
        for name, content in package_parts(self.name, self.titles, self.sheet_count).items():
            if not name.startswith("xl/worksheets/"):
                self.package.writestr(name, content)
        self.package.close()
        return self.buffer.take()

    def close(self) -> None:
        """End the file, also one that nobody wants to the end."""
        self.sheet.close()
        self.package.close()

    def write_parts(self, parts: Sequence[str]) -> None:
        data = "".join(parts).encode()
        self.byte_count += len(data)
        self.sheet.write(data)

    def begin_sheet(self) -> None:
        self.sheet_count += 1
        path = f"xl/worksheets/sheet{self.sheet_count}.xml"
        head, _, rest = package_parts(self.name, self.titles, self.sheet_count)[path].partition(END_OF_HEADINGS)
        _, _, self.tail = rest.partition(END_OF_ROWS)
        self.sheet = self.package.open(path, "w")
        # Readers would trust the size of a sheet that has its headings only.
        self.sheet.write(re.sub(rb"<dimension[^>]*/>", b"", head) + END_OF_HEADINGS)
        self.row_count, self.byte_count = 1, len(head)

    def end_sheet(self) -> None:
        self.sheet.write(END_OF_ROWS + self.tail)
        self.sheet.close()


def package_parts(name: str, titles: Sequence[str], sheet_count: int) -> Mapping[str, bytes]:
    """Return the files of a workbook with these headings on each sheet.

    Each style must be used to be in the file: the rows after the headings use them, and are left out.
    """
    file = io.BytesIO()
    with Workbook(file, {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False}) as workbook:
        heading, *styles = [workbook.add_format(style) for style in STYLES.values()]
        for number in range(1, sheet_count + 1):
            sheet = workbook.add_worksheet(name if number == 1 else f"{name} {number}")
            sheet.freeze_panes(1, 0)
            for column, title in enumerate(titles):
                sheet.set_column(column, column, min(max(len(title) + 2, 10), 40))
                sheet.write_string(0, column, title, heading)
            for row, style in enumerate(styles, start=1):
                sheet.write_blank(row, 0, None, style)
    with ZipFile(file) as package:
        return {part: package.read(part) for part in package.namelist()}


def format_cell(cell: Cell) -> str:
    """Return a cell as XML."""
    number, style = number_and_style(cell)
    if number is not None:
        return f'<c s="{style}"><v>{number}</v></c>'
    if cell is None or cell == "":
        return "<c/>"
    text = escape(UNSAFE.sub(lambda sign: ESCAPE.format(ord(sign[0])), str(cell)[:MAX_TEXT]))
    return f'<c t="inlineStr"><is><t xml:space="preserve">{text}</t></is></c>'


def number_and_style(cell: Cell) -> tuple[object, int]:
    """Return the number and the style that a cell is kept as; no number where it is a text or empty."""
    match cell:
        case int() if abs(cell) < MAX_EXACT_INTEGER:
            return cell, PLAIN
        case Decimal() if cell.is_finite():
            return cell, AMOUNT
        case float() if isfinite(cell):
            return cell, RATE
        case time():
            return (cell.hour * 60 + cell.minute) / MINUTES_PER_DAY, TIME
        case date() if not isinstance(cell, datetime) and cell >= FIRST_DAY:
            return cell.toordinal() - DAY_ZERO, DATE
    return None, PLAIN
