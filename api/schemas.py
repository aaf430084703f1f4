"""Request and response models. Fields that a table has are made from the table's own."""

import re
import typing
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Self
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    TypeAdapter,
    ValidationInfo,
    WithJsonSchema,
    create_model,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from sqlmodel import SQLModel
from typing_extensions import TypedDict

from api.not_null import NOT_NULL
from bookit import refusals as no
from bookit.policy import times
from bookit.policy.limits import MAX_BIGINT
from bookit.schema.fields import MAX_AMOUNT, bounds_of
from bookit.schema.tables import ResourceRole, table_of

ModelField = tuple[Any, Any]  # a type and a ``Field``, as ``create_model`` takes them
DATE_PATTERN = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
RFC3339_PATTERN = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d(?::\d\d(?:\.\d{1,6})?\d*)?)([Zz]|[+\- ]\d\d:\d\d)?", re.ASCII
)


class RequestModel(BaseModel):
    """A request model: no other keys, no conversion of types."""

    model_config = ConfigDict(extra="forbid", strict=True)


class ResponseModel(BaseModel):
    """A response model. ``row_type`` is the type of a row that is encoded without the model, if there is one."""

    model_config = ConfigDict(from_attributes=True)
    row_type: ClassVar[Any] = None


def parse_rfc3339(value: object) -> datetime:
    """Parse a time as RFC 3339 defines it. A space in place of the plus sign, as queries decode it, is accepted."""
    match = RFC3339_PATTERN.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        message = "This is not a time as RFC 3339 defines it, such as 2026-05-04T10:30:00+02:00"
        raise ValueError(message)
    day, clock, offset = match.groups(default="")
    return datetime.fromisoformat(f"{day}T{clock}{offset.replace(' ', '+').upper().replace('Z', '+00:00')}")


def assume_business_zone(value: datetime, info: ValidationInfo) -> datetime:
    """Return a time in UTC. A time without an offset is read in the zone of the business."""
    with naming_field(info):
        return times.to_utc(value, get_zone(info))


def parse_range_start(value: object, info: ValidationInfo) -> datetime:
    """Return when a date begins in the zone of the business, or a time as it is."""
    if isinstance(value, str) and DATE_PATTERN.fullmatch(value):
        with naming_field(info):
            return times.start_of_day(date.fromisoformat(value), get_zone(info))
    return assume_business_zone(parse_rfc3339(value), info)


def parse_range_end(value: object, info: ValidationInfo) -> datetime:
    """Return when a date ends in the zone of the business, or a time as it is."""
    if isinstance(value, str) and DATE_PATTERN.fullmatch(value):
        with naming_field(info):
            return times.start_of_day(date.fromisoformat(value), get_zone(info), offset_days=1)
    return assume_business_zone(parse_rfc3339(value), info)


@contextmanager
def naming_field(info: ValidationInfo) -> Iterator[None]:
    """Set the field of a refusal that is raised in this block to the field that is validated."""
    try:
        yield
    except no.Invalid as refusal:
        refusal.field = info.field_name  # type: ignore[misc]  # which field it is depends on the request
        raise


def get_zone(info: ValidationInfo) -> ZoneInfo:
    """Return the time zone of the business from the validation context."""
    zone: ZoneInfo = (info.context or {})["zone"]
    return zone


def parse_amount(value: object) -> Decimal:
    """Return a number as an amount. A float that is not exact (35 * 0.01) is rounded; a third decimal is kept."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        message = "An amount is a number"
        raise ValueError(message)  # noqa: TRY004 -- Pydantic turns a ValueError into an error of the field
    exact = Decimal(str(value))
    if exact.is_finite() and abs(exact) <= MAX_AMOUNT:
        cents = exact.quantize(Decimal("0.01"))
        return cents if abs(exact - cents) < Decimal("1e-9") else exact
    return exact


def accept_integral_float(value: object) -> object:
    """Return 5.0 as 5, as JSON Schema accepts it for an integer."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def parse_digits(value: object) -> int:
    """Parse a number in an address, which has ASCII digits only."""
    if not re.fullmatch(r"[0-9]{1,19}", str(value)):
        message = "This is not a number"
        raise ValueError(message)
    return int(str(value))


