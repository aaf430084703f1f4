"""Reading a request: its body, path and query as the declared types, and what is wrong with them in plain words."""

import re
import typing
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request

from api.problems import MAX_ERRORS, FieldError, NotJson, TooLarge, Unreadable, WrongShape
from api.schemas import RequestModel
from bookit.policy import limits
from bookit.validation_messages import format_error

T = TypeVar("T")
JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"  # RFC 7396: what the body of every PATCH means
# Parameters that browsers, libraries and links in mails add, and that mean nothing here.
IGNORED_PARAMETERS = re.compile(r"_|utm_\w*", re.ASCII)


class NoQuery(RequestModel):
    """The query of an endpoint without parameters."""


class Body:
    """The body that an endpoint takes: its model, and the content types in which it may be sent."""

    def __init__(self, body_type: Any, *, method: str) -> None:
        """Take a model, or ``Model | None`` for a body that may be missing."""
        model, *rest = typing.get_args(body_type) or (body_type,)
        self.is_required = not rest
        self.adapter: TypeAdapter[object] = TypeAdapter(model)
        self.field_names = list(model.model_fields)
        self.media_types = (JSON, MERGE_PATCH) if method == "PATCH" else (JSON,)

    async def read(self, request: Request, context: dict[str, object]) -> object:
        """Return the validated body. Raise a refusal if it is missing, not JSON, too large, or not valid."""
        body = await read_bytes(request)
        if not body and self.is_required:
            raise WrongShape([FieldError(loc=["body"], msg=self.missing_message)])
        if not body:
            return None
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() not in self.media_types:
            raise NotJson
        validate = partial(self.adapter.validate_json, body, context=context)
        return run_validation(validate, "body", allowed=self.field_names)

    @property
    def missing_message(self) -> str:
        """What to send where no body was sent."""
        names = ", ".join(self.field_names)
        return f"This request needs a body. Send a JSON object as {JSON}. Its fields are {names}."


def run_validation(validate: Callable[[], T], *location: str, allowed: Sequence[str] = ()) -> T:
    """Return the validated value. Raise ``WrongShape`` with the errors of Pydantic below this location.

    ``allowed`` are the names that an unknown one is answered with.
    """
    try:
        return validate()
    except ValidationError as error:
        details = error.errors(include_url=False)
        if details[0]["type"] == "json_invalid":
            raise Unreadable from None
        raise WrongShape(
            [
                FieldError(loc=[*location, *detail["loc"]], msg=describe_error(detail, location[0], allowed))
                for detail in details[:MAX_ERRORS]
            ]
        ) from None


def describe_error(detail: Mapping[str, Any], location: str, allowed: Sequence[str]) -> str:
    """Return what is wrong with a value, as a sentence; an unknown name is answered with the known ones."""
    if detail["type"] != "extra_forbidden":
        return format_error(detail)
    kind = "parameter" if location == "query" else "field"
    if not allowed:
        return f"There is no such {kind}. This address takes none."
    return f"There is no such {kind}. Use {', '.join(allowed)}."


async def read_bytes(request: Request) -> bytes:
    """Return the body as it was sent. Raise ``TooLarge``."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limits.MAX_BODY_BYTES:
            raise TooLarge
    return bytes(body)


def get_single_query_values(request: Request) -> dict[str, str]:
    """Return the query as a mapping, without ignored parameters. Raise ``WrongShape`` for a key that is sent twice."""
    values: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if IGNORED_PARAMETERS.fullmatch(name):
            continue
        if name in values:
            raise WrongShape.at("query", name, "Send this parameter only once.")
        values[name] = value
    return values
