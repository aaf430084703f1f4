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

from api.endpoint import ANYONE, Access, Api, Call, Sent, allowed_to
from api.pagination import BY_NUMBER, Key, Page, page_of, place_of
from api.problems import Unreadable
from api.schemas import Answer, PathNumber, Shape, changed_row, new_row, row_answer, sent
from bookit import records
from bookit import refusals as no
from bookit.schema.fields import OPTIONAL_TEXT_PATTERN
from bookit.schema.tables import id_of, table_of

NOT_SENT = {"id", "created_at", "version"}
Part = Literal["list", "get", "create", "change", "delete"]
ALL_PARTS: tuple[Part, ...] = ("list", "get", "create", "change", "delete")


@dataclass(frozen=True)
class Filter:
    """A query parameter of a list: its type, and the condition it puts on the rows."""

    kind: Any
    condition: Callable[[Any], ColumnElement[bool]]
    reads: Callable[[Any], Any] = lambda value: value


def equals(kind: Any, column: ColumnElement[Any]) -> Filter:
    return Filter(kind, lambda value: column == value)


def at_least(kind: Any, column: ColumnElement[Any]) -> Filter:
    return Filter(kind, lambda value: column >= value)


def at_most(kind: Any, column: ColumnElement[Any]) -> Filter:
    return Filter(kind, lambda value: column <= value)


def less_than(kind: Any, column: ColumnElement[Any]) -> Filter:
    return Filter(kind, lambda value: column < value)


def contains(*columns: ColumnElement[str]) -> Filter:
    """Match any of these texts, ignoring case; the person's % and _ mean themselves."""
    kind = Annotated[str, Field(max_length=200, pattern=OPTIONAL_TEXT_PATTERN)]
    return Filter(kind, lambda value: or_(*(column.ilike(value) for column in columns)), like)


def like(words: str) -> str:
    escaped = re.sub(r"([%_\\])", r"\\\1", words)
    return f"%{escaped}%"


@dataclass(frozen=True)
class Listing:
    """A list of rows: where they come from, in which order, and by what they can be filtered."""

    rows: Any
    key: Key
    filters: Mapping[str, Filter] = field(default_factory=dict)
    is_ones_own: bool = False  # and so few rows

    def __hash__(self) -> int:
        return id(self)

    def query(self, name: str) -> type[Page]:
        """Make the shape of the query."""
        fields: dict[str, Any] = {name: (found.kind | None, None) for name, found in self.filters.items()}
        return cast("type[Page]", create_model(name, __base__=Page, **fields))

    @cache  # noqa: B019 -- listings are made at import and live as long as the program
    def statement(self, given: frozenset[str], *, is_continued: bool) -> ClauseElement:
        """Give the statement for these filters; there are few combinations, and each is compiled once."""
        columns = self.rows.selected_columns
        key = [columns[name] for name, _ in self.key]
        statement = self.rows.order_by(*key).limit(bindparam("limit", type_=BigInteger))
        for name in given:
            statement = statement.where(self.filters[name].condition(bindparam(name)))
        if is_continued:
            after = [bindparam(f"after_{column.name}", type_=column.type) for column in key]
            statement = statement.where(tuple_(*key) > tuple_(*after))
        return cast("ClauseElement", statement)

    async def page(self, call: Call, query: Any, **fixed: Any) -> Sent:
        """Give one page of the rows that pass the filters."""
        values = {
            name: found.reads(getattr(query, name))
            for name, found in self.filters.items()
            if getattr(query, name, None) is not None
        } | fixed
        place = place_of(query.cursor, self.key) if query.cursor else {}
        statement = self.statement(frozenset(values.keys() & self.filters.keys()), is_continued=bool(place))
        fetch = call.database.fetch_batched if self.is_ones_own else call.database.fetch
        rows = await fetch(statement, limit=query.limit + 1, **values, **place)
        return page_of(call, rows, query, self.key)


@dataclass(frozen=True)
class Crud:
    """What the generated endpoints of a table are made of."""

    table: type[SQLModel]
    path: str
    answer: type[Answer]
    new: type[Shape]
    changed: type[Shape]
    listing: Listing
    read: Access
    refuses: Mapping[Part, Sequence[type[no.Refusal]]]

    def may_refuse(self, part: Part, *usual: type[no.Refusal]) -> tuple[type[no.Refusal], ...]:
        """Give what a part of these endpoints may answer instead."""
        return (*usual, *self.refuses.get(part, ()))


