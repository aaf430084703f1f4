"""What stands before every page: only this site may write, and a page may load nothing from elsewhere."""

from urllib.parse import urlsplit

from starlette.datastructures import FormData, Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bookit.policy import limits
from web.content_security import ADMIN_POLICY

SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}


class SameOriginMiddleware:
    """Refuses writes that another site asked a browser for.

    Browsers say by ``Sec-Fetch-Site`` who asks, and over plain HTTP, where some do not, by ``Origin``; scripts can
    forge neither. A request with neither comes from no browser, and this door is for browsers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what is safe or our own."""
        if scope["type"] == "http" and scope["method"] not in SAFE_METHODS and not is_same_origin(Headers(scope=scope)):
            refusal = PlainTextResponse("Refused: this request did not come from a BookIt page.", 403)
            await refusal(scope, receive, send)
            return
        await self.app(scope, receive, send)


def is_same_origin(headers: Headers) -> bool:
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc == headers.get("host")


class BodyLimitMiddleware:
    """Reads no more than a form can hold, and answers HEAD as GET: SQLAdmin takes whatever is not GET for a form."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request, and count what is read of it."""
        read = 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > limits.MAX_BODY_BYTES:
                raise HTTPException(413, "This form is too large.")
            return message

        is_head = scope["type"] == "http" and scope["method"] == "HEAD"
        await self.app({**scope, "method": "GET"} if is_head else scope, counted, send)


async def read_form(request: Request) -> FormData:
    """Read a form. Refuses one that brings a file: no field takes one."""
    try:
        return await request.form(max_files=0)
    except HTTPException as refusal:
        if "files" in refusal.detail:
            raise HTTPException(refusal.status_code, "Files are not accepted.") from None
        raise


class SecurityHeadersMiddleware:
    """Gives every page of this door its policy."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Add the policy on the way out."""

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Content-Security-Policy"] = ADMIN_POLICY
                if "/statics/" in scope["path"] or "/static/" in scope["path"]:
                    headers["Cache-Control"] = "no-cache"
            await send(message)

        await self.app(scope, receive, answer)
