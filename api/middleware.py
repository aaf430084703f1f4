"""The ASGI middleware around every request: request ids, the request log, security headers, unhandled errors."""

import re
import secrets
import time

import structlog
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import internal_error_response
from bookit import security_log
from web.client_address import client_address
from web.content_security import DATA_POLICY
from web.rate_limits import rate_headers

REQUEST_ID_BYTES = 16  # from the system's random numbers: undo finds an act by its id, so nobody may foretell it
CLIENT_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
LOGGER_NAME = "bookit.requests"

SECURITY_HEADERS = {
    "Content-Security-Policy": DATA_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}
ENCODED_HEADERS = [(name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items()]
HTTPS_ONLY = (b"strict-transport-security", b"max-age=31536000")  # for a year (RFC 6797); only sent over HTTPS
HEADER_NAMES = {name for name, _ in ENCODED_HEADERS}


class RequestMiddleware:
    """Gives each request an id and a log line, and each response the security headers that it does not set itself."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.log = structlog.get_logger().bind(logger=LOGGER_NAME)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, add the headers to its response, and log it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        request_id = scope["request_id"] = secrets.token_hex(REQUEST_ID_BYTES)
        security_log.request_source.set(security_log.RequestSource(client_address(scope), request_id))
        status = 500

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*add_headers(message["headers"], request_id, scope), *rate_headers(scope)]
            await send(message)

        try:
            await self.app(scope, receive, send_with_headers)
        finally:
            actor = scope.get("actor")
            self.log.info(
                "request",
                method=scope["method"],
                path=scope["path"],
                status=status,
                ms=round((time.perf_counter() - started) * 1000, 1),
                who=str(actor) if actor else None,
                address=client_address(scope) or None,
                request_id=request_id,
                **client_request_id(scope),
            )


class ErrorMiddleware:
    """Logs unhandled exceptions and answers 500; inside CORSMiddleware so that allowed origins can read the answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.log = structlog.get_logger().bind(logger=LOGGER_NAME)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on. Raise the exception again if the response has already started."""
        is_started = False

        async def note_start(message: Message) -> None:
            nonlocal is_started
            is_started = True
            await send(message)

        try:
            await self.app(scope, receive, note_start)
        except ClientDisconnect:
            if not is_started:  # Nobody reads this, but the log has its status.
                await Response(status_code=400)(scope, receive, send)
        except Exception:
            self.log.exception("unhandled error", request_id=scope.get("request_id"))
            if is_started or scope["type"] != "http":
                raise
            await internal_error_response()(scope, receive, send)


def add_headers(headers: list[tuple[bytes, bytes]], request_id: str, scope: Scope) -> list[tuple[bytes, bytes]]:
    """Return the headers of a response with its request id and the security headers that it lacks."""
    names = {name for name, _ in headers}
    missing = (
        ENCODED_HEADERS
        if HEADER_NAMES.isdisjoint(names)
        else [header for header in ENCODED_HEADERS if header[0] not in names]
    )
    https_only = [HTTPS_ONLY] if scope.get("scheme") == "https" else []
    return [*headers, *missing, *https_only, (b"x-request-id", request_id.encode())]


def client_request_id(scope: Scope) -> dict[str, str]:
    """Return the ``X-Request-Id`` that a client or proxy has set, as a field of the log. It identifies nothing here.

    It is left out unless it is up to 64 plain characters.
    """
    for name, value in scope["headers"]:
        if name == b"x-request-id" and CLIENT_REQUEST_ID.fullmatch(value):
            return {"client_request_id": value.decode("ascii")}
    return {}
