"""Generated endpoints: one declaration a table gives list, get, create, change and delete.

What is generated writes through ``bookit.records`` and so obeys the table's rules and ``policy.may``; handlers are
written by hand only where an address means more than a row.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Any, Literal, cast

from pydantic import Field, create_model
from sqlalchemy import BigInteger, ClauseElement, ColumnElement, bindparam, or_, tuple_
from sqlmodel import SQLModel, select

from api.endpoint import ANYONE, Access, Api, RequestContext, Result, access_for
from api.pagination import BY_ID, PageQuery, SortKey, decode_cursor, paginate
from api.problems import Unreadable
from api.schemas import (
    PathId,
    RequestModel,
    ResponseModel,
    get_provided_fields,
    make_change_model,
    make_create_model,
    make_row_model,
)
from bookit import records
from bookit import refusals as no
from bookit.schema.fields import OPTIONAL_TEXT_PATTERN
from bookit.schema.tables import id_of, table_of

READ_ONLY_COLUMNS = {"id", "created_at", "version"}
Operation = Literal["list", "get", "create", "change", "delete"]
ALL_OPERATIONS: tuple[Operation, ...] = ("list", "get", "create", "change", "delete")


@dataclass(frozen=True)
class Filter:
    """A query parameter of a list: its type, and the condition it puts on the rows."""

    value_type: Any
    condition: Callable[[Any], ColumnElement[bool]]
    parse: Callable[[Any], Any] = lambda value: value


def equals(value_type: Any, column: ColumnElement[Any]) -> Filter:
    return Filter(value_type, lambda value: column == value)


def at_least(value_type: Any, column: ColumnElement[Any]) -> Filter:
    return Filter(value_type, lambda value: column >= value)


def at_most(value_type: Any, column: ColumnElement[Any]) -> Filter:
    return Filter(value_type, lambda value: column <= value)


def less_than(value_type: Any, column: ColumnElement[Any]) -> Filter:
    return Filter(value_type, lambda value: column < value)


def contains(*columns: ColumnElement[str]) -> Filter:
    """Match any of these texts, ignoring case; the person's % and _ mean themselves."""
    kind = Annotated[str, Field(max_length=200, pattern=OPTIONAL_TEXT_PATTERN)]
    return Filter(kind, lambda value: or_(*(column.ilike(value) for column in columns)), to_like_pattern)


def to_like_pattern(text: str) -> str:
    escaped = re.sub(r"([%_\\])", r"\\\1", text)
    return f"%{escaped}%"


@dataclass(frozen=True)
class Listing:
    """A list of rows: where they come from, in which order, and by what they can be filtered."""

    select_statement: Any
    sort_key: SortKey
    filters: Mapping[str, Filter] = field(default_factory=dict)
    is_per_user: bool = False  # and so few rows

    def __hash__(self) -> int:
        return id(self)

    def make_query_model(self, name: str) -> type[PageQuery]:
        """Make the shape of the query."""
        fields: dict[str, Any] = {name: (found.value_type | None, None) for name, found in self.filters.items()}
        return cast("type[PageQuery]", create_model(name, __base__=PageQuery, **fields))

    @cache  # noqa: B019 -- listings are made at import and live as long as the program
    def build_statement(self, filter_names: frozenset[str], *, is_continued: bool) -> ClauseElement:
        """Give the statement for these filters; there are few combinations, and each is compiled once."""
        columns = self.select_statement.selected_columns
        key = [columns[name] for name, _ in self.sort_key]
        statement = self.select_statement.order_by(*key).limit(bindparam("limit", type_=BigInteger))
        for name in filter_names:
            statement = statement.where(self.filters[name].condition(bindparam(name)))
        if is_continued:
            after = [bindparam(f"after_{column.name}", type_=column.type) for column in key]
            statement = statement.where(tuple_(*key) > tuple_(*after))
        return cast("ClauseElement", statement)

    async def fetch_page(self, context: RequestContext, query: Any, **fixed: Any) -> Result:
        """Give one page of the rows that pass the filters."""
        values = {
            name: found.parse(getattr(query, name))
            for name, found in self.filters.items()
            if getattr(query, name, None) is not None
        } | fixed
        place = decode_cursor(query.cursor, self.sort_key) if query.cursor else {}
        statement = self.build_statement(frozenset(values.keys() & self.filters.keys()), is_continued=bool(place))
        fetch = context.database.fetch_batched if self.is_per_user else context.database.fetch
        rows = await fetch(statement, limit=query.limit + 1, **values, **place)
        return paginate(context, rows, query, self.sort_key)


@dataclass(frozen=True)
class Crud:
    """What the generated endpoints of a table are made of."""

    table: type[SQLModel]
    path: str
    response_model: type[ResponseModel]
    create_model: type[RequestModel]
    change_model: type[RequestModel]
    listing: Listing
    read_access: Access
    refusals: Mapping[Operation, Sequence[type[no.Refusal]]]

    def refusals_of(self, operation: Operation, *usual: type[no.Refusal]) -> tuple[type[no.Refusal], ...]:
        """Give what a part of these endpoints may answer instead."""
        return (*usual, *self.refusals.get(operation, ()))


