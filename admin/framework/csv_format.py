"""Exports as CSV, safe in a spreadsheet: a text that looks like a formula stays a text."""

import csv
import io
import re
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import time
from decimal import Decimal

from admin.framework.types import Cell

BYTE_ORDER_MARK = "\ufeff"  # Without it, Excel reads the file in the code page of the machine.
FORMULA_SIGNS = "=+-@\N{MINUS SIGN}"
FILLERS = "\u115f\u1160\u3164\uffa0\u2800"  # letters and a pattern without ink
OTHER_DELIMITER = {",": ";", ";": ","}


class CsvWriter:
    """Writes rows as CSV: with commas, or with semicolons and decimal commas, as Excel reads it in much of Europe."""

    def __init__(self, delimiter: str) -> None:
        self.delimiter = delimiter
        other = re.escape(OTHER_DELIMITER[delimiter])
        self.split_cell = re.compile(rf"([{other}\t\r\n])([^{other}\t\r\n]*)")

    def start(self, titles: Sequence[str]) -> bytes:
        """Return the beginning of the file, with the heading of each column."""
        return BYTE_ORDER_MARK.encode() + self.write([titles])

    def write(self, rows: Iterable[Sequence[Cell]]) -> bytes:
        """Return rows as lines."""
        buffer = io.StringIO()
        csv.writer(buffer, delimiter=self.delimiter).writerows([self.format_cell(cell) for cell in row] for row in rows)
        return buffer.getvalue().encode()

    def finish(self) -> bytes:
        """Return the end of the file, which CSV does not have."""
        return b""

    def close(self) -> None:
        """Do nothing: there is nothing to release."""

    def format_cell(self, cell: Cell) -> object:
        """Return a value as a spreadsheet should read it."""
        if isinstance(cell, str):
            return self.escape_formulas(cell)
        if isinstance(cell, time):
            return f"{cell:%H:%M}"
        if isinstance(cell, Decimal | float) and self.delimiter == ";":
            return str(cell).replace(".", ",")
        return cell

    def escape_formulas(self, text: str) -> str:
        """Return a text with an apostrophe before each formula in it.

        A spreadsheet that expects the other delimiter, or pastes the file as text, begins a cell within the text.
        """
        if begins_formula(text):
            text = f"'{text}"
        if text.isalnum():
            return text
        return self.split_cell.sub(escape_later_cell, text)


def escape_later_cell(match: re.Match[str]) -> str:
    """Return a part of a text after a delimiter, with an apostrophe where it would be read as a call."""
    delimiter, rest = match.groups()
    is_call = begins_formula(rest) and any(sign in rest for sign in "(|!=@")  # "cut, -20 %" is no formula.
    return f"{delimiter}'{rest}" if is_call else match[0]


def begins_formula(text: str) -> bool:
    """Return whether a spreadsheet may read this text as a formula.

    Spreadsheets trim blanks, drop signs that nobody sees, and fold full-width signs.
    """
    first = text[:1]
    if first.isascii() and first.isalnum():
        return False
    visible = (sign for letter in text for sign in unicodedata.normalize("NFKC", letter) if is_visible(sign))
    return next(visible, " ") in FORMULA_SIGNS


def is_visible(sign: str) -> bool:
    """Return whether a sign has ink: not a blank, a control or a format sign, a mark on another one, or a filler."""
    return not (sign.isspace() or unicodedata.category(sign)[0] in "CM" or sign in FILLERS)
