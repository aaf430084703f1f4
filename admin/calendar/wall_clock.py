"""Wall-clock times, which the calendar works with: the time in the business's zone, without the zone.

The calendar's library reckons in the browser's zone or at a fixed offset from UTC, and neither is the business's. So it
gets wall-clock times and sends wall-clock times back, and only this module converts them.
"""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from admin.framework.formatting import is_repeated
from bookit import refusals as no
from bookit.policy import times


def to_wall_clock(moment: datetime, zone: ZoneInfo) -> str:
    """Return a time as the clock on the wall shows it."""
    return moment.astimezone(zone).strftime("%Y-%m-%dT%H:%M:%S")


def wall_span(start: datetime, end: datetime, zone: ZoneInfo) -> tuple[str, str]:
    """Return both ends by the clock on the wall.

    Where clocks go back in between, so that the end would come before the start, the end is the start plus the length.
    """
    wall_start, wall_end = (moment.astimezone(zone).replace(tzinfo=None) for moment in (start, end))
    if wall_end <= wall_start:
        wall_end = wall_start + (end - start)
    return wall_start.isoformat(timespec="seconds"), wall_end.isoformat(timespec="seconds")


def from_wall_clock(text: str, zone: ZoneInfo, *, like: datetime | None = None) -> datetime:
    """Return the time that the clock on the wall shows. Raise a refusal for a skipped hour, and for what is no time.

    A repeated hour is the first one, or the one with the offset of ``like``: a booking that is moved within that hour
    stays in the same one.
    """
    try:
        local = datetime.fromisoformat(text)
    except ValueError:
        raise no.Misshapen from None
    first = times.to_utc(local, zone)
    if local.tzinfo is None and like is not None and is_repeated(first, zone):
        second = local.replace(tzinfo=zone, fold=1)
        if like.astimezone(zone).utcoffset() == second.utcoffset():
            return second.astimezone(UTC)
    return first


def end_from_wall_clock(text: str, start: datetime, end: datetime, zone: ZoneInfo) -> datetime:
    """Return the time to which the lower edge of a booking was dragged; see ``from_wall_clock``.

    A booking whose shown end is not that of the clock on the wall (see ``wall_span``) ends later or earlier by as much
    as its edge moved.
    """
    new_end, wall_end = from_wall_clock(text, zone, like=end), wall_span(start, end, zone)[1]
    if wall_end == to_wall_clock(end, zone) or datetime.fromisoformat(text).tzinfo:
        return new_end
    return end + (datetime.fromisoformat(text) - datetime.fromisoformat(wall_end))


def utc_offset(moment: datetime, zone: ZoneInfo) -> str:
    """Return the offset of a zone from UTC at a time, as in "+01:00"."""
    offset = moment.astimezone(zone).utcoffset() or timedelta()
    minutes = round(offset.total_seconds() / 60)
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"