def generate_endpoints(
    api: Api,
    table: type[SQLModel],
    path: str,
    *,
    read_access: Access = ANYONE,
    operations: Sequence[Operation] = ALL_OPERATIONS,
    hidden: Sequence[str] = (),
    create_only: Sequence[str] = (),
    filters: Mapping[str, Filter] | None = None,
    extra_fields: Mapping[str, tuple[Any, Any]] | None = None,
    refusals: Mapping[Operation, Sequence[type[no.Refusal]]] | None = None,
) -> Crud:
    """Declare the endpoints of a table at this path.

    ``hidden`` columns are neither sent nor taken, ``fixed`` ones are taken only for a new row; ``more`` is what the
    table's rule takes beside its columns; ``refuses`` what it may answer beside the usual.
    """
    shown = [column.name for column in table_of(table).columns if column.name not in hidden]
    taken = [name for name in shown if name not in READ_ONLY_COLUMNS]
    crud = Crud(
        table,
        path,
        make_row_model(table, *shown),
        make_create_model(table, *taken, **(extra_fields or {})),
        make_change_model(table, *(name for name in taken if name not in create_only), **(extra_fields or {})),
        Listing(select(table), BY_ID, filters or {}),
        read_access,
        refusals or {},
    )
    for part in operations:
        ENDPOINT_FACTORIES[part](api, crud)
    return crud


def entity_name(crud: Crud) -> str:
    return records.display_name(crud.table)


def name_handler(handler: Any, verb: str, entity: str, summary: str) -> Any:
    handler.__name__ = f"{verb}_{entity.replace(' ', '_')}"
    handler.__doc__ = summary
    return handler


def add_list_endpoint(api: Api, crud: Crud) -> None:
    what = f"{entity_name(crud)}s"

    async def handler(context: RequestContext, query: Any) -> Any:
        return await crud.listing.fetch_page(context, query)

    query = crud.listing.make_query_model(f"{crud.table.__name__}Query")
    rows: Any = list[crud.response_model]  # type: ignore[name-defined]  # a value: the shape is made from the table
    handler.__annotations__ = {"query": query, "return": rows}
    api("GET", crud.path, tag=what, access=crud.read_access)(name_handler(handler, "list", what, f"List {what}."))


def add_get_endpoint(api: Api, crud: Crud) -> None:
    word = entity_name(crud)

    async def handler(context: RequestContext, id: PathId) -> Any:  # noqa: A002 -- the name in the path
        row = await context.database.get_row(crud.table, id)
        if row is None:
            raise no.Missing(what=word)
        return row

    handler.__annotations__["return"] = crud.response_model
    declare = api("GET", f"{crud.path}/{{id}}", tag=f"{word}s", access=crud.read_access, refusals=(no.Missing,))
    declare(name_handler(handler, "get", word, f"Get one {word}."))


def add_create_endpoint(api: Api, crud: Crud) -> None:
    word = entity_name(crud)

    async def handler(context: RequestContext, body: Any) -> Any:
        async with context.transaction() as session:
            row = await records.create(session, crud.table, **context.actor_and_time, **get_provided_fields(body))
        return Result(row, {"Location": f"{context.request.url.path}/{id_of(row)}"})

    handler.__annotations__ = {"body": crud.create_model, "return": crud.response_model}
    access = access_for("create", crud.table)
    declare = api(
        "POST", crud.path, tag=f"{word}s", access=access, status=201, refusals=crud.refusals_of("create", Unreadable)
    )
    declare(name_handler(handler, "create", word, f"Add a {word}."))


def add_change_endpoint(api: Api, crud: Crud) -> None:
    word = entity_name(crud)

    async def handler(context: RequestContext, id: PathId, body: Any) -> Any:  # noqa: A002 -- as above
        async with context.transaction() as session:
            row = await records.lock(session, crud.table, id, version=context.expected_version)
            return await records.change(session, row, **context.actor_and_time, **get_provided_fields(body))

    handler.__annotations__ |= {"body": crud.change_model, "return": crud.response_model}
    refuses = crud.refusals_of("change", no.Missing, no.Stale, Unreadable)
    access = access_for("change", crud.table)
    declare = api(
        "PATCH", f"{crud.path}/{{id}}", tag=f"{word}s", access=access, refusals=refuses, headers=("If-Match",)
    )
    declare(name_handler(handler, "change", word, f"Change a {word}: only what is sent."))


def add_delete_endpoint(api: Api, crud: Crud) -> None:
    word = entity_name(crud)

    async def handler(context: RequestContext, id: PathId) -> None:  # noqa: A002 -- as above
        async with context.transaction() as session:
            row = await records.lock(session, crud.table, id, version=context.expected_version)
            await records.remove(session, row, **context.actor_and_time)

    refuses = crud.refusals_of("delete", no.Missing, no.Stale)
    access = access_for("remove", crud.table)
    declare = api("DELETE", f"{crud.path}/{{id}}", tag=f"{word}s", access=access, status=204, refusals=refuses,
                  headers=("If-Match",))  # fmt: skip
    declare(name_handler(handler, "delete", word, f"Delete a {word} that nothing refers to."))


ENDPOINT_FACTORIES: Mapping[Operation, Callable[[Api, Crud], None]] = {
    "list": add_list_endpoint,
    "get": add_get_endpoint,
    "create": add_create_endpoint,
    "change": add_change_endpoint,
    "delete": add_delete_endpoint,
}
