"""What staff send twice is saved once: a double click, a repeated request, the back button and Save again."""

import asyncio
from collections import Counter
from typing import Any

import pytest
from sqlalchemy import text

from bookit.db.pool import Database
from bookit.schema.tables import Service
from tests.support.admin_client import AdminDesk, ParsedPage, get_page_text, post_form
from tests.support.people import Person

# A new row of each table that has a form.
NEW_ROWS: dict[str, tuple[str, dict[str, str]]] = {
    "booking": ("bookings", {"user": "3", "service": "1", "start_time": "2030-01-08T11:00"}),
    "service": ("services", {"title": "Wash", "price": "10", "duration_minutes": "15"}),
    "resource": ("resources", {"name": "Room"}),
    "opening-hours": ("opening_hours", {"resource": "1", "weekday": "2", "opens": "09:00", "closes": "17:00"}),
    "calendar-exception": ("calendar_exceptions", {"start_time": "2030-02-01T09:00", "end_time": "2030-02-01T17:00"}),
    "user": ("users", {"name": "Nora", "email": "nora@example.com", "password": "long enough"}),
}


START_AT = """
UPDATE bookings SET status = :status, start_time = moment, blocks_from = moment,
                    end_time = moment + interval '45 min', blocks_until = moment + interval '45 min'
  FROM CAST(:start AS timestamptz) AS moment
"""


async def open_form(desk: AdminDesk, identity: str = "service") -> dict[str, str]:
    """Open a form and fill it in."""
    fields = ParsedPage((await desk.ada.get(f"/admin/{identity}/create")).text).fields
    return {**fields, **NEW_ROWS[identity][1], "save": "Save"}


async def count_rows(database: Database, table: str) -> int:
    return int((await database.fetch(text(f"SELECT count(*) AS n FROM {table}")))[0]["n"])


@pytest.mark.parametrize("identity", NEW_ROWS)
async def test_a_form_that_is_sent_again_leads_to_the_row_that_was_saved(
    desk: AdminDesk, tom: Person, haircut: Service, identity: str
) -> None:
    table, path = NEW_ROWS[identity][0], f"/admin/{identity}/create"
    before = await count_rows(desk.database, table)
    fields = await open_form(desk, identity)
    await desk.ada.post(path, data=fields)

    again = await desk.ada.post(path, data=fields)

    rows = await desk.database.fetch(text(f"SELECT max(id) AS id FROM {table}"))
    assert again.headers["location"] == f"/admin/{identity}/details/{rows[0]['id']}"
    page = await desk.ada.get(again.headers["location"])
    assert "This was saved already. Nothing was saved twice." in get_page_text(page.text)
    assert await count_rows(desk.database, table) == before + 1


async def test_eight_equal_requests_at_once_save_one_row(desk: AdminDesk) -> None:
    fields = await open_form(desk)

    answers = await asyncio.gather(*(desk.ada.post("/admin/service/create", data=fields) for _ in range(8)))

    assert Counter(answer.headers["location"].rpartition("/")[2] for answer in answers) == {"list": 1, "1": 7}
    assert await count_rows(desk.database, "services") == 1


async def test_a_form_with_other_content_asks_before_it_saves_another(desk: AdminDesk) -> None:
    fields = await open_form(desk)
    await desk.ada.post("/admin/service/create", data=fields)

    refused = await post_form(desk.ada, "/admin/service/create", {**fields, "title": "Dry"})
    saved = await post_form(desk.ada, "/admin/service/create", ParsedPage(refused.html).fields)

    assert (refused.status, saved.status) == (409, 302)
    assert "This was saved already. Save again to create another one." in refused.text
    titles = await desk.database.fetch(text("SELECT title FROM services ORDER BY id"))
    assert titles == [{"title": "Wash"}, {"title": "Dry"}]


async def test_a_refused_form_is_corrected_and_saved(desk: AdminDesk, tom: Person) -> None:
    fields = await open_form(desk, "user")
    refused = await post_form(desk.ada, "/admin/user/create", {**fields, "email": "TOM@example.com"})

    saved = await post_form(desk.ada, "/admin/user/create", fields)

    assert (refused.status, saved.status) == (409, 302)
    assert ParsedPage(refused.html).fields["form_key"] == fields["form_key"]


async def test_a_password_is_no_part_of_what_is_compared(desk: AdminDesk) -> None:
    fields = await open_form(desk, "user")
    await desk.ada.post("/admin/user/create", data=fields)

    again = await desk.ada.post("/admin/user/create", data={**fields, "password": "another one"})

    assert "/admin/user/details/" in again.headers["location"]


@pytest.mark.parametrize("key", ["", "x" * 65, "no blanks", "ключ"])
async def test_only_keys_of_ours_are_taken(desk: AdminDesk, key: str) -> None:
    fields = {**await open_form(desk), "form_key": key}

    answers = [await desk.ada.post("/admin/service/create", data=fields) for _ in range(2)]

    assert [answer.status_code for answer in answers] == ([302, 302] if not key else [422, 422])


async def test_two_users_may_send_the_same_key(desk: AdminDesk, tom: Person, haircut: Service) -> None:
    fields = await open_form(desk, "booking")
    later = {**fields, "start_time": "2030-01-08T13:00"}

    first = await desk.ada.post("/admin/booking/create", data=fields)
    second = await desk.mara.post("/admin/booking/create", data=later)

    assert [answer.is_redirect for answer in (first, second)] == [True, True]
    assert await count_rows(desk.database, "bookings") == 2


# The calendar.


