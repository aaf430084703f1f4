"""The change feed delivers each event once, however transactions overlap, and polls once for all subscribers."""

import asyncio
import time
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

from bookit import change_feed
from bookit import refusals as no
from bookit.change_feed import ChangeFeed, Changes, Cursor, Subscriber
from bookit.db.pool import Database
from tests.history.conftest import Polls, insert_resource, two_consoles
from tests.support.polling import eventually

# The cursor.


def parse(text: str) -> Cursor:
    cursor = Cursor.parse(text)
    assert cursor is not None
    return cursor


@pytest.mark.parametrize(
    ("before", "seen_ids", "after"),
    [
        ("1-", [], "1-"),
        ("1-", [1, 2, 3], "4-"),
        ("1-", [3, 5], "1-2,4-4,6-"),
        ("1-2,4-4,6-", [1, 4, 8], "2-2,6-7,9-"),
        ("4-", [1, 2], "4-"),
    ],
)
def test_a_cursor_drops_events_that_were_read(before: str, seen_ids: list[int], after: str) -> None:
    assert str(parse(before).without(seen_ids)) == after


def test_cursors_intersect() -> None:
    cursor, other = parse("2-5,8-"), parse("1-3,5-9,11-")

    assert str(cursor.intersect(other)) == "2-3,5-5,8-9,11-"
    assert str(cursor.skip_before(5)) == "5-5,8-"
    assert [event_id in cursor for event_id in (1, 2, 5, 6, 7, 8)] == [False, True, True, False, False, True]


@pytest.mark.parametrize("text", ["", "1", "-", "5", "3-1,4-", "1-2", "x-", "4-,1-2", "9" * 40 + "-", "²-"])
def test_parsing_an_invalid_cursor_returns_none(text: str) -> None:
    assert Cursor.parse(text) is None


# The feed.


async def receive(subscriber: Subscriber, count: int, seconds: float = 5) -> list[int]:
    """Return the ids of the next events, as many as ``count`` or as arrive within these seconds."""
    event_ids: list[int] = []
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while len(event_ids) < count:
                changes = await subscriber.queue.get()
                assert changes is not None
                event_ids += [event["id"] for event in changes.events]
    return event_ids


async def wait_for_polls(polls: Polls, count: int) -> None:
    target = polls.count + count
    await eventually(lambda: polls.count >= target)


async def test_an_event_committed_out_of_order_is_delivered(database: Database, polls: Polls) -> None:
    feed = ChangeFeed(database)
    async with feed.subscribe() as subscriber, two_consoles(database.url) as (slow, quick):
        await insert_resource(slow, "First id, committed last")
        await insert_resource(quick, "Second id")
        await quick.commit()
        assert await receive(subscriber, 1) == [2]
        await wait_for_polls(polls, 4)
        assert str(feed.cursor) == "1-1,3-"  # It waits for id 1 while a transaction may hold it.

        await slow.commit()

        assert await receive(subscriber, 1) == [1]
        assert str(feed.cursor) == "3-"


async def test_a_rolled_back_event_id_closes_its_gap(database: Database, polls: Polls) -> None:
    feed = ChangeFeed(database)
    async with feed.subscribe() as subscriber, two_consoles(database.url) as (slow, quick):
        await insert_resource(slow, "Rolled back")
        await insert_resource(quick, "Committed")
        await quick.commit()
        assert await receive(subscriber, 1) == [2]

        await slow.rollback()

        await eventually(lambda: str(feed.cursor) == "3-", seconds=5)


async def test_a_transaction_open_at_subscription_is_delivered(database: Database) -> None:
    async with two_consoles(database.url) as (slow, quick):
        await insert_resource(slow, "First id")
        await insert_resource(quick, "Second id")
        await quick.commit()
        async with ChangeFeed(database).subscribe() as subscriber:
            await slow.commit()

            assert await receive(subscriber, 1) == [1]


async def test_all_subscribers_share_one_poll_and_none_polls_without_them(database: Database, polls: Polls) -> None:
    feed = ChangeFeed(database)
    for _ in range(2):
        subscriptions = [feed.subscribe() for _ in range(40)]
        for subscription in subscriptions:
            await subscription.__aenter__()
        began = time.monotonic()
        await wait_for_polls(polls, 5)
        assert time.monotonic() - began >= 4 * change_feed.POLL_INTERVAL_SECONDS
        for subscription in subscriptions:
            await subscription.__aexit__(None, None, None)
        before = polls.count
        await asyncio.sleep(change_feed.POLL_INTERVAL_SECONDS * 2)
        assert polls.count == before
    assert feed.subscribers == set()


async def test_one_task_polls_even_if_polls_swallow_their_cancellation(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``asyncio.wait_for`` of Python 3.11 does so if the socket is ready as the task is cancelled."""
    monkeypatch.setattr(change_feed, "POLL_INTERVAL_SECONDS", 0)
    original, running = change_feed.poll, 0
    concurrent_polls = list[int]()

    async def poll(*arguments: Any) -> Any:
        nonlocal running
        running += 1
        concurrent_polls.append(running)
        reading = asyncio.ensure_future(original(*arguments))
        while not reading.done():
            with suppress(asyncio.CancelledError):
                await asyncio.shield(reading)
        running -= 1
        return reading.result()

    def has_polled_since(count: int) -> bool:
        return len(concurrent_polls) > count

    monkeypatch.setattr(change_feed, "poll", poll)
    feed = ChangeFeed(database)
    for _ in range(10):
        async with feed.subscribe():
            await eventually(partial(has_polled_since, len(concurrent_polls)))

    assert set(concurrent_polls) == {1}


async def test_a_slow_subscriber_is_disconnected(database: Database) -> None:
    feed = ChangeFeed(database)
    async with feed.subscribe() as subscriber:
        for _ in range(change_feed.MAX_QUEUED_BATCHES + 5):
            subscriber.deliver(Changes([], {}, feed.cursor))

        assert subscriber.queue.qsize() <= change_feed.MAX_QUEUED_BATCHES
        assert await subscriber.queue.get() is None


async def test_a_failed_poll_is_retried(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change_feed, "RETRY_DELAY_SECONDS", 0.1)
    original, errors = change_feed.poll, [ValueError("a bug"), no.Busy()]

    async def poll(*arguments: Any) -> Any:
        if errors:
            raise errors.pop()
        return await original(*arguments)

    monkeypatch.setattr(change_feed, "poll", poll)
    async with ChangeFeed(database).subscribe() as subscriber, two_consoles(database.url) as (console, _):
        await insert_resource(console, "Committed")
        await console.commit()

        assert await receive(subscriber, 1) == [1]
