"""The admin panel on growing tables: the statements of a page, their plans, and how an export ends.

Times are measured by ``benchmarks/admin_pages.py``.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from sqlalchemy import event, select
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from starlette.requests import Request

from admin import views
from admin.framework import export, list_pages, sign_in
from admin.framework.list_pages import matches
from admin.views import VIEWS
from bookit.schema.tables import Booking, Business, Event, Payment, Review, User, table_of
from tests.support.admin_client import AdminDesk, get_page_text

PATIENCE_SECONDS = 60  # The machine may be busy.

MOST_STATEMENTS = 6
SIGN_IN = 1  # of them, read through BookIt's own pool and not counted here
A_YEAR = "2031-01-01..2031-12-31"
ROWS = """
  INSERT INTO users (name, email, password_hash)
    SELECT 'Nobody Much', n || 'of{count}@x.example', 'x' FROM generate_series(1, {count}) n;
  INSERT INTO resources (name, timezone) SELECT 'Chair ' || n, 'UTC' FROM generate_series(1, {count}) n;
  INSERT INTO services (title, price, duration_minutes) SELECT 'Cut ' || n, 10, 30 FROM generate_series(1, {count}) n;
  INSERT INTO bookings (user_id, service_id, resource_id, start_time, end_time, blocks_from, blocks_until, price)
    SELECT u.id, s.id, r.id, start, start + '30 min', start, start + '30 min', 10
      FROM (SELECT id, row_number() OVER (ORDER BY id DESC) n FROM users) u
      JOIN (SELECT id, row_number() OVER (ORDER BY id DESC) n FROM services) s USING (n)
      JOIN (SELECT id, row_number() OVER (ORDER BY id DESC) n FROM resources) r USING (n)
     CROSS JOIN LATERAL (SELECT timestamptz '2031-01-01Z' + n * interval '1 hour' AS start) d
     WHERE n <= {count};
  INSERT INTO reviews (booking_id, rating, comment) SELECT id, 5, 'Good' FROM bookings ORDER BY id DESC LIMIT {count};
  INSERT INTO payments (booking_id, amount, currency, method, state, settled_at)
    SELECT id, 1000, 'EUR', 'cash', 'succeeded', end_time FROM bookings ORDER BY id DESC LIMIT {count};
  INSERT INTO opening_hours (resource_id, weekday, opens, closes)
    SELECT id, 1, '9:00', '17:00' FROM resources ORDER BY id DESC LIMIT {count};
  INSERT INTO calendar_exceptions (resource_id, start_time, end_time)
    SELECT id, '2031-01-01Z', '2031-01-02Z' FROM resources ORDER BY id DESC LIMIT {count};
"""
PAGES = [
    *(f"{view.identity}/list?pageSize=100" for view in VIEWS if not view.is_single),
    *(f"{view.identity}/list?sortBy={view.column_sortable_list[0]}&sort=desc" for view in VIEWS if not view.is_single),
    *(f"{view.identity}/details/1" for view in VIEWS),
    *(f"{view.identity}/edit/1" for view in VIEWS if view.can_edit),
    *(f"{view.identity}/create" for view in VIEWS if view.can_create),
    *(f"{view.identity}/export/csv" for view in VIEWS if view.model not in {Event, Business}),
    "booking/list?status=pending",
    f"booking/list?status=pending&start_time={A_YEAR}&sortBy=start_time",
    "booking/list?search=nobody",
    "booking/list?search=n&status=pending",
    "booking/list?search=%231",
    f"booking/export/csv?search=nobody&start_time={A_YEAR}",
    "user/list?search=nobody&role=user&is_active=yes",
    "review/list?search=good",
    "booking/ajax/lookup?name=user&term=nobody",
    "booking/ajax/lookup?name=service&term=c",
    "booking/ajax/lookup?name=resource&term=chair",
]
GROWING = {Booking, User, Review, Payment, Event}


@pytest.fixture
def console(desk: AdminDesk) -> Iterator[psycopg.Connection]:
    with psycopg.connect(desk.database.url, autocommit=True, cursor_factory=psycopg.ClientCursor) as connection:
        yield connection


Fill = Callable[[int], None]


@pytest.fixture
def fill(console: psycopg.Connection) -> Fill:
    """Add so many rows to each table, each with its own customer, service and resource."""

    def add(count: int) -> None:
        console.execute(ROWS.format(count=count))

    return add


@contextmanager
def record_statements(desk: AdminDesk) -> Iterator[list[tuple[str, Any]]]:
    """Collect the statements that pages read with, and their values."""
    seen: list[tuple[str, Any]] = []
    engine = desk.site.session_maker.kw["bind"].sync_engine

    def note(_: Any, __: Any, statement: str, values: Any, *___: Any) -> None:
        seen.append((statement, values))

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", note)


# Statements.


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_takes_few_statements_for_any_number_of_rows(desk: AdminDesk, fill: Fill, path: str) -> None:
    taken = []
    for more in (3, 57):
        fill(more)
        with record_statements(desk) as statements:
            answer = await desk.ada.get(f"/admin/{path}")
        assert answer.status_code == 200, answer.text
        taken.append(len(statements))

    assert taken[0] == taken[1] <= MOST_STATEMENTS - SIGN_IN


async def test_an_export_of_history_reads_the_names_of_each_batch(desk: AdminDesk, fill: Fill) -> None:
    fill(50)
    with record_statements(desk) as statements:
        rows = (await desk.ada.get("/admin/event/export/csv")).text.splitlines()[1:]

    assert len(rows) > export.BATCH_ROWS
    assert len(statements) == 3 + -(-len(rows) // export.BATCH_ROWS)  # The last event, the count, the rows.


async def test_a_request_loads_its_user_once(
    desk: AdminDesk, console: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list combines a page of ours and one of SQLAdmin's; both need the user."""
    users: list[str] = []
    load_signed_in = sign_in.load_signed_in

    async def noted(request: Request) -> Any:
        users.append(request.session["sid"])
        return await load_signed_in(request)

    monkeypatch.setattr(sign_in, "load_signed_in", noted)

    assert (await desk.mara.get("/admin/booking/list")).status_code == 200
    assert len(users) == 1
    console.execute("UPDATE users SET is_active = false WHERE email = 'mara@example.com'")
    assert (await desk.mara.get("/admin/booking/list")).status_code == 302


