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
from admin.calendar.feed import tell, when
from admin.framework.parsing import BIGGEST, number
from admin.framework.permissions import require
from admin.record_view import RecordView
from bookit import records
from bookit import refusals as no
from bookit.bookings import acts, availability
from bookit.bookings.availability import TO_OVERRIDE, Visit
from bookit.db.errors import retrying
from bookit.db.session import Session
from bookit.people import passwords
from bookit.policy import times
from bookit.reports import calendar
from bookit.schema.fields import Reason, Text, Words
from bookit.schema.tables import Booking, User

AnyReason = Reason | Literal[""]
RowNumber = Annotated[int, Field(ge=1, le=BIGGEST)]


class Sent(BaseModel):
    """What the calendar's script sends."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)


class Newcomer(Sent):
    """Somebody who has not been here before."""

    name: Annotated[Words, Field(min_length=1, max_length=100)]
    email: Annotated[Text, Field(min_length=3, max_length=255)]


class NewVisit(Sent):
    """A booking: what, when, for whom."""

    service_id: RowNumber
    start: str
    resource_id: RowNumber | None = None
    user_id: RowNumber | None = None
    newcomer: Newcomer | None = None
    is_hold: bool = False
    override_reason: AnyReason = ""


class Move(Sent):
    """A booking that was dragged: to another time, resource or both, or by its end; from the version that was seen."""

    version: int
    start: str | None = None
    end: str | None = None
    resource_id: RowNumber | None = None
    override_reason: AnyReason = ""


class Deed(Sent):
    """An act on a booking, from the version that was seen."""

    version: int
    act: str
    reason: AnyReason = ""


async def sent_as(kind: type[Sent], request: Request) -> Any:
    """Read what the script sent."""
    try:
        return kind.model_validate(json.loads(await request.body() or b"null"))
    except (ValueError, ValidationError, RecursionError):
        raise HTTPException(422, "This was not sent by the calendar.") from None


async def done(
    request: Request,
    visit: Visit,
    since: datetime | None,
    act: Callable[..., Awaitable[Booking]],
    *,
    warns_of_past: bool = False,
) -> Response:
    """Run an act in this person's name, and give the visit as it is then; or why not, and when it could be."""
    database = RecordView.database

    async def once() -> Booking:
        now, asked = RecordView.clock(), request.scope.get("request_id", "")
        async with database.transaction(by=request.state.actor, now=now, request_id=asked) as session:
            return await act(session, by=request.state.actor, now=now)

    try:
        booking = await retrying(once)
    except no.Refusal as refusal:
        if since:
            await availability.offer_next(database, refusal, visit, since=since, now=RecordView.clock())
        return refused(request, refusal)
    (row,) = await calendar.visits_of(database, [booking.id])
    is_past = warns_of_past and times.has_begun(booking.start_time, now=RecordView.clock())
    return JSONResponse({"visit": tell(row), "warning": "This visit lies in the past." if is_past else ""})


def refused(request: Request, refusal: no.Refusal) -> Response:
    """Say why not: the sentence, the field it is about, the next free slots, and whether staff may set it aside."""
    request.state.refusal = refusal
    free = [
        {"start": wall_clock.on_wall(slot["start_time"], RecordView.zone), "words": when(slot["start_time"]),
         "ends_at": slot["end_time"].isoformat(), "resource_id": slot["ids"][0], "resource": slot["names"][0]}
        for slot in refusal.next_free or ()
    ]  # fmt: skip
    told = {
        "sentence": str(refusal),
        "field": refusal.field,
        "next_free": free,
        "may_override": isinstance(refusal, TO_OVERRIDE),
    }
    return JSONResponse(told, 400)


async def move(request: Request) -> Response:
    """Move a booking to another time, another resource, or both; or have it end at another time."""
    require(request, "change", Booking)
    sent: Move = await sent_as(Move, request)
    booking = await RecordView.database.get(Booking, number(request.path_params["pk"]))
    if booking is None:
        return refused(request, no.Missing(what="booking"))
    zone = RecordView.zone
    try:
        start = wall_clock.moment_of(sent.start, zone, like=booking.start_time) if sent.start else None
        end = wall_clock.end_of(sent.end, booking.start_time, booking.end_time, zone) if sent.end else None
    except no.Refusal as refusal:
        return refused(request, refusal)
    facts: dict[str, Any] = {"start_time": start, "end_time": end, "resource_id": sent.resource_id}
    visit = availability.to_be(booking, **facts)
    facts["override_reason"] = sent.override_reason

    async def act(session: Session, **who: Any) -> Booking:
        row = await records.hold(session, Booking, booking.id, version=sent.version)
        return await records.change(session, row, **who, **facts)

    since = start or booking.start_time
    return await done(request, visit, since, act, warns_of_past=bool(start or sent.resource_id))


async def lead(request: Request) -> Response:
    """Lead a booking to another status."""
    require(request, "change", Booking)
    sent: Deed = await sent_as(Deed, request)
    known = {slug(act): act for act in acts.LEADS.values()}
    if sent.act not in known:
        raise HTTPException(422, "There is no such act.")

    async def act(session: Session, **who: Any) -> Booking:
        if sent.reason:
            await session.because(sent.reason)
        row = await records.hold(session, Booking, number(request.path_params["pk"]), version=sent.version)
        return await known[sent.act](session, row, **who)

    return await done(request, Visit(0), None, act)


async def book(request: Request) -> Response:
    """Book for a customer, or for somebody new, who is written down in the same breath or not at all."""
    require(request, "create", Booking)
    sent: NewVisit = await sent_as(NewVisit, request)
    try:
        start = wall_clock.moment_of(sent.start, RecordView.zone)
        if not (sent.user_id or sent.newcomer):
            raise no.UnknownUser(what="customer")
        # Nobody knows this password: who came by the desk gets a real one from an admin, when they ask for it.
        unknown = await passwords.hash_password(secrets.token_urlsafe(32)) if sent.newcomer else ""
    except no.Refusal as refusal:
        return refused(request, refusal)
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

    return await done(request, Visit(sent.service_id, sent.resource_id), start, act, warns_of_past=True)
