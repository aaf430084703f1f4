"""Reports at the API and at the desk, compared with figures counted minute by minute in Python."""

import re
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import httpx2
import pytest
from sqlalchemy import text

from bookit import records
from bookit import refusals as no
from bookit.db.pool import Database
from bookit.db.statements import Row
from bookit.policy import permissions, times
from bookit.policy.permissions import Actor
from bookit.reports import figures
from bookit.reports.ranges import ReportRange
from bookit.schema.tables import Booking, CalendarException, OpeningHours, Resource, Role, Service, Status
from bookit.settings import Settings
from tests.support.admin_client import AdminDesk, get_page_text
from tests.support.clock import NOW, Clock
from tests.support.exports import read_csv
from tests.support.people import OWNER, JoinUser, Person
from tests.support.request_helpers import status_and_code
from tests.support.sign_ins import token_of

BERLIN = ZoneInfo("Europe/Berlin")
MINUTE, A_DAY = timedelta(minutes=1), timedelta(days=1)
HERE: dict[str, Any] = {"by": OWNER, "now": NOW}
# Weeks with a clock change in either direction, and the weeks around now, which include future visits.
RANGES = [
    (date(2029, 10, 24), date(2029, 11, 7)),
    (date(2029, 3, 20), date(2029, 4, 3)),
    (date(2029, 12, 27), date(2030, 1, 15)),
]
REPORTS = ("revenue", "utilisation", "no-shows", "repeat-customers")


async def create_business(database: Database) -> None:
    """Create a chair, a room with three seats in another zone, a night shift and a resource that is always open."""
    async with database.transaction(by=OWNER) as session:
        for name, capacity, zone in (("Lea", 1, "Europe/Berlin"), ("Room", 3, "America/New_York"),
                                     ("Night", 1, "Europe/Berlin"), ("Locker", 2, "Europe/Berlin")):  # fmt: skip
            await records.create(session, Resource, **HERE, name=name, capacity=capacity, timezone=zone)
        await records.create(session, Resource, **HERE, name="Gone", is_active=False)
        hours = [(1, day, time(9), time(12, 20)) for day in range(1, 6)]
        hours += [(1, day, time(13), time(17)) for day in range(1, 6)]
        hours += [(2, day, time(8), time(20)) for day in range(1, 8)]
        hours += [(3, day, time(22), time(6)) for day in (5, 6, 7)]
        for resource_id, weekday, opens, closes in hours:
            facts: dict[str, Any] = {"resource_id": resource_id, "weekday": weekday, "opens": opens, "closes": closes}
            if resource_id == 2:
                facts["valid_until"] = date(2030, 1, 8)
            await records.create(session, OpeningHours, **HERE, **facts)
        for title, minutes, setup, cleanup, served_by in (
            ("Cut", 45, 0, 5, [1]), ("Talk", 30, 10, 10, [1, 2]), ("Class", 60, 0, 0, [2, 4]),
            ("Watch", 120, 0, 0, [3]),
        ):  # fmt: skip
            about: dict[str, Any] = {"title": title, "price": minutes, "duration_minutes": minutes}
            about |= {"setup_minutes": setup, "cleanup_minutes": cleanup, "resource_ids": served_by}
            await records.create(session, Service, **HERE, **about)


async def create_exceptions(database: Database, first: date, chance: Random) -> None:
    """Close everything for an afternoon, and open and close single resources."""
    noon = datetime.combine(first, time(12), tzinfo=BERLIN)
    async with database.transaction(by=OWNER) as session:
        for resource_id, is_open in ((None, False), (1, False), (1, True), (3, True), (4, False), (None, True)):
            start = noon + timedelta(days=chance.randrange(12), minutes=5 * chance.randrange(200))
            facts: dict[str, Any] = {"resource_id": resource_id, "is_open": is_open, "start_time": start}
            facts["timezone"] = None  # at exactly these moments, for every resource
            end = start + timedelta(minutes=5 * chance.randrange(10, 90))
            await records.create(session, CalendarException, **HERE, **facts, end_time=end)


