"""Rows of other tables in a form: looked up by a part of a name, and never loaded whole."""

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup
from sqladmin.ajax import QueryAjaxModelLoader
from sqladmin.fields import AjaxSelectField, AjaxSelectMultipleField
from sqlalchemy import select
from starlette.requests import Request
from wtforms import ValidationError
from wtforms.widgets import html_params

from admin.framework.formatting import full_label
from admin.framework.list_pages import make_prefix_filter
from admin.framework.parsing import parse_id
from bookit.schema.tables import User, table_of

MATCH_ALL = "%"  # What is typed is escaped, so only nothing at all is this.
USER_LOOKUP = {"fields": ("name", "email"), "order_by": "name", "where": make_prefix_filter(User.name, User.email)}
SERVICE_LOOKUP = {"fields": ("title",), "order_by": "title", "few": True}
RESOURCE_LOOKUP = {"fields": ("name",), "order_by": "name", "few": True}


class LookupLoader(QueryAjaxModelLoader):
    """Finds rows by a part of what they are called, and names them in full.

    Where there are ``few``, the first ones are shown before anything is typed.
    """

    def __init__(self, name: str, model: type, view: Any, **options: Any) -> None:
        super().__init__(name, model, view, **options)
        self.is_preloaded = bool(options.get("few"))

    def format(self, model: Any) -> dict[str, Any]:
        """Give the number and the words of a choice."""
        return {"id": str(model.id), "text": full_label(model)}

    async def get_list(self, request: Request, term: str) -> list[Any]:
        """Find the rows with this in their names; of many rows, none as long as nothing is typed."""
        return [] if term == MATCH_ALL and not self.is_preloaded else await super().get_list(request, term)

    async def load_rows(self, values: Sequence[object]) -> list[Any]:
        """Give the rows that are chosen, be they rows already or numbers that were sent."""
        sent = [parse_id(value) for value in values if isinstance(value, str)]
        found = [value for value in values if not isinstance(value, str)]
        if sent:
            table = table_of(self.model).c
            found += await self.model_admin._run_query(  # noqa: SLF001 -- as SQLAdmin's own loader does
                select(self.model).where(table.id.in_(sent)).order_by(table.id)
            )
        return found


class LookupWidget:
    """A select with what is chosen in it, so that a form sends it even where no script runs."""

    def __init__(self, *, is_multiple: bool = False) -> None:
        self.is_multiple = is_multiple

    async def __call__(self, field: Any, **kwargs: Any) -> Markup:
        """Draw it; SQLAdmin's script makes it a box to type in."""
        chosen = [value for value in (field.data if self.is_multiple else [field.data]) if value]
        more: dict[str, Any] = {"multiple": True} if self.is_multiple else {}
        if not self.is_multiple and field.allow_blank:
            more["data-allow-blank"] = "1"
        if field.loader.is_preloaded:
            more["data-minimum-input-length"] = "0"
        if field.flags.required:
            more["aria-required"] = "true"
        drawn = html_params(id=field.id, name=field.name, data_role="select2-ajax", **(more | kwargs))
        named = [field.loader.format(row) for row in await field.loader.load_rows(chosen)]
        options = [Markup('<option value="{id}" selected>{text}</option>').format(**one) for one in named]
        return Markup("<select {}>{}</select>").format(Markup(drawn), Markup().join(options))  # noqa: S704 -- WTForms escaped it


class LookupField(AjaxSelectField):
    """One row of another table."""

    widget = LookupWidget()  # type: ignore[assignment]  # SQLAdmin's own there

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.flags.required = not self.allow_blank

    def pre_validate(self, form: Any) -> None:
        """Refuse none where one is needed."""
        del form
        if not (self.allow_blank or self.data):
            raise ValidationError("Choose one.")


class MultiLookupField(AjaxSelectMultipleField):
    """Any number of rows of another table."""

    widget = LookupWidget(is_multiple=True)  # type: ignore[assignment]  # as above
