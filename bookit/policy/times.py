"""Reading and checking times: zones, days, ranges. Pure functions: none reads the clock."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from bookit import refusals as no
from bookit.policy.limits import CALENDAR_END, CALENDAR_START, MAX_AVAILABILITY_DAYS, MAX_REPORT_DAYS
from bookit.policy.permissions import Actor

CLOCK_CHANGE = timedelta(hours=2)  # A local range of days may be this much longer if the clocks go back in it.


def require_future(start: datetime, *, by: Actor, now: datetime) -> None:
    """Raise OutsideTheCalendar, or InThePast for customers."""
    if not CALENDAR_START <= start < CALENDAR_END:
        raise no.OutsideTheCalendar
    if has_started(start, now=now) and not by.is_staff:
        raise no.InThePast


def cut_seconds(moment: datetime) -> datetime:
    """Return the whole minute of a time: no page of the desk shows seconds."""
    return moment.replace(second=0, microsecond=0)


def wall_clock_length(start: datetime, end: datetime, zone: ZoneInfo) -> timedelta:
    """Return how long a visit lasts by the clock of a zone, which the change of clocks sets forward or back."""
    return end.astimezone(zone).replace(tzinfo=None) - start.astimezone(zone).replace(tzinfo=None)


def has_started(start: datetime, *, now: datetime) -> bool:
    """Return whether a start is now or in the past."""
    return start <= now


def format_duration(duration: timedelta) -> str:
    """Return a duration in the largest unit that divides it: "2 hours", "45 minutes"."""
    minutes = round(duration.total_seconds() / 60)
    for unit, size in (("day", 24 * 60), ("hour", 60), ("minute", 1)):
        count, rest = divmod(minutes, size)
        if not rest and (count or size == 1):
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return ""


def format_step(step: timedelta) -> str:
    """Return a duration as it follows "every": "hour", "30 minutes"."""
    return format_duration(step).removeprefix("1 ")


def require_availability_range(since: datetime, until: datetime) -> None:
    """Raise RangeReversed, or RangeTooLong for more than 62 days."""
    if until <= since:
        raise no.RangeReversed
    if until - since > timedelta(days=MAX_AVAILABILITY_DAYS) + CLOCK_CHANGE:
        raise no.RangeTooLong(days=MAX_AVAILABILITY_DAYS)


def require_report_range(first: date, last: date, zone: ZoneInfo) -> None:
    """Raise OutsideTheCalendar, RangeReversed, or RangeTooLong for more than 366 days."""
    for day in (first, last):
        start_of_day(day, zone, offset_days=1)
        start_of_day(day, zone)
    if last < first:
        raise no.RangeReversed
    if (last - first).days >= MAX_REPORT_DAYS:
        raise no.RangeTooLong(days=MAX_REPORT_DAYS)


def days_before(day: date, count: int) -> date:
    """Return the day that is ``count`` days earlier, or the first day that Python knows."""
    return day - timedelta(days=min(count, day.toordinal() - 1))


def to_utc(moment: datetime, zone: ZoneInfo) -> datetime:
    """Return a time in UTC. A time without an offset is read by the wall clock of the zone.

    A wall-clock time that happens twice means the first one (RFC 5545, 3.3.5). Raise NoSuchTime for a time that the
    clock change skips, and OutsideTheCalendar.
    """
    try:
        local = moment if moment.tzinfo else moment.replace(tzinfo=zone)
        exact = local.astimezone(UTC)
        if moment.tzinfo is None and exact.astimezone(zone).replace(tzinfo=None) != moment:
            raise no.NoSuchTime(time=moment.strftime("%Y-%m-%d %H:%M"), zone=zone.key)
    except OverflowError:
        raise no.OutsideTheCalendar from None
    if not CALENDAR_START <= exact < CALENDAR_END:
        raise no.OutsideTheCalendar
    return exact


def shift(moment: datetime, by_how_much: timedelta, zone: ZoneInfo) -> datetime:
    """Return a time some minutes later, or whole days later at the same time by the clock of the zone.

    Raise NoSuchTime if the clock change skips that time, and OutsideTheCalendar.
    """
    if by_how_much % timedelta(days=1):
        return moment + by_how_much
    return to_utc(moment.astimezone(zone).replace(tzinfo=None) + by_how_much, zone)


def start_of_day(day: date, zone: ZoneInfo, *, offset_days: int = 0) -> datetime:
    """Return when a day begins in a zone, in UTC; with ``offset_days``, when the day that many days later begins.

    If the clock change skips midnight, the day begins at the first moment after it. Raise OutsideTheCalendar.
    """
    try:
        begins = datetime.combine(day + timedelta(days=offset_days), time(), tzinfo=zone).astimezone(UTC)
    except OverflowError:
        raise no.OutsideTheCalendar from None
    if not CALENDAR_START <= begins <= CALENDAR_END:
        raise no.OutsideTheCalendar
    return begins
