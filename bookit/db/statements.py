"""Statements as psycopg runs them, and those that every table has. Each is made once and then comes out of a cache."""

from functools import cache
from typing import Any, LiteralString

from psycopg import AsyncConnection
from sqlalchemy import (
    ARRAY,
    BindParameter,
    ClauseElement,
    Select,
    bindparam,
    column,
    delete,
    func,
    insert,
    true,
    update,
)
from sqlalchemy.dialects.postgresql.psycopg import dialect
from sqlalchemy.sql import visitors
from sqlmodel import SQLModel, select

from bookit.schema.tables import table_of

Row = dict[str, Any]
Connection = AsyncConnection[tuple[Any, ...]]
# The columns a statement gave last: psycopg would work out their names anew for each result.
COLUMN_NAMES: dict[str, tuple[str, ...]] = {}
# PostgreSQL's own $1, $2: psycopg would look through a longer statement for its %(names)s each time it is run.
DIALECT = dialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]


@cache
def compile_statement(statement: ClauseElement) -> tuple[LiteralString, tuple[str, ...], dict[str, Any]]:
    """Give the SQL of a statement, the names of its values in their order, and the values written into it."""
    made: Any = statement.compile(dialect=DIALECT)
    return str(made), tuple(made.positiontup or ()), dict(made.params)


async def run(connection: Connection, statement: ClauseElement, values: Row) -> list[Row]:
    """Run one statement and give its rows, if it has any."""
    text, names, written = compile_statement(statement)
    given = [values[name] if name in values else written[name] for name in names]
    cursor = await connection.execute(text, given, binary=True)
    result = cursor.pgresult
    if result is None or not result.nfields:
        return []
    columns = COLUMN_NAMES.get(text, ())
    if len(columns) != result.nfields:
        columns = COLUMN_NAMES[text] = tuple(column.name for column in cursor.description or ())
    return [dict(zip(columns, row, strict=True)) for row in await cursor.fetchall()]


@cache
def build_select_by_id(table: type[SQLModel], *, for_update: bool) -> ClauseElement:
    statement = select(table).where(table_of(table).c.id == bindparam("id"))
    return statement.with_for_update() if for_update else statement


@cache
def build_batch(statement: Select[Any], names: tuple[str, ...]) -> ClauseElement:
    """Give what runs a statement for many sets of values: each comes as a list, and its rows by their place in it."""
    written: Any = statement
    kinds = {one.key: one.type for one in visitors.iterate(written) if isinstance(one, BindParameter)}
    lists = [bindparam(name, type_=ARRAY(kinds[name])) for name in names]
    places = [column(name, kinds[name]) for name in names]
    asked = func.unnest(*lists).table_valued(*places, with_ordinality="asked_at", name="asked").render_derived()

    def place_of(one: Any, **_: Any) -> Any:
        return asked.c[one.key] if isinstance(one, BindParameter) else None

    placed = visitors.replacement_traverse(written, {}, place_of)  # type: ignore[call-overload]  # wants a protocol
    one = placed.correlate(asked).subquery()
    found = select(one, func.row_number().over().label("found_at")).correlate(asked).lateral()
    columns = [column for column in found.c if column.name != "found_at"]
    both = asked.join(found, true())
    return select(asked.c.asked_at, *columns).select_from(both).order_by(asked.c.asked_at, found.c.found_at)


@cache
def build_insert(table: type[SQLModel], columns: tuple[str, ...]) -> ClauseElement:
    rows = table_of(table)
    return insert(rows).values({name: bindparam(name, type_=rows.c[name].type) for name in columns}).returning(rows)


@cache
def build_update(table: type[SQLModel], columns: tuple[str, ...]) -> ClauseElement:
    rows = table_of(table)
    values = {name: bindparam(name, type_=rows.c[name].type) for name in columns}
    return update(rows).where(rows.c.id == bindparam("the_id")).values(values).returning(rows)


@cache
def build_delete(table: type[SQLModel]) -> ClauseElement:
    rows = table_of(table)
    return delete(rows).where(rows.c.id == bindparam("id"))
