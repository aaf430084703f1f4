"""Lengthening: staff change the end of a visit; the rules of its time apply and its price stays."""

from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import httpx2
import pytest
from sqlalchemy import text

from bookit import records
from bookit import refusals as no
from bookit.bookings import acts
from bookit.db.pool import Database
from bookit.schema.tables import Booking, CalendarException, OpeningHours, Service, Status
from tests.support import bulk_scenario
from tests.support.admin_client import AdminDesk, get_page_text
from tests.support.bulk_scenario import HALF_HOUR, TEN
from tests.support.claims import fetch_seats
from tests.support.clock import NOW
from tests.support.doors import AT_BOTH_DOORS, DoorClient
from tests.support.people import OWNER, Person
from tests.support.refusal_assertions import RefusalOutcome
from tests.support.request_helpers import status_and_code

LASTS = timedelta(minutes=45)  # A haircut.
END = TEN + LASTS
DAY = timedelta(days=1)


async def set_up(database: Database, table: Any, **facts: Any) -> None:
    async with database.transaction(by=OWNER) as session:
        await records.create(session, table, by=OWNER, now=NOW, **facts)


# At the API and at the desk.


@AT_BOTH_DOORS
@pytest.mark.parametrize("lasts", [LASTS + HALF_HOUR, LASTS - HALF_HOUR, DAY, timedelta(minutes=1)], ids=str)
async def test_staff_change_the_length_and_the_price_stays(
    door: DoorClient, tom: Person, haircut: Service, lasts: timedelta
) -> None:
    await door.change(Service, haircut, setup_minutes=5, cleanup_minutes=10)
    booking = await door.book(tom, haircut, TEN)
    await door.change(Service, {"id": 1, "version": 2}, price=99, cleanup_minutes=0)

    after = await door.reschedule(booking, end_time=TEN + lasts)

    times = {"end_time": TEN + lasts, "blocks_until": TEN + lasts + timedelta(minutes=10)}
    assert after == booking | times | {"version": 2}
    assert after["price"] == Decimal(35)


@AT_BOTH_DOORS
async def test_moving_keeps_the_new_length(door: DoorClient, tom: Person, haircut: Service) -> None:
    longer = await door.reschedule(await door.book(tom, haircut, TEN), end_time=END + HALF_HOUR)

    moved = await door.reschedule(longer, start_time=TEN + DAY)

    assert (moved["start_time"], moved["end_time"]) == (TEN + DAY, END + HALF_HOUR + DAY)


@AT_BOTH_DOORS
async def test_start_and_end_change_together(door: DoorClient, tom: Person, shared: Service) -> None:
    booking = await door.book(tom, shared, TEN, resource_id=1)

    after = await door.reschedule(booking, start_time=TEN - HALF_HOUR, end_time=TEN + 2 * HALF_HOUR, resource_id=2)

    times = {"start_time": TEN - HALF_HOUR, "end_time": TEN + 2 * HALF_HOUR, "blocks_from": TEN - HALF_HOUR}
    assert after == booking | times | {"blocks_until": TEN + 2 * HALF_HOUR, "resource_id": 2, "version": 2}


@AT_BOTH_DOORS
async def test_an_unchanged_end_changes_nothing(door: DoorClient, tom: Person, haircut: Service) -> None:
    booking = await door.book(tom, haircut, TEN)

    assert await door.reschedule(booking, end_time=END) == booking


@AT_BOTH_DOORS
@pytest.mark.parametrize(
    ("end", "why"),
    [
        (TEN, no.EndsBeforeStart),
        (TEN - HALF_HOUR, no.EndsBeforeStart),
        (TEN + 60 * DAY + timedelta(minutes=1), no.LengthOutOfRange),
        (TEN.replace(year=2031), no.LengthOutOfRange),
    ],
)
async def test_an_invalid_end_is_refused(
    door: DoorClient, tom: Person, haircut: Service, end: datetime, why: type[no.Refusal]
) -> None:
    booking = await door.book(tom, haircut, TEN)

    assert await door.reschedule(booking, end_time=end) == RefusalOutcome(why)
    assert await door.fetch_row(Booking, booking["id"]) == booking


