"""The whole API on one screen, at the root and under /v1."""

from starlette.routing import BaseRoute, Mount, Route

from api import accounts, bookings, catalogue
from api.pages import pages
from api.problems import describe

ENDPOINTS = [*bookings.api.endpoints, *catalogue.api.endpoints, *accounts.api.endpoints]


def routes() -> list[BaseRoute]:
    """Give every route of the customer door, the busiest first."""
    versioned = [*bookings.api.routes, *catalogue.api.routes, *accounts.api.routes]
    return [*versioned, Mount("/v1", routes=versioned), Route("/problems/{code}", describe), *pages(ENDPOINTS)]
