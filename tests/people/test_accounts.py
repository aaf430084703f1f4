"""Signing in and out, and rights that end at once. Changes of an account are in ``test_people.py``."""

import asyncio
import subprocess
import sys
from collections.abc import Awaitable
from typing import Any

import httpx2
import pytest
from sqlalchemy import text

from bookit import records
from bookit import refusals as no
from bookit.db.pool import Database
from bookit.people import passwords
from bookit.people.password_threads import Queue
from bookit.policy.permissions import Actor
from bookit.schema.tables import Role, User
from tests.support.clock import NOW, Clock
from tests.support.people import OWNER, PASSWORD, PASSWORD_HASH, Person
from tests.support.request_helpers import status_and_code
from tests.support.security_events import SecurityEvents
from tests.support.server import ROOT


async def change_user(database: Database, person: Person, **facts: Any) -> None:
    """Change an account as the admin."""
    async with database.transaction(by=OWNER) as session:
        user = await records.lock(session, User, person.id)
        await records.change(session, user, by=OWNER, now=NOW, **facts)


async def signed_in(client: httpx2.AsyncClient, email: str = "tom@example.com") -> dict[str, str]:
    answer = await client.post("/auth/login", json={"email": email, "password": PASSWORD})
    assert answer.status_code == 200, answer.text
    tokens: dict[str, str] = answer.json()
    return tokens


async def me(client: httpx2.AsyncClient, token: str) -> httpx2.Response:
    return await client.get("/me", headers={"Authorization": f"Bearer {token}"})


async def test_the_case_of_an_email_is_ignored_at_sign_in(tom: Person, visitor: httpx2.AsyncClient) -> None:
    tokens = await signed_in(visitor, "TOM@example.com")

    answer = await me(visitor, tokens["access_token"])

    assert tokens["token_type"] == "bearer"
    assert answer.json()["id"] == tom.id


@pytest.mark.parametrize(
    ("email", "password"),
    [("tom@example.com", "wrong horse"), ("nobody@example.com", PASSWORD), ("tom@example.com", "x" * 100), ("", "")],
)
async def test_wrong_email_and_wrong_password_are_answered_alike(
    tom: Person, visitor: httpx2.AsyncClient, email: str, password: str
) -> None:
    answer = await visitor.post("/auth/login", json={"email": email, "password": password})

    assert status_and_code(answer) == (401, "wrong-password")
    assert answer.json()["detail"] == "The e-mail or the password is wrong."


async def test_an_inactive_user_cannot_sign_in(tom: Person, visitor: httpx2.AsyncClient, database: Database) -> None:
    await change_user(database, tom, is_active=False)

    answer = await visitor.post("/auth/login", json={"email": "tom@example.com", "password": PASSWORD})

    assert status_and_code(answer) == (401, "wrong-password")


async def test_an_access_token_expires_after_half_an_hour(
    tom: Person, visitor: httpx2.AsyncClient, clock: Clock
) -> None:
    token = (await signed_in(visitor))["access_token"]

    clock.advance(minutes=29, seconds=59)
    before = await me(visitor, token)
    clock.advance(seconds=1)
    after = await me(visitor, token)

    assert (before.status_code, status_and_code(after)) == (200, (401, "sign-in-ended"))


async def test_a_refresh_token_returns_the_next_pair(tom: Person, visitor: httpx2.AsyncClient, clock: Clock) -> None:
    first = await signed_in(visitor)
    clock.advance(days=6, hours=23)

    answer = await visitor.post("/auth/refresh", json={"refresh_token": first["refresh_token"]})

    assert answer.status_code == 200
    assert answer.json()["refresh_token"] != first["refresh_token"]
    assert (await me(visitor, answer.json()["access_token"])).status_code == 200


async def test_a_refresh_token_expires_after_a_week(tom: Person, visitor: httpx2.AsyncClient, clock: Clock) -> None:
    first = await signed_in(visitor)
    clock.advance(days=7)

    answer = await visitor.post("/auth/refresh", json={"refresh_token": first["refresh_token"]})

    assert status_and_code(answer) == (401, "sign-in-ended")


