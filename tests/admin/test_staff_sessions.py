"""Who is at the staff door: signing in, staying, being put out, signing out."""

import httpx2
import pytest
from sqladmin import Admin
from sqlalchemy import text

from bookit.schema.tables import Booking
from bookit.settings import Settings
from tests.support.admin_client import AdminDesk, BuildApp, get_page_text, list_admin_routes, make_browser, sign_in
from tests.support.people import OWNER, PASSWORD, Person


def is_shut(answer: httpx2.Response, path: str) -> bool:
    """Whether a page leads to the sign-in, and what a page's script asks for is refused."""
    if path.startswith(("/admin/calendar/", "/admin/today")):
        return answer.status_code == 401
    return (answer.status_code, answer.headers["location"]) == (302, "http://bookit.test/admin/login")


async def test_no_page_is_without_a_sign_in(desk: AdminDesk, visit: Booking, tom: Person) -> None:
    """D14: to a visitor, and to a customer who tried to sign in."""
    customer = make_browser(desk.app)
    tried = await sign_in(customer, "tom@example.com")
    assert tried.status_code == 400
    routes = list_admin_routes(desk)
    assert len(routes) >= 14

    for client in (desk.visitor, customer):
        for method, path in routes:
            answer = await client.request(method, path, params={"pks": "1", "name": "user", "term": "tom"})
            assert is_shut(answer, path), (method, path)
    row = await desk.fetch_row("bookings", 1)
    assert row is not None
    assert (row["status"], row["version"]) == ("pending", 1)
    await customer.aclose()


async def test_a_door_without_its_guards_does_not_open(desk: AdminDesk) -> None:
    """D14."""
    assert isinstance(desk.site, Admin)
    assert desk.site.authentication_backend is not None
    assert type(desk.site.authorization_backend).__name__ == "Permissions"


async def test_a_wrong_sign_in_says_the_same_whoever_it_is(desk: AdminDesk, tom: Person) -> None:
    """D14, D16."""
    told = {
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
    assert len(told) == 1
    assert next(iter(told))[0] == 400


@pytest.mark.parametrize("is_demo", [True, False])
async def test_the_cookie_is_for_this_door_alone(
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


async def test_a_cookie_of_another_key_is_none(desk: AdminDesk, open_door: BuildApp, settings: Settings) -> None:
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
async def test_who_may_no_longer_be_here_is_out_at_once(desk: AdminDesk, change: str) -> None:
    """D15."""
    assert (await desk.mara.get("/admin/booking/list")).status_code == 200
    async with desk.database.transaction(by=OWNER) as session:
        await session.fetch(text(f"UPDATE users SET {change} WHERE email = 'mara@example.com'"))

    for method, path in list_admin_routes(desk):
        answer = await desk.mara.request(method, path, params={"pks": "1"})
        assert is_shut(answer, path), (method, path)


async def test_signing_out_is_by_post_and_ends_it(desk: AdminDesk) -> None:
    """D15, D2."""
    answer = await desk.mara.post("/admin/logout")

    assert (answer.status_code, answer.headers["location"]) == (303, "http://bookit.test/admin/login")
    assert (await desk.mara.get("/admin/booking/list")).status_code == 302


async def test_the_page_one_wanted_comes_after_signing_in(desk: AdminDesk) -> None:
    """D16."""
    assert (await desk.visitor.get("/admin/user/list?search=tom&page=1")).status_code == 302

    answer = await sign_in(desk.visitor, "mara@example.com")

    assert answer.headers["location"] == "/admin/user/list?search=tom&page=1"


@pytest.mark.parametrize(
    "wanted",
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
async def test_signing_in_leads_nowhere_else(desk: AdminDesk, visit: Booking, wanted: str) -> None:
    """D16: neither through the address nor through the form, nor does an act's way back."""
    answer = await desk.visitor.post(
        "/admin/login",
        params={"next": wanted},
        data={"username": "mara@example.com", "password": PASSWORD, "next": wanted},
    )
    assert answer.status_code == 303
    assert answer.headers["location"] == "http://bookit.test/admin/"

    back = await desk.mara.post("/admin/booking/action/confirm", data={"pks": "1", "back": wanted})
    assert back.status_code == 303
    assert httpx2.URL("http://bookit.test").join(back.headers["location"]).host == "bookit.test"


async def test_guessing_passwords_is_slowed_down(desk: AdminDesk, mara: Person) -> None:
    """D16: after so many wrong passwords even the right one waits."""
    for _ in range(20):
        await sign_in(desk.visitor, "mara@example.com", "wrong")

    answer = await sign_in(desk.visitor, "mara@example.com")

    assert answer.status_code in {400, 429}
