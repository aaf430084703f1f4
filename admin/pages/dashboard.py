"""The page that a day begins with: what is next, what waits, what is free, and the figures of the last days."""

import asyncio
from collections.abc import Sequence
from datetime import date, timedelta
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from admin.framework.context import context_of
from admin.framework.custom_page import Client, CustomPage
from admin.framework.formatting import format_minutes, format_short_time, status_badge
from admin.framework.page_state import page_state
from admin.pages.date_range import Preset, select_range
from bookit.db.statements import Row
from bookit.policy import limits, permissions, times
from bookit.reports import dashboard, figures, ranges
from bookit.schema.tables import Booking, Resource, User

PRESETS = (Preset(1, "Today"), Preset(7, "7 days"), Preset(30, "30 days"), Preset(90, "90 days"))
MAX_DAILY_POINTS = 14  # points of a chart; more days are summed up by week
MAX_FREE_SHOWN = 10  # resources whose free time is shown at once


async def show_dashboard(request: Request) -> Response:
    """Show today, and to users who may see reports, the figures of the days that the URL asks for."""
    values = await load_live_values(request)
    if values["may_see_reports"]:
        values |= await load_figures(request)
    return await context_of(request).render(request, "today.html", values)


async def load_figures(request: Request) -> dict[str, object]:
    """Load the figures of the days that the URL asks for."""
    context, now = context_of(request), context_of(request).now()
    database, zone = context.database, context.zone
    selected = select_range(request, PRESETS, zone=zone, now=now, granularities=("day",))
    whole = ranges.ReportRange(selected.days.first, selected.days.last, zone, "whole")
    visits, utilisation = await asyncio.gather(
        figures.visits(database, selected.days, now=now),
        figures.utilisation(database, whole, now=now, with_gaps=False),
    )
    return {
        "visits": visits,
        "missed": group_by_week(visits.periods),
        "used": utilisation.total,
        "resources": sorted(utilisation.groups, key=lambda row: -(row["utilisation"] or 0)),
        "days": selected.days,
        "count": selected.count,
        "error": selected.error,
        "presets": PRESETS,
    }


async def show_live_section(request: Request) -> Response:
    """Return the part of the page that is about this moment, which the page's script replaces."""
    response = await context_of(request).render(request, "_today.html", await load_live_values(request))
    response.headers["Cache-Control"] = "no-store"
    return response


async def load_live_values(request: Request) -> dict[str, object]:
    """Load who is next, what waits and what is free, how the page formats it, and what the user may do with it.

    A user with their own calendar gets the visits and the free time of its resource.
    """
    context, actor = context_of(request), page_state(request).actor
    database, zone, now, own = context.database, context.zone, context.now(), permissions.own_resource(actor)
    this_day = now.astimezone(zone).date()
    until = times.start_of_day(this_day, zone, offset_days=1)
    lists, free = await asyncio.gather(
        dashboard.booking_lists(database, now=now, until=until, resource_id=own),
        dashboard.free_today(database, now=now, until=until),
    )
    free = [row for row in free if own in {None, row["id"]}]
    return {
        "lists": lists,
        "may_see_reports": permissions.has_ability(actor, "see_reports"),
        "may_see_people": permissions.has_permission(actor, "see", User),
        "may_see_resources": permissions.has_permission(actor, "see", Resource),
        "may_book": permissions.has_permission(actor, "create", Booking),
        "free": [row for row in free if row["open_minutes"]],
        "closed_count": sum(not row["open_minutes"] for row in free),
        "now": now.astimezone(zone),
        "this_day": this_day,
        "max_free": MAX_FREE_SHOWN,
        "max_count": limits.MAX_DASHBOARD_COUNT,
        "late_minutes": limits.OVERDUE_AFTER // timedelta(minutes=1),
        "short_time": partial(format_short_time, zone, this_day.year),
        "clock_time": lambda moment: f"{moment.astimezone(zone):%H:%M}",
        "is_today": lambda moment: moment.astimezone(zone).date() == this_day,
        "badge": status_badge,
        "minutes": format_minutes,
    }


def group_by_week(days: Sequence[Row]) -> list[Row]:
    """Return the rate of no-shows by day, or by week where there are many days."""
    if len(days) <= MAX_DAILY_POINTS:
        return list(days)
    weeks: dict[date, Row] = {}
    for day in days:
        last_day = ranges.last_day_of_period(day["from_date"], "week")
        week = weeks.setdefault(last_day, {"from_date": day["from_date"], "completed": 0, "no_shows": 0})
        week["to_date"] = day["to_date"]
        for name in ("completed", "no_shows"):
            week[name] += day[name]
    for week in weeks.values():
        week["no_show_rate"] = figures.ratio(week["no_shows"], week["no_shows"] + week["completed"])
    return list(weeks.values())


PAGES = [
    CustomPage("/", "index", show_dashboard, menu=("Today", "fa-solid fa-sun")),
    CustomPage("/today", "today", show_live_section, client=Client.POLLING_SCRIPT),
]
