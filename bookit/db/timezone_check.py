"""Whether PostgreSQL and Python have the same clock for a time zone.

PostgreSQL finds free slots and Python checks starts. If a country changes its rules and only one of the two knows,
what is offered cannot be booked.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import text

from bookit import timezones
from bookit.db.session import Reader
from bookit.schema.fields import MAX_HORIZON_DAYS

DEFAULT_ZONE = "UTC"  # of the business, where TIMEZONE is not set
MAX_NAMED = 5  # resources
HORIZON = timedelta(days=MAX_HORIZON_DAYS)
# Seconds are NULL for a name that the database does not accept.
FIRST_DIFFERENCE = text("""
WITH sample AS (
  SELECT * FROM unnest(CAST(:zones AS text[]), CAST(:moments AS timestamptz[]), CAST(:offsets AS bigint[]))
           AS sample (zone, at, expected)
), known AS MATERIALIZED (
  SELECT zone FROM (SELECT DISTINCT zone FROM sample) AS names WHERE timezone_is_known(zone)
), compared AS (
  SELECT sample.*, CASE WHEN known.zone IS NOT NULL
           THEN extract(epoch FROM (at AT TIME ZONE known.zone) - (at AT TIME ZONE 'UTC')) END AS seconds
    FROM sample LEFT JOIN known USING (zone)
)
SELECT * FROM compared WHERE seconds IS DISTINCT FROM expected ORDER BY at, zone LIMIT 1
""")
IN_USE = text("SELECT DISTINCT timezone FROM resources ORDER BY timezone")
LEFT_AT_DEFAULT = text("SELECT name FROM resources WHERE is_active AND timezone = :default ORDER BY name, id LIMIT 6")
VERSION = text("SELECT current_setting('server_version') AS version")


class Difference(NamedTuple):
    """The first moment at which PostgreSQL and Python have different clocks for a zone; None for an unknown zone."""

    zone: str
    at: datetime
    database_offset: timedelta | None
    python_offset: timedelta | None


async def find_difference(
    reader: Reader, names: Iterable[str], *, now: datetime, horizon: timedelta = HORIZON
) -> Difference | None:
    """Return the first difference between the clocks of these zones up to the horizon, or None."""
    zones: list[str] = []
    moments: list[datetime] = []
    offsets: list[int] = []
    for name in names:
        try:
            zone = timezones.read_zone(name)
        except ValueError:
            return Difference(name, now, timedelta(), None)
        for moment, offset in timezones.list_offsets(zone, now, now + horizon):
            zones.append(name)
            moments.append(moment)
            offsets.append(int(offset.total_seconds()))
    for row in await reader.fetch(FIRST_DIFFERENCE, zones=zones, moments=moments, offsets=offsets):
        seconds = row["seconds"]
        database_offset = None if seconds is None else timedelta(seconds=int(seconds))
        return Difference(row["zone"], row["at"], database_offset, timedelta(seconds=row["expected"]))
    return None


async def explain_difference_in_use(reader: Reader, business_zone: str, *, now: datetime) -> str | None:
    """Return what differs between the clocks of the zones in use, as a sentence with both versions, or None."""
    names = {business_zone, *(row["timezone"] for row in await reader.fetch(IN_USE))}
    difference = await find_difference(reader, sorted(names), now=now)
    if difference is None:
        return None
    ((version,),) = ([*row.values()] for row in await reader.fetch(VERSION))
    return explain(difference, f"PostgreSQL {version}", f"Python ({timezones.describe_source(difference.zone)})")


async def warn_of_default(reader: Reader, business_zone: str) -> str | None:
    """Return a warning if resources have the default zone and the business has another one, or None.

    A resource gets the zone that the business has when the resource is created, and keeps it.
    """
    if business_zone == DEFAULT_ZONE:
        return None
    names = [row["name"] for row in await reader.fetch(LEFT_AT_DEFAULT, default=DEFAULT_ZONE)]
    if not names:
        return None
    listed = ", ".join(names[:MAX_NAMED]) + (" and others" if len(names) > MAX_NAMED else "")
    return (
        f"Warning: the business is in {business_zone}, but the clock of {listed} is still {DEFAULT_ZONE}:"
        f" opening hours are read by that clock. Set their time zone in the staff panel, under Team & rooms."
    )


def explain(difference: Difference, database: str, python: str) -> str:
    """Return what differs as a sentence that says what to do."""
    zone, at, database_offset, python_offset = difference
    if python_offset is None:
        return (
            f"{python} does not know the time zone {zone}, which a resource has."
            " Give that resource an IANA name such as Europe/Berlin."
        )
    if database_offset is None:
        return f"{database} does not know the time zone {zone}, but {python} does. Update PostgreSQL's time-zone data."
    return (
        f"The clocks of {zone} differ: at {at:%Y-%m-%d %H:%M} UTC, {database} has {format_offset(database_offset)}"
        f" and {python} has {format_offset(python_offset)}. Update the time-zone data of the older one."
    )


def format_offset(offset: timedelta) -> str:
    """Return an offset as in UTC+05:45."""
    minutes = round(offset.total_seconds() / 60)
    return f"UTC{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"
