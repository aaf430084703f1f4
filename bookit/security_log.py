"""The security log: one structured line for each event that somebody who watches BookIt must see.

A line has the client's address, the number of the account, and the id of the request. It never has a password, a token
or an e-mail address (OWASP ASVS 4.0.3, 7.1.1 and 7.2.1).
"""

import logging
from contextvars import ContextVar
from typing import Literal, NamedTuple

log = logging.getLogger("bookit.security")

SecurityEvent = Literal[
    "wrong password",
    "account locked",
    "address blocked",
    "signed in",
    "signed out",
    "refresh token reused",
    "wrong second factor",
    "second factor changed",
    "password changed",
    "email changed",
    "role changed",
    "origin refused",
    "host refused",
    "proxy not trusted",
    "rate limited",
    "connection refused",
    "permission refused",
    "exported",
    "erased",
]


class RequestSource(NamedTuple):
    """Where a request comes from: the address of the client and the id of the request."""

    address: str = ""
    request_id: str = ""


UNKNOWN_SOURCE = RequestSource()
request_source: ContextVar[RequestSource] = ContextVar("request_source", default=UNKNOWN_SOURCE)


def report(event: SecurityEvent, *, account: int | None = None, detail: str = "", count: int | None = None) -> None:
    """Write one line. ``account`` is the number of the account that the event is about, if one was found."""
    source = request_source.get()
    fields = {
        "event_kind": event,
        "address": source.address or None,
        "account": account,
        "detail": detail or None,
        "count": count,
        "request_id": source.request_id or None,
    }
    log.warning("security", extra={name: value for name, value in fields.items() if value is not None})
