"""Times as the calendar knows them: what the clock on the business's wall says, without a zone beside it.

The calendar's library counts in the browser's zone or at a fixed distance from UTC, and the business keeps neither. So
it is handed wall-clock times, hands wall-clock times back, and only here they become moments.
"""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from bookit import refusals as no
from bookit.policy import times


def to_wall_clock(moment: datetime, zone: ZoneInfo) -> str:
    """Write a moment as the clock on the wall shows it."""
    return moment.astimezone(zone).strftime("%Y-%m-%dT%H:%M:%S")


def wall_span(start: datetime, end: datetime, zone: ZoneInfo) -> tuple[str, str]:
    """Write both ends; where clocks go back in between and the end would come first, the start as long as it lasts."""
    shown_start, shown_end = (moment.astimezone(zone).replace(tzinfo=None) for moment in (start, end))
    if shown_end <= shown_start:
        shown_end = shown_start + (end - start)
    return shown_start.isoformat(timespec="seconds"), shown_end.isoformat(timespec="seconds")


def is_ambiguous(moment: datetime, zone: ZoneInfo) -> bool:
    """Whether the clock on the wall shows this time twice that day."""
    local = moment.astimezone(zone)
    return local.replace(fold=0).utcoffset() > local.replace(fold=1).utcoffset()  # type: ignore[operator]  # a zone has one


def from_wall_clock(text: str, zone: ZoneInfo, *, like: datetime | None = None) -> datetime:
    """Read what the clock on the wall shows. Refuses an hour that the clocks skip, and what is no time.

    An hour that comes twice is the first one, or the one of the same offset as ``like``: a visit that is moved within
    it stays on its side.
    """
    try:
        local = datetime.fromisoformat(text)
    except ValueError:
        raise no.Misshapen from None
    exact = times.to_utc(local, zone)
    if local.tzinfo is None and like is not None and is_ambiguous(exact, zone):
        second = local.replace(tzinfo=zone, fold=1)
        if like.astimezone(zone).utcoffset() == second.utcoffset():
            return second.astimezone(UTC)
    return exact


def end_from_wall_clock(text: str, start: datetime, end: datetime, zone: ZoneInfo) -> datetime:
    """Read where the lower edge of a visit was dragged to; see ``moment_of``.

    A visit that is shown longer or shorter than the clock on the wall would have it (see ``span``) changes by as much
    as its edge moved.
    """
    wanted, shown_end = from_wall_clock(text, zone, like=end), wall_span(start, end, zone)[1]
    if shown_end == to_wall_clock(end, zone) or datetime.fromisoformat(text).tzinfo:
        return wanted
    return end + (datetime.fromisoformat(text) - datetime.fromisoformat(shown_end))


def utc_offset(moment: datetime, zone: ZoneInfo) -> str:
    """Write how far the wall is from UTC at a moment, as in "+01:00"."""
    distance = moment.astimezone(zone).utcoffset() or timedelta()
    minutes = round(distance.total_seconds() / 60)
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"
