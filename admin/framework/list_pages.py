"""Which rows are on a page of a list, over a table of any size.

A list that is only filtered and sorted is read in the order of an index, as far as its page. One that is searched is
found first, as far as a bound, and sorted then: the planner would otherwise look for a rare name all along the order.
"""

import builtins
import re
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from sqladmin.pagination import Pagination
from sqlalchemy import BigInteger, ColumnElement, Select, func, literal, or_, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import joinedload
from starlette.datastructures import URL
from starlette.exceptions import HTTPException
from starlette.requests import Request

from admin.framework.filters import ListFilter
from admin.framework.parsing import escape_like, unescape_like
from admin.framework.table_view import TableView
from bookit.schema.tables import id_of, table_of

MAX_COUNTED = 10_000  # rows: nobody pages further, and counting a million takes long
MAX_SEARCH_HITS = 5_000  # rows that a search finds before it sorts them
MAX_SCANNED = 300  # rows counted where so many match that a walk along the order soon meets as many
MAX_PAGE_SIZE = 100  # on a page
# What an index of trigrams can look for: three letters or digits, two that end a word, or one that begins a word there.
TRIGRAM = re.compile(r"[^\W_]{3}|[^\W_]{2}[\W_]|[\W_][^\W_]")
LETTER_OR_DIGIT = re.compile(r"[^\W_]")

Sorting = Sequence[tuple[str, bool]]  # columns, each with whether it descends


class MoreThan(int):
    """A number of rows that was not counted to its end, and says so."""

    def __str__(self) -> str:
        """Say it as a list does."""
        return f"more than {int(self):,}"


def cap_count(count: int, limit: int) -> int:
    """Give a count as it is told: beyond the bound, only that it is."""
    return count if count <= limit else MoreThan(limit)


def build_order_by(columns: Any, sorting: Sorting) -> list[Any]:
    """Give what a statement over these columns is ordered by."""
    return [columns[name].desc() if is_down else columns[name].asc() for name, is_down in sorting]


def select_count(statement: Select[Any]) -> Select[Any]:
    """Count the rows of a statement, to one beyond the bound."""
    one = statement.order_by(None).with_only_columns(literal(1), maintain_column_froms=True).limit(MAX_COUNTED + 1)
    return select(func.count()).select_from(one.subquery())


def select_page_ids(statement: Select[Any], columns: Any, size: int, offset: int) -> Select[Any]:
    """Give the numbers of a page's rows, walking along the order."""
    return statement.with_only_columns(columns.id, maintain_column_froms=True).limit(size).offset(offset)


def select_count_and_page_ids(
    statement: Select[Any], columns: Any, sorting: Sorting, limit: int, *, size: int, offset: int
) -> Select[Any]:
    """Find at most so many rows, and one more; give how many these are, and then the numbers of a page of them."""
    names = dict.fromkeys(["id", *(name for name, _ in sorting)])
    wanted = statement.order_by(None).with_only_columns(*(columns[name] for name in names), maintain_column_froms=True)
    found = wanted.limit(limit + 1).cte("found").prefix_with("MATERIALIZED")
    count = select(func.count()).select_from(found).scalar_subquery()
    page = select(found.c.id).order_by(*build_order_by(found.c, sorting)).limit(size).offset(offset)
    return select(func.array_prepend(count, func.array(page.scalar_subquery()), type_=ARRAY(BigInteger, as_tuple=True)))


def any_of(column: Any, ids: Sequence[int]) -> ColumnElement[bool]:
    """Say that a column is one of these numbers, however many, in one parameter."""
    return column == func.any(literal(list(ids), ARRAY(BigInteger)))  # type: ignore[no-any-return]  # column is Any


def matches(term: str, *columns: Any) -> ColumnElement[bool]:
    """Say that this is somewhere in one of these columns; one letter or two begin a word there.

    An index of trigrams knows the beginnings of words, but no shorter part from within, and of what has no letter and
    no digit it knows nothing: where there are e-mails, whose index is in order, that begins one.
    """
    typed = escape_like(term)
    emails = [] if LETTER_OR_DIGIT.search(term) else [func.lower(column) for column in columns if column.key == "email"]
    if emails:
        return or_(*(email.like(f"{typed}%") for email in emails))
    patterns = (f"{typed}%", f"% {typed}%") if is_too_short_for_index(term) else (f"%{typed}%",)
    return or_(*(column.ilike(pattern) for column in columns for pattern in patterns))


def make_prefix_filter(*columns: Any) -> Callable[[Request, str], builtins.list[ColumnElement[bool]]]:
    """Make what a look-up adds to its own condition: what no index finds begins something, as in a search."""

    def where(request: Request, term: str) -> builtins.list[ColumnElement[bool]]:
        del request
        typed = unescape_like(term)
        return [] if TRIGRAM.search(typed) else [matches(typed, *columns)]

    return where


def is_too_short_for_index(term: str) -> bool:
    """Whether this has letters, and yet too few for an index to find them within words."""
    return bool(LETTER_OR_DIGIT.search(term)) and not TRIGRAM.search(term)


