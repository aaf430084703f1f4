"""Liveness and readiness of a process, for probes and load balancers."""

import json

import anyio
from sqlalchemy import text
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bookit import refusals as no
from bookit.db.pool import Database
from bookit.policy import rates
from bookit.schema.revisions import latest_revision
from web.rate_limits import limited

SELECT_STATE = text(
    "SELECT to_regclass('alembic_version') IS NOT NULL AS has_schema,"
    " current_setting('transaction_read_only') = 'on' AS is_read_only"
)
SELECT_REVISION = text("SELECT version_num FROM alembic_version")
PROBE_TIMEOUT_SECONDS = 3  # Probes time out soon and try again.


async def healthz(request: Request) -> Response:
    """Answer 200: the process runs."""
    del request
    return ok_response()


async def readyz(request: Request) -> Response:
    """Answer 200 if the database answers, takes writes and has the schema of this version, else 503 with the cause."""
    try:
        with anyio.fail_after(PROBE_TIMEOUT_SECONDS):
            obstacle = await find_obstacle(request.app.state.database)
    except (no.Busy, TimeoutError):
        obstacle = "The database does not answer."
    return unavailable_response(obstacle) if obstacle else ok_response()


async def find_obstacle(database: Database) -> str | None:
    """Return what keeps this database from serving requests, or None."""
    [state] = await database.fetch(SELECT_STATE)
    rows = await database.fetch(SELECT_REVISION) if state["has_schema"] else []
    if [row["version_num"] for row in rows] != [latest_revision()]:
        return "The database needs `bookit migrate`."
    if state["is_read_only"]:
        return "The database takes no writes."
    reason = await database.failing_write()
    return f"The database takes no writes: {reason}." if reason else None


def ok_response() -> Response:
    return Response('{"status": "ok"}', media_type="application/json")


def unavailable_response(detail: str) -> Response:
    body = json.dumps({"status": "unavailable", "detail": detail})
    return Response(body, 503, media_type="application/json")


HEALTH_HANDLERS = {"/healthz": healthz, "/readyz": readyz}


def build_health_routes() -> list[Route]:
    return [limited(Route(path, handler), rates.HEALTH) for path, handler in HEALTH_HANDLERS.items()]
