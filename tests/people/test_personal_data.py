"""Personal data: exporting everything BookIt stores about a person, and erasing it, also from history."""

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any, LiteralString

import httpx2
import psycopg
import pytest
from psycopg import sql
from psycopg.rows import TupleRow
from sqlalchemy import text

from bookit import idempotency, notes, records
from bookit import refusals as no
from bookit.bookings import acts, expiry
from bookit.db.pool import Database
from bookit.db.statements import Row
from bookit.people import erasure, refresh_tokens, sign_in, sign_ins
from bookit.people.sign_ins import Client, Lifetime
from bookit.policy.permissions import Actor
from bookit.schema.tables import Booking, Language, Note, Review, Role, Service, User
from tests.support.admin_client import AdminDesk, FormResult, get_page_text, post_form, submit_form
from tests.support.clock import NOW
from tests.support.people import OWNER, PASSWORD, JoinUser, Person, read_export

LIFETIME = Lifetime(idle=timedelta(days=1), absolute=timedelta(days=2))

Console = psycopg.Connection[TupleRow]

NAME, EMAIL, OLD_NAME, OLD_EMAIL = "Tamsin Quill", "Tamsin@Quill.example", "Tamsyn", "feder@old.example"
COMMENT, FORMER_COMMENT, GONE_COMMENT = "Scissors were blunt", "Scissors were awful", "Never again, says T."
PHONE, BIRTHDAY = "+447700900321", date(1980, 2, 29)
REASON, GONE_REASON = "She rang and sneezed", "Booked by mistake, she said"
NOTE, FORMER_NOTE, GONE_NOTE = "Allergic to almond oil", "Allergic to olives", "Talks too much"
NOTE_ON_VISIT, NOTE_ON_GONE_VISIT = "Bring colour 7/1", "Owes us a fringe"
TRACES = (
    *(NAME, EMAIL, OLD_NAME, OLD_EMAIL, PHONE, str(BIRTHDAY)),
    *(COMMENT, FORMER_COMMENT, GONE_COMMENT, REASON, GONE_REASON),
    *(NOTE, FORMER_NOTE, GONE_NOTE, NOTE_ON_VISIT, NOTE_ON_GONE_VISIT),
)
FACTS = text("SELECT id, user_id, service_id, resource_id, start_time, end_time, price FROM bookings ORDER BY id")
REPORT = text("""
  SELECT b.service_id, b.status, count(*), sum(b.price), avg(r.rating)
    FROM bookings b LEFT JOIN reviews r ON r.booking_id = b.id WHERE b.start_time < :now GROUP BY 1, 2 ORDER BY 1, 2
""")
OF_HISTORY = text("SELECT * FROM events ORDER BY id")


@pytest.fixture
async def tamsin(database: Database, join: JoinUser, mara: Person, haircut: Service) -> Person:
    """Create a customer with former names, bookings in every state, and reviews she changed and deleted."""
    person: Person = await join(OLD_NAME)
    desk, herself = Actor("admin", mara.id, Role.STAFF), Actor("api", person.id, Role.USER)
    async with database.transaction(by=desk, now=NOW) as session:
        user = await records.lock(session, User, person.id)
        user = await records.change(session, user, by=desk, now=NOW, email=OLD_EMAIL)
        user = await records.change(session, user, by=desk, now=NOW, name=NAME, email=EMAIL)
        await records.change(session, user, by=desk, now=NOW, phone=PHONE, birthday=BIRTHDAY, language=Language.GERMAN)
    for day, comment in ((-3, FORMER_COMMENT), (-2, GONE_COMMENT), (-1, GONE_COMMENT), (1, ""), (2, ""), (3, "")):
        await visit(database, desk, herself, NOW + timedelta(days=day), comment)
    async with database.transaction(by=herself, now=NOW) as session:
        how: Any = {"by": herself, "now": NOW}
        await records.change(session, await records.lock(session, Review, 1), **how, comment=COMMENT)
        await records.remove(session, await records.lock(session, Review, 2), **how)
        begun = await sign_ins.begin(
            session, user, door="api", now=NOW, lifetime=LIFETIME, client=Client("192.0.2.1", "curl")
        )
        await refresh_tokens.issue(session, begun, now=NOW, lifetime=LIFETIME.idle)
        await idempotency.claim(session, user_id=user.id, key="k-1", request_hash="h", now=NOW)
    await write_notes(database, desk, person)
    async with database.transaction(by=desk, now=NOW) as session:
        await session.set_reason(GONE_REASON)
        await records.remove(session, await records.lock(session, Review, 3), by=OWNER, now=NOW)
        await records.remove(session, await records.lock(session, Booking, 3), by=desk, now=NOW)
        await session.set_reason(REASON)
        await acts.reopen(session, await records.lock(session, Booking, 5), by=desk, now=NOW)
        await acts.cancel(session, await records.lock(session, Booking, 6), by=desk, now=NOW)
    with pytest.raises(no.WrongPassword):
        await sign_in.authenticate(database, email=EMAIL, password="wrong", now=NOW)
    changed = await database.get(User, person.id)
    assert changed
    return Person(changed, person.client)


