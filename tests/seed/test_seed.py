"""The demo data: it obeys the rules, is reproducible, and is never created twice."""

import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest
from sqlalchemy import func
from sqlmodel import SQLModel, col, select

from bookit import records
from bookit import refusals as no
from bookit.db.pool import Database
from bookit.db.statements import Row
from bookit.people import sign_in
from bookit.schema.tables import (
    Booking,
    CalendarException,
    Event,
    OpeningHours,
    Resource,
    Review,
    Role,
    Service,
    ServiceResource,
    Status,
    User,
    table_of,
)
from seed import bulk, review_texts, schedule, studio
from seed.business import DEMO_ADMIN, DEMO_CUSTOMER, DEMO_PASSWORD, DEMO_STAFF, Outcome, Summary, seed_database
from tests.support.clock import NOW
from tests.support.databases import TEMPLATE_DATABASE, create_database
from tests.support.people import OWNER
from tests.support.server import ROOT

TABLES = (User, Service, Resource, ServiceResource, OpeningHours, CalendarException, Booking, Review)
BERLIN = ZoneInfo("Europe/Berlin")


async def rows(database: Database, table: type[SQLModel]) -> list[Row]:
    return await database.fetch(select(table).order_by(*table_of(table).primary_key))


async def count(database: Database, table: type[SQLModel]) -> int:
    rows_found = await database.fetch(select(func.count()).select_from(table))
    return int(rows_found[0]["count_1"])


async def everything(database: Database) -> dict[str, list[Row]]:
    """Return every row, without the salted password hashes."""
    tables = {table.__name__: await rows(database, table) for table in TABLES}
    for user in tables["User"]:
        del user["password_hash"]
    return tables


def meetings(bookings: list[Row], places: dict[int, int]) -> list[tuple[Row, Row]]:
    """Return the pairs of bookings that share a seat at the same time."""
    live = [row for row in bookings if row["status"] != Status.CANCELLED]
    live.sort(key=lambda row: (row["resource_id"], row["seat"], row["blocks_from"]))
    assert all(row["seat"] <= places[row["resource_id"]] for row in live)
    return [
        (one, next_one)
        for one, next_one in pairwise(live)
        if (one["resource_id"], one["seat"]) == (next_one["resource_id"], next_one["seat"])
        and next_one["blocks_from"] < one["blocks_until"]
    ]


def is_open(booking: Row, hours: list[Row], special: list[Row]) -> bool:
    """Return whether all that a booking blocks lies in the hours of its resource, which the tests keep in UTC."""
    since, until = booking["blocks_from"], booking["blocks_until"]
    mine = [one for one in special if one["resource_id"] in {None, booking["resource_id"]}]
    if any(one["start_time"] < until and since < one["end_time"] for one in mine if not one["is_open"]):
        return False
    weekly = [
        (datetime.combine(since, one["opens"], UTC), datetime.combine(since, one["closes"], UTC))
        for one in hours
        if (one["resource_id"], one["weekday"]) == (booking["resource_id"], since.isoweekday())
    ]
    weekly += [(one["start_time"], one["end_time"]) for one in mine if one["is_open"]]
    return any(opens <= since and until <= closes for opens, closes in weekly)


async def assert_keeps_the_rules(database: Database) -> None:
    bookings, hours, special = [await rows(database, table) for table in (Booking, OpeningHours, CalendarException)]
    places = {row["id"]: row["capacity"] for row in await rows(database, Resource)}
    assert meetings(bookings, places) == []
    assert [row for row in bookings if not is_open(row, hours, special)] == []
    assert [row for row in bookings if row["created_at"] >= min(row["start_time"], NOW + timedelta(seconds=1))] == []
    done = {row["id"]: row for row in bookings if row["status"] == Status.COMPLETED}
    assert all(row["end_time"] <= NOW for row in done.values())
    for review in await rows(database, Review):
        assert done[review["booking_id"]]["end_time"] < review["created_at"] <= NOW


