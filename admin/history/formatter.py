"""Events as people read them: who did it, when, through which door, and what changed."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from enum import StrEnum
from typing import get_args

from markupsafe import Markup, escape
from sqlalchemy import ColumnElement, String, cast, func, literal, select, union_all
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlmodel import SQLModel
from starlette.requests import Request

from admin.framework.context import AdminContext, context_of
from admin.framework.formatting import TypeFormatters, format_local_time, humanize, type_formatters
from admin.framework.page_state import page_state
from admin.framework.types import Statement
from admin.history.actors import DOOR_PHRASES, actor_label, actor_role
from bookit.bookings.claims import join_names
from bookit.db.search import sort_key
from bookit.people.phones import format_phone
from bookit.policy import money, permissions
from bookit.policy.limits import MAX_BIGINT
from bookit.schema.fields import secret_columns
from bookit.schema.tables import Booking, Event, NeedResource, Resource, Service, ServiceNeed, User, table_of
from bookit.slices import pause

MAX_EVENTS = 50
MAX_COUNTED_ROWS = 10_000  # counted of the acts on one page
NAME_COLUMNS: Mapping[type[SQLModel], str] = {User: "name", Service: "title", Resource: "name"}
# JSON knows no times and no amounts; these columns are read back as what they are.
JSON_PARSERS: Mapping[type, Callable[[str], object]] = {
    datetime: datetime.fromisoformat,
    date: date.fromisoformat,
    time: time.fromisoformat,
    Decimal: Decimal,
}
# What blocks time moves with what it stands beside; and so does the end, where a visit is moved and keeps its length.
DERIVED_COLUMNS = {"start_time": {"blocks_from", "blocks_until"}, "end_time": {"blocks_until"}}
SECRET_COLUMNS = secret_columns(*SQLModel.metadata.tables.values())  # Of these, history says only that they changed.

ID_LISTS = {"other_resource_ids": "resources"}  # columns with several ids, and their table

RowNames = Mapping[tuple[str, int], str]
OtherCounts = Mapping[str, int]
# Of tables without a page.
TABLE_LABELS = {
    "service_needs": "Need",
    "notes": "Note",
    "sign_ins": "Sign-in",
    "authenticators": "Authenticator app",
    "passkeys": "Passkey",
    "recovery_codes": "Recovery codes",
    "refunds": "Refund",
}
SHOWN_CHANGES = {"changed", "exported"}  # the actions whose values are shown: not all of a new or a deleted row
NEEDS_TABLE = table_of(ServiceNeed).name
ACT_KIND = "an act"  # no table has this name
REQUEST_ID_PATTERN = re.compile("[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True)
class ColumnChange:
    """A column that changed, in words. ``old`` is None for a new row, ``new`` for one that was deleted."""

    label: str
    old: object
    new: object


@dataclass(frozen=True)
class EventText:
    """An event in words."""

    at: Markup
    actor: Markup
    door: str
    action: str
    row: Markup
    reason: str | None
    changes: list[ColumnChange]
    act_link: Markup  # a link to everything that the same act changed, where that is more

    @property
    def changes_html(self) -> Markup:
        """The changes as an HTML list."""
        items = Markup().join(
            Markup("<li>{}: {}</li>").format(change.label, Markup(" → ").join(format_sides(change)))
            for change in self.changes
        )
        return Markup('<ul class="bk-changes">{}</ul>').format(items) if items else Markup()


def format_sides(change: ColumnChange) -> Iterable[Markup]:
    if change.old is None or change.new is None:
        yield escape(change.old or change.new)
    else:
        yield Markup("<del>{}</del>").format(change.old)
        yield Markup("<ins>{}</ins>").format(change.new)


class EventFormatter:
    """Puts events into words for one user. Everything that they name is read in one statement."""

    def __init__(self, request: Request) -> None:
        self.request, self.context, self.actor = request, context_of(request), page_state(request).actor
        self.views = self.context.views
        self.formatters = type_formatters(lambda: self.context.zone, self.context.format_money)
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
        """Return these events in words, and load the names of ``extra_rows`` too.

        ``complete_acts`` are acts whose events are all among these: they need no link to others.
        """
        events = list(events)
        acts = {event.request_id for event in events if event.request_id} - {*complete_acts}
        row_keys = [*extra_rows]
        for event in events:
            await pause()
            row_keys += self.rows_of_event(event)
        await pause()
        self.names, self.other_counts = await self.load_names(row_keys, acts)
        texts = []
        for event in events:
            await pause()
            texts.append(self.format_event(event))
        return texts

    def rows_of_event(self, event: Event) -> Iterable[tuple[str, int]]:
        """Yield each row that an event names: the row itself, the actor, and the rows that are referred to."""
        yield event.table_name, event.row_id
        if event.actor_id:
            yield "users", event.actor_id
        for values in (event.old, event.new):
            yield from self.referenced_rows(event.table_name, values or {})

    def referenced_rows(self, table: str, values: Mapping[str, object]) -> Iterable[tuple[str, int]]:
        """Yield each row that these values of a table's row refer to."""
        for name, value in values.items():
            target = self.referenced_table(table, name)
            for row_id in value if isinstance(value, list) else [value]:
                if target and isinstance(row_id, int) and 0 < row_id <= MAX_BIGINT:
                    yield target, row_id

    async def load_names(
        self, row_keys: Iterable[tuple[str, int]], request_ids: Collection[str]
    ) -> tuple[RowNames, OtherCounts]:
        """Return the name of each of these rows that still exists, and how many other bookings each act changed."""
        ids: dict[str, set[int]] = {}
        for name, row_id in row_keys:
            if name in self.tables and "id" in table_of(self.tables[name]).c:
                ids.setdefault(name, set()).add(row_id)
        if not ids:
            return {}, {}
        statements = [select_other_counts(request_ids)] if request_ids else []
        statements += [select_names(self.tables[name], sorted(ids[name])) for name in sorted(ids)]
        rows = await self.context.fetch_rows(union_all(*statements))
        other_counts = {name: count for kind, count, name in rows if kind == ACT_KIND}
        return {(table, row_id): name for table, row_id, name in rows if table != ACT_KIND}, other_counts

    def referenced_table(self, table: str, column: str) -> str | None:
        """Return the name of the table that a column refers to."""
        if table not in self.tables or column not in table_of(self.tables[table]).c:
            return None
        if column in ID_LISTS:
            return ID_LISTS[column]
        foreign_keys = table_of(self.tables[table]).c[column].foreign_keys
        return next((str(key.column.table.name) for key in foreign_keys), None)

    def format_event(self, event: Event) -> EventText:
        """Return one event in words."""
        return EventText(
            at=format_local_time(self.context.zone, event.at),
            actor=self.format_actor(event),
            door=DOOR_PHRASES.get(event.door, event.door),
            action=event.action,
            row=self.format_row(event.table_name, event.row_id),
            reason=event.reason,
            changes=[
                self.format_change(event, name) for name in visible_columns(self.tables.get(event.table_name), event)
            ],
            act_link=self.link_other_changes(event),
        )

    def link_other_changes(self, event: Event) -> Markup:
        """Return a link to what else the same act changed, if it did."""
        others = self.other_counts.get(event.request_id or "", 0)
        if not others or event.table_name != table_of(Booking).name:
            return Markup()
        changes = "change" if others == 1 else "changes"
        return self.link_act(event, f"{others} other {changes} made together")

    def link_act(self, event: Event, label: str) -> Markup:
        """Return a link to everything that an act changed; none where SQL has set an id that no URL can hold."""
        if not REQUEST_ID_PATTERN.fullmatch(event.request_id or ""):
            return Markup()
        url = self.request.url_for("admin:act", act=event.request_id)
        return Markup('<a href="{}">{}</a>').format(url, label)

    def format_actor(self, event: Event) -> Markup:
        """Return who did it, as far as that is known, and their role at the time."""
        name = self.names.get(("users", event.actor_id)) if event.actor_id else None
        if event.actor_id is None or name is None:
            return escape(actor_label(event.actor_id, name, event.actor, event.door))
        link = self.link_row("users", event.actor_id, name)
        return Markup("<span>{} ({})</span>").format(link, actor_role(event.actor))

    def format_row(self, table: str, row_id: int) -> Markup:
        """Return the name of a row, with a link to it if it still exists."""
        view = self.views.get(table)
        if not row_id:  # A list, or a report.
            return escape(view.name_plural if view else table.capitalize())
        name = f"{view.name if view else TABLE_LABELS.get(table, table)} {row_id}"
        if table == NEEDS_TABLE and (table, row_id) in self.names:
            name = f"{name} ({self.names[table, row_id]})"
        return self.link_row(table, row_id, name) if (table, row_id) in self.names else escape(name)

    def link_row(self, table: str, row_id: int, name: str) -> Markup:
        """Return the name of a row, with a link to it if this user may see it."""
        view = self.views.get(table)
        if view is None or not permissions.has_permission(self.actor, "see", view.model):
            return escape(name)
        url = self.request.url_for("admin:details", identity=view.identity, pk=row_id)
        return Markup('<a href="{}">{}</a>').format(url, name)

    def format_change(self, event: Event, column: str) -> ColumnChange:
        """Return what an event changed in a column."""
        table = self.tables.get(event.table_name)
        field = table.model_fields.get(column) if table else None
        title = (field.title if field else None) or column
        old, new = (
            None if values is None else self.format_value(event.table_name, column, value_of(values, column))
            for values in (None if column in SECRET_COLUMNS else event.old, event.new)
        )
        return ColumnChange(title, old, new)

    def describe_changes(self, event: Event) -> str:
        """Return what an event changed as plain text; of a new or a deleted row nothing, since all of it changed."""
        if event.action not in SHOWN_CHANGES:
            return ""
        columns = visible_columns(self.tables.get(event.table_name), event)
        changes = (self.format_change(event, column) for column in columns)
        return "; ".join(
            f"{change.label}: {' → '.join(side.striptags() for side in format_sides(change))}" for change in changes
        )

    def format_value(self, table: str, column: str, value: object) -> str:
        """Return a value of an event as people read it."""
        if isinstance(value, int) and is_amount(self.tables.get(table), column):
            value = money.to_decimal(value, self.context.business.currency)
        target = self.referenced_table(table, column)
        if target and isinstance(value, list) and value:
            return join_names([self.names.get((target, one)) or f"#{one}" for one in value])
        if target and isinstance(value, int):
            return self.names.get((target, value)) or f"#{value}"
        if (table, column) == ("users", "phone") and isinstance(value, str):
            return format_phone(value, self.context.phone_country)
        if table not in self.tables or column not in self.tables[table].model_fields:
            return format_by_type(self.formatters, value)
        try:
            parsed = value if isinstance(value, Decimal) else parse_json_value(self.tables[table], column, value)
            return format_by_type(self.formatters, parsed)
        except (ArithmeticError, ValueError):  # SQL can write what Python cannot read, such as infinity.
            return str(value)


