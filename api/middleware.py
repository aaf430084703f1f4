"""What every request passes on its way in and every answer on its way out: one plain ASGI layer.

A request number, one line in the log, and the headers that keep a browser from doing more than it should.
"""

import re
import secrets
import time
from random import Random

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import internal_error_response

LOGGER_NAME = "bookit.requests"

SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}
ENCODED_HEADERS = [(name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items()]
HEADER_NAMES = {name for name, _ in ENCODED_HEADERS}


class RequestMiddleware:
    """Numbers, logs and secures every HTTP exchange of the application behind it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.log = structlog.get_logger().bind(logger=LOGGER_NAME)
        # Numbers to find a request by are no secrets: the system is asked for chance once, and not at each request.
        self.chance = Random(secrets.randbits(128))  # noqa: S311 -- see above

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and its answer back with the headers every answer has."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        number = scope["request_id"] = get_proxy_request_id(scope) or f"{self.chance.getrandbits(64):016x}"
        status = 500

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                given = {name for name, _ in message["headers"]}
                ours = (
                    ENCODED_HEADERS
                    if HEADER_NAMES.isdisjoint(given)
                    else [one for one in ENCODED_HEADERS if one[0] not in given]
                )
                message["headers"] = [*message["headers"], *ours, (b"x-request-id", number.encode())]
            await send(message)

        try:
            await self.app(scope, receive, answer)
        finally:
            actor = scope.get("actor")
            self.log.info(
                "request",
                method=scope["method"],
                path=scope["path"],
                status=status,
                ms=round((time.perf_counter() - began) * 1000, 1),
                who=str(actor) if actor else None,
                request_id=number,
            )


class ErrorMiddleware:
    """Answers an error nobody foresaw, and writes it down. Stands inside CORS, so that an allowed page hears of it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.log = structlog.get_logger().bind(logger=LOGGER_NAME)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; what fails before it is answered is answered here."""
        is_answered = False

        async def answer(message: Message) -> None:
            nonlocal is_answered
            is_answered = True
            await send(message)

        try:
            await self.app(scope, receive, answer)
        except Exception:
            self.log.exception("bug", request_id=scope.get("request_id"))
            if is_answered or scope["type"] != "http":
                raise
            await internal_error_response()(scope, receive, send)


def get_proxy_request_id(scope: Scope) -> str | None:
    """Give the number a proxy gave this request, if it is a plain one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and re.fullmatch(rb"[A-Za-z0-9._-]{1,64}", value):
            return str(value.decode("ascii"))
    return None
