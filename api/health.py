"""Liveness and readiness of a process, for probes and load balancers."""

import json

import anyio
from sqlalchemy import text
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bookit import refusals as no
from bookit.db.pool import Database
from bookit.schema.revisions import latest_revision

HAS_ALEMBIC_TABLE = text("SELECT to_regclass('alembic_version') IS NOT NULL AS has_table")
SELECT_REVISION = text("SELECT version_num FROM alembic_version")
PROBE_TIMEOUT_SECONDS = 3  # Probes time out soon and try again.


async def healthz(request: Request) -> Response:
    """Answer 200: the process runs."""
    del request
    return ok_response()


async def readyz(request: Request) -> Response:
    """Answer 200 if the database answers and has the schema of this version, else 503 with the cause."""
    try:
        with anyio.fail_after(PROBE_TIMEOUT_SECONDS):
            revision = await read_revision(request.app.state.database)
    except (no.Busy, TimeoutError):
        return unavailable_response("The database does not answer.")
    if revision != latest_revision():
        return unavailable_response("The database needs `bookit migrate`.")
    return ok_response()


async def read_revision(database: Database) -> str | None:
    """Return the number of the newest migration of this database, or None if it has no schema."""
    tables = await database.fetch(HAS_ALEMBIC_TABLE)
    rows = await database.fetch(SELECT_REVISION) if tables[0]["has_table"] else []
    return rows[0]["version_num"] if rows else None


def ok_response() -> Response:
    return Response('{"status": "ok"}', media_type="application/json")


def unavailable_response(detail: str) -> Response:
    body = json.dumps({"status": "unavailable", "detail": detail})
    return Response(body, 503, media_type="application/json")


def build_health_routes() -> list[Route]:
    return [Route("/healthz", healthz), Route("/readyz", readyz)]
