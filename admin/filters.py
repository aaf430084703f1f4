"""What a list can be narrowed to, above it: a word, a yes or no, a day or a span of days."""

from collections.abc import Awaitable, Callable
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Select
from starlette.requests import Request

from bookit import policy
from bookit import refusals as no

Lookups = list[tuple[str, str]]
RunQuery = Callable[..., Awaitable[Any]]


class ChoiceFilter:
    """One of a few words. The choices come from the words themselves, not from looking through the table."""

    has_operator = False
    template = "sqladmin/filters/lookup_filter.html"

    def __init__(self, column: Any, title: str, choices: type[StrEnum]) -> None:
        self.column, self.title, self.choices = column, title, choices
        self.parameter_name: str = column.key

    async def lookups(self, request: Request, model: Any, run_query: RunQuery) -> Lookups:
        """Give the choices."""
        del request, model, run_query
        return [(choice.value, policy.spoken_status(choice.value).capitalize()) for choice in self.choices]

    async def get_filtered_query(self, query: Select[Any], value: str, model: Any) -> Select[Any]:
        """Narrow to a choice; a word that is none narrows to nothing."""
        del model
        return query.where(self.column == value.replace("\0", ""))


class YesNoFilter:
    """Yes or no."""

    has_operator = False
    template = "sqladmin/filters/lookup_filter.html"

    def __init__(self, column: Any, title: str) -> None:
        self.column, self.title = column, title
        self.parameter_name: str = column.key

    async def lookups(self, request: Request, model: Any, run_query: RunQuery) -> Lookups:
        """Give both."""
        del request, model, run_query
        return [("yes", "Yes"), ("no", "No")]

    async def get_filtered_query(self, query: Select[Any], value: str, model: Any) -> Select[Any]:
        """Narrow to one of both."""
        del model
        return query.where(self.column.is_(value == "yes"))


class DayFilter:
    """A day or a span of days, by the business's clock: 2026-05-04 or 2026-05-04..2026-05-10."""

    has_operator = False
    template = "sqladmin/filters/day_filter.html"
    zone: ZoneInfo
    clock: "staticmethod[[], datetime]"

    def __init__(self, column: Any, title: str) -> None:
        self.column, self.title = column, title
        self.parameter_name: str = column.key

    async def lookups(self, request: Request, model: Any, run_query: RunQuery) -> Lookups:
        """Give the days a desk asks for most."""
        del request, model, run_query
        today = self.clock().astimezone(self.zone).date()
        monday = today - timedelta(days=today.weekday())
        return [
            (f"{today}", "Today"),
            (f"{today + timedelta(days=1)}", "Tomorrow"),
            (f"{monday}..{monday + timedelta(days=6)}", "This week"),
            (f"{monday + timedelta(days=7)}..{monday + timedelta(days=13)}", "Next week"),
        ]

    async def get_filtered_query(self, query: Select[Any], value: str, model: Any) -> Select[Any]:
        """Narrow to these days; what is no day narrows nothing."""
        del model
        first, dots, last = value.partition("..")
        try:
            since = policy.midnight(date.fromisoformat(first), self.zone) if first else None
            final = last if dots else first
            until = policy.midnight(date.fromisoformat(final), self.zone, days_on=1) if final else None
        except (ValueError, no.Invalid):
            return query
        query = query.where(self.column >= since) if since else query
        return query.where(self.column < until) if until else query
