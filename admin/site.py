"""Opens the staff door: SQLAdmin with its doors shut."""

import logging
from pathlib import Path
from types import MethodType
from typing import Any
from urllib.parse import urlencode

from sqladmin import Admin, BaseView, Flash, ModelView
from sqladmin.authentication import login_required
from sqlalchemy import event
from sqlalchemy.exc import DataError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from admin.bookings import bulk
from admin.calendar import actions, feed
from admin.calendar.page import CalendarPage
from admin.framework.context import AdminContext
from admin.framework.custom_page import CustomPage
from admin.framework.lookups import MATCH_ALL
from admin.framework.menu import PageMenu
from admin.framework.middleware import BodyLimitMiddleware, SameOriginMiddleware, SecurityHeadersMiddleware, read_form
from admin.framework.parsing import escape_like
from admin.framework.permissions import Permissions
from admin.framework.sign_in import StaffSignIn, actor_of
from admin.framework.url_cache import UrlCacheMiddleware
from admin.history import undo_pages
from admin.pages import opening_hours, password, personal_data, reports, search
from admin.pages.dashboard import show_dashboard, show_live_section
from admin.record_view import SaveFailed
from admin.views import VIEWS
from bookit import refusals as no
from bookit.change_feed import ChangeFeed
from bookit.db.pool import configure
from bookit.schema.revisions import sqlalchemy_url

HERE = Path(__file__).parent
STATUS_BY_REFUSAL: dict[type[no.Refusal], int] = {
    no.Forbidden: 403,
    no.Missing: 404,
    no.Conflict: 409,
    no.Stale: 412,
    no.Misshapen: 422,
    no.Invalid: 400,
    no.TooMany: 429,
    no.Busy: 503,
}
CUSTOM_PAGES: list[CustomPage] = [
    reports.PAGE, search.PAGE, bulk.PAGE, opening_hours.PAGE, password.PAGE, *personal_data.PAGES, *undo_pages.PAGES,
]  # fmt: skip
# Routes of SQLAdmin that BookIt does without: they serve whichever file a column names, and write past the rules.
DISABLED_ROUTES = {"file_download", "file_preview", "import"}
# What SQLAdmin writes on the class of a page when the page is added to a site.
SITE_ATTRIBUTES = {"_admin_ref", "session_maker", "templates"}


