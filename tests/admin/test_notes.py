"""Notes about customers and bookings: who writes, sees and changes them, what history keeps, and what customers see."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import text

from bookit import notes
from bookit import refusals as no
from bookit.db.pool import Database
from bookit.people import erasure
from bookit.policy.permissions import Actor
from bookit.schema.tables import Booking, Note, Role, Service, User
from bookit.settings import Settings
from tests.support.admin_client import AdminDesk, BuildApp, ParsedPage, get_page_text
from tests.support.clock import NOW
from tests.support.people import OWNER, MakeClient, Person
from tests.support.roles import Team, open_team

ALLERGY, COLOUR = "Allergic to almond oil.\nUse jojoba.", "Colour 7/1, 35 min."
EVENTS = text("SELECT action, old, new, actor_id FROM events WHERE table_name = 'notes' ORDER BY id")


async def all_notes(database: Database) -> list[dict[str, Any]]:
    return await database.fetch(text("SELECT user_id, booking_id, text, is_pinned, author_id FROM notes ORDER BY id"))


async def add(client: Any, **fields: Any) -> Any:
    return await client.post("/admin/notes", data=fields)


async def change(client: Any, note_id: int, button: str, version: int = 1, **fields: Any) -> Any:
    return await client.post(f"/admin/notes/{note_id}", data={"do": button, "version": version, **fields})


# On the pages.


async def test_a_note_on_a_customer_is_written_pinned_changed_and_deleted(
    desk: AdminDesk, tom: Person, mara: Person
) -> None:
    page = f"/admin/user/details/{tom.id}"
    assert "No notes yet." in get_page_text((await desk.mara.get(page)).text)

    added = await add(desk.mara, user_id=tom.id, text=f"  {ALLERGY} ")
    await add(desk.mara, user_id=tom.id, text=COLOUR)
    shown = get_page_text((await desk.mara.get(page)).text)
    pinned = await change(desk.mara, 1, "pin")
    first = get_page_text((await desk.mara.get(page)).text)
    saved = await change(desk.ada, 2, "save", text="Colour 6/1")
    gone = await change(desk.ada, 2, "delete", version=2)
    last = get_page_text((await desk.mara.get(page)).text)

    assert [answer.status_code for answer in (added, pinned, saved, gone)] == [303] * 4
    assert added.headers["location"].endswith(page)
    assert shown.index(COLOUR) < shown.index("Use jojoba.")
    assert first.index("Use jojoba.") < first.index("Pinned · Mara") < first.index(COLOUR)
    assert COLOUR not in last
    assert "Colour 6/1" not in last
    assert await all_notes(desk.database) == [
        {"user_id": tom.id, "booking_id": None, "text": ALLERGY, "is_pinned": True, "author_id": mara.id}
    ]
    events = await desk.database.fetch(EVENTS)
    assert [event["action"] for event in events] == ["created", "created", "changed", "changed", "deleted"]
    assert (events[3]["old"]["text"], events[3]["new"]["text"]) == (COLOUR, "Colour 6/1")


async def test_a_booking_shows_its_notes_and_the_pinned_ones_on_its_customer(
    desk: AdminDesk, tom: Person, visit: Booking
) -> None:
    await add(desk.mara, user_id=tom.id, text=ALLERGY, is_pinned="y")
    await add(desk.mara, user_id=tom.id, text="Likes tea")
    await add(desk.mara, booking_id=visit.id, text=COLOUR, is_pinned="y")

    page = get_page_text((await desk.mara.get(f"/admin/booking/details/{visit.id}")).text)
    of_customer = get_page_text((await desk.mara.get(f"/admin/user/details/{tom.id}")).text)

    assert page.index("Use jojoba.") < page.index("About the customer · Mara") < page.index(COLOUR)
    assert "Likes tea" not in page
    assert "Likes tea" in of_customer
    assert [note["is_pinned"] for note in await all_notes(desk.database)] == [True, False, False]


@pytest.mark.parametrize(
    ("typed", "error"),
    [
        ("", "Enter some text"),
        (" \n ", "Enter some text"),
        ("x" * 1001, "at most 1000 characters"),
        ("a\u202eb", "hidden sign U+202E"),
    ],
)
async def test_a_refused_text_is_shown_again(desk: AdminDesk, tom: Person, typed: str, error: str) -> None:
    await add(desk.mara, user_id=tom.id, text=ALLERGY)

    refused = [await add(desk.mara, user_id=tom.id, text=typed), await change(desk.mara, 1, "save", text=typed)]

    for answer in refused:
        assert answer.status_code == 422
        assert error in get_page_text(answer.text)
        assert ParsedPage(answer.text).fields["text"].strip() == typed.strip()
    assert [note["text"] for note in await all_notes(desk.database)] == [ALLERGY]


async def test_a_form_that_is_sent_twice_is_saved_once(desk: AdminDesk, tom: Person) -> None:
    key = ParsedPage((await desk.mara.get(f"/admin/user/details/{tom.id}")).text).fields["form_key"]

    added = await asyncio.gather(
        *(add(desk.mara, user_id=tom.id, text=ALLERGY, form_key=key) for _ in range(2)),
    )
    other = await add(desk.mara, user_id=tom.id, text=COLOUR, form_key=key)
    saved = [await change(desk.mara, 1, "save", text=COLOUR) for _ in range(2)]

    assert [answer.status_code for answer in (*added, *saved)] == [303] * 4
    assert "This was saved already." in get_page_text(other.text)
    assert [note["text"] for note in await all_notes(desk.database)] == [COLOUR]
    assert len(await desk.database.fetch(EVENTS)) == 2


async def test_an_edit_of_an_older_version_is_refused_and_kept(desk: AdminDesk, tom: Person) -> None:
    await add(desk.mara, user_id=tom.id, text=ALLERGY)
    await change(desk.ada, 1, "save", text=COLOUR)

    late = await change(desk.mara, 1, "save", text="Mine")
    deleted = await change(desk.mara, 1, "delete")
    fields = ParsedPage(late.text).fields
    again = await change(desk.mara, 1, "save", text=fields["text"], version=fields["version"])

    assert late.status_code == 412
    assert "Someone changed this while you were editing." in get_page_text(late.text)
    assert COLOUR in get_page_text(late.text)
    assert (deleted.status_code, again.status_code) == (303, 303)
    assert [note["text"] for note in await all_notes(desk.database)] == ["Mine"]


@pytest.mark.parametrize("path", ["/admin/notes/1", "/admin/notes/99", "/admin/notes/x"])
async def test_a_note_that_does_not_exist_is_not_found(desk: AdminDesk, tom: Person, path: str) -> None:
    assert (await desk.mara.post(path, data={"do": "save", "text": "x", "version": "1"})).status_code == 404
    assert (await add(desk.mara, user_id=999, text="x")).status_code == 404
    assert (await add(desk.mara, booking_id=999, text="x")).status_code == 404
    assert (await add(desk.mara, text="x")).status_code == 422


# Who.


@pytest.fixture
async def team(
    open_door: BuildApp, staff_settings: Settings, shared: Service, database: Database, client_of: MakeClient,
    tom: Person,
) -> AsyncIterator[Team]:  # fmt: skip
    async with open_team(open_door(staff_settings), database, client_of, tom) as team:
        yield team


async def test_own_calendar_writes_on_its_own_bookings_alone(team: Team, tom: Person) -> None:
    """Lea serves Tom, so she sees his pinned notes on the booking. The page of his other notes is not hers."""
    mara, lea = team.browsers[Role.STAFF], team.leas_browser
    await add(mara, user_id=tom.id, text=ALLERGY, is_pinned="y")
    await add(mara, booking_id=team.foreign.id, text=COLOUR)

    own = await add(lea, booking_id=team.own.id, text="Late twice")
    refused = [
        await add(lea, booking_id=team.foreign.id, text="Mine"),
        *[await change(lea, 2, button, text=words) for button in ("save", "delete") for words in ("Mine", "")],
        *[await change(lea, 1, button, text="Mine") for button in ("save", "unpin", "delete")],
    ]
    on_customer = await add(lea, user_id=tom.id, text="Mine")
    page = get_page_text((await lea.get(f"/admin/booking/details/{team.own.id}")).text)

    assert own.status_code == 303
    assert [answer.status_code for answer in refused] == [404] * len(refused)
    assert on_customer.status_code == 403
    assert "Use jojoba." in page
    assert "Late twice" in page
    assert [note["text"] for note in await all_notes(team.database)] == [ALLERGY, COLOUR, "Late twice"]


async def test_customers_neither_write_nor_see_notes(
    desk: AdminDesk, database: Database, tom: Person, visit: Booking
) -> None:
    """They are in the export of their own data, and nowhere else."""
    await add(desk.mara, user_id=tom.id, text="Pays late", is_pinned="y")
    await add(desk.mara, booking_id=visit.id, text="Pays late")
    himself = Actor("api", tom.id, Role.USER)

    with pytest.raises(no.Forbidden):
        async with database.transaction(by=himself, now=NOW) as session:
            await notes.write(session, by=himself, now=NOW, user_id=tom.id, text="Nice")
    paths = ["/me", "/bookings", f"/bookings/{visit.id}", "/openapi.json", "/services", "/reviews"]
    answers = [await tom.request("GET", path) for path in paths]
    export = await tom.request("GET", "/me/export")

    assert all(answer.status_code in {200, 404, 405} for answer in answers)
    assert not any("Pays late" in answer.text for answer in answers)
    assert [answer.status_code for answer in [await tom.request("GET", path) for path in ("/notes", "/notes/1")]] == [
        404, 404,
    ]  # fmt: skip
    assert [note["text"] for note in export.json()["notes"]] == ["Pays late", "Pays late"]
    assert "Mara" not in export.text


async def test_nobody_writes_about_an_erased_customer(database: Database, tom: Person, visit: Booking) -> None:
    async with database.transaction(by=OWNER, now=NOW) as session:
        user = await session.get(User, tom.id, for_update=True)
        assert user
        await notes.write(session, by=OWNER, now=NOW, booking_id=visit.id, text=COLOUR)
        await erasure.erase(session, user, email=str(user.email), by=OWNER, now=NOW)

    for user_id, booking_id in ((tom.id, None), (None, visit.id)):
        with pytest.raises(no.AlreadyErased):
            async with database.transaction(by=OWNER, now=NOW) as session:
                await notes.write(session, by=OWNER, now=NOW, text=COLOUR, user_id=user_id, booking_id=booking_id)
    assert await all_notes(database) == []


async def test_a_note_waits_for_an_erasure(database: Database, tom: Person) -> None:
    """Otherwise it would stay, on somebody whose data are erased."""

    async def write() -> None:
        async with database.transaction(by=OWNER, now=NOW) as session:
            await notes.write(session, by=OWNER, now=NOW, user_id=tom.id, text=COLOUR)

    async with database.transaction(by=OWNER, now=NOW) as session:
        user = await session.get(User, tom.id, for_update=True)
        assert user
        await erasure.erase(session, user, email=str(user.email), by=OWNER, now=NOW)
        waiting = asyncio.create_task(write())
        await asyncio.sleep(0.2)
        assert not waiting.done()
    with pytest.raises(no.AlreadyErased):
        await waiting


async def test_a_note_stays_when_its_author_goes(database: Database, tom: Person, mara: Person) -> None:
    by = Actor("admin", mara.id, Role.STAFF)
    async with database.transaction(by=by, now=NOW) as session:
        note = await notes.write(session, by=by, now=NOW, user_id=tom.id, text=COLOUR)
        await session.fetch(text("DELETE FROM users WHERE id = :id"), id=mara.id)

    assert await database.get(Note, note.id)
    assert [row["author"] for row in await notes.on_customer(database, tom.id)] == [None]
