"""Requests a client may send twice: the first answer is kept for a day, with what the request did, or not at all."""

from datetime import datetime
from typing import cast

from sqlalchemy import ClauseElement, DateTime, String, bindparam, delete, update
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, select

from bookit import refusals as no
from bookit.db.session import Session
from bookit.policy import limits
from bookit.schema.tables import IdempotencyKey, home

NOW = bindparam("now", type_=DateTime(timezone=True))
OVER = bindparam("over", type_=DateTime(timezone=True))
HASH = bindparam("request_hash", type_=String)
OF_KEY = (col(IdempotencyKey.user_id) == bindparam("user_id"), col(IdempotencyKey.key) == bindparam("key"))

NEW = insert(home(IdempotencyKey)).values(
    user_id=bindparam("user_id"), key=bindparam("key"), request_hash=HASH, created_at=NOW
)
# A second writer of the same key waits here until the first has committed, and then finds the key taken.
CLAIM = NEW.on_conflict_do_update(
    index_elements=["user_id", "key"],
    set_={"request_hash": HASH, "created_at": NOW, "status": None, "answer": None},
    where=home(IdempotencyKey).c.created_at <= OVER,
).returning(home(IdempotencyKey).c.key)
FIND = select(IdempotencyKey).where(*OF_KEY)
KEEP = cast(
    "ClauseElement", update(IdempotencyKey).where(*OF_KEY).values(status=bindparam("code"), answer=bindparam("text"))
)
FORGET = delete(IdempotencyKey).where(col(IdempotencyKey.created_at) <= OVER)


async def claim(session: Session, *, user_id: int, key: str, request_hash: str, now: datetime) -> IdempotencyKey | None:
    """Claim a key for this request; None: it is the first, so carry it out and ``keep`` the answer.

    Otherwise the key as it was kept. Refuses a key that was used for another request.
    """
    if await session.fetch(
        CLAIM, user_id=user_id, key=key, request_hash=request_hash, now=now, over=now - limits.KEY_LIVES
    ):
        return None
    first = IdempotencyKey(**(await session.fetch(FIND, user_id=user_id, key=key))[0])
    if first.request_hash != request_hash:
        raise no.KeyReused
    return first


async def keep(session: Session, *, user_id: int, key: str, status: int, answer: str) -> None:
    """Keep the answer that this key was first given."""
    await session.fetch(KEEP, user_id=user_id, key=key, code=status, text=answer)


async def forget(session: Session, *, now: datetime) -> None:
    """Let go of the keys that are a day old."""
    await session.fetch(FORGET, over=now - limits.KEY_LIVES)