@pytest.mark.parametrize("first", [datetime(2025, 1, 1, tzinfo=UTC), datetime(2028, 2, 29, 23, 59, tzinfo=UTC)])
@pytest.mark.parametrize("zone", [BERLIN, ZoneInfo("Australia/Lord_Howe")])
def test_the_schedule_fills_up_on_any_day(first: datetime, zone: ZoneInfo) -> None:
    for weeks in range(0, 52, 4):
        now = first + timedelta(weeks=weeks, hours=weeks)
        laid_out = schedule.Schedule(Random(weeks), now=now, zone=zone)
        laid_out.fill_with_visits(60)

        assert len(laid_out.visits) == 60
        assert all(visit.booked_at < visit.start and visit.booked_at <= now for visit in laid_out.visits)
        assert any(special.resource_name == "" for special in laid_out.exceptions)
        steps = laid_out.list_past_steps()
        assert steps == sorted(steps, key=lambda step: step.at)
        assert [step.visit_index for step in steps if step.status == Status.PENDING] == list(range(60))


def test_there_are_enough_review_texts() -> None:
    texts = [text for of_offer in review_texts.REVIEW_TEXTS.values() for _, text in of_offer]

    assert len(texts) == len(set(texts)) >= 40
    assert all(len(review_texts.find_review_texts(offer)) >= 9 for offer in studio.SERVICES)
    assert not any("reformer" in text.lower() for _, text in review_texts.find_review_texts(studio.SERVICES[8]))


def test_names_are_unique_and_addresses_are_reserved() -> None:
    addresses = [studio.make_email(name) for name in [*studio.CUSTOMERS, *studio.DESK_NAMES]]

    assert len(set(addresses)) == len(addresses) == 82
    assert {address.partition("@")[2] for address in addresses} == {"example.com", "example.org", "example.net"}


async def test_the_demo_data_obeys_the_rules(database: Database) -> None:
    made = await seed_database(database, now=NOW)

    assert made == Summary(
        Outcome.SEEDED, services=12, resources=8, customers=80, bookings=800, reviews=await count(database, Review)
    )
    assert made.reviews >= 40
    await assert_keeps_the_rules(database)
    bookings = await rows(database, Booking)
    past = Counter(row["status"] for row in bookings if row["end_time"] < NOW)
    ahead = Counter(row["status"] for row in bookings if row["start_time"] > NOW)
    assert past.keys() - {Status.CONFIRMED} == {Status.COMPLETED, Status.NO_SHOW, Status.CANCELLED}
    assert past[Status.COMPLETED] > 0.75 * past.total()
    assert ahead.keys() == {Status.PENDING, Status.CONFIRMED, Status.CANCELLED}
    assert ahead.total() > 80
    comments = [row["comment"] for row in await rows(database, Review)]
    assert len(set(comments)) == len(comments)
    assert await count(database, User) == 83
    assert {row["is_open"] for row in await rows(database, CalendarException)} == {True, False}


async def test_history_names_the_actors(database: Database) -> None:
    await seed_database(database, now=NOW, bookings=60)

    staff = {row["id"] for row in await rows(database, User) if row["role"] == Role.STAFF}
    events = [row for row in await rows(database, Event) if row["table_name"] == "bookings"]
    assert {row["door"] for row in events} == {"seed"}
    assert [row for row in events if row["actor_id"] is None] == []
    booked = [row for row in events if row["action"] == "created"]
    by_others = [row for row in booked if row["actor_id"] != row["new"]["user_id"]]
    assert len(booked) == 60
    assert by_others
    assert {row["actor_id"] for row in by_others} <= staff
    ended = [row["actor_id"] for row in events if (row["new"] or {}).get("status") == Status.COMPLETED]
    assert {*ended} == staff


@pytest.mark.parametrize("email", [DEMO_ADMIN, DEMO_STAFF, DEMO_CUSTOMER])
async def test_the_demo_users_can_sign_in(database: Database, email: str) -> None:
    await seed_database(database, now=NOW, bookings=0)

    person = await sign_in.authenticate(database, email=email, password=DEMO_PASSWORD)

    assert person.role == {DEMO_ADMIN: Role.ADMIN, DEMO_STAFF: Role.STAFF, DEMO_CUSTOMER: Role.USER}[email]
    assert await count(database, Booking) == 0


