"""Refusals as ``application/problem+json`` (RFC 9457)."""

import logging
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from api.schemas import Slot, slot_from_row
from bookit import refusals as no
from bookit.validation_messages import format_error

log = logging.getLogger("bookit.api")

# The kinds in the order of their status; a refusal answers with the first kind it is.
STATUS_BY_REFUSAL: dict[type[no.Refusal], int] = {
    no.Invalid: 400,
    no.Unauthenticated: 401,
    no.Forbidden: 403,
    no.Missing: 404,
    no.Conflict: 409,
    no.Stale: 412,
    no.Misshapen: 422,
    no.TooMany: 429,
    no.Busy: 503,
}
# Python's own phrases differ from version to version.
STATUS_TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    409: "Conflict",
    412: "Precondition Failed",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    422: "Unprocessable Content",
    429: "Too Many Requests",
    500: "Internal Server Error",
    503: "Service Unavailable",
}
STATUS_DETAILS = {
    404: "There is nothing here.",
    405: "This address does not take this method.",
    500: "Something went wrong on our side. It has been written down.",
}


class Mistake(BaseModel):
    """One place of a request that does not have the right shape."""

    loc: list[str | int] = Field(description="Where: body, query, path or header, then the way to the value.")
    msg: str


class Problem(BaseModel):
    """Why a request was not carried out (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="The address of a description of this kind of problem.")
    title: str
    status: int
    detail: str = Field(description="A sentence for a person.")
    code: str = Field(description="A word for a program.")
    field: str | None = Field(default=None, description="The field it is about.")
    next_free: list[Slot] | None = Field(default=None, description="When a time cannot be booked: the next that can.")
    errors: list[Mistake] | None = Field(default=None, description="With 422: every mistake.")


class Unreadable(no.Invalid):
    """The body is not JSON that can be read."""


class NotJson(no.Refusal):
    """Please send the body as application/json."""


class TooLarge(no.Refusal):
    """That is too much at once: a body has at most 64 KiB."""


class WrongShape(no.Misshapen):
    """Some values are missing or not valid."""

    def __init__(self, location: str, errors: Sequence[Any]) -> None:
        """Take Pydantic's list of errors of one part of the request; the first hundred are told."""
        super().__init__()
        self.errors = [Mistake(loc=[location, *found["loc"]], msg=format_error(found)) for found in errors[:MAX_ERRORS]]


MAX_ERRORS = 100
# Refusals that only a request of this door can meet.
API_ONLY_STATUS_BY_REFUSAL: dict[type[no.Refusal], int] = {TooLarge: 413, NotJson: 415}


def status_of(refusal: type[no.Refusal]) -> int:
    """Give the status a kind of refusal answers with."""
    return next(
        status for kind, status in (STATUS_BY_REFUSAL | API_ONLY_STATUS_BY_REFUSAL).items() if issubclass(refusal, kind)
    )


def problem_response(
    status: int, code: str, detail: str, *, headers: dict[str, str] | None = None, **more: Any
) -> Response:
    """Answer with a problem document."""
    document = Problem(type=f"/problems/{code}", title=STATUS_TITLES.get(status, "Error"), status=status, detail=detail,
                       code=code, **more)  # fmt: skip
    body = document.model_dump_json(exclude_none=True)
    return Response(body, status, headers, "application/problem+json")


def refusal_response(refusal: no.Refusal) -> Response:
    """Answer with why not."""
    status = status_of(type(refusal))
    headers: dict[str, str] = {}
    if isinstance(refusal, no.Unauthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(refusal, no.Busy | no.TooMany):
        headers["Retry-After"] = str(refusal.retry_after_seconds)
    if isinstance(refusal, no.Busy):
        log.warning("busy", exc_info=refusal.__cause__)
    if isinstance(refusal, WrongShape):
        first = refusal.errors[0]
        named = [part for part in first.loc[1:] if isinstance(part, str)]
        detail = f"{'.'.join(map(str, first.loc[1:])) or first.loc[0]}: {first.msg}"
        return problem_response(
            status, refusal.code(), detail, field=named[-1] if named else None, errors=refusal.errors
        )
    more: dict[str, Any] = {"field": refusal.field} if refusal.field else {}
    if refusal.next_free is not None:
        more["next_free"] = [slot_from_row(row) for row in refusal.next_free]
    if isinstance(refusal, no.Misshapen):
        more["errors"] = [Mistake(loc=["body", refusal.field] if refusal.field else ["body"], msg=str(refusal))]
    return problem_response(status, refusal.code(), str(refusal), headers=headers, **more)


async def handle_refusal(request: Request, error: Exception) -> Response:
    """Answer a refusal raised outside an endpoint."""
    del request
    return refusal_response(error) if isinstance(error, no.Refusal) else internal_error_response()


async def handle_http_error(request: Request, error: Exception) -> Response:
    """Answer what Starlette itself refuses: an unknown address, a wrong method, a body too large."""
    del request
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    title = STATUS_TITLES.get(status, "Error")
    return problem_response(
        status, title.lower().replace(" ", "-"), STATUS_DETAILS.get(status, f"{title}."), headers=headers
    )


def internal_error_response() -> Response:
    """Answer an error nobody foresaw, giving nothing away; the server's log has it all."""
    return problem_response(500, "internal-server-error", STATUS_DETAILS[500])


def iter_refusals(kind: type[no.Refusal] = no.Refusal) -> Iterator[type[no.Refusal]]:
    """Give every refusal there is, kinds included."""
    for refusal in kind.__subclasses__():
        yield refusal
        yield from iter_refusals(refusal)


async def describe_problem(request: Request) -> Response:
    """Say what a problem's type means."""
    code = request.path_params["code"]
    for refusal in iter_refusals():
        if refusal.code() == code:
            meaning = {"code": code, "status": status_of(refusal), "meaning": refusal.__doc__}
            return Response(ProblemMeaning(**meaning).model_dump_json(), media_type="application/json")
    raise HTTPException(404)


class ProblemMeaning(BaseModel):
    """What a kind of problem means."""

    code: str
    status: int
    meaning: str
