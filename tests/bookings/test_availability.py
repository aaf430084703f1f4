"""The free slots of a service, and why a start is not free."""

from typing import Any

import httpx2
import pytest

from bookit.db.pool import Database
from bookit.schema.tables import Resource, Service
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
from tests.support.request_helpers import request_refusal, status_and_code

FREE = "/services/1/availability"
WHY = f"{FREE}/explain"
TUESDAY = {"from_date": "2030-01-08", "to_date": "2030-01-08"}
TEN = "2030-01-08T10:00:00Z"


async def fetch_slots(who: Person | httpx2.AsyncClient, path: str = FREE, **query: Any) -> list[dict[str, Any]]:
    client = who.client if isinstance(who, Person) else who
    answer = await client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    slots: list[dict[str, Any]] = answer.json()
    return slots


@pytest.fixture
async def massage(database: Database) -> Service:
    """Create a massage of an hour by Lea, one at a time, or Max, who has two seats, on Tuesdays from nine to eleven."""
    service = await create_service(
        database, {"name": "Lea", "timezone": "UTC"}, {"name": "Max", "timezone": "UTC", "capacity": 2}
    )
    for resource in (1, 2):
        await add_opening_hours(database, resource, "09:00-11:00", [2])
    return service


def slot(start: str, end: str, *resources: tuple[int, str, int]) -> dict[str, Any]:
    times = {"start_time": f"2030-01-08T{start}:00Z", "end_time": f"2030-01-08T{end}:00Z"}
    return {
        **times,
        **{f"local_{name}": time for name, time in times.items()},
        "timezone": "UTC",
        "free_places": sum(places for *_, places in resources),
        "resources": [
            {"id": number, "name": name, "free_places": places, "others": []} for number, name, places in resources
        ],
    }


async def test_a_visitor_sees_free_slots(visitor: httpx2.AsyncClient, tom: Person, massage: Service) -> None:
    await create_booking(tom, TEN)

    slots = await fetch_slots(visitor, **TUESDAY)

    assert slots == [
        slot("09:00", "10:00", (1, "Lea", 1), (2, "Max", 2)),
        slot("10:00", "11:00", (2, "Max", 2)),
    ]


async def test_slots_can_be_filtered_by_resource(visitor: httpx2.AsyncClient, massage: Service) -> None:
    slots = await fetch_slots(visitor, **TUESDAY, resource_id=1)

    assert slots == [slot("09:00", "10:00", (1, "Lea", 1)), slot("10:00", "11:00", (1, "Lea", 1))]


async def test_each_resource_has_its_own_time_zone(visitor: httpx2.AsyncClient, database: Database) -> None:
    zones = ("Europe/Berlin", "Asia/Kolkata", "America/New_York")
    await create_service(database, *({"name": zone, "timezone": zone} for zone in zones))
    for resource, hours in ((1, "09:00-10:00"), (2, "13:30-14:30"), (3, "03:00-04:00")):
        await add_opening_hours(database, resource, hours)

    slots = await fetch_slots(visitor, **TUESDAY)

    assert [(one["start_time"], one["local_start_time"], one["local_end_time"], one["timezone"]) for one in slots] == [
        ("2030-01-08T08:00:00Z", "2030-01-08T03:00:00-05:00", "2030-01-08T04:00:00-05:00", "America/New_York"),
        ("2030-01-08T08:00:00Z", "2030-01-08T13:30:00+05:30", "2030-01-08T14:30:00+05:30", "Asia/Kolkata"),
        ("2030-01-08T08:00:00Z", "2030-01-08T09:00:00+01:00", "2030-01-08T10:00:00+01:00", "Europe/Berlin"),
    ]


async def test_the_default_range_is_one_week_from_now(visitor: httpx2.AsyncClient, database: Database) -> None:
    await create_service(database)
    await add_opening_hours(database, 1, "08:00-11:00")

    slots = format_starts(await fetch_slots(visitor))

    assert (slots[:2], slots[-1], len(slots)) == (["2030-01-07 10:00", "2030-01-08 08:00"], "2030-01-14 08:00", 20)


