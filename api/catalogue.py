"""Services and reviews: generated from their tables."""

from typing import Annotated, Any

from pydantic import Field
from sqlalchemy import BigInteger, bindparam
from sqlmodel import col, select

from api.context import RequestContext
from api.crud import generate_endpoints
from api.endpoint import Api
from api.listing import Listing, at_least, at_most, contains, equals
from api.needs import NEEDS_FIELD, NEEDS_OF_SERVICE, NEEDS_RESPONSE
from api.pagination import BY_ID, PageQuery
from api.schemas import BodyId, PathId, QueryAmount
from bookit import refusals as no
from bookit.schema.tables import Booking, Review, Service, table_of

api = Api()
SERVICE_COLUMNS = table_of(Service).c

RESOURCE_IDS_FIELD = (
    Annotated[list[BodyId] | None, Field(max_length=100, title="Served by")],
    Field(
        default=None,
        description="The ids of the resources that can serve it; without them, it gets a resource of its own.",
    ),
)
ACCEPTS_STRANDED_FIELD = (
    bool | None,
    Field(
        default=None,
        title="Accept stranded visits",
        description="true: save although visits to come would no longer fit. Without it, such a change is refused with"
        " `strands-visits`, and `stranded` of the problem lists the first 100 of these visits.",
    ),
)
services = generate_endpoints(
    api,
    Service,
    "/services",
    filters={
        "q": contains(SERVICE_COLUMNS.title, SERVICE_COLUMNS.description),
        "price_min": at_least(QueryAmount, SERVICE_COLUMNS.price),
        "price_max": at_most(QueryAmount, SERVICE_COLUMNS.price, after="price_min"),
        "active": equals(bool, SERVICE_COLUMNS.is_active),
    },
    extra_fields={"resource_ids": RESOURCE_IDS_FIELD, "needs": NEEDS_FIELD},
    change_fields={"accepts_stranded": ACCEPTS_STRANDED_FIELD},
    computed={"needs": (NEEDS_RESPONSE, NEEDS_OF_SERVICE)},
    refusals={
        "create": [no.UnknownResource, no.PauseEndsBeforeStart, no.NeedPauseEndsBeforeStart],
        "change": [no.UnknownResource, no.PauseEndsBeforeStart, no.NeedPauseEndsBeforeStart, no.StrandsVisits],
        "delete": [no.StillInUse],
    },
)
reviews = generate_endpoints(
    api,
    Review,
    "/reviews",
    operations=("get", "create", "change", "delete"),
    create_only=("booking_id",),
    refusals={
        "create": [no.UnknownBooking, no.NotYourBooking, no.NotYetCompleted, no.AlreadyReviewed],
        "change": [no.NotYourReview],
        "delete": [no.NotYourReview],
    },
)

Reviews: Any = list[reviews.response_model]  # type: ignore[name-defined]  # made from the table
SERVICE_REVIEWS = Listing(
    select(Review)
    .join(Booking, col(Booking.id) == col(Review.booking_id))
    .where(col(Booking.service_id) == bindparam("service_id", type_=BigInteger)),
    BY_ID,
)
SERVICE_EXISTS = select(Service.id).where(col(Service.id) == bindparam("id"))


@api("GET", "/services/{id}/reviews", tag="reviews", refusals=(no.Missing,))
async def list_service_reviews(context: RequestContext, id: PathId, query: PageQuery) -> Reviews:
    """List the reviews of a service."""
    page: Any = await SERVICE_REVIEWS.fetch_page(context, query, service_id=id)
    if not page.value and not await context.database.fetch(SERVICE_EXISTS, id=id):
        raise no.Missing(what="service")
    return page
