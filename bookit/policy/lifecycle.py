"""The life of a booking, as data: which status may follow which, and who may change what."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Literal

from bookit import refusals as no
from bookit.policy.limits import LENGTHS
from bookit.policy.permissions import Actor, concerns
from bookit.policy.times import has_begun, spoken_time
from bookit.schema.tables import Booking, Service, Status

# The life of a booking: which status may follow which. Staff put right whatever needs it; a customer only cancels.
OPEN = frozenset({Status.PENDING, Status.CONFIRMED})


LEADS_TO: Mapping[Literal["customer", "staff"], Mapping[Status, frozenset[Status]]] = {
    "customer": {status: frozenset({Status.CANCELLED}) for status in OPEN},
    "staff": {status: frozenset(Status) - {status} for status in Status},
}


def require_open(booking: Booking, *, by: Actor, now: datetime) -> None:
    """Refuse a customer's change of a booking whose life is over."""
    if by.works_here:
        return
    if booking.status not in OPEN:
        raise no.NoLongerOpen(status=spoken_status(booking.status))
    require_live(booking, now=now)


def require_live(booking: Booking, *, now: datetime) -> None:
    """Refuse a hold that has run out: its time may be somebody else's by now."""
    if booking.expires_at and booking.expires_at <= now:
        raise no.HoldExpired


def require_in_time(booking: Booking, service: Service, *, now: datetime) -> None:
    """Refuse a customer who would give back a visit later than the service allows; a hold can always be let go."""
    notice = timedelta(minutes=service.cancel_notice_minutes)
    if notice and not booking.expires_at and now > booking.start_time - notice:
        raise no.TooLateToCancel(notice=spoken_time(notice))


def why_not(booking: Booking, status: Status, *, by: Actor) -> no.Refusal | None:
    """Give the refusal this person would meet who led this booking to a status; none if they may.

    A button asks it to know whether it can be pressed, and the act to know whether it may go on.
    """
    who: Literal["customer", "staff"] = "staff" if by.works_here else "customer"
    if not concerns(booking, by=by):
        return no.NotYourBooking()
    if status in LEADS_TO[who].get(Status(booking.status), frozenset()):
        return None
    if by.works_here:
        return no.AlreadySo(status=told_status(booking.status))
    return no.NoLongerOpen(status=spoken_status(booking.status)) if status == Status.CANCELLED else no.OnlyCancel()


def require_length(booking: Booking, start: datetime, end: datetime, *, by: Actor) -> None:
    """Refuse another length than the booking has to customers, and one that no visit has to everybody."""
    lasts = end - start
    if lasts == booking.end_time - booking.start_time:
        return
    if not by.works_here:
        raise no.OnlyStaffLengthen
    if lasts <= timedelta():
        raise no.EndsBeforeStart
    if not LENGTHS[0] <= lasts <= LENGTHS[1]:
        raise no.LengthOutOfRange


def require_not_started(booking: Booking, *, by: Actor, now: datetime) -> None:
    """Refuse a customer who would delete a visit that has begun."""
    if has_begun(booking.start_time, now=now) and not by.works_here:
        raise no.AlreadyStarted


def spoken_status(status: str) -> str:
    return status.replace("_", "-")


def told_status(status: str) -> str:
    """Give a status as it ends a sentence: this booking is "confirmed", or "marked as no-show"."""
    return f"marked as {spoken_status(status)}" if status == Status.NO_SHOW else spoken_status(status)
