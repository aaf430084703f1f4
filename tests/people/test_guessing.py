"""Guessing passwords: how many guesses strangers have, and that they keep nobody out. Time is simulated."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from threading import Event
from typing import Any

import httpx2
import psycopg
import pytest
from sqlalchemy import text

from bookit import refusals as no
from bookit.db.pool import Database
from bookit.people import devices, passwords, sign_in
from bookit.people.password_threads import PasswordThreads, Queue
from bookit.people.sign_in import Source
from bookit.policy import limits
from tests.support.admin_client import AdminDesk, post_form
from tests.support.admin_client import sign_in as sign_in_at_panel
from tests.support.clock import NOW
from tests.support.people import PASSWORD, JoinUser, Person
from tests.support.request_helpers import status_and_code
from tests.support.sign_ins import insert_sign_in

SECRETS = ["x" * 40]
HOME = Source("198.51.100.1")
ATTACKERS = [Source(f"203.0.113.{number}") for number in range(10)]
Attempt = Callable[..., Awaitable[Any]]


@pytest.fixture
def attempt(database: Database) -> Attempt:
    """Return a function that tries to sign in, and returns "in", "wrong" or the seconds to wait."""

    async def try_it(email: str, password: str, source: Source = HOME, *, at: datetime = NOW) -> str | float:
        try:
            await sign_in.authenticate(database, email=email, password=password, now=at, source=source, secrets=SECRETS)
        except no.WrongPassword:
            return "wrong"
        except no.TooManyGuesses as refusal:
            return refusal.retry_after_seconds
        return "in"

    return try_it


def known(person: Person, at: datetime = NOW) -> Source:
    """Return a device on which this person has signed in before."""
    return HOME._replace(device_token=devices.create_token(person.id, SECRETS, now=at))


async def test_ten_attackers_for_an_hour_keep_no_owner_out(mara: Person, attempt: Attempt) -> None:
    """They have ten guesses and one more each thirty seconds. The owner comes in on a known device each minute."""
    guesses, owner, at, home = 0, list[str](), NOW, known(mara)
    for minute in range(60):
        for second in range(0, 60, 15):
            at = NOW + timedelta(minutes=minute, seconds=second)
            for attacker in ATTACKERS:
                guesses += await attempt("mara@example.com", "guess", attacker, at=at) == "wrong"
        owner.append(await attempt("mara@example.com", PASSWORD, home, at=at))

    assert owner == ["in"] * 60
    assert limits.MAX_ATTEMPTS_PER_ACCOUNT < guesses <= limits.MAX_ATTEMPTS_PER_ACCOUNT + 120


async def test_an_owner_on_a_new_device_waits_as_long_as_they_are_told(mara: Person, attempt: Attempt) -> None:
    """Each of the attackers asks again every second; the turn of the owner is not theirs."""
    for _ in range(3):
        for attacker in ATTACKERS:
            await attempt("mara@example.com", "guess", attacker)
    wait = await attempt("mara@example.com", PASSWORD)
    assert isinstance(wait, int)
    assert 30 < wait <= 11 * 30
    for second in range(0, wait, 5):
        for attacker in ATTACKERS:
            await attempt("mara@example.com", "guess", attacker, at=NOW + timedelta(seconds=second))

    early = await attempt("mara@example.com", PASSWORD, at=NOW + timedelta(seconds=wait - 10))
    due = await attempt("mara@example.com", PASSWORD, at=NOW + timedelta(seconds=wait))

    assert (early, due) == (10, "in")


async def test_turns_are_given_for_an_hour_at_most(mara: Person, attempt: Attempt) -> None:
    sources = [Source(f"network {number}") for number in range(140)]

    waits = [await attempt("mara@example.com", "guess", source) for source in sources]
    late = await attempt("mara@example.com", PASSWORD, at=NOW + timedelta(hours=1, minutes=5))

    assert (waits[9], waits[10], waits[129], waits[130:]) == ("wrong", 30, 3600, [3630] * 10)
    assert late == "in"


async def test_a_blocked_address_counts_nothing_against_accounts(tom: Person, eve: Person, attempt: Attempt) -> None:
    attacker = ATTACKERS[0]
    for number in range(limits.MAX_ATTEMPTS_PER_ADDRESS):
        assert await attempt(f"nobody{number}@example.com", "guess", attacker) == "wrong"

    blocked = [await attempt("tom@example.com", "guess", attacker) for _ in range(limits.MAX_ATTEMPTS_PER_ACCOUNT + 2)]

    assert "wrong" not in blocked
    assert await attempt("tom@example.com", PASSWORD) == "in"


async def test_a_right_password_forgives_the_account_and_never_the_address(
    tom: Person, eve: Person, attempt: Attempt
) -> None:
    """Eve signs in to her own account between guesses at others."""
    answers = []
    for number in range(limits.MAX_ATTEMPTS_PER_ADDRESS + 20):
        answers.append(await attempt(f"nobody{number}@example.com", "guess", ATTACKERS[0]))
        if number % 20 == 0:
            await attempt("eve@example.com", PASSWORD, ATTACKERS[0])
    for _ in range(3):
        guesses = [await attempt("tom@example.com", "typo") for _ in range(limits.MAX_ATTEMPTS_PER_ACCOUNT - 1)]
        assert (set(guesses), await attempt("tom@example.com", PASSWORD)) == ({"wrong"}, "in")

    assert answers.count("wrong") == limits.MAX_ATTEMPTS_PER_ADDRESS


async def test_right_passwords_use_up_no_address(tom: Person, attempt: Attempt) -> None:
    answers = {await attempt("tom@example.com", PASSWORD) for _ in range(limits.MAX_ATTEMPTS_PER_ADDRESS + 10)}

    assert answers == {"in"}


@pytest.mark.parametrize(
    ("address", "network", "is_known"),
    [
        ("198.51.100.1", "198.51.100.1", True),
        ("198.51.100.1", "198.51.100.2", False),
        ("2001:db8:1:2::7", "2001:db8:1:2::/64", True),
        ("2001:db8:1:3::7", "2001:db8:1:2::/64", False),
        ("", "198.51.100.1", False),
        ("testclient", "testclient", False),
    ],
)
async def test_an_owner_comes_in_from_where_they_have_signed_in_before(
    mara: Person, attempt: Attempt, database: Database, address: str, network: str, is_known: bool
) -> None:
    """A client that keeps no token of its device is known by its network. There, too, are ten guesses and no more."""
    with psycopg.connect(database.url) as console:
        insert_sign_in(console, mara.user, now=NOW, door="api")
        console.execute("UPDATE sign_ins SET address = %s", [address])
    for attacker in ATTACKERS:
        await attempt("mara@example.com", "guess", attacker)

    home = Source(network)
    first = await attempt("mara@example.com", PASSWORD, home)
    guesses = [await attempt("mara@example.com", "guess", home) for _ in range(limits.MAX_ATTEMPTS_PER_ACCOUNT + 2)]

    assert (first == "in") is is_known
    assert guesses.count("wrong") == (limits.MAX_ATTEMPTS_PER_ACCOUNT if is_known else 0)


async def test_a_known_network_forgives_no_address(
    eve: Person, tom: Person, attempt: Attempt, database: Database
) -> None:
    """Eve signs in to her own account from the address that is blocked, and guesses on."""
    attacker = ATTACKERS[0]
    with psycopg.connect(database.url) as console:
        insert_sign_in(console, eve.user, now=NOW, door="api")
        console.execute("UPDATE sign_ins SET address = %s", [attacker.network])
    for number in range(limits.MAX_ATTEMPTS_PER_ADDRESS):
        await attempt(f"nobody{number}@example.com", "guess", attacker)

    own = [await attempt("eve@example.com", PASSWORD, attacker) for _ in range(20)]
    others = [await attempt(f"another{number}@example.com", "guess", attacker) for number in range(20)]

    assert own == ["in"] * 20
    assert "wrong" not in others


@pytest.mark.parametrize("typed", ["adm\u0130n@example.com", "ADM\u0130N@example.com", "\u212aim@example.com"])
async def test_letters_that_the_database_would_fold_find_no_account(
    join: JoinUser, attempt: Attempt, typed: str
) -> None:
    for name in ("Admin", "Kim"):
        await join(name)

    assert await attempt(typed, PASSWORD) == "wrong"


@pytest.mark.parametrize("spelling", ["tom@example.com", "TOM@EXAMPLE.COM", "Tom@Example.com"])
async def test_every_spelling_of_an_address_has_one_counter(tom: Person, attempt: Attempt, spelling: str) -> None:
    for _ in range(limits.MAX_ATTEMPTS_PER_ACCOUNT):
        await attempt("tOm@example.com", "guess")
        await attempt("\u00dcmit@example.com", "guess", ATTACKERS[1])

    assert await attempt(spelling, PASSWORD) == 30
    assert await attempt("\u00fcmit@example.com", "guess", ATTACKERS[1]) == 30


async def test_the_token_of_a_device_is_of_one_person_and_has_ten_guesses(
    tom: Person, eve: Person, attempt: Attempt
) -> None:
    device = known(tom)
    for _ in range(limits.MAX_ATTEMPTS_PER_ACCOUNT):
        assert await attempt("tom@example.com", "guess", device) == "wrong"
        assert await attempt("eve@example.com", "guess", ATTACKERS[0]) == "wrong"

    assert await attempt("tom@example.com", PASSWORD, device) == 30
    assert await attempt("eve@example.com", PASSWORD, device) == 30
    for token in ("", "a.b.c", device.device_token[:-1] + "0", "\ud800.1.2.3"):
        found = devices.find_device(token, user_id=tom.id, secrets=["y" * 40], now=NOW)
        assert found is None
    assert devices.find_device(device.device_token, user_id=tom.id, secrets=["y" * 40, *SECRETS], now=NOW)
    assert devices.find_device(device.device_token, user_id=tom.id, secrets=SECRETS, now=NOW + devices.LIFETIME) is None


# Both doors.


async def block(database: Database, person: Person) -> None:
    """Use up all attempts at an account, and every turn. The person has signed in from elsewhere."""
    await database.fetch(text("UPDATE sign_ins SET address = '203.0.113.99' WHERE user_id = :id"), id=person.id)
    await database.fetch(
        text("INSERT INTO tries (name, due_at) VALUES (counter_name(:name), :due_at)"),
        name=f"account {person.id}", due_at=NOW + limits.ATTEMPT_WINDOW + limits.MAX_ATTEMPT_WAIT,
    )  # fmt: skip


async def test_a_known_device_signs_in_at_the_api_while_the_account_is_guessed_at(
    tom: Person, visitor: httpx2.AsyncClient, database: Database
) -> None:
    credentials = {"email": "tom@example.com", "password": PASSWORD}
    first = await visitor.post("/auth/login", json=credentials)
    await block(database, tom)

    stranger = await visitor.post("/auth/login", json=credentials)
    owner = await visitor.post("/auth/login", json={**credentials, "device_token": first.json()["device_token"]})

    assert status_and_code(stranger) == (429, "too-many-guesses")
    assert owner.status_code == 200


async def test_a_known_device_signs_in_at_the_panel_while_the_account_is_guessed_at(
    desk: AdminDesk, mara: Person, database: Database
) -> None:
    await sign_in_at_panel(desk.mara, "mara@example.com")
    await block(database, mara)

    stranger = await sign_in_at_panel(desk.visitor, "mara@example.com")
    owner = await sign_in_at_panel(desk.mara, "mara@example.com")

    assert (stranger.status_code, owner.status_code) == (429, 303)
    cookie = next(line for line in owner.headers.get_list("set-cookie") if line.startswith("__Secure-bookit_device="))
    assert {"HttpOnly", "Secure", "Path=/admin/login", "SameSite=lax"} <= set(cookie.split("; "))


async def test_strangers_cannot_lock_the_change_of_a_password(
    desk: AdminDesk, mara: Person, database: Database
) -> None:
    await block(database, mara)

    at_panel = await post_form(
        desk.mara, "/admin/password", {"current_password": PASSWORD, "password": "another secret"}
    )
    at_api = await desk.visitor.post("/auth/login", json={"email": "mara@example.com", "password": "another secret"})

    assert (at_panel.status, at_api.status_code) == (303, 429)


async def test_strangers_cannot_lock_the_change_of_a_password_at_the_api(tom: Person, database: Database) -> None:
    await block(database, tom)

    answer = await tom.request("PATCH", "/me", json={"password": "another secret", "current_password": PASSWORD})

    assert answer.status_code == 200


# The queues before the threads that hash.


async def test_staff_are_served_first_and_sign_ups_take_turns_with_customers() -> None:
    threads, gate, order = PasswordThreads(1), Event(), list[str]()
    first = threads.submit(Queue.SIGN_UPS, gate.wait)
    queues = [Queue.SIGN_UPS] * 2 + [Queue.CUSTOMERS] * 2 + [Queue.STAFF_PANEL, Queue.STAFF]
    while threads.waiting(Queue.SIGN_UPS):  # noqa: ASYNC110 -- a thread takes it
        await asyncio.sleep(0.001)
    futures = [threads.submit(queue, order.append, queue.name) for queue in queues]
    cancelled = threads.submit(Queue.STAFF, order.append, "cancelled")
    cancelled.cancel()
    gate.set()
    for future in (first, *futures):
        await asyncio.wrap_future(future)

    assert order == ["STAFF", "STAFF_PANEL", "CUSTOMERS", "SIGN_UPS", "CUSTOMERS", "SIGN_UPS"]


async def test_full_queues_of_customers_and_sign_ups_keep_no_staff_out(
    desk: AdminDesk, mara: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads, gate = PasswordThreads(1), Event()
    monkeypatch.setattr(passwords, "THREADS", threads)
    threads.submit(Queue.SIGN_UPS, gate.wait)
    while threads.waiting(Queue.SIGN_UPS):  # noqa: ASYNC110 -- a thread takes it
        await asyncio.sleep(0.001)
    for queue, count in ((Queue.SIGN_UPS, passwords.MAX_SIGN_UPS_WAITING), (Queue.CUSTOMERS, passwords.MAX_WAITING)):
        for _ in range(count):
            threads.submit(queue, gate.wait)
    credentials = {"email": "mara@example.com", "password": PASSWORD}
    customer = await desk.visitor.post("/auth/login", json=credentials)
    sign_up = await desk.visitor.post("/auth/register", json={**credentials, "name": "Mara"})
    panel = asyncio.create_task(sign_in_at_panel(desk.visitor, "mara@example.com"))
    while not threads.waiting(Queue.STAFF_PANEL):  # noqa: ASYNC110 -- a thread takes it
        await asyncio.sleep(0.001)
    gate.set()

    assert [status_and_code(answer) for answer in (customer, sign_up)] == [(503, "busy")] * 2
    assert (await panel).status_code == 303
