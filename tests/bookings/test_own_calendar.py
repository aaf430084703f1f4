"""A person with their own calendar: the visits of their resource at both doors, and nothing of any other.

Lea works as resource 1. The booking of another resource answers her as one that does not exist.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from starlette.requests import Request

from admin.calendar import event_stream
from bookit import records
from bookit import refusals as no
from bookit.change_feed import Changes, Cursor
from bookit.db.pool import Database
from bookit.policy import permissions
from bookit.policy.permissions import Actor
from bookit.schema.tables import Booking, Resource, Role, Service, Status
from bookit.settings import Settings
from tests.support.admin_client import BuildApp, ParsedPage, get_page_text, post_form
from tests.support.claims import INSERT_NEED, insert_massage
from tests.support.clock import NOW, TOMORROW_AT_TEN
from tests.support.people import OWNER, MakeClient, Person
from tests.support.roles import LEAS_RESOURCE, MAXS_RESOURCE, Team, open_team

UNKNOWN = 999_999
LATER = "2030-01-08T15:00:00+00:00"
FIELDS: Mapping[str, Any] = {"resource": "1", "start_time": "2030-01-08T16:00", "version": "1", "end_time": ""}
# Every request that names a booking, at both doors: method, address, and JSON or fields of a form.
REQUESTS: list[tuple[str, str, str, Any]] = [
    ("api", "GET", "/bookings/{id}", None),
    ("api", "PATCH", "/bookings/{id}", {"start_time": LATER}),
    ("api", "PATCH", "/bookings/{id}", {"resource_id": LEAS_RESOURCE}),
    ("api", "PATCH", "/bookings/{id}", {"hold": False}),
    *(("api", "PATCH", "/bookings/{id}", {"status": status}) for status in Status),
    ("api", "DELETE", "/bookings/{id}", None),
    ("api", "GET", "/services/1/availability?booking_id={id}", None),
    ("api", "GET", f"/services/1/availability/explain?booking_id={{id}}&start_time={LATER[:19]}", None),
    ("admin", "GET", "/admin/booking/details/{id}", None),
    ("admin", "GET", "/admin/booking/edit/{id}", None),
    ("admin", "POST", "/admin/booking/edit/{id}", FIELDS),
    ("admin", "DELETE", "/admin/booking/delete?pks={id}", None),
    ("admin", "GET", "/admin/calendar/visit/{id}", None),
    ("admin", "POST", "/admin/booking/{id}/undo", {"event": "1"}),
    ("admin", "GET", "/admin/search?q=%23{id}", None),
    ("admin", "GET", "/admin/booking/list?start_time=all&search={id}", None),
    ("script", "POST", "/admin/calendar/move/{id}", {"version": 1, "start": "2030-01-08T16:00:00"}),
    ("script", "POST", "/admin/calendar/move/{id}", {"version": 7, "resource_id": LEAS_RESOURCE}),
    ("script", "POST", "/admin/calendar/act/{id}", {"version": 1, "act": "cancel"}),
    ("script", "POST", "/admin/calendar/act/{id}", {"version": 7, "act": "confirm"}),
    ("script", "POST", "/admin/calendar/undo/{id}", {"version": 1}),
    ("script", "POST", "/admin/calendar/undo/{id}", {"version": 7, "event": 1}),
]
ACTIONS = ["confirm", "complete", "cancel", "mark-no-show", "reopen"]


RENUMBER = text("""
WITH old AS (DELETE FROM bookings WHERE id = :id RETURNING *)
INSERT INTO bookings
  (id, user_id, service_id, resource_id, start_time, end_time, blocks_from, blocks_until, status, price, created_at)
SELECT 77777, user_id, service_id, resource_id, start_time + interval '7 days', end_time + interval '7 days',
       blocks_from + interval '7 days', blocks_until + interval '7 days', status, price, created_at FROM old