def parse_query_amount(value: object) -> object:
    """Return an amount in an address. Python alone would read 1_000, 1e2 and digits of other scripts, too."""
    if not re.fullmatch(r"-?[0-9]{1,18}([.][0-9]{1,18})?", str(value)):
        message = "Enter a number, such as 12.50"
        raise ValueError(message)
    return value


def parse_date(value: object) -> date:
    """Parse a date as RFC 3339 defines it."""
    if not (isinstance(value, str) and DATE_PATTERN.fullmatch(value)):
        message = "This is not a date such as 1990-05-04"
        raise ValueError(message)
    return date.fromisoformat(value)


Date = Annotated[date, BeforeValidator(parse_date), WithJsonSchema({"type": "string", "format": "date"})]
TIME_SCHEMA = {"type": "string", "format": "date-time"}
Timestamp = Annotated[
    datetime, AfterValidator(assume_business_zone), BeforeValidator(parse_rfc3339), WithJsonSchema(TIME_SCHEMA)
]
DATE_OR_TIME_SCHEMA = {"anyOf": [{"type": "string", "format": "date"}, TIME_SCHEMA]}
RangeStart = Annotated[datetime, BeforeValidator(parse_range_start), WithJsonSchema(DATE_OR_TIME_SCHEMA)]
RangeEnd = Annotated[datetime, BeforeValidator(parse_range_end), WithJsonSchema(DATE_OR_TIME_SCHEMA)]
AMOUNT_SCHEMA = {"type": "number", "minimum": 0, "maximum": float(MAX_AMOUNT), "multipleOf": 0.01}
Amount = Annotated[Decimal, BeforeValidator(parse_amount), Field(ge=0, le=MAX_AMOUNT, decimal_places=2),
                   WithJsonSchema(AMOUNT_SCHEMA, mode="validation"),
                   PlainSerializer(float, return_type=float)]  # fmt: skip
QueryAmount = Annotated[Decimal, Field(ge=0, le=MAX_AMOUNT, decimal_places=2), BeforeValidator(parse_query_amount),
                        WithJsonSchema(AMOUNT_SCHEMA)]  # fmt: skip
ID_SCHEMA = {"type": "integer", "minimum": 1, "maximum": MAX_BIGINT}
BodyId = Annotated[int, Field(ge=1, le=MAX_BIGINT), BeforeValidator(accept_integral_float)]
PathId = Annotated[int, BeforeValidator(parse_digits), Field(ge=1, le=MAX_BIGINT), WithJsonSchema(ID_SCHEMA)]


class BookedResource(ResponseModel):
    """A resource that a visit takes."""

    role: Annotated[ResourceRole, Field(description="With a person, in a room, or using a thing.")]
    resource_id: int
    name: str


class FreeResource(ResponseModel):
    """A resource that is free."""

    id: int
    name: str
    free_places: int
    others: Annotated[
        list[BookedResource],
        Field(description="The first resources that are free with it for what else the service needs."),
    ]


class Slot(ResponseModel):
    """A time at which a service can be booked."""

    start_time: datetime
    end_time: datetime
    local_start_time: Annotated[datetime, Field(description="The start on the wall clock of the resources.")]
    local_end_time: datetime
    timezone: Annotated[str, Field(description="The IANA time zone of that clock.")]
    free_places: Annotated[int, Field(description="How many bookings fit, on all resources together.")]
    resources: Annotated[list[FreeResource], Field(description="The free resources, by id.")]


def slot_from_row(row: Mapping[str, Any]) -> Slot:
    """Return a row of ``availability.slots`` as a slot, with its local times."""
    zone = ZoneInfo(row["timezone"])
    return Slot(
        start_time=row["start_time"],
        end_time=row["end_time"],
        local_start_time=row["start_time"].astimezone(zone),
        local_end_time=row["end_time"].astimezone(zone),
        timezone=row["timezone"],
        free_places=sum(row["seats"]),
        resources=[
            FreeResource(id=resource_id, name=name, free_places=seats, others=others)
            for resource_id, name, seats, others in zip(
                row["ids"], row["names"], row["seats"], row["others"] or [[]] * len(row["ids"]), strict=True
            )
        ],
    )


