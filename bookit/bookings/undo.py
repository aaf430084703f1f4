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
from bookit.db.session import Reads, Session
from bookit.db.statements import Row
from bookit.policy import lifecycle, permissions
from bookit.policy.permissions import Actor
from bookit.schema.tables import Booking, Status

MOST_ROWS = 500  # of one act
MOST_EVENTS = 20  # of one act on one booking
LAST = text("""
SELECT id, actor_id, door, action, old, new, reason, request_id FROM events
 WHERE table_name = 'bookings' AND row_id = :number ORDER BY id DESC LIMIT :limit
""")
OF_ACT = text("""
SELECT row_id, max(id) AS event_id FROM events
 WHERE request_id = :request_id AND table_name = 'bookings' AND action = 'changed'
 GROUP BY row_id ORDER BY row_id LIMIT :limit
""")
TIMES = {"start_time", "end_time", "blocks_from", "blocks_until"}
# What can be taken back; a seat is found anew, and a hold that was decided on stays so.
KNOWN = TIMES | {"resource_id", "seat", "status", "expires_at"}


@dataclass(frozen=True)
class Deed:
    """The last act on a booking: what it was before, as far as that changed."""

    booking_id: int
    event_id: int
    start_time: datetime | None
    end_time: datetime | None
    resource_id: int | None
    status: Status | None
    told: str
    request_id: str | None

    @property
    def is_move(self) -> bool:
        """Whether it went to another time or another resource, or ended at another time."""
        return bool(self.start_time or self.end_time or self.resource_id)

    def before(self, row: Booking) -> rearranging.Place:
        """Give from when until when and on which resource the booking was, which is there by now."""
        since, until = self.start_time or row.start_time, self.end_time or row.end_time
        return row, since, until, self.resource_id or row.resource_id


async def last_deed(reads: Reads, number: int) -> Deed | None:
    """Give the last act on a booking, if it can be taken back at all."""
    events = await reads.fetch(LAST, number=number, limit=MOST_EVENTS)
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
    return as_deed(number, last, was, became)


def is_same_act(event: Row, other: Row) -> bool:
    names = ("request_id", "actor_id", "door", "action")
    return all(event[name] == other[name] for name in names)


def as_deed(number: int, last: Row, was: Mapping[str, Any], became: Mapping[str, Any]) -> Deed | None:
    """Read what a booking was; nothing where that cannot be had again through an act."""
    if was.keys() - KNOWN or not was.keys() & {"start_time", "end_time", "resource_id", "status"}:
        return None
    start, end = (datetime.fromisoformat(was[name]) if name in was else None for name in ("start_time", "end_time"))
    return Deed(
        number,
        last["id"],
        start,
        end,
        was.get("resource_id"),
        Status(was["status"]) if "status" in was else None,
        in_words(was, became),
        last["request_id"],
    )


def in_words(was: Mapping[str, Any], became: Mapping[str, Any]) -> str:
    """Say what was done: "moved", "reassigned", "lengthened", "cancelled"."""
    if "start_time" in was:
        return "moved"
    if "resource_id" in was:
        return "reassigned"
    if "end_time" in was:
        before, after = (datetime.fromisoformat(each["end_time"]) for each in (was, became))
        return "lengthened" if before < after else "shortened"
    return lifecycle.told_status(str(became.get("status", was.get("status"))))


async def undo(
    session: Session, number: int, *, by: Actor, now: datetime, event_id: int, tells_customer: bool = False
) -> Booking:
    """Take back the last act on a booking, which is the one of this event, and tell the customer or not, as asked.

    Refuses what has changed since, what cannot be taken back, and a place that is somebody else's by now.
    """
    del now
    (row,) = await take_back(session, {number: event_id}, lambda _: tells_customer, by=by)
    return row


