"""The OpenAPI 3.1 document, made from the declared endpoints."""

import inspect
from collections.abc import Sequence
from typing import Any, cast

from pydantic import TypeAdapter

from api.endpoint import Endpoint
from api.problems import STATUS_TITLES, Problem
from bookit import __version__

REF_TEMPLATE = "#/components/schemas/{model}"
HEADER_PARAMETERS: dict[str, dict[str, Any]] = {
    "Idempotency-Key": {
        "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
        "description": "A word of the client's own. The same request sent again with it is not carried out again.",
    },
    "If-Match": {
        "schema": {"type": "string", "pattern": '^(\\*|(W/)?"[0-9]{1,9}")$'},
        "description": "The ETag the client saw last; refused with 412 when somebody changed the row since.",
    },
    "If-None-Match": {
        "schema": {"type": "string"},
        "description": "The ETag the client saw last; answered with 304 while nothing changed.",
    },
}
API_DESCRIPTION = """
Book a visit: find a service, register or sign in, and post a booking.

Times are RFC 3339 with an offset; without one they are read by the business's own clock. Lists are arrays, and the
next page is in the `Link` header. Whatever is refused is answered with a problem document (RFC 9457) whose `detail`
is a sentence for people and whose `code` is a word for programs.
""".strip()

Schemas = dict[Any, dict[str, Any]]


def build_document(endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """Give the document of these endpoints."""
    schemas, components = build_schemas(endpoints)
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = build_operation(endpoint, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "BookIt", "version": __version__, "description": API_DESCRIPTION},
        "servers": [{"url": "/"}, {"url": "/v1"}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }


def build_schemas(endpoints: Sequence[Endpoint]) -> tuple[Schemas, dict[str, Any]]:
    """Give the JSON schema of everything read and answered, and the components they refer to."""
    wanted: list[Any] = [("problem", "serialization", TypeAdapter(Problem))]
    for number, endpoint in enumerate(endpoints):
        wanted += [((number, name), "validation", adapter) for name, adapter in endpoint.input_adapters.items()]
        if endpoint.response_adapter:
            wanted.append(((number, "answer"), "serialization", endpoint.response_adapter))
        if endpoint.query_model:
            wanted.append(((number, "query"), "validation", TypeAdapter(endpoint.query_model)))
    found, definitions = TypeAdapter.json_schemas(wanted, ref_template=REF_TEMPLATE)
    components = definitions.get("$defs", {})
    found = cast("dict[Any, dict[str, Any]]", found)  # The keys are our own, whatever the stub says.
    schemas: Schemas = {"problem": found["problem", "serialization"]}
    for (key, _), schema in found.items():
        if isinstance(key, tuple):
            number, part = key
            endpoint = endpoints[number]
            schemas[endpoint.method, endpoint.path, part] = schema
    inline_queries(schemas, components)
    return schemas, components


def inline_queries(schemas: Schemas, components: dict[str, Any]) -> None:
    """Put queries in place of what refers to them: each of their values is a parameter, and they no component."""
    queries = {key: schema["$ref"].rsplit("/", 1)[1] for key, schema in schemas.items() if is_shared_query(key, schema)}
    for key, name in queries.items():
        schemas[key] = components[name]
    for name in set(queries.values()):
        del components[name]


def is_shared_query(key: object, schema: dict[str, Any]) -> bool:
    """Whether this is the query of several endpoints."""
    return isinstance(key, tuple) and key[-1] == "query" and "$ref" in schema


def build_operation(endpoint: Endpoint, schemas: Schemas) -> dict[str, Any]:
    """Describe one method of one path."""
    key = (endpoint.method, endpoint.path)
    summary, _, rest = (inspect.getdoc(endpoint.handler) or "").partition("\n")
    described: dict[str, Any] = {
        "operationId": endpoint.operation_id,
        "summary": summary,
        "tags": [endpoint.tag],
        "parameters": build_parameters(endpoint, schemas),
        "responses": build_responses(endpoint, schemas),
    }
    if rest.strip():
        described["description"] = rest.strip()
    if "body" in endpoint.input_adapters:
        content = {"application/json": {"schema": schemas[*key, "body"]}}
        described["requestBody"] = {"required": True, "content": content}
    if endpoint.access.is_auth_required:
        described["security"] = [{"bearer": []}]
    elif endpoint.access.is_auth_optional:
        described["security"] = [{}, {"bearer": []}]
    return described


def build_parameters(endpoint: Endpoint, schemas: Schemas) -> list[dict[str, Any]]:
    """Describe what an address, its query and its headers may hold."""
    key = (endpoint.method, endpoint.path)
    found = [
        {"name": name, "in": "path", "required": True, "schema": schemas[*key, name]}
        for name in endpoint.input_adapters
        if name != "body"
    ]
    if endpoint.query_model:
        query = schemas[*key, "query"]
        found += [
            {"name": name, "in": "query", "schema": drop_null(schema)}
            | ({"required": True} if name in query.get("required", ()) else {})
            for name, schema in query["properties"].items()
        ]
    found += [{"name": name, "in": "header", **HEADER_PARAMETERS[name]} for name in endpoint.headers]
    return found


def drop_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Give the schema of a value as a query can send it: there or not, but never null."""
    kinds = [kind for kind in schema.get("anyOf", []) if kind != {"type": "null"}]
    rest = {
        name: value for name, value in schema.items() if name not in {"anyOf", "default"} or value not in (None, [])
    }
    if not kinds:
        return rest
    rest.pop("anyOf", None)
    rest.pop("default", None)
    return {**rest, **kinds[0]} if len(kinds) == 1 else {**rest, "anyOf": kinds}


def build_responses(endpoint: Endpoint, schemas: Schemas) -> dict[str, Any]:
    """Describe what may be answered."""
    done: dict[str, Any] = {"description": {200: "Done", 201: "Created", 204: "Gone"}[endpoint.status]}
    if endpoint.response_adapter:
        done["content"] = {"application/json": {"schema": schemas[endpoint.method, endpoint.path, "answer"]}}
    problem = {"application/problem+json": {"schema": schemas["problem"]}}
    refused = {str(code): {"description": STATUS_TITLES[code], "content": problem} for code in endpoint.error_statuses}
    known = {"304": {"description": "Not changed"}} if "If-None-Match" in endpoint.headers else {}
    return {str(endpoint.status): done, **known, **refused}
