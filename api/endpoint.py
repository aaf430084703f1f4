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

from api.auth import get_current_user
from api.problems import NotJson, TooLarge, Unreadable, WrongShape, refusal_response, status_of
from api.schemas import make_row_adapter
from bookit import refusals as no
from bookit.db.errors import retry_interrupted
from bookit.db.pool import Database
from bookit.db.session import Session, SingleStatement
from bookit.policy.permissions import Actor, Verb, require_permission
from bookit.schema.tables import User
from bookit.settings import Settings

MAX_BODY_BYTES = 64 * 1024  # Ten times the longest there is; a MiB of nonsense would take half a second to read.
ETAG = re.compile(r'(?:W/)?"([0-9]{1,9})"')


@dataclass(frozen=True)
class Access:
    """Who may call an endpoint at all. The rules behind it may narrow this to one's own rows.

    ``knows_you``: open to everybody, and to those who sign in as themselves.
    """

    is_auth_required: bool = False
    is_auth_optional: bool = False
    is_staff_only: bool = False
    verb: Verb | None = None
    table: type[SQLModel] | None = None

    def require(self, actor: Actor) -> None:
        """Refuse whoever may not call this."""
        if self.is_staff_only and not actor.is_staff:
            raise no.Forbidden
        if self.verb and self.table:
            require_permission(actor, self.verb, self.table)


ANYONE = Access()
OPTIONAL_AUTH = Access(is_auth_optional=True)
AUTH_REQUIRED = Access(is_auth_required=True)
STAFF_ONLY = Access(is_auth_required=True, is_staff_only=True)


def access_for(verb: Verb, table: type[SQLModel]) -> Access:
    """Give access to those whom ``policy.may`` lets do this."""
    return Access(is_auth_required=True, verb=verb, table=table)


@dataclass(frozen=True)
class RequestContext:
    """One request as a handler needs it: who asks, when, and the database."""

    request: Request
    by: Actor
    now: datetime
    to_response: Callable[[Any], Response]
    user: User | None = None

    @property
    def actor_and_time(self) -> dict[str, Any]:
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
    def client_ip(self) -> str:
        """Where this request comes from."""
        return self.request.client.host if self.request.client else ""

    @property
    def expected_version(self) -> int | None:
        """The version the client saw last, from ``If-Match``; None when it does not say, or says ``*``."""
        given = get_single_header(self.request, "If-Match")
        if given is None or given == "*":
            return None
        number = ETAG.fullmatch(given)
        if number is None:
            mistake = {"loc": ["If-Match"], "msg": 'This is not an ETag BookIt gave out, such as "3"'}
            raise WrongShape("header", [mistake])
        return int(number[1])

    def transaction(self) -> AbstractAsyncContextManager[Session]:
        """One request, one transaction, in this person's name."""
        return self.database.transaction(**self.actor_and_time, request_id=self.request_id)

    def single_statement(self) -> AbstractAsyncContextManager[SingleStatement]:
        """The same for an act that is one statement: see ``Database.single_statement``."""
        return self.database.single_statement(**self.actor_and_time, request_id=self.request_id)

    @property
    def request_id(self) -> str:
        """The number of this request, by which the log and history know it."""
        return str(self.request.scope.get("request_id", ""))


