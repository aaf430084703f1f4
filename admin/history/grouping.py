"""The groups of the history list: all events of one request are one entry, however many rows it changed.

An entry sums up all of its events, but lists only some of them: the page of the act has the rest.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqladmin import ModelView
from sqlalchemy import BigInteger, ColumnElement, FromClause, String, TableValuedAlias, func, literal, or_, select, true
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import aliased

from admin.framework import list_pages
from admin.framework.types import Statement
from bookit.policy import lifecycle, times
from bookit.schema.tables import Booking, Event, Refund, Status, table_of

MAX_LISTED_EVENTS = 10  # of one entry
BOOKINGS_TABLE, REFUNDS_TABLE = table_of(Booking).name, table_of(Refund).name
EVENTS = table_of(Event).c
GROUP_KEY = (EVENTS.request_id, EVENTS.actor_id, EVENTS.door)


@dataclass(frozen=True)
class GroupPart:
    """What one request did to the rows of one table, with their old and new start times where these changed."""

    table: str
    action: str
    count: int
    old_starts: Sequence[str | None]
    new_starts: Sequence[str | None]
    statuses: Sequence[str | None]
    is_reassigned: bool

    @property
    def shift(self) -> timedelta | None:
        """How far the bookings moved, if all moved equally far."""
        try:
            pairs = [(datetime.fromisoformat(a or ""), datetime.fromisoformat(b or "")) for a, b in self.start_pairs]
            shifts = {after - before for before, after in pairs}
        except (TypeError, ValueError):  # Some did not move, or SQL wrote what is no time.
            return None
        return shifts.pop() if len(shifts) == 1 else None

    @property
    def start_pairs(self) -> Sequence[tuple[str | None, str | None]]:
        """The old and the new start time of each booking."""
        return [*zip(self.old_starts, self.new_starts, strict=True)]

    def describe(self, noun: str) -> str:
        """Return what was done, as in "moved 12 bookings"; the noun says to what."""
        if self.table != BOOKINGS_TABLE or self.action != "changed":
            return f"{self.action} {noun}"
        if any(self.new_starts):
            return f"moved {noun}{format_shift(self.shift)}"
        if self.is_reassigned:
            return f"moved {noun} to another resource"
        status = self.statuses[0] if len(self.statuses) == 1 else None
        if status == Status.PENDING:
            return f"reopened {noun}"
        verb, _, rest = lifecycle.describe_status(status or "changed").partition(" ")
        return f"{verb} {noun} {rest}".strip()


def format_shift(shift: timedelta | None) -> str:
    """Return how far bookings moved, or nothing if that is not known."""
    if not shift:
        return ""
    return f" {times.format_duration(abs(shift))} {'later' if shift > timedelta() else 'earlier'}"


@dataclass
class RequestGroup:
    """The events of one request that follow one another in the list: the span of their ids, and what they did."""

    first: int
    last: int
    count: int
    request_id: str
    parts: list[GroupPart] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def describe_counts(self, views: Mapping[str, ModelView]) -> list[str]:
        """Return what was changed, as in "12 bookings"."""
        return [f"{part.count} {row_noun(views, part)}" for part in self.parts]

    def describe(self, views: Mapping[str, ModelView]) -> str:
        """Return what was done as a sentence, as in "Moved 12 bookings 30 minutes later"."""
        counts = self.describe_counts(views)
        text = "; ".join(part.describe(count) for part, count in zip(self.parts, counts, strict=True))
        return text[:1].upper() + text[1:]


def row_noun(views: Mapping[str, ModelView], part: GroupPart) -> str:
    """Return what one row of a table is called, or several."""
    view = views.get(part.table)
    if view is None:
        noun = part.table.replace("_", " ")
        return noun.removesuffix("s") if part.count == 1 and part.table == REFUNDS_TABLE else noun
    return (view.name if part.count == 1 else view.name_plural).lower()


def select_groups(statement: Statement, *, is_descending: bool, size: int, offset: int) -> Statement:
    """Read how many entries there are over how many events, counted up to a limit, and the entries of a page.

    A page beyond the last entry is one row without an entry.
    """

    def order(column: ColumnElement[int]) -> ColumnElement[int]:
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


def select_spans(groups: Sequence[RequestGroup]) -> TableValuedAlias:
    """Return the spans of these groups, as rows to join."""
    ends = (literal([getattr(group, end) for group in groups], ARRAY(BigInteger)) for end in ("first", "last"))
    return func.unnest(*ends).table_valued("first", "last").render_derived("span")


def select_events_within(span: TableValuedAlias, *, is_descending: bool, limit: int) -> FromClause:
    """Return the events of each span up to a limit, in order: otherwise the planner would read the table for each."""
    by = EVENTS.id.desc() if is_descending else EVENTS.id.asc()
    rows = select(table_of(Event)).where(EVENTS.id.between(span.c.first, span.c.last)).order_by(by).limit(limit)
    return rows.correlate(span).lateral("within")


def select_group_parts(groups: Sequence[RequestGroup]) -> Statement:
    """Read what these groups did, table by table."""
    span = select_spans(groups)
    rows = select_events_within(span, is_descending=False, limit=max(group.count for group in groups))
    old, new, kind = rows.c.old, rows.c.new, (span.c.first, rows.c.table_name, rows.c.action)
    starts = (func.array_agg(values["start_time"].astext, type_=ARRAY(String)) for values in (old, new))
    statuses = func.array_agg(new["status"].astext.distinct(), type_=ARRAY(String))
    is_of_resources = new.has_any(literal(["resource_id", "other_resource_ids"], ARRAY(String)))
    is_reassigned = func.coalesce(func.bool_or(is_of_resources), False)
    parts = select(*kind, func.count(rows.c.row_id.distinct()), *starts, statuses, is_reassigned)
    return parts.select_from(span.join(rows, true())).group_by(*kind).order_by(span.c.first, func.min(rows.c.id))


def select_listed_events(groups: Sequence[RequestGroup], *, is_descending: bool) -> Statement:
    """Read some events of each of these groups, in the order of the list."""
    span = select_spans(groups)
    rows = select_events_within(span, is_descending=is_descending, limit=MAX_LISTED_EVENTS)
    event = aliased(Event, rows)
    return (
        select(event)
        .select_from(span.join(rows, true()))
        .order_by(rows.c.id.desc() if is_descending else rows.c.id.asc())
    )
