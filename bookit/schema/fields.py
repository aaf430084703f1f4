"""The words ``tables.py`` is written in: kinds of columns, and constraints that carry a refusal."""

from collections.abc import Iterable
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any

from pydantic import StringConstraints
from sqlalchemy import BigInteger, CheckConstraint, ForeignKeyConstraint, Identity, Numeric, String, Table, text
from sqlmodel import Field

from bookit import refusals as no

REQUIRED_TEXT_PATTERN = r"^[^\x00]*[^\x00\s][^\x00]*$"  # At least one character that is not a space, and no NUL.
OPTIONAL_TEXT_PATTERN = r"^[^\x00]*$"  # PostgreSQL keeps every character but NUL.
# What an HTML form accepts as an e-mail (WHATWG, "valid e-mail address"), with a dot in the domain.
DOMAIN_LABEL = "[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
EMAIL_PATTERN = rf"^[a-zA-Z0-9.!#$%&'*+/=?^_`{{|}}~-]+@{DOMAIN_LABEL}([.]{DOMAIN_LABEL})+$"
EMAIL_PATTERN_SQL = EMAIL_PATTERN.replace("'", "''")
# SQLModel drops a pattern given to its Field, and keeps one given with the type.
RequiredText = Annotated[str, StringConstraints(pattern=REQUIRED_TEXT_PATTERN)]
OptionalText = Annotated[str, StringConstraints(pattern=OPTIONAL_TEXT_PATTERN)]
Email = Annotated[str, StringConstraints(pattern=EMAIL_PATTERN)]
ReasonText = Annotated[
    str, StringConstraints(pattern=REQUIRED_TEXT_PATTERN, min_length=1, max_length=200)
]  # why anyway, at either door
MAX_AMOUNT = Decimal("99999999.99")
MINUTES_PER_DAY = 24 * 60
MINUTES_PER_YEAR = 366 * MINUTES_PER_DAY
MAX_HORIZON_DAYS = 3660


def refuses_with(refusal: type[no.Refusal], **details: Any) -> dict[str, Any]:
    """Return the ``info`` of a constraint: the refusal to raise when it is broken, and the details of its sentence."""
    return {"refusal": refusal, "details": details}


def primary_key() -> Any:
    """The number a row goes by, given by the database."""
    return Field(default=None, primary_key=True, sa_type=BigInteger, sa_column_args=[Identity()], title="Number")


def foreign_id(title: str, **options: Any) -> Any:
    """The number of a row of another table."""
    return Field(sa_type=BigInteger, title=title, **options)


def required_text(max_length: int, *, min_length: int = 1, **options: Any) -> Any:
    """Text of a bounded length; the bound is a constraint, so breaking it is a sentence and not a driver's error."""
    return Field(min_length=min_length, max_length=max_length, sa_type=String, **options)


def optional_text(max_length: int, title: str) -> Any:
    """Text that may be empty."""
    return with_server_default("", max_length=max_length, sa_type=String, title=title)


def secret(**more: Any) -> Any:
    """Text that no history, page or export may show; history stores only that it changed."""
    return Field(sa_type=String, sa_column_kwargs={"info": {"secret": True}}, **more)


def secret_columns(*tables: Table) -> set[str]:
    """Return the names of the secret columns of these tables."""
    return {column.name for table in tables for column in table.columns if column.info.get("secret")}


def with_server_default(default: object, **options: Any) -> Any:
    """A default that the database fills in, for every writer; SQLAlchemy's own would reach only its own inserts."""
    written = str(default).lower() if isinstance(default, bool) else str(default)
    filled = text(f"'{default}'" if isinstance(default, str) else written)
    return Field(default=default, sa_column_kwargs={"server_default": filled, "default": None}, **options)


def nullable(title: str, description: str, *, max_value: int | None = None) -> Any:
    """A column that may be empty."""
    bounds: dict[str, Any] = {"ge": 1, "le": max_value} if max_value else {}
    return Field(default=None, title=title, description=description, **bounds)


def money(title: str, **options: Any) -> Any:
    """An amount to the cent."""
    amount: Any = Numeric(10, 2)  # SQLModel's stub asks for a class; a length makes it an instance.
    bounds: dict[str, Any] = {"ge": 0, "le": MAX_AMOUNT, "decimal_places": 2}
    return Field(sa_type=amount, title=title, **bounds, **options)


def minutes(title: str, description: str, max_value: int = MINUTES_PER_YEAR) -> Any:
    """A number of minutes, none unless said."""
    return with_server_default(0, ge=0, le=max_value, title=title, description=description)


def timestamp(title: str = "Created", clock: str = "now()") -> Any:
    """The moment a row was made."""
    return Field(default=None, nullable=False, sa_column_kwargs={"server_default": text(clock)}, title=title)


def version_counter() -> Any:
    """How often a row was written; a trigger counts."""
    return with_server_default(
        1, title="Version", description="Goes up with every change; a stale edit is refused by it."
    )


def in_enum(column: str, choices: Iterable[StrEnum]) -> str:
    """The condition that a column holds one of these."""
    return f"{column} IN ({', '.join(repr(choice.value) for choice in choices)})"


def check(name: str, condition: str, refusal: type[no.Refusal], **details: Any) -> CheckConstraint:
    """Return a constraint on the row's own values."""
    return CheckConstraint(condition, name=name, info=refuses_with(refusal, **details))


def foreign_key(name: str, column: str, table: str, refusal: type[no.Refusal], **options: Any) -> ForeignKeyConstraint:
    """The fact that a row of another table exists; speaks when it does not, and ``StillInUse`` when it is deleted."""
    return ForeignKeyConstraint([column], [f"{table}.id"], name=name, info=refuses_with(refusal), **options)
