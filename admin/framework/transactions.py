"""The one way in which a page changes anything: an act, in a transaction, in the name of the user."""

from collections.abc import Awaitable
from datetime import datetime
from typing import Protocol, TypedDict, TypeVar

from starlette.requests import Request

from admin.framework.context import context_of, request_id_of
from admin.framework.page_state import page_state
from bookit import exports
from bookit.db.errors import retry_interrupted
from bookit.db.session import Session
from bookit.policy.permissions import Actor

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")


class ActorAndTime(TypedDict):
    """The actor and the time, as keyword arguments of every act."""

    by: Actor
    now: datetime


class Act(Protocol[T_co]):
    """Something that is done in a transaction."""

    def __call__(self, session: Session, *, by: Actor, now: datetime) -> Awaitable[T_co]:
        """Do it, as this actor, at this time."""
        ...


async def run_act(request: Request, act: Act[T], *, dry_run: bool = False) -> T:
    """Run an act in one transaction, and once more if PostgreSQL interrupted it because of another one.

    Raise the refusal that it meets. A dry run changes nothing.
    """
    context, actor, request_id = context_of(request), page_state(request).actor, request_id_of(request)

    async def attempt() -> T:
        now = context.now()
        async with context.database.transaction(by=actor, now=now, request_id=request_id, dry_run=dry_run) as session:
            return await act(session, by=actor, now=now)

    return await retry_interrupted(attempt)


async def record_export(
    request: Request, *, table_name: str, file: str, rows: int, filter_words: str = "everything", row_id: int = 0
) -> None:
    """Write down in history that the user takes a file; see ``exports.record``."""

    async def act(session: Session, *, by: Actor, now: datetime) -> None:
        await exports.record(
            session,
            by=by,
            now=now,
            table_name=table_name,
            file=file,
            rows=rows,
            filter_words=filter_words,
            row_id=row_id,
        )

    await run_act(request, act)
