"""Requests that no page of the admin panel sends: wrong methods, bodies, files and cookies. Each is refused."""

import json
from base64 import b64encode
from typing import Any

import httpx2
import pytest
from itsdangerous import TimestampSigner
from sqlalchemy import text

from admin.framework.session_cookie import SECURE_NAME
from bookit.db.pool import Database
from bookit.policy.limits import MAX_BODY_BYTES
from bookit.schema.tables import Booking, Service
from bookit.settings import Settings
from tests.support.admin_client import (
    ALL_VIEWS,
    INTERNALS_PATTERN,
    AdminDesk,
    ParsedPage,
    get_page_text,
    make_browser,
    post_form,
)
from tests.support.people import OWNER, PASSWORD, Person
from tests.support.request_helpers import count_rows

FORMS = ["booking/create", "booking/edit/1", "resource/create", "resource/edit/1", "user/create"]
ACT = "booking/action/cancel"
METHODS = ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]
MARK = "<script>alert(1)</script>'\"><img src=x onerror=alert(1)>"
GOOD = {"name": "Lea", "capacity": "1", "timezone": "UTC", "is_active": "y", "save": "Save"}


async def read_refusal(database: Database, answer: httpx2.Response, before: dict[str, int], *statuses: int) -> str:
    """Return the text of a refusal; check that it is a sentence and that nothing was written."""
    assert answer.status_code in statuses, (answer.status_code, answer.text[:300])
    assert await count_rows(database) == before
    assert not INTERNALS_PATTERN.search(answer.text), INTERNALS_PATTERN.findall(answer.text)
    assert "UploadFile" not in answer.text
    return get_page_text(answer.text)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("path", [ACT, "booking/action/nope", "logout"])
async def test_only_post_runs_an_action(desk: AdminDesk, visit: Booking, path: str, method: str) -> None:
    before = await count_rows(desk.database)

    answer = await desk.ada.request(method, f"/admin/{path}", params={"pks": "1"})

    await read_refusal(desk.database, answer, before, 404 if "nope" in path else 405)
    assert (await desk.ada.get("/admin/booking/list")).status_code == 200


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
@pytest.mark.parametrize("path", ["resource/create", "resource/edit/1", "resource/list", "resource/details/1", "login"])
async def test_a_page_refuses_other_methods(desk: AdminDesk, visit: Booking, path: str, method: str) -> None:
    before = await count_rows(desk.database)

    answer = await desk.ada.request(method, f"/admin/{path}", data=GOOD)

    assert "Method Not Allowed" in await read_refusal(desk.database, answer, before, 405)


@pytest.mark.parametrize("path", ["resource/create", "resource/edit/1", "login", "resource/list", "resource/delete"])
async def test_head_never_writes(desk: AdminDesk, visit: Booking, path: str) -> None:
    """HEAD counts as safe, so its origin is not checked; even a valid form changes nothing."""
    before = await count_rows(desk.database)
    name = (await desk.fetch_row("resources", 1) or {})["name"]
    fields = {**GOOD, "version": "1", "username": "ada@example.com", "password": PASSWORD}

    answer = await desk.ada.request("HEAD", f"/admin/{path}", data=fields, params={"pks": "1"})

    assert answer.status_code == (405 if "delete" in path else 200)
    assert await count_rows(desk.database) == before
    assert (await desk.fetch_row("resources", 1) or {})["name"] == name


@pytest.mark.parametrize(
    "path", ["booking/action/nope", "service/action/cancel", "nope/action/cancel", "booking/import"]
)
async def test_an_unknown_action_is_not_found(desk: AdminDesk, visit: Booking, path: str) -> None:
    before = await count_rows(desk.database)

    answer = await desk.ada.post(f"/admin/{path}", data={"pks": "1"})

    assert "Not Found" in await read_refusal(desk.database, answer, before, 404)


