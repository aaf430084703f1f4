"""Exports of the admin panel: the rows of the list, a batch at a time, safe in a spreadsheet."""

from typing import Any

import pytest
from sqlalchemy import text

from admin.framework.csv_export import stream_rows
from admin.views import UserView
from bookit.db.pool import Database
from bookit.schema.tables import User
from tests.support.admin_client import AdminDesk
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


async def test_an_export_is_streamed(desk: AdminDesk, database: Database) -> None:
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
    table = User.__table__  # type: ignore[attr-defined]  # created by SQLModel
    response = stream_rows(rows.context.session_maker, table.select(), [table.c.id, table.c.email], {}, "all.csv")
    await response({"type": "http", "asgi": {"spec_version": "2.4"}}, receive, answer)

    assert len(parts) >= 4  # The names of the columns, and three batches.
    assert b"".join(parts).count(b"\r\n") == 1 + 2500 + 2
    assert max(part.count(b"\r\n") for part in parts) <= 1000


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1+1"])
async def test_a_text_like_a_formula_is_exported_as_text(desk: AdminDesk, join: JoinUser, name: str) -> None:
    """D9."""
    await join("Ann")
    async with desk.database.transaction(by=OWNER) as session:
        await session.fetch(text("UPDATE users SET name = :name WHERE name = 'Ann'"), name=name)

    answer = await desk.ada.get("/admin/user/export/csv", params={"search": "ann@"})

    cell = answer.text.split("\r\n", 1)[1].split(",")[1].strip('"')
    assert cell[0] not in "=+-@\t\r"
    assert name in cell


async def test_an_export_contains_no_password(desk: AdminDesk) -> None:
    """D9, D19."""
    for path in ("user/export/csv", "user/list", "user/details/1", "user/edit/1", "event/list", "event/export/csv"):
        answer = await desk.ada.get(f"/admin/{path}")
        assert answer.status_code == 200
        assert "$2b$" not in answer.text
        assert "password_hash" not in answer.text, path
