"""Pages of our own beside SQLAdmin's: each says where it is and what answers there."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from inspect import signature
from typing import Any

from starlette.requests import Request
from starlette.responses import Response


@dataclass(frozen=True)
class CustomPage:
    """A page that whoever is signed in may ask for. What they may see or do there, its answer decides.

    ``answer`` takes the request and, by these names, whichever it needs of ``database``, ``templates``, ``view`` (the
    page of bookings), ``zone`` and ``now``. ``menu`` is its entry of the menu, with its icon.
    """

    path: str
    name: str
    handler: Callable[..., Awaitable[Response]]
    methods: tuple[str, ...] = ("GET",)
    menu: tuple[str, str] | None = None

    async def respond(self, request: Request, **available: Any) -> Response:
        """Answer a request, with what the answer needs of what is offered."""
        needed = signature(self.handler).parameters
        return await self.handler(request, **{name: value for name, value in available.items() if name in needed})
