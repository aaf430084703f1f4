"""Names for what SQLAlchemy, WTForms and SQLAdmin leave without a type."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import sqlalchemy

Column: TypeAlias = sqlalchemy.Column[Any]
Statement: TypeAlias = sqlalchemy.Select[Any]
ResultRows: TypeAlias = Sequence[sqlalchemy.Row[Any]]  # of a statement, each with its columns as attributes
