"""What happened to rows, as people tell it: who, when, through which door, and what changed."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from enum import StrEnum
from typing import Any, get_args

from markupsafe import Markup, escape
from sqlalchemy import String, cast, func, literal, select, union_all
from sqlmodel import SQLModel
from starlette.requests import Request

from admin.framework.formatting import format_local_time, humanize
from admin.framework.parsing import MAX_BIGINT
from bookit.policy import permissions
from bookit.schema.fields import secret_columns
from bookit.schema.tables import Booking, Event, Resource, Service, User, table_of

MAX_EVENTS = 50
MAX_COUNTED_ROWS = 10_000  # counted of the acts on one page
DOOR_PHRASES = {
    "api": "through the API",
    "admin": "at the desk",
    "seed": "by the seed script",
    "worker": "by the worker",
    "cli": "on the command line",
    "sql": "in the console",
    "clock": "by the clock",
}
ROLE_LABELS = {"user": "customer", "staff": "staff", "admin": "admin"}
ANONYMOUS_LABELS = {"visitor": "A visitor", "admin": "An admin", "staff": "Staff"}
NAME_COLUMNS: Mapping[type[SQLModel], str] = {User: "name", Service: "title", Resource: "name"}
# JSON knows no times and no amounts; these columns are read back as what they are.
JSON_PARSERS: Mapping[type, Callable[[str], Any]] = {
    datetime: datetime.fromisoformat,
    date: date.fromisoformat,
    time: time.fromisoformat,
    Decimal: Decimal,
}
# What blocks time moves with what it stands beside; and so does the end, where a visit is moved and keeps its length.
DERIVED_COLUMNS = {"start_time": {"blocks_from", "blocks_until"}, "end_time": {"blocks_until"}}
SECRET_COLUMNS = secret_columns(*SQLModel.metadata.tables.values())  # Of these, history says only that they changed.

RowNames = Mapping[tuple[str, int], str]
OtherCounts = Mapping[str, int]
ACT_KIND = "an act"  # no table has this name
REQUEST_ID_PATTERN = re.compile("[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True)
class ColumnChange:
    """A column that changed, as people read it. ``was`` is None for a new row, ``became`` for one that is gone."""

    label: str
    old: Any
    new: Any


@dataclass(frozen=True)
class EventText:
    """One event, in words."""

    at: Markup
    actor: Markup
    door: str
    action: str
    row: Markup
    reason: str | None
    changes: list[ColumnChange]
    notifies_customer: bool | None  # whether the customer was to be told
    act_link: Markup  # a way to all that the same act changed, where that is more

    @property
    def changes_html(self) -> Markup:
        """What changed, as a list."""
        items = Markup().join(
            Markup("<li>{}: {}</li>").format(change.label, Markup(" → ").join(format_sides(change)))
            for change in self.changes
        )
        return Markup('<ul class="bk-changes">{}</ul>').format(items) if items else Markup()


def format_sides(change: ColumnChange) -> Iterable[Any]:
    if change.old is None or change.new is None:
        yield escape(change.old or change.new)
    else:
        yield Markup("<del>{}</del>").format(change.old)
        yield Markup("<ins>{}</ins>").format(change.new)


class EventFormatter:
    """Tells events to one reader, after looking up in one statement whom and what they name."""

    def __init__(self, view: Any, request: Request) -> None:
        self.view, self.request, self.views = view, request, view.views_by_table
        self.tables = {table_of(table).name: table for table in SQLModel.__subclasses__() if "__table__" in vars(table)}
        self.names: RowNames = {}
        self.other_counts: OtherCounts = {}

    async def format_events(
        self,
        events: Iterable[Event],
        *,
        extra_rows: Iterable[tuple[str, int]] = (),
        complete_acts: Collection[str] = (),
    ) -> list[EventText]:
        """Give these events in words, and know the names of some other rows too. An act told whole has no others."""
        kept = list(events)
        acts = {event.request_id for event in kept if event.request_id} - {*complete_acts}
        extra_rows = [*extra_rows, *(pair for event in kept for pair in self.rows_of_event(event))]
        self.names, self.other_counts = await self.load_names(extra_rows, acts)
        return [self.format_event(event) for event in kept]

    def rows_of_event(self, event: Event) -> Iterable[tuple[str, int]]:
        """Give each row that an event names: whoever did it, the row itself, and what that refers to."""
        yield event.table_name, event.row_id
        if event.actor_id:
            yield "users", event.actor_id
        for values in (event.old, event.new):
            yield from self.referenced_rows(event.table_name, values or {})

    def referenced_rows(self, table: str, values: Mapping[str, Any]) -> Iterable[tuple[str, int]]:
        """Give each row that some values of a table's row refer to."""
        for name, value in values.items():
            target = self.referenced_table(table, name)
            if target and isinstance(value, int) and 0 < value <= MAX_BIGINT:
                yield target, value

    async def load_names(
        self, row_keys: Iterable[tuple[str, int]], request_ids: Collection[str]
    ) -> tuple[RowNames, OtherCounts]:
        """Give the name of each of these rows that is still there, and how many others each act changed."""
        numbers: dict[str, set[int]] = {}
        for name, number in row_keys:
            if name in self.tables and "id" in table_of(self.tables[name]).c:
                numbers.setdefault(name, set()).add(number)
        if not numbers:
            return {}, {}
        selects: list[Any] = [select_other_counts(request_ids)] if request_ids else []
        selects += [
            select(literal(name), table_of(table).c.id, cast(name_column(table), String)).where(
                table_of(table).c.id.in_(sorted(some))
            )
            for name, some in sorted(numbers.items())
            for table in [self.tables[name]]
        ]
        rows = await self.view.fetch_rows(union_all(*selects))
        others = {name: number for kind, number, name in rows if kind == ACT_KIND}
        return {(table, number): name for table, number, name in rows if table != ACT_KIND}, others

    def referenced_table(self, table: str, column: str) -> str | None:
        """Give the table that a column refers to."""
        found = table_of(self.tables[table]).c.get(column) if table in self.tables else None
        return next((key.column.table.name for key in found.foreign_keys), None) if found is not None else None

    def format_event(self, event: Event) -> EventText:
        """Give one event in words."""
        return EventText(
            at=format_local_time(self.view.context.zone, event.at),
            actor=self.format_actor(event),
            door=DOOR_PHRASES.get(event.door, event.door),
            action=event.action,
            row=self.format_row(event.table_name, event.row_id),
            reason=event.reason,
            changes=[
                self.format_change(event, name) for name in visible_columns(self.tables.get(event.table_name), event)
            ],
            notifies_customer=event.notify_customer,
            act_link=self.link_other_changes(event),
        )

    def link_other_changes(self, event: Event) -> Markup:
        """Give a way to what else the same act changed, if it did."""
        others = self.other_counts.get(event.request_id or "", 0)
        if not others or event.table_name != table_of(Booking).name:
            return Markup()
        changes = "change" if others == 1 else "changes"
        return self.link_act(event, f"{others} other {changes} of the same act")

    def link_act(self, event: Event, label: str) -> Markup:
        """Give a way to all that one act changed; a console may have called it what no address can."""
        if not REQUEST_ID_PATTERN.fullmatch(event.request_id or ""):
            return Markup()
        address = self.request.url_for("admin:act", act=event.request_id)
        return Markup('<a href="{}">{}</a>').format(address, label)

    def format_actor(self, event: Event) -> Markup:
        """Name who did it, as far as that is known, and what they were to the business."""
        role = event.actor.partition(" ")[0]
        if event.actor_id is None:
            return escape("BookIt" if event.door in {"worker", "clock"} else ANONYMOUS_LABELS.get(role, "Somebody"))
        name = self.names.get(("users", event.actor_id))
        shown = self.link_row("users", event.actor_id, name) if name else escape("A deleted account")
        return Markup("<span>{} ({})</span>").format(shown, ROLE_LABELS.get(role, role))

    def format_row(self, table: str, row_id: int) -> Markup:
        """Name a row, with a way to it if it is still there."""
        page = self.views.get(table)
        word = page.name if page else table
        name = f"{word} {row_id}"
        return self.link_row(table, row_id, name) if (table, row_id) in self.names else escape(name)

    def link_row(self, table: str, row_id: int, name: str) -> Markup:
        """Give a way to a row, if this reader may see it."""
        page = self.views.get(table)
        actor: permissions.Actor = self.request.state.actor
        if page is None or not permissions.has_permission(actor, "see", page.model):
            return escape(name)
        address = self.request.url_for("admin:details", identity=page.identity, pk=str(row_id))
        return Markup('<a href="{}">{}</a>').format(address, name)

    def format_change(self, event: Event, column: str) -> ColumnChange:
        """Say what became of a column."""
        table = self.tables.get(event.table_name)
        field = table.model_fields.get(column) if table else None
        title = (field.title if field else None) or column
        was, became = (
            None if values is None else self.format_value(event.table_name, column, values.get(column))
            for values in (None if column in SECRET_COLUMNS else event.old, event.new)
        )
        return ColumnChange(title, was, became)

    def format_value(self, table: str, column: str, value: Any) -> Any:
        """Give a value that history kept as people read it."""
        target = self.referenced_table(table, column)
        if target and isinstance(value, int):
            return self.names.get((target, value)) or f"#{value}"
        if table not in self.tables or column not in self.tables[table].model_fields:
            return format_by_type(self.view, value)
        try:
            return format_by_type(self.view, parse_json_value(self.tables[table], column, value))
        except (ArithmeticError, ValueError):  # A console can write what nobody can read, such as infinity.
            return str(value)


