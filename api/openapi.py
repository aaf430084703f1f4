"""The OpenAPI 3.1 document, built from the declared endpoints."""

import json
from collections.abc import Sequence
from functools import cache
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode, JsonSchemaValue

from api.endpoint import Endpoint
from api.problems import STATUS_TITLES, Problem
from bookit import __version__
from web.statuses import RETRY_AFTER

REF_TEMPLATE = "#/components/schemas/{model}"
SUCCESS_DESCRIPTIONS = {200: "OK", 201: "Created", 204: "No content"}
ETAGS_PATTERN = r'^(\*|(W/)?"[!#-~]*"(, ?(W/)?"[!#-~]*")*)$'
HEADER_PARAMETERS: dict[str, JsonSchemaValue] = {
    "Idempotency-Key": {
        "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
        "description": "A key that the client chooses. A repeated request with it is not carried out again.",
    },
    "If-Match": {
        "schema": {"type": "string", "pattern": ETAGS_PATTERN},
        "description": "ETags that the client has read, or `*`. The answer is 412 if the row has none of them now. A"
        " weak ETag (`W/`) never matches.",
    },
    "If-None-Match": {
        "schema": {"type": "string", "pattern": ETAGS_PATTERN},
        "description": "ETags that the client has read, or `*`. If the row still has one of them, the answer to a GET"
        " is 304, and to any other method 412.",
    },
}
RATE_HEADERS: dict[str, JsonSchemaValue] = {
    RETRY_AFTER: {"schema": {"type": "integer", "minimum": 1}, "description": "In how many seconds to try again."},
    "RateLimit-Policy": {
        "schema": {"type": "string"},
        "description": "The quotas that this request counts for, and the seconds in which each is refilled.",
    },
    "RateLimit": {
        "schema": {"type": "string"},
        "description": "What is left of each, and in how many seconds it is full again, or there is enough of it.",
    },
}
API_DESCRIPTION = """
Book a visit: find a service, register or sign in, and post a booking.

Times are RFC 3339. A time without an offset is read in the time zone of the business. Lists are arrays; the `Link`
header has the address of the next page. Every error is a problem document (RFC 9457): its `detail` is a sentence for
people, its `code` is for programs.

A PATCH is a merge patch (RFC 7396): a field that is not sent keeps its value, and null sets a field to nothing where it
can have no value. Elsewhere null is refused. Unknown fields and parameters are refused, except the parameters `_` and
`utm_…`, which mean nothing.
""".strip()

SchemaKey = tuple[str, str, str]  # the method and path of an endpoint, and what the schema is of
Schemas = dict[SchemaKey, JsonSchemaValue]
Components = dict[str, JsonSchemaValue]
PROBLEM: SchemaKey = ("", "", "problem")


@cache
def render_document(endpoints: tuple[Endpoint, ...]) -> bytes:
    """Return the document as JSON. It is built once, at the first request, because that takes 32 ms."""
    return json.dumps(build_document(endpoints), indent=1).encode()


def build_document(endpoints: Sequence[Endpoint]) -> JsonSchemaValue:
    """Return the document of these endpoints."""
    schemas, components = build_schemas(endpoints)
    paths: dict[str, JsonSchemaValue] = {}
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


def build_schemas(endpoints: Sequence[Endpoint]) -> tuple[Schemas, Components]:
    """Return the JSON schema of every input and output, and the components to which they refer."""
    inputs: list[tuple[SchemaKey, JsonSchemaMode, TypeAdapter[Any]]] = [
        (PROBLEM, "serialization", TypeAdapter(Problem)),
    ]
    for endpoint in endpoints:
        for name, input_type in endpoint.inputs.items():
            adapter = endpoint.body.adapter if endpoint.body and name == "body" else TypeAdapter(input_type)
            inputs.append(((endpoint.method, endpoint.path, name), "validation", adapter))
        if endpoint.response_adapter:
            inputs.append(((endpoint.method, endpoint.path, "response"), "serialization", endpoint.response_adapter))
    keyed, definitions = TypeAdapter.json_schemas(inputs, ref_template=REF_TEMPLATE)
    schemas: Schemas = {key: schema for (key, _), schema in keyed.items()}
    components: Components = definitions.get("$defs", {})
    inline_queries(schemas, components)
    return schemas, components