@pytest.mark.parametrize("path", [*FORMS, "login"])
@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b'{"name": "Lea"}', "application/json"),
        (b"\xff\xfe\x00", "text/plain"),
        (b"", "application/octet-stream"),
        (b"name=%ff%fe&title=%ff&username=%ff&version=%ff&start_time=%ff", "application/x-www-form-urlencoded"),
        (b"&&&==;;%%%", "application/x-www-form-urlencoded"),
        (b"&".join(b"f%d=1" % number for number in range(2000)), "application/x-www-form-urlencoded"),
        (b"name=x", "multipart/form-data"),
        (b"name=x", "multipart/form-data; boundary=q"),
        (b"--q\r\nContent-Disposition: form-data\r\n\r\nx\r\n--q--\r\n", "multipart/form-data; boundary=q"),
    ],
    ids=["json", "text", "nothing", "no UTF-8", "signs", "many", "no boundary", "no parts", "no name"],
)
async def test_a_body_other_than_a_form_is_refused(
    desk: AdminDesk, visit: Booking, path: str, content: bytes, kind: str
) -> None:
    before = await count_rows(desk.database)

    answer = await desk.ada.post(f"/admin/{path}", content=content, headers={"content-type": kind})

    assert await read_refusal(desk.database, answer, before, 400, 412, 422)


@pytest.mark.parametrize("path", [*FORMS, ACT, "login"])
async def test_a_file_is_refused(desk: AdminDesk, visit: Booking, path: str) -> None:
    before = await count_rows(desk.database)
    fields = ("name", "capacity", "user", "start_time", "version", "pks", "reason", "username", "password", "role")

    answer = await desk.ada.post(f"/admin/{path}", files={name: (f"{name}.txt", b"1") for name in fields})

    assert "Files are not accepted." in await read_refusal(desk.database, answer, before, 400)


@pytest.mark.parametrize("path", [*FORMS, ACT, "login"])
@pytest.mark.parametrize("is_counted", [True, False], ids=["with its length", "without"])
async def test_a_body_of_ten_megabytes_is_not_read(
    desk: AdminDesk, visit: Booking, path: str, is_counted: bool
) -> None:
    before = await count_rows(desk.database)
    taken = 0

    async def parts() -> Any:
        nonlocal taken
        for _ in range(160):
            taken += MAX_BODY_BYTES
            yield b"name=" + b"x" * (MAX_BODY_BYTES - 5)

    headers = {"content-type": "application/x-www-form-urlencoded"}
    content = b"name=" + b"x" * 10_000_000 if is_counted else parts()
    answer = await desk.ada.post(f"/admin/{path}", content=content, headers=headers)

    assert "This form is too large." in await read_refusal(desk.database, answer, before, 413)


@pytest.mark.parametrize("cookie", ["abc", "", '"', "A" * 5000, "e30=.x.y", "%00", "é".encode().decode("latin-1")])
async def test_a_broken_cookie_is_ignored(desk: AdminDesk, cookie: str) -> None:
    async with make_browser(desk.app) as client:
        answer = await client.get(
            "/admin/booking/list", headers={b"cookie": f"{SECURE_NAME}={cookie}".encode("latin-1")}
        )

    assert (answer.status_code, answer.headers["location"]) == (302, "/admin/login")


@pytest.mark.parametrize("is_ours", [True, False])
async def test_a_cookie_must_be_signed_with_our_key(desk: AdminDesk, settings: Settings, is_ours: bool) -> None:
    """The same session, signed with our key and with another."""
    session = desk.ada.cookies[SECURE_NAME].rsplit(".", 2)[0]
    key = settings.secret_key.get_secret_value() if is_ours else "another secret that is long enough"
    cookie = TimestampSigner(key).sign(session).decode()
    async with make_browser(desk.app) as client:
        answer = await client.get("/admin/booking/list", headers={"cookie": f"{SECURE_NAME}={cookie}"})

    assert answer.status_code == (200 if is_ours else 302)


async def test_a_session_of_an_unknown_user_is_ignored(desk: AdminDesk, settings: Settings) -> None:
    session = b64encode(json.dumps({"user": 999_999, "password": "x"}).encode())
    cookie = TimestampSigner(settings.secret_key.get_secret_value()).sign(session).decode()
    async with make_browser(desk.app) as client:
        answer = await client.get("/admin/booking/list", headers={"cookie": f"{SECURE_NAME}={cookie}"})

    assert answer.status_code == 302


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("page=99999999999999999999", 1), ("page=-5", 1), ("page=2", 1), ("pageSize=100000", 1), ("pageSize=1", 1),
        ("sort=sideways", 1), ("status=pending&status=nope", 0), ("search=%ff", 0), ("_=1", 1),
    ],
)  # fmt: skip
async def test_a_list_ignores_invalid_parameters(desk: AdminDesk, visit: Booking, query: str, expected: int) -> None:
    answer = await desk.mara.get(f"/admin/booking/list?{query}", follow_redirects=True)

    assert answer.status_code == 200
    assert answer.text.count("select-box") == expected


