"""No answer holds the event loop for long, however much it says: all other requests wait meanwhile."""

import gc
import tracemalloc

import psycopg
import pytest

from bookit.db.pool import Database
from bookit.people import data_export
from tests.support.admin_client import AdminDesk
from tests.support.clock import NOW
from tests.support.loop_lag import watch_loop
from tests.support.people import OWNER, Person

MAX_MS = 20  # of CPU time in one slice
# Eight resources that are always open, four thousand visits, half of them Tom's, and as many reviews and events.
MUCH = """
    SET session_replication_role = replica;
    INSERT INTO services (title, price, duration_minutes, slot_step_minutes) VALUES ('Any minute', 35, 5, 1);
    INSERT INTO resources (name, timezone) SELECT 'Chair ' || n, 'Europe/Berlin' FROM generate_series(1, 8) n;
    INSERT INTO service_resources (service_id, resource_id) SELECT 1, n FROM generate_series(1, 8) n;
    INSERT INTO bookings
           (user_id, service_id, resource_id, start_time, end_time, blocks_from, blocks_until, status, price)
    SELECT 1 + n % 2, 1, 1 + n % 8, at, at + interval '5 min', at, at + interval '5 min', 'confirmed', 35
      FROM generate_series(1, 4000) n,
           LATERAL (SELECT timestamptz '2029-12-20Z' + interval '5 min' * (n / 2)) t (at);
    INSERT INTO reviews (booking_id, rating, comment) SELECT id, 5, 'Good, and quick.' FROM bookings WHERE id % 9 = 0;
    INSERT INTO events (at, actor_id, actor, door, table_name, row_id, action, old, new)
    SELECT timestamptz '2029-12-20Z' + interval '1 min' * n, 1, 'user 1', 'api', 'bookings', n, 'changed',
           '{"status": "pending", "service_id": 1, "resource_id": 2}',
           '{"status": "confirmed", "service_id": 1, "resource_id": 1}'
      FROM generate_series(1, 4000) n;
    UPDATE bookings SET start_time = at, end_time = at + interval '5 min', blocks_from = at,
                        blocks_until = at + interval '5 min'
      FROM (SELECT id AS moved, start_time + interval '30 days' AS at FROM bookings WHERE id <= 600) late
     WHERE id = moved;
    INSERT INTO claims (booking_id, number, position, role, resource_id, seat, part, is_blocking, start_time,
                        blocks_from, blocks_until)
    SELECT id, 1, 1, 'with', resource_id, 1, 1, is_blocking, start_time, blocks_from, blocks_until FROM bookings;
    UPDATE events SET request_id = 'an-act' WHERE row_id <= 500;
    SET session_replication_role = DEFAULT;
    ANALYZE;
"""
PATHS = [
    "/services/1/availability?from_date=2030-01-08T00:00:00Z&to_date=2030-01-14T00:00:00Z",
    "/me/export",
    "/bookings?limit=100",
    "/admin/calendar/feed?start=2029-12-20&end=2029-12-24",
    "/admin/user/1/data",
    "/admin/booking/list?pageSize=100",
    "/admin/event/list?pageSize=100",
    "/admin/review/list?pageSize=100",
    "/admin/booking/bulk?customer=1",
    "/admin/act/an-act",
    "/admin/booking/export/csv",
    "/admin/booking/export/xlsx",
    "/admin/event/export/csv",
    "/admin/event/export/xlsx",
    "/admin/reports?from=2029-01-08&to=2030-01-08",
]


@pytest.fixture
def much(superuser: psycopg.Connection, tom: Person, eve: Person) -> Person:
    """Fill the database, and return the customer to whom half of it belongs."""
    del eve
    superuser.execute(MUCH)
    return tom


@pytest.fixture
def served_collector() -> None:
    """Let the collector of garbage look at no object of earlier tests, as in a server that has just started."""
    gc.collect()
    gc.freeze()


@pytest.mark.usefixtures("served_collector")
async def test_no_answer_holds_the_loop_for_long(much: Person, desk: AdminDesk) -> None:
    slow: dict[str, float] = {}
    for path in PATHS:
        client = desk.ada if path.startswith("/admin") else much.client
        assert (await client.get(path)).status_code == 200  # The first one compiles templates and statements.
        async with watch_loop() as lag:
            await client.get(path)
        if lag.longest_ms > MAX_MS:
            slow[path] = lag.longest_ms

    assert slow == {}


async def test_an_export_of_personal_data_is_made_in_parts(much: Person, database: Database) -> None:
    async with database.transaction(by=OWNER, now=NOW) as session:
        [part async for part in data_export.stream(session, much.user, now=NOW)]
        tracemalloc.start()
        sizes = [len(part) async for part in data_export.stream(session, much.user, now=NOW)]
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()

    assert (sum(sizes) > 1_000_000, max(sizes) < 50_000) == (True, True)
    assert peak < sum(sizes)