""")


@pytest.fixture
async def team(
    open_door: BuildApp, staff_settings: Settings, shared: Service, database: Database, client_of: MakeClient,
    tom: Person,
) -> AsyncIterator[Team]:  # fmt: skip
    """Return everyone who works here, signed in at both doors."""
    async with open_team(open_door(staff_settings), database, client_of, tom) as team:
        yield team


async def send(team: Team, kind: str, method: str, path: str, body: Any, number: int) -> tuple[int, str]:
    """Send a request about a booking as Lea; return the status, and the text without the number and without ids."""
    client = team.lea if kind == "api" else team.leas_browser
    sent = {} if body is None else {"data": body} if kind == "admin" else {"json": body}
    answer = await client.request(method, path.format(id=number), **sent)
    page = get_page_text(answer.text) if "html" in answer.headers.get("content-type", "") else answer.text
    return answer.status_code, page.replace(str(number), "N")


@pytest.mark.parametrize(("kind", "method", "path", "body"), REQUESTS)
async def test_a_booking_of_another_resource_answers_as_one_that_does_not_exist(
    team: Team, kind: str, method: str, path: str, body: Any
) -> None:
    await team.database.fetch(RENUMBER, id=team.foreign.id)
    before = await team.database.get(Booking, 77_777)

    foreign, missing = [await send(team, kind, method, path, body, number) for number in (77_777, UNKNOWN)]

    assert foreign == missing
    assert "Tom" not in foreign[1].replace("Tomorrow", "")
    assert await team.database.get(Booking, 77_777) == before


@pytest.mark.parametrize("act", ACTIONS)
async def test_a_button_does_nothing_to_a_booking_of_another_resource(team: Team, act: str) -> None:
    numbers = f"{team.foreign.id},{UNKNOWN}"

    answer = await team.leas_browser.post(f"/admin/booking/action/{act}", data={"pks": numbers})

    page = get_page_text((await team.leas_browser.get(answer.headers["location"])).text)
    assert f"#{team.foreign.id}, #{UNKNOWN}: There is no such booking." in page
    assert await team.status_of(team.foreign) == Status.PENDING


async def test_lists_show_the_own_resource_alone(team: Team) -> None:
    browser = team.leas_browser
    listed = (await browser.get("/admin/booking/list?start_time=all")).text
    by_others = (await browser.get("/admin/booking/list?start_time=all&resource_id=2")).text
    feed = (await browser.get("/admin/calendar/feed?start=2030-01-08&end=2030-01-09&cancelled=1")).json()
    calendar = (await browser.get("/admin/calendar")).text
    today = (await browser.get("/admin/")).text
    api = (await team.lea.get("/bookings?from_date=2030-01-08")).json()

    assert "/booking/details/1" in listed
    assert not any(f"/booking/details/{team.foreign.id}" in page for page in (listed, by_others, today))
    assert 'value="2"' not in ParsedPage(calendar).selects["resource"]
    assert ParsedPage(calendar).selects["resource"] == ["", "1"]
    assert "Max" not in calendar
    assert [visit["id"] for visit in feed["visits"]] == [team.own.id]
    assert {closed["resource_id"] for closed in feed["closed"]} <= {LEAS_RESOURCE}
    assert "/booking/details/1" in today
    assert "Max" not in get_page_text(today)
    assert [booking["id"] for booking in (api if isinstance(api, list) else api["items"])] == [team.own.id]
    other = await browser.get("/admin/calendar/feed?start=2030-01-08&end=2030-01-09&resource=2")
    assert other.status_code == 404


async def test_people_cannot_be_looked_for(team: Team) -> None:
    browser = team.leas_browser
    for term in ("tom", "tom@example.com"):
        found = get_page_text((await browser.get(f"/admin/search?q={term}")).text)
        assert "Nothing found." in found
        listed = (await browser.get(f"/admin/booking/list?start_time=all&search={term}")).text
        assert "/booking/details/" not in listed
    for term, ids in (("a", ["1"]), ("max", [])):
        resources = (await browser.get(f"/admin/booking/ajax/lookup?name=resource&term={term}")).json()
        assert [row["id"] for row in resources["results"]] == ids
    page = get_page_text((await browser.get(f"/admin/booking/details/{team.own.id}")).text)
    assert "Tom" in page
    assert "tom@example.com" not in page


@pytest.mark.parametrize("act", ["confirm", "complete", "mark-no-show", "cancel"])
async def test_she_sets_the_status_of_her_visits(team: Team, act: str) -> None:
    done = {"confirm": "confirmed", "complete": "completed", "mark-no-show": "no_show", "cancel": "cancelled"}[act]
    answer = await team.leas_browser.post("/admin/booking/action/" + act, data={"pks": str(team.own.id)})
    assert answer.is_redirect
    assert await team.status_of(team.own) == done

    at_the_api = await team.lea.patch(f"/bookings/{team.own.id}", json={"status": "pending"})
    assert (at_the_api.status_code, at_the_api.json()["status"]) == (200, "pending")


async def test_she_moves_her_visits_within_her_calendar(team: Team) -> None:
    moved = await team.lea.patch(f"/bookings/{team.own.id}", json={"start_time": LATER})
    dragged = await team.leas_browser.post(
        f"/admin/calendar/move/{team.own.id}", json={"version": 2, "start": "2030-01-08T17:00:00"}
    )
    form = ParsedPage((await team.leas_browser.get(f"/admin/booking/edit/{team.own.id}")).text).fields
    saved = await post_form(
        team.leas_browser, f"/admin/booking/edit/{team.own.id}", {**form, "start_time": "2030-01-08T18:00"}
    )

    assert (moved.status_code, dragged.status_code, saved.status) == (200, 200, 302)
    row = await team.database.get(Booking, team.own.id)
    assert row
    assert (row.start_time, row.resource_id) == (TOMORROW_AT_TEN.replace(hour=17), LEAS_RESOURCE)


@pytest.mark.parametrize("resource_id", [MAXS_RESOURCE, UNKNOWN])
async def test_she_moves_no_visit_to_another_calendar(team: Team, resource_id: int) -> None:
    number, refused = team.own.id, "You can move visits within your own calendar only."
    api = await team.lea.patch(f"/bookings/{number}", json={"resource_id": resource_id})
    dragged = await team.leas_browser.post(
        f"/admin/calendar/move/{number}", json={"version": 1, "resource_id": resource_id}
    )
    form = ParsedPage((await team.leas_browser.get(f"/admin/booking/edit/{number}")).text).fields
    saved = await post_form(team.leas_browser, f"/admin/booking/edit/{number}", {**form, "resource": str(resource_id)})

    assert (api.status_code, api.json()["code"]) == (403, "only-own-calendar")
    assert dragged.json()["message"].startswith(refused)
    assert (saved.status, refused in saved.text) == (403, True)
    row = await team.database.get(Booking, number)
    assert row
    assert (row.resource_id, row.version) == (LEAS_RESOURCE, 1)


async def test_undo_brings_no_visit_to_another_calendar(team: Team) -> None:
    async with team.database.transaction(by=OWNER, now=NOW, request_id="a-move") as session:
        row = await records.lock(session, Booking, team.foreign.id)
        await records.change(session, row, by=OWNER, now=NOW, resource_id=LEAS_RESOURCE)
    (event,) = await team.database.fetch(
        text("SELECT id FROM events WHERE table_name = 'bookings' AND action = 'changed'")
    )

    answer = await team.leas_browser.post(
        f"/admin/calendar/undo/{team.foreign.id}", json={"version": 2, "event": event["id"]}
    )

    assert answer.json()["message"].startswith("You can move visits within your own calendar only.")
    row_now = await team.database.get(Booking, team.foreign.id)
    assert row_now
    assert row_now.resource_id == LEAS_RESOURCE


async def test_the_other_visit_of_a_customer_is_not_named(team: Team) -> None:
    """The desk reads which one it is; Lea reads that there is one."""
    start = team.foreign.start_time.isoformat()
    desk = await team.people[Role.STAFF].client.patch(f"/bookings/{team.own.id}", json={"start_time": start})
    lea = await team.lea.patch(f"/bookings/{team.own.id}", json={"start_time": start})

    assert f"(booking {team.foreign.id})" in desk.json()["detail"]
    assert (lea.status_code, lea.json()["code"]) == (409, "busy-elsewhere")
    assert lea.json()["detail"] == "The customer has another visit at this time. Ask the desk."
    assert "existing_booking" not in lea.json() or lea.json()["existing_booking"] is None


async def test_she_reads_no_names_of_others_where_no_seat_is_free(team: Team, eve: Person) -> None:
    async with team.database.transaction(by=OWNER) as session:
        facts: dict[str, Any] = {"user_id": eve.id, "service_id": 1, "resource_id": LEAS_RESOURCE}
        taken = TOMORROW_AT_TEN.replace(hour=15)
        await records.create(session, Booking, by=OWNER, now=NOW, start_time=taken, **facts)

    answer = await team.lea.patch(f"/bookings/{team.own.id}", json={"start_time": LATER})

    assert answer.json()["code"] == "slot-taken"
    assert {resource["id"] for slot in answer.json()["next_free"] for resource in slot["resources"]} == {LEAS_RESOURCE}


async def test_a_person_who_changes_resource_changes_calendar(team: Team) -> None:
    lea = team.people[Role.OWN_CALENDAR]
    await team.database.fetch(text("UPDATE users SET resource_id = 2 WHERE id = :id"), id=lea.id)

    statuses = [(await team.lea.get(f"/bookings/{one.id}")).status_code for one in (team.own, team.foreign)]

    assert statuses == [404, 200]


async def test_a_resource_stays_as_long_as_a_person_works_as_it(team: Team) -> None:
    await team.database.fetch(text("DELETE FROM bookings"))
    answer = await team.browsers[Role.ADMIN].delete("/admin/resource/delete", params={"pks": "1"})

    assert answer.status_code == 200
    assert await team.database.get(Resource, LEAS_RESOURCE)


# The stream of changes.


Resources = list[int]  # of a booking: that of the first role, and the others


def change_of(now: Resources, before: Resources) -> Changes:
    """Return a change of booking 1, by event 5, with its resources now and those of them that were others before."""
    old, others = before[0] if before else None, before[1:]
    row = {"id": 5, "table_name": "bookings", "row_id": 1, "old_resource_id": old, "old_other_resource_ids": others}
    bookings = {1: {"id": 1, "resource_id": now[0], "other_resource_ids": now[1:]}} if now else {}
    cursor = Cursor.parse("1-")
    assert cursor
    return Changes([row], bookings, cursor)


@pytest.mark.parametrize(
    ("now", "before", "visits", "deleted"),
    [
        ([1], [], [1], []),  # hers
        ([1], [2], [1], []),  # came to her
        ([2], [1], [], [1]),  # left her
        ([], [1], [], [1]),  # hers, deleted
        ([2], [], None, None),  # another's
        ([], [2], None, None),  # another's, deleted
        ([2], [3], None, None),  # between two others
        ([2, 1], [], [1], []),  # hers in the second role
        ([2, 3], [2, 1], [], [1]),  # left her in the second role
        ([], [2, 1], [], [1]),  # hers in the second role, deleted
        ([2, 3], [2, 4], None, None),  # others' in both roles
    ],
)
def test_the_stream_has_the_own_resource_alone(
    now: Resources, before: Resources, visits: list[int] | None, deleted: list[int] | None
) -> None:
    cursor = Cursor.parse("1-")
    assert cursor
    payload = event_stream.build_payload(change_of(now, before), cursor, lambda row: {"id": row["id"]}, 1)

    expected = None if visits is None else [{"id": one} for one in visits]
    assert (payload.get("visits"), payload.get("deleted")) == (expected, deleted)
    assert payload == {} or payload["events"] == [5]


async def test_her_stream_is_silent_about_others(team: Team) -> None:
    context = team.leas_browser._transport.app.state.admin_context  # type: ignore[attr-defined]
    actor = Actor.of("admin", team.people[Role.OWN_CALENDAR].user)

    async def is_signed_in() -> bool:
        return True

    messages: Any = event_stream.stream_messages(
        Request({"type": "http", "headers": []}),
        context.change_feed,
        lambda row: {"id": row["id"]},
        own_resource=lambda: permissions.own_resource(actor),
        is_signed_in=is_signed_in,
    )
    async with aclosing(messages), asyncio.timeout(10):
        started = [await anext(messages), await anext(messages)]
        for booking in (team.foreign, team.own):
            await team.database.fetch(text("UPDATE bookings SET status = 'confirmed' WHERE id = :id"), id=booking.id)
        message = await anext(messages)

    assert "start" in started[1]
    data = json.loads(message.split("data: ", 1)[1])
    assert ([visit["id"] for visit in data["visits"]], data["deleted"]) == ([team.own.id], [])


async def test_a_long_visit_of_hers_can_be_lengthened(team: Team) -> None:
    end = (team.own.end_time + timedelta(minutes=15)).isoformat()
    answer = await team.lea.patch(f"/bookings/{team.own.id}", json={"end_time": end})

    assert (answer.status_code, answer.json()["resource_id"]) == (200, LEAS_RESOURCE)


# Visits that take several resources.


async def test_she_sees_and_moves_a_visit_that_takes_her_in_the_second_role(team: Team, tom: Person) -> None:
    async with team.database.transaction(by=OWNER) as session:
        room = await records.create(session, Resource, by=OWNER, now=NOW, name="Room 1")
        other = await records.create(session, Resource, by=OWNER, now=NOW, name="Room 2")
        facts: dict[str, Any] = {"title": "Massage", "price": 80, "duration_minutes": 60, "resource_ids": [room.id]}
        service = await records.create(session, Service, by=OWNER, now=NOW, **facts)
        await session.fetch(INSERT_NEED, service_id=service.id, position=2, ids=[LEAS_RESOURCE])
    start = TOMORROW_AT_TEN.replace(hour=14)
    visit = await insert_massage(team.database, service, tom.id, [room.id, LEAS_RESOURCE], start)
    path = f"/admin/calendar/move/{visit.id}"

    listed = get_page_text((await team.leas_browser.get("/admin/booking/list?start_time=all")).text)
    given_away = [
        (await team.leas_browser.post(path, json={"version": 1, "resources": {"1": other.id}})).json()["message"],
        (await team.lea.patch(f"/bookings/{visit.id}", json={"resource_id": other.id})).json()["detail"],
    ]
    moved = await team.leas_browser.post(path, json={"version": 1, "start": "2030-01-08T16:00:00"})

    row = await team.database.get(Booking, visit.id)
    assert "Room 1 and Lea" in listed
    assert given_away == [str(no.OnlyOwnCalendar())] * 2
    assert moved.status_code == 200
    assert row
    assert (row.start_time, row.resource_id) == (start.replace(hour=15), room.id)
