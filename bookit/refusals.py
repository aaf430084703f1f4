"""Every way BookIt says no, on one page.

The docstring is the sentence people read, the class name is the code programs read, ``field`` is the
column it is about, and the base class is the kind, which each door turns into its own kind of answer.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from math import ceil
from typing import Any, ClassVar


class Refusal(Exception):
    """BookIt cannot do that."""

    field: ClassVar[str | None] = None
    next_free: Sequence[Mapping[str, Any]] | None = None  # The next slots, where a time was refused and there are any.

    def __init__(self, **details: object) -> None:
        self.details = details
        super().__init__((type(self).__doc__ or "").format(**details))

    @classmethod
    @cache
    def code(cls) -> str:
        """The name programs know this refusal by: ``SlotTaken`` is ``slot-taken``."""
        return re.sub(r"(?<!^)(?=[A-Z])", "-", cls.__name__).lower()


# The kinds.


class Misshapen(Refusal):
    """What was sent does not have the right shape."""


class Invalid(Refusal):
    """That is not possible."""


class Unauthenticated(Refusal):
    """Please sign in."""


class Forbidden(Refusal):
    """You may not do that."""


class Missing(Refusal):
    """There is no such {what}."""


class Conflict(Refusal):
    """That clashes with what is already there."""


class Stale(Refusal):
    """Someone changed this while you were editing."""


class TooMany(Refusal):
    """That was too often. Please try again in {wait}."""

    def __init__(self, *, seconds: float) -> None:
        """``seconds`` until the next try."""
        self.retry_after_seconds = ceil(seconds)
        minutes = ceil(seconds / 60)
        super().__init__(wait="a minute" if minutes == 1 else f"{minutes} minutes")


class Busy(Refusal):
    """BookIt is busy. Please try again in a moment."""

    retry_after_seconds: ClassVar[int] = 1


class Interrupted(Busy):
    """Someone else was changing the same thing. Please try again."""


class Disconnected(Busy):
    """BookIt lost its database for a moment. Please try again."""


# Signing in.


class WrongPassword(Unauthenticated):
    """The e-mail or the password is wrong."""


class TooManyGuesses(TooMany):
    """Too many wrong sign-ins. Please try again in {wait}."""


class SignInEnded(Unauthenticated):
    """This sign-in has ended. Please sign in again."""


class WrongCurrentPassword(Invalid):
    """The current password is wrong."""

    field = "current_password"


class CurrentPasswordNeeded(Invalid):
    """A new password needs the current one."""

    field = "current_password"


class PasswordTooShort(Misshapen):
    """A password has 8 characters or more."""

    field = "password"


class PasswordTooLong(Misshapen):
    """A password has at most 72 bytes."""

    field = "password"


# People.


class EmailTaken(Conflict):
    """Someone has already registered with this e-mail."""

    field = "email"


class NotAnEmail(Misshapen):
    """This does not look like an e-mail address."""

    field = "email"


class NameNeeded(Misshapen):
    """A name has 1 to 100 characters."""

    field = "name"


class UnknownRole(Misshapen):
    """A role is user, staff or admin."""

    field = "role"


class UnknownUser(Missing):
    """There is no such customer."""

    field = "user_id"


class OnlyCustomersErased(Forbidden):
    """Only a customer can be erased. Whoever works here is made a customer first."""


class AlreadyErased(Conflict):
    """This customer has been erased."""


class NotTheirEmail(Invalid):
    """This is not the e-mail of this customer."""

    field = "email"


# Services and resources.


class TitleNeeded(Misshapen):
    """A title has 1 to 200 characters."""

    field = "title"


class DescriptionTooLong(Misshapen):
    """A description has at most 1000 characters."""

    field = "description"


class PriceBelowZero(Misshapen):
    """A price is zero or more."""

    field = "price"


class DurationNotPositive(Misshapen):
    """A service lasts between one minute and one day."""

    field = "duration_minutes"


class MinutesOutOfRange(Misshapen):
    """Setup, cleanup, slot step, notice and horizon stay within their limits."""


class ResourceNameNeeded(Misshapen):
    """A resource has a name of 1 to 200 characters."""

    field = "name"


class CapacityOutOfRange(Misshapen):
    """A resource has between 1 and 1000 places."""

    field = "capacity"


class UnknownTimezone(Misshapen):
    """This is not a time zone BookIt knows, such as Europe/Berlin."""

    field = "timezone"


class UnknownService(Missing):
    """There is no such service."""

    field = "service_id"


class UnknownResource(Missing):
    """There is no such resource."""

    field = "resource_id"


class ServiceInactive(Invalid):
    """This service cannot be booked at present."""

    field = "service_id"


class ResourceUnsuitable(Invalid):
    """This resource cannot serve this service."""

    field = "resource_id"


class NothingToServeIt(Invalid):
    """Nobody and nothing can serve this service at present."""

    field = "service_id"


class AlreadyLinked(Conflict):
    """This resource serves this service already."""

    field = "resource_id"


# Times.


class NoSuchTime(Invalid):
    """{time} does not exist in {zone}: the clocks go forward then."""

    field = "start_time"


class OutsideTheCalendar(Invalid):
    """A time lies between the years 2000 and 2999."""

    field = "start_time"


class EndsBeforeStart(Invalid):
    """The end comes after the start."""

    field = "end_time"


class InThePast(Invalid):
    """A booking starts in the future."""

    field = "start_time"


class RangeReversed(Invalid):
    """The end of a range comes after its beginning."""

    field = "to_date"


class RangeTooLong(Invalid):
    """Please ask for at most {days} days at once."""

    field = "to_date"


class TooManySlots(Invalid):
    """These are more than {most} slots. Please ask for fewer days."""

    field = "to_date"


class TooSoon(Invalid):
    """This is booked at least {notice} ahead."""

    field = "start_time"


class TooFarAhead(Invalid):
    """This is booked at most {days} days ahead."""

    field = "start_time"


class OutsideHours(Invalid):
    """This is outside opening hours."""

    field = "start_time"


class Closed(Invalid):
    """It is closed at this time."""

    field = "start_time"


class BetweenSlots(Invalid):
    """Visits start every {step} from opening on; this is in between."""

    field = "start_time"


class TooLateToCancel(Invalid):
    """This can be moved or cancelled until {notice} before it starts."""

    field = "start_time"


class SeasonEndsBeforeStart(Misshapen):
    """A season ends after it starts."""

    field = "valid_until"


class WeekdayOutOfRange(Misshapen):
    """A weekday is 1 (Monday) to 7 (Sunday)."""

    field = "weekday"


class ReasonTooLong(Misshapen):
    """A reason has at most 200 characters."""

    field = "reason"


# Bookings.


class SlotTaken(Conflict):
    """Booking conflict: time slot is not available"""

    field = "start_time"


class NotYourBooking(Forbidden):
    """This booking belongs to someone else."""


class OnlyCancel(Forbidden):
    """A customer can cancel a booking; any other status is for staff."""

    field = "status"


class NoLongerOpen(Invalid):
    """A {status} booking can no longer be changed by its customer."""

    field = "status"


class AlreadySo(Conflict):
    """This booking is {status} already."""

    field = "status"


class AlreadyStarted(Invalid):
    """A booking that has started can only be deleted by staff."""

    field = "start_time"


class UnknownStatus(Misshapen):
    """A status is pending, confirmed, completed, cancelled or no_show."""

    field = "status"


class HoldExpired(Conflict):
    """This hold has run out. Please book again."""

    field = "expires_at"


class OnlyStaffOverride(Forbidden):
    """Only staff may set aside notice, horizon and opening hours."""

    field = "override_reason"


class OnlyStaffLengthen(Forbidden):
    """Only staff give a visit another length."""

    field = "end_time"


class LengthOutOfRange(Invalid):
    """A visit lasts between one minute and one day."""

    field = "end_time"


class NotOpen(Invalid):
    """A {status} booking takes no place, so there is nothing to move."""

    field = "status"


class AlreadyThere(Conflict):
    """This booking is there already."""

    field = "resource_id"


class NobodyElseFree(Conflict):
    """Nobody else who can serve this is free then."""

    field = "resource_id"


class SwapNeedsTwo(Invalid):
    """Choose two bookings to swap."""


class NothingChosen(Invalid):
    """Choose at least one booking."""


class TooManyAtOnce(Invalid):
    """At most {most} bookings are changed at once."""


class ShiftOutOfRange(Misshapen):
    """Bookings are moved by 1 to {most} minutes, earlier or later."""

    field = "minutes"


class NotAllPossible(Conflict):
    """Nothing was changed: {refused} of {chosen} cannot be."""

    outcomes: Sequence[Any] = ()  # What each would have been, or why not.


class NothingToUndo(Invalid):
    """There is nothing to undo here."""


class ChangedSince(Conflict):
    """This has changed since, so it cannot be undone."""


class HoldOutlivesPending(Invalid):
    """Only a pending booking can expire."""

    field = "expires_at"


class SeatOutOfRange(Invalid):
    """Seats are numbered from 1, and a booking blocks its own time."""


class KeyReused(Misshapen):
    """This Idempotency-Key was used for another request."""


# Reviews.


class UnknownBooking(Missing):
    """There is no such booking."""

    field = "booking_id"


class NotYetCompleted(Invalid):
    """Only a completed booking can be reviewed."""

    field = "booking_id"


class AlreadyReviewed(Conflict):
    """This booking has a review already."""

    field = "booking_id"


class NotYourReview(Forbidden):
    """This review belongs to someone else."""


class RatingOutOfRange(Misshapen):
    """A rating is a whole number from 1 to 5."""

    field = "rating"


class CommentNeeded(Misshapen):
    """A comment has 1 to 1000 characters."""

    field = "comment"


# Any table.


class StillInUse(Conflict):
    """Something else still refers to this, so it cannot be deleted."""


class Required(Misshapen):
    """Please fill in {name}."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name)
        self.field = name  # type: ignore[misc]  # the one refusal whose column is known only when it is met


class HistoryIsKept(Forbidden):
    """History cannot be changed or deleted."""
