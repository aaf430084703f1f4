"""The page of events: what happened to any row, in words."""

from collections.abc import Callable, Iterable
from typing import Any

from markupsafe import Markup
from starlette.requests import Request

from admin.history import Teller, Told
from bookit.tables import Event


def telling(part: str) -> Callable[[Any, str, Request], Any]:
    """Show a part of an event in words."""

    def show(event: Event, column: str, request: Request) -> Any:
        del column
        return getattr(request.scope["bookit.told"][event.id], part)

    return show


def told_briefly(event: Event, column: str, request: Request) -> Any:
    """Show what changed and why; of a new or a deleted row, what changed would be all of it."""
    del column
    told: Told = request.scope["bookit.told"][event.id]
    why = Markup("<q>{}</q>").format(told.reason) if told.reason else Markup()
    return Markup("<div>{}{} {}</div>").format(told.listed if told.action == "changed" else "", why, told.act)


def told_act(event: Event, column: str, request: Request) -> Any:
    """Show the number of a request, and a way to what else it changed."""
    del column
    told: Told = request.scope["bookit.told"][event.id]
    return Markup("<span>{} {}</span>").format(event.request_id or "–", told.act)


IN_WORDS: dict[Any, Any] = {
    "actor": telling("who"),
    "door": telling("door"),
    "row_id": telling("row"),
    "changes": telling("listed"),
    "request_id": told_act,
}
IN_BRIEF: dict[Any, Any] = {**IN_WORDS, "changes": told_briefly}


class ToldEvents:
    """Has a page of events tell them in words rather than show them as they are kept."""

    def __init__(self) -> None:
        """Give what is no column its label."""
        super().__init__()
        labels: dict[str, str] = vars(self)["_column_labels"]
        labels["changes"] = "What changed"

    async def list(self, request: Request) -> Any:
        """List events, and look up whom and what they name."""
        view: Any = super()
        page = await view.list(request)
        await self.keep_told(request, page.rows)
        return page

    async def details_context(self, request: Request) -> dict[str, Any]:
        """Look up whom and what one event names. An event has no history of its own."""
        view: Any = self
        await self.keep_told(request, [await view.get_object_for_details(request)])
        return {}

    async def keep_told(self, request: Request, events: Iterable[Event]) -> None:
        """Keep events in words until the page is written."""
        page: Any = self
        kept = [*events]
        told = await Teller(page, request).tell(kept)
        request.scope["bookit.told"] = {event.id: words for event, words in zip(kept, told, strict=True)}