async def test_a_reused_refresh_token_ends_its_sign_in(
    tom: Person, visitor: httpx2.AsyncClient, clock: Clock, security_events: SecurityEvents
) -> None:
    first = await signed_in(visitor)
    other = await signed_in(visitor)
    second = (await visitor.post("/auth/refresh", json={"refresh_token": first["refresh_token"]})).json()
    clock.advance(seconds=10)

    stolen = await visitor.post("/auth/refresh", json={"refresh_token": first["refresh_token"]})
    rightful = await visitor.post("/auth/refresh", json={"refresh_token": second["refresh_token"]})
    elsewhere = await visitor.post("/auth/refresh", json={"refresh_token": other["refresh_token"]})

    assert (status_and_code(stolen), status_and_code(rightful)) == ((401, "sign-in-ended"), (401, "sign-in-ended"))
    assert status_and_code(await me(visitor, second["access_token"])) == (401, "sign-in-ended")
    assert elsewhere.status_code == 200
    assert security_events()[-1] == ("refresh token reused", tom.id, "")


async def test_a_refresh_token_sent_twice_at_once_returns_the_same_next_one(
    tom: Person, visitor: httpx2.AsyncClient, database: Database
) -> None:
    token = (await signed_in(visitor))["refresh_token"]

    answers = await asyncio.gather(*(visitor.post("/auth/refresh", json={"refresh_token": token}) for _ in range(8)))

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["refresh_token"] for answer in answers}) == 1
    assert await database.fetch(text("SELECT 1 AS n FROM refresh_tokens")) == [{"n": 1}] * 2


async def test_a_spent_refresh_token_is_not_answered_again_after_the_next_one_was_used(
    tom: Person, visitor: httpx2.AsyncClient
) -> None:
    """Otherwise who copied a token could follow its owner, ten seconds behind, for ever."""
    first = await signed_in(visitor)
    second = (await visitor.post("/auth/refresh", json={"refresh_token": first["refresh_token"]})).json()
    third = (await visitor.post("/auth/refresh", json={"refresh_token": second["refresh_token"]})).json()

    late = await visitor.post("/auth/refresh", json={"refresh_token": first["refresh_token"]})

    assert status_and_code(late) == (401, "sign-in-ended")
    assert status_and_code(await me(visitor, third["access_token"])) == (401, "sign-in-ended")


async def test_a_sign_in_ends_after_ninety_days_however_often_it_is_renewed(
    tom: Person, visitor: httpx2.AsyncClient, clock: Clock
) -> None:
    tokens = await signed_in(visitor)
    for _ in range(17):
        clock.advance(days=5)
        tokens = (await visitor.post("/auth/refresh", json={"refresh_token": tokens["refresh_token"]})).json()
    clock.advance(days=4, hours=23, minutes=59)
    last = (await visitor.post("/auth/refresh", json={"refresh_token": tokens["refresh_token"]})).json()
    is_signed_in = (await me(visitor, last["access_token"])).status_code == 200
    clock.advance(minutes=1)

    answers = [
        await me(visitor, last["access_token"]),
        await visitor.post("/auth/refresh", json={"refresh_token": last["refresh_token"]}),
    ]

    assert is_signed_in
    assert [status_and_code(answer) for answer in answers] == [(401, "sign-in-ended")] * 2


async def test_signing_out_revokes_the_tokens(tom: Person, visitor: httpx2.AsyncClient) -> None:
    token = (await signed_in(visitor))["refresh_token"]

    out = await visitor.post("/auth/logout", json={"refresh_token": token})
    again = await visitor.post("/auth/logout", json={"refresh_token": token})
    unknown = await visitor.post("/auth/logout", json={"refresh_token": "never given"})
    after = await visitor.post("/auth/refresh", json={"refresh_token": token})

    assert [out.status_code, again.status_code, unknown.status_code] == [200, 200, 200]
    assert status_and_code(after) == (401, "sign-in-ended")


