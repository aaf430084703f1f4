"""How psycopg runs a statement, and the statements that every table has. Each is compiled once, then cached."""

import asyncio
import re
from collections.abc import AsyncGenerator
from functools import cache
from typing import Any, LiteralString

from psycopg import AsyncConnection, AsyncRawServerCursor
from sqlalchemy import (
    ARRAY,
    BindParameter,
    ClauseElement,
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
# By SQL text: the column names of the last result. psycopg would decode them again for each result.
COLUMN_NAMES: dict[str, tuple[str, ...]] = {}
# PostgreSQL's own $1, $2: for %(names)s, psycopg searches a longer statement each time it runs.
DIALECT = dialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]  # SQLAlchemy has no types there
SLICE_ROWS = 250  # that are decoded at once, in about 2 ms
CURSOR_NAME = "stream"
WRITE_KEYWORD = re.compile(r"\b(INSERT|UPDATE|DELETE|MERGE|INTO)\b", re.IGNORECASE)


@cache
def compile_statement(statement: ClauseElement) -> tuple[LiteralString, tuple[str, ...], dict[str, Any]]:
    """Return a statement's SQL, the names of its parameters in order, and the values written into the statement."""
    compiled: Any = statement.compile(dialect=DIALECT)
    return str(compiled), tuple(compiled.positiontup or ()), dict(compiled.params)


async def run(connection: Connection, statement: ClauseElement, values: Row) -> list[Row]:
    """Run one statement and return its rows, if it has any. Other requests run between the slices of many rows."""
    text, params = bind(statement, values)
    cursor = await connection.execute(text, params, binary=True)
    result = cursor.pgresult
    if result is None or not result.nfields:
        return []
    columns = COLUMN_NAMES.get(text, ())
    if len(columns) != result.nfields:
        columns = COLUMN_NAMES[text] = tuple(column.name for column in cursor.description or ())
    if result.ntuples <= SLICE_ROWS:
        return [dict(zip(columns, row, strict=True)) for row in await cursor.fetchall()]
    rows: list[Row] = []
    while part := await cursor.fetchmany(SLICE_ROWS):
        rows += [dict(zip(columns, row, strict=True)) for row in part]
        await asyncio.sleep(0)
    return rows


async def stream(connection: Connection, statement: ClauseElement, values: Row) -> AsyncGenerator[list[Row], None]:
    """Yield the rows of a query, some at a time, through a cursor of the transaction that is open."""
    text, params = bind(statement, values)
    async with AsyncRawServerCursor(connection, CURSOR_NAME) as cursor:
        await cursor.execute(text, params, binary=True)
        columns = [column.name for column in cursor.description or ()]
        while part := await cursor.fetchmany(SLICE_ROWS):
            yield [dict(zip(columns, row, strict=True)) for row in part]


def bind(statement: ClauseElement, values: Row) -> tuple[LiteralString, list[Any]]:
    """Return a statement's SQL and its parameters."""
    text, names, literals = compile_statement(statement)
    return text, [values[name] if name in values else literals[name] for name in names]


@cache
def is_read(statement: ClauseElement) -> bool:
    """Return whether a statement is a query without INSERT, UPDATE, DELETE, MERGE, INTO or FOR UPDATE in its text."""
    text, _, _ = compile_statement(statement)
    return text.lstrip().upper().startswith(("SELECT", "WITH")) and not WRITE_KEYWORD.search(text)


@cache
def build_select_by_id(table: type[SQLModel], *, for_update: bool, keeps_key: bool = False) -> ClauseElement:
    """Return the query for the row with ``:id``. ``for_update`` locks it, and also against rows that refer to it.

    Those are let through if the transaction ``keeps_key``, that is, the row keeps its id.
    """
    statement = select(table).where(table_of(table).c.id == bindparam("id"))
    return statement.with_for_update(key_share=keeps_key) if for_update else statement


@cache
def build_batch(statement: ClauseElement, names: tuple[str, ...]) -> ClauseElement:
    """Return a statement that runs this one for many sets of values: each parameter becomes a list.

    ``input_number`` counts the sets from 1, so that each row can be assigned to its set. The statement

        SELECT id, title FROM services WHERE price < :price ORDER BY id

    becomes, with simpler aliases:

        SELECT input.input_number, output.id, output.title
          FROM unnest(:price::numeric[]) WITH ORDINALITY AS input (price, input_number)
          JOIN LATERAL (
            SELECT one.id, one.title, row_number() OVER () AS output_number
              FROM (SELECT id, title FROM services WHERE price < input.price ORDER BY id) AS one
          ) AS output ON true
         ORDER BY input.input_number, output.output_number
    """
    original: Any = statement
    types = {node.key: node.type for node in visitors.iterate(original) if isinstance(node, BindParameter)}
    lists = [bindparam(name, type_=ARRAY(types[name])) for name in names]
    inputs = (
        func.unnest(*lists)
        .table_valued(*(column(name, types[name]) for name in names), with_ordinality="input_number")
        .render_derived()
    )

    def replace_parameter(node: Any, **_: Any) -> Any:
        return inputs.c[node.key] if isinstance(node, BindParameter) else None

    correlated = visitors.replacement_traverse(original, {}, replace_parameter)  # type: ignore[call-overload]  # wants a protocol
    one = correlated.correlate(inputs).subquery()
    outputs = select(one, func.row_number().over().label("output_number")).correlate(inputs).lateral()
    columns = [column for column in outputs.c if column.name != "output_number"]
    return (
        select(inputs.c.input_number, *columns)
        .select_from(inputs.join(outputs, true()))
        .order_by(inputs.c.input_number, outputs.c.output_number)
    )


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
