"""The middleware of the staff door: same-origin writes, limited bodies, security headers."""

from urllib.parse import urlsplit, urlunsplit

from starlette.datastructures import FormData, Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bookit import security_log
from bookit.policy import limits
from web.content_security import ADMIN_POLICY

SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}


class SameOriginMiddleware:
    """Refuses writes that a page of another site sends.

    Browsers name the sender in ``Sec-Fetch-Site``, or over plain HTTP, where some do not, in ``Origin``. Scripts can
    set neither. A request with neither comes from no browser, and is refused.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on requests that only read, and those of our own pages."""
        if scope["type"] == "http" and scope["method"] not in SAFE_METHODS and not is_same_origin(Headers(scope=scope)):
            security_log.report("origin refused", detail=name_sender(Headers(scope=scope)))
            refusal = PlainTextResponse("Refused: this request did not come from a BookIt page.", 403)
            await refusal(scope, receive, send)
            return
        await self.app(scope, receive, send)


def is_same_origin(headers: Headers) -> bool:
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    try:
        return urlsplit(headers["origin"]).netloc == headers.get("host")
    except (KeyError, ValueError):  # none, or none that can be read, such as http://[
        return False


def name_sender(headers: Headers) -> str:
    """Return what a browser says of the page that sends a request, in at most 100 plain signs."""
    origin = headers.get("origin", "none").encode("ascii", "backslashreplace").decode()
    return f"Origin: {origin:.80}"


class BodyLimitMiddleware:
    """Limits the body of a request, and turns HEAD into GET: SQLAdmin takes every other method for a form."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request, and count the bytes of its body."""
        size = 0

        async def receive_counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > limits.MAX_BODY_BYTES:
                raise HTTPException(413, "This form is too large.")
            return message

        is_head = scope["type"] == "http" and scope["method"] == "HEAD"
        await self.app({**scope, "method": "GET"} if is_head else scope, receive_counted, send)


async def read_form(request: Request) -> FormData:
    """Return the form that was sent. Raise 400 for one with a file: no field takes one."""
    try:
        return await request.form(max_files=0)
    except HTTPException as refusal:
        if "files" in refusal.detail:
            raise HTTPException(refusal.status_code, "Files are not accepted.") from None
        raise


class SecurityHeadersMiddleware:
    """Middleware that sets the Content-Security-Policy of every response of the panel, and redirects by path alone.

    A redirect that names a host would name whichever the request named (OWASP, Host header injection).
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request, and add the policy to its response."""

        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Content-Security-Policy"] = ADMIN_POLICY
                if "location" in headers:
                    headers["location"] = remove_own_host(headers["location"], Headers(scope=scope))
                if "/statics/" in scope["path"] or "/static/" in scope["path"]:
                    headers["Cache-Control"] = "no-cache"
            await send(message)

        await self.app(scope, receive, send_with_policy)


def remove_own_host(location: str, headers: Headers) -> str:
    """Return where a redirect leads, as a path if it leads to the host that the request named."""
    parts = urlsplit(location)
    is_own = parts.netloc == headers.get("host") and parts.path.startswith("/")
    return urlunsplit(("", "", *parts[2:])) if is_own else location
