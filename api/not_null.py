"""Fields of a change that may be missing and cannot be null."""

from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema


@dataclass(frozen=True)
class NotNull:
    """Marks a field of a change that may be missing and cannot be null. Its default None means that it was not sent."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Refuse null before the value is validated."""
        return core_schema.no_info_before_validator_function(refuse_null, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Leave null out of the choices."""
        described = handler(schema)
        choices = [choice for choice in described.get("anyOf", []) if choice != {"type": "null"}]
        return {**{key: described[key] for key in described if key != "anyOf"}, **choices[0]} if choices else described


NOT_NULL = NotNull()


def refuse_null(value: object) -> object:
    """Return any value but None."""
    if value is None:
        raise PydanticCustomError("null", "This cannot be null. Leave it out to keep its value")
    return value
