"""What the calendar shows: the bookings of some days, one booking with what can be done to it, and changes.

All times are those of the clock on the business's wall.
"""

import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import partial
from zoneinfo import ZoneInfo

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from admin.bookings.actions import ACTION_TEXTS, slug
from admin.calendar import event_stream, wall_clock
from admin.framework.context import context_of
from admin.framework.custom_page import Client, CustomPage
from admin.framework.formatting import humanize, is_repeated
from admin.framework.page_state import page_state
from admin.framework.parsing import parse_id
from admin.framework.permissions import require_permission
from admin.framework.sign_in import is_signed_in
from bookit import refusals as no
from bookit.bookings import acts, availability
from bookit.db.statements import Row
from bookit.policy import lifecycle, permissions, times
from bookit.reports import calendar
from bookit.reports.calendar import CalendarFilter
from bookit.schema.tables import Booking, Status
from bookit.slices import in_slices

SLICE_VISITS = 100  # that are encoded at once, in about 2 ms
MAX_DAYS = 45  # A month with the days around it.


async def get_calendar(request: Request) -> Response:
    """Return the bookings of some days, when no resource is open, and the closures by name."""
    require_permission(request, "see", Booking)
    context, query = context_of(request), request.query_params
    database, zone, now = context.database, context.zone, context.now()
    since, until = (parse_day(query.get(name, ""), zone) for name in ("start", "end"))
    if not timedelta() < until - since <= timedelta(days=MAX_DAYS):
        raise HTTPException(400, f"The calendar shows 1 to {MAX_DAYS} days.")
    own, resource_id = permissions.own_resource(page_state(request).actor), parse_optional_id(query.get("resource"))
    if own is not None and resource_id not in {None, own}:
        raise HTTPException(404)
    shown = CalendarFilter(
        resource_id if own is None else own, parse_optional_id(query.get("service")), query.get("cancelled") == "1"
    )
    visits = await calendar.bookings_in_range(database, shown, since=since, until=until, now=now)
    inactive = await calendar.inactive_in_range(
        database, since=since, until=until, now=now, with_cancelled=shown.with_cancelled, resource_id=own
    )
    resource_ids = [resource["id"] for resource in (*await calendar.resources(database), *inactive["resources"])]
    resource_ids = [shown.resource_id] if shown.resource_id else resource_ids
    open_times = await availability.open_times(database, resource_ids, since=since, until=until)
    is_too_much = len(visits) > calendar.MAX_BOOKINGS
    closures = await calendar.closures(database, since=since, until=until, resource_id=shown.resource_id)
    payload = {
        "closed": [*closed_times(open_times, resource_ids, since, until, zone)],
        "closed_everywhere": [wall_times(gap, zone) for gap in gaps(open_times, since, until)],
        "closures": [
            {**{name: closure[name] for name in ("id", "resource_id", "reason")}, **wall_times(closure, zone)}
            for closure in closures
        ],
        "inactive": inactive,
        "message": TOO_MANY_BOOKINGS if is_too_much else "",
        "now": wall_clock.to_wall_clock(now, zone),
        "offset": wall_clock.utc_offset(now, zone),
    }
    parts = [
        ",".join(encode(visit_as_dict(visit, zone)) for visit in part)
        async for part in in_slices([] if is_too_much else visits, SLICE_VISITS)
    ]
    text = f'{{"visits":[{",".join(parts)}],{encode(payload).removeprefix("{")}'
    return Response(text, media_type="application/json")


