"""Invalid times: each is refused in a sentence and nothing is written. Valid times: how they are interpreted."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from bookit.db.pool import Database
from bookit.schema.tables import Service
from bookit.settings import Settings
from tests.support.applications import SharedApplications
from tests.support.clock import Clock
from tests.support.people import Person
from tests.support.request_helpers import request_refusal, request_with_field
from tests.support.sign_ins import token_of

ENDPOINTS = ["POST /bookings", "PATCH /bookings/1"]
INVALID_TIMES: list[Any] = [
    1, 1.5, 1893492000, True, [], {}, "", "1893492000", "tomorrow", "2030-01-08", "2030-01-08T10", "20300108T100000Z",
    "2030-02-30T10:00:00Z", "2030-13-01T10:00:00Z", "2030-01-08T24:00:00Z", "2030-01-08T10:60:00Z",
    "2030-W02-2T10:00:00Z", "2030-06-30T23:59:60Z", "0000-01-01T00:00:00Z", "10000-01-01T00:00:00Z",
    "-2030-01-08T10:00:00Z", "2030-01-08T10:00:001", "2030-01-08T10:00:00+24:00", "2030-01-08T10:00:00+02",
    "2030-01-08T10:00:00 UTC", "2030-01-08T10:00:00Z\n", "\uff12030-01-08T10:00:00Z", "2030-01-08T10:00:00Z\0",
]  # fmt: skip
TIMES_OUT_OF_RANGE = [
    "0001-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59", "0001-01-01T00:00:00", "1999-12-31T23:59:59Z",
    "3000-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "9999-12-31T23:59:59-23:59", "9999-12-31T23:59:59",
]  # fmt: skip


async def test_a_time_must_follow_rfc_3339(ada: Person, database: Database) -> None:
    answers = {
        (where, repr(time)): await request_with_field(database, ada, where, "start_time", json.dumps(time))
        for where in ENDPOINTS
        for time in INVALID_TIMES
    }

    assert answers == dict.fromkeys(answers, (422, "wrong-shape", "start_time"))


async def test_a_booking_requires_a_start(ada: Person, database: Database) -> None:
    answer = await request_with_field(database, ada, "POST /bookings", "start_time", "null")

    assert answer == (422, "wrong-shape", "start_time")


async def test_a_time_must_lie_within_the_calendar(ada: Person, database: Database) -> None:
    answers = {
        (where, time): await request_with_field(database, ada, where, "start_time", json.dumps(time))
        for where in ENDPOINTS
        for time in TIMES_OUT_OF_RANGE
    }

    assert answers == dict.fromkeys(answers, (400, "outside-the-calendar", "start_time"))


@pytest.mark.parametrize(
    ("start_time", "start"),
    [
        ("2030-01-08T10:00:00+00:00", "2030-01-08T10:00:00Z"),
        ("2030-01-08T10:00:00-00:00", "2030-01-08T10:00:00Z"),
        ("2030-01-08T10:00:00-23:59", "2030-01-09T09:59:00Z"),
        ("2030-01-08t10:00:00z", "2030-01-08T10:00:00Z"),
        ("2030-01-08T10:00:00.000", "2030-01-08T10:00:00Z"),
    ],
)
async def test_a_time_keeps_its_offset(start_time: str, start: str, ada: Person, haircut: Service) -> None:
    answer = await ada.request("POST", "/bookings", json={"service_id": haircut.id, "start_time": start_time})

    assert (answer.status_code, answer.json()["start_time"]) == (201, start)


@pytest.fixture
async def in_berlin(
    ada: Person, settings: Settings, applications: SharedApplications, database: Database, clock: Clock
) -> AsyncIterator[httpx2.AsyncClient]:
    """Return Ada's client of a business in Berlin."""
    berlin = settings.model_copy(update={"timezone": "Europe/Berlin"})
    app = applications.open(berlin, database=database, clock=clock)
    headers = {"Authorization": f"Bearer {token_of(ada, settings, now=clock())}"}
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://berlin.test", headers=headers) as client:
        yield client


async def test_a_skipped_hour_is_refused(in_berlin: httpx2.AsyncClient, database: Database) -> None:
    body = {"service_id": 1, "start_time": "2030-03-31T02:30:00"}

    assert await request_refusal(database, in_berlin, "POST", "/bookings", json=body) == (
        400,
        "no-such-time",
        "start_time",
    )
    for name in ("from_date", "to_date"):
        answer = await request_refusal(database, in_berlin, "GET", f"/bookings?{name}=2030-03-31T02:30:00")
        assert answer == (400, "no-such-time", name)


async def test_a_repeated_hour_means_the_first(in_berlin: httpx2.AsyncClient, haircut: Service) -> None:
    answer = await in_berlin.post("/bookings", json={"service_id": haircut.id, "start_time": "2030-10-27T02:30:00"})

    assert (answer.status_code, answer.json()["start_time"]) == (201, "2030-10-27T00:30:00Z")
