"""Services and reviews: generated from their tables."""

from typing import Annotated, Any

from pydantic import Field
from sqlalchemy import BigInteger, bindparam
from sqlmodel import col, select

from api.crud import Listing, at_least, at_most, contains, equals, generate
from api.endpoint import Api, Call
from api.pagination import BY_NUMBER, Page
from api.schemas import Number, PathNumber, QueryAmount
from bookit import refusals as no
from bookit.schema.tables import Booking, Review, Service, table_of

api = Api()
SERVICE = table_of(Service).c

SERVED_BY = (
    Annotated[list[Number] | None, Field(max_length=100, title="Served by")],
    Field(default=None, description="Numbers of the resources that serve it; none: one of its own."),
)
services = generate(
    api,
    Service,
    "/services",
    filters={
        "q": contains(SERVICE.title, SERVICE.description),
        "price_min": at_least(QueryAmount, SERVICE.price),
        "price_max": at_most(QueryAmount, SERVICE.price),
        "active": equals(bool, SERVICE.is_active),
    },
    more={"resource_ids": SERVED_BY},
    refuses={"create": [no.UnknownResource], "change": [no.UnknownResource], "delete": [no.StillInUse]},
)
reviews = generate(
    api,
    Review,
    "/reviews",
    parts=("get", "create", "change", "delete"),
    fixed=("booking_id",),
    refuses={
        "create": [no.UnknownBooking, no.NotYourBooking, no.NotYetCompleted, no.AlreadyReviewed],
        "change": [no.NotYourReview],
        "delete": [no.NotYourReview],
    },
)

Reviews: Any = list[reviews.answer]  # type: ignore[name-defined]  # a value: the shape is made from the table
OF_SERVICE = Listing(
    select(Review)
    .join(Booking, col(Booking.id) == col(Review.booking_id))
    .where(col(Booking.service_id) == bindparam("service_id", type_=BigInteger)),
    BY_NUMBER,
)
THIS_SERVICE = select(Service.id).where(col(Service.id) == bindparam("id"))


@api("GET", "/services/{id}/reviews", tag="reviews", refuses=(no.Missing,))
async def list_service_reviews(call: Call, id: PathNumber, query: Page) -> Reviews:  # noqa: A002 -- the name in the path
    """List what customers say of a service."""
    page: Any = await OF_SERVICE.page(call, query, service_id=id)
    if not page.value and not await call.database.fetch(THIS_SERVICE, id=id):
        raise no.Missing(what="service")
    return page
