"""What stands before every page: only this site may write, and a page may load nothing from elsewhere."""

from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SAFE = {"GET", "HEAD", "OPTIONS"}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self';"
    " connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)


class SameOriginOnly:
    """Refuses writes that another site asked a browser for.

    Browsers say by ``Sec-Fetch-Site`` who asks, and over plain HTTP, where some do not, by ``Origin``; scripts can
    forge neither. A request with neither comes from no browser, and this door is for browsers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what is safe or our own."""
        if scope["type"] == "http" and scope["method"] not in SAFE and not is_same_origin(Headers(scope=scope)):
            refusal = PlainTextResponse("Refused: this did not come from a page of BookIt.", 403)
            await refusal(scope, receive, send)
            return
        await self.app(scope, receive, send)


def is_same_origin(headers: Headers) -> bool:
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc == headers.get("host")


class StaffHeaders:
    """Gives every page of this door its policy."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Add the policy on the way out."""

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Content-Security-Policy"] = POLICY
                if "/statics/" in scope["path"] or "/static/" in scope["path"]:
                    headers["Cache-Control"] = "no-cache"
            await send(message)

        await self.app(scope, receive, answer)
