"""The page of events: what happened to any row, in words; in the list, all that one request did is one entry."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape
from starlette.requests import Request

from admin.framework import list_pages
from admin.framework.list_pages import MoreThan
from admin.history import grouping
from admin.history.formatter import EventFormatter, EventText
from admin.history.grouping import GroupPart, RequestGroup
from bookit.schema.tables import Event


@dataclass(frozen=True)
class RequestGroupText:
    """All that one request did, as an entry of the list tells it."""

    actions: str
    rows: Markup
    details: Markup


def make_column_formatter(attribute: str) -> Callable[[Any, str, Request], Any]:
    """Show a part of an event in words."""

    def show(event: Event, column: str, request: Request) -> Any:
        del column
        return getattr(request.scope["bookit.told"][event.id], attribute)

    return show


def make_group_formatter(
    attribute: str, fallback: Callable[[Any, str, Request], Any]
) -> Callable[[Any, str, Request], Any]:
    """Show a part of all that a request did, where an entry is that; else what shows one event."""

    def choose(event: Event, column: str, request: Request) -> Any:
        folded: RequestGroupText | None = request.scope["bookit.folded"].get(event.id)
        return getattr(folded, attribute) if folded else fallback(event, column, request)

    return choose


def format_brief(event: Event, column: str, request: Request) -> Any:
    """Show what changed and why; of a new or a deleted row, what changed would be all of it."""
    del column
    told: EventText = request.scope["bookit.told"][event.id]
    return Markup("<div>{}{} {}</div>").format(format_changes(told), format_reason(told), told.act_link)


def format_changes(text: EventText) -> Markup:
    return text.changes_html if text.action == "changed" else Markup()


def format_reason(text: EventText) -> Markup:
    return Markup("<q>{}</q>").format(text.reason) if text.reason else Markup()


def format_request_id(event: Event, column: str, request: Request) -> Any:
    """Show the number of a request, and a way to what else it changed."""
    del column
    told: EventText = request.scope["bookit.told"][event.id]
    return Markup("<span>{} {}</span>").format(event.request_id or "–", told.act_link)


DETAIL_FORMATTERS: dict[Any, Any] = {
    "actor": make_column_formatter("actor"),
    "door": make_column_formatter("door"),
    "row_id": make_column_formatter("row"),
    "changes": make_column_formatter("changes_html"),
    "request_id": format_request_id,
}
LIST_FORMATTERS: dict[Any, Any] = {
    **DETAIL_FORMATTERS,
    "action": make_group_formatter("actions", lambda event, *_: event.action),
    "row_id": make_group_formatter("rows", DETAIL_FORMATTERS["row_id"]),
    "changes": make_group_formatter("details", format_brief),
}


class FormatsEvents:
    """Has a page of events tell them in words rather than show them as they are kept."""

    def __init__(self) -> None:
        """Give what is no column its label."""
        super().__init__()
        labels: dict[str, str] = vars(self)["_column_labels"]
        labels["changes"] = "What changed"

    async def count_and_page_ids(self, request: Request, *, size: int, offset: int) -> tuple[int, Sequence[int]]:
        """Count the entries of the list, and give the first row of each on a page."""
        page: Any = self
        is_down = page.get_sorting(request)[0][1]
        statement, _ = await page.filtered_query(request)
        found = await page.fetch_rows(
            grouping.select_groups(statement, is_descending=is_down, size=size, offset=offset)
        )
        folds = [RequestGroup(one.first, one.last, one.count, one.request_id) for one in found if one.first]
        leading = [fold.last if is_down else fold.first for fold in folds]
        request.scope["bookit.folds"] = {at: fold for at, fold in zip(leading, folds, strict=True) if fold.count > 1}
        is_all = found[0].rows <= list_pages.MAX_COUNTED
        return found[0].entries if is_all else MoreThan(found[0].entries), leading

    async def list(self, request: Request) -> Any:
        """List events, and look up whom and what they name."""
        view: Any = super()
        page = await view.list(request)
        folds: Mapping[int, RequestGroup] = request.scope["bookit.folds"]
        listed = await self.load_group_events(request, folds) if folds else []
        await self.store_event_texts(request, page.rows, listed)
        return page

    async def load_group_events(self, request: Request, groups: Mapping[int, RequestGroup]) -> Sequence[Event]:
        """Have entries of several rows know what they did, and give some of these rows."""
        page: Any = self
        by_first = {fold.first: fold for fold in groups.values()}
        for first, *part in await page.fetch_rows(grouping.select_group_parts([*groups.values()])):
            by_first[first].parts.append(GroupPart(*part))
        is_down = page.get_sorting(request)[0][1]
        rows = await page.fetch_rows(grouping.select_listed_events([*groups.values()], is_descending=is_down))
        listed: Sequence[Event] = [event for (event,) in rows]
        for event in listed:
            fold = next(fold for fold in groups.values() if fold.first <= event.id <= fold.last)
            fold.events.append(event)
        return listed

    async def details_context(self, request: Request) -> dict[str, Any]:
        """Look up whom and what one event names. An event has no history of its own."""
        view: Any = self
        await self.store_event_texts(request, [await view.get_object_for_details(request)])
        return {}

    async def store_event_texts(
        self, request: Request, events: Iterable[Event], group_events: Iterable[Event] = ()
    ) -> None:
        """Keep events in words until the page is written, and those of one request as one."""
        page: Any = self
        folds: Mapping[int, RequestGroup] = request.scope.get("bookit.folds", {})
        leading = [*events]
        kept = {event.id: event for event in (*leading, *group_events)}.values()
        single = {event.request_id for event in leading if event.id not in folds}
        teller = EventFormatter(page, request)
        told = await teller.format_events(kept, complete_acts={fold.request_id for fold in folds.values()} - single)
        words = {event.id: words for event, words in zip(kept, told, strict=True)}
        request.scope["bookit.told"] = words
        request.scope["bookit.folded"] = {at: format_group(fold, teller, words) for at, fold in folds.items()}


def format_group(group: RequestGroup, formatter: EventFormatter, texts: Mapping[int, EventText]) -> RequestGroupText:
    """Tell all that a request did in a sentence, which unfolds to some of it and leads to the whole."""
    first = group.events[0]
    actions = ", ".join(dict.fromkeys(part.action for part in group.parts))
    rows = Markup(", ").join(escape(named) for named in group.describe_counts(formatter.views))
    items = Markup().join(
        Markup("<li>{} {}{}</li>").format(told.row, told.action, format_changes(told))
        for event in group.events
        for told in [texts[event.id]]
    )
    story = Markup('<details class="bk-fold"><summary>{}{}</summary><ol class="bk-story">{}</ol>{}</details>').format(
        group.describe(formatter.views),
        format_reason(texts[first.id]),
        items,
        formatter.link_act(first, f"All {group.count} changes on one page"),
    )
    return RequestGroupText(actions, rows, story)
