"""Every refusal of BookIt, on one page.

A refusal is an exception. Its docstring is the sentence for people, and its class name is the code for programs.
``field`` is the column that it is about. The base class is the kind; each door turns a kind into an answer of its own.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from math import ceil
from typing import Any, ClassVar


class Refusal(Exception):
    """BookIt cannot do this."""

    field: ClassVar[str | None] = None
    next_free: Sequence[Mapping[str, Any]] | None = None  # The next free slots, if a time was refused.

    def __init__(self, **details: object) -> None:
        self.details = details
        super().__init__((type(self).__doc__ or "").format(**details))

    @classmethod
    @cache
    def code(cls) -> str:
        """Return the code for programs: ``SlotTaken`` is ``slot-taken``."""
        return re.sub(r"(?<!^)(?=[A-Z])", "-", cls.__name__).lower()


# The kinds.


class Misshapen(Refusal):
    """Some values are missing or not valid."""


class Invalid(Refusal):
    """This is not possible."""


class Unauthenticated(Refusal):
    """Please sign in."""


class Forbidden(Refusal):
    """You do not have permission to do this."""


class Missing(Refusal):
    """There is no such {what}."""


class Conflict(Refusal):
    """This conflicts with existing data."""


class Stale(Refusal):
    """Someone changed this while you were editing."""


class TooMany(Refusal):
    """Too many attempts. Please try again in {wait}."""

    def __init__(self, *, seconds: float) -> None:
        """Take the ``seconds`` until the next attempt."""
        self.retry_after_seconds = ceil(seconds)
        minutes = ceil(seconds / 60)
        super().__init__(wait="a minute" if minutes == 1 else f"{minutes} minutes")


class Busy(Refusal):
    """BookIt is busy. Please try again in a moment."""

    retry_after_seconds: ClassVar[int] = 1


class Interrupted(Busy):
    """Someone else was changing the same thing. Please try again."""


class Disconnected(Busy):
    """The connection to the database was lost. Please try again."""


class UnreadableHost(Invalid):
    """The name of the host in this request cannot be read."""


class UnknownHost(Invalid):
    """BookIt is not served under this name. Its owner can add the name to ALLOWED_HOSTS."""


# Signing in.


class NeedsHttps(Invalid):
    """Open this page over https to sign in. Over http, your browser cannot keep you signed in."""


class WrongPassword(Unauthenticated):
    """The e-mail or the password is wrong."""


class TooManyGuesses(TooMany):
    """Too many wrong sign-ins. Please try again in {wait}."""


class TooManyRequests(TooMany):
    """Too many requests. Please try again in {wait}."""


class SignInEnded(Unauthenticated):
    """Your session has ended. Please sign in again."""


class WrongCurrentPassword(Invalid):
    """The current password is wrong."""

    field = "current_password"


class CurrentPasswordNeeded(Invalid):
    """Enter your current password to change your password or e-mail address."""

    field = "current_password"


class SecondFactorNeeded(Unauthenticated):
    """Enter a code too: that of your authenticator app, or a recovery code."""

    field = "code"


class WrongSecondFactor(Unauthenticated):
    """This code is wrong, or it was used before. Wait for the next one."""

    field = "code"


class SecondFactorNotSetUp(Forbidden):
    """Sign in to the staff panel first, and set up an authenticator app or a passkey there."""


class SecondFactorRequired(Invalid):
    """You need an authenticator app or a passkey here. Add another one before you remove this one."""


class ConfirmationNeeded(Forbidden):
    """Confirm that it is you, and then make the change."""


class AuthenticatorTaken(Conflict):
    """You have an authenticator app already. Remove it before you set up another one."""


class PasskeyTaken(Conflict):
    """This passkey has been added already."""


class PasskeyRefused(Invalid):
    """This passkey did not work. Please try again."""


class PasskeyNameNeeded(Misshapen):
    """Enter a name of 1 to 100 characters."""

    field = "name"


class WrongCode(Invalid):
    """This code is wrong. Enter the one that the app shows now."""

    field = "code"


class RecoveryCodesMiscounted(Invalid):
    """There are at most 10 recovery codes, and their number is stored beside them."""


class PasswordTooShort(Misshapen):
    """Use at least 8 characters."""

    field = "password"


class PasswordTooLong(Misshapen):
    """Use at most 72 bytes. A letter such as ä takes two."""

    field = "password"


class PasswordTooCommon(Misshapen):
    """Many people use this password, so it is guessed first. Choose another one, such as three unrelated words."""

    field = "password"


class PasswordTooSimple(Misshapen):
    """Do not repeat one sign or use signs in a row, such as 12345678. Choose three unrelated words, for example."""

    field = "password"


class PasswordIsYourName(Misshapen):
    """Your name or e-mail address is easy to guess. Choose a password that has nothing to do with you."""

    field = "password"


# People.


class EmailTaken(Conflict):
    """This e-mail address is already registered."""

    field = "email"


class NotAnEmail(Misshapen):
    """Enter an e-mail address such as name@example.com."""

    field = "email"


class EmailNeeded(Misshapen):
    """Enter an e-mail address. Everybody who signs in needs one."""

    field = "email"


class PhoneOrEmailNeeded(Misshapen):
    """Enter a phone number or an e-mail address."""

    field = "phone"


class NotAPhone(Invalid):
    """Enter a phone number that can be called. One of another country begins with + and its code."""

    field = "phone"


class BirthdayOutOfRange(Invalid):
    """Enter a date of birth from 1900 to today."""

    field = "birthday"


class UnknownLanguage(Misshapen):
    """Choose a language: en or de."""

    field = "language"


class NameNeeded(Misshapen):
    """Enter a name of 1 to 100 characters."""

    field = "name"


class UnknownDoor(Misshapen):
    """Choose a door: api or admin."""

    field = "door"


class EndNeedsReason(Invalid):
    """A sign-in that has ended needs one of the known reasons."""

    field = "end_reason"


class UnknownRole(Misshapen):
    """Choose a role: user, own_calendar, staff, manager or admin."""

    field = "role"


class OwnResourceNeeded(Misshapen):
    """Choose the resource whose calendar this person sees."""

    field = "resource_id"


class LastOwner(Conflict):
    """This is the only active owner. Make someone else an owner first."""


class UnknownUser(Missing):
    """There is no such customer."""

    field = "user_id"


class OnlyCustomersDeleted(Invalid):
    """Only customers can be deleted, since history names the staff. Make this account inactive instead."""

    field = "role"


class OnlyCustomersErased(Forbidden):
    """Only a customer can be erased. Change the role of this person first."""


class AlreadyErased(Conflict):
    """This customer has been erased."""


class NotTheirEmail(Invalid):
    """Enter the e-mail address of this customer."""

    field = "email"


class NotTheirPhone(Invalid):
    """Enter the phone number of this customer."""

    field = "phone"


# Services and resources.


class TitleNeeded(Misshapen):
    """Enter a title of 1 to 200 characters."""

    field = "title"


class DescriptionTooLong(Misshapen):
    """Use at most 1000 characters for the description."""

    field = "description"


class PriceBelowZero(Misshapen):
    """The price must be zero or more."""

    field = "price"


class PriceNotWhole(Invalid):
    """Enter a whole price: the currency {currency} has no smaller unit."""

    field = "price"


class DurationNotPositive(Misshapen):
    """The duration must be between 1 minute and 60 days."""

    field = "duration_minutes"


class MinutesOutOfRange(Misshapen):
    """The {title} must be between {low} and {high} {unit}."""

    def __init__(self, *, field: str, title: str, low: int, high: int, unit: str = "minutes") -> None:
        super().__init__(title=title, low=low, high=high, unit=unit)
        self.field = field  # type: ignore[misc]  # six columns share this refusal; the constraint names the column


class UnknownResourceRole(Misshapen):
    """Choose one of with, in and using."""

    field = "role"


class PartyOutOfRange(Misshapen):
    """The number of seats must be between 1 and 100."""

    field = "seats"


class LargestPartyOutOfRange(Misshapen):
    """The number of seats that one booking may take must be between 1 and 100."""

    field = "max_party"


class PauseOutOfRange(Misshapen):
    """A resource must be free within the longest visit of the service."""

    field = "free_from_minutes"


class PauseEndsBeforeStart(Misshapen):
    """The pause must end later than it starts, and the resource must be needed for a part of the visit."""

    field = "free_until_minutes"


class NeedPauseEndsBeforeStart(Misshapen):
    """The pause of a need must end later than it starts, and the need must be for a part of the visit."""

    field = "needs"


class TooManyNeeds(Misshapen):
    """A visit can take at most 5 resources."""

    field = "needs"


class NeedWithoutResource(Misshapen):
    """Choose at least one resource for each need."""

    field = "needs"


class UnknownNeed(Missing):
    """There is no such need."""

    field = "needs"


class NeedTaken(Conflict):
    """The needs of a service must have different positions."""

    field = "needs"


class ResourceNameNeeded(Misshapen):
    """Enter a name of 1 to 200 characters."""

    field = "name"


class CapacityOutOfRange(Misshapen):
    """A resource must have between 1 and 1000 seats."""

    field = "capacity"


class UnknownTimezone(Misshapen):
    """Choose a time zone such as Europe/Berlin."""

    field = "timezone"


class TimezonesDiffer(Invalid):
    """BookIt and its database have different clocks for this time zone. Update the time-zone data of the older one."""

    field = "timezone"


# The business.


class OnlyOneBusiness(Conflict):
    """There is only one business in this database."""


class BusinessIsKept(Invalid):
    """The business cannot be deleted."""


class BusinessNameNeeded(Misshapen):
    """Enter a name of 1 to 200 characters."""

    field = "name"


class AddressTooLong(Misshapen):
    """Use at most 1000 characters for the address."""

    field = "address"


class BusinessPhoneTooLong(Misshapen):
    """Use at most 50 characters for the phone number."""

    field = "phone"


class UnknownCurrency(Misshapen):
    """Choose a currency such as EUR."""

    field = "currency"


class CurrencyNotOffered(Invalid):
    """BookIt writes prices with two decimals, and this currency has {decimals}. Choose another one."""

    field = "currency"


class PricesNotWhole(Invalid):
    """This currency has no smaller unit, so each price must be whole. First change the price of {services}."""

    field = "currency"


class UnknownLocale(Misshapen):
    """Choose a language and a country such as en_GB."""

    field = "locale"


class UnknownService(Missing):
    """There is no such service."""

    field = "service_id"


class UnknownResource(Missing):
    """There is no such resource."""

    field = "resource_id"


class ServiceInactive(Invalid):
    """This service cannot be booked at the moment."""

    field = "service_id"


class ResourceUnsuitable(Invalid):
    """This resource does not offer this service. Choose another one."""

    field = "resource_id"


class NothingToServeIt(Invalid):
    """No resource is available for this service at the moment."""

    field = "service_id"


class AlreadyLinked(Conflict):
    """This resource already offers this service."""

    field = "resource_id"


# Times.


class NoSuchTime(Invalid):
    """{time} does not exist in {zone}: the clocks go forward then."""

    field = "start_time"


class OutsideTheCalendar(Invalid):
    """Choose a date between the years 2000 and 2999."""

    field = "start_time"


class NotWholeMinutes(Invalid):
    """Enter times in whole minutes, without seconds."""

    field = "start_time"


class EndsBeforeStart(Invalid):
    """The end must be after the start."""

    field = "end_time"


class InThePast(Invalid):
    """This time is in the past."""

    field = "start_time"


class RangeReversed(Invalid):
    """The end of the range must be after its start."""

    field = "to_date"


class RangeTooLong(Invalid):
    """Choose at most {days} days."""

    field = "to_date"


class TooManySlots(Invalid):
    """There are more than {most} slots. Choose fewer days."""

    field = "to_date"


class TooSoon(Invalid):
    """Please book at least {notice} in advance."""

    field = "start_time"


class TooFarAhead(Invalid):
    """Please book at most {horizon} in advance."""

    field = "start_time"


class OutsideHours(Invalid):
    """This time is outside opening hours."""

    field = "start_time"


class Closed(Invalid):
    """It is closed at this time."""

    field = "start_time"


class BetweenSlots(Invalid):
    """Start times are every {step} from opening time. Choose one of those."""

    field = "start_time"


class TooLateToCancel(Invalid):
    """You can move or cancel this until {notice} before it starts."""

    field = "start_time"


class SeasonEndsBeforeStart(Misshapen):
    """The season must not end before it starts."""

    field = "valid_until"


class WeekdayOutOfRange(Misshapen):
    """Choose a weekday from 1 (Monday) to 7 (Sunday)."""

    field = "weekday"


class HoursNotInWholeMinutes(Misshapen):
    """Enter opening hours in whole minutes, without seconds."""

    field = "opens"


class MidnightIsZero(Misshapen):
    """Enter midnight as 00:00, not as 24:00."""

    field = "closes"


class ReasonTooLong(Misshapen):
    """Use at most 200 characters for the reason."""

    field = "reason"


# Bookings.


class SlotTaken(Conflict):
    """Booking conflict: time slot is not available"""

    field = "start_time"


class OverlappingBooking(Conflict):
    """{customer} already {has} another visit then: {service} at {when} (booking {booking_id})."""

    field = "start_time"

    def __init__(self, *, customer: str, has: str, service: str, when: str, booking: Mapping[str, Any]) -> None:
        """Take the ``booking`` that the customer has: its id, service_id, start_time and end_time."""
        super().__init__(customer=customer, has=has, service=service, when=when, booking_id=booking["id"])
        self.booking = booking


class AlreadyBooked(OverlappingBooking):
    """{customer} already {has} {service} at {when} (booking {booking_id})."""


class TooManyHolds(Conflict):
    """You hold {most} times already. Book one of them, or cancel one."""


class TooManyBookings(Conflict):
    """You have {most} bookings to come already. Please ask us if you need more."""


class HoldRanOut(Conflict):
    """You have held this time already. Book it, or hold it again after an hour."""

    field = "start_time"


class NotYourBooking(Forbidden):
    """This booking belongs to someone else."""


class OnlyCancel(Forbidden):
    """You can only cancel this booking. Only staff can set another status."""

    field = "status"


class NoLongerOpen(Invalid):
    """This booking is {status}. You can no longer change it."""

    field = "status"


class OnlyOwnCalendar(Forbidden):
    """You can move visits within your own calendar only. Ask the desk to move it to another one."""

    field = "resource_id"


class BusyElsewhere(Conflict):
    """The customer has another visit at this time. Ask the desk."""

    field = "start_time"


class AlreadySo(Conflict):
    """This booking is already {status}."""

    field = "status"


class AlreadyStarted(Invalid):
    """This booking has started. Only staff can change it."""

    field = "start_time"


class UnknownStatus(Misshapen):
    """Choose a status: pending, confirmed, completed, cancelled or no_show."""

    field = "status"


class HoldExpired(Conflict):
    """This hold has expired. Please book again."""

    field = "expires_at"


class OnlyStaffOverride(Forbidden):
    """Only staff can override notice, horizon and opening hours."""

    field = "override_reason"


class OnlyStaffLengthen(Forbidden):
    """Only staff can change the length of a visit."""

    field = "end_time"


class VisitorNameTooLong(Misshapen):
    """Enter a name of 1 to 100 characters, or none if the customer comes."""

    field = "visitor_name"


class LengthOutOfRange(Invalid):
    """A visit must last between 1 minute and 60 days."""

    field = "end_time"


class NotOpen(Invalid):
    """A {status} booking cannot be moved."""

    field = "status"


class AlreadyThere(Conflict):
    """The booking already has this resource."""

    field = "resource_id"


class NobodyElseFree(Conflict):
    """No other suitable resource is free at this time."""

    field = "resource_id"


class SwapNeedsTwo(Invalid):
    """Choose two bookings to swap."""


class NothingChosen(Invalid):
    """Choose at least one booking."""


class TooManyAtOnce(Invalid):
    """At most {most} bookings can be changed at once."""


class ShiftOutOfRange(Misshapen):
    """Move bookings by 1 to {most} minutes, earlier or later."""

    field = "minutes"


class NotAllPossible(Conflict):
    """Nothing was changed: {refused} of {bookings} could not be changed."""

    outcomes: Sequence[Any] = ()  # The outcome of each booking.

    def __init__(self, *, refused: int, chosen: int) -> None:
        """Take how many bookings were ``refused`` and how many were ``chosen``."""
        super().__init__(refused=refused, bookings="1 booking" if chosen == 1 else f"{chosen} bookings")


class StrandsVisits(Conflict):
    """{visits} to come would no longer fit."""

    def __init__(self, *, count: int, visits: Sequence[Mapping[str, Any]], tag: str) -> None:
        """Take how many visits there are, the first of them by start, and the tag that accepts exactly these."""
        super().__init__(visits="1 visit" if count == 1 else f"{count:,} visits")
        self.count, self.visits, self.tag = count, visits, tag


class NothingToUndo(Invalid):
    """There is nothing to undo here."""


class ChangedSince(Conflict):
    """This has changed since, so it cannot be undone."""


class HoldOutlivesPending(Invalid):
    """Only a pending booking can expire."""

    field = "expires_at"


class DeletedNotCancelled(Invalid):
    """A booking that the customer deleted must be cancelled."""

    field = "status"


class SeatOutOfRange(Invalid):
    """The seat must be 1 or more, and the blocked time must include the whole visit."""


class OneRoleEach(Invalid):
    """A resource can have only one role in a visit."""

    field = "resources"


class RoleNotNeeded(Invalid):
    """This service does not need that many resources in this role."""

    field = "resources"


class ResourcesDiffer(Misshapen):
    """Send one of resource_id and resources, or the same first resource in both."""

    field = "resources"


class PartyTooLarge(Invalid):
    """You can book {most} of these at once. Please ask us if you need more."""

    field = "seats"


class TooFewSeats(Invalid):
    """There is room for {most} at most. Choose fewer seats."""

    field = "seats"


class NeedUnfilled(Invalid):
    """Choose a resource for each thing that this service needs."""

    field = "resources"


class ClaimsFollow(Forbidden):
    """Change the booking: what it takes of each resource follows."""


class BlocksTooMuch(Invalid):
    """A booking can block at most 1 day before the visit and 1 day after it."""


class KeyReused(Misshapen):
    """This Idempotency-Key was used for another request. Use a new key."""


class SavedAlready(Conflict):
    """This was saved already. Save again to create another one."""


# Money.


class OwesLess(Conflict):
    """{customer} owes {due}. Take no more than that."""

    field = "amount"

    def __init__(self, *, customer: str, due: str) -> None:
        """Take who owes and how much, as people read it."""
        super().__init__(customer=customer, due=due)


class AmountNotPositive(Misshapen):
    """Enter an amount above zero, such as 12.50."""

    field = "amount"


class UnknownPayment(Missing):
    """There is no such payment."""

    field = "payment_id"


class UnknownRecorder(Missing):
    """There is no such person at the desk."""

    field = "recorded_by_id"


class UnknownPaymentMethod(Misshapen):
    """Choose how it was paid: cash, card or transfer."""

    field = "method"


class UnknownRefundReason(Misshapen):
    """Choose why it is given back: mistake, cancelled or goodwill."""

    field = "reason"


class PaymentMalformed(Invalid):
    """BookIt does not know this kind or this state of a payment."""


class OtherCurrency(Conflict):
    """All payments of a booking are in one currency, that of its price."""

    field = "currency"


class GivesBackTooMuch(Conflict):
    """This is more than what is left of the payment. Give back no more than that."""

    field = "amount"


class PaymentIsDone(Conflict):
    """What was paid or given back cannot be changed. Give the money back and record it again."""


class PaymentsAreKept(Forbidden):
    """Payments cannot be deleted. Give the money back instead."""


# Reviews.


class UnknownBooking(Missing):
    """There is no such booking."""

    field = "booking_id"


class NotYetCompleted(Invalid):
    """Only a completed booking can be reviewed."""

    field = "booking_id"


class AlreadyReviewed(Conflict):
    """This booking already has a review."""

    field = "booking_id"


class NotYourReview(Forbidden):
    """This review belongs to someone else."""


class RatingOutOfRange(Misshapen):
    """Choose a rating from 1 to 5."""

    field = "rating"


class CommentNeeded(Misshapen):
    """Write a comment of 1 to 1000 characters."""

    field = "comment"


# Notes.


class NoteNeeded(Misshapen):
    """Write a note of 1 to 1000 characters."""

    field = "text"


class NoteOnOneThing(Misshapen):
    """A note is about a customer or about a booking."""


class OnlyCustomerNotesPinned(Invalid):
    """Only a note about a customer can be pinned."""

    field = "is_pinned"


# Any table.


class NotVisible(Misshapen):
    """Type the {title} again with visible letters, and without blanks at its ends."""

    def __init__(self, *, field: str, title: str) -> None:
        super().__init__(title=title)
        self.field = field  # type: ignore[misc]  # each text has a constraint with this refusal, which names the column


class StillInUse(Conflict):
    """This is still in use, so it cannot be deleted."""


class Required(Misshapen):
    """Please fill in {name}."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name)
        self.field = name  # type: ignore[misc]  # any column that must not be null


class HistoryIsKept(Forbidden):
    """History cannot be changed or deleted."""
