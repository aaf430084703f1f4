"""What the business did, in figures: revenue, use of time, no-shows, repeat customers.

A period is a day, a week from Monday, a month or the whole range, by the clock of the business, cut at the ends of the
range. A visit counts in the period in which it starts; time counts in the period in which it passes. ``DEFINITIONS``
says what each figure means.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from bookit.db.session import Reader
from bookit.db.statements import Row
from bookit.reports import figures_sql
from bookit.reports.ranges import ONE_DAY, ReportRange

DEFINITIONS = {
    "revenue": """Revenue is the price of completed visits, as agreed when they were booked. Visits that are still to
        come, pending or confirmed, are counted separately.""",
    "utilisation": """Utilisation is booked minutes within open minutes, divided by open minutes times seats. Booked
        minutes are those of the visits, whatever their status unless cancelled, without setup and cleanup. A resource
        without opening hours is always open and counts 24 hours a day. Too short to sell is open time that stays free
        in stretches shorter than the shortest service of the resource, seat by seat; setup and cleanup are not free. A
        stretch counts in the period in which it begins. Active resources count, and inactive ones that have visits
        in the range, each with its current hours.""",
    "no-shows": """The no-show rate is no-shows divided by no-shows plus completed visits. Cancelled visits and visits
        that are not closed yet do not count.""",
    "repeat-customers": """A customer of a period completed a visit in it. A repeat customer had completed a visit
        before the period, a new customer had not. A customer who comes in several periods counts in each of them, and
        once in the total.""",
}
DEFINITIONS = {report: " ".join(definition.split()) for report, definition in DEFINITIONS.items()}


LEVEL_PERIOD, LEVEL_GROUP, LEVEL_TOTAL = 1, 2, 3  # the values of GROUPING in the statements


@dataclass(frozen=True)
class PeriodReport:
    """A report: its rows by period, its rows by service or resource, and the total."""

    days: ReportRange
    periods: list[Row]
    groups: list[Row]
    total: Row


async def visits(reader: Reader, report_range: ReportRange, *, now: datetime) -> PeriodReport:
    """Count visits and money by period and by service.

    A row has ``visits`` (without cancelled ones), ``completed``, ``no_shows``, ``coming``, ``revenue``, ``to_come`` and
    ``no_show_rate``, which is None if no visit was completed or missed.
    """
    rows = await reader.fetch(
        figures_sql.VISIT_TOTALS, edges=report_range.period_starts, ends=report_range.period_ends, now=now
    )
    zeros = dict.fromkeys(("visits", "completed", "no_shows", "coming", "revenue", "to_come"), 0)

    def with_rate(row: Row) -> Row:
        counts = zeros | {name: value for name, value in row.items() if value is not None}
        return counts | {"no_show_rate": ratio(counts["no_shows"], counts["no_shows"] + counts["completed"])}

    return split_levels(report_range, rows, with_rate)


async def utilisation(
    reader: Reader, report_range: ReportRange, *, now: datetime, with_gaps: bool = True
) -> PeriodReport:
    """Measure time by period and by resource.

    A row has ``open_minutes`` (times seats), ``booked_minutes``, ``unsellable_minutes`` and ``utilisation``, which is
    None if nothing was open. A row of a resource also has ``is_always_open`` and ``is_active``. Without ``with_gaps``,
    unsellable minutes are 0.
    """
    moments = {"since": report_range.since - ONE_DAY, "until": report_range.until + ONE_DAY, "now": now}
    if with_gaps:
        moments["last"] = report_range.until
    statement = figures_sql.UTILISATION[with_gaps, len(report_range.periods) == 1]
    rows = await reader.fetch(statement, edges=report_range.period_starts, ends=report_range.period_ends, **moments)
    zeros = dict.fromkeys(("open_minutes", "booked_minutes", "unsellable_minutes"), 0)

    def with_rate(row: Row) -> Row:
        minutes = zeros | row
        return minutes | {"utilisation": ratio(minutes["booked_minutes"], minutes["open_minutes"])}

    return split_levels(report_range, rows, with_rate)


async def repeat_customers(reader: Reader, report_range: ReportRange) -> PeriodReport:
    """Count ``customers``, ``repeat_customers`` and ``new_customers`` by period, with the ``repeat_rate``."""
    edges, ends = report_range.period_starts, report_range.period_ends
    rows = await reader.fetch(figures_sql.REPEAT_CUSTOMERS, edges=edges, ends=ends, since=report_range.since)

    def with_rate(row: Row) -> Row:
        counts = {"customers": 0, "repeat_customers": 0} | row
        new = counts["customers"] - counts["repeat_customers"]
        return counts | {"new_customers": new, "repeat_rate": ratio(counts["repeat_customers"], counts["customers"])}

    for row in rows:
        row["level"] = LEVEL_PERIOD if row["period"] else LEVEL_TOTAL
    return split_levels(report_range, rows, with_rate)


def split_levels(report_range: ReportRange, rows: list[Row], with_rate: Callable[[Row], Row]) -> PeriodReport:
    """Sort the rows of a report into periods, groups and the total, and add the rate to each."""
    rows_by_level: dict[int, list[Row]] = {LEVEL_PERIOD: [], LEVEL_GROUP: [], LEVEL_TOTAL: []}
    for row in rows:
        rows_by_level[row["level"]].append(row)
    total = (rows_by_level[LEVEL_TOTAL] or [{}])[0]
    return PeriodReport(
        report_range,
        [with_rate(row) for row in report_range.fill_periods(rows_by_level[LEVEL_PERIOD])],
        [with_rate(row) for row in rows_by_level[LEVEL_GROUP]],
        with_rate(total),
    )


def ratio(part: int, whole: int) -> float | None:
    """Return part / whole, rounded to four decimals, or None if the whole is 0."""
    return round(part / whole, 4) if whole else None