def select_other_counts(request_ids: Collection[str]) -> Any:
    """Count how many bookings these acts changed besides one, where they did."""
    events = table_of(Event).c
    of_these = (events.request_id.in_(sorted(request_ids)), events.table_name == table_of(Booking).name)
    rows = select(events.request_id, events.row_id).where(*of_these).distinct().limit(MAX_COUNTED_ROWS).subquery()
    count = select(literal(ACT_KIND), func.count() - 1, rows.c.request_id).group_by(rows.c.request_id)
    return count.having(func.count() > 1)


def name_column(table: type[SQLModel]) -> Any:
    """Give the column that a row of this table is called by."""
    columns = table_of(table).c
    return columns[NAME_COLUMNS[table]] if table in NAME_COLUMNS else func.concat("#", columns.id)


def visible_columns(table: type[SQLModel] | None, event: Event) -> list[str]:
    """Give the columns worth telling, in the order of the table: JSON has none."""
    changed = (event.new if event.new is not None else event.old) or {}
    besides = {name for time, moved in DERIVED_COLUMNS.items() if time in changed for name in moved}
    besides |= {"end_time"} if has_same_duration(event) else set()
    hidden = {"id", "version"} | (besides if event.action == "changed" else set())
    order = [*table.model_fields] if table else []
    return [name for name in [*order, *sorted(changed.keys() - set(order))] if name in changed and name not in hidden]


