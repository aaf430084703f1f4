"""Refusals as problem documents: ``application/problem+json`` (RFC 9457)."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Self

from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from api.schemas import Slot, slot_from_row
from bookit import refusals as no
from web import statuses

# The phrases of Python's http.HTTPStatus differ between versions.
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
    404: "There is nothing at this address.",
    405: "This address does not support this method.",
    500: "Something went wrong on our side. The error has been logged.",
}


class FieldError(BaseModel):
    """What is wrong with one value of a request."""

    loc: list[str | int] = Field(description="The path to the value, after body, query, path or header.")
    msg: str


class ExistingBooking(BaseModel):
    """A customer's own booking that another one would overlap."""

    id: int
    service_id: int
    start_time: datetime
    end_time: datetime


class StrandedVisit(BaseModel):
    """A booking of a visit to come that would no longer fit."""

    id: int
    service_id: int
    resource_id: int
    start_time: datetime
    end_time: datetime


class Problem(BaseModel):
    """Why a request was refused (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="The address that explains this kind of problem.")
    title: str
    status: int
    detail: str = Field(description="A sentence for people.")
    code: str = Field(description="A code for programs.")
    field: str | None = Field(default=None, description="The field that the problem is about.")
    next_free: list[Slot] | None = Field(
        default=None, description="If a time was refused: the next slots that can be booked."
    )
    existing_booking: ExistingBooking | None = Field(
        default=None, description="If the customer has another visit at this time: that one."
    )
    stranded: list[StrandedVisit] | None = Field(
        default=None, description="If visits to come would no longer fit: the first 100, by start."
    )
    errors: list[FieldError] | None = Field(default=None, description="With 422: every error.")


class Unreadable(no.Invalid):
    """The body is not valid JSON."""


class NotJson(no.Refusal):
    """Send the body as JSON, with the content type application/json."""


class TooLarge(no.Refusal):
    """The body is too large. Send at most 64 KiB."""


class WrongShape(no.Misshapen):
    """Some values are missing or not valid."""

    def __init__(self, errors: Sequence[FieldError]) -> None:
        super().__init__()
        self.errors = errors

    @classmethod
    def at(cls, location: str, name: str, message: str) -> Self:
        """Return the refusal of one value, such as a header."""
        return cls([FieldError(loc=[location, name], msg=message)])


MAX_ERRORS = 100
# Refusals that only a request to the API can meet.
API_ONLY_STATUSES: dict[type[no.Refusal], int] = {TooLarge: 413, NotJson: 415}


def status_of(refusal: type[no.Refusal]) -> int:
    """Return the HTTP status of a refusal."""
    return API_ONLY_STATUSES.get(refusal) or statuses.status_of(refusal)


def problem_response(problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    """Return a problem as a response."""
    return Response(problem.model_dump_json(exclude_none=True), problem.status, headers, "application/problem+json")


def build_problem(status: int, code: str, detail: str) -> Problem:
    """Return a problem with its type and title."""
    title = STATUS_TITLES.get(status, "Error")
    return Problem(type=f"/problems/{code}", title=title, status=status, detail=detail, code=code)


def refusal_response(refusal: no.Refusal, headers: Mapping[str, str] | None = None) -> Response:
    """Return a refusal as a problem document, with the headers of its kind."""
    problem = build_problem(status_of(type(refusal)), refusal.code(), str(refusal))
    problem.field = refusal.field
    if refusal.next_free is not None:
        problem.next_free = [slot_from_row(row) for row in refusal.next_free]
    if isinstance(refusal, no.OverlappingBooking):
        problem.existing_booking = ExistingBooking.model_validate(refusal.booking)
    if isinstance(refusal, no.StrandsVisits):
        problem.stranded = [StrandedVisit.model_validate(visit) for visit in refusal.visits]
    if isinstance(refusal, WrongShape):
        describe_field_errors(problem, refusal.errors)
    elif isinstance(refusal, no.Misshapen):
        problem.errors = [FieldError(loc=["body", refusal.field] if refusal.field else ["body"], msg=str(refusal))]
    return problem_response(problem, {**refusal_headers(refusal), **(headers or {})})


def describe_field_errors(problem: Problem, errors: Sequence[FieldError]) -> None:
    """List the errors in a problem; its detail and field are those of the first."""
    first = errors[0]
    path = first.loc[1:]
    names = [part for part in path if isinstance(part, str)]
    problem.detail = f"{'.'.join(map(str, path)) or first.loc[0]}: {first.msg}"
    problem.field = names[-1] if names else None
    problem.errors = list(errors)


def refusal_headers(refusal: no.Refusal) -> dict[str, str]:
    """Return the headers that belong to this kind of refusal."""
    if isinstance(refusal, no.Unauthenticated):
        return {"WWW-Authenticate": "Bearer"}
    return statuses.retry_headers(refusal)


async def handle_refusal(request: Request, error: Exception) -> Response:
    """Answer a refusal that was raised outside an endpoint."""
    del request
    return refusal_response(error) if isinstance(error, no.Refusal) else internal_error_response()


async def handle_http_error(request: Request, error: Exception) -> Response:
    """Answer an error of Starlette, such as an unknown path or a wrong method."""
    del request
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = error.headers if isinstance(error, HTTPException) else None
    detail = STATUS_DETAILS.get(status, f"{STATUS_TITLES.get(status, 'Error')}.")
    return problem_response(build_problem(status, code_of_status(status), detail), headers)


def code_of_status(status: int) -> str:
    """Return the code of an answer that no refusal gave: not-found for 404."""
    return STATUS_TITLES.get(status, "Error").lower().replace(" ", "-")


def internal_error_response() -> Response:
    """Return the answer to an unhandled exception. It says nothing of the cause, which is in the log."""
    return problem_response(build_problem(500, "internal-server-error", STATUS_DETAILS[500]))


def iter_refusals(kind: type[no.Refusal] = no.Refusal) -> Iterator[type[no.Refusal]]:
    """Yield every subclass of a refusal."""
    for refusal in kind.__subclasses__():
        yield refusal
        yield from iter_refusals(refusal)