def inline_queries(schemas: Schemas, components: Components) -> None:
    """Replace references to query models by their schemas: each field is a parameter, and the model no component."""
    references = {
        key: schema["$ref"].rsplit("/", 1)[1]
        for key, schema in schemas.items()
        if key[-1] == "query" and "$ref" in schema
    }
    for key, name in references.items():
        schemas[key] = components[name]
    for name in set(references.values()):
        del components[name]


def build_operation(endpoint: Endpoint, schemas: Schemas) -> JsonSchemaValue:
    """Describe one method of one path."""
    summary, _, description = endpoint.description.partition("\n")
    operation: JsonSchemaValue = {
        "operationId": endpoint.operation_id,
        "summary": summary,
        "tags": [endpoint.tag],
        "parameters": build_parameters(endpoint, schemas),
        "responses": build_responses(endpoint, schemas),
    }
    if description.strip():
        operation["description"] = description.strip()
    if endpoint.body:
        schema = schemas[endpoint.method, endpoint.path, "body"]
        content = {media_type: {"schema": schema} for media_type in endpoint.body.media_types}
        operation["requestBody"] = {"required": endpoint.body.is_required, "content": content}
    if endpoint.access.is_auth_required:
        operation["security"] = [{"bearer": []}]
    elif endpoint.access.has_optional_auth:
        operation["security"] = [{}, {"bearer": []}]
    return operation


def build_parameters(endpoint: Endpoint, schemas: Schemas) -> list[JsonSchemaValue]:
    """Describe the parameters in the path, the query and the headers."""
    parameters: list[JsonSchemaValue] = [
        {"name": name, "in": "path", "required": True, "schema": schemas[endpoint.method, endpoint.path, name]}
        for name in endpoint.path_adapters
    ]
    if "query" in endpoint.inputs:
        query = schemas[endpoint.method, endpoint.path, "query"]
        parameters += [
            {"name": name, "in": "query", "schema": drop_null(schema)}
            | ({"required": True} if name in query.get("required", ()) else {})
            for name, schema in query["properties"].items()
        ]
    return parameters + [{"name": name, "in": "header", **HEADER_PARAMETERS[name]} for name in endpoint.headers]


def drop_null(schema: JsonSchemaValue) -> JsonSchemaValue:
    """Return the schema of a query parameter, which may be absent but is never null."""
    types = [option for option in schema.get("anyOf", []) if option != {"type": "null"}]
    rest = {
        name: value for name, value in schema.items() if name not in {"anyOf", "default"} or value not in (None, [])
    }
    if not types:
        return rest
    rest.pop("anyOf", None)
    rest.pop("default", None)
    return {**rest, **types[0]} if len(types) == 1 else {**rest, "anyOf": types}


def build_responses(endpoint: Endpoint, schemas: Schemas) -> JsonSchemaValue:
    """Describe the responses by status."""
    success: JsonSchemaValue = {"description": SUCCESS_DESCRIPTIONS[endpoint.status]}
    if endpoint.response_adapter:
        schema = schemas[endpoint.method, endpoint.path, "response"]
        success["content"] = {"application/json": {"schema": schema}}
    problem = {"application/problem+json": {"schema": schemas[PROBLEM]}}
    errors: JsonSchemaValue = {
        str(status): {"description": STATUS_TITLES[status], "content": problem} for status in endpoint.error_statuses
    }
    errors["429"]["headers"] = RATE_HEADERS
    is_conditional_read = endpoint.method == "GET" and "If-None-Match" in endpoint.headers
    unchanged = {"304": {"description": "Not modified"}} if is_conditional_read else {}
    return {str(endpoint.status): success, **unchanged, **errors}
