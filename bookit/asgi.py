"""Wires the doors to one database; the only file that knows them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from admin.site import open_admin
from api.front import AnswersBugs, Front
from api.pages import health
from api.problems import on_http_error, on_refusal
from api.routes import routes
from bookit import housekeeping
from bookit.clock import Clock, system_clock
from bookit.database import Database
from bookit.logs import write_logs
from bookit.refusals import Refusal
from bookit.settings import Settings, read_settings


def create() -> Starlette:
    """Make the application as the environment describes it; what a server process runs."""
    settings = read_settings().with_secret()
    write_logs(debug=settings.debug)
    return build(settings)


def build(settings: Settings, *, clock: Clock = system_clock) -> Starlette:
    """Make the application with these settings and this clock; its database opens with its lifespan."""
    database = Database.of(settings)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with database, housekeeping.going_on(database, clock=app.state.clock):
            yield
        if settings.bookit_only != "api":
            await app.state.staff_site.close()

    app = Starlette(
        routes=[front_page(settings), *(health() if settings.bookit_only == "admin" else routes())],
        middleware=[Middleware(Front), *cors(settings), Middleware(AnswersBugs)],
        exception_handlers={Refusal: on_refusal, HTTPException: on_http_error},
        lifespan=lifespan,
    )
    app.state.database = database
    app.state.settings = settings
    app.state.clock = clock
    if settings.bookit_only != "api":
        open_admin(app, settings, database, clock=clock)
    return app


def front_page(settings: Settings) -> Route:
    """Lead whoever types the bare address into a browser to the staff door, or without one to the API's pages.

    Programs, which do not ask for HTML, are told that there is nothing here.
    """
    begins = "/docs" if settings.bookit_only == "api" else "/admin/"

    async def answer(request: Request) -> Response:
        if "text/html" not in request.headers.get("accept", ""):
            raise HTTPException(404)
        return RedirectResponse(begins, 303, {"Vary": "Accept"})

    return Route("/", answer)


def cors(settings: Settings) -> list[Middleware]:
    """Let pages of these origins, and no others, call the API."""
    if not settings.allowed_origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=settings.allowed_origins,
            allow_methods=["GET", "POST", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "If-Match", "X-Request-Id"],
            expose_headers=["ETag", "Link", "Location", "Retry-After", "X-Request-Id", "Idempotency-Replayed"],
            max_age=600,
        )
    ]
