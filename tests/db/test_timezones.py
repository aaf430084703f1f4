"""PostgreSQL and Python have one clock for every time zone that BookIt accepts, or BookIt says that they do not."""

import zoneinfo
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest
from sqlalchemy import text

from bookit import records, timezones
from bookit import refusals as no
from bookit.db import timezone_check
from bookit.db.embedded import read_timezones_of_server
from bookit.db.pool import Database
from bookit.schema.tables import Resource
from bookit.settings import SettingsError, read_settings
from seed.business import Outcome, seed_database
from tests.support.admin_client import AdminDesk, submit_form
from tests.support.clock import NOW
from tests.support.people import OWNER
from tests.support.timezones import OTHER_ZONE, write_other_clocks

THREE_YEARS = timedelta(days=3 * 366)
# Names that PostgreSQL or Python reads, but not both alike.
REFUSED = [
    "CET", "EST", "EST5EDT", "GMT", "Japan", "UCT", "Zulu", "X5", "<+05>-05", "US/FOO5", "Etc/FOO5", "+01", "5",
    "europe/berlin", "EUROPE/BERLIN", "Europe/berlin", "utc", "posix/Europe/Berlin", "right/Europe/Berlin", "localtime",
    "posixrules", "Factory", "Europe/Berlin ", " Europe/Berlin", "Europe/../Europe/Berlin", "/Europe/Berlin", "",
]  # fmt: skip
NASTY = [
    "America/Vancouver", "Pacific/Apia", "Africa/Casablanca", "Australia/Lord_Howe", "Asia/Kathmandu",
    "Antarctica/Troll",
]  # fmt: skip


@pytest.fixture
def other_clocks(tmp_path: Path) -> Iterator[Path]:
    """Let Python read another clock for Vancouver, as a machine does that has not heard of a change."""
    before = zoneinfo.TZPATH
    zones = write_other_clocks(tmp_path)
    zoneinfo.reset_tzpath([str(zones), *before])
    ZoneInfo.clear_cache()
    yield zones
    zoneinfo.reset_tzpath(before)
    ZoneInfo.clear_cache()


async def test_both_have_one_clock_for_every_accepted_zone(database: Database) -> None:
    names = timezones.list_names()

    assert len(names) > 500
    assert await timezone_check.find_difference(database, names, now=datetime.now(UTC), horizon=THREE_YEARS) is None


async def test_both_accept_the_same_names(database: Database) -> None:
    rows = await database.fetch(text("SELECT name FROM pg_timezone_names WHERE timezone_is_known(name)"))

    assert sorted(row["name"] for row in rows) == timezones.list_names()


