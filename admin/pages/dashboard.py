"""The page a day at the desk begins with: what is next, what waits, what is free, and how the last days went."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from admin.framework.formatting import format_minutes, format_short_time, status_badge
from admin.pages.date_range import Preset, select_range
from bookit.db.pool import Database
from bookit.db.statements import Row
from bookit.policy import limits, permissions, times
from bookit.reports import dashboard, figures, ranges

PRESETS = (Preset(1, "Today"), Preset(7, "7 days"), Preset(30, "30 days"), Preset(90, "90 days"))
MAX_DAILY_POINTS = 14  # points of a rate; of more days, it is told by week
MAX_FREE_SHOWN = 10  # resources whose free time is shown at once


async def show_dashboard(
    request: Request, database: Database, templates: Any, *, zone: ZoneInfo, now: datetime
) -> Response:
    """Show today, and the figures of the days that are asked for."""
    require_figures(request)
    chosen = select_range(request, PRESETS, zone=zone, now=now, granularities=("day",))
    whole = ranges.ReportRange(chosen.days.first, chosen.days.last, zone, "whole")
    present, visits, used = await asyncio.gather(
        load_live_context(database, zone=zone, now=now),
        figures.visits(database, chosen.days, now=now),
        figures.utilisation(database, whole, now=now, with_gaps=False),
    )
    told = {
        **present,
        "visits": visits,
        "missed": group_by_week(visits.periods),
        "used": used.total,
        "resources": sorted(used.groups, key=lambda row: -(row["utilisation"] or 0)),
        "days": chosen.days,
        "count": chosen.count,
        "error": chosen.error,
        "picks": PRESETS,
    }
    answer: Response = await templates.TemplateResponse(request, "sqladmin/today.html", told)
    return answer


async def show_live_section(
    request: Request, database: Database, templates: Any, *, zone: ZoneInfo, now: datetime
) -> Response:
    """Show the part of the page that is of this moment, for the page's script to put in its place."""
    require_figures(request)
    told = await load_live_context(database, zone=zone, now=now)
    answer: Response = await templates.TemplateResponse(request, "sqladmin/_today.html", told)
    answer.headers["Cache-Control"] = "no-store"
    return answer


def require_figures(request: Request) -> None:
    """Let nobody see Today who may not see figures."""
    if not permissions.may_see_reports(request.state.actor):
        raise HTTPException(403)


async def load_live_context(database: Database, *, zone: ZoneInfo, now: datetime) -> dict[str, Any]:
    """Read who is next, what waits and what is free, and how a page tells it."""
    this_day = now.astimezone(zone).date()
    until = times.start_of_day(this_day, zone, offset_days=1)
    lists, free = await asyncio.gather(
        dashboard.booking_lists(database, now=now, until=until), dashboard.free_today(database, now=now, until=until)
    )
    return {
        "lists": lists,
        "free": [row for row in free if row["open_minutes"]],
        "shut": sum(not row["open_minutes"] for row in free),
        "now": now.astimezone(zone),
        "this_day": this_day,
        "most_free": MAX_FREE_SHOWN,
        "most_counted": limits.MAX_DASHBOARD_COUNT,
        "late_minutes": limits.OVERDUE_AFTER // timedelta(minutes=1),
        "short_time": partial(format_short_time, zone, this_day.year),
        "clock_time": lambda moment: f"{moment.astimezone(zone):%H:%M}",
        "is_today": lambda moment: moment.astimezone(zone).date() == this_day,
        "badge": status_badge,
        "minutes": format_minutes,
    }


def group_by_week(days: Sequence[Row]) -> list[Row]:
    """Give the rate of no-shows by day, or by week where there are many days."""
    if len(days) <= MAX_DAILY_POINTS:
        return list(days)
    found: dict[Any, Row] = {}
    for day in days:
        ends = ranges.last_day_of_period(day["from_date"], "week")
        week = found.setdefault(ends, {"from_date": day["from_date"], "completed": 0, "no_shows": 0})
        week["to_date"] = day["to_date"]
        for name in ("completed", "no_shows"):
            week[name] += day[name]
    for week in found.values():
        week["no_show_rate"] = figures.ratio(week["no_shows"], week["no_shows"] + week["completed"])
    return list(found.values())