async def create_bookings(database: Database, customers: list[int], first: date, last: date, chance: Random) -> None:
    """Create bookings at any time, also before the range; skip those whose slot is taken."""
    begin = datetime.combine(first - 8 * A_DAY, time(), tzinfo=UTC)
    served = {1: [1], 2: [1, 2], 3: [2, 4], 4: [3]}
    async with database.transaction(by=OWNER, now=NOW) as session:
        for _ in range(150):
            service = chance.randrange(1, 5)
            facts: dict[str, Any] = {"user_id": chance.choice(customers), "service_id": service}
            facts["resource_id"] = chance.choice(served[service])
            facts["start_time"] = begin + timedelta(minutes=5 * chance.randrange((last - first).days * 288 + 10 * 288))
            try:
                async with session.savepoint():
                    booking = await records.create(session, Booking, **HERE, **facts, override_reason="A test")
            except no.SlotTaken:
                continue
            status = chance.choice([*Status, Status.COMPLETED, Status.COMPLETED])
            if status != Status.PENDING:
                await records.change(session, booking, **HERE, status=status)


class Counted:
    """The same figures, counted in Python from the rows."""

    def __init__(self, rows: dict[str, list[Row]], first: date, last: date, by: str) -> None:
        self.rows, self.days = rows, (first, last)
        self.starts = [at(first)]
        for day in (first + n * A_DAY for n in range(1, (last - first).days + 1)):
            if (by == "week" and day.isoweekday() == 1) or (by == "month" and day.day == 1):
                self.starts.append(at(day))
        self.ends = [*self.starts[1:], at(last + A_DAY)]

    def period(self, moment: datetime) -> int | None:
        """Return the index of the period that contains a moment."""
        periods = [n for n, (a, b) in enumerate(zip(self.starts, self.ends, strict=True)) if a <= moment < b]
        return periods[0] if periods else None

    def visits(self) -> dict[int, dict[str, float]]:
        """Count visits and revenue by period."""
        counts: dict[int, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        for row in self.rows["bookings"]:
            period = self.period(row["start_time"])
            if period is None:
                continue
            here = counts[period]
            here["completed"] += row["status"] == "completed"
            here["no_shows"] += row["status"] == "no_show"
            here["revenue"] += float(row["price"]) * (row["status"] == "completed")
            is_coming = row["status"] in {"pending", "confirmed"} and row["start_time"] > NOW
            here["coming"] += is_coming
            here["to_come"] += float(row["price"]) * is_coming
        return counts

    def customers(self) -> dict[int, tuple[int, int]]:
        """Count customers and repeat customers by period."""
        done = sorted((r["start_time"], r["user_id"]) for r in self.rows["bookings"] if r["status"] == "completed")
        ever: set[int] = set()
        before: dict[int, set[int]] = {}
        seen: dict[int, set[int]] = defaultdict(set)
        for start, user in done:
            period = self.period(start)
            if period is not None:
                before.setdefault(period, set(ever))
                seen[period].add(user)
            ever.add(user)
        return {period: (len(users), len(users & before[period])) for period, users in seen.items()}

    def open_minutes(self, resource: Row) -> set[datetime]:
        """Return every minute in which a resource is open, from two days before the range to two days after."""
        zone, (first, last) = ZoneInfo(resource["timezone"]), self.days
        hours = [row for row in self.rows["opening_hours"] if row["resource_id"] == resource["id"]]
        minutes_open: set[datetime] = set()
        for day in (first + n * A_DAY for n in range(-3, (last - first).days + 4)):
            for row in hours:
                if row["weekday"] == day.isoweekday() and (row["valid_until"] is None or day <= row["valid_until"]):
                    ends = day + (A_DAY if row["closes"] <= row["opens"] else timedelta())
                    minutes_open |= set(between(at(day, row["opens"], zone), at(ends, row["closes"], zone)))
            if not hours:
                minutes_open |= set(between(at(day, time(), zone), at(day + A_DAY, time(), zone)))
        for own, is_open in ((None, True), (None, False), (resource["id"], True), (resource["id"], False)):
            for row in self.rows["calendar_exceptions"]:
                if row["resource_id"] == own and row["is_open"] == is_open:
                    minutes = set(between(row["start_time"], row["end_time"]))
                    minutes_open = minutes_open | minutes if is_open else minutes_open - minutes
        return minutes_open

    def used(self) -> Iterator[tuple[str, int, str, int]]:
        """Return minutes by resource, period and kind."""
        for resource in (row for row in self.rows["resources"] if row["is_active"]):
            open_minutes = self.open_minutes(resource)
            for minute in open_minutes:
                if (period := self.period(minute)) is not None:
                    yield resource["name"], period, "open_minutes", resource["capacity"]
            seats: dict[int, set[datetime]] = {seat: set() for seat in range(1, resource["capacity"] + 1)}
            for row in self.rows["bookings"]:
                if row["resource_id"] == resource["id"] and row["status"] != "cancelled":
                    seats[row["seat"]] |= set(between(row["blocks_from"], row["blocks_until"]))
            for seat, blocked in seats.items():
                yield from self.seat(resource, seat, open_minutes, blocked)

    def seat(self, resource: Row, seat: int, open_minutes: set[datetime], blocked: set[datetime]) -> Iterator[Any]:
        """Return the minutes of one seat."""
        visits = {
            minute
            for row in self.rows["bookings"]
            if (row["resource_id"], row["seat"]) == (resource["id"], seat) and row["status"] != "cancelled"
            for minute in between(row["start_time"], row["end_time"])
        }
        for minute in visits & open_minutes:
            if (period := self.period(minute)) is not None:
                yield resource["name"], period, "booked_minutes", 1
        shortest = {1: 30, 2: 30, 3: 120, 4: 60}[resource["id"]]
        for run in runs(open_minutes - blocked):
            if len(run) < shortest and (period := self.period(run[0])) is not None:
                yield resource["name"], period, "unsellable_minutes", len(run)


def at(day: date, clock: time = time(), zone: ZoneInfo = BERLIN) -> datetime:
    return datetime.combine(day, clock, tzinfo=zone).astimezone(UTC)


def between(since: datetime, until: datetime) -> Iterator[datetime]:
    while since < until:
        yield since
        since += MINUTE


def runs(minutes: set[datetime]) -> Iterator[list[datetime]]:
    """Return runs of consecutive minutes."""
    run: list[datetime] = []
    for minute in sorted(minutes):
        if run and minute - run[-1] > MINUTE:
            yield run
            run = []
        run.append(minute)
    if run:
        yield run


@pytest.fixture
def api(desk: AdminDesk, staff_settings: Settings, ada: Person) -> httpx2.AsyncClient:
    """Return Ada's client of the API of the same application."""
    token = token_of(ada, staff_settings, now=NOW)
    bearer = {"Authorization": f"Bearer {token}"}
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(desk.app), base_url="http://bookit.test", headers=bearer)


