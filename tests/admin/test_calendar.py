"""The calendar of the admin panel: its data and its actions, in the local time of the business."""

from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import text

from admin.calendar import wall_clock
from bookit import records
from bookit import refusals as no
from bookit.bookings import availability
from bookit.db.pool import Database
from bookit.reports import calendar
from bookit.schema.tables import Booking, CalendarException, OpeningHours, Service
from tests.support.admin_client import AdminDesk
from tests.support.clock import NOW, TOMORROW_AT_TEN, Clock
from tests.support.people import OWNER, Person

DAY = {"start": "2030-01-08T00:00:00", "end": "2030-01-09T00:00:00"}
FED = {
    "id": 1,
    "version": 1,
    "start": "2030-01-08T11:00:00",
    "end": "2030-01-08T11:45:00",
    "starts_at": "2030-01-08T10:00:00+00:00",
    "ends_at": "2030-01-08T10:45:00+00:00",
    "times": "11:00 – 11:45",
    "customer": "Tom",
    "service": "Haircut",
    "service_id": 1,
    "resource": "Haircut",
    "resource_id": 1,
    "resource_ids": [1],
    "parts": [],
    "seats": 1,
    "status": "pending",
    "status_text": "Pending",
    "is_hold": False,
    "is_movable": True,
    "expires_at": None,
}


UNSEEN_NAME = str(no.NotVisible(field="name", title="name"))


@pytest.fixture
async def panel(desk: AdminDesk, clock: Clock) -> AdminDesk:
    """Open the admin panel with a fixed clock: Monday, ten in the morning in Berlin."""
    return desk


async def book(database: Database, user: int, start: datetime, **more: Any) -> Booking:
    """Create a haircut for a customer, overriding the rules of its time."""
    async with database.transaction(by=OWNER, now=NOW) as session:
        facts: dict[str, Any] = {"user_id": user, "service_id": 1, "start_time": start, **more}
        return await records.create(session, Booking, by=OWNER, now=NOW, **facts)


async def create(database: Database, table: Any, **facts: Any) -> Any:
    async with database.transaction(by=OWNER, now=NOW) as session:
        return await records.create(session, table, by=OWNER, now=NOW, **facts)


async def move(desk: AdminDesk, number: int = 1, version: int = 1, **sent: Any) -> tuple[int, dict[str, Any]]:
    answer = await desk.mara.post(f"/admin/calendar/move/{number}", json={"version": version, **sent})
    return answer.status_code, answer.json()


async def starts(desk: AdminDesk, number: int = 1) -> datetime | None:
    row = await desk.fetch_row("bookings", number)
    return row["start_time"] if row else None


# The feed.


async def test_the_feed_contains_the_whole_day(panel: AdminDesk, visit: Booking) -> None:
    answer = await panel.mara.get("/admin/calendar/feed", params=DAY)

    assert answer.json() == {
        "visits": [FED],
        "closed": [],
        "closed_everywhere": [],
        "closures": [],
        "inactive": {"resources": [], "services": []},
        "message": "",
        "now": "2030-01-07T10:00:00",
        "offset": "+01:00",
    }


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        ("2030-01-08", {"resources": [{"id": 1, "name": "Haircut"}], "services": [{"id": 1, "name": "Haircut"}]}),
        ("2030-01-09", {"resources": [], "services": []}),
    ],
)
async def test_what_is_inactive_is_shown_while_visits_stand_on_it(
    panel: AdminDesk, visit: Booking, day: str, expected: dict[str, Any]
) -> None:
    for table in ("resources", "services"):
        await panel.database.fetch(text(f"UPDATE {table} SET is_active = false"))
    until = f"{day[:-2]}{int(day[-2:]) + 1:02}"

    fed = (await panel.mara.get("/admin/calendar/feed", params={"start": day, "end": until})).json()

    assert (fed["inactive"], [one["resource_id"] for one in fed["visits"]]) == (
        expected,
        [1] if expected["resources"] else [],
    )
    await panel.database.fetch(text("UPDATE bookings SET status = 'cancelled'"))
    query = {"start": day, "end": until}
    hidden, shown = [
        (await panel.mara.get("/admin/calendar/feed", params={**query, "cancelled": flag})).json() for flag in "01"
    ]
    assert (hidden["inactive"], shown["inactive"]) == ({"resources": [], "services": []}, expected)


