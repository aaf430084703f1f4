"""The admin site: SQLAdmin without its unsafe defaults, and our own pages beside its."""

import logging
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from types import MethodType
from typing import Any
from urllib.parse import urlencode

from sqladmin import Admin, BaseView, Flash, ModelView
from sqladmin.authentication import login_required
from sqlalchemy import event
from sqlalchemy.exc import DataError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from starlette.applications import Starlette
from starlette.datastructures import URL, FormData
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from admin.bookings import bulk, payments
from admin.calendar import actions, feed, free_times
from admin.calendar.page import CalendarPage
from admin.framework.context import AdminContext
from admin.framework.custom_page import Client, CustomPage
from admin.framework.formatting import humanize
from admin.framework.lookups import EVERYTHING
from admin.framework.menu import PageMenu
from admin.framework.middleware import BodyLimitMiddleware, SameOriginMiddleware, SecurityHeadersMiddleware, read_form
from admin.framework.page_state import page_state
from admin.framework.permissions import Permissions, require_ability
from admin.framework.rate_limits import limit_routes
from admin.framework.second_step import passkey_request
from admin.framework.session_cookie import https_notice
from admin.framework.sign_in import StaffSignIn, is_signed_in
from admin.framework.stranded_visits import TEMPLATE_GLOBALS
from admin.framework.url_cache import UrlCacheMiddleware
from admin.history import undo_pages
from admin.pages import (
    dashboard,
    day_closing,
    deleting,
    notes,
    opening_hours,
    password,
    personal_data,
    reports,
    search,
    second_step,
    sign_ins,
    signing_in,
)
from admin.record_view import RecordView, SaveFailed
from admin.views import VIEWS
from bookit import refusals as no
from bookit.db import incidents
from bookit.db.outage import connection_parameters
from bookit.db.pool import configure
from bookit.schema.revisions import engine_options
from bookit.schema.tables import BUSINESS_ID, id_of
from bookit.slices import pause
from web.statuses import retry_headers, status_of

HERE = Path(__file__).parent
CUSTOM_PAGES: list[CustomPage] = [
    *dashboard.PAGES, reports.PAGE, day_closing.PAGE, search.PAGE, bulk.PAGE, opening_hours.PAGE, deleting.PAGE,
    password.PAGE, *personal_data.PAGES, *sign_ins.PAGES, *second_step.PAGES, *signing_in.PAGES, *undo_pages.PAGES,
    *feed.PAGES, *actions.PAGES, *free_times.PAGES, *notes.PAGES, *payments.PAGES,
]  # fmt: skip
# Routes of SQLAdmin that BookIt does without: they serve any file that a column names, and write past the rules.
DISABLED_ROUTES = {"file_download", "file_preview", "import"}
# What SQLAdmin writes on the class of a view when the view is added to a site.
SITE_ATTRIBUTES = {"_admin_ref", "session_maker", "templates"}


