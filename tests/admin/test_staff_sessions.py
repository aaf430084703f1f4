"""Sessions of the admin panel: signing in, staying signed in, losing access, signing out."""

import httpx2
import pytest
from itsdangerous import TimestampSigner
from sqladmin import Admin
from sqlalchemy import text

from admin.framework.session_cookie import PLAIN_NAME, SECURE_NAME
from bookit.schema.tables import Booking
from bookit.settings import Settings
from tests.support.admin_client import AdminDesk, BuildApp, get_page_text, list_admin_routes, make_browser, sign_in
from tests.support.people import OWNER, PASSWORD, Person


def session_cookie(answer: httpx2.Response) -> str:
    """Return the cookie of the session. That of the device comes before it."""
    return answer.headers.get_list("set-cookie")[-1]


def is_refused(answer: httpx2.Response, path: str) -> bool:
    """Return whether a page redirects to sign-in and its script's requests are refused."""
    if path.startswith(("/admin/calendar/", "/admin/today")):
        return answer.status_code == 401
    return (answer.status_code, answer.headers["location"]) == (302, "/admin/login")


async def test_every_page_needs_a_sign_in(desk: AdminDesk, visit: Booking, tom: Person) -> None:
    """D14: for a visitor, and for a customer who tried to sign in."""
    customer = make_browser(desk.app)
    answer = await sign_in(customer, "tom@example.com")
    assert answer.status_code == 400
    routes = list_admin_routes(desk)
    assert len(routes) >= 14

    for client in (desk.visitor, customer):
        for method, path in routes:
            answer = await client.request(method, path, params={"pks": "1", "name": "user", "term": "tom"})
            assert is_refused(answer, path), (method, path)
    row = await desk.fetch_row("bookings", 1)
    assert row is not None
    assert (row["status"], row["version"]) == ("pending", 1)
    await customer.aclose()


async def test_a_panel_without_authentication_does_not_start(desk: AdminDesk) -> None:
    """D14."""
    assert isinstance(desk.site, Admin)
    assert desk.site.authentication_backend is not None
    assert type(desk.site.authorization_backend).__name__ == "Permissions"


async def test_every_wrong_sign_in_is_answered_alike(desk: AdminDesk, tom: Person) -> None:
    """D14, D16."""
    answers = {
        (answer.status_code, get_page_text(answer.text))
        for answer in [
            await sign_in(desk.visitor, "tom@example.com"),
            await sign_in(desk.visitor, "mara@example.com", "wrong"),
            await sign_in(desk.visitor, "nobody@example.com", "wrong"),
            await sign_in(desk.visitor, "mara@example.com\0", "wrong"),
            await sign_in(desk.visitor, "", ""),
            await sign_in(desk.visitor, "mara@example.com", "x" * 1000),
        ]
    }
    assert len(answers) == 1
    assert next(iter(answers))[0] == 400


@pytest.mark.parametrize(
    ("base_url", "name", "is_secure"),
    [
        ("https://bookit.test", SECURE_NAME, True),
        ("https://localhost", SECURE_NAME, True),
        ("http://localhost:8000", PLAIN_NAME, False),
        ("http://127.0.0.1", PLAIN_NAME, False),
        ("http://[::1]:8000", PLAIN_NAME, False),
    ],
)
@pytest.mark.parametrize("is_debug", [True, False])
async def test_the_cookie_is_restricted_to_the_panel(
    open_door: BuildApp, settings: Settings, mara: Person, base_url: str, name: str, is_secure: bool, is_debug: bool
) -> None:
    """D15: only the machine itself may go without HTTPS, whatever DEBUG is."""
    app = open_door(settings.model_copy(update={"debug": is_debug}))
    async with make_browser(app, base_url) as client:
        cookie = session_cookie(await sign_in(client, "mara@example.com"))

    assert cookie.startswith(f"{name}=")
    parts = set(cookie.lower().split("; "))
    assert {"httponly", "samesite=lax", "path=/admin", "max-age=43200"} <= parts
    assert ("secure" in parts) is is_secure


async def test_signing_in_over_plain_http_says_why_it_fails(
    open_door: BuildApp, settings: Settings, mara: Person
) -> None:
    app = open_door(settings)
    async with make_browser(app, "http://salon.lan:8000") as client:
        page = await client.get("/admin/login")
        refused = await sign_in(client, "mara@example.com")
        # A proxy ends HTTPS and does not say so: the browser shows it.
        behind = await client.post(
            "/admin/login",
            data={"username": "mara@example.com", "password": PASSWORD},
            headers={"origin": "https://salon.lan:8000"},
        )

    assert "Open this page over https to sign in." in get_page_text(page.text)
    assert refused.status_code == 400
    assert "Open this page over https to sign in." in get_page_text(refused.text)
    assert "set-cookie" not in refused.headers
    assert behind.status_code == 303
    assert session_cookie(behind).startswith(f"{SECURE_NAME}=")


