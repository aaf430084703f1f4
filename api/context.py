"""What a handler gets of a request, and what it returns."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypedDict, TypeVar
from zoneinfo import ZoneInfo

from sqlmodel import SQLModel
from starlette.requests import Request
from starlette.responses import Response

from api.preconditions import read_preconditions
from api.problems import WrongShape
from bookit import records
from bookit import refusals as no
from bookit.db.pool import Database
from bookit.db.session import Reader, Session, SingleStatement
from bookit.people.sign_ins import Client
from bookit.policy.permissions import Actor
from bookit.policy.rates import RequestKind
from bookit.schema.tables import User
from bookit.settings import Settings
from web.client_address import client_address
from web.rate_limits import limit
from web.user_agent import user_agent_of

TableRow = TypeVar("TableRow", bound=SQLModel)


class ActorAndTime(TypedDict):
    """The two keyword arguments that every act takes."""

    by: Actor
    now: datetime


@dataclass(frozen=True)
class RequestContext:
    """One request: the actor, the time, and the database.

    ``session`` is the transaction that holds the idempotency key of the request. Without a key there is none.
    """

    request: Request
    by: Actor
    now: datetime
    to_response: Callable[[object], Response]
    user: User | None = None
    session: Session | None = None

    @property
    def actor_and_time(self) -> ActorAndTime:
        """Actor and time as keyword arguments of an act."""
        return {"by": self.by, "now": self.now}

    @property
    def database(self) -> Database:
        """The connection pool of the application."""
        return get_database(self.request)

    @property
    def settings(self) -> Settings:
        """The settings of the application."""
        settings: Settings = self.request.app.state.settings
        return settings

    @property
    def zone(self) -> ZoneInfo:
        """The time zone of the business."""
        zone: ZoneInfo = self.request.app.state.business.profile.zone
        return zone

    @property
    def request_id(self) -> str:
        """The id of this request in the log and in history."""
        return str(self.request.scope.get("request_id", ""))

    @property
    def client_ip(self) -> str:
        """The IP address of the client, or "" if the server does not know it."""
        return client_address(self.request.scope)

    async def limit(self, kind: RequestKind, cost: int = 1) -> None:
        """Count the request as one of another kind too. Raise ``TooManyRequests`` beyond the limit of its sender."""
        await limit(self.request.scope, kind, account=self.by.id, role=self.by.role, cost=cost, reader=self.session)

    @property
    def client(self) -> Client:
        """The address and the browser of the client."""
        return Client(self.client_ip, user_agent_of(self.request.headers))

    def require_user(self) -> User:
        """Return the signed-in user, or raise ``Unauthenticated``."""
        if self.user is None:
            raise no.Unauthenticated
        return self.user

    @property
    def reader(self) -> Reader:
        """What to read through beside an act. With a session, a second connection could exhaust the pool."""
        return self.session or self.database

    def transaction(self) -> AbstractAsyncContextManager[Session]:
        """Open a transaction of this actor, time and request, or a savepoint in the one that holds the key."""
        if self.session is not None:
            return nested(self.session)
        return self.database.transaction(**self.actor_and_time, request_id=self.request_id)

    def single_statement(self) -> AbstractAsyncContextManager[Session | SingleStatement]:
        """Take a connection for an act that is one statement: see ``Database.single_statement``."""
        if self.session is not None:
            return nested(self.session)
        return self.database.single_statement(**self.actor_and_time, request_id=self.request_id)

    async def lock(self, session: Session, table: type[TableRow], row_id: int) -> TableRow:
        """Return the row with this id, locked. Raise ``Stale`` unless it is as the preconditions say."""
        row = await records.lock(session, table, row_id)
        self.require_preconditions(row)
        return row

    def require_preconditions(self, row: SQLModel) -> None:
        """Raise ``Stale`` unless this row is as ``If-Match`` and ``If-None-Match`` say."""
        read_preconditions(self.request.headers).require(f'"{getattr(row, "version", "")}"')


@asynccontextmanager
async def nested(session: Session) -> AsyncIterator[Session]:
    """Yield the session of a transaction; a refusal undoes this block alone."""
    async with session.savepoint():
        yield session


@dataclass(frozen=True)
class Result:
    """What a handler returns to send headers with a value."""

    value: object
    headers: Mapping[str, str] = field(default_factory=dict)


def get_database(request: Request) -> Database:
    """Return the connection pool of the application."""
    database: Database = request.app.state.database
    return database


def get_time(request: Request) -> datetime:
    """Return the time by the clock of the application."""
    now: datetime = request.app.state.clock()
    return now


def get_single_header(request: Request, name: str) -> str | None:
    """Return the value of a header, or None. Raise ``WrongShape`` if it is sent more than once."""
    values = request.headers.getlist(name)
    if len(values) > 1:
        raise WrongShape.at("header", name, "Send this header only once.")
    return values[0].strip() if values else None
