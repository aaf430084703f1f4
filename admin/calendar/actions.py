"""What the calendar's script can do: move a booking, set its status, book, and take one of these back."""

import json
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import wraps
from typing import Annotated, Any, Literal, TypeVar, Unpack
from zoneinfo import ZoneInfo

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from admin.bookings.actions import slug
from admin.calendar import wall_clock
from admin.calendar.feed import format_when, visit_as_dict
from admin.framework.context import context_of
from admin.framework.custom_page import Client, CustomPage
from admin.framework.idempotency import run_once
from admin.framework.page_state import page_state
from admin.framework.parsing import parse_id
from admin.framework.permissions import require_permission
from admin.framework.transactions import Act, ActorAndTime, run_act
from bookit import records
from bookit import refusals as no
from bookit.bookings import acts, availability, undo
from bookit.bookings.acts import START_RULE_REFUSALS
from bookit.bookings.availability import OVERRIDABLE_REFUSALS, Visit
from bookit.bookings.claims import names_of_slot, resources_of_slot
from bookit.db.session import Session
from bookit.people import phones
from bookit.policy import permissions, times
from bookit.policy.limits import MAX_BIGINT
from bookit.reports import calendar
from bookit.schema.fields import OPTIONAL_TEXT_PATTERN, ReasonText, checked_type
from bookit.schema.tables import MAX_PARTY, MAX_ROLES, Booking, User

Name: Any = checked_type(User.model_fields["name"])
VisitorName: Any = checked_type(Booking.model_fields["visitor_name"])
OptionalReason = ReasonText | Literal[""]
Handler = Callable[[Request], Awaitable[Response]]
TYPED_TEXTS = {"name": "name", "visitor_name": "name", "reason": "reason", "override_reason": "reason"}
NOT_SENT = "The calendar did not send this."
RowId = Annotated[int, Field(ge=1, le=MAX_BIGINT)]
Resources = Annotated[dict[int, RowId], Field(max_length=MAX_ROLES)]  # by position


