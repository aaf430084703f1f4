"""What is wrong with the shape of a value, in words: both doors say it so."""

import re
from collections.abc import Mapping
from typing import Any

from bookit import refusals as no
from bookit.schema.fields import EMAIL_PATTERN, OPTIONAL_TEXT_PATTERN, REQUIRED_TEXT_PATTERN

# What a text that does not match one of these patterns is told.
MESSAGE_BY_PATTERN = {
    EMAIL_PATTERN: str(no.NotAnEmail()),
    REQUIRED_TEXT_PATTERN: "This is blank, or holds a NUL character",
    OPTIONAL_TEXT_PATTERN: "This holds a NUL character",
}


def format_error(error: Mapping[str, Any]) -> str:
    """Say a mistake, Pydantic's or a door's own, but a pattern in words: nobody is shown one."""
    text = str(error["msg"]).removeprefix("Value error, ")
    if error.get("type") == "string_pattern_mismatch":
        text = MESSAGE_BY_PATTERN.get(error["ctx"]["pattern"], "This is not written as it should be")
    text = re.sub(r"Decimal\('([^']*)'\)", r"\1", text)
    return text if text.endswith(".") else f"{text}."
