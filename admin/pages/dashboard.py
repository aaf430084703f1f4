"""The page that a day begins with: what is next, what waits, what is free, and the figures of the last days."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial

from sqlmodel import SQLModel
from starlette.requests import Request
from starlette.responses import Response

from admin.framework.context import context_of
from admin.framework.custom_page import Client, CustomPage
from admin.framework.formatting import format_minutes, format_short_time, status_badge
from admin.framework.page_state import page_state
from admin.pages.date_range import Preset, select_range
from bookit import business
from bookit.db.statements import Row
from bookit.policy import limits, permissions, times
from bookit.policy.permissions import Verb
from bookit.reports import dashboard, figures, ranges
from bookit.schema.fields import DEFAULT_BUSINESS_NAME
from bookit.schema.tables import BUSINESS_ID, Booking, Business, Resource, Service, User, table_of

PRESETS = (Preset(1, "Today"), Preset(7, "7 days"), Preset(30, "30 days"), Preset(90, "90 days"))
MAX_DAILY_POINTS = 14  # points of a chart; more days are summed up by week
MAX_FREE_SHOWN = 10  # resources whose free time is shown at once


@dataclass(frozen=True)
class FirstStep:
    """What an owner does before the business can be booked, with the table whose page it is done on."""

    name: str
    title: str
    hint: str
    table: type[SQLModel]
    verb: Verb
    page: str


FIRST_STEPS = (
    FirstStep(
        "business",
        "Name your business",
        "Its name, address, time zone and currency.",
        Business,
        "change",
        "admin:edit",
    ),
    FirstStep(
        "team",
        "Add your team and rooms, and when they are open",
        "Whoever and whatever can be booked, each with opening hours.",
        Resource,
        "create",
        "admin:list",
    ),
    FirstStep(
        "services",
        "Add your services",
        "What customers book: how long it takes and what it costs.",
        Service,
        "create",
        "admin:create",
    ),
    FirstStep(
        "booking",
        "Book the first visit",
        "Then this list is gone.",
        Booking,
        "create",
        "admin:create",
    ),
)


async def load_first_steps(request: Request) -> dict[str, object]:
    """Load what is still to do before the business can be booked, for users who can do it.

    Once all is done, no statement is run any more.
    """
    context, actor = context_of(request), page_state(request).actor
    if context.current_business.is_set_up or not permissions.has_permission(actor, "create", Service):
        return {"first_steps": [], "is_new": False, "has_bookings": True}
    done = await business.find_first_steps(context.database)
    context.current_business.is_set_up = all(done.values())
    steps = (
        []
        if context.current_business.is_set_up
        else [
            {
                "title": step.title,
                "hint": step.hint,
                "is_done": done[step.name],
                "url": step_url(request, step) if permissions.has_permission(actor, step.verb, step.table) else "",
            }
            for step in FIRST_STEPS
        ]
    )
    return {"first_steps": steps, "is_new": not done["resources"], "has_bookings": done["booking"]}


def step_url(request: Request, step: FirstStep) -> str:
    """Return the URL of the page of a first step."""
    identity = context_of(request).views[table_of(step.table).name].identity
    row = {"pk": BUSINESS_ID} if step.page == "admin:edit" else {}
    return str(request.url_for(step.page, identity=identity, **row))


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
    lists, free, first_steps = await asyncio.gather(
        dashboard.booking_lists(database, now=now, until=until, resource_id=own),
        dashboard.free_today(database, now=now, until=until),
        load_first_steps(request),
    )
    free = [row for row in free if own in {None, row["id"]}]
    return {
        **first_steps,
        "business_name": "" if context.business.name == DEFAULT_BUSINESS_NAME else context.business.name,
        "money": context.format_money,
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
