"""The numbers, who may do what, and the life of a booking, as data.

Everything here is pure: it takes values and answers or refuses. Nobody calls the clock.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from sqlmodel import SQLModel

from bookit import refusals as no
from bookit.tables import Booking, CalendarException, OpeningHours, Resource, Review, Role, Service, Status, User

PASSWORD_BYTES = 72  # bcrypt reads no further.
PASSWORD_LEAST = 8
# How often somebody may try to sign in before they must wait, and over which time; a right password starts anew.
TRIES_OF_ACCOUNT = 10
TRIES_OF_ADDRESS = 100
TRIES_PER = timedelta(minutes=5)
KEY_LIVES = timedelta(hours=24)
MOST_DAYS = 62  # of free slots at once
MOST_SLOTS = 10_000
REPORT_DAYS = 30  # unless somebody asks for others
MOST_REPORT_DAYS = 366
LATE_AFTER = timedelta(minutes=15)  # who is confirmed and has not come by then is asked after
MOST_SHOWN = 8  # of each list on the page of today
MOST_COUNTED = 1_000
# As a service does, and no longer: whoever looks for the visits of some time looks no further back than that.
LENGTHS = (timedelta(minutes=1), timedelta(days=1))
CALENDAR = (datetime(2000, 1, 1, tzinfo=UTC), datetime(3000, 1, 1, tzinfo=UTC))

Verb = Literal["see", "create", "change", "remove", "erase"]
Door = Literal["api", "admin", "seed", "worker", "cli"]


@dataclass(frozen=True, slots=True)
class Actor:
    """Who is asking, and through which door. Without a role: a visitor, nobody has signed in."""

    door: Door
    id: int | None = None
    role: Role | None = None

    @property
    def works_here(self) -> bool:
        """Whether this is staff or an admin."""
        return self.role in {Role.STAFF, Role.ADMIN}

    def __str__(self) -> str:
        nobody = "nobody" if self.door == "worker" else "visitor"
        return f"{self.role} {self.id}" if self.role and self.id else self.role or nobody


# Who may do what. The rules of a table narrow this further, down to one's own rows. Seeing is about the staff door.
EVERYTHING: frozenset[Verb] = frozenset({"see", "create", "change", "remove"})
SEEING: frozenset[Verb] = frozenset({"see"})
MAY: Mapping[Role | None, Mapping[type[SQLModel], frozenset[Verb]]] = {
    None: {User: frozenset({"create"})},
    Role.USER: {
        User: frozenset({"create", "change"}),
        Booking: EVERYTHING,
        Review: EVERYTHING,
    },
    Role.STAFF: {
        User: frozenset({"see", "create", "change"}),
        Booking: EVERYTHING,
        Review: frozenset({"see", "create", "change"}),
        OpeningHours: EVERYTHING,
        CalendarException: EVERYTHING,
        Service: SEEING,
        Resource: SEEING,
    },
}


def may(actor: Actor, verb: Verb, table: type[SQLModel]) -> bool:
    """Whether this person may do this to rows of this table at all."""
    return actor.role == Role.ADMIN or verb in MAY.get(actor.role, {}).get(table, frozenset())


def may_see_figures(actor: Actor) -> bool:
    """Whether this person may see what the business earns and how its time is used: whoever works here."""
    return actor.works_here


# The life of a booking: which status may follow which. Staff put right whatever needs it; a customer only cancels.
OPEN = frozenset({Status.PENDING, Status.CONFIRMED})
LEADS_TO: Mapping[Literal["customer", "staff"], Mapping[Status, frozenset[Status]]] = {
    "customer": {status: frozenset({Status.CANCELLED}) for status in OPEN},
    "staff": {status: frozenset(Status) - {status} for status in Status},
}


def require_own(booking: Booking, *, by: Actor) -> None:
    """Refuse whoever neither booked this nor works here."""
    if not concerns(booking, by=by):
        raise no.NotYourBooking


def concerns(booking: Booking, *, by: Actor) -> bool:
    """Whether this person booked this, or works here."""
    return by.works_here or booking.user_id == by.id


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


def require_override(reason: str | None, *, by: Actor) -> None:
    """Refuse a customer who would set the rules aside."""
    if reason and not by.works_here:
        raise no.OnlyStaffOverride


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


def require_future(start: datetime, *, by: Actor, now: datetime) -> None:
    """Refuse a time outside the calendar, and to customers one that is over."""
    if not CALENDAR[0] <= start < CALENDAR[1]:
        raise no.OutsideTheCalendar
    if has_begun(start, now=now) and not by.works_here:
        raise no.InThePast


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


def has_begun(start: datetime, *, now: datetime) -> bool:
    """Whether a visit that starts then lies in the past: nobody can come to its beginning any more."""
    return start <= now


def spoken_status(status: str) -> str:
    return status.replace("_", "-")


def told_status(status: str) -> str:
    """Give a status as it ends a sentence: this booking is "confirmed", or "marked as no-show"."""
    return f"marked as {spoken_status(status)}" if status == Status.NO_SHOW else spoken_status(status)


def spoken_time(length: timedelta) -> str:
    """Say a length of time in the largest unit that fits it: "2 hours", "45 minutes"."""
    minutes = round(length.total_seconds() / 60)
    for unit, size in (("day", 24 * 60), ("hour", 60), ("minute", 1)):
        count, rest = divmod(minutes, size)
        if not rest and (count or size == 1):
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return ""


def require_range(since: datetime, until: datetime) -> None:
    """Refuse to look for free slots backwards, or through more than two months."""
    if until <= since:
        raise no.RangeReversed
    if until - since > timedelta(days=MOST_DAYS, hours=2):  # Two hours more, for clocks that go back in between.
        raise no.RangeTooLong(days=MOST_DAYS)


def require_days(first: date, last: date, zone: ZoneInfo) -> None:
    """Refuse a report of days outside the calendar, backwards, or of more than a year."""
    for day in (first, last):
        midnight(day, zone, days_on=1)
        midnight(day, zone)
    if last < first:
        raise no.RangeReversed
    if (last - first).days >= MOST_REPORT_DAYS:
        raise no.RangeTooLong(days=MOST_REPORT_DAYS)


def days_before(day: date, count: int) -> date:
    """Give the day so many days before another; of days before all calendars, the first there is."""
    return day - timedelta(days=min(count, day.toordinal() - 1))


def instant(moment: datetime, zone: ZoneInfo) -> datetime:
    """Read a time without an offset by the clock on the wall in this zone, and give it in UTC.

    An hour that happens twice is the first one (RFC 5545, 3.3.5). Refuses an hour that the clocks skip,
    and a time outside the calendar.
    """
    try:
        local = moment if moment.tzinfo else moment.replace(tzinfo=zone)
        exact = local.astimezone(UTC)
        if moment.tzinfo is None and exact.astimezone(zone).replace(tzinfo=None) != moment:
            raise no.NoSuchTime(time=moment.strftime("%Y-%m-%d %H:%M"), zone=zone.key)
    except OverflowError:
        raise no.OutsideTheCalendar from None
    if not CALENDAR[0] <= exact < CALENDAR[1]:
        raise no.OutsideTheCalendar
    return exact


def midnight(day: date, zone: ZoneInfo, *, days_on: int = 0) -> datetime:
    """Give the moment this day, or one so many days later, begins in this zone.

    Where midnight is skipped it is the first moment after it. Refuses a day outside the calendar.
    """
    try:
        begins = datetime.combine(day + timedelta(days=days_on), time(), tzinfo=zone).astimezone(UTC)
    except OverflowError:
        raise no.OutsideTheCalendar from None
    if not CALENDAR[0] <= begins <= CALENDAR[1]:
        raise no.OutsideTheCalendar
    return begins
