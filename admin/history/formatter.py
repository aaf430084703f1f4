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

from admin.framework.formatting import local_time, spoken
from admin.framework.parsing import BIGGEST
from bookit.policy import permissions
from bookit.schema.fields import secret_columns
from bookit.schema.tables import Booking, Event, Resource, Service, User, home

MOST_TOLD = 50
MOST_ROWS = 10_000  # counted of the acts on one page
DOORS = {
    "api": "through the API",
    "admin": "at the desk",
    "seed": "by the seed script",
    "worker": "by the worker",
    "cli": "on the command line",
    "sql": "in the console",
    "clock": "by the clock",
}
ROLES = {"user": "customer", "staff": "staff", "admin": "admin"}
NAMELESS = {"visitor": "A visitor", "admin": "An admin", "staff": "Staff"}
NAMED: Mapping[type[SQLModel], str] = {User: "name", Service: "title", Resource: "name"}
# JSON knows no times and no amounts; these columns are read back as what they are.
READ: Mapping[type, Callable[[str], Any]] = {
    datetime: datetime.fromisoformat,
    date: date.fromisoformat,
    time: time.fromisoformat,
    Decimal: Decimal,
}
# What blocks time moves with what it stands beside; and so does the end, where a visit is moved and keeps its length.
FOLLOWS = {"start_time": {"blocks_from", "blocks_until"}, "end_time": {"blocks_until"}}
SECRET = secret_columns(*SQLModel.metadata.tables.values())  # Of these, history says only that they changed.

