"""News of the staff door: each once, from whichever process, and no longer than somebody may see them."""

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
from bookit.people import passwords
from bookit.schema.tables import Booking, Role, Service, User
from tests.support.admin_client import AdminDesk
from tests.support.clock import NOW, TOMORROW_AT_TEN
from tests.support.databases import TEMPLATE_DATABASE, create_database
from tests.support.people import OWNER, PASSWORD, Person
from tests.support.server import run_server

# What is unseen.


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
def test_what_is_seen_is_unseen_no_more(before: str, seen: list[int], after: str) -> None:
    unseen = Cursor.parse(before)
    assert unseen is not None

    assert str(unseen.without(seen)) == after


def test_what_is_unseen_to_both_is_where_they_meet() -> None:
    one, other = Cursor.parse("2-5,8-"), Cursor.parse("1-3,5-9,11-")
    assert one is not None
    assert other is not None

    assert str(one.intersect(other)) == "2-3,5-5,8-9,11-"
    assert str(one.skip_before(5)) == "5-5,8-"
    assert [number in one for number in (1, 2, 5, 6, 7, 8)] == [False, True, True, False, False, True]


@pytest.mark.parametrize("spelled", ["", "1", "-", "5", "3-1,4-", "1-2", "x-", "4-,1-2", "9" * 40 + "-", "²-"])
def test_what_nobody_wrote_is_not_read(spelled: str) -> None:
    assert Cursor.parse(spelled) is None


# Reading on.


@asynccontextmanager
async def two_at_work(url: str) -> AsyncIterator[tuple[psycopg.AsyncConnection[Any], psycopg.AsyncConnection[Any]]]:
    """Two consoles, each in a transaction of its own."""
    async with await psycopg.AsyncConnection.connect(url) as one, await psycopg.AsyncConnection.connect(url) as other:
        yield one, other


async def rename(console: psycopg.AsyncConnection[Any], name: str) -> None:
    await console.execute("INSERT INTO resources (name, timezone) VALUES (%s, 'UTC')", (name,))


async def hear(reader: Subscriber, count: int, seconds: float = 5) -> list[int]:
    """Listen until so many events are told, or too long."""
    heard: list[int] = []
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while len(heard) < count:
                told = await reader.queue.get()
                assert told is not None
                heard += [event["id"] for event in told.events]
    return heard


async def test_a_number_that_is_kept_later_than_the_next_is_told_too(database: Database) -> None:
    newsroom = ChangeFeed(database)
    async with newsroom.subscribe() as reader, two_at_work(database.url) as (slow, quick):
        await rename(slow, "First number, last to be kept")
        await rename(quick, "Second number")
        await quick.commit()
        assert await hear(reader, 1) == [2]
        await asyncio.sleep(change_feed.POLL_INTERVAL_SECONDS * 3)
        assert str(newsroom.cursor) == "1-1,3-"  # It is waited for as long as somebody may hold it.

        await slow.commit()

        assert await hear(reader, 1) == [1]
        assert str(newsroom.cursor) == "3-"


async def test_a_number_that_nobody_keeps_is_waited_for_no_longer_than_it_can_be(database: Database) -> None:
    newsroom = ChangeFeed(database)
    async with newsroom.subscribe() as reader, two_at_work(database.url) as (slow, quick):
        await rename(slow, "Never kept")
        await rename(quick, "Kept")
        await quick.commit()
        assert await hear(reader, 1) == [2]

        await slow.rollback()
        await asyncio.sleep(change_feed.POLL_INTERVAL_SECONDS * 4)

        assert str(newsroom.cursor) == "3-"


async def test_what_was_at_work_when_one_began_to_watch_is_told(database: Database) -> None:
    async with two_at_work(database.url) as (slow, quick):
        await rename(slow, "First number")
        await rename(quick, "Second number")
        await quick.commit()
        async with ChangeFeed(database).subscribe() as reader:
            await slow.commit()

            assert await hear(reader, 1) == [1]