@pytest.fixture
async def customers(join: JoinUser) -> list[int]:
    return [(await join(name)).id for name in ("Tom", "Eve", "Ida", "Leo", "Kim")]


async def all_rows(database: Database) -> dict[str, list[Row]]:
    tables = ("bookings", "opening_hours", "calendar_exceptions", "resources")
    rows = {name: await database.fetch(text(f"SELECT * FROM {name}")) for name in tables}
    seats = {
        row["booking_id"]: row["seat"] for row in await database.fetch(text("SELECT booking_id, seat FROM claims"))
    }
    return rows | {"bookings": [row | {"seat": seats[row["id"]]} for row in rows["bookings"]]}


@pytest.mark.parametrize("by", ["week", "month"])
@pytest.mark.parametrize("days", RANGES, ids=str)
async def test_the_figures_match_an_independent_count(
    desk: AdminDesk, api: httpx2.AsyncClient, customers: list[int], days: tuple[date, date], by: str
) -> None:
    (first, last), chance = days, Random(f"{days}")
    await create_business(desk.database)
    await create_exceptions(desk.database, first, chance)
    await create_bookings(desk.database, customers, first, last, chance)
    counted = Counted(await all_rows(desk.database), first, last, by)

    query = {"from_date": str(first), "to_date": str(last), "by": by}
    reports = {name: (await api.get(f"/reports/{name}", params=query)).json() for name in REPORTS}

    numbers = range(len(counted.starts))
    visits, came = counted.visits(), counted.customers()
    used: dict[Any, int] = defaultdict(int)
    for name, period, kind, minutes in counted.used():
        for key in ((period, kind), (name, kind), ("all", kind)):
            used[key] += minutes
    for name in ("completed", "revenue", "coming", "to_come"):
        assert [row[name] for row in reports["revenue"]["periods"]] == [visits[n][name] for n in numbers]
        assert reports["revenue"]["total"][name] == sum(visits[n][name] for n in numbers)
        assert sum(row[name] for row in reports["revenue"]["services"]) == reports["revenue"]["total"][name]
    assert [row["no_shows"] for row in reports["no-shows"]["periods"]] == [visits[n]["no_shows"] for n in numbers]
    assert [(row["customers"], row["repeat_customers"]) for row in reports["repeat-customers"]["periods"]] == [
        came.get(n, (0, 0)) for n in numbers
    ]
    for kind in ("open_minutes", "booked_minutes", "unsellable_minutes"):
        assert [row[kind] for row in reports["utilisation"]["periods"]] == [used[n, kind] for n in numbers]
        resources = {row["name"]: row[kind] for row in reports["utilisation"]["resources"]}
        assert resources == {name: used[name, kind] for name in ("Lea", "Room", "Night", "Locker")}
        assert reports["utilisation"]["total"][kind] == used["all", kind] > 0
    assert [row["name"] for row in reports["utilisation"]["resources"] if row["is_always_open"]] == ["Locker"]