@pytest.mark.parametrize("identity", ["review", "event"])
async def test_a_page_without_a_form_refuses_one(desk: AdminDesk, visit: Booking, identity: str) -> None:
    before = await count_rows(desk.database)
    fields = {"rating": "5", "comment": "Good", "booking": "1", "booking_id": "1", "action": "created", "version": "1"}

    for path in ("create", "edit/1"):
        answer = await desk.ada.post(f"/admin/{identity}/{path}", data=fields)
        await read_refusal(desk.database, answer, before, 403, 404)


@pytest.mark.parametrize(("identity", "table"), [("service", "services"), ("resource", "resources"), ("user", "users")])
async def test_fields_outside_the_form_are_not_written(
    desk: AdminDesk, haircut: Service, tom: Person, identity: str, table: str
) -> None:
    number = tom.id if identity == "user" else 1
    before = await desk.fetch_row(table, number) or {}
    role = "user" if identity == "user" else "in"
    names = {"name": "New", "title": "New", "email": "new@example.com", "role": role, "is_active": "y"}
    forged = {"id": "77", "created_at": "2001-01-01 00:00:00", "password_hash": "x", "seat": "3", "status": "completed"}
    others = {
        "price": "35",
        "duration_minutes": "45",
        "capacity": "1",
        "timezone": "UTC",
        "version": str(before["version"]),
    }

    path = f"/admin/{identity}/edit/{number}"
    fields = ParsedPage((await desk.ada.get(path)).text).fields
    assert not fields.keys() & forged.keys()
    answer = await post_form(desk.ada, path, {**fields, **names, **others, **forged})

    assert answer.status == 302, answer
    now = await desk.fetch_row(table, number) or {}
    for name in ("id", "created_at", "password_hash"):
        assert now.get(name) == before.get(name)
    assert now["version"] == before["version"] + 1
    assert await desk.fetch_row(table, 77) is None


async def test_a_repeated_hour_in_a_form_means_the_first(desk: AdminDesk, tom: Person, haircut: Service) -> None:
    """In Berlin the clocks go back on 27 October 2030: 02:30 is 00:30 and 01:30 in UTC."""
    fields = {"user": tom.id, "service": 1, "resource": 1, "start_time": "2030-10-27T02:30"}

    assert (await post_form(desk.mara, "/admin/booking/create", fields)).status == 302

    row = await desk.fetch_row("bookings", 1) or {}
    assert f"{row['start_time']:%d %H:%M}" == "27 00:30"


async def test_typed_html_is_escaped_on_every_page(desk: AdminDesk, visit: Booking) -> None:
    """In names, titles, remarks, reasons and history, on every page."""
    async with desk.database.transaction(by=OWNER) as session:
        await session.set_reason(MARK)
        for statement in (
            "UPDATE users SET name = :mark",
            "UPDATE services SET title = :mark, description = :mark",
            "UPDATE resources SET name = :mark",
            "UPDATE bookings SET status = 'confirmed', expires_at = NULL WHERE id = 1 AND :mark <> ''",
            "INSERT INTO reviews (booking_id, rating, comment) VALUES (1, 5, :mark)",
            "INSERT INTO calendar_exceptions (start_time, end_time, reason) VALUES ('2031-01-01', '2031-01-02', :mark)",
        ):
            await session.fetch(text(statement), mark=MARK)
        await session.fetch(
            text("INSERT INTO opening_hours (resource_id, weekday, opens, closes) VALUES (1, 1, '9:00', '17:00')")
        )
    last = (await desk.database.fetch(text("SELECT max(id) AS id FROM events")))[0]["id"]
    numbers = dict.fromkeys(ALL_VIEWS, 1) | {"user": visit.user_id, "event": last}
    await desk.ada.post(f"/admin/{ACT}", data={"pks": "1", "reason": MARK})
    escaped_count = 0

    for identity, number in numbers.items():
        for page in ("list", f"list?search={MARK}", f"details/{number}", f"edit/{number}", "create"):
            html = (await desk.ada.get(f"/admin/{identity}/{page}")).text
            assert "<script>alert" not in html, (identity, page)
            assert "<img src=x" not in html, (identity, page)
            escaped_count += "&lt;script&gt;alert" in html
    assert escaped_count >= 15
