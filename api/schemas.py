"""The shapes requests and answers may have: made from the tables' own fields wherever a table has the field."""

import re
import typing
from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Self, cast
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
from sqlmodel import SQLModel
from typing_extensions import TypedDict

from bookit import refusals as no
from bookit.policy import times
from bookit.policy.limits import MAX_BIGINT
from bookit.schema.fields import MAX_AMOUNT

DATE_PATTERN = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
RFC3339_PATTERN = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d(?::\d\d(?:\.\d{1,6})?\d*)?)([Zz]|[+\- ]\d\d:\d\d)?", re.ASCII
)


class RequestModel(BaseModel):
    """Something a client sends: exactly these keys, exactly these types."""

    model_config = ConfigDict(extra="forbid", strict=True)


class ResponseModel(BaseModel):
    """Something a client is sent."""

    model_config = ConfigDict(from_attributes=True)
    row_type: ClassVar[Any] = None


def parse_rfc3339(value: object) -> object:
    """Read a time as RFC 3339 writes it. A plus sign that a query turned into a space counts as the plus it was."""
    found = RFC3339_PATTERN.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        message = "This is not a time as RFC 3339 writes it, such as 2026-05-04T10:30:00+02:00"
        raise ValueError(message)
    day, clock, offset = found.groups(default="")
    return datetime.fromisoformat(f"{day}T{clock}{offset.replace(' ', '+').upper().replace('Z', '+00:00')}")


def assume_business_zone(value: datetime, info: ValidationInfo) -> datetime:
    """Read a time without offset in the business's zone."""
    return parse_for_field(info, times.to_utc, value, (info.context or {})["zone"])


def parse_for_field(info: ValidationInfo, parse: Callable[..., datetime], *given: Any, **more: Any) -> datetime:
    """Read a time; what is refused of it is told of the field it was sent in, be it a filter."""
    try:
        return parse(*given, **more)
    except no.Invalid as refusal:
        refusal.field = info.field_name  # type: ignore[misc]  # known only now, as for ``Required``
        raise


def parse_range_start(value: object, info: ValidationInfo) -> datetime:
    """Read a date as the moment it begins in the business's zone, and a time as it is."""
    if isinstance(value, str) and DATE_PATTERN.fullmatch(value):
        return parse_for_field(info, times.start_of_day, date.fromisoformat(value), (info.context or {})["zone"])
    return assume_business_zone(cast("datetime", parse_rfc3339(value)), info)


def parse_range_end(value: object, info: ValidationInfo) -> datetime:
    """Read a date as the moment it is over in the business's zone, and a time as it is."""
    if isinstance(value, str) and DATE_PATTERN.fullmatch(value):
        return parse_for_field(
            info, times.start_of_day, date.fromisoformat(value), (info.context or {})["zone"], offset_days=1
        )
    return assume_business_zone(cast("datetime", parse_rfc3339(value)), info)


def parse_amount(value: object) -> object:
    """Read a number as money: what a float cannot hold exactly (35 * 0.01) is put right, a third decimal is kept."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        message = "An amount is a number"
        raise ValueError(message)  # noqa: TRY004 -- Pydantic turns a ValueError into an answer
    exact = Decimal(str(value))
    if exact.is_finite() and abs(exact) <= MAX_AMOUNT:
        cents = exact.quantize(Decimal("0.01"))
        return cents if abs(exact - cents) < Decimal("1e-9") else exact
    return exact


def accept_integral_float(value: object) -> object:
    """Read 5.0 as the whole number it is, as JSON Schema does."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def parse_digits(value: object) -> object:
    """Read a number from an address: ASCII digits and nothing else."""
    if not re.fullmatch(r"[0-9]{1,19}", str(value)):
        message = "This is not a number"
        raise ValueError(message)
    return int(str(value))


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
QueryAmount = Annotated[Decimal, Field(ge=0, le=MAX_AMOUNT, decimal_places=2), WithJsonSchema(AMOUNT_SCHEMA)]
ID_SCHEMA = {"type": "integer", "minimum": 1, "maximum": MAX_BIGINT}
BodyId = Annotated[int, Field(ge=1, le=MAX_BIGINT), BeforeValidator(accept_integral_float)]
PathId = Annotated[int, BeforeValidator(parse_digits), Field(ge=1, le=MAX_BIGINT), WithJsonSchema(ID_SCHEMA)]


class FreeResource(ResponseModel):
    """A resource that could serve a visit."""

    id: int
    name: str
    free_seats: int


