"""The demo business: it obeys the rules, is the same every time, and is never created twice."""

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
from sqlalchemy import func, text
from sqlmodel import SQLModel, col, select

from bookit import records
from bookit import refusals as no
from bookit.db.pool import Database
from bookit.db.statements import Row
from bookit.people import sign_in
from bookit.schema.tables import (
    Booking,
    CalendarException,
    Claim,
    Event,
    Note,
    OpeningHours,
    Payment,
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

TABLES = (User, Service, Resource, ServiceResource, OpeningHours, CalendarException, Booking, Review, Note, Payment)
BERLIN = ZoneInfo("Europe/Berlin")


async def rows(database: Database, table: type[SQLModel]) -> list[Row]:
    return await database.fetch(select(table).order_by(*table_of(table).primary_key))


async def count(database: Database, table: type[SQLModel]) -> int:
    (row,) = await database.fetch(select(func.count()).select_from(table))
    return int(row["count_1"])


async def read_all_rows(database: Database) -> dict[str, list[Row]]:
    """Return every row, without the password hashes, which are salted."""
    by_table = {table.__name__: await rows(database, table) for table in TABLES}
    for user in by_table["User"]:
        del user["password_hash"]
    return by_table


def find_overlaps(claims: list[Row], cancelled: set[int], capacity: dict[int, int]) -> list[tuple[Row, Row]]:
    """Return the pairs of claims, of bookings that are not cancelled, that are of one seat at one time."""
    active = [row for row in claims if row["booking_id"] not in cancelled]
    active.sort(key=lambda row: (row["resource_id"], row["seat"], row["since"]))
    assert all(row["seat"] <= capacity[row["resource_id"]] for row in active)
    return [
        (row, next_row)
        for row, next_row in pairwise(active)
        if (row["resource_id"], row["seat"]) == (next_row["resource_id"], next_row["seat"])
        and next_row["since"] < row["until"]
    ]


def is_open(booking: Row, hours: list[Row], exceptions: list[Row], *, is_rental: bool) -> bool:
    """Whether the time that a booking blocks lies in the opening hours of its resource (in UTC here).

    Of a rental, the first and the last minute do.
    """
    since, until = booking["blocks_from"], booking["blocks_until"]
    if is_rental:
        minute = timedelta(minutes=1)
        ends = [{"blocks_from": at, "blocks_until": at + minute} for at in (since, until - minute)]
        return all(is_open({**booking, **end}, hours, exceptions, is_rental=False) for end in ends)
    own = [row for row in exceptions if row["resource_id"] in {None, booking["resource_id"]}]
    if any(row["start_time"] < until and since < row["end_time"] for row in own if not row["is_open"]):
        return False
    windows = [
        (datetime.combine(since, row["opens"], UTC), datetime.combine(since, row["closes"], UTC))
        for row in hours
        if (row["resource_id"], row["weekday"]) == (booking["resource_id"], since.isoweekday())
    ]
    windows += [(row["start_time"], row["end_time"]) for row in own if row["is_open"]]
    return any(opens <= since and until <= closes for opens, closes in windows)


async def assert_obeys_the_rules(database: Database) -> None:
    bookings, hours, exceptions = [await rows(database, table) for table in (Booking, OpeningHours, CalendarException)]
    capacity = {row["id"]: row["capacity"] for row in await rows(database, Resource)}
    cancelled = {row["id"] for row in bookings if row["status"] == Status.CANCELLED}
    assert find_overlaps(await rows(database, Claim), cancelled, capacity) == []
    rentals = {row["id"] for row in await rows(database, Service) if row["binds_hours_at_ends"]}
    assert [
        row for row in bookings if not is_open(row, hours, exceptions, is_rental=row["service_id"] in rentals)
    ] == []
    assert [row for row in bookings if row["created_at"] >= min(row["start_time"], NOW + timedelta(seconds=1))] == []
    completed = {row["id"]: row for row in bookings if row["status"] == Status.COMPLETED}
    assert all(row["end_time"] <= NOW for row in completed.values())
    paid = await rows(database, Payment)
    assert all(completed[row["booking_id"]]["end_time"] <= row["settled_at"] <= NOW for row in paid)
    assert {(row["amount"], row["state"]) for row in paid} == {
        (int(100 * completed[row["booking_id"]]["price"]), "succeeded") for row in paid
    }
    if len(completed) > 100:
        assert 0.9 < len(paid) / len([row for row in completed.values() if row["price"]]) < 1
        assert {row["method"] for row in paid} == {"cash", "card", "transfer"}
    for review in await rows(database, Review):
        assert completed[review["booking_id"]]["end_time"] < review["created_at"] <= NOW


@pytest.mark.parametrize("first", [datetime(2025, 1, 1, tzinfo=UTC), datetime(2028, 2, 29, 23, 59, tzinfo=UTC)])
@pytest.mark.parametrize("zone", [BERLIN, ZoneInfo("Australia/Lord_Howe")])
def test_the_schedule_fills_up_on_any_day(first: datetime, zone: ZoneInfo) -> None:
    for weeks in range(0, 52, 4):
        now = first + timedelta(weeks=weeks, hours=weeks)
        filled = schedule.Schedule(Random(weeks), now=now, zone=zone)
        filled.fill_with_visits(60)

        assert len(filled.visits) == 60
        assert all(visit.booked_at < visit.start and visit.booked_at <= now for visit in filled.visits)
        assert any(exception.resource_name == "" for exception in filled.exceptions)
        steps = filled.list_past_steps()
        assert steps == sorted(steps, key=lambda step: step.at)
        assert [step.visit_index for step in steps if step.status == Status.PENDING] == list(range(60))


def test_there_are_enough_review_texts() -> None:
    texts = [text for reviews in review_texts.REVIEW_TEXTS.values() for _, text in reviews]

    assert len(texts) == len(set(texts)) >= 40
    assert all(len(review_texts.find_review_texts(service)) >= 9 for service in studio.SERVICES)
    assert not any("reformer" in text.lower() for _, text in review_texts.find_review_texts(studio.SERVICES[8]))


def test_names_are_unique_and_addresses_are_reserved() -> None:
    addresses = [studio.make_email(name) for name in [*studio.CUSTOMERS, *studio.DESK_NAMES]]

    assert len(set(addresses)) == len(addresses) == 82
    assert {address.partition("@")[2] for address in addresses} == {"example.com", "example.org", "example.net"}


async def test_the_demo_data_obeys_the_rules(database: Database) -> None:
    summary = await seed_database(database, now=NOW)

    assert summary == Summary(
        Outcome.SEEDED, services=13, resources=12, customers=80, bookings=800, reviews=await count(database, Review)
    )
    assert summary.reviews >= 40
    await assert_obeys_the_rules(database)
    bookings = await rows(database, Booking)
    past = Counter(row["status"] for row in bookings if row["end_time"] < NOW)
    future = Counter(row["status"] for row in bookings if row["start_time"] > NOW)
    assert past.keys() - {Status.CONFIRMED} == {Status.COMPLETED, Status.NO_SHOW, Status.CANCELLED}
    assert past[Status.COMPLETED] > 0.75 * past.total()
    assert future.keys() == {Status.PENDING, Status.CONFIRMED, Status.CANCELLED}
    assert future.total() > 80
    comments = [row["comment"] for row in await rows(database, Review)]
    assert len(set(comments)) == len(comments)
    assert await count(database, User) == 85
    assert {row["is_open"] for row in await rows(database, CalendarException)} == {True, False}


async def test_the_demo_has_visits_of_several_resources_and_seats(database: Database) -> None:
    await seed_database(database, now=NOW)

    claims = await rows(database, Claim)
    resources = {row["id"]: row["name"] for row in await rows(database, Resource)}
    rooms = {
        row["booking_id"] for row in claims if row["role"] == "in" and resources[row["resource_id"]] in studio.ROOMS
    }
    massages = {row["id"] for row in await rows(database, Booking) if row["resource_id"] and row["other_resource_ids"]}
    parties = [row for row in await rows(database, Booking) if row["seats"] > 1]
    assert len(massages) > 100
    assert rooms == massages
    assert len(parties) > 20
    assert all(row["price"] == 18 * row["seats"] for row in parties)


async def test_the_demo_has_rentals_of_days(database: Database) -> None:
    await seed_database(database, now=NOW)

    bikes = [row["id"] for row in await rows(database, Resource) if row["name"] in studio.BIKES]
    rentals = [row for row in await rows(database, Booking) if row["resource_id"] in bikes]
    roles = {row["role"] for row in await rows(database, Claim) if row["resource_id"] in bikes}
    assert len(rentals) > 10
    assert roles == {"using"}
    assert {row["end_time"] - row["start_time"] for row in rentals} == {timedelta(days=3)}
    assert {row["resource_id"] for row in rentals} == {*bikes}
    assert any(row["start_time"] < NOW < row["end_time"] for row in rentals)
    assert any(row["start_time"] > NOW for row in rentals)


async def test_history_names_the_actors(database: Database) -> None:
    await seed_database(database, now=NOW, bookings=60)

    staff = {row["id"] for row in await rows(database, User) if row["role"] == Role.STAFF}
    events = [row for row in await rows(database, Event) if row["table_name"] == "bookings"]
    assert {row["door"] for row in events} == {"seed"}
    assert [row for row in events if row["actor_id"] is None] == []
    created = [row for row in events if row["action"] == "created"]
    by_others = [row for row in created if row["actor_id"] != row["new"]["user_id"]]
    assert len(created) == 60
    assert by_others
    assert {row["actor_id"] for row in by_others} <= staff
    completed_by = [row["actor_id"] for row in events if (row["new"] or {}).get("status") == Status.COMPLETED]
    assert {*completed_by} == staff


@pytest.mark.parametrize("email", [DEMO_ADMIN, DEMO_STAFF, DEMO_CUSTOMER])
async def test_the_demo_users_can_sign_in(database: Database, email: str) -> None:
    await seed_database(database, now=NOW, bookings=0)

    user = await sign_in.authenticate(database, email=email, password=DEMO_PASSWORD, now=NOW)

    assert user.role == {DEMO_ADMIN: Role.ADMIN, DEMO_STAFF: Role.STAFF, DEMO_CUSTOMER: Role.USER}[email]
    assert await count(database, Booking) == 0


async def test_the_same_seed_creates_the_same_data(
    database: Database, server: str, worker_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seed.business.MAX_DETAILED_BOOKINGS", 30)  # the rest is added in bulk
    other = Database(create_database(server, f"bookit_seed_{worker_id}", TEMPLATE_DATABASE), size=2)
    await other.open()
    try:
        for target in (database, other):
            await seed_database(target, now=NOW, seed=7, bookings=500)
        first = await read_all_rows(database)
        assert first == await read_all_rows(other)
        assert len(first["Booking"]) == 500
    finally:
        await other.close()


def test_another_seed_creates_other_data() -> None:
    schedules = []
    for seed in (1, 2):
        schedules.append(schedule.Schedule(Random(seed), now=NOW, zone=BERLIN))
        schedules[-1].fill_with_visits(50)

    assert schedules[0].visits != schedules[1].visits


async def test_seeding_twice_does_not_double_the_data(database: Database) -> None:
    await seed_database(database, now=NOW, bookings=20)
    before = await read_all_rows(database)

    again = await seed_database(database, now=NOW + timedelta(days=3), seed=2, bookings=50)

    assert again == Summary(Outcome.ALREADY_SEEDED)
    assert await read_all_rows(database) == before


async def test_a_database_in_use_is_not_seeded(database: Database, haircut: Service) -> None:
    async with database.transaction(by=OWNER) as session:
        facts: dict[str, Any] = {"name": "Mo", "email": "mo@example.com", "password_hash": "x"}
        mo = await records.create(session, User, by=OWNER, now=NOW, **facts)
        start = NOW + timedelta(days=1)
        await records.create(
            session, Booking, by=OWNER, now=NOW, user_id=mo.id, service_id=haircut.id, start_time=start
        )

    summary = await seed_database(database, now=NOW, bookings=10)

    assert summary == Summary(Outcome.IN_USE)
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
    progress: list[int] = []

    summary = await seed_database(database, now=NOW, bookings=3000, on_progress=progress.append)

    assert summary == Summary(
        Outcome.SEEDED,
        services=13 + 8,
        resources=12 + 12,
        customers=80 + 295,
        bookings=3000,
        reviews=await count(database, Review),
    )
    assert progress == [*range(1, 51), 3000]
    assert await database.fetch(text("SELECT FROM users WHERE NOT is_demo")) == []
    assert await count(database, Booking) == 3000
    assert summary.reviews > 100
    await assert_obeys_the_rules(database)
    statuses = Counter(row["status"] for row in await rows(database, Booking))
    assert statuses.keys() == set(Status)
    written = select(func.count(func.distinct(col(Event.row_id)))).where(
        col(Event.table_name) == "bookings", col(Event.action) == "created"
    )
    assert [list(row.values()) for row in await database.fetch(written)] == [[3000]]


async def test_constraints_apply_to_bulk_loading(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A booking that overlaps another is refused, and everything with it."""
    monkeypatch.setattr("seed.business.MAX_DETAILED_BOOKINGS", 5)
    monkeypatch.setattr(bulk, "START_TIMES", bulk.START_TIMES[:1] * len(bulk.START_TIMES))

    with pytest.raises(no.SlotTaken):
        await seed_database(database, now=NOW, bookings=65)

    assert await count(database, User) == 0


def run_seed(database_url: str, home_folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
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
    first = run_seed(empty, tmp_path, "--bookings", "25")
    second = run_seed(empty, tmp_path)

    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert "25 bookings" in first.stdout
    for expected in (DEMO_PASSWORD, DEMO_ADMIN, DEMO_STAFF, DEMO_CUSTOMER):
        assert expected in first.stdout
    assert "25 of 25 bookings, 100%" in first.stderr
    assert second.stdout == "This database already has its demo business, so nothing was added.\n"
    assert second.stderr == ""
    with psycopg.connect(empty) as connection:
        assert connection.execute("SELECT count(*) FROM bookings").fetchone() == (25,)


@pytest.mark.process
def test_the_command_requires_a_migrated_database(server: str, worker_id: str, tmp_path: Path) -> None:
    bare = create_database(server, f"bookit_bare_{worker_id}", "template0")

    result = run_seed(bare, tmp_path)

    assert result.returncode == 1
    assert result.stdout == ""
    assert "bookit migrate" in result.stderr
    assert result.stderr.count("\n") == 1
