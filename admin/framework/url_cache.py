"""Caches the URLs of routes: a page links to hundreds of rows, and for each Starlette tries one route after another."""

from functools import lru_cache
from typing import Protocol

from starlette.datastructures import URL, URLPath
from starlette.types import ASGIApp, Receive, Scope, Send

MAX_ROUTES = 2048
ROW_ID = str(2**64)  # stands for the id of a row, of which there are more than a cache holds


class Router(Protocol):
    """What ``request.url_for`` asks for the path of a route."""

    def url_path_for(self, name: str, /, **path_params: object) -> URLPath:
        """Return the path of a route."""
        ...


class RouteUrl:
    """The URL of a route, made absolute once for as long as requests come for the same host."""

    def __init__(self, path: URLPath) -> None:
        self.path = path
        self.base_url: object = None
        self.before = self.after = ""

    def make_absolute_url(self, base_url: URL, row_id: str = "") -> URL:
        """Return the absolute URL, with the id of a row where ``ROW_ID`` stands."""
        if base_url is not self.base_url:
            if base_url != self.base_url:
                self.before, _, self.after = str(self.path.make_absolute_url(base_url)).partition(ROW_ID)
            self.base_url = base_url  # Each request has one of its own; to compare the text of both takes longer.
        return URL(f"{self.before}{row_id}{self.after}")


class RowUrl:
    """The URL of one row's page, made from the URL that the pages of all rows share."""

    def __init__(self, shared: RouteUrl, row_id: str) -> None:
        self.shared, self.row_id = shared, row_id

    def make_absolute_url(self, base_url: URL) -> URL:
        """Return the absolute URL."""
        return self.shared.make_absolute_url(base_url, self.row_id)


class CachingRouter:
    """A router that looks each path up once: routes stay as they are from an application's first request on."""

    def __init__(self, router: Router) -> None:
        self.router = router
        self.url = lru_cache(MAX_ROUTES)(self.look_up)

    def look_up(self, name: str, /, **path_params: object) -> RouteUrl:
        return RouteUrl(self.router.url_path_for(name, **path_params))

    def url_path_for(self, name: str, /, **path_params: object) -> RouteUrl | RowUrl:
        """Return what ``request.url_for`` makes a URL of."""
        row_id = str(path_params.get("pk", ""))
        if row_id.isdigit():
            path_params["pk"] = ROW_ID
            return RowUrl(self.url(name, **path_params), row_id)
        return self.url(name, **path_params)


class UrlCacheMiddleware:
    """Middleware that has ``request.url_for`` ask a cached router."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.router: CachingRouter | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with the cached router."""
        if "router" in scope:
            self.router = self.router or CachingRouter(scope["router"])
            scope["router"] = self.router
        await self.app(scope, receive, send)
