"""Booking, rescheduling, cancelling, deleting: who may, when, and what is refused."""

from bookit.tables import Service
from tests.conftest import TOMORROW_AT_TEN, Person


async def test_a_free_slot_is_booked(tom: Person, haircut: Service) -> None:
    answer = await tom.asks("POST", "/bookings", json={"service_id": haircut.id, "start_time": "2030-01-08T10:00:00Z"})

    assert answer.status_code == 201
    assert answer.json() == {
        "id": 1,
        "user_id": tom.id,
        "service_id": haircut.id,
        "resource_id": 1,
        "start_time": "2030-01-08T10:00:00Z",
        "end_time": "2030-01-08T10:45:00Z",
        "status": "pending",
        "price": 35.0,
        "expires_at": None,
        "created_at": "2030-01-07T09:00:00Z",
        "version": 1,
    }
    assert answer.headers["location"] == "/bookings/1"


async def test_a_taken_slot_is_refused(tom: Person, eve: Person, haircut: Service) -> None:
    wanted = {"service_id": haircut.id, "start_time": TOMORROW_AT_TEN.isoformat()}
    await tom.asks("POST", "/bookings", json=wanted)

    answer = await eve.asks("POST", "/bookings", json=wanted)

    assert answer.status_code == 409
    assert answer.json() == {
        "type": "/problems/slot-taken",
        "title": "Conflict",
        "status": 409,
        "detail": "Booking conflict: time slot is not available",
        "code": "slot-taken",
        "field": "start_time",
    }
