"""Bookings: customers manage their own, staff manage all of them."""

from collections.abc import Awaitable, Callable, Hashable
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from sqlalchemy import JSON, BigInteger, BindParameter, ColumnElement, String, bindparam, literal_column, type_coerce
from sqlmodel import col, select

from api.access import AUTH_REQUIRED, access_for
from api.context import RequestContext, Result
from api.endpoint import CONDITIONAL_HEADERS, Api
from api.listing import Filter, Listing, equals, less_than
from api.not_null import NOT_NULL
from api.pagination import BY_START
from api.problems import Unreadable
from api.schemas import (
    BodyId,
    BookedResource,
    PatchModel,
    PathId,
    RangeEnd,
    RangeStart,
    RequestModel,
    Timestamp,
    accept_integral_float,
    field_from_table,
    get_provided_fields,
    make_row_model,
)
from bookit import records
from bookit import refusals as no
from bookit.bookings import availability, ranges
from bookit.bookings.availability import Visit
from bookit.db.session import Reader, Session, SingleStatement
from bookit.db.statements import Row
from bookit.needs import assign_positions, get_roles
from bookit.policy import permissions, rates
from bookit.schema.fields import ReasonText
from bookit.schema.tables import (
    MAX_PARTY,
    MAX_ROLES,
    Booking,
    Claim,
    Resource,
    ResourceRole,
    Status,
    from_row,
    table_of,
)

api = Api()
BOOKING_COLUMNS = table_of(Booking).c


# What bookings take, as they were booked: their services may need something else by now. Most take one resource, whose
# columns cost PostgreSQL half as much as a list does.
FIRST_ROLE = literal_column("(SELECT k.role FROM claims k WHERE k.booking_id = bookings.id AND k.number = 1)", String)
ALL_RESOURCES = literal_column(
    """CASE WHEN bookings.other_resource_ids <> '{}' THEN (
  SELECT json_agg(json_build_object('role', k.role, 'resource_id', k.resource_id, 'name', r.name) ORDER BY k.position)
    FROM (SELECT DISTINCT ON (position) position, role, resource_id FROM claims
           WHERE booking_id = bookings.id ORDER BY position) AS k
    JOIN resources r ON r.id = k.resource_id) END""",
    JSON,
)
COLUMNS = (
    "id", "user_id", "service_id", "resource_id", "seats", "start_time", "end_time", "status", "price", "expires_at",
    "created_at", "version", "visitor_name",
)  # fmt: skip
BookingResponse: Any = make_row_model(
    Booking,
    *COLUMNS,
    resources=(
        list[BookedResource],
        Field(description="All resources that it takes. The first one is that of `resource_id`."),
    ),
)
RESOURCES: tuple[Any, ...] = (
    FIRST_ROLE.label("role"),
    table_of(Resource).c.name.label("resource_name"),
    ALL_RESOURCES.label("resources"),
)
SELECT_BY_ID: Any = (
    select(Booking, *RESOURCES).join(Resource).where(BOOKING_COLUMNS.id == bindparam("id", type_=BigInteger))
)
# A list reads no more than it answers with: each further column is decoded for each row.
SELECT_BOOKINGS: Any = (
    select(*(BOOKING_COLUMNS[name] for name in COLUMNS), *RESOURCES).select_from(Booking).join(Resource)
)


def name_resources(row: Row) -> Row:
    """Return a row of ``SELECT_BOOKINGS`` whose ``resources`` also has the only one."""
    row["resources"] = row["resources"] or [
        {"role": row["role"], "resource_id": row["resource_id"], "name": row["resource_name"]}
    ]
    return row


def takes_resource(resource_id: BindParameter[Any]) -> ColumnElement[bool]:
    """Return the condition that a booking takes a resource, in whatever role."""
    return col(Booking.id).in_(select(Claim.booking_id).where(col(Claim.resource_id) == resource_id))


def ends_after(moment: BindParameter[Any]) -> ColumnElement[bool]:
    """Return the condition that a booking ends after a moment, of all bookings."""
    return ranges.ends_after(type_coerce(moment, BOOKING_COLUMNS.start_time.type))


