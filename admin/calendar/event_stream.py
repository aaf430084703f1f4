"""News as a stream of server-sent events: what changed, as soon as it did."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse

from bookit.change_feed import ChangeFeed, Changes, Cursor, Subscriber, poll
from bookit.db.statements import Row

HEARTBEAT_SECONDS = 15
# A stream ends after this, and the browser comes back with its cookie as it now is: who signed out, or works here no
# longer, is sent away then, and the others miss nothing.
STREAM_SECONDS = 50
RETRY_MS = 700
STREAM_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
# What moves or shades what is shown; anything else that changes is no news here.
WATCHED_TABLES = {"services", "resources", "service_resources", "opening_hours", "calendar_exceptions"}
Serialize = Callable[[Row], dict[str, Any]]
IsSignedIn = Callable[[], Awaitable[bool]]


async def stream_messages(
    request: Request, change_feed: ChangeFeed, serialize: Serialize, *, is_signed_in: IsSignedIn
) -> AsyncIterator[str]:
    """Write news, those first that somebody who was here before has missed, until it is time to come back."""
    async with change_feed.subscribe() as reader:
        asked = Cursor.parse(request.headers.get("last-event-id", ""))
        unseen = asked or change_feed.cursor
        yield f"retry: {RETRY_MS}\n\n"
        if asked:
            news, _ = await poll(change_feed.database, asked)
            unseen = change_feed.cursor if news.is_truncated else news.cursor
            if missed := build_payload(news, asked, serialize):
                yield format_message("changes", unseen, missed)
        else:
            yield format_message("start", unseen, {})
        async for part in follow_changes(reader, unseen, serialize, is_signed_in=is_signed_in):
            yield part


async def follow_changes(
    subscriber: Subscriber, cursor: Cursor, serialize: Serialize, *, is_signed_in: IsSignedIn
) -> AsyncIterator[str]:
    """Write what a reader is told, each event once, and now and then a sign of life."""
    until = asyncio.get_running_loop().time() + STREAM_SECONDS
    while (left := until - asyncio.get_running_loop().time()) > 0:
        try:
            news = await asyncio.wait_for(subscriber.queue.get(), min(left, HEARTBEAT_SECONDS))
        except TimeoutError:
            if not await is_signed_in():
                return
            yield ": still here\n\n"
            continue
        if news is None:
            return
        new = build_payload(news, cursor, serialize)
        cursor = cursor.without(event["id"] for event in news.events).intersect(news.cursor)
        if new:
            yield format_message("changes", cursor, new)


def build_payload(changes: Changes, cursor: Cursor, serialize: Serialize) -> dict[str, Any]:
    """Give what is new to somebody: events by number, the visits as they are now, and those that are gone.

    Nothing when all of it was seen, or none is of note. Where it is too much, or is about more than visits, they are to
    look at all anew.
    """
    events = [
        event
        for event in changes.events
        if event["id"] in cursor and event["table_name"] in {"bookings", *WATCHED_TABLES}
    ]
    if not events:
        return {}
    of_visits = [event["row_id"] for event in events if event["table_name"] == "bookings"]
    return {
        "events": [event["id"] for event in events],
        "visits": [
            serialize(changes.bookings[number]) for number in dict.fromkeys(of_visits) if number in changes.bookings
        ],
        "deleted": sorted({number for number in of_visits if number not in changes.bookings}),
        "is_reload_needed": changes.is_truncated or len(of_visits) < len(events),
    }


def format_message(kind: str, cursor: Cursor, payload: dict[str, Any]) -> str:
    """Write one message; its id is what somebody who has it has not seen."""
    body = bytes(JSONResponse(payload).body).decode()
    return f"event: {kind}\nid: {cursor}\ndata: {body}\n\n"
