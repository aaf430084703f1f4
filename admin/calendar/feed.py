"""What the calendar shows: what some time holds, one visit with what can be done to it, and what is new.

All by the clock on the business's wall.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from admin.bookings.actions import ACTION_TEXTS, slug
from admin.calendar import event_stream, wall_clock
from admin.framework.context import context_of
from admin.framework.formatting import humanize
from admin.framework.parsing import parse_id
from admin.framework.permissions import require_permission
from bookit import refusals as no
from bookit.bookings import acts, availability
from bookit.change_feed import ChangeFeed
from bookit.db.statements import Row
from bookit.policy import lifecycle, permissions, times
from bookit.reports import calendar
from bookit.reports.calendar import CalendarFilter
from bookit.schema.tables import Booking, Status

MAX_DAYS = 45  # A month with the days around it.


async def get_calendar(request: Request) -> Response:
    """Give what some time holds: visits, when nobody serves, and closures by name."""
    require_permission(request, "see", Booking)
    context, asked = context_of(request), request.query_params
    database, zone, now = context.database, context.zone, context.now()
    since, until = (parse_day(asked.get(name, ""), zone) for name in ("start", "end"))
    if not timedelta() < until - since <= timedelta(days=MAX_DAYS):
        raise HTTPException(400, f"A calendar shows between one and {MAX_DAYS} days.")
    wanted = CalendarFilter(
        parse_optional_id(asked.get("resource")), parse_optional_id(asked.get("service")), asked.get("cancelled") == "1"
    )
    visits = await calendar.bookings_in_range(database, wanted, since=since, until=until, now=now)
    places = (
        [wanted.resource_id] if wanted.resource_id else [place["id"] for place in await calendar.resources(database)]
    )
    opens = await availability.open_times(database, places, since=since, until=until)
    is_too_much = len(visits) > calendar.MAX_BOOKINGS
    told = {
        "visits": [] if is_too_much else [visit_as_dict(visit, zone) for visit in visits],
        "shut": [*closed_times(opens, places, since, until, zone)],
        "shut_everywhere": [wall_times(gap, zone) for gap in gaps(opens, since, until)],
        "closures": [
            {"id": one["id"], "resource_id": one["resource_id"], "reason": one["reason"], **wall_times(one, zone)}
            for one in await calendar.closures(database, since=since, until=until, resource_id=wanted.resource_id)
        ],
        "sentence": TOO_MANY_BOOKINGS if is_too_much else "",
        "now": wall_clock.to_wall_clock(now, zone),
        "offset": wall_clock.utc_offset(now, zone),
    }
    return JSONResponse(told)


TOO_MANY_BOOKINGS = (
    f"More than {calendar.MAX_BOOKINGS:,} bookings lie in this time, so none are shown."
    " Look at fewer days, or choose a resource or a service."
)


def parse_day(text: str, zone: ZoneInfo) -> datetime:
    """Read where a range begins or ends: the beginning of a day."""
    try:
        return times.start_of_day(datetime.fromisoformat(text).date(), zone)
    except (ValueError, no.Refusal):
        raise HTTPException(400, "This address does not make sense.") from None


def parse_optional_id(text: str | None) -> int | None:
    return parse_id(text) if text else None


def wall_times(row: Row, zone: ZoneInfo) -> dict[str, str]:
    """Give both ends of something by the clock on the wall."""
    start, end = wall_clock.wall_span(row["start_time"], row["end_time"], zone)
    return {"start": start, "end": end}


def visit_as_dict(visit: Row, zone: ZoneInfo) -> dict[str, Any]:
    """Give a visit as the calendar takes it: by the clock on the wall, with the exact moments beside."""
    start, end = (visit[name].astimezone(zone) for name in ("start_time", "end_time"))
    is_odd = (
        wall_clock.is_ambiguous(start, zone)
        or wall_clock.is_ambiguous(end, zone)
        or start.utcoffset() != end.utcoffset()
    )
    spelled = "%H:%M %Z" if is_odd else "%H:%M"
    is_hold = visit["status"] == Status.PENDING and visit["expires_at"] is not None
    return {
        **wall_times(visit, zone),
        **{name: visit[name] for name in ("id", "version", "customer", "service", "resource", "service_id")},
        "resource_id": visit["resource_id"],
        "starts_at": visit["start_time"].isoformat(),
        "ends_at": visit["end_time"].isoformat(),
        "times": f"{start:{spelled}} – {end:{spelled}}",
        "status": visit["status"],
        "is_hold": is_hold,
        "words": f"Hold until {visit['expires_at'].astimezone(zone):%H:%M}" if is_hold else humanize(visit["status"]),
        "is_movable": visit["status"] in lifecycle.OPEN_STATUSES,
        "expires_at": visit["expires_at"].isoformat() if is_hold else None,
    }


def closed_times(
    open_times: list[Row], resource_ids: list[int], since: datetime, until: datetime, zone: ZoneInfo
) -> Iterable[dict[str, Any]]:
    """Give when each resource does not serve: what its open times leave of the whole."""
    for place in resource_ids:
        for gap in gaps([one for one in open_times if one["resource_id"] == place], since, until):
            yield {"resource_id": place, **wall_times(gap, zone)}


def gaps(open_times: list[Row], since: datetime, until: datetime) -> Iterable[Row]:
    """Give the times in which nobody of these is open."""
    end = since
    for one in sorted(open_times, key=lambda one: one["start_time"]):
        if end < one["start_time"]:
            yield {"start_time": end, "end_time": one["start_time"]}
        end = max(end, one["end_time"])
    if end < until:
        yield {"start_time": end, "end_time": until}


async def get_visit(request: Request) -> Response:
    """Give one visit with what can be done to it; an act that cannot be says why."""
    require_permission(request, "see", Booking)
    context = context_of(request)
    (visit,) = await calendar.bookings_by_id(context.database, [parse_id(request.path_params["pk"])]) or (None,)
    if visit is None:
        raise HTTPException(404)
    return JSONResponse(
        {
            "visit": visit_as_dict(visit, context.zone),
            "acts": available_actions(request, visit),
            "when": format_when(visit["start_time"], context.zone),
        }
    )


def format_when(moment: datetime, zone: ZoneInfo) -> str:
    return f"{moment.astimezone(zone):%a %d %b %Y, %H:%M}"


def available_actions(request: Request, visit: Row) -> list[dict[str, str]]:
    """Give each act on a booking, with the refusal it would meet."""
    if not permissions.has_permission(request.state.actor, "change", Booking):
        return []
    booking = Booking(**{name: visit[name] for name in ("id", "user_id", "status", "expires_at", "start_time")})
    return [
        {
            "name": slug(act),
            "label": ACTION_TEXTS[status].label,
            "question": ACTION_TEXTS[status].question_one,
            "refusal": str(lifecycle.refusal_for_status(booking, status, by=request.state.actor) or ""),
        }
        for status, act in acts.STATUS_ACTS.items()
    ]


async def stream(request: Request, change_feed: ChangeFeed, is_signed_in: event_stream.IsSignedIn) -> Response:
    """Tell what changes, as it does."""
    require_permission(request, "see", Booking)
    serialize = partial(visit_as_dict, zone=context_of(request).zone)
    parts = event_stream.stream_messages(request, change_feed, serialize, is_signed_in=is_signed_in)
    return StreamingResponse(parts, media_type="text/event-stream", headers=event_stream.STREAM_HEADERS)
