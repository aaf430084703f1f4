"""Availability: when a service can be had, and why not then."""

import hashlib
from datetime import datetime, timedelta
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter
from starlette.responses import Response

from api.access import OPTIONAL_AUTH
from api.context import RequestContext, get_single_header
from api.endpoint import Api
from api.schemas import PathId, RangeEnd, RangeStart, RequestModel, ResponseModel, Slot, Timestamp, slot_from_row
from bookit import refusals as no
from bookit.bookings import availability
from bookit.bookings.availability import Visit
from bookit.policy import limits, permissions, times
from bookit.schema.tables import Booking, Service

api = Api()
DEFAULT_RANGE = timedelta(days=7)
Slots: Any = list[Slot]
SLOTS_ADAPTER = TypeAdapter(Slots)
# Which rule a refusal is about.
RULE_BY_REFUSAL: dict[type[no.Refusal], str] = {
    no.InThePast: "notice",
    no.TooSoon: "notice",
    no.TooFarAhead: "horizon",
    no.OutsideHours: "hours",
    no.BetweenSlots: "step",
    no.Closed: "closure",
    no.SlotTaken: "taken",
}


class SlotQuery(RequestModel):
    """Which days, and on which resource."""

    model_config = ConfigDict(strict=False)  # A query has only text.

    from_date: Annotated[RangeStart | None, Field(description="The first day, or moment; none: now.")] = None
    to_date: Annotated[
        RangeEnd | None, Field(description="The last day, or moment; none: a week on. At most 62 days.")
    ] = None
    resource_id: Annotated[PathId | None, Field(description="Only this resource.")] = None
    booking_id: Annotated[
        PathId | None, Field(description="A booking of one's own that is to be moved: it is not in its own way.")
    ] = None


class ExplainQuery(RequestModel):
    """Which start, and on which resource."""

    model_config = ConfigDict(strict=False)

    start_time: Timestamp
    resource_id: PathId | None = None
    booking_id: PathId | None = None


class Obstacle(ResponseModel):
    """A rule that stands in the way."""

    rule: Annotated[str, Field(json_schema_extra={"enum": sorted(set(RULE_BY_REFUSAL.values()))})]
    code: Annotated[str, Field(description="The refusal that booking would meet.")]
    detail: str


class Explained(ResponseModel):
    """How a start stands with one resource."""

    id: int
    name: str
    timezone: str
    free_seats: int
    in_the_way: list[Obstacle]


class Explanation(ResponseModel):
    """How a start stands with everybody who could serve it."""

    start_time: datetime
    end_time: datetime | None
    can_be_booked: bool
    resources: list[Explained]


REFUSALS = (no.Missing, no.ServiceInactive, no.NotYourBooking, no.RangeReversed, no.RangeTooLong, no.TooManySlots,
           no.OutsideTheCalendar, no.NoSuchTime)  # fmt: skip


@api("GET", "/services/{id}/availability", tag="services", access=OPTIONAL_AUTH, refusals=REFUSALS,
     headers=("If-None-Match",))  # fmt: skip
async def list_slots(context: RequestContext, id: PathId, query: SlotQuery) -> Slots:
    """List the free slots of a service, by start.

    Whoever moves a booking names it in `booking_id`, signed in: its own time counts as free, and slots are as long as
    it is. An answer has an `ETag`; sent back in `If-None-Match` it is answered with 304 while nothing changed.
    """
    visit = await resolve_visit(context, id, query)
    since = max(query.from_date or context.now, context.now)
    until = query.to_date or min(since + DEFAULT_RANGE, limits.CALENDAR_END)
    times.require_availability_range(query.from_date or since, until)
    found = await availability.slots(context.database, visit, since=since, until=max(since, until), now=context.now)
    if len(found) > limits.MAX_SLOTS:
        raise no.TooManySlots(most=f"{limits.MAX_SLOTS:,}")
    return respond_with_etag(context, [slot_from_row(row) for row in found], is_public=query.booking_id is None)


@api("GET", "/services/{id}/availability/explain", tag="services", access=OPTIONAL_AUTH, refusals=REFUSALS[:3])
async def explain_slot(context: RequestContext, id: PathId, query: ExplainQuery) -> Explanation:
    """Say for each resource what stands in the way of a start; nothing: it can be booked there."""
    visit = await resolve_visit(context, id, query)
    stand = await availability.check_start(
        context.database, visit, start=query.start_time, by=context.by, now=context.now, with_free_seats=True
    )
    resources = [Explained(**row, in_the_way=list_obstacles(row, now=context.now)) for row in stand]
    return Explanation(
        start_time=query.start_time,
        end_time=stand[0]["end_time"] if stand else None,
        can_be_booked=not all(one.in_the_way for one in resources),
        resources=resources,
    )


def list_obstacles(row: Any, *, now: datetime) -> list[Obstacle]:
    return [
        Obstacle(rule=RULE_BY_REFUSAL[type(refusal)], code=refusal.code(), detail=str(refusal))
        for refusal in availability.obstacles(row, now=now)
    ]


async def resolve_visit(context: RequestContext, service_id: int, query: Any) -> Visit:
    """Give the visit a query is about. Refuses an unknown or inactive service, and a booking of somebody else."""
    service = await context.database.get(Service, service_id)
    if service is None:
        raise no.Missing(what="service")
    if not (service.is_active or query.booking_id):
        raise no.ServiceInactive
    if query.booking_id is not None:
        if context.by.id is None:
            raise no.Unauthenticated
        booking = await context.database.get(Booking, query.booking_id)
        if booking is None or booking.service_id != service_id:
            raise no.Missing(what="booking")
        permissions.require_own_or_staff(booking, by=context.by)
    return Visit(service_id, query.resource_id, query.booking_id)


def respond_with_etag(context: RequestContext, slots: list[Slot], *, is_public: bool) -> Response:
    """Send slots, or 304 to a client that has them already.

    What everybody may see, a shared cache may keep for some seconds; a browser asks again each time, so that somebody
    who has just booked does not see their own slot as free.
    """
    body = SLOTS_ADAPTER.dump_json(slots)
    etag = f'W/"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {"ETag": etag, "Vary": "Authorization"}
    headers["Cache-Control"] = "public, max-age=0, s-maxage=5" if is_public else "private, no-cache"
    known = get_single_header(context.request, "If-None-Match") or ""
    if known == "*" or etag in (part.strip() for part in known.split(",")):
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type="application/json")
