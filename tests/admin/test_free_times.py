"""The free times that the booking dialog offers, and what it says if there are none."""

from datetime import UTC, datetime, time
from typing import Any

import httpx2
import psycopg
import pytest
from sqlalchemy import text

from admin.framework.session_cookie import SECURE_NAME
from bookit import records
from bookit import refusals as no
from bookit.policy.permissions import Actor
from bookit.schema.tables import Booking, CalendarException, OpeningHours, Resource, Role, Service, User, from_row
from tests.support.admin_client import AdminDesk
from tests.support.clock import NOW
from tests.support.people import OWNER, Person
from tests.support.sign_ins import make_cookie

TUESDAY = {"service_id": "1", "day": "2030-01-08"}  # The business is in Berlin, and it is Monday, ten o'clock.


@pytest.fixture
async def panel(desk: AdminDesk) -> AdminDesk:
    """Lea and Max cut hair from 10 to 13 on Tuesdays. Customers book by the hour, two days ahead."""
    async with desk.database.transaction(by=OWNER, now=NOW) as session:
        how: dict[str, Any] = {"by": OWNER, "now": NOW}
        ids = []
        for name in ("Lea", "Max"):
            resource = await records.create(session, Resource, name=name, timezone="Europe/Berlin", **how)
            hours: dict[str, Any] = {"weekday": 2, "opens": time(10), "closes": time(13)}
            await records.create(session, OpeningHours, resource_id=resource.id, **hours, **how)
            ids.append(resource.id)
        facts: dict[str, Any] = {
            "title": "Haircut",
            "price": 35,
            "min_notice_minutes": 2880,
            "slot_step_minutes": 60,
            "duration_minutes": 60,
            "resource_ids": ids,
        }
        await records.create(session, Service, **facts, **how)
    return desk


async def ask(client: httpx2.AsyncClient, page: str = "free-times", **query: str) -> tuple[int, dict[str, Any]]:
    answer = await client.get(f"/admin/calendar/{page}", params=TUESDAY | query)
    return answer.status_code, answer.json() if "json" in answer.headers["content-type"] else {}


async def resource_id(desk: AdminDesk, name: str) -> int:
    rows = await desk.database.fetch(text("SELECT id FROM resources WHERE name = :name"), name=name)
    return int(rows[0]["id"])


async def book_at(desk: AdminDesk, clock: str, user: int, **sent: Any) -> dict[str, Any]:
    body = {"service_id": 1, "start": f"2030-01-08T{clock}", "user_id": user, **sent}
    return dict((await desk.mara.post("/admin/calendar/book", json=body)).json())


async def test_the_times_of_a_day_name_who_is_free(panel: AdminDesk, tom: Person) -> None:
    lea = await resource_id(panel, "Lea")
    await book_at(panel, "10:00", tom.user.id, resource_id=lea)

    status, answer = await ask(panel.mara)

    shown = [(slot["time"], slot["resource"]) for slot in answer["slots"]]
    assert (status, shown) == (200, [("10:00", "Max"), ("11:00", "Lea"), ("12:00", "Lea")])
    assert answer["slots"][0]["start"] == "2030-01-08T10:00:00"
    assert answer["slots"][0]["resources"] == {"1": await resource_id(panel, "Max")}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"part": "morning"}, ["10:00", "11:00"]),
        ({"part": "afternoon"}, ["12:00"]),
        ({"part": "evening"}, []),
        ({"day": "2030-01-09"}, []),
        ({"day": "2030-01-07"}, []),
        ({"seats": "2"}, []),
    ],
)
async def test_a_part_of_a_day_and_a_party_leave_times_out(
    panel: AdminDesk, query: dict[str, str], expected: list[str]
) -> None:
    _, answer = await ask(panel.mara, **query)

    assert [slot["time"] for slot in answer["slots"]] == expected


async def test_each_time_that_is_offered_can_be_booked(panel: AdminDesk, tom: Person) -> None:
    _, answer = await ask(panel.mara)
    for slot in answer["slots"]:
        sent = {"service_id": 1, "start": slot["start"], "resources": slot["resources"], "user_id": tom.user.id}

        booked = await panel.mara.post("/admin/calendar/book", json=sent)

        assert booked.status_code == 200, slot
        assert booked.json()["visit"]["resource"] == slot["resource"]