FROM_DATE = "Visits that begin then or later, and those that began before and still run."
TO_DATE = "Visits that begin before then; of a date, until its end."
# A customer has few bookings, which have an index of their own.
OWN_FILTERS = {
    "status": equals(Status, BOOKING_COLUMNS.status),
    "from_date": Filter(RangeStart, lambda moment: BOOKING_COLUMNS.end_time > moment, description=FROM_DATE),
    "to_date": replace(less_than(RangeEnd, BOOKING_COLUMNS.start_time, after="from_date"), description=TO_DATE),
    "service_id": equals(PathId, BOOKING_COLUMNS.service_id),
    "resource_id": Filter(PathId, takes_resource),
}
FILTERS = {**OWN_FILTERS, "from_date": Filter(RangeStart, ends_after, description=FROM_DATE)}
ALL_BOOKINGS = Listing(SELECT_BOOKINGS, BY_START, FILTERS, complete=name_resources)
SELECT_OF_USER = SELECT_BOOKINGS.where(
    col(Booking.user_id) == bindparam("user_id", type_=BigInteger), col(Booking.deleted_by_customer_at).is_(None)
)
OWN_BOOKINGS = Listing(SELECT_OF_USER, BY_START, OWN_FILTERS, is_per_user=True, complete=name_resources)
SELECT_OF_RESOURCE = SELECT_BOOKINGS.where(takes_resource(bindparam("own_resource_id", type_=BigInteger)))
RESOURCE_BOOKINGS = Listing(SELECT_OF_RESOURCE, BY_START, FILTERS, complete=name_resources)
BookingQuery: Any = ALL_BOOKINGS.make_query_model("BookingQuery")
Bookings: Any = list[BookingResponse]


OverrideReason = Annotated[
    ReasonText,
    Field(description="Staff: why notice, horizon and opening hours are ignored this time. History stores it."),
]


Overlap = Annotated[
    bool,
    Field(description="true: the customer may have a visit of another service at this time."),
]


class WantedResource(RequestModel):
    """A resource that a booking is to take."""

    role: Annotated[
        ResourceRole | None, Field(description="Without it, the resource takes the first role that is left.")
    ] = None
    resource_id: BodyId


WantedResources = Annotated[
    list[WantedResource],
    Field(
        min_length=1,
        max_length=MAX_ROLES,
        description="The resources that it must take, each in its role. Where none is sent, the first that is free is"
        " taken. Send this or `resource_id`, which is the first of them.",
    ),
]
VisitorName: Any = field_from_table(Booking, "visitor_name", is_request=True)[0]
WHO_COMES = Field(description="Who comes, if that is not the customer.")
Seats = Annotated[
    int,
    Field(ge=1, le=MAX_PARTY, description="For how many people: seats of the first resource, all or none."),
    BeforeValidator(accept_integral_float),
]


class NewBooking(RequestModel):
    """A booking to create."""

    service_id: BodyId
    start_time: Annotated[
        Timestamp, Field(description="Without an offset: in the time zone of the business. Seconds are cut off.")
    ]
    resource_id: Annotated[BodyId | None, Field(description="The resource; without it, the first that is free.")] = None
    resources: WantedResources | None = None
    seats: Seats = 1
    visitor_name: Annotated[VisitorName, WHO_COMES] = None
    hold: Annotated[bool, Field(description="Block the slot for some minutes only, until `hold` is set to false.")] = (
        False
    )
    overlap: Overlap = False
    override_reason: OverrideReason | None = None


class ChangedBooking(PatchModel):
    """Another time, length, resource or status, or an accepted hold."""

    start_time: Annotated[
        Timestamp | None, NOT_NULL, Field(description="The length stays, unless `end_time` is sent too.")
    ] = None
    end_time: Annotated[
        Timestamp | None,
        NOT_NULL,
        Field(description="Staff: another length, up to 60 days. The price stays."),
    ] = None
    resource_id: Annotated[BodyId | None, NOT_NULL] = None
    resources: Annotated[WantedResources | None, NOT_NULL] = None
    seats: Annotated[Seats | None, NOT_NULL] = None
    visitor_name: Annotated[VisitorName, WHO_COMES] = None
    hold: Annotated[
        Literal[False] | None,
        NOT_NULL,
        Field(description="false: turn a hold that has not expired into a booking."),
    ] = None
    overlap: Annotated[Overlap, NOT_NULL] = False
    override_reason: OverrideReason | None = None
    status: Annotated[Status | None, NOT_NULL, Field(description="Customers may send cancelled, staff any status.")] = (
        None
    )