async def visit(database: Database, desk: Actor, herself: Actor, start: datetime, comment: str) -> None:
    """Create a booking for her, and her review of it."""
    async with database.transaction(by=desk, now=NOW) as session:
        facts: dict[str, Any] = {"service_id": 1, "start_time": start, "user_id": herself.id}
        booking = await records.create(session, Booking, by=desk, now=NOW, **facts)
        if comment:
            await acts.complete(session, booking, by=desk, now=NOW)
    if comment:
        async with database.transaction(by=herself, now=NOW) as session:
            words: dict[str, Any] = {"booking_id": booking.id, "rating": 4, "comment": comment}
            await records.create(session, Review, by=herself, now=NOW, **words)


async def write_notes(database: Database, desk: Actor, person: Person) -> None:
    """Write notes on her, one of which changes and one of which goes, and on two visits, one of which goes later."""
    how: Any = {"by": desk, "now": NOW}
    async with database.transaction(**how) as session:
        await notes.write(session, **how, user_id=person.id, text=FORMER_NOTE)
        await notes.write(session, **how, user_id=person.id, text=GONE_NOTE)
        await notes.write(session, **how, booking_id=4, text=NOTE_ON_VISIT)
        await notes.write(session, **how, booking_id=3, text=NOTE_ON_GONE_VISIT)
        await notes.change(session, await records.lock(session, Note, 1), **how, text=NOTE, is_pinned=True)
        await notes.remove(session, await records.lock(session, Note, 2), **how)


@pytest.fixture
def console(database: Database) -> Iterator[Console]:
    with psycopg.connect(database.url, autocommit=True) as connection:
        yield connection


def fetch_all_text(console: Console) -> str:
    """Return every value of every row of every table as one text."""
    tables = console.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1").fetchall()
    every_row = sql.SQL("SELECT t::text FROM {} t ORDER BY 1")
    return "\n".join(row for (name,) in tables for (row,) in console.execute(every_row.format(sql.Identifier(name))))


def find_traces(console: Console, *traces: str) -> list[str]:
    """Return which of these texts are anywhere in the database, ignoring case."""
    stored = fetch_all_text(console).lower()
    return [trace for trace in traces if trace.lower() in stored]


async def press_erase(client: httpx2.AsyncClient, number: int, email: str = EMAIL) -> FormResult:
    """Submit the page that erases a customer, with this e-mail typed in."""
    return await post_form(client, f"/admin/user/{number}/erase", {"email": email})


# Erasing.


async def test_erasing_leaves_no_trace_of_a_person(
    desk: AdminDesk, tamsin: Person, tom: Person, console: Console, caplog: pytest.LogCaptureFixture
) -> None:
    others = [tom.user.name, str(tom.user.email), "Mara", "mara@example.com"]
    assert find_traces(console, *TRACES, *others) == [*TRACES, *others]

    answer = await press_erase(desk.ada, tamsin.id)

    assert (answer.status, answer.location.endswith(f"/admin/user/details/{tamsin.id}")) == (303, True)
    assert [vars(record)["account"] for record in caplog.records if record.name == "bookit.security"] == [tamsin.id]
    assert find_traces(console, *TRACES, *others) == others
    page_text = get_page_text((await desk.ada.get(answer.location)).text)
    assert f"Customer {tamsin.id} is erased. 2 bookings were cancelled." in page_text
    assert "Erased customer" in page_text
    assert f"erased-{tamsin.id}@erased.invalid" in page_text


