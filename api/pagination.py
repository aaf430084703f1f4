"""Keyset pagination: a page starts after the last row of the previous one, so changed rows do not shift it."""

import base64
import binascii
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated
from urllib.parse import urlencode

from pydantic import BeforeValidator, ConfigDict, Field

from api.context import RequestContext, Result
from api.problems import WrongShape
from api.schemas import RequestModel, parse_digits
from bookit.db.statements import Row
from bookit.policy.limits import MAX_BIGINT

SortKey = tuple[tuple[str, type], ...]
BY_ID: SortKey = (("id", int),)
BY_START: SortKey = (("start_time", datetime), ("id", int))


class PageQuery(RequestModel):
    """Which page of a list to return. Each list adds its own filters."""

    model_config = ConfigDict(strict=False)  # A query has only text.

    limit: Annotated[
        int, Field(ge=1, le=100, description="The maximum number of rows."), BeforeValidator(parse_digits)
    ] = 20
    cursor: Annotated[
        str | None, Field(max_length=200, description="Where the previous page ended, from its Link header.")
    ] = None


def encode_cursor(row: Row, sort_key: SortKey) -> str:
    """Return the opaque cursor of the page after this row."""
    values = [row[name].isoformat() if value_type is datetime else row[name] for name, value_type in sort_key]
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")


def decode_cursor(cursor: str, sort_key: SortKey) -> Row:
    """Return the values of a cursor as parameters. Raise ``WrongShape`` if it is not a cursor of this sort key."""
    try:
        values = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if not isinstance(values, list) or len(values) != len(sort_key):
            raise ValueError  # noqa: TRY301 -- every invalid cursor ends in the one refusal below
        return {
            f"after_{name}": parse_cursor_value(value, value_type)
            for value, (name, value_type) in zip(values, sort_key, strict=True)
        }
    except (ValueError, binascii.Error, TypeError, RecursionError, OverflowError):
        raise WrongShape.at("query", "cursor", "This is not a cursor of BookIt.") from None


def parse_cursor_value(value: object, value_type: type) -> object:
    if value_type is datetime and isinstance(value, str):
        return datetime.fromisoformat(value).astimezone(UTC)
    if value_type is int and type(value) is int and 0 < value <= MAX_BIGINT:
        return value
    raise ValueError


def paginate(context: RequestContext, rows: Sequence[Row], page_query: PageQuery, sort_key: SortKey) -> Result:
    """Return a page of rows, with a link to the next one. ``rows`` holds one more than the limit if there is more."""
    if len(rows) <= page_query.limit:
        return Result(list(rows))
    page = rows[: page_query.limit]
    params = [(name, value) for name, value in context.request.query_params.multi_items() if name != "cursor"]
    query = urlencode([*params, ("cursor", encode_cursor(page[-1], sort_key))])
    return Result(list(page), {"Link": f'<{context.request.scope["path"]}?{query}>; rel="next"'})
