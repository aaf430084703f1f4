"""Idempotency keys: the response to a key's first request, stored in the same transaction as its changes."""

from datetime import datetime
from typing import Any, cast

from sqlalchemy import ClauseElement, DateTime, String, and_, bindparam, delete, or_, update
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, select

from bookit import refusals as no
from bookit.db.session import Session
from bookit.policy import limits
from bookit.schema.tables import IdempotencyKey, table_of

NOW = bindparam("now", type_=DateTime(timezone=True))
EXPIRED_BEFORE = bindparam("expired_before", type_=DateTime(timezone=True))
REFUSED_BEFORE = bindparam("refused_before", type_=DateTime(timezone=True))
FIRST_ERROR_STATUS = 400
REQUEST_HASH = bindparam("request_hash", type_=String)
KEYS = table_of(IdempotencyKey).c
HAS_EXPIRED = or_(
    KEYS.created_at <= EXPIRED_BEFORE, and_(KEYS.created_at <= REFUSED_BEFORE, KEYS.status >= FIRST_ERROR_STATUS)
)
MATCHES_KEY = (col(IdempotencyKey.user_id) == bindparam("user_id"), col(IdempotencyKey.key) == bindparam("key"))

INSERT_KEY = insert(table_of(IdempotencyKey)).values(
    user_id=bindparam("user_id"), key=bindparam("key"), request_hash=REQUEST_HASH, created_at=NOW
)
# A concurrent request with the same key waits here until the first has committed, and then gets no row.
CLAIM_KEY = INSERT_KEY.on_conflict_do_update(
    index_elements=["user_id", "key"],
    set_={"request_hash": REQUEST_HASH, "created_at": NOW, "status": None, "answer": None},
    where=HAS_EXPIRED,
).returning(table_of(IdempotencyKey).c.key)
SELECT_KEY = select(IdempotencyKey).where(*MATCHES_KEY)
STORE_ANSWER = cast(
    "ClauseElement",
    update(IdempotencyKey).where(*MATCHES_KEY).values(status=bindparam("new_status"), answer=bindparam("new_answer")),
)
DELETE_EXPIRED = delete(IdempotencyKey).where(HAS_EXPIRED)


async def claim(session: Session, *, user_id: int, key: str, request_hash: str, now: datetime) -> IdempotencyKey | None:
    """Claim a key for this request. Return None if it is the first: run it and ``store`` the answer.

    Otherwise return the stored key with its answer. Raise ``KeyReused`` if the key belongs to another request.
    """
    if await session.fetch(
        CLAIM_KEY,
        user_id=user_id,
        key=key,
        request_hash=request_hash,
        now=now,
        **expiry_params(now),
    ):
        return None
    [row] = await session.fetch(SELECT_KEY, user_id=user_id, key=key)
    stored = IdempotencyKey(**row)
    if stored.request_hash != request_hash:
        raise no.KeyReused
    return stored


async def store(session: Session, *, user_id: int, key: str, status: int, answer: str) -> None:
    """Store the answer to the first request with this key."""
    await session.fetch(STORE_ANSWER, user_id=user_id, key=key, new_status=status, new_answer=answer)


async def delete_expired(session: Session, *, now: datetime) -> None:
    """Delete the keys that are older than ``IDEMPOTENCY_TTL``, and those of refusals after ``REFUSAL_TTL``."""
    await session.fetch(DELETE_EXPIRED, **expiry_params(now))


def expiry_params(now: datetime) -> dict[str, Any]:
    return {"expired_before": now - limits.IDEMPOTENCY_TTL, "refused_before": now - limits.REFUSAL_TTL}
