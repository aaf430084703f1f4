"""Exports of the admin panel: the rows of the list, a batch at a time, safe in a spreadsheet."""

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx2
import pytest
from sqlalchemy import text
from starlette.requests import Request

from admin.framework.export import EXPORT_FORMATS, XLSX_TYPE
from admin.framework.page_state import page_state
from admin.record_view import RecordView
from admin.views import VIEWS, UserView
from bookit import records
from bookit.db.pool import Database
from bookit.policy.permissions import Actor
from bookit.schema.tables import Booking, CalendarException, OpeningHours, Resource, Role, Service, User, table_of
from tests.support.admin_client import AdminDesk, get_page_text
from tests.support.clock import NOW, Clock
from tests.support.exports import as_dicts, read_csv, read_xlsx
from tests.support.people import OWNER, JoinUser, Person


async def test_an_export_contains_the_rows_of_the_list(
    desk: AdminDesk, database: Database, tom: Person, eve: Person
) -> None:
    """D9."""
    answer = await desk.ada.get("/admin/user/export/csv", params={"search": "tom"})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert "attachment" in answer.headers["content-disposition"]
    assert [line.split(",")[1] for line in answer.text.splitlines()] == ["Name", "Tom"]

    filtered = await desk.ada.get("/admin/user/export/csv", params={"role": "user", "sortBy": "id", "sort": "desc"})
    names = [line.split(",")[1] for line in filtered.text.splitlines()]
    assert names == ["Name", *(["Eve", "Tom"] if eve.id > tom.id else ["Tom", "Eve"])]


async def test_an_export_is_streamed(desk: AdminDesk, database: Database, ada: Person) -> None:
    """D9: the response begins before its rows are read, and they are read in batches."""
    async with database.transaction(by=OWNER) as session:
        await session.fetch(
            text(
                "INSERT INTO users (name, email, password_hash)"
                " SELECT 'Nobody', n || '@x.example', 'x' FROM generate_series(1, 2500) n"
            )
        )
    parts: list[bytes] = []
    reached: list[str] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def answer(message: Any) -> None:
        if message["type"] == "http.response.body" and message.get("body"):
            parts.append(message["body"])
            reached.append(message["type"])

    rows = desk.site.views[[view.name for view in desk.site.views].index("Person")]
    assert isinstance(rows, UserView)
    request = Request({"type": "http", "app": desk.app, "headers": [], "query_string": b""})
    page_state(request).user = ada.user
    response = await rows.export_data(table_of(User).select(), "csv", request)
    await response({"type": "http", "asgi": {"spec_version": "2.4"}}, receive, answer)

    assert len(parts) >= 4  # The names of the columns, and three batches.
    assert b"".join(parts).count(b"\r\n") == 1 + 2500 + 2
    assert max(part.count(b"\r\n") for part in parts) <= 1000


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)"])
async def test_a_text_like_a_formula_is_exported_as_text(desk: AdminDesk, join: JoinUser, name: str) -> None:
    """D9."""
    await join("Ann")
    async with desk.database.transaction(by=OWNER) as session:
        await session.fetch(text("UPDATE users SET name = :name WHERE name = 'Ann'"), name=name)

    answer = await desk.ada.get("/admin/user/export/csv", params={"search": "ann@"})

    cell = answer.text.split("\r\n", 1)[1].split(",")[1].strip('"')
    assert cell[0] not in "=+-@\t\r"
    assert name in cell.replace("'", "")


async def test_an_export_contains_no_password(desk: AdminDesk) -> None:
    """D9, D19."""
    for path in ("user/export/csv", "user/list", "user/details/1", "user/edit/1", "event/list", "event/export/csv"):
        answer = await desk.ada.get(f"/admin/{path}")
        assert answer.status_code == 200
        assert "$2b$" not in answer.text
        assert "password_hash" not in answer.text, path


# What is exported is what is shown.

BERLIN_HEADINGS = ["Start date (Europe/Berlin)", "Start time (Europe/Berlin)"]


