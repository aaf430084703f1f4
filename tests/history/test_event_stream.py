"""The change feed and the event stream of the desk: every event once, from any process, while the reader may see it."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest
from sqlalchemy import text

from admin.calendar import event_stream
from bookit import change_feed, records
from bookit import refusals as no
from bookit.change_feed import OPEN_END, ChangeFeed, Cursor, IdRange, Subscriber
from bookit.db.pool import Database
from bookit.schema.tables import Booking, Role, Service, User
from tests.support.admin_client import AdminDesk
from tests.support.clock import NOW, TOMORROW_AT_TEN
from tests.support.databases import TEMPLATE_DATABASE, create_database
from tests.support.people import OWNER, PASSWORD, PASSWORD_HASH, Person
from tests.support.server import run_server

# The cursor.


@pytest.mark.parametrize(
    ("before", "seen", "after"),
    [
        ("1-", [], "1-"),
        ("1-", [1, 2, 3], "4-"),
        ("1-", [3, 5], "1-2,4-4,6-"),
        ("1-2,4-4,6-", [1, 4, 8], "2-2,6-7,9-"),
        ("4-", [1, 2], "4-"),
    ],
)
def test_a_cursor_drops_events_that_were_read(before: str, seen: list[int], after: str) -> None:
    unseen = Cursor.parse(before)
    assert unseen is not None

    assert str(unseen.without(seen)) == after


def test_cursors_intersect() -> None:
    one, other = Cursor.parse("2-5,8-"), Cursor.parse("1-3,5-9,11-")
    assert one is not None
    assert other is not None

    assert str(one.intersect(other)) == "2-3,5-5,8-9,11-"
    assert str(one.skip_before(5)) == "5-5,8-"
    assert [number in one for number in (1, 2, 5, 6, 7, 8)] == [False, True, True, False, False, True]


@pytest.mark.parametrize("spelled", ["", "1", "-", "5", "3-1,4-", "1-2", "x-", "4-,1-2", "9" * 40 + "-", "²-"])
def test_parsing_an_invalid_cursor_returns_none(spelled: str) -> None:
    assert Cursor.parse(spelled) is None


# The change feed.


@asynccontextmanager
async def open_two_consoles(
    url: str,
) -> AsyncIterator[tuple[psycopg.AsyncConnection[Any], psycopg.AsyncConnection[Any]]]:
    """Open two consoles, each in its own transaction."""
    async with await psycopg.AsyncConnection.connect(url) as one, await psycopg.AsyncConnection.connect(url) as other:
        yield one, other


async def add_resource(console: psycopg.AsyncConnection[Any], name: str) -> None:
    await console.execute("INSERT INTO resources (name, timezone) VALUES (%s, 'UTC')", (name,))


async def receive(reader: Subscriber, count: int, seconds: float = 5) -> list[int]:
    """Return the ids of the first events that arrive, until there are as many as expected or time is up."""
    ids: list[int] = []
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while len(ids) < count:
                changes = await reader.queue.get()
                assert changes is not None
                ids += [event["id"] for event in changes.events]
    return ids


async def test_an_event_committed_out_of_order_is_delivered(database: Database) -> None:
    feed = ChangeFeed(database)
    async with feed.subscribe() as reader, open_two_consoles(database.url) as (slow, quick):
        await add_resource(slow, "First id, committed last")
        await add_resource(quick, "Second number")
        await quick.commit()
        assert await receive(reader, 1) == [2]
        await asyncio.sleep(change_feed.POLL_INTERVAL_SECONDS * 3)
        assert str(feed.cursor) == "1-1,3-"  # The gap stays open while a transaction may hold the number.

        await slow.commit()

        assert await receive(reader, 1) == [1]
        assert str(feed.cursor) == "3-"


async def test_a_rolled_back_event_id_closes_its_gap(database: Database) -> None:
    feed = ChangeFeed(database)
    async with feed.subscribe() as reader, open_two_consoles(database.url) as (slow, quick):
        await add_resource(slow, "Rolled back")
        await add_resource(quick, "Kept")
        await quick.commit()
        assert await receive(reader, 1) == [2]

        await slow.rollback()
        await asyncio.sleep(change_feed.POLL_INTERVAL_SECONDS * 4)

        assert str(feed.cursor) == "3-"


async def test_a_transaction_open_at_subscription_is_delivered(database: Database) -> None:
    async with open_two_consoles(database.url) as (slow, quick):
        await add_resource(slow, "First number")
        await add_resource(quick, "Second number")
        await quick.commit()
        async with ChangeFeed(database).subscribe() as reader:
            await slow.commit()

            assert await receive(reader, 1) == [1]


async def test_all_subscribers_share_one_poll_and_none_polls_without_them(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = 0
    read_on = change_feed.poll

    async def counting(*args: Any) -> Any:
        nonlocal reads
        reads += 1
        return await read_on(*args)

    monkeypatch.setattr(change_feed, "poll", counting)
    feed = ChangeFeed(database)
    for _ in range(2):
        readers = [feed.subscribe() for _ in range(40)]
        for one in readers:
            await one.__aenter__()
        before = reads
        await asyncio.sleep(change_feed.POLL_INTERVAL_SECONDS * 4)
        assert 1 <= reads - before <= 5
        for one in readers:
            await one.__aexit__(None, None, None)
        before = reads
        await asyncio.sleep(change_feed.POLL_INTERVAL_SECONDS * 2)
        assert reads == before
    assert feed.subscribers == set()


async def test_a_slow_subscriber_is_disconnected(database: Database) -> None:
    feed = ChangeFeed(database)
    async with feed.subscribe() as reader:
        changes = change_feed.Changes([], {}, feed.cursor)
        for _ in range(change_feed.MAX_QUEUED_BATCHES + 5):
            reader.deliver(changes)

        assert reader.queue.qsize() <= change_feed.MAX_QUEUED_BATCHES
        assert await reader.queue.get() is None


async def test_a_failed_poll_is_retried(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change_feed, "RETRY_DELAY_SECONDS", 0.1)
    read_on, fails = change_feed.poll, [ValueError("unforeseen"), no.Busy()]

    async def failing(*args: Any) -> Any:
        if fails:
            raise fails.pop()
        return await read_on(*args)

    monkeypatch.setattr(change_feed, "poll", failing)
    async with ChangeFeed(database).subscribe() as reader, open_two_consoles(database.url) as (one, _):
        await add_resource(one, "Kept")
        await one.commit()

        assert await receive(reader, 1) == [1]


# The stream.


class Listener:
    """Reads the stream as a browser does: it reconnects with the last id that it received."""

    def __init__(self, feed: ChangeFeed) -> None:
        self.newsroom = feed
        self.last = ""
        self.heard: list[int] = []

    async def listen(self, seconds: float) -> None:
        """Read the stream for some seconds."""
        headers = {"last-event-id": self.last}
        request = type("Request", (), {"headers": headers})()

        async def is_here() -> bool:
            return True

        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                async for part in event_stream.stream_messages(
                    request, self.newsroom, lambda visit: {"id": visit["id"]}, is_signed_in=is_here
                ):
                    self.take(part)

    def take(self, part: str) -> None:
        """Process a message as a browser does."""
        fields = dict(line.split(": ", 1) for line in part.strip().splitlines() if not line.startswith(":"))
        if "data" in fields:
            self.heard += json.loads(fields["data"]).get("events", [])
            self.last = fields["id"]


async def test_every_event_is_delivered_exactly_once(desk: AdminDesk, tom: Person, haircut: Service) -> None:
    """Six writers commit and roll back while four listeners reconnect between two processes."""
    feeds = [ChangeFeed(desk.database), ChangeFeed(desk.database)]
    listeners = [Listener(feeds[number % 2]) for number in range(4)]
    is_over = asyncio.Event()
    before = (await desk.database.fetch(text("SELECT max(id) AS id FROM events")))[0]["id"]

    async def write(number: int) -> None:
        async with await psycopg.AsyncConnection.connect(desk.database.url) as console:
            for turn in range(25):
                await add_resource(console, f"{number}.{turn}")
                await asyncio.sleep(0.02 * (number % 3))
                await (console.rollback() if turn % 4 == number % 4 else console.commit())

    async def come_and_go(listener: Listener, at: int) -> None:
        while not is_over.is_set():
            await listener.listen(0.3 + 0.17 * at)
            listener.newsroom = feeds[(at + len(listener.heard)) % 2]

    listening = [asyncio.create_task(come_and_go(listener, at)) for at, listener in enumerate(listeners)]
    await asyncio.sleep(0.6)  # Each listener has received its first cursor.
    await asyncio.gather(*(write(number) for number in range(6)))
    await asyncio.sleep(1)
    is_over.set()
    await asyncio.gather(*listening)
    for listener in listeners:
        await listener.listen(1)

    rows = await desk.database.fetch(text("SELECT id FROM events WHERE id > :id ORDER BY id"), id=before)
    expected = [row["id"] for row in rows]
    assert len(expected) > 100
    assert [sorted(listener.heard) for listener in listeners] == [expected] * len(listeners)


async def test_a_listener_too_far_behind_reloads_everything(desk: AdminDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change_feed, "MAX_EVENTS_PER_POLL", 3)
    listener = Listener(ChangeFeed(desk.database))
    listener.last = "1-"
    async with open_two_consoles(desk.database.url) as (one, _):
        for number in range(5):
            await add_resource(one, str(number))
        await one.commit()

    await listener.listen(1)

    assert listener.last == str(listener.newsroom.cursor)


async def test_a_booking_is_sent_as_it_is_and_as_gone_when_deleted(
    desk: AdminDesk, database: Database, tom: Person, haircut: Service
) -> None:
    feed = ChangeFeed(database)
    async with feed.subscribe() as reader:
        async with database.transaction(by=OWNER, now=NOW) as session:
            facts: dict[str, Any] = {"user_id": tom.id, "service_id": 1, "start_time": TOMORROW_AT_TEN}
            booking = await records.create(session, Booking, by=OWNER, now=NOW, **facts)
        changes = await asyncio.wait_for(reader.queue.get(), 5)
        assert changes is not None
        everything = Cursor((IdRange(1, OPEN_END),))
        payload = event_stream.build_payload(
            changes, everything, lambda visit: {"id": visit["id"], "customer": visit["customer"]}
        )
        assert (payload["visits"], payload["deleted"], payload["is_reload_needed"]) == (
            [{"id": 1, "customer": "Tom"}],
            [],
            False,
        )

        async with database.transaction(by=OWNER, now=NOW) as session:
            await records.remove(session, booking, by=OWNER, now=NOW)
        changes = await asyncio.wait_for(reader.queue.get(), 5)
        assert changes is not None
        payload = event_stream.build_payload(changes, everything, lambda visit: {"id": visit["id"]})
        assert (payload["visits"], payload["deleted"]) == ([], [1])


async def test_a_stream_ends_when_its_user_is_deactivated(
    desk: AdminDesk, mara: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "HEARTBEAT_SECONDS", 0.1)
    request = asyncio.create_task(desk.mara.get("/admin/calendar/stream"))
    await asyncio.sleep(0.5)
    assert not request.done()

    await desk.database.fetch(text("UPDATE users SET is_active = false WHERE id = :id"), id=mara.id)
    answer = await asyncio.wait_for(request, 5)

    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert ": still here" in answer.text
    assert (await desk.mara.get("/admin/calendar/stream")).status_code == 401


async def test_a_stream_is_limited_and_does_not_extend_the_session(
    desk: AdminDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "STREAM_SECONDS", 0.3)

    answer = await asyncio.wait_for(desk.mara.get("/admin/calendar/stream"), 5)

    assert (answer.status_code, "set-cookie" in answer.headers) == (200, False)
    assert answer.headers["cache-control"] == "no-store"
    assert answer.text.startswith("retry: 700\n\nevent: start\nid: ")


# A server.


async def create_staff(database: Database) -> None:
    """Create Mara's staff account."""
    async with database.transaction(by=OWNER) as session:
        who: dict[str, Any] = {"by": OWNER, "now": NOW, "password_hash": PASSWORD_HASH}
        await records.create(session, User, name="Mara", email="mara@example.com", role=Role.STAFF, **who)