@pytest.mark.parametrize("name", REFUSED)
async def test_a_name_that_they_read_otherwise_is_refused_everywhere(
    database: Database, superuser: psycopg.Connection, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(no.UnknownTimezone):
        async with database.transaction(by=OWNER) as session:
            await records.create(session, Resource, by=OWNER, now=NOW, name="Lea", timezone=name)
    with pytest.raises(psycopg.errors.CheckViolation):
        superuser.execute("INSERT INTO resources (name, timezone) VALUES ('Lea', %s)", [name])
    monkeypatch.setenv("TIMEZONE", name)
    with pytest.raises(SettingsError, match=r"is not a time zone; write an IANA name such as Europe/Berlin"):
        read_settings(_env_file=None)


def test_the_function_leaves_the_time_zone_of_the_session(superuser: psycopg.Connection) -> None:
    for name in ("Asia/Tokyo", "Nowhere/Land", "X5"):
        before = superuser.execute("SHOW timezone").fetchone()
        superuser.execute("SELECT timezone_is_known(%s)", [name])
        assert superuser.execute("SHOW timezone").fetchone() == before


async def test_a_difference_is_found_and_explained(database: Database, other_clocks: Path) -> None:
    async with database.transaction(by=OWNER) as session:
        await records.create(session, Resource, by=OWNER, now=NOW, name="Lea", timezone="Asia/Tokyo")
        await session.fetch(text("INSERT INTO resources (name, timezone) VALUES ('Max', 'America/Vancouver')"))

    sentence = await timezone_check.explain_difference_in_use(database, "Europe/Berlin", now=NOW)

    (version,) = (await database.fetch(text("SELECT current_setting('server_version') AS v")))[0].values()
    assert sentence is not None
    assert sentence.startswith(
        f"The clocks of America/Vancouver differ: at 2030-01-07 09:00 UTC, PostgreSQL {version} has UTC-0"
    )
    assert f" and Python ({other_clocks}) has UTC+05:45. Update" in sentence
    assert await timezone_check.find_difference(database, ["Europe/Berlin", "Asia/Tokyo"], now=NOW) is None


async def test_zones_that_were_left_at_the_default_are_warned_of(database: Database) -> None:
    async with database.transaction(by=OWNER) as session:
        for name in ("Lea", "Max"):
            await records.create(session, Resource, by=OWNER, now=NOW, name=name)
        await records.create(session, Resource, by=OWNER, now=NOW, name="Tokyo", timezone="Asia/Tokyo")
        await records.create(session, Resource, by=OWNER, now=NOW, name="Old", is_active=False)

    warnings = [await timezone_check.warn_of_default(database, zone) for zone in ("Europe/Berlin", "UTC")]
    async with database.transaction(by=OWNER) as session:
        await session.fetch(
            text("INSERT INTO resources (name, timezone) SELECT 'No ' || n, 'UTC' FROM generate_series(1, 9) n")
        )
    many = await timezone_check.warn_of_default(database, "Europe/Berlin")
    async with database.transaction(by=OWNER) as session:
        await session.fetch(text("UPDATE resources SET timezone = 'Europe/Berlin'"))

    sentence = (
        "Warning: the business is in Europe/Berlin, but the clock of Lea, Max is still UTC: opening hours are read by"
        " that clock. Set their time zone in the staff panel, under Team & rooms."
    )
    assert warnings == [sentence, None]
    assert "clock of Lea, Max, No 1, No 2, No 3 and others is still UTC" in str(many)
    assert await timezone_check.warn_of_default(database, "Europe/Berlin") is None


@pytest.mark.parametrize(
    ("change", "shift"),
    [
        (datetime(2030, 3, 31, 1, tzinfo=UTC), timedelta(hours=2)),
        (datetime(2030, 10, 27, 1, tzinfo=UTC), timedelta(hours=1)),
    ],
)
def test_each_change_is_compared_to_the_minute(change: datetime, shift: timedelta) -> None:
    offsets = dict(timezones.list_offsets(ZoneInfo("Europe/Berlin"), NOW, NOW + timedelta(days=366)))

    assert offsets[change] == shift
    assert offsets[change - timedelta(minutes=1)] == timedelta(hours=3) - shift


async def test_staff_cannot_choose_a_zone_whose_clocks_differ(desk: AdminDesk, other_clocks: Path) -> None:
    refused = await submit_form(desk.ada, "/admin/resource/create", name="Lea", timezone=OTHER_ZONE)
    accepted = await submit_form(desk.ada, "/admin/resource/create", name="Max", timezone="Asia/Tokyo")
    changed = await submit_form(desk.ada, "/admin/resource/edit/1", timezone=OTHER_ZONE)

    assert [refused.status, accepted.status, changed.status] == [400, 302, 400]
    assert str(no.TimezonesDiffer()) in refused.text
    assert str(no.TimezonesDiffer()) in changed.text


def test_the_embedded_server_lends_its_time_zones(other_clocks: Path) -> None:
    assert timezones.read_zone(OTHER_ZONE).utcoffset(NOW) == timedelta(hours=5, minutes=45)

    read_timezones_of_server()

    assert [Path(folder).name for folder in zoneinfo.TZPATH] == ["timezone"]
    assert timezones.read_zone(OTHER_ZONE).utcoffset(NOW) in {timedelta(hours=-8), timedelta(hours=-7)}


@pytest.mark.parametrize("zone", NASTY)
async def test_the_demo_business_opens_in_any_zone(database_url: str, empty: str, zone: str) -> None:
    del empty
    now = datetime.combine(date(2027, 3, 1), time(9), UTC)
    async with Database(database_url, timezone=zone, size=1) as database:
        facts: dict[str, Any] = {"now": now, "bookings": 8}
        assert (await seed_database(database, **facts)).outcome == Outcome.SEEDED