def generate(
    api: Api,
    table: type[SQLModel],
    path: str,
    *,
    read: Access = ANYONE,
    parts: Sequence[Part] = ALL_PARTS,
    hidden: Sequence[str] = (),
    fixed: Sequence[str] = (),
    filters: Mapping[str, Filter] | None = None,
    more: Mapping[str, tuple[Any, Any]] | None = None,
    refuses: Mapping[Part, Sequence[type[no.Refusal]]] | None = None,
) -> Crud:
    """Declare the endpoints of a table at this path.

    ``hidden`` columns are neither sent nor taken, ``fixed`` ones are taken only for a new row; ``more`` is what the
    table's rule takes beside its columns; ``refuses`` what it may answer beside the usual.
    """
    shown = [column.name for column in table_of(table).columns if column.name not in hidden]
    taken = [name for name in shown if name not in NOT_SENT]
    crud = Crud(
        table,
        path,
        row_answer(table, *shown),
        new_row(table, *taken, **(more or {})),
        changed_row(table, *(name for name in taken if name not in fixed), **(more or {})),
        Listing(select(table), BY_NUMBER, filters or {}),
        read,
        refuses or {},
    )
    for part in parts:
        MAKERS[part](api, crud)
    return crud


def words(crud: Crud) -> str:
    return records.display_name(crud.table)


def name_handler(handler: Any, verb: str, what: str, promise: str) -> Any:
    handler.__name__ = f"{verb}_{what.replace(' ', '_')}"
    handler.__doc__ = promise
    return handler


def make_list(api: Api, crud: Crud) -> None:
    what = f"{words(crud)}s"

    async def handler(call: Call, query: Any) -> Any:
        return await crud.listing.page(call, query)

    query = crud.listing.query(f"{crud.table.__name__}Query")
    rows: Any = list[crud.answer]  # type: ignore[name-defined]  # a value: the shape is made from the table
    handler.__annotations__ = {"query": query, "return": rows}
    api("GET", crud.path, tag=what, access=crud.read)(name_handler(handler, "list", what, f"List {what}."))


def make_get(api: Api, crud: Crud) -> None:
    word = words(crud)

    async def handler(call: Call, id: PathNumber) -> Any:  # noqa: A002 -- the name in the path
        row = await call.database.get_row(crud.table, id)
        if row is None:
            raise no.Missing(what=word)
        return row

    handler.__annotations__["return"] = crud.answer
    declare = api("GET", f"{crud.path}/{{id}}", tag=f"{word}s", access=crud.read, refuses=(no.Missing,))
    declare(name_handler(handler, "get", word, f"Get one {word}."))


def make_create(api: Api, crud: Crud) -> None:
    word = words(crud)

    async def handler(call: Call, body: Any) -> Any:
        async with call.transaction() as session:
            row = await records.create(session, crud.table, **call.asking, **sent(body))
        return Sent(row, {"Location": f"{call.request.url.path}/{id_of(row)}"})

    handler.__annotations__ = {"body": crud.new, "return": crud.answer}
    access = allowed_to("create", crud.table)
    declare = api(
        "POST", crud.path, tag=f"{word}s", access=access, status=201, refuses=crud.may_refuse("create", Unreadable)
    )
    declare(name_handler(handler, "create", word, f"Add a {word}."))


def make_change(api: Api, crud: Crud) -> None:
    word = words(crud)

    async def handler(call: Call, id: PathNumber, body: Any) -> Any:  # noqa: A002 -- as above
        async with call.transaction() as session:
            row = await records.lock(session, crud.table, id, version=call.version)
            return await records.change(session, row, **call.asking, **sent(body))

    handler.__annotations__ |= {"body": crud.changed, "return": crud.answer}
    refuses = crud.may_refuse("change", no.Missing, no.Stale, Unreadable)
    access = allowed_to("change", crud.table)
    declare = api("PATCH", f"{crud.path}/{{id}}", tag=f"{word}s", access=access, refuses=refuses, headers=("If-Match",))
    declare(name_handler(handler, "change", word, f"Change a {word}: only what is sent."))


def make_delete(api: Api, crud: Crud) -> None:
    word = words(crud)

    async def handler(call: Call, id: PathNumber) -> None:  # noqa: A002 -- as above
        async with call.transaction() as session:
            row = await records.lock(session, crud.table, id, version=call.version)
            await records.remove(session, row, **call.asking)

    refuses = crud.may_refuse("delete", no.Missing, no.Stale)
    access = allowed_to("remove", crud.table)
    declare = api("DELETE", f"{crud.path}/{{id}}", tag=f"{word}s", access=access, status=204, refuses=refuses,
                  headers=("If-Match",))  # fmt: skip
    declare(name_handler(handler, "delete", word, f"Delete a {word} that nothing refers to."))


MAKERS: Mapping[Part, Callable[[Api, Crud], None]] = {
    "list": make_list,
    "get": make_get,
    "create": make_create,
    "change": make_change,
    "delete": make_delete,
}
