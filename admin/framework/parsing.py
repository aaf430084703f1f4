"""What somebody typed or sent, read with care."""

import re
from collections.abc import Iterable

from bookit.policy.limits import MAX_BIGINT


def escape_like(term: str) -> str:
    """Give what somebody typed as a pattern in which it means itself."""
    return term.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_").replace("\0", "")


def unescape_like(pattern: str) -> str:
    """Give back what was escaped."""
    return re.sub(r"\\(.)", r"\1", pattern, flags=re.DOTALL)


def parse_id(value: object) -> int:
    """Read the number of a row as somebody sent it; what is none is the number of no row."""
    sent = str(value)
    return int(sent) if sent.isascii() and sent.isdigit() and len(sent) < len(str(MAX_BIGINT)) else -1


def parse_ids(texts: Iterable[str]) -> list[int]:
    """Give each number once, in the order they were sent."""
    return [*dict.fromkeys(found for part in texts if (found := parse_id(part.strip())) > 0)]
