"""The whole API on one screen, at the root and under /v1."""

from starlette.routing import BaseRoute, Mount, Route

from api import accounts, availability, bookings, catalogue, reports
from api.docs import build_docs_routes
from api.problems import describe_problem

MODULES = (bookings.api, availability.api, catalogue.api, accounts.api, reports.api)
# Each route that is passed over costs a microsecond or two.
BUSIEST = ("/services/{id}", "/services", "/bookings", "/services/{id}/availability", "/bookings/{id}", "/me")
ENDPOINTS = [endpoint for room in MODULES for endpoint in room.endpoints]


def build_routes() -> list[BaseRoute]:
    """Give every route of the customer door, the busiest first."""
    known = {route.path: route for room in MODULES for route in room.routes}
    versioned = [known.pop(path) for path in BUSIEST] + [*known.values()]
    return [
        *versioned,
        Mount("/v1", routes=versioned),
        Route("/problems/{code}", describe_problem),
        *build_docs_routes(ENDPOINTS),
    ]
