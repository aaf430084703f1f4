"""The documentation pages, the OpenAPI document, and whether BookIt is well."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
from sqlalchemy import text
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from api.endpoint import Endpoint
from api.openapi import build_document
from bookit import refusals as no
from bookit.db.pool import Database
from bookit.schema.revisions import latest_revision

STATIC_FOLDER = Path(__file__).parent / "static"
PAGE_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'{styles}; img-src 'self' data:; font-src 'self';"
    " connect-src 'self'; worker-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
HAS_ALEMBIC_TABLE = text("SELECT to_regclass('alembic_version') IS NOT NULL AS is_there")
SELECT_SCHEMA_VERSION = text("SELECT version_num FROM alembic_version")
PROBE_TIMEOUT_SECONDS = 3  # A probe asks again soon, and waits no longer than that itself.


class RevalidatedStaticFiles(StaticFiles):
    """Files a browser may keep, asking each time whether they are still the same."""

    def file_response(self, *given: Any, **named: Any) -> Response:
        """Answer with a file, or that it has not changed."""
        answer = super().file_response(*given, **named)
        answer.headers["Cache-Control"] = "no-cache"
        return answer


def build_page_route(name: str, *, styles: str = "") -> Route:
    """Serve one of our own pages under a strict policy: nothing from elsewhere, no inline script."""

    async def answer(request: Request) -> Response:
        del request
        return FileResponse(
            STATIC_FOLDER / f"{name}.html", headers={"Content-Security-Policy": PAGE_CSP.format(styles=styles)}
        )

    return Route(f"/{name}", answer)


async def healthz(request: Request) -> Response:
    """Say that this process runs."""
    del request
    return json_response({"status": "ok"})


async def readyz(request: Request) -> Response:
    """Say whether requests can be served: the database answers, and has the schema this version needs."""
    seen = None
    try:
        with anyio.fail_after(PROBE_TIMEOUT_SECONDS):
            seen = await read_schema_version(request.app.state.database)
    except (no.Busy, TimeoutError):
        return json_response({"status": "unavailable", "detail": "The database does not answer."}, 503)
    if seen != latest_revision():
        return json_response({"status": "unavailable", "detail": "The database needs `bookit migrate`."}, 503)
    return json_response({"status": "ok"})


async def read_schema_version(database: Database) -> str | None:
    """Give the number of the newest migration this database has seen."""
    is_there = await database.fetch(HAS_ALEMBIC_TABLE)
    rows = await database.fetch(SELECT_SCHEMA_VERSION) if is_there[0]["is_there"] else []
    return rows[0]["version_num"] if rows else None


def json_response(value: Any, status: int = 200) -> Response:
    return Response(json.dumps(value), status, media_type="application/json")


def build_docs_routes(endpoints: Sequence[Endpoint]) -> list[Route | Mount]:
    """Give the routes of everything that is not the API itself."""
    described = json.dumps(build_document(endpoints), indent=1)

    async def openapi(request: Request) -> Response:
        del request
        return Response(described, media_type="application/json")

    return [
        build_page_route("docs"),
        build_page_route("redoc", styles=" 'unsafe-inline'"),
        Route("/openapi.json", openapi),
        *build_health_routes(),
    ]


def build_health_routes() -> list[Route | Mount]:
    """Give the routes that every process has, whichever doors it opens."""
    return [
        Route("/healthz", healthz),
        Route("/readyz", readyz),
        Mount("/static", RevalidatedStaticFiles(directory=STATIC_FOLDER), name="static"),
    ]
