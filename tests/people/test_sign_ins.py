"""Sign-ins: where they are listed, how each is ended, and when they end by themselves."""

from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
import httpx2
import psycopg
import pytest
from sqlalchemy import text
from starlette.applications import Starlette

from bookit import cleanup, records
from bookit import refusals as no
from bookit.db.pool import Database
from bookit.people import sign_ins
from bookit.people.sign_ins import Client, Lifetime
from bookit.schema.tables import SignIn
from tests.support.admin_client import AdminDesk, ParsedPage, get_page_text, make_browser, sign_in
from tests.support.clock import NOW, Clock
from tests.support.people import OWNER, PASSWORD, Person
from tests.support.request_helpers import status_and_code
from tests.support.security_events import SecurityEvents

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0"
SHORT = Lifetime(timedelta(hours=1), timedelta(hours=2))
ENDED = (401, "sign-in-ended")
OPEN_PAGE, SENT_AWAY = 200, 302


async def log_in(client: httpx2.AsyncClient, person: Person, **headers: str) -> dict[str, str]:
    """Sign in at the API, and return the headers of requests by this sign-in."""
    sent = {"email": person.user.email, "password": PASSWORD}
    answer = await client.post("/auth/login", json=sent, headers=headers)
    return {"Authorization": f"Bearer {answer.json()['access_token']}"}


async def is_in(client: httpx2.AsyncClient, headers: dict[str, str]) -> bool:
    return (await client.get("/me", headers=headers)).status_code == 200


async def open_panel(browser: httpx2.AsyncClient) -> int:
    return (await browser.get("/admin/booking/list")).status_code


async def list_ids(client: httpx2.AsyncClient, headers: dict[str, str], path: str = "/me/sign-ins") -> list[int]:
    return [row["id"] for row in (await client.get(path, headers=headers)).json()]


@pytest.fixture
def console(database: Database) -> Iterator[psycopg.Connection]:
    """Open a console of the database."""
    with psycopg.connect(database.url, autocommit=True) as connection:
        yield connection


@pytest.fixture
async def begun(database: Database, tom: Person) -> SignIn:
    """A sign-in of Tom's at the API of an hour, two at most."""
    async with database.transaction(by=OWNER, now=NOW) as session:
        return await sign_ins.begin(session, tom.user, door="api", now=NOW, lifetime=SHORT, client=Client())


# The API.


async def test_a_user_sees_where_they_are_signed_in(tom: Person, visitor: httpx2.AsyncClient) -> None:
    await log_in(visitor, tom)
    here = await log_in(visitor, tom, **{"User-Agent": FIREFOX})

    answer = (await visitor.get("/me/sign-ins", headers=here)).json()

    assert [row["is_current"] for row in answer] == [False, False, True]
    assert {name: value for name, value in answer[-1].items() if name != "id"} == {
        "door": "api",
        "created_at": "2030-01-07T09:00:00Z",
        "last_seen_at": "2030-01-07T09:00:00Z",
        "ends_at": "2030-01-14T09:00:00Z",
        "address": "127.0.0.1",
        "browser": "Firefox on Linux",
        "second_factor": None,
        "is_current": True,
    }


async def test_the_list_of_sign_ins_has_pages(tom: Person, visitor: httpx2.AsyncClient) -> None:
    here = await log_in(visitor, tom)

    page = await visitor.get("/me/sign-ins", params={"limit": 1}, headers=here)
    rest = await visitor.get(page.links["next"]["url"], headers=here)

    assert [row["is_current"] for row in page.json() + rest.json()] == [False, True]


