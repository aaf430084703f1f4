"""News as a stream of server-sent events: what changed, as soon as it did."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse

from bookit.change_feed import News, Newsroom, Reader, Unseen, read_on
from bookit.db.statements import Row

HEARTBEAT_SECONDS = 15
# A stream ends after this, and the browser comes back with its cookie as it now is: who signed out, or works here no
# longer, is sent away then, and the others miss nothing.
LASTS_SECONDS = 50
COME_BACK_MS = 700
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
# What moves or shades what is shown; anything else that changes is no news here.
NOTABLE = {"services", "resources", "service_resources", "opening_hours", "calendar_exceptions"}
Tell = Callable[[Row], dict[str, Any]]
IsHere = Callable[[], Awaitable[bool]]


async def stream(request: Request, newsroom: Newsroom, tell: Tell, *, is_here: IsHere) -> AsyncIterator[str]:
    """Write news, those first that somebody who was here before has missed, until it is time to come back."""
    async with newsroom.watching() as reader:
        asked = Unseen.read(request.headers.get("last-event-id", ""))
        unseen = asked or newsroom.unseen
        yield f"retry: {COME_BACK_MS}\n\n"
        if asked:
            news, _ = await read_on(newsroom.database, asked)
            unseen = newsroom.unseen if news.is_too_much else news.unseen
            if missed := told(news, asked, tell):
                yield message("news", unseen, missed)
        else:
            yield message("begin", unseen, {})
        async for part in listen(reader, unseen, tell, is_here=is_here):
            yield part


async def listen(reader: Reader, unseen: Unseen, tell: Tell, *, is_here: IsHere) -> AsyncIterator[str]:
    """Write what a reader is told, each event once, and now and then a sign of life."""
    until = asyncio.get_running_loop().time() + LASTS_SECONDS
    while (left := until - asyncio.get_running_loop().time()) > 0:
        try:
            news = await asyncio.wait_for(reader.queue.get(), min(left, HEARTBEAT_SECONDS))
        except TimeoutError:
            if not await is_here():
                return
            yield ": still here\n\n"
            continue
        if news is None:
            return
        new = told(news, unseen, tell)
        unseen = unseen.without(event["id"] for event in news.events).both(news.unseen)
        if new:
            yield message("news", unseen, new)


def told(news: News, unseen: Unseen, tell: Tell) -> dict[str, Any]:
    """Give what is new to somebody: events by number, the visits as they are now, and those that are gone.

    Nothing when all of it was seen, or none is of note. Where it is too much, or is about more than visits, they are to
    look at all anew.
    """
    events = [event for event in news.events if event["id"] in unseen and event["table_name"] in {"bookings", *NOTABLE}]
    if not events:
        return {}
    of_visits = [event["row_id"] for event in events if event["table_name"] == "bookings"]
    return {
        "events": [event["id"] for event in events],
        "visits": [tell(news.visits[number]) for number in dict.fromkeys(of_visits) if number in news.visits],
        "gone": sorted({number for number in of_visits if number not in news.visits}),
        "is_all_new": news.is_too_much or len(of_visits) < len(events),
    }


def message(kind: str, unseen: Unseen, said: dict[str, Any]) -> str:
    """Write one message; its id is what somebody who has it has not seen."""
    body = bytes(JSONResponse(said).body).decode()
    return f"event: {kind}\nid: {unseen}\ndata: {body}\n\n"