async def test_deleting_leaves_no_trace_of_a_person(desk: AdminDesk, tom: Person, console: Console) -> None:
    """A customer without bookings can be deleted. History knew their earlier names and addresses too."""
    assert (await tom.request("PATCH", "/me", json={"name": "Tomasz Before"})).status_code == 200
    traces = [str(tom.user.email), "Tomasz Before"]
    assert find_traces(console, *traces) == traces

    await desk.ada.delete("/admin/user/delete", params={"pks": str(tom.id)})

    assert find_traces(console, *traces) == []
    deleted = "SELECT old ->> 'name' FROM events WHERE table_name = 'users' AND row_id = %s AND action = 'deleted'"
    assert console.execute(deleted, (tom.id,)).fetchall() == [("Erased customer",)]


async def test_a_deletion_that_is_refused_erases_nothing(desk: AdminDesk, tamsin: Person, console: Console) -> None:
    """She has bookings, so she can be erased and not deleted."""
    before = fetch_all_text(console)

    await desk.ada.delete("/admin/user/delete", params={"pks": str(tamsin.id)})

    assert "This is still in use, so it cannot be deleted." in get_page_text(
        (await desk.ada.get("/admin/user/list")).text
    )
    assert fetch_all_text(console) == before


async def test_staff_are_not_deleted(desk: AdminDesk, mara: Person, console: Console) -> None:
    """History says what they did."""
    await desk.ada.delete("/admin/user/delete", params={"pks": str(mara.id)})

    assert "Only customers can be deleted" in get_page_text((await desk.ada.get("/admin/user/list")).text)
    assert console.execute("SELECT count(*) FROM users WHERE id = %s", (mara.id,)).fetchone() == (1,)


async def test_erasing_keeps_the_figures_of_the_business(desk: AdminDesk, tamsin: Person) -> None:
    facts, report = await desk.database.fetch(FACTS), await desk.database.fetch(REPORT, now=NOW)

    await press_erase(desk.ada, tamsin.id)

    assert await desk.database.fetch(FACTS) == facts
    assert await desk.database.fetch(REPORT, now=NOW) == report
    assert [row["status"] for row in await desk.database.fetch(text("SELECT status FROM bookings ORDER BY id"))] == [
        "completed", "completed", "cancelled", "cancelled", "cancelled",
    ]  # fmt: skip
    reviews = await desk.database.fetch(text("SELECT id, booking_id, rating, comment FROM reviews"))
    assert reviews == [{"id": 1, "booking_id": 1, "rating": 4, "comment": "(erased)"}]


async def test_erasing_removes_only_texts_from_history_and_is_recorded(
    desk: AdminDesk, tamsin: Person, ada: Person
) -> None:
    before = await desk.database.fetch(OF_HISTORY)

    await press_erase(desk.ada, tamsin.id)

    after = await desk.database.fetch(OF_HISTORY)
    assert [without_words(row) for row in after[: len(before)]] == [without_words(row) for row in before]
    theirs = {
        ("users", tamsin.id),
        *(("bookings", n) for n in range(1, 7)),
        *(("reviews", n) for n in range(1, 4)),
        *(("notes", n) for n in range(1, 5)),
    }
    for was, became in zip(before, after, strict=False):
        if (was["table_name"], was["row_id"]) not in theirs:
            assert became == was
    last = [(row["table_name"], row["row_id"], row["action"], row["actor"], row["actor_id"]) for row in after][-1]
    assert last == ("users", tamsin.id, "erased", f"admin {ada.id}", ada.id)
    assert (after[-1]["old"], after[-1]["new"], after[-1]["reason"]) == (None, None, None)
    assert "erased it at the desk" in get_page_text((await desk.ada.get(f"/admin/user/details/{tamsin.id}")).text)


def without_words(event: Row) -> Row:
    """Return an event without the values that erasing removes."""
    personal = {"name", "email", "phone", "birthday", "comment", "text"}
    cleaned = {
        side: {name: "words" if name in personal else value for name, value in (event[side] or {}).items()}
        for side in ("old", "new")
    }
    return {**event, **cleaned, "reason": event["reason"] and "words"}


