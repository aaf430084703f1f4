"""Form fields as a desk needs them: the business's own clock, plain choices, and the tables' own bounds."""

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, cast
from zoneinfo import ZoneInfo

from pydantic import TypeAdapter
from pydantic import ValidationError as ShapeError
from pydantic_core import PydanticUndefined
from sqladmin.fields import TimezoneAwareDateTimeField
from sqladmin.forms import ModelConverter, converts
from sqlmodel import SQLModel
from wtforms import BooleanField, Form, SelectField, ValidationError
from wtforms.widgets import DateTimeLocalInput

from bookit import policy
from bookit import refusals as no
from bookit.tables import Role

current_form: ContextVar[Form | None] = ContextVar("current_form", default=None)
SPELLINGS = ["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S"]
CHOICES: Mapping[str, type[StrEnum]] = {"role": Role}


class DeskForm(Form):  # type: ignore[misc]  # WTForms has no types
    """A form that remembers itself while its request lasts, so that a refusal can be put on its field."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        current_form.set(self)


def put_on_field(name: str | None, sentence: str) -> None:
    """Show a refusal on the field it is about, if the form has it."""
    form = current_form.get()
    if form is None or name is None:
        return
    for candidate in (name, name.removesuffix("_id")):
        if candidate in form:
            form[candidate].errors = [*form[candidate].errors, sentence]
            return


def as_sent(data: dict[str, Any]) -> dict[str, Any]:
    """Give what was sent of a form: a field that is missing was not emptied. A box without its tick is never sent."""
    form = current_form.get()
    return {
        name: value
        for name, value in data.items()
        if form is None or name not in form or form[name].raw_data or isinstance(form[name], BooleanField)
    }


class BusinessTimeField(TimezoneAwareDateTimeField):
    """A time by the business's clock. Refuses one that the clocks skip; one that comes twice is the first."""

    widget = DateTimeLocalInput()

    def __init__(self, *given: Any, **named: Any) -> None:
        named.setdefault("format", SPELLINGS)
        super().__init__(*given, **named)

    def _localize(self, value: datetime) -> datetime:
        try:
            return policy.instant(value, cast("ZoneInfo", self.display_timezone))
        except no.Invalid as refusal:
            raise ValueError(str(refusal)) from None


class ChoiceField(SelectField):  # type: ignore[misc]  # as above
    """One of a few words, which the database keeps as they are."""

    def __init__(self, *given: Any, choices: type[StrEnum], **named: Any) -> None:
        named["choices"] = [(choice.value, choice.value.replace("_", "-").capitalize()) for choice in choices]
        super().__init__(*given, coerce=choices, **named)


class DeskConverter(ModelConverter):
    """SQLAdmin's own choice of fields, but for times and roles."""

    @converts("DateTime")  # type: ignore[untyped-decorator]  # SQLAdmin's
    def time(self, model: Any, prop: Any, kwargs: dict[str, Any]) -> Any:
        """Give a time field in the business's zone."""
        del model, prop
        return BusinessTimeField(**kwargs)

    @converts("String")  # type: ignore[untyped-decorator]  # SQLAdmin's
    def word(self, model: Any, prop: Any, kwargs: dict[str, Any]) -> Any:
        """Give a text field, or a choice where there are few words."""
        if prop.key in CHOICES:
            kwargs["render_kw"] = {**kwargs.get("render_kw", {}), "class": "form-select"}
            return ChoiceField(choices=CHOICES[prop.key], **kwargs)
        return self.conv_string(model, prop, kwargs)


def field_args(table: type[SQLModel], zone: ZoneInfo, *, is_new: bool) -> dict[str, dict[str, Any]]:
    """Give what each field is told: its help, its zone, and the shape that the table's own field has.

    Made anew for each form, since SQLAdmin adds to the lists it is given. Only a new row begins with defaults: in an
    edit, what is missing would pass for them.
    """
    args: dict[str, dict[str, Any]] = {}
    for name, declared in table.model_fields.items():
        # A version nobody could have seen is a stale one, and records.hold says so.
        told: dict[str, Any] = {"validators": [] if name == "version" else [in_shape(declared)]}
        if declared.description:
            told["description"] = declared.description
        if is_new and declared.default is not PydanticUndefined and declared.default is not None:
            told["default"] = declared.default
        if declared.annotation in {datetime, datetime | None}:
            told |= {"display_timezone": zone, "description": f"{declared.description or ''} ({zone.key})".strip()}
        args[name] = told
        if name.endswith("_id") and declared.description:
            args[name.removesuffix("_id")] = {"description": declared.description}
    return args


def in_shape(declared: Any) -> Callable[[Form, Any], None]:
    """Give the validator of a table's field: the very shape that the API checks."""
    shape: TypeAdapter[Any] = TypeAdapter(Annotated[(declared.annotation, *declared.metadata)])

    def check(form: Form, field: Any) -> None:
        del form
        if field.data is None or field.data == "":
            return
        try:
            if isinstance(field.data, Decimal) and not field.data.is_finite():
                raise ValidationError("This is not a number.")
            shape.validate_python(field.data)
        except ShapeError as error:
            raise ValidationError(error.errors()[0]["msg"].removeprefix("Value error, ")) from None

    return check