async def test_a_user_ends_one_of_their_sign_ins(
    tom: Person, visitor: httpx2.AsyncClient, security_events: SecurityEvents
) -> None:
    there, here = await log_in(visitor, tom), await log_in(visitor, tom)
    [_, number, own] = await list_ids(visitor, here)

    answers = [await visitor.delete(f"/me/sign-ins/{number}", headers=here) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [204, 404]
    assert (await is_in(visitor, there), await is_in(visitor, here)) == (False, True)
    assert security_events()[-1] == ("signed out", tom.id, "ended elsewhere")
    assert (await visitor.delete(f"/me/sign-ins/{own}", headers=here)).status_code == 204
    assert not await is_in(visitor, here)


async def test_a_user_ends_all_other_sign_ins(tom: Person, visitor: httpx2.AsyncClient, eve: Person) -> None:
    others = [await log_in(visitor, tom) for _ in range(2)]
    here = await log_in(visitor, tom)

    answer = await visitor.delete("/me/sign-ins", headers=here)

    assert answer.status_code == 204
    assert [await is_in(visitor, headers) for headers in [*others, here]] == [False, False, True]
    assert (await eve.request("GET", "/me")).status_code == 200


async def test_nobody_ends_the_sign_in_of_somebody_else(
    tom: Person, eve: Person, mara: Person, visitor: httpx2.AsyncClient
) -> None:
    here = await log_in(visitor, tom)
    number = (await list_ids(visitor, here))[-1]
    path = f"/users/{tom.id}/sign-ins"

    answers = [
        await eve.request("DELETE", f"/me/sign-ins/{number}"),
        await eve.request("GET", path),
        await eve.request("DELETE", f"/users/{eve.id}/sign-ins/{number}"),
        *[await who.request("DELETE", path) for who in (tom, eve, mara)],
    ]

    assert [answer.status_code for answer in answers] == [404, 403, 403, 403, 403, 403]
    assert await is_in(visitor, here)


async def test_an_admin_sees_and_ends_the_sign_ins_of_a_person(
    tom: Person, ada: Person, visitor: httpx2.AsyncClient, security_events: SecurityEvents
) -> None:
    path = f"/users/{tom.id}/sign-ins"
    first, second = await log_in(visitor, tom), await log_in(visitor, tom)
    numbers = [row["id"] for row in (await ada.request("GET", path)).json()]

    one = await ada.request("DELETE", f"{path}/{numbers[1]}")
    states = [await is_in(visitor, headers) for headers in (first, second)]
    everything = await ada.request("DELETE", path)

    assert (one.status_code, everything.status_code) == (204, 204)
    assert states == [False, True]
    assert not await is_in(visitor, second)
    assert security_events()[-1] == ("signed out", tom.id, "ended by admin")
    for method in ("GET", "DELETE"):
        assert status_and_code(await ada.request(method, "/users/999/sign-ins")) == (404, "missing")


async def test_an_admin_who_ends_their_own_sign_ins_stays(ada: Person, visitor: httpx2.AsyncClient) -> None:
    elsewhere = await log_in(visitor, ada)

    await ada.request("DELETE", f"/users/{ada.id}/sign-ins")

    assert (await ada.request("GET", "/me")).status_code == 200
    assert not await is_in(visitor, elsewhere)


async def test_signing_out_ends_the_access_token_at_once(
    tom: Person, visitor: httpx2.AsyncClient, security_events: SecurityEvents
) -> None:
    here = await log_in(visitor, tom)

    await visitor.post("/auth/logout", headers=here)

    assert status_and_code(await visitor.get("/me", headers=here)) == ENDED
    assert security_events() == [("signed in", tom.id, "door api"), ("signed out", tom.id, "signed out")]


async def test_a_new_password_ends_all_sign_ins_at_the_api(
    tom: Person, desk: AdminDesk, visitor: httpx2.AsyncClient
) -> None:
    there, here = await log_in(visitor, tom), await log_in(visitor, tom)
    change = {"password": "a new secret", "current_password": PASSWORD}

    await visitor.patch("/me", json=change, headers=here)

    assert (await is_in(visitor, there), await is_in(visitor, here)) == (False, False)


# The panel.


async def test_a_copied_cookie_ends_with_its_sign_in(desk: AdminDesk, mara: Person) -> None:
    async with make_browser(desk.app) as thief:
        thief.cookies = httpx2.Cookies(desk.mara.cookies)
        assert await open_panel(thief) == OPEN_PAGE

        await desk.mara.post("/admin/logout")

        assert await open_panel(thief) == SENT_AWAY


async def test_staff_end_their_sign_ins_on_a_page(desk: AdminDesk, mara: Person) -> None:
    async with make_browser(desk.app) as elsewhere:
        elsewhere.headers["user-agent"] = FIREFOX
        await sign_in(elsewhere, "mara@example.com")
        page = await desk.mara.get("/admin/sign-ins")
        await desk.mara.post("/admin/sign-ins", data={"id": ParsedPage(page.text).fields["id"]})
        after_all = await open_panel(elsewhere)

    assert "Firefox on Linux Staff panel 127.0.0.1" in get_page_text(page.text)
    assert "This browser" in get_page_text(page.text)
    assert after_all == SENT_AWAY
    assert await open_panel(desk.mara) == OPEN_PAGE
    assert status_and_code(await mara.request("GET", "/me")) == ENDED


async def test_staff_end_one_sign_in(desk: AdminDesk, mara: Person) -> None:
    [api_number, own_number] = [row["id"] for row in (await mara.request("GET", "/me/sign-ins")).json()]

    answers = [await desk.mara.post("/admin/sign-ins", data={"id": str(api_number)}) for _ in range(2)]

    assert [answer.headers["location"] for answer in answers] == ["/admin/sign-ins"] * 2
    page = get_page_text((await desk.mara.get("/admin/sign-ins")).text)
    assert "The sign-in was ended." in page
    assert "This sign-in had ended already." in page
    assert status_and_code(await mara.request("GET", "/me")) == ENDED
    assert own_number != api_number


async def test_an_admin_signs_a_person_out_on_their_page(desk: AdminDesk, tom: Person, mara: Person) -> None:
    path = f"/admin/user/{tom.id}/sign-ins"
    details = (await desk.ada.get(f"/admin/user/details/{tom.id}")).text
    page = await desk.ada.get(path)

    refused = [await desk.mara.get(path), await desk.mara.post(path, data={"id": "all"})]
    still_in = (await tom.request("GET", "/me")).status_code
    answer = await desk.ada.post(path, data={"id": "all"})

    assert path in details
    assert path not in (await desk.mara.get(f"/admin/user/details/{tom.id}")).text
    assert "Where Tom is signed in" in get_page_text(page.text)
    assert [response.status_code for response in refused] == [403, 403]
    assert (still_in, answer.status_code) == (200, 303)
    assert status_and_code(await tom.request("GET", "/me")) == ENDED
    assert "Not signed in anywhere." in get_page_text((await desk.ada.get(path)).text)
    assert (await desk.ada.get("/admin/user/999/sign-ins")).status_code == 404


@pytest.mark.parametrize(("name", "idle_minutes"), [("ada", 30), ("mara", 480)])
async def test_a_sign_in_at_the_panel_ends_if_it_is_not_used(
    desk: AdminDesk, clock: Clock, name: str, idle_minutes: int
) -> None:
    async with make_browser(desk.app) as browser:
        await sign_in(browser, f"{name}@example.com")
        clock.advance(minutes=idle_minutes - 1)
        used = await open_panel(browser)
        await desk.app.state.last_seen.finish()
        clock.advance(minutes=idle_minutes - 1)
        used_again = await open_panel(browser)
        await desk.app.state.last_seen.finish()
        clock.advance(minutes=idle_minutes)

        assert (used, used_again, await open_panel(browser)) == (
            OPEN_PAGE,
            OPEN_PAGE if name == "ada" else SENT_AWAY,  # Her twelve hours are over.
            SENT_AWAY,
        )


async def test_a_sign_in_at_the_panel_ends_after_twelve_hours_of_use(desk: AdminDesk, clock: Clock) -> None:
    async with make_browser(desk.app) as browser:
        await sign_in(browser, "ada@example.com")
        for _ in range(35):
            clock.advance(minutes=20)
            assert await open_panel(browser) == OPEN_PAGE
            await desk.app.state.last_seen.finish()
        clock.advance(minutes=20)

        assert await open_panel(browser) == SENT_AWAY


async def test_an_open_calendar_does_not_count_as_use(desk: AdminDesk, clock: Clock) -> None:
    async with make_browser(desk.app) as browser:
        await sign_in(browser, "ada@example.com")
        for _ in range(3):
            clock.advance(minutes=10)
            await browser.get("/admin/today")
            await desk.app.state.last_seen.finish()

        assert await open_panel(browser) == SENT_AWAY


async def test_the_last_use_is_written_every_five_minutes_at_most(
    desk: AdminDesk, clock: Clock, database: Database
) -> None:
    seen = text("SELECT max(last_seen_at) AS at FROM sign_ins WHERE door = 'admin' AND last_seen_at < now() + '10 y'")
    async with make_browser(desk.app) as browser:
        await sign_in(browser, "mara@example.com")
        for minutes, written in ((4, 0), (1, 5), (4, 5), (1, 10)):
            clock.advance(minutes=minutes)
            await open_panel(browser)
            await desk.app.state.last_seen.finish()

            assert (await database.fetch(seen))[0]["at"] == NOW + timedelta(minutes=written)


async def test_the_sign_ins_of_staff_and_their_ends_are_in_history(
    desk: AdminDesk, mara: Person, tom: Person, visitor: httpx2.AsyncClient
) -> None:
    await log_in(visitor, tom)
    async with make_browser(desk.app) as browser:
        await sign_in(browser, "mara@example.com")
        await browser.post("/admin/logout")

    events = await desk.database.fetch(text("SELECT * FROM events WHERE table_name = 'sign_ins' ORDER BY id"))

    assert [(event["actor"], event["door"], event["action"]) for event in events] == [
        (f"staff {mara.id}", "admin", "created"),
        (f"staff {mara.id}", "admin", "changed"),
    ]
    assert events[1]["new"]["end_reason"] == "signed_out"
    assert not {"sid", "address", "browser"} & (events[0]["new"].keys() | events[1]["new"].keys())
    history = get_page_text((await desk.ada.get("/admin/event/list")).text)
    assert "Sign-in" in history


async def test_a_customer_who_signs_in_at_the_panel_is_a_line_of_the_security_log(
    desk: AdminDesk, tom: Person, security_events: SecurityEvents
) -> None:
    await sign_in(desk.visitor, "tom@example.com")

    assert security_events() == [("permission refused", tom.id, "door admin")]


# What ends sign-ins whoever writes it.


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("password_hash = 'x'", "password_changed"),
        ("role = 'staff'", "role_changed"),
        ("is_active = false", "deactivated"),
        ("password_hash = 'x', is_active = false", "deactivated"),
    ],
)
async def test_a_change_of_the_account_ends_its_sign_ins(
    tom: Person, eve: Person, console: psycopg.Connection, change: str, reason: str
) -> None:
    console.execute(f"UPDATE users SET {change} WHERE id = %s", [tom.id])

    rows = console.execute("SELECT user_id, end_reason FROM sign_ins ORDER BY user_id").fetchall()
    assert rows == [(tom.id, reason), (eve.id, None)]
    assert status_and_code(await tom.request("GET", "/me")) == ENDED


