"""Checks the reason of an act as the form of a table would."""

from pydantic import TypeAdapter
from pydantic import ValidationError as PydanticError

from bookit.schema.fields import ReasonText
from bookit.validation_messages import format_error

REASON_ADAPTER: TypeAdapter[str] = TypeAdapter(ReasonText)


def reason_error(reason: str) -> str:
    """Return what is wrong with a reason that is normalised, or nothing. An act needs no reason."""
    if reason:
        try:
            REASON_ADAPTER.validate_python(reason)
        except PydanticError as error:
            return format_error(error.errors()[0])
    return ""
