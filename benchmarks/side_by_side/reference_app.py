"""The reference request: an application that is not BookIt, with a route, a connection pool and a query.

Its cost scales the costs of one machine to another, so it must not change.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from psycopg_pool import AsyncConnectionPool
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

QUERY = "SELECT n AS id, 'Number ' || n AS name, now() AS at, sum(n) OVER () AS total FROM generate_series(1, 50) AS n"


class Line(BaseModel):
    """A row of the response."""

    id: int
    name: str
    total: int


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    pool: AsyncConnectionPool[Any] = AsyncConnectionPool(
        os.environ["DATABASE_URL"], kwargs={"autocommit": True}, min_size=2, max_size=16, open=False
    )
    async with pool:
        app.state.pool = pool
        yield


async def answer(request: Request) -> Response:
    pool: Any = request.app.state.pool
    async with pool.connection() as connection:
        rows = await (await connection.execute(QUERY)).fetchall()
    lines = [Line(id=row[0], name=row[1], total=row[3]) for row in rows[:5]]
    return Response("".join(line.model_dump_json() for line in lines), media_type="application/json")


app = Starlette(routes=[Route("/", answer)], lifespan=lifespan)
