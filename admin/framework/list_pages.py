"""Lists: which rows are on a page, over a table of any size.

A list that is only filtered and sorted is read in the order of an index, as far as its page. In one that is searched,
the rows that match are found first, up to a limit, and then sorted: the planner would otherwise look for a rare name
along the whole order.
"""

import builtins
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, ClassVar, cast

from sqladmin import ModelView
from sqladmin.pagination import Pagination
from sqlalchemy import BigInteger, ColumnElement, Numeric, String, func, literal, or_, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import joinedload
from sqlmodel import SQLModel
from starlette.datastructures import URL
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import StreamingResponse

from admin.framework.context import AdminContext, context_of
from admin.framework.export import EXPORT_FORMATS, stream_rows
from admin.framework.export_columns import ExportColumn, ExportSelection
from admin.framework.filters import ListFilter
from admin.framework.formatting import type_formatters
from admin.framework.transactions import record_export
from admin.framework.types import Column, Columns, Statement
from bookit.db import search
from bookit.db.search import LETTER_OR_DIGIT, sort_key
from bookit.schema.tables import id_of, table_of
from bookit.slices import pause

MAX_COUNTED = 10_000  # rows; people page no further, and counting a million takes long
MAX_SEARCH_HITS = 5_000  # rows that a search finds before it sorts them
MAX_SCANNED = 300  # rows counted where so many match that a walk along the order soon finds as many
MAX_PAGE_SIZE = 100  # rows

Sorting = Sequence[tuple[str, bool]]  # columns, each with whether it descends


class MoreThan(int):
    """A count that was stopped at its limit, and says so."""

    def __str__(self) -> str:
        return f"more than {int(self):,}"


def cap_count(count: int, limit: int) -> int:
    """Return a count up to its limit, or MoreThan the limit."""
    return count if count <= limit else MoreThan(limit)


def build_order_by(columns: Columns, sorting: Sorting) -> list[ColumnElement[object]]:
    """Return the ORDER BY of a statement over these columns: texts as people sort them."""
    order: list[ColumnElement[object]] = []
    for name, is_descending in sorting:
        column = columns[name]
        key: ColumnElement[Any] = sort_key(column) if isinstance(column.type, String) else column
        order.append(key.desc() if is_descending else key.asc())
    return order


def select_count(statement: Statement, *, limit: int | None = MAX_COUNTED + 1) -> Statement:
    """Count the rows of a statement, up to a limit: by default one more than lists count."""
    rows = statement.order_by(None).with_only_columns(literal(1), maintain_column_froms=True).limit(limit)
    return select(func.count()).select_from(rows.subquery())


def select_page_ids(statement: Statement, columns: Columns, size: int, offset: int) -> Statement:
    """Read the ids of a page's rows, walking along the order."""
    return statement.with_only_columns(columns.id, maintain_column_froms=True).limit(size).offset(offset)


def select_count_and_page_ids(
    statement: Statement, columns: Columns, sorting: Sorting, limit: int, *, size: int, offset: int
) -> Statement:
    """Find one row more than the limit at most; read how many these are, then the ids of a page, in one array."""
    names = dict.fromkeys(["id", *(name for name, _ in sorting)])
    rows = statement.order_by(None).with_only_columns(*(columns[name] for name in names), maintain_column_froms=True)
    hits = rows.limit(limit + 1).cte("hits").prefix_with("MATERIALIZED")
    count = select(func.count()).select_from(hits).scalar_subquery()
    page = select(hits.c.id).order_by(*build_order_by(hits.c, sorting)).limit(size).offset(offset)
    return select(func.array_prepend(count, func.array(page.scalar_subquery()), type_=ARRAY(BigInteger, as_tuple=True)))


def array_of(statement: Statement) -> ColumnElement[Any]:
    """Return the ids that a statement reads as one array, which is read faster than as many rows."""
    return func.array(statement.scalar_subquery(), type_=ARRAY(BigInteger, as_tuple=True))


def any_of(column: Column, ids: Sequence[int]) -> ColumnElement[bool]:
    """Return the condition that a column is one of these ids, however many, in one parameter."""
    return column == func.any(literal(list(ids), ARRAY(BigInteger)))