async def get_rows(client: httpx2.AsyncClient, path: str, **params: str) -> list[dict[str, Any]]:
    """Return an export by its headings, after checking that all formats have the same."""
    answers = {name: await client.get(f"/admin/{path}/export/{name}", params=params) for name in EXPORT_FORMATS}
    rows = as_dicts(read_csv(answers["csv"]))
    semicolons = as_dicts(read_csv(answers["csv-semicolon"], ";"))
    (sheet,) = read_xlsx(answers["xlsx"].content).values()
    typed = as_dicts(sheet)
    assert [[*row] for row in rows] == [[*row] for row in semicolons] == [[*row] for row in typed]
    for row, with_semicolons, cells in zip(rows, semicolons, typed, strict=True):
        assert [*row.values()] == [
            value.replace(",", ".") if re.fullmatch(r"\d+,\d\d", value) else value for value in with_semicolons.values()
        ]
        assert [*row.values()] == [format_typed(cell) for cell in cells.values()]
    return rows


def format_typed(cell: object) -> str:
    if isinstance(cell, datetime):
        return f"{cell:%Y-%m-%d}"
    if isinstance(cell, time):
        return f"{cell:%H:%M}"
    return "" if cell is None else f"{cell:.2f}" if isinstance(cell, float) else str(cell)


@pytest.fixture
async def night(desk: AdminDesk, tom: Person, haircut: Service) -> Booking:
    """Book Tom in the first hour of February in Berlin, which is the last of January in UTC."""
    async with desk.database.transaction(by=OWNER) as session:
        facts: dict[str, Any] = {"user_id": tom.id, "service_id": haircut.id}
        start = datetime(2030, 1, 31, 23, 15, tzinfo=UTC)
        booking = await records.create(session, Booking, by=OWNER, now=NOW, start_time=start, **facts)
        await session.fetch(text("UPDATE bookings SET status = 'no_show', price = 35.5"))
        return booking


async def test_bookings_are_exported_with_names_and_by_the_clock_of_the_business(
    desk: AdminDesk, tom: Person, night: Booking
) -> None:
    (row,) = await get_rows(desk.ada, "booking", start_time="2030-02-01")

    assert row == {
        "Number": str(night.id),
        "Customer": "Tom", "Customer e-mail": "tom@example.com", "Customer phone": "",
        "Customer number": str(tom.id),
        "Service": "Haircut", "Service number": str(night.service_id),
        "Resource": "Haircut", "Resource number": str(night.resource_id),
        "Start date (Europe/Berlin)": "2030-02-01", "Start time (Europe/Berlin)": "00:15",
        "End date (Europe/Berlin)": "2030-02-01", "End time (Europe/Berlin)": "01:00",
        "Status": "No-show",
        "Price": "35.50", "Currency": "EUR",
        "Other resources": "", "Seats": "1", "For": "",
    }  # fmt: skip


async def test_an_xlsx_export_has_typed_cells(desk: AdminDesk, night: Booking) -> None:
    answer = await desk.ada.get("/admin/booking/export/xlsx", params={"start_time": "all"})

    assert answer.headers["content-type"] == XLSX_TYPE
    ((_, row),) = [sheet for name, sheet in read_xlsx(answer.content).items() if name == "Bookings"]
    assert row[0] == night.id
    assert row[9:13] == [datetime(2030, 2, 1), time(0, 15), datetime(2030, 2, 1), time(1)]  # noqa: DTZ001 -- of a cell
    assert row[-5:] == [35.5, "EUR", None, 1, None]


async def test_the_name_of_a_file_has_the_day_of_the_business(desk: AdminDesk, clock: Clock) -> None:
    clock.advance(hours=14, minutes=30)  # In Berlin it is half past midnight.
    names = {
        f"{view}.{file}": (await desk.ada.get(f"/admin/{view}/export/{file}")).headers["content-disposition"]
        for view, file in (("booking", "csv"), ("opening-hours", "xlsx"))
    }

    assert names == {
        "booking.csv": 'attachment; filename="bookings-2030-01-08.csv"',
        "opening-hours.xlsx": 'attachment; filename="opening-hours-2030-01-08.xlsx"',
    }