async def test_opening_hours_are_shaded_and_closures_are_named(panel: AdminDesk, visit: Booking) -> None:
    for opens, closes in ((9, 12), (13, 18)):
        await create(panel.database, OpeningHours, resource_id=1, weekday=2, opens=time(opens), closes=time(closes))
    await panel.database.fetch(text("UPDATE resources SET timezone = 'Europe/Berlin'"))
    begins, ends = (datetime(2030, 1, 8, hour, tzinfo=UTC) for hour in (15, 16))
    about = {"start_time": begins, "end_time": ends, "timezone": None, "reason": "Staff party"}
    await create(panel.database, CalendarException, **about)

    fed = (await panel.mara.get("/admin/calendar/feed", params=DAY)).json()

    gaps = [("00:00", "09:00"), ("12:00", "13:00"), ("16:00", "17:00"), ("18:00", "24:00")]
    expected = [(f"2030-01-08T{since}:00", f"2030-01-08T{until}:00") for since, until in gaps]
    expected[-1] = (expected[-1][0], "2030-01-09T00:00:00")
    assert [(gap["start"], gap["end"]) for gap in fed["closed"]] == expected
    assert [(gap["start"], gap["end"]) for gap in fed["closed_everywhere"]] == expected
    assert {gap["resource_id"] for gap in fed["closed"]} == {1}
    assert fed["closures"] == [
        {
            "id": 1,
            "resource_id": None,
            "reason": "Staff party",
            "start": "2030-01-08T16:00:00",
            "end": "2030-01-08T17:00:00",
        }
    ]


async def test_opening_hours_in_the_feed_match_availability(database: Database, shared: Service) -> None:
    await create(database, OpeningHours, resource_id=1, weekday=2, opens=time(9), closes=time(12))
    begins, ends = (datetime(2030, 1, 8, hour, tzinfo=UTC) for hour in (8, 10))
    await create(database, CalendarException, resource_id=1, start_time=begins, end_time=ends, is_open=True)
    since, until = datetime(2030, 1, 8, tzinfo=UTC), datetime(2030, 1, 9, tzinfo=UTC)

    spans = await availability.open_times(database, [1, 2], since=since, until=until)

    assert [tuple(one.values()) for one in spans] == [
        (1, begins, datetime(2030, 1, 8, 12, tzinfo=UTC)),
        (2, since, until),
    ]


async def test_a_hold_shows_its_expiry_and_disappears(
    panel: AdminDesk, clock: Clock, tom: Person, haircut: Service
) -> None:
    await book(panel.database, tom.id, datetime(2030, 1, 8, 10, tzinfo=UTC), hold=True)
    (visit,) = (await panel.mara.get("/admin/calendar/feed", params=DAY)).json()["visits"]
    assert (visit["is_hold"], visit["status_text"], visit["expires_at"]) == (
        True, "Hold until 10:10", "2030-01-07T09:10:00+00:00",
    )  # fmt: skip

    clock.advance(minutes=11)

    assert (await panel.mara.get("/admin/calendar/feed", params=DAY)).json()["visits"] == []
    over = (await panel.mara.get("/admin/calendar/feed", params={**DAY, "cancelled": "1"})).json()["visits"]
    assert [one["id"] for one in over] == [1]


async def test_the_feed_is_filtered_by_resource_and_service(
    panel: AdminDesk, tom: Person, eve: Person, shared: Service
) -> None:
    for person, resource in ((tom, 1), (eve, 2)):
        await book(panel.database, person.id, datetime(2030, 1, 8, 10, tzinfo=UTC), resource_id=resource)

    ids = {
        filters: [
            one["resource_id"]
            for one in (await panel.mara.get(f"/admin/calendar/feed?{filters}", params=None)).json()["visits"]
        ]
        for filters in (
            "start=2030-01-08&end=2030-01-09",
            "start=2030-01-08&end=2030-01-09&resource=2",
            "start=2030-01-08&end=2030-01-09&service=1",
            "start=2030-01-08&end=2030-01-09&service=2",
        )
    }

    assert [*ids.values()] == [[1, 2], [2], [1, 2], []]