@pytest.mark.parametrize("view", [view for view in VIEWS if view.model in GROWING], ids=lambda view: view.identity)
def test_a_growing_list_is_sorted_only_by_an_index(view: Any) -> None:
    table = table_of(view.model)
    led_by = {index.columns[0].name for index in table.indexes if index.columns} | {table.primary_key.columns[0].name}
    led_by |= {name for index in table.indexes for name in re.findall(r"sort_key\((\w+)", str(index.expressions[0]))}

    assert set(view.column_sortable_list) <= led_by


# Plans.

A_PAGE = "Limit\n  ->  Index Only Scan"
A_PAGE_OF_DAYS = "CTE Scan on running running_1\n  ->  Index Only Scan"  # with what runs when they begin
PLANS = {
    # From today on or over a range of days in order of time; all of them with the latest first.
    "booking/list": f"{A_PAGE_OF_DAYS} using bookings_by_start",
    "booking/list?start_time=all": f"{A_PAGE} Backward using bookings_by_start",
    "booking/list?status=pending": f"{A_PAGE_OF_DAYS} using bookings_by_status",
    "booking/list?status=pending&start_time=all": f"{A_PAGE} Backward using bookings_by_status",
    f"booking/list?status=completed&start_time={A_YEAR}": f"{A_PAGE_OF_DAYS} using bookings_by_status",
    f"booking/list?status=completed&start_time={A_YEAR}&sortBy=start_time&sort=desc": (
        f"{A_PAGE_OF_DAYS} Backward using bookings_by_status"
    ),
    f"booking/list?start_time={A_YEAR}&sortBy=start_time": f"{A_PAGE_OF_DAYS} using bookings_by_start",
    "booking/list?search=nobody": "using bookings_by_user",
    "booking/list?search=n": "Bitmap Index Scan on users_by_search_key",
    "user/list?search=zqx": "Bitmap Index Scan on users_by_search_key",
    "user/list?search=qz": "Bitmap Index Scan on users_by_search_key",
    "review/list?search=zqx": "Bitmap Index Scan on reviews_by_search_key",
    "booking/ajax/lookup?name=user&term=zqx": "Bitmap Index Scan on users_by_search_key",
    "booking/ajax/lookup?name=user&term=q": "Bitmap Index Scan on users_by_search_key",
    "user/list?sortBy=name": "Limit\n  ->  Index Scan using users_by_sort_key",
    "booking/details/1": "Index Scan Backward using events_by_row",
}


def vacuum(console: psycopg.Connection) -> None:
    """Vacuum the tables until an index alone can answer: an older transaction that still runs can prevent that."""
    for _ in range(100):
        console.execute("VACUUM ANALYZE bookings, users, reviews, events")
        [(is_visible,)] = console.execute(ALL_VISIBLE).fetchall()
        if is_visible:
            return
        time.sleep(0.05)
    pytest.fail("An older transaction did not end.")