async def test_both_hours_of_a_clock_change_can_be_told_apart(desk: AdminDesk, night: Booking) -> None:
    async with desk.database.transaction(by=OWNER) as session:
        await session.fetch(
            text(
                "UPDATE bookings SET start_time = '2030-10-27 00:30Z', blocks_from = '2030-10-27 00:30Z',"
                " end_time = '2030-10-27 01:30Z', blocks_until = '2030-10-27 01:30Z'"
            )
        )

    (row,) = await get_rows(desk.ada, "booking", start_time="all")

    assert (row["Start time (Europe/Berlin)"], row["End time (Europe/Berlin)"]) == ("02:30 CEST", "02:30 CET")


async def test_closures_and_hours_are_exported_in_words(desk: AdminDesk, haircut: Service) -> None:
    async with desk.database.transaction(by=OWNER) as session:
        await session.fetch(text("UPDATE resources SET timezone = 'Asia/Kathmandu'"))
        facts: dict[str, Any] = {"resource_id": 1, "weekday": 2, "opens": time(9, 30), "closes": time(0)}
        await records.create(session, OpeningHours, by=OWNER, now=NOW, valid_until=date(2030, 6, 1), **facts)
        day: dict[str, Any] = {
            "start_time": datetime(2030, 4, 30, 22, tzinfo=UTC),
            "end_time": datetime(2030, 5, 1, 22, tzinfo=UTC),
        }
        await records.create(session, CalendarException, by=OWNER, now=NOW, reason="Labour Day", **day)
        clock: dict[str, Any] = {"timezone": "America/New_York"}
        await records.create(session, CalendarException, by=OWNER, now=NOW, resource_id=1, **clock, **day)
        await records.create(session, CalendarException, by=OWNER, now=NOW, **clock, **day)

    (hours,), closures = await get_rows(desk.ada, "opening-hours"), await get_rows(desk.ada, "calendar-exception")
    pages = [
        get_page_text((await desk.ada.get(f"/admin/calendar-exception/details/{number}")).text) for number in (1, 2, 3)
    ]

    assert hours == {
        "Number": "1", "Resource": "Haircut", "Resource time zone": "Asia/Kathmandu", "Resource number": "1",
        "Weekday": "Tuesday", "Opens": "09:30", "Closes": "00:00", "From": "", "Until": "2030-06-01",
    }  # fmt: skip
    closure = next(row for row in closures if row["Number"] == "1")
    assert closure == {
        "Number": "1", "Resource": "", "Resource number": "",
        "From date": "2030-05-01", "From time": "00:00", "Until date": "2030-05-02", "Until time": "00:00",
        "Time zone": "Europe/Berlin", "Open": "No", "Reason": "Labour Day",
    }  # fmt: skip
    assert {row["Number"]: (row["From date"], row["From time"], row["Time zone"]) for row in closures} == {
        "1": ("2030-05-01", "00:00", "Europe/Berlin"),
        "2": ("2030-04-30", "18:00", "Asia/Kathmandu"),
        "3": ("2030-04-30", "18:00", "Each resource's own"),
    }
    shown = [("Wed 01 May 2030, 00:00", "Europe/Berlin"), ("Tue 30 Apr 2030, 18:00", "Asia/Kathmandu"),
             ("Tue 30 Apr 2030, 18:00", "Each resource's own")]  # fmt: skip
    assert [[text in page for text in texts] for texts, page in zip(shown, pages, strict=True)] == [[True, True]] * 3