def has_same_duration(event: Event) -> bool:
    """Whether both ends of a visit were moved alike."""
    old, new = event.old or {}, event.new or {}
    try:
        later, longer = (
            datetime.fromisoformat(new[name]) - datetime.fromisoformat(old[name]) for name in ("start_time", "end_time")
        )
    except (KeyError, TypeError, ValueError):  # One of them stayed, or a console wrote what nobody can read.
        return False
    return later == longer


def parse_json_value(table: type[SQLModel], column: str, value: Any) -> Any:
    """Give a value of JSON as its column has it."""
    annotation = table.model_fields[column].annotation
    kinds = {annotation, *get_args(annotation)} - {None, type(None)}
    if value is not None and any(isinstance(kind, type) and issubclass(kind, StrEnum) for kind in kinds):
        return humanize(str(value))
    read = next((JSON_PARSERS[kind] for kind in kinds if kind in JSON_PARSERS), None)
    return read(str(value)) if read and isinstance(value, str | int | float) else value


def format_by_type(view: Any, value: Any) -> Any:
    """Give a value as this door shows it."""
    if isinstance(value, StrEnum):
        return humanize(value)
    formatters = view.column_type_formatters
    if value == "":
        return formatters[type(None)](None)
    return formatters[type(value)](value) if type(value) in formatters else str(value)


async def load_row_events(view: Any, row_id: int, *, limit: int = MAX_EVENTS) -> list[Event]:
    """Give what happened last to a row."""
    events = table_of(Event).c
    mine = (events.table_name == table_of(view.model).name, events.row_id == row_id)
    rows = await view.fetch_rows(select(Event).where(*mine).order_by(events.id.desc()).limit(limit))
    return [event for (event,) in rows]