class StaffSite(Admin):
    """SQLAdmin as a back office can trust it."""

    def __init__(self, app: Starlette, **kwargs: Any) -> None:
        super().__init__(app, **kwargs)
        self.context = AdminContext(self)
        for part in (app, self.admin):  # A request of one of our pages has the mounted part for its ``app``.
            part.state.admin_context = self.context
        router = self.admin.router
        router.routes = [route for route in router.routes if getattr(route, "name", None) not in DISABLED_ROUTES]
        allow_only_post(router.routes, "logout")
        self.templates.env.globals["min"] = lambda *some: int(min(some))  # where a page ends, though more may follow
        for page in CUSTOM_PAGES:
            self.admin.add_route(page.path, self.wrap_page(page), methods=[*page.methods], name=page.name)
        self._menu.items[:0] = [
            PageMenu("Today", "fa-solid fa-sun", route="admin:index"),
            *(PageMenu(*page.menu, route=f"admin:{page.name}") for page in CUSTOM_PAGES if page.menu),
        ]
        router.routes = [Mount("/static", StaticFiles(directory=HERE / "static"), name="static"), *router.routes]
        self.admin.exception_handlers[DataError] = self.handle_data_error
        self.open_feed: ChangeFeed | None = None
        for path, answer, method in (
            ("feed", feed.get_calendar, "GET"),
            ("visit/{pk}", feed.get_visit, "GET"),
            ("move/{pk}", actions.move, "POST"),
            ("act/{pk}", actions.set_status, "POST"),
            ("book", actions.book, "POST"),
        ):
            name = f"calendar-{path.partition('/')[0]}"
            self.admin.add_route(f"/calendar/{path}", self.wrap_calendar_handler(answer), methods=[method], name=name)
        self.admin.add_route("/calendar/stream", self.stream, methods=["GET"], name="calendar-stream")
        self.admin.add_route("/today", self.today, methods=["GET"], name="today")

    def add_view(self, view: type[ModelView] | type[BaseView]) -> None:
        """Add a page. SQLAdmin writes on its class which site it belongs to; with two sites, its instance must know."""
        super().add_view(view)
        vars(self.views[-1]).update({name: value for name, value in vars(view).items() if name in SITE_ATTRIBUTES})

    def wrap_page(self, page: CustomPage) -> Any:
        """Have a page of ours shown to whoever is signed in; a refusal has the status of its kind."""

        @login_required
        async def shown(site: StaffSite, request: Request) -> Response:
            offered = {
                "database": self.context.database,
                "templates": site.templates,
                "view": site._find_model_view("booking"),
                "zone": self.context.zone,
                "now": self.context.now(),
            }
            return apply_refusal_status(request, await page.respond(request, **offered))

        return MethodType(shown, self)

    def wrap_calendar_handler(self, handler: Any) -> Any:
        """Answer the calendar's script: whoever is not signed in is told so, rather than led to a page."""

        async def asked(request: Request) -> Response:
            if not await self.is_signed_in(request):
                request.session.pop("next", None)  # It is no page to come back to.
                return JSONResponse({"sentence": str(no.SignInEnded())}, 401)
            return apply_refusal_status(request, await handler(request))

        return asked

    async def is_signed_in(self, request: Request) -> bool:
        """Whether the person of a request may still come in."""
        return await self.authentication_backend.authenticate(request) is True  # type: ignore[union-attr]  # ours

    async def allows_polling(self, request: Request) -> bool:
        """Let in a script that asks by itself, which keeps nobody signed in."""
        backend: Any = self.authentication_backend
        user = await backend.get_session_user(request)
        if user is not None:
            request.state.user, request.state.actor = user, actor_of(user)
            request.scope["actor"] = request.state.actor
        return user is not None

    async def stream(self, request: Request) -> Response:
        """Tell the calendar, and Today, what changes."""
        if not await self.allows_polling(request):
            return JSONResponse({"sentence": str(no.SignInEnded())}, 401)
        return await feed.stream(request, self.change_feed(), lambda: self.allows_polling(request))

    async def today(self, request: Request) -> Response:
        """Show what is next, what waits and what is free, as it is by now."""
        if not await self.allows_polling(request):
            return JSONResponse({"sentence": str(no.SignInEnded())}, 401)
        database, zone, now = self.context.database, self.context.zone, self.context.now()
        return await show_live_section(request, database, self.templates, zone=zone, now=now)

    def _handle_action_decorated_func(self, func: MethodType, view: Any, view_instance: Any) -> None:
        """Have actions by POST: SQLAdmin's are links, which a page of another site can follow."""
        if not hasattr(func, "_action"):
            return
        super()._handle_action_decorated_func(func, view, view_instance)
        allow_only_post(self.admin.router.routes, f"action-{view_instance.identity}-{vars(func.__func__)['_slug']}")

    @login_required
    async def index(self, request: Request) -> Response:
        """Begin at today."""
        database, zone, now = self.context.database, self.context.zone, self.context.now()
        return apply_refusal_status(
            request, await show_dashboard(request, database, self.templates, zone=zone, now=now)
        )

    async def login(self, request: Request) -> Response:
        """Let somebody sign in; a refusal has the status of its kind, and the page keeps what was typed."""
        return apply_refusal_status(request, await super().login(request))

    @login_required
    async def list(self, request: Request) -> Response:
        """List rows; a sentence in the address is not shown as ours."""
        if "error" in request.query_params:
            return RedirectResponse(request.url.remove_query_params("error"), 303)
        answer: Response = await super().list(request)
        return answer

    async def create(self, request: Request) -> Response:
        """Create a row; a refusal has the status of its kind."""
        await read_form(request)  # SQLAdmin reads it again from here.
        return apply_refusal_status(request, await super().create(request))

    async def edit(self, request: Request) -> Response:
        """Change a row; a refusal has the status of its kind."""
        await read_form(request)
        return apply_refusal_status(request, await super().edit(request))

    @login_required
    async def delete(self, request: Request) -> Response:
        """Remove rows, each for itself; a refusal is told on the next page, and never through the address."""
        identity, numbers = request.path_params["identity"], request.query_params.get("pks", "")
        if not numbers:
            raise HTTPException(400, "Nothing was selected.")
        await self._delete(request)
        view = self._find_model_view(identity)
        for number in numbers.split(","):
            try:
                await view.delete_model(request, number)
            except (no.Refusal, SaveFailed) as refusal:
                Flash.error(request, f"#{number}: {refusal}")
        return PlainTextResponse(str(request.url_for("admin:list", identity=identity)))

    @login_required
    async def ajax_lookup(self, request: Request) -> Response:
        """Look up a relation by a part of a name, in which % and _ mean themselves; nothing typed means anything."""
        asked = {**request.query_params, "term": escape_like(request.query_params.get("term", "")) or MATCH_ALL}
        scope = {**request.scope, "query_string": urlencode(asked).encode()}
        answer: Response = await super().ajax_lookup(Request(scope, request.receive))
        return answer

    async def close(self) -> None:
        """Let go of the connections that pages were read through, and of whoever watches."""
        self.close_streams()
        if isinstance(self.engine, AsyncEngine):
            await self.engine.dispose()

    def close_streams(self) -> None:
        """End every stream, so that the server can stop."""
        if self.open_feed:
            self.open_feed.close()

    def change_feed(self) -> ChangeFeed:
        """Return the change feed of the application's database."""
        if self.open_feed is None or self.open_feed.database is not self.context.database:
            self.close_streams()
            self.open_feed = ChangeFeed(self.context.database)
        return self.open_feed

    async def handle_data_error(self, request: Request, error: Exception) -> Response:
        """Answer what the database cannot read, such as a number too large for it."""
        del error
        told = {"status_code": 400, "message": "This address does not make sense."}
        return await self.templates.TemplateResponse(request, "sqladmin/error.html", told, status_code=400)


