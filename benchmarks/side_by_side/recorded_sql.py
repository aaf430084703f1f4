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
from side_by_side.test_data import EACH, LANES, STARTS, STEP, Stage

# As in post.lua; each client of pgbench's counts for itself.
COUNTING = f"""\
\\set i :n * :clients + :client_id
\\set n :n + 1
\\set resource :first_resource + :i % {LANES}
\\set service :first_service + :i % {LANES} / {EACH}
\\set at :first + :i / {LANES} / {STARTS} * 86400 + :i / {LANES} % {STARTS} * {STEP * 60}
"""


@dataclass(frozen=True)
class Heard:
    """A statement as psycopg was given it."""

    text: str
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Answered:
    """What a request was answered, and what was asked of the database meanwhile."""

    status: int
    body: bytes
    statements: list[Heard]


@contextmanager
def listening(heard: list[Heard]) -> Iterator[None]:
    """Note every statement that goes through psycopg."""
    execute = psycopg.AsyncCursor.execute

    async def noted(cursor: Any, query: Any, params: Any = None, **how: Any) -> Any:
        text = query.as_string(cursor) if isinstance(query, sql.Composable) else str(query)
        heard.append(Heard(text, tuple(params or ())))
        return await execute(cursor, query, params, **how)

    psycopg.AsyncCursor.execute = noted  # type: ignore[method-assign, assignment]  # for a few requests
    try:
        yield
    finally:
        psycopg.AsyncCursor.execute = execute  # type: ignore[method-assign]  # as it was


@asynccontextmanager
async def door(stage: Stage) -> AsyncIterator[httpx2.AsyncClient]:
    """Open BookIt in this process, on one connection, with the first customer signed in."""
    app = build(stage.settings.model_copy(update={"database_pool_size": 1}))
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app),
            base_url="http://bookit.test",
            headers={"authorization": f"Bearer {stage.token()}"},
        ) as client,
    ):
        await anyio.sleep(0.5)  # until housekeeping has had its turn
        yield client


async def hear(stage: Stage, ask: Callable[[httpx2.AsyncClient], Any]) -> Answered:
    """Ask twice, as the first answer may warm something up, and hear the second."""
    heard: list[Heard] = []
    async with door(stage) as client:
        await ask(client)
        with listening(heard):
            answer: httpx2.Response = await ask(client)
    if not heard or answer.status_code >= 400:
        raise click.ClickException(f"BookIt answered {answer.status_code} and asked {len(heard)} statements.")
    return Answered(answer.status_code, answer.content, heard)


def asking(path: str) -> Callable[[httpx2.AsyncClient], Any]:
    return lambda client: client.get(path)


def booking(stage: Stage, first: datetime) -> Callable[[httpx2.AsyncClient], Any]:
    """Give what books the last slots of a day on the first resource, one after another."""
    later = iter(first + timedelta(minutes=STEP * turn) for turn in range(STARTS))

    def ask(client: httpx2.AsyncClient) -> Any:
        visit = {"service_id": stage.services[0], "resource_id": stage.resources[0]}
        return client.post("/bookings", json={**visit, "start_time": next(later).isoformat()})

    return ask


def script(statements: list[Heard], varying: Mapping[Any, str] | None = None, counting: str = "") -> str:
    """Write for pgbench what was heard; a value that ``varying`` knows becomes that expression."""
    lines = [counting]
    for heard in statements:
        parts = [part.strip() for part in filled_in(heard, varying or {}).split(";") if part.strip()]
        together = len(parts) > 1  # one message to PostgreSQL, and so one way there and back
        lines += ["\\startpipeline"] * together + [f"{part};" for part in parts] + ["\\endpipeline"] * together
    return "\n".join(lines) + "\n"


def filled_in(heard: Heard, varying: Mapping[Any, str]) -> str:
    return re.sub(r"\$([0-9]+)", lambda found: written(heard.values[int(found[1]) - 1], varying), heard.text)


def written(value: Any, varying: Mapping[Any, str]) -> str:
    """Write a value as SQL; a colon before a digit begins no variable of pgbench's."""
    is_varying = not isinstance(value, bool | list | dict) and value in varying
    return varying[value] if is_varying else sql.Literal(value).as_string()


def seconds(moment: datetime) -> int:
    return int(moment.timestamp())
