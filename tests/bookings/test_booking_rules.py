"""The rules of a booking's time: notice, horizon, hours, closures, steps and deadlines, and who may override them."""

from typing import Any

import pytest
from sqlalchemy import BigInteger, bindparam
from sqlmodel import col, select

from bookit.db.pool import Database
from bookit.schema.tables import Event, Resource, Service
from bookit.settings import Settings
from tests.support.clock import Clock
from tests.support.opening_hours import (
    add_exception,
    add_opening_hours,
    change_row,
    create_booking,
    create_service,
    format_starts,
)
from tests.support.people import Person
from tests.support.request_helpers import status_and_code

TEN = "2030-01-08T10:00:00Z"  # Tuesday.
OPEN_AT = ["2030-01-08 10:00", "2030-01-08 11:00", "2030-01-10 10:00", "2030-01-10 11:00", "2030-01-15 10:00"]
LAST_OF = (
    select(Event)
    .where(Event.table_name == "bookings", col(Event.row_id) == bindparam("id", type_=BigInteger))
    .order_by(col(Event.id).desc())
)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Return settings whose access tokens outlast these tests, during which a day passes."""
    return settings.model_copy(update={"access_token_expire_minutes": 3 * 24 * 60})


@pytest.fixture
async def massage(database: Database) -> Service:
    """Create a massage by Lea on Tuesdays and Thursdays from ten to noon, booked a day to two weeks ahead.

    It starts on the hour or half hour and may be cancelled until an hour before. Thursday from eleven on is closed.
    """
    rules = {"min_notice_minutes": 1440, "horizon_days": 14, "slot_step_minutes": 30, "cancel_notice_minutes": 60}
    service = await create_service(database, {"name": "Lea"}, **rules)
    await add_opening_hours(database, 1, "10:00-12:00", [2, 4])
    await add_exception(database, "2030-01-10T11:00Z", "2030-01-10T13:00Z")
    return service


REFUSED = [
    ("2030-01-07T08:00:00Z", "in-the-past", "This time is in the past.", 0),
    ("2030-01-07T09:00:00Z", "in-the-past", "This time is in the past.", 0),
    ("2030-01-08T08:30:00Z", "too-soon", "Please book at least 1 day in advance.", 0),
    ("2030-01-22T10:00:00Z", "too-far-ahead", "Please book at most 14 days in advance.", 9),
    ("2030-01-08T09:30:00Z", "outside-hours", "This time is outside opening hours.", 0),
    ("2030-01-08T11:30:00Z", "outside-hours", "This time is outside opening hours.", 3),
    ("2030-01-10T10:30:00Z", "closed", "It is closed at this time.", 4),
    ("2030-01-10T11:00:00Z", "closed", "It is closed at this time.", 4),
    (
        "2030-01-08T10:20:00Z",
        "between-slots",
        "Start times are every 30 minutes from opening time. Choose one of those.",
        1,
    ),
]
FREE = [f"2030-01-{day} {clock}" for day, clock in (
    ("08", "10:00"), ("08", "10:30"), ("08", "11:00"), ("10", "10:00"), ("15", "10:00"), ("15", "10:30"),
    ("15", "11:00"), ("17", "10:00"), ("17", "10:30"), ("17", "11:00"))]  # fmt: skip


@pytest.mark.usefixtures("massage")
@pytest.mark.parametrize(("start", "code", "detail", "next_one"), REFUSED)
async def test_a_time_that_breaks_a_rule_is_refused_with_the_next_slot(
    start: str, code: str, detail: str, next_one: int, tom: Person
) -> None:
    answer = await tom.request("POST", "/bookings", json={"service_id": 1, "start_time": start})

    problem = answer.json()
    expected = FREE[next_one : next_one + 3] if code != "too-far-ahead" else []
    assert format_starts(problem.pop("next_free")) == expected
    assert problem == {
        "type": f"/problems/{code}", "title": "Bad Request", "status": 400, "detail": detail, "code": code,
        "field": "start_time",
    }  # fmt: skip


@pytest.mark.usefixtures("massage")
@pytest.mark.parametrize(("start", "code", "detail", "next_one"), REFUSED)
async def test_moving_follows_the_rules_of_booking(
    start: str, code: str, detail: str, next_one: int, tom: Person
) -> None:
    mine = await create_booking(tom, TEN)

    answer = await tom.request("PATCH", f"/bookings/{mine['id']}", json={"start_time": start})

    problem = answer.json()
    expected = FREE[next_one : next_one + 3] if code != "too-far-ahead" else []
    assert (answer.status_code, problem["code"], problem["detail"]) == (400, code, detail)
    assert format_starts(problem["next_free"]) == expected
    assert (await tom.request("GET", f"/bookings/{mine['id']}")).json() == mine


@pytest.mark.parametrize("start", ["2030-01-08T10:00:00Z", "2030-01-08T11:00:00Z", "2030-01-10T10:00:00Z"])
async def test_the_limits_of_the_rules_are_inclusive(start: str, tom: Person, massage: Service) -> None:
    await create_booking(tom, start)

    assert format_starts((await tom.request("GET", "/bookings")).json()) == [start[:16].replace("T", " ")]


async def test_notice_and_horizon_are_exact(tom: Person, database: Database) -> None:
    await create_service(database, min_notice_minutes=90, horizon_days=1)

    answers = {
        start: status_and_code(await tom.request("POST", "/bookings", json={"service_id": 1, "start_time": start}))[1]
        for start in ("2030-01-07T10:29:00Z", "2030-01-07T10:30:00Z", "2030-01-08T09:00:00Z", "2030-01-08T09:01:00Z")
    }

    assert list(answers.values()) == ["too-soon", None, None, "too-far-ahead"]


async def test_slots_follow_notice_and_horizon_to_the_minute(tom: Person, database: Database) -> None:
    await create_service(database, min_notice_minutes=120, horizon_days=1)

    offered = format_starts((await tom.request("GET", "/services/1/availability")).json())

    assert (offered[0], offered[-1], len(offered)) == ("2030-01-07 11:00", "2030-01-08 09:00", 23)


async def test_a_taken_time_is_refused_with_the_next_three_slots(tom: Person, eve: Person, massage: Service) -> None:
    await create_booking(tom, TEN)

    answer = await eve.request("POST", "/bookings", json={"service_id": 1, "start_time": TEN})

    assert status_and_code(answer) == (409, "slot-taken")
    assert answer.json()["next_free"] == [
        {
            "start_time": start, "end_time": end, "local_start_time": start, "local_end_time": end, "timezone": "UTC",
            "free_places": 1, "resources": [{"id": 1, "name": "Lea", "free_places": 1, "others": []}],
        }
        for start, end in (
            ("2030-01-08T11:00:00Z", "2030-01-08T12:00:00Z"),
            ("2030-01-10T10:00:00Z", "2030-01-10T11:00:00Z"),
            ("2030-01-15T10:00:00Z", "2030-01-15T11:00:00Z"),
        )
    ]  # fmt: skip


async def test_the_next_three_slots_are_of_the_chosen_resource(tom: Person, eve: Person, database: Database) -> None:
    await create_service(database, {"name": "Lea"}, {"name": "Max"})
    await add_opening_hours(database, 1, "10:00-12:00")
    await create_booking(tom, TEN, resource_id=1)

    answer = await eve.request("POST", "/bookings", json={"service_id": 1, "start_time": TEN, "resource_id": 1})

    slots = answer.json()["next_free"]
    assert format_starts(slots) == ["2030-01-08 11:00", "2030-01-09 10:00", "2030-01-09 11:00"]
    assert {by["id"] for one in slots for by in one["resources"]} == {1}


async def test_a_repeated_request_gets_the_same_next_three_slots(tom: Person, eve: Person, massage: Service) -> None:
    await create_booking(tom, TEN)
    body = {"service_id": 1, "start_time": TEN}

    first, again = [
        await eve.request("POST", "/bookings", json=body, headers={"Idempotency-Key": "one"}) for _ in range(2)
    ]

    assert format_starts(first.json()["next_free"]) == ["2030-01-08 11:00", "2030-01-10 10:00", "2030-01-15 10:00"]
    assert (again.content, again.headers["idempotency-replayed"]) == (first.content, "true")


async def test_no_next_slot_is_offered_when_none_exists(tom: Person, database: Database, massage: Service) -> None:
    answers = [
        await tom.request("POST", "/bookings", json={"service_id": 9, "start_time": TEN}),
        await tom.request("POST", "/bookings", json={"service_id": 1, "start_time": TEN, "resource_id": 9}),
    ]
    await change_row(database, Resource, 1, is_active=False)
    answers.append(await tom.request("POST", "/bookings", json={"service_id": 1, "start_time": TEN}))

    slots = [(answer.json()["code"], answer.json().get("next_free")) for answer in answers]
    assert slots == [("unknown-service", None), ("unknown-resource", None), ("nothing-to-serve-it", None)]


async def test_the_first_open_and_free_resource_is_assigned(tom: Person, eve: Person, database: Database) -> None:
    await create_service(database, {"name": "Lea"}, {"name": "Max"}, {"name": "Kim"})
    await add_opening_hours(database, 1, "14:00-18:00")

    numbers = [(await create_booking(person, TEN))["resource_id"] for person in (tom, eve)]
    answer = await tom.request("POST", "/bookings", json={"service_id": 1, "start_time": TEN})

    assert numbers == [2, 3]
    assert status_and_code(answer) == (409, "slot-taken")


# Staff.

AGAINST = [
    "2030-01-08T08:30:00Z", "2030-01-22T10:00:00Z", "2030-01-08T09:30:00Z", "2030-01-10T11:00:00Z",
    "2030-01-08T10:20:00Z",
]  # fmt: skip


@pytest.mark.parametrize("start", AGAINST)
async def test_staff_override_rules_with_a_reason_recorded_in_history(
    start: str, mara: Person, ada: Person, database: Database, massage: Service
) -> None:
    body = {"service_id": 1, "start_time": start}

    without = [await who.request("POST", "/bookings", json=body) for who in (mara, ada)]
    with_it = await mara.request("POST", "/bookings", json={**body, "override_reason": "An old friend."})

    assert [answer.status_code for answer in without] == [400, 400]
    assert (with_it.status_code, with_it.json()["start_time"]) == (201, start)
    [event] = await database.fetch(LAST_OF, id=with_it.json()["id"])
    assert (event["actor"], event["action"], event["reason"]) == (f"staff {mara.id}", "created", "An old friend.")


@pytest.mark.parametrize("start", AGAINST)
async def test_staff_override_rules_with_a_reason_when_moving(
    start: str, tom: Person, mara: Person, database: Database, massage: Service
) -> None:
    path = f"/bookings/{(await create_booking(tom, TEN))['id']}"

    without = await mara.request("PATCH", path, json={"start_time": start})
    with_it = await mara.request("PATCH", path, json={"start_time": start, "override_reason": "Her train is late."})

    assert without.status_code == 400
    assert (with_it.status_code, with_it.json()["start_time"]) == (200, start)
    event = (await database.fetch(LAST_OF, id=with_it.json()["id"]))[0]
    assert (event["actor"], event["action"], event["reason"]) == (f"staff {mara.id}", "changed", "Her train is late.")


async def test_an_overlap_cannot_be_overridden(tom: Person, mara: Person, ada: Person, massage: Service) -> None:
    await create_booking(tom, TEN)
    other = await create_booking(tom, "2030-01-10T10:00:00Z")
    for who in (mara, ada):
        for start in (TEN, "2030-01-08T10:20:00Z", "2030-01-08T09:05:00Z"):
            over = {"start_time": start, "override_reason": "Please."}

            new = await who.request("POST", "/bookings", json={"service_id": 1, **over})
            moved = await who.request("PATCH", f"/bookings/{other['id']}", json=over)

            assert (start, status_and_code(new), status_and_code(moved)) == (
                start,
                (409, "slot-taken"),
                (409, "slot-taken"),
            )


async def test_a_reason_does_not_override_suitability_or_activity(
    tom: Person, mara: Person, database: Database, massage: Service
) -> None:
    await create_service(database, {"name": "Kim"}, title="Haircut")
    mine = await create_booking(tom, TEN)
    over = {"start_time": TEN, "override_reason": "Please."}

    answers = [
        await mara.request("POST", "/bookings", json={"service_id": 1, "resource_id": 2, **over}),
        await mara.request("POST", "/bookings", json={"service_id": 1, "resource_id": 9, **over}),
        await mara.request("POST", "/bookings", json={"service_id": 9, **over}),
        await mara.request("PATCH", f"/bookings/{mine['id']}", json={"resource_id": 2, **over}),
        await mara.request("PATCH", f"/bookings/{mine['id']}", json={"resource_id": 9, **over}),
    ]
    await change_row(database, Service, 1, is_active=False)
    answers.append(await mara.request("POST", "/bookings", json={"service_id": 1, **over}))

    assert [status_and_code(answer) for answer in answers] == [
        (400, "resource-unsuitable"), (404, "unknown-resource"), (404, "unknown-service"),
        (400, "resource-unsuitable"), (404, "unknown-resource"), (400, "service-inactive"),
    ]  # fmt: skip


async def test_a_booking_of_an_inactive_service_can_be_moved(tom: Person, database: Database) -> None:
    await create_service(database, {"name": "Lea"}, title="Haircut")
    mine = await create_booking(tom, TEN)
    await change_row(database, Service, 1, is_active=False)

    free = await tom.request("GET", f"/services/1/availability?from_date=2030-01-09&booking_id={mine['id']}")
    moved = await tom.request("PATCH", f"/bookings/{mine['id']}", json={"start_time": free.json()[0]["start_time"]})

    assert (moved.status_code, moved.json()["start_time"]) == (200, free.json()[0]["start_time"])


async def test_a_reason_does_not_reactivate_a_resource(tom: Person, mara: Person, database: Database) -> None:
    await create_service(database, {"name": "Lea"}, {"name": "Max"})
    mine = await create_booking(tom, TEN)
    await change_row(database, Resource, 2, is_active=False)
    over = {"start_time": "2030-01-08T12:00:00Z", "resource_id": 2, "override_reason": "Please."}

    new = await mara.request("POST", "/bookings", json={"service_id": 1, **over})
    moved = await mara.request("PATCH", f"/bookings/{mine['id']}", json=over)

    assert (status_and_code(new), status_and_code(moved)) == ((400, "resource-unsuitable"),) * 2


@pytest.mark.parametrize("start", [TEN, *AGAINST])
async def test_only_staff_may_override(start: str, tom: Person, massage: Service) -> None:
    mine = await create_booking(tom, "2030-01-08T11:00:00Z")
    over = {"start_time": start, "override_reason": "Please."}

    new = await tom.request("POST", "/bookings", json={"service_id": 1, **over})
    moved = await tom.request("PATCH", f"/bookings/{mine['id']}", json=over)

    assert (status_and_code(new), status_and_code(moved)) == ((403, "only-staff-override"),) * 2
    assert (new.json()["field"], "next_free" in new.json()) == ("override_reason", False)


@pytest.mark.parametrize("reason", ["", " ", "a" * 201, "a\0b", 1, True, []])
async def test_a_reason_must_be_a_sentence(reason: Any, mara: Person, massage: Service) -> None:
    body = {"service_id": 1, "start_time": TEN, "override_reason": reason}

    answer = await mara.request("POST", "/bookings", json=body)

    assert (status_and_code(answer), answer.json()["field"]) == ((422, "wrong-shape"), "override_reason")


async def test_staff_record_a_past_visit_within_opening_hours(mara: Person, massage: Service) -> None:
    was = await create_booking(mara, "2030-01-03T10:00:00Z")

    closed = await mara.request("POST", "/bookings", json={"service_id": 1, "start_time": "2030-01-06T10:00:00Z"})
    walked_in = await create_booking(mara, "2030-01-06T10:00:00Z", override_reason="She rang the bell.")

    assert (was["start_time"], walked_in["start_time"]) == ("2030-01-03T10:00:00Z", "2030-01-06T10:00:00Z")
    assert status_and_code(closed) == (400, "outside-hours")


# Deadlines.


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ("in time", (200, None)),
        ("at the last moment", (200, None)),
        ("too late", (400, "too-late-to-cancel")),
        ("after it began", (400, "already-started")),
    ],
)
async def test_a_customer_cancels_before_the_deadline(
    at: str, expected: tuple[int, str | None], tom: Person, clock: Clock, massage: Service
) -> None:
    minutes = {"in time": -120, "at the last moment": -60, "too late": -59, "after it began": 5}[at]
    mine, other = await create_booking(tom, TEN), await create_booking(tom, "2030-01-08T11:00:00Z")
    path = f"/bookings/{mine['id']}"
    clock.advance(hours=25, minutes=minutes)

    moved = await tom.request("PATCH", path, json={"start_time": "2030-01-17T10:00:00Z"})
    cancelled = await tom.request("PATCH", path, json={"status": "cancelled"})
    clock.advance(hours=1)
    deleted = await tom.request("DELETE", f"/bookings/{other['id']}")

    assert status_and_code(moved) == expected
    assert status_and_code(cancelled) == (expected if expected[1] else (200, None))
    if at == "after it began":
        assert status_and_code(deleted) == (400, "already-started")
    else:
        assert status_and_code(deleted) == ((204, None) if expected[0] == 200 else expected)


async def test_the_deadline_is_written_out_in_the_refusal(tom: Person, clock: Clock, massage: Service) -> None:
    mine = await create_booking(tom, TEN)
    clock.advance(hours=24, minutes=1)

    answer = await tom.request("PATCH", f"/bookings/{mine['id']}", json={"status": "cancelled"})

    assert answer.json() == {
        "type": "/problems/too-late-to-cancel",
        "title": "Bad Request",
        "status": 400,
        "detail": "You can move or cancel this until 1 hour before it starts.",
        "code": "too-late-to-cancel",
        "field": "start_time",
    }


async def test_the_deadline_does_not_bind_staff(tom: Person, mara: Person, clock: Clock, massage: Service) -> None:
    first, second = await create_booking(tom, TEN), await create_booking(tom, "2030-01-08T11:00:00Z")
    clock.advance(hours=24, minutes=30)

    moved = await mara.request("PATCH", f"/bookings/{first['id']}", json={"start_time": "2030-01-15T10:00:00Z"})
    cancelled = await mara.request("PATCH", f"/bookings/{first['id']}", json={"status": "cancelled"})
    deleted = await mara.request("DELETE", f"/bookings/{second['id']}")

    assert [answer.status_code for answer in (moved, cancelled, deleted)] == [200, 200, 204]


async def test_without_a_deadline_a_visit_is_cancelled_until_it_starts(
    tom: Person, clock: Clock, database: Database, massage: Service
) -> None:
    await change_row(database, Service, 1, cancel_notice_minutes=0)
    mine = await create_booking(tom, TEN)
    clock.advance(hours=24, minutes=59)

    answer = await tom.request("DELETE", f"/bookings/{mine['id']}")

    assert answer.status_code == 204
