"""The life cycle of a booking, as data: which status may follow which, and what a customer may still change."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from bookit import refusals as no
from bookit.policy.limits import LONG_VISIT, MAX_VISIT_LENGTH, MIN_VISIT_LENGTH
from bookit.policy.permissions import Actor, refusal_out_of_scope
from bookit.policy.times import format_duration, has_started, wall_clock_length
from bookit.schema.tables import Booking, Service, Status

OPEN_STATUSES = frozenset({Status.PENDING, Status.CONFIRMED})

# The statuses that may follow a status. Staff can set any other status; a customer can only cancel.
TRANSITIONS: Mapping[Literal["customer", "staff"], Mapping[Status, frozenset[Status]]] = {
    "customer": {status: frozenset({Status.CANCELLED}) for status in OPEN_STATUSES},
    "staff": {status: frozenset(Status) - {status} for status in Status},
}


def first_status(*, by: Actor, is_hold: bool) -> Status:
    """Return the status of a new booking: what staff agree with a customer at the desk needs no confirmation."""
    return Status.CONFIRMED if by.door == "admin" and not is_hold else Status.PENDING


def require_open(booking: Booking, *, by: Actor, now: datetime) -> None:
    """Raise AlreadyStarted, NoLongerOpen or HoldExpired if a customer changes a booking that is over or not live."""
    if by.is_staff:
        return
    if has_begun(booking, now=now):
        raise no.AlreadyStarted
    if booking.status not in OPEN_STATUSES:
        raise no.NoLongerOpen(status=describe_status(booking.status))
    require_not_expired(booking, now=now)


def require_not_expired(booking: Booking, *, now: datetime) -> None:
    """Raise HoldExpired for an expired hold: its slot may be taken by now."""
    if booking.expires_at and booking.expires_at <= now:
        raise no.HoldExpired


def require_cancel_notice(booking: Booking, service: Service, *, now: datetime) -> None:
    """Raise TooLateToCancel after the cancellation notice of the service. It does not apply to a hold."""
    notice = timedelta(minutes=service.cancel_notice_minutes)
    if notice and not booking.expires_at and now > booking.start_time - notice:
        raise no.TooLateToCancel(notice=format_duration(notice))


def refusal_for_status(booking: Booking, status: Status, *, by: Actor, now: datetime) -> no.Refusal | None:
    """Return the refusal if this actor sets this status, or None if they may.

    A button asks this to know whether it is disabled, and the act to know whether to go on.
    """
    role: Literal["customer", "staff"] = "staff" if by.is_staff else "customer"
    if refusal := refusal_out_of_scope(booking, by=by):
        return refusal
    if has_begun(booking, now=now) and not by.is_staff:
        return no.AlreadyStarted()
    if status in TRANSITIONS[role].get(Status(booking.status), frozenset()):
        return None
    if by.is_staff:
        return no.AlreadySo(status=describe_status(booking.status))
    return no.NoLongerOpen(status=describe_status(booking.status)) if status == Status.CANCELLED else no.OnlyCancel()


def require_length(booking: Booking, start: datetime, end: datetime, *, by: Actor, zone: ZoneInfo) -> None:
    """Raise a refusal if a customer changes the length, or if staff set a length that no visit may have.

    The longest visit ends 60 days later by the clock of the zone.
    """
    length = end - start
    if length == booking.end_time - booking.start_time:
        return
    if not by.is_staff:
        raise no.OnlyStaffLengthen
    if length <= timedelta():
        raise no.EndsBeforeStart
    if length < MIN_VISIT_LENGTH or wall_clock_length(start, end, zone) > MAX_VISIT_LENGTH:
        raise no.LengthOutOfRange


def is_due_to_close(booking: Booking, *, now: datetime) -> bool:
    """Return whether staff may expect to close a booking: its visit has begun or, if that is long, is over."""
    is_long = booking.end_time - booking.start_time > LONG_VISIT
    return has_started(booking.end_time if is_long else booking.start_time, now=now)


def has_begun(booking: Booking, *, now: datetime) -> bool:
    """Return whether the visit of a booking has begun. From then on, only staff change it.

    A cancelled visit never begins.
    """
    return has_started(booking.start_time, now=now) and booking.status != Status.CANCELLED


def format_status(status: str) -> str:
    return status.replace("_", "-")


def describe_status(status: str) -> str:
    """Return a status as it ends a sentence: this booking is "confirmed", or "marked as no-show"."""
    return f"marked as {format_status(status)}" if status == Status.NO_SHOW else format_status(status)
