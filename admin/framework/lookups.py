"""Rows of other tables in a form: looked up by a part of a name, and never loaded whole."""

from collections.abc import Sequence
from typing import Any, cast

from markupsafe import Markup
from sqladmin import ModelView
from sqladmin.ajax import QueryAjaxModelLoader
from sqladmin.fields import AjaxSelectField, AjaxSelectMultipleField
from sqlalchemy import Select, select
from sqlmodel import SQLModel
from starlette.requests import Request
from wtforms import Field, Form, ValidationError
from wtforms.widgets import html_params

from admin.framework.formatting import full_label
from admin.framework.list_pages import ListView, matches
from admin.framework.page_state import page_state
from admin.framework.parsing import parse_id
from admin.framework.permissions import require_permission
from bookit.db.search import sort_key
from bookit.policy import permissions
from bookit.schema.tables import Resource, id_of, table_of

EVERYTHING = "\0"  # SQLAdmin refuses an empty term, and nobody can type this.
USER_LOOKUP = {"fields": ("name", "email", "phone")}
MAX_CANDIDATES = 1_000  # rows that are found before the first by name are offered
SERVICE_LOOKUP = {"fields": ("title",), "few": True}
RESOURCE_LOOKUP = {"fields": ("name",), "few": True}


class LookupLoader(QueryAjaxModelLoader):
    """Finds rows by words of their fields, sorted by the first of these, and labels them in full.

    Of ``few`` rows, the first ones are offered before anything is typed.
    """

    def __init__(self, name: str, model: type[SQLModel], model_admin: ModelView, **options: object) -> None:
        super().__init__(name, model, model_admin, **options)
        self.is_preloaded = bool(options.get("few"))

    def format(self, model: Any) -> dict[str, str]:
        """Return the id and the label of a row."""
        context = cast("ListView", self.model_admin).context
        return {"id": str(id_of(model)), "text": full_label(model, phone_country=context.phone_country)}

    async def get_list(self, request: Request, term: str) -> list[SQLModel]:
        """Return the rows that match a term; of many rows, none as long as nothing is typed.

        Raise 403 for a user who may not see these rows; a user with their own calendar finds its resource alone.
        """
        columns, context = table_of(self.model).c, cast("ListView", self.model_admin).context
        hits = select(columns.id, sort_key(columns[self.fields[0]]).label("sort_key"))
        own = permissions.own_resource(page_state(request).actor) if self.model is Resource else None
        if own is None:
            require_permission(request, "see", self.model)
        else:
            hits = hits.where(columns.id == own)
        if term != EVERYTHING:
            hits = hits.where(matches(term, *(columns[name] for name in self.fields)))
        elif not self.is_preloaded:
            return []
        first = hits.limit(MAX_CANDIDATES).cte("hits").prefix_with("MATERIALIZED")
        statement: Select[tuple[SQLModel]] = select(self.model).join(first, columns.id == first.c.id)
        return [*await context.fetch_scalars(statement.order_by(first.c.sort_key, columns.id).limit(self.limit))]

    async def load_rows(self, values: Sequence[object]) -> list[SQLModel]:
        """Return the rows of a field's values, which are rows, or ids as a form sends them."""
        rows = [value for value in values if isinstance(value, SQLModel)]
        ids = [parse_id(value) for value in values if isinstance(value, str)]
        if ids:
            columns, context = table_of(self.model).c, cast("ListView", self.model_admin).context
            rows += await context.fetch_scalars(select(self.model).where(columns.id.in_(ids)).order_by(columns.id))
        return rows


class LookupWidget:
    """A select whose chosen options are in the page, so that a form sends them even where no script runs."""

    def __init__(self, *, is_multiple: bool = False) -> None:
        self.is_multiple = is_multiple

    async def __call__(self, field: Field, **kwargs: object) -> Markup:
        """Return its HTML; SQLAdmin's script makes it a box to type in."""
        values = [value for value in (field.data if self.is_multiple else [field.data]) if value]
        attributes: dict[str, object] = {"multiple": True} if self.is_multiple else {}
        if not self.is_multiple and field.allow_blank:
            attributes["data-allow-blank"] = "1"
        if field.loader.is_preloaded:
            attributes["data-minimum-input-length"] = "0"
        if field.flags.required:
            attributes["aria-required"] = "true"
        html = html_params(id=field.id, name=field.name, data_role="select2-ajax", **(attributes | kwargs))
        choices = [field.loader.format(row) for row in await field.loader.load_rows(values)]
        options = [Markup('<option value="{id}" selected>{text}</option>').format(**choice) for choice in choices]
        return Markup("<select {}>{}</select>").format(Markup(html), Markup().join(options))  # noqa: S704 -- WTForms escaped it


class LookupField(AjaxSelectField):
    """One row of another table."""

    widget = LookupWidget()  # type: ignore[assignment]  # SQLAdmin's own there

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.flags.required = not self.allow_blank

    def pre_validate(self, form: Form) -> None:
        """Refuse an empty field where a row is required."""
        del form
        if not (self.allow_blank or self.data):
            raise ValidationError("Choose one.")


class MultiLookupField(AjaxSelectMultipleField):
    """Any number of rows of another table."""

    widget = LookupWidget(is_multiple=True)  # type: ignore[assignment]  # as above
