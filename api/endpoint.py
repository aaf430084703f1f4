"""One declaration is parsing, answering and documentation: the handler's own signature.

``async def handler(call, body: Shape, query: Shape, id: PathNumber) -> Answer``: what is named is read, checked and
handed over, whatever is returned is sent in the shape of the return type, and ``openapi.py`` documents the same.
"""

import re
import typing
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError
from sqlmodel import SQLModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from api.auth import who_sent
from api.problems import NotJson, TooLarge, Unreadable, WrongShape, refused, status_of
from api.schemas import row_encoder
from bookit import refusals as no
from bookit.db.errors import retry_interrupted
from bookit.db.pool import Database
from bookit.db.session import Session
from bookit.policy.permissions import Actor, Verb, require_permission
from bookit.schema.tables import User
from bookit.settings import Settings

BODY_BYTES = 64 * 1024  # Ten times the longest there is; a MiB of nonsense would take half a second to read.
ETAG = re.compile(r'(?:W/)?"([0-9]{1,9})"')


@dataclass(frozen=True)
class Access:
    """Who may call an endpoint at all. The rules behind it may narrow this to one's own rows.

    ``knows_you``: open to everybody, and to those who sign in as themselves.
    """

    signed_in: bool = False
    knows_you: bool = False
    works_here: bool = False
    verb: Verb | None = None
    table: type[SQLModel] | None = None

    def require(self, by: Actor) -> None:
        """Refuse whoever may not call this."""
        if self.works_here and not by.is_staff:
            raise no.Forbidden
        if self.verb and self.table:
            require_permission(by, self.verb, self.table)


ANYONE = Access()
WHOEVER_YOU_ARE = Access(knows_you=True)
SIGNED_IN = Access(signed_in=True)
STAFF = Access(signed_in=True, works_here=True)


def allowed_to(verb: Verb, table: type[SQLModel]) -> Access:
    """Give access to those whom ``policy.may`` lets do this."""
    return Access(signed_in=True, verb=verb, table=table)


@dataclass(frozen=True)
class Call:
    """One request as a handler needs it: who asks, when, and the database."""

    request: Request
    by: Actor
    now: datetime
    answer: Callable[[Any], Response]
    user: User | None = None

    @property
    def asking(self) -> dict[str, Any]:
        """Who and when, as every act wants to know."""
        return {"by": self.by, "now": self.now}

    @property
    def database(self) -> Database:
        """The database both doors share."""
        database: Database = self.request.app.state.database
        return database

    @property
    def settings(self) -> Settings:
        """What BookIt was told from outside."""
        settings: Settings = self.request.app.state.settings
        return settings

    @property
    def address(self) -> str:
        """Where this request comes from."""
        return self.request.client.host if self.request.client else ""

    @property
    def version(self) -> int | None:
        """The version the client saw last, from ``If-Match``; None when it does not say, or says ``*``."""
        given = single_header(self.request, "If-Match")
        if given is None or given == "*":
            return None
        number = ETAG.fullmatch(given)
        if number is None:
            mistake = {"loc": ["If-Match"], "msg": 'This is not an ETag BookIt gave out, such as "3"'}
            raise WrongShape("header", [mistake])
        return int(number[1])

    def transaction(self) -> AbstractAsyncContextManager[Session]:
        """One request, one transaction, in this person's name."""
        return self.database.transaction(**self.asking, request_id=self.number)

    def at_once(self) -> AbstractAsyncContextManager[Session]:
        """The same for an act that is one statement: see ``Database.at_once``."""
        return self.database.single_statement(**self.asking, request_id=self.number)

    @property
    def number(self) -> str:
        """The number of this request, by which the log and history know it."""
        return str(self.request.scope.get("request_id", ""))


@dataclass(frozen=True)
class Sent:
    """An answer with headers, or another status, of its own."""

    value: Any
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int | None = None