async def test_an_erased_customer_is_locked_out_and_unchangeable(
    desk: AdminDesk, tamsin: Person, visitor: httpx2.AsyncClient
) -> None:
    await press_erase(desk.ada, tamsin.id)

    email = f"erased-{tamsin.id}@erased.invalid"
    for typed in (PASSWORD, "", "erased"):
        answer = await visitor.post("/auth/login", json={"email": email, "password": typed})
        assert (answer.status_code, answer.json()["code"]) == (401, "wrong-password")
    assert (await tamsin.request("GET", "/me")).status_code == 401
    changed = await submit_form(desk.ada, f"/admin/user/edit/{tamsin.id}", name="Tamsin")
    assert "This customer has been erased." in changed.text
    rows = text("SELECT (SELECT count(*) FROM refresh_tokens) + (SELECT count(*) FROM idempotency_keys) AS left")
    assert await desk.database.fetch(rows) == [{"left": 0}]


async def test_the_domain_of_erased_accounts_is_reserved(
    visitor: httpx2.AsyncClient, tom: Person, desk: AdminDesk
) -> None:
    email = "Erased-1@Erased.invalid"

    joined = await visitor.post("/auth/register", json={"name": "Eve", "email": email, "password": PASSWORD})
    moved = await tom.request("PATCH", "/me", json={"email": email, "current_password": PASSWORD})
    written = await submit_form(desk.ada, f"/admin/user/edit/{tom.id}", email=email)

    assert [answer.json()["code"] for answer in (joined, moved)] == ["not-an-email", "not-an-email"]
    assert "Enter an e-mail address such as name@example.com." in written.text


async def test_the_page_explains_erasing_beforehand(desk: AdminDesk, tamsin: Person, tom: Person) -> None:
    of_her = get_page_text((await desk.ada.get(f"/admin/user/{tamsin.id}/erase")).text)
    of_him = get_page_text((await desk.ada.get(f"/admin/user/{tom.id}/erase")).text)

    assert "2 upcoming bookings will be cancelled." in of_her
    assert "No upcoming bookings to cancel." in of_him
    assert (await desk.fetch_row("users", tamsin.id) or {})["name"] == NAME


@pytest.mark.parametrize("email", ["", "tom@example.com", f"{EMAIL}x", "%", "a\0b", "<b>", "x" * 10_000])
async def test_a_wrong_email_erases_no_customer(desk: AdminDesk, tamsin: Person, email: str) -> None:
    before = await desk.fetch_row("users", tamsin.id)

    answer = await press_erase(desk.ada, tamsin.id, email)

    assert (answer.status, "Enter the e-mail address of this customer." in answer.text) == (400, True)
    assert await desk.fetch_row("users", tamsin.id) == before


async def test_the_case_of_the_typed_email_is_ignored(desk: AdminDesk, tamsin: Person) -> None:
    assert (await press_erase(desk.ada, tamsin.id, f" {EMAIL.upper()} ")).status == 303


async def test_staff_cannot_be_erased(desk: AdminDesk, mara: Person, ada: Person) -> None:
    for person in (mara, ada):
        answer = await press_erase(desk.ada, person.id, str(person.user.email))

        assert (answer.status, "Only a customer can be erased." in answer.text) == (403, True)
        assert (await desk.fetch_row("users", person.id) or {})["email"] == person.user.email
        assert "Erase…" not in get_page_text((await desk.ada.get(f"/admin/user/details/{person.id}")).text)


async def test_a_customer_cannot_be_erased_twice(desk: AdminDesk, tamsin: Person) -> None:
    await press_erase(desk.ada, tamsin.id)
    before = await desk.database.fetch(OF_HISTORY)

    for email in (EMAIL, f"erased-{tamsin.id}@erased.invalid"):
        answer = await press_erase(desk.ada, tamsin.id, email)
        assert (answer.status, "This customer has been erased." in answer.text) == (409, True)
    assert await desk.database.fetch(OF_HISTORY) == before


async def test_of_two_concurrent_erasures_one_is_refused(desk: AdminDesk, tamsin: Person) -> None:
    both = await asyncio.gather(press_erase(desk.ada, tamsin.id), press_erase(desk.ada, tamsin.id))

    assert sorted(answer.status for answer in both) == [303, 409]
    erasures = text("SELECT count(*) FROM events WHERE action = 'erased'")
    assert await desk.database.fetch(erasures) == [{"count": 1}]


