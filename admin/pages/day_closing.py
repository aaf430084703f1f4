"""The day closing: what a day took by method, what was given back, and which completed visits are not paid."""

from datetime import date, timedelta
from functools import partial
from itertools import groupby
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from admin.framework.context import AdminContext, context_of
from admin.framework.custom_page import CustomPage
from admin.framework.formatting import METHOD_PHRASES, REFUND_REASONS
from admin.framework.page_state import page_state
from admin.pages.date_range import INVALID_DAY
from bookit import refusals as no
from bookit.db.statements import Row
from bookit.policy import limits, money
from bookit.reports.ranges import ReportRange
from bookit.reports.takings import takings
from bookit.schema.tables import PaymentMethod

SUMS = ("payments", "taken", "given_back", "kept")


async def show_day_closing(request: Request) -> Response:
    """Show what the day of the URL took, or else today."""
    context = context_of(request)
    days, error = selected_day(request, context)
    data = await takings(context.database, days)
    values = {
        "day": days.first,
        "previous": days.first - timedelta(days=1),
        "next": days.first + timedelta(days=1),
        "today": context.today,
        "error": error,
        "data": data,
        "tables": list(sums_by_currency(data.by_method)),
        "max_rows": limits.MAX_TAKINGS_ROWS,
        "zone": context.zone,
        "format_amount": partial(money.format_amount, locale=context.business.locale),
        "method_phrases": METHOD_PHRASES,
        "refund_reasons": REFUND_REASONS,
    }
    return await context.render(request, "day_closing.html", values)


def selected_day(request: Request, context: AdminContext) -> tuple[ReportRange, str]:
    """Return the day that the URL asks for, or else today and what is wrong with that day."""
    page, asked = page_state(request), request.query_params.get("day", "")
    try:
        day = date.fromisoformat(asked) if asked else context.today
        return ReportRange(day, day, context.zone, "day"), ""
    except no.Refusal as refusal:
        error, page.refusal = str(refusal), refusal
    except ValueError:
        error, page.refusal = INVALID_DAY, no.Misshapen()
    return ReportRange(context.today, context.today, context.zone, "day"), error


def sums_by_currency(rows: list[Row] | Any) -> Any:
    """Yield each currency with a row for each method, also for those that took nothing, and their sum."""
    for currency, of_currency in groupby(rows, key=lambda row: row["currency"]):
        by_method = {row["method"]: row for row in of_currency}
        nothing = dict.fromkeys(SUMS, 0)
        methods = [{"method": method, **nothing, **by_method.get(method, {})} for method in PaymentMethod]
        yield currency, methods, {name: sum(row[name] for row in methods) for name in SUMS}


PAGE = CustomPage(
    "/day-closing", "day-closing", show_day_closing, menu=("Day closing", "fa-solid fa-cash-register"),
    ability="close_days",
)  # fmt: skip