@dataclass
class Endpoint:
    """A method of an address: what it reads, whom it lets in, what it may refuse, what it answers."""

    method: str
    path: str
    handler: Callable[..., Awaitable[Any]]
    status: int
    access: Access
    refuses: tuple[type[no.Refusal], ...]
    tag: str
    headers: tuple[str, ...] = ()
    reads: Mapping[str, TypeAdapter[Any]] = field(init=False)
    query: type[BaseModel] | None = field(init=False)
    answers: TypeAdapter[Any] | None = field(init=False)
    rows: TypeAdapter[Any] | None = field(init=False)

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(self.handler, include_extras=True)
        answer = hints.pop("return")
        self.answers = None if answer is type(None) else TypeAdapter(answer)
        self.rows = row_encoder(answer)
        self.query = hints.get("query")
        in_path = {name for name in hints if f"{{{name}}}" in self.path}
        self.reads = {name: TypeAdapter(hints[name]) for name in ("body", *sorted(in_path)) if name in hints}

    @property
    def name(self) -> str:
        """What generated clients call this: list_services is listServices there."""
        first, *rest = self.handler.__name__.split("_")
        return first + "".join(map(str.capitalize, rest))

    @property
    def statuses(self) -> list[int]:
        """Every status of a refusal that this may answer with."""
        found = {status_of(refusal) for refusal in self.refuses}
        if self.access.signed_in or self.access.knows_you:
            found.add(401)
        if self.access.verb or self.access.works_here:
            found.add(403)
        if self.reads or self.query:
            found.add(422)
        if "body" in self.reads:
            found |= {400, 413, 415}
        return sorted(found | {503})

    @property
    def is_alike_for_all(self) -> bool:
        """Whether what this answers depends on the address alone."""
        return self.access == ANYONE and self.method == "GET" and not self.reads

    async def __call__(self, request: Request) -> Response:
        """Answer a request; what all may read, together for all who ask at once."""
        if not self.is_alike_for_all:
            return await self.respond(request)

        address = (request.scope["path"], request.scope["query_string"])
        database: Database = request.app.state.database
        return await database.coalesce(address, lambda: self.respond(request))

    async def respond(self, request: Request) -> Response:
        """Let the person in, read the request, run the handler, send what it gives."""
        try:
            call = await self.admit(request)
            given = await self.read(call)
            result = await retry_interrupted(lambda: self.handler(call, **given))
        except no.Refusal as refusal:
            return refused(refusal)
        return self.send(result)

    async def admit(self, request: Request) -> Call:
        """Find out who is asking; access comes before everything else, so that strangers learn nothing."""
        now: datetime = request.app.state.clock()
        is_known = self.access.knows_you and "authorization" in request.headers
        if not (self.access.signed_in or is_known):
            return Call(request, Actor("api"), now, self.send)
        user = await who_sent(request, now=now)
        by = Actor("api", user.id, user.role)
        request.scope["actor"] = by
        self.access.require(by)
        return Call(request, by, now, self.send, user)

    async def read(self, call: Call) -> dict[str, Any]:
        """Read what the handler names."""
        context = {"zone": call.settings.zone}
        given: dict[str, Any] = {}
        for name, adapter in self.reads.items():
            if name == "body":
                given[name] = await read_body(call.request, adapter, context)
            else:
                in_path = partial(adapter.validate_python, call.request.path_params[name])
                given[name] = checked("path", in_path, name)
        if self.query:
            query = self.query
            values = single_values(call.request)
            given["query"] = checked("query", lambda: query.model_validate(values, context=context))
        return given

    def send(self, result: Any) -> Response:
        """Send a result in the declared shape, and its version for the next ``If-Match``."""
        if isinstance(result, Response):
            return result
        sent = result if isinstance(result, Sent) else Sent(result)
        if self.answers is None:
            return Response(status_code=204, headers=dict(sent.headers))
        body, version = self.encode(self.answers, sent.value)
        headers = dict(sent.headers)
        if version is not None:
            headers.setdefault("ETag", f'"{version}"')
        return Response(body, sent.status or self.status, headers, "application/json")

    def encode(self, answers: TypeAdapter[Any], value: Any) -> tuple[bytes, int | None]:
        """Write a result in the declared shape, and give its version if it has one."""
        if self.rows is None:
            answer = answers.validate_python(value, from_attributes=True)
            return answers.dump_json(answer), getattr(answer, "version", None)
        row = vars(value) if isinstance(value, SQLModel) else value
        version = row.get("version") if isinstance(row, dict) else None
        return self.rows.dump_json(row, warnings=False), version


def checked(where: str, validate: Callable[[], Any], name: str | None = None) -> Any:
    try:
        return validate()
    except ValidationError as error:
        mistakes = error.errors(include_url=False, include_input=False)
        if mistakes[0]["type"] == "json_invalid":
            raise Unreadable from None
        raise WrongShape(where, [{**m, "loc": (name, *m["loc"])} if name else m for m in mistakes]) from None


async def read_body(request: Request, adapter: TypeAdapter[Any], context: dict[str, Any]) -> Any:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise NotJson
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES:
            raise TooLarge
    return checked("body", lambda: adapter.validate_json(bytes(body), context=context))


def single_header(request: Request, name: str) -> str | None:
    """Give the value of a header; one that is given twice is a mistake."""
    values = request.headers.getlist(name)
    if len(values) > 1:
        raise WrongShape("header", [{"loc": [name], "msg": "This is given more than once"}])
    return values[0].strip() if values else None


def single_values(request: Request) -> dict[str, str]:
    """Give the query as a mapping; a key given twice is a mistake."""
    values: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name in values:
            raise WrongShape("query", [{"loc": [name], "msg": "This is given more than once"}])
        values[name] = value
    return values


class Api:
    """The endpoints, in the order they were declared."""

    def __init__(self) -> None:
        self.endpoints: list[Endpoint] = []

    def __call__(
        self,
        method: str,
        path: str,
        *,
        tag: str,
        access: Access = ANYONE,
        status: int = 200,
        refuses: tuple[type[no.Refusal], ...] = (),
        headers: tuple[str, ...] = (),
    ) -> Callable[[Callable[..., Awaitable[Any]]], Callable[..., Awaitable[Any]]]:
        """Declare that this handler answers this method of this path."""

        def declare(handler: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
            self.endpoints.append(Endpoint(method, path, handler, status, access, refuses, tag, headers))
            return handler

        return declare

    @property
    def routes(self) -> list[Route]:
        """One route a path, so that a wrong method is answered with the right ones."""
        paths: dict[str, dict[str, Endpoint]] = {}
        for endpoint in self.endpoints:
            paths.setdefault(endpoint.path, {})[endpoint.method] = endpoint
        return [Route(path, Methods(methods), methods=list(methods)) for path, methods in paths.items()]


@dataclass(frozen=True)
class Methods:
    """The endpoints of one path. An application, and no function, which Starlette would wrap in two layers more."""

    endpoints: Mapping[str, Endpoint]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the endpoint of the method answer."""
        endpoint = self.endpoints["GET" if scope["method"] == "HEAD" else scope["method"]]
        response = await endpoint(Request(scope, receive, send))
        await response(scope, receive, send)
