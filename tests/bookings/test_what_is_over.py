"""What has begun is changed by staff only, and what a customer deletes stays with the desk."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from bookit import records
from bookit import refusals as no
from bookit.bookings import undo
from bookit.db.pool import Database
from bookit.policy.permissions import Actor
from bookit.schema.tables import Booking, Service, Status
from tests.support.admin_client import AdminDesk, get_page_text
from tests.support.clock import NOW, Clock
from tests.support.doors import AT_BOTH_DOORS, DoorClient
from tests.support.people import OWNER, Person, read_export
from tests.support.request_helpers import status_and_code

SOON = NOW + timedelta(minutes=10)
# Every way in which a customer could change a booking.
CHANGES: tuple[Mapping[str, Any], ...] = (
    {"status": "cancelled"},
    {"status": "completed"},
    {"start_time": "2030-01-09T10:00:00Z"},
    {"start_time": "2030-01-07T09:11:00Z"},
    {"end_time": "2030-01-07T12:00:00Z"},
    {"resource_id": 99},
    {"hold": False},
    {"status": "cancelled", "start_time": "2030-01-09T10:00:00Z"},
    {"start_time": "2030-01-09T10:00:00Z", "override_reason": "He is a friend."},
)
STARTED = (400, "already-started")
GONE = (404, "missing")


async def book(person: Person, service: Service, **more: Any) -> dict[str, Any]:
    body = {"service_id": service.id, "start_time": SOON.isoformat(), **more}
    answer = await person.request("POST", "/bookings", json=body)
    assert answer.status_code == 201, answer.text
    booking: dict[str, Any] = answer.json()
    return booking


async def set_status(mara: Person, status: str) -> None:
    assert (await mara.request("PATCH", "/bookings/1", json={"status": status})).status_code == 200


async def list_ids(person: Person, **query: str) -> list[int]:
    return [row["id"] for row in (await person.request("GET", "/bookings", params=query)).json()]


# What has begun. At the API only: at the desk there are no customers.


@pytest.mark.parametrize("status", ["pending", "confirmed", "completed", "no_show"])
@pytest.mark.parametrize("cancel_notice", [0, 120])
async def test_a_customer_changes_nothing_that_has_begun(
    tom: Person, mara: Person, haircut: Service, database: Database, clock: Clock, status: str, cancel_notice: int
) -> None:
    booking = await book(tom, haircut)
    if status != "pending":
        await set_status(mara, status)
    await database_change(database, haircut, cancel_notice_minutes=cancel_notice)
    before = (await mara.request("GET", "/bookings/1")).json()
    clock.advance(minutes=10)  # It begins now.

    answers = [await tom.request("PATCH", "/bookings/1", json=body) for body in CHANGES if body != {"status": status}]
    answers += [await tom.request("DELETE", "/bookings/1")]

    assert [status_and_code(answer) for answer in answers] == [STARTED] * len(answers)
    assert answers[-1].json()["detail"] == "This booking has started. Only staff can change it."
    assert (await tom.request("GET", f"/bookings/{booking['id']}")).json() == before


async def database_change(database: Database, service: Service, **values: Any) -> None:
    async with database.transaction(by=OWNER) as session:
        row = await records.lock(session, Service, service.id)
        await records.change(session, row, by=OWNER, now=NOW, **values)


@pytest.mark.parametrize(
    ("method", "more"),
    [
        ("PATCH", {"json": {"status": "cancelled"}}),
        ("PATCH", {"json": {"start_time": "2030-01-09T10:00:00Z"}}),
        ("DELETE", {}),
    ],
)
async def test_a_moment_before_the_start_a_customer_still_may(
    tom: Person, haircut: Service, clock: Clock, method: str, more: Any
) -> None:
    await book(tom, haircut)
    clock.advance(minutes=9, seconds=59.999999)

    answer = await tom.request(method, "/bookings/1", **more)

    assert answer.status_code == (204 if method == "DELETE" else 200)


async def test_a_hold_is_not_accepted_after_its_start(tom: Person, haircut: Service, clock: Clock) -> None:
    await book(tom, haircut, start_time=(NOW + timedelta(minutes=1)).isoformat(), hold=True)
    clock.advance(minutes=1)

    assert status_and_code(await tom.request("PATCH", "/bookings/1", json={"hold": False})) == STARTED


async def test_a_visit_that_is_over_is_reviewed(tom: Person, mara: Person, haircut: Service, clock: Clock) -> None:
    await book(tom, haircut)
    clock.advance(minutes=20)
    await set_status(mara, "completed")

    answer = await tom.request("POST", "/reviews", json={"booking_id": 1, "rating": 5, "comment": "Good."})

    assert answer.status_code == 201


@AT_BOTH_DOORS
async def test_staff_change_what_has_begun(door: DoorClient, mara: Person, haircut: Service, clock: Clock) -> None:
    booking = await door.book(mara, haircut, SOON)
    clock.advance(minutes=20)

    moved = await door.reschedule(booking, start_time=SOON + timedelta(hours=1))
    clock.advance(hours=1)
    cancelled = await door.set_status(moved, Status.CANCELLED)

    assert (cancelled["status"], cancelled["start_time"]) == (Status.CANCELLED, SOON + timedelta(hours=1))
    assert await door.remove(Booking, cancelled, by=mara) is None


async def test_a_cancelled_visit_never_begins(tom: Person, mara: Person, haircut: Service, clock: Clock) -> None:
    await book(tom, haircut)
    await set_status(mara, "cancelled")
    clock.advance(minutes=20)

    moved = await tom.request("PATCH", "/bookings/1", json={"start_time": "2030-01-09T10:00:00Z"})
    deleted = await tom.request("DELETE", "/bookings/1")

    assert (status_and_code(moved), deleted.status_code) == ((400, "no-longer-open"), 204)


# What a customer deletes.


async def test_a_deleted_booking_is_gone_for_its_owner(
    tom: Person, eve: Person, mara: Person, haircut: Service
) -> None:
    booking = await book(tom, haircut)

    assert (await tom.request("DELETE", "/bookings/1", headers={"If-Match": '"1"'})).status_code == 204

    paths = ("/bookings/1", f"/services/{haircut.id}/availability?booking_id=1")
    requests: list[tuple[str, str, dict[str, Any]]] = [
        *(("GET", path, {}) for path in paths),
        *(("PATCH", paths[0], {"json": body}) for body in CHANGES),
        ("PATCH", paths[0], {"json": {"status": "cancelled"}, "headers": {"If-Match": '"1"'}}),
        ("DELETE", paths[0], {}),
        ("DELETE", paths[0], {"headers": {"If-Match": '"1"'}}),
        ("POST", "/reviews", {"json": {"booking_id": 1, "rating": 5, "comment": "Good."}}),
    ]
    answers = [await tom.request(method, path, **more) for method, path, more in requests]
    assert [status_and_code(answer) for answer in answers[:-1]] == [GONE] * (len(answers) - 1)
    assert answers[-1].status_code in {400, 404}
    queries: tuple[dict[str, str], ...] = (
        {},
        {"status": "cancelled"},
        {"from_date": "2030-01-01"},
        {"service_id": "1"},
        {"to_date": "2031-01-01"},
    )
    assert [await list_ids(tom, **query) for query in queries] == [[]] * len(queries)
    assert [await list_ids(mara, **query) for query in queries] == [[1]] * len(queries)
    assert status_and_code(await eve.request("GET", "/bookings/1")) == (403, "not-your-booking")
    seen = (await mara.request("GET", "/bookings/1")).json()
    assert seen == booking | {"status": "cancelled", "version": 2}


async def test_the_desk_keeps_a_deleted_booking(desk: AdminDesk, tom: Person, eve: Person, haircut: Service) -> None:
    await book(tom, haircut)
    await tom.request("DELETE", "/bookings/1")

    page = get_page_text((await desk.mara.get("/admin/booking/details/1")).text)
    listed = await desk.fetch_list_text(desk.mara, "booking")
    history = await desk.database.fetch(
        text("SELECT actor, door, action FROM events WHERE table_name = 'bookings' ORDER BY id")
    )

    assert "Deleted by the customer Mon 07 Jan 2030, 10:00" in page
    assert "Tom (customer) changed it through the API." in page
    assert ("Status: Pending → Cancelled" in page, "Cancelled" in listed) == (True, True)
    assert history[-1] == {"actor": f"user {tom.id}", "door": "api", "action": "changed"}
    assert (await book(eve, haircut))["resource_id"] == 1  # Its slot is free.


@AT_BOTH_DOORS
@pytest.mark.parametrize("status", [Status.PENDING, Status.COMPLETED])
async def test_a_booking_that_staff_bring_back_is_there_again(
    door: DoorClient, tom: Person, haircut: Service, status: Status
) -> None:
    booking = await book(tom, haircut)
    await tom.request("DELETE", "/bookings/1")

    back = await door.set_status(booking, status)

    assert (back["status"], back["deleted_by_customer_at"]) == (status, None)
    assert await list_ids(tom) == [1]


async def test_a_deletion_can_be_undone(tom: Person, haircut: Service, database: Database) -> None:
    await book(tom, haircut)
    await tom.request("DELETE", "/bookings/1")
    last = await undo.last_change(database, 1)
    assert last is not None

    async with database.transaction(by=OWNER) as session:
        row = await undo.undo(session, 1, by=OWNER, now=NOW, event_id=last.event_id)

    assert (last.description, row.status, row.deleted_by_customer_at) == ("cancelled", Status.PENDING, None)
    assert await list_ids(tom) == [1]


@AT_BOTH_DOORS
async def test_staff_delete_a_row_that_its_customer_deleted(door: DoorClient, tom: Person, haircut: Service) -> None:
    booking = await book(tom, haircut)
    await tom.request("DELETE", "/bookings/1")

    assert await door.remove(Booking, booking) is None


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("pending", (204, None)),
        ("confirmed", (204, None)),
        ("cancelled", (204, None)),
        ("completed", (400, "no-longer-open")),
        ("no_show", (400, "no-longer-open")),
    ],
)
async def test_what_deleting_does_by_status(
    tom: Person, mara: Person, haircut: Service, status: str, expected: tuple[int, str | None]
) -> None:
    await book(tom, haircut)
    if status != "pending":
        await set_status(mara, status)

    answer = await tom.request("DELETE", "/bookings/1")

    assert status_and_code(answer) == expected
    assert await list_ids(tom) == ([] if expected[0] == 204 else [1])


@pytest.mark.parametrize("minutes", [0, 9])
async def test_a_hold_is_deleted_whether_it_stands_or_has_expired(
    tom: Person, mara: Person, haircut: Service, database: Database, clock: Clock, minutes: int
) -> None:
    await database_change(database, haircut, cancel_notice_minutes=120)
    await book(tom, haircut, hold=True)
    clock.advance(minutes=minutes)

    answer = await tom.request("DELETE", "/bookings/1")

    seen = (await mara.request("GET", "/bookings/1")).json()
    assert (answer.status_code, seen["status"], seen["expires_at"]) == (204, "cancelled", "2030-01-07T09:10:00Z")


async def test_deleting_takes_as_much_notice_as_cancelling(tom: Person, haircut: Service, database: Database) -> None:
    await database_change(database, haircut, cancel_notice_minutes=11)
    await book(tom, haircut)

    assert status_and_code(await tom.request("DELETE", "/bookings/1")) == (400, "too-late-to-cancel")


async def test_reports_count_it_as_cancelled(tom: Person, ada: Person, haircut: Service) -> None:
    query = {"from_date": "2030-01-07", "to_date": "2030-01-07"}

    async def total() -> Any:
        return (await ada.request("GET", "/reports/visits", params=query)).json()

    await book(tom, haircut)
    await ada.request("PATCH", "/bookings/1", json={"status": "cancelled"})
    when_cancelled = await total()
    await set_status(ada, "confirmed")
    await tom.request("DELETE", "/bookings/1")

    assert await total() == when_cancelled


async def test_personal_data_say_when_it_was_deleted(tom: Person, haircut: Service, database: Database) -> None:
    await book(tom, haircut)
    await tom.request("DELETE", "/bookings/1")

    async with database.transaction(by=OWNER, now=NOW) as session:
        data = await read_export(session, tom.user)

    (booking,) = data["bookings"]
    assert (booking["status"], booking["deleted_at"]) == ("cancelled", "2030-01-07T09:00:00Z")
    assert data["history"][-1]["after"]["Status"] == "cancelled"


async def test_a_page_of_ones_own_bookings_comes_from_the_index(database: Database) -> None:
    statement = """
        EXPLAIN (COSTS off) SELECT * FROM bookings WHERE user_id = 1 AND deleted_by_customer_at IS NULL
         ORDER BY start_time, id LIMIT 21
    """
    async with database.transaction(by=OWNER) as session:
        for other_way in (
            "seqscan",
            "bitmapscan",
            "sort",
        ):  # The table is empty, so the planner has no reason to choose.
            await session.fetch(text(f"SET LOCAL enable_{other_way} = off"))
        plan = "\n".join(str(line) for line in await session.fetch(text(statement)))

    assert ("bookings_by_user" in plan, "Sort" in plan) == (True, False)


async def test_a_customer_deletes_no_booking_of_another(
    tom: Person, eve: Person, haircut: Service, database: Database
) -> None:
    await book(tom, haircut)
    await tom.request("DELETE", "/bookings/1")

    async with database.transaction(by=OWNER) as session:
        row = await records.lock(session, Booking, 1)
    for person, refusal in ((eve, no.NotYourBooking), (tom, no.Missing)):
        with pytest.raises(refusal):
            async with database.transaction(by=OWNER) as session:
                await records.remove(session, row, by=actor_of(person), now=NOW)


def actor_of(person: Person) -> Actor:
    return Actor("api", person.id, person.user.role)
