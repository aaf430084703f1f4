"""``If-Match`` and ``If-None-Match`` (RFC 9110, section 13): read in one place, for every address that sends an ETag.

Reads are compared here, on their way out. Writes are compared by ``RequestContext``, while the row is locked.
"""

import re
from dataclasses import dataclass
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import WrongShape, refusal_response
from bookit import refusals as no

ENTITY_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
TAG_LIST = re.compile(rf"[ \t,]*{ENTITY_TAG}(?:[ \t]*,[ \t,]*{ENTITY_TAG})*[ \t,]*")
# A 304 has no body, so it has none of the headers that describe one.
BODY_HEADERS = {b"content-type", b"content-length", b"content-disposition", b"content-encoding"}


class Unchanged(no.Stale):
    """This has not changed since the version that you named in If-None-Match."""


@dataclass(frozen=True)
class EntityTags:
    """The value of one of the two headers: a list of entity tags, or ``*``, which matches anything that exists."""

    tags: frozenset[str]
    is_any: bool = False

    def match_strongly(self, etag: str) -> bool:
        """Return whether one of the tags is this one; a weak tag (``W/``) never matches."""
        return self.is_any or (etag in self.tags and not etag.startswith("W/"))

    def match_weakly(self, etag: str) -> bool:
        """Return whether one of the tags is this one, weak or not."""
        return self.is_any or etag.removeprefix("W/") in {tag.removeprefix("W/") for tag in self.tags}


@dataclass(frozen=True)
class Preconditions:
    """What must hold for a request to be carried out."""

    if_match: EntityTags | None = None
    if_none_match: EntityTags | None = None

    def require(self, etag: str) -> None:
        """Raise ``Stale`` or ``Unchanged`` unless what has this ETag may be changed."""
        if self.if_match and not self.if_match.match_strongly(etag):
            raise no.Stale
        if self.if_none_match and self.if_none_match.match_weakly(etag):
            raise Unchanged


def has_preconditions(scope: Scope) -> bool:
    """Return whether a request has one of the headers; most have none."""
    return any(name in {b"if-match", b"if-none-match"} for name, _ in scope["headers"])


def read_preconditions(headers: Headers) -> Preconditions:
    """Return the preconditions of a request. Raise ``WrongShape`` if a header is no list of entity tags."""
    return Preconditions(read_tags(headers, "If-Match"), read_tags(headers, "If-None-Match"))


def read_tags(headers: Headers, name: str) -> EntityTags | None:
    """Return the entity tags of a header, or None without it. Several lines of a header are one list."""
    lines = headers.getlist(name)
    if not lines:
        return None
    value = ", ".join(line.strip() for line in lines)
    if value == "*":
        return EntityTags(frozenset(), is_any=True)
    if not TAG_LIST.fullmatch(value):
        raise WrongShape.at("header", name, 'Send ETags in quotes, such as "3" or "3", "4", or * alone.')
    return EntityTags(frozenset(re.findall(ENTITY_TAG, value)))


class ConditionalMiddleware:
    """Answers a GET with 304 if the client has the ETag of its response, and with 412 if it asked for another one."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and its response if the preconditions hold."""
        if scope["type"] == "http" and scope["method"] in {"GET", "HEAD"} and has_preconditions(scope):
            try:
                preconditions = read_preconditions(Headers(scope=scope))
            except WrongShape:
                preconditions = Preconditions()  # Endpoints refuse it; other pages have always ignored it.
            send = ConditionalSend(preconditions, scope, receive, send)
        await self.app(scope, receive, send)


@dataclass
class ConditionalSend:
    """Sends a response as it is, or another one in its place."""

    preconditions: Preconditions
    scope: Scope
    receive: Receive
    send: Send
    is_replaced: bool = False

    async def __call__(self, message: Message) -> None:
        """Send a message of the response, unless the response was replaced."""
        if message["type"] == "http.response.start" and message["status"] == HTTPStatus.OK:
            await self.start(message)
        elif not self.is_replaced:
            await self.send(message)

    async def start(self, message: Message) -> None:
        """Send the start of the response, or all of the one that replaces it."""
        etag = Headers(raw=message["headers"]).get("etag")
        try:
            if etag is not None:
                self.preconditions.require(etag)
        except Unchanged:
            self.is_replaced = True
            headers = [header for header in message["headers"] if header[0] not in BODY_HEADERS]
            await self.send({"type": "http.response.start", "status": 304, "headers": headers})
            await self.send({"type": "http.response.body", "body": b""})
        except no.Stale as refusal:
            self.is_replaced = True
            await refusal_response(refusal)(self.scope, self.receive, self.send)
        else:
            await self.send(message)