@pytest.mark.parametrize(
    ("query", "first", "last"),
    [
        ({"from_date": "2030-01-09"}, "2030-01-09 08:00", "2030-01-15 10:00"),
        ({"to_date": "2030-01-08"}, "2030-01-07 10:00", "2030-01-08 10:00"),
        ({"from_date": "2030-01-01", "to_date": "2030-01-08"}, "2030-01-07 10:00", "2030-01-08 10:00"),
        ({"from_date": "2030-01-08T09:00:00Z", "to_date": "2030-01-09T09:00:00Z"}, "2030-01-08 09:00",
         "2030-01-09 08:00"),
        ({"from_date": "2030-01-08T09:00:00+01:00", "to_date": "2030-01-08T11:00:00+01:00"}, "2030-01-08 08:00",
         "2030-01-08 09:00"),
    ],
)  # fmt: skip
async def test_a_range_of_days_includes_the_last_and_one_of_times_does_not(
    query: dict[str, str], first: str, last: str, visitor: httpx2.AsyncClient, database: Database
) -> None:
    await create_service(database)
    await add_opening_hours(database, 1, "08:00-11:00")

    slots = format_starts(await fetch_slots(visitor, **query))

    assert (slots[0], slots[-1]) == (first, last)


async def test_past_times_are_not_free(visitor: httpx2.AsyncClient, database: Database) -> None:
    await create_service(database)

    assert await fetch_slots(visitor, from_date="2029-12-01", to_date="2030-01-06") == []
    assert format_starts(await fetch_slots(visitor, to_date="2030-01-07"))[0] == "2030-01-07 10:00"


async def test_overlapping_hours_merge_and_keep_the_starts_of_both(
    visitor: httpx2.AsyncClient, database: Database
) -> None:
    await create_service(database)
    for hours in ("09:00-11:00", "10:30-12:30", "09:00-11:00"):
        await add_opening_hours(database, 1, hours)

    slots = format_starts(await fetch_slots(visitor, **TUESDAY))

    assert slots == [f"2030-01-08 {clock}" for clock in ("09:00", "10:00", "10:30", "11:30")]


async def test_closures_remove_slots_and_openings_add_them(visitor: httpx2.AsyncClient, database: Database) -> None:
    await create_service(database, {"name": "Lea"}, {"name": "Max"})
    for resource in (1, 2):
        await add_opening_hours(database, resource, "09:00-12:00", [2])
    await add_exception(database, "2030-01-08T09:30Z", "2030-01-08T10:00Z")
    await add_exception(database, "2030-01-08T11:00Z", "2030-01-08T12:00Z", resource=2)
    await add_exception(database, "2030-01-08T20:00Z", "2030-01-08T21:00Z", resource=1, is_open=True)

    slots = {
        one["start_time"]: [by["name"] for by in one["resources"]] for one in await fetch_slots(visitor, **TUESDAY)
    }

    assert slots == {
        "2030-01-08T10:00:00Z": ["Lea", "Max"],
        "2030-01-08T11:00:00Z": ["Lea"],
        "2030-01-08T20:00:00Z": ["Lea"],
    }


async def test_bookings_of_another_service_block_slots(
    visitor: httpx2.AsyncClient, tom: Person, ada: Person, database: Database, massage: Service
) -> None:
    about = {"title": "Talk", "price": 0, "duration_minutes": 15, "cleanup_minutes": 5, "resource_ids": [1]}
    talk = (await ada.request("POST", "/services", json=about)).json()["id"]
    await create_booking(tom, "2030-01-08T10:45:00Z", talk)
    await create_booking(tom, "2030-01-08T09:00:00Z", resource_id=1)

    massages = format_starts(await fetch_slots(visitor, **TUESDAY, resource_id=1))
    talks = format_starts(await fetch_slots(visitor, f"/services/{talk}/availability", **TUESDAY))

    assert massages == []
    assert talks == ["2030-01-08 10:00", "2030-01-08 10:15"]


async def test_an_unchanged_answer_is_304(visitor: httpx2.AsyncClient, tom: Person, massage: Service) -> None:
    first = await visitor.get(FREE, params=TUESDAY)
    etag = first.headers["etag"]

    known = [
        await visitor.get(FREE, params=TUESDAY, headers={"If-None-Match": tag}) for tag in (etag, f'"x", {etag}', "*")
    ]
    other = await visitor.get(FREE, params=TUESDAY, headers={"If-None-Match": '"x"'})
    await create_booking(tom, TEN)
    changed = await visitor.get(FREE, params=TUESDAY, headers={"If-None-Match": etag})

    for answer in known:
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", etag)
    assert (other.status_code, other.json()) == (200, first.json())
    assert (changed.status_code, changed.headers["etag"] == etag) == (200, False)
    about = {"cache-control": "public, max-age=0, s-maxage=5", "vary": "Authorization", "etag": etag}
    assert {name: first.headers[name] for name in about} == about
    assert {name: known[0].headers[name] for name in about} == about