@pytest.mark.parametrize("name", REPORTS)
async def test_api_and_desk_report_the_same_figures(
    desk: AdminDesk, api: httpx2.AsyncClient, customers: list[int], name: str
) -> None:
    chance, (first, last) = Random(7), RANGES[2]
    await create_business(desk.database)
    await create_bookings(desk.database, customers, first, last, chance)
    query = f"from_date={first}&to_date={last}&by=week"

    reports = (await api.get(f"/reports/{name}?{query}")).json()
    page = await desk.ada.get(f"/admin/reports?report={name}&{query}")
    sheet = await desk.ada.get(f"/admin/reports?report={name}&{query}&as=csv")

    head, *rows = read_csv(sheet)
    of_parts = reports.get("services") or reports.get("resources") or []
    assert len(rows) == len(reports["periods"]) + len(of_parts) + 1
    figure_count = len(head) - (3 if of_parts else 2)
    for row, period in zip(rows, reports["periods"], strict=False):
        assert row[:2] == [period["from_date"], period["to_date"]]
        numbers = [value for value in list(period.values()) if not isinstance(value, str)]
        assert sorted(float(value) for value in row[-figure_count:] if value) == sorted(
            float(value) for value in numbers if value is not None
        )
    assert reports["meaning"] in get_page_text(page.text)
    assert page.text.count("data-value=") == figure_count * len(reports["periods"])
    assert f'filename="{name}-{first}-{last}.csv"' in sheet.headers["content-disposition"]


async def test_a_name_like_a_formula_is_exported_as_text(desk: AdminDesk, tom: Person) -> None:
    async with desk.database.transaction(by=OWNER) as session:
        facts: dict[str, Any] = {"title": "=1+1", "price": 5, "duration_minutes": 30}
        await records.create(session, Service, **HERE, **facts)
        visit: dict[str, Any] = {"user_id": tom.id, "service_id": 1, "start_time": NOW - A_DAY}
        booking = await records.create(session, Booking, **HERE, **visit)
        await records.change(session, booking, **HERE, status=Status.COMPLETED)

    sheet = await desk.ada.get("/admin/reports?as=csv")

    assert [row[2] for row in read_csv(sheet)] == ["Service", *[""] * 6, "'=1+1", "Total"]


