"""Form fields: times by the business's clock, plain choices, and the bounds of the tables' own fields."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar, cast
from zoneinfo import ZoneInfo

from markupsafe import Markup
from pydantic import TypeAdapter
from pydantic import ValidationError as PydanticError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from sqladmin.fields import TimezoneAwareDateTimeField
from sqladmin.forms import ModelConverter, converts
from sqlalchemy.orm import ColumnProperty
from sqlmodel import SQLModel
from wtforms import (
    DateField,
    EmailField,
    Field,
    Form,
    SelectField,
    StringField,
    TelField,
    TextAreaField,
    ValidationError,
)
from wtforms.validators import InputRequired, StopValidation
from wtforms.widgets import DateTimeLocalInput, TextInput

from admin.framework.form_values import FORM_TIME, FormValues
from admin.framework.formatting import LANGUAGE_LABELS, RESOURCE_ROLE_LABELS, WEEKDAYS, currency_choices
from admin.framework.number_fields import AmountField, WholeNumberField
from bookit import refusals as no
from bookit import timezones
from bookit.people import phones
from bookit.policy import times
from bookit.policy.business import list_locales
from bookit.policy.permissions import ROLE_LABELS
from bookit.schema.fields import checked_type
from bookit.schema.tables import Business, Service
from bookit.validation_messages import format_error

Method = TypeVar("Method", bound=Callable[..., object])
FieldArgs = dict[str, Any]  # what a field is made with
Property = ColumnProperty[Any]
TIME_FORMATS = [FORM_TIME, "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S"]
CHOICES: Mapping[str, Mapping[Any, str]] = {"role": ROLE_LABELS, "weekday": WEEKDAYS, "language": LANGUAGE_LABELS}
CHOICES_OF_SERVICES: Mapping[str, Mapping[Any, str]] = {"role": RESOURCE_ROLE_LABELS}
# Many words, which are put together when a form is made.
CHOICES_OF_BUSINESS: Mapping[str, Callable[[], Mapping[Any, str]]] = {
    "currency": currency_choices,
    "locale": list_locales,
}
TEXTAREA_MIN_LENGTH = 1000  # letters; a text that may be as long as this gets several lines


class AdminForm(Form):  # type: ignore[misc]  # WTForms has no types
    """A form whose values know it, so that a refusal can be shown on its field."""

    @property
    def data(self) -> FormValues:
        """The values as a table's rule takes them."""
        return FormValues(self)


class BusinessTimeField(TimezoneAwareDateTimeField):
    """A time by the business's clock. It refuses a time that the clocks skip; a repeated one counts as the first."""

    widget = DateTimeLocalInput()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("format", TIME_FORMATS)
        super().__init__(*args, **kwargs)

    def _localize(self, value: datetime) -> datetime:
        try:
            return times.to_utc(value, cast("ZoneInfo", self.display_timezone))
        except no.Invalid as refusal:
            raise ValueError(str(refusal)) from None


class ChoiceField(SelectField):  # type: ignore[misc]  # as above
    """One of a few words, each with the value that the database has for it."""

    def __init__(self, *args: Any, choices: Mapping[Any, str], **kwargs: Any) -> None:
        kwargs["choices"] = list(choices.items())
        kwargs["coerce"] = type(next(iter(choices)))
        kwargs["render_kw"] = {**kwargs.get("render_kw", {}), "class": "form-select"}
        super().__init__(*args, **kwargs)


class ZoneInput(TextInput):  # type: ignore[misc]  # as above
    """A box that offers the names of time zones while one types."""

    def __call__(self, field: Field, **kwargs: object) -> Markup:
        """Return its HTML."""
        known = Markup().join(Markup('<option value="{}">').format(name) for name in timezones.list_names())
        box = super().__call__(field, list=f"{field.id}-known", autocomplete="off", **kwargs)
        return Markup('{}<datalist id="{}-known">{}</datalist>').format(box, field.id, known)


class ZoneField(StringField):  # type: ignore[misc]  # as above
    """A time zone, by its IANA name."""

    widget = ZoneInput()


class PhoneField(TelField):  # type: ignore[misc]  # as above
    """A phone number, typed in any way that can be read; one without a country code is of the country."""

    def __init__(self, *args: Any, country: str, **kwargs: Any) -> None:
        self.country = country
        kwargs["render_kw"] = {**kwargs.get("render_kw", {}), "maxlength": phones.MAX_TYPED, "autocomplete": "off"}
        super().__init__(*args, **kwargs)

    def process_data(self, value: str | None) -> None:
        """Show a stored number as people write it."""
        self.data = value and phones.format_phone(value, self.country)

    def process_formdata(self, valuelist: list[str]) -> None:
        """Read what was typed."""
        typed = self.data = valuelist[0].strip() if valuelist else ""
        try:
            self.data = phones.parse_phone(typed, self.country) if typed else ""
        except no.NotAPhone as refusal:
            raise ValueError(str(refusal)) from None


def none_if_empty(typed: str | None) -> str | None:
    """Return nothing for an empty text of a column that may be NULL."""
    return typed or None


def normalize_newlines(text: str | None) -> str | None:
    """Return a text with lines that end in one character: browsers send two."""
    return text.replace("\r\n", "\n") if text else text


def for_type(name: str) -> Callable[[Method], Method]:
    """Mark the method that makes the fields of columns of this type. SQLAdmin's own decorator has no types."""
    decorator: Callable[[Method], Method] = converts(name)
    return decorator


