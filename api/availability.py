"""Availability: the free slots of a service, and why a start cannot be booked."""

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from math import ceil
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, WithJsonSchema
from starlette.responses import Response

from api.access import OPTIONAL_AUTH
from api.context import RequestContext
from api.endpoint import Api
from api.schemas import (
    PathId,
    RangeEnd,
    RangeStart,
    RequestModel,
    ResponseModel,
    Slot,
    Timestamp,
    parse_digits,
    slot_from_row,
)
from bookit import refusals as no
from bookit.bookings import acts, availability
from bookit.bookings.availability import Visit
from bookit.bookings.claims import first_combination, require_different
from bookit.db.statements import Row
from bookit.policy import lifecycle, limits, permissions, rates, times
from bookit.policy.permissions import Actor
from bookit.schema.tables import MAX_PARTY, MAX_ROLES, Booking, ResourceRole, Service
from bookit.slices import in_slices, pause

api = Api()
DEFAULT_RANGE = timedelta(days=7)
Slots: Any = list[Slot]
SLICE_SLOTS = 100  # that are encoded at once, in about 2 ms
SLICE_BYTES = 1 << 20  # that are hashed at once, in about 2 ms
SLOTS_ADAPTER = TypeAdapter(Slots)
# The rule behind each refusal.
RULE_BY_REFUSAL: dict[type[no.Refusal], str] = {
    no.InThePast: "notice",
    no.TooSoon: "notice",
    no.TooFarAhead: "horizon",
    no.OutsideHours: "hours",
    no.BetweenSlots: "step",
    no.Closed: "closure",
    no.SlotTaken: "taken",
}


# Ids by position, separated by commas; an empty one is any resource.
RESOURCES_PATTERN = rf"^([1-9][0-9]{{0,17}})?(,([1-9][0-9]{{0,17}})?){{0,{MAX_ROLES - 1}}}$"
ResourcesQuery = Annotated[
    str,
    Field(
        pattern=RESOURCES_PATTERN,
        description="Only with these resources: ids in the order of the roles, separated by commas; `,7` is any first"
        " resource with resource 7.",
    ),
]
SeatsQuery = Annotated[
    int,
    BeforeValidator(parse_digits),
    Field(ge=1, le=MAX_PARTY, description="Only where so many seats are free; without it, one."),
    WithJsonSchema({"type": "integer", "minimum": 1, "maximum": MAX_PARTY}),
]


class SlotQuery(RequestModel):
    """Which days, and which resource."""

    model_config = ConfigDict(strict=False)  # A query has only text.

    from_date: Annotated[RangeStart | None, Field(description="The first day or time; without it, now.")] = None
    to_date: Annotated[
        RangeEnd | None, Field(description="The last day or time; without it, 7 days later. At most 62 days.")
    ] = None
    resource_id: Annotated[PathId | None, Field(description="Only this resource.")] = None
    resources: ResourcesQuery | None = None
    seats: SeatsQuery | None = None
    booking_id: Annotated[
        PathId | None, Field(description="A booking to move: it does not block itself, and slots are as long as it.")
    ] = None


class ExplainQuery(RequestModel):
    """Which start, and which resource."""

    model_config = ConfigDict(strict=False)

    start_time: Timestamp
    resource_id: PathId | None = None
    resources: ResourcesQuery | None = None
    seats: SeatsQuery | None = None
    booking_id: PathId | None = None


class Obstacle(ResponseModel):
    """A rule that forbids a start."""

    rule: Annotated[str, Field(json_schema_extra={"enum": sorted(set(RULE_BY_REFUSAL.values()))})]
    code: Annotated[str, Field(description="The error code with which a booking would be refused.")]
    detail: str


class ResourceExplanation(ResponseModel):
    """What forbids a start on one resource in one role; nothing: it can be booked."""

    position: Annotated[int, Field(description="1 for the first resource, then what else the service needs.")]
    role: ResourceRole
    id: int
    name: str
    timezone: str
    free_places: int
    in_the_way: list[Obstacle]


class Explanation(ResponseModel):
    """What forbids a start on each resource that can serve the service."""

    start_time: datetime
    end_time: datetime | None
    can_be_booked: bool
    resources: list[ResourceExplanation]


VISIT_REFUSALS = (no.Missing, no.ServiceInactive, no.NotYourBooking, no.AlreadyStarted, no.NoLongerOpen,
                  no.HoldExpired, no.TooLateToCancel, no.PartyTooLarge, no.ResourcesDiffer,
                  no.OneRoleEach)  # fmt: skip
REFUSALS = (*VISIT_REFUSALS, no.RangeReversed, no.RangeTooLong, no.TooManySlots, no.OutsideTheCalendar, no.NoSuchTime)


@api("GET", "/services/{id}/availability", tag="services", access=OPTIONAL_AUTH, refusals=REFUSALS,
     headers=("If-None-Match",))  # fmt: skip
async def list_slots(context: RequestContext, id: PathId, query: SlotQuery) -> Slots:
    """List the free slots of a service, by start.

    To move a booking, sign in and send its `booking_id`: its own time counts as free, and slots are as long as it is.
    The response has an `ETag`. Sent back in `If-None-Match`, it is answered with 304 if nothing has changed.
    """
    since = max(query.from_date or context.now, context.now)
    until = query.to_date or min(since + DEFAULT_RANGE, limits.CALENDAR_END)
    await context.limit(rates.AVAILABILITY, cost=max(1, ceil((until - since) / timedelta(days=1))))
    visit = await resolve_visit(context, id, query)
    times.require_availability_range(query.from_date or since, until)
    rows = await availability.slots(context.database, visit, since=since, until=max(since, until), now=context.now)
    if len(rows) > limits.MAX_SLOTS:
        raise no.TooManySlots(most=f"{limits.MAX_SLOTS:,}")
    return await respond_with_etag(await encode_slots(rows), is_public=query.booking_id is None)


