"""The history list, in which what one request did is one entry, however many rows it changed.

An entry is told from all of its rows, but only some of them are listed in it: the page of the act has the rest.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, Select, String, func, literal, or_, select, true
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import aliased

from admin.framework import list_pages
from bookit.policy import lifecycle, times
from bookit.schema.tables import Booking, Event, Status, table_of

MAX_LISTED_EVENTS = 10  # rows of one entry
BOOKINGS_TABLE = table_of(Booking).name
EVENTS = table_of(Event).c
GROUP_KEY = (EVENTS.request_id, EVENTS.actor_id, EVENTS.door)


@dataclass(frozen=True)
class GroupPart:
    """What one request did to the rows of one table. ``was`` and ``became`` are starts, where these changed."""

    table: str
    action: str
    count: int
    old_starts: Sequence[str | None]
    new_starts: Sequence[str | None]
    statuses: Sequence[str | None]
    is_reassigned: bool

    @property
    def shift(self) -> timedelta | None:
        """How far all of them moved, if all moved as far."""
        try:
            pairs = [(datetime.fromisoformat(a or ""), datetime.fromisoformat(b or "")) for a, b in self.start_pairs]
            shifts = {after - before for before, after in pairs}
        except (TypeError, ValueError):  # Some did not move, or a console wrote what is no time.
            return None
        return shifts.pop() if len(shifts) == 1 else None

    @property
    def start_pairs(self) -> Sequence[tuple[str | None, str | None]]:
        """Each start as it was and as it became."""
        return [*zip(self.old_starts, self.new_starts, strict=True)]

    def describe(self, noun: str) -> str:
        """Say what was done to these things."""
        if self.table != BOOKINGS_TABLE or self.action != "changed":
            return f"{self.action} {noun}"
        if any(self.new_starts):
            return f"moved {noun}{format_shift(self.shift)}"
        if self.is_reassigned:
            return f"gave {noun} to somebody else"
        status = self.statuses[0] if len(self.statuses) == 1 else None
        if status == Status.PENDING:
            return f"reopened {noun}"
        verb, _, rest = lifecycle.describe_status(status or "changed").partition(" ")
        return f"{verb} {noun} {rest}".strip()


def format_shift(shift: timedelta | None) -> str:
    """Say how far things moved, if that is known."""
    if not shift:
        return ""
    return f" by {times.format_duration(abs(shift))}, {'later' if shift > timedelta() else 'earlier'}"


@dataclass
class RequestGroup:
    """Rows of one request that follow one another in the list: the span of their numbers, and what became of them."""

    first: int
    last: int
    count: int
    request_id: str
    parts: list[GroupPart] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def describe_counts(self, views: Mapping[str, Any]) -> list[str]:
        """Name what was changed: "12 bookings"."""
        return [f"{part.count} {row_noun(views, part)}" for part in self.parts]

    def describe(self, views: Mapping[str, Any]) -> str:
        """Say in a sentence what was done: "Moved 12 bookings by 30 minutes, later"."""
        parts = [part.describe(named) for part, named in zip(self.parts, self.describe_counts(views), strict=True)]
        said = "; ".join(parts)
        return said[:1].upper() + said[1:]


def row_noun(views: Mapping[str, Any], part: GroupPart) -> str:
    """Name one row of a table, or several."""
    page = views.get(part.table)
    if page is None:
        return part.table.replace("_", " ")
    return str(page.name if part.count == 1 else page.name_plural).lower()


def select_groups(statement: Select[Any], *, is_descending: bool, size: int, offset: int) -> Select[Any]:
    """Give how many entries there are, over how many rows, as far as a bound is walked, and those of a page.

    A page that is beyond them is one row without an entry.
    """

    def order(column: Any) -> Any:
        return column.desc() if is_descending else column.asc()

    others = (column.is_distinct_from(func.lag(column).over(order_by=order(EVENTS.id))) for column in GROUP_KEY)
    begins = or_(EVENTS.request_id.is_(None), *others).label("begins")
    columns = (EVENTS.id, EVENTS.request_id, begins)
    walked = statement.with_only_columns(*columns).limit(list_pages.MAX_COUNTED + 1).cte("walked").c
    at = func.count().filter(walked.begins).over(order_by=order(walked.id)).label("at")
    numbered = select(walked.id, walked.request_id, at).cte("numbered")
    rows = numbered.c
    total = select(func.coalesce(func.max(rows.at), 0).label("entries"), func.count().label("rows")).subquery()
    numbers = (func.min(rows.id).label("first"), func.max(rows.id).label("last"), func.count().label("count"))
    one = select(rows.at, *numbers, func.min(rows.request_id).label("request_id")).group_by(rows.at)
    page = one.order_by(rows.at).limit(size).offset(offset).subquery()
    return select(total, page).select_from(total.outerjoin(page, true())).order_by(page.c.at)


def select_spans(groups: Sequence[RequestGroup]) -> Any:
    """Give the spans of these entries, as rows to join."""
    ends = (literal([getattr(fold, end) for fold in groups], ARRAY(BigInteger)) for end in ("first", "last"))
    return func.unnest(*ends).table_valued("first", "last").render_derived("span")


def select_events_within(span: Any, *, is_descending: bool, limit: int) -> Any:
    """Give the rows of each span, as far as a bound: in order, or else the planner would read the table for each."""
    by = EVENTS.id.desc() if is_descending else EVENTS.id.asc()
    rows = select(table_of(Event)).where(EVENTS.id.between(span.c.first, span.c.last)).order_by(by).limit(limit)
    return rows.correlate(span).lateral("within")


def select_group_parts(groups: Sequence[RequestGroup]) -> Select[Any]:
    """Give what these entries did, table by table."""
    span = select_spans(groups)
    rows = select_events_within(span, is_descending=False, limit=max(fold.count for fold in groups))
    old, new, kind = rows.c.old, rows.c.new, (span.c.first, rows.c.table_name, rows.c.action)
    starts = (func.array_agg(values["start_time"].astext, type_=ARRAY(String)) for values in (old, new))
    statuses = func.array_agg(new["status"].astext.distinct(), type_=ARRAY(String))
    is_elsewhere = func.coalesce(func.bool_or(new.has_key("resource_id")), False)
    told = select(*kind, func.count(rows.c.row_id.distinct()), *starts, statuses, is_elsewhere)
    return told.select_from(span.join(rows, true())).group_by(*kind).order_by(span.c.first, func.min(rows.c.id))


def select_listed_events(groups: Sequence[RequestGroup], *, is_descending: bool) -> Select[Any]:
    """Give some rows of each of these entries, in the order of the list."""
    span = select_spans(groups)
    rows = select_events_within(span, is_descending=is_descending, limit=MAX_LISTED_EVENTS)
    event = aliased(Event, rows)
    return (
        select(event)
        .select_from(span.join(rows, true()))
        .order_by(rows.c.id.desc() if is_descending else rows.c.id.asc())
    )
