"""Holds: a slot is reserved for some minutes and then free again, without a background job."""

from typing import Any
from unittest.mock import ANY

import pytest
from sqlalchemy import BigInteger, bindparam
from sqlmodel import col, select

from bookit import cleanup
from bookit.db.pool import Database
from bookit.schema.tables import Booking, Event, Resource, Service, Status
from bookit.settings import Settings
from tests.support.clock import Clock
from tests.support.opening_hours import add_opening_hours, change_row, create_booking, create_service
from tests.support.people import Person
from tests.support.request_helpers import status_and_code

TEN = "2030-01-08T10:00:00Z"
NINE = "2030-01-08T09:00:00Z"
SOON = "2030-01-07T09:10:00Z"  # When a hold created at NOW expires.
OF_BOOKING = (
    select(Event)
    .where(Event.table_name == "bookings", col(Event.row_id) == bindparam("id", type_=BigInteger))
    .order_by(col(Event.id))
)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Return settings whose access tokens outlast these tests, during which a day passes."""
    return settings.model_copy(update={"access_token_expire_minutes": 3 * 24 * 60})


@pytest.fixture
async def massage(database: Database) -> Service:
    """Create a massage of an hour by one person, from nine to noon."""
    service = await create_service(database, {"name": "Lea"})
    await add_opening_hours(database, 1, "09:00-12:00")
    return service


async def hold_slot(person: Person, start: str = TEN, **more: Any) -> dict[str, Any]:
    return await create_booking(person, start, hold=True, **more)


async def patch(person: Person, booking: dict[str, Any], **change: Any) -> tuple[int, Any]:
    """Change a booking; return the response status, and the booking's status or the code of the refusal."""
    answer = await person.request("PATCH", f"/bookings/{booking['id']}", json=change)
    return status_and_code(answer) if answer.is_error else (answer.status_code, answer.json())


async def try_to_book(person: Person, start: str = TEN, **more: Any) -> tuple[int, str | None]:
    answer = await person.request("POST", "/bookings", json={"service_id": 1, "start_time": start, **more})
    return status_and_code(answer)


async def fetch_history(database: Database, booking: dict[str, Any]) -> list[tuple[Any, ...]]:
    rows = await database.fetch(OF_BOOKING, id=booking["id"])
    return [tuple(row[name] for name in ("actor", "door", "action", "new", "reason")) for row in rows[1:]]


async def test_a_hold_is_a_pending_booking_that_expires(tom: Person, massage: Service) -> None:
    mine = await hold_slot(tom)

    assert (mine["status"], mine["start_time"], mine["expires_at"]) == ("pending", TEN, SOON)
    assert (await tom.request("GET", "/bookings")).json() == [mine]


async def test_the_business_sets_how_long_a_hold_lasts(settings: Settings, tom: Person, massage: Service) -> None:
    business = settings.model_copy(update={"hold_minutes": 3})

    assert (settings.hold_minutes, Database.from_settings(settings).hold_duration.seconds) == (10, 600)
    assert Database.from_settings(business).hold_duration.seconds == 180


async def test_a_live_hold_blocks_its_slot(
    tom: Person, eve: Person, mara: Person, clock: Clock, massage: Service
) -> None:
    await hold_slot(tom)
    clock.advance(minutes=9, seconds=59)

    answers = [
        await try_to_book(eve),
        await try_to_book(eve, hold=True),
        await try_to_book(tom),
        await try_to_book(mara, override_reason="A friend."),
    ]

    assert answers == [(409, "slot-taken")] * 4


async def test_its_owner_turns_a_live_hold_into_a_booking(
    tom: Person, eve: Person, clock: Clock, massage: Service
) -> None:
    mine = await hold_slot(tom)
    clock.advance(minutes=9, seconds=59)

    decided = await patch(tom, mine, hold=False)
    clock.advance(hours=1)

    assert decided == (200, mine | {"expires_at": None, "version": 2})
    assert await try_to_book(eve) == (409, "slot-taken")


async def test_an_ordinary_booking_is_not_a_hold(tom: Person, massage: Service) -> None:
    mine = await create_booking(tom, TEN)

    assert await patch(tom, mine, hold=False) == (200, mine)


async def test_a_booking_does_not_become_a_hold(tom: Person, massage: Service) -> None:
    mine = await create_booking(tom, TEN)

    assert await patch(tom, mine, hold=True) == (422, "wrong-shape")


@pytest.mark.parametrize("minutes", [10, 11, 600])
async def test_an_expired_hold_can_only_be_cancelled(
    minutes: int, tom: Person, mara: Person, clock: Clock, massage: Service
) -> None:
    mine = await hold_slot(tom)
    clock.advance(minutes=minutes)

    decided = await patch(tom, mine, hold=False)
    by_staff = await patch(mara, mine, hold=False)
    moved = await patch(tom, mine, start_time=NINE)
    deleted = await tom.request("DELETE", f"/bookings/{mine['id']}")

    assert (decided, by_staff, moved) == ((409, "hold-expired"),) * 3
    assert deleted.status_code == 204


