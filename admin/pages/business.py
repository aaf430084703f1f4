"""The form of the business: its name, address, time zone, currency and how it writes amounts."""

from typing import Any

from sqladmin import Flash
from starlette.requests import Request
from wtforms import Form
from wtforms.validators import InputRequired

from admin.framework.formatting import format_currency_name
from admin.framework.types import Values
from admin.record_view import RecordView
from bookit import business
from bookit import refusals as no
from bookit.policy.business import list_locales
from bookit.schema.tables import BUSINESS_ID, Business


class EditsBusiness(RecordView):
    """A view of one row, with a form in place of a list. What it saves counts at once in this process."""

    is_single = True
    can_create = can_delete = can_export = False

    def __init__(self) -> None:
        formatters = {
            "timezone": lambda row, _: row.timezone or self.context.zone.key,
            "currency": lambda row, _: format_currency_name(row.currency),
            "locale": lambda row, _: list_locales().get(row.locale, row.locale),
        }
        vars(self).update(column_formatters_detail=formatters)
        super().__init__()

    async def scaffold_form(self, rules: list[str] | None = None) -> type[Form]:
        """Return the form. Only the database knows a business without a time zone."""
        form = await super().scaffold_form(rules)
        form.timezone.kwargs["validators"].insert(0, InputRequired(str(no.UnknownTimezone())))
        return form

    async def get_form_data_for_edit(self, obj: Any) -> dict[str, object]:
        """Return the values of the row, and the time zone that counts while it has none."""
        values = await super().get_form_data_for_edit(obj)
        return values | {"timezone": obj.timezone or self.context.zone.key}

    async def edit_context(self, request: Request) -> dict[str, object]:
        """Add a link to the history of the business."""
        url = request.url_for("admin:details", identity=self.identity, pk=BUSINESS_ID)
        return {**await super().edit_context(request), "history_url": url}

    async def update_model(self, request: Request, pk: str, data: Values) -> Business:
        """Change the business, and have this process go by that."""
        saved: Business = await super().update_model(request, pk, data)
        await business.read(self.context.database, self.context.current_business)
        Flash.success(request, "The business is saved.")
        return saved
