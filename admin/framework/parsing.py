"""Parsing of the ids that a request holds."""

from collections.abc import Iterable

from bookit.policy.limits import MAX_BIGINT


def parse_id(value: object) -> int:
    """Return the id of a row; -1, which no row has, where the value is no id."""
    text = str(value)
    return int(text) if text.isascii() and text.isdigit() and len(text) < len(str(MAX_BIGINT)) else -1


def parse_ids(texts: Iterable[str]) -> list[int]:
    """Return the ids among these texts, each once and in their order."""
    ids = (parse_id(text.strip()) for text in texts)
    return [*dict.fromkeys(row_id for row_id in ids if row_id > 0)]