async def test_an_expired_hold_blocks_nothing_without_a_job(
    tom: Person, eve: Person, clock: Clock, database: Database, massage: Service
) -> None:
    mine = await hold_slot(tom)
    clock.advance(minutes=10)

    eves = await create_booking(eve, TEN)

    assert (eves["resource_id"], eves["status"], eves["expires_at"]) == (1, "pending", None)
    assert await patch(tom, mine, hold=False) == (400, "no-longer-open")
    gone = (await tom.request("GET", f"/bookings/{mine['id']}")).json()
    assert gone == mine | {"status": "cancelled", "version": 2}
    assert await fetch_history(database, mine) == [
        ("nobody", "clock", "changed", {"status": "cancelled"}, "The hold expired.")
    ]
    assert await fetch_history(database, eves) == []


async def test_a_moved_booking_takes_the_slot_of_an_expired_hold(
    tom: Person, eve: Person, clock: Clock, database: Database, massage: Service
) -> None:
    mine = await hold_slot(tom)
    eves = await create_booking(eve, NINE)
    clock.advance(minutes=10)

    moved = await patch(eve, eves, start_time="2030-01-08T10:30:00Z")

    assert (moved[0], moved[1]["start_time"]) == (200, "2030-01-08T10:30:00Z")
    assert [event[:2] for event in await fetch_history(database, eves)] == [(f"user {eve.id}", "api")]
    assert await fetch_history(database, mine) == [
        ("nobody", "clock", "changed", {"status": "cancelled"}, "The hold expired.")
    ]


async def test_a_booking_reopens_over_an_expired_hold_and_not_a_live_one(
    tom: Person, eve: Person, mara: Person, clock: Clock, massage: Service
) -> None:
    eves = await create_booking(eve, TEN)
    await patch(eve, eves, status="cancelled")
    await hold_slot(tom)

    while_it_lives = await patch(mara, eves, status="confirmed")
    clock.advance(minutes=10)
    after = await patch(mara, eves, status="confirmed")

    assert while_it_lives == (409, "slot-taken")
    assert (after[0], after[1]["status"]) == (200, "confirmed")


async def test_one_booking_replaces_several_expired_holds(
    tom: Person, eve: Person, clock: Clock, database: Database, massage: Service
) -> None:
    await change_row(database, Service, 1, duration_minutes=30)
    holds = [await hold_slot(tom, start) for start in (TEN, "2030-01-08T10:30:00Z")]
    await change_row(database, Service, 1, duration_minutes=60)
    clock.advance(minutes=10)

    await create_booking(eve, TEN)

    statuses = [(await tom.request("GET", f"/bookings/{hold['id']}")).json()["status"] for hold in holds]
    assert statuses == ["cancelled", "cancelled"]


async def test_a_hold_that_expires_later_is_unchanged(
    tom: Person, eve: Person, mara: Person, clock: Clock, database: Database, massage: Service
) -> None:
    await change_row(database, Resource, 1, capacity=2)
    first = await hold_slot(tom)
    clock.advance(minutes=5)
    second = await hold_slot(mara)
    clock.advance(minutes=5)

    await create_booking(eve, TEN)

    statuses = [(await mara.request("GET", f"/bookings/{hold['id']}")).json()["status"] for hold in (first, second)]
    assert statuses == ["cancelled", "pending"]
    assert await try_to_book(eve) == (409, "slot-taken")


@pytest.mark.parametrize("ends", ["runs out", "is cancelled", "is deleted"])
async def test_a_time_is_held_again_only_after_an_hour(
    tom: Person, eve: Person, clock: Clock, massage: Service, ends: str
) -> None:
    """However the hold ends: otherwise one customer could keep a time for ever. Others can hold it, and he can book."""
    first = await hold_slot(tom)
    if ends == "is cancelled":
        assert await patch(tom, first, status="cancelled") == (200, ANY)
    elif ends == "is deleted":
        assert (await tom.request("DELETE", f"/bookings/{first['id']}")).status_code == 204
    clock.advance(minutes=10)

    assert await try_to_book(tom, hold=True) == (409, "hold-ran-out")
    assert await try_to_book(tom, "2030-01-08T10:30:00Z", hold=True) == (409, "hold-ran-out")
    others = await hold_slot(eve)
    await eve.request("DELETE", f"/bookings/{others['id']}")
    clock.advance(minutes=59)
    assert await try_to_book(tom, hold=True) == (409, "hold-ran-out")
    clock.advance(minutes=1)

    assert (await hold_slot(tom))["expires_at"] == "2030-01-07T10:20:00Z"