OVERLAP_REFUSALS = (no.AlreadyBooked, no.OverlappingBooking)
RESOURCE_REFUSALS = (no.ResourcesDiffer, no.RoleNotNeeded, no.OneRoleEach, no.UnknownResource, no.ResourceUnsuitable,
                     no.PartyTooLarge, no.TooFewSeats)  # fmt: skip
CREATE_REFUSALS = (
    no.UnknownService, no.ServiceInactive, *RESOURCE_REFUSALS, *availability.TIME_REFUSALS, *OVERLAP_REFUSALS,
    Unreadable,
)  # fmt: skip
CREATE_ACCESS = access_for("create", Booking)


@api(
    "POST",
    "/bookings",
    tag="bookings",
    access=CREATE_ACCESS,
    status=201,
    refusals=CREATE_REFUSALS,
    kind=rates.BOOKINGS,
)
async def create_booking(context: RequestContext, body: NewBooking) -> BookingResponse:
    """Book a service.

    The service sets the end and the price. If the time cannot be booked, `next_free` of the problem has the next three
    slots. If you already have a booking at this time, the problem names it in `existing_booking`, and
    `"overlap": true` books both if they are of different services. A request that is repeated with the same
    `Idempotency-Key` within 24 hours gets the first response again and books nothing more.
    """
    if body.hold:
        await context.limit(rates.HOLDS)
    resources = await read_resources(context.reader, body, service_id=body.service_id)
    facts = get_provided_fields(body) | ({"resources": resources} if body.resources else {})
    others = {position: resource_id for position, resource_id in resources.items() if position > 1}
    visit = Visit(body.service_id, resources.get(1), seats=body.seats, others=others or None)

    async def book(session: Session | SingleStatement) -> Result:
        booking = await records.create(session, Booking, **context.actor_and_time, **facts)
        return Result(vars(booking), {"Location": f"{context.request.url.path}/{booking.id}"})

    try:
        return await sharing_refusals(context, (visit, body.start_time), book)
    except no.Refusal as refusal:
        await availability.attach_next_free(context.reader, refusal, visit, since=body.start_time, now=context.now)
        raise


async def read_resources(
    reader: Reader, body: NewBooking | ChangedBooking, *, service_id: int | None = None, booking_id: int | None = None
) -> dict[int, int]:
    """Return the resources that a request names, by position.

    Raise RoleNotNeeded if there are too many in a role, and ResourcesDiffer if ``resource_id`` is not the first.
    """
    first = {1: body.resource_id} if body.resource_id is not None else {}
    if not body.resources:
        return first
    roles = await get_roles(reader, service_id=service_id, booking_id=booking_id)
    if not roles:
        raise no.UnknownService(what="service")
    resources = assign_positions(roles, [(one.role, one.resource_id) for one in body.resources])
    if first and resources.setdefault(1, first[1]) != first[1]:
        raise no.ResourcesDiffer
    return resources


async def sharing_refusals(
    context: RequestContext, slot: Hashable, book: Callable[[Session | SingleStatement], Awaitable[Result]]
) -> Result:
    """Book as a single statement, one request per slot at a time.

    If the slot is taken, the requests that were waiting already get the same refusal without a query. The queue is per
    process: between processes the database decides. A request with an idempotency key does not queue: it has a
    connection already, and those before it in the queue might wait for one.
    """

    async def run() -> Result:
        async with context.single_statement() as statement:
            return await book(statement)

    if context.session is not None:
        return await run()
    return await context.database.keyed_queue.run(slot, run, shared_error=no.SlotTaken)


LIST_REFUSALS: tuple[type[no.Refusal], ...] = (no.OutsideTheCalendar, no.NoSuchTime, *ALL_BOOKINGS.refusals)


@api("GET", "/bookings", tag="bookings", access=AUTH_REQUIRED, refusals=LIST_REFUSALS)
async def list_bookings(context: RequestContext, query: BookingQuery) -> Bookings:
    """List your own bookings, or as staff all bookings, by start; with your own calendar, those of your resource."""
    if (resource_id := permissions.own_resource(context.by)) is not None:
        return await RESOURCE_BOOKINGS.fetch_page(context, query, own_resource_id=resource_id)
    if context.by.is_staff:
        return await ALL_BOOKINGS.fetch_page(context, query)
    return await OWN_BOOKINGS.fetch_page(context, query, user_id=context.by.id)


