"""What is done on the calendar: it goes the way everything goes."""

import json
import secrets
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from admin.bookings.actions import slug
from admin.calendar import wall_clock
from admin.calendar.feed import format_when, visit_as_dict
from admin.framework.context import context_of
from admin.framework.parsing import MAX_BIGINT, parse_id
from admin.framework.permissions import require_permission
from bookit import records
from bookit import refusals as no
from bookit.bookings import acts, availability
from bookit.bookings.availability import OVERRIDABLE_REFUSALS, Visit
from bookit.db.errors import retry_interrupted
from bookit.db.session import Session
from bookit.people import passwords
from bookit.policy import times
from bookit.reports import calendar
from bookit.schema.fields import OptionalText, ReasonText, RequiredText
from bookit.schema.tables import Booking, User

OptionalReason = ReasonText | Literal[""]
RowId = Annotated[int, Field(ge=1, le=MAX_BIGINT)]


class CalendarRequest(BaseModel):
    """What the calendar's script sends."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)


class NewCustomer(CalendarRequest):
    """Somebody who has not been here before."""

    name: Annotated[RequiredText, Field(min_length=1, max_length=100)]
    email: Annotated[OptionalText, Field(min_length=3, max_length=255)]


class NewBooking(CalendarRequest):
    """A booking: what, when, for whom."""

    service_id: RowId
    start: str
    resource_id: RowId | None = None
    user_id: RowId | None = None
    newcomer: NewCustomer | None = None
    is_hold: bool = False
    override_reason: OptionalReason = ""


class MoveBooking(CalendarRequest):
    """A booking that was dragged: to another time, resource or both, or by its end; from the version that was seen."""

    version: int
    start: str | None = None
    end: str | None = None
    resource_id: RowId | None = None
    override_reason: OptionalReason = ""


class StatusChange(CalendarRequest):
    """An act on a booking, from the version that was seen."""

    version: int
    act: str
    reason: OptionalReason = ""


async def parse_body(model: type[CalendarRequest], request: Request) -> Any:
    """Read what the script sent."""
    try:
        return model.model_validate(json.loads(await request.body() or b"null"))
    except (ValueError, ValidationError, RecursionError):
        raise HTTPException(422, "This was not sent by the calendar.") from None


async def run_and_respond(
    request: Request,
    visit: Visit,
    search_from: datetime | None,
    act: Callable[..., Awaitable[Booking]],
    *,
    warns_of_past: bool = False,
) -> Response:
    """Run an act in this person's name, and give the visit as it is then; or why not, and when it could be."""
    context = context_of(request)

    async def once() -> Booking:
        now, asked = context.now(), request.scope.get("request_id", "")
        async with context.database.transaction(by=request.state.actor, now=now, request_id=asked) as session:
            return await act(session, by=request.state.actor, now=now)

    try:
        booking = await retry_interrupted(once)
    except no.Refusal as refusal:
        if search_from:
            await availability.attach_next_free(context.database, refusal, visit, since=search_from, now=context.now())
        return refusal_response(request, refusal)
    (row,) = await calendar.bookings_by_id(context.database, [booking.id])
    is_past = warns_of_past and times.has_started(booking.start_time, now=context.now())
    warning = "This visit lies in the past." if is_past else ""
    return JSONResponse({"visit": visit_as_dict(row, context.zone), "warning": warning})


def refusal_response(request: Request, refusal: no.Refusal) -> Response:
    """Say why not: the sentence, the field it is about, the next free slots, and whether staff may set it aside."""
    request.state.refusal, zone = refusal, context_of(request).zone
    free = [
        {"start": wall_clock.to_wall_clock(slot["start_time"], zone),
         "words": format_when(slot["start_time"], zone), "ends_at": slot["end_time"].isoformat(),
         "resource_id": slot["ids"][0], "resource": slot["names"][0]}
        for slot in refusal.next_free or ()
    ]  # fmt: skip
    told = {
        "sentence": str(refusal),
        "field": refusal.field,
        "next_free": free,
        "may_override": isinstance(refusal, OVERRIDABLE_REFUSALS),
    }
    return JSONResponse(told, 400)


async def move(request: Request) -> Response:
    """Move a booking to another time, another resource, or both; or have it end at another time."""
    require_permission(request, "change", Booking)
    sent: MoveBooking = await parse_body(MoveBooking, request)
    context = context_of(request)
    booking = await context.database.get(Booking, parse_id(request.path_params["pk"]))
    if booking is None:
        return refusal_response(request, no.Missing(what="booking"))
    zone = context.zone
    try:
        start = wall_clock.from_wall_clock(sent.start, zone, like=booking.start_time) if sent.start else None
        end = wall_clock.end_from_wall_clock(sent.end, booking.start_time, booking.end_time, zone) if sent.end else None
    except no.Refusal as refusal:
        return refusal_response(request, refusal)
    facts: dict[str, Any] = {"start_time": start, "end_time": end, "resource_id": sent.resource_id}
    visit = availability.visit_after(booking, **facts)
    facts["override_reason"] = sent.override_reason

    async def act(session: Session, **who: Any) -> Booking:
        row = await records.lock(session, Booking, booking.id, version=sent.version)
        return await records.change(session, row, **who, **facts)

    since = start or booking.start_time
    return await run_and_respond(request, visit, since, act, warns_of_past=bool(start or sent.resource_id))


async def set_status(request: Request) -> Response:
    """Lead a booking to another status."""
    require_permission(request, "change", Booking)
    sent: StatusChange = await parse_body(StatusChange, request)
    known = {slug(act): act for act in acts.STATUS_ACTS.values()}
    if sent.act not in known:
        raise HTTPException(422, "There is no such act.")

    async def act(session: Session, **who: Any) -> Booking:
        if sent.reason:
            await session.set_reason(sent.reason)
        row = await records.lock(session, Booking, parse_id(request.path_params["pk"]), version=sent.version)
        return await known[sent.act](session, row, **who)

    return await run_and_respond(request, Visit(0), None, act)


async def book(request: Request) -> Response:
    """Book for a customer, or for somebody new, who is written down in the same breath or not at all."""
    require_permission(request, "create", Booking)
    sent: NewBooking = await parse_body(NewBooking, request)
    try:
        start = wall_clock.from_wall_clock(sent.start, context_of(request).zone)
        if not (sent.user_id or sent.newcomer):
            raise no.UnknownUser(what="customer")
        # Nobody knows this password: who came by the desk gets a real one from an admin, when they ask for it.
        unknown = await passwords.hash_password(secrets.token_urlsafe(32)) if sent.newcomer else ""
    except no.Refusal as refusal:
        return refusal_response(request, refusal)
    facts: dict[str, Any] = {
        "service_id": sent.service_id,
        "start_time": start,
        "resource_id": sent.resource_id,
        "hold": sent.is_hold,
        "override_reason": sent.override_reason or None,
    }

    async def act(session: Session, **who: Any) -> Booking:
        user_id = sent.user_id
        if sent.newcomer:
            new = await records.create(session, User, **who, **vars(sent.newcomer), password_hash=unknown)
            user_id = new.id
        return await records.create(session, Booking, **who, **facts, user_id=user_id)

    return await run_and_respond(request, Visit(sent.service_id, sent.resource_id), start, act, warns_of_past=True)
