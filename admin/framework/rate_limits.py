"""How requests of the panel are counted: by the account of the session, and by address without one."""

from collections.abc import Iterable, Mapping
from typing import Any

from starlette.routing import BaseRoute, Mount, Route

from bookit.policy import rates
from bookit.policy.rates import RequestKind
from web.rate_limits import limited

# The kind of the requests of these routes when they read, and when they write; of all others: reads, and writes.
KINDS_BY_ROUTE: Mapping[str, tuple[RequestKind, RequestKind]] = {
    "login": (rates.READS, rates.SIGN_IN),
    "second-step": (rates.READS, rates.SIGN_IN),
    "passkey-sign-in": (rates.READS, rates.SIGN_IN),
    "logout": (rates.READS, rates.READS),
    "data": (rates.OWN_DATA, rates.OWN_DATA),
    "export": (rates.EXPORTS, rates.EXPORTS),
    "search": (rates.SEARCHES, rates.SEARCHES),
    "reports": (rates.SEARCHES, rates.SEARCHES),
    "ajax_lookup": (rates.SEARCHES, rates.SEARCHES),
    "calendar-stream": (rates.STREAMS, rates.STREAMS),
}


def limit_routes(routes: Iterable[BaseRoute]) -> None:
    """Count the requests of every route."""
    for route in routes:
        if isinstance(route, Route | Mount):
            reads, writes = KINDS_BY_ROUTE.get(route.name or "", (rates.READS, rates.WRITES))
            limited(route, reads, writes, find_session_account)


def find_session_account(scope: Mapping[str, Any]) -> int | None:
    """Return the account that the signed cookie of a request names, or None for a visitor."""
    account: int | None = scope.get("session", {}).get("user")
    return account
