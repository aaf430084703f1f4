"""Signing in to the admin panel, the signed-in user, and the change of their password."""

import re
from typing import Any

import httpx2
import pytest

from bookit.db.pool import Database
from bookit.people import passwords
from bookit.policy import limits
from bookit.refusals import Busy
from bookit.settings import Settings
from server.app import build
from tests.support.admin_client import (
    AdminDesk,
    FormResult,
    ParsedPage,
    get_page_text,
    make_browser,
    post_form,
    sign_in,
)
from tests.support.people import PASSWORD, Person
from tests.support.request_helpers import status_and_code

NEW = "a new secret"
FORM = {"current_password": PASSWORD, "password": NEW}


async def change_password(client: httpx2.AsyncClient, **fields: str) -> FormResult:
    return await post_form(client, "/admin/password", {**FORM, **fields})


async def is_signed_in(client: httpx2.AsyncClient) -> bool:
    return (await client.get("/admin/booking/list")).status_code == 200


@pytest.mark.parametrize(("who", "label"), [("mara", "Mara Desk"), ("ada", "Ada Owner")])
async def test_the_menu_names_the_signed_in_user(desk: AdminDesk, who: str, label: str) -> None:
    page = await getattr(desk, who).get("/admin/booking/list")

    assert label in get_page_text(page.text)
    assert 'href="https://bookit.test/admin/password"' in page.text


async def test_html_in_the_menu_is_escaped(desk: AdminDesk, ada: Person) -> None:
    await ada.request("PATCH", "/me", json={"name": "<b>Ada"})

    assert "&lt;b&gt;Ada" in (await desk.ada.get("/admin/booking/list")).text


# The user's own password


@pytest.mark.parametrize("who", ["mara", "ada"])
async def test_a_new_password_ends_every_other_session(desk: AdminDesk, who: str) -> None:
    """Staff may do this too, although they may not change roles."""
    here, email = getattr(desk, who), f"{who}@example.com"
    async with make_browser(desk.app) as elsewhere:
        await sign_in(elsewhere, email)
        form = ParsedPage((await here.get("/admin/password")).text)
        assert {"current_password", "password"} <= form.fields.keys()

        answer = await change_password(here)

        assert (answer.status, answer.location) == (303, "/admin/")
        assert "Password changed." in await desk.fetch_list_text(here)
        assert await is_signed_in(here)
        assert not await is_signed_in(elsewhere)
    assert (await sign_in(desk.visitor, email)).status_code == 400
    assert (await sign_in(desk.visitor, email, NEW)).status_code == 303


async def test_a_new_password_revokes_tokens_of_the_api(desk: AdminDesk, mara: Person) -> None:
    sent = {"email": "mara@example.com", "password": PASSWORD}
    tokens = (await mara.client.post("/auth/login", json=sent)).json()

    await change_password(desk.mara)

    assert status_and_code(await mara.request("GET", "/me")) == (401, "sign-in-ended")
    again = await mara.client.post("/auth/refresh", json={"refresh_token": tokens["refresh_token"]})
    assert status_and_code(again) == (401, "sign-in-ended")


@pytest.mark.parametrize(
    ("fields", "field", "sentence"),
    [
        ({"current_password": "guess"}, "current_password", "The current password is wrong."),
        ({"current_password": "gu\0ess"}, "current_password", "The current password is wrong."),
        ({"current_password": ""}, "current_password", "This field is required."),
        ({"password": ""}, "password", "This field is required."),
        ({"password": "short"}, "password", "Use at least 8 characters."),
        ({"password": "pear " * 15}, "password", "Use at most 72 bytes. A letter such as ä takes two."),
        ({"password": "new\0 secret"}, "password", "Use at least 8 characters."),
    ],
)
async def test_an_invalid_password_is_refused_on_its_field(
    desk: AdminDesk, fields: dict[str, str], field: str, sentence: str
) -> None:
    answer = await change_password(desk.mara, **fields)

    assert answer.is_refused
    assert f'id="{field}-error">{sentence}<' in answer.html
    assert NEW not in answer.html
    assert PASSWORD not in answer.html
    assert (await sign_in(desk.visitor, "mara@example.com")).status_code == 303


async def test_guesses_of_the_current_password_count_as_attempts(desk: AdminDesk) -> None:
    for _ in range(limits.MAX_ATTEMPTS_PER_ACCOUNT):
        assert (await change_password(desk.mara, current_password="guess")).status == 400

    answer = await change_password(desk.mara)

    assert answer.status == 429
    assert "Too many wrong sign-ins. Please try again in" in answer.text
    assert (await sign_in(desk.visitor, "mara@example.com")).status_code == 303


