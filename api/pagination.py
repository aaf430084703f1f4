"""Lists a page at a time: the next page starts after the last row of this one, whatever was added in between."""

import base64
import binascii
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import urlencode

from pydantic import BeforeValidator, ConfigDict, Field

from api.endpoint import RequestContext, Result
from api.problems import WrongShape
from api.schemas import MAX_BIGINT, RequestModel, parse_digits
from bookit.db.statements import Row

SortKey = tuple[tuple[str, type], ...]
BY_ID: SortKey = (("id", int),)
BY_START: SortKey = (("start_time", datetime), ("id", int))


class PageQuery(RequestModel):
    """Which part of a list is asked for. Extended by each list's own filters."""

    model_config = ConfigDict(strict=False)  # A query has only text.

    limit: Annotated[int, Field(ge=1, le=100, description="How many at most."), BeforeValidator(parse_digits)] = 20
    cursor: Annotated[
        str | None, Field(max_length=200, description="Where the page before ended: take it from its Link header.")
    ] = None


def encode_cursor(row: Row, sort_key: SortKey) -> str:
    """Give the opaque word for "after this row"."""
    place = [row[name].isoformat() if kind is datetime else row[name] for name, kind in sort_key]
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


def decode_cursor(cursor: str, sort_key: SortKey) -> Row:
    """Read a cursor back as the values of the key. Refuses one that BookIt did not give out."""
    try:
        place = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if not isinstance(place, list) or len(place) != len(sort_key):
            raise ValueError  # noqa: TRY301 -- every way of being no cursor ends in one answer below
        return {
            f"after_{name}": parse_cursor_value(value, kind)
            for value, (name, kind) in zip(place, sort_key, strict=True)
        }
    except (ValueError, binascii.Error, TypeError, RecursionError, OverflowError):
        raise WrongShape("query", [{"loc": ["cursor"], "msg": "This is not a cursor BookIt gave out"}]) from None


def parse_cursor_value(value: object, value_type: type) -> object:
    if value_type is datetime and isinstance(value, str):
        return datetime.fromisoformat(value).astimezone(UTC)
    if value_type is int and type(value) is int and 0 < value <= MAX_BIGINT:
        return value
    raise ValueError


def paginate(context: RequestContext, rows: Sequence[Row], page_query: Any, sort_key: SortKey) -> Result:
    """Send a page of rows, of which one more than the limit was fetched, and say where the next one is."""
    if len(rows) <= page_query.limit:
        return Result(list(rows))
    shown = rows[: page_query.limit]
    asked = [(name, value) for name, value in context.request.query_params.multi_items() if name != "cursor"]
    query = urlencode([*asked, ("cursor", encode_cursor(shown[-1], sort_key))])
    return Result(list(shown), {"Link": f'<{context.request.scope["path"]}?{query}>; rel="next"'})
