"""The kinds of columns and constraints that ``tables.py`` is written in."""

from collections.abc import Iterable
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any

from pydantic import StringConstraints
from pydantic.fields import FieldInfo
from sqlalchemy import BigInteger, CheckConstraint, ForeignKeyConstraint, Identity, Numeric, String, Table, Uuid, text
from sqlmodel import Field

from bookit import refusals as no
from bookit.schema.visible_text import VisibleText

OPTIONAL_TEXT_PATTERN = r"^[^\x00]*$"  # PostgreSQL stores every character but NUL
# What an HTML form accepts as an e-mail (WHATWG, "valid e-mail address"), with a dot in the domain.
DOMAIN_LABEL = "[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
EMAIL_PATTERN = rf"^[a-zA-Z0-9.!#$%&'*+/=?^_`{{|}}~-]+@{DOMAIN_LABEL}([.]{DOMAIN_LABEL})+$"
EMAIL_PATTERN_SQL = EMAIL_PATTERN.replace("'", "''")
PHONE_PATTERN = r"^\+[1-9][0-9]{6,14}$"  # E.164
# SQLModel ignores the pattern of a Field, and uses the pattern of a type.
RequiredText = Annotated[str, VisibleText()]
OptionalText = Annotated[str, VisibleText(is_required=False)]
RequiredParagraphs = Annotated[str, VisibleText(has_paragraphs=True)]
OptionalParagraphs = Annotated[str, VisibleText(has_paragraphs=True, is_required=False)]
Email = Annotated[str, StringConstraints(pattern=EMAIL_PATTERN)]
# The reason of an act, at either door. The text is normalised before its length is checked, so its type comes last.
ReasonText = Annotated[str, StringConstraints(min_length=1, max_length=200), VisibleText()]
MAX_AMOUNT = Decimal("99999999.99")
MINUTES_PER_DAY = 24 * 60
MAX_VISIT_DAYS = 60
MINUTES_PER_LONGEST_VISIT = MAX_VISIT_DAYS * MINUTES_PER_DAY
MINUTES_PER_YEAR = 366 * MINUTES_PER_DAY
MAX_HORIZON_DAYS = 3660
CURRENCY_PATTERN = "^[A-Z]{3}$"  # ISO 4217
LOCALE_PATTERN = "^[a-z]{2,3}(_[A-Z][a-z]{3})?_([A-Z]{2}|[0-9]{3})$"  # such as de_CH and zh_Hans_SG
DEFAULT_BUSINESS_NAME, DEFAULT_CURRENCY, DEFAULT_LOCALE = "My business", "EUR", "en_GB"


def refuses_with(refusal: type[no.Refusal], **details: Any) -> dict[str, Any]:
    """Return the ``info`` of a constraint: the refusal to raise when it is broken, and the details of its sentence."""
    return {"refusal": refusal, "details": details}


def bounds_of(field_info: FieldInfo) -> tuple[Any, ...]:
    """Return the bounds of a table's field in the order in which both doors check them: a text is normalised first."""
    return tuple(sorted(field_info.metadata, key=lambda bound: isinstance(bound, VisibleText)))


def checked_type(field_info: FieldInfo) -> Any:
    """Return the type of a table's field with its bounds."""
    bounds = bounds_of(field_info)
    return Annotated[(field_info.annotation, *bounds)] if bounds else field_info.annotation


def primary_key() -> Any:
    """Return a field for the id of the row; the database assigns it."""
    return Field(default=None, primary_key=True, sa_type=BigInteger, sa_column_args=[Identity()], title="Number")


def foreign_id(title: str, **options: Any) -> Any:
    """Return a field for the id of a row of another table."""
    return Field(sa_type=BigInteger, title=title, **options)


def required_text(max_length: int, *, min_length: int = 1, **options: Any) -> Any:
    """Return a field for text. Its bounds are a CHECK and no VARCHAR(n), so that breaking them raises a refusal."""
    return Field(min_length=min_length, max_length=max_length, sa_type=String, **options)