async def test_a_session_of_an_older_key_goes_on(desk: AdminDesk, open_door: BuildApp, settings: Settings) -> None:
    """A new key signs from now on, and a session that the key before has signed goes on."""
    new = type(settings.secret_key)("0f3b7c9d1e5a82647b9c0d2e4f6a8b1c")
    changed = settings.model_copy(update={"secret_key": new, "secret_key_fallbacks": [settings.secret_key]})
    async with make_browser(open_door(changed)) as client:
        client.cookies = desk.ada.cookies
        assert (await client.get("/admin/booking/list")).status_code == 200
        signed_in = await sign_in(client, "mara@example.com")

    value = session_cookie(signed_in).partition("=")[2].partition(";")[0]
    assert TimestampSigner(new.get_secret_value()).validate(value)
    assert not TimestampSigner(settings.secret_key.get_secret_value()).validate(value)


async def test_a_redirect_names_no_host(open_door: BuildApp, settings: Settings) -> None:
    """Host: evil.example must not lead to evil.example."""
    async with make_browser(open_door(settings), "https://evil.example") as client:
        answers = [await client.get(path) for path in ("/admin/", "/admin/booking/list", "/admin/login/")]

    assert {answer.headers["location"].partition("?")[0] for answer in answers} == {"/admin/login"}


async def test_a_cookie_of_another_key_is_refused(desk: AdminDesk, open_door: BuildApp, settings: Settings) -> None:
    """D15."""
    secret = type(settings.secret_key)("another secret that is long enough too")
    other = open_door(settings.model_copy(update={"secret_key": secret}))
    async with make_browser(other) as client:
        client.cookies = desk.ada.cookies
        answer = await client.get("/admin/booking/list")

    assert answer.status_code == 302


@pytest.mark.parametrize(
    "change",
    ["is_active = false", "role = 'user'", "password_hash = '$2b$04$changed'"],
    ids=["deactivated", "demoted", "password changed"],
)
async def test_a_user_without_access_is_signed_out_at_once(desk: AdminDesk, change: str) -> None:
    """D15."""
    assert (await desk.mara.get("/admin/booking/list")).status_code == 200
    async with desk.database.transaction(by=OWNER) as session:
        await session.fetch(text(f"UPDATE users SET {change} WHERE email = 'mara@example.com'"))

    for method, path in list_admin_routes(desk):
        answer = await desk.mara.request(method, path, params={"pks": "1"})
        assert is_refused(answer, path), (method, path)


async def test_signing_out_needs_post_and_ends_the_session(desk: AdminDesk) -> None:
    """D15, D2."""
    answer = await desk.mara.post("/admin/logout")

    assert (answer.status_code, answer.headers["location"]) == (303, "/admin/login")
    assert (await desk.mara.get("/admin/booking/list")).status_code == 302


async def test_signing_in_leads_to_the_requested_page(desk: AdminDesk) -> None:
    """D16."""
    assert (await desk.visitor.get("/admin/user/list?search=tom&page=1")).status_code == 302

    answer = await sign_in(desk.visitor, "mara@example.com")

    assert answer.headers["location"] == "/admin/user/list?search=tom&page=1"


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.test/",
        "//evil.test/",
        "/\\evil.test",
        "/admin/../..//evil.test",
        "/admin//evil.test",
        "/admin/\\evil.test",
        "javascript:alert(1)",
    ],
)
async def test_signing_in_leads_to_no_other_site(desk: AdminDesk, visit: Booking, target: str) -> None:
    """D16: neither the URL, the form nor the return path of an action leads to another site."""
    answer = await desk.visitor.post(
        "/admin/login",
        params={"next": target},
        data={"username": "mara@example.com", "password": PASSWORD, "next": target},
    )
    assert answer.status_code == 303
    assert answer.headers["location"] == "/admin/"

    back = await desk.mara.post("/admin/booking/action/confirm", data={"pks": "1", "back": target})
    assert back.status_code == 303
    assert httpx2.URL("https://bookit.test").join(back.headers["location"]).host == "bookit.test"


async def test_password_guesses_in_the_panel_are_rate_limited(desk: AdminDesk, mara: Person) -> None:
    """D16: after too many wrong passwords even the right one has to wait."""
    for _ in range(20):
        await sign_in(desk.visitor, "mara@example.com", "wrong")

    answer = await sign_in(desk.visitor, "mara@example.com")

    assert answer.status_code in {400, 429}