ALL_VISIBLE = """
    SELECT bool_and(relallvisible >= relpages) FROM pg_class
     WHERE oid IN ('bookings'::regclass, 'users'::regclass)
"""


@pytest.mark.parametrize("path", PLANS)
async def test_a_list_uses_an_index(desk: AdminDesk, fill: Fill, console: psycopg.Connection, path: str) -> None:
    """The statement of a page can use its index, without sorting."""
    fill(300)
    console.execute("UPDATE bookings SET status = 'completed' WHERE id % 3 > 0")
    vacuum(console)
    console.execute("SET enable_seqscan = off; SET enable_sort = off")
    with record_statements(desk) as statements:
        assert (await desk.ada.get(f"/admin/{path}")).status_code == 200

    plans = [
        "\n".join(line for (line,) in console.execute(f"EXPLAIN (COSTS off) {statement}", values).fetchall())
        for statement, values in statements
    ]

    assert any(PLANS[path] in plan for plan in plans), "\n\n".join(plans)


# Searching.


async def find_rows(desk: AdminDesk, query: str) -> list[str]:
    """Return the ids of the rows of a list, by its export and by its pages, which must agree."""
    exported = (await desk.ada.get(f"/admin/{query.replace('?', '/export/csv?', 1)}")).text.splitlines()[1:]
    page = (await desk.mara.get(f"/admin/{query.replace('?', '/list?', 1)}&pageSize=100")).text
    numbers = [line.split(",")[0] for line in exported]
    identity = query.partition("?")[0]
    links = [at.partition('"')[0] for at in page.split(f'href="https://bookit.test/admin/{identity}/details/')[1:]]
    assert list(dict.fromkeys(links)) == numbers
    return numbers


