"""``Idempotency-Key``: a request sent twice is carried out once and answered alike."""

import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Hashable
from typing import TypeVar

from starlette.responses import Response

from api.endpoint import Call, Sent, single_header
from api.problems import WrongShape, refused
from api.schemas import Shape
from bookit import idempotency
from bookit import refusals as no
from bookit.db.session import Reader, Session

Result = TypeVar("Result")
KEPT_HEADERS = ("location", "etag", "content-type")


async def once(
    call: Call,
    body: Shape,
    act: Callable[[Session], Awaitable[Result]],
    answer: Callable[[Result], Sent],
    *,
    on_refusal: Callable[[Reader, no.Refusal], Awaitable[None]],
    wants: Hashable,
) -> Response | Sent:
    """Carry out an act in one transaction; with a key, at most once a day, keeping what it was answered.

    Those who want the same slot at once take turns, and the first who finds it taken finds it so for all of them.

    A refusal is an answer and is kept too, as ``on_refusal`` completed it; being too busy is none.
    """
    key = key_of(call)
    if key is None or call.by.id is None:

        async def carry_out() -> Sent:
            async with call.at_once() as session:
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
            return again(first.status or 500, first.answer or "{}")
        try:
            async with session.savepoint():
                response = call.answer(answer(await act(session)))
        except no.Busy:
            raise
        except no.Refusal as refusal:
            await on_refusal(session, refusal)  # A second connection could be one that waits for this one.
            response = refused(refusal)
        await idempotency.store(
            session, user_id=call.by.id, key=key, status=response.status_code, answer=kept(response)
        )
    return response


def key_of(call: Call) -> str | None:
    key = single_header(call.request, "Idempotency-Key")
    if key is not None and not re.fullmatch(r"[\x21-\x7e]{1,255}", key):
        mistake = {"loc": ["Idempotency-Key"], "msg": "A key has 1 to 255 printable ASCII characters and no space"}
        raise WrongShape("header", [mistake])
    return key


def kept(response: Response) -> str:
    headers = {name: response.headers[name] for name in KEPT_HEADERS if name in response.headers}
    return json.dumps({"headers": headers, "body": bytes(response.body).decode()})


def again(status: int, answer: str) -> Response:
    first = json.loads(answer)
    return Response(first["body"], status, {**first["headers"], "Idempotency-Replayed": "true"})