@api("GET", "/services/{id}/availability/explain", tag="services", access=OPTIONAL_AUTH, refusals=VISIT_REFUSALS)
async def explain_slot(context: RequestContext, id: PathId, query: ExplainQuery) -> Explanation:
    """Explain for each resource what forbids a start. If nothing does, it can be booked there.

    Staff see a closure as such. To others the time is taken, since who is away is nobody's business.
    """
    await context.limit(rates.AVAILABILITY)
    visit = await resolve_visit(context, id, query)
    checks = await availability.check_start(
        context.database, visit, start=query.start_time, by=context.by, now=context.now, with_free_seats=True
    )
    distinct = {(check["position"], check["id"]): check for check in reversed(checks)}
    resources = [
        ResourceExplanation(
            position=check["position"],
            role=check["role"],
            id=check["id"],
            name=check["name"],
            timezone=check["timezone"],
            free_places=check["free_seats"],
            in_the_way=list_obstacles(check, by=context.by, now=context.now),
        )
        for _, check in sorted(distinct.items())
    ]
    free: dict[int, list[int]] = {}
    for resource in resources:
        if not resource.in_the_way:
            free.setdefault(resource.position, []).append(resource.id)
    return Explanation(
        start_time=query.start_time,
        end_time=checks[0]["end_time"] if checks else None,
        can_be_booked=bool(checks) and first_combination(free, checks[0]["roles"]) is not None,
        resources=resources,
    )


def list_obstacles(check: Row, *, by: Actor, now: datetime) -> list[Obstacle]:
    """Return what forbids a start. Only staff learn who is away: to others, a closure is a time that is taken."""
    refusals: dict[type[no.Refusal], no.Refusal] = {
        type(refusal): refusal for refusal in availability.obstacles(check, now=now)
    }
    if no.Closed in refusals and not by.is_staff:
        del refusals[no.Closed]
        refusals.setdefault(no.SlotTaken, no.SlotTaken())
    return [
        Obstacle(rule=RULE_BY_REFUSAL[kind], code=refusal.code(), detail=str(refusal))
        for kind, refusal in refusals.items()
    ]


async def resolve_visit(context: RequestContext, service_id: int, query: SlotQuery | ExplainQuery) -> Visit:
    """Return the visit of a query.

    Raise a refusal for an inactive service, another user's booking, or one that its customer can no longer move.
    """
    service = await context.database.get(Service, service_id)
    if service is None:
        raise no.Missing(what="service")
    if not (service.is_active or query.booking_id):
        raise no.ServiceInactive
    if query.booking_id is not None:
        context.require_user()
        booking = await context.database.get(Booking, query.booking_id)
        if booking is None or booking.service_id != service_id:
            raise no.Missing(what="booking")
        permissions.require_in_scope(booking, by=context.by)
        lifecycle.require_open(booking, by=context.by, now=context.now)
        await acts.require_cancel_notice(context.database, booking, by=context.by, now=context.now)
    if query.seats and (
        refusal := await acts.refusal_for_party(context.database, service_id, query.seats, by=context.by)
    ):
        raise refusal
    resources = read_resources(query)
    others = {position: resource_id for position, resource_id in resources.items() if position > 1}
    return Visit(service_id, resources.get(1), query.booking_id, seats=query.seats, others=others or None)


def read_resources(query: SlotQuery | ExplainQuery) -> dict[int, int]:
    """Return the resources that a query names, by position.

    Raise OneRoleEach if one is named twice, and ResourcesDiffer if ``resource_id`` is not the first.
    """
    first = {1: query.resource_id} if query.resource_id is not None else {}
    named = enumerate((query.resources or "").split(","), start=1)
    resources = first | {position: int(resource_id) for position, resource_id in named if resource_id}
    require_different(resources.values())
    if first and resources[1] != first[1]:
        raise no.ResourcesDiffer
    return resources


async def encode_slots(rows: Sequence[Row]) -> bytes:
    """Return slots as JSON."""
    parts = [
        SLOTS_ADAPTER.dump_json([slot_from_row(row) for row in part]).removeprefix(b"[").removesuffix(b"]")
        async for part in in_slices(rows, SLICE_SLOTS)
    ]
    return b"[" + b",".join(parts) + b"]"


async def respond_with_etag(body: bytes, *, is_public: bool) -> Response:
    """Return encoded slots with their ETag.

    A shared cache may store the public list for 5 seconds. A browser must revalidate each time, so that a customer who
    has just booked does not see the slot as free.
    """
    digest = hashlib.sha256()
    for start in range(0, len(body), SLICE_BYTES):
        await pause()
        digest.update(body[start : start + SLICE_BYTES])
    etag = f'W/"{digest.hexdigest()[:32]}"'
    headers = {"ETag": etag, "Vary": "Authorization"}
    headers["Cache-Control"] = "public, max-age=0, s-maxage=5" if is_public else "private, no-cache"
    return Response(body, headers=headers, media_type="application/json")
