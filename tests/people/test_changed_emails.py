"""Another e-mail address of one's own account needs the current password, at both doors."""

from typing import Any

import httpx2
import pytest
from sqlalchemy import text

from bookit.schema.tables import User
from tests.support.admin_client import AdminDesk, submit_form
from tests.support.people import PASSWORD, Person
from tests.support.request_helpers import status_and_code
from tests.support.security_events import SecurityEvents

NEW = "new@example.com"
NEEDED = "Enter your current password to change your password or e-mail address."


@pytest.mark.parametrize(
    ("proof", "status", "code"),
    [
        ({}, 400, "current-password-needed"),
        ({"current_password": ""}, 400, "current-password-needed"),
        ({"current_password": "guess"}, 400, "wrong-current-password"),
    ],
)
async def test_a_token_alone_changes_no_email(
    tom: Person, desk: AdminDesk, proof: dict[str, str], status: int, code: str
) -> None:
    answer = await tom.request("PATCH", "/me", json={"email": NEW, "name": "Thomas"} | proof)

    assert status_and_code(answer) == (status, code)
    row = await desk.database.get(User, tom.id)
    assert row
    assert (row.email, row.name) == ("tom@example.com", "Tom")


@pytest.mark.parametrize(
    "body", [{"name": "Thomas"}, {"email": "tom@example.com"}, {"email": "tom@example.com", "name": "T"}]
)
async def test_what_is_no_new_email_needs_no_password(tom: Person, body: dict[str, str]) -> None:
    answer = await tom.request("PATCH", "/me", json=body)

    assert (answer.status_code, answer.json()["email"]) == (200, "tom@example.com")


async def test_an_email_changes_with_the_password_and_ends_no_sign_in(
    tom: Person, visitor: httpx2.AsyncClient, desk: AdminDesk, security_events: SecurityEvents
) -> None:
    sent = {"email": "tom@example.com", "password": PASSWORD}
    tokens = (await visitor.post("/auth/login", json=sent)).json()

    answer = await tom.request("PATCH", "/me", json={"email": NEW, "current_password": PASSWORD})

    assert (answer.status_code, answer.json()["email"]) == (200, NEW)
    assert ("email changed", tom.id, "sign-ins go on") in security_events()
    assert NEW not in str(security_events())
    again = await visitor.post("/auth/refresh", json={"refresh_token": tokens["refresh_token"]})
    assert again.status_code == 200
    history = text("SELECT new FROM events WHERE table_name = 'users' AND action = 'changed' AND row_id = :id")
    assert [row["new"].get("email") for row in await desk.database.fetch(history, id=tom.id)] == [NEW]


async def test_a_new_password_is_in_the_security_log(tom: Person, security_events: SecurityEvents) -> None:
    await tom.request("PATCH", "/me", json={"password": "a new secret", "current_password": PASSWORD})

    assert ("password changed", tom.id, "") in security_events()


@pytest.mark.parametrize("who", ["mara", "ada"])
@pytest.mark.parametrize(
    "changed", [{"email": NEW}, {"password": "a new secret"}], ids=lambda changed: next(iter(changed))
)
async def test_a_session_at_the_desk_alone_changes_no_email_or_password(
    desk: AdminDesk, mara: Person, ada: Person, who: str, changed: dict[str, Any]
) -> None:
    browser, person = getattr(desk, who), {"mara": mara, "ada": ada}[who]
    before, path = await desk.database.get(User, person.id), f"/admin/user/edit/{person.id}"

    without = await submit_form(browser, path, **changed)
    wrong = await submit_form(browser, path, **changed, current_password="guess")

    assert [answer.status for answer in (without, wrong)] == [400, 400]
    assert f'id="current_password-error">{NEEDED}<' in without.html
    assert 'id="current_password-error">The current password is wrong.<' in wrong.html
    assert await desk.database.get(User, person.id) == before

    assert (await submit_form(browser, path, **changed, current_password=PASSWORD)).status == 302
    assert await desk.database.get(User, person.id) != before


async def test_the_desk_changes_other_things_without_the_password(desk: AdminDesk, ada: Person, tom: Person) -> None:
    own = await submit_form(desk.ada, f"/admin/user/edit/{ada.id}", name="Ada L.")
    customers = await submit_form(desk.mara, f"/admin/user/edit/{tom.id}", email=NEW)

    assert [answer.status for answer in (own, customers)] == [302, 302]
    row = await desk.database.get(User, tom.id)
    assert row
    assert row.email == NEW
