"""Form fields as a desk needs them: the business's own clock, plain choices, and the tables' own bounds."""

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import Annotated, Any, cast
from zoneinfo import ZoneInfo, available_timezones

from markupsafe import Markup
from pydantic import TypeAdapter
from pydantic import ValidationError as PydanticError
from pydantic_core import PydanticUndefined
from sqladmin.fields import TimezoneAwareDateTimeField
from sqladmin.forms import ModelConverter, converts
from sqlmodel import SQLModel
from wtforms import (
    BooleanField,
    DateField,
    DecimalField,
    EmailField,
    Form,
    IntegerField,
    SelectField,
    StringField,
    TextAreaField,
    ValidationError,
)
from wtforms.validators import InputRequired
from wtforms.widgets import DateTimeLocalInput, TextInput

from admin.framework.formatting import WEEKDAYS, humanize
from bookit import refusals as no
from bookit.policy import times
from bookit.schema.tables import Role
from bookit.validation_messages import format_error

current_form: ContextVar[Form | None] = ContextVar("current_form", default=None)
TIME_FORMATS = ["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S"]
CHOICES: Mapping[str, Mapping[Any, str]] = {"role": {role: humanize(role) for role in Role}, "weekday": WEEKDAYS}
TEXTAREA_MIN_LENGTH = 1000  # A text that may be as long as this gets an area of several lines.


class AdminForm(Form):  # type: ignore[misc]  # WTForms has no types
    """A form that remembers itself while its request lasts, so that a refusal can be put on its field."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        current_form.set(self)


def add_field_error(name: str | None, message: str) -> None:
    """Show a refusal on the field it is about, if the form has it."""
    form = current_form.get()
    if form is None or name is None:
        return
    plain = name.removesuffix("_id")
    for candidate in (name, plain, f"{plain}s"):
        if candidate in form:
            form[candidate].errors = [*form[candidate].errors, message]
            return


def drop_unsubmitted(data: dict[str, Any]) -> dict[str, Any]:
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

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("format", TIME_FORMATS)
        super().__init__(*args, **kwargs)

    def _localize(self, value: datetime) -> datetime:
        try:
            return times.to_utc(value, cast("ZoneInfo", self.display_timezone))
        except no.Invalid as refusal:
            raise ValueError(str(refusal)) from None


def drop_unchanged_times(values: Mapping[str, Any], row: SQLModel, zone: ZoneInfo) -> dict[str, Any]:
    """Leave out times that a form gives back as it showed them.

    A form shows minutes, and the hour that the clocks say twice it shows like the first: what nobody touched would
    pass for a change otherwise.
    """

    def shown(moment: datetime) -> str:
        return moment.astimezone(zone).strftime(TIME_FORMATS[0])

    return {
        name: value
        for name, value in values.items()
        if not (isinstance(value, datetime) and (kept := getattr(row, name)) and shown(kept) == shown(value))
    }


class ChoiceField(SelectField):  # type: ignore[misc]  # as above
    """One of a few words, which the database keeps as it likes."""

    def __init__(self, *args: Any, choices: Mapping[Any, str], **kwargs: Any) -> None:
        kwargs["choices"] = list(choices.items())
        kwargs["coerce"] = type(next(iter(choices)))
        kwargs["render_kw"] = {**kwargs.get("render_kw", {}), "class": "form-select"}
        super().__init__(*args, **kwargs)


@cache
def zone_names() -> list[str]:
    """Name every time zone that the clocks of this program know."""
    return sorted(name for name in available_timezones() if "/" in name or name == "UTC")


class ZoneInput(TextInput):  # type: ignore[misc]  # as above
    """A box that offers the names of time zones while one types."""

    def __call__(self, field: Any, **kwargs: Any) -> Markup:
        """Draw it."""
        known = Markup().join(Markup('<option value="{}">').format(name) for name in zone_names())
        box = super().__call__(field, list=f"{field.id}-known", autocomplete="off", **kwargs)
        return Markup('{}<datalist id="{}-known">{}</datalist>').format(box, field.id, known)


class ZoneField(StringField):  # type: ignore[misc]  # as above
    """A time zone, by its IANA name."""

    widget = ZoneInput()


def normalize_newlines(text: str | None) -> str | None:
    """Give a text as it was before a browser sent it: browsers end lines with two characters."""
    return text.replace("\r\n", "\n") if text else text


class AdminModelConverter(ModelConverter):
    """Which field a column gets. The methods have SQLAdmin's names, since it asks whichever comes last by name."""

    @converts("DateTime")  # type: ignore[untyped-decorator]  # SQLAdmin's
    def conv_datetime(self, model: Any, prop: Any, kwargs: dict[str, Any]) -> Any:
        """Give a time field in the business's zone."""
        del model, prop
        return BusinessTimeField(**kwargs)

    @converts("Date")  # type: ignore[untyped-decorator]  # as above
    def conv_date(self, model: Any, prop: Any, kwargs: dict[str, Any]) -> Any:
        """Give the browser's own date field."""
        del model, prop
        return DateField(**kwargs)

    @converts("Integer")  # type: ignore[untyped-decorator]  # as above
    def conv_integer(self, model: Any, prop: Any, kwargs: dict[str, Any]) -> Any:
        """Give a number field with the table's bounds, or a choice where numbers stand for words."""
        if prop.key in CHOICES:
            return ChoiceField(choices=CHOICES[prop.key], **kwargs)
        return IntegerField(**add_bounds(model, prop, kwargs, step=1))

    @converts("Numeric")  # type: ignore[untyped-decorator]  # as above
    def conv_decimal(self, model: Any, prop: Any, kwargs: dict[str, Any]) -> Any:
        """Give a field for money."""
        return DecimalField(places=None, **add_bounds(model, prop, kwargs, step="0.01"))

    @converts("String")  # type: ignore[untyped-decorator]  # as above
    def conv_string(self, model: Any, prop: Any, kwargs: dict[str, Any]) -> Any:
        """Give a field for a text, or a choice where there are few words."""
        if prop.key in CHOICES:
            return ChoiceField(choices=CHOICES[prop.key], **kwargs)
        kwargs = add_bounds(model, prop, kwargs)
        if int(kwargs["render_kw"].get("maxlength", 0)) >= TEXTAREA_MIN_LENGTH:
            kwargs["filters"] = [*kwargs["filters"], normalize_newlines]
            kwargs["render_kw"] |= {"rows": 4}
            return TextAreaField(**kwargs)
        return {"email": EmailField, "timezone": ZoneField}.get(prop.key, StringField)(**kwargs)


