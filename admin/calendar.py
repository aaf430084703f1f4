"""The calendar: its page, what it shows, and what can be done on it. What is done goes the way everything goes."""

import json
import secrets
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqladmin import BaseView, expose
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from admin import live, wall
from admin.acts import WORDS, slug
from admin.record_view import RecordView
from admin.spelling import spoken
from admin.typed import BIGGEST, number
from bookit import availability, bookings, diary, people, policy, records
from bookit import refusals as no
from bookit.availability import TO_OVERRIDE, Visit
from bookit.columns import Reason, Text, Words
from bookit.database import Row, Session, retrying
from bookit.diary import Wanted
from bookit.news import Newsroom
from bookit.tables import Booking, Status, User

MOST_DAYS = 45  # A month with the days around it.
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


class CalendarPage(BaseView):
    """The calendar's page; its place in the menu comes first."""

    category, icon, name = "Desk", "fa-solid fa-calendar-days", "Calendar"

    def is_accessible(self, request: Request) -> bool:
        """Show it to whoever may see bookings."""
        return policy.may(request.state.actor, "see", Booking)

    is_visible = is_accessible

    @expose("/calendar", methods=["GET"], identity="calendar")
    async def page(self, request: Request) -> Response:
        """Show the page; its script asks for what is in it."""
        answer: Response = await show(request, self.templates)
        return answer


async def show(request: Request, templates: Any) -> Response:
    """Give the page, with what there is to choose from."""
    require(request, "see")
    database, zone, now = RecordView.database, RecordView.zone, RecordView.clock()
    told = {
        "places": await diary.places(database),
        "offers": await diary.offers(database),
        "zone": zone.key,
        "now": wall.on_wall(now, zone),
        "offset": wall.offset(now, zone),
        "may_book": policy.may(request.state.actor, "create", Booking),
        "may_change": policy.may(request.state.actor, "change", Booking),
        "may_add_people": policy.may(request.state.actor, "create", User),
    }
    answer: Response = await templates.TemplateResponse(request, "sqladmin/calendar.html", told)
    return answer


def require(request: Request, verb: policy.Verb) -> None:
    """Refuse whoever may not do this to bookings."""
    if not policy.may(request.state.actor, verb, Booking):
        raise HTTPException(403)


# What is shown.


async def feed(request: Request) -> Response:
    """Give what some time holds: visits, when nobody serves, and closures by name."""
    require(request, "see")
    database, zone, now = RecordView.database, RecordView.zone, RecordView.clock()
    asked = request.query_params
    since, until = (edge(asked.get(name, "")) for name in ("start", "end"))
    if not timedelta() < until - since <= timedelta(days=MOST_DAYS):
        raise HTTPException(400, f"A calendar shows between one and {MOST_DAYS} days.")
    wanted = Wanted(chosen(asked.get("resource")), chosen(asked.get("service")), asked.get("cancelled") == "1")
    visits = await diary.visits(database, wanted, since=since, until=until, now=now)
    places = [wanted.resource_id] if wanted.resource_id else [place["id"] for place in await diary.places(database)]
    opens = await availability.open_times(database, places, since=since, until=until)
    is_too_much = len(visits) > diary.MOST_VISITS
    told = {
        "visits": [] if is_too_much else [tell(visit) for visit in visits],
        "shut": [*shut(opens, places, since, until)],
        "shut_everywhere": [shown(gap) for gap in gaps(opens, since, until)],
        "closures": [
            {"id": one["id"], "resource_id": one["resource_id"], "reason": one["reason"], **shown(one)}
            for one in await diary.closures(database, since=since, until=until, resource_id=wanted.resource_id)
        ],
        "sentence": TOO_MANY if is_too_much else "",
        "now": wall.on_wall(now, zone),
        "offset": wall.offset(now, zone),
    }
    return JSONResponse(told)


TOO_MANY = (
    f"More than {diary.MOST_VISITS:,} bookings lie in this time, so none are shown."
    " Look at fewer days, or choose a resource or a service."
)


def edge(shown_day: str) -> datetime:
    """Read where a range begins or ends: the beginning of a day."""
    try:
        return policy.midnight(datetime.fromisoformat(shown_day).date(), RecordView.zone)
    except (ValueError, no.Refusal):
        raise HTTPException(400, "This address does not make sense.") from None


def chosen(sent: str | None) -> int | None:
    return number(sent) if sent else None


def shown(row: Row) -> dict[str, str]:
    """Give both ends of something by the clock on the wall."""
    start, end = wall.span(row["start_time"], row["end_time"], RecordView.zone)
    return {"start": start, "end": end}


