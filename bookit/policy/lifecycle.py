"""The life of a booking, as data: which status may follow which, and who may change what."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Literal

from bookit import refusals as no
from bookit.policy.limits import VISIT_LENGTH_RANGE
from bookit.policy.permissions import Actor, is_own_or_staff
from bookit.policy.times import format_duration, has_started
from bookit.schema.tables import Booking, Service, Status

# The life of a booking: which status may follow which. Staff put right whatever needs it; a customer only cancels.
OPEN_STATUSES = frozenset({Status.PENDING, Status.CONFIRMED})


TRANSITIONS: Mapping[Literal["customer", "staff"], Mapping[Status, frozenset[Status]]] = {
    "customer": {status: frozenset({Status.CANCELLED}) for status in OPEN_STATUSES},
    "staff": {status: frozenset(Status) - {status} for status in Status},
}


def require_open(booking: Booking, *, by: Actor, now: datetime) -> None:
    """Refuse a customer's change of a booking whose life is over."""
    if by.is_staff:
        return
    if booking.status not in OPEN_STATUSES:
        raise no.NoLongerOpen(status=describe_status(booking.status))
    require_not_expired(booking, now=now)


def require_not_expired(booking: Booking, *, now: datetime) -> None:
    """Refuse a hold that has run out: its time may be somebody else's by now."""
    if booking.expires_at and booking.expires_at <= now:
        raise no.HoldExpired


def require_cancel_notice(booking: Booking, service: Service, *, now: datetime) -> None:
    """Refuse a customer who would give back a visit later than the service allows; a hold can always be let go."""
    notice = timedelta(minutes=service.cancel_notice_minutes)
    if notice and not booking.expires_at and now > booking.start_time - notice:
        raise no.TooLateToCancel(notice=format_duration(notice))


def refusal_for_status(booking: Booking, status: Status, *, by: Actor) -> no.Refusal | None:
    """Give the refusal this person would meet who led this booking to a status; none if they may.

    A button asks it to know whether it can be pressed, and the act to know whether it may go on.
    """
    who: Literal["customer", "staff"] = "staff" if by.is_staff else "customer"
    if not is_own_or_staff(booking, by=by):
        return no.NotYourBooking()
    if status in TRANSITIONS[who].get(Status(booking.status), frozenset()):
        return None
    if by.is_staff:
        return no.AlreadySo(status=describe_status(booking.status))
    return no.NoLongerOpen(status=describe_status(booking.status)) if status == Status.CANCELLED else no.OnlyCancel()


def require_length(booking: Booking, start: datetime, end: datetime, *, by: Actor) -> None:
    """Refuse another length than the booking has to customers, and one that no visit has to everybody."""
    lasts = end - start
    if lasts == booking.end_time - booking.start_time:
        return
    if not by.is_staff:
        raise no.OnlyStaffLengthen
    if lasts <= timedelta():
        raise no.EndsBeforeStart
    if not VISIT_LENGTH_RANGE[0] <= lasts <= VISIT_LENGTH_RANGE[1]:
        raise no.LengthOutOfRange


def require_not_started(booking: Booking, *, by: Actor, now: datetime) -> None:
    """Refuse a customer who would delete a visit that has begun."""
    if has_started(booking.start_time, now=now) and not by.is_staff:
        raise no.AlreadyStarted


def format_status(status: str) -> str:
    return status.replace("_", "-")


def describe_status(status: str) -> str:
    """Give a status as it ends a sentence: this booking is "confirmed", or "marked as no-show"."""
    return f"marked as {format_status(status)}" if status == Status.NO_SHOW else format_status(status)
