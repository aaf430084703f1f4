"""The page of events: what happened to any row, in words; in the list, all that one request did is one entry."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape
from starlette.requests import Request

from admin.framework import list_pages
from admin.framework.list_pages import MoreThan
from admin.history import grouping
from admin.history.formatter import Teller, Told
from admin.history.grouping import Fold, Part
from bookit.schema.tables import Event


@dataclass(frozen=True)
class Folded:
    """All that one request did, as an entry of the list tells it."""

    actions: str
    rows: Markup
    story: Markup


def telling(part: str) -> Callable[[Any, str, Request], Any]:
    """Show a part of an event in words."""

    def show(event: Event, column: str, request: Request) -> Any:
        del column
        return getattr(request.scope["bookit.told"][event.id], part)

    return show


def folded_or(part: str, show: Callable[[Any, str, Request], Any]) -> Callable[[Any, str, Request], Any]:
    """Show a part of all that a request did, where an entry is that; else what shows one event."""

    def choose(event: Event, column: str, request: Request) -> Any:
        folded: Folded | None = request.scope["bookit.folded"].get(event.id)
        return getattr(folded, part) if folded else show(event, column, request)

    return choose


def told_briefly(event: Event, column: str, request: Request) -> Any:
    """Show what changed and why; of a new or a deleted row, what changed would be all of it."""
    del column
    told: Told = request.scope["bookit.told"][event.id]
    return Markup("<div>{}{} {}</div>").format(changes(told), why(told), told.act)


def changes(told: Told) -> Markup:
    return told.listed if told.action == "changed" else Markup()


def why(told: Told) -> Markup:
    return Markup("<q>{}</q>").format(told.reason) if told.reason else Markup()


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
IN_BRIEF: dict[Any, Any] = {
    **IN_WORDS,
    "action": folded_or("actions", lambda event, *_: event.action),
    "row_id": folded_or("rows", IN_WORDS["row_id"]),
    "changes": folded_or("story", told_briefly),
}


class ToldEvents:
    """Has a page of events tell them in words rather than show them as they are kept."""

    def __init__(self) -> None:
        """Give what is no column its label."""
        super().__init__()
        labels: dict[str, str] = vars(self)["_column_labels"]
        labels["changes"] = "What changed"

    async def which_rows(self, request: Request, *, size: int, offset: int) -> tuple[int, Sequence[int]]:
        """Count the entries of the list, and give the first row of each on a page."""
        page: Any = self
        is_down = page.sorting(request)[0][1]
        statement, _ = await page.narrowed(request)
        found = await page.read(grouping.entries(statement, is_down=is_down, size=size, offset=offset))
        folds = [Fold(one.first, one.last, one.count, one.request_id) for one in found if one.first]
        leading = [fold.last if is_down else fold.first for fold in folds]
        request.scope["bookit.folds"] = {at: fold for at, fold in zip(leading, folds, strict=True) if fold.count > 1}
        is_all = found[0].rows <= list_pages.MOST_COUNTED
        return found[0].entries if is_all else MoreThan(found[0].entries), leading

    async def list(self, request: Request) -> Any:
        """List events, and look up whom and what they name."""
        view: Any = super()
        page = await view.list(request)
        folds: Mapping[int, Fold] = request.scope["bookit.folds"]
        listed = await self.unfold(request, folds) if folds else []
        await self.keep_told(request, page.rows, listed)
        return page

    async def unfold(self, request: Request, folds: Mapping[int, Fold]) -> Sequence[Event]:
        """Have entries of several rows know what they did, and give some of these rows."""
        page: Any = self
        by_first = {fold.first: fold for fold in folds.values()}
        for first, *part in await page.read(grouping.done([*folds.values()])):
            by_first[first].parts.append(Part(*part))
        is_down = page.sorting(request)[0][1]
        rows = await page.read(grouping.some_of([*folds.values()], is_down=is_down))
        listed: Sequence[Event] = [event for (event,) in rows]
        for event in listed:
            fold = next(fold for fold in folds.values() if fold.first <= event.id <= fold.last)
            fold.listed.append(event)
        return listed

    async def details_context(self, request: Request) -> dict[str, Any]:
        """Look up whom and what one event names. An event has no history of its own."""
        view: Any = self
        await self.keep_told(request, [await view.get_object_for_details(request)])
        return {}

    async def keep_told(self, request: Request, events: Iterable[Event], listed: Iterable[Event] = ()) -> None:
        """Keep events in words until the page is written, and those of one request as one."""
        page: Any = self
        folds: Mapping[int, Fold] = request.scope.get("bookit.folds", {})
        leading = [*events]
        kept = {event.id: event for event in (*leading, *listed)}.values()
        single = {event.request_id for event in leading if event.id not in folds}
        teller = Teller(page, request)
        told = await teller.tell(kept, whole={fold.request_id for fold in folds.values()} - single)
        words = {event.id: words for event, words in zip(kept, told, strict=True)}
        request.scope["bookit.told"] = words
        request.scope["bookit.folded"] = {at: folded(fold, teller, words) for at, fold in folds.items()}


def folded(fold: Fold, teller: Teller, words: Mapping[int, Told]) -> Folded:
    """Tell all that a request did in a sentence, which unfolds to some of it and leads to the whole."""
    first = fold.listed[0]
    actions = ", ".join(dict.fromkeys(part.action for part in fold.parts))
    rows = Markup(", ").join(escape(named) for named in fold.named(teller.pages))
    items = Markup().join(
        Markup("<li>{} {}{}</li>").format(told.row, told.action, changes(told))
        for event in fold.listed
        for told in [words[event.id]]
    )
    story = Markup('<details class="bk-fold"><summary>{}{}</summary><ol class="bk-story">{}</ol>{}</details>').format(
        fold.told(teller.pages),
        why(words[first.id]),
        items,
        teller.whole_act(first, f"All {fold.count} changes on one page"),
    )
    return Folded(actions, rows, story)
