"""Undoes the last change of a booking, or a whole request over many bookings, from what history has of it.

A change is what one request did to a booking; its events share the request id. A creation is not undone but cancelled,
and a deleted booking cannot be brought back.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import text

from bookit import refusals as no
from bookit.bookings import acts, rearranging
from bookit.bookings.claims import by_position
from bookit.db.session import Reader, Session
from bookit.db.statements import Row
from bookit.policy import lifecycle, permissions
from bookit.policy.permissions import Actor
from bookit.schema.tables import Booking, Status

MAX_BOOKINGS = 500  # of one request
MAX_EVENTS = 20  # of one change
SELECT_LAST_EVENTS = text("""
SELECT id, actor_id, door, action, old, new, reason, request_id FROM events
 WHERE table_name = 'bookings' AND row_id = :booking_id ORDER BY id DESC LIMIT :limit
""")
SELECT_REQUEST_EVENTS = text("""
WITH first AS (SELECT actor_id, door FROM events WHERE request_id = :request_id ORDER BY door = 'clock', id LIMIT 1)
SELECT row_id, max(id) AS event_id FROM events, first
 WHERE request_id = :request_id AND table_name = 'bookings' AND action = 'changed'
   AND (events.actor_id IS NOT DISTINCT FROM first.actor_id AND events.door = first.door OR events.door = 'clock')
 GROUP BY row_id ORDER BY row_id LIMIT :limit
""")
TIME_COLUMNS = {"start_time", "end_time", "blocks_from", "blocks_until"}
# A change of other columns cannot be undone. An accepted hold stays accepted. Events of earlier versions have a seat.
# A price changes with the seats only.
TAKEN_COLUMNS = {"resource_id", "other_resource_ids", "seats"}
UNDOABLE_COLUMNS = TIME_COLUMNS | TAKEN_COLUMNS | {"seat", "status", "expires_at", "deleted_by_customer_at"}


@dataclass(frozen=True)
class LastChange:
    """The last change of a booking, with the old values of what changed; None is "not changed"."""

    booking_id: int
    event_id: int
    start_time: datetime | None
    end_time: datetime | None
    resource_id: int | None
    other_resource_ids: list[int] | None
    seats: int | None
    price: Decimal | None
    status: Status | None
    description: str
    request_id: str | None

    @property
    def is_move(self) -> bool:
        """Whether start, end, resources or seats changed."""
        return bool(self.start_time or self.end_time or self.resource_ids or self.seats)

    @property
    def resource_ids(self) -> list[int]:
        """The resources that changed, as they were before."""
        return [*([self.resource_id] if self.resource_id else []), *(self.other_resource_ids or [])]

    def previous_target(self, row: Booking) -> rearranging.Target:
        """Return where the booking was before the change."""
        others = row.other_resource_ids if self.other_resource_ids is None else self.other_resource_ids
        return rearranging.Target(
            row,
            self.start_time or row.start_time,
            self.end_time or row.end_time,
            by_position(self.resource_id or row.resource_id, others),
            self.seats or row.seats,
            row.price if self.price is None else self.price,
        )


async def last_event(reader: Reader, booking_id: int) -> Row | None:
    """Return the last event of a booking: its ``id``, ``action`` and ``actor_id``."""
    events = await reader.fetch(SELECT_LAST_EVENTS, booking_id=booking_id, limit=1)
    return events[0] if events else None


async def last_change(reader: Reader, booking_id: int) -> LastChange | None:
    """Return the last change of a booking, or None if it cannot be undone."""
    events = await reader.fetch(SELECT_LAST_EVENTS, booking_id=booking_id, limit=MAX_EVENTS)
    if not events or events[0]["action"] != "changed":
        return None
    last = events[0]
    old: dict[str, Any] = {}
    new: dict[str, Any] = {}
    for (
        event
    ) in events:  # The newest first: the oldest event of the change has the old values, the newest the new ones.
        if event is not last and not is_same_change(event, last):
            break
        old |= event["old"] or {}
        new = (event["new"] or {}) | new
    return build_last_change(booking_id, last, old, new)


def is_same_change(event: Row, last: Row) -> bool:
    names = ("request_id", "actor_id", "door", "action")
    return bool(last["request_id"]) and all(event[name] == last[name] for name in names)


def build_last_change(booking_id: int, event: Row, old: Mapping[str, Any], new: Mapping[str, Any]) -> LastChange | None:
    """Return the change with these old and new values, or None if no act can bring the old ones back."""
    can_be_undone = UNDOABLE_COLUMNS | ({"price"} if "seats" in old else set())
    if old.keys() - can_be_undone or not old.keys() & ({"start_time", "end_time", "status"} | TAKEN_COLUMNS):
        return None
    start, end = (datetime.fromisoformat(old[name]) if name in old else None for name in ("start_time", "end_time"))
    return LastChange(
        booking_id,
        event["id"],
        start,
        end,
        old.get("resource_id"),
        old.get("other_resource_ids"),
        old.get("seats"),
        Decimal(str(old["price"])) if "price" in old else None,
        Status(old["status"]) if "status" in old else None,
        describe_change(old, new),
        event["request_id"],
    )


def describe_change(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Return a change in a word or two: "moved", "reassigned", "lengthened", "fewer seats", "cancelled"."""
    if "start_time" in old:
        return "moved"
    if "resource_id" in old or "other_resource_ids" in old:
        return "reassigned"
    if "end_time" in old:
        before, after = (datetime.fromisoformat(values["end_time"]) for values in (old, new))
        return "lengthened" if before < after else "shortened"
    if "seats" in old:
        return "more seats" if old["seats"] < new["seats"] else "fewer seats"
    return lifecycle.describe_status(str(new.get("status", old.get("status"))))


