"""The list of events: what happened to any row, in words. All that one request did is one entry."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup, escape
from sqladmin.pagination import Pagination
from sqlalchemy import func, select
from starlette.requests import Request

from admin.framework import list_pages
from admin.framework.export_columns import ExportColumn, ExportSelection, time_columns
from admin.framework.list_pages import ListView, MoreThan
from admin.framework.page_state import page_state
from admin.framework.types import ColumnFormatters, Statement
from admin.history import grouping
from admin.history.actors import DOOR_PHRASES, actor_label
from admin.history.formatter import SHOWN_CHANGES, EventFormatter, EventText
from admin.history.grouping import GroupPart, RequestGroup
from bookit.schema.tables import Event, User, from_row, table_of
from bookit.slices import pause

ColumnFormatter = Callable[[Event, str, Request], str]


@dataclass(frozen=True)
class RequestGroupText:
    """All that one request did, in words."""

    actions: str
    rows: Markup
    details: Markup


@dataclass
class EventTexts:
    """What a page shows of events, by the id of each; an entry for several events by the id of its first."""

    groups: Mapping[int, RequestGroup] = field(default_factory=dict)
    texts: Mapping[int, EventText] = field(default_factory=dict)
    group_texts: Mapping[int, RequestGroupText] = field(default_factory=dict)


def event_texts(request: Request) -> EventTexts:
    """Return what this request's page shows of events."""
    return page_state(request).part(EventTexts)


def make_column_formatter(attribute: str) -> ColumnFormatter:
    """Return a formatter that shows a part of an event's text."""

    def format_column(event: Event, column: str, request: Request) -> str:
        del column
        text: str = getattr(event_texts(request).texts[event.id], attribute)
        return text

    return format_column


def make_group_formatter(attribute: str, fallback: ColumnFormatter) -> ColumnFormatter:
    """Return a formatter that shows a part of a group's text; an event without a group is shown by ``fallback``."""

    def format_column(event: Event, column: str, request: Request) -> str:
        group = event_texts(request).group_texts.get(event.id)
        if group is None:
            return fallback(event, column, request)
        text: str = getattr(group, attribute)
        return text

    return format_column


def format_brief(event: Event, column: str, request: Request) -> Markup:
    """Return what changed and why; of a new or a deleted row only why, since all of it changed."""
    del column
    text = event_texts(request).texts[event.id]
    return Markup("<div>{}{} {}</div>").format(format_changes(text), format_reason(text), text.act_link)


def format_changes(text: EventText) -> Markup:
    return text.changes_html if text.action in SHOWN_CHANGES else Markup()


def format_reason(text: EventText) -> Markup:
    return Markup("<q>{}</q>").format(text.reason) if text.reason else Markup()


def format_request_id(event: Event, column: str, request: Request) -> Markup:
    """Return the id of a request, and a link to what else it changed."""
    del column
    text = event_texts(request).texts[event.id]
    return Markup("<span>{} {}</span>").format(event.request_id or "–", text.act_link)


DETAIL_FORMATTERS: ColumnFormatters = {
    "actor": make_column_formatter("actor"),
    "door": make_column_formatter("door"),
    "row_id": make_column_formatter("row"),
    "changes": make_column_formatter("changes_html"),
    "request_id": format_request_id,
}
LIST_FORMATTERS: ColumnFormatters = {
    **DETAIL_FORMATTERS,
    "action": make_group_formatter("actions", lambda event, *_: event.action),
    "row_id": make_group_formatter("rows", DETAIL_FORMATTERS["row_id"]),
    "changes": make_group_formatter("details", format_brief),
}