async def undo_act(
    session: Session, request_id: str, *, by: Actor, now: datetime, tells_customers: bool = False
) -> list[Booking]:
    """Take back all that one request did to bookings, or nothing of it. Refuses as ``undo`` does.

    ``tells_customers`` is about visits that are to come, as of any act over many.
    """
    found = await session.fetch(OF_ACT, request_id=request_id, limit=MOST_ROWS + 1)
    if not found:
        raise no.NothingToUndo
    if len(found) > MOST_ROWS:
        raise no.TooManyAtOnce(most=MOST_ROWS)
    events = {row["row_id"]: row["event_id"] for row in found}

    def tells(row: Booking) -> bool:
        return tells_customers and row.start_time > now

    return await take_back(session, events, tells, by=by)


async def take_back(
    session: Session, events: Mapping[int, int], tells: Callable[[Booking], bool], *, by: Actor
) -> list[Booking]:
    """Take back the last act on each of these bookings; ``tells`` says of each whether the customer is to be told."""
    permissions.require_may(by, "change", Booking)
    if not by.works_here:
        raise no.Forbidden
    rows = {row.id: row for row in await rearranging.hold_many(session, events)}
    deeds = [await deed_of(session, number, event_id, rows) for number, event_id in events.items()]
    await rearranging.take_turn(session, [*rows.values()], *(deed.resource_id for deed in deeds if deed.resource_id))
    await session.because(f"Undid: {', '.join(sorted({deed.told for deed in deeds}))}")
    told = {number for number, row in rows.items() if tells(row)}
    await lead_back(session, deeds, rows, told, by=by, is_open=False)
    await move_back(session, deeds, rows, told, by=by)
    await lead_back(session, deeds, rows, told, by=by, is_open=True)
    return [rows[number] for number in sorted(rows)]


async def deed_of(session: Session, number: int, event_id: int, rows: Mapping[int, Booking]) -> Deed:
    """Give the act of this event. Refuses where there is none, or where it is not the last any more."""
    deed = await last_deed(session, number)
    if number not in rows:
        raise no.Missing(what="booking")
    if deed is None:
        raise no.NothingToUndo
    if deed.event_id != event_id:
        raise no.ChangedSince
    return deed


async def move_back(
    session: Session, deeds: Sequence[Deed], rows: dict[int, Booking], told: Collection[int], *, by: Actor
) -> None:
    """Put back what was moved: it sat there by the rules or by somebody's reason, so only what is taken is refused."""
    back: list[rearranging.Place] = []
    for deed in deeds:
        row = rows[deed.booking_id]
        permissions.require_own(row, by=by)
        if deed.is_move:
            back.append(deed.before(row))
    for part in parted(back, told):
        await session.tell_customer(tells=any(row.id in told for row, *_ in part))
        rows |= {row.id: row for row in await rearranging.rearrange(session, part)}


def parted(back: Sequence[rearranging.Place], told: Collection[int]) -> list[Sequence[rearranging.Place]]:
    """Part those who are told from those who are not, in an order in which nobody comes to sit on who still sits there.

    History keeps one answer of all that moves at one stroke. Where each waits for the other, as in a swap, all do.
    """
    heard, unheard = ([place for place in back if (place[0].id in told) is wanted] for wanted in (True, False))
    for first, then in ((heard, unheard), (unheard, heard)):
        if not any(rearranging.would_sit_on(place, other) for place in first for other, *_ in then):
            return [part for part in (first, then) if part]
    return [back]


async def lead_back(
    session: Session,
    deeds: Sequence[Deed],
    rows: dict[int, Booking],
    told: Collection[int],
    *,
    by: Actor,
    is_open: bool,
) -> None:
    """Lead bookings back to the status they had: to those that take a place, or to those that take none."""
    for deed in deeds:
        if deed.status and (deed.status in lifecycle.OPEN) == is_open:
            await session.tell_customer(tells=deed.booking_id in told)
            rows[deed.booking_id] = await acts.become(session, rows[deed.booking_id], deed.status, by=by)