async def undo(
    session: Session, booking_id: int, *, by: Actor, now: datetime, event_id: int, notify_customer: bool = False
) -> Booking:
    """Undo the last change of a booking. ``event_id`` is the event that the user saw.

    Raise ChangedSince if there is a later one, NothingToUndo if the change cannot be undone, and SlotTaken if the old
    slot is no longer free.
    """
    (row,) = await undo_all(session, {booking_id: event_id}, lambda _: notify_customer, by=by, now=now)
    return row


async def undo_request(
    session: Session, request_id: str, *, by: Actor, now: datetime, notify_customers: bool = False
) -> list[Booking]:
    """Undo everything that one request changed in bookings, or nothing. Raise the refusals of ``undo``.

    A request has one actor and one door: those of its first event, besides the clock's, which ends holds. Events of
    others under its id, which a client could once choose, are not its own.

    ``notify_customers`` applies to visits that are still to come.
    """
    events = await session.fetch(SELECT_REQUEST_EVENTS, request_id=request_id, limit=MAX_BOOKINGS + 1)
    if not events:
        raise no.NothingToUndo
    if len(events) > MAX_BOOKINGS:
        raise no.TooManyAtOnce(most=MAX_BOOKINGS)
    event_ids = {event["row_id"]: event["event_id"] for event in events}

    def notifies(row: Booking) -> bool:
        return notify_customers and row.start_time > now

    return await undo_all(session, event_ids, notifies, by=by, now=now)


async def undo_all(
    session: Session, event_ids: Mapping[int, int], notifies: Callable[[Booking], bool], *, by: Actor, now: datetime
) -> list[Booking]:
    """Undo the last change of each booking. ``notifies`` says for which bookings history keeps a notification."""
    permissions.require_permission(by, "change", Booking)
    if not by.is_staff:
        raise no.Forbidden
    rows = {row.id: row for row in await rearranging.lock_bookings(session, event_ids)}
    changes = [
        await require_last_change(session, booking_id, event_id, rows, by=by)
        for booking_id, event_id in event_ids.items()
    ]
    old_resources = [resource_id for change in changes for resource_id in change.resource_ids]
    await rearranging.lock_resources(session, [*rows.values()], *old_resources)
    await session.allow_overlap()  # Where the booking was before, it was right, or someone had said so.
    await session.set_reason(f"Undid: {', '.join(sorted({change.description for change in changes}))}")
    notified_ids = {row.id for row in rows.values() if notifies(row)}
    await restore_status(session, changes, rows, notified_ids, by=by, now=now, is_open=False)
    await restore_times(session, changes, rows, notified_ids)
    await restore_status(session, changes, rows, notified_ids, by=by, now=now, is_open=True)
    return [rows[booking_id] for booking_id in sorted(rows)]


async def require_last_change(
    session: Session, booking_id: int, event_id: int, rows: Mapping[int, Booking], *, by: Actor
) -> LastChange:
    """Return the last change of a booking. Raise a refusal if there is none, or if it has another event id.

    Raise OnlyOwnCalendar if the booking would go back to a resource whose calendar the actor does not see.
    """
    change = await last_change(session, booking_id)
    if booking_id not in rows:
        raise no.Missing(what="booking")
    permissions.require_in_scope(rows[booking_id], by=by)
    if change is None:
        raise no.NothingToUndo
    if change.event_id != event_id:
        raise no.ChangedSince
    for resource_id in change.resource_ids:
        permissions.require_own_resource(resource_id, by=by)
    return change


async def restore_times(
    session: Session,
    changes: Sequence[LastChange],
    rows: dict[int, Booking],
    notified_ids: Collection[int],
) -> None:
    """Move bookings back. Only an overlap is refused: the old place was right by the rules, or by an override."""
    targets: list[rearranging.Target] = []
    for change in changes:
        row = rows[change.booking_id]
        if change.is_move:
            targets.append(change.previous_target(row))
    for part in split_by_notification(targets, notified_ids):
        await session.set_notify_customer(notify=any(target.row.id in notified_ids for target in part))
        rows |= {row.id: row for row in await rearranging.move_all(session, part)}


def split_by_notification(
    targets: Sequence[rearranging.Target], notified_ids: Collection[int]
) -> list[Sequence[rearranging.Target]]:
    """Split moves into notified and silent ones, ordered so that no move overlaps a booking that has not moved yet.

    One statement has one notification setting in history. If each part waits for the other, as in a swap, they stay one
    part, and every customer in it is notified.
    """
    notified = [target for target in targets if target.row.id in notified_ids]
    silent = [target for target in targets if target.row.id not in notified_ids]
    for first, second in ((notified, silent), (silent, notified)):
        if not any(rearranging.overlaps(target, other.row) for target in first for other in second):
            return [part for part in (first, second) if part]
    return [targets]


async def restore_status(
    session: Session,
    changes: Sequence[LastChange],
    rows: dict[int, Booking],
    notified_ids: Collection[int],
    *,
    by: Actor,
    now: datetime,
    is_open: bool,
) -> None:
    """Restore the old status of bookings: if ``is_open``, those that were live before, otherwise all others."""
    for change in changes:
        if change.status and (change.status in lifecycle.OPEN_STATUSES) == is_open:
            await session.set_notify_customer(notify=change.booking_id in notified_ids)
            row = rows[change.booking_id]
            rows[row.id] = await acts.set_status(session, row, change.status, by=by, now=now)
