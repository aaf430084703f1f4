"""Time zones: which names BookIt accepts, and what Python has for them.

PostgreSQL and Python each read time-zone data of their own, and each knows names that the other one reads otherwise:
abbreviations such as CET, rules such as EST5EDT, names in any case. BookIt accepts only names that both can find in the
time-zone database, and ``bookit.db.timezone_check`` compares what both have for them.
"""

import os
import re
import zoneinfo
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib import metadata
from pathlib import Path
from zoneinfo import ZoneInfo

# Names of the time-zone database, as ``timezone_is_known`` in ``schema/before_tables.sql`` has them.
NAME_PATTERN = re.compile(
    "UTC|US/.*[a-z].*|(Africa|America|Antarctica|Arctic|Asia|Atlantic|Australia|Brazil|Canada)/.+"
    "|(Chile|Etc|Europe|Indian|Mexico|Pacific)/.+"
)
SAMPLE_STEP = timedelta(days=7)
MINUTE = timedelta(minutes=1)


def read_zone(name: str) -> ZoneInfo:
    """Return the zone of this name. Raise ValueError for a name that BookIt does not accept."""
    try:
        if NAME_PATTERN.fullmatch(name):
            return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        pass
    message = f"{name:.60} is not a time zone; write an IANA name such as Europe/Berlin"
    raise ValueError(message)


@cache
def list_names() -> list[str]:
    """Return the names of all time zones that BookIt accepts."""
    return sorted(name for name in zoneinfo.available_timezones() if NAME_PATTERN.fullmatch(name))


def read_from(folder: Path) -> None:
    """Make this process and those that it starts read their time zones from a folder."""
    if [*zoneinfo.TZPATH] == [str(folder)]:
        return
    os.environ["PYTHONTZPATH"] = str(folder)
    zoneinfo.reset_tzpath([str(folder)])
    ZoneInfo.clear_cache()
    list_names.cache_clear()


def list_offsets(zone: ZoneInfo, since: datetime, until: datetime) -> Iterator[tuple[datetime, timedelta]]:
    """Yield the offset of a zone in each week, and on both sides of each change between two weeks."""
    moment = since.astimezone(UTC).replace(second=0, microsecond=0)
    offset = offset_at(zone, moment)
    yield moment, offset
    while moment < until:
        following = moment + SAMPLE_STEP
        if offset_at(zone, following) != offset:
            change = find_change(zone, moment, following)
            yield change - MINUTE, offset
            yield change, offset_at(zone, change)
        moment, offset = following, offset_at(zone, following)
        yield moment, offset


def find_change(zone: ZoneInfo, before: datetime, after: datetime) -> datetime:
    """Return the minute at which the offset is no longer that of ``before``."""
    while after - before > MINUTE:
        middle = before + (after - before) // MINUTE // 2 * MINUTE
        before, after = (middle, after) if offset_at(zone, middle) == offset_at(zone, before) else (before, middle)
    return after


def offset_at(zone: ZoneInfo, moment: datetime) -> timedelta:
    """Return the offset of a zone at a moment."""
    return moment.astimezone(zone).utcoffset() or timedelta()


def describe_source(name: str) -> str:
    """Return where Python reads the time zone of this name, with the version of the data as far as it is known."""
    for folder in map(Path, zoneinfo.TZPATH):
        if (folder / name).is_file():
            return f"{folder}{read_version(folder)}"
    return f"the package tzdata {metadata.version('tzdata')}"


def read_version(folder: Path) -> str:
    """Return the version that a folder of time-zone data names, if it does."""
    try:
        with (folder / "tzdata.zi").open(encoding="utf-8") as file:
            match = re.match(r"# version (\S+)", file.readline())
    except OSError:
        return ""
    return f" {match[1]}" if match else ""