async def test_a_moved_booking_does_not_block_itself(tom: Person, database: Database) -> None:
    await create_service(database, {"name": "Lea"}, {"name": "Max", "capacity": 2}, slot_step_minutes=30)
    for resource in (1, 2):
        await add_opening_hours(database, resource, "09:00-11:00", [2])
    mine = await create_booking(tom, TEN)
    await change_row(database, Service, 1, duration_minutes=30)

    answer = await tom.request("GET", FREE, params={**TUESDAY, "booking_id": mine["id"], "resource_id": 1})

    assert answer.json() == [
        slot("09:00", "10:00", (1, "Lea", 1)),
        slot("09:30", "10:30", (1, "Lea", 1)),
        slot("10:00", "11:00", (1, "Lea", 1)),
    ]
    assert answer.headers["cache-control"] == "private, no-cache"


@pytest.mark.usefixtures("massage")
async def test_only_the_owner_or_staff_may_name_the_moved_booking(
    tom: Person, eve: Person, mara: Person, visitor: httpx2.AsyncClient, database: Database
) -> None:
    mine = await create_booking(tom, TEN)
    await create_service(database, {"name": "Kim"})
    for path in (FREE, WHY):
        url = f"{path}?start_time={TEN}&booking_id=" if path == WHY else f"{path}?booking_id="

        answers = [
            await request_refusal(database, visitor, "GET", f"{url}{mine['id']}"),
            await request_refusal(database, eve.client, "GET", f"{url}{mine['id']}"),
            await request_refusal(database, tom.client, "GET", f"{url}99"),
            await request_refusal(database, tom.client, "GET", f"{url}{mine['id']}".replace("/1/", "/2/")),
            await request_refusal(database, tom.client, "GET", f"{url}0"),
        ]

        assert answers == [
            (401, "unauthenticated", None),
            (403, "not-your-booking", None),
            (404, "missing", None),
            (404, "missing", None),
            (422, "wrong-shape", "booking_id"),
        ]
        assert (await mara.request("GET", f"{url}{mine['id']}")).status_code == 200


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("from_date=2030-01-09&to_date=2030-01-08", (400, "range-reversed", "to_date")),
        ("from_date=2030-01-09T10:00:00Z&to_date=2030-01-09T10:00:00Z", (400, "range-reversed", "to_date")),
        ("from_date=2030-02-01&to_date=2030-04-04", (400, "range-too-long", "to_date")),
        ("from_date=2030-01-08&to_date=2040-01-08", (400, "range-too-long", "to_date")),
        ("to_date=2030-03-12", (400, "range-too-long", "to_date")),
        ("from_date=9999-01-01", (400, "outside-the-calendar", "from_date")),
        ("to_date=9999-12-31", (400, "outside-the-calendar", "to_date")),
        ("from_date=1999-12-31", (400, "outside-the-calendar", "from_date")),
        ("from_date=tomorrow", (422, "wrong-shape", "from_date")),
        ("to_date=2030-02-30", (422, "wrong-shape", "to_date")),
        ("from_date=2030-01-08T10:00:00%2B25:00", (422, "wrong-shape", "from_date")),
        ("from_date=2030-01-08T10:00:00[Mars/Phobos]", (422, "wrong-shape", "from_date")),
        ("from_date=2030-01-08&from_date=2030-01-09", (422, "wrong-shape", "from_date")),
        ("resource_id=0", (422, "wrong-shape", "resource_id")),
        ("resource_id=Lea", (422, "wrong-shape", "resource_id")),
        ("service_id=1", (422, "wrong-shape", "service_id")),
    ],
)
async def test_an_invalid_range_is_refused(
    query: str, expected: tuple[int, str, str], visitor: httpx2.AsyncClient, database: Database, massage: Service
) -> None:
    assert await request_refusal(database, visitor, "GET", f"{FREE}?{query}") == expected


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ({"from_date": "2030-02-01", "to_date": "2030-04-03"}, 18),
        ({"from_date": "2999-12-01", "to_date": "2999-12-31"}, 10),
        ({"from_date": "2999-12-31T10:00:00Z"}, 1),
        ({"from_date": "2020-01-01", "to_date": "2020-01-31"}, 0),
    ],
)
async def test_62_days_and_the_ends_of_the_calendar_are_accepted(
    query: dict[str, str], count: int, visitor: httpx2.AsyncClient, massage: Service
) -> None:
    assert len(await fetch_slots(visitor, **query)) == count