def encode(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


TOO_MANY_BOOKINGS = (
    f"More than {calendar.MAX_BOOKINGS:,} bookings in this period, so none are shown."
    " Choose fewer days, a resource or a service."
)


def parse_day(text: str, zone: ZoneInfo) -> datetime:
    """Return the beginning of a day, where a range starts or ends."""
    try:
        return times.start_of_day(datetime.fromisoformat(text).date(), zone)
    except (ValueError, no.Refusal):
        raise HTTPException(400, "This address is not valid.") from None


def parse_optional_id(text: str | None) -> int | None:
    return parse_id(text) if text else None


def wall_times(row: Row, zone: ZoneInfo) -> dict[str, str]:
    """Return both ends of a row by the clock on the wall."""
    start, end = wall_clock.wall_span(row["start_time"], row["end_time"], zone)
    return {"start": start, "end": end}


def visit_as_dict(visit: Row, zone: ZoneInfo) -> dict[str, object]:
    """Return a booking as the calendar takes it: by the clock on the wall, with the exact times beside."""
    start, end = (visit[name].astimezone(zone) for name in ("start_time", "end_time"))
    is_odd = is_repeated(start, zone) or is_repeated(end, zone) or start.utcoffset() != end.utcoffset()
    time_format = "%H:%M %Z" if is_odd else "%H:%M"
    if visit["end_time"] - visit["start_time"] >= timedelta(days=1):
        time_format = f"%a %d %b {time_format}"
    is_hold = visit["status"] == Status.PENDING and visit["expires_at"] is not None
    return {
        **wall_times(visit, zone),
        **{name: visit[name] for name in ("id", "version", "customer", "service", "resource", "service_id")},
        "resource_id": visit["resource_id"],
        "resource_ids": [visit["resource_id"], *visit["other_resource_ids"]],
        "seats": visit["seats"],
        "parts": [part_as_dict(part, zone) for part in visit["parts"] or ()],
        "starts_at": visit["start_time"].isoformat(),
        "ends_at": visit["end_time"].isoformat(),
        "times": f"{start:{time_format}} – {end:{time_format}}",
        "status": visit["status"],
        "is_hold": is_hold,
        "status_text": f"Hold until {visit['expires_at'].astimezone(zone):%H:%M}"
        if is_hold
        else humanize(visit["status"]),
        "is_movable": visit["status"] in lifecycle.OPEN_STATUSES,
        "expires_at": visit["expires_at"].isoformat() if is_hold else None,
    }


def part_as_dict(part: Row, zone: ZoneInfo) -> dict[str, object]:
    """Return when one resource serves a visit, by the clock on the wall."""
    times_of_part = {name: datetime.fromisoformat(part[name]) for name in ("start_time", "end_time")}
    named = {name: part[name] for name in ("resource_id", "position", "role", "name")}
    return {**wall_times(times_of_part, zone), **named}


def closed_times(
    open_times: list[Row], resource_ids: list[int], since: datetime, until: datetime, zone: ZoneInfo
) -> Iterable[dict[str, object]]:
    """Yield when each resource is closed: what its open times leave of the whole."""
    for resource_id in resource_ids:
        for gap in gaps([row for row in open_times if row["resource_id"] == resource_id], since, until):
            yield {"resource_id": resource_id, **wall_times(gap, zone)}


def gaps(open_times: list[Row], since: datetime, until: datetime) -> Iterable[Row]:
    """Yield the times that none of these open times covers."""
    end = since
    for row in sorted(open_times, key=lambda row: row["start_time"]):
        if end < row["start_time"]:
            yield {"start_time": end, "end_time": row["start_time"]}
        end = max(end, row["end_time"])
    if end < until:
        yield {"start_time": end, "end_time": until}


BOOKING_FIELDS = (
    "id", "user_id", "resource_id", "other_resource_ids", "status", "expires_at", "start_time", "end_time",
)  # fmt: skip


async def get_visit(request: Request) -> Response:
    """Return one booking with its acts; an act that is not allowed comes with the refusal."""
    require_permission(request, "see", Booking)
    context = context_of(request)
    (visit,) = await calendar.bookings_by_id(context.database, [parse_id(request.path_params["pk"])]) or (None,)
    if visit is None or not is_visible(request, visit):
        raise HTTPException(404)
    return JSONResponse(
        {
            "visit": visit_as_dict(visit, context.zone),
            "acts": available_actions(request, visit, now=context.now()),
            "when": format_when(visit["start_time"], context.zone),
        }
    )


def is_visible(request: Request, visit: Row) -> bool:
    """Return whether the user sees the calendar of one of the resources of a booking."""
    return event_stream.is_on_calendar(visit, permissions.own_resource(page_state(request).actor))


def format_when(moment: datetime, zone: ZoneInfo) -> str:
    return f"{moment.astimezone(zone):%a %d %b %Y, %H:%M}"


def available_actions(request: Request, visit: Row, *, now: datetime) -> list[dict[str, object]]:
    """Return each act on a booking, with the refusal that it would meet.

    One at most is the primary one: to confirm what is pending, to complete what has begun. The others ask first if they
    cancel, or change what is closed.
    """
    actor = page_state(request).actor
    if not permissions.has_permission(actor, "change", Booking):
        return []
    booking = Booking(**{name: visit[name] for name in BOOKING_FIELDS})
    primary = primary_status(booking, now=now)
    return [
        {
            "name": slug(act),
            "label": ACTION_TEXTS[status].label,
            "question": ACTION_TEXTS[status].question_one,
            "is_primary": status == primary,
            "asks": status == Status.CANCELLED or booking.status not in lifecycle.OPEN_STATUSES,
            "refusal": str(lifecycle.refusal_for_status(booking, status, by=actor, now=now) or ""),
        }
        for status, act in acts.STATUS_ACTS.items()
    ]


def primary_status(booking: Booking, *, now: datetime) -> Status | None:
    """Return the status that this booking should have next, if there is one now."""
    if booking.status in lifecycle.OPEN_STATUSES and lifecycle.is_due_to_close(booking, now=now):
        return Status.COMPLETED
    return Status.CONFIRMED if booking.status == Status.PENDING else None


async def stream(request: Request) -> Response:
    """Stream what changes, as it does."""
    require_permission(request, "see", Booking)
    context = context_of(request)
    messages = event_stream.stream_messages(
        request,
        context.change_feed,
        partial(visit_as_dict, zone=context.zone),
        own_resource=lambda: permissions.own_resource(page_state(request).actor),
        is_signed_in=partial(is_signed_in, request),
    )
    return StreamingResponse(messages, media_type="text/event-stream", headers=event_stream.STREAM_HEADERS)


PAGES = [
    CustomPage("/calendar/feed", "calendar-feed", get_calendar, client=Client.SCRIPT),
    CustomPage("/calendar/visit/{pk}", "calendar-visit", get_visit, client=Client.SCRIPT),
    CustomPage("/calendar/stream", "calendar-stream", stream, client=Client.POLLING_SCRIPT),
]
