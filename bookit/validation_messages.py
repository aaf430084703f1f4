"""The messages for values of the wrong shape, the same at both doors, in plain words."""

import re
from collections.abc import Mapping
from typing import Any

from bookit import refusals as no
from bookit.schema.fields import EMAIL_PATTERN, OPTIONAL_TEXT_PATTERN

# Pydantic's message for a text that does not match would quote the pattern.
MESSAGE_BY_PATTERN = {
    EMAIL_PATTERN: str(no.NotAnEmail()),
    OPTIONAL_TEXT_PATTERN: "Remove the NUL characters",
}
WHOLE_NUMBER, NUMBER, YES_OR_NO = "Enter a whole number", "Enter a number", "Enter true or false"
# By Pydantic's type of an error: our sentence, with what Pydantic says of the bound.
MESSAGE_BY_TYPE = {
    "missing": "This is missing",
    "string_type": "Enter some text",
    "string_unicode": "Enter text in UTF-8",
    "string_too_short": "Use at least {min_length} characters",
    "string_too_long": "Use at most {max_length} characters",
    "int_type": WHOLE_NUMBER,
    "int_parsing": WHOLE_NUMBER,
    "int_parsing_size": "This number is too large",
    "int_from_float": WHOLE_NUMBER,
    "float_type": NUMBER,
    "float_parsing": NUMBER,
    "decimal_type": NUMBER,
    "decimal_parsing": NUMBER,
    "finite_number": NUMBER,
    "decimal_max_places": "Use at most {decimal_places} decimals",
    "decimal_max_digits": "This number is too long",
    "decimal_whole_digits": "This number is too long",
    "bool_type": YES_OR_NO,
    "bool_parsing": YES_OR_NO,
    "greater_than": "This must be more than {gt}",
    "greater_than_equal": "This must be at least {ge}",
    "less_than": "This must be less than {lt}",
    "less_than_equal": "This must be at most {le}",
    "enum": "Choose {expected}",
    "literal_error": "Choose {expected}",
    "list_type": "Send a list",
    "too_long": "Send at most {max_length} values",
    "too_short": "Send at least {min_length} values",
    "model_type": "Send an object with named fields",
    "model_attributes_type": "Send an object with named fields",
    "dict_type": "Send an object with named fields",
}
NEVER_NULL = {
    "string_type",
    "int_type",
    "float_type",
    "decimal_type",
    "bool_type",
    "list_type",
    "enum",
    "literal_error",
}


def format_error(error: Mapping[str, Any]) -> str:
    """Return the message of an error, Pydantic's or a door's own, as a sentence without Python in it."""
    error_type, bounds = str(error.get("type")), error.get("ctx", {})
    message = str(error["msg"]).removeprefix("Value error, ")
    if error_type == "string_pattern_mismatch":
        message = MESSAGE_BY_PATTERN.get(bounds["pattern"], "This has the wrong format")
    elif error_type in NEVER_NULL and error.get("input", "") is None:
        message = "This cannot be null"
    elif error_type in MESSAGE_BY_TYPE:
        message = MESSAGE_BY_TYPE[error_type].format(**{name: name_value(value) for name, value in bounds.items()})
        message = re.sub(r"\b1 (character|decimal|value)s\b", r"1 \1", message)
    return message if message.endswith(".") else f"{message}."


def name_value(value: object) -> str:
    """Return a bound, or the choices that Pydantic lists, without Python's spelling."""
    text = re.sub(r"Decimal\('([^']*)'\)", r"\1", str(value)).replace("'", "")
    return re.sub(r"\b(?:True|False|None)\b", lambda match: match[0].lower(), text)
