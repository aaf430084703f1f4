"""The view of each table: SQLAdmin's, without its unsafe defaults, and with every write through ``bookit.records``."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NoReturn, TypeVar, Unpack

from sqlalchemy import inspect, select
from sqlalchemy.orm import joinedload
from sqlmodel import SQLModel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from wtforms import Form, HiddenField

from admin.framework.context import request_id_of
from admin.framework.form_values import KEY_FIELD, FormValues, form_values, show_refusal, submitted_content
from admin.framework.forms import AdminForm, AdminModelConverter, FieldArgs, build_form_args
from admin.framework.idempotency import new_key, run_once
from admin.framework.list_pages import ListView
from admin.framework.lookups import LookupField, LookupLoader, MultiLookupField
from admin.framework.page_state import page_state
from admin.framework.parsing import parse_id
from admin.framework.stranded_visits import accepted_visits
from admin.framework.transactions import Act, ActorAndTime, run_act
from admin.framework.types import Statement, Values
from admin.history import edit_conflicts
from admin.history.formatter import EventFormatter, load_row_events
from bookit import records
from bookit import refusals as no
from bookit.db.session import Session
from bookit.policy.limits import MAX_BIGINT
from bookit.schema.tables import User, table_of

log = logging.getLogger("bookit.admin")
REQUIRED_ATTRIBUTES = ("column_list", "column_details_list", "form_columns")
T = TypeVar("T")


class SaveFailed(Exception):
    """This could not be saved. The error has been logged."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


