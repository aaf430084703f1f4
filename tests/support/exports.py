"""Reading exports as a spreadsheet does."""

import csv
import io
from typing import Any

import httpx2
import openpyxl

Rows = list[list[Any]]


def read_csv(answer: httpx2.Response, delimiter: str = ",") -> list[list[str]]:
    """Return the rows of a CSV file, which must begin with a byte order mark."""
    text = answer.content.decode()
    assert text[0] == "\ufeff"
    return [*csv.reader(io.StringIO(text[1:], newline=""), delimiter=delimiter)]


def read_xlsx(content: bytes) -> dict[str, Rows]:
    """Return the rows of each sheet of a workbook."""
    workbook = openpyxl.load_workbook(io.BytesIO(content))
    return {sheet.title: [[cell.value for cell in row] for row in sheet.iter_rows()] for sheet in workbook}


def as_dicts(rows: Rows) -> list[dict[str, Any]]:
    """Return rows by their headings."""
    return [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]