async def test_a_deactivated_user_is_signed_out_at_once(
    tom: Person, visitor: httpx2.AsyncClient, database: Database
) -> None:
    tokens = await signed_in(visitor)
    await change_user(database, tom, is_active=False)

    answers = [
        await me(visitor, tokens["access_token"]),
        await visitor.post("/auth/refresh", json={"refresh_token": tokens["refresh_token"]}),
    ]

    assert [status_and_code(answer) for answer in answers] == [(401, "sign-in-ended")] * 2


async def test_a_demoted_user_is_signed_out_at_once(mara: Person, database: Database) -> None:
    before = await mara.request("GET", "/bookings")
    await change_user(database, mara, role=Role.USER)

    after = await mara.request("POST", "/services", json={"title": "Mine", "price": 1, "duration_minutes": 1})

    assert before.status_code == 200
    assert status_and_code(after) == (401, "sign-in-ended")


async def test_an_unreferenced_user_can_be_deleted(tom: Person, ada: Person, database: Database) -> None:
    by = Actor("admin", ada.id, Role.ADMIN)
    async with database.transaction(by=by) as session:
        await records.remove(session, await records.lock(session, User, tom.id), by=by, now=NOW)

    assert status_and_code(await tom.request("GET", "/me")) == (401, "sign-in-ended")


async def test_password_guesses_are_rate_limited(tom: Person, eve: Person, visitor: httpx2.AsyncClient) -> None:
    async def sign_in(email: str, password: str) -> httpx2.Response:
        return await visitor.post("/auth/login", json={"email": email, "password": password})

    guesses = [await sign_in("TOM@example.com", f"guess {number}") for number in range(10)]
    right, other = await sign_in("tom@example.com", PASSWORD), await sign_in("eve@example.com", PASSWORD)

    assert [guess.status_code for guess in guesses] == [401] * 10
    assert status_and_code(right) == (429, "too-many-guesses")
    assert 0 < int(right.headers["retry-after"]) <= 30
    assert right.json()["detail"] == "Too many wrong sign-ins. Please try again in a minute."
    assert other.status_code == 200


async def test_a_correct_password_resets_the_count(tom: Person, visitor: httpx2.AsyncClient) -> None:
    async def sign_in(password: str) -> int:
        sent = {"email": "tom@example.com", "password": password}
        return (await visitor.post("/auth/login", json=sent)).status_code

    first = [await sign_in("wrong guess") for _ in range(9)] + [await sign_in(PASSWORD)]
    second = [await sign_in("wrong guess") for _ in range(9)] + [await sign_in(PASSWORD)]

    assert first == second == [401] * 9 + [200]


@pytest.mark.process
def test_passwords_are_hashed_at_cost_12() -> None:
    """Runs in a process of its own, because these tests use a cheaper cost."""
    program = "from bookit.people import passwords; print(passwords.CRYPT_CONTEXT.hash('8 chars!'))"

    hashed = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout

    assert hashed.startswith("$2b$12$")


async def test_a_flood_of_sign_ups_delays_no_sign_in() -> None:
    done: list[str] = []

    async def note(name: str, hashing: Awaitable[object]) -> None:
        try:
            await hashing
        except no.Busy:
            name = "busy"
        done.append(name)

    flood = [note("sign-up", passwords.hash_password("flood-flood", Queue.SIGN_UPS)) for _ in range(60)]
    await asyncio.gather(*flood, note("sign-in", passwords.verify_password(PASSWORD, PASSWORD_HASH)))

    assert done.count("busy") in range(
        60 - passwords.THREADS.count - 1 - passwords.MAX_SIGN_UPS_WAITING, 60 - passwords.MAX_SIGN_UPS_WAITING + 1
    )
    assert [name for name in done if name != "busy"].index("sign-in") <= 2 * passwords.THREADS.count
