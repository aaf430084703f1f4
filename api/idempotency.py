"""``Idempotency-Key``: a repeated request gets the stored response of the first one and changes nothing."""

import hashlib
import json
import re
from collections.abc import Awaitable, Callable

from starlette.responses import Response

from api.context import RequestContext, Result, get_single_header
from api.problems import WrongShape, refusal_response
from api.schemas import RequestModel
from bookit import idempotency
from bookit import refusals as no
from bookit.db.session import Session

STORED_HEADERS = ("location", "etag", "content-type")


async def idempotently(
    context: RequestContext,
    key: str,
    body: RequestModel,
    act: Callable[[Session], Awaitable[Result]],
    *,
    on_refusal: Callable[[Session, no.Refusal], Awaitable[None]],
) -> Response:
    """Run an act once per key and user within 24 hours, and return its response or the stored one.

    Key, act and response share one transaction. A refusal is stored too, after ``on_refusal`` has completed it; being
    busy is not. The savepoint undoes a refused act alone. ``on_refusal`` reads through the same session, because a
    second connection per request could exhaust the pool.
    """
    user_id = context.require_user().id
    async with context.transaction() as session:
        first = await idempotency.claim(
            session, user_id=user_id, key=key, request_hash=hash_body(body), now=context.now
        )
        if first:
            return load_response(first.status or 500, first.answer or "{}")
        try:
            async with session.savepoint():
                response = context.to_response(await act(session))
        except no.Busy:
            raise
        except no.Refusal as refusal:
            await on_refusal(session, refusal)
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


def hash_body(body: RequestModel) -> str:
    return hashlib.sha256(f"{type(body).__name__} {body.model_dump_json(exclude_unset=True)}".encode()).hexdigest()


def dump_response(response: Response) -> str:
    headers = {name: response.headers[name] for name in STORED_HEADERS if name in response.headers}
    return json.dumps({"headers": headers, "body": bytes(response.body).decode()})


def load_response(status: int, stored: str) -> Response:
    response = json.loads(stored)
    return Response(response["body"], status, {**response["headers"], "Idempotency-Replayed": "true"})