@dataclass(frozen=True)
class Result:
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
    refusals: tuple[type[no.Refusal], ...]
    tag: str
    headers: tuple[str, ...] = ()
    input_adapters: Mapping[str, TypeAdapter[Any]] = field(init=False)
    query_model: type[BaseModel] | None = field(init=False)
    response_adapter: TypeAdapter[Any] | None = field(init=False)
    row_adapter: TypeAdapter[Any] | None = field(init=False)

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(self.handler, include_extras=True)
        answer = hints.pop("return")
        self.response_adapter = None if answer is type(None) else TypeAdapter(answer)
        self.row_adapter = make_row_adapter(answer)
        self.query_model = hints.get("query")
        in_path = {name for name in hints if f"{{{name}}}" in self.path}
        self.input_adapters = {name: TypeAdapter(hints[name]) for name in ("body", *sorted(in_path)) if name in hints}

    @property
    def operation_id(self) -> str:
        """What generated clients call this: list_services is listServices there."""
        first, *rest = self.handler.__name__.split("_")
        return first + "".join(map(str.capitalize, rest))

    @property
    def error_statuses(self) -> list[int]:
        """Every status of a refusal that this may answer with."""
        found = {status_of(refusal) for refusal in self.refusals}
        if self.access.is_auth_required or self.access.is_auth_optional:
            found.add(401)
        if self.access.verb or self.access.is_staff_only:
            found.add(403)
        if self.input_adapters or self.query_model:
            found.add(422)
        if "body" in self.input_adapters:
            found |= {400, 413, 415}
        return sorted(found | {503})

    @property
    def is_public_read(self) -> bool:
        """Whether what this answers depends on the address alone."""
        return self.access == ANYONE and self.method == "GET" and not self.input_adapters

    async def __call__(self, request: Request) -> Response:
        """Answer a request; what all may read, together for all who ask at once."""
        if not self.is_public_read:
            return await self.respond(request)

        address = (request.scope["path"], request.scope["query_string"])
        database: Database = request.app.state.database
        return await database.coalesce(address, lambda: self.respond(request))

    async def respond(self, request: Request) -> Response:
        """Let the person in, read the request, run the handler, send what it gives."""
        try:
            call = await self.authenticate(request)
            given = await self.parse_request(call)
            result = await retry_interrupted(lambda: self.handler(call, **given))
        except no.Refusal as refusal:
            return refusal_response(refusal)
        return self.to_response(result)

    async def authenticate(self, request: Request) -> RequestContext:
        """Find out who is asking; access comes before everything else, so that strangers learn nothing."""
        now: datetime = request.app.state.clock()
        is_known = self.access.is_auth_optional and "authorization" in request.headers
        if not (self.access.is_auth_required or is_known):
            return RequestContext(request, Actor("api"), now, self.to_response)
        user = await get_current_user(request, now=now)
        by = Actor("api", user.id, user.role)
        request.scope["actor"] = by
        self.access.require(by)
        return RequestContext(request, by, now, self.to_response, user)

    async def parse_request(self, request_context: RequestContext) -> dict[str, Any]:
        """Read what the handler names."""
        context = {"zone": request_context.settings.zone}
        given: dict[str, Any] = {}
        for name, adapter in self.input_adapters.items():
            if name == "body":
                given[name] = await read_body(request_context.request, adapter, context)
            else:
                in_path = partial(adapter.validate_python, request_context.request.path_params[name])
                given[name] = run_validation("path", in_path, name)
        if self.query_model:
            query = self.query_model
            values = get_single_query_values(request_context.request)
            given["query"] = run_validation("query", lambda: query.model_validate(values, context=context))
        return given

    def to_response(self, result: Any) -> Response:
        """Send a result in the declared shape, and its version for the next ``If-Match``."""
        if isinstance(result, Response):
            return result
        sent = result if isinstance(result, Result) else Result(result)
        if self.response_adapter is None:
            return Response(status_code=204, headers=dict(sent.headers))
        body, version = self.encode(self.response_adapter, sent.value)
        headers = dict(sent.headers)
        if version is not None:
            headers.setdefault("ETag", f'"{version}"')
        return Response(body, sent.status or self.status, headers, "application/json")

    def encode(self, adapter: TypeAdapter[Any], value: Any) -> tuple[bytes, int | None]:
        """Write a result in the declared shape, and give its version if it has one."""
        if self.row_adapter is None:
            answer = adapter.validate_python(value, from_attributes=True)
            return adapter.dump_json(answer), getattr(answer, "version", None)
        row = vars(value) if isinstance(value, SQLModel) else value
        version = row.get("version") if isinstance(row, dict) else None
        return self.row_adapter.dump_json(row, warnings=False), version


def run_validation(location: str, validate: Callable[[], Any], name: str | None = None) -> Any:
    try:
        return validate()
    except ValidationError as error:
        mistakes = error.errors(include_url=False, include_input=False)
        if mistakes[0]["type"] == "json_invalid":
            raise Unreadable from None
        raise WrongShape(location, [{**m, "loc": (name, *m["loc"])} if name else m for m in mistakes]) from None


async def read_body(request: Request, adapter: TypeAdapter[Any], context: dict[str, Any]) -> Any:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise NotJson
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise TooLarge
    return run_validation("body", lambda: adapter.validate_json(bytes(body), context=context))


def get_single_header(request: Request, name: str) -> str | None:
    """Give the value of a header; one that is given twice is a mistake."""
    values = request.headers.getlist(name)
    if len(values) > 1:
        raise WrongShape("header", [{"loc": [name], "msg": "This is given more than once"}])
    return values[0].strip() if values else None


def get_single_query_values(request: Request) -> dict[str, str]:
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
        refusals: tuple[type[no.Refusal], ...] = (),
        headers: tuple[str, ...] = (),
    ) -> Callable[[Callable[..., Awaitable[Any]]], Callable[..., Awaitable[Any]]]:
        """Declare that this handler answers this method of this path."""

        def declare(handler: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
            self.endpoints.append(Endpoint(method, path, handler, status, access, refusals, tag, headers))
            return handler

        return declare

    @property
    def routes(self) -> list[Route]:
        """One route a path, so that a wrong method is answered with the right ones."""
        paths: dict[str, dict[str, Endpoint]] = {}
        for endpoint in self.endpoints:
            paths.setdefault(endpoint.path, {})[endpoint.method] = endpoint
        return [Route(path, MethodDispatcher(methods), methods=list(methods)) for path, methods in paths.items()]


@dataclass(frozen=True)
class MethodDispatcher:
    """The endpoints of one path. An application, and no function, which Starlette would wrap in two layers more."""

    endpoints: Mapping[str, Endpoint]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the endpoint of the method answer."""
        endpoint = self.endpoints["GET" if scope["method"] == "HEAD" else scope["method"]]
        response = await endpoint(Request(scope, receive, send))
        await response(scope, receive, send)