class RecordView(ListView):
    """The view of one table: its class names the columns, and this one does the rest."""

    form_args: dict[str, FieldArgs]  # type: ignore[misc]  # made anew for each form
    form_base_class = AdminForm
    form_converter = AdminModelConverter
    can_import = False
    show_compact_lists = False
    is_single = False  # whether its table has one row only, whose form stands in place of a list
    optional_relations: ClassVar[Mapping[str, str]] = {}  # that a new row may lack, each with what happens then
    many_relations: ClassVar[Mapping[str, tuple[str, str]]] = {}  # to many rows, each with its label and its help
    fields_under_more: ClassVar[frozenset[str]] = (
        frozenset()
    )  # that are folded in a form, and open where they are filled

    def __init__(self) -> None:
        """Take the labels from the table. Raise TypeError where SQLAdmin would offer every column and relation."""
        missing = [name for name in REQUIRED_ATTRIBUTES if name not in vars(type(self))]
        if missing:
            message = f"{type(self).__name__} does not say its {', '.join(missing)}"
            raise TypeError(message)
        fields = [name if isinstance(name, str) else name.key for name in self.form_columns]
        vars(self).update(
            form_create_rules=self.form_create_rules or [name for name in fields if name != "version"],
            form_edit_rules=self.form_edit_rules or fields,
            column_labels=self.build_labels(),
            form_overrides={"version": HiddenField}
            | {name: MultiLookupField if name in self.many_relations else LookupField for name in self.form_ajax_refs},
        )
        super().__init__()
        self._form_ajax_refs = {
            name: LookupLoader(name, self.related_table(name), self, **options)
            for name, options in self.form_ajax_refs.items()
        }

    def build_labels(self) -> dict[str, str]:
        """Return the label of each column and relation."""
        fields = self.model.model_fields
        labels = {name: field.title or name for name, field in fields.items()}
        labels |= {name: labels[f"{name}_id"] for name in to_one_relations(self.model)}
        return labels | {name: label for name, (label, _) in self.many_relations.items()}

    def related_table(self, relation: str) -> type[SQLModel]:
        """Return the table that a relation leads to."""
        table: type[SQLModel] = self._mapper.relationships[relation].mapper.class_
        return table

    # Reading.

    def _stmt_by_identifier(self, identifier: str) -> Statement:
        if not (identifier.isascii() and identifier.isdigit() and 0 < int(identifier[:20]) <= MAX_BIGINT):
            raise HTTPException(404)
        return super()._stmt_by_identifier(identifier)

    def details_query(self, request: Request) -> Statement:
        """Read a row with its relations, in one statement."""
        load = [joinedload(to) for to in self._details_relations]
        return self._stmt_by_identifier(request.path_params["pk"]).options(*load)

    async def get_object_for_details(self, request: Request) -> Any:
        """Return the row of this URL, read once: SQLAdmin asks for it to check the permission, and to show it."""
        rows, row_id = page_state(request).rows, request.path_params["pk"]
        if row_id not in rows:
            rows[row_id] = await super().get_object_for_details(request)
        return rows[row_id]

    async def get_object_for_edit(self, request: Request) -> Any:
        """Return the same row for the form."""
        return await self.get_object_for_details(request)

    async def get_model_objects(self, request: Request, limit: int | None = 0) -> Any:
        """Return the statement of the export rather than its rows."""
        del limit
        return await self.export_query(request)

    async def get_object_filepath(self, identifier: str, column_name: str) -> NoReturn:
        """Serve no file: SQLAdmin would serve whichever file a text column names."""
        del identifier, column_name
        raise HTTPException(404)

    async def details_context(self, request: Request) -> dict[str, object]:
        """Return what the page of a row shows beside it: its history."""
        events = await load_row_events(self.context, self.model, int(request.path_params["pk"]))
        return {"history": await EventFormatter(request).format_events(events)}

    async def get_form_data_for_edit(self, obj: Any) -> dict[str, object]:
        """Return the initial values of the edit form, reading only the relations that it has."""
        values: dict[str, object] = {}
        for name in self.form_edit_rules:
            if name in self.many_relations:
                values[name] = list(getattr(obj, name))
            elif name in to_one_relations(self.model):
                target = self.related_table(name)
                is_target = table_of(target).c.id == getattr(obj, f"{name}_id")
                rows = await self.context.fetch_scalars(select(target).where(is_target))
                values[name] = rows[0] if rows else None
            else:
                values[name] = getattr(obj, name)
        return values

    # Writing.

    async def scaffold_form(self, rules: list[str] | None = None) -> type[Form]:
        """Return a form whose fields know the bounds of the table's columns."""
        is_new = rules == self._form_create_rules
        self.form_args = build_form_args(self.model, self.context.zone, is_new=is_new)
        if self.model is User:
            self.form_args["phone"]["country"] = self.context.phone_country
        if "price" in self.form_args:
            self.form_args["price"].setdefault("description", f"In {self.context.business.currency}.")
        for name, description in self.optional_relations.items() if is_new else ():
            self.form_args[name] = {"description": description, "allow_blank": True}
        for name, (_, description) in self.many_relations.items():
            self.form_args[name] = {"description": description}
        form = await super().scaffold_form(rules)
        form.under_more = self.fields_under_more
        return type("KeyedForm", (form,), {KEY_FIELD: HiddenField(default=new_key)}) if is_new else form

    def prepare_values(self, values: FormValues) -> FormValues:
        """Return a form's values as the table's rule takes them, for views whose forms have more than columns."""
        return values

    def derive_columns(self, values: Values) -> Values:
        """Return the columns that follow from a form's values and are in no form."""
        del values
        return {}

    async def explain_refusal(self, request: Request, refusal: no.Refusal, values: FormValues) -> None:
        """Add to a refusal that the form shows, for views that can suggest something."""

    async def insert_model(self, request: Request, data: Values) -> Any:
        """Create a row by the table's rule."""
        form = form_values(request, data)
        content, key = submitted_content(form), str(form.pop(KEY_FIELD, "") or "")
        values = self.prepare_values(form)

        async def create(session: Session, **by_and_now: Unpack[ActorAndTime]) -> SQLModel:
            facts = {**values, **self.derive_columns(values)}
            return await records.create(
                session, self.model, **by_and_now, accepts_stranded=await accepted_visits(request), **facts
            )

        try:
            saved = await self.write(request, run_once(create, self.model, key=key, content=content))
        except no.Refusal as refusal:
            if isinstance(refusal, no.SavedAlready):
                values.form[KEY_FIELD].data = new_key()
            await self.explain_refusal(request, refusal, values)
            raise
        page_state(request).is_repeat = saved.is_repeat
        return saved.row

    async def update_model(self, request: Request, pk: str, data: Values) -> Any:
        """Change a row by the table's rule, unless it was changed since the form was opened."""
        values, row_id = self.prepare_values(form_values(request, data).submitted()), int(pk)
        base_version = parse_id(values.pop("version", None) or "0")

        async def change(session: Session, **by_and_now: Unpack[ActorAndTime]) -> SQLModel:
            row = await records.lock(session, self.model, row_id, version=base_version)
            touched = values.touched(row, self.context.zone)
            changes = {**touched, **self.derive_columns(touched)}
            return await records.change(
                session, row, **by_and_now, accepts_stranded=await accepted_visits(request), **changes
            )

        try:
            return await self.write(request, change)
        except no.Stale:
            await edit_conflicts.show_conflict(request, self.model, row_id, values, base_version=base_version)
            raise
        except no.Refusal as refusal:
            await self.explain_refusal(request, refusal, values)
            raise

    async def delete_model(self, request: Request, pk: Any) -> None:
        """Delete a row by the table's rule."""

        async def remove(session: Session, **by_and_now: Unpack[ActorAndTime]) -> None:
            row = await records.lock(session, self.model, int(pk))
            await records.remove(session, row, **by_and_now, accepts_stranded=False)

        await self.write(request, remove)

    async def write(self, request: Request, act: Act[T]) -> T:
        """Run an act; show its refusal on the page, and tell no more of an error than that it is logged."""
        try:
            return await run_act(request, act)
        except no.Refusal as refusal:
            show_refusal(request, refusal)
            raise
        except Exception as error:
            log.exception("unhandled error", extra={"request_id": request_id_of(request)})
            raise SaveFailed from error


def to_one_relations(table: type[SQLModel]) -> Sequence[str]:
    """Return the names of a table's relations to one row of another."""
    return [relation.key for relation in inspect(table).relationships if not relation.uselist]