class CalendarModel(BaseModel):
    """What the calendar's script sends: no other fields, no blanks around a text."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)


class CalendarRequest(CalendarModel):
    """The body of a request.

    A request that is sent again with the same ``key`` changes nothing more. With ``overlap`` the customer may have
    another visit at this time.
    """

    key: Annotated[str, Field(max_length=64)] = ""
    overlap: bool = False


class NewCustomer(CalendarModel):
    """A customer without an account, who has a phone number or an e-mail address."""

    name: Name
    phone: Annotated[str, Field(max_length=phones.MAX_TYPED, pattern=OPTIONAL_TEXT_PATTERN)] = ""
    email: Annotated[str, Field(max_length=255, pattern=OPTIONAL_TEXT_PATTERN)] = ""


class PlacedRequest(CalendarRequest):
    """A request that can name resources by position; ``resource_id`` is that of the first."""

    resource_id: RowId | None = None
    resources: Resources | None = None

    @property
    def placed(self) -> dict[int, int]:
        """The resources that it names, by position."""
        return ({1: self.resource_id} if self.resource_id else {}) | (self.resources or {})


class NewBooking(PlacedRequest):
    """A booking: what, when, and for whom."""

    service_id: RowId
    start: str
    seats: Annotated[int, Field(ge=1, le=MAX_PARTY)] = 1
    user_id: RowId | None = None
    new_customer: NewCustomer | None = None
    visitor_name: Annotated[VisitorName, BeforeValidator(lambda typed: typed or None)] = None
    is_hold: bool = False
    override_reason: OptionalReason = ""


class MoveBooking(PlacedRequest):
    """A booking that was dragged, to another time, resource or both, or by its end; and its version at the time.

    A position that it does not name keeps its resource.
    """

    version: int
    start: str | None = None
    end: str | None = None
    override_reason: OptionalReason = ""


class StatusChange(CalendarRequest):
    """An act on a booking, and its version at the time."""

    version: int
    act: str
    reason: OptionalReason = ""


class UndoRequest(CalendarRequest):
    """The change to take back: its event in history, or none for a new booking, which is cancelled."""

    version: int
    event: RowId | None = None


Body = TypeVar("Body", bound=CalendarRequest)


async def parse_body(model: type[Body], request: Request) -> Body:
    """Return the body of a request. Raise NotVisible for a text that people cannot see, and 422 for no such body."""
    try:
        return model.model_validate(json.loads(await request.body() or b"null"))
    except ValidationError as error:
        for one in error.errors():
            if one["type"] == "value_error":
                field = next((name for name in reversed(one["loc"]) if name in TYPED_TEXTS), "name")
                raise no.NotVisible(field=str(field), title=TYPED_TEXTS[str(field)]) from None
        raise HTTPException(422, NOT_SENT) from None
    except (ValueError, RecursionError):
        raise HTTPException(422, NOT_SENT) from None


def showing_unseen_text(handler: Handler) -> Handler:
    """Return a handler that answers with the sentence of a text that people cannot see."""

    @wraps(handler)
    async def handle(request: Request) -> Response:
        try:
            return await handler(request)
        except no.NotVisible as refusal:
            return refusal_response(request, refusal)

    return handle


async def run_and_respond(
    request: Request,
    body: CalendarRequest,
    act: Act[Booking],
    *,
    visit: Visit | None = None,
    search_from: datetime | None = None,
    warns_of_past: bool = False,
    warns_of_rules: bool = False,
) -> Response:
    """Run an act once and return the booking as it is then; or the refusal, with the next free slots for a visit.

    The answer has a warning for a visit in the past, or for what would have been refused to a customer.
    """
    context, path = context_of(request), request.url.path
    content = {"path": path, **body.model_dump(exclude={"key"})}
    try:
        booking = (await run_act(request, run_once(act, Booking, key=body.key, content=content))).row
    except no.Refusal as refusal:
        if visit and search_from:
            await availability.attach_next_free(context.database, refusal, visit, since=search_from, now=context.now())
        return refusal_response(request, refusal)
    warning = ""
    if warns_of_past and times.has_started(booking.start_time, now=context.now()):
        warning = "This visit is in the past."
    elif warns_of_rules:
        warning = await warning_for_rules(request, booking)
    return await booking_response(request, booking.id, warning=warning)


async def warning_for_rules(request: Request, booking: Booking) -> str:
    """Return what a customer would have been told of the start of a new booking, or nothing."""
    context, by = context_of(request), page_state(request).actor
    visit = Visit(booking.service_id, booking.resource_id, seats=booking.seats)
    checks = await availability.check_start(context.database, visit, start=booking.start_time, by=by, now=context.now())
    first = [check for check in checks if check["position"] == 1]
    refusals = availability.obstacles(first[0], now=context.now()) if first else []
    told = [str(refusal) for refusal in refusals if isinstance(refusal, START_RULE_REFUSALS)]
    return f"Customers are told: {' '.join(told)}" if told else ""


async def booking_response(request: Request, booking_id: int, *, warning: str) -> Response:
    """Return a booking as it is now, and what takes its last change back if this user made it."""
    context, by = context_of(request), page_state(request).actor
    (row,) = await calendar.bookings_by_id(context.database, [booking_id])
    last = await undo.last_event(context.database, booking_id)
    is_own = last is not None and last["actor_id"] == by.id
    event_id = last["id"] if last and last["action"] == "changed" else None
    payload = {
        "visit": visit_as_dict(row, context.zone),
        "when": f"{row['start_time'].astimezone(context.zone):%a %d %b %H:%M}",
        "warning": warning,
        "undo": {"version": row["version"], "event": event_id} if is_own else None,
    }
    return JSONResponse(payload)


def refusal_response(request: Request, refusal: no.Refusal) -> Response:
    """Return a refusal: its sentence, its field, the next free slots, and whether staff may override it."""
    page_state(request).refusal, zone = refusal, context_of(request).zone
    next_free = [
        {
            "start": wall_clock.to_wall_clock(slot["start_time"], zone),
            "text": format_when(slot["start_time"], zone),
            "ends_at": slot["end_time"].isoformat(),
            "resource_id": slot["ids"][0],
            "resources": resources_of_slot(slot),
            "resource": names_of_slot(slot),
        }
        for slot in refusal.next_free or ()
    ]
    payload = {
        "message": str(refusal),
        "field": refusal.field,
        "next_free": next_free,
        "may_override": isinstance(refusal, OVERRIDABLE_REFUSALS),
        "may_overlap": isinstance(refusal, no.OverlappingBooking),
        "is_saved_already": isinstance(refusal, no.SavedAlready),
    }
    return JSONResponse(payload, 400)


@showing_unseen_text
async def move(request: Request) -> Response:
    """Move a booking to another time, another resource or both, or move its end."""
    require_permission(request, "change", Booking)
    body, context = await parse_body(MoveBooking, request), context_of(request)
    booking = await context.database.get(Booking, parse_id(request.path_params["pk"]))
    if booking is None or not permissions.is_in_scope(booking, by=page_state(request).actor):
        return refusal_response(request, no.Missing(what="booking"))
    try:
        start, end = new_times(booking, body, context.zone)
    except no.Refusal as refusal:
        return refusal_response(request, refusal)
    visit = availability.visit_after(booking, start_time=start, end_time=end, resources=body.placed)

    async def act(session: Session, **by_and_now: Unpack[ActorAndTime]) -> Booking:
        row = await records.lock(session, Booking, booking.id, version=body.version, by=by_and_now["by"])
        return await records.change(
            session,
            row,
            **by_and_now,
            start_time=start,
            end_time=end,
            resources=body.placed or None,
            overlap=body.overlap,
            override_reason=body.override_reason,
        )

    search_from, is_moved = start or booking.start_time, bool(start or body.placed)
    return await run_and_respond(request, body, act, visit=visit, search_from=search_from, warns_of_past=is_moved)


def new_times(booking: Booking, body: MoveBooking, zone: ZoneInfo) -> tuple[datetime | None, datetime | None]:
    """Return the new start and end of a booking, each if it was dragged. Raise a refusal for a skipped hour."""
    start = wall_clock.from_wall_clock(body.start, zone, like=booking.start_time) if body.start else None
    end = wall_clock.end_from_wall_clock(body.end, booking.start_time, booking.end_time, zone) if body.end else None
    return start, end


@showing_unseen_text
async def set_status(request: Request) -> Response:
    """Change the status of a booking."""
    require_permission(request, "change", Booking)
    body = await parse_body(StatusChange, request)
    status_acts = {slug(status_act): status_act for status_act in acts.STATUS_ACTS.values()}
    if body.act not in status_acts:
        raise HTTPException(422, "There is no such action.")

    async def act(session: Session, **by_and_now: Unpack[ActorAndTime]) -> Booking:
        if body.reason:
            await session.set_reason(body.reason)
        if body.overlap:
            await session.allow_overlap()
        booking_id = parse_id(request.path_params["pk"])
        row = await records.lock(session, Booking, booking_id, version=body.version, by=by_and_now["by"])
        return await status_acts[body.act](session, row, **by_and_now)

    return await run_and_respond(request, body, act)


@showing_unseen_text
async def undo_act(request: Request) -> Response:
    """Take back the last change of a booking; a new booking is cancelled."""
    require_permission(request, "change", Booking)
    body, booking_id = await parse_body(UndoRequest, request), parse_id(request.path_params["pk"])

    async def act(session: Session, **by_and_now: Unpack[ActorAndTime]) -> Booking:
        if body.event is not None:
            return await undo.undo(session, booking_id, event_id=body.event, **by_and_now)
        row = await records.lock(session, Booking, booking_id, version=body.version, by=by_and_now["by"])
        await session.set_reason("Undid: booked")
        return await acts.cancel(session, row, **by_and_now)

    return await run_and_respond(request, body, act)


@showing_unseen_text
async def book(request: Request) -> Response:
    """Book for a customer; a new customer is created in the same transaction."""
    require_permission(request, "create", Booking)
    body = await parse_body(NewBooking, request)
    try:
        start = wall_clock.from_wall_clock(body.start, context_of(request).zone)
        if not (body.user_id or body.new_customer):
            raise no.UnknownUser(what="customer")
    except no.Refusal as refusal:
        return refusal_response(request, refusal)

    async def act(session: Session, **by_and_now: Unpack[ActorAndTime]) -> Booking:
        user_id = body.user_id
        if body.new_customer:
            user = await records.create(session, User, **by_and_now, **vars(body.new_customer))
            user_id = user.id
        return await records.create(
            session,
            Booking,
            **by_and_now,
            user_id=user_id,
            visitor_name=body.visitor_name,
            service_id=body.service_id,
            start_time=start,
            resources=body.placed or None,
            seats=body.seats,
            hold=body.is_hold,
            overlap=body.overlap,
            for_desk=True,
            override_reason=body.override_reason or None,
        )

    others = {position: one for position, one in body.placed.items() if position > 1}
    visit = Visit(body.service_id, body.placed.get(1), seats=body.seats, others=others or None, for_desk=True)
    return await run_and_respond(
        request, body, act, visit=visit, search_from=start, warns_of_past=True, warns_of_rules=True
    )


PAGES = [
    CustomPage("/calendar/move/{pk}", "calendar-move", move, ("POST",), client=Client.SCRIPT),
    CustomPage("/calendar/act/{pk}", "calendar-act", set_status, ("POST",), client=Client.SCRIPT),
    CustomPage("/calendar/undo/{pk}", "calendar-undo", undo_act, ("POST",), client=Client.SCRIPT),
    CustomPage("/calendar/book", "calendar-book", book, ("POST",), client=Client.SCRIPT),
]