async def test_too_many_bookings_are_refused_and_not_cut_off(
    panel: AdminDesk, visit: Booking, tom: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    await book(panel.database, tom.id, datetime(2030, 1, 8, 12, tzinfo=UTC))
    monkeypatch.setattr(calendar, "MAX_BOOKINGS", 1)

    fed = (await panel.mara.get("/admin/calendar/feed", params=DAY)).json()

    assert fed["visits"] == []
    assert "Choose fewer days, a resource or a service." in fed["message"]


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"start": "x", "end": "y"},
        {**DAY, "end": "2030-01-08"},
        {**DAY, "end": "2031-01-08"},
        {**DAY, "end": "9999-12-31"},
    ],
)
async def test_an_invalid_range_of_the_feed_is_refused(panel: AdminDesk, query: dict[str, str]) -> None:
    assert (await panel.mara.get("/admin/calendar/feed", params=query)).status_code == 400


async def test_a_click_on_a_visit_shows_its_actions(panel: AdminDesk, visit: Booking) -> None:
    answer = (await panel.mara.get("/admin/calendar/visit/1")).json()

    assert answer["visit"] == FED
    assert answer["when"] == "Tue 08 Jan 2030, 11:00"
    assert [(act["name"], act["refusal"]) for act in answer["acts"]] == [
        ("reopen", "This booking is already pending."),
        ("confirm", ""),
        ("complete", ""),
        ("cancel", ""),
        ("mark-no-show", ""),
    ]
    for number in ("99", "x"):
        assert (await panel.mara.get(f"/admin/calendar/visit/{number}")).status_code == 404


# Permissions.

