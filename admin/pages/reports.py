"""The page of reports: one at a time, as a chart and a table with a definition of each figure; and as a file."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from admin.framework.context import context_of
from admin.framework.custom_page import CustomPage
from admin.framework.export import EXPORT_FORMATS, ExportFormat, render_rows
from admin.framework.formatting import format_minutes
from admin.framework.transactions import record_export
from admin.framework.types import Cell
from admin.pages.date_range import Preset, select_range
from bookit.db.pool import Database
from bookit.db.statements import Row
from bookit.policy.business import BusinessProfile
from bookit.reports import figures
from bookit.reports.figures import DEFINITIONS, PeriodReport
from bookit.reports.ranges import ReportRange

PRESETS = (Preset(7, "7 days"), Preset(30, "30 days"), Preset(90, "90 days"), Preset(365, "365 days"))
GRANULARITY_LABELS = {"week": "By week", "month": "By month"}
FORMATTERS: dict[str, Callable[[Any], str]] = {  # "money" is written as the business writes it
    "count": lambda value: f"{value:,}",
    "minutes": format_minutes,
    "rate": lambda value: "–" if value is None else f"{value:.1%}",
}
EXPORT_TYPES: dict[str, Callable[[int | float | Decimal], Cell]] = {
    "count": int, "money": Decimal, "minutes": int, "rate": float
}  # fmt: skip


@dataclass(frozen=True)
class ReportColumn:
    """A column of a report: its name in a row, its title, and how its values are formatted."""

    name: str
    title: str
    kind: str
    is_charted: bool = False

    def format_value(self, row: Row, business: BusinessProfile) -> str:
        """Return the value of a row as people read it."""
        format_kind = business.format_money if self.kind == "money" else FORMATTERS[self.kind]
        return format_kind(row[self.name])

    def export_value(self, row: Row) -> Cell:
        """Return the value of a row as a file has it."""
        value: Cell = row[self.name]
        return EXPORT_TYPES[self.kind](value) if isinstance(value, int | float | Decimal) else value


FetchReport = Callable[[Database, ReportRange, datetime], Awaitable[PeriodReport]]


@dataclass(frozen=True)
class ReportDefinition:
    """A report: its title, what it reads, its columns, and what its second table is broken down by."""

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
            ReportColumn("coming", "Upcoming visits", "count"),
            ReportColumn("to_come", "Expected revenue", "money", is_charted=True),
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
        lambda database, days, now: figures.repeat_customers(database, days),  # noqa: ARG005 -- called as the others are
        (
            ReportColumn("customers", "Customers", "count"),
            ReportColumn("new_customers", "New", "count", is_charted=True),
            ReportColumn("repeat_customers", "Repeat", "count", is_charted=True),
            ReportColumn("repeat_rate", "Repeat rate", "rate"),
        ),
    ),
}


async def show_report(request: Request) -> Response:
    """Show a report of the days that the URL asks for, or send it as a file."""
    name = request.query_params.get("report", "revenue")
    if name not in REPORTS:
        raise HTTPException(404)
    context, now, definition = context_of(request), context_of(request).now(), REPORTS[name]
    selected = select_range(request, PRESETS, zone=context.zone, now=now, granularities=("week", "month"))
    report = await definition.fetch(context.database, selected.days, now)
    export_format = EXPORT_FORMATS.get(request.query_params.get("as", ""))
    if export_format and not selected.error:
        days, by = selected.days, GRANULARITY_LABELS[selected.days.granularity].lower()
        await record_export(
            request,
            table_name="reports",
            file=export_format.label,
            rows=len(report.periods) + len(report.groups) + 1,
            filter_words=f"{definition.title}: {days.first} to {days.last}, {by}",
        )
        return export_report(name, definition, report, export_format, currency=context.business.currency)
    values = {
        "name": name,
        "business": context.business,
        "report": definition,
        "reports": REPORTS,
        "data": report,
        "explanation": DEFINITIONS[name],
        "days": selected.days,
        "count": selected.count,
        "error": selected.error,
        "presets": PRESETS,
        "granularities": GRANULARITY_LABELS,
        "export_formats": EXPORT_FORMATS,
    }
    return await context.render(request, "reports.html", values)


def export_report(
    name: str, definition: ReportDefinition, report: PeriodReport, export_format: ExportFormat, *, currency: str
) -> Response:
    """Return a report as a file: the periods, the services or resources, the total; exact figures, no formulas."""
    units = {"minutes": " (minutes)", "money": f" ({currency})"}
    titles = [column.title + units.get(column.kind, "") for column in definition.columns]
    has_groups, days = bool(definition.breakdown_title), report.days
    rows: list[list[Cell]] = []

    def add(first: date, last: date, group: str, row: Row) -> None:
        groups = [group] if has_groups else []
        rows.append([first, last, *groups, *(column.export_value(row) for column in definition.columns)])

    for row in report.periods:
        add(row["from_date"], row["to_date"], "", row)
    for row in report.groups:
        notes = [
            *([] if row["is_active"] else ["inactive"]),
            *(["always open"] if row.get("is_always_open") else []),
        ]
        name_suffix = f" ({', '.join(notes)})" if notes else ""
        add(days.first, days.last, f"{row[definition.breakdown_column]}{name_suffix}", row)
    add(days.first, days.last, "Total", report.total)
    headings = ["From", "To", *([definition.breakdown_title] if has_groups else []), *titles]
    filename = f"{name}-{days.first}-{days.last}"
    return render_rows(headings, rows, export_format, name=definition.title, filename=filename)


PAGE = CustomPage(
    "/reports", "reports", show_report, menu=("Reports", "fa-solid fa-chart-column"), ability="see_reports"
)
