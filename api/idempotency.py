"""``Idempotency-Key``: a request sent twice is carried out once and answered alike."""

import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Hashable
from typing import TypeVar

from starlette.responses import Response

from api.endpoint import RequestContext, Result, get_single_header
from api.problems import WrongShape, refusal_response
from api.schemas import RequestModel
from bookit import idempotency
from bookit import refusals as no
from bookit.db.session import Reader, Session, SingleStatement

ActResult = TypeVar("ActResult")
STORED_HEADERS = ("location", "etag", "content-type")


async def once(
    call: RequestContext,
    body: RequestModel,
    act: Callable[[Session | SingleStatement], Awaitable[ActResult]],
    answer: Callable[[ActResult], Result],
    *,
    on_refusal: Callable[[Reader, no.Refusal], Awaitable[None]],
    wants: Hashable,
) -> Response | Result:
    """Carry out an act in one transaction; with a key, at most once a day, keeping what it was answered.

    Those who want the same slot at once take turns, and the first who finds it taken finds it so for all of them.

    A refusal is an answer and is kept too, as ``on_refusal`` completed it; being too busy is none.
    """
    key = read_key(call)
    if key is None or call.by.id is None:

        async def carry_out() -> Result:
            async with call.single_statement() as session:
                return answer(await act(session))

        try:
            return await call.database.keyed_queue.run(wants, carry_out, shared_error=no.SlotTaken)
        except no.Refusal as refusal:
            await on_refusal(call.database, refusal)
            raise
    request_hash = hashlib.sha256(
        f"{type(body).__name__} {body.model_dump_json(exclude_unset=True)}".encode()
    ).hexdigest()
    async with call.transaction() as session:
        first = await idempotency.claim(session, user_id=call.by.id, key=key, request_hash=request_hash, now=call.now)
        if first:
            return replay(first.status or 500, first.answer or "{}")
        try:
            async with session.savepoint():
                response = call.to_response(answer(await act(session)))
        except no.Busy:
            raise
        except no.Refusal as refusal:
            await on_refusal(session, refusal)  # A second connection could be one that waits for this one.
            response = refusal_response(refusal)
        await idempotency.store(
            session, user_id=call.by.id, key=key, status=response.status_code, answer=dump_response(response)
        )
    return response


def read_key(context: RequestContext) -> str | None:
    key = get_single_header(context.request, "Idempotency-Key")
    if key is not None and not re.fullmatch(r"[\x21-\x7e]{1,255}", key):
        mistake = {"loc": ["Idempotency-Key"], "msg": "A key has 1 to 255 printable ASCII characters and no space"}
        raise WrongShape("header", [mistake])
    return key


def dump_response(response: Response) -> str:
    headers = {name: response.headers[name] for name in STORED_HEADERS if name in response.headers}
    return json.dumps({"headers": headers, "body": bytes(response.body).decode()})


def replay(status: int, stored: str) -> Response:
    first = json.loads(stored)
    return Response(first["body"], status, {**first["headers"], "Idempotency-Replayed": "true"})
