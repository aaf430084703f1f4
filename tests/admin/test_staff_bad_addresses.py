"""Invalid URLs of the admin panel are answered with a sentence."""

import pytest
from sqlalchemy import text

from bookit.schema.tables import Booking, Service
from tests.support.admin_client import ALL_VIEWS, INTERNALS_PATTERN, AdminDesk, shorten
from tests.support.people import OWNER

BAD_NUMBERS = [
    "abc",
    "0",
    "-1",
    "1.5",
    "9" * 18,
    "9" * 30,
    "9" * 5000,
    "0" * 20 + "9" * 30,
    "%00",
    "1;2",
    "²",
    "1/2",
    "%2e%2e",
    "None",
]


@pytest.mark.parametrize("number", BAD_NUMBERS, ids=shorten)
@pytest.mark.parametrize("page", ["details", "edit"])
async def test_an_unknown_id_is_answered(desk: AdminDesk, haircut: Service, page: str, number: str) -> None:
    """D21."""
    for identity in ("booking", "service", "user"):
        answer = await desk.ada.get(f"/admin/{identity}/{page}/{number}")
        assert answer.status_code in {400, 404}, identity
        assert not INTERNALS_PATTERN.search(answer.text)
        posted = await desk.ada.post(f"/admin/{identity}/{page}/{number}", data={"version": "1"})
        assert posted.status_code in {400, 404, 405}


async def test_a_request_without_fields_is_answered(desk: AdminDesk, visit: Booking) -> None:
    """D21."""
    assert (await desk.ada.delete("/admin/booking/delete")).status_code in {400, 404}
    assert (await desk.ada.post("/admin/booking/action/cancel")).status_code == 303
    for identity in ("booking", "service", "resource", "opening-hours", "calendar-exception"):
        assert (await desk.ada.post(f"/admin/{identity}/create")).status_code == 400
    assert (await desk.ada.post("/admin/booking/edit/1")).status_code == 400
    assert (await desk.visitor.post("/admin/login")).status_code == 400


@pytest.mark.parametrize(
    "query",
    [
        "status=NOPE", "status=%00", "role=NOPE", "is_active=perhaps", "start_time=yesterday", "start_time=9999-12-31",
        "start_time=0001-01-01..", "start_time=..", "start_time=2030-01-08..abc", "start_time=%00",
        "start_time=2999-12-31..3001-01-01",
        "search=%00", "search=a%00b", "search=%25", "search=%5C", "search=" + "9" * 30, "search=" + "x" * 5000,
        "search=%ED%A0%80", "page=0", "page=-1", "page=abc", "page=" + "9" * 30, "page=" + "9" * 5000, "pageSize=0",
        "pageSize=-5", "pageSize=abc", "pageSize=" + "9" * 30, "sortBy=nope", "sortBy=password_hash",
        "sortBy=id&sort=sideways",
        "sortBy=user.password_hash", "sortBy=__class__", "unknown=1",
    ],
    ids=shorten,
)  # fmt: skip
async def test_an_invalid_list_url_is_answered(desk: AdminDesk, visit: Booking, query: str) -> None:
    """D21."""
    for identity in ALL_VIEWS:
        for page in ("list", "export/csv"):
            answer = await desk.ada.get(f"/admin/{identity}/{page}?{query}", follow_redirects=True)
            assert answer.status_code in {200, 400}, (identity, page)
            assert not INTERNALS_PATTERN.search(answer.text)


@pytest.mark.parametrize(
    "query",
    ["", "name=user", "name=nope&term=a", "name=user&term=%00", "name=user&term=%25", "name=user&term=" + "x" * 5000],
    ids=shorten,
)
async def test_an_invalid_look_up_is_answered(desk: AdminDesk, visit: Booking, query: str) -> None:
    """D21."""
    answer = await desk.mara.get(f"/admin/booking/ajax/lookup?{query}")

    assert answer.status_code in {200, 400}
    assert not INTERNALS_PATTERN.search(answer.text)
    if answer.status_code == 200:
        assert answer.json() == {"results": []}  # A wildcard is matched literally, and no user has that name.


async def test_unknown_pages_are_answered(desk: AdminDesk) -> None:
    """D21."""
    for path in (
        "nope/list",
        "nope/details/1",
        "booking/nope",
        "booking/action/nope",
        "booking/export/pdf",
        "password/list",
    ):
        assert (await desk.ada.get(f"/admin/{path}")).status_code in {400, 404}, path


async def test_html_in_a_name_is_escaped(desk: AdminDesk, visit: Booking) -> None:
    """D21."""
    async with desk.database.transaction(by=OWNER) as session:
        name = "<script>alert(1)</script>'\"><img src=x>"
        await session.fetch(text("UPDATE users SET name = :name WHERE id = :id"), name=name, id=visit.user_id)

    for path in (
        "booking/list",
        "booking/details/1",
        "booking/edit/1",
        "user/list",
        f"user/edit/{visit.user_id}",
        f"user/details/{visit.user_id}",
    ):
        html = (await desk.ada.get(f"/admin/{path}")).text
        assert "<script>alert" not in html
        assert "<img src=x" not in html
