"""The messages for values of the wrong shape, the same at both doors."""

import re
from collections.abc import Mapping
from typing import Any

from bookit import refusals as no
from bookit.schema.fields import EMAIL_PATTERN, OPTIONAL_TEXT_PATTERN, REQUIRED_TEXT_PATTERN

# Pydantic's message for a text that does not match would quote the pattern.
MESSAGE_BY_PATTERN = {
    EMAIL_PATTERN: str(no.NotAnEmail()),
    REQUIRED_TEXT_PATTERN: "Enter some text, without NUL characters",
    OPTIONAL_TEXT_PATTERN: "Remove the NUL characters",
}


def format_error(error: Mapping[str, Any]) -> str:
    """Return the message of an error, Pydantic's or a door's own, as a sentence without regular expressions."""
    message = str(error["msg"]).removeprefix("Value error, ")
    if error.get("type") == "string_pattern_mismatch":
        message = MESSAGE_BY_PATTERN.get(error["ctx"]["pattern"], "This has the wrong format")
    message = re.sub(r"Decimal\('([^']*)'\)", r"\1", message)
    return message if message.endswith(".") else f"{message}."
