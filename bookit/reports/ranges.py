"""The range of a report, and its periods."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import Literal
from zoneinfo import ZoneInfo

from bookit.db.statements import Row
from bookit.policy import times

Granularity = Literal["day", "week", "month", "whole"]
ONE_DAY = timedelta(days=1)


@dataclass(frozen=True)
class ReportRange:
    """The days of a report, both ends included, in periods of a granularity. Raise a refusal for an invalid range."""

    first: date
    last: date
    zone: ZoneInfo
    granularity: Granularity = "week"

    def __post_init__(self) -> None:
        times.require_report_range(self.first, self.last, self.zone)

    @cached_property
    def periods(self) -> list[tuple[date, date]]:
        """The first and the last day of each period."""
        periods, since = [], self.first
        while since <= self.last:
            until = min(last_day_of_period(since, self.granularity), self.last)
            periods.append((since, until))
            since = until + ONE_DAY
        return periods

    @property
    def since(self) -> datetime:
        """When the first day begins."""
        return times.start_of_day(self.first, self.zone)

    @property
    def until(self) -> datetime:
        """When the last day ends."""
        return times.start_of_day(self.last, self.zone, offset_days=1)

    @property
    def period_starts(self) -> list[datetime]:
        """When each period begins."""
        return [times.start_of_day(since, self.zone) for since, _ in self.periods]

    @property
    def period_ends(self) -> list[datetime]:
        """When each period ends."""
        return [*self.period_starts[1:], self.until]

    def fill_periods(self, rows: list[Row]) -> list[Row]:
        """Return one row for each period, with its days. A period without a row in the database gets only the days."""
        row_by_period = {row["period"]: row for row in rows}
        return [
            {**row_by_period.get(period, {}), "from_date": since, "to_date": until}
            for period, (since, until) in enumerate(self.periods, start=1)
        ]


def last_day_of_period(day: date, granularity: Granularity) -> date:
    """Return the last day of the period that begins on or contains this day."""
    if granularity == "whole":
        return date.max
    if granularity == "day":
        return day
    if granularity == "week":
        return day + timedelta(days=6 - day.weekday())
    return (day.replace(day=1) + timedelta(days=31)).replace(day=1) - ONE_DAY
