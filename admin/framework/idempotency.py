"""A write that is sent twice runs once: a double click, a repeated request, the back button and Save again.

A form or dialog makes a key when it opens and sends it with the write. The key and the write share one transaction, as
they do at the API. A refused write leaves no key, so the same form can be corrected and sent again.
"""

import hashlib
import json
import re
import secrets
from dataclasses import dataclass
from typing import Generic, TypeVar, Unpack

from sqlmodel import SQLModel

from admin.framework.transactions import Act, ActorAndTime
from bookit import idempotency, records
from bookit import refusals as no
from bookit.db.session import Session
from bookit.schema.tables import id_of

Row = TypeVar("Row", bound=SQLModel)
KEY_PATTERN = re.compile(r"[\w-]{1,64}", re.ASCII)


@dataclass(frozen=True)
class Saved(Generic[Row]):
    """The row that a write made or changed, and whether an earlier request did it."""

    row: Row
    is_repeat: bool


def new_key() -> str:
    """Return a key for one form."""
    return secrets.token_urlsafe(16)


def run_once(act: Act[Row], table: type[Row], *, key: str, content: object) -> Act[Saved[Row]]:
    """Return the act as one that runs once for each key of a user; later it returns the row of the first time.

    Raise SavedAlready if the key was sent with another ``content``. An empty key is none: the act always runs.
    """
    request_hash = hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()

    async def once(session: Session, **by_and_now: Unpack[ActorAndTime]) -> Saved[Row]:
        user_id, now = by_and_now["by"].id, by_and_now["now"]
        if not key or user_id is None:
            return Saved(await act(session, **by_and_now), is_repeat=False)
        if not KEY_PATTERN.fullmatch(key):
            raise no.Misshapen
        name = f"admin:{key}"
        try:
            first = await idempotency.claim(session, user_id=user_id, key=name, request_hash=request_hash, now=now)
        except no.KeyReused:
            raise no.SavedAlready from None
        if first:
            return Saved(await records.get(session, table, int(first.answer or 0)), is_repeat=True)
        row = await act(session, **by_and_now)
        await idempotency.store(session, user_id=user_id, key=name, status=200, answer=str(id_of(row)))
        return Saved(row, is_repeat=False)

    return once