def is_amount(table: type[SQLModel] | None, column: str) -> bool:
    """Return whether a column has minor units of a currency."""
    return table is not None and column in table_of(table).c and "is_amount" in table_of(table).c[column].info


def select_names(table: type[SQLModel], ids: Collection[int]) -> Statement:
    """Read the names of these rows, as table, id and name."""
    columns = table_of(table).c
    return select(literal(table_of(table).name), columns.id, cast(name_column(table), String)).where(
        columns.id.in_(ids)
    )


def select_other_counts(request_ids: Collection[str]) -> Statement:
    """Count how many bookings each of these acts changed besides one, where it did."""
    events = table_of(Event).c
    of_these = (events.request_id.in_(sorted(request_ids)), events.table_name == table_of(Booking).name)
    rows = select(events.request_id, events.row_id).where(*of_these).distinct().limit(MAX_COUNTED_ROWS).subquery()
    count = select(literal(ACT_KIND), func.count() - 1, rows.c.request_id).group_by(rows.c.request_id)
    return count.having(func.count() > 1)


def name_column(table: type[SQLModel]) -> ColumnElement[str]:
    """Return the column that has the name of a row of this table: of a need, the resources that can fill it."""
    columns = table_of(table).c
    if table is ServiceNeed:
        return names_of_need(columns.id)
    return columns[NAME_COLUMNS[table]] if table in NAME_COLUMNS else func.concat("#", columns.id)