def optional_text(max_length: int, title: str) -> Any:
    """Return a field for text that may be empty."""
    return with_server_default("", max_length=max_length, sa_type=String, title=title)


def default_text(default: str, max_length: int, *, title: str, description: str | None = None) -> Any:
    """Return a field for text with a default."""
    return with_server_default(
        default, min_length=1, max_length=max_length, sa_type=String, title=title, description=description
    )


def secret(**options: Any) -> Any:
    """Return a field for text that no history, page or export may show; history stores only that it changed."""
    return Field(sa_type=String, sa_column_kwargs={"info": {"secret": True}}, **options)


def secret_columns(*tables: Table) -> set[str]:
    """Return the names of the secret columns of these tables."""
    return {column.name for table in tables for column in table.columns if column.info.get("secret")}


def with_server_default(default: object, **options: Any) -> Any:
    """Return a field whose default the database fills in for every writer, and not only for SQLAlchemy's inserts."""
    literal = str(default).lower() if isinstance(default, bool) else str(default)
    server_default = text(f"'{default}'" if isinstance(default, str) else literal)
    return Field(default=default, sa_column_kwargs={"server_default": server_default, "default": None}, **options)


def nullable(title: str, description: str, *, max_value: int | None = None) -> Any:
    """Return a field that may be NULL."""
    bounds: dict[str, Any] = {"ge": 1, "le": max_value} if max_value else {}
    return Field(default=None, title=title, description=description, **bounds)


def money(title: str, **options: Any) -> Any:
    """Return a field for an amount to the cent."""
    amount: Any = Numeric(10, 2)  # SQLModel's stub wants a class; a length makes it an instance
    bounds: dict[str, Any] = {"ge": 0, "le": MAX_AMOUNT, "decimal_places": 2}
    return Field(sa_type=amount, title=title, **bounds, **options)


def minor_units(title: str, **options: Any) -> Any:
    """Return a field for an amount in whole minor units of its row's currency, such as cents."""
    return Field(sa_type=BigInteger, sa_column_kwargs={"info": {"is_amount": True}}, title=title, **options)


def once_key() -> Any:
    """Return a field for the key of a form, so that what is sent twice is stored once. It is never shown."""
    column: dict[str, Any] = {"server_default": text("gen_random_uuid()"), "default": None, "info": {"secret": True}}
    return Field(default=None, nullable=False, sa_type=Uuid, sa_column_kwargs=column, title="Key")


def minutes(title: str, description: str, max_value: int = MINUTES_PER_YEAR) -> Any:
    """Return a field for a number of minutes, 0 by default."""
    return with_server_default(0, ge=0, le=max_value, title=title, description=description)


def timestamp(title: str = "Created", clock: str = "now()") -> Any:
    """Return a field for the time at which the row was created."""
    return Field(default=None, nullable=False, sa_column_kwargs={"server_default": text(clock)}, title=title)


def version_counter() -> Any:
    """Return a field that counts the changes of the row; the trigger bump_version increments it."""
    return with_server_default(
        1, title="Version", description="Increases with every change; an edit of an older version is refused."
    )


def in_enum(column: str, choices: Iterable[StrEnum]) -> str:
    """Return the condition that a column holds one of these values."""
    return f"{column} IN ({', '.join(repr(choice.value) for choice in choices)})"


def in_whole_minutes(*columns: str) -> str:
    """Return the condition that these times have no seconds: the desk shows none."""
    return " AND ".join(f"mod(extract(epoch FROM {column}), 60) = 0" for column in columns)


def check(name: str, condition: str, refusal: type[no.Refusal], **details: Any) -> CheckConstraint:
    """Return a CHECK on the values of a row, with its refusal."""
    return CheckConstraint(condition, name=name, info=refuses_with(refusal, **details))


def foreign_key(name: str, column: str, table: str, refusal: type[no.Refusal], **options: Any) -> ForeignKeyConstraint:
    """Return a foreign key. It raises the refusal if the other row is missing, ``StillInUse`` if that is deleted."""
    return ForeignKeyConstraint([column], [f"{table}.id"], name=name, info=refuses_with(refusal), **options)