class ListView(TableView):
    """The list of a table, and the addresses of its rows."""

    list_filters: ClassVar[Sequence[ListFilter]] = []
    page_size = 25
    page_size_options = [25, 50, MAX_PAGE_SIZE]

    def get_filters(self) -> builtins.list[ListFilter]:  # type: ignore[override]  # SQLAdmin only shows them
        """Return the filters that the page shows."""
        return [*self.list_filters]

    async def list(self, request: Request) -> Pagination:
        """Give a page of rows: how many there are and which are on it, and then these, with all they refer to."""
        size = min(self.validate_page_number(request.query_params.get("pageSize"), self.page_size), MAX_PAGE_SIZE)
        asked = self.validate_page_number(request.query_params.get("page"), 1)
        if size < 1:
            raise HTTPException(400, "There is no such page.")
        page = min(max(asked, 1), Pagination.max_page(MAX_COUNTED, size))
        count, numbers = await self.count_and_page_ids(request, size=size, offset=(page - 1) * size)
        page = min(page, Pagination.max_page(count, size))
        return Pagination(rows=await self.load_rows(numbers), page=page, page_size=size, count=count)

    async def count_and_page_ids(self, request: Request, *, size: int, offset: int) -> tuple[int, Sequence[int]]:
        """Count the rows that a list shows, up to a bound, and give the numbers of those on a page."""
        statement, most = await self.filtered_query(request)
        rows = table_of(self.model).c
        if most == MAX_SCANNED:
            walked = await self._run_query(select_page_ids(statement, rows, most + size, 0))
            return cap_count(len(walked), most), walked[offset : offset + size]
        if most:
            found = select_count_and_page_ids(
                statement, rows, self.get_sorting(request), most, size=size, offset=offset
            )
            count, *numbers = (await self._run_query(found))[0]
            if count <= most:
                return cap_count(count, MAX_COUNTED), numbers
            count = MoreThan(min(most, MAX_COUNTED))
        else:
            count = cap_count((await self._run_query(select_count(statement)))[0], MAX_COUNTED)
        if count <= offset:
            return count, []
        return count, await self._run_query(select_page_ids(statement, rows, size, offset))

    async def load_rows(self, ids: Sequence[int]) -> builtins.list[Any]:
        """Give the rows of these numbers, in this order, with what they refer to, in one statement."""
        if not ids:
            return []
        related: Any = [joinedload(relation) for relation in self._list_relations]
        wanted: Any = select(self.model).where(any_of(table_of(self.model).c.id, ids)).options(*related)
        by_number = {row.id: row for row in await self._run_query(wanted)}
        return [by_number[number] for number in ids if number in by_number]

    async def apply_search(self, statement: Select[Any], term: str) -> tuple[Select[Any], int]:
        """Narrow to what has these words in its text columns; gives too how many rows to find before sorting them."""
        columns = (table_of(self.model).c[name] for name in self._search_fields)
        return statement.where(matches(term, *columns)), MAX_SEARCH_HITS

    async def filtered_query(self, request: Request) -> tuple[Select[Any], int]:
        """Give the statement of what a list shows; if it was searched, with how many rows to find before sorting."""
        statement, most = self.list_query(request), 0
        for found in self.list_filters:
            value = request.query_params.get(found.parameter_name)
            if value:
                statement = found.apply(statement, value, self.context)
        term = request.query_params.get("search", "").replace("\0", "").strip()
        if term and self._search_fields:
            statement, most = await self.apply_search(statement, term)
        return self.sort_query(statement, request), most

    async def export_query(self, request: Request) -> Select[Any]:
        """Give the statement of what the list shows, for the export to show the same."""
        statement, _ = await self.filtered_query(request)
        return statement

    def get_sorting(self, request: Request) -> Sorting:
        """Give the columns to sort by, as asked, and then the number, so that no row is on two pages or on none.

        The number goes the way of the column before it, as the indexes do.
        """
        asked = request.query_params.get("sortBy")
        if asked and asked not in self._sort_fields:
            raise HTTPException(400, "This list cannot be sorted so.")
        is_down = request.query_params.get("sort") == "desc"
        chosen = (
            [(asked, is_down)] if asked else [(self._get_prop_name(by), down) for by, down in self._get_default_sort()]
        )
        return chosen if any(name == "id" for name, _ in chosen) else [*chosen, ("id", chosen[-1][1])]

    def sort_query(self, stmt: Select[Any], request: Request) -> Select[Any]:
        """Sort as asked."""
        return stmt.order_by(*build_order_by(table_of(self.model).c, self.get_sorting(request)))

    # As SQLAdmin's, except that the id of a row is read at once: a list of 100 bookings has some 850 such links.

    def _build_url_for(self, name: str, request: Request, obj: Any) -> URL:
        return request.url_for(name, identity=self._identity_for_object(obj), pk=id_of(obj))

    def _url_for_delete(self, request: Request, obj: Any) -> str:
        return f"{request.url_for('admin:delete', identity=self._identity_for_object(obj))}?pks={id_of(obj)}"
