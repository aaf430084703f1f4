"""The days that a report covers, and its periods."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import Literal
from zoneinfo import ZoneInfo

from bookit.db.statements import Row
from bookit.policy import times

Step = Literal["day", "week", "month", "whole"]


A_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Days:
    """Days of the business, from the first to the last, and what they are told by. Refuses what cannot be reported."""

    first: date
    last: date
    zone: ZoneInfo
    by: Step = "week"

    def __post_init__(self) -> None:
        times.require_days(self.first, self.last, self.zone)

    @cached_property
    def periods(self) -> list[tuple[date, date]]:
        """Give the first and the last day of each period."""
        found, since = [], self.first
        while since <= self.last:
            until = min(last_of(since, self.by), self.last)
            found.append((since, until))
            since = until + A_DAY
        return found

    @property
    def since(self) -> datetime:
        """The moment the first day begins."""
        return times.midnight(self.first, self.zone)

    @property
    def until(self) -> datetime:
        """The moment the last day is over."""
        return times.midnight(self.last, self.zone, days_on=1)

    @property
    def edges(self) -> list[datetime]:
        """The moments the periods begin at."""
        return [times.midnight(since, self.zone) for since, _ in self.periods]

    @property
    def ends(self) -> list[datetime]:
        """The moments the periods end at."""
        return [*self.edges[1:], self.until]

    def filled(self, rows: list[Row]) -> list[Row]:
        """Give a row for each period, with its days; nothing happened where the database has none."""
        known = {row["period"]: row for row in rows}
        days = enumerate(self.periods, start=1)
        return [{**known.get(at, {}), "from_date": since, "to_date": until} for at, (since, until) in days]


def last_of(day: date, by: Step) -> date:
    """Give the last day of the day, the week or the month a day is in; of the whole, the last there is."""
    if by == "whole":
        return date.max
    if by == "day":
        return day
    if by == "week":
        return day + timedelta(days=6 - day.weekday())
    return (day.replace(day=1) + timedelta(days=31)).replace(day=1) - A_DAY
