"""Reports: what the business did, in figures, for who works there. The same as on the staff door's page."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

from api.access import STAFF_ONLY
from api.context import RequestContext
from api.endpoint import Api
from api.schemas import DATE_PATTERN, RequestModel, ResponseModel
from bookit import refusals as no
from bookit.policy import limits, times
from bookit.reports import figures
from bookit.reports.figures import DEFINITIONS, PeriodReport
from bookit.reports.ranges import ReportRange

api = Api()


def parse_date(value: object) -> object:
    """Read a day as RFC 3339 writes it, and nothing else."""
    if not isinstance(value, str) or not DATE_PATTERN.fullmatch(value):
        message = "This is not a day, such as 2026-05-04"
        raise ValueError(message)
    return value


Day = Annotated[date, BeforeValidator(parse_date), WithJsonSchema({"type": "string", "format": "date"})]
Money = Annotated[Decimal, PlainSerializer(float), WithJsonSchema({"type": "number", "minimum": 0})]
Count = Annotated[int, Field(ge=0)]
Rate = Annotated[float | None, Field(ge=0, description="A part of 1; null where there is nothing to be a part of.")]


class ReportQuery(RequestModel):
    """Which days, and by what they are told."""

    model_config = ConfigDict(strict=False)  # A query has only text.

    from_date: Annotated[Day | None, Field(description="The first day; none: 29 days before the last.")] = None
    to_date: Annotated[Day | None, Field(description="The last day; none: today. At most 366 days.")] = None
    by: Annotated[Literal["week", "month"], Field(description="By the business's clock; weeks begin on Monday.")] = (
        "week"
    )


class Period(ResponseModel):
    """A week or a month, as far as the report reaches."""

    from_date: date
    to_date: date


class ReportResponse(ResponseModel):
    """Which days a report is of, and what its figures mean."""

    from_date: date
    to_date: date
    by: str
    timezone: str
    meaning: str


class Earned(ResponseModel):
    """Money, and from how many visits."""

    completed: Count
    revenue: Annotated[Money, Field(description="Of completed visits.")]
    coming: Count
    to_come: Annotated[Money, Field(description="Of visits that are booked and still to come.")]


class PeriodEarned(Earned, Period):
    """What a period earned."""


class ServiceEarned(Earned):
    """What a service earned."""

    service_id: int
    title: str


class Revenue(ReportResponse):
    """What was earned."""

    periods: list[PeriodEarned]
    services: list[ServiceEarned]
    total: Earned


class Used(ResponseModel):
    """Time, and what became of it."""

    open_minutes: Annotated[int, Field(ge=0, description="Times places.")]
    booked_minutes: Count
    unsellable_minutes: Annotated[int, Field(ge=0, description="Free, but too short for any service.")]
    utilisation: Rate


class PeriodUsed(Used, Period):
    """How a period was used."""


class ResourceUsed(Used):
    """How a resource was used."""

    id: int
    name: str
    is_always_open: bool


class Utilisation(ReportResponse):
    """How open time was used."""

    periods: list[PeriodUsed]
    resources: list[ResourceUsed]
    total: Used


class Missed(ResponseModel):
    """Who came, and who did not."""

    completed: Count
    no_shows: Count
    no_show_rate: Rate


class PeriodMissed(Missed, Period):
    """Who did not come in a period."""


class ServiceMissed(Missed):
    """Who did not come for a service."""

    service_id: int
    title: str


class NoShows(ReportResponse):
    """Who did not come."""

    periods: list[PeriodMissed]
    services: list[ServiceMissed]
    total: Missed


class Returned(ResponseModel):
    """Who came, and who of them not for the first time."""

    customers: Count
    repeat_customers: Count
    new_customers: Count
    repeat_rate: Rate


class PeriodReturned(Returned, Period):
    """Who came again in a period."""


class RepeatCustomers(ReportResponse):
    """Who came again."""

    periods: list[PeriodReturned]
    total: Returned


REFUSALS = (no.OutsideTheCalendar, no.RangeReversed, no.RangeTooLong)


@api("GET", "/reports/revenue", tag="reports", access=STAFF_ONLY, refusals=REFUSALS)
async def report_revenue(context: RequestContext, query: ReportQuery) -> Revenue:
    """Report the price of completed visits, and apart from it what is still to come."""
    found = await figures.visits(context.database, get_report_range(context, query), now=context.now)
    return Revenue(**build_report_fields("revenue", found), services=to_models(ServiceEarned, found.groups))


@api("GET", "/reports/utilisation", tag="reports", access=STAFF_ONLY, refusals=REFUSALS)
async def report_utilisation(context: RequestContext, query: ReportQuery) -> Utilisation:
    """Report how much of the open time was booked, and how much of the rest is too short to sell."""
    found = await figures.utilisation(context.database, get_report_range(context, query), now=context.now)
    return Utilisation(**build_report_fields("utilisation", found), resources=to_models(ResourceUsed, found.groups))


@api("GET", "/reports/no-shows", tag="reports", access=STAFF_ONLY, refusals=REFUSALS)
async def report_no_shows(context: RequestContext, query: ReportQuery) -> NoShows:
    """Report how many of those who were to come did not."""
    found = await figures.visits(context.database, get_report_range(context, query), now=context.now)
    return NoShows(**build_report_fields("no-shows", found), services=to_models(ServiceMissed, found.groups))


@api("GET", "/reports/repeat-customers", tag="reports", access=STAFF_ONLY, refusals=REFUSALS)
async def report_repeat_customers(context: RequestContext, query: ReportQuery) -> RepeatCustomers:
    """Report how many of those who came had been here before."""
    found = await figures.repeat_customers(context.database, get_report_range(context, query))
    return RepeatCustomers(**build_report_fields("repeat-customers", found))


def get_report_range(context: RequestContext, query: ReportQuery) -> ReportRange:
    """Give the days that are asked for."""
    last = query.to_date or context.now.astimezone(context.settings.zone).date()
    first = query.from_date or times.days_before(last, limits.DEFAULT_REPORT_DAYS - 1)
    return ReportRange(first, last, context.settings.zone, query.by)


def build_report_fields(report_name: str, figures: PeriodReport) -> dict[str, Any]:
    """Give what all reports have."""
    days = figures.days
    about = {"from_date": days.first, "to_date": days.last, "by": days.granularity, "timezone": days.zone.key}
    return {**about, "meaning": DEFINITIONS[report_name], "periods": figures.periods, "total": figures.total}


def to_models(model: type[ResponseModel], rows: Sequence[Any]) -> list[Any]:
    """Give the rows of a report in their shape."""
    return [model.model_validate(row) for row in rows]
