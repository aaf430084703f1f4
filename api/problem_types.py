"""What each ``type`` of a problem leads to: an explanation of its code."""

import re
from collections.abc import Iterator

from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.problems import STATUS_DETAILS, STATUS_TITLES, code_of_status, iter_refusals, status_of
from web.rate_limits import limited

# What a sentence says in place of a value that only a request has.
WORDS_FOR_VALUES = {
    "wait": "some minutes",
    "title": "value",
    "low": "its minimum",
    "high": "its maximum",
    "unit": "",
    "time": "This time",
    "zone": "this time zone",
    "days": "the allowed number of",
    "most": "the allowed number of",
    "notice": "the required time",
    "horizon": "the allowed time",
    "step": "few minutes",
    "status": "in that status",
    "refused": "some",
    "bookings": "the bookings",
    "name": "this field",
}
# Where words for the values do not make a sentence.
MEANING_BY_CODE = {
    "already-booked": "The customer already has a booking of this service at this time.",
    "missing": "There is nothing with this id.",
    "not-open": "Only a pending or confirmed booking can be moved.",
    "overlapping-booking": "The customer already has a booking of another service at this time.",
}


class ProblemMeaning(BaseModel):
    """What an error code means."""

    code: str
    status: int
    meaning: str


def iter_meanings() -> Iterator[ProblemMeaning]:
    """Yield the meaning of every code that a problem document can have."""
    for refusal in iter_refusals():
        meaning = MEANING_BY_CODE.get(refusal.code()) or replace_values(refusal.__doc__ or "")
        yield ProblemMeaning(code=refusal.code(), status=status_of(refusal), meaning=meaning)
    for status, title in STATUS_TITLES.items():
        meaning = STATUS_DETAILS.get(status, f"{title}.")
        yield ProblemMeaning(code=code_of_status(status), status=status, meaning=meaning)


def replace_values(sentence: str) -> str:
    """Return a sentence with words for its placeholders: ``{notice}`` is "the notice of the service"."""
    plain = re.sub(r"{(\w+)}", lambda match: WORDS_FOR_VALUES.get(match[1], match[1].replace("_", " ")), sentence)
    plain = re.sub(r"\s+([.,:;])", r"\1", plain)
    return plain[:1].upper() + plain[1:]


async def describe_problem(request: Request) -> Response:
    """Explain an error code."""
    code = request.path_params["code"]
    meaning = next((meaning for meaning in iter_meanings() if meaning.code == code), None)
    if meaning is None:
        raise HTTPException(404)
    return Response(meaning.model_dump_json(), media_type="application/json")


def build_problem_route() -> Route:
    return limited(Route("/problems/{code}", describe_problem))
