"""The cookie of a staff sign-in: over HTTPS alone, except on the machine itself."""

from collections.abc import Sequence
from urllib.parse import urlsplit

from itsdangerous import TimestampSigner
from starlette.datastructures import Headers
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from bookit import refusals as no

PLAIN_NAME = "bookit_staff"
# A browser takes a cookie of this name over HTTPS alone (RFC 6265bis, 4.1.3.1). The cookie is for /admin, so that
# "__Host-" is not possible.
SECURE_NAME = f"__Secure-{PLAIN_NAME}"
LOOPBACK_NAMES = {"localhost", "127.0.0.1", "::1"}


class StaffSessionMiddleware:
    """The session of a browser, in a signed cookie.

    A browser that asks for localhost never leaves its machine (RFC 6761, 6.3): there alone the cookie works without
    HTTPS. Each of the ``secrets`` is good for a cookie; the first one signs.
    """

    def __init__(self, app: ASGIApp, secrets: Sequence[str], max_age: int) -> None:
        self.secure, self.plain = (
            SessionMiddleware(app, "", name, max_age, path="/admin", same_site="lax", https_only=name == SECURE_NAME)
            for name in (SECURE_NAME, PLAIN_NAME)
        )
        self.secure.signer = self.plain.signer = TimestampSigner([*reversed(secrets)])  # It signs with the last.

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request with its session."""
        session = self.plain if is_plain_allowed(scope) else self.secure
        await session(scope, receive, send)


def is_plain_allowed(scope: Scope) -> bool:
    """Return whether the cookie of this request may travel without HTTPS."""
    name = urlsplit(f"//{Headers(scope=scope).get('host', '')}").hostname or ""
    return scope.get("scheme") == "http" and (name in LOOPBACK_NAMES or name.endswith(".localhost"))


def loses_cookies(scope: Scope) -> bool:
    """Return whether the browser that sends this request would not keep the cookie, since it does not use HTTPS.

    Behind a proxy that does not say so, the browser itself shows that it uses HTTPS: by the scheme of ``Origin``, or by
    ``Sec-Fetch-Site``, which it sends to trustworthy origins alone (W3C Fetch Metadata, section 3).
    """
    headers = Headers(scope=scope)
    uses_https = (
        scope.get("scheme") == "https" or headers.get("origin", "").startswith("https:") or "sec-fetch-site" in headers
    )
    return not (uses_https or is_plain_allowed(scope))


def https_notice(request: Request) -> str:
    """Return what the sign-in page says to a browser that would not keep the cookie, or ""."""
    return str(no.NeedsHttps()) if loses_cookies(request.scope) else ""