async def test_attempts_at_the_api_count_too(mara: Person) -> None:
    wrong = {"current_password": "guess", "password": NEW}
    for _ in range(limits.MAX_ATTEMPTS_PER_ACCOUNT):
        assert status_and_code(await mara.request("PATCH", "/me", json=wrong)) == (400, "wrong-current-password")

    answer = await mara.request("PATCH", "/me", json=wrong)

    assert status_and_code(answer) == (429, "too-many-guesses")
    assert int(answer.headers["retry-after"]) > 0


@pytest.mark.parametrize("headers", [{"origin": "http://evil.test"}, {"sec-fetch-site": "same-site"}])
async def test_another_site_cannot_change_the_password(desk: AdminDesk, headers: dict[str, str]) -> None:
    answer = await desk.mara.post("/admin/password", data=FORM, headers=headers)

    assert answer.status_code == 403
    assert (await sign_in(desk.visitor, "mara@example.com")).status_code == 303


async def test_other_users_have_no_password_page(desk: AdminDesk, tom: Person) -> None:
    for method in ("GET", "POST"):
        answer = await desk.visitor.request(method, "/admin/password", data=FORM if method == "POST" else None)
        assert (answer.status_code, answer.headers["location"]) == (302, "/admin/login")


async def test_history_records_a_password_change_without_the_value(desk: AdminDesk, mara: Person) -> None:
    await change_password(desk.mara)

    page_text = get_page_text((await desk.ada.get(f"/admin/user/details/{mara.id}")).text)
    assert "Password" in page_text
    assert NEW not in page_text


# Signing in


async def test_a_rate_limit_is_shown_on_the_page(desk: AdminDesk) -> None:
    for _ in range(limits.MAX_ATTEMPTS_PER_ACCOUNT):
        await sign_in(desk.visitor, "mara@example.com", "wrong")

    answer = await sign_in(desk.visitor, "mara@example.com")

    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 0
    assert "Too many wrong sign-ins. Please try again in" in get_page_text(answer.text)
    assert ParsedPage(answer.text).fields["username"] == "mara@example.com"
    assert "Sign in" in get_page_text(answer.text)


async def test_a_busy_server_is_reported_on_the_page(desk: AdminDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "MAX_WAITING", 0)

    answer = await sign_in(desk.visitor, "mara@example.com")

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert str(Busy()) in get_page_text(answer.text)


@pytest.mark.parametrize("typed", ["tom@example.com", 'x"><script>alert(1)</script>@example.com', ""])
async def test_a_wrong_sign_in_keeps_the_email(desk: AdminDesk, typed: str) -> None:
    answer = await sign_in(desk.visitor, typed, "wrong")

    assert answer.status_code == 400
    assert "E-mail or password is wrong." in get_page_text(answer.text)
    assert ParsedPage(answer.text).fields["username"] == typed
    assert "value=" not in re.search(r"<input[^>]*name=.password.[^>]*>", answer.text)[0]  # type: ignore[index]  # it is there
    assert "<script>alert" not in answer.text
    focused = re.findall(r'name="(\w+)"[^>]*autofocus', answer.text)
    assert focused == ["password" if typed else "username"]


async def test_the_requested_page_survives_a_wrong_password(desk: AdminDesk) -> None:
    await desk.visitor.get("/admin/user/list?role=staff")
    await sign_in(desk.visitor, "mara@example.com", "wrong")

    answer = await sign_in(desk.visitor, "mara@example.com")

    assert answer.headers["location"] == "/admin/user/list?role=staff"


# The URL without a path

HTML = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.mark.parametrize(
    ("only", "expected"), [(None, "/admin/"), ("admin", "/admin/"), ("api", "/docs")], ids=["both", "admin", "api"]
)
async def test_the_root_redirects_browsers_to_the_panel(
    settings: Settings, database: Database, only: Any, expected: str
) -> None:
    app = build(settings.model_copy(update={"bookit_only": only}))
    async with make_browser(app) as client:
        answers = [
            await client.get("/", headers=HTML),
            await client.get("/", headers={"accept": "application/json"}),
            await client.get("/"),
        ]
    if only != "api":
        await app.state.staff_site.close()

    assert (answers[0].status_code, answers[0].headers["location"]) == (303, expected)
    assert answers[0].headers["vary"] == "Accept"
    assert [status_and_code(answer) for answer in answers[1:]] == [(404, "not-found")] * 2
