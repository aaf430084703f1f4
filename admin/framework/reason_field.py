"""Reasons typed beside an act: taken or refused in the very words of a form."""

from pydantic import TypeAdapter
from pydantic import ValidationError as ShapeError

from bookit.schema.fields import Reason
from bookit.validation_messages import sentence

SHAPE: TypeAdapter[str] = TypeAdapter(Reason)


def wrong_with(reason: str) -> str:
    """Say what is wrong with a reason; nothing of one that can be kept, and of none at all."""
    if reason:
        try:
            SHAPE.validate_python(reason)
        except ShapeError as error:
            return sentence(error.errors()[0])
    return ""
