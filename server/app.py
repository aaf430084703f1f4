"""The application: both doors on one database. This is the only module that imports both."""

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
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import Scope

from admin.site import mount_admin
from api.health import HEALTH_HANDLERS
from api.middleware import ErrorMiddleware, RequestMiddleware
from api.preconditions import ConditionalMiddleware
from api.problems import handle_http_error, handle_refusal, refusal_response
from api.routes import build_routes, build_shared_routes
from bookit import business, cleanup
from bookit.clock import Clock, system_clock
from bookit.db.pool import Database
from bookit.people.last_seen import LastSeen
from bookit.rate_limits import RateLimits
from bookit.refusals import Refusal
from bookit.settings import Settings, read_settings
from server.edge import HostMiddleware, TrustedProxyMiddleware
from server.logs import configure_logging
from web.rate_limits import RateLimitMiddleware, limited
from web.statuses import retry_headers, status_of

# What a page of another origin may send, besides what the Fetch standard always allows. The last three are those that
# tracing libraries add to every request (W3C Trace Context and Baggage).
ALLOWED_HEADERS = [
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "If-Match",
    "If-None-Match",
    "X-Request-Id",
    "traceparent",
    "tracestate",
    "baggage",
]
# What it may read: every header of the API's answers that says something about the answer.
EXPOSED_HEADERS = [
    "Allow",
    "Content-Disposition",
    "ETag",
    "Idempotency-Replayed",
    "Link",
    "Location",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "WWW-Authenticate",
    "X-Request-Id",
]


def create() -> Starlette:
    """Return the application that the environment describes. Each server process calls this once."""
    settings = read_settings().with_secret()
    configure_logging(debug=settings.debug)
    return build(settings)


def build(settings: Settings, *, clock: Clock = system_clock) -> Starlette:
    """Return an application with these settings and this clock. Its lifespan opens the database."""
    routes = build_shared_routes() if settings.bookit_only == "admin" else build_routes()
    app = Starlette(
        routes=[*routes, redirect_root(settings)],
        middleware=[
            Middleware(TrustedProxyMiddleware, settings.trusted_proxies),
            Middleware(RequestMiddleware),
            Middleware(HostMiddleware, settings.allowed_hosts),
            *cors(settings),
            Middleware(RateLimitMiddleware, answer=answer_flood, uncounted=HEALTH_HANDLERS),
            Middleware(ConditionalMiddleware),
            Middleware(ErrorMiddleware),
        ],
        exception_handlers={Refusal: handle_refusal, HTTPException: handle_http_error},
        lifespan=lifespan,
    )
    app.state.database = Database.from_settings(settings)
    app.state.business = app.state.database.business
    app.state.settings = settings
    app.state.clock = clock
    app.state.rate_limits = RateLimits(settings.rate_limits)
    app.state.last_seen = LastSeen()
    if settings.bookit_only != "api":
        mount_admin(app)
    return app


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """Keep the database open and the cleanup running while the server runs."""
    # Objects that exist at the start live until the end, so the collector need not look at them. Its default threshold
    # of 700 new objects is reached at every tenth request.
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
    database: Database = app.state.database
    async with (
        database,
        business.follow(database, app.state.business),
        cleanup.run_in_background(
            database, clock=app.state.clock, retention=cleanup.Retention.from_settings(app.state.settings)
        ),
    ):
        if app.state.settings.bookit_only == "api":
            yield
            return
        with on_shutdown_signal(app.state.staff_site.close_streams):
            yield
    await app.state.staff_site.close()


@contextmanager
def on_shutdown_signal(callback: Callable[[], None]) -> Iterator[None]:
    """Call this when a signal stops the server. The end of the lifespan is too late to close a stream.

    uvicorn waits for open streams before it ends the lifespan.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop, previous = asyncio.get_running_loop(), dict[int, Any]()

    def stop(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(callback)
        previous[number](number, frame)

    for number in (signal.SIGINT, signal.SIGTERM):
        if callable(signal.getsignal(number)):  # the server's own handler, not SIG_DFL or SIG_IGN
            previous[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for replaced, handler in previous.items():
            if signal.getsignal(replaced) is stop:
                signal.signal(replaced, handler)


def redirect_root(settings: Settings) -> Route:
    """Return the route of `/`, which redirects a browser to the panel, or to the API reference if there is no panel.

    A client that does not ask for HTML gets 404.
    """
    target = "/docs" if settings.bookit_only == "api" else "/admin/"

    async def redirect(request: Request) -> Response:
        if "text/html" not in request.headers.get("accept", ""):
            raise HTTPException(404)
        return RedirectResponse(target, 303, {"Vary": "Accept"})

    return limited(Route("/", redirect))


def answer_flood(scope: Scope, refusal: Refusal) -> Response:
    """Return the answer to one request too many of an address, as short as the door allows."""
    if scope["path"].startswith("/admin"):
        return PlainTextResponse(str(refusal), status_of(type(refusal)), retry_headers(refusal))
    return refusal_response(refusal)


def cors(settings: Settings) -> list[Middleware]:
    """Return the middleware that lets pages of the allowed origins, and no others, call the API."""
    if not settings.allowed_origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=settings.allowed_origins,
            allow_methods=["GET", "POST", "PATCH", "DELETE"],
            allow_headers=ALLOWED_HEADERS,
            expose_headers=EXPOSED_HEADERS,
            max_age=600,
        )
    ]