GET_REFUSALS = (no.Missing, no.NotYourBooking)


@api("GET", "/bookings/{id}", tag="bookings", access=AUTH_REQUIRED, refusals=GET_REFUSALS, headers=("If-None-Match",))
async def get_booking(context: RequestContext, id: PathId) -> BookingResponse:
    """Get one of your own bookings, or as staff any booking."""
    rows = await context.database.fetch_batched(SELECT_BY_ID, id=id)
    if not rows:
        raise no.Missing(what="booking")
    permissions.require_in_scope(from_row(Booking, rows[0]), by=context.by)
    return name_resources(rows[0])


async def read_with_resources(reader: Reader, booking: Booking) -> Row:
    """Return a booking that was written as a row with the resources that it takes."""
    return name_resources((await reader.fetch(SELECT_BY_ID, id=booking.id))[0])


async def lock_own_booking(session: Session, context: RequestContext, id: int) -> Booking:
    """Return a booking, locked. Raise Missing or NotYourBooking, and only then Stale."""
    booking = await records.lock(session, Booking, id)
    permissions.require_in_scope(booking, by=context.by)
    context.require_preconditions(booking)
    return booking


CHANGE_ACCESS = access_for("change", Booking)
CHANGE_REFUSALS = (no.Missing, no.NotYourBooking, no.AlreadyStarted, no.NoLongerOpen, no.TooLateToCancel,
               no.HoldExpired, no.Stale, no.OnlyStaffLengthen, no.OnlyOwnCalendar,
               no.BusyElsewhere, no.EndsBeforeStart, no.LengthOutOfRange,
               *RESOURCE_REFUSALS, *availability.TIME_REFUSALS, *OVERLAP_REFUSALS, Unreadable)  # fmt: skip


@api(
    "PATCH",
    "/bookings/{id}",
    tag="bookings",
    access=CHANGE_ACCESS,
    refusals=CHANGE_REFUSALS,
    headers=CONDITIONAL_HEADERS,
)
async def change_booking(context: RequestContext, id: PathId, body: ChangedBooking) -> BookingResponse:
    """Move or cancel a booking until it starts, while it is pending or confirmed. Staff may change it at any time.

    Without `resource_id`, a booking that its customer moves keeps its resource if that is free at the new time, and
    otherwise gets the first one that is. Staff keep the resource.

    Staff may also change its length with `end_time`; the price stays. If the time cannot be booked, `next_free` of the
    problem has the next three slots.
    """
    visit, since = None, context.now
    try:
        async with context.transaction() as session:
            booking = await lock_own_booking(session, context, id)
            since = body.start_time or booking.start_time
            resources = await read_resources(session, body, booking_id=id)
            facts = get_provided_fields(body) | ({"resources": resources} if body.resources else {})
            visit = availability.visit_after(
                booking,
                start_time=since,
                end_time=body.end_time,
                resources=resources,
                seats=body.seats,
                keeps_resource=context.by.is_staff,
            )
            changed = await records.change(session, booking, **context.actor_and_time, **facts)
            return await read_with_resources(session, changed)
    except no.Refusal as refusal:
        if visit and (body.start_time or body.end_time):
            await availability.attach_next_free(context.reader, refusal, visit, since=since, now=context.now)
        raise


REMOVE_ACCESS = access_for("remove", Booking)
REMOVE_REFUSALS = (no.Missing, no.NotYourBooking, no.AlreadyStarted, no.NoLongerOpen, no.TooLateToCancel,
                   no.StillInUse, no.Stale)  # fmt: skip


@api(
    "DELETE",
    "/bookings/{id}",
    tag="bookings",
    access=REMOVE_ACCESS,
    status=204,
    refusals=REMOVE_REFUSALS,
    headers=CONDITIONAL_HEADERS,
)
async def delete_booking(context: RequestContext, id: PathId) -> None:
    """Delete one of your own bookings before it starts, or as staff any booking at any time.

    Deleting your own booking cancels it. You no longer see it; staff see it as cancelled.
    """
    async with context.transaction() as session:
        booking = await lock_own_booking(session, context, id)
        await records.remove(session, booking, **context.actor_and_time)
