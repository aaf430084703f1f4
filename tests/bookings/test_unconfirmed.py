"""A booking of somebody who has never come waits for a confirmation, and not for ever."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from bookit import cleanup
from bookit.db.pool import Database
from bookit.policy.limits import BookingLimits
from bookit.schema.tables import Booking, Service, Status
from tests.support.clock import Clock
from tests.support.opening_hours import change_row, create_booking, create_service
from tests.support.people import Person

IN_A_MONTH = "2030-02-07T10:00:00Z"
ALREADY_THERE = "2030-02-08T10:00:00Z"
REASONS = text("SELECT door, reason FROM events WHERE table_name = 'bookings' AND row_id = :id ORDER BY id")
HOURS = BookingLimits().unconfirmed_for // timedelta(hours=1)


@pytest.fixture
async def massage(database: Database) -> Service:
    """Create an hour that is always open."""
    return await create_service(database, {"name": "Lea"})


async def status_after(database: Database, clock: Clock, booking: dict[str, Any], **time: float) -> str:
    clock.advance(**time)
    await cleanup.clean_up(database, now=clock())
    stored = await database.get(Booking, booking["id"])
    assert stored is not None
    return str(stored.status)


async def test_nobody_confirms_it_and_it_ends(tom: Person, clock: Clock, database: Database, massage: Service) -> None:
    booking = await create_booking(tom, IN_A_MONTH)

    before = await status_after(database, clock, booking, hours=HOURS, minutes=-1)
    after = await status_after(database, clock, booking, minutes=1)

    assert (before, after) == ("pending", "cancelled")
    events = await database.fetch(REASONS, id=booking["id"])
    assert [(event["door"], event["reason"]) for event in events[1:]] == [("worker", "Nobody confirmed it in time.")]


@pytest.mark.parametrize("status", [Status.CONFIRMED, Status.COMPLETED])
async def test_who_is_known_need_not_be_confirmed(
    tom: Person, clock: Clock, database: Database, massage: Service, status: Status
) -> None:
    known, booking = await create_booking(tom, ALREADY_THERE), await create_booking(tom, IN_A_MONTH)
    await change_row(database, Booking, known["id"], status=status)

    assert await status_after(database, clock, booking, hours=HOURS) == "pending"


async def test_what_staff_have_touched_stays(
    tom: Person, mara: Person, clock: Clock, database: Database, massage: Service
) -> None:
    """Staff have cancelled it by mistake and reopened it."""
    booking = await create_booking(tom, IN_A_MONTH)
    for status in ("cancelled", "pending"):
        await mara.request("PATCH", f"/bookings/{booking['id']}", json={"status": status})

    assert await status_after(database, clock, booking, hours=HOURS) == "pending"


async def test_a_visit_that_is_over_stays_as_it_is(
    tom: Person, clock: Clock, database: Database, massage: Service
) -> None:
    """The desk has to say whether they came."""
    booking = await create_booking(tom, "2030-01-08T10:00:00Z")

    assert await status_after(database, clock, booking, hours=HOURS) == "pending"


async def test_a_business_can_wait_for_ever(
    tom: Person, clock: Clock, database: Database, massage: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CONFIRM_WITHIN_HOURS=0."""
    monkeypatch.setattr(database, "booking_limits", BookingLimits(unconfirmed_for=timedelta()))
    booking = await create_booking(tom, IN_A_MONTH)

    assert await status_after(database, clock, booking, days=20) == "pending"
