"""The columns of an export: what is read for each, and how its values are written, as the lists show them."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from enum import StrEnum
from typing import Any, TypeAlias, get_args
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, FromClause, inspect
from sqlmodel import SQLModel

from admin.framework.formatting import humanize, is_repeated
from admin.framework.types import Cell, Statement
from bookit.people.phones import format_phone
from bookit.schema.tables import Booking, Resource, Service, User, table_of
from bookit.slices import pause

ToCell: TypeAlias = Callable[..., Cell]  # takes the values of a column's expressions
Words: TypeAlias = Mapping[int, str]
Prepare: TypeAlias = Callable[[Sequence[Sequence[Any]]], Awaitable[None]]  # takes these values of each row
BatchFormatter: TypeAlias = Callable[[Sequence[Sequence[Any]]], Awaitable[Sequence[Sequence[Cell]]]]

# What an export says of the row at the other end of a relation, beside its number.
RELATION_FIELDS: Mapping[type[SQLModel], Sequence[str]] = {
    User: ("name", "email", "phone"),
    Service: ("title",),
    Resource: ("name",),
    Booking: ("user", "service", "resource", "start_time"),
}
NAME_FIELDS = {"name", "title"}  # which a column of a relation need not mention


@dataclass(frozen=True)
class ExportColumn:
    """A column of an export: its heading, the expressions that are read, and what makes a cell of their values."""

    title: str
    expressions: Sequence[ColumnElement[Any]]
    to_cell: ToCell
    prepare: Prepare | None = None  # reads what the cells of a batch need besides


def make_batch_formatter(columns: Sequence[ExportColumn]) -> BatchFormatter:
    """Return what makes the cells of rows that were read for these columns."""
    spans: list[tuple[ExportColumn, int, int]] = []
    for column in columns:
        start = spans[-1][2] if spans else 0
        spans.append((column, start, start + len(column.expressions)))
    cells = [(column.to_cell, start, stop) for column, start, stop in spans]

    async def format_batch(rows: Sequence[Sequence[Any]]) -> Sequence[Sequence[Cell]]:
        for column, start, stop in spans:
            if column.prepare:
                await column.prepare([row[start:stop] for row in rows])
        formatted = []
        for row in rows:
            await pause()
            formatted.append([to_cell(*row[start:stop]) for to_cell, start, stop in cells])
        return formatted

    return format_batch


class ExportSelection:
    """The columns of an export, and the statement of its list with the tables that they need."""

    def __init__(self, table: type[SQLModel], statement: Statement, zone: ZoneInfo, phone_country: str) -> None:
        self.table, self.statement, self.zone, self.phone_country = table, statement, zone, phone_country
        self.columns: list[ExportColumn] = []

    def add(self, name: str, *, related_fields: Sequence[str] | None = None, words: Words | None = None) -> None:
        """Add a column of the table, or a relation with some of the fields at its other end."""
        self.add_field(self.table, table_of(self.table), name, related_fields=related_fields, words=words)

    def add_field(
        self,
        table: type[SQLModel],
        source: FromClause,
        name: str,
        *,
        title: str | None = None,
        related_fields: Sequence[str] | None = None,
        words: Words | None = None,
    ) -> None:
        """Add a column or a relation of a table, which the statement has as ``source``."""
        if name in inspect(table).relationships:
            self.add_relation(table, source, name, related_fields)
            return
        field, column = table.model_fields[name], source.c[name]
        heading = title or field.title or name
        if datetime in (field.annotation, *get_args(field.annotation)):
            self.columns += time_columns(heading, column, self.zone)
        elif name == "phone":
            self.columns.append(ExportColumn(heading, [column], self.format_phone))
        else:
            self.columns.append(ExportColumn(heading, [column], formatter_of(field.annotation, words)))

    def format_phone(self, phone: str | None) -> Cell:
        """Return a phone number as lists show it."""
        return phone and format_phone(phone, self.phone_country)

    def add_relation(
        self, table: type[SQLModel], source: FromClause, name: str, fields: Sequence[str] | None = None
    ) -> None:
        """Add what names the row at the other end of a relation, and its number."""
        target: type[SQLModel] = inspect(table).relationships[name].mapper.class_
        title = table.model_fields[f"{name}_id"].title or name
        joined = self.join(target, source.c[f"{name}_id"], name)
        for field_name in fields or RELATION_FIELDS[target]:
            heading = None if target is Booking else related_heading(title, target, field_name)
            self.add_field(target, joined, field_name, title=heading)
        number_title = title if target is Booking else f"{title} number"
        self.columns.append(ExportColumn(number_title, [source.c[f"{name}_id"]], format_plain))

    def join(self, target: type[SQLModel], key: ColumnElement[Any], name: str) -> FromClause:
        """Join the row that a column refers to, if there is one, and return its table in the statement."""
        joined = table_of(target).alias(f"exported_{name}")
        self.statement = self.statement.outerjoin(joined, joined.c.id == key)
        return joined


def zoned_time_columns(
    title: str, expression: ColumnElement[Any], timezone: ColumnElement[Any], zone: ZoneInfo
) -> Iterable[ExportColumn]:
    """Yield the date and the time of a moment, by the clock that another column names, or else by that of the zone."""
    columns = [expression, timezone]
    yield ExportColumn(join_words(title, "date"), columns, lambda moment, name: local_date(moment, zone_or(name, zone)))
    yield ExportColumn(join_words(title, "time"), columns, lambda moment, name: local_time(moment, zone_or(name, zone)))


def zone_or(name: str | None, default: ZoneInfo) -> ZoneInfo:
    """Return the zone of a name, or the default without one."""
    return ZoneInfo(name) if name else default


def time_columns(title: str, expression: ColumnElement[Any], zone: ZoneInfo) -> Iterable[ExportColumn]:
    """Yield the date and the time of a moment, by the clocks of a zone that the headings name."""
    yield ExportColumn(f"{join_words(title, 'date')} ({zone})", [expression], lambda moment: local_date(moment, zone))
    yield ExportColumn(f"{join_words(title, 'time')} ({zone})", [expression], lambda moment: local_time(moment, zone))


def related_heading(title: str, table: type[SQLModel], name: str) -> str:
    """Return the heading of a field of a related row: "Customer" for the name, "Customer e-mail" for the e-mail."""
    return title if name in NAME_FIELDS else f"{title} {(table.model_fields[name].title or name).lower()}"


def join_words(title: str, word: str) -> str:
    """Return a heading: "Start date", or "Date" where there is no title."""
    return f"{title} {word}" if title else word.capitalize()


def local_date(moment: datetime | None, zone: ZoneInfo) -> date | None:
    """Return the date that a moment has in a zone."""
    return moment and moment.astimezone(zone).date()


def local_time(moment: datetime | None, zone: ZoneInfo) -> Cell:
    """Return the time of day that a moment has in a zone; a repeated one as text with its offset: 02:30 CEST."""
    if moment is None:
        return None
    local = moment.astimezone(zone)
    return f"{local:%H:%M %Z}" if is_repeated(moment, zone) else local.time().replace(second=0, microsecond=0, fold=0)


def format_plain(value: object) -> Cell:
    """Return a value as the lists show it."""
    match value:
        case bool():
            return "Yes" if value else "No"
        case None | str() | int() | float() | Decimal() | date() | time():
            return value
    return str(value)


def format_word(value: str | None) -> str | None:
    """Return a word of the database as pages show it."""
    return value and humanize(value)


def formatter_of(annotation: object, words: Words | None) -> ToCell:
    """Return what makes a cell of a column with this annotation; ``words`` are what its numbers stand for."""
    if words:
        return lambda value: words.get(value, value)
    kinds = (annotation, *get_args(annotation))
    is_word = any(isinstance(kind, type) and issubclass(kind, StrEnum) for kind in kinds)
    return format_word if is_word else format_plain
