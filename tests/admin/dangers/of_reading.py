"""Dangers of showing or loading too much."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import event, text

from tests.admin.dangers.doors import ProbedAdmin
from tests.support.admin_client import get_page_text
from tests.support.people import OWNER

Findings = dict[str, bool]


async def d1(door: ProbedAdmin) -> Findings:
    """Files of the working directory are served if a text column names them."""
    await asyncio.to_thread(Path(".env").write_text, "SECRET_KEY=topsecret")
    async with door.database.transaction(by=OWNER) as session:
        await session.fetch(text("UPDATE resources SET name = '.env' WHERE id = 1"))

    return {
        f"{way}": "topsecret" in (await door.ada.get(f"/admin/resource/1/name/{way}/")).text
        for way in ("download", "preview")
    }


async def d5(door: ProbedAdmin) -> Findings:
    """A sentence in the URL is shown as the panel's own message."""
    answer = await door.ada.get("/admin/resource/list", params={"error": "Call 0190 666"}, follow_redirects=True)
    assert answer.status_code == 200

    return {"an error that was none": "0190" in get_page_text(answer.text)}


async def d6(door: ProbedAdmin) -> Findings:
    """A form lists every row of the tables it references."""
    async with door.database.transaction(by=OWNER) as session:
        await session.fetch(
            text(
                "INSERT INTO users (name, email, password_hash)"
                " SELECT 'Nobody', n || '@x.example', 'x' FROM generate_series(1, 200) n"
            )
        )
    pages = [await door.ada.get(f"/admin/booking/{page}") for page in ("create", "edit/1")]
    assert {page.status_code for page in pages} == {200}

    return {
        "in a new booking": pages[0].text.count("Nobody") == 200,
        "in an edit": pages[1].text.count("Nobody") == 200,
    }


@contextmanager
def record_full_fetches(door: ProbedAdmin) -> Iterator[list[bool]]:
    """Record for each statement whether the driver fetches all of its rows at once."""
    engine = door.view("user").session_maker.kw["bind"].sync_engine
    seen: list[bool] = []

    def note(_connection: Any, _cursor: Any, statement: str, _given: Any, context: Any, _many: bool) -> None:
        if "FROM users" in statement and "count(" not in statement:
            seen.append(not context._is_server_side)

    event.listen(engine, "after_cursor_execute", note)
    yield seen
    event.remove(engine, "after_cursor_execute", note)


async def d9(door: ProbedAdmin) -> Findings:
    """An export loads the whole table at once, whatever the list shows; formulas stay formulas."""
    async with door.database.transaction(by=OWNER) as session:
        await session.fetch(text("UPDATE users SET name = '=1+1' WHERE name = 'Eve'"))
    with record_full_fetches(door) as is_whole:
        searched = await door.ada.get("/admin/user/export/csv", params={"search": "tom"})
    everybody = await door.ada.get("/admin/user/export/csv")
    assert "Tom" in searched.text
    assert "1+1" in everybody.text

    return {
        "more than was searched for": "Ada" in searched.text,
        "all rows in memory": any(is_whole),
        "a formula": any(cell.startswith("=") for cell in everybody.text.replace("\r\n", ",").split(",")),
    }


async def d12(door: ProbedAdmin) -> Findings:
    """The application's own sessions are changed."""
    lent: Any = door.site.session_maker

    return {"autoflush is off": any(lent is held for held in door.app_resources) and lent.kw["autoflush"] is False}


async def d13(door: ProbedAdmin) -> Findings:
    """Each page adds to the validators of a form, and the next page inherits them."""
    view = door.view("resource")

    async def how_many() -> int:
        form = (await view.scaffold_form(view._form_edit_rules))()
        return len(form.name.validators)

    first = await how_many()
    for _ in range(3):
        assert (await door.ada.get("/admin/resource/edit/1")).status_code == 200

    return {"more validators": await how_many() > first}


async def d21(door: ProbedAdmin) -> Findings:
    """An invalid URL raises an exception."""
    paths = {
        "a word for a number": "booking/details/abc",
        "a word for the number of an edit": "booking/edit/abc",
        "a number too large": f"booking/details/{'9' * 30}",
        "a filter by no number": "booking/list?service_id=abc",
        "a search for NUL": "booking/list?search=%00",
        "an act on no number": "booking/action/cancel?pks=abc",
    }
    answers = {name: await door.ada.get(f"/admin/{path}") for name, path in paths.items()}
    pressed = await door.ada.post("/admin/booking/action/cancel", data={"pks": "abc"})

    return {name: answer.status_code == 500 for name, answer in answers.items()} | {
        "an act on no number": 500 in {answers["an act on no number"].status_code, pressed.status_code}
    }
