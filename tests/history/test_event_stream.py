"""The event stream of the panel: each event once, from any process, and only while its user may see it."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest
from sqlalchemy import text
from starlette.requests import Request

from admin.calendar import event_stream
from admin.framework import sign_in
from bookit import change_feed, records
from bookit.change_feed import OPEN_END, ChangeFeed, Cursor, IdRange
from bookit.db.pool import Database
from bookit.schema.tables import Booking, Role, Service, User
from tests.history.conftest import Polls, insert_resource, two_consoles
from tests.support.admin_client import AdminDesk
from tests.support.clock import NOW, TOMORROW_AT_TEN
from tests.support.databases import TEMPLATE_DATABASE, create_database
from tests.support.people import OWNER, PASSWORD, PASSWORD_HASH, Person
from tests.support.polling import eventually
from tests.support.server import run_server

SELECT_IDS_AFTER = text("SELECT id FROM events WHERE id > :id ORDER BY id")


class Listener:
    """A client of the stream that behaves as a browser: it reconnects with the id of the last message."""

    def __init__(self, feed: ChangeFeed) -> None:
        self.feed = feed
        self.last_event_id = ""
        self.event_ids: list[int] = []

    async def listen(self, max_messages: int) -> None:
        """Listen until so many messages have arrived."""
        request = Request({"type": "http", "headers": [(b"last-event-id", self.last_event_id.encode())]})

        async def is_signed_in() -> bool:
            return True

        messages: Any = event_stream.stream_messages(
            request,
            self.feed,
            lambda booking: {"id": booking["id"]},
            own_resource=lambda: None,
            is_signed_in=is_signed_in,
        )
        async with aclosing(messages):
            async for message in messages:
                max_messages -= self.receive(message)
                if not max_messages:
                    return

    def receive(self, message: str) -> bool:
        """Read a message as a browser does. Return whether it has data."""
        fields = dict(line.split(": ", 1) for line in message.strip().splitlines() if not line.startswith(":"))
        if "data" in fields:
            self.event_ids += json.loads(fields["data"]).get("events", [])
            self.last_event_id = fields["id"]
        return "data" in fields


async def test_every_event_is_delivered_exactly_once(
    desk: AdminDesk, tom: Person, haircut: Service, polls: Polls
) -> None:
    """Many write at once, some roll back, and clients come and go between two processes' feeds."""
    feeds = [ChangeFeed(desk.database), ChangeFeed(desk.database)]
    listeners = [Listener(feeds[number % 2]) for number in range(4)]
    before = (await desk.database.fetch(text("SELECT max(id) AS id FROM events")))[0]["id"]

    async def write(number: int) -> None:
        async with await psycopg.AsyncConnection.connect(desk.database.url) as console:
            for turn in range(25):
                await insert_resource(console, f"{number}.{turn}")
                await asyncio.sleep(0.02 * (number % 3))
                await (console.rollback() if turn % 4 == number % 4 else console.commit())

    async def come_and_go(listener: Listener, number: int) -> None:
        while True:
            await listener.listen(max_messages=1 + number)
            listener.feed = feeds[(number + len(listener.event_ids)) % 2]

    async with asyncio.TaskGroup() as tasks:
        clients = [tasks.create_task(come_and_go(listener, number)) for number, listener in enumerate(listeners)]
        await eventually(lambda: all(listener.last_event_id for listener in listeners))
        await asyncio.gather(*(write(number) for number in range(6)))
        written_ids = [row["id"] for row in await desk.database.fetch(SELECT_IDS_AFTER, id=before)]
        with suppress(TimeoutError):
            await eventually(lambda: all(len(listener.event_ids) >= len(written_ids) for listener in listeners))
        await asyncio.sleep(10 * change_feed.POLL_INTERVAL_SECONDS)  # What would be repeated comes now.
        for client in clients:
            client.cancel()

    assert len(written_ids) > 100
    assert [sorted(listener.event_ids) for listener in listeners] == [written_ids] * len(listeners)


async def test_a_listener_too_far_behind_reloads_everything(desk: AdminDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change_feed, "MAX_EVENTS_PER_POLL", 3)
    listener = Listener(ChangeFeed(desk.database))
    listener.last_event_id = "1-"
    async with two_consoles(desk.database.url) as (console, _):
        for number in range(5):
            await insert_resource(console, str(number))
        await console.commit()

    await listener.listen(max_messages=1)

    assert listener.last_event_id == str(listener.feed.cursor)