def names_of_need(need_id: ColumnElement[int]) -> ColumnElement[str]:
    """Return the names of the resources that can fill a need now, as in "Room 1 or Room 2"."""
    links, resources = table_of(NeedResource).c, table_of(Resource).c
    in_order = aggregate_order_by(literal(" or ", String), sort_key(resources.name), resources.id)
    names = select(func.coalesce(func.string_agg(resources.name, in_order), "–")).where(
        links.resource_id == resources.id, links.need_id == need_id
    )
    return names.correlate(table_of(ServiceNeed)).scalar_subquery()


def visible_columns(table: type[SQLModel] | None, event: Event) -> list[str]:
    """Return the columns worth showing, in the order of the table: JSON has none."""
    changed = (event.new if event.new is not None else event.old) or {}
    derived = {name for time, names in DERIVED_COLUMNS.items() if time in changed for name in names}
    derived |= {"end_time"} if has_same_duration(event) else set()
    hidden = {"id", "version"} | (derived if event.action == "changed" else set())
    hidden |= {"purpose", "provider"} if event.table_name == "payments" else set()  # Each has one value.
    hidden |= {"other_resource_ids"} if "resource_id" in changed else set()  # They are named together.
    hidden |= {"seats"} if event.action != "changed" and changed.get("seats") == 1 else set()
    order = [*table.model_fields] if table else []
    return [name for name in [*order, *sorted(changed.keys() - set(order))] if name in changed and name not in hidden]


