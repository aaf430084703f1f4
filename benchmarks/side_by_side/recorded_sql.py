"""Records the SQL that BookIt runs for a request and turns it into a script for pgbench.

So pgbench runs the same statements in the same transactions without BookIt, which shows what PostgreSQL alone takes.
Values that differ between requests become pgbench variables; all other values are constants in the script.
"""

import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import anyio
import click
import httpx2
import psycopg
from psycopg import sql

from server.app import build
from side_by_side.test_data import RESOURCE_COUNT, RESOURCES_PER_SERVICE, STARTS_PER_DAY, STEP_MINUTES, BenchmarkData

# The same order as in post.lua; each client of pgbench has its own counter.
PGBENCH_COUNTERS = f"""\
\\set i :n * :clients + :client_id
\\set n :n + 1
\\set resource :first_resource + :i % {RESOURCE_COUNT}
\\set customer :first_customer + :i % {RESOURCE_COUNT}
\\set service :first_service + :i % {RESOURCE_COUNT} / {RESOURCES_PER_SERVICE}
\\set start :i / {RESOURCE_COUNT} % {STARTS_PER_DAY}
\\set at :first + :i / {RESOURCE_COUNT} / {STARTS_PER_DAY} * 86400 + :start * {STEP_MINUTES * 60}
"""


@dataclass(frozen=True)
class RecordedStatement:
    """A statement as psycopg received it."""

    text: str
    values: tuple[Any, ...]


@dataclass(frozen=True)
class RecordedResponse:
    """A response, and the statements that BookIt ran for it."""

    status: int
    body: bytes
    statements: list[RecordedStatement]


@contextmanager
def record_statements(statements: list[RecordedStatement]) -> Iterator[None]:
    """Append every statement that psycopg executes to this list."""
    execute = psycopg.AsyncCursor.execute

    async def record(cursor: Any, query: Any, params: Any = None, **options: Any) -> Any:
        text = query.as_string(cursor) if isinstance(query, sql.Composable) else str(query)
        statements.append(RecordedStatement(text, tuple(params or ())))
        return await execute(cursor, query, params, **options)

    psycopg.AsyncCursor.execute = record  # type: ignore[method-assign, assignment]  # for a few requests
    try:
        yield
    finally:
        psycopg.AsyncCursor.execute = execute  # type: ignore[method-assign]  # as it was


@asynccontextmanager
async def open_client(data: BenchmarkData) -> AsyncIterator[httpx2.AsyncClient]:
    """Run BookIt in this process with one database connection; yield a client signed in as the first customer."""
    app = build(data.settings.model_copy(update={"database_pool_size": 1}))
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app),
            base_url="http://bookit.test",
            headers={"authorization": f"Bearer {data.create_token()}"},
        ) as client,
    ):
        await anyio.sleep(0.5)  # until the cleanup at the start is done
        yield client


async def record_request(data: BenchmarkData, send_request: Callable[[httpx2.AsyncClient], Any]) -> RecordedResponse:
    """Send the request twice and record the second one; the first may fill caches."""
    statements: list[RecordedStatement] = []
    async with open_client(data) as client:
        await send_request(client)
        with record_statements(statements):
            response: httpx2.Response = await send_request(client)
    if not statements or response.status_code >= 400:
        raise click.ClickException(f"BookIt responded {response.status_code} and ran {len(statements)} statements.")
    return RecordedResponse(response.status_code, response.content, statements)


def make_get(path: str) -> Callable[[httpx2.AsyncClient], Any]:
    return lambda client: client.get(path)


def make_booking_request(data: BenchmarkData, first: datetime) -> Callable[[httpx2.AsyncClient], Any]:
    """Return a function that books the slots of a day on the first resource, one after another."""
    starts = iter(first + timedelta(minutes=STEP_MINUTES * turn) for turn in range(STARTS_PER_DAY))

    def send(client: httpx2.AsyncClient) -> Any:
        visit = {"service_id": data.service_ids[0], "resource_id": data.resource_ids[0]}
        return client.post("/bookings", json={**visit, "start_time": next(starts).isoformat()})

    return send


def build_pgbench_script(
    statements: list[RecordedStatement], variables: Mapping[Any, str] | None = None, counters: str = ""
) -> str:
    """Return the pgbench script of these statements. A value in ``variables`` becomes that expression."""
    lines = [counters]
    for statement in statements:
        parts = [part.strip() for part in fill_parameters(statement, variables or {}).split(";") if part.strip()]
        is_pipeline = len(parts) > 1  # BookIt sends these in one message, so pgbench must not wait in between
        lines += ["\\startpipeline"] * is_pipeline + [f"{part};" for part in parts] + ["\\endpipeline"] * is_pipeline
    return "\n".join(lines) + "\n"


def fill_parameters(statement: RecordedStatement, variables: Mapping[Any, str]) -> str:
    return re.sub(
        r"\$([0-9]+)", lambda match: to_sql_literal(statement.values[int(match[1]) - 1], variables), statement.text
    )


def to_sql_literal(value: Any, variables: Mapping[Any, str]) -> str:
    """Return a value as SQL. pgbench takes a colon before a digit, as in a time, literally."""
    is_varying = not isinstance(value, bool | list | dict) and value in variables
    return variables[value] if is_varying else sql.Literal(value).as_string()


def to_epoch(moment: datetime) -> int:
    return int(moment.timestamp())