@AT_BOTH_DOORS
async def test_an_end_that_overlaps_another_booking_is_refused(
    door: DoorClient, tom: Person, eve: Person, haircut: Service
) -> None:
    booking = await door.book(tom, haircut, TEN)
    await door.book(eve, haircut, TEN + 2 * HALF_HOUR)

    assert await door.reschedule(booking, end_time=TEN + 2 * HALF_HOUR + timedelta(minutes=1)) == RefusalOutcome(
        no.SlotTaken
    )
    assert (await door.reschedule(booking, end_time=TEN + 2 * HALF_HOUR))["end_time"] == TEN + 2 * HALF_HOUR


@AT_BOTH_DOORS
async def test_cleanup_time_follows_the_new_end(door: DoorClient, tom: Person, eve: Person, haircut: Service) -> None:
    await door.change(Service, haircut, cleanup_minutes=15)
    booking = await door.book(tom, haircut, TEN)
    await door.book(eve, haircut, TEN + 3 * HALF_HOUR)

    assert await door.reschedule(booking, end_time=TEN + 3 * HALF_HOUR) == RefusalOutcome(no.SlotTaken)
    assert (await door.reschedule(booking, end_time=TEN + 2.5 * HALF_HOUR))["blocks_until"] == TEN + 3 * HALF_HOUR


@AT_BOTH_DOORS
async def test_hours_and_closures_apply_to_the_new_end_without_a_reason(
    door: DoorClient, tom: Person, haircut: Service
) -> None:
    booking = await door.book(tom, haircut, TEN)
    noon = {"resource_id": 1, "weekday": 2, "opens": time(9), "closes": time(12)}
    await set_up(door.desk.database, OpeningHours, **noon)
    await set_up(door.desk.database, CalendarException, start_time=TEN + 2 * HALF_HOUR, end_time=TEN + 3 * HALF_HOUR)

    assert await door.reschedule(booking, end_time=TEN + 6 * HALF_HOUR) == RefusalOutcome(no.OutsideHours)
    assert await door.reschedule(booking, end_time=TEN + 4 * HALF_HOUR) == RefusalOutcome(no.Closed)
    longer = await door.reschedule(booking, end_time=TEN + 6 * HALF_HOUR, override_reason="She stays late")

    assert longer["end_time"] == TEN + 6 * HALF_HOUR
    (event, *_) = await bulk_scenario.fetch_events(door.desk.database, booking["id"])
    assert (event["reason"], event["new"].keys()) == ("She stays late", {"end_time", "blocks_until"})
    assert (await door.reschedule(longer, end_time=TEN + 5 * HALF_HOUR))["end_time"] == TEN + 5 * HALF_HOUR


@AT_BOTH_DOORS
async def test_the_rules_of_a_start_do_not_apply_to_an_unchanged_start(
    door: DoorClient, tom: Person, haircut: Service
) -> None:
    booking = await door.book(tom, haircut, TEN + timedelta(minutes=1))
    rules: dict[str, Any] = {"min_notice_minutes": 60 * 24 * 30, "horizon_days": 1, "slot_step_minutes": 60}
    await door.change(Service, haircut, **rules)

    assert (await door.reschedule(booking, end_time=END + HALF_HOUR))["end_time"] == END + HALF_HOUR
    assert await door.reschedule(
        {"id": booking["id"], "version": 2}, start_time=TEN + timedelta(minutes=2), end_time=END
    ) == RefusalOutcome(no.TooSoon)


@AT_BOTH_DOORS
async def test_a_longer_visit_takes_another_free_seat(
    door: DoorClient, tom: Person, eve: Person, haircut: Service
) -> None:
    database = door.desk.database
    booking = await door.book(tom, haircut, TEN)
    await door.book(eve, haircut, TEN + 2 * HALF_HOUR)
    await database.fetch(text("UPDATE resources SET capacity = 2"))
    assert await fetch_seats(database, booking) == [1]

    await door.reschedule(booking, end_time=TEN + 2 * HALF_HOUR)
    assert await fetch_seats(database, booking) == [1]
    longer = await door.reschedule({"id": booking["id"], "version": 2}, end_time=TEN + 3 * HALF_HOUR)

    assert (await fetch_seats(database, longer), longer["end_time"]) == ([2], TEN + 3 * HALF_HOUR)


