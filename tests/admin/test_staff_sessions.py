"""Sessions of the admin panel: signing in, staying signed in, losing access, signing out."""

import httpx2
import pytest
from sqladmin import Admin
from sqlalchemy import text

from bookit.schema.tables import Booking
from bookit.settings import Settings
from tests.support.admin_client import AdminDesk, BuildApp, get_page_text, list_admin_routes, make_browser, sign_in
from tests.support.people import OWNER, PASSWORD, Person


def is_refused(answer: httpx2.Response, path: str) -> bool:
    """Return whether a page redirects to sign-in and its script's requests are refused."""
    if path.startswith(("/admin/calendar/", "/admin/today")):
        return answer.status_code == 401
    return (answer.status_code, answer.headers["location"]) == (302, "http://bookit.test/admin/login")


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


@pytest.mark.parametrize("is_demo", [True, False])
async def test_the_cookie_is_restricted_to_the_panel(
    open_door: BuildApp, settings: Settings, mara: Person, is_demo: bool
) -> None:
    """D15."""
    app = open_door(settings.model_copy(update={"bookit_demo": is_demo}))
    async with make_browser(app, "https://bookit.test") as client:
        cookie = (await sign_in(client, "mara@example.com")).headers["set-cookie"].lower()

    assert cookie.startswith("bookit_staff=")
    parts = set(cookie.split("; "))
    assert {"httponly", "samesite=lax", "path=/admin", "max-age=28800"} <= parts
    assert ("secure" in parts) is not is_demo


async def test_a_cookie_of_another_key_is_refused(desk: AdminDesk, open_door: BuildApp, settings: Settings) -> None:
    """D15."""
    secret = type(settings.secret_key)("another secret that is long enough too")
    other = open_door(settings.model_copy(update={"secret_key": secret, "bookit_demo": True}))
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

    assert (answer.status_code, answer.headers["location"]) == (303, "http://bookit.test/admin/login")
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
    assert answer.headers["location"] == "http://bookit.test/admin/"

    back = await desk.mara.post("/admin/booking/action/confirm", data={"pks": "1", "back": target})
    assert back.status_code == 303
    assert httpx2.URL("http://bookit.test").join(back.headers["location"]).host == "bookit.test"


async def test_password_guesses_in_the_panel_are_rate_limited(desk: AdminDesk, mara: Person) -> None:
    """D16: after too many wrong passwords even the right one has to wait."""
    for _ in range(20):
        await sign_in(desk.visitor, "mara@example.com", "wrong")

    answer = await sign_in(desk.visitor, "mara@example.com")

    assert answer.status_code in {400, 429}
