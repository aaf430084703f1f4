"""The page every table has: SQLAdmin's, with its unsafe defaults closed and every write through ``bookit.records``."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar

from sqlalchemy import Select, select
from sqlalchemy.orm import joinedload, selectinload
from starlette.exceptions import HTTPException
from starlette.requests import Request
from wtforms import HiddenField

from admin.framework.csv_export import stream_rows
from admin.framework.forms import (
    AdminForm,
    AdminModelConverter,
    add_field_error,
    build_form_args,
    drop_unchanged_times,
    drop_unsubmitted,
)
from admin.framework.list_pages import ListView
from admin.framework.lookups import LookupField, LookupLoader, MultiLookupField
from admin.framework.parsing import MAX_BIGINT, parse_id
from admin.history import edit_conflicts, formatter
from bookit import records
from bookit import refusals as no
from bookit.db.errors import retry_interrupted
from bookit.db.session import Session
from bookit.schema.tables import table_of

log = logging.getLogger("bookit.admin")
REQUIRED_ATTRIBUTES = ("column_list", "column_details_list", "form_columns")


class SaveFailed(Exception):
    """It could not be saved. This has been written down."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


class RecordView(ListView):
    """Every table's page. A class names its columns; this one does the rest."""

    form_args: dict[str, Any]  # type: ignore[misc]  # made anew for each form
    form_base_class = AdminForm
    form_converter = AdminModelConverter
    can_import = False
    show_compact_lists = False
    export_types: ClassVar[list[str]] = ["csv"]
    optional_relations: ClassVar[
        Mapping[str, str]
    ] = {}  # relations that a new row may leave to the rule, and what it does then
    many_relations: ClassVar[Mapping[str, tuple[str, str]]] = {}  # relations to many rows: label and help

    def __init__(self) -> None:
        """Take labels from the table; refuse a page that leaves SQLAdmin to offer every column and every relation."""
        missing = [name for name in REQUIRED_ATTRIBUTES if name not in vars(type(self))]
        if missing:
            message = f"{type(self).__name__} does not say its {', '.join(missing)}"
            raise TypeError(message)
        table: Any = self.model
        fields = [name if isinstance(name, str) else name.key for name in self.form_columns]
        labels = {name: field.title or name for name, field in table.model_fields.items()} | {
            relation: table.model_fields[f"{relation}_id"].title for relation in to_one_relations(table)
        }
        vars(self).update(
            form_create_rules=self.form_create_rules or [name for name in fields if name != "version"],
            form_edit_rules=self.form_edit_rules or fields,
            column_labels=labels | {name: label for name, (label, _) in self.many_relations.items()},
            form_overrides={"version": HiddenField}
            | {name: MultiLookupField if name in self.many_relations else LookupField for name in self.form_ajax_refs},
        )
        super().__init__()
        self._form_ajax_refs = {
            name: LookupLoader(name, self._mapper.relationships[name].mapper.class_, self, **options)
            for name, options in self.form_ajax_refs.items()
        }

    # Reading.

    def _stmt_by_identifier(self, identifier: str) -> Select[Any]:
        if not (identifier.isascii() and identifier.isdigit() and 0 < int(identifier[:20]) <= MAX_BIGINT):
            raise HTTPException(404)
        return super()._stmt_by_identifier(identifier)

    def details_query(self, request: Request) -> Select[Any]:
        """Read a row together with each one it refers to, in one statement."""
        to_one = to_one_relations(self.model)
        load: Any = [joinedload(to) if to.key in to_one else selectinload(to) for to in self._details_relations]
        return self._stmt_by_identifier(request.path_params["pk"]).options(*load)

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
        return await self.export_query(request)

    async def export_data(self, data: Any, export_type: str = "csv", request: Request | None = None) -> Any:
        """Stream the rows that the list shows."""
        del export_type, request
        of = to_one_relations(self.model)
        columns = [table_of(self.model).c[f"{name}_id" if name in of else name] for name in self._export_prop_names]
        return stream_rows(self.session_maker, data, columns, self._column_labels, self.get_export_name("csv"))

    async def get_object_filepath(self, identifier: str, column_name: str) -> Any:
        """Serve no file: SQLAdmin would serve whichever a text column names."""
        del identifier, column_name
        raise HTTPException(404)

    async def details_context(self, request: Request) -> dict[str, Any]:
        """Show the history of a row beside it."""
        events = await formatter.load_row_events(self, int(request.path_params["pk"]))
        return {"history": await formatter.EventFormatter(self, request).format_events(events)}

    async def get_form_data_for_edit(self, obj: Any) -> dict[str, Any]:
        """Give what the fields of the edit form begin with, looking up only the relations it has."""
        found: dict[str, Any] = {}
        for name in self.form_edit_rules:
            if name in self.many_relations:
                found[name] = list(getattr(obj, name))
            elif name in to_one_relations(self.model):
                target = self._mapper.relationships[name].mapper.class_
                rows = await self._run_query(select(target).where(target.id == getattr(obj, f"{name}_id")))
                found[name] = rows[0] if rows else None
            else:
                found[name] = getattr(obj, name)
        return found

    # Writing.

    async def scaffold_form(self, rules: list[str] | None = None) -> Any:
        """Make a form whose fields know the table's bounds."""
        is_new = rules == self._form_create_rules
        self.form_args = build_form_args(self.model, self.context.zone, is_new=is_new)
        for name, words in self.optional_relations.items() if is_new else ():
            self.form_args[name] = {"description": words, "allow_blank": True}
        for name, (_, words) in self.many_relations.items():
            self.form_args[name] = {"description": words}
        return await super().scaffold_form(rules)

    async def insert_model(self, request: Request, data: dict[str, Any]) -> Any:
        """Create a row by the table's rule."""
        facts = self.to_record_values(data)
        facts.pop("version", None)

        async def create(session: Session, **who: Any) -> Any:
            return await records.create(session, self.model, **who, **facts)

        return await self.write(request, create)

    async def update_model(self, request: Request, pk: str, data: dict[str, Any]) -> Any:
        """Change a row by the table's rule, unless somebody changed it meanwhile."""
        facts = self.to_record_values(drop_unsubmitted(data))
        seen = parse_id(facts.pop("version", None) or "0")

        async def change(session: Session, **who: Any) -> Any:
            row: Any = await records.lock(session, self.model, int(pk), version=seen)
            return await records.change(session, row, **who, **drop_unchanged_times(facts, row, self.context.zone))

        try:
            return await self.write(request, change)
        except no.Stale:
            await edit_conflicts.show_conflict(self, request, int(pk), facts, base_version=seen)
            raise

    async def delete_model(self, request: Request, pk: Any) -> None:
        """Remove a row by the table's rule."""

        async def remove(session: Session, **who: Any) -> None:
            await records.remove(session, await records.lock(session, self.model, int(pk)), **who)

        await self.write(request, remove)

    async def write(self, request: Request, act: Callable[..., Awaitable[Any]]) -> Any:
        """Run an act in a transaction in this person's name; a refusal goes to its field and to the page."""
        actor = request.state.actor

        async def once() -> Any:
            now, asked = self.context.now(), request.scope.get("request_id", "")
            async with self.context.database.transaction(by=actor, now=now, request_id=asked) as session:
                return await act(session, by=actor, now=now)

        try:
            return await retry_interrupted(once)
        except no.Refusal as refusal:
            show_refusal(request, refusal)
            raise
        except Exception as error:
            log.exception("unhandled error", extra={"request_id": request.scope.get("request_id")})
            raise SaveFailed from error

    def to_record_values(self, data: dict[str, Any]) -> dict[str, Any]:
        """Give what a form says as the rule takes it: a form names relations, a rule takes numbers."""
        found: dict[str, Any] = {}
        for name, value in data.items():
            if name in self.many_relations:
                found[f"{name.removesuffix('s')}_ids"] = sorted(parse_id(one) for one in value if one)
            elif name in to_one_relations(self.model):
                found[f"{name}_id"] = parse_id(value) if value else None
            elif name in self._form_prop_names:
                found[name] = value
        return found


def show_refusal(request: Request, refusal: no.Refusal) -> None:
    """Have the form come back with the status of this refusal, and with its sentence on its field."""
    request.state.refusal = refusal
    add_field_error(refusal.field, str(refusal))


def to_one_relations(table: Any) -> list[str]:
    """Name the relations of a table to one row of another."""
    return [relation.key for relation in table.__mapper__.relationships if not relation.uselist]