class EventListView(ListView):
    """A list of events in words."""

    def __init__(self) -> None:
        super().__init__()
        self._column_labels["changes"] = "Changes"  # which is no column

    async def count_and_page_ids(self, request: Request, *, size: int, offset: int) -> tuple[int, Sequence[int]]:
        """Return how many entries the list has, and the id of the first event of each entry on a page."""
        is_descending = self.get_sorting(request)[0][1]
        statement, _ = await self.filtered_query(request)
        rows = await self.context.fetch_rows(
            grouping.select_groups(statement, is_descending=is_descending, size=size, offset=offset)
        )
        groups = [RequestGroup(first, last, count, act) for *_, first, last, count, act in rows if first]
        first_ids = [group.last if is_descending else group.first for group in groups]
        event_texts(request).groups = {
            first_id: group for first_id, group in zip(first_ids, groups, strict=True) if group.count > 1
        }
        is_complete = rows[0].rows <= list_pages.MAX_COUNTED
        return rows[0].entries if is_complete else MoreThan(rows[0].entries), first_ids

    async def list(self, request: Request) -> Pagination:
        """Return a page of events, and load what they name."""
        page = await super().list(request)
        groups = event_texts(request).groups
        grouped_events = await self.load_group_events(request, groups) if groups else []
        await self.store_event_texts(request, page.rows, grouped_events)
        return page

    async def load_group_events(self, request: Request, groups: Mapping[int, RequestGroup]) -> Sequence[Event]:
        """Load what each group did, and the first of its events."""
        by_first = {group.first: group for group in groups.values()}
        for first, *part in await self.context.fetch_rows(grouping.select_group_parts([*groups.values()])):
            by_first[first].parts.append(GroupPart(*part))
        is_descending = self.get_sorting(request)[0][1]
        statement = grouping.select_listed_events([*groups.values()], is_descending=is_descending)
        events: Sequence[Event] = await self.context.fetch_scalars(statement)
        for event in events:
            group = next(group for group in groups.values() if group.first <= event.id <= group.last)
            group.events.append(event)
        return events

    async def export_query(self, request: Request) -> Statement:
        """Return the statement of the list up to now: the export itself becomes an event before it is read."""
        (last,) = await self.context.fetch_scalars(select(func.coalesce(func.max(self.columns.id), 0)))
        return (await super().export_query(request)).where(self.columns.id <= last)

    def add_export_column(self, selection: ExportSelection, name: str, request: Request | None) -> None:
        """Add a column to the export in the words of the page."""
        events, title = self.columns, self._column_labels.get(name, name)
        if name == "at":
            selection.columns += time_columns("", events.at, self.context.zone)
        elif name == "actor":
            people = selection.join(User, events.actor_id, "actor").c
            expressions = [events.actor_id, people.name, events.actor, events.door]
            selection.columns.append(ExportColumn(title, expressions, actor_label))
        elif name in {"door", "table_name"}:
            nouns = {table: view.name for table, view in self.context.views.items()}
            words = DOOR_PHRASES if name == "door" else nouns
            title = title if name == "door" else "Kind"
            selection.columns.append(ExportColumn(title, [events[name]], lambda word: words.get(word, word)))
        elif name == "changes" and request:
            selection.columns.append(changes_column(title, EventFormatter(request)))
        elif name != "changes":
            selection.add(name)

    async def details_context(self, request: Request) -> dict[str, object]:
        """Load what the event names. An event has no history of its own."""
        await self.store_event_texts(request, [await self.get_object_for_details(request)])
        return {}

    async def store_event_texts(
        self, request: Request, events: Iterable[Event], grouped_events: Iterable[Event] = ()
    ) -> None:
        """Store the text of each event and group for the formatters of the page."""
        page, formatter = event_texts(request), EventFormatter(request)
        first_events = [*events]
        distinct = {event.id: event for event in (*first_events, *grouped_events)}.values()
        single_requests = {event.request_id for event in first_events if event.id not in page.groups}
        complete_acts = {group.request_id for group in page.groups.values()} - single_requests
        texts = await formatter.format_events(distinct, complete_acts=complete_acts)
        page.texts = {event.id: text for event, text in zip(distinct, texts, strict=True)}
        page.group_texts = {
            first_id: format_group(group, formatter, page.texts) for first_id, group in page.groups.items()
        }


def changes_column(title: str, formatter: EventFormatter) -> ExportColumn:
    """Return the column of an export that says what each event changed, with the names of the rows it refers to."""
    events = table_of(Event).c
    names = ("table_name", "row_id", "action", "old", "new")

    def to_event(values: Sequence[Any]) -> Event:
        return from_row(Event, {"actor_id": None, **dict(zip(names, values, strict=True))})

    async def prepare(rows: Sequence[Sequence[Any]]) -> None:
        row_keys: list[tuple[str, int]] = []
        for values in rows:
            await pause()
            row_keys += formatter.rows_of_event(to_event(values))
        formatter.names, _ = await formatter.load_names(row_keys, ())

    return ExportColumn(
        title, [events[name] for name in names], lambda *values: formatter.describe_changes(to_event(values)), prepare
    )


def format_group(group: RequestGroup, formatter: EventFormatter, texts: Mapping[int, EventText]) -> RequestGroupText:
    """Return all that a request did as a sentence, which unfolds to some of it and links to the whole."""
    first = group.events[0]
    actions = ", ".join(dict.fromkeys(part.action for part in group.parts))
    rows = Markup(", ").join(escape(count) for count in group.describe_counts(formatter.views))
    items = Markup().join(
        Markup("<li>{} {}{}</li>").format(text.row, text.action, format_changes(text))
        for text in (texts[event.id] for event in group.events)
    )
    details = Markup(
        '<details class="bk-group-details"><summary>{}{}</summary><ol class="bk-events">{}</ol>{}</details>'
    ).format(
        group.describe(formatter.views),
        format_reason(texts[first.id]),
        items,
        formatter.link_act(first, f"Show all {group.count} changes"),
    )
    return RequestGroupText(actions, rows, details)
