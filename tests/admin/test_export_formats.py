"""The files of an export: CSV that is safe in a spreadsheet, and XLSX with typed cells."""

import io
from datetime import date, time
from decimal import Decimal
from random import Random
from zipfile import ZipFile

import openpyxl
import pytest

from admin.framework import xlsx_format
from admin.framework.csv_format import CsvWriter
from admin.framework.export import EXPORT_FORMATS
from admin.framework.types import Cell
from admin.framework.xlsx_format import XlsxSheetWriter
from tests.support.exports import read_xlsx

FULL_WIDTH, SMALL, RAISED = "\uff1d\uff0b\uff0d\uff20", "\ufe66\ufe62\ufe63\ufe6b", "\u207c\u207a\u207b\u2212"
FORMULAS = [
    *("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1+1", "\u00a0=1", "\u3000=1", "\u200b=1", "\ufeff=1"),
    *("\u202e=1", "\u200b\u200d \t=1", "\u00ad=1", "\u3164=1", "\u115f@x", "\x00=1", "\u0301=1", "\u2060-1"),
    *(f"{sign}1" for sign in FULL_WIDTH + SMALL + RAISED),
]
TEXTS = ["Tom", "a=b", "1+1", "Ö-Bar", "(=1)", "", " Tom", "é", "#1", "–", "…", "'=1", "Hi, +49 30; -20 %", "x;y"]
CELLS: list[Cell] = [7, Decimal("35.00"), 0.5, date(2030, 1, 8), time(9, 5), None, "Tom"]


@pytest.mark.parametrize("delimiter", [",", ";"])
@pytest.mark.parametrize("text", FORMULAS, ids=ascii)
def test_what_a_spreadsheet_may_read_as_a_formula_stays_a_text(text: str, delimiter: str) -> None:
    cell = str(CsvWriter(delimiter).format_cell(text))

    assert cell[0] == "'"
    assert cell.replace("'", "") == text


@pytest.mark.parametrize("text", TEXTS)
def test_other_texts_are_exported_as_they_are(text: str) -> None:
    assert CsvWriter(",").format_cell(text) == CsvWriter(";").format_cell(text) == text


@pytest.mark.parametrize(
    ("delimiter", "text", "cell"),
    [
        (",", "Tom;=1+1(A1)", "Tom;'=1+1(A1)"),
        (",", "Tom; \uff1dSUM(1)", "Tom;' \uff1dSUM(1)"),
        (",", "Tom;@SUM(A1)", "Tom;'@SUM(A1)"),
        (",", "Tom\n=HYPERLINK(1)", "Tom\n'=HYPERLINK(1)"),
        (",", "Tom\t+cmd|' /C calc'!A0", "Tom\t'+cmd|' /C calc'!A0"),
        (",", "Tom,=SUM(1)", "Tom,=SUM(1)"),
        (";", "Tom,=SUM(1)", "Tom,'=SUM(1)"),
    ],
    ids=ascii,
)
def test_a_formula_behind_another_delimiter_stays_a_text(delimiter: str, text: str, cell: str) -> None:
    """A spreadsheet that expects the other delimiter begins a cell within the text."""
    assert CsvWriter(delimiter).format_cell(text) == cell


def test_a_csv_file_has_a_byte_order_mark_and_the_decimals_of_its_readers() -> None:
    files = {
        name: EXPORT_FORMATS[name].make_writer("x").start(["A"]) + EXPORT_FORMATS[name].make_writer("x").write([CELLS])
        for name in ("csv", "csv-semicolon")
    }

    assert files == {
        "csv": b"\xef\xbb\xbfA\r\n7,35.00,0.5,2030-01-08,09:05,,Tom\r\n",
        "csv-semicolon": b"\xef\xbb\xbfA\r\n7;35,00;0,5;2030-01-08;09:05;;Tom\r\n",
    }


def write_xlsx(*batches: list[list[Cell]], titles: list[str]) -> bytes:
    writer = XlsxSheetWriter("Bookings")
    return b"".join([writer.start(titles), *map(writer.write, batches), writer.finish()])


def test_an_xlsx_file_has_typed_cells() -> None:
    content = write_xlsx([[*CELLS]], titles=["a", "b", "c", "d", "e", "f", "g"])

    workbook = openpyxl.load_workbook(io.BytesIO(content))
    heading, row = workbook["Bookings"].iter_rows()
    assert [cell.value for cell in heading] == ["a", "b", "c", "d", "e", "f", "g"]
    assert heading[0].font.bold
    assert workbook["Bookings"].freeze_panes == "A2"
    values = [cell.value.date() if cell.is_date and cell.number_format == "yyyy-mm-dd" else cell.value for cell in row]
    assert values == [7, 35, 0.5, date(2030, 1, 8), time(9, 5), None, "Tom"]
    formats = [cell.number_format for cell in row]
    assert formats == ["General", "#,##0.00", "0.0%", "yyyy-mm-dd", "hh:mm", "General", "General"]


@pytest.mark.parametrize(
    "text", [*FORMULAS, *TEXTS[:5], "https://x", "007", "<b>&", " a ", "a\nb", "a\r\nb", "_x0041_", "x" * 32_767]
)
def test_a_text_stays_a_text_in_xlsx(text: str) -> None:
    workbook = openpyxl.load_workbook(io.BytesIO(write_xlsx([[text]], titles=["a"])))
    cell = workbook["Bookings"]["A2"]

    assert cell.data_type == ("s" if text else "n")
    assert openpyxl.utils.escape.unescape(cell.value or "") == text


def test_numbers_and_days_that_excel_cannot_hold_are_texts() -> None:
    rows: list[list[Cell]] = [[10**15, -(10**15), date(1900, 2, 28), Decimal("NaN"), float("inf")]]

    (sheet,) = read_xlsx(write_xlsx(rows, titles=[*"abcde"])).values()

    assert sheet[1] == ["1000000000000000", "-1000000000000000", "1900-02-28", "NaN", "inf"]


@pytest.mark.parametrize("limit", ["MAX_SHEET_ROWS", "MAX_SHEET_BYTES"])
def test_rows_that_do_not_fit_go_to_another_sheet(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xlsx_format, limit, 4 if limit == "MAX_SHEET_ROWS" else 1)

    sheets = read_xlsx(write_xlsx([[number] for number in range(5)], [[5], [6]], titles=["Number"]))

    assert [row for rows in sheets.values() for row in rows if row != ["Number"]] == [[number] for number in range(7)]
    assert all(rows[0] == ["Number"] for rows in sheets.values())
    if limit == "MAX_SHEET_ROWS":
        assert {name: len(rows) for name, rows in sheets.items()} == {"Bookings": 4, "Bookings 2": 4, "Bookings 3": 2}


def test_an_xlsx_file_is_sent_while_it_is_written() -> None:
    """What is not sent is kept, and that does not grow with the rows."""
    writer = XlsxSheetWriter("Bookings")
    writer.start(["Number", "Name"])
    chance = Random(1)

    def make_rows() -> list[list[Cell]]:
        return [[chance.randrange(10**9), f"Customer {chance.random()}"] for _ in range(250)]

    sent = [len(writer.write(make_rows())) for _ in range(40)]

    writer.close()
    assert sum(size > 0 for size in sent) > 3


def test_an_xlsx_file_needs_no_zip64() -> None:
    """Excel offers to repair such files."""
    content = write_xlsx([[1]], titles=["a"])

    assert all(info.extra[:2] != b"\x01\x00" for info in ZipFile(io.BytesIO(content)).infolist())