class StaffSite(Admin):
    """SQLAdmin as a back office can trust it."""

    def __init__(self, app: Starlette, *, session_maker: async_sessionmaker[AsyncSession], **kwargs: Any) -> None:
        super().__init__(app, session_maker=session_maker, **kwargs)
        self.context = AdminContext(self, session_maker)
        for part in (app, self.admin):  # ``app`` of a request is the part that answers it.
            part.state.admin_context = self.context
        # "min" says where a page of a list ends, though more rows may follow.
        self.templates.env.globals.update(
            min=lambda *counts: int(min(counts)),
            page_state=page_state,
            https_notice=https_notice,
            pause=pause,
            role_label=humanize,
            passkey_request=passkey_request,
            **TEMPLATE_GLOBALS,
        )
        self.admin.exception_handlers[DataError] = self.handle_data_error
        self.admin.exception_handlers[no.RangeReversed] = self.handle_reversed_range
        self.admin.exception_handlers[no.TooManyRequests] = self.handle_too_many
        for kind in (no.Busy, OperationalError, PoolTimeoutError):
            self.admin.exception_handlers[kind] = self.handle_failure
        replaced = {page.name for page in CUSTOM_PAGES}
        routes = self.admin.router.routes
        routes[:] = [route for route in routes if getattr(route, "name", None) not in DISABLED_ROUTES | replaced]
        allow_only_post(routes, "logout")
        routes.insert(0, Mount("/static", StaticFiles(directory=HERE / "static"), name="static"))
        for page in CUSTOM_PAGES:
            self.admin.add_route(page.path, partial(self.respond, page), methods=[*page.methods], name=page.name)
        self._menu.items[:0] = [
            PageMenu(*page.menu, route=f"admin:{page.name}", ability=page.ability) for page in CUSTOM_PAGES if page.menu
        ]

    def add_view(self, view: type[ModelView] | type[BaseView]) -> None:
        """Add a view. SQLAdmin writes its site on the class, which two sites share: write it on the instance too."""
        super().add_view(view)
        vars(self.views[-1]).update({name: value for name, value in vars(view).items() if name in SITE_ATTRIBUTES})

    def _handle_action_decorated_func(
        self, func: MethodType, view: type[BaseView | ModelView], view_instance: BaseView | ModelView
    ) -> None:
        """Add the route of an action, by POST alone: SQLAdmin's are links, which a page of another site can follow."""
        if not hasattr(func, "_action"):
            return
        super()._handle_action_decorated_func(func, view, view_instance)
        allow_only_post(self.admin.router.routes, f"action-{view_instance.identity}-{vars(func.__func__)['_slug']}")

    # Pages of our own.

    async def respond(self, page: CustomPage, request: Request) -> Response:
        """Answer a request for a page of our own, or send a visitor away."""
        admitted = await self.admit(page.client, request)
        if admitted is True:
            if page.ability:
                require_ability(request, page.ability)
            return apply_refusal_status(request, await page.handler(request))
        if page.client is Client.BROWSER:
            return admitted or RedirectResponse(request.url_for("admin:login"), 302)
        if page.client is Client.SCRIPT:
            request.session.pop("next", None)  # It is no page to come back to.
        refusal = no.SecondFactorNotSetUp if page_state(request).lacks_second_factor else no.SignInEnded
        return JSONResponse({"message": str(refusal())}, status_of(refusal))

    async def admit(self, client: Client, request: Request) -> Response | bool:
        """Return whether the user of this request may come in, or where they must go first.

        Only a person's own requests are use of the sign-in.
        """
        if client is Client.VISITOR:
            return True
        if client is Client.POLLING_SCRIPT or self.authentication_backend is None:
            return await is_signed_in(request)
        return await self.authentication_backend.authenticate(request)

    # Pages of SQLAdmin.

    async def login(self, request: Request) -> Response:
        """Sign a user in; the page has the status of a refusal, and shows the e-mail that was typed."""
        return apply_refusal_status(request, await super().login(request))

    @login_required
    async def list(self, request: Request) -> Response:
        """List rows, without a message that a URL brings: it would be shown as ours."""
        if "error" in request.query_params:
            return RedirectResponse(request.url.remove_query_params("error"), 303)
        view = self._find_model_view(request.path_params["identity"])
        if isinstance(view, RecordView) and view.is_single and view.is_accessible(request):
            return RedirectResponse(request.url_for("admin:edit", identity=view.identity, pk=BUSINESS_ID), 303)
        response: Response = await super().list(request)
        return response

    async def create(self, request: Request) -> Response:
        """Create a row; the page has the status of a refusal."""
        await read_form(request)  # SQLAdmin reads it again from here.
        response: Response = await super().create(request)
        if page_state(request).is_repeat:
            Flash.warning(request, "This was saved already. Nothing was saved twice.")
        return apply_refusal_status(request, response)

    async def edit(self, request: Request) -> Response:
        """Change a row; the page has the status of a refusal."""
        await read_form(request)
        return apply_refusal_status(request, await super().edit(request))

    @staticmethod
    def get_save_redirect_url(request: Request, form: FormData, model_view: ModelView, obj: Any) -> str | URL:
        """Return where a saved form leads; if it had been saved before, to the row that was saved then."""
        if page_state(request).is_repeat:
            return request.url_for("admin:details", identity=request.path_params["identity"], pk=id_of(obj))
        return Admin.get_save_redirect_url(request, form, model_view, obj)

    @login_required
    async def delete(self, request: Request) -> Response:
        """Delete rows one by one; the next page shows each refusal, and the URL none.

        Of rows whose deletion would strand visits to come, the next page asks.
        """
        identity, ids = request.path_params["identity"], request.query_params.get("pks", "")
        if not ids:
            raise HTTPException(400, "Nothing was selected.")
        await self._delete(request)
        view = self._find_model_view(identity)
        stranding: list[str] = []
        for row_id in ids.split(","):
            try:
                await view.delete_model(request, row_id)
            except no.StrandsVisits:
                stranding.append(row_id)
            except (no.Refusal, SaveFailed) as refusal:
                Flash.error(request, f"#{row_id}: {refusal}")
        if stranding:
            page_state(request).refusal = None
            page = request.url_for("admin:confirm-deletion", identity=identity)
            return PlainTextResponse(str(page.include_query_params(pks=",".join(stranding))))
        return PlainTextResponse(str(request.url_for("admin:list", identity=identity)))

    @login_required
    async def ajax_lookup(self, request: Request) -> Response:
        """Look up a relation by words of a name; an empty term matches all."""
        term = request.query_params.get("term", "").replace("\0", "").strip()
        query = {**request.query_params, "term": term or EVERYTHING}
        scope = {**request.scope, "query_string": urlencode(query).encode()}
        response: Response = await super().ajax_lookup(Request(scope, request.receive))
        return response

    async def handle_data_error(self, request: Request, error: Exception) -> Response:
        """Answer a URL that the database cannot read, such as an id that is too large for it."""
        del error
        values = {"status_code": 400, "message": "This address is not valid."}
        return await self.context.render(request, "error.html", values, status_code=400)

    async def handle_reversed_range(self, request: Request, error: Exception) -> Response:
        """Answer a list or an export of days that end before they start, as the API does."""
        status = status_of(no.RangeReversed)
        values = {"status_code": status, "message": str(error)}
        return await self.context.render(request, "error.html", values, status_code=status)

    async def handle_failure(self, request: Request, error: Exception) -> Response:
        """Answer that the database does not do its work: a person gets a page, a script the sentence."""
        refusal = error if isinstance(error, no.Busy) else no.Busy()
        if refusal is not error:
            incidents.report(getattr(error, "orig", None) or error)
        return await self.refuse_for_now(request, refusal)

    async def handle_too_many(self, request: Request, error: Exception) -> Response:
        """Answer a request beyond the limit of its sender."""
        return await self.refuse_for_now(request, error) if isinstance(error, no.Refusal) else Response(status_code=429)

    async def refuse_for_now(self, request: Request, refusal: no.Refusal) -> Response:
        """Return the answer that says when to try again: a page for a person, the sentence for a script."""
        status = status_of(type(refusal))
        if "text/html" not in request.headers.get("accept", ""):
            return JSONResponse({"message": str(refusal)}, status, retry_headers(refusal))
        values = {"status_code": status, "message": str(refusal)}
        response = await self.context.render(request, "error.html", values, status_code=status)
        response.headers.update(retry_headers(refusal))
        return response

    # The end.

    async def close(self) -> None:
        """End every stream, and close the connections that lists are read through."""
        self.close_streams()
        if isinstance(self.engine, AsyncEngine):
            await self.engine.dispose()

    def close_streams(self) -> None:
        """End every stream, so that the server can stop."""
        self.context.close_streams()


