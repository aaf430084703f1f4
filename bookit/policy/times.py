"""Reading and checking times: zones, days, ranges. Pure: nothing here calls the clock."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from bookit import refusals as no
from bookit.policy.limits import CALENDAR_RANGE, MAX_AVAILABILITY_DAYS, MAX_REPORT_DAYS
from bookit.policy.permissions import Actor


def require_future(start: datetime, *, by: Actor, now: datetime) -> None:
    """Refuse a time outside the calendar, and to customers one that is over."""
    if not CALENDAR_RANGE[0] <= start < CALENDAR_RANGE[1]:
        raise no.OutsideTheCalendar
    if has_started(start, now=now) and not by.is_staff:
        raise no.InThePast


def has_started(start: datetime, *, now: datetime) -> bool:
    """Whether a visit that starts then lies in the past: nobody can come to its beginning any more."""
    return start <= now


def format_duration(duration: timedelta) -> str:
    """Say a length of time in the largest unit that fits it: "2 hours", "45 minutes"."""
    minutes = round(duration.total_seconds() / 60)
    for unit, size in (("day", 24 * 60), ("hour", 60), ("minute", 1)):
        count, rest = divmod(minutes, size)
        if not rest and (count or size == 1):
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return ""


def format_step(step: timedelta) -> str:
    """Return a length of time as it follows "every": "hour", "30 minutes"."""
    return format_duration(step).removeprefix("1 ")


def require_availability_range(since: datetime, until: datetime) -> None:
    """Refuse to look for free slots backwards, or through more than two months."""
    if until <= since:
        raise no.RangeReversed
    if until - since > timedelta(
        days=MAX_AVAILABILITY_DAYS, hours=2
    ):  # Two hours more, for clocks that go back in between.
        raise no.RangeTooLong(days=MAX_AVAILABILITY_DAYS)


def require_report_range(first: date, last: date, zone: ZoneInfo) -> None:
    """Refuse a report of days outside the calendar, backwards, or of more than a year."""
    for day in (first, last):
        start_of_day(day, zone, offset_days=1)
        start_of_day(day, zone)
    if last < first:
        raise no.RangeReversed
    if (last - first).days >= MAX_REPORT_DAYS:
        raise no.RangeTooLong(days=MAX_REPORT_DAYS)


def days_before(day: date, count: int) -> date:
    """Give the day so many days before another; of days before all calendars, the first there is."""
    return day - timedelta(days=min(count, day.toordinal() - 1))


def to_utc(moment: datetime, zone: ZoneInfo) -> datetime:
    """Read a time without an offset by the clock on the wall in this zone, and give it in UTC.

    An hour that happens twice is the first one (RFC 5545, 3.3.5). Refuses an hour that the clocks skip,
    and a time outside the calendar.
    """
    try:
        local = moment if moment.tzinfo else moment.replace(tzinfo=zone)
        exact = local.astimezone(UTC)
        if moment.tzinfo is None and exact.astimezone(zone).replace(tzinfo=None) != moment:
            raise no.NoSuchTime(time=moment.strftime("%Y-%m-%d %H:%M"), zone=zone.key)
    except OverflowError:
        raise no.OutsideTheCalendar from None
    if not CALENDAR_RANGE[0] <= exact < CALENDAR_RANGE[1]:
        raise no.OutsideTheCalendar
    return exact


def start_of_day(day: date, zone: ZoneInfo, *, offset_days: int = 0) -> datetime:
    """Give the moment this day, or one so many days later, begins in this zone.

    Where midnight is skipped it is the first moment after it. Refuses a day outside the calendar.
    """
    try:
        begins = datetime.combine(day + timedelta(days=offset_days), time(), tzinfo=zone).astimezone(UTC)
    except OverflowError:
        raise no.OutsideTheCalendar from None
    if not CALENDAR_RANGE[0] <= begins <= CALENDAR_RANGE[1]:
        raise no.OutsideTheCalendar
    return begins