async def test_a_booking_is_sent_as_it_is_and_as_gone_when_deleted(
    desk: AdminDesk, database: Database, tom: Person, haircut: Service
) -> None:
    feed = ChangeFeed(database)
    all_unseen = Cursor((IdRange(1, OPEN_END),))
    async with feed.subscribe() as subscriber:
        async with database.transaction(by=OWNER, now=NOW) as session:
            values: dict[str, Any] = {"user_id": tom.id, "service_id": 1, "start_time": TOMORROW_AT_TEN}
            booking = await records.create(session, Booking, by=OWNER, now=NOW, **values)
        changes = await asyncio.wait_for(subscriber.queue.get(), 5)
        assert changes is not None
        payload = event_stream.build_payload(
            changes, all_unseen, lambda row: {"id": row["id"], "customer": row["customer"]}
        )
        assert (payload["visits"], payload["deleted"], payload["is_reload_needed"]) == (
            [{"id": 1, "customer": "Tom"}],
            [],
            False,
        )

        async with database.transaction(by=OWNER, now=NOW) as session:
            await records.remove(session, booking, by=OWNER, now=NOW)
        changes = await asyncio.wait_for(subscriber.queue.get(), 5)
        assert changes is not None
        payload = event_stream.build_payload(changes, all_unseen, lambda row: {"id": row["id"]})
        assert (payload["visits"], payload["deleted"]) == ([], [1])


async def test_a_stream_ends_when_its_user_is_deactivated(
    desk: AdminDesk, mara: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = 0

    async def is_signed_in(request: Request) -> bool:
        nonlocal checks
        checks += 1
        return await sign_in.is_signed_in(request)

    monkeypatch.setattr("admin.calendar.feed.is_signed_in", is_signed_in)
    monkeypatch.setattr(event_stream, "HEARTBEAT_SECONDS", 0.1)
    streaming = asyncio.create_task(desk.mara.get("/admin/calendar/stream"))
    await eventually(lambda: checks >= 2)
    assert not streaming.done()

    await desk.database.fetch(text("UPDATE users SET is_active = false WHERE id = :id"), id=mara.id)
    response = await asyncio.wait_for(streaming, 5)

    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert ": still here" in response.text
    assert (await desk.mara.get("/admin/calendar/stream")).status_code == 401


async def test_a_stream_is_limited_and_does_not_extend_the_session(
    desk: AdminDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "STREAM_SECONDS", 0.3)

    response = await asyncio.wait_for(desk.mara.get("/admin/calendar/stream"), 5)

    assert (response.status_code, "set-cookie" in response.headers) == (200, False)
    assert response.headers["cache-control"] == "no-store"
    assert response.text.startswith("retry: 700\n\nevent: start\nid: ")


# From a server.


async def create_mara(database: Database) -> None:
    async with database.transaction(by=OWNER) as session:
        values: dict[str, Any] = {"name": "Mara", "email": "mara@example.com", "role": Role.STAFF}
        await records.create(session, User, by=OWNER, now=NOW, password_hash=PASSWORD_HASH, **values)


@asynccontextmanager
async def sign_in_mara(address: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=address, headers={"origin": address}, timeout=20) as client:
        form_data = {"username": "mara@example.com", "password": PASSWORD}
        response = await client.post("/admin/login", data=form_data)
        assert response.status_code == 303
        yield client


async def read_until(parts: AsyncIterator[str], text: str) -> None:
    async with asyncio.timeout(5):
        while text not in await anext(parts):
            pass


@pytest.mark.process
@pytest.mark.parametrize("workers", [(), ("--workers", "2")], ids=["one", "several"])
async def test_changes_arrive_within_a_second_and_open_streams_allow_a_stop(
    server: str, worker_id: str, tmp_path: Path, workers: tuple[str, ...]
) -> None:
    url = create_database(server, f"live_{worker_id}", TEMPLATE_DATABASE)
    with ExitStack() as running:
        async with Database(url) as database:
            await create_mara(database)
        address = running.enter_context(run_server(tmp_path, url, *workers, DEBUG="1"))
        async with sign_in_mara(address) as mara, mara.stream("GET", "/admin/calendar/stream") as response:
            parts = response.aiter_text()
            await read_until(parts, "event: start")
            async with await psycopg.AsyncConnection.connect(url) as console:
                await insert_resource(console, "New")
                await console.commit()
            committed_at = time.monotonic()
            await read_until(parts, "event: changes")
            delivery_seconds = time.monotonic() - committed_at
            stop_began = time.monotonic()
            await asyncio.to_thread(running.close)  # As Ctrl-C does; returns when the server has stopped.
            stop_seconds = time.monotonic() - stop_began
            assert [part async for part in parts] == []

    assert delivery_seconds < 1
    assert stop_seconds < 2 + 2 * bool(workers)
