"""The reports' page: one at a time, in a chart and a table, each figure defined beside it; and the same as CSV."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from admin.framework.csv_export import lines, plain
from admin.framework.custom_page import OwnPage
from admin.framework.formatting import spoken_minutes
from admin.pages.date_range import Pick, picked
from bookit.db.pool import Database
from bookit.db.statements import Row
from bookit.policy import permissions
from bookit.reports import figures
from bookit.reports.figures import MEANS, Figures
from bookit.reports.ranges import Days

PICKS = (Pick(7, "7 days"), Pick(30, "30 days"), Pick(90, "90 days"), Pick(365, "365 days"))
STEPS = {"week": "By week", "month": "By month"}
SHOWN: dict[str, Callable[[Any], str]] = {
    "count": lambda value: f"{value:,}",
    "money": lambda value: f"{value:,.2f}",
    "minutes": spoken_minutes,
    "rate": lambda value: "–" if value is None else f"{value:.1%}",
}


@dataclass(frozen=True)
class Figure:
    """A column of a report: where it stands in a row, what it is called, and how it is written."""

    name: str
    title: str
    kind: str
    is_drawn: bool = False

    def shown(self, row: Row) -> str:
        """Write it for people."""
        return SHOWN[self.kind](row[self.name])


Read = Callable[[Database, Days, datetime], Awaitable[Figures]]


@dataclass(frozen=True)
class Sheet:
    """A report: what it is called, what it reads, its columns, and what its other table is by."""

    title: str
    read: Read
    figures: tuple[Figure, ...]
    part: str = ""
    part_name: str = ""


SHEETS = {
    "revenue": Sheet(
        "Revenue",
        lambda database, days, now: figures.visits(database, days, now=now),
        (
            Figure("completed", "Completed visits", "count"),
            Figure("revenue", "Revenue", "money", is_drawn=True),
            Figure("coming", "Visits to come", "count"),
            Figure("to_come", "Still to come", "money", is_drawn=True),
        ),
        "Service",
        "title",
    ),
    "utilisation": Sheet(
        "Utilisation",
        lambda database, days, now: figures.utilisation(database, days, now=now),
        (
            Figure("open_minutes", "Open", "minutes"),
            Figure("booked_minutes", "Booked", "minutes"),
            Figure("utilisation", "Utilisation", "rate", is_drawn=True),
            Figure("unsellable_minutes", "Too short to sell", "minutes"),
        ),
        "Resource",
        "name",
    ),
    "no-shows": Sheet(
        "No-shows",
        lambda database, days, now: figures.visits(database, days, now=now),
        (
            Figure("completed", "Completed visits", "count"),
            Figure("no_shows", "No-shows", "count"),
            Figure("no_show_rate", "No-show rate", "rate", is_drawn=True),
        ),
        "Service",
        "title",
    ),
    "repeat-customers": Sheet(
        "Repeat customers",
        lambda database, days, now: figures.repeat_customers(database, days),  # noqa: ARG005 -- as the others are asked
        (
            Figure("customers", "Customers", "count"),
            Figure("new_customers", "New", "count", is_drawn=True),
            Figure("repeat_customers", "Repeat", "count", is_drawn=True),
            Figure("repeat_rate", "Repeat rate", "rate"),
        ),
    ),
}


async def show_report(
    request: Request, database: Database, templates: Any, *, zone: ZoneInfo, now: datetime
) -> Response:
    """Show a report of the days that are asked for, or send it as CSV."""
    if not permissions.may_see_figures(request.state.actor):
        raise HTTPException(403)
    name = request.query_params.get("report", "revenue")
    if name not in SHEETS:
        raise HTTPException(404)
    chosen, sheet = picked(request, PICKS, zone=zone, now=now, steps=("week", "month")), SHEETS[name]
    found = await sheet.read(database, chosen.days, now)
    if request.query_params.get("as") == "csv" and not chosen.error:
        return as_csv(name, sheet, found)
    told = {
        "name": name,
        "sheet": sheet,
        "sheets": SHEETS,
        "found": found,
        "meaning": MEANS[name],
        "days": chosen.days,
        "count": chosen.count,
        "error": chosen.error,
        "picks": PICKS,
        "steps": STEPS,
    }
    answer: Response = await templates.TemplateResponse(request, "sqladmin/reports.html", told)
    return answer


def as_csv(name: str, sheet: Sheet, found: Figures) -> Response:
    """Give a report as CSV: the periods, then the services or resources, then all; exact figures, no formulas."""
    titles = [figure.title + (" (minutes)" if figure.kind == "minutes" else "") for figure in sheet.figures]
    rows: list[list[Any]] = [["From", "To", *([sheet.part] if sheet.part else []), *titles]]
    days, blank = found.days, [""] if sheet.part else []

    def add(first: object, last: object, part: list[Any], row: Row) -> None:
        rows.append([str(first), str(last), *part, *(row[figure.name] for figure in sheet.figures)])

    for row in found.periods:
        add(row["from_date"], row["to_date"], blank, row)
    for row in found.parts:
        add(days.first, days.last, [row[sheet.part_name]], row)
    add(days.first, days.last, ["Total"] if sheet.part else [], found.total)
    text = lines([plain(value) for value in row] for row in rows)
    headers = {"Content-Disposition": f'attachment; filename="{name}-{days.first}-{days.last}.csv"'}
    return Response(text, headers=headers, media_type="text/csv; charset=utf-8")


PAGE = OwnPage("/reports", "reports", show_report, menu=("Reports", "fa-solid fa-chart-column"))