async def test_only_an_admin_may_erase(desk: AdminDesk, tamsin: Person) -> None:
    before = await desk.fetch_row("users", tamsin.id)

    assert (await desk.mara.get(f"/admin/user/{tamsin.id}/erase")).status_code == 403
    assert (await press_erase(desk.mara, tamsin.id)).status == 403
    assert (await press_erase(desk.visitor, tamsin.id)).status == 302
    assert await desk.fetch_row("users", tamsin.id) == before
    for by in (Actor("admin", 2, Role.STAFF), Actor("api", tamsin.id, Role.USER)):
        with pytest.raises(no.Forbidden):
            async with desk.database.transaction(by=by) as session:
                await records.erase(session, tamsin.id, email=EMAIL, by=by, now=NOW)


@pytest.mark.parametrize("number", ["0", "999", "x", "9" * 30])
async def test_an_unknown_customer_is_not_found(desk: AdminDesk, number: str) -> None:
    assert (await desk.ada.get(f"/admin/user/{number}/erase")).status_code == 404
    assert (await desk.ada.get(f"/admin/user/{number}/data")).status_code == 404
    assert (await press_erase(desk.ada, 999)).status == 404


class Killed(BaseException):
    """Raised where the process ends."""


@pytest.mark.parametrize("at", range(8))
async def test_an_interrupted_erasure_changes_nothing(
    database: Database, tamsin: Person, console: Console, at: int
) -> None:
    ada, before = Actor("admin", 99, Role.ADMIN), fetch_all_text(console)
    left = iter(range(at + 1))

    async def erase_until_killed() -> None:
        async with database.transaction(by=ada, now=NOW) as session:
            fetch = session.fetch

            async def fetch_until_killed(statement: Any, **values: Any) -> list[Row]:
                rows = await fetch(statement, **values)
                if next(left, None) is None:
                    raise Killed
                return rows

            session.fetch = fetch_until_killed  # type: ignore[method-assign]  # cut short after this many statements
            await records.erase(session, tamsin.id, email=EMAIL, by=ada, now=NOW)

    with pytest.raises(Killed):
        await erase_until_killed()

    assert fetch_all_text(console) == before


# No other way changes history.


FORGED = "SELECT set_config('bookit.erasing', '{}', false)"
REWRITES: list[LiteralString] = [
    "UPDATE events SET actor = 'nobody'",
    "UPDATE events SET old = NULL",
    "UPDATE events SET new = '{}' WHERE new IS NOT NULL",
    "UPDATE events SET reason = 'It was agreed'",
    "UPDATE events SET reason = NULL WHERE reason IS NOT NULL",
    "UPDATE events SET at = at - interval '1 day'",
    "UPDATE events SET (old, new) = (without_person(old), without_person(new))",
    "DELETE FROM events",
    "TRUNCATE events",
    "INSERT INTO events SELECT * FROM events ON CONFLICT (id) DO UPDATE SET actor = 'nobody'",
    "MERGE INTO events USING users ON true WHEN MATCHED THEN DELETE",
]


@pytest.mark.parametrize("of", ["living", "erased", "nobody", "nonsense"])
async def test_setting_the_flag_by_hand_changes_no_history(
    desk: AdminDesk, tamsin: Person, tom: Person, console: Console, of: str
) -> None:
    await press_erase(desk.ada, tamsin.id)
    before = await desk.database.fetch(OF_HISTORY)
    person = {"living": tom.id, "erased": tamsin.id, "nobody": 999, "nonsense": "1; --"}[of]
    console.execute(FORGED.format(person).encode())

    for statement in REWRITES:
        with pytest.raises(psycopg.errors.CheckViolation) as caught:
            console.execute(statement)
        assert (caught.value.diag.table_name, caught.value.diag.constraint_name) == ("events", "history_is_append_only")

    assert await desk.database.fetch(OF_HISTORY) == before


async def test_the_function_refuses_customers_who_are_not_erased(console: Console, tom: Person) -> None:
    before = console.execute("SELECT * FROM events ORDER BY id").fetchall()

    with pytest.raises(psycopg.errors.CheckViolation):
        console.execute("SELECT erase_from_history(%s)", (tom.id,))

    assert console.execute("SELECT * FROM events ORDER BY id").fetchall() == before


