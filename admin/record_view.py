"""The page every table has: SQLAdmin's, with its unsafe defaults closed and every write through ``bookit.records``."""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

from markupsafe import Markup
from sqlalchemy import Select, select
from starlette.exceptions import HTTPException
from starlette.requests import Request
from wtforms import HiddenField

from admin.clock import system_clock
from admin.export import stream_rows
from admin.forms import DeskConverter, DeskForm, field_args, put_on_field
from admin.paging import ListPages
from bookit import records
from bookit import refusals as no
from bookit.database import Database, Session, retrying
from bookit.tables import Event, home

log = logging.getLogger("bookit.admin")
BIGGEST = 2**63 - 1
EXPLICIT = ("column_list", "column_details_list", "form_columns")


class Unsaved(Exception):
    """It could not be saved. This has been written down."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


class RecordView(ListPages):
    """Every table's page. A class names its columns; this one does the rest."""

    database: ClassVar[Database]
    zone: ClassVar[ZoneInfo]

    column_filters: ClassVar[Sequence[Any]] = []
    form_args: dict[str, Any]  # type: ignore[misc]  # made anew for each form
    form_base_class = DeskForm
    form_converter = DeskConverter
    form_overrides: ClassVar[dict[Any, Any]] = {"version": HiddenField}
    can_import = False
    export_types: ClassVar[list[str]] = ["csv"]
    history_length = 50
    optional: Sequence[str] = ()  # relations that a form may leave to the rule

    def __init__(self) -> None:
        """Take labels from the table; refuse a page that leaves SQLAdmin to offer every column and every relation."""
        missing = [name for name in EXPLICIT if name not in vars(type(self))]
        if missing:
            message = f"{type(self).__name__} does not say its {', '.join(missing)}"
            raise TypeError(message)
        table: Any = self.model
        fields = [name if isinstance(name, str) else name.key for name in self.form_columns]
        cls: Any = type(self)
        if "form_create_rules" not in vars(cls):
            cls.form_create_rules = [name for name in fields if name != "version"]
        if "form_edit_rules" not in vars(cls):
            cls.form_edit_rules = fields
        cls.column_labels = {name: field.title or name for name, field in table.model_fields.items()} | {
            relation: table.model_fields[f"{relation}_id"].title for relation in relations(table)
        }
        super().__init__()

    @property
    def column_type_formatters(self) -> Mapping[type, Callable[[Any], Any]]:  # type: ignore[override]  # a class attribute there
        """Show values as people write them."""
        return {
            type(None): lambda _: "–",
            bool: lambda value: "Yes" if value else "No",
            datetime: self.local_time,
            date: lambda value: f"{value:%d %b %Y}",
            time: lambda value: f"{value:%H:%M}",
            Decimal: lambda value: f"{value:,.2f}",
        }

    column_type_formatters_detail = column_type_formatters  # type: ignore[assignment]  # as above

    def local_time(self, value: datetime) -> Markup:
        """Show a time by the business's clock."""
        shown = f"{value.astimezone(self.zone):%a %d %b %Y, %H:%M}"
        return Markup('<time datetime="{}">{}</time>').format(value.isoformat(), shown)

    # Reading.

    def _stmt_by_identifier(self, identifier: str) -> Select[Any]:
        if not (identifier.isascii() and identifier.isdigit() and 0 < int(identifier[:20]) <= BIGGEST):
            raise HTTPException(404)
        return super()._stmt_by_identifier(identifier)

    async def get_object_for_details(self, request: Request) -> Any:
        """Give the row of this address; SQLAdmin asks once to know whether one may, and once more to show it."""
        kept = request.scope.setdefault("bookit.rows", {})
        number = request.path_params["pk"]
        if number not in kept:
            kept[number] = await super().get_object_for_details(request)
        return kept[number]

    async def get_object_for_edit(self, request: Request) -> Any:
        """Give the same row to the form."""
        return await self.get_object_for_details(request)

    async def get_model_objects(self, request: Request, limit: int | None = 0) -> Any:
        """Give the export its statement rather than its rows."""
        del limit
        return await self.shown_rows(request)

    async def export_data(self, data: Any, export_type: str = "csv", request: Request | None = None) -> Any:
        """Stream the rows that the list shows."""
        del export_type, request
        of = relations(self.model)
        columns = [home(self.model).c[f"{name}_id" if name in of else name] for name in self._export_prop_names]
        return stream_rows(self.session_maker, data, columns, self._column_labels, self.get_export_name("csv"))

    async def get_object_filepath(self, identifier: str, column_name: str) -> Any:
        """Serve no file: SQLAdmin would serve whichever a text column names."""
        del identifier, column_name
        raise HTTPException(404)

    async def details_context(self, request: Request) -> dict[str, Any]:
        """Show the history of a row beside it."""
        told = (
            select(Event)
            .where(Event.table_name == home(self.model).name, Event.row_id == int(request.path_params["pk"]))  # type: ignore[arg-type]  # columns, to SQLAlchemy
            .order_by(home(Event).c.id.desc())
            .limit(self.history_length)
        )
        return {"history": await self._run_query(told), "local_time": self.local_time}

    async def get_form_data_for_edit(self, obj: Any) -> dict[str, Any]:
        """Give what the fields of the edit form begin with, looking up only the relations it has."""
        found: dict[str, Any] = {}
        for name in self.form_edit_rules:
            if name in relations(self.model):
                target = self._mapper.relationships[name].mapper.class_
                rows = await self._run_query(select(target).where(target.id == getattr(obj, f"{name}_id")))
                found[name] = rows[0] if rows else None
            else:
                found[name] = getattr(obj, name)
        return found

    # Writing.

    async def scaffold_form(self, rules: list[str] | None = None) -> Any:
        """Make a form whose fields know the table's bounds."""
        self.form_args = field_args(self.model, self.zone, is_new=rules == self._form_create_rules)
        for name in self.optional:
            self.form_args[name] = {**self.form_args.get(name, {}), "allow_blank": True}
        return await super().scaffold_form(rules)

    async def insert_model(self, request: Request, data: dict[str, Any]) -> Any:
        """Create a row by the table's rule."""
        facts = self.facts(data)
        facts.pop("version", None)

        async def create(session: Session, **who: Any) -> Any:
            return await records.create(session, self.model, **who, **facts)

        return await self.write(request, create)

    async def update_model(self, request: Request, pk: str, data: dict[str, Any]) -> Any:
        """Change a row by the table's rule, unless somebody changed it meanwhile."""
        facts = self.facts(data)
        version = str(facts.pop("version", None) or "0")

        async def change(session: Session, **who: Any) -> Any:
            seen = number(version)
            row: Any = await records.hold(session, self.model, int(pk), version=seen)
            return await records.change(session, row, **who, **facts)

        return await self.write(request, change)

    async def delete_model(self, request: Request, pk: Any) -> None:
        """Remove a row by the table's rule."""

        async def remove(session: Session, **who: Any) -> None:
            await records.remove(session, await records.hold(session, self.model, int(pk)), **who)

        await self.write(request, remove)

    async def write(self, request: Request, act: Callable[..., Awaitable[Any]]) -> Any:
        """Run an act in a transaction in this person's name; a refusal goes to its field and to the page."""
        actor = request.state.actor

        async def once() -> Any:
            number = request.scope.get("request_id", "")
            async with self.database.transaction(by=actor, request_id=number) as session:
                return await act(session, by=actor, now=system_clock())

        try:
            return await retrying(once)
        except no.Refusal as refusal:
            request.state.refusal = refusal
            put_on_field(refusal.field, str(refusal))
            raise
        except Exception as error:
            log.exception("bug", extra={"request_id": request.scope.get("request_id")})
            raise Unsaved from error

    def facts(self, data: dict[str, Any]) -> dict[str, Any]:
        """Give what a form says as the rule takes it: a form names relations, a rule takes numbers."""
        found: dict[str, Any] = {}
        for name, value in data.items():
            if name in relations(self.model):
                found[f"{name}_id"] = number(value) if value else None
            elif name in self._form_prop_names:
                found[name] = value
        return found


def number(value: object) -> int:
    """Read the number of a row as somebody sent it; what is none is the number of no row."""
    sent = str(value)
    return int(sent) if sent.isascii() and sent.isdigit() and len(sent) < len(str(BIGGEST)) else -1


def relations(table: Any) -> list[str]:
    """Name the relations of a table."""
    return [relation.key for relation in table.__mapper__.relationships]