BAD = {
    "from_date=2030-02-01&to_date=2030-01-01": (400, "range-reversed"),
    "from_date=2020-01-01&to_date=2030-01-01": (400, "range-too-long"),
    "from_date=2029-01-01&to_date=2030-01-02": (400, "range-too-long"),
    "from_date=9999-12-31&to_date=9999-12-31": (400, "outside-the-calendar"),
    "to_date=0001-01-01": (400, "outside-the-calendar"),
    "from_date=2029-02-30": (422, "wrong-shape"),
    "from_date=2030-01-01T10:00:00Z": (422, "wrong-shape"),
    "from_date=20300101": (422, "wrong-shape"),
    "by=year": (422, "wrong-shape"),
    "by=day": (422, "wrong-shape"),
    "until=2030-01-01": (422, "wrong-shape"),
}


@pytest.mark.parametrize("query", BAD)
async def test_an_invalid_range_is_refused_by_api_and_desk(
    desk: AdminDesk, api: httpx2.AsyncClient, query: str
) -> None:
    expected, _ = BAD[query]

    answers = [status_and_code(await api.get(f"/reports/{name}?{query}")) for name in REPORTS]
    pages = [await desk.ada.get(f"/admin/reports?report={name}&{query}") for name in REPORTS]

    assert answers == [BAD[query]] * len(REPORTS)
    is_read_more_kindly = query in {"from_date=20300101", "until=2030-01-01"}
    assert [page.status_code for page in pages] == [200 if is_read_more_kindly else expected] * len(REPORTS)
    assert all(("alert-danger" in page.text) != is_read_more_kindly for page in pages)


async def test_a_range_of_a_year_is_accepted(api: httpx2.AsyncClient) -> None:
    answer = await api.get("/reports/utilisation?from_date=2028-01-01&to_date=2028-12-31&by=month")

    assert (answer.status_code, len(answer.json()["periods"])) == (200, 12)


async def test_rates_without_bookings_are_null(desk: AdminDesk, api: httpx2.AsyncClient) -> None:
    reports = [(await api.get(f"/reports/{name}")).json() for name in REPORTS]
    pages = [await desk.ada.get(f"/admin/reports?report={name}") for name in REPORTS]

    assert [(one["from_date"], one["to_date"]) for one in reports] == [("2029-12-09", "2030-01-07")] * 4
    rates = [one["total"].get(name) for one in reports for name in ("utilisation", "no_show_rate", "repeat_rate")]
    assert rates == [None] * 12
    assert reports[0]["total"] == {"completed": 0, "revenue": 0.0, "coming": 0, "to_come": 0.0}
    assert [page.status_code for page in pages] == [200] * 4


async def test_only_staff_may_read_reports(cast: dict[str, Person], visitor: httpx2.AsyncClient) -> None:
    for name in REPORTS:
        codes = {who: status_and_code(await person.request("GET", f"/reports/{name}")) for who, person in cast.items()}
        forbidden = (403, "forbidden")
        assert codes == {"tom": forbidden, "eve": forbidden, "mara": forbidden, "ada": (200, None)}
        assert status_and_code(await visitor.get(f"/reports/{name}")) == (401, "unauthenticated")


async def test_an_unknown_report_is_not_found(desk: AdminDesk) -> None:
    assert (await desk.ada.get("/admin/reports?report=profit")).status_code == 404


