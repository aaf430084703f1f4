"""The limits of both doors: which senders a request counts for, and the headers that say what is left.

The headers are those of draft-ietf-httpapi-ratelimit-headers: ``RateLimit-Policy`` names each quota and its window,
``RateLimit`` what is left of it and in how many seconds it is full again.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
from typing import Any, Protocol, TypeVar

from bookit import refusals as no
from bookit.db.session import Reader
from bookit.policy import rates
from bookit.policy.rates import Audience, Rate, RequestKind
from bookit.rate_limits import RateLimits, Usage
from bookit.schema.tables import Role
from web.client_address import client_address, is_loopback, network_of

SCOPE_KEY = "rates"
Scope = MutableMapping[str, Any]
Asgi = Callable[[Any, Any, Any], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]
FindAccount = Callable[[Mapping[str, Any]], int | None]


class HasApp(Protocol):
    """A route: what answers its requests is its ``app``."""

    app: Asgi


RouteType = TypeVar("RouteType", bound=HasApp)


def no_account(scope: Mapping[str, Any]) -> int | None:
    """Return None: whoever sends a request of this route is counted by address."""
    del scope
    return None


class RequestRates:
    """What one request has taken from the quotas of its sender."""

    __slots__ = ("is_loopback", "limits", "network", "reader", "usages")

    def __init__(self, limits: RateLimits, reader: Reader, address: str) -> None:
        self.limits = limits
        self.reader = reader
        self.network = network_of(address)
        self.is_loopback = is_loopback(address)
        self.usages: list[Usage] = []

    async def take(
        self, rate: Rate, account: int | None = None, cost: int = 1, *, reader: Reader | None = None
    ) -> None:
        """Count this request for an account, or for its address without one. Raise ``TooManyRequests``."""
        who: str | int = self.network if account is None else account
        is_local = self.is_loopback and (account is None or not rate.is_shared)
        if rate.is_shared:
            through = reader or self.reader
            usage = await self.limits.take_shared(through, rate, who, cost, is_loopback=is_local)
        else:
            usage = self.limits.take(rate, who, cost, is_loopback=is_local)
        self.usages.append(usage)
        if usage.wait:
            raise self.limits.refuse(usage, who, account=account)

    def headers(self) -> Headers:
        """Return the two headers of the response."""
        if not self.usages:
            return []
        policies = ", ".join([usage.counter.policy_item for usage in self.usages])
        items = ", ".join([usage.header_item for usage in self.usages])
        return [(b"ratelimit-policy", policies.encode()), (b"ratelimit", items.encode())]


class RateLimitMiddleware:
    """Counts every request by its address, and lets the doors count it by its kind.

    ``answer`` makes the response to a request of a flood, which reaches no door. Requests of the ``uncounted`` paths
    are counted by their kind alone: a load balancer must be answered whatever else its machine sends.
    """

    def __init__(self, app: Asgi, answer: Callable[[Scope, no.Refusal], Asgi], uncounted: Collection[str] = ()) -> None:
        self.app = app
        self.answer = answer
        self.uncounted = uncounted
        [self.rate] = rates.EVERYTHING.visitor

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Pass a request on, unless its address has sent too many."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        state = scope["app"].state
        limits: RateLimits = state.rate_limits
        if limits.is_on:
            request_rates = RequestRates(limits, state.database, client_address(scope))
            scope[SCOPE_KEY] = request_rates
            if scope["path"] not in self.uncounted:
                usage = limits.take(self.rate, request_rates.network, is_loopback=request_rates.is_loopback)
                if usage.wait:
                    request_rates.usages.append(usage)
                    refusal = limits.refuse(usage, request_rates.network, account=None)
                    await self.answer(scope, refusal)(scope, receive, send)
                    return
        await self.app(scope, receive, send)


def rates_of(scope: Mapping[str, Any]) -> RequestRates | None:
    """Return the rates of a request, or None where nothing is limited."""
    rates_of_request: RequestRates | None = scope.get(SCOPE_KEY)
    return rates_of_request


def rate_headers(scope: Mapping[str, Any]) -> Headers:
    """Return the headers that say what is left of the quotas of a request's sender."""
    request_rates = rates_of(scope)
    return request_rates.headers() if request_rates else []


def audience_of(role: Role | None) -> Audience:
    """Return the audience of a role: without one, a visitor."""
    if role is None:
        return "visitor"
    return "customer" if role == Role.USER else "staff"


async def limit(
    scope: Mapping[str, Any],
    kind: RequestKind,
    *,
    account: int | None = None,
    role: Role | None = None,
    cost: int = 1,
    reader: Reader | None = None,
) -> None:
    """Count a request of this kind for its sender. Raise ``TooManyRequests`` beyond their limit.

    Without an account the sender is an address. ``reader`` is what to reach the database through, if not its pool.
    """
    request_rates = rates_of(scope)
    if request_rates is None:
        return
    for rate in kind.rates_for(audience_of(role)):
        await request_rates.take(rate, account, cost, reader=reader)


class RateLimited:
    """The application of a route whose requests are counted by kind: that of reads, or of all other methods.

    ``find_account`` returns the number of the staff account that sends a request, or None for a visitor.
    """

    def __init__(self, app: Asgi, reads: RequestKind, writes: RequestKind, find_account: FindAccount) -> None:
        self.app = app
        self.reads = reads
        self.writes = writes
        self.find_account = find_account

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Pass a request on. Raise ``TooManyRequests`` beyond the limit of its sender."""
        request_rates = rates_of(scope)
        kind = self.reads if scope["method"] in {"GET", "HEAD", "OPTIONS"} else self.writes
        if request_rates is None:
            await self.app(scope, receive, send)
            return
        account = self.find_account(scope)
        audience: Audience = "visitor" if account is None else "staff"
        concurrent = [rate for rate in kind.rates_for(audience) if rate.unit == "concurrent-requests"]
        for rate in kind.rates_for(audience):
            if rate not in concurrent:
                await request_rates.take(rate, account)
        if not concurrent or account is None:
            await self.app(scope, receive, send)
            return
        with request_rates.limits.opened(concurrent[0], account) as usage:
            request_rates.usages.append(usage)
            if usage.wait:
                raise request_rates.limits.refuse(usage, account, account=account)
            await self.app(scope, receive, send)


def limited(
    route: RouteType,
    reads: RequestKind = rates.READS,
    writes: RequestKind = rates.READS,
    find_account: FindAccount = no_account,
) -> RouteType:
    """Return a route whose requests are counted."""
    route.app = RateLimited(route.app, reads, writes, find_account)
    return route
