"""Undoing the last act on a booking, or an act over many as a whole: through the same acts, from what history kept.

An act is what one request did. What was created is not undone but cancelled; what is deleted is gone.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text

from bookit import refusals as no
from bookit.bookings import acts, rearranging
from bookit.db.session import Reader, Session
from bookit.db.statements import Row
from bookit.policy import lifecycle, permissions
from bookit.policy.permissions import Actor
from bookit.schema.tables import Booking, Status

MAX_BOOKINGS = 500  # of one act
MAX_EVENTS = 20  # of one act on one booking
SELECT_LAST_EVENTS = text("""
SELECT id, actor_id, door, action, old, new, reason, request_id FROM events
 WHERE table_name = 'bookings' AND row_id = :number ORDER BY id DESC LIMIT :limit
""")
SELECT_REQUEST_EVENTS = text("""
SELECT row_id, max(id) AS event_id FROM events
 WHERE request_id = :request_id AND table_name = 'bookings' AND action = 'changed'
 GROUP BY row_id ORDER BY row_id LIMIT :limit
""")
TIME_COLUMNS = {"start_time", "end_time", "blocks_from", "blocks_until"}
# What can be taken back; a seat is found anew, and a hold that was decided on stays so.
UNDOABLE_COLUMNS = TIME_COLUMNS | {"resource_id", "seat", "status", "expires_at"}


@dataclass(frozen=True)
class LastChange:
    """The last act on a booking: what it was before, as far as that changed."""

    booking_id: int
    event_id: int
    start_time: datetime | None
    end_time: datetime | None
    resource_id: int | None
    status: Status | None
    description: str
    request_id: str | None

    @property
    def is_move(self) -> bool:
        """Whether it went to another time or another resource, or ended at another time."""
        return bool(self.start_time or self.end_time or self.resource_id)

    def previous_target(self, row: Booking) -> rearranging.Target:
        """Give from when until when and on which resource the booking was, which is there by now."""
        since, until = self.start_time or row.start_time, self.end_time or row.end_time
        return row, since, until, self.resource_id or row.resource_id


async def last_change(reader: Reader, booking_id: int) -> LastChange | None:
    """Give the last act on a booking, if it can be taken back at all."""
    events = await reader.fetch(SELECT_LAST_EVENTS, number=booking_id, limit=MAX_EVENTS)
    if not events or events[0]["action"] != "changed":
        return None
    last = events[0]
    same = [last]
    for event in events[1:]:
        if not last["request_id"] or not is_same_act(event, last):
            break
        same.append(event)
    was: dict[str, Any] = {}
    became: dict[str, Any] = {}
    for event in same:  # Newest first, so that the oldest of the act has the last word on what was.
        was |= event["old"] or {}
        became = (event["new"] or {}) | became
    return build_last_change(booking_id, last, was, became)


def is_same_act(event: Row, other: Row) -> bool:
    names = ("request_id", "actor_id", "door", "action")
    return all(event[name] == other[name] for name in names)


def build_last_change(booking_id: int, event: Row, old: Mapping[str, Any], new: Mapping[str, Any]) -> LastChange | None:
    """Read what a booking was; nothing where that cannot be had again through an act."""
    if old.keys() - UNDOABLE_COLUMNS or not old.keys() & {"start_time", "end_time", "resource_id", "status"}:
        return None
    start, end = (datetime.fromisoformat(old[name]) if name in old else None for name in ("start_time", "end_time"))
    return LastChange(
        booking_id,
        event["id"],
        start,
        end,
        old.get("resource_id"),
        Status(old["status"]) if "status" in old else None,
        describe_change(old, new),
        event["request_id"],
    )


def describe_change(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Say what was done: "moved", "reassigned", "lengthened", "cancelled"."""
    if "start_time" in old:
        return "moved"
    if "resource_id" in old:
        return "reassigned"
    if "end_time" in old:
        before, after = (datetime.fromisoformat(each["end_time"]) for each in (old, new))
        return "lengthened" if before < after else "shortened"
    return lifecycle.describe_status(str(new.get("status", old.get("status"))))


async def undo(
    session: Session, booking_id: int, *, by: Actor, now: datetime, event_id: int, notify_customer: bool = False
) -> Booking:
    """Take back the last act on a booking, which is the one of this event, and tell the customer or not, as asked.

    Refuses what has changed since, what cannot be taken back, and a place that is somebody else's by now.
    """
    del now
    (row,) = await undo_all(session, {booking_id: event_id}, lambda _: notify_customer, by=by)
    return row