def value_of(values: Mapping[str, object], column: str) -> object:
    """Return the value of a column: of a booking whose resources all changed, the list of all."""
    others = values.get("other_resource_ids")
    return [values[column], *others] if column == "resource_id" and isinstance(others, list) else values.get(column)


def has_same_duration(event: Event) -> bool:
    """Return whether an event moved both ends of a booking alike."""
    old, new = event.old or {}, event.new or {}
    try:
        start_shift, end_shift = (
            datetime.fromisoformat(new[name]) - datetime.fromisoformat(old[name]) for name in ("start_time", "end_time")
        )
    except (KeyError, TypeError, ValueError):  # One of them stayed, or SQL wrote what Python cannot read.
        return False
    return start_shift == end_shift


def parse_json_value(table: type[SQLModel], column: str, value: object) -> object:
    """Return a value of JSON as its column has it."""
    annotation = table.model_fields[column].annotation
    kinds = {annotation, *get_args(annotation)} - {None, type(None)}
    if value is not None and any(isinstance(kind, type) and issubclass(kind, StrEnum) for kind in kinds):
        return humanize(str(value))
    parse = next((JSON_PARSERS[kind] for kind in kinds if kind in JSON_PARSERS), None)
    return parse(str(value)) if parse and isinstance(value, str | int | float) else value


def format_by_type(formatters: TypeFormatters, value: object) -> str:
    """Return a value as the pages show it."""
    if isinstance(value, StrEnum):
        return humanize(value)
    if value == "":
        return formatters[type(None)](None)
    return formatters[type(value)](value) if type(value) in formatters else str(value)


async def load_row_events(
    context: AdminContext, table: type[SQLModel], row_id: int, *, limit: int = MAX_EVENTS
) -> list[Event]:
    """Return the last events of a row, newest first."""
    events = table_of(Event).c
    of_row = (events.table_name == table_of(table).name, events.row_id == row_id)
    return [*await context.fetch_scalars(select(Event).where(*of_row).order_by(events.id.desc()).limit(limit))]
