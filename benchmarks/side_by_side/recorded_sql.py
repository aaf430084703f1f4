"""The SQL that BookIt runs for a request, heard while it answers one, and turned into a script for pgbench.

So pgbench runs the very same statements in the same transactions: what PostgreSQL takes for them when nothing stands
before it. What varies between requests is a variable of pgbench's; all else is written into the script.
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

# As in post.lua; each client of pgbench's counts for itself.
PGBENCH_COUNTERS = f"""\
\\set i :n * :clients + :client_id
\\set n :n + 1
\\set resource :first_resource + :i % {RESOURCE_COUNT}
\\set service :first_service + :i % {RESOURCE_COUNT} / {RESOURCES_PER_SERVICE}
\\set start :i / {RESOURCE_COUNT} % {STARTS_PER_DAY}
\\set at :first + :i / {RESOURCE_COUNT} / {STARTS_PER_DAY} * 86400 + :start * {STEP_MINUTES * 60}
"""


@dataclass(frozen=True)
class RecordedStatement:
    """A statement as psycopg was given it."""

    text: str
    values: tuple[Any, ...]


@dataclass(frozen=True)
class RecordedResponse:
    """What a request was answered, and what was asked of the database meanwhile."""

    status: int
    body: bytes
    statements: list[RecordedStatement]


@contextmanager
def record_statements(statements: list[RecordedStatement]) -> Iterator[None]:
    """Note every statement that goes through psycopg."""
    execute = psycopg.AsyncCursor.execute

    async def noted(cursor: Any, query: Any, params: Any = None, **how: Any) -> Any:
        text = query.as_string(cursor) if isinstance(query, sql.Composable) else str(query)
        statements.append(RecordedStatement(text, tuple(params or ())))
        return await execute(cursor, query, params, **how)

    psycopg.AsyncCursor.execute = noted  # type: ignore[method-assign, assignment]  # for a few requests
    try:
        yield
    finally:
        psycopg.AsyncCursor.execute = execute  # type: ignore[method-assign]  # as it was


@asynccontextmanager
async def open_client(data: BenchmarkData) -> AsyncIterator[httpx2.AsyncClient]:
    """Open BookIt in this process, on one connection, with the first customer signed in."""
    app = build(data.settings.model_copy(update={"database_pool_size": 1}))
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app),
            base_url="http://bookit.test",
            headers={"authorization": f"Bearer {data.create_token()}"},
        ) as client,
    ):
        await anyio.sleep(0.5)  # until housekeeping has had its turn
        yield client


async def record_request(data: BenchmarkData, send_request: Callable[[httpx2.AsyncClient], Any]) -> RecordedResponse:
    """Ask twice, as the first answer may warm something up, and hear the second."""
    heard: list[RecordedStatement] = []
    async with open_client(data) as client:
        await send_request(client)
        with record_statements(heard):
            answer: httpx2.Response = await send_request(client)
    if not heard or answer.status_code >= 400:
        raise click.ClickException(f"BookIt answered {answer.status_code} and asked {len(heard)} statements.")
    return RecordedResponse(answer.status_code, answer.content, heard)


def make_get(path: str) -> Callable[[httpx2.AsyncClient], Any]:
    return lambda client: client.get(path)


def make_booking_request(data: BenchmarkData, first: datetime) -> Callable[[httpx2.AsyncClient], Any]:
    """Give what books the last slots of a day on the first resource, one after another."""
    later = iter(first + timedelta(minutes=STEP_MINUTES * turn) for turn in range(STARTS_PER_DAY))

    def ask(client: httpx2.AsyncClient) -> Any:
        visit = {"service_id": data.service_ids[0], "resource_id": data.resource_ids[0]}
        return client.post("/bookings", json={**visit, "start_time": next(later).isoformat()})

    return ask


def build_pgbench_script(
    statements: list[RecordedStatement], variables: Mapping[Any, str] | None = None, counters: str = ""
) -> str:
    """Write for pgbench what was heard; a value that ``varying`` knows becomes that expression."""
    lines = [counters]
    for heard in statements:
        parts = [part.strip() for part in fill_parameters(heard, variables or {}).split(";") if part.strip()]
        together = len(parts) > 1  # one message to PostgreSQL, and so one way there and back
        lines += ["\\startpipeline"] * together + [f"{part};" for part in parts] + ["\\endpipeline"] * together
    return "\n".join(lines) + "\n"


def fill_parameters(statement: RecordedStatement, variables: Mapping[Any, str]) -> str:
    return re.sub(
        r"\$([0-9]+)", lambda found: to_sql_literal(statement.values[int(found[1]) - 1], variables), statement.text
    )


def to_sql_literal(value: Any, variables: Mapping[Any, str]) -> str:
    """Write a value as SQL; a colon before a digit begins no variable of pgbench's."""
    is_varying = not isinstance(value, bool | list | dict) and value in variables
    return variables[value] if is_varying else sql.Literal(value).as_string()


def to_epoch(moment: datetime) -> int:
    return int(moment.timestamp())