Names = Mapping[tuple[str, int], str]
Others = Mapping[str, int]
ACT = "an act"  # no table has this name
ACT_NUMBER = re.compile("[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True)
class Change:
    """A column that changed, as people read it. ``was`` is None for a new row, ``became`` for one that is gone."""

    label: str
    was: Any
    became: Any


@dataclass(frozen=True)
class Told:
    """One event, in words."""

    at: Markup
    who: Markup
    door: str
    action: str
    row: Markup
    reason: str | None
    changes: list[Change]
    tells: bool | None  # whether the customer was to be told
    act: Markup  # a way to all that the same act changed, where that is more

    @property
    def listed(self) -> Markup:
        """What changed, as a list."""
        items = Markup().join(
            Markup("<li>{}: {}</li>").format(change.label, Markup(" → ").join(sides(change))) for change in self.changes
        )
        return Markup('<ul class="bk-changes">{}</ul>').format(items) if items else Markup()


def sides(change: Change) -> Iterable[Any]:
    if change.was is None or change.became is None:
        yield escape(change.was or change.became)
    else:
        yield Markup("<del>{}</del>").format(change.was)
        yield Markup("<ins>{}</ins>").format(change.became)


class Teller:
    """Tells events to one reader, after looking up in one statement whom and what they name."""

    def __init__(self, view: Any, request: Request) -> None:
        self.view, self.request, self.pages = view, request, view.pages
        self.tables = {home(table).name: table for table in SQLModel.__subclasses__() if "__table__" in vars(table)}
        self.names: Names = {}
        self.others: Others = {}

    async def tell(
        self, events: Iterable[Event], *, naming: Iterable[tuple[str, int]] = (), whole: Collection[str] = ()
    ) -> list[Told]:
        """Give these events in words, and know the names of some other rows too. An act told whole has no others."""
        kept = list(events)
        acts = {event.request_id for event in kept if event.request_id} - {*whole}
        naming = [*naming, *(pair for event in kept for pair in self.named_in(event))]
        self.names, self.others = await self.look_up(naming, acts)
        return [self.told(event) for event in kept]

    def named_in(self, event: Event) -> Iterable[tuple[str, int]]:
        """Give each row that an event names: whoever did it, the row itself, and what that refers to."""
        yield event.table_name, event.row_id
        if event.actor_id:
            yield "users", event.actor_id
        for values in (event.old, event.new):
            yield from self.named(event.table_name, values or {})

    def named(self, table: str, values: Mapping[str, Any]) -> Iterable[tuple[str, int]]:
        """Give each row that some values of a table's row refer to."""
        for name, value in values.items():
            target = self.target(table, name)
            if target and isinstance(value, int) and 0 < value <= BIGGEST:
                yield target, value

    async def look_up(self, wanted: Iterable[tuple[str, int]], acts: Collection[str]) -> tuple[Names, Others]:
        """Give the name of each of these rows that is still there, and how many others each act changed."""
        numbers: dict[str, set[int]] = {}
        for name, number in wanted:
            if name in self.tables and "id" in home(self.tables[name]).c:
                numbers.setdefault(name, set()).add(number)
        if not numbers:
            return {}, {}
        selects: list[Any] = [others_of(acts)] if acts else []
        selects += [
            select(literal(name), home(table).c.id, cast(label(table), String)).where(
                home(table).c.id.in_(sorted(some))
            )
            for name, some in sorted(numbers.items())
            for table in [self.tables[name]]
        ]
        rows = await self.view.read(union_all(*selects))
        others = {name: number for kind, number, name in rows if kind == ACT}
        return {(table, number): name for table, number, name in rows if table != ACT}, others

    def target(self, table: str, column: str) -> str | None:
        """Give the table that a column refers to."""
        found = home(self.tables[table]).c.get(column) if table in self.tables else None
        return next((key.column.table.name for key in found.foreign_keys), None) if found is not None else None

    def told(self, event: Event) -> Told:
        """Give one event in words."""
        return Told(
            at=local_time(self.view.zone, event.at),
            who=self.who(event),
            door=DOORS.get(event.door, event.door),
            action=event.action,
            row=self.row(event.table_name, event.row_id),
            reason=event.reason,
            changes=[self.change(event, name) for name in told_columns(self.tables.get(event.table_name), event)],
            tells=event.tells_customer,
            act=self.act(event),
        )

    def act(self, event: Event) -> Markup:
        """Give a way to what else the same act changed, if it did."""
        others = self.others.get(event.request_id or "", 0)
        if not others or event.table_name != home(Booking).name:
            return Markup()
        changes = "change" if others == 1 else "changes"
        return self.whole_act(event, f"{others} other {changes} of the same act")

    def whole_act(self, event: Event, words: str) -> Markup:
        """Give a way to all that one act changed; a console may have called it what no address can."""
        if not ACT_NUMBER.fullmatch(event.request_id or ""):
            return Markup()
        address = self.request.url_for("admin:act", act=event.request_id)
        return Markup('<a href="{}">{}</a>').format(address, words)

    def who(self, event: Event) -> Markup:
        """Name who did it, as far as that is known, and what they were to the business."""
        role = event.actor.partition(" ")[0]
        if event.actor_id is None:
            return escape("BookIt" if event.door in {"worker", "clock"} else NAMELESS.get(role, "Somebody"))
        name = self.names.get(("users", event.actor_id))
        shown = self.link("users", event.actor_id, name) if name else escape("A deleted account")
        return Markup("<span>{} ({})</span>").format(shown, ROLES.get(role, role))

    def row(self, table: str, number: int) -> Markup:
        """Name a row, with a way to it if it is still there."""
        page = self.pages.get(table)
        word = page.name if page else table
        name = f"{word} {number}"
        return self.link(table, number, name) if (table, number) in self.names else escape(name)

    def link(self, table: str, number: int, name: str) -> Markup:
        """Give a way to a row, if this reader may see it."""
        page = self.pages.get(table)
        actor: permissions.Actor = self.request.state.actor
        if page is None or not permissions.may(actor, "see", page.model):
            return escape(name)
        address = self.request.url_for("admin:details", identity=page.identity, pk=str(number))
        return Markup('<a href="{}">{}</a>').format(address, name)

    def change(self, event: Event, column: str) -> Change:
        """Say what became of a column."""
        table = self.tables.get(event.table_name)
        field = table.model_fields.get(column) if table else None
        title = (field.title if field else None) or column
        was, became = (
            None if values is None else self.shown(event.table_name, column, values.get(column))
            for values in (None if column in SECRET else event.old, event.new)
        )
        return Change(title, was, became)

    def shown(self, table: str, column: str, value: Any) -> Any:
        """Give a value that history kept as people read it."""
        target = self.target(table, column)
        if target and isinstance(value, int):
            return self.names.get((target, value)) or f"#{value}"
        if table not in self.tables or column not in self.tables[table].model_fields:
            return as_read(self.view, value)
        try:
            return as_read(self.view, as_kept(self.tables[table], column, value))
        except (ArithmeticError, ValueError):  # A console can write what nobody can read, such as infinity.
            return str(value)


def others_of(acts: Collection[str]) -> Any:
    """Count how many bookings these acts changed besides one, where they did."""
    events = home(Event).c
    of_these = (events.request_id.in_(sorted(acts)), events.table_name == home(Booking).name)
    rows = select(events.request_id, events.row_id).where(*of_these).distinct().limit(MOST_ROWS).subquery()
    count = select(literal(ACT), func.count() - 1, rows.c.request_id).group_by(rows.c.request_id)
    return count.having(func.count() > 1)


def label(table: type[SQLModel]) -> Any:
    """Give the column that a row of this table is called by."""
    columns = home(table).c
    return columns[NAMED[table]] if table in NAMED else func.concat("#", columns.id)


def told_columns(table: type[SQLModel] | None, event: Event) -> list[str]:
    """Give the columns worth telling, in the order of the table: JSON has none."""
    changed = (event.new if event.new is not None else event.old) or {}
    besides = {name for time, moved in FOLLOWS.items() if time in changed for name in moved}
    besides |= {"end_time"} if keeps_length(event) else set()
    hidden = {"id", "version"} | (besides if event.action == "changed" else set())
    order = [*table.model_fields] if table else []
    return [name for name in [*order, *sorted(changed.keys() - set(order))] if name in changed and name not in hidden]


def keeps_length(event: Event) -> bool:
    """Whether both ends of a visit were moved alike."""
    old, new = event.old or {}, event.new or {}
    try:
        later, longer = (
            datetime.fromisoformat(new[name]) - datetime.fromisoformat(old[name]) for name in ("start_time", "end_time")
        )
    except (KeyError, TypeError, ValueError):  # One of them stayed, or a console wrote what nobody can read.
        return False
    return later == longer


def as_kept(table: type[SQLModel], column: str, value: Any) -> Any:
    """Give a value of JSON as its column has it."""
    annotation = table.model_fields[column].annotation
    kinds = {annotation, *get_args(annotation)} - {None, type(None)}
    if value is not None and any(isinstance(kind, type) and issubclass(kind, StrEnum) for kind in kinds):
        return spoken(str(value))
    read = next((READ[kind] for kind in kinds if kind in READ), None)
    return read(str(value)) if read and isinstance(value, str | int | float) else value


def as_read(view: Any, value: Any) -> Any:
    """Give a value as this door shows it."""
    if isinstance(value, StrEnum):
        return spoken(value)
    formatters = view.column_type_formatters
    if value == "":
        return formatters[type(None)](None)
    return formatters[type(value)](value) if type(value) in formatters else str(value)


async def of_row(view: Any, number: int, *, most: int = MOST_TOLD) -> list[Event]:
    """Give what happened last to a row."""
    events = home(Event).c
    mine = (events.table_name == home(view.model).name, events.row_id == number)
    rows = await view.read(select(Event).where(*mine).order_by(events.id.desc()).limit(most))
    return [event for (event,) in rows]