class AdminModelConverter(ModelConverter):
    """Makes the field of a column. The methods have SQLAdmin's names: of two for a type, the last by name counts."""

    @for_type("DateTime")
    def conv_datetime(self, model: type, prop: Property, kwargs: FieldArgs) -> Field:
        """Return a time field in the business's zone."""
        del model, prop
        return BusinessTimeField(**kwargs)

    @for_type("Date")
    def conv_date(self, model: type, prop: Property, kwargs: FieldArgs) -> Field:
        """Return the browser's own date field."""
        del model, prop
        return DateField(**kwargs)

    @for_type("Integer")
    def conv_integer(self, model: type, prop: Property, kwargs: FieldArgs) -> Field:
        """Return a number field with the table's bounds, or a choice where numbers stand for words."""
        if prop.key in CHOICES:
            return ChoiceField(choices=CHOICES[prop.key], **kwargs)
        return WholeNumberField(**add_bounds(model, prop, kwargs, step=1))

    @for_type("Numeric")
    def conv_decimal(self, model: type, prop: Property, kwargs: FieldArgs) -> Field:
        """Return a field for money."""
        del model, prop
        return AmountField(**kwargs)

    @for_type("String")
    def conv_string(self, model: type, prop: Property, kwargs: FieldArgs) -> Field:
        """Return a text field, or a choice where there are few words."""
        if model is Business and prop.key in CHOICES_OF_BUSINESS:
            return ChoiceField(choices=CHOICES_OF_BUSINESS[prop.key](), **kwargs)
        choices = CHOICES_OF_SERVICES if model is Service else CHOICES
        if prop.columns[0].nullable:
            kwargs["filters"] = [*kwargs["filters"], none_if_empty]
        if prop.key in choices:
            return ChoiceField(choices=choices[prop.key], **kwargs)
        kwargs = add_bounds(model, prop, kwargs)
        if int(kwargs["render_kw"].get("maxlength", 0)) >= TEXTAREA_MIN_LENGTH:
            kwargs["filters"] = [*kwargs["filters"], normalize_newlines]
            kwargs["render_kw"] |= {"rows": 4}
            return TextAreaField(**kwargs)
        # A business writes its phone number as it likes, with an extension or two.
        phone_field = StringField if model is Business else PhoneField
        fields = {"email": EmailField, "timezone": ZoneField, "phone": phone_field}
        return fields.get(prop.key, StringField)(**kwargs)


HTML_BOUNDS = {"ge": "min", "le": "max", "max_length": "maxlength"}


def add_bounds(model: type, prop: Property, kwargs: FieldArgs, **attributes: object) -> FieldArgs:
    """Return the arguments with the bounds of the table's field, for browsers to check."""
    bounds = {
        attribute: f"{getattr(bound, name)}"
        for bound in cast("type[SQLModel]", model).model_fields[prop.key].metadata
        for name, attribute in HTML_BOUNDS.items()
        if getattr(bound, name, None) is not None
    }
    return kwargs | {"render_kw": kwargs["render_kw"] | bounds | attributes}


def is_required(field_info: FieldInfo) -> bool:
    """Return whether a field must be filled in: an optional number, a box and an optional text need not be."""
    may_be_absent = type(None) in getattr(field_info.annotation, "__args__", ())
    return not (may_be_absent or field_info.annotation is bool or field_info.default == "")


class RequiredIfSent(InputRequired):  # type: ignore[misc]  # as above
    """Refuses an empty field. One that was not sent at all, as by a script, keeps its value or its default."""

    def __call__(self, form: Form, field: Field) -> None:
        """Raise StopValidation: with a message if the field is empty."""
        if not field.raw_data:
            raise StopValidation
        super().__call__(form, field)


def build_form_args(table: type[SQLModel], zone: ZoneInfo, *, is_new: bool) -> dict[str, FieldArgs]:
    """Return the arguments of each field of a form.

    They are made anew for each form, since SQLAdmin adds to the lists in them.
    """
    args: dict[str, FieldArgs] = {}
    for name, field_info in table.model_fields.items():
        args[name] = build_field_args(name, field_info, zone, is_new=is_new)
        if name.endswith("_id") and field_info.description:
            args[name.removesuffix("_id")] = {"description": field_info.description}
    return args


def build_field_args(name: str, field_info: FieldInfo, zone: ZoneInfo, *, is_new: bool) -> FieldArgs:
    """Return the arguments of a field: its validators, its help, its default and its zone.

    Only a new row begins with defaults: in an edit, a missing value would pass for the default.
    """
    # A version that no row has is a stale one, and records.lock refuses it.
    args: FieldArgs = {"validators": [] if name == "version" else [make_field_validator(field_info)]}
    if is_required(field_info) and name != "version":
        has_default = field_info.default is not PydanticUndefined and field_info.default is not None
        args["validators"].insert(0, RequiredIfSent() if has_default else InputRequired())
    if field_info.description:
        args["description"] = field_info.description
    if is_new and field_info.default is not PydanticUndefined and field_info.default is not None:
        args["default"] = field_info.default
    if is_new and name == "timezone":
        args["default"] = zone.key
    if field_info.annotation in {datetime, datetime | None}:
        args |= {"display_timezone": zone, "description": f"{field_info.description or ''} {zone.key} time.".strip()}
    return args


def make_field_validator(field_info: FieldInfo) -> Callable[[Form, Field], None]:
    """Return the validator of a table's field: it checks what the API checks, and makes of a text what is stored."""
    adapter: TypeAdapter[object] = TypeAdapter(checked_type(field_info))

    def validate(form: Form, field: Field) -> None:
        del form
        if field.data is None or field.data == "":
            return
        try:
            parsed = adapter.validate_python(field.data)
        except PydanticError as error:
            raise ValidationError(format_error(error.errors()[0])) from None
        if isinstance(parsed, str):
            field.data = parsed  # as it is stored

    return validate