ADDRESSES = [
    ("GET", "feed?start=2030-01-08&end=2030-01-09"), ("GET", "visit/1"), ("GET", "stream"),
    ("POST", "move/1"), ("POST", "act/1"), ("POST", "book"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path"), ADDRESSES)
async def test_the_calendar_needs_a_sign_in(panel: AdminDesk, visit: Booking, method: str, path: str) -> None:
    answer = await panel.visitor.request(method, f"/admin/calendar/{path}", json={} if method == "POST" else None)
    assert (answer.status_code, answer.json()) == (401, {"message": "Your session has ended. Please sign in again."})

    await panel.database.fetch(text("UPDATE users SET role = 'user' WHERE role = 'staff'"))
    answer = await panel.mara.request(method, f"/admin/calendar/{path}", json={} if method == "POST" else None)
    assert answer.status_code == 401


async def test_signing_in_leads_to_the_page_and_not_to_its_feed(panel: AdminDesk, mara: Person) -> None:
    await panel.visitor.get("/admin/calendar/feed", params=DAY)
    answer = await panel.visitor.post("/admin/login", data={"username": mara.user.email, "password": "correct horse"})

    assert answer.headers["location"].endswith("/admin/")


async def test_requests_of_another_site_are_refused(panel: AdminDesk, visit: Booking) -> None:
    sent = {"version": 1, "start": "2030-01-08T15:00:00"}
    answer = await panel.mara.post(
        "/admin/calendar/move/1", json=sent, headers={"origin": "http://evil.test", "sec-fetch-site": "cross-site"}
    )

    assert (answer.status_code, await starts(panel)) == (403, visit.start_time)


@pytest.mark.parametrize("sent", [b"", b"{", b"[]", b'{"version": "x"}', b'{"version": 1, "evil": 1}', b"[" * 20_000])
@pytest.mark.parametrize("path", ["move/1", "act/1", "book"])
async def test_invalid_calendar_input_is_refused(panel: AdminDesk, visit: Booking, path: str, sent: bytes) -> None:
    answer = await panel.mara.post(f"/admin/calendar/{path}", content=sent)

    assert (answer.status_code, await panel.fetch_row("bookings", 2)) == (422, None)


# Moving.


async def test_a_visit_is_moved_to_another_time_and_resource(
    panel: AdminDesk, mara: Person, tom: Person, shared: Service
) -> None:
    await book(panel.database, tom.id, datetime(2030, 1, 8, 10, tzinfo=UTC))

    status, answer = await move(panel, start="2030-01-08T14:30:00", resource_id=2)

    assert (status, answer["warning"]) == (200, "")
    assert (answer["visit"]["start"], answer["visit"]["resource_id"], answer["visit"]["version"]) == (
        "2030-01-08T14:30:00", 2, 2,
    )  # fmt: skip
    assert await starts(panel) == datetime(2030, 1, 8, 13, 30, tzinfo=UTC)
    events = await panel.database.fetch(text("SELECT actor, door FROM events ORDER BY id DESC LIMIT 1"))
    assert events == [{"actor": f"staff {mara.id}", "door": "admin"}]


async def test_a_taken_time_is_refused_with_the_next_free_slots(panel: AdminDesk, visit: Booking, tom: Person) -> None:
    await book(panel.database, tom.id, datetime(2030, 1, 8, 12, tzinfo=UTC))

    status, answer = await move(panel, start="2030-01-08T13:15:00")

    assert (status, answer["message"], answer["may_override"]) == (409, no.SlotTaken.__doc__, False)
    assert answer["next_free"][0] == {
        "start": "2030-01-08T13:45:00", "text": "Tue 08 Jan 2030, 13:45",
        "ends_at": "2030-01-08T13:30:00+00:00", "resource_id": 1, "resources": {"1": 1}, "resource": "Haircut",
    }  # fmt: skip
    assert await starts(panel) == visit.start_time


async def test_an_overridable_refusal_asks_for_a_reason(panel: AdminDesk, visit: Booking) -> None:
    await panel.database.fetch(text("UPDATE services SET min_notice_minutes = 600"))
    status, answer = await move(panel, start="2030-01-07T12:00:00")
    assert (status, answer["may_override"]) == (400, True)

    status, answer = await move(panel, start="2030-01-07T12:00:00", override_reason="He waits at the door")

    assert (status, await starts(panel)) == (200, datetime(2030, 1, 7, 11, tzinfo=UTC))
    reasons = await panel.database.fetch(text("SELECT reason FROM events ORDER BY id DESC LIMIT 1"))
    assert reasons == [{"reason": "He waits at the door"}]


async def test_dragging_an_edge_changes_the_end(panel: AdminDesk, visit: Booking) -> None:
    status, answer = await move(panel, end="2030-01-08T12:30:00")

    assert (status, answer["warning"]) == (200, "")
    assert (answer["visit"]["times"], answer["visit"]["version"]) == ("11:00 – 12:30", 2)
    status, answer = await move(panel, version=2, start="2030-01-08T15:00:00")
    assert answer["visit"]["times"] == "15:00 – 16:30"


async def test_an_impossible_end_is_refused_with_slots_of_that_length(
    panel: AdminDesk, visit: Booking, tom: Person
) -> None:
    await book(panel.database, tom.id, datetime(2030, 1, 8, 11, tzinfo=UTC))

    status, answer = await move(panel, end="2030-01-08T13:30:00")

    assert (status, answer["message"]) == (409, no.SlotTaken.__doc__)
    slot = answer["next_free"][0]
    assert (slot["start"], slot["ends_at"]) == ("2030-01-08T13:00:00", "2030-01-08T14:30:00+00:00")
    status, answer = await move(panel, start=slot["start"], end=slot["ends_at"], resource_id=slot["resource_id"])
    assert answer["visit"]["times"] == "13:00 – 15:30"
    status, answer = await move(panel, version=2, end="2030-01-08T13:00:00")
    assert (status, answer["message"], answer["may_override"]) == (400, "The end must be after the start.", False)


async def test_moving_the_end_of_a_running_visit_gives_no_warning(
    panel: AdminDesk, tom: Person, haircut: Service
) -> None:
    await book(panel.database, tom.id, NOW - timedelta(minutes=30))

    status, answer = await move(panel, end="2030-01-07T11:00:00")

    assert (status, answer["warning"], answer["visit"]["times"]) == (200, "", "09:30 – 11:00")


async def test_a_move_into_the_past_gives_a_warning(panel: AdminDesk, visit: Booking) -> None:
    status, answer = await move(panel, start="2030-01-07T08:00:00")

    assert (status, answer["warning"]) == (200, "This visit is in the past.")


async def test_a_move_of_a_stale_version_is_refused(panel: AdminDesk, visit: Booking) -> None:
    await move(panel, start="2030-01-08T14:00:00")

    status, answer = await move(panel, start="2030-01-08T15:00:00")

    assert (status, answer["message"]) == (412, "Someone changed this while you were editing.")
    assert await starts(panel) == datetime(2030, 1, 8, 13, tzinfo=UTC)


async def test_a_deleted_booking_is_not_moved(panel: AdminDesk) -> None:
    status, answer = await move(panel, 99, start="2030-01-08T14:00:00")

    assert (status, answer["message"]) == (404, "There is no such booking.")


# Clock changes.


async def test_a_drop_into_a_skipped_hour_is_refused(panel: AdminDesk, visit: Booking) -> None:
    status, answer = await move(panel, start="2030-03-31T02:30:00")

    assert (status, answer["message"]) == (
        400, "2030-03-31 02:30 does not exist in Europe/Berlin: the clocks go forward then.",
    )  # fmt: skip
    assert await starts(panel) == visit.start_time


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (datetime(2030, 10, 27, 0, 0, tzinfo=UTC), datetime(2030, 10, 27, 0, 30, tzinfo=UTC)),
        (datetime(2030, 10, 27, 1, 0, tzinfo=UTC), datetime(2030, 10, 27, 1, 30, tzinfo=UTC)),
        (datetime(2030, 10, 27, 8, 0, tzinfo=UTC), datetime(2030, 10, 27, 1, 30, tzinfo=UTC)),
        (datetime(2030, 10, 26, 8, 0, tzinfo=UTC), datetime(2030, 10, 27, 0, 30, tzinfo=UTC)),
    ],
    ids=["in the first hour", "in the second hour", "from winter", "from summer"],
)
async def test_a_drop_into_a_repeated_hour_keeps_its_side(
    panel: AdminDesk, tom: Person, haircut: Service, before: datetime, after: datetime
) -> None:
    await book(panel.database, tom.id, before)

    status, _ = await move(panel, start="2030-10-27T02:30:00")

    assert (status, await starts(panel)) == (200, after)