async def test_a_visit_is_booked_once_for_each_dialog(desk: AdminDesk, tom: Person, haircut: Service) -> None:
    sent = {"service_id": 1, "start": "2030-01-08T11:00", "new_customer": {"name": "N", "email": "n@example.com"}}

    answers = await asyncio.gather(
        *(desk.mara.post("/admin/calendar/book", json={**sent, "key": "a-dialog"}) for _ in range(4))
    )
    other = await desk.mara.post("/admin/calendar/book", json={**sent, "start": "2030-01-08T13:00", "key": "a-dialog"})

    assert {(answer.status_code, answer.json()["visit"]["id"]) for answer in answers} == {(200, 1)}
    assert (other.status_code, other.json()["message"], other.json()["is_saved_already"]) == (
        409, "This was saved already. Save again to create another one.", True,
    )  # fmt: skip
    assert await count_rows(desk.database, "bookings") == 1


@pytest.mark.parametrize(
    ("act", "sent", "changed"),
    [
        ("move", {"start": "2030-01-08T13:00"}, "start_time"),
        ("move", {"end": "2030-01-08T12:00"}, "end_time"),
        ("act", {"act": "cancel"}, "status"),
    ],
)
async def test_an_act_runs_once_and_is_taken_back(
    desk: AdminDesk, tom: Person, haircut: Service, act: str, sent: dict[str, Any], changed: str
) -> None:
    booked = {"service_id": 1, "start": "2030-01-08T11:00", "user_id": tom.id}
    await desk.mara.post("/admin/calendar/book", json=booked)
    before = await desk.fetch_row("bookings", 1)
    body = {"version": 1, "key": "a-drag", **sent}

    answers = [await desk.mara.post(f"/admin/calendar/{act}/1", json=body) for _ in range(2)]
    after = await desk.fetch_row("bookings", 1)
    undone = [
        await desk.mara.post("/admin/calendar/undo/1", json={**answers[0].json()["undo"], "key": "an-undo"})
        for _ in range(2)
    ]

    assert [answer.status_code for answer in (*answers, *undone)] == [200] * 4
    assert before is not None
    assert after is not None
    assert (after["version"], after[changed] != before[changed]) == (2, True)
    assert await desk.fetch_row("bookings", 1) == before | {"version": 3}


async def test_undoing_a_new_booking_cancels_it(desk: AdminDesk, tom: Person, haircut: Service) -> None:
    sent = {"service_id": 1, "start": "2030-01-08T11:00", "user_id": tom.id}
    booked = (await desk.mara.post("/admin/calendar/book", json=sent)).json()

    undone = await desk.mara.post("/admin/calendar/undo/1", json=booked["undo"])
    late = await desk.mara.post("/admin/calendar/undo/1", json=booked["undo"])

    assert (booked["when"], booked["visit"]["status"], undone.json()["visit"]["status"]) == (
        "Tue 08 Jan 11:00", "confirmed", "cancelled",
    )  # fmt: skip
    assert late.status_code == 412


async def test_a_change_of_somebody_else_is_not_offered_for_undo(
    desk: AdminDesk, tom: Person, haircut: Service
) -> None:
    """Mara's answer was lost, Ada moved the visit, and Mara's request is sent again."""
    sent = {"service_id": 1, "start": "2030-01-08T11:00", "user_id": tom.id, "key": "a-dialog"}
    await desk.mara.post("/admin/calendar/book", json=sent)
    await desk.ada.post("/admin/calendar/move/1", json={"version": 1, "start": "2030-01-08T13:00"})

    again = (await desk.mara.post("/admin/calendar/book", json=sent)).json()

    assert (again["visit"]["start"], again["undo"]) == ("2030-01-08T13:00:00", None)


async def test_a_held_visit_is_pending_and_any_other_of_the_desk_confirmed(
    desk: AdminDesk, tom: Person, haircut: Service
) -> None:
    sent = {"service_id": 1, "user_id": tom.id}
    for start, is_hold in (("2030-01-08T11:00", True), ("2030-01-08T13:00", False)):
        await desk.mara.post("/admin/calendar/book", json={**sent, "start": start, "is_hold": is_hold})
    await desk.mara.post(
        "/admin/booking/create", data=await open_form(desk, "booking") | {"start_time": "2030-01-08T15:00"}
    )

    rows = await desk.database.fetch(text("SELECT status, expires_at IS NOT NULL AS is_hold FROM bookings ORDER BY id"))
    assert [tuple(row.values()) for row in rows] == [("pending", True), ("confirmed", False), ("confirmed", False)]
    assert "Booked with Haircut, Tue 08 Jan 15:00." in await desk.fetch_list_text(desk.mara)


@pytest.mark.parametrize(
    ("status", "start", "primary", "asking"),
    [
        ("pending", "2030-01-08 10:00Z", "confirm", {"cancel"}),
        ("confirmed", "2030-01-08 10:00Z", None, {"cancel"}),
        ("pending", "2030-01-07 08:00Z", "complete", {"cancel"}),
        ("confirmed", "2030-01-07 08:00Z", "complete", {"cancel"}),
        ("completed", "2030-01-07 08:00Z", None, {"reopen", "confirm", "complete", "cancel", "mark-no-show"}),
    ],
)
async def test_one_act_fits_the_moment_and_the_harmful_ones_ask(
    desk: AdminDesk, tom: Person, haircut: Service, status: str, start: str, primary: str | None, asking: set[str]
) -> None:
    sent = {"service_id": 1, "start": "2030-01-08T11:00", "user_id": tom.id}
    await desk.mara.post("/admin/calendar/book", json=sent)
    await desk.database.fetch(text(START_AT), status=status, start=start)

    acts = (await desk.mara.get("/admin/calendar/visit/1")).json()["acts"]

    assert [act["name"] for act in acts if act["is_primary"]] == ([primary] if primary else [])
    assert {act["name"] for act in acts if act["asks"]} == asking
