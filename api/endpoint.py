"""Endpoints: one declaration is request parsing, response encoding and OpenAPI documentation.

The signature of a handler is the declaration: ``async def handler(context, body: NewReview, query: ReviewQuery, id:
PathId) -> ReviewResponse``. The arguments it names are parsed and passed, the value it returns is encoded as its return
type, and ``openapi.py`` documents both. Endpoints without such a handler are ``Endpoint`` values.
"""

import inspect
import typing
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pydantic import BaseModel, TypeAdapter
from sqlmodel import SQLModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from api.access import ANYONE, Access
from api.auth import challenge, get_current_user
from api.context import RequestContext, Result, get_database, get_time
from api.idempotency import idempotently, read_key, refuse_key
from api.parsing import JSON, Body, NoQuery, get_single_query_values, run_validation
from api.preconditions import has_preconditions, read_preconditions
from api.problems import WrongShape, refusal_response, status_of
from api.schemas import make_row_adapter
from bookit import refusals as no
from bookit.db.errors import retry_interrupted
from bookit.policy import rates
from bookit.policy.permissions import Actor
from bookit.policy.rates import RequestKind
from web.rate_limits import limit

Handler = Callable[..., Awaitable[object]]
CONDITIONAL_HEADERS = ("If-Match", "If-None-Match")


@dataclass(kw_only=True, eq=False)
class Endpoint:
    """One route and method: request models, access, possible errors, response model."""

    method: str
    path: str
    handler: Handler
    name: str
    description: str
    inputs: Mapping[str, Any]  # the types of the arguments "body", "query" and those in the path, by name
    response_type: Any  # None: the response has no body
    tag: str
    status: int = 200
    access: Access = ANYONE
    refusals: tuple[type[no.Refusal], ...] = ()
    headers: tuple[str, ...] = ()
    kind: RequestKind | None = None  # by which requests are counted: without one, as reads or as writes
    body: Body | None = field(init=False)
    path_adapters: Mapping[str, TypeAdapter[object]] = field(init=False)
    query_model: type[BaseModel] = field(init=False)
    response_adapter: TypeAdapter[object] | None = field(init=False)
    row_adapter: TypeAdapter[object] | None = field(init=False)

    def __post_init__(self) -> None:
        self.body = Body(self.inputs["body"], method=self.method) if "body" in self.inputs else None
        path_inputs = {name: self.inputs[name] for name in self.inputs if name not in {"body", "query"}}
        self.path_adapters = {name: TypeAdapter(input_type) for name, input_type in path_inputs.items()}
        self.query_model = self.inputs.get("query", NoQuery)
        if self.takes_key:
            self.headers = (*self.headers, "Idempotency-Key")
        self.kind = self.kind or (rates.READS if self.method == "GET" else rates.WRITES)
        self.response_adapter = None if self.response_type is None else TypeAdapter(self.response_type)
        self.row_adapter = make_row_adapter(self.response_type)

    @property
    def operation_id(self) -> str:
        """The name of this endpoint in generated clients: list_services is listServices there."""
        first, *rest = self.name.split("_")
        return first + "".join(map(str.capitalize, rest))

    @property
    def error_statuses(self) -> list[int]:
        """Every status of a refusal that this endpoint may answer with."""
        statuses = {status_of(refusal) for refusal in self.refusals} | self.access.error_statuses | {422, 429, 503}
        if "body" in self.inputs:
            statuses |= {400, 413, 415}
        return sorted(statuses)

    @property
    def takes_key(self) -> bool:
        """Whether the endpoint honours ``Idempotency-Key``: it makes something for a signed-in user."""
        return self.method == "POST" and self.access.is_auth_required

    @property
    def is_public_read(self) -> bool:
        """Whether the response depends on the address alone."""
        return self.access == ANYONE and self.method == "GET" and not self.path_adapters

    async def __call__(self, request: Request) -> Response:
        """Handle a request; identical public GETs without conditions are coalesced."""
        if not self.is_public_read or has_preconditions(request.scope):
            return await self.respond(request)

        address = (request.scope["path"], request.scope["query_string"])
        return await get_database(request).coalesce(address, partial(self.respond, request))

    async def respond(self, request: Request) -> Response:
        """Authenticate, parse the request, run the handler, and encode its result or its refusal."""
        try:
            context = await self.authenticate(request)
            if self.kind and context.user:
                await limit(request.scope, self.kind, account=context.by.id, role=context.by.role)
        except no.Refusal as refusal:
            return refusal_response(refusal, challenge(refusal))
        try:
            arguments = await self.parse_request(context)
            result = await retry_interrupted(self.prepare(context, arguments))
        except no.Refusal as refusal:
            return refusal_response(refusal, challenge(refusal) if self.access.is_auth_in_handler else None)
        return self.to_response(result)

    def prepare(self, context: RequestContext, arguments: Mapping[str, object]) -> Callable[[], Awaitable[object]]:
        """Return the handler with its arguments; with an idempotency key, it runs once for this key."""
        key = read_key(context) if self.method == "POST" else None
        if key is None:
            return partial(self.handler, context, **arguments)
        if not self.takes_key:
            refuse_key()
        return partial(idempotently, context, key, self.handler, arguments)

    async def limit_visitor(self, scope: Scope) -> None:
        """Count a request by its address, unless its user will be known. Raise ``TooManyRequests``."""
        access = self.access
        is_user = access.is_auth_required or (access.is_auth_optional and has_header(scope, b"authorization"))
        if self.kind and not is_user:
            await limit(scope, self.kind)

    async def authenticate(self, request: Request) -> RequestContext:
        """Return the context with the signed-in user. Access comes before parsing, so that strangers learn nothing."""
        now = get_time(request)
        has_token = self.access.is_auth_optional and "authorization" in request.headers
        if not (self.access.is_auth_required or has_token):
            return RequestContext(request, Actor("api"), now, self.to_response)
        user, sign_in_id, *_ = await get_current_user(request, now=now)
        by = Actor.of("api", user, sign_in_id)
        request.scope["actor"] = by
        self.access.require(by)
        return RequestContext(request, by, now, self.to_response, user)

    async def parse_request(self, context: RequestContext) -> dict[str, object]:
        """Return the arguments of the handler by name. Raise ``WrongShape`` if they are not valid."""
        request = context.request
        if has_preconditions(request.scope):
            self.require_usable_preconditions(request)
        validation_context: dict[str, object] = {"zone": context.zone}
        arguments: dict[str, object] = {}
        if self.body:
            arguments["body"] = await self.body.read(request, validation_context)
        for name, adapter in self.path_adapters.items():
            validate_path = partial(adapter.validate_python, request.path_params[name])
            arguments[name] = run_validation(validate_path, "path", name)
        if "query" in self.inputs or request.scope["query_string"]:
            values = get_single_query_values(request)
            validate_query = partial(self.query_model.model_validate, values, context=validation_context)
            arguments["query"] = run_validation(validate_query, "query", allowed=list(self.query_model.model_fields))
        if "query" not in self.inputs:
            arguments.pop("query", None)
        return arguments

    def require_usable_preconditions(self, request: Request) -> None:
        """Raise ``WrongShape`` for ETags that are none, and for those of a request that has nothing to compare."""
        read_preconditions(request.headers)
        if self.method == "POST":
            name = next(name for name in CONDITIONAL_HEADERS if name in request.headers)
            raise WrongShape.at("header", name, "This request changes no version that exists. Leave this header out.")

    def to_response(self, result: object) -> Response:
        """Encode a result as the declared type, with its version as ``ETag``."""
        if isinstance(result, Response):
            return result
        value, headers = (result.value, dict(result.headers)) if isinstance(result, Result) else (result, {})
        if self.response_adapter is None:
            return Response(status_code=204, headers=headers)
        body, version = self.encode(self.response_adapter, value)
        if version is not None:
            headers.setdefault("ETag", f'"{version}"')
        return Response(body, self.status, headers, JSON)

    def encode(self, adapter: TypeAdapter[object], value: object) -> tuple[bytes, object]:
        """Return a value as JSON, and its version or None."""
        if self.row_adapter is None:
            answer = adapter.validate_python(value, from_attributes=True)
            return adapter.dump_json(answer), getattr(answer, "version", None)
        row = vars(value) if isinstance(value, SQLModel) else value
        version = row.get("version") if isinstance(row, dict) else None
        return self.row_adapter.dump_json(row, warnings=False), version