@pytest.mark.parametrize(
    ("start", "dragged_to", "lasts"),
    [
        (datetime(2030, 3, 31, 0, 0, tzinfo=UTC), "2030-03-31T03:30:00", 90),
        (datetime(2030, 10, 26, 23, 0, tzinfo=UTC), "2030-10-27T03:30:00", 210),
        (datetime(2030, 10, 26, 23, 30, tzinfo=UTC), "2030-10-27T02:30:00", 60),
        (datetime(2030, 10, 27, 1, 0, tzinfo=UTC), "2030-10-27T02:30:00", 30),
        (datetime(2030, 10, 27, 0, 30, tzinfo=UTC), "2030-10-27T03:00:00", 30),
        (datetime(2030, 10, 27, 0, 30, tzinfo=UTC), "2030-10-27T03:45:00", 75),
    ],
    ids=["over a gap", "over the hour twice", "into the first", "in the second", "as shown, less", "as shown, more"],
)
async def test_an_edge_is_dragged_across_a_clock_change(
    panel: AdminDesk, tom: Person, haircut: Service, start: datetime, dragged_to: str, lasts: int
) -> None:
    """In local time; where a visit is drawn with its duration (02:30 to 02:15), by the distance dragged."""
    await book(panel.database, tom.id, start)

    status, answer = await move(panel, end=dragged_to)

    ends = datetime.fromisoformat(answer["visit"]["ends_at"])
    assert (status, ends - start) == (200, timedelta(minutes=lasts))


async def test_an_edge_in_a_skipped_hour_is_refused(panel: AdminDesk, tom: Person, haircut: Service) -> None:
    await book(panel.database, tom.id, datetime(2030, 3, 31, 0, 0, tzinfo=UTC))

    status, answer = await move(panel, end="2030-03-31T02:30:00")

    assert (status, answer["message"]) == (
        400, "2030-03-31 02:30 does not exist in Europe/Berlin: the clocks go forward then.",
    )  # fmt: skip


async def test_a_day_with_a_repeated_hour_is_shown_correctly(panel: AdminDesk, tom: Person, haircut: Service) -> None:
    for hour, minute in ((0, 30), (1, 30), (8, 0)):
        await book(panel.database, tom.id, datetime(2030, 10, 27, hour, minute, tzinfo=UTC))

    query = {"start": "2030-10-27T00:00:00", "end": "2030-10-28T00:00:00"}
    fed = (await panel.mara.get("/admin/calendar/feed", params=query)).json()["visits"]

    assert [(one["start"][11:16], one["end"][11:16], one["times"]) for one in fed] == [
        ("02:30", "03:15", "02:30 CEST – 02:15 CET"),
        ("02:30", "03:15", "02:30 CET – 03:15 CET"),
        ("09:00", "09:45", "09:00 – 09:45"),
    ]


