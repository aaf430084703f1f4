"""Pages of our own beside SQLAdmin's: each says where it is, what answers there, and who asks for it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum, auto

from starlette.requests import Request
from starlette.responses import Response

from bookit.policy.permissions import Ability

Handler = Callable[[Request], Awaitable[Response]]


class Client(Enum):
    """What sends the requests of a page. It decides what a visitor gets, and whether it is use of the sign-in."""

    VISITOR = auto()  # Everybody is let in: the page is part of signing in.
    BROWSER = auto()  # A visitor is sent to the page to sign in.
    SCRIPT = auto()  # A visitor is answered 401 and a sentence.
    POLLING_SCRIPT = auto()  # As SCRIPT. It asks by itself, so its requests are no use of the sign-in.


@dataclass(frozen=True)
class CustomPage:
    """A page for users who have signed in. What they may see or do there, its handler decides.

    ``menu`` is its entry of the menu, with its icon; it is shown to users who have the ``ability`` that the page needs.
    """

    path: str
    name: str
    handler: Handler
    methods: tuple[str, ...] = ("GET",)
    menu: tuple[str, str] | None = None
    client: Client = Client.BROWSER
    ability: Ability | None = None
