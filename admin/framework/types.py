"""Names for what SQLAlchemy leaves without a type."""

from collections.abc import Sequence
from datetime import date, time
from decimal import Decimal
from typing import Any, TypeAlias

import sqlalchemy
from sqlalchemy.sql.base import ReadOnlyColumnCollection

Values: TypeAlias = dict[str, Any]  # of columns or fields, by name
Column: TypeAlias = sqlalchemy.Column[Any]
Columns: TypeAlias = ReadOnlyColumnCollection[str, Any]
Statement: TypeAlias = sqlalchemy.Select[*tuple[Any, ...]]
ResultRow: TypeAlias = sqlalchemy.Row[*tuple[Any, ...]]  # with its columns as attributes
ResultRows: TypeAlias = Sequence[ResultRow]
ColumnFormatters: TypeAlias = dict[Any, Any]  # as SQLAdmin takes them
Cell: TypeAlias = (
    str | int | Decimal | float | date | time | None
)  # of an export; an amount is a Decimal, a rate a float
