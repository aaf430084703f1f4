"""Wires the doors to one database; the only file that knows them."""

import asyncio
import gc
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import FrameType
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from admin.site import mount_admin
from api.middleware import ErrorMiddleware, RequestMiddleware
from api.problems import handle_http_error, handle_refusal
from api.routes import build_routes, build_shared_routes
from bookit import cleanup
from bookit.clock import Clock, system_clock
from bookit.db.pool import Database
from bookit.refusals import Refusal
from bookit.settings import Settings, read_settings
from server.logs import configure_logging


def create() -> Starlette:
    """Make the application as the environment describes it; what a server process runs."""
    settings = read_settings().with_secret()
    configure_logging(debug=settings.debug)
    return build(settings)


def build(settings: Settings, *, clock: Clock = system_clock) -> Starlette:
    """Make the application with these settings and this clock; its database opens with its lifespan."""
    database = Database.from_settings(settings)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        # What is made at the start stays: the collector would look through all of it every so often. And it comes less
        # often than its 700 new objects, which is every tenth request.
        gc.freeze()
        gc.set_threshold(10_000, 20, 20)
        async with database, cleanup.run_in_background(database, clock=app.state.clock):
            if settings.bookit_only == "api":
                yield
                return
            with on_shutdown_signal(app.state.staff_site.close_streams):
                yield
        await app.state.staff_site.close()

    app = Starlette(
        routes=[
            *(build_shared_routes() if settings.bookit_only == "admin" else build_routes()),
            redirect_root(settings),
        ],
        middleware=[Middleware(RequestMiddleware), *cors(settings), Middleware(ErrorMiddleware)],
        exception_handlers={Refusal: handle_refusal, HTTPException: handle_http_error},
        lifespan=lifespan,
    )
    app.state.database = database
    app.state.settings = settings
    app.state.clock = clock
    if settings.bookit_only != "api":
        mount_admin(app)
    return app


@contextmanager
def on_shutdown_signal(callback: Callable[[], None]) -> Iterator[None]:
    """Say it as soon as the server is told to stop: it waits for open streams before it ends the lifespan."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop, before = asyncio.get_running_loop(), dict[int, Any]()

    def stop(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(callback)
        handler = before[number]
        if callable(handler):
            handler(number, frame)

    for wanted in (signal.SIGINT, signal.SIGTERM):
        if callable(signal.getsignal(wanted)):  # a server's own
            before[wanted] = signal.signal(wanted, stop)
    try:
        yield
    finally:
        for taken, handler in before.items():
            if signal.getsignal(taken) is stop:
                signal.signal(taken, handler)


def redirect_root(settings: Settings) -> Route:
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
