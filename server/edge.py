"""The edge: which hosts are served, and which proxies may say who the client is."""

import re
import time
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv6Address

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from api.problems import refusal_response
from bookit import refusals as no
from bookit import security_log

# A host as RFC 3986, 3.2.2, and RFC 9112, 3.2, have it: a name or an IPv4 address, or an IPv6 address in brackets.
HOST = re.compile(r"(?P<name>[a-z0-9](?:[a-z0-9._-]{0,251}[a-z0-9])?\.?|\[[0-9a-f:.]{2,45}\])(?::[0-9]{1,5})?")
HEALTH_PATHS = {"/healthz", "/readyz"}  # A probe asks an address of the container, which is no name of the business.
FORWARDED_HEADERS = {b"x-forwarded-for", b"x-forwarded-proto", b"forwarded", b"x-real-ip"}
WARN_SECONDS = 60  # between two lines of the log about proxies that are not trusted


class HostMiddleware:
    """Refuses a request for a host that is not served here, and one whose ``Host`` cannot be read."""

    def __init__(self, app: ASGIApp, allowed_hosts: Sequence[str]) -> None:
        self.app = app
        self.allowed_hosts = frozenset(allowed_hosts)
        self.serves_all = "*" in allowed_hosts or not allowed_hosts
        self.judge = lru_cache(maxsize=256)(self.judge_host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request for a host that is served."""
        refusal = self.refuse(scope) if scope["type"] == "http" else None
        if refusal is None:
            await self.app(scope, receive, send)
            return
        security_log.report("host refused")
        await refusal_response(refusal)(scope, receive, send)

    def refuse(self, scope: Scope) -> no.Refusal | None:
        """Return why the host of a request is refused, or None. Only HTTP/1.0 knows requests without one."""
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        if not hosts and scope.get("http_version") == "1.0":
            return None
        kind = self.judge(hosts[0]) if len(hosts) == 1 else no.UnreadableHost
        if kind is None or (kind is no.UnknownHost and scope["path"] in HEALTH_PATHS):
            return None
        return kind()

    def judge_host(self, host: bytes) -> type[no.Refusal] | None:
        """Return the refusal of a host, or None for one that is served."""
        match = HOST.fullmatch(host.decode("latin-1").lower())
        if match is None or not is_readable(match["name"]):
            return no.UnreadableHost
        return None if self.serves_all or self.is_allowed(match["name"].rstrip(".")) else no.UnknownHost

    def is_allowed(self, name: str) -> bool:
        """Return whether a host is named, or a name of which it is a part has a ``*`` before it."""
        parents = (name[index:] for index, sign in enumerate(name) if sign == ".")
        return name in self.allowed_hosts or any(f"*{parent}" in self.allowed_hosts for parent in parents)


def is_readable(name: str) -> bool:
    """Return whether a name in brackets is an IPv6 address."""
    try:
        return not name.startswith("[") or bool(IPv6Address(name[1:-1]).packed)
    except ValueError:
        return False


class TrustedProxyMiddleware(ProxyHeadersMiddleware):
    """Takes the client's address and scheme from a trusted proxy, and warns if anybody else sends them."""

    def __init__(self, app: ASGIApp, trusted_hosts: Sequence[str]) -> None:
        super().__init__(app, [*trusted_hosts])  # type: ignore[arg-type]  # uvicorn types the same interface anew
        self.warned_at = -float(WARN_SECONDS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # type: ignore[override]
        """Pass on a request with the address of its client."""
        client = scope.get("client")
        if client and not FORWARDED_HEADERS.isdisjoint([name for name, _ in scope["headers"]]):
            self.warn_unless_trusted(client[0])
            await super().__call__(scope, receive, send)  # type: ignore[arg-type]
            return
        await self.app(scope, receive, send)  # type: ignore[arg-type]

    def warn_unless_trusted(self, address: str) -> None:
        """Log that this address sends what only a trusted proxy may say, at most once a minute."""
        now = time.monotonic()
        if address in self.trusted_hosts or now - self.warned_at < WARN_SECONDS:
            return
        self.warned_at = now
        security_log.report("proxy not trusted", detail=f"{address} sends X-Forwarded-For. See TRUSTED_PROXIES.")