async def test_a_day_with_a_skipped_hour_is_shown_correctly(panel: AdminDesk, tom: Person, haircut: Service) -> None:
    await book(panel.database, tom.id, datetime(2030, 3, 31, 0, 30, tzinfo=UTC))
    await book(panel.database, tom.id, datetime(2030, 3, 31, 21, 30, tzinfo=UTC))

    query = {"start": "2030-03-31T00:00:00", "end": "2030-04-01T00:00:00"}
    fed = (await panel.mara.get("/admin/calendar/feed", params=query)).json()["visits"]

    assert [(one["start"][11:16], one["end"][11:16], one["times"]) for one in fed] == [
        ("01:30", "03:15", "01:30 CET – 03:15 CEST"),
        ("23:30", "00:15", "23:30 – 00:15"),
    ]


def test_utc_offsets_are_written_with_their_sign() -> None:
    moment = datetime(2030, 1, 7, tzinfo=UTC)
    zones = [ZoneInfo(name) for name in ("Europe/Berlin", "America/St_Johns", "Asia/Kathmandu", "UTC")]

    assert [wall_clock.utc_offset(moment, zone) for zone in zones] == ["+01:00", "-03:30", "+05:45", "+00:00"]


# Actions and new bookings.


async def test_an_action_changes_the_status_and_records_its_reason(panel: AdminDesk, visit: Booking) -> None:
    answer = await panel.mara.post("/admin/calendar/act/1", json={"version": 1, "act": "cancel", "reason": "He rang"})

    assert (answer.status_code, answer.json()["visit"]["status_text"]) == (200, "Cancelled")
    reasons = await panel.database.fetch(text("SELECT reason FROM events ORDER BY id DESC LIMIT 1"))
    assert reasons == [{"reason": "He rang"}]

    again = await panel.mara.post("/admin/calendar/act/1", json={"version": 1, "act": "confirm"})
    assert (again.status_code, again.json()["message"]) == (412, "Someone changed this while you were editing.")
    never = await panel.mara.post("/admin/calendar/act/1", json={"version": 2, "act": "delete"})
    assert never.status_code == 422


async def test_an_existing_customer_is_booked(panel: AdminDesk, tom: Person, haircut: Service) -> None:
    sent = {"service_id": 1, "start": "2030-01-08T11:00", "user_id": tom.id}
    answer = await panel.mara.post("/admin/calendar/book", json=sent)

    assert (answer.status_code, answer.json()["visit"]) == (
        200, FED | {"status": "confirmed", "status_text": "Confirmed"},
    )  # fmt: skip


async def test_a_new_customer_is_created_with_the_booking(panel: AdminDesk, haircut: Service) -> None:
    new_customer = {"name": "Nora New", "email": "nora@example.com"}
    sent = {"service_id": 1, "start": "2030-01-08T11:00", "new_customer": new_customer}
    answer = await panel.mara.post("/admin/calendar/book", json=sent)

    assert (answer.status_code, answer.json()["visit"]["customer"]) == (200, "Nora New")
    (row,) = await panel.database.fetch(text("SELECT * FROM users WHERE email = 'nora@example.com'"))
    assert (row["role"], row["is_active"], row["password_hash"]) == ("user", True, None)


async def test_a_new_customer_needs_a_phone_number_or_an_email(panel: AdminDesk, haircut: Service) -> None:
    sent = {"service_id": 1, "start": "2030-01-08T11:00", "new_customer": {"name": "Nora New", "phone": "07700 900123"}}
    answer = await panel.mara.post("/admin/calendar/book", json=sent)

    assert (answer.status_code, answer.json()["visit"]["customer"]) == (200, "Nora New")
    (row,) = await panel.database.fetch(text("SELECT * FROM users WHERE name = 'Nora New'"))
    assert (row["phone"], row["email"], row["password_hash"]) == ("+447700900123", None, None)

    for new_customer, status, refusal in (
        ({"name": "Nobody"}, 422, no.PhoneOrEmailNeeded),
        ({"name": "Nobody", "phone": "0123"}, 400, no.NotAPhone),
    ):
        answer = await panel.mara.post("/admin/calendar/book", json={**sent, "new_customer": new_customer})
        assert (answer.status_code, answer.json()["message"]) == (status, refusal.__doc__)
    assert await panel.database.fetch(text("SELECT FROM users WHERE name = 'Nobody'")) == []


