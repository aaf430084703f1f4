"""Parsing of what a request holds: search terms and ids."""

import re
from collections.abc import Iterable

from bookit.policy.limits import MAX_BIGINT


def escape_like(term: str) -> str:
    """Return a term as a LIKE pattern in which each character means itself."""
    return term.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_").replace("\0", "")


def unescape_like(pattern: str) -> str:
    """Return the term of an escaped pattern."""
    return re.sub(r"\\(.)", r"\1", pattern, flags=re.DOTALL)


def parse_id(value: object) -> int:
    """Return the id of a row; -1, which no row has, where the value is no id."""
    text = str(value)
    return int(text) if text.isascii() and text.isdigit() and len(text) < len(str(MAX_BIGINT)) else -1


def parse_ids(texts: Iterable[str]) -> list[int]:
    """Return the ids among these texts, each once and in their order."""
    ids = (parse_id(text.strip()) for text in texts)
    return [*dict.fromkeys(row_id for row_id in ids if row_id > 0)]