async def test_the_same_seed_creates_the_same_data(
    database: Database, server: str, worker_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seed.business.MAX_DETAILED_BOOKINGS", 30)  # The rest is loaded in bulk.
    other = Database(create_database(server, f"bookit_seed_{worker_id}", TEMPLATE_DATABASE), size=2)
    await other.open()
    try:
        for one in (database, other):
            await seed_database(one, now=NOW, seed=7, bookings=500)
        first = await everything(database)
        assert first == await everything(other)
        assert len(first["Booking"]) == 500
    finally:
        await other.close()


def test_another_seed_creates_other_data() -> None:
    made = []
    for seed in (1, 2):
        made.append(schedule.Schedule(Random(seed), now=NOW, zone=BERLIN))
        made[-1].fill_with_visits(50)

    assert made[0].visits != made[1].visits


async def test_seeding_twice_does_not_double_the_data(database: Database) -> None:
    await seed_database(database, now=NOW, bookings=20)
    before = await everything(database)

    again = await seed_database(database, now=NOW + timedelta(days=3), seed=2, bookings=50)

    assert again == Summary(Outcome.ALREADY_SEEDED)
    assert await everything(database) == before


async def test_a_database_in_use_is_not_seeded(database: Database, haircut: Service) -> None:
    async with database.transaction(by=OWNER) as session:
        facts: dict[str, Any] = {"name": "Mo", "email": "mo@example.com", "password_hash": "x"}
        mo = await records.create(session, User, by=OWNER, now=NOW, **facts)
        start = NOW + timedelta(days=1)
        await records.create(
            session, Booking, by=OWNER, now=NOW, user_id=mo.id, service_id=haircut.id, start_time=start
        )

    made = await seed_database(database, now=NOW, bookings=10)

    assert made == Summary(Outcome.IN_USE)
    assert await count(database, User) == 1


async def test_a_failed_seed_leaves_nothing_behind(database: Database) -> None:
    async with database.transaction(by=OWNER) as session:
        facts: dict[str, Any] = {"name": "Mo", "email": DEMO_STAFF, "password_hash": "x"}
        await records.create(session, User, by=OWNER, now=NOW, **facts)

    with pytest.raises(no.EmailTaken):
        await seed_database(database, now=NOW, bookings=10)

    assert await count(database, User) == 1
    assert await count(database, Resource) == 0


async def test_many_bookings_obey_the_rules(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seed.business.MAX_DETAILED_BOOKINGS", 50)
    monkeypatch.setattr(bulk, "BOOKINGS_PER_ROOM", 250)
    heard: list[int] = []

    made = await seed_database(database, now=NOW, bookings=3000, on_progress=heard.append)

    assert made == Summary(
        Outcome.SEEDED,
        services=12 + 8,
        resources=8 + 12,
        customers=80 + 295,
        bookings=3000,
        reviews=await count(database, Review),
    )
    assert heard == [*range(1, 51), 3000]
    assert await count(database, Booking) == 3000
    assert made.reviews > 100
    await assert_keeps_the_rules(database)
    statuses = Counter(row["status"] for row in await rows(database, Booking))
    assert statuses.keys() == set(Status)
    written = select(func.count(func.distinct(col(Event.row_id)))).where(
        col(Event.table_name) == "bookings", col(Event.action) == "created"
    )
    assert [list(row.values()) for row in await database.fetch(written)] == [[3000]]


async def test_constraints_apply_to_bulk_loading(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """An overlapping booking is refused, and the whole load with it."""
    monkeypatch.setattr("seed.business.MAX_DETAILED_BOOKINGS", 5)
    monkeypatch.setattr(bulk, "START_TIMES", bulk.START_TIMES[:1] * len(bulk.START_TIMES))

    with pytest.raises(no.SlotTaken):
        await seed_database(database, now=NOW, bookings=65)

    assert await count(database, User) == 0


def seeded(database_url: str, home_folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "seed", *options],
        env={"DATABASE_URL": database_url, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"},
        cwd=home_folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.process
def test_the_command_fills_the_named_database(empty: str, tmp_path: Path) -> None:
    first = seeded(empty, tmp_path, "--bookings", "25")
    second = seeded(empty, tmp_path)

    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert "25 bookings" in first.stdout
    for text in (DEMO_PASSWORD, DEMO_ADMIN, DEMO_STAFF, DEMO_CUSTOMER):
        assert text in first.stdout
    assert "25 of 25 bookings, 100%" in first.stderr
    assert second.stdout == "This database already has its demo business, so nothing was added.\n"
    assert second.stderr == ""
    with psycopg.connect(empty) as connection:
        assert connection.execute("SELECT count(*) FROM bookings").fetchone() == (25,)


@pytest.mark.process
def test_the_command_requires_a_migrated_database(server: str, worker_id: str, tmp_path: Path) -> None:
    bare = create_database(server, f"bookit_bare_{worker_id}", "template0")

    answer = seeded(bare, tmp_path)

    assert answer.returncode == 1
    assert answer.stdout == ""
    assert "bookit migrate" in answer.stderr
    assert answer.stderr.count("\n") == 1