async def test_reasons_written_by_the_database_stay(
    desk: AdminDesk, tamsin: Person, console: Console, haircut: Service
) -> None:
    herself = Actor("api", tamsin.id, Role.USER)
    async with desk.database.transaction(by=herself, now=NOW) as session:
        start = NOW + timedelta(days=9)
        await records.create(session, Booking, by=herself, now=NOW, service_id=haircut.id, start_time=start, hold=True)
    async with desk.database.transaction(by=Actor("worker"), now=NOW + timedelta(hours=1)) as session:
        await expiry.expire_holds(session, now=NOW + timedelta(hours=1))

    await press_erase(desk.ada, tamsin.id)

    reasons = console.execute("SELECT DISTINCT reason FROM events WHERE reason IS NOT NULL ORDER BY 1").fetchall()
    assert reasons == [("The hold expired.",), ("erased",)]


# The export.


def exported(number: int, day: int, status: str) -> Row:
    """Return a booking of hers as the export contains it."""
    start = NOW + timedelta(days=day)
    return {
        "number": number, "service": "Haircut", "resource": "Haircut", "for": None, "seats": 1, "status": status,
        "starts_at": utc(start), "ends_at": utc(start + timedelta(minutes=45)), "price": 35.0, "booked_at": utc(NOW),
        "held_until": None, "deleted_at": None,
    }  # fmt: skip


