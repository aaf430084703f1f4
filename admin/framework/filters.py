"""The filters above a list: a word, a yes or no, a row of another table, a day or a span of days."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import date, datetime, timedelta
from enum import StrEnum

from sqlalchemy import BigInteger, ColumnElement, func, literal, or_, select
from sqlmodel import SQLModel
from starlette.requests import Request

from admin.framework.context import AdminContext, context_of
from admin.framework.formatting import humanize
from admin.framework.page_state import page_state
from admin.framework.parsing import parse_id
from admin.framework.types import Column, Statement
from bookit import refusals as no
from bookit.db.search import sort_key
from bookit.policy import permissions, times
from bookit.schema.tables import Booking, Claim, Resource, table_of

Choices = list[tuple[str, str]]  # the value in the URL, and its words
ALL = "all"
BOOKINGS, CLAIMS = table_of(Booking).c, table_of(Claim).c
MAX_CHOICES = 200
NUMBER_OR_DAYS = re.compile(r"[0-9.-]{1,30}")


class ListFilter(ABC):
    """A filter of a list by one column, from one parameter of the URL."""

    has_operator = False
    template = "sqladmin/filters/lookup_filter.html"
    shows_all_by_default = True  # Whether a URL without the parameter shows everything.

    def __init__(self, column: Column, title: str) -> None:
        self.column, self.title, self.parameter_name = column, title, column.key

    def value(self, request: Request) -> str:
        """Return what the list is filtered by, or an empty text."""
        value = request.query_params.get(self.parameter_name, "")
        return "" if value == ALL else value

    @abstractmethod
    async def lookups(self, request: Request) -> Choices:
        """Return what can be chosen."""

    async def describe(self, request: Request) -> str:
        """Return in words what the list is filtered by, or an empty text. A value that nobody can choose is "?"."""
        value = self.value(request)
        if not value:
            return ""
        words = dict(await self.lookups(request)).get(value)
        return f"{self.title}: {words or (value if NUMBER_OR_DAYS.fullmatch(value) else '?')}"

    @abstractmethod
    def apply(self, statement: Statement, value: str, context: AdminContext) -> Statement:
        """Return the statement with this filter, whatever value the URL has."""


class ChoiceFilter(ListFilter):
    """One of a few words. The choices are those of the enum, so that the table is not read for them."""

    def __init__(self, column: Column, title: str, choices: type[StrEnum]) -> None:
        super().__init__(column, title)
        self.choices = choices

    async def lookups(self, request: Request) -> Choices:
        """Return the choices."""
        del request
        return [(choice.value, humanize(choice.value)) for choice in self.choices]

    def apply(self, statement: Statement, value: str, context: AdminContext) -> Statement:
        """Filter by a choice; a word that is not among them matches nothing."""
        del context
        return statement.where(self.column == value.replace("\0", ""))


class YesNoFilter(ListFilter):
    """Yes or no."""

    async def lookups(self, request: Request) -> Choices:
        """Return both."""
        del request
        return [("yes", "Yes"), ("no", "No")]

    def apply(self, statement: Statement, value: str, context: AdminContext) -> Statement:
        """Filter by one of both."""
        del context
        return statement.where(self.column.is_(value == "yes"))


class RowFilter(ListFilter):
    """A row of another table, by name; for tables of few rows."""

    template = "sqladmin/filters/row_filter.html"

    max_choices = MAX_CHOICES

    def __init__(self, column: Column, title: str, table: type[SQLModel], name_column: str) -> None:
        super().__init__(column, title)
        self.table = table
        self.label_column = table_of(table).c[name_column]
        self.id_column = table_of(table).c.id
        self.is_active = table_of(table).c.is_active

    async def lookups(self, request: Request) -> Choices:
        """Return the rows by name, and one more than are shown, so that the page can say that there are more."""
        own = permissions.own_resource(page_state(request).actor) if self.table is Resource else None
        rows = await context_of(request).fetch_rows(
            select(self.id_column, self.label_column, self.is_active)
            .where(literal(value=True) if own is None else self.id_column == own)
            .order_by(sort_key(self.label_column), self.id_column)
            .limit(self.max_choices + 1)
        )
        return [(str(row_id), name if is_active else f"{name} (inactive)") for row_id, name, is_active in rows]

    def apply(self, statement: Statement, value: str, context: AdminContext) -> Statement:
        """Filter by the row that is referred to; an id of no row matches nothing."""
        del context
        return statement if value == ALL else statement.where(self.column == parse_id(value))


def takes(resource_id: int) -> ColumnElement[bool]:
    """Return the condition that a booking takes this resource, in any position."""
    is_other: ColumnElement[bool] = literal(resource_id, BigInteger) == func.any(BOOKINGS.other_resource_ids)
    return or_(BOOKINGS.resource_id == resource_id, is_other)


class TakenResourceFilter(RowFilter):
    """The bookings that take a resource, in any position: found by their claims, which have an index."""

    def apply(self, statement: Statement, value: str, context: AdminContext) -> Statement:
        """Filter by the resource; an id of no resource matches nothing."""
        del context
        taken = select(CLAIMS.booking_id).where(CLAIMS.resource_id == parse_id(value))
        return statement if value == ALL else statement.where(BOOKINGS.id.in_(taken))


class DayFilter(ListFilter):
    """A day or a span of days, by the business's clock: 2026-05-04 or 2026-05-04..2026-05-10.

    Rows with an ``end_column`` are on each day that they meet: a visit after midnight, a holiday of a week.
    For a table so large that it needs its indexes, ``meets`` returns the condition that a row meets a day, and
    ``ends_after`` that it ends after the start of a span of days.
    """

    template = "sqladmin/filters/day_filter.html"

    def __init__(
        self,
        column: Column,
        title: str,
        *,
        end_column: Column | None = None,
        meets: Callable[[datetime, datetime], ColumnElement[bool]] | None = None,
        ends_after: Callable[[datetime], ColumnElement[bool]] | None = None,
        hides_past_by_default: bool = False,
    ) -> None:
        super().__init__(column, title)
        self.end_column, self.meets, self.ends_after = end_column, meets, ends_after
        self.shows_all_by_default = not hides_past_by_default

    def hides_past(self, request: Request) -> bool:
        """Return whether this list hides what was before today although the URL does not ask for it.

        A search never does.
        """
        names = {"search", self.parameter_name}
        return not (self.shows_all_by_default or any(request.query_params.get(name) for name in names))

    def value(self, request: Request) -> str:
        """Return the days that are shown: from today on where the URL asks for none."""
        return f"{context_of(request).today}.." if self.hides_past(request) else super().value(request)

    async def lookups(self, request: Request) -> Choices:
        """Return the days that are asked for most."""
        today = context_of(request).today
        monday = today - timedelta(days=today.weekday())
        return [
            (f"{today}..", "From today"),
            (f"{today}", "Today"),
            (f"{today + timedelta(days=1)}", "Tomorrow"),
            (f"{monday}..{monday + timedelta(days=6)}", "This week"),
            (f"{monday + timedelta(days=7)}..{monday + timedelta(days=13)}", "Next week"),
        ]

    def apply(self, statement: Statement, value: str, context: AdminContext) -> Statement:
        """Filter by these days; a text that names no day filters nothing. Raise RangeReversed."""
        first, dots, last = value.partition("..")
        try:
            since = times.start_of_day(date.fromisoformat(first), context.zone) if first else None
            final = last if dots else first
            until = times.start_of_day(date.fromisoformat(final), context.zone, offset_days=1) if final else None
        except (ValueError, no.Invalid):
            return statement
        if since and until and until <= since:
            raise no.RangeReversed
        if self.meets and since and until and first == final:
            return statement.where(self.meets(since, until))
        statement = statement.where(self.condition_since(since)) if since else statement
        return statement.where(self.column < until) if until else statement

    def condition_since(self, since: datetime) -> ColumnElement[bool]:
        """Return the condition of rows that begin, or that end, after the start of a span of days."""
        if self.ends_after:
            return self.ends_after(since)
        return self.column >= since if self.end_column is None else self.end_column > since