@AT_BOTH_DOORS
async def test_a_booking_changed_meanwhile_is_not_lengthened(door: DoorClient, tom: Person, haircut: Service) -> None:
    seen = await door.book(tom, haircut, TEN)
    await door.set_status(seen, Status.COMPLETED)

    assert await door.reschedule(seen, end_time=END + HALF_HOUR) == RefusalOutcome(no.Stale)


@AT_BOTH_DOORS
@pytest.mark.parametrize("status", [Status.CANCELLED, Status.COMPLETED, Status.NO_SHOW])
async def test_staff_correct_the_length_of_a_past_visit(
    door: DoorClient, tom: Person, haircut: Service, status: Status
) -> None:
    booking = await door.set_status(await door.book(tom, haircut, TEN), status)

    after = await door.reschedule(booking, end_time=END + HALF_HOUR)

    assert (after["end_time"], after["status"]) == (END + HALF_HOUR, status)


@AT_BOTH_DOORS
async def test_a_visit_in_progress_is_lengthened(door: DoorClient, tom: Person, haircut: Service) -> None:
    async with door.desk.database.transaction(by=OWNER) as session:
        facts: dict[str, Any] = {"user_id": tom.id, "service_id": haircut.id, "start_time": NOW - HALF_HOUR}
        booking = await records.create(session, Booking, by=OWNER, now=NOW, **facts)

    after = await door.reschedule(booking, end_time=NOW + 2 * HALF_HOUR)

    assert (after["start_time"], after["end_time"]) == (NOW - HALF_HOUR, NOW + 2 * HALF_HOUR)


@AT_BOTH_DOORS
async def test_a_visit_is_lengthened_across_a_clock_change(door: DoorClient, tom: Person, haircut: Service) -> None:
    """In Berlin 27 October 2030 has 25 hours, so 60 days from noon to noon last an hour longer."""
    before = datetime(2030, 10, 26, 22, 30, tzinfo=UTC)  # half past midnight there
    booking = await door.book(tom, haircut, before)

    longer = await door.reschedule(booking, end_time=datetime(2030, 10, 27, 3, 0, tzinfo=UTC))

    assert longer["end_time"] - longer["start_time"] == timedelta(hours=4, minutes=30)
    noon = await door.book(tom, haircut, datetime(2030, 10, 26, 10, 0, tzinfo=UTC))
    assert await door.reschedule(noon, end_time=datetime(2030, 12, 25, 10, 1, tzinfo=UTC)) == RefusalOutcome(
        no.LengthOutOfRange
    )


# At the API only: customers, and an end that is left out, which a form cannot send.


async def patch(person: Person, booking_id: int, **times: datetime) -> httpx2.Response:
    sent = {name: moment.isoformat() for name, moment in times.items()}
    return await person.request("PATCH", f"/bookings/{booking_id}", json=sent)


@pytest.fixture
async def booking_id(tom: Person, haircut: Service) -> int:
    """Create Tom's haircut at ten and return its id."""
    body = {"service_id": haircut.id, "start_time": TEN.isoformat()}
    return int((await tom.request("POST", "/bookings", json=body)).json()["id"])


@pytest.mark.parametrize("end", [END + HALF_HOUR, END - HALF_HOUR, TEN, TEN + 9 * DAY])
async def test_a_customer_may_not_change_the_length(tom: Person, booking_id: int, end: datetime) -> None:
    answer = await patch(tom, booking_id, end_time=end)

    assert status_and_code(answer) == (403, "only-staff-lengthen")
    assert (answer.json()["field"], answer.json()["detail"]) == ("end_time", no.OnlyStaffLengthen.__doc__)
    assert status_and_code(await patch(tom, booking_id, start_time=TEN + HALF_HOUR, end_time=END)) == (
        403,
        "only-staff-lengthen",
    )
    assert (await tom.request("GET", f"/bookings/{booking_id}")).json()["version"] == 1


async def test_a_customer_may_send_the_end_that_a_move_implies(tom: Person, booking_id: int) -> None:
    answer = await patch(tom, booking_id, start_time=TEN + HALF_HOUR, end_time=END + HALF_HOUR)

    assert (answer.status_code, answer.json()["end_time"]) == (200, "2030-01-08T11:15:00Z")


