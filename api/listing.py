"""Lists of rows: where they come from, their filters, and one page of them."""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Any

from pydantic import Field, create_model
from sqlalchemy import BigInteger, BindParameter, ClauseElement, Column, ColumnElement, Select, bindparam, tuple_

from api.context import RequestContext, Result
from api.pagination import PageQuery, SortKey, decode_cursor, paginate
from bookit import refusals as no
from bookit.db.search import has_all_words, split_words
from bookit.db.statements import Row
from bookit.schema.fields import OPTIONAL_TEXT_PATTERN

Parameter = BindParameter[Any]


@dataclass(frozen=True)
class Filter:
    """A query parameter of a list: its type, and its condition on the rows."""

    value_type: Any
    condition: Callable[[Parameter], ColumnElement[bool]]
    parse: Callable[[Any], object] = lambda value: value
    after: str = ""  # the filter that begins the range which this one ends
    is_reversed: Callable[[Any, Any], bool] = operator.lt  # called with the end and the start of that range
    description: str = ""


def equals(value_type: Any, column: ColumnElement[Any]) -> Filter:
    return Filter(value_type, lambda parameter: column == parameter)


def at_least(value_type: Any, column: ColumnElement[Any]) -> Filter:
    return Filter(value_type, lambda parameter: column >= parameter)


def at_most(value_type: Any, column: ColumnElement[Any], *, after: str) -> Filter:
    return Filter(value_type, lambda parameter: column <= parameter, after=after)


def less_than(value_type: Any, column: ColumnElement[Any], *, after: str) -> Filter:
    return Filter(value_type, lambda parameter: column < parameter, after=after, is_reversed=operator.le)


def contains(*columns: Column[Any]) -> Filter:
    """Return a filter for words that the columns have, in any order, whatever their case and accents."""
    search_term = Annotated[str, Field(max_length=200, pattern=OPTIONAL_TEXT_PATTERN)]
    return Filter(search_term, lambda words: has_all_words(words, *columns), split_words)


@dataclass(frozen=True, eq=False)
class Listing:
    """A list of rows: where they come from, in which order, and by what they can be filtered."""

    select_statement: Select[Any]
    sort_key: SortKey
    filters: Mapping[str, Filter] = field(default_factory=dict)
    is_per_user: bool = False  # The rows are few, so concurrent reads are batched.
    complete: Callable[[Row], Row] | None = None  # what a row lacks that is made outside the database

    def make_query_model(self, name: str) -> type[PageQuery]:
        """Return the model of the query: page and filters."""
        fields: dict[str, Any] = {
            name: (one.value_type | None, Field(None, description=one.description or None))
            for name, one in self.filters.items()
        }
        return create_model(name, __base__=PageQuery, **fields)

    @property
    def refusals(self) -> tuple[type[no.Refusal], ...]:
        """What a query of this list can be refused with, besides its shape."""
        return (no.RangeReversed,) if any(one.after for one in self.filters.values()) else ()

    def require_ranges(self, query: PageQuery) -> None:
        """Raise ``RangeReversed`` if a range of the query ends before it starts."""
        for name, one in self.filters.items():
            start, end = getattr(query, one.after, None), getattr(query, name, None)
            if start is not None and end is not None and one.is_reversed(end, start):
                refusal = no.RangeReversed()
                refusal.field = name  # type: ignore[misc]  # each list has its own names
                raise refusal

    @cache  # noqa: B019 -- listings are created at import and live as long as the process
    def build_statement(self, filter_names: frozenset[str], *, is_continued: bool) -> ClauseElement:
        """Return the statement with these filters; each of the few combinations is compiled once."""
        columns = self.select_statement.selected_columns
        key = [columns[name] for name, _ in self.sort_key]
        statement = self.select_statement.order_by(*key).limit(bindparam("limit", type_=BigInteger))
        for name in filter_names:
            statement = statement.where(self.filters[name].condition(bindparam(name)))
        if is_continued:
            cursor_values = [bindparam(f"after_{column.name}", type_=column.type) for column in key]
            statement = statement.where(tuple_(*key) > tuple_(*cursor_values))
        return statement

    async def fetch_page(self, context: RequestContext, query: PageQuery, **params: object) -> Result:
        """Return one page of the rows that pass the filters. ``params`` are those of the statement itself.

        Raise ``RangeReversed`` if a range ends before it starts.
        """
        self.require_ranges(query)
        filter_values = {
            name: one.parse(getattr(query, name))
            for name, one in self.filters.items()
            if getattr(query, name, None) is not None
        }
        cursor_values = decode_cursor(query.cursor, self.sort_key) if query.cursor else {}
        statement = self.build_statement(frozenset(filter_values), is_continued=bool(cursor_values))
        fetch = context.database.fetch_batched if self.is_per_user else context.database.fetch
        rows = await fetch(statement, limit=query.limit + 1, **filter_values, **params, **cursor_values)
        if self.complete:
            rows = [self.complete(row) for row in rows]
        return paginate(context, rows, query, self.sort_key)
