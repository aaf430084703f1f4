"""Bookings: what a customer does with their own, and staff with everybody's."""

from typing import Annotated, Any, Literal

from pydantic import Field
from sqlalchemy import BigInteger, bindparam
from sqlmodel import col, select

from api.crud import Listing, at_least, equals, less_than
from api.endpoint import SIGNED_IN, Api, Call, Sent, allowed_to
from api.idempotency import once
from api.pagination import BY_START
from api.problems import Unreadable
from api.schemas import Change, Moment, Number, PathNumber, Shape, Since, Until, row_answer, sent
from bookit import records
from bookit import refusals as no
from bookit.bookings import availability
from bookit.bookings.availability import Visit
from bookit.policy import permissions
from bookit.schema.fields import ReasonText
from bookit.schema.tables import Booking, Status, table_of

api = Api()
BOOKING = table_of(Booking).c

BookingAnswer: Any = row_answer(
    Booking, "id", "user_id", "service_id", "resource_id", "start_time", "end_time", "status", "price", "expires_at",
    "created_at", "version",
)  # fmt: skip
FILTERS = {
    "status": equals(Status, BOOKING.status),
    "from_date": at_least(Since, BOOKING.start_time),
    "to_date": less_than(Until, BOOKING.start_time),
    "service_id": equals(PathNumber, BOOKING.service_id),
}
ALL = Listing(select(Booking), BY_START, FILTERS)
OF_PERSON = select(Booking).where(col(Booking.user_id) == bindparam("user_id", type_=BigInteger))
OWN = Listing(OF_PERSON, BY_START, FILTERS, is_ones_own=True)
BookingQuery: Any = ALL.query("BookingQuery")
Bookings: Any = list[BookingAnswer]


WhyAnyway = Annotated[
    ReasonText,
    Field(description="Staff: why notice, horizon and opening hours do not count this time. History keeps it."),
]


class NewBooking(Shape):
    """A visit somebody wants."""

    service_id: Number
    start_time: Annotated[Moment, Field(description="Without an offset: by the business's own clock.")]
    resource_id: Annotated[Number | None, Field(description="Who or what should serve it; none: whoever is free.")] = (
        None
    )
    hold: Annotated[bool, Field(description="Keep the slot for some minutes only, until `hold` is set to false.")] = (
        False
    )
    override_reason: WhyAnyway | None = None


class ChangedBooking(Change):
    """Another time, another length, another resource, another status, or a hold decided on."""

    start_time: Annotated[Moment | None, Field(description="It keeps its length, unless `end_time` is sent too.")] = (
        None
    )
    end_time: Annotated[
        Moment | None,
        Field(description="Staff: another length, of a minute to a day. The price stays what was agreed."),
    ] = None
    resource_id: Number | None = None
    hold: Annotated[Literal[False] | None, Field(description="false: turn a hold that lives into a booking.")] = None
    override_reason: WhyAnyway | None = None
    status: Annotated[Status | None, Field(description="A customer may send cancelled; staff any.")] = None


NOT_BOOKED = (no.UnknownService, no.ServiceInactive, *availability.TIME_REFUSALS, Unreadable)


BOOK = allowed_to("create", Booking)


@api("POST", "/bookings", tag="bookings", access=BOOK, status=201, refuses=NOT_BOOKED, headers=("Idempotency-Key",))
async def create_booking(call: Call, body: NewBooking) -> BookingAnswer:
    """Book a service.

    Its end and its price are the service's own. A time that cannot be booked is refused with `next_free`, the next
    three slots. Sent again with the same `Idempotency-Key` within 24 hours, it is
    answered as the first time and books nothing more.
    """
    visit = Visit(body.service_id, body.resource_id)
    return await once(
        call,
        body,
        lambda session: records.create(session, Booking, **call.asking, **sent(body)),
        lambda booking: Sent(booking, {"Location": f"{call.request.url.path}/{booking.id}"}),
        on_refusal=lambda reads, refusal: availability.attach_next_free(
            reads, refusal, visit, since=body.start_time, now=call.now
        ),
        wants=(visit, body.start_time),
    )


@api("GET", "/bookings", tag="bookings", access=SIGNED_IN, refuses=(no.OutsideTheCalendar, no.NoSuchTime))
async def list_bookings(call: Call, query: BookingQuery) -> Bookings:
    """List one's own bookings, or as staff everybody's, by start."""
    if call.by.is_staff:
        return await ALL.page(call, query)
    return await OWN.page(call, query, user_id=call.by.id)


@api("GET", "/bookings/{id}", tag="bookings", access=SIGNED_IN, refuses=(no.Missing, no.NotYourBooking))
async def get_booking(call: Call, id: PathNumber) -> BookingAnswer:  # noqa: A002 -- the name in the path
    """Get one booking, one's own or as staff anybody's."""
    booking = await call.database.get(Booking, id)
    if booking is None:
        raise no.Missing(what="booking")
    permissions.require_own_or_staff(booking, by=call.by)
    return booking


CHANGE = allowed_to("change", Booking)
NOT_CHANGED = (no.Missing, no.NotYourBooking, no.NoLongerOpen, no.TooLateToCancel, no.HoldExpired, no.Stale,
               no.OnlyStaffLengthen, no.EndsBeforeStart, no.LengthOutOfRange, *availability.TIME_REFUSALS,
               Unreadable)  # fmt: skip


@api("PATCH", "/bookings/{id}", tag="bookings", access=CHANGE, refuses=NOT_CHANGED, headers=("If-Match",))
async def change_booking(call: Call, id: PathNumber, body: ChangedBooking) -> BookingAnswer:  # noqa: A002 -- as above
    """Reschedule or cancel a booking while it is pending or confirmed; staff may do anything, any time.

    Staff also give it another length, by its `end_time`; its price stays what was agreed. A time that cannot be had is
    refused with `next_free`, the next three slots.
    """
    visit, since = None, call.now
    try:
        async with call.transaction() as session:
            booking = await records.lock(session, Booking, id, version=call.version)
            since = body.start_time or booking.start_time
            visit = availability.visit_after(
                booking, start_time=since, end_time=body.end_time, resource_id=body.resource_id
            )
            return await records.change(session, booking, **call.asking, **sent(body))
    except no.Refusal as refusal:
        if visit and (body.start_time or body.end_time):
            await availability.attach_next_free(call.database, refusal, visit, since=since, now=call.now)
        raise


REMOVE = allowed_to("remove", Booking)
NOT_REMOVED = (no.Missing, no.NotYourBooking, no.AlreadyStarted, no.TooLateToCancel, no.StillInUse, no.Stale)


@api("DELETE", "/bookings/{id}", tag="bookings", access=REMOVE, status=204, refuses=NOT_REMOVED, headers=("If-Match",))
async def delete_booking(call: Call, id: PathNumber) -> None:  # noqa: A002 -- as above
    """Delete a booking before it starts; staff any time."""
    async with call.transaction() as session:
        booking = await records.lock(session, Booking, id, version=call.version)
        await records.remove(session, booking, **call.asking)