def tell(visit: Row) -> dict[str, Any]:
    """Give a visit as the calendar takes it: by the clock on the wall, with the exact moments beside."""
    zone = RecordView.zone
    start, end = (visit[name].astimezone(zone) for name in ("start_time", "end_time"))
    is_odd = wall.is_twice(start, zone) or wall.is_twice(end, zone) or start.utcoffset() != end.utcoffset()
    spelled = "%H:%M %Z" if is_odd else "%H:%M"
    is_hold = visit["status"] == Status.PENDING and visit["expires_at"] is not None
    return {
        **shown(visit),
        **{name: visit[name] for name in ("id", "version", "customer", "service", "resource", "service_id")},
        "resource_id": visit["resource_id"],
        "starts_at": visit["start_time"].isoformat(),
        "ends_at": visit["end_time"].isoformat(),
        "times": f"{start:{spelled}} – {end:{spelled}}",
        "status": visit["status"],
        "is_hold": is_hold,
        "words": f"Hold until {visit['expires_at'].astimezone(zone):%H:%M}" if is_hold else spoken(visit["status"]),
        "is_movable": visit["status"] in policy.OPEN,
        "expires_at": visit["expires_at"].isoformat() if is_hold else None,
    }


def shut(open_times: list[Row], places: list[int], since: datetime, until: datetime) -> Iterable[dict[str, Any]]:
    """Give when each resource does not serve: what its open times leave of the whole."""
    for place in places:
        for gap in gaps([one for one in open_times if one["resource_id"] == place], since, until):
            yield {"resource_id": place, **shown(gap)}


def gaps(open_times: list[Row], since: datetime, until: datetime) -> Iterable[Row]:
    """Give the times in which nobody of these is open."""
    end = since
    for one in sorted(open_times, key=lambda one: one["start_time"]):
        if end < one["start_time"]:
            yield {"start_time": end, "end_time": one["start_time"]}
        end = max(end, one["end_time"])
    if end < until:
        yield {"start_time": end, "end_time": until}


async def visit_of(request: Request) -> Response:
    """Give one visit with what can be done to it; an act that cannot be says why."""
    require(request, "see")
    (visit,) = await diary.visits_of(RecordView.database, [number(request.path_params["pk"])]) or (None,)
    if visit is None:
        raise HTTPException(404)
    return JSONResponse({"visit": tell(visit), "acts": acts(request, visit), "when": when(visit["start_time"])})


def when(moment: datetime) -> str:
    return f"{moment.astimezone(RecordView.zone):%a %d %b %Y, %H:%M}"


def acts(request: Request, visit: Row) -> list[dict[str, str]]:
    """Give each act on a booking, with the refusal it would meet."""
    if not policy.may(request.state.actor, "change", Booking):
        return []
    booking = Booking(**{name: visit[name] for name in ("id", "user_id", "status", "expires_at", "start_time")})
    return [
        {
            "name": slug(act),
            "label": WORDS[status].label,
            "question": WORDS[status].of_one,
            "refusal": str(policy.why_not(booking, status, by=request.state.actor) or ""),
        }
        for status, act in bookings.LEADS.items()
    ]


# What is done.


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
    (row,) = await diary.visits_of(database, [booking.id])
    is_past = warns_of_past and policy.has_begun(booking.start_time, now=RecordView.clock())
    return JSONResponse({"visit": tell(row), "warning": "This visit lies in the past." if is_past else ""})


def refused(request: Request, refusal: no.Refusal) -> Response:
    """Say why not: the sentence, the field it is about, the next free slots, and whether staff may set it aside."""
    request.state.refusal = refusal
    free = [
        {"start": wall.on_wall(slot["start_time"], RecordView.zone), "words": when(slot["start_time"]),
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
    require(request, "change")
    sent: Move = await sent_as(Move, request)
    booking = await RecordView.database.get(Booking, number(request.path_params["pk"]))
    if booking is None:
        return refused(request, no.Missing(what="booking"))
    zone = RecordView.zone
    try:
        start = wall.moment_of(sent.start, zone, like=booking.start_time) if sent.start else None
        end = wall.end_of(sent.end, booking.start_time, booking.end_time, zone) if sent.end else None
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
    require(request, "change")
    sent: Deed = await sent_as(Deed, request)
    known = {slug(act): act for act in bookings.LEADS.values()}
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
    require(request, "create")
    sent: NewVisit = await sent_as(NewVisit, request)
    try:
        start = wall.moment_of(sent.start, RecordView.zone)
        if not (sent.user_id or sent.newcomer):
            raise no.UnknownUser(what="customer")
        # Nobody knows this password: who came by the desk gets a real one from an admin, when they ask for it.
        unknown = await people.hash_password(secrets.token_urlsafe(32)) if sent.newcomer else ""
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


# What is new.


async def stream(request: Request, newsroom: Newsroom, is_here: live.IsHere) -> Response:
    """Tell what changes, as it does."""
    require(request, "see")
    parts = live.stream(request, newsroom, tell, is_here=is_here)
    return StreamingResponse(parts, media_type="text/event-stream", headers=live.HEADERS)
