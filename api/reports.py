"""Reports for managers and owners: revenue, utilisation, no-shows and repeat customers.

The staff panel shows the same figures.
"""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

from api.access import REPORT_READERS
from api.context import RequestContext
from api.endpoint import Api
from api.schemas import DATE_PATTERN, RequestModel, ResponseModel
from bookit import refusals as no
from bookit.policy import limits, rates, times
from bookit.reports import figures
from bookit.reports.figures import DEFINITIONS, PeriodReport
from bookit.reports.ranges import ReportRange

api = Api()
ModelType = TypeVar("ModelType", bound=ResponseModel)


def parse_date(value: object) -> object:
    """Return a date as it is if RFC 3339 defines it so, else raise ValueError."""
    if not isinstance(value, str) or not DATE_PATTERN.fullmatch(value):
        message = "This is not a date such as 2026-05-04"
        raise ValueError(message)
    return value


Day = Annotated[date, BeforeValidator(parse_date), WithJsonSchema({"type": "string", "format": "date"})]
Money = Annotated[Decimal, PlainSerializer(float), WithJsonSchema({"type": "number", "minimum": 0})]
Count = Annotated[int, Field(ge=0)]
Rate = Annotated[float | None, Field(ge=0, description="From 0 to 1; null if there is nothing to divide by.")]


class ReportQuery(RequestModel):
    """Which days, by week or by month."""

    model_config = ConfigDict(strict=False)  # A query has only text.

    from_date: Annotated[Day | None, Field(description="The first day; without it, 29 days before the last.")] = None
    to_date: Annotated[Day | None, Field(description="The last day; without it, today. At most 366 days.")] = None
    by: Annotated[
        Literal["week", "month"], Field(description="In the time zone of the business; weeks begin on Monday.")
    ] = "week"


class Period(ResponseModel):
    """A week or a month, or the part of it within the report."""

    from_date: date
    to_date: date


class ReportResponse(ResponseModel):
    """The days of a report, and what its figures mean."""

    from_date: date
    to_date: date
    by: str
    timezone: str
    meaning: str


class RevenueFigures(ResponseModel):
    """Revenue, and the number of visits."""

    completed: Count
    revenue: Annotated[Money, Field(description="Of completed visits.")]
    coming: Count
    to_come: Annotated[Money, Field(description="Of booked visits that are still to come.")]


class PeriodRevenue(RevenueFigures, Period):
    """The revenue of a period."""


class ServiceRevenue(RevenueFigures):
    """The revenue of a service."""

    service_id: int
    title: str


class Revenue(ReportResponse):
    """Revenue by period and by service."""

    periods: list[PeriodRevenue]
    services: list[ServiceRevenue]
    total: RevenueFigures


class UtilisationFigures(ResponseModel):
    """Open time, and how much of it was booked."""

    open_minutes: Annotated[int, Field(ge=0, description="Multiplied by the number of seats.")]
    booked_minutes: Count
    unsellable_minutes: Annotated[int, Field(ge=0, description="Free, but too short for any service.")]
    utilisation: Rate


class PeriodUtilisation(UtilisationFigures, Period):
    """The utilisation of a period."""


class ResourceUtilisation(UtilisationFigures):
    """The utilisation of a resource."""

    id: int
    name: str
    is_always_open: bool
    is_active: bool


class Utilisation(ReportResponse):
    """Utilisation by period and by resource."""

    periods: list[PeriodUtilisation]
    resources: list[ResourceUtilisation]
    total: UtilisationFigures


class NoShowFigures(ResponseModel):
    """Completed visits and no-shows."""

    completed: Count
    no_shows: Count
    no_show_rate: Rate


class PeriodNoShows(NoShowFigures, Period):
    """The no-shows of a period."""


class ServiceNoShows(NoShowFigures):
    """The no-shows of a service."""

    service_id: int
    title: str


class NoShows(ReportResponse):
    """No-shows by period and by service."""

    periods: list[PeriodNoShows]
    services: list[ServiceNoShows]
    total: NoShowFigures


class RepeatCustomerFigures(ResponseModel):
    """Customers, and how many of them came again."""

    customers: Count
    repeat_customers: Count
    new_customers: Count
    repeat_rate: Rate


class PeriodRepeatCustomers(RepeatCustomerFigures, Period):
    """The repeat customers of a period."""


class RepeatCustomers(ReportResponse):
    """Repeat customers by period."""

    periods: list[PeriodRepeatCustomers]
    total: RepeatCustomerFigures


REFUSALS = (no.OutsideTheCalendar, no.RangeReversed, no.RangeTooLong)


@api("GET", "/reports/revenue", tag="reports", access=REPORT_READERS, kind=rates.SEARCHES, refusals=REFUSALS)
async def report_revenue(context: RequestContext, query: ReportQuery) -> Revenue:
    """Report the revenue of completed visits, and separately of visits that are still to come."""
    report = await figures.visits(context.database, get_report_range(context, query), now=context.now)
    return Revenue(**build_report_fields("revenue", report), services=to_models(ServiceRevenue, report.groups))


@api("GET", "/reports/utilisation", tag="reports", access=REPORT_READERS, kind=rates.SEARCHES, refusals=REFUSALS)
async def report_utilisation(context: RequestContext, query: ReportQuery) -> Utilisation:
    """Report how much of the open time was booked, and how much of the rest is too short for any service."""
    report = await figures.utilisation(context.database, get_report_range(context, query), now=context.now)
    return Utilisation(
        **build_report_fields("utilisation", report), resources=to_models(ResourceUtilisation, report.groups)
    )


@api("GET", "/reports/no-shows", tag="reports", access=REPORT_READERS, kind=rates.SEARCHES, refusals=REFUSALS)
async def report_no_shows(context: RequestContext, query: ReportQuery) -> NoShows:
    """Report how many customers did not come to their visits."""
    report = await figures.visits(context.database, get_report_range(context, query), now=context.now)
    return NoShows(**build_report_fields("no-shows", report), services=to_models(ServiceNoShows, report.groups))


@api("GET", "/reports/repeat-customers", tag="reports", access=REPORT_READERS, kind=rates.SEARCHES, refusals=REFUSALS)
async def report_repeat_customers(context: RequestContext, query: ReportQuery) -> RepeatCustomers:
    """Report how many customers had visited before."""
    report = await figures.repeat_customers(context.database, get_report_range(context, query))
    return RepeatCustomers(**build_report_fields("repeat-customers", report))


def get_report_range(context: RequestContext, query: ReportQuery) -> ReportRange:
    """Return the range of days, with its defaults."""
    last = query.to_date or context.now.astimezone(context.zone).date()
    first = query.from_date or times.days_before(last, limits.DEFAULT_REPORT_DAYS - 1)
    return ReportRange(first, last, context.zone, query.by)


def build_report_fields(report_name: str, report: PeriodReport) -> dict[str, Any]:
    """Return the fields that all reports have."""
    days = report.days
    return {
        "from_date": days.first,
        "to_date": days.last,
        "by": days.granularity,
        "timezone": days.zone.key,
        "meaning": DEFINITIONS[report_name],
        "periods": report.periods,
        "total": report.total,
    }


def to_models(model: type[ModelType], rows: Sequence[object]) -> list[ModelType]:
    return [model.model_validate(row) for row in rows]