def field_from_table(table: type[SQLModel], name: str, *, is_request: bool) -> ModelField:
    """Return a field of a table as a field of a model: type, title, description, and for requests the bounds."""
    column_field = table.model_fields[name]
    field_type: Any = column_field.annotation
    metadata: tuple[Any, ...] = bounds_of(column_field)
    if field_type is Decimal:
        field_type, metadata = Amount, ()
    elif field_type is int and name.endswith("id"):
        field_type, metadata = BodyId, ()
    elif is_request and field_type in {datetime, datetime | None}:
        field_type = Timestamp if field_type is datetime else Timestamp | None
    elif is_request and field_type in {int, int | None}:
        metadata = (*metadata, BeforeValidator(accept_integral_float))
    if metadata and is_request:
        field_type = Annotated[(field_type, *metadata)]
    default: Any = ... if column_field.is_required() or not is_request else column_field.default
    return field_type, Field(default, title=column_field.title, description=column_field.description)


def make_create_model(table: type[SQLModel], *columns: str, **extra_fields: ModelField) -> type[RequestModel]:
    """Return the model of a new row: these columns, and the extra fields that its rule takes."""
    fields: dict[str, Any] = {name: field_from_table(table, name, is_request=True) for name in columns}
    return create_model(f"New{table.__name__}", __base__=RequestModel, **fields | extra_fields)


def make_change_model(table: type[SQLModel], *columns: str, **extra_fields: ModelField) -> type[RequestModel]:
    """Return the model of a change: at least one of these columns and extra fields, of which no one can be null.

    A column that may be NULL is set to it by null.
    """
    fields: dict[str, Any] = {}
    for name in columns:
        field_type, info = field_from_table(table, name, is_request=True)
        if not table_of(table).columns[name].nullable:
            field_type = Annotated[field_type, NOT_NULL]
        fields[name] = (field_type, Field(default=None, title=info.title, description=info.description))
    extra: dict[str, Any] = {name: (Annotated[each, NOT_NULL], info) for name, (each, info) in extra_fields.items()}
    return create_model(f"Changed{table.__name__}", __base__=PatchModel, **fields | extra)


def describe_change(schema: JsonSchemaValue) -> None:
    """Add to the schema that a change has at least one field, and that a field that is not sent has no default."""
    schema["minProperties"] = 1
    for field in schema["properties"].values():
        field.pop("default", None)


class PatchModel(RequestModel):
    """Some of the columns of a row, as a merge patch (RFC 7396).

    A column that is not sent keeps its value. Null sets it to nothing, or is refused if it must have a value.
    """

    model_config = ConfigDict(json_schema_extra=describe_change)

    @model_validator(mode="after")
    def require_any_field(self) -> Self:
        """Raise ValueError if nothing is sent."""
        if not self.model_fields_set:
            message = "Send at least one field to change"
            raise ValueError(message)
        return self


def make_row_model(table: type[SQLModel], *columns: str, **extra_fields: ModelField) -> type[ResponseModel]:
    """Return the model of a row in a response: these columns, and the extra fields that its statement computes."""
    return make_named_row_model(table.__name__, table, columns, extra_fields)


def make_named_row_model(
    model_name: str, table: type[SQLModel], columns: Iterable[str], extra_fields: Mapping[str, ModelField]
) -> type[ResponseModel]:
    """Return such a model under another name than the table's."""
    fields: dict[str, Any] = {name: field_from_table(table, name, is_request=False) for name in columns}
    fields |= extra_fields
    model = create_model(model_name, __base__=ResponseModel, __doc__=table.__doc__, **fields)
    field_types: Any = {name: field_type for name, (field_type, _) in fields.items()}
    model.row_type = TypedDict(model_name, field_types)  # type: ignore[misc]  # made from the table
    return model


def make_row_adapter(response_type: Any) -> TypeAdapter[object] | None:
    """Return an adapter that encodes rows as this response model, or as a list of it, without building the models.

    The database has checked the rows, and a page of 20 takes a quarter of the time. Return None if the response is
    more than a row.
    """
    is_list = typing.get_origin(response_type) is list
    model = typing.get_args(response_type)[0] if is_list else response_type
    row_type: Any = getattr(model, "row_type", None)
    if row_type is None:
        return None
    return TypeAdapter(list[row_type] if is_list else row_type)


def get_provided_fields(model: RequestModel) -> dict[str, Any]:
    """Return the fields that the client sent."""
    return {name: getattr(model, name) for name in model.model_fields_set}
