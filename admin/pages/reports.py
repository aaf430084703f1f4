"""The reports' page: one at a time, in a chart and a table, each figure defined beside it; and the same as CSV."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from admin.framework.csv_export import format_csv, format_csv_value
from admin.framework.custom_page import CustomPage
from admin.framework.formatting import format_minutes
from admin.pages.date_range import Preset, select_range
from bookit.db.pool import Database
from bookit.db.statements import Row
from bookit.policy import permissions
from bookit.reports import figures
from bookit.reports.figures import DEFINITIONS, PeriodReport
from bookit.reports.ranges import ReportRange

PRESETS = (Preset(7, "7 days"), Preset(30, "30 days"), Preset(90, "90 days"), Preset(365, "365 days"))
GRANULARITY_LABELS = {"week": "By week", "month": "By month"}
FORMATTERS: dict[str, Callable[[Any], str]] = {
    "count": lambda value: f"{value:,}",
    "money": lambda value: f"{value:,.2f}",
    "minutes": format_minutes,
    "rate": lambda value: "–" if value is None else f"{value:.1%}",
}


@dataclass(frozen=True)
class ReportColumn:
    """A column of a report: where it stands in a row, what it is called, and how it is written."""

    name: str
    title: str
    kind: str
    is_charted: bool = False

    def format_value(self, row: Row) -> str:
        """Write it for people."""
        return FORMATTERS[self.kind](row[self.name])


FetchReport = Callable[[Database, ReportRange, datetime], Awaitable[PeriodReport]]


@dataclass(frozen=True)
class ReportDefinition:
    """A report: what it is called, what it reads, its columns, and what its other table is by."""

    title: str
    fetch: FetchReport
    columns: tuple[ReportColumn, ...]
    breakdown_title: str = ""
    breakdown_column: str = ""


REPORTS = {
    "revenue": ReportDefinition(
        "Revenue",
        lambda database, days, now: figures.visits(database, days, now=now),
        (
            ReportColumn("completed", "Completed visits", "count"),
            ReportColumn("revenue", "Revenue", "money", is_charted=True),
            ReportColumn("coming", "Visits to come", "count"),
            ReportColumn("to_come", "Still to come", "money", is_charted=True),
        ),
        "Service",
        "title",
    ),
    "utilisation": ReportDefinition(
        "Utilisation",
        lambda database, days, now: figures.utilisation(database, days, now=now),
        (
            ReportColumn("open_minutes", "Open", "minutes"),
            ReportColumn("booked_minutes", "Booked", "minutes"),
            ReportColumn("utilisation", "Utilisation", "rate", is_charted=True),
            ReportColumn("unsellable_minutes", "Too short to sell", "minutes"),
        ),
        "Resource",
        "name",
    ),
    "no-shows": ReportDefinition(
        "No-shows",
        lambda database, days, now: figures.visits(database, days, now=now),
        (
            ReportColumn("completed", "Completed visits", "count"),
            ReportColumn("no_shows", "No-shows", "count"),
            ReportColumn("no_show_rate", "No-show rate", "rate", is_charted=True),
        ),
        "Service",
        "title",
    ),
    "repeat-customers": ReportDefinition(
        "Repeat customers",
        lambda database, days, now: figures.repeat_customers(database, days),  # noqa: ARG005 -- as the others are asked
        (
            ReportColumn("customers", "Customers", "count"),
            ReportColumn("new_customers", "New", "count", is_charted=True),
            ReportColumn("repeat_customers", "Repeat", "count", is_charted=True),
            ReportColumn("repeat_rate", "Repeat rate", "rate"),
        ),
    ),
}


async def show_report(
    request: Request, database: Database, templates: Any, *, zone: ZoneInfo, now: datetime
) -> Response:
    """Show a report of the days that are asked for, or send it as CSV."""
    if not permissions.may_see_reports(request.state.actor):
        raise HTTPException(403)
    name = request.query_params.get("report", "revenue")
    if name not in REPORTS:
        raise HTTPException(404)
    chosen, sheet = select_range(request, PRESETS, zone=zone, now=now, granularities=("week", "month")), REPORTS[name]
    found = await sheet.fetch(database, chosen.days, now)
    if request.query_params.get("as") == "csv" and not chosen.error:
        return render_csv(name, sheet, found)
    told = {
        "name": name,
        "sheet": sheet,
        "sheets": REPORTS,
        "found": found,
        "meaning": DEFINITIONS[name],
        "days": chosen.days,
        "count": chosen.count,
        "error": chosen.error,
        "picks": PRESETS,
        "steps": GRANULARITY_LABELS,
    }
    answer: Response = await templates.TemplateResponse(request, "sqladmin/reports.html", told)
    return answer


def render_csv(name: str, definition: ReportDefinition, report: PeriodReport) -> Response:
    """Give a report as CSV: the periods, then the services or resources, then all; exact figures, no formulas."""
    titles = [figure.title + (" (minutes)" if figure.kind == "minutes" else "") for figure in definition.columns]
    rows: list[list[Any]] = [
        ["From", "To", *([definition.breakdown_title] if definition.breakdown_title else []), *titles]
    ]
    days, blank = report.days, [""] if definition.breakdown_title else []

    def add(first: object, last: object, part: list[Any], row: Row) -> None:
        rows.append([str(first), str(last), *part, *(row[figure.name] for figure in definition.columns)])

    for row in report.periods:
        add(row["from_date"], row["to_date"], blank, row)
    for row in report.groups:
        add(days.first, days.last, [row[definition.breakdown_column]], row)
    add(days.first, days.last, ["Total"] if definition.breakdown_title else [], report.total)
    text = format_csv([format_csv_value(value) for value in row] for row in rows)
    headers = {"Content-Disposition": f'attachment; filename="{name}-{days.first}-{days.last}.csv"'}
    return Response(text, headers=headers, media_type="text/csv; charset=utf-8")


PAGE = CustomPage("/reports", "reports", show_report, menu=("Reports", "fa-solid fa-chart-column"))
