"""Requests a client may send twice: the first answer is kept for a day, with what the request did, or not at all."""

from datetime import datetime
from typing import cast

from sqlalchemy import ClauseElement, DateTime, String, bindparam, delete, update
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, select

from bookit import refusals as no
from bookit.db.session import Session
from bookit.policy import limits
from bookit.schema.tables import IdempotencyKey, table_of

NOW = bindparam("now", type_=DateTime(timezone=True))
EXPIRED_BEFORE = bindparam("over", type_=DateTime(timezone=True))
REQUEST_HASH = bindparam("request_hash", type_=String)
MATCHES_KEY = (col(IdempotencyKey.user_id) == bindparam("user_id"), col(IdempotencyKey.key) == bindparam("key"))

INSERT_KEY = insert(table_of(IdempotencyKey)).values(
    user_id=bindparam("user_id"), key=bindparam("key"), request_hash=REQUEST_HASH, created_at=NOW
)
# A second writer of the same key waits here until the first has committed, and then finds the key taken.
CLAIM_KEY = INSERT_KEY.on_conflict_do_update(
    index_elements=["user_id", "key"],
    set_={"request_hash": REQUEST_HASH, "created_at": NOW, "status": None, "answer": None},
    where=table_of(IdempotencyKey).c.created_at <= EXPIRED_BEFORE,
).returning(table_of(IdempotencyKey).c.key)
SELECT_KEY = select(IdempotencyKey).where(*MATCHES_KEY)
STORE_ANSWER = cast(
    "ClauseElement",
    update(IdempotencyKey).where(*MATCHES_KEY).values(status=bindparam("code"), answer=bindparam("text")),
)
DELETE_EXPIRED = delete(IdempotencyKey).where(col(IdempotencyKey.created_at) <= EXPIRED_BEFORE)


async def claim(session: Session, *, user_id: int, key: str, request_hash: str, now: datetime) -> IdempotencyKey | None:
    """Claim a key for this request; None: it is the first, so carry it out and ``keep`` the answer.

    Otherwise the key as it was kept. Refuses a key that was used for another request.
    """
    if await session.fetch(
        CLAIM_KEY, user_id=user_id, key=key, request_hash=request_hash, now=now, over=now - limits.IDEMPOTENCY_TTL
    ):
        return None
    first = IdempotencyKey(**(await session.fetch(SELECT_KEY, user_id=user_id, key=key))[0])
    if first.request_hash != request_hash:
        raise no.KeyReused
    return first


async def store(session: Session, *, user_id: int, key: str, status: int, answer: str) -> None:
    """Keep the answer that this key was first given."""
    await session.fetch(STORE_ANSWER, user_id=user_id, key=key, code=status, text=answer)


async def delete_expired(session: Session, *, now: datetime) -> None:
    """Let go of the keys that are a day old."""
    await session.fetch(DELETE_EXPIRED, over=now - limits.IDEMPOTENCY_TTL)
