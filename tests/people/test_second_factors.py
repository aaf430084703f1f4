"""Second factors of staff: authenticator apps, recovery codes, who must have one, and what nobody gets without it."""

import asyncio
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import httpx2
import psycopg
import pytest
from sqlalchemy import text
from starlette.applications import Starlette

from bookit import records
from bookit import refusals as no
from bookit.db.pool import Database
from bookit.people import passkeys, second_factor_setup, second_factors, sign_ins, totp
from bookit.people.passkeys import Ceremony
from bookit.people.sign_ins import Client, Lifetime
from bookit.policy.permissions import Actor
from bookit.schema.tables import Role, User
from bookit.settings import Settings
from tests.support.admin_client import (
    AdminDesk,
    get_page_text,
    list_admin_routes,
    make_browser,
    post_form,
    sign_in,
)
from tests.support.applications import SharedApplications
from tests.support.clock import NOW, Clock
from tests.support.people import OWNER, PASSWORD, Person, read_export
from tests.support.request_helpers import status_and_code
from tests.support.second_factors import RECOVERY_CODE, SECRET, SoftPasskey, code_at, insert_app, insert_passkey
from tests.support.security_events import SecurityEvents

PAGE, STEP = "/admin/signing-in", "/admin/login/second-step"
STEP_URL, LOGIN_URL = STEP, "/admin/login"
IN, NOT_IN = 200, 302


async def open_panel(browser: httpx2.AsyncClient) -> int:
    return (await browser.get("/admin/booking/list")).status_code


async def change(browser: httpx2.AsyncClient, act: str, **fields: Any) -> httpx2.Response:
    """Confirm with the password, and then make one change on the page of one's second factors."""
    await browser.post(PAGE, data={"act": "confirm", "current_password": PASSWORD})
    return await browser.post(PAGE, data={"act": act, **fields})


def key_on(html: str) -> str:
    """Return the key of the new app that a page shows."""
    found = re.search("<code>([A-Z2-7 ]{32,})</code>", html)
    assert found
    return found[1].replace(" ", "")


def codes_on(html: str) -> list[str]:
    """Return the recovery codes that a page shows."""
    return re.findall("<code>([a-z2-9]{4}-[a-z2-9-]{14})</code>", html)


async def start_app(browser: httpx2.AsyncClient) -> str:
    """Begin to set up an app, and return its key as the page shows it."""
    await change(browser, "start-app")
    return key_on((await browser.get(PAGE)).text)


async def set_up_app(browser: httpx2.AsyncClient, clock: Clock) -> list[str]:
    """Set up an app, and return the recovery codes that the page shows."""
    secret = await start_app(browser)
    page = await browser.post(PAGE, data={"act": "set-up-app", "code": code_at(clock(), secret)})
    assert page.status_code == 200, get_page_text(page.text)
    return codes_on(page.text)


async def set_up_directly(database: Database, person: Person, settings: Settings) -> None:
    by, keys = Actor("admin", person.id, Role.STAFF), settings.secrets
    async with database.transaction(by=by, now=NOW) as session:
        await second_factor_setup.set_up_app(session, SECRET, code_at(NOW), by=by, now=NOW, secret_keys=keys)


async def log_in(client: httpx2.AsyncClient, person: Person, **more: Any) -> httpx2.Response:
    return await client.post("/auth/login", json={"email": person.user.email, "password": PASSWORD, **more})


@pytest.fixture
def with_app(superuser: psycopg.Connection, mara: Person, settings: Settings) -> Person:
    """Mara, who has an app and a recovery code."""
    insert_app(superuser, mara.user, settings)
    return mara


@pytest.fixture
def guarded(
    applications: SharedApplications, database: Database, settings: Settings, clock: Clock
) -> Callable[[str], Starlette]:
    """Return a function that opens the application with REQUIRE_SECOND_FACTOR."""

    def make(value: str) -> Starlette:
        changed = settings.model_copy(update={"require_second_factor": value})
        return applications.open(changed, database=database, clock=clock)

    return make


# Codes.


