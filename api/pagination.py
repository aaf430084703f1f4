"""Lists a page at a time: the next page starts after the last row of this one, whatever was added in between."""

import base64
import binascii
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import urlencode

from pydantic import BeforeValidator, ConfigDict, Field

from api.endpoint import Call, Sent
from api.problems import WrongShape
from api.schemas import BIGGEST, Shape, digits
from bookit.db.statements import Row

Key = tuple[tuple[str, type], ...]
BY_NUMBER: Key = (("id", int),)
BY_START: Key = (("start_time", datetime), ("id", int))


class Page(Shape):
    """Which part of a list is asked for. Extended by each list's own filters."""

    model_config = ConfigDict(strict=False)  # A query has only text.

    limit: Annotated[int, Field(ge=1, le=100, description="How many at most."), BeforeValidator(digits)] = 20
    cursor: Annotated[
        str | None, Field(max_length=200, description="Where the page before ended: take it from its Link header.")
    ] = None


def cursor_after(row: Row, key: Key) -> str:
    """Give the opaque word for "after this row"."""
    place = [row[name].isoformat() if kind is datetime else row[name] for name, kind in key]
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


def place_of(cursor: str, key: Key) -> Row:
    """Read a cursor back as the values of the key. Refuses one that BookIt did not give out."""
    try:
        place = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if not isinstance(place, list) or len(place) != len(key):
            raise ValueError  # noqa: TRY301 -- every way of being no cursor ends in one answer below
        return {f"after_{name}": read_part(value, kind) for value, (name, kind) in zip(place, key, strict=True)}
    except (ValueError, binascii.Error, TypeError, RecursionError, OverflowError):
        raise WrongShape("query", [{"loc": ["cursor"], "msg": "This is not a cursor BookIt gave out"}]) from None


def read_part(value: object, kind: type) -> object:
    if kind is datetime and isinstance(value, str):
        return datetime.fromisoformat(value).astimezone(UTC)
    if kind is int and type(value) is int and 0 < value <= BIGGEST:
        return value
    raise ValueError


def page_of(call: Call, rows: Sequence[Row], page: Any, key: Key) -> Sent:
    """Send a page of rows, of which one more than the limit was fetched, and say where the next one is."""
    if len(rows) <= page.limit:
        return Sent(list(rows))
    shown = rows[: page.limit]
    asked = [(name, value) for name, value in call.request.query_params.multi_items() if name != "cursor"]
    query = urlencode([*asked, ("cursor", cursor_after(shown[-1], key))])
    return Sent(list(shown), {"Link": f'<{call.request.scope["path"]}?{query}>; rel="next"'})
