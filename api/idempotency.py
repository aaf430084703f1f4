"""``Idempotency-Key``: a repeated request gets the stored response of the first one and changes nothing."""

import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import NoReturn

from pydantic import BaseModel
from starlette.responses import Response

from api.context import RequestContext, get_single_header
from api.problems import WrongShape, refusal_response
from bookit import idempotency
from bookit import refusals as no

STORED_HEADERS = ("location", "etag", "content-type")


async def idempotently(
    context: RequestContext,
    key: str,
    handler: Callable[..., Awaitable[object]],
    arguments: Mapping[str, object],
) -> Response:
    """Run a handler once per key and user within 24 hours, and return its response or the stored one.

    Key, changes and response share one transaction. The handler's own transactions are savepoints in it, so a refusal
    undoes the refused act alone. A refusal is stored too, unless the same request may be sent again later.
    """
    user_id = context.require_user().id
    async with context.transaction() as session:
        first = await idempotency.claim(
            session, user_id=user_id, key=key, request_hash=hash_arguments(arguments), now=context.now
        )
        if first:
            return load_response(first.status or 500, first.answer or "{}")
        try:
            response = context.to_response(await handler(replace(context, session=session), **arguments))
        except (no.Busy, no.TooMany):
            raise
        except no.Refusal as refusal:
            response = refusal_response(refusal)
        await idempotency.store(
            session, user_id=user_id, key=key, status=response.status_code, answer=dump_response(response)
        )
    return response


def read_key(context: RequestContext) -> str | None:
    """Return the key of a request, or None. Raise ``WrongShape`` if it is not 1 to 255 printable characters."""
    key = get_single_header(context.request, "Idempotency-Key")
    if key is not None and not re.fullmatch(r"[\x21-\x7e]{1,255}", key):
        raise WrongShape.at("header", "Idempotency-Key", "Use 1 to 255 printable ASCII characters without spaces.")
    return key


def refuse_key() -> NoReturn:
    """Raise ``WrongShape`` for a key on a request of no signed-in user, to whom the response could belong."""
    raise WrongShape.at("header", "Idempotency-Key", "This request does not take a key. Leave this header out.")


def hash_arguments(arguments: Mapping[str, object]) -> str:
    """Return what tells one request from another: what was sent in its body, path and query."""
    parts = [
        f"{type(value).__name__} {value.model_dump_json(exclude_unset=True)}"
        if isinstance(value, BaseModel)
        else f"{name} {value}"
        for name, value in arguments.items()
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def dump_response(response: Response) -> str:
    headers = {name: response.headers[name] for name in STORED_HEADERS if name in response.headers}
    return json.dumps({"headers": headers, "body": bytes(response.body).decode()})


def load_response(status: int, stored: str) -> Response:
    response = json.loads(stored)
    return Response(response["body"], status, {**response["headers"], "Idempotency-Replayed": "true"})
