"""What is wrong with the shape of a value, in words: both doors say it so."""

import re
from collections.abc import Mapping
from typing import Any

from bookit import refusals as no
from bookit.schema.fields import EMAIL, TEXT, WORDS

# What a text that does not match one of these patterns is told.
MEANS = {
    EMAIL: str(no.NotAnEmail()),
    WORDS: "This is blank, or holds a NUL character",
    TEXT: "This holds a NUL character",
}


def sentence(mistake: Mapping[str, Any]) -> str:
    """Say a mistake, Pydantic's or a door's own, but a pattern in words: nobody is shown one."""
    text = str(mistake["msg"]).removeprefix("Value error, ")
    if mistake.get("type") == "string_pattern_mismatch":
        text = MEANS.get(mistake["ctx"]["pattern"], "This is not written as it should be")
    text = re.sub(r"Decimal\('([^']*)'\)", r"\1", text)
    return text if text.endswith(".") else f"{text}."