async def test_too_many_slots_are_refused(visitor: httpx2.AsyncClient, database: Database) -> None:
    await create_service(database, duration_minutes=1)

    week = await request_refusal(database, visitor, "GET", FREE)
    days = await fetch_slots(visitor, from_date="2030-01-08", to_date="2030-01-13")

    assert week == (400, "too-many-slots", "to_date")
    assert len(days) == 6 * 24 * 60


async def test_only_a_bookable_service_has_slots(
    visitor: httpx2.AsyncClient, database: Database, massage: Service
) -> None:
    await change_row(database, Service, 1, is_active=False)

    answers = [
        await request_refusal(database, visitor, "GET", path.format(number))
        for number in (1, 99)
        for path in ("/services/{}/availability", "/services/{}/availability/explain?start_time=" + TEN)
    ]

    assert answers == [(400, "service-inactive", "service_id")] * 2 + [(404, "missing", None)] * 2


async def test_without_a_resource_there_are_no_slots(
    visitor: httpx2.AsyncClient, tom: Person, database: Database, massage: Service
) -> None:
    mine = await create_booking(tom, TEN)
    for resource in (1, 2):
        await change_row(database, Resource, resource, is_active=False)

    assert await fetch_slots(visitor, **TUESDAY) == []
    assert await fetch_slots(visitor, **TUESDAY, resource_id=1) == []
    assert await fetch_slots(visitor, **TUESDAY, resource_id=99) == []
    explained = (await visitor.get(WHY, params={"start_time": TEN})).json()
    assert explained == {"start_time": TEN, "end_time": None, "can_be_booked": False, "resources": []}
    answer = await tom.request("POST", "/bookings", json={"service_id": 1, "start_time": TEN})
    assert status_and_code(answer) == (400, "nothing-to-serve-it")
    assert (await tom.request("GET", f"/bookings/{mine['id']}")).json() == mine


async def test_a_booking_of_an_inactive_resource_is_moved_or_cancelled(
    tom: Person, database: Database, massage: Service
) -> None:
    mine = await create_booking(tom, TEN)
    await change_row(database, Resource, 1, is_active=False)
    path = f"/bookings/{mine['id']}"
    nine = "2030-01-08T09:00:00Z"

    there = await tom.request("PATCH", path, json={"start_time": nine, "resource_id": 1})
    slots = await fetch_slots(tom, **TUESDAY, booking_id=mine["id"])
    elsewhere = await tom.request("PATCH", path, json={"start_time": nine})
    gone = await tom.request("PATCH", path, json={"status": "cancelled"})

    assert status_and_code(there) == (400, "resource-unsuitable")
    assert [[by["id"] for by in one["resources"]] for one in slots] == [[2], [2]]
    assert (elsewhere.json()["resource_id"], elsewhere.json()["start_time"]) == (2, nine)
    assert gone.json()["status"] == "cancelled"


def obstacle(rule: str, code: str, detail: str) -> dict[str, str]:
    return {"rule": rule, "code": code, "detail": detail}


OUTSIDE = obstacle("hours", "outside-hours", "This time is outside opening hours.")
CLOSED = obstacle("closure", "closed", "It is closed at this time.")
TAKEN = obstacle("taken", "slot-taken", "Booking conflict: time slot is not available")
BETWEEN = obstacle("step", "between-slots", "Start times are every 30 minutes from opening time. Choose one of those.")
SOON = obstacle("notice", "too-soon", "Please book at least 2 hours in advance.")
OVER = obstacle("notice", "in-the-past", "This time is in the past.")
FAR = obstacle("horizon", "too-far-ahead", "Please book at most 14 days in advance.")