def apply_refusal_status(request: Request, response: Response) -> Response:
    """Set the status of a page that shows a refusal to that of its kind."""
    refusal = page_state(request).refusal
    if refusal is not None:
        response.status_code = status_of(type(refusal))
        response.headers.update(retry_headers(refusal))
    return response


def allow_only_post(routes: Iterable[BaseRoute], name: str) -> None:
    for route in routes:
        if isinstance(route, Route) and route.name == name:
            route.methods = {"POST"}


class RefusalLogFilter(logging.Filter):
    """Keeps refusals out of the log: they are answers, and SQLAdmin logs them as errors."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a record is about anything but a refusal."""
        return not (record.exc_info and isinstance(record.exc_info[1], no.Refusal))


REFUSAL_LOG_FILTER = RefusalLogFilter()


def configure_connection(connection: Any, _record: object) -> None:
    """Apply the settings that all connections of BookIt have, and make the transactions READ ONLY."""
    connection.run_async(configure)
    connection.commit()
    connection.set_read_only(True)


def create_read_engine(url: str) -> AsyncEngine:
    """Return an engine whose transactions are READ ONLY."""
    options = engine_options(url)
    options["connect_args"] |= {**connection_parameters(url), "prepare_threshold": None}
    engine = create_async_engine(
        **options, pool_size=5, max_overflow=5, pool_timeout=10, pool_pre_ping=True, hide_parameters=True
    )
    event.listen(engine.sync_engine, "connect", configure_connection)
    return engine


def mount_admin(app: Starlette) -> StaffSite:
    """Mount the staff door at /admin, on the database, the settings and the clock of ``app.state``.

    Its lists are read through an engine of their own, whose transactions are READ ONLY.
    """
    engine, permissions = create_read_engine(app.state.database.url), Permissions()
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
    limit_routes(site.admin.router.routes)
    return site