async def test_another_customers_booking_is_not_lengthened(eve: Person, booking_id: int) -> None:
    assert status_and_code(await patch(eve, booking_id, end_time=END + HALF_HOUR)) == (403, "not-your-booking")


async def test_an_end_sent_with_a_new_start_is_used_even_if_unchanged(mara: Person, booking_id: int) -> None:
    answer = await patch(mara, booking_id, start_time=TEN + HALF_HOUR, end_time=END)

    assert (answer.json()["start_time"], answer.json()["end_time"]) == ("2030-01-08T10:30:00Z", "2030-01-08T10:45:00Z")


async def test_the_returned_version_is_the_current_one(
    mara: Person, eve: Person, booking_id: int, database: Database
) -> None:
    """A visit that had to take another seat was changed once: a seat is no part of the booking."""
    await database.fetch(text("UPDATE resources SET capacity = 2"))
    behind = {"service_id": 1, "start_time": END.isoformat()}
    await eve.request("POST", "/bookings", json=behind)

    answer = await patch(mara, booking_id, end_time=END + HALF_HOUR)

    rows = await bulk_scenario.fetch_bookings(database)
    assert (await fetch_seats(database, rows[booking_id]), rows[booking_id]["version"]) == ([2], 2)
    assert (answer.json()["version"], answer.headers["ETag"]) == (2, '"2"')


async def test_a_refused_lengthening_offers_slots_of_the_new_length(mara: Person, eve: Person, booking_id: int) -> None:
    later = {"service_id": 1, "start_time": (TEN + 2 * HALF_HOUR).isoformat()}
    await eve.request("POST", "/bookings", json=later)

    answer = await patch(mara, booking_id, end_time=TEN + 3 * HALF_HOUR)

    assert status_and_code(answer) == (409, "slot-taken")
    first = answer.json()["next_free"][0]
    assert (first["start_time"], first["end_time"]) == ("2030-01-08T12:00:00Z", "2030-01-08T13:30:00Z")


# At the desk.


async def test_the_form_suggests_slots_of_the_new_length(desk: AdminDesk, eve: Person, booking_id: int) -> None:
    later = {"service_id": 1, "start_time": (TEN + 2 * HALF_HOUR).isoformat()}
    await eve.request("POST", "/bookings", json=later)
    form = {"resource": "1", "start_time": "2030-01-08T11:00", "end_time": "2030-01-08T12:30", "version": "1"}

    answer = await desk.mara.post("/admin/booking/edit/1", data=form)

    assert answer.status_code == 409
    assert "Next free: Tue 08 Jan, 13:00; " in get_page_text(answer.text)


async def test_history_shows_a_new_end_and_of_a_move_only_the_start(
    desk: AdminDesk, mara: Person, booking_id: int
) -> None:
    await patch(mara, booking_id, end_time=END + HALF_HOUR)
    page = get_page_text((await desk.mara.get("/admin/booking/details/1")).text)
    assert "End: Tue 08 Jan 2030, 11:45 → Tue 08 Jan 2030, 12:15" in page
    assert "Blocked until" not in page.split("History")[-1].split("created it")[0]

    await patch(mara, booking_id, start_time=TEN + DAY)
    page = get_page_text((await desk.mara.get("/admin/booking/details/1")).text)
    assert "Start: Tue 08 Jan 2030, 11:00 → Wed 09 Jan 2030, 11:00" in page
    assert page.count(" → Wed 09 Jan") == 1


# The rule itself.


async def test_the_rule_applies_below_api_and_desk(database: Database, tom: Person, haircut: Service) -> None:
    """The rule applies to every caller, also a console or a job."""
    async with database.transaction(by=OWNER) as session:
        facts: dict[str, Any] = {"user_id": tom.id, "service_id": 1, "start_time": TEN}
        booking = await records.create(session, Booking, by=OWNER, now=NOW, **facts)
        with pytest.raises(no.LengthOutOfRange):
            await acts.reschedule(session, booking, by=OWNER, now=NOW, end_time=TEN + 61 * DAY)