async def test_a_review_is_exported_with_its_visit(desk: AdminDesk, tom: Person, night: Booking) -> None:
    async with desk.database.transaction(by=OWNER) as session:
        await session.fetch(text("INSERT INTO reviews (booking_id, rating, comment) VALUES (1, 5, '=Good')"))
        await session.fetch(text("UPDATE reviews SET created_at = '2029-12-31 23:59Z'"))

    answer = await desk.ada.get("/admin/review/export/csv")

    assert as_dicts(read_csv(answer)) == [
        {
            "Number": "1", "Rating": "5", "Comment": "'=Good",
            "Customer": "Tom", "Customer e-mail": "tom@example.com", "Customer phone": "",
        "Customer number": str(tom.id),
            "Service": "Haircut", "Service number": "1", "Resource": "Haircut", "Resource number": "1",
            "Start date (Europe/Berlin)": "2030-02-01", "Start time (Europe/Berlin)": "00:15",
            "Booking": "1",
            "Created date (Europe/Berlin)": "2030-01-01", "Created time (Europe/Berlin)": "00:59",
        }
    ]  # fmt: skip


async def test_people_are_exported_with_words(desk: AdminDesk, tom: Person) -> None:
    rows = await get_rows(desk.ada, "user", search="example.com", sortBy="id")

    assert [(row["Name"], row["Role"], row["Active"]) for row in rows] == [
        ("Mara", "Desk", "Yes"), ("Ada", "Owner", "Yes"), ("Tom", "Customer", "Yes"),
    ]  # fmt: skip


async def test_history_is_exported_with_who_and_what(desk: AdminDesk, night: Booking, mara: Person) -> None:
    async with desk.database.transaction(by=OWNER) as session:
        await records.create(session, Resource, by=OWNER, now=NOW, name="Chair")
    async with desk.database.transaction(by=Actor("admin", mara.id, Role.STAFF)) as session:
        await session.fetch(text("UPDATE bookings SET status = 'confirmed', resource_id = 2"))

    answer = await desk.ada.get("/admin/event/export/csv", params={"sortBy": "id", "sort": "asc"})
    (last,) = as_dicts(read_csv(answer))[-1:]

    moment = datetime.now(ZoneInfo("Europe/Berlin"))
    assert abs(datetime.fromisoformat(f"{last.pop('Date (Europe/Berlin)')}T{last.pop('Time (Europe/Berlin)')[:5]}")
               - moment.replace(tzinfo=None)) < timedelta(minutes=5)  # fmt: skip
    assert last.pop("Number").isdigit()
    assert last == {
        "Who": "Mara (desk)", "Who (number)": str(mara.id), "How": "at the desk", "What": "changed", "Kind": "Booking",
        "Record": str(night.id), "Changes": "Resource: Haircut → Chair; Status: No-show → Confirmed", "Reason": "",
    }  # fmt: skip


@pytest.mark.parametrize("view", [view for view in VIEWS if not view.is_single], ids=lambda view: view.identity)
async def test_every_list_offers_every_format(desk: AdminDesk, view: type[RecordView]) -> None:
    page = await desk.ada.get(f"/admin/{view.identity}/list?pageSize=50&search=FORMAT")

    for name in EXPORT_FORMATS:
        assert f"/admin/{view.identity}/export/{name}?pageSize=50&amp;search=FORMAT" in page.text


@pytest.mark.parametrize("name", ["revenue", "utilisation", "no-shows", "repeat-customers"])
async def test_reports_are_exported_in_every_format(desk: AdminDesk, night: Booking, name: str) -> None:
    query = f"report={name}&from_date=2030-01-01&to_date=2030-02-28&by=month"
    page = await desk.ada.get(f"/admin/reports?{query}")
    answers = {file: await desk.ada.get(f"/admin/reports?{query}&as={file}") for file in EXPORT_FORMATS}

    rows, semicolons = read_csv(answers["csv"]), read_csv(answers["csv-semicolon"], ";")
    (sheet,) = read_xlsx(answers["xlsx"].content).values()
    assert len(rows) == len(semicolons) == len(sheet) > 3
    assert (["Haircut (always open)"] in [row[2:3] for row in rows]) == (name == "utilisation")
    assert sheet[1][:2] == [datetime(2030, 1, 1), datetime(2030, 1, 31)]  # noqa: DTZ001 -- of a cell
    assert rows[1][:2] == semicolons[1][:2] == ["2030-01-01", "2030-01-31"]
    assert all(f"report={name}&amp;by=month" in page.text and f"&amp;as={file}" in page.text for file in EXPORT_FORMATS)
