"""What a list can be narrowed to, above it: a word, a yes or no, a row of another table, a day or a span of days."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

from sqlalchemy import Select, select
from sqlmodel import SQLModel
from starlette.requests import Request

from admin.framework.formatting import humanize
from admin.framework.parsing import parse_id
from bookit import refusals as no
from bookit.policy import times
from bookit.schema.tables import table_of

Choices = list[tuple[str, str]]
RunQuery = Callable[..., Awaitable[Any]]
ALL = "all"
MAX_CHOICES = 200


class ListFilter(ABC):
    """What a list is narrowed by, from one parameter of its address."""

    has_operator = False
    template = "sqladmin/filters/lookup_filter.html"
    shows_all_by_default = True  # Whether an address without the parameter shows everything.

    def __init__(self, column: Any, title: str) -> None:
        self.column, self.title = column, title
        self.parameter_name: str = column.key

    def value(self, request: Request) -> str:
        """Give what the list is narrowed to, or nothing."""
        given = str(request.query_params.get(self.parameter_name, ""))
        return "" if given == ALL else given

    @abstractmethod
    async def lookups(self, request: Request, model: Any, run_query: RunQuery) -> Choices:
        """Give what can be chosen: the value in the address, and the words."""

    @abstractmethod
    async def get_filtered_query(self, query: Select[Any], value: str, model: Any) -> Select[Any]:
        """Narrow to a value, whatever somebody put there."""


class ChoiceFilter(ListFilter):
    """One of a few words. The choices come from the words themselves, not from looking through the table."""

    def __init__(self, column: Any, title: str, choices: type[StrEnum]) -> None:
        super().__init__(column, title)
        self.choices = choices

    async def lookups(self, request: Request, model: Any, run_query: RunQuery) -> Choices:
        """Give the choices."""
        del request, model, run_query
        return [(choice.value, humanize(choice.value)) for choice in self.choices]

    async def get_filtered_query(self, query: Select[Any], value: str, model: Any) -> Select[Any]:
        """Narrow to a choice; a word that is none narrows to nothing."""
        del model
        return query.where(self.column == value.replace("\0", ""))


class YesNoFilter(ListFilter):
    """Yes or no."""

    async def lookups(self, request: Request, model: Any, run_query: RunQuery) -> Choices:
        """Give both."""
        del request, model, run_query
        return [("yes", "Yes"), ("no", "No")]

    async def get_filtered_query(self, query: Select[Any], value: str, model: Any) -> Select[Any]:
        """Narrow to one of both."""
        del model
        return query.where(self.column.is_(value == "yes"))


class RowFilter(ListFilter):
    """A row of another table, by name; for tables of few rows."""

    template = "sqladmin/filters/row_filter.html"

    max_choices = MAX_CHOICES

    def __init__(self, column: Any, title: str, table: type[SQLModel], name_column: str) -> None:
        super().__init__(column, title)
        self.label_column = table_of(table).c[name_column]
        self.id_column = table_of(table).c.id

    async def lookups(self, request: Request, model: Any, run_query: RunQuery) -> Choices:
        """Give the rows by name, and one more than are shown, so that the page can say that there are more."""
        del request, model
        rows = await run_query(
            select(self.id_column, self.label_column)
            .order_by(self.label_column, self.id_column)
            .limit(self.max_choices + 1)
        )
        return [(str(found), name) for found, name in rows]

    async def get_filtered_query(self, query: Select[Any], value: str, model: Any) -> Select[Any]:
        """Narrow to what belongs to this row; a number of none narrows to nothing."""
        del model
        return query if value == ALL else query.where(self.column == parse_id(value))


class DayFilter(ListFilter):
    """A day or a span of days, by the business's clock: 2026-05-04 or 2026-05-04..2026-05-10."""

    template = "sqladmin/filters/day_filter.html"
    zone: ClassVar[ZoneInfo]
    clock: ClassVar["staticmethod[[], datetime]"]

    def __init__(self, column: Any, title: str, *, hides_past_by_default: bool = False) -> None:
        super().__init__(column, title)
        self.shows_all_by_default = not hides_past_by_default

    @property
    def today(self) -> date:
        """Today, where the business is."""
        return self.clock().astimezone(self.zone).date()

    def hides_past(self, request: Request) -> bool:
        """Whether this list leaves out what was before today without having been asked to; a search never does."""
        asked = {"search", self.parameter_name}
        return not (self.shows_all_by_default or any(request.query_params.get(name) for name in asked))

    def value(self, request: Request) -> str:
        """Give the days that are shown; from today where nothing else is asked for."""
        return f"{self.today}.." if self.hides_past(request) else super().value(request)

    async def lookups(self, request: Request, model: Any, run_query: RunQuery) -> Choices:
        """Give the days a desk asks for most."""
        del request, model, run_query
        monday = self.today - timedelta(days=self.today.weekday())
        return [
            (f"{self.today}..", "From today"),
            (f"{self.today}", "Today"),
            (f"{self.today + timedelta(days=1)}", "Tomorrow"),
            (f"{monday}..{monday + timedelta(days=6)}", "This week"),
            (f"{monday + timedelta(days=7)}..{monday + timedelta(days=13)}", "Next week"),
        ]

    def apply_days(self, query: Select[Any], value: str) -> Select[Any]:
        """Narrow to these days; what is no day narrows nothing."""
        first, dots, last = value.partition("..")
        try:
            since = times.start_of_day(date.fromisoformat(first), self.zone) if first else None
            final = last if dots else first
            until = times.start_of_day(date.fromisoformat(final), self.zone, offset_days=1) if final else None
        except (ValueError, no.Invalid):
            return query
        query = query.where(self.column >= since) if since else query
        return query.where(self.column < until) if until else query

    async def get_filtered_query(self, query: Select[Any], value: str, model: Any) -> Select[Any]:
        """Narrow to these days."""
        del model
        return self.apply_days(query, value)