def apply_refusal_status(request: Request, response: Response) -> Response:
    """Give a page that shows a refusal the status of its kind."""
    refusal = getattr(request.state, "refusal", None)
    for kind, status in STATUS_BY_REFUSAL.items():
        if isinstance(refusal, kind):
            response.status_code = status
    if isinstance(refusal, no.TooMany | no.Busy):
        response.headers["Retry-After"] = str(refusal.retry_after_seconds)
    return response


def allow_only_post(routes: Any, name: str) -> None:
    for route in routes:
        if isinstance(route, Route) and route.name == name:
            route.methods = {"POST"}


class RefusalLogFilter(logging.Filter):
    """Keeps refusals out of the log: they are answers, and SQLAdmin logs them as errors."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let through everything that is no refusal."""
        return not (record.exc_info and isinstance(record.exc_info[1], no.Refusal))


REFUSAL_LOG_FILTER = RefusalLogFilter()


def configure_connection(connection: Any, _record: Any) -> None:
    """Bind a new connection as all of BookIt's are: how long a statement may take, and the like."""
    connection.run_async(configure)
    connection.commit()


def mount_admin(app: Starlette) -> StaffSite:
    """Mount the staff door at /admin, on the database, settings and clock of ``app.state``.

    Its pages read through an engine of their own, which nothing writes with.
    """
    engine = create_async_engine(
        sqlalchemy_url(app.state.database.url),
        pool_size=5,
        max_overflow=5,
        hide_parameters=True,
        connect_args={"prepare_threshold": None},
    )
    event.listen(engine.sync_engine, "connect", configure_connection)
    permissions = Permissions()
    site = StaffSite(
        app,
        session_maker=async_sessionmaker(engine, class_=AsyncSession),
        engine=engine,
        title="BookIt",
        templates_dir=str(HERE / "templates"),
        favicon_url="/static/icon.svg",
        authentication_backend=StaffSignIn(app.state.settings),
        authorization_backend=permissions,
        middlewares=[
            Middleware(SecurityHeadersMiddleware),
            Middleware(SameOriginMiddleware),
            Middleware(BodyLimitMiddleware),
            Middleware(UrlCacheMiddleware),
        ],
    )
    site.add_view(CalendarPage)
    for view in VIEWS:
        site.add_view(view)
        permissions.tables[view.identity] = view.model
    logging.getLogger("sqladmin.application").addFilter(REFUSAL_LOG_FILTER)
    app.state.staff_site = site
    return site