async def test_a_change_that_is_none_ends_no_sign_in(tom: Person, console: psycopg.Connection) -> None:
    console.execute("UPDATE users SET password_hash = password_hash, name = 'Thomas', is_active = true")

    assert (await tom.request("GET", "/me")).status_code == 200


async def test_a_password_that_is_changed_meanwhile_signs_nobody_in(
    database: Database, tom: Person, console: psycopg.Connection
) -> None:
    console.execute("UPDATE users SET password_hash = 'x'")

    with pytest.raises(no.WrongPassword):
        async with database.transaction(by=OWNER, now=NOW) as session:
            await sign_ins.begin(session, tom.user, door="api", now=NOW, lifetime=SHORT, client=Client())


WAITING = text("SELECT 1 AS n FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")


async def wait_for_a_lock(database: Database) -> None:
    with anyio.fail_after(10):
        while not await database.fetch(WAITING):
            pass


async def test_a_sign_in_waits_for_a_password_that_is_being_changed(database: Database, tom: Person) -> None:
    async def sign_in_as_tom() -> None:
        with suppress(no.WrongPassword):
            async with database.transaction(by=OWNER, now=NOW) as session:
                await sign_ins.begin(session, tom.user, door="api", now=NOW, lifetime=SHORT, client=Client())
            raise AssertionError("The old password has signed in.")

    with psycopg.connect(database.url) as console:
        console.execute("UPDATE users SET password_hash = 'x' WHERE id = %s", [tom.id])
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(sign_in_as_tom)
            await wait_for_a_lock(database)
            console.commit()