def test_codes_are_those_of_the_standard() -> None:
    """RFC 6238, appendix B, of the last six digits."""
    secret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
    moments = {59: "287082", 1111111109: "081804", 1234567890: "005924", 20000000000: "353130"}

    steps = {
        seconds: totp.find_step(secret, code, now=NOW.fromtimestamp(seconds, NOW.tzinfo))
        for seconds, code in moments.items()
    }

    assert steps == {seconds: seconds // 30 for seconds in moments}


def test_a_code_is_good_for_a_step_before_and_after(clock: Clock) -> None:
    code = code_at(NOW)
    found = []
    for seconds in (-60, -30, 0, 30, 60):
        clock.now = NOW
        clock.advance(seconds=seconds)
        found.append(totp.find_step(SECRET, code, now=clock()) is not None)

    assert found == [False, True, True, True, False]
    assert [totp.find_step(SECRET, wrong, now=NOW) for wrong in ("", "12345", "x23456", f"{code}0", "١٢٣٤٥٦")] == [
        None
    ] * 5


def test_a_stored_key_needs_the_secret_that_encrypted_it() -> None:
    stored = totp.encrypt(SECRET, ["old" * 20])

    assert SECRET not in stored
    assert totp.decrypt(stored, ["new" * 20, "old" * 20]) == SECRET
    assert totp.decrypt(stored, ["new" * 20]) is None


# Setting up.


async def test_staff_set_up_an_app_and_get_recovery_codes_once(
    desk: AdminDesk, clock: Clock, mara: Person, database: Database, security_events: SecurityEvents
) -> None:
    codes = await set_up_app(desk.mara, clock)

    page = get_page_text((await desk.mara.get(PAGE)).text)
    assert len(set(codes)) == 10
    assert "10 of 10 are left" in page
    assert not [code for code in codes if code in page]
    assert ("second factor changed", mara.id, "app set up") in security_events()
    rows = await database.fetch(text("SELECT * FROM events WHERE actor_id = :id ORDER BY id"), id=mara.id)
    history = [(row["table_name"], row["action"]) for row in rows]
    assert history == [
        ("authenticators", "created"),
        ("sign_ins", "changed"),  # This one has a second factor now.
        ("sign_ins", "changed"),  # Her other one, at the API, has ended.
        ("recovery_codes", "created"),
    ]
    secrets = [row["secret"] for row in await database.fetch(text("SELECT secret FROM authenticators"))]
    hashes = [row["h"] for row in await database.fetch(text("SELECT unnest(code_hashes) AS h FROM recovery_codes"))]
    assert not [secret for secret in secrets + hashes if secret in str(rows)]


async def test_a_wrong_code_sets_up_nothing(desk: AdminDesk, clock: Clock) -> None:
    secret = await start_app(desk.mara)

    wrong = await desk.mara.post(PAGE, data={"act": "set-up-app", "code": "000000"})
    right = await desk.mara.post(PAGE, data={"act": "set-up-app", "code": code_at(clock(), secret)})

    assert (wrong.status_code, right.status_code) == (400, 200)
    assert str(no.WrongCode()) in get_page_text(wrong.text)
    assert key_on(wrong.text) == secret


CHANGES = ["start-app", "set-up-app", "remove-app", "add-passkey", "rename-passkey", "remove-passkey", "make-codes"]


async def test_each_change_needs_a_confirmation_of_its_own(
    desk: AdminDesk, with_app: Person, database: Database, superuser: psycopg.Connection
) -> None:
    insert_passkey(superuser, with_app.user)
    unconfirmed = [await desk.mara.post(PAGE, data={"act": name, "id": "1", "name": "New"}) for name in CHANGES]
    wrong = await desk.mara.post(PAGE, data={"act": "confirm", "current_password": "not it"})
    still = await desk.mara.post(PAGE, data={"act": "make-codes"})

    first = await change(desk.mara, "rename-passkey", id=1, name="Phone")
    second = await desk.mara.post(PAGE, data={"act": "rename-passkey", "id": "1", "name": "Laptop"})

    assert [answer.status_code for answer in [*unconfirmed, wrong, still]] == [403] * len(CHANGES) + [400, 403]
    assert (first.status_code, second.status_code) == (303, 403)
    assert [row["name"] for row in await database.fetch(text("SELECT name FROM passkeys"))] == ["Phone"]


async def test_a_confirmation_is_good_for_five_minutes(desk: AdminDesk, clock: Clock) -> None:
    await desk.mara.post(PAGE, data={"act": "confirm", "current_password": PASSWORD})
    clock.advance(minutes=5)

    assert (await desk.mara.post(PAGE, data={"act": "start-app"})).status_code == 403


async def test_the_first_second_factor_ends_every_other_sign_in(
    desk: AdminDesk, clock: Clock, mara: Person, visitor: httpx2.AsyncClient
) -> None:
    token = (await log_in(visitor, mara)).json()["access_token"]
    async with make_browser(desk.app) as elsewhere:
        await sign_in(elsewhere, "mara@example.com")

        await set_up_app(desk.mara, clock)

        assert (await open_panel(desk.mara), await open_panel(elsewhere)) == (IN, NOT_IN)
    assert (await visitor.get("/me", headers={"Authorization": f"Bearer {token}"})).status_code == 401


async def test_a_second_app_is_refused(
    desk: AdminDesk, with_app: Person, database: Database, settings: Settings
) -> None:
    await change(desk.mara, "start-app")
    page = await desk.mara.get(PAGE)

    assert "Or type this key" not in page.text
    with pytest.raises(no.AuthenticatorTaken):
        await set_up_directly(database, with_app, settings)


async def test_removing_the_last_second_factor_removes_the_codes(
    desk: AdminDesk, with_app: Person, database: Database
) -> None:
    assert (await change(desk.mara, "remove-app")).status_code == 303

    assert await database.fetch(text("SELECT id FROM authenticators UNION ALL SELECT id FROM recovery_codes")) == []
    assert (await sign_in(desk.visitor, "mara@example.com")).headers["location"] == "/admin/"


async def test_new_codes_replace_those_of_before(desk: AdminDesk, with_app: Person, clock: Clock) -> None:
    page = await change(desk.mara, "make-codes")
    codes = codes_on(page.text)

    await sign_in(desk.visitor, "mara@example.com")
    answers = [await desk.visitor.post(STEP, data={"code": code}) for code in (RECOVERY_CODE, codes[0])]

    assert [answer.status_code for answer in answers] == [401, 303]


async def test_nobody_changes_the_passkey_of_somebody_else(
    desk: AdminDesk, ada: Person, superuser: psycopg.Connection, database: Database
) -> None:
    insert_passkey(superuser, ada.user)

    answers = [await change(desk.mara, name, id=1, name="Mine") for name in ("rename-passkey", "remove-passkey")]

    assert [answer.status_code for answer in answers] == [404, 404]
    assert [row["name"] for row in await database.fetch(text("SELECT name FROM passkeys"))] == ["Key"]


@pytest.mark.parametrize("name", ["", "  ", "\u200b", "x" * 101, "a\0b"])
async def test_a_passkey_has_a_name_that_people_see(
    desk: AdminDesk, mara: Person, superuser: psycopg.Connection, name: str
) -> None:
    insert_passkey(superuser, mara.user)

    assert (await change(desk.mara, "rename-passkey", id=1, name=name)).status_code == 422


# Signing in.


async def test_a_password_alone_opens_nothing(desk: AdminDesk, with_app: Person) -> None:
    answer = await sign_in(desk.visitor, "mara@example.com")

    assert (answer.status_code, answer.headers["location"]) == (303, STEP_URL)
    for method, path in list_admin_routes(desk):
        refused = await desk.visitor.request(method, path)
        assert refused.status_code in {302, 401}, (method, path, refused.status_code)
        assert refused.headers.get("location", LOGIN_URL) in {LOGIN_URL, f"https://bookit.test{LOGIN_URL}"}, path


async def test_the_code_of_the_app_completes_the_sign_in(
    desk: AdminDesk, with_app: Person, clock: Clock, database: Database
) -> None:
    await desk.visitor.get("/admin/service/list")
    await sign_in(desk.visitor, "mara@example.com")
    page = await desk.visitor.get(STEP)

    answer = await desk.visitor.post(STEP, data={"code": f" {code_at(clock())[:3]} {code_at(clock())[3:]} "})

    assert 'autocomplete="one-time-code"' in page.text
    assert 'inputmode="numeric"' in page.text
    assert (answer.status_code, answer.headers["location"]) == (303, "/admin/service/list")
    assert await open_panel(desk.visitor) == IN
    [row] = await database.fetch(text("SELECT second_factor FROM sign_ins ORDER BY id DESC LIMIT 1"))
    assert row["second_factor"] == "app"


@pytest.mark.parametrize("minutes", [5, 60])
async def test_the_second_step_waits_five_minutes(
    desk: AdminDesk, with_app: Person, clock: Clock, minutes: int
) -> None:
    await sign_in(desk.visitor, "mara@example.com")
    clock.advance(minutes=minutes)

    answers = [await desk.visitor.get(STEP), await desk.visitor.post(STEP, data={"code": code_at(clock())})]

    assert [(answer.status_code, answer.headers["location"]) for answer in answers] == [(303, LOGIN_URL)] * 2
    assert await open_panel(desk.visitor) == NOT_IN


async def test_a_password_that_changes_meanwhile_ends_the_second_step(
    desk: AdminDesk, with_app: Person, clock: Clock
) -> None:
    await sign_in(desk.visitor, "mara@example.com")
    await post_form(desk.mara, "/admin/password", {"current_password": PASSWORD, "password": "another secret"})

    await desk.visitor.post(STEP, data={"code": code_at(clock())})

    assert await open_panel(desk.visitor) == NOT_IN


async def test_a_code_works_once(desk: AdminDesk, with_app: Person, clock: Clock, visitor: httpx2.AsyncClient) -> None:
    """At both doors, and an earlier code neither."""
    earlier = code_at(clock())
    clock.advance(seconds=30)
    code = code_at(clock())
    await sign_in(desk.visitor, "mara@example.com")
    assert (await desk.visitor.post(STEP, data={"code": code})).status_code == 303

    async with make_browser(desk.app) as elsewhere:
        await sign_in(elsewhere, "mara@example.com")
        again = [await elsewhere.post(STEP, data={"code": used}) for used in (code, earlier)]
    at_the_api = await log_in(visitor, with_app, code=code)

    assert [answer.status_code for answer in again] == [401, 401]
    assert status_and_code(at_the_api) == (401, "wrong-second-factor")
    clock.advance(seconds=30)
    assert (await log_in(visitor, with_app, code=code_at(clock()))).status_code == 200


@pytest.mark.race
@pytest.mark.parametrize("kind", ["app", "recovery code"])
async def test_a_code_sent_many_times_at_once_signs_in_once(
    app: Starlette, with_app: Person, clock: Clock, visitor: httpx2.AsyncClient, database: Database, kind: str
) -> None:
    code = code_at(clock()) if kind == "app" else RECOVERY_CODE
    uses = 0

    async def use() -> bool:
        async with database.transaction(by=Actor("api", with_app.id, Role.STAFF), now=NOW) as session:
            try:
                await second_factors.use_code(
                    session, with_app.user, code, now=NOW, secret_keys=app.state.settings.secrets
                )
            except no.WrongSecondFactor:
                return False
            await asyncio.sleep(0.01)
            return True

    uses = sum(await asyncio.gather(*(use() for _ in range(8))))

    assert uses == 1


async def test_a_recovery_code_works_once_and_history_says_so(
    desk: AdminDesk, with_app: Person, database: Database, security_events: SecurityEvents
) -> None:
    answers = []
    for _ in range(2):
        desk.visitor.cookies.clear()
        await sign_in(desk.visitor, "mara@example.com")
        answers.append(await desk.visitor.post(STEP, data={"code": RECOVERY_CODE.upper().replace("-", " ")}))

    assert [answer.status_code for answer in answers] == [303, 401]
    events = await database.fetch(text("SELECT * FROM events WHERE table_name = 'recovery_codes'"))
    assert [(row["action"], row["actor_id"], row["new"]["remaining"]) for row in events] == [
        ("changed", with_app.id, 0)
    ]
    assert ("second factor changed", with_app.id, "recovery code used") in security_events()
    assert ("wrong second factor", with_app.id, "") in security_events()


async def test_five_wrong_codes_lock_codes_but_no_recovery_code(
    desk: AdminDesk, with_app: Person, clock: Clock, visitor: httpx2.AsyncClient
) -> None:
    await sign_in(desk.visitor, "mara@example.com")
    wrong = [await desk.visitor.post(STEP, data={"code": "000000"}) for _ in range(6)]
    right = await desk.visitor.post(STEP, data={"code": code_at(clock())})
    at_the_api = await log_in(visitor, with_app, code=code_at(clock()))
    recovered = await desk.visitor.post(STEP, data={"code": RECOVERY_CODE})

    assert [answer.status_code for answer in wrong] == [401] * 5 + [429]
    assert (right.status_code, status_and_code(at_the_api)) == (429, (429, "too-many-guesses"))
    assert recovered.status_code == 303


async def test_an_address_tries_twenty_codes_at_most(
    desk: AdminDesk, with_app: Person, superuser: psycopg.Connection
) -> None:
    await sign_in(desk.visitor, "mara@example.com")
    codes = [f"abcd-efgh-jkmn-pqr{letter}" for letter in "abcdefghjkmnpqrtuvwxyz"]

    answers = [(await desk.visitor.post(STEP, data={"code": code})).status_code for code in codes[:21]]

    assert answers == [401] * 20 + [429]


# The API.


async def test_the_api_asks_staff_for_the_code(with_app: Person, clock: Clock, visitor: httpx2.AsyncClient) -> None:
    answers = {
        "without": await log_in(visitor, with_app),
        "empty": await log_in(visitor, with_app, code=""),
        "wrong": await log_in(visitor, with_app, code="000000"),
        "right": await log_in(visitor, with_app, code=code_at(clock())),
        "recovery": await log_in(visitor, with_app, code=RECOVERY_CODE),
    }

    assert status_and_code(answers["without"]) == (401, "second-factor-needed")
    assert answers["without"].json()["detail"] == str(no.SecondFactorNeeded())
    assert status_and_code(answers["empty"]) == status_and_code(answers["wrong"]) == (401, "wrong-second-factor")
    assert (answers["right"].status_code, answers["recovery"].status_code) == (200, 200)
    headers = {"Authorization": f"Bearer {answers['right'].json()['access_token']}"}
    rows = (await visitor.get("/me/sign-ins", headers=headers)).json()
    assert [row["second_factor"] for row in rows if row["is_current"]] == ["app"]


async def test_the_api_asks_for_no_code_without_a_second_factor(
    tom: Person, mara: Person, visitor: httpx2.AsyncClient
) -> None:
    answers = [await log_in(visitor, who, **more) for who in (tom, mara) for more in ({}, {"code": "123456"})]

    assert [answer.status_code for answer in answers] == [200] * 4


async def test_a_passkey_alone_counts_at_the_api_too(
    mara: Person, superuser: psycopg.Connection, visitor: httpx2.AsyncClient
) -> None:
    insert_passkey(superuser, mara.user)

    assert status_and_code(await log_in(visitor, mara)) == (401, "second-factor-needed")


# Who must have one.


@pytest.mark.parametrize(
    ("value", "who", "must"),
    [
        ("none", "ada", False),
        ("admin", "mara", False),
        ("admin", "ada", True),
        ("staff", "mara", True),
        ("staff", "ada", True),
    ],
)
async def test_who_lacks_a_required_second_factor_sets_it_up_first(
    guarded: Callable[[str], Starlette],
    cast: dict[str, Person],
    clock: Clock,
    visitor: httpx2.AsyncClient,
    value: str,
    who: str,
    must: bool,
) -> None:
    app = guarded(value)
    async with make_browser(app) as browser:
        await sign_in(browser, f"{who}@example.com")
        before = await open_panel(browser)
        if not must:
            assert before == IN
            return
        page = await browser.get(PAGE)
        assert (before, page.status_code) == (303, 200)
        assert "Before you go on" in get_page_text(page.text)
        await browser.post(PAGE, data={"act": "start-app"})  # The password was given just now.
        secret = key_on((await browser.get(PAGE)).text)
        code = code_at(clock(), secret)
        assert (await browser.post(PAGE, data={"act": "set-up-app", "code": code})).status_code == 200
        assert await open_panel(browser) == IN
        removal = await change(browser, "remove-app")
        assert (removal.status_code, str(no.SecondFactorRequired()) in get_page_text(removal.text)) == (400, True)


async def test_without_a_required_second_factor_no_page_and_no_call_is_open(
    desk: AdminDesk,
    guarded: Callable[[str], Starlette],
    mara: Person,
    tom: Person,
    security_events: SecurityEvents,
) -> None:
    app = guarded("staff")
    async with make_browser(app) as browser:
        await sign_in(browser, "mara@example.com")
        for method, path in list_admin_routes(desk):
            if path == PAGE:
                continue
            answer = await browser.request(method, path)
            assert answer.status_code in {303, 401, 403}, (method, path, answer.status_code)
            assert answer.headers.get("location", PAGE) == PAGE, path
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://bookit.test") as client:
        assert status_and_code(await log_in(client, mara)) == (403, "second-factor-not-set-up")
        assert ("signed in", mara.id, "door api") not in security_events()
        old = {"Authorization": mara.client.headers["authorization"]}
        assert status_and_code(await client.get("/me", headers=old)) == (403, "second-factor-not-set-up")
        assert (await log_in(client, tom)).status_code == 200


# Losing it.


async def test_an_owner_resets_the_second_factor_of_a_colleague(
    desk: AdminDesk,
    with_app: Person,
    database: Database,
    superuser: psycopg.Connection,
    security_events: SecurityEvents,
) -> None:
    insert_passkey(superuser, with_app.user)
    path = f"/admin/user/{with_app.id}/second-factor"
    page = await desk.ada.get(path)

    wrong = await desk.ada.post(path, data={"current_password": "not it"})
    right = await desk.ada.post(path, data={"current_password": PASSWORD})

    assert "passkeys: 1" in get_page_text(page.text)
    assert (wrong.status_code, right.status_code) == (400, 303)
    assert path in (await desk.ada.get(f"/admin/user/details/{with_app.id}")).text
    assert await open_panel(desk.mara) == NOT_IN
    assert (await sign_in(desk.visitor, "mara@example.com")).headers["location"] == "/admin/"
    rows = await database.fetch(text("SELECT table_name, action, actor, reason FROM events WHERE action = 'deleted'"))
    assert {(row["table_name"], row["reason"]) for row in rows} == {
        (table, "Second factor reset") for table in ("authenticators", "passkeys", "recovery_codes")
    }
    assert ("second factor changed", with_app.id, f"reset by {rows[0]['actor']}") in security_events()
    assert "Authenticator app" in await desk.fetch_list_text(desk.ada, "event")


async def test_only_an_owner_resets_and_only_that_of_others(
    desk: AdminDesk, ada: Person, mara: Person, database: Database
) -> None:
    answers = [
        await desk.mara.post(f"/admin/user/{ada.id}/second-factor", data={"current_password": PASSWORD}),
        await desk.ada.post(f"/admin/user/{ada.id}/second-factor", data={"current_password": PASSWORD}),
        await desk.ada.get("/admin/user/999/second-factor"),
    ]

    assert [answer.status_code for answer in answers] == [403, 404, 404]
    with pytest.raises(no.Forbidden):
        async with database.transaction(by=OWNER) as session:
            await second_factor_setup.reset(session, ada.id, by=Actor("admin", mara.id, Role.STAFF), now=NOW)


@pytest.mark.parametrize("changes", [{"is_active": False}, {"role": Role.USER}])
async def test_who_is_no_longer_staff_has_no_second_factor(
    with_app: Person, database: Database, superuser: psycopg.Connection, changes: dict[str, Any]
) -> None:
    insert_passkey(superuser, with_app.user)

    async with database.transaction(by=OWNER, now=NOW) as session:
        await records.change(session, await records.lock(session, User, with_app.id), by=OWNER, now=NOW, **changes)

    for table in ("authenticators", "passkeys", "recovery_codes"):
        assert await database.fetch(text(f"SELECT id FROM {table}")) == []


async def test_an_export_names_second_factors_without_their_secrets(
    with_app: Person, database: Database, superuser: psycopg.Connection
) -> None:
    insert_passkey(superuser, with_app.user)
    async with database.transaction(by=OWNER, now=NOW) as session:
        document = await read_export(session, with_app.user)

    kinds = {(row["kind"], row["name"]) for row in document["second_factors"]}
    assert kinds == {("authenticator app", None), ("recovery codes", None), ("passkey", "Key")}
    stored = await database.fetch(
        text("SELECT secret AS s FROM authenticators UNION ALL SELECT unnest(code_hashes) FROM recovery_codes"
             " UNION ALL SELECT credential_id FROM passkeys")
    )  # fmt: skip
    assert not [row["s"] for row in stored if row["s"] in str(document)]


async def test_a_key_is_encrypted_anew_with_the_newest_secret(
    with_app: Person, database: Database, settings: Settings, clock: Clock
) -> None:
    new = "another secret that is long enough, too"
    by = Actor("api", with_app.id, Role.STAFF)
    async with database.transaction(by=by, now=NOW) as session:
        keys = [new, *settings.secrets]
        await second_factors.use_code(session, with_app.user, code_at(clock()), now=clock(), secret_keys=keys)

    [row] = await database.fetch(text("SELECT secret FROM authenticators"))
    assert totp.decrypt(row["secret"], [new]) == SECRET


# Passkeys. The browser's own part is tested in tests/browser.


def ask(now: datetime = NOW, **changes: Any) -> Ceremony:
    """Return what a browser was asked."""
    return Ceremony(b"challenge", now, "bookit.test", ["https://bookit.test"])._replace(**changes)


async def use_passkey(database: Database, person: Person, credential: str, ceremony: Ceremony, now: datetime) -> bool:
    """Use a passkey in a transaction of its own, and return whether that was possible."""
    async with database.transaction(by=Actor("admin", person.id, Role.STAFF), now=now) as session:
        try:
            await second_factors.use_passkey(session, credential, ceremony, now=now, user_id=person.id)
        except no.PasskeyRefused:
            return False
        await asyncio.sleep(0.01)
        return True


async def test_a_passkey_signs_what_it_was_asked_for_this_site_and_by_its_user(
    mara: Person, ada: Person, superuser: psycopg.Connection, database: Database
) -> None:
    passkey = SoftPasskey(superuser, mara.user)
    later = NOW + timedelta(minutes=1)
    answers = {
        "another origin": (passkey.answer(ask(), origin="https://bookit.test.evil"), ask(), mara, later),
        "another site": (passkey.answer(ask(), rp_id="evil.test"), ask(), mara, later),
        "an unverified user": (passkey.answer(ask(), verified=False), ask(), mara, later),
        "another challenge": (passkey.answer(ask(challenge=b"other")), ask(), mara, later),
        "another person's": (passkey.answer(ask()), ask(), ada, later),
        "too late": (passkey.answer(ask()), ask(), mara, NOW + timedelta(minutes=5)),
        "before it was asked": (passkey.answer(ask()), ask(), mara, NOW - timedelta(seconds=1)),
        "no answer": ("{}", ask(), mara, later),
        "nonsense": ("\0", ask(), mara, later),
        "only an id": (f'{{"id": "{passkey.id}"}}', ask(), mara, later),
    }

    accepted = {
        name: await use_passkey(database, person, credential, ceremony, now)
        for name, (credential, ceremony, person, now) in answers.items()
    }

    assert accepted == dict.fromkeys(answers, False)
    assert await use_passkey(database, mara, passkey.answer(ask()), ask(), later)


@pytest.mark.race
async def test_the_answer_of_a_passkey_sent_many_times_at_once_works_once(
    mara: Person, superuser: psycopg.Connection, database: Database
) -> None:
    """Also if the device does not count, and with every answer to a question of before."""
    passkey = SoftPasskey(superuser, mara.user)
    passkey.sign_count = -1  # The first answer has the counter 0, which means that it does not count.
    credential, later = passkey.answer(ask()), NOW + timedelta(minutes=1)

    used = await asyncio.gather(*(use_passkey(database, mara, credential, ask(), later) for _ in range(8)))
    passkey.sign_count = -1
    earlier = await use_passkey(database, mara, passkey.answer(ask()), ask(), later + timedelta(seconds=1))
    passkey.sign_count = -1
    new = ask(later + timedelta(seconds=1))
    asked_anew = await use_passkey(database, mara, passkey.answer(new), new, later + timedelta(seconds=2))

    assert (sum(used), earlier, asked_anew) == (1, False, True)


async def test_a_counter_that_does_not_go_up_is_refused(
    mara: Person, superuser: psycopg.Connection, database: Database
) -> None:
    passkey = SoftPasskey(superuser, mara.user)
    superuser.execute("UPDATE passkeys SET sign_count = 7")
    outcomes = []
    for count in (0, 6, 7, 8):
        passkey.sign_count = count - 1
        outcomes.append(await use_passkey(database, mara, passkey.answer(ask()), ask(), NOW))

    assert outcomes == [False, False, False, True]


@pytest.mark.parametrize(
    ("host", "rp_id"),
    [
        ("localhost", "localhost"),
        ("Book.Example.com", "book.example.com"),
        ("127.0.0.1", None),
        ("::1", None),
        ("", None),
    ],
)
def test_passkeys_belong_to_a_name(host: str, rp_id: str | None) -> None:
    assert passkeys.rp_id_of(host) == rp_id


# A sign-in and a set-up at the same moment.


async def sign_in_directly(database: Database, person: Person) -> None:
    async with database.transaction(by=Actor("api", person.id, Role.STAFF), now=NOW) as session:
        lifetime = Lifetime(timedelta(hours=1), timedelta(hours=1))
        await sign_ins.begin(session, person.user, door="api", now=NOW, lifetime=lifetime, client=Client())


@pytest.mark.race
async def test_a_sign_in_waits_for_a_set_up_that_has_begun(
    mara: Person, database: Database, settings: Settings
) -> None:
    by, keys = Actor("admin", mara.id, Role.STAFF), settings.secrets
    async with database.transaction(by=by, now=NOW) as session:
        await second_factor_setup.set_up_app(session, SECRET, code_at(NOW), by=by, now=NOW, secret_keys=keys)
        signing_in = asyncio.create_task(sign_in_directly(database, mara))
        await asyncio.sleep(0.1)

    with pytest.raises(no.SecondFactorNeeded):
        await signing_in


@pytest.mark.race
async def test_a_set_up_ends_a_sign_in_that_has_begun(mara: Person, database: Database, settings: Settings) -> None:
    async with database.transaction(by=Actor("api", mara.id, Role.STAFF), now=NOW) as session:
        lifetime = Lifetime(timedelta(hours=1), timedelta(hours=1))
        begun = await sign_ins.begin(session, mara.user, door="api", now=NOW, lifetime=lifetime, client=Client())
        setting_up = asyncio.create_task(set_up_directly(database, mara, settings))
        await asyncio.sleep(0.1)
    await setting_up

    [row] = await database.fetch(text("SELECT ended_at FROM sign_ins WHERE id = :id"), id=begun.id)
    assert row["ended_at"] is not None