async def undo_request(
    session: Session, request_id: str, *, by: Actor, now: datetime, notify_customers: bool = False
) -> list[Booking]:
    """Take back all that one request did to bookings, or nothing of it. Refuses as ``undo`` does.

    ``notify_customers`` is about visits that are to come, as of any act over many.
    """
    found = await session.fetch(SELECT_REQUEST_EVENTS, request_id=request_id, limit=MAX_BOOKINGS + 1)
    if not found:
        raise no.NothingToUndo
    if len(found) > MAX_BOOKINGS:
        raise no.TooManyAtOnce(most=MAX_BOOKINGS)
    events = {row["row_id"]: row["event_id"] for row in found}

    def tells(row: Booking) -> bool:
        return notify_customers and row.start_time > now

    return await undo_all(session, events, tells, by=by)


async def undo_all(
    session: Session, event_ids: Mapping[int, int], notifies: Callable[[Booking], bool], *, by: Actor
) -> list[Booking]:
    """Take back the last act on each of these bookings; ``tells`` says of each whether the customer is to be told."""
    permissions.require_permission(by, "change", Booking)
    if not by.is_staff:
        raise no.Forbidden
    rows = {row.id: row for row in await rearranging.lock_bookings(session, event_ids)}
    deeds = [await require_last_change(session, number, event_id, rows) for number, event_id in event_ids.items()]
    await rearranging.lock_resources(
        session, [*rows.values()], *(deed.resource_id for deed in deeds if deed.resource_id)
    )
    await session.set_reason(f"Undid: {', '.join(sorted({deed.description for deed in deeds}))}")
    told = {number for number, row in rows.items() if notifies(row)}
    await restore_status(session, deeds, rows, told, by=by, is_open=False)
    await restore_times(session, deeds, rows, told, by=by)
    await restore_status(session, deeds, rows, told, by=by, is_open=True)
    return [rows[number] for number in sorted(rows)]


async def require_last_change(
    session: Session, booking_id: int, event_id: int, rows: Mapping[int, Booking]
) -> LastChange:
    """Give the act of this event. Refuses where there is none, or where it is not the last any more."""
    deed = await last_change(session, booking_id)
    if booking_id not in rows:
        raise no.Missing(what="booking")
    if deed is None:
        raise no.NothingToUndo
    if deed.event_id != event_id:
        raise no.ChangedSince
    return deed


async def restore_times(
    session: Session,
    changes: Sequence[LastChange],
    rows: dict[int, Booking],
    notified_ids: Collection[int],
    *,
    by: Actor,
) -> None:
    """Put back what was moved: it sat there by the rules or by somebody's reason, so only what is taken is refused."""
    back: list[rearranging.Target] = []
    for deed in changes:
        row = rows[deed.booking_id]
        permissions.require_own_or_staff(row, by=by)
        if deed.is_move:
            back.append(deed.previous_target(row))
    for part in split_by_notification(back, notified_ids):
        await session.set_notify_customer(notify=any(row.id in notified_ids for row, *_ in part))
        rows |= {row.id: row for row in await rearranging.move_all(session, part)}


def split_by_notification(
    targets: Sequence[rearranging.Target], notified_ids: Collection[int]
) -> list[Sequence[rearranging.Target]]:
    """Part those who are told from those who are not, in an order in which nobody comes to sit on who still sits there.

    History keeps one answer of all that moves at one stroke. Where each waits for the other, as in a swap, all do.
    """
    heard, unheard = (
        [place for place in targets if (place[0].id in notified_ids) is wanted] for wanted in (True, False)
    )
    for first, then in ((heard, unheard), (unheard, heard)):
        if not any(rearranging.overlaps(place, other) for place in first for other, *_ in then):
            return [part for part in (first, then) if part]
    return [targets]


async def restore_status(
    session: Session,
    changes: Sequence[LastChange],
    rows: dict[int, Booking],
    notified_ids: Collection[int],
    *,
    by: Actor,
    is_open: bool,
) -> None:
    """Lead bookings back to the status they had: to those that take a place, or to those that take none."""
    for deed in changes:
        if deed.status and (deed.status in lifecycle.OPEN_STATUSES) == is_open:
            await session.set_notify_customer(notify=deed.booking_id in notified_ids)
            rows[deed.booking_id] = await acts.set_status(session, rows[deed.booking_id], deed.status, by=by)