def utc(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


async def test_the_export_contains_everything_about_one_person(desk: AdminDesk, tamsin: Person) -> None:
    answer = await desk.ada.get(f"/admin/user/{tamsin.id}/data")

    assert answer.headers["content-disposition"] == f'attachment; filename="bookit-person-{tamsin.id}.json"'
    assert (answer.headers["content-type"], answer.headers["cache-control"]) == ("application/json", "no-store")
    document = answer.json()
    history = document.pop("history")
    (attempts,) = document.pop("wrong_sign_ins")
    _of_her_client, begun = document.pop("sign_ins")
    assert datetime.fromisoformat(attempts["forgotten_at"]).tzinfo
    assert document == {
        "as_of": utc(NOW),
        "account": {
            "number": tamsin.id, "name": NAME, "email": EMAIL, "phone": PHONE, "birthday": "1980-02-29",
            "language": "de", "role": "user", "is_active": True, "joined_at": utc(NOW),
        },
        "bookings": [
            exported(1, -3, "completed"), exported(2, -2, "completed"), exported(4, 1, "confirmed"),
            exported(5, 2, "pending"), exported(6, 3, "cancelled"),
        ],
        "reviews": [{"number": 1, "booking": 1, "rating": 4, "comment": COMMENT, "written_at": utc(NOW)}],
        "notes": [
            {
                "number": 1, "booking": None, "text": NOTE, "pinned": True, "written_by": "staff",
                "written_at": utc(NOW),
            },
            {
                "number": 3, "booking": 4, "text": NOTE_ON_VISIT, "pinned": False, "written_by": "staff",
                "written_at": utc(NOW),
            },
        ],
        "payments": [],
        "second_factors": [],
        "requests_sent_with_a_key": [{"key": "k-1", "sent_at": utc(NOW), "answered_with": None}],
    }  # fmt: skip
    assert {**begun, "number": 0} == {
        "number": 0, "door": "api", "began_at": utc(NOW), "last_used_at": utc(NOW),
        "ends_at": utc(NOW + timedelta(days=1)), "address": "192.0.2.1", "browser": "curl", "second_factor": None,
        "ended_because": None,
    }  # fmt: skip
    events = [{name: value for name, value in event.items() if name != "at"} for event in history[:-1]]
    assert history[-1]["what"] == f"account {tamsin.id} exported"
    assert events[1] == {
        "by": "staff", "door": "admin", "what": f"account {tamsin.id} changed", "reason": None,
        "before": {"E-mail": f"{OLD_NAME.lower()}@example.com"}, "after": {"E-mail": OLD_EMAIL},
    }  # fmt: skip
    assert events[-1] == {
        "by": "staff", "door": "admin", "what": "booking 6 changed", "reason": REASON,
        "before": {"Status": "confirmed"}, "after": {"Status": "cancelled"},
    }  # fmt: skip
    first = next(event for event in events if event["what"] == "booking 1 created")
    assert (first["after"]["Service"], first["after"]["Resource"]) == ("Haircut", "Haircut")
    changed = next(event for event in events if event["what"] == "note 1 changed")
    assert (changed["before"]["Note"], changed["after"]["Note"], changed["by"]) == (FORMER_NOTE, NOTE, "staff")
    assert [event["what"] for event in events if event["by"] == "this person"] == [
        "review 1 created", "review 2 created", "review 3 created", "review 1 changed", "review 2 deleted",
    ]  # fmt: skip


async def test_the_export_contains_nothing_about_other_people(
    desk: AdminDesk, tamsin: Person, console: Console, tom: Person
) -> None:
    """Also if she once worked here and changed another customer's account."""
    herself = Actor("admin", tamsin.id, Role.STAFF)
    async with desk.database.transaction(by=herself) as session:
        await records.change(session, await records.lock(session, User, tom.id), by=herself, now=NOW, name="Tommy")

    document = (await desk.ada.get(f"/admin/user/{tamsin.id}/data")).text

    secrets = [row[0] for row in console.execute("SELECT token_hash FROM refresh_tokens").fetchall()]
    secrets += [row[0] for row in console.execute("SELECT password_hash FROM users").fetchall()]
    others = ["Mara", "mara@example.com", "Ada", "ada@example.com", "Tom", "tom@example.com", "password", *secrets]
    assert [word for word in others if word in document] == []
    *_, last, _ = json.loads(document)["history"]  # before the event of this export
    assert {name: last[name] for name in last if name != "at"} == {
        "by": "this person", "door": "admin", "what": f"account {tom.id} changed",
    }  # fmt: skip


async def test_a_customer_gets_the_same_document_from_the_api(desk: AdminDesk, tamsin: Person) -> None:
    own = await tamsin.request("GET", "/me/export")
    handed = await desk.ada.get(f"/admin/user/{tamsin.id}/data")

    assert own.status_code == 200
    assert own.headers["content-disposition"] == 'attachment; filename="bookit-export.json"'
    documents = [json.loads(answer.content) for answer in (own, handed)]
    assert documents[1]["history"].pop()["what"] == f"account {tamsin.id} exported"
    assert documents[0] == documents[1]


async def test_another_customers_document_is_forbidden(
    desk: AdminDesk, tamsin: Person, visitor: httpx2.AsyncClient, mara: Person
) -> None:
    assert (await visitor.get("/me/export")).status_code == 401
    assert (await desk.visitor.get(f"/admin/user/{tamsin.id}/data")).status_code == 302
    assert (await desk.mara.get(f"/admin/user/{tamsin.id}/data")).status_code == 403
    assert "Export personal data" not in get_page_text((await desk.mara.get(f"/admin/user/details/{tamsin.id}")).text)
    assert (await desk.mara.get(f"/admin/user/{mara.id}/data")).status_code == 200


async def test_an_erased_customers_document_has_no_personal_data(desk: AdminDesk, tamsin: Person) -> None:
    await press_erase(desk.ada, tamsin.id)

    document = (await desk.ada.get(f"/admin/user/{tamsin.id}/data")).text

    own = json.dumps({"name": NAME, "email": EMAIL})
    assert [trace for trace in TRACES if trace in document and trace not in own] == []


async def test_the_export_reads_history_through_indexes(database: Database, tamsin: Person, console: Console) -> None:
    console.execute("""
        INSERT INTO events (actor, door, table_name, row_id, action, new)
        SELECT 'unknown', 'sql', 'bookings', 1000 + n, 'created', '{"user_id": 1}' FROM generate_series(1, 20000) AS n
    """)
    console.execute("ANALYZE")
    read_through = text("SELECT seq_tup_read FROM pg_stat_xact_user_tables WHERE relname = 'events'")

    async with database.transaction(by=OWNER, now=NOW) as session:
        before = await session.fetch(read_through)  # PostgreSQL adds up what it has not reported yet.
        document = await read_export(session, tamsin.user)
        after_export = await session.fetch(read_through)
        await erasure.erase(session, tamsin.user, email=EMAIL, by=OWNER, now=NOW)
        after_erasing = await session.fetch(read_through)

    assert len(document["history"]) > 20
    assert before == after_export == after_erasing
