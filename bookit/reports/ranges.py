"""The days that a report covers, and its periods."""

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
    """Days of the business, from the first to the last, and what they are told by. Refuses what cannot be reported."""

    first: date
    last: date
    zone: ZoneInfo
    granularity: Granularity = "week"

    def __post_init__(self) -> None:
        times.require_report_range(self.first, self.last, self.zone)

    @cached_property
    def periods(self) -> list[tuple[date, date]]:
        """Give the first and the last day of each period."""
        found, since = [], self.first
        while since <= self.last:
            until = min(last_day_of_period(since, self.granularity), self.last)
            found.append((since, until))
            since = until + ONE_DAY
        return found

    @property
    def since(self) -> datetime:
        """The moment the first day begins."""
        return times.start_of_day(self.first, self.zone)

    @property
    def until(self) -> datetime:
        """The moment the last day is over."""
        return times.start_of_day(self.last, self.zone, offset_days=1)

    @property
    def period_starts(self) -> list[datetime]:
        """The moments the periods begin at."""
        return [times.start_of_day(since, self.zone) for since, _ in self.periods]

    @property
    def period_ends(self) -> list[datetime]:
        """The moments the periods end at."""
        return [*self.period_starts[1:], self.until]

    def fill_periods(self, rows: list[Row]) -> list[Row]:
        """Give a row for each period, with its days; nothing happened where the database has none."""
        known = {row["period"]: row for row in rows}
        days = enumerate(self.periods, start=1)
        return [{**known.get(at, {}), "from_date": since, "to_date": until} for at, (since, until) in days]


def last_day_of_period(day: date, granularity: Granularity) -> date:
    """Give the last day of the day, the week or the month a day is in; of the whole, the last there is."""
    if granularity == "whole":
        return date.max
    if granularity == "day":
        return day
    if granularity == "week":
        return day + timedelta(days=6 - day.weekday())
    return (day.replace(day=1) + timedelta(days=31)).replace(day=1) - ONE_DAY
