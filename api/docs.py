"""The documentation pages and the OpenAPI document."""

import os
from collections.abc import Sequence
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from api.endpoint import Endpoint
from api.openapi import render_document
from web.content_security import DOCS_POLICY, REDOC_POLICY
from web.rate_limits import limited

STATIC_FOLDER = Path(__file__).parent / "static"


class RevalidatedStaticFiles(StaticFiles):
    """Static files that browsers may store but must revalidate at each use."""

    def file_response(
        self, full_path: str | os.PathLike[str], stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        """Return the file, or 304 if the browser has it."""
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers["Cache-Control"] = "no-cache"
        return response


def build_static_route() -> Mount:
    return limited(Mount("/static", RevalidatedStaticFiles(directory=STATIC_FOLDER), name="static"))


def build_page_route(name: str, policy: str) -> Route:
    """Return the route of a page with its Content-Security-Policy."""

    async def send_page(request: Request) -> Response:
        del request
        return FileResponse(STATIC_FOLDER / f"{name}.html", headers={"Content-Security-Policy": policy})

    return limited(Route(f"/{name}", send_page))


def build_docs_routes(endpoints: Sequence[Endpoint]) -> list[Route]:
    """Return the routes of the documentation of these endpoints."""

    async def send_document(request: Request) -> Response:
        del request
        return Response(render_document(tuple(endpoints)), media_type="application/json")

    return [
        build_page_route("docs", DOCS_POLICY),
        build_page_route("redoc", REDOC_POLICY),
        limited(Route("/openapi.json", send_document)),
    ]