async def test_however_many_watch_one_reads_and_nobody_when_none_does(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = 0
    read_on = change_feed.poll

    async def counting(*given: Any) -> Any:
        nonlocal reads
        reads += 1
        return await read_on(*given)

    monkeypatch.setattr(change_feed, "poll", counting)
    newsroom = ChangeFeed(database)
    for _ in range(2):
        readers = [newsroom.subscribe() for _ in range(40)]
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
    assert newsroom.subscribers == set()


async def test_who_is_too_slow_is_sent_away_with_what_they_have_not_read(database: Database) -> None:
    newsroom = ChangeFeed(database)
    async with newsroom.subscribe() as reader:
        told = change_feed.Changes([], {}, newsroom.cursor)
        for _ in range(change_feed.MAX_QUEUED_BATCHES + 5):
            reader.deliver(told)

        assert reader.queue.qsize() <= change_feed.MAX_QUEUED_BATCHES
        assert await reader.queue.get() is None


async def test_news_that_cannot_be_read_come_later(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change_feed, "RETRY_DELAY_SECONDS", 0.1)
    read_on, fails = change_feed.poll, [ValueError("nobody foresaw this"), no.Busy()]

    async def failing(*given: Any) -> Any:
        if fails:
            raise fails.pop()
        return await read_on(*given)

    monkeypatch.setattr(change_feed, "poll", failing)
    async with ChangeFeed(database).subscribe() as reader, two_at_work(database.url) as (one, _):
        await rename(one, "Kept")
        await one.commit()

        assert await hear(reader, 1) == [1]


# As a stream.


class Listener:
    """Somebody who listens to the stream as a browser does: it comes back with what it heard last."""

    def __init__(self, newsroom: ChangeFeed) -> None:
        self.newsroom = newsroom
        self.last = ""
        self.heard: list[int] = []

    async def listen(self, seconds: float) -> None:
        """Listen for some time."""
        headers = {"last-event-id": self.last}
        request = type("Asked", (), {"headers": headers})()

        async def is_here() -> bool:
            return True

        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                async for part in event_stream.stream_messages(
                    request, self.newsroom, lambda visit: {"id": visit["id"]}, is_signed_in=is_here
                ):
                    self.take(part)

    def take(self, part: str) -> None:
        """Take a message as a browser does."""
        fields = dict(line.split(": ", 1) for line in part.strip().splitlines() if not line.startswith(":"))
        if "data" in fields:
            self.heard += json.loads(fields["data"]).get("events", [])
            self.last = fields["id"]


async def test_nothing_is_missed_and_nothing_is_told_twice(desk: AdminDesk, tom: Person, haircut: Service) -> None:
    """Many write at once, some take back what they did, and who listens comes and goes, between two processes."""
    newsrooms = [ChangeFeed(desk.database), ChangeFeed(desk.database)]
    listeners = [Listener(newsrooms[number % 2]) for number in range(4)]
    is_over = asyncio.Event()
    before = (await desk.database.fetch(text("SELECT max(id) AS id FROM events")))[0]["id"]

    async def write(number: int) -> None:
        async with await psycopg.AsyncConnection.connect(desk.database.url) as console:
            for turn in range(25):
                await rename(console, f"{number}.{turn}")
                await asyncio.sleep(0.02 * (number % 3))
                await (console.rollback() if turn % 4 == number % 4 else console.commit())

    async def come_and_go(listener: Listener, at: int) -> None:
        while not is_over.is_set():
            await listener.listen(0.3 + 0.17 * at)
            listener.newsroom = newsrooms[(at + len(listener.heard)) % 2]

    listening = [asyncio.create_task(come_and_go(listener, at)) for at, listener in enumerate(listeners)]
    await asyncio.sleep(0.6)  # Each has been told where it begins.
    await asyncio.gather(*(write(number) for number in range(6)))
    await asyncio.sleep(1)
    is_over.set()
    await asyncio.gather(*listening)
    for listener in listeners:
        await listener.listen(1)

    rows = await desk.database.fetch(text("SELECT id FROM events WHERE id > :id ORDER BY id"), id=before)
    wanted = [row["id"] for row in rows]
    assert len(wanted) > 100
    assert [sorted(listener.heard) for listener in listeners] == [wanted] * len(listeners)


async def test_who_was_away_for_too_much_is_to_look_at_all_anew(
    desk: AdminDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(change_feed, "MAX_EVENTS_PER_POLL", 3)
    listener = Listener(ChangeFeed(desk.database))
    listener.last = "1-"
    async with two_at_work(desk.database.url) as (one, _):
        for number in range(5):
            await rename(one, str(number))
        await one.commit()

    await listener.listen(1)

    assert listener.last == str(listener.newsroom.cursor)


async def test_a_booking_is_told_as_it_is_and_as_gone_when_it_is(
    desk: AdminDesk, database: Database, tom: Person, haircut: Service
) -> None:
    newsroom = ChangeFeed(database)
    async with newsroom.subscribe() as reader:
        async with database.transaction(by=OWNER, now=NOW) as session:
            facts: dict[str, Any] = {"user_id": tom.id, "service_id": 1, "start_time": TOMORROW_AT_TEN}
            booking = await records.create(session, Booking, by=OWNER, now=NOW, **facts)
        told = await asyncio.wait_for(reader.queue.get(), 5)
        assert told is not None
        everything = Cursor((IdRange(1, OPEN_END),))
        said = event_stream.build_payload(
            told, everything, lambda visit: {"id": visit["id"], "customer": visit["customer"]}
        )
        assert (said["visits"], said["deleted"], said["is_reload_needed"]) == (
            [{"id": 1, "customer": "Tom"}],
            [],
            False,
        )

        async with database.transaction(by=OWNER, now=NOW) as session:
            await records.remove(session, booking, by=OWNER, now=NOW)
        told = await asyncio.wait_for(reader.queue.get(), 5)
        assert told is not None
        said = event_stream.build_payload(told, everything, lambda visit: {"id": visit["id"]})
        assert (said["visits"], said["deleted"]) == ([], [1])


async def test_a_stream_ends_with_what_its_person_may(
    desk: AdminDesk, mara: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "HEARTBEAT_SECONDS", 0.1)
    asked = asyncio.create_task(desk.mara.get("/admin/calendar/stream"))
    await asyncio.sleep(0.5)
    assert not asked.done()

    await desk.database.fetch(text("UPDATE users SET is_active = false WHERE id = :id"), id=mara.id)
    answer = await asyncio.wait_for(asked, 5)

    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert ": still here" in answer.text
    assert (await desk.mara.get("/admin/calendar/stream")).status_code == 401


async def test_a_stream_ends_by_itself_and_keeps_nobody_signed_in(
    desk: AdminDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "STREAM_SECONDS", 0.3)

    answer = await asyncio.wait_for(desk.mara.get("/admin/calendar/stream"), 5)

    assert (answer.status_code, "set-cookie" in answer.headers) == (200, False)
    assert answer.headers["cache-control"] == "no-store"
    assert answer.text.startswith("retry: 700\n\nevent: start\nid: ")


# From a server.


async def staffed(database: Database) -> None:
    """Have Mara work at the desk."""
    async with database.transaction(by=OWNER) as session:
        who: dict[str, Any] = {"by": OWNER, "now": NOW, "password_hash": passwords.CRYPT_CONTEXT.hash(PASSWORD)}
        await records.create(session, User, name="Mara", email="mara@example.com", role=Role.STAFF, **who)


@asynccontextmanager
async def mara_at(address: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=address, headers={"origin": address}, timeout=20) as client:
        answer = await client.post("/admin/login", data={"username": "mara@example.com", "password": PASSWORD})
        assert answer.status_code == 303
        yield client


async def until(parts: AsyncIterator[str], wanted: str) -> None:
    """Read on until this is said."""
    async with asyncio.timeout(5):
        while wanted not in await anext(parts):
            pass


@pytest.mark.process
@pytest.mark.parametrize("workers", [(), ("--workers", "2")], ids=["one", "several"])
async def test_news_come_within_a_second_and_a_server_with_open_streams_stops_at_once(
    server: str, worker_id: str, tmp_path: Path, workers: tuple[str, ...]
) -> None:
    url = create_database(server, f"live_{worker_id}", TEMPLATE_DATABASE)
    with ExitStack() as running:
        async with Database(url) as database:
            await staffed(database)
        address = running.enter_context(run_server(tmp_path, url, *workers, DEBUG="1"))
        async with mara_at(address) as mara, mara.stream("GET", "/admin/calendar/stream") as answer:
            parts = answer.aiter_text()
            await until(parts, "event: start")
            async with await psycopg.AsyncConnection.connect(url) as console:
                await rename(console, "New")
                await console.commit()
            kept_at = time.monotonic()
            await until(parts, "event: changes")
            took = time.monotonic() - kept_at
            told_at = time.monotonic()
            await asyncio.to_thread(running.close)  # As Ctrl-C does, and waits until it has ended.
            ended = time.monotonic() - told_at
            assert [part async for part in parts] == []

    assert took < 1
    assert ended < 2 + 2 * bool(workers)