HTML_BOUNDS = {"ge": "min", "le": "max", "max_length": "maxlength"}


def add_bounds(model: Any, prop: Any, kwargs: dict[str, Any], **attributes: Any) -> dict[str, Any]:
    """Tell a browser the bounds that the table's field has."""
    found = {
        said: f"{getattr(bound, name)}"
        for bound in model.model_fields[prop.key].metadata
        for name, said in HTML_BOUNDS.items()
        if getattr(bound, name, None) is not None
    }
    return kwargs | {"render_kw": kwargs["render_kw"] | found | attributes}


def is_required(field_info: Any) -> bool:
    """Whether a field must be filled in: a number that may be absent, a tick and a remark need not be."""
    may_be_absent = type(None) in getattr(field_info.annotation, "__args__", ())
    return not (may_be_absent or field_info.annotation is bool or field_info.default == "")


def build_form_args(table: type[SQLModel], zone: ZoneInfo, *, is_new: bool) -> dict[str, dict[str, Any]]:
    """Give what each field is told: its help, its zone, whether it is needed, and the shape of the table's own field.

    Made anew for each form, since SQLAdmin adds to the lists it is given. Only a new row begins with defaults: in an
    edit, what is missing would pass for them.
    """
    args: dict[str, dict[str, Any]] = {}
    for name, declared in table.model_fields.items():
        # A version nobody could have seen is a stale one, and records.hold says so.
        told: dict[str, Any] = {"validators": [] if name == "version" else [make_field_validator(declared)]}
        if is_required(declared) and name != "version":
            told["validators"].insert(0, InputRequired())
        if declared.description:
            told["description"] = declared.description
        if is_new and declared.default is not PydanticUndefined and declared.default is not None:
            told["default"] = declared.default
        if is_new and name == "timezone":
            told["default"] = zone.key
        if declared.annotation in {datetime, datetime | None}:
            told |= {"display_timezone": zone, "description": f"{declared.description or ''} {zone.key} time.".strip()}
        args[name] = told
        if name.endswith("_id") and declared.description:
            args[name.removesuffix("_id")] = {"description": declared.description}
    return args


def make_field_validator(field_info: Any) -> Callable[[Form, Any], None]:
    """Give the validator of a table's field: the very shape that the API checks."""
    shape: TypeAdapter[Any] = TypeAdapter(Annotated[(field_info.annotation, *field_info.metadata)])

    def check(form: Form, field: Any) -> None:
        del form
        if field.data is None or field.data == "":
            return
        try:
            if isinstance(field.data, Decimal) and not field.data.is_finite():
                raise ValidationError("This is not a number.")
            shape.validate_python(field.data)
        except PydanticError as error:
            raise ValidationError(format_error(error.errors()[0])) from None

    return check