@pytest.mark.usefixtures("massage")
@pytest.mark.parametrize(
    ("start", "places", "ways"),
    [
        ("2030-01-08T09:00:00Z", (1, 2), ([], [])),
        ("2030-01-08T10:00:00Z", (0, 2), ([TAKEN], [])),
        ("2030-01-08T09:45:00Z", (0, 2), ([BETWEEN, TAKEN], [BETWEEN])),
        ("2030-01-08T10:30:00Z", (0, 2), ([OUTSIDE, TAKEN], [OUTSIDE])),
        ("2030-01-09T09:00:00Z", (1, 2), ([OUTSIDE], [OUTSIDE])),
        ("2030-01-15T09:00:00Z", (1, 2), ([], [TAKEN])),
        ("2030-01-07T10:30:00Z", (1, 2), ([SOON, OUTSIDE], [SOON, OUTSIDE])),
        ("2030-01-07T09:00:00Z", (1, 2), ([OVER, OUTSIDE], [OVER, OUTSIDE])),
        ("2030-01-22T09:00:00Z", (1, 2), ([FAR], [FAR])),
    ],
)
async def test_all_obstacles_of_a_start_are_listed(
    start: str, places: tuple[int, int], ways: tuple[Any, Any], tom: Person, database: Database
) -> None:
    lea, max_ = ways
    await create_booking(tom, TEN)
    rules = {"slot_step_minutes": 30, "min_notice_minutes": 120, "horizon_days": 14}
    await change_row(database, Service, 1, **rules)
    await add_exception(database, "2030-01-15T09:30Z", "2030-01-15T10:30Z", resource=2)

    explained = (await tom.request("GET", WHY, params={"start_time": start})).json()

    first = {"position": 1, "role": "with", "timezone": "UTC"}
    assert explained == {
        "start_time": start,
        "end_time": f"{start[:11]}{int(start[11:13]) + 1}{start[13:]}".replace("T9", "T09"),
        "can_be_booked": not (lea and max_),
        "resources": [
            first | {"id": 1, "name": "Lea", "free_places": places[0], "in_the_way": lea},
            first | {"id": 2, "name": "Max", "free_places": places[1], "in_the_way": max_},
        ],
    }


@pytest.mark.usefixtures("massage")
async def test_only_staff_learn_that_somebody_is_away(
    tom: Person, mara: Person, visitor: httpx2.AsyncClient, database: Database
) -> None:
    await add_exception(database, "2030-01-08T09:30Z", "2030-01-08T10:30Z", resource=2)
    query = {"start_time": "2030-01-08T09:00:00Z"}
    answers = [
        await visitor.get(WHY, params=query),
        await tom.request("GET", WHY, params=query),
        await mara.request("GET", WHY, params=query),
    ]

    ways = [[resource["in_the_way"] for resource in answer.json()["resources"]] for answer in answers]
    assert ways == [[[], [TAKEN]], [[], [TAKEN]], [[], [CLOSED]]]


async def test_obstacles_are_listed_for_a_moved_booking(tom: Person, massage: Service) -> None:
    mine = await create_booking(tom, TEN)

    explained = (
        await tom.request("GET", WHY, params={"start_time": TEN, "booking_id": mine["id"], "resource_id": 1})
    ).json()

    assert [(one["id"], one["free_places"], one["in_the_way"]) for one in explained["resources"]] == [(1, 1, [])]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", (422, "wrong-shape", "start_time")),
        ("?start_time=", (422, "wrong-shape", "start_time")),
        ("?start_time=2030-01-08", (422, "wrong-shape", "start_time")),
        ("?start_time=9999-01-01T00:00:00Z", (400, "outside-the-calendar", "start_time")),
        (f"?start_time={TEN}&resource_id=0", (422, "wrong-shape", "resource_id")),
        (f"?start_time={TEN}&to_date=2030-01-08", (422, "wrong-shape", "to_date")),
    ],
)
async def test_an_invalid_start_is_refused(
    query: str, expected: tuple[int, str, str], visitor: httpx2.AsyncClient, database: Database, massage: Service
) -> None:
    assert await request_refusal(database, visitor, "GET", f"{WHY}{query}") == expected


async def test_a_hold_blocks_its_slot_until_it_expires(
    visitor: httpx2.AsyncClient, tom: Person, clock: Clock, massage: Service
) -> None:
    await create_booking(tom, TEN, resource_id=1, hold=True)

    held = await fetch_slots(visitor, **TUESDAY, resource_id=1)
    clock.advance(minutes=10)
    let_go = await fetch_slots(visitor, **TUESDAY, resource_id=1)

    assert (format_starts(held), format_starts(let_go)) == (
        ["2030-01-08 09:00"],
        ["2030-01-08 09:00", "2030-01-08 10:00"],
    )