@asynccontextmanager
async def sign_in_mara(address: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=address, headers={"origin": address}, timeout=20) as client:
        answer = await client.post("/admin/login", data={"username": "mara@example.com", "password": PASSWORD})
        assert answer.status_code == 303
        yield client


async def read_until(parts: AsyncIterator[str], expected: str) -> None:
    """Read until this text arrives."""
    async with asyncio.timeout(5):
        while expected not in await anext(parts):
            pass


@pytest.mark.process
@pytest.mark.parametrize("workers", [(), ("--workers", "2")], ids=["one", "several"])
async def test_changes_arrive_within_a_second_and_open_streams_allow_a_stop(
    server: str, worker_id: str, tmp_path: Path, workers: tuple[str, ...]
) -> None:
    url = create_database(server, f"live_{worker_id}", TEMPLATE_DATABASE)
    with ExitStack() as running:
        async with Database(url) as database:
            await create_staff(database)
        address = running.enter_context(run_server(tmp_path, url, *workers, DEBUG="1"))
        async with sign_in_mara(address) as mara, mara.stream("GET", "/admin/calendar/stream") as answer:
            parts = answer.aiter_text()
            await read_until(parts, "event: start")
            async with await psycopg.AsyncConnection.connect(url) as console:
                await add_resource(console, "New")
                await console.commit()
            written_at = time.monotonic()
            await read_until(parts, "event: changes")
            took = time.monotonic() - written_at
            stopped_at = time.monotonic()
            await asyncio.to_thread(running.close)  # Stops the server as Ctrl-C does, and waits for its end.
            ended = time.monotonic() - stopped_at
            assert [part async for part in parts] == []

    assert took < 1
    assert ended < 2 + 2 * bool(workers)