async def test_a_hold_counts_until_it_expires(
    database: Database, haircut: Service, tom: Person, ada: Person, clock: Clock
) -> None:
    await tom.request(
        "POST", "/bookings", json={"service_id": haircut.id, "start_time": f"{NOW + MINUTE}", "hold": True}
    )

    async def coming_and_booked() -> tuple[int, int]:
        today = {"from_date": "2030-01-07", "to_date": "2030-01-07"}
        found = [(await ada.request("GET", f"/reports/{name}", params=today)).json()["total"] for name in REPORTS[:2]]
        return found[0]["coming"], found[1]["booked_minutes"]

    while_it_lives = await coming_and_booked()
    clock.advance(seconds=30)
    still = await coming_and_booked()
    async with database.transaction(by=OWNER) as session:
        await session.fetch(text("UPDATE bookings SET expires_at = :at"), at=clock())

    assert (while_it_lives, still, await coming_and_booked()) == ((1, 45), (1, 45), (0, 0))


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/Havana", "Pacific/Apia", "America/Sao_Paulo"])
def test_periods_have_no_gaps(zone: str) -> None:
    for by in ("day", "week", "month"):
        for year in (2011, 2017):
            days = ReportRange(date(year, 1, 5), date(year, 12, 31), ZoneInfo(zone), by)
            assert days.periods[0][0] == days.first
            assert days.periods[-1][1] == days.last
            assert all(b[0] - a[1] == A_DAY for a, b in zip(days.periods, days.periods[1:], strict=False))
            assert days.period_starts == sorted(days.period_starts)
            assert days.period_starts[0] == days.since < days.until


def test_days_before_the_first_date_are_cut_off() -> None:
    assert times.days_before(date(1, 1, 3), 30) == date(1, 1, 1)
    assert Role.USER not in {role for role in Role if permissions.has_ability(Actor("api", 1, role), "see_reports")}


@pytest.mark.parametrize("days", RANGES, ids=str)
async def test_the_total_of_a_range_is_the_sum_of_its_periods(
    desk: AdminDesk, customers: list[int], days: tuple[date, date]
) -> None:
    (first, last), chance = days, Random(f"{days}")
    await create_business(desk.database)
    await create_exceptions(desk.database, first, chance)
    await create_bookings(desk.database, customers, first, last, chance)

    weekly = await figures.utilisation(desk.database, ReportRange(first, last, BERLIN, "week"), now=NOW)
    whole = await figures.utilisation(desk.database, ReportRange(first, last, BERLIN, "whole"), now=NOW)
    in_short = [
        await figures.utilisation(desk.database, ReportRange(first, last, BERLIN, by), now=NOW, with_gaps=False)
        for by in ("week", "whole")
    ]

    assert (whole.total, whole.groups) == (weekly.total, weekly.groups)
    assert [row["booked_minutes"] for row in whole.periods] == [weekly.total["booked_minutes"]]
    assert weekly.total["unsellable_minutes"] > 0
    nothing = {"unsellable_minutes": 0}
    for short in in_short:
        assert short.total == weekly.total | nothing
        assert short.groups == [row | nothing for row in weekly.groups]


@pytest.mark.parametrize(("day", "expected"), [(8, [("Haircut", False, 45)]), (9, [])])
async def test_an_inactive_resource_counts_while_it_has_visits(
    ada: Person, visit: Booking, database: Database, day: int, expected: list[tuple[str, bool, int]]
) -> None:
    await database.fetch(text("UPDATE resources SET is_active = false"))
    query = {"from_date": f"2030-01-{day:02}", "to_date": f"2030-01-{day:02}"}

    report = (await ada.request("GET", "/reports/utilisation", params=query)).json()

    rows = [(row["name"], row["is_active"], row["booked_minutes"]) for row in report["resources"]]
    assert rows == expected


async def test_the_desk_marks_what_is_inactive(desk: AdminDesk, visit: Booking) -> None:
    for table in ("resources", "services"):
        await desk.database.fetch(text(f"UPDATE {table} SET is_active = false"))
    days = "from_date=2030-01-08&to_date=2030-01-08"

    pages = {
        "utilisation": f"/admin/reports?report=utilisation&{days}",
        "revenue": f"/admin/reports?report=revenue&{days}",
        "today": "/admin/",
        "filter": "/admin/booking/list",
    }
    texts = {name: get_page_text((await desk.ada.get(path)).text) for name, path in pages.items()}
    marked = {name: bool(re.search(r"Haircut \(?inactive", page)) for name, page in texts.items()}

    assert marked == dict.fromkeys(pages, True)