class Slot(ResponseModel):
    """A time at which a service can be had."""

    start_time: datetime
    end_time: datetime
    local_start_time: Annotated[datetime, Field(description="The start by the clock on the wall there.")]
    local_end_time: datetime
    timezone: Annotated[str, Field(description="The IANA zone of that clock.")]
    free_seats: int
    resources: Annotated[list[FreeResource], Field(description="Those that are free then, by number.")]


def slot_from_row(row: Mapping[str, Any]) -> Slot:
    """Give a slot as the database found it, with its local times."""
    zone = ZoneInfo(row["timezone"])
    local = {f"local_{name}": row[name].astimezone(zone) for name in ("start_time", "end_time")}
    free = zip(row["ids"], row["names"], row["seats"], strict=True)
    resources = [FreeResource(id=number, name=name, free_seats=seats) for number, name, seats in free]
    slot_times = {name: row[name] for name in ("start_time", "end_time", "timezone")}
    return Slot(**slot_times, **local, free_seats=sum(row["seats"]), resources=resources)


def field_from_table(table: type[SQLModel], name: str, *, is_request: bool) -> tuple[Any, Any]:
    """Give a table's field as a shape's: type, title and help, and of what a client sends also the bounds."""
    declared = table.model_fields[name]
    kind: Any = declared.annotation
    metadata: tuple[Any, ...] = tuple(declared.metadata)
    if kind is Decimal:
        kind, metadata = Amount, ()
    elif kind is int and name.endswith("id"):
        kind, metadata = BodyId, ()
    elif is_request and kind in {datetime, datetime | None}:
        kind = Timestamp if kind is datetime else Timestamp | None
    elif is_request and kind in {int, int | None}:
        metadata = (*metadata, BeforeValidator(accept_integral_float))
    if metadata and is_request:
        kind = Annotated[(kind, *metadata)]
    default: Any = ... if declared.is_required() or not is_request else declared.default
    return kind, Field(default, title=declared.title, description=declared.description)


def make_create_model(table: type[SQLModel], *columns: str, **more: tuple[Any, Any]) -> type[RequestModel]:
    """Make the shape of a new row: these columns, and what else its rule takes."""
    fields: dict[str, Any] = {name: field_from_table(table, name, is_request=True) for name in columns}
    fields |= more
    return create_model(f"New{table.__name__}", __base__=RequestModel, **fields)


def make_change_model(table: type[SQLModel], *columns: str, **more: tuple[Any, Any]) -> type[RequestModel]:
    """Make the shape of a change: any of these columns, at least one; what is left out stays as it is."""
    fields: dict[str, Any] = {
        name: (kind, Field(default=None, title=about.title, description=about.description))
        for name, (kind, about) in ((name, field_from_table(table, name, is_request=True)) for name in columns)
    }
    fields |= more
    return create_model(f"Changed{table.__name__}", __base__=PatchModel, **fields)


class PatchModel(RequestModel):
    """Some of a row's columns: only what is sent changes."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    @model_validator(mode="after")
    def require_any_field(self) -> Self:
        """Refuse a change of nothing."""
        if not self.model_fields_set:
            message = "Send at least one field to change"
            raise ValueError(message)
        return self


def make_row_model(table: type[SQLModel], *columns: str) -> type[ResponseModel]:
    """Make the shape of a row as clients see it: these columns and no other."""
    fields: dict[str, Any] = {name: field_from_table(table, name, is_request=False) for name in columns}
    answer = create_model(table.__name__, __base__=ResponseModel, __doc__=table.__doc__, **fields)
    kinds: Any = {name: kind for name, (kind, _) in fields.items()}
    answer.row_type = TypedDict(table.__name__, kinds)  # type: ignore[misc]  # made from the table
    return answer


def make_row_adapter(response_model: Any) -> TypeAdapter[Any] | None:
    """Give what writes rows as this answer or a list of it, as they are: the database has checked them already.

    A page of 20 takes a quarter of the time of making 20 answers first. None where an answer is more than a row.
    """
    is_list = typing.get_origin(response_model) is list
    row_type: Any = getattr(typing.get_args(response_model)[0] if is_list else response_model, "row_type", None)
    if row_type is None:
        return None
    return TypeAdapter(list[row_type] if is_list else row_type)


def get_provided_fields(model: RequestModel) -> dict[str, Any]:
    """Give what the client really sent."""
    return {name: getattr(model, name) for name in model.model_fields_set}
