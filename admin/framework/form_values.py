"""What a form sent, on its way to a table's rule, and refusals on their way back to the form."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast
from zoneinfo import ZoneInfo

from sqlmodel import SQLModel
from starlette.requests import Request
from wtforms import BooleanField, Form, PasswordField

from admin.framework.lookups import LookupField, MultiLookupField
from admin.framework.page_state import page_state
from admin.framework.parsing import parse_id
from bookit import refusals as no

KEY_FIELD = "form_key"  # the hidden field of a new row's form; see ``idempotency.py``
FORM_TIME = "%Y-%m-%dT%H:%M"  # as browsers send a time, and forms show it


class FormValues(dict[str, Any]):
    """The values of a form by the names that a rule takes: ``user_id`` of the field ``user``.

    SQLAdmin hands a view a copy of ``form.data`` and keeps the form to itself. This copy knows its form.
    """

    def __init__(self, form: Form, values: Mapping[str, object] | None = None) -> None:
        super().__init__(dict(map(parse_field, form)) if values is None else values)
        self.form = form

    def copy(self) -> "FormValues":
        """Return a copy that knows the form too."""
        return FormValues(self.form, self)

    def submitted(self) -> "FormValues":
        """Return the values of the fields that were sent: a missing field was not emptied.

        A checkbox without its tick is never sent.
        """
        missing = {parse_field(field)[0] for field in self.form if not (field.raw_data or is_checkbox(field))}
        return FormValues(self.form, {name: value for name, value in self.items() if name not in missing})

    def touched(self, row: SQLModel, zone: ZoneInfo) -> dict[str, Any]:
        """Return the values without those times that the form sends back as it showed them.

        A form shows minutes, and the hour that the clocks repeat like the first one. Without this, a time that was not
        touched would count as a change.
        """

        def is_untouched(name: str, value: object) -> bool:
            current = getattr(row, name, None)
            if not (isinstance(value, datetime) and isinstance(current, datetime)):
                return False
            return form_time(value, zone) == form_time(current, zone)

        return {name: value for name, value in self.items() if not is_untouched(name, value)}


def submitted_content(values: FormValues) -> dict[str, list[str]]:
    """Return what was typed and chosen in a form, without its key and without passwords."""
    return {
        field.short_name: [*map(str, field.raw_data or ())]
        for field in values.form
        if field.short_name != KEY_FIELD and not isinstance(field, PasswordField)
    }


def is_checkbox(field: object) -> bool:
    return isinstance(field, BooleanField)


def parse_field(field: Any) -> tuple[str, object]:
    """Return the name and the value of a field as a rule takes them: of a relation the id, or the ids."""
    name: str = field.short_name
    if isinstance(field, LookupField):
        return f"{name}_id", parse_id(field.data) if field.data else None
    if isinstance(field, MultiLookupField):
        return f"{name.removesuffix('s')}_ids", sorted(parse_id(row_id) for row_id in field.data if row_id)
    return name, field.data


def form_time(time: datetime, zone: ZoneInfo) -> str:
    """Return a time as a form shows it."""
    return time.astimezone(zone).strftime(FORM_TIME)


def form_values(request: Request, data: Mapping[str, object]) -> FormValues:
    """Return what SQLAdmin hands a view, and have refusals of this request shown on its form."""
    values = cast("FormValues", data)
    page_state(request).form = values.form
    return values


def show_refusal(request: Request, refusal: no.Refusal) -> None:
    """Set the status of the page to that of this refusal, and show its sentence on the field that it is about."""
    page_state(request).refusal = refusal
    if refusal.field:
        add_field_error(request, refusal.field, str(refusal))


def add_field_error(request: Request, name: str, message: str) -> None:
    """Show a message on a field of the form that was sent, if it has this field."""
    form = page_state(request).form or {}
    plain = name.removesuffix("_id")
    field = next((form[candidate] for candidate in (name, plain, f"{plain}s") if candidate in form), None)
    if field is not None:
        field.errors = [*field.errors, message]