class Api:
    """The endpoints of one subject, in the order of their declaration."""

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
        kind: RequestKind | None = None,
    ) -> Callable[[Handler], Handler]:
        """Declare the decorated function as the handler of this method of this path."""

        def declare(handler: Handler) -> Handler:
            types = typing.get_type_hints(handler, include_extras=True)
            response_type = types.pop("return")
            endpoint = Endpoint(
                method=method,
                path=path,
                handler=handler,
                name=handler.__name__,
                description=inspect.getdoc(handler) or "",
                inputs={name: types[name] for name in types if name in {"body", "query"} or f"{{{name}}}" in path},
                response_type=None if response_type is type(None) else response_type,
                tag=tag,
                status=status,
                access=access,
                refusals=refusals,
                headers=headers,
                kind=kind,
            )
            self.endpoints.append(endpoint)
            return handler

        return declare

    @property
    def routes(self) -> list[Route]:
        """One route per path, so that the answer to a wrong method lists the right ones."""
        paths: dict[str, dict[str, Endpoint]] = {}
        for endpoint in self.endpoints:
            paths.setdefault(endpoint.path, {})[endpoint.method] = endpoint
        return [Route(path, MethodDispatcher(methods), methods=list(methods)) for path, methods in paths.items()]


def has_header(scope: Scope, name: bytes) -> bool:
    return any(header == name for header, _ in scope["headers"])


@dataclass(frozen=True)
class MethodDispatcher:
    """Passes a request to the endpoint of its method.

    It is an ASGI application, because Starlette would wrap a function in two more layers.
    """

    endpoints: Mapping[str, Endpoint]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response of the endpoint; HEAD is answered as GET."""
        endpoint = self.endpoints["GET" if scope["method"] == "HEAD" else scope["method"]]
        await endpoint.limit_visitor(scope)
        response = await endpoint(Request(scope, receive, send))
        await response(scope, receive, send)
