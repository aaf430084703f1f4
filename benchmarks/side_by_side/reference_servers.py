"""The limits of this stack: an empty response, and plain Starlette routes without a database.

A plain route sends the bytes of BookIt's own response, from the folder BENCH_RESPONSES. The plain POST reads its body,
verifies the token, validates the body and sends the bytes of a booking.
"""

import os
from datetime import UTC, datetime
from pathlib import Path

import jwt
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

RESPONSES = {path.stem: path.read_bytes() for path in Path(os.environ["BENCH_RESPONSES"]).glob("*.json")}
SECRET = os.environ["SECRET_KEY"]


class NewBooking(BaseModel):
    """The body of a booking."""

    service_id: int
    start_time: datetime
    resource_id: int | None = None
    hold: bool = False


async def get_service(request: Request) -> Response:
    int(request.path_params["id"])
    return Response(RESPONSES["one"], media_type="application/json")


async def list_services(_: Request) -> Response:
    return Response(RESPONSES["page"], media_type="application/json")


async def list_bookings(_: Request) -> Response:
    return Response(RESPONSES["own"], media_type="application/json")


async def create_booking(request: Request) -> Response:
    body = await request.body()
    token = request.headers["authorization"].removeprefix("Bearer ")
    jwt.decode(token, SECRET, algorithms=["HS256"], issuer="bookit")
    booking = NewBooking.model_validate_json(body)
    status = 201 if booking.start_time > datetime.now(UTC) else 400
    return Response(RESPONSES["post"], status, media_type="application/json")


app = Starlette(
    routes=[
        Route("/services", list_services),
        Route("/services/{id}", get_service),
        Route("/bookings", list_bookings),
        Route("/bookings", create_booking, methods=["POST"]),
    ]
)
RESPONSE_START = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
RESPONSE_BODY = {"type": "http.response.body", "body": b"{}"}


async def empty(scope: Scope, receive: Receive, send: Send) -> None:
    """Respond without reading the request."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send(RESPONSE_START)
    await send(RESPONSE_BODY)