async def test_a_time_that_was_held_can_be_booked(tom: Person, clock: Clock, massage: Service) -> None:
    await hold_slot(tom)
    clock.advance(minutes=10)

    assert (await create_booking(tom, TEN))["expires_at"] is None


async def test_a_hold_confirmed_by_staff_no_longer_expires(
    tom: Person, eve: Person, mara: Person, clock: Clock, massage: Service
) -> None:
    mine = await hold_slot(tom)

    confirmed = await patch(mara, mine, status="confirmed")
    clock.advance(hours=1)

    assert confirmed == (200, mine | {"status": "confirmed", "expires_at": None, "version": 2})
    assert await try_to_book(eve) == (409, "slot-taken")


async def test_staff_confirm_an_expired_hold_whose_time_is_free(
    tom: Person, eve: Person, mara: Person, clock: Clock, massage: Service
) -> None:
    mine = await hold_slot(tom)
    clock.advance(minutes=10)

    confirmed = await patch(mara, mine, status="confirmed")

    assert (confirmed[0], confirmed[1]["status"]) == (200, "confirmed")
    assert await try_to_book(eve) == (409, "slot-taken")


async def test_its_owner_cancels_a_hold_at_any_time(
    tom: Person, eve: Person, clock: Clock, database: Database, massage: Service
) -> None:
    await change_row(database, Service, 1, cancel_notice_minutes=7 * 24 * 60)
    first, second = await hold_slot(tom), await hold_slot(tom, NINE)

    cancelled = await patch(tom, first, status="cancelled")
    deleted = await tom.request("DELETE", f"/bookings/{second['id']}")

    assert (cancelled[0], cancelled[1]["status"], deleted.status_code) == (200, "cancelled", 204)
    assert await try_to_book(eve) == (201, None)


async def test_a_moved_hold_stays_a_hold(tom: Person, eve: Person, clock: Clock, massage: Service) -> None:
    mine = await hold_slot(tom)

    moved = await patch(tom, mine, start_time=NINE)
    clock.advance(minutes=10)

    assert moved == (
        200,
        mine | {"start_time": NINE, "end_time": TEN, "version": 2},
    )
    assert [await try_to_book(eve, start) for start in (NINE, TEN)] == [(201, None)] * 2


async def test_a_hold_is_moved_and_accepted_in_one_request(
    tom: Person, eve: Person, clock: Clock, massage: Service
) -> None:
    mine = await hold_slot(tom)

    moved = await patch(tom, mine, start_time=NINE, hold=False)
    clock.advance(minutes=10)

    assert (moved[1]["start_time"], moved[1]["expires_at"]) == (NINE, None)
    assert await try_to_book(eve, NINE) == (409, "slot-taken")


@pytest.mark.parametrize("change", [{"hold": False}, {"start_time": NINE}, {"status": "cancelled"}])
async def test_another_customers_hold_is_forbidden(
    change: dict[str, Any], tom: Person, eve: Person, massage: Service
) -> None:
    mine = await hold_slot(tom)

    assert await patch(eve, mine, **change) == (403, "not-your-booking")
    assert (await tom.request("GET", f"/bookings/{mine['id']}")).json() == mine


@pytest.mark.parametrize("status", [Status.CANCELLED, Status.COMPLETED])
async def test_a_closed_booking_cannot_be_accepted(
    status: Status, tom: Person, database: Database, massage: Service
) -> None:
    mine = await hold_slot(tom)
    await change_row(database, Booking, mine["id"], status=status)

    assert await patch(tom, mine, hold=False) == (400, "no-longer-open")


async def test_cleanup_cancels_expired_holds_and_records_it(
    tom: Person, clock: Clock, database: Database, massage: Service
) -> None:
    over = await hold_slot(tom)
    clock.advance(minutes=5)
    living, ordinary = await hold_slot(tom, NINE), await create_booking(tom, "2030-01-08T11:00:00Z")
    clock.advance(minutes=5)

    for _ in range(2):
        await cleanup.clean_up(database, now=clock())

    bookings = (await tom.request("GET", "/bookings")).json()
    assert bookings == [living, over | {"status": "cancelled", "version": 2}, ordinary]
    cancelled = ("nobody", "worker", "changed", {"status": "cancelled"}, "The hold expired.")
    assert await fetch_history(database, over) == [cancelled]


@pytest.mark.parametrize("hold", ["true", 1, "yes", None])
async def test_hold_must_be_a_boolean(hold: Any, tom: Person, massage: Service) -> None:
    assert await try_to_book(tom, hold=hold) == (422, "wrong-shape")