async def test_rules_for_customers_only_warn_the_desk(panel: AdminDesk, tom: Person) -> None:
    on_time = await book_at(panel, "11:00", tom.user.id)
    between = await book_at(panel, "10:07", tom.user.id, overlap=True)
    closed = await book_at(panel, "18:00", tom.user.id)

    soon = "Customers are told: Please book at least 2 days in advance."
    assert (on_time["warning"], on_time["visit"]["status"]) == (soon, "confirmed")
    assert between["warning"] == f"{soon} Start times are every hour from opening time. Choose one of those."
    assert (closed["message"], closed["may_override"]) == ("This time is outside opening hours.", True)
    assert [slot["text"] for slot in closed["next_free"]] == ["Tue 15 Jan 2030, 10:00", "Tue 15 Jan 2030, 11:00",
                                                              "Tue 15 Jan 2030, 12:00"]  # fmt: skip


async def test_customers_keep_the_rules_for_customers(panel: AdminDesk, tom: Person) -> None:
    facts: dict[str, Any] = {"service_id": 1, "start_time": datetime(2030, 1, 8, 9, tzinfo=UTC)}
    by = Actor("api", tom.user.id, Role.USER)
    async with panel.database.transaction(by=OWNER, now=NOW) as session:
        with pytest.raises(no.TooSoon):
            await records.create(session, Booking, by=by, now=NOW, **facts)
        with pytest.raises(no.OnlyStaffOverride):
            await records.create(session, Booking, by=by, now=NOW, **facts, for_desk=True)


async def test_it_says_why_nobody_is_free(panel: AdminDesk, tom: Person) -> None:
    lea, max_id = await resource_id(panel, "Lea"), await resource_id(panel, "Max")
    for clock in ("10:00", "11:00", "12:00"):
        await book_at(panel, clock, tom.user.id, resource_id=lea, overlap=True)
    async with panel.database.transaction(by=OWNER, now=NOW) as session:
        closure: dict[str, Any] = {
            "resource_id": max_id, "start_time": datetime(2030, 1, 8, tzinfo=UTC),
            "end_time": datetime(2030, 1, 9, tzinfo=UTC), "timezone": None, "reason": "Ill",
        }  # fmt: skip
        await records.create(session, CalendarException, by=OWNER, now=NOW, **closure)

    _, answer = await ask(panel.mara, "why-none")
    _, of_lea = await ask(panel.mara, "why-none", resource_id=str(lea), part="morning")
    _, past = await ask(panel.mara, "why-none", day="2030-01-06")

    assert answer["reasons"] == [
        "Lea: not working, then booked, then not working.",
        "Max: not working, then away, then not working.",
    ]
    assert of_lea["reasons"] == ["Lea: not working, then booked."]
    assert past["reasons"] == ["Lea: already over.", "Max: already over."]


async def test_a_service_that_nobody_serves_says_so(panel: AdminDesk) -> None:
    await panel.database.fetch(text("UPDATE resources SET is_active = false"))

    assert (await ask(panel.mara))[1]["slots"] == []
    assert (await ask(panel.mara, "why-none"))[1]["reasons"] == ["Nobody is set up for this service."]


@pytest.mark.parametrize("page", ["free-times", "why-none"])
@pytest.mark.parametrize(
    "query",
    [{"day": "tomorrow"}, {"day": "9999-12-31"}, {"day": "0001-01-01"}, {"service_id": "9" * 30}, {"part": "noon"},
     {"seats": "0"}, {"seats": "101"}, {"position": "6"}, {"resource_id": "-1"}, {"more": "1"}],
)  # fmt: skip
async def test_what_the_dialog_does_not_send_is_refused(panel: AdminDesk, page: str, query: dict[str, str]) -> None:
    assert (await ask(panel.mara, page, **query))[0] == 422


@pytest.mark.parametrize("page", ["free-times", "why-none"])
async def test_who_books_nobody_in_sees_no_times(
    panel: AdminDesk, mara: Person, superuser: psycopg.Connection, page: str
) -> None:
    statement = "UPDATE users SET role = 'own_calendar', resource_id = :resource_id WHERE id = :id RETURNING *"
    rows = await panel.database.fetch(text(statement), resource_id=await resource_id(panel, "Lea"), id=mara.id)
    cookie = make_cookie(superuser, from_row(User, rows[0]), panel.app.state.settings, now=NOW)
    panel.mara.cookies.set(SECURE_NAME, cookie, domain="bookit.test", path="/admin")

    assert [(await ask(client, page))[0] for client in (panel.mara, panel.visitor)] == [403, 401]