async def test_a_search_finds_the_same_for_many_customers(
    desk: AdminDesk, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(40)
    for query in ("search=nobody", "search=nobody&sortBy=start_time&sort=asc", "search=of40&start_time=2031-01-01"):
        expected = await find_rows(desk, f"booking?{query}")
        assert len(expected) > 5
        for bound in (300, 3):  # Too many people; too many bookings.
            with monkeypatch.context() as changed:
                changed.setattr(views, "MAX_MATCHED_PEOPLE", 3)
                changed.setattr(list_pages, "MAX_SCANNED", bound)
                assert await find_rows_up_to(desk, query) == expected[: len(await find_rows_up_to(desk, query))]
        assert await find_rows(desk, f"booking?{query}") == expected


async def test_a_search_with_many_bookings_reads_its_page_along_the_order(
    desk: AdminDesk, fill: Fill, console: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a common name no more bookings are collected than are counted; the page is not sorted from all of them."""
    fill(90)
    console.execute("VACUUM ANALYZE bookings, users")
    expected = await find_rows(desk, "booking?search=nobody")
    monkeypatch.setattr(list_pages, "MAX_SEARCH_HITS", 50)
    with record_statements(desk) as statements:
        page = get_page_text((await desk.ada.get("/admin/booking/list?search=nobody")).text)

    assert "Showing 1 to 25 of more than 50 items" in page
    assert await find_rows_up_to(desk, "search=nobody") == expected
    collected, walked = (statement for statement in statements if "bookings.user_id = any" in statement[0])
    assert 51 in collected[1].values()
    console.execute("SET enable_seqscan = off; SET enable_sort = off")
    plan = "\n".join(line for (line,) in console.execute(f"EXPLAIN (COSTS off) {walked[0]}", walked[1]).fetchall())
    assert plan.startswith("Limit\n  ->  Index Scan Backward using bookings_by_start"), plan


async def find_rows_up_to(desk: AdminDesk, query: str) -> list[str]:
    page = (await desk.ada.get(f"/admin/booking/list?{query}&pageSize=100")).text
    links = [at.partition('"')[0] for at in page.split('href="https://bookit.test/admin/booking/details/')[1:]]
    assert links
    return list(dict.fromkeys(links))


@pytest.mark.parametrize(
    ("term", "names"),
    [
        ("q", ["Bo Quist"]),
        ("qu", ["Bo Quist"]),
        ("Q", ["Bo Quist"]),
        ("bo", ["Bo Quist"]),
        ("nn", []),
        ("nna", ["Anna Ås", "Hanna 100%"]),
        ("ås", ["Anna Ås"]),
        ("as", ["Anna Ås"]),
        ("quist bo", ["Bo Quist"]),
        ("bo q", ["Bo Quist"]),
        ("bo z", []),
        ("%", ["Per Cent"]),
        ("%_", ["Per Cent"]),
        ("_", []),
        ("@", []),
        ("0%", []),
        ("1%", []),
        ("00%", ["Hanna 100%"]),
        ("100%", ["Hanna 100%"]),
        ("a.h", ["Hanna 100%"]),
        (".h", ["Hanna 100%"]),
        ("nina.h", ["Hanna 100%"]),
    ],
)
async def test_short_terms_match_the_start_of_a_word(
    desk: AdminDesk, console: psycopg.Connection, term: str, names: list[str]
) -> None:
    """One or two letters match the start of a word, a sign alone the start of an e-mail. Wildcards are literal."""
    console.execute(
        "INSERT INTO users (name, email, password_hash) VALUES"
        " ('Anna Ås', '1@x.example', 'x'), ('Bo Quist', '2@x.example', 'x'), ('Hanna 100%', 'nina.h@x.example', 'x'),"
        " ('Per Cent', '%_p@x.example', 'x')"
    )
    exported = (await desk.ada.get("/admin/user/export/csv", params={"search": term, "sortBy": "id"})).text
    looked_up = await desk.ada.get("/admin/booking/ajax/lookup", params={"name": "user", "term": term})

    assert [line.split(",")[1] for line in exported.splitlines()[1:]] == names
    assert len(looked_up.json()["results"]) == len(names)
    html = (await desk.mara.get("/admin/search", params={"q": term})).text
    assert [name for name in ("Anna Ås", "Bo Quist", "Hanna 100%", "Per Cent") if name in html] == names


@pytest.mark.parametrize("term", ["%", "_", "@", "--", "%%%", "1%"])
async def test_signs_are_searched_in_index_order(desk: AdminDesk, console: psycopg.Connection, term: str) -> None:
    console.execute("SET enable_seqscan = off")
    columns = table_of(User).c
    statement = select(columns.id).where(matches(term, columns.name, columns.email, columns.phone))
    dialect = PGDialect_psycopg()  # type: ignore[no-untyped-call]  # SQLAlchemy's
    query = str(statement.compile(dialect=dialect, compile_kwargs={"literal_binds": True})).replace("%%", "%")

    plan = "".join(str(line) for line in console.execute(f"EXPLAIN {query}".encode()))

    assert "Seq Scan" not in plan
    assert "Index Cond" in plan


@pytest.mark.parametrize(("term", "count"), [(":)", 1), ("!", 2), ("%", 0)])
async def test_signs_in_reviews_are_found_anywhere(
    desk: AdminDesk, fill: Fill, console: psycopg.Connection, term: str, count: int
) -> None:
    fill(3)
    console.execute("UPDATE reviews SET comment = 'Good! :)' WHERE id = 1")
    console.execute("UPDATE reviews SET comment = 'Good!' WHERE id = 2")

    exported = (await desk.ada.get("/admin/review/export/csv", params={"search": term})).text

    assert len(exported.splitlines()) - 1 == count


# Counting.


async def test_an_incomplete_count_of_rows_is_labelled(
    desk: AdminDesk, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(60)
    assert "Showing 1 to 25 of 60 items" in get_page_text((await desk.ada.get("/admin/booking/list")).text)

    for limit in ("MAX_COUNTED", "MAX_SEARCH_HITS"):
        monkeypatch.setattr(list_pages, limit, 50)
    for query in ("", "search=nobody", "status=pending"):
        page = get_page_text((await desk.ada.get(f"/admin/booking/list?{query}")).text)
        assert "Showing 1 to 25 of more than 50 items" in page, query
    last = await desk.ada.get("/admin/booking/list?page=9", follow_redirects=True)
    assert "Showing 26 to 50 of more than 50 items" in get_page_text(last.text)

    monkeypatch.setattr(list_pages, "MAX_COUNTED", 60)
    assert "of 60 items" in get_page_text((await desk.ada.get("/admin/booking/list?page=3")).text)


async def test_every_row_is_on_one_page(desk: AdminDesk, fill: Fill, console: psycopg.Connection) -> None:
    """Also where rows have equal sort keys, in either order."""
    fill(60)
    console.execute("UPDATE bookings SET start_time = '2031-01-01 12:00Z', end_time = '2031-01-01 12:30Z',"
                    " blocks_from = '2031-01-01 12:00Z', blocks_until = '2031-01-01 12:30Z'")  # fmt: skip
    for way in ("asc", "desc"):
        listed: list[str] = []
        for page in (1, 2, 3):
            html = (await desk.ada.get(f"/admin/booking/list?sortBy=start_time&sort={way}&page={page}")).text
            links = html.split('href="https://bookit.test/admin/booking/details/')[1:]
            listed += dict.fromkeys(link.partition('"')[0] for link in links)
        assert sorted(map(int, listed)) == list(range(1, 61))


# Exports.


class Reader:
    """A browser that reads an export at its own pace: it may pause, and it may disconnect."""

    def __init__(self, desk: AdminDesk, client: Any) -> None:
        self.desk, self.parts = desk, list[bytes]()
        self.has_some, self.goes_on, self.leaves = asyncio.Event(), asyncio.Event(), asyncio.Event()
        cookie = "; ".join(f"{cookie.name}={cookie.value}" for cookie in client.cookies.jar)
        self.scope: dict[str, Any] = {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "GET",
            "scheme": "http", "path": "/admin/user/export/csv", "raw_path": b"/admin/user/export/csv",
            "query_string": b"", "root_path": "", "headers": [(b"host", b"bookit.test"), (b"cookie", cookie.encode())],
            "client": ("desk", 1), "server": ("bookit.test", 80),
        }  # fmt: skip

    async def receive(self) -> dict[str, Any]:
        await self.leaves.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            assert message["status"] == 200
        elif message.get("body"):
            self.parts.append(message["body"])
            if len(self.parts) > 1:  # The first chunk has the column names.
                self.has_some.set()
                await self.goes_on.wait()

    async def read(self) -> None:
        await self.desk.app(self.scope, self.receive, self.send)

    @property
    def rows(self) -> int:
        """Return the number of rows received."""
        return b"".join(self.parts).count(b"\r\n") - 1


@pytest.fixture
async def reader(desk: AdminDesk, console: psycopg.Connection) -> AsyncIterator[tuple[Reader, "asyncio.Task[None]"]]:
    """Open a browser that has received the first of a thousand rows, and pauses."""
    console.execute(ROWS.partition(";")[0].format(count=1000))
    reader = Reader(desk, desk.ada)
    task = asyncio.create_task(reader.read())
    await asyncio.wait_for(reader.has_some.wait(), PATIENCE_SECONDS)
    yield reader, task
    reader.goes_on.set()
    await task


def open_cursors(console: psycopg.Connection) -> list[str]:
    """Return the state of each connection that an export fetches through."""
    rows = console.execute(
        "SELECT state FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'FETCH%'"
        " AND state LIKE '%transaction%'"
    ).fetchall()
    return [state for (state,) in rows]


async def test_an_export_is_sent_before_it_is_fully_read(
    reader: tuple[Reader, "asyncio.Task[None]"], console: psycopg.Connection
) -> None:
    browsing, task = reader
    assert browsing.rows <= export.BATCH_ROWS < 1000
    assert open_cursors(console) == ["idle in transaction"]  # PostgreSQL still has the rest.

    browsing.goes_on.set()
    await task

    assert browsing.rows == 1000 + 2  # Mara and Ada.
    assert max(part.count(b"\r\n") for part in browsing.parts) <= export.BATCH_ROWS
    assert open_cursors(console) == []


async def test_an_export_ends_when_the_browser_disconnects(
    reader: tuple[Reader, "asyncio.Task[None]"], console: psycopg.Connection
) -> None:
    browsing, task = reader
    browsing.leaves.set()
    await asyncio.wait_for(task, PATIENCE_SECONDS)

    assert browsing.rows <= export.BATCH_ROWS
    assert open_cursors(console) == []
    assert export.EXPORT_SLOTS.value == 3


async def test_stalled_exports_leave_connections_for_pages(desk: AdminDesk, console: psycopg.Connection) -> None:
    console.execute(ROWS.partition(";")[0].format(count=1000))
    readers = [Reader(desk, desk.ada) for _ in range(12)]
    tasks = [asyncio.create_task(reader.read()) for reader in readers]
    async with asyncio.timeout(PATIENCE_SECONDS):
        while sum(reader.has_some.is_set() for reader in readers) < 3:  # noqa: ASYNC110 -- whichever three they are
            await asyncio.sleep(0.01)
        assert (await desk.mara.get("/admin/booking/list")).status_code == 200
    assert len(open_cursors(console)) == 3

    for reader in readers:
        reader.goes_on.set()
    await asyncio.gather(*tasks)
    assert {reader.rows for reader in readers} == {1002}


async def test_a_page_of_a_locked_table_times_out(desk: AdminDesk) -> None:
    """Pages have the same timeouts as everything else."""
    async with desk.site.session_maker() as session:
        connection = await session.connection()
        bounds = [(await connection.exec_driver_sql(f"SHOW {name}")).scalar() for name in ("statement_timeout", "jit")]

    assert bounds == ["30s", "off"]
