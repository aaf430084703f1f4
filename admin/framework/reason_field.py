"""Reasons typed beside an act: taken or refused in the very words of a form."""

from pydantic import TypeAdapter
from pydantic import ValidationError as PydanticError

from bookit.schema.fields import ReasonText
from bookit.validation_messages import format_error

REASON_ADAPTER: TypeAdapter[str] = TypeAdapter(ReasonText)


def reason_error(reason: str) -> str:
    """Say what is wrong with a reason; nothing of one that can be kept, and of none at all."""
    if reason:
        try:
            REASON_ADAPTER.validate_python(reason)
        except PydanticError as error:
            return format_error(error.errors()[0])
    return ""