async def test_no_customer_is_created_when_the_time_is_taken(panel: AdminDesk, visit: Booking) -> None:
    new_customer = {"name": "Nora New", "email": "nora@example.com"}
    sent = {"service_id": 1, "start": "2030-01-08T11:15", "new_customer": new_customer}
    answer = await panel.mara.post("/admin/calendar/book", json=sent)

    assert (answer.status_code, answer.json()["message"]) == (409, no.SlotTaken.__doc__)
    assert await panel.database.fetch(text("SELECT FROM users WHERE email = 'nora@example.com'")) == []


SKIPPED = "2030-03-31 02:30 does not exist in Europe/Berlin: the clocks go forward then."


@pytest.mark.parametrize(
    ("changed", "refusal"),
    [
        ({"user_id": None}, (404, "There is no such customer.")),
        ({"user_id": 99}, (404, "There is no such customer.")),
        ({"start": "2030-03-31T02:30"}, (400, SKIPPED)),
        ({"start": "soon"}, (422, "Some values are missing or not valid.")),
        ({"service_id": 99}, (404, "There is no such service.")),
        ({"new_customer": {"name": "Tom", "email": "tom@example.com"}}, (409, no.EmailTaken.__doc__)),
        ({"new_customer": {"name": "Tom", "email": "nowhere"}}, (422, no.NotAnEmail.__doc__)),
        ({"new_customer": {"name": "\u202emoT", "email": "t@x.example"}},
         (422, UNSEEN_NAME)),
        ({"new_customer": {"name": "...", "email": "t@x.example"}}, (422, UNSEEN_NAME)),
    ],
)  # fmt: skip
async def test_an_impossible_booking_is_refused_with_the_reason(
    panel: AdminDesk, tom: Person, haircut: Service, changed: dict[str, Any], refusal: tuple[int, str]
) -> None:
    sent = {"service_id": 1, "start": "2030-01-08T11:00", "user_id": tom.id, **changed}
    answer = await panel.mara.post("/admin/calendar/book", json=sent)

    assert (answer.status_code, answer.json()["message"]) == refusal
    assert await panel.fetch_row("bookings", 1) is None


async def test_a_hold_can_be_created(panel: AdminDesk, tom: Person, haircut: Service) -> None:
    sent = {"service_id": 1, "start": "2030-01-08T11:00", "user_id": tom.id, "is_hold": True}
    answer = await panel.mara.post("/admin/calendar/book", json=sent)

    row = await panel.fetch_row("bookings", 1)
    assert (answer.json()["visit"]["status_text"], row and row["expires_at"]) == (
        "Hold until 10:10", NOW + timedelta(minutes=10),
    )  # fmt: skip


async def test_the_calendar_precedes_the_bookings_in_the_menu(panel: AdminDesk, haircut: Service) -> None:
    page = (await panel.mara.get("/admin/calendar")).text

    assert page.index('href="https://bookit.test/admin/calendar"') < page.index("/admin/booking/list")
    assert 'aria-current="page"' in page[page.index("/admin/calendar") :][:120]


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("move/1", {"version": 1, "start": "2030-01-08T12:00:00", "override_reason": "a\0b"}),
        ("move/1", {"version": 1, "start": "2030-01-08T12:00:00", "resource_id": 10**30}),
        ("move/1", {"version": 10**30, "start": "2030-01-08T12:00:00"}),
        ("act/1", {"version": 1, "act": "cancel", "reason": "a\0b"}),
        ("book", {"service_id": 10**30, "start": "2030-01-08T12:00:00", "user_id": 1}),
        ("book", {"service_id": 1, "start": "2030-01-08T12:00:00", "user_id": 10**30}),
        (
            "book",
            {"service_id": 1, "start": "2030-01-08T12:00:00", "new_customer": {"name": "a\0b", "email": "a@b.de"}},
        ),
        (
            "book",
            {"service_id": 1, "start": "2030-01-08T12:00:00", "new_customer": {"name": "Nora", "email": "a\0@b.de"}},
        ),
    ],
)
async def test_invalid_text_is_refused(
    path: str, sent: dict[str, Any], panel: AdminDesk, tom: Person, haircut: Service
) -> None:
    booking = await book(panel.database, tom.id, TOMORROW_AT_TEN)
    before = await panel.fetch_row("bookings", booking.id)

    answer = await panel.mara.post(f"/admin/calendar/{path}", json=sent)

    assert answer.status_code in {404, 412, 422}
    assert await panel.fetch_row("bookings", booking.id) == before
