"""Changes as a stream of server-sent events, as soon as they happen."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from starlette.requests import Request
from starlette.responses import JSONResponse

from bookit.change_feed import ChangeFeed, Changes, Cursor, Subscriber, poll
from bookit.db.statements import Row

HEARTBEAT_SECONDS = 15
# A stream ends after this, and the browser reconnects. A user whose sign-in has ended is sent away then, or at the next
# heartbeat; the others miss nothing. A stream is no use of the sign-in: see ADR 32.
STREAM_SECONDS = 50
RETRY_MS = 700
STREAM_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
# What moves or shades the calendar, besides bookings, or sets its clock. Changes of other tables are not sent.
WATCHED_TABLES = {"business", "services", "resources", "service_resources", "opening_hours", "calendar_exceptions"}
Payload = dict[str, object]
Serialize = Callable[[Row], Payload]
IsSignedIn = Callable[[], Awaitable[bool]]
OwnResource = Callable[[], int | None]  # see ``permissions.own_resource``; asked anew, since a role can change


async def stream_messages(
    request: Request,
    change_feed: ChangeFeed,
    serialize: Serialize,
    *,
    own_resource: OwnResource,
    is_signed_in: IsSignedIn,
) -> AsyncIterator[str]:
    """Yield messages until the stream's time is over: first the changes that the client has missed, then new ones."""
    async with change_feed.subscribe() as subscriber:
        last_cursor = Cursor.parse(request.headers.get("last-event-id", ""))
        cursor = last_cursor or change_feed.cursor
        yield f"retry: {RETRY_MS}\n\n"
        if last_cursor:
            changes, _ = await poll(change_feed.database, last_cursor)
            cursor = change_feed.cursor if changes.is_truncated else changes.cursor
            if payload := build_payload(changes, last_cursor, serialize, own_resource()):
                yield format_message("changes", cursor, payload)
        else:
            yield format_message("start", cursor, {})
        async for message in follow_changes(
            subscriber, cursor, serialize, own_resource=own_resource, is_signed_in=is_signed_in
        ):
            yield message


async def follow_changes(
    subscriber: Subscriber,
    cursor: Cursor,
    serialize: Serialize,
    *,
    own_resource: OwnResource,
    is_signed_in: IsSignedIn,
) -> AsyncIterator[str]:
    """Yield each new change once, and a heartbeat where nothing changes."""
    deadline = asyncio.get_running_loop().time() + STREAM_SECONDS
    while (remaining := deadline - asyncio.get_running_loop().time()) > 0:
        try:
            changes = await asyncio.wait_for(subscriber.queue.get(), min(remaining, HEARTBEAT_SECONDS))
        except TimeoutError:
            if not await is_signed_in():
                return
            yield ": still here\n\n"
            continue
        if changes is None:
            return
        payload = build_payload(changes, cursor, serialize, own_resource())
        cursor = cursor.without(event["id"] for event in changes.events).intersect(changes.cursor)
        if payload:
            yield format_message("changes", cursor, payload)


def build_payload(
    changes: Changes, cursor: Cursor, serialize: Serialize, own_resource_id: int | None = None
) -> Payload:
    """Return what is new to a client: ids of events, the bookings as they are now, and the ids of deleted ones.

    It is empty where the client has seen all of it, or the calendar shows none of it. Where there are too many changes,
    or some of other tables than bookings, the client is to load everything anew. A client that sees one resource gets
    the bookings that take it, and as deleted those that do so no more.
    """
    events = [
        event
        for event in changes.events
        if event["id"] in cursor and event["row_id"] and is_shown(event, changes, own_resource_id)
    ]
    if not events:
        return {}
    booking_ids = [*dict.fromkeys(event["row_id"] for event in events if event["table_name"] == "bookings")]
    current = [
        changes.bookings[row_id]
        for row_id in booking_ids
        if row_id in changes.bookings and is_on_calendar(changes.bookings[row_id], own_resource_id)
    ]
    has_others = any(event["table_name"] != "bookings" for event in events)
    return {
        "events": [event["id"] for event in events],
        "visits": [serialize(booking) for booking in current],
        "deleted": sorted({*booking_ids} - {booking["id"] for booking in current}),
        "is_reload_needed": changes.is_truncated or has_others,
    }


def is_shown(event: Row, changes: Changes, own_resource_id: int | None) -> bool:
    """Return whether an event concerns the calendar of a client: of all resources, or of its own.

    A booking is its own if it takes its resource now, or did before this event.
    """
    if event["table_name"] != "bookings":
        return event["table_name"] in WATCHED_TABLES
    booking = changes.bookings.get(event["row_id"])
    was_on_it = own_resource_id in {event["old_resource_id"], *event["old_other_resource_ids"]}
    return own_resource_id is None or was_on_it or (booking is not None and is_on_calendar(booking, own_resource_id))


def is_on_calendar(booking: Row, own_resource_id: int | None) -> bool:
    """Return whether a booking takes this resource, in any role; any booking does if it is None."""
    return own_resource_id in {None, booking["resource_id"], *booking["other_resource_ids"]}


def format_message(kind: str, cursor: Cursor, payload: Payload) -> str:
    """Return one message. Its id is the cursor to resume from."""
    body = bytes(JSONResponse(payload).body).decode()
    return f"event: {kind}\nid: {cursor}\ndata: {body}\n\n"
