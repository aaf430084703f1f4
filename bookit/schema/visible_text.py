"""Text that people can see and find: what both doors make of what was typed, and what they refuse.

``is_line`` and ``is_paragraphs`` in ``before_tables.sql`` hold for every other writer. They cannot know which signs are
unassigned, since that differs between versions of PostgreSQL; here Python refuses them.
"""

import re
from dataclasses import dataclass
from typing import Any
from unicodedata import category, normalize

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema
from pydantic_core.core_schema import no_info_before_validator_function

MAX_MARKS = 4  # in a row on one letter: Hebrew and Vietnamese need as many, and more would cover the lines around
LINE_BREAK = re.compile("\r\n|[\n\r\v\f\x85\u2028\u2029]")
# Tabs, spaces of all widths, and two letters without a shape.
BLANKS = re.compile("[\t \xa0\u1680\u2000-\u200a\u202f\u205f\u2800\u3000\u3164\uffa0]+")
# Signs that show nothing and that no name needs: soft hyphens, zero-width blanks, marks of direction.
DROPPED = re.compile("[\xad\u061c\u180e\u200b\u200e\u200f\u2060-\u2064\ufeff]")
# Joiners join letters of Arabic, Indian scripts and emoji; between other letters they only hide.
STRAY_JOINER = re.compile("(?<![\u0600-\u200b\u200e-\U0010ffff])[\u200c\u200d]+|[\u200c\u200d]+(?![\u0600-\U0010ffff])")
# Format signs that are seen, or that shape their neighbours.
SHOWN = frozenset("\u200c\u200d\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd")
FLAG_TAGS = re.compile("\U0001f3f4[\U000e0061-\U000e007a]{1,6}\U000e007f")  # the flags of England, Scotland and Wales


def normalize_line(text: str) -> str:
    """Return a text as one line: NFC, without hidden signs, with single spaces inside and none at the ends."""
    text = normalize("NFC", BLANKS.sub(" ", LINE_BREAK.sub(" ", DROPPED.sub("", text))))
    return normalize("NFC", BLANKS.sub(" ", STRAY_JOINER.sub("", text))).strip(" ")


def normalize_paragraphs(text: str) -> str:
    """Return a text with each line normalised, with one empty line in a row at most and none at the ends."""
    lines = (normalize_line(line) for line in LINE_BREAK.split(text))
    return re.sub("\n{3,}", "\n\n", "\n".join(lines)).strip("\n")


def require_visible(text: str) -> None:
    """Raise ValueError if a text has signs that not every screen shows, or that change how others are shown."""
    if text.isascii() and text.replace("\n", "").isprintable():
        return
    marks = 0
    for sign in FLAG_TAGS.sub("", text):
        kind = category(sign)
        if (kind in {"Cc", "Cf"} and sign != "\n" and sign not in SHOWN) or kind in {"Cn", "Co", "Cs"}:
            message = f"Type this again without the hidden sign U+{ord(sign):04X}"
            raise ValueError(message)
        marks = marks + 1 if kind in {"Mn", "Me"} else 0
        if marks > MAX_MARKS:
            message = f"Use at most {MAX_MARKS} accents on one letter"
            raise ValueError(message)


def has_letter_or_digit(text: str) -> bool:
    """Return whether a text has a letter or a digit of any script."""
    return any(category(sign)[0] in "LN" for sign in text)


def has_shape(text: str) -> bool:
    """Return whether a text has any sign that is seen on its own, such as a letter, an emoji or ":)"."""
    return any(category(sign)[0] in "LNPS" for sign in text)


@dataclass(frozen=True)
class VisibleText:
    """The type of every text that people write and read: one line or paragraphs, which may be empty unless required."""

    is_required: bool = True
    has_paragraphs: bool = False

    def parse(self, value: object) -> object:
        """Return a text as it is stored. Raise ValueError if people could not see it."""
        if not isinstance(value, str):
            return value  # another validator refuses it
        text = normalize_paragraphs(value) if self.has_paragraphs else normalize_line(value)
        require_visible(text)
        if (text or self.is_required) and not (has_shape if self.has_paragraphs else has_letter_or_digit)(text):
            message = "Enter some text" if self.has_paragraphs or not text else "Use at least one letter or digit"
            raise ValueError(message)
        return text

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return the schema of the type, with this rule before its own."""
        return no_info_before_validator_function(self.parse, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Return its JSON schema. No pattern can say which signs are visible, so it names a format."""
        return handler(schema) | {"format": "paragraphs" if self.has_paragraphs else "line"}