async def test_a_password_that_changes_during_a_sign_in_ends_it(
    database: Database, tom: Person, console: psycopg.Connection
) -> None:
    change = "UPDATE users SET password_hash = 'x' WHERE id = %s"
    async with anyio.create_task_group() as tasks, database.transaction(by=OWNER, now=NOW) as session:
        begun = await sign_ins.begin(session, tom.user, door="api", now=NOW, lifetime=SHORT, client=Client())
        tasks.start_soon(anyio.to_thread.run_sync, partial(console.execute, change, [tom.id]))
        await wait_for_a_lock(database)

    with pytest.raises(no.SignInEnded):
        await sign_ins.find(database, begun.sid, door="api", now=NOW)


async def test_a_token_of_one_door_does_not_open_the_other(database: Database, begun: SignIn) -> None:
    assert (await sign_ins.find(database, begun.sid, door="api", now=NOW)).sign_in_id == begun.id
    with pytest.raises(no.SignInEnded):
        await sign_ins.find(database, begun.sid, door="admin", now=NOW)


async def test_the_requests_of_one_sign_in_share_one_query(
    app: Starlette, tom: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a request has no query more than that of the user."""
    statements: list[Any] = []
    fetch = app.state.database.fetch

    async def counted(statement: Any, **values: Any) -> Any:
        statements.append(statement)
        return await fetch(statement, **values)

    monkeypatch.setattr(app.state.database, "fetch", counted)
    assert (await tom.request("GET", "/me")).status_code == 200
    assert len(statements) == 1


# Old rows.


async def test_the_cleanup_ends_what_has_expired_and_deletes_it_later(
    database: Database, begun: SignIn, console: psycopg.Connection
) -> None:
    async def clean_up(**time: float) -> list[Any]:
        await cleanup.clean_up(database, now=NOW + timedelta(**time), retention=cleanup.Retention(timedelta(days=30)))
        rows = console.execute("SELECT ended_at, end_reason FROM sign_ins WHERE id = %s", [begun.id])
        return rows.fetchall()

    assert await clean_up(minutes=59) == [(None, None)]
    assert await clean_up(minutes=60) == [(NOW + SHORT.idle, "expired")]
    assert await clean_up(days=30, minutes=59) == [(NOW + SHORT.idle, "expired")]
    assert await clean_up(days=30, minutes=60) == []


async def test_erasing_a_person_deletes_their_sign_ins(
    database: Database, tom: Person, console: psycopg.Connection
) -> None:
    async with database.transaction(by=OWNER, now=NOW) as session:
        await records.erase(session, tom.id, email="tom@example.com", by=OWNER, now=NOW)

    assert console.execute("SELECT count(*) FROM sign_ins").fetchall() == [(0,)]


async def test_the_data_of_staff_contain_their_sign_ins_of_history(desk: AdminDesk, mara: Person) -> None:
    async with make_browser(desk.app) as browser:
        await sign_in(browser, "mara@example.com")
    number = (await mara.request("GET", "/me/sign-ins")).json()[-1]["id"]

    document = (await mara.request("GET", "/me/export")).json()

    assert [row["door"] for row in document["sign_ins"]] == ["api", "admin", "admin"]
    assert document["history"][-1]["what"] == f"sign-in {number} created"