def matches(term: str, *columns: Column) -> ColumnElement[bool]:
    """Return the condition that these columns have all words of a term.

    People are found by any part of a phone number. An index of trigrams finds nothing by a term without a letter or a
    digit: there the e-mails that begin with it match, since their index is in order.
    """
    emails = [] if LETTER_OR_DIGIT.search(term) else [func.lower(column) for column in columns if column.key == "email"]
    if emails:
        return or_(*(email.startswith(term.replace("\0", ""), autoescape=True) for email in emails))
    return search.matches(term, *columns)


class ListView(ModelView):
    """The list of one table in one application. Two applications in a process share the class and nothing else."""

    model: ClassVar[type[SQLModel]]
    empty_text: ClassVar[str] = ""  # what a list without any row says
    list_filters: ClassVar[Sequence[ListFilter]] = []
    page_size = 25
    page_size_options = [25, 50, MAX_PAGE_SIZE]
    export_types: ClassVar[builtins.list[str]] = [*EXPORT_FORMATS]
    export_formats = EXPORT_FORMATS  # for the page to offer

    def __init__(self) -> None:
        formatters = type_formatters(lambda: self.context.zone, self.format_money)
        vars(self).update(column_type_formatters=formatters, column_type_formatters_detail=formatters)
        super().__init__()

    @property
    def context(self) -> AdminContext:
        """The context of the application that this view belongs to."""
        context: AdminContext = self._admin_ref.app.state.admin_context
        return context

    def format_money(self, amount: Decimal) -> str:
        """Return an amount as the business writes it."""
        return self.context.format_money(amount)

    @property
    def columns(self) -> Columns:
        """The columns of the table."""
        return table_of(self.model).c

    def get_filters(self) -> builtins.list[ListFilter]:  # type: ignore[override]  # SQLAdmin only shows them
        """Return the filters that the page shows."""
        return [*self.list_filters]

    async def list(self, request: Request) -> Pagination:
        """Return a page of rows: read how many there are and which ids it has, then its rows with their relations."""
        size = min(self.validate_page_number(request.query_params.get("pageSize"), self.page_size), MAX_PAGE_SIZE)
        page = max(self.validate_page_number(request.query_params.get("page"), 1), 1)
        if size < 1:
            raise HTTPException(400, "There is no such page.")
        page = min(page, Pagination.max_page(MAX_COUNTED, size))
        count, ids = await self.count_and_page_ids(request, size=size, offset=(page - 1) * size)
        page = min(page, Pagination.max_page(count, size))
        return Pagination(rows=await self.load_rows(ids), page=page, page_size=size, count=count)

    async def count_and_page_ids(self, request: Request, *, size: int, offset: int) -> tuple[int, Sequence[int]]:
        """Return how many rows the list shows, counted up to a limit, and the ids of those on a page."""
        statement, limit = await self.filtered_query(request)
        read = self.context.fetch_scalars
        if limit == MAX_SCANNED:
            ids = await read(select_page_ids(statement, self.columns, limit + size, 0))
            return cap_count(len(ids), limit), ids[offset : offset + size]
        if limit:
            sorting = self.get_sorting(request)
            ((count, *ids),) = await read(
                select_count_and_page_ids(statement, self.columns, sorting, limit, size=size, offset=offset)
            )
            if count <= limit:
                return cap_count(count, MAX_COUNTED), ids
            count = MoreThan(min(limit, MAX_COUNTED))
        else:
            (count,) = await read(select_count(statement))
            count = cap_count(count, MAX_COUNTED)
        if count <= offset:
            return count, []
        return count, await read(select_page_ids(statement, self.columns, size, offset))

    async def load_rows(self, ids: Sequence[int]) -> builtins.list[SQLModel]:
        """Return the rows of these ids, in this order, with their relations, in one statement."""
        if not ids:
            return []
        relations = [joinedload(relation) for relation in self._list_relations]
        statement = select(self.model).where(any_of(self.columns.id, ids)).options(*relations)
        rows = {row.id: row for row in await self.context.fetch_scalars(statement)}
        return [rows[row_id] for row_id in ids if row_id in rows]

    async def apply_search(self, request: Request, statement: Statement, term: str) -> tuple[Statement, int]:
        """Return the statement of the rows that match a term, and how many of them to find before sorting."""
        del request
        columns = (self.columns[name] for name in self._search_fields)
        return statement.where(matches(term, *columns)), MAX_SEARCH_HITS

    async def filtered_query(self, request: Request) -> tuple[Statement, int]:
        """Return the statement of the list, and how many rows to find before sorting; 0 where nothing is searched."""
        statement, limit = self.list_query(request), 0
        for list_filter in self.list_filters:
            value = request.query_params.get(list_filter.parameter_name)
            if value:
                statement = list_filter.apply(statement, value, self.context)
        term = request.query_params.get("search", "").replace("\0", "").strip()
        if term and self._search_fields:
            statement, limit = await self.apply_search(request, statement, term)
        return self.sort_query(statement, request), limit

    async def export_query(self, request: Request) -> Statement:
        """Return the statement of the list, for the export to have the same rows."""
        statement, _ = await self.filtered_query(request)
        return statement

    async def export_data(  # type: ignore[override]  # takes a statement rather than its rows
        self, data: Statement, export_type: str = "csv", request: Request | None = None
    ) -> StreamingResponse:
        """Stream the rows that the list shows, and write down before that they leave."""
        if request is None:
            raise HTTPException(400)
        selection = ExportSelection(self.model, data, self.context.zone, self.context.phone_country)
        for name in self._export_prop_names:
            self.add_export_column(selection, name, request)
        export_format = EXPORT_FORMATS[export_type]
        (rows,) = await self.context.fetch_scalars(select_count(data, limit=None))
        await record_export(
            request,
            table_name=table_of(self.model).name,
            file=export_format.label,
            rows=rows,
            filter_words=await self.describe_filters(request),
        )
        return stream_rows(
            self.context.session_maker,
            selection,
            export_format,
            name=self.name_plural,
            day=self.context.today,
        )

    async def describe_filters(self, request: Request) -> str:
        """Return in words which rows the list shows. What was searched for may be a name, so it is not said."""
        words = [await list_filter.describe(request) for list_filter in self.list_filters]
        if request.query_params.get("search", "").strip():
            words.append("a search")
        return "; ".join(filter(None, words)) or "everything"

    def add_export_column(self, selection: ExportSelection, name: str, request: Request | None) -> None:
        """Add a column of the list to its export, and beside amounts their currency."""
        del request
        selection.add(name)
        if name in self.columns and isinstance(self.columns[name].type, Numeric):
            currency = self.context.business.currency
            selection.columns.append(ExportColumn("Currency", (), lambda: currency))

    async def get_list_value(self, obj: Any, prop: str, request: Request | None = None) -> tuple[Any, Any]:
        """Return a value of a row and how the list shows it. Other requests run while a long list is rendered."""
        await pause()
        value: tuple[Any, Any] = await super().get_list_value(obj, prop, request)
        return value

    def get_sorting(self, request: Request) -> Sorting:
        """Return the columns to sort by, and last the id, so that no row is on two pages or on none.

        The id goes the way of the column before it, as the indexes do.
        """
        column = request.query_params.get("sortBy")
        if column and column not in self._sort_fields:
            raise HTTPException(400, "This list cannot be sorted so.")
        if column:
            sorting = [(column, request.query_params.get("sort") == "desc")]
        else:
            sorting = [(self._get_prop_name(name), is_descending) for name, is_descending in self._get_default_sort()]
        return sorting if any(name == "id" for name, _ in sorting) else [*sorting, ("id", sorting[-1][1])]

    def sort_query(self, stmt: Statement, request: Request) -> Statement:
        """Return the statement in the order that the URL asks for."""
        return stmt.order_by(*build_order_by(self.columns, self.get_sorting(request)))

    # As SQLAdmin's, except that the id of a row is read at once: a list of 100 bookings has some 850 such links.

    def _build_url_for(self, name: str, request: Request, obj: SQLModel) -> URL:
        return request.url_for(name, identity=self._identity_for_object(obj), pk=id_of(obj))

    def _url_for_delete(self, request: Request, obj: SQLModel) -> str:
        return f"{request.url_for('admin:delete', identity=self._identity_for_object(obj))}?pks={id_of(obj)}"


def list_view_of(request: Request, table: type[SQLModel]) -> ListView:
    """Return the list view of a table in the application that answers this request."""
    return cast("ListView", context_of(request).views[table_of(table).name])
