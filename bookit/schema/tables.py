"""The tables, and beside each constraint the refusal that it raises.

A constraint holds for every writer: a door, the seed, a SQL console. Its name states a fact. Labels and help texts come
from ``title`` and ``description``. Both doors check the bounds of a field; the constraint repeats them for writers that
use no door. The SQL functions and triggers are created by ``ddl.py``.
"""

from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import Decimal
from enum import StrEnum
from typing import Any, Optional, TypeVar, cast
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Computed,
    Constraint,
    ForeignKeyConstraint,
    Index,
    SmallInteger,
    String,
    Table,
    UniqueConstraint,
    inspect,
    literal_column,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, ExcludeConstraint
from sqlalchemy.orm import configure_mappers
from sqlmodel import Field, Relationship, SQLModel

import bookit.schema.ddl  # noqa: F401 -- adds functions and triggers to what create_all() makes
from bookit import refusals as no
from bookit.schema.fields import (
    CURRENCY_PATTERN,
    DEFAULT_BUSINESS_NAME,
    DEFAULT_CURRENCY,
    DEFAULT_LOCALE,
    EMAIL_PATTERN_SQL,
    LOCALE_PATTERN,
    MAX_HORIZON_DAYS,
    MAX_VISIT_DAYS,
    MINUTES_PER_DAY,
    MINUTES_PER_LONGEST_VISIT,
    MINUTES_PER_YEAR,
    PHONE_PATTERN,
    Email,
    OptionalParagraphs,
    OptionalText,
    RequiredParagraphs,
    RequiredText,
    check,
    default_text,
    foreign_id,
    foreign_key,
    in_enum,
    in_whole_minutes,
    minor_units,
    minutes,
    money,
    nullable,
    once_key,
    optional_text,
    primary_key,
    refuses_with,
    required_text,
    secret,
    timestamp,
    version_counter,
    with_server_default,
)

TableRow = TypeVar("TableRow", bound=SQLModel)
CODE_HASHES: Any = ARRAY(String)  # SQLModel's stub wants a class
IDS: Any = ARRAY(BigInteger)
BUSINESS_ID = 1  # of the only row of its table
MAX_ROLES = 5  # of one visit
MAX_PARTY = 100  # seats that one booking takes on a resource
CARRIED_COLUMNS = ("is_blocking", "start_time", "blocks_from", "blocks_until")  # from a booking to its claims
CLAIM_SINCE = (
    "CASE WHEN part = 2 THEN least(minutes_after(start_time, free_until_minutes), blocks_until) ELSE blocks_from END"
)
CLAIM_UNTIL = (
    "CASE WHEN part = 1 THEN least(coalesce(minutes_after(start_time, free_from_minutes), blocks_until), blocks_until)"
    " ELSE blocks_until END"
)


def pause_start() -> Any:
    """Return a field for the beginning of a resource's pause, in minutes after the start of the visit."""
    return Field(
        default=None,
        ge=0,
        le=MINUTES_PER_LONGEST_VISIT,
        title="Pause from minute",
        description="Minutes after the start of the visit from which the resource may serve somebody else. Leave empty"
        " for no pause.",
    )


def pause_end() -> Any:
    """Return a field for the end of a resource's pause, in minutes after the start of the visit."""
    return Field(
        default=None,
        ge=1,
        le=MINUTES_PER_LONGEST_VISIT,
        title="Pause until minute",
        description="Minutes after the start of the visit at which it is needed again. Leave empty if it is not.",
    )


def many_to_many(order_by: str) -> Any:
    """Return the rows at the other end of ``service_resources``, for reading; ``catalogue`` writes the links."""
    return Relationship(
        sa_relationship_kwargs={"secondary": "service_resources", "viewonly": True, "order_by": order_by}
    )


def search_index(name: str, searched: str) -> Index:
    """Return an index of the parts of words in the key of a text, as ``bookit.db.search`` looks for them.

    The text is written as PostgreSQL prints it, so that Alembic sees no difference.
    """
    key: Any = literal_column(f"search_key({searched})").label("key")
    return Index(name, key, postgresql_using="gin", postgresql_ops={"key": "gin_trgm_ops"})


class Role(StrEnum):
    """What a user is to the business."""

    USER = "user"
    OWN_CALENDAR = "own_calendar"
    STAFF = "staff"
    MANAGER = "manager"
    ADMIN = "admin"


class Language(StrEnum):
    """A language that BookIt speaks to people, as BCP 47 names it."""

    ENGLISH = "en"
    GERMAN = "de"


class Status(StrEnum):
    """The state of a booking."""

    PENDING = "pending"
    CONFIRMED = "confirmed"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    NO_SHOW = "no_show"


class ResourceRole(StrEnum):
    """What a resource is to a visit: with Sofia, in Room 2, using the van."""

    WITH = "with"
    IN = "in"
    USING = "using"


class PaymentMethod(StrEnum):
    """How a payment at the desk is made. What is given back goes the same way."""

    CASH = "cash"
    CARD = "card"
    TRANSFER = "transfer"


class PaymentProvider(StrEnum):
    """What takes a payment. So far only the desk does."""

    DESK = "desk"


class PaymentPurpose(StrEnum):
    """What a payment is for: the price of the visit."""

    VISIT = "visit"


class PaymentState(StrEnum):
    """How far a payment is. What the desk takes has succeeded at once."""

    CREATED = "created"
    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class RefundState(StrEnum):
    """How far a refund is. What the desk gives back has succeeded at once."""

    CREATED = "created"
    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class RefundReason(StrEnum):
    """Why money is given back."""

    MISTAKE = "mistake"
    CANCELLED = "cancelled"
    GOODWILL = "goodwill"


class EndReason(StrEnum):
    """Why a sign-in has ended."""

    SIGNED_OUT = "signed_out"
    ENDED_ELSEWHERE = "ended_elsewhere"
    ENDED_BY_ADMIN = "ended_by_admin"
    TOKEN_REUSED = "token_reused"  # noqa: S105 -- no token
    PASSWORD_CHANGED = "password_changed"  # noqa: S105 -- no password
    ROLE_CHANGED = "role_changed"
    DEACTIVATED = "deactivated"
    EXPIRED = "expired"


class User(SQLModel, table=True):
    """A customer, or an employee. Only a person with a password can sign in, and customers need none."""

    __tablename__ = "users"
    __table_args__ = (
        check("user_name_has_1_to_100_characters", "char_length(name) BETWEEN 1 AND 100", no.NameNeeded),
        check("user_name_is_visible", "name = '' OR is_line(name)", no.NotVisible, field="name", title="name"),
        check(
            "user_email_looks_like_one", f"char_length(email) <= 255 AND email ~ '{EMAIL_PATTERN_SQL}'", no.NotAnEmail
        ),
        # PostgreSQL checks in the order of the names: who must have an e-mail address is not asked for a phone number.
        check(
            "user_account_has_an_email",
            "email IS NOT NULL OR (role = 'user' AND password_hash IS NULL)",
            no.EmailNeeded,
        ),
        check("user_can_be_reached", "email IS NOT NULL OR phone IS NOT NULL", no.PhoneOrEmailNeeded),
        check("user_phone_is_international", f"phone ~ '{PHONE_PATTERN}'", no.NotAPhone),
        check(
            "user_birthday_lies_in_the_calendar",
            "birthday BETWEEN '1900-01-01' AND '2999-12-31'",
            no.BirthdayOutOfRange,
        ),
        check("user_language_is_known", in_enum("language", Language), no.UnknownLanguage),
        check("user_role_is_known", in_enum("role", Role), no.UnknownRole),
        check(
            "user_with_own_calendar_has_a_resource",
            "role <> 'own_calendar' OR resource_id IS NOT NULL",
            no.OwnResourceNeeded,
        ),
        foreign_key("user_works_as_a_resource", "resource_id", "resources", no.UnknownResource),
        Index("users_by_resource", "resource_id", postgresql_where=text("resource_id IS NOT NULL")),
        Index("user_email_is_unique", text("lower(email)"), unique=True, info=refuses_with(no.EmailTaken)),
        search_index(
            "users_by_search_key",
            "(((name::text || ' '::text) || COALESCE(email, ''::character varying)::text) || ' '::text)"
            " || COALESCE(phone, ''::character varying)::text",
        ),
        Index("users_by_sort_key", text("sort_key(name::text)"), "id"),
    )
    id: int = primary_key()
    name: RequiredText = required_text(100, title="Name")
    email: Email | None = required_text(
        255, min_length=3, default=None, title="E-mail", description="Needed by everybody who signs in."
    )
    phone: str | None = Field(
        default=None, sa_type=String, title="Phone", description="A customer needs a phone number or an e-mail address."
    )
    password_hash: str | None = secret(default=None, title="Password")
    role: Role = with_server_default(
        Role.USER.value,
        sa_type=String,
        title="Role",
        description="Own calendar: sees and changes the visits of one resource. Desk: all visits, customers and opening"
        " hours. Manager: also reports, exports, services and resources. Owner: everything. Only an owner gives roles.",
    )
    resource_id: int | None = foreign_id(
        "Works as", default=None, description="For the role Own calendar: the resource whose visits this person sees."
    )
    is_active: bool = with_server_default(default=True, title="Active", description="An inactive user cannot sign in.")
    is_demo: bool = with_server_default(
        default=False, title="Demo", description="The seed made this account with its public password."
    )
    birthday: date | None = nullable("Birthday", "From 1900 to today.")
    language: Language | None = Field(
        default=None, sa_type=String, title="Language", description="Leave empty if it is not known."
    )
    created_at: datetime = timestamp()
    version: int = version_counter()
    resource: Optional["Resource"] = Relationship()

    def __str__(self) -> str:
        return self.name


def pause_checks(table: str) -> list[CheckConstraint]:
    """Return the constraints on the pause of a resource: minutes within the longest visit, the end after the start."""
    longest = MINUTES_PER_LONGEST_VISIT
    return [
        check(
            f"{table}_pause_lies_in_a_visit",
            f"free_from_minutes BETWEEN 0 AND {longest} AND free_until_minutes BETWEEN 1 AND {longest}",
            no.PauseOutOfRange,
        ),
        check(
            f"{table}_pause_ends_after_start",
            "CASE WHEN free_until_minutes IS NULL THEN free_from_minutes IS DISTINCT FROM 0"
            " ELSE coalesce(free_until_minutes > free_from_minutes, false) END",
            no.PauseEndsBeforeStart,
        ),
    ]


def service_range(column: str, title: str, low: int, high: int, unit: str = "minutes") -> CheckConstraint:
    """Return the constraint that a number of minutes or days is in its range; the refusal uses ``title``."""
    return check(
        f"service_{column}_stay_in_range",
        f"{column} BETWEEN {low} AND {high}",
        no.MinutesOutOfRange,
        field=column,
        title=title,
        low=low,
        high=high,
        unit=unit,
    )


class Service(SQLModel, table=True):
    """Something that a customer can book."""

    __tablename__ = "services"
    __table_args__ = (
        check("service_title_has_1_to_200_characters", "char_length(title) BETWEEN 1 AND 200", no.TitleNeeded),
        check("service_title_is_visible", "title = '' OR is_line(title)", no.NotVisible, field="title", title="title"),
        check(
            "service_description_is_visible",
            "description = '' OR is_paragraphs(description)",
            no.NotVisible,
            field="description",
            title="description",
        ),
        check(
            "service_description_has_at_most_1000_characters", "char_length(description) <= 1000", no.DescriptionTooLong
        ),
        check("service_price_is_zero_or_more", "price >= 0 AND price <> 'NaN'", no.PriceBelowZero),
        check(
            "service_lasts_up_to_60_days",
            f"duration_minutes BETWEEN 1 AND {MINUTES_PER_LONGEST_VISIT}",
            no.DurationNotPositive,
        ),
        service_range("setup_minutes", "setup", 0, MINUTES_PER_DAY),
        service_range("cleanup_minutes", "cleanup", 0, MINUTES_PER_DAY),
        service_range("slot_step_minutes", "slot step", 1, MINUTES_PER_DAY),
        service_range("min_notice_minutes", "notice", 0, MINUTES_PER_YEAR),
        service_range("horizon_days", "horizon", 1, MAX_HORIZON_DAYS, "days"),
        service_range("cancel_notice_minutes", "cancellation notice", 0, MINUTES_PER_YEAR),
        check("service_role_is_known", in_enum("role", ResourceRole), no.UnknownResourceRole),
        check("service_takes_1_to_100_seats", f"max_party BETWEEN 1 AND {MAX_PARTY}", no.LargestPartyOutOfRange),
        *pause_checks("service"),
    )
    id: int = primary_key()
    title: RequiredText = required_text(200, title="Title")
    description: OptionalParagraphs = optional_text(1000, "Description")
    price: Decimal = money("Price")
    duration_minutes: int = Field(
        ge=1, le=MINUTES_PER_LONGEST_VISIT, title="Duration", description="In minutes. A day has 1,440."
    )
    setup_minutes: int = minutes("Setup", "Minutes that must be free before each visit.", MINUTES_PER_DAY)
    cleanup_minutes: int = minutes("Cleanup", "Minutes that must be free after each visit.", MINUTES_PER_DAY)
    slot_step_minutes: int | None = nullable(
        "Slot step", "Minutes between start times. Leave empty for the duration.", max_value=MINUTES_PER_DAY
    )
    min_notice_minutes: int = minutes("Notice", "Customers must book at least this many minutes in advance.")
    horizon_days: int | None = nullable(
        "Horizon",
        "Customers can book at most this many days in advance. Leave empty for no limit.",
        max_value=MAX_HORIZON_DAYS,
    )
    cancel_notice_minutes: int = minutes(
        "Cancellation notice", "Customers must move or cancel at least this many minutes in advance."
    )
    binds_hours_at_ends: bool = with_server_default(
        default=False,
        title="Collect and return in opening hours",
        description="As for a rental: only the start and the end must be in opening hours, not all of the visit.",
    )
    max_party: int = with_server_default(
        1,
        ge=1,
        le=MAX_PARTY,
        sa_type=SmallInteger,
        title="Largest party",
        description="How many people one booking may bring.",
    )
    price_is_per_person: bool = with_server_default(
        default=False, title="Price per person", description="The price is of one seat, and not of the whole visit."
    )
    role: ResourceRole = with_server_default(
        ResourceRole.WITH.value, sa_type=String, title="Role", description="With a person, in a room, or using a thing."
    )
    free_from_minutes: int | None = pause_start()
    free_until_minutes: int | None = pause_end()
    is_active: bool = with_server_default(
        default=True, title="Active", description="Only an active service can be booked."
    )
    created_at: datetime = timestamp()
    version: int = version_counter()
    resources: list["Resource"] = many_to_many("func.sort_key(Resource.name), Resource.id")

    def __str__(self) -> str:
        return self.title


class Resource(SQLModel, table=True):
    """Something that can be busy: a person, a room, a chair."""

    __tablename__ = "resources"
    __table_args__ = (
        check("resource_name_has_1_to_200_characters", "char_length(name) BETWEEN 1 AND 200", no.ResourceNameNeeded),
        check("resource_name_is_visible", "name = '' OR is_line(name)", no.NotVisible, field="name", title="name"),
        check("resource_has_1_to_1000_seats", "capacity BETWEEN 1 AND 1000", no.CapacityOutOfRange),
        check("resource_timezone_is_known", "timezone_is_known(timezone)", no.UnknownTimezone),
    )
    id: int = primary_key()
    name: RequiredText = required_text(200, title="Name")
    capacity: int = with_server_default(
        1, ge=1, le=1000, title="Seats", description="How many bookings it can serve at one time."
    )
    timezone: RequiredText = required_text(64, title="Time zone", description="An IANA name, such as Europe/Berlin.")
    is_active: bool = with_server_default(default=True, title="Active")
    created_at: datetime = timestamp()
    version: int = version_counter()
    services: list["Service"] = many_to_many("func.sort_key(Service.title), Service.id")

    def __str__(self) -> str:
        return self.name


class ServiceResource(SQLModel, table=True):
    """A link: this resource can serve this service."""

    __tablename__ = "service_resources"
    __table_args__ = (
        foreign_key("link_is_of_a_service", "service_id", "services", no.UnknownService, ondelete="CASCADE"),
        foreign_key("link_is_to_a_resource", "resource_id", "resources", no.UnknownResource, ondelete="CASCADE"),
        Index("service_resources_by_resource", "resource_id"),
    )
    service_id: int = foreign_id("Service", primary_key=True)
    resource_id: int = foreign_id("Resource", primary_key=True)


class ServiceNeed(SQLModel, table=True):
    """What a visit needs beside its first resource: seats on one of some resources, in a role."""

    __tablename__ = "service_needs"
    __table_args__ = (
        foreign_key("need_is_of_a_service", "service_id", "services", no.UnknownService, ondelete="CASCADE"),
        UniqueConstraint("service_id", "position", name="need_has_its_own_position", info=refuses_with(no.NeedTaken)),
        check("visit_takes_at_most_5_resources", f"position BETWEEN 2 AND {MAX_ROLES}", no.TooManyNeeds),
        check("need_role_is_known", in_enum("role", ResourceRole), no.UnknownResourceRole),
        check("need_takes_1_to_100_seats", f"seats BETWEEN 1 AND {MAX_PARTY}", no.PartyOutOfRange),
        *pause_checks("need"),
    )
    id: int = primary_key()
    service_id: int = foreign_id("Service")
    # 2 for the first need: the resource of the booking itself has position 1.
    position: int = Field(ge=2, le=MAX_ROLES, sa_type=SmallInteger, title="Position")
    role: ResourceRole = with_server_default(
        ResourceRole.WITH.value, sa_type=String, title="Role", description="With a person, in a room, or using a thing."
    )
    seats: int = with_server_default(
        1, ge=1, le=MAX_PARTY, sa_type=SmallInteger, title="Seats", description="Seats that each visit takes."
    )
    free_from_minutes: int | None = pause_start()
    free_until_minutes: int | None = pause_end()
    version: int = version_counter()
    service: Service = Relationship()


class NeedResource(SQLModel, table=True):
    """A link: this resource can fill this need."""

    __tablename__ = "need_resources"
    __table_args__ = (
        foreign_key("need_link_is_of_a_need", "need_id", "service_needs", no.UnknownNeed, ondelete="CASCADE"),
        foreign_key("need_link_is_to_a_resource", "resource_id", "resources", no.UnknownResource, ondelete="CASCADE"),
        Index("need_resources_by_resource", "resource_id"),
    )
    need_id: int = foreign_id("Need", primary_key=True)
    resource_id: int = foreign_id("Resource", primary_key=True)


class Booking(SQLModel, table=True):
    """A user, a service, resources and a time. What it takes of each resource is in its claims."""

    __tablename__ = "bookings"
    __table_args__ = (
        UniqueConstraint(
            *("id", "is_blocking", "start_time", "blocks_from", "blocks_until"),
            name="booking_time_is_that_of_its_claims",
            info=refuses_with(no.Interrupted),
        ),
        foreign_key("booking_is_for_a_user", "user_id", "users", no.UnknownUser),
        foreign_key("booking_is_of_a_service", "service_id", "services", no.UnknownService),
        foreign_key("booking_is_on_a_resource", "resource_id", "resources", no.UnknownResource),
        check("booking_ends_after_start", "end_time > start_time", no.EndsBeforeStart),
        check(
            "booking_lasts_a_minute_to_60_days",  # and up to three hours more where the clocks go back
            f"end_time - start_time BETWEEN interval '1 minute' AND interval '{MAX_VISIT_DAYS} days 3 hours'",
            no.LengthOutOfRange,
        ),
        check(
            "booking_blocks_up_to_a_day_around",
            "start_time - blocks_from <= interval '1 day' AND blocks_until - end_time <= interval '1 day'",
            no.BlocksTooMuch,
        ),
        check(
            "booking_is_in_whole_minutes",
            in_whole_minutes("start_time", "end_time", "blocks_from", "blocks_until"),
            no.NotWholeMinutes,
        ),
        check(
            "booking_blocks_its_own_time", "blocks_from <= start_time AND end_time <= blocks_until", no.SeatOutOfRange
        ),
        check(
            "booking_lies_in_the_calendar",
            "blocks_from >= '1999-12-30Z' AND blocks_until < '3000-01-03Z'",
            no.OutsideTheCalendar,
        ),
        check("booking_takes_1_to_100_seats", f"seats BETWEEN 1 AND {MAX_PARTY}", no.PartyOutOfRange),
        check(
            "booking_has_each_resource_in_one_role",
            "other_resource_ids = '{}' OR are_different(resource_id || other_resource_ids)",
            no.OneRoleEach,
        ),
        check(
            "booking_visitor_name_has_1_to_100_characters",
            "char_length(visitor_name) BETWEEN 1 AND 100",
            no.VisitorNameTooLong,
        ),
        check(
            "booking_visitor_name_is_visible",
            "visitor_name IS NULL OR visitor_name = '' OR is_line(visitor_name)",
            no.NotVisible,
            field="visitor_name",
            title="name",
        ),
        check("booking_status_is_known", in_enum("status", Status), no.UnknownStatus),
        check("booking_price_is_zero_or_more", "price >= 0 AND price <> 'NaN'", no.PriceBelowZero),
        check(
            "booking_deleted_by_customer_is_cancelled",
            "deleted_by_customer_at IS NULL OR status = 'cancelled'",
            no.DeletedNotCancelled,
        ),
        check(
            "booking_expires_only_while_pending",
            "expires_at IS NULL OR status IN ('pending', 'cancelled')",
            no.HoldOutlivesPending,
        ),
        Index("bookings_by_user", "user_id", "start_time", "id"),
        Index("bookings_completed_by_user", "user_id", "start_time", postgresql_where=text("status = 'completed'")),
        Index("bookings_by_service", "service_id", "start_time", "id"),
        Index("bookings_by_resource", "resource_id", "start_time"),
        Index("bookings_by_start", "start_time", "id"),
        Index(
            "bookings_that_are_long",
            "start_time",
            "end_time",
            "resource_id",
            postgresql_where=text("is_long(start_time, end_time)"),
        ),
        Index("bookings_by_status", "status", "start_time", "id"),
        Index(
            "bookings_that_expire",
            "resource_id",
            "expires_at",
            postgresql_where=text("status = 'pending' AND expires_at IS NOT NULL"),
        ),
    )
    id: int = primary_key()
    user_id: int = foreign_id("Customer")
    service_id: int = foreign_id("Service")
    resource_id: int = foreign_id("Resource")
    other_resource_ids: list[int] = Field(
        default=[],
        sa_type=IDS,
        sa_column_kwargs={"server_default": text("'{}'"), "default": None},
        title="Other resources",
        description="Those that fill the other needs of the service, in the order of the needs.",
    )
    seats: int = with_server_default(
        1, ge=1, le=MAX_PARTY, sa_type=SmallInteger, title="Seats", description="For how many people it is."
    )
    start_time: datetime = Field(title="Start")
    end_time: datetime = Field(
        title="End", description="A visit that moves keeps its length, unless staff set another end."
    )
    blocks_from: datetime = Field(title="Blocked from")
    blocks_until: datetime = Field(title="Blocked until")
    status: Status = with_server_default(Status.PENDING.value, sa_type=String, title="Status")
    is_blocking: bool = Field(
        default=None,
        nullable=False,
        sa_column_args=[Computed("is_live(status)", persisted=True)],
        title="Takes its seats",
    )
    price: Decimal = money("Price", description="The price at the time of booking.")
    expires_at: datetime | None = nullable("Expires", "A hold expires at this time.")
    deleted_by_customer_at: datetime | None = nullable(
        "Deleted by the customer", "The customer no longer sees this booking."
    )
    visitor_name: RequiredText | None = required_text(
        100, default=None, title="For", description="Who comes, if that is not the customer."
    )
    created_at: datetime = timestamp()
    version: int = version_counter()
    user: User = Relationship()
    service: Service = Relationship()
    resource: Resource = Relationship()

    def __str__(self) -> str:
        return f"#{self.id}"


class Claim(SQLModel, table=True):
    """One seat on one resource for a part of a visit. Only the triggers of its booking write it.

    Whether it counts and when it is are the booking's own: the foreign key carries them over, so that nobody can part
    the two. A resource that may serve somebody else in between has two parts, before and after the pause.
    """

    __tablename__ = "claims"
    __table_args__ = (
        ForeignKeyConstraint(
            ["booking_id", *CARRIED_COLUMNS],
            ["bookings.id", *(f"bookings.{column}" for column in CARRIED_COLUMNS)],
            name="claim_follows_its_booking",
            onupdate="CASCADE",
            ondelete="CASCADE",
            info=refuses_with(no.Interrupted),
        ),
        ExcludeConstraint(
            ("resource_id", "="),
            ("seat", "="),
            (text("tstzrange(since, until)"), "&&"),
            where=text("is_blocking"),
            using="gist",
            name="booking_slot_free",
            deferrable=True,
            initially="IMMEDIATE",
            info=refuses_with(no.SlotTaken),
        ),
        foreign_key("claim_is_on_a_resource", "resource_id", "resources", no.UnknownResource),
        check("claim_seat_is_numbered_from_1", "seat >= 1", no.SeatOutOfRange),
        Index("claims_by_resource", "resource_id", "start_time"),
    )
    booking_id: int = foreign_id("Booking", primary_key=True)
    number: int = Field(primary_key=True, sa_type=SmallInteger, title="Number")
    position: int = Field(sa_type=SmallInteger, title="Position", description="1 for the resource of the booking.")
    role: ResourceRole = Field(sa_type=String, title="Role")
    resource_id: int = foreign_id("Resource")
    seat: int = Field(sa_type=SmallInteger, title="Seat")
    part: int = Field(sa_type=SmallInteger, title="Part", description="1 before the pause, 2 after it.")
    free_from_minutes: int | None = Field(default=None, title="Pause from minute")
    free_until_minutes: int | None = Field(default=None, title="Pause until minute")
    is_blocking: bool = Field(title="Blocking")
    start_time: datetime = Field(title="Start")
    blocks_from: datetime = Field(title="Blocked from")
    blocks_until: datetime = Field(title="Blocked until")
    since: datetime = Field(default=None, sa_column_args=[Computed(CLAIM_SINCE, persisted=True)], title="From")
    until: datetime = Field(default=None, sa_column_args=[Computed(CLAIM_UNTIL, persisted=True)], title="Until")


class Review(SQLModel, table=True):
    """A customer's rating and comment on a completed booking."""

    __tablename__ = "reviews"
    __table_args__ = (
        foreign_key("review_is_of_a_booking", "booking_id", "bookings", no.UnknownBooking),
        UniqueConstraint("booking_id", name="review_is_the_only_one", info=refuses_with(no.AlreadyReviewed)),
        check("review_rating_is_1_to_5", "rating BETWEEN 1 AND 5", no.RatingOutOfRange),
        check("review_comment_has_1_to_1000_characters", "char_length(comment) BETWEEN 1 AND 1000", no.CommentNeeded),
        check(
            "review_comment_is_visible",
            "comment = '' OR is_paragraphs(comment)",
            no.NotVisible,
            field="comment",
            title="comment",
        ),
        search_index("reviews_by_search_key", "comment::text"),
    )
    id: int = primary_key()
    booking_id: int = foreign_id("Booking", ge=1)
    rating: int = Field(ge=1, le=5, sa_type=SmallInteger, title="Rating", description="1 to 5 stars.")
    comment: RequiredParagraphs = required_text(1000, title="Comment")
    created_at: datetime = timestamp()
    version: int = version_counter()
    booking: Booking = Relationship()


class Note(SQLModel, table=True):
    """What staff write down about a customer or a booking. Customers see it in the export of their data alone."""

    __tablename__ = "notes"
    __table_args__ = (
        foreign_key("note_is_on_a_customer", "user_id", "users", no.UnknownUser, ondelete="CASCADE"),
        foreign_key("note_is_on_a_booking", "booking_id", "bookings", no.UnknownBooking, ondelete="CASCADE"),
        foreign_key("note_is_written_by_a_user", "author_id", "users", no.UnknownUser, ondelete="SET NULL"),
        check("note_is_on_one_thing", "num_nonnulls(user_id, booking_id) = 1", no.NoteOnOneThing),
        check(
            "note_that_is_pinned_is_on_a_customer", "NOT is_pinned OR user_id IS NOT NULL", no.OnlyCustomerNotesPinned
        ),
        check("note_text_has_1_to_1000_characters", "char_length(text) BETWEEN 1 AND 1000", no.NoteNeeded),
        check("note_text_is_visible", "text = '' OR is_paragraphs(text)", no.NotVisible, field="text", title="note"),
        Index("notes_by_user", "user_id", "id", postgresql_where=text("user_id IS NOT NULL")),
        Index("notes_by_booking", "booking_id", "id", postgresql_where=text("booking_id IS NOT NULL")),
        Index("notes_by_author", "author_id", postgresql_where=text("author_id IS NOT NULL")),
    )
    id: int = primary_key()
    user_id: int | None = foreign_id("Customer", default=None)
    booking_id: int | None = foreign_id("Booking", default=None)
    text: RequiredParagraphs = required_text(1000, title="Note")
    is_pinned: bool = with_server_default(
        default=False, title="Pinned", description="Shown wherever this customer is shown."
    )
    author_id: int | None = foreign_id("Written by", default=None)
    created_at: datetime = timestamp("Written")
    version: int = version_counter()


class Payment(SQLModel, table=True):
    """Money taken for a booking. Only its state goes on, and only forward; a mistake is given back."""

    __tablename__ = "payments"
    __table_args__ = (
        foreign_key("payment_is_of_a_booking", "booking_id", "bookings", no.UnknownBooking),
        foreign_key("payment_is_recorded_by_a_user", "recorded_by_id", "users", no.UnknownRecorder),
        UniqueConstraint("key", name="payment_is_recorded_once", info=refuses_with(no.SavedAlready)),
        UniqueConstraint(
            "id", "currency", name="payment_currency_is_that_of_refunds", info=refuses_with(no.Interrupted)
        ),
        check("payment_is_of_something", "amount > 0", no.AmountNotPositive),
        check("payment_purpose_is_known", in_enum("purpose", PaymentPurpose), no.PaymentMalformed),
        check("payment_provider_is_known", in_enum("provider", PaymentProvider), no.PaymentMalformed),
        check(
            "payment_at_the_desk_has_a_method",
            f"(provider = 'desk') = (method IS NOT NULL) AND {in_enum('method', PaymentMethod)}",
            no.UnknownPaymentMethod,
        ),
        check("payment_state_is_known", in_enum("state", PaymentState), no.PaymentMalformed),
        check(
            "payment_has_a_time_once_it_succeeded",
            "(state = 'succeeded') = (settled_at IS NOT NULL)",
            no.PaymentMalformed,
        ),
        check(
            "payment_gives_back_at_most_itself",
            "refunded BETWEEN 0 AND CASE WHEN state = 'succeeded' THEN amount ELSE 0 END",
            no.GivesBackTooMuch,
        ),
        Index("payments_by_booking", "booking_id"),
        Index("payments_by_time", "settled_at", "id"),
        Index("payments_by_recorder", "recorded_by_id", postgresql_where=text("recorded_by_id IS NOT NULL")),
    )
    id: int = primary_key()
    key: UUID = once_key()
    booking_id: int = foreign_id("Booking")
    amount: int = minor_units("Amount")
    currency: str = Field(sa_type=String, title="Currency")
    method: PaymentMethod | None = Field(default=None, sa_type=String, title="Method")
    purpose: PaymentPurpose = with_server_default(PaymentPurpose.VISIT.value, sa_type=String, title="For")
    provider: PaymentProvider = with_server_default(PaymentProvider.DESK.value, sa_type=String, title="Taken by")
    state: PaymentState = with_server_default(PaymentState.CREATED.value, sa_type=String, title="State")
    settled_at: datetime | None = nullable("Paid", "When the money was taken.")
    refunded: int = Field(
        default=0,
        sa_type=BigInteger,
        sa_column_kwargs={"server_default": text("0"), "default": None, "info": {"is_amount": True}},
        title="Given back",
    )
    recorded_by_id: int | None = foreign_id("Recorded by", default=None)
    created_at: datetime = timestamp()
    version: int = version_counter()
    booking: Booking = Relationship()
    recorded_by: Optional["User"] = Relationship()

    def __str__(self) -> str:
        return f"#{self.id}"


class Refund(SQLModel, table=True):
    """Money of a payment that is given back, all or a part, in the way it was paid."""

    __tablename__ = "refunds"
    __table_args__ = (
        ForeignKeyConstraint(
            ["payment_id", "currency"],
            ["payments.id", "payments.currency"],
            name="refund_is_of_a_payment",
            info=refuses_with(no.UnknownPayment),
        ),
        foreign_key("refund_is_recorded_by_a_user", "recorded_by_id", "users", no.UnknownRecorder),
        UniqueConstraint("key", name="refund_is_recorded_once", info=refuses_with(no.SavedAlready)),
        check("refund_is_of_something", "amount > 0", no.AmountNotPositive),
        check("refund_reason_is_known", in_enum("reason", RefundReason), no.UnknownRefundReason),
        check("refund_state_is_known", in_enum("state", RefundState), no.PaymentMalformed),
        check(
            "refund_has_a_time_once_it_succeeded",
            "(state = 'succeeded') = (settled_at IS NOT NULL)",
            no.PaymentMalformed,
        ),
        Index("refunds_by_payment", "payment_id"),
        Index("refunds_by_time", "settled_at", "id", postgresql_where=text("settled_at IS NOT NULL")),
        Index("refunds_by_recorder", "recorded_by_id", postgresql_where=text("recorded_by_id IS NOT NULL")),
    )
    id: int = primary_key()
    key: UUID = once_key()
    payment_id: int = foreign_id("Payment")
    amount: int = minor_units("Amount")
    currency: str = Field(sa_type=String, title="Currency")
    reason: RefundReason = Field(sa_type=String, title="Why")
    state: RefundState = with_server_default(RefundState.CREATED.value, sa_type=String, title="State")
    settled_at: datetime | None = nullable("Given back", "When the money was given back.")
    recorded_by_id: int | None = foreign_id("Recorded by", default=None)
    created_at: datetime = timestamp()
    version: int = version_counter()


class OpeningHours(SQLModel, table=True):
    """Weekly hours of a resource, by its own wall clock."""

    __tablename__ = "opening_hours"
    __table_args__ = (
        foreign_key(
            "opening_hours_are_of_a_resource", "resource_id", "resources", no.UnknownResource, ondelete="CASCADE"
        ),
        check("opening_hours_weekday_is_1_to_7", "weekday BETWEEN 1 AND 7", no.WeekdayOutOfRange),
        check(
            "opening_hours_are_in_whole_minutes",
            "extract(second FROM opens) = 0 AND extract(second FROM closes) = 0",
            no.HoursNotInWholeMinutes,
        ),
        check("opening_hours_have_no_24_00", "opens < '24:00' AND closes < '24:00'", no.MidnightIsZero),
        check("opening_hours_season_ends_after_start", "valid_until >= valid_from", no.SeasonEndsBeforeStart),
        Index("opening_hours_by_resource", "resource_id", "weekday"),
    )
    id: int = primary_key()
    resource_id: int = foreign_id("Resource")
    # From 1 (Monday) to 7.
    weekday: int = Field(
        ge=1, le=7, sa_type=SmallInteger, title="Weekday", description="In the time zone of the resource."
    )
    opens: time = Field(title="Opens")
    closes: time = Field(title="Closes", description="If this is not after the opening time, it is on the next day.")
    valid_from: date | None = nullable("From", "Leave empty for always.")
    valid_until: date | None = nullable("Until", "Leave empty for always.")
    version: int = version_counter()
    resource: Resource = Relationship()


class CalendarException(SQLModel, table=True):
    """A one-off opening or closure, of one resource or of all."""

    __tablename__ = "calendar_exceptions"
    __table_args__ = (
        foreign_key("exception_is_of_a_resource", "resource_id", "resources", no.UnknownResource, ondelete="CASCADE"),
        check("exception_ends_after_start", "end_time > start_time", no.EndsBeforeStart),
        check("exception_timezone_is_known", "timezone IS NULL OR timezone_is_known(timezone)", no.UnknownTimezone),
        check("exception_is_in_whole_minutes", in_whole_minutes("start_time", "end_time"), no.NotWholeMinutes),
        check(
            "exception_lies_in_the_calendar",
            "start_time >= '1999-12-30Z' AND end_time < '3000-01-03Z'",
            no.OutsideTheCalendar,
        ),
        check("exception_reason_has_at_most_200_characters", "char_length(reason) <= 200", no.ReasonTooLong),
        check(
            "exception_reason_is_visible",
            "reason = '' OR is_line(reason)",
            no.NotVisible,
            field="reason",
            title="reason",
        ),
        Index("exceptions_by_time", text("tstzrange(start_time, end_time)"), postgresql_using="gist"),
        Index("exceptions_by_resource", "resource_id"),
    )
    id: int = primary_key()
    resource_id: int | None = foreign_id("Resource", default=None, description="Leave empty for all resources.")
    start_time: datetime = Field(title="From")
    end_time: datetime = Field(title="Until")
    # The clock by which the times were written: each resource has the same times by its own. NULL: exact moments.
    timezone: str | None = Field(default=None, sa_type=String, title="Time zone")
    is_open: bool = with_server_default(default=False, title="Open", description="Extra open time, not a closure.")
    reason: OptionalText = optional_text(200, "Reason")
    version: int = version_counter()
    resource: Resource | None = Relationship()


class Business(SQLModel, table=True):
    """The business itself, in the only row: what it is called, where it is, by which clock and in which currency."""

    __tablename__ = "business"
    __table_args__ = (
        check("business_is_the_only_one", "id = 1", no.OnlyOneBusiness),
        check("business_name_has_1_to_200_characters", "char_length(name) BETWEEN 1 AND 200", no.BusinessNameNeeded),
        check("business_name_is_visible", "name = '' OR is_line(name)", no.NotVisible, field="name", title="name"),
        check("business_address_has_at_most_1000_characters", "char_length(address) <= 1000", no.AddressTooLong),
        check(
            "business_address_is_visible",
            "address = '' OR is_paragraphs(address)",
            no.NotVisible,
            field="address",
            title="address",
        ),
        check("business_phone_has_at_most_50_characters", "char_length(phone) <= 50", no.BusinessPhoneTooLong),
        check("business_phone_is_visible", "phone = '' OR is_line(phone)", no.NotVisible, field="phone", title="phone"),
        check("business_timezone_is_known", "timezone IS NULL OR timezone_is_known(timezone)", no.UnknownTimezone),
        check("business_currency_looks_like_one", f"currency ~ '{CURRENCY_PATTERN}'", no.UnknownCurrency),
        check("business_locale_looks_like_one", f"locale ~ '{LOCALE_PATTERN}'", no.UnknownLocale),
    )
    id: int = with_server_default(1, primary_key=True, sa_type=BigInteger, title="Number")
    name: RequiredText = default_text(DEFAULT_BUSINESS_NAME, 200, title="Name")
    address: OptionalParagraphs = optional_text(1000, "Address")
    phone: OptionalText = optional_text(50, "Phone")
    # NULL until an owner has saved the business: the variable TIMEZONE counts until then.
    timezone: str | None = Field(
        default=None,
        sa_type=String,
        title="Time zone",
        description="The clock of these pages, and of new resources. An IANA name, such as Europe/Berlin.",
    )
    currency: RequiredText = default_text(
        DEFAULT_CURRENCY, 3, title="Currency", description="Of all prices. Another currency changes no number."
    )
    locale: RequiredText = default_text(
        DEFAULT_LOCALE,
        20,
        title="Amounts as in",
        description="£58.00 in Britain, 58,00\u00a0£ in Germany.",
    )
    version: int = version_counter()

    def __str__(self) -> str:
        return self.name


class Event(SQLModel, table=True):
    """One change of a row: what, when, by whom and through which door. A trigger writes it, and nothing changes it."""

    __tablename__ = "events"
    __table_args__ = (
        Index("events_by_row", "table_name", "row_id", "id"),
        Index("events_by_actor", "actor_id", "id", postgresql_where=text("actor_id IS NOT NULL")),
        Index(
            "events_of_former_bookings",
            text("(old ->> 'user_id')"),
            postgresql_where=text("table_name = 'bookings' AND (old ->> 'user_id') IS NOT NULL"),
        ),
        Index(
            "events_of_former_reviews",
            text("(old ->> 'booking_id')"),
            postgresql_where=text("table_name = 'reviews' AND (old ->> 'booking_id') IS NOT NULL"),
        ),
        Index(
            "events_of_former_notes_on_customers",
            text("(old ->> 'user_id')"),
            postgresql_where=text("table_name = 'notes' AND (old ->> 'user_id') IS NOT NULL"),
        ),
        Index(
            "events_of_former_notes_on_bookings",
            text("(old ->> 'booking_id')"),
            postgresql_where=text("table_name = 'notes' AND (old ->> 'booking_id') IS NOT NULL"),
        ),
        Index("events_by_request", "request_id", "id", postgresql_where=text("request_id IS NOT NULL")),
    )
    id: int = primary_key()
    at: datetime = timestamp("When", "clock_timestamp()")
    actor_id: int | None = foreign_id("Who (number)", default=None)
    actor: str = Field(sa_type=String, title="Who")
    door: str = Field(sa_type=String, title="How")
    table_name: str = Field(sa_type=String, title="Table")
    row_id: int = foreign_id("Record")
    action: str = Field(sa_type=String, title="What")
    old: dict[str, Any] | None = Field(default=None, sa_type=JSONB, title="Before")
    new: dict[str, Any] | None = Field(default=None, sa_type=JSONB, title="After")
    reason: str | None = Field(default=None, sa_type=String, title="Reason")
    request_id: str | None = Field(default=None, sa_type=String, title="Request")
    notify_customer: bool | None = Field(default=None, title="Notify the customer")


class SignIn(SQLModel, table=True):
    """One sign-in of a user at one door. Its cookie or its tokens end with it."""

    __tablename__ = "sign_ins"
    __table_args__ = (
        foreign_key("sign_in_is_of_a_user", "user_id", "users", no.UnknownUser, ondelete="CASCADE"),
        UniqueConstraint("sid", name="sign_in_sid_is_unique", info=refuses_with(no.Interrupted)),
        check("sign_in_door_is_known", "door IN ('api', 'admin')", no.UnknownDoor),
        check(
            "sign_in_end_has_a_known_reason",
            f"(ended_at IS NULL) = (end_reason IS NULL) AND {in_enum('end_reason', EndReason)}",
            no.EndNeedsReason,
        ),
        Index("sign_ins_by_user", "user_id", "id"),
    )
    id: int = primary_key()
    user_id: int = foreign_id("User")
    door: str = Field(sa_type=String, title="How")
    role: Role = Field(sa_type=String, title="Role", description="The role at the time of the sign-in.")
    sid: str = secret(title="Name", description="What cookies and tokens name this sign-in by.")
    created_at: datetime = timestamp("Signed in")
    last_seen_at: datetime = timestamp("Last used")
    idle_ends_at: datetime = Field(title="Ends if unused", description="Later with each use.")
    expires_at: datetime = Field(title="Ends", description="However much it is used.")
    address: str = with_server_default("", sa_type=String, title="Address")
    browser: str = with_server_default("", sa_type=String, title="Browser")
    second_factor: str | None = Field(default=None, sa_type=String, title="Second factor")
    ended_at: datetime | None = nullable("Ended", "When it was ended.")
    end_reason: EndReason | None = Field(default=None, sa_type=String, title="Why it ended")


class RefreshToken(SQLModel, table=True):
    """One refresh token of a sign-in, spent when the next one is issued."""

    __tablename__ = "refresh_tokens"
    __table_args__ = (
        foreign_key("refresh_token_is_of_a_sign_in", "sign_in_id", "sign_ins", no.SignInEnded, ondelete="CASCADE"),
        UniqueConstraint("token_hash", name="refresh_token_is_unique", info=refuses_with(no.Interrupted)),
        Index("refresh_tokens_by_sign_in", "sign_in_id"),
    )
    id: int = primary_key()
    sign_in_id: int = foreign_id("Sign-in")
    token_hash: str = secret(description="SHA-256 of the token; the token itself is not stored.")
    created_at: datetime = timestamp()
    expires_at: datetime
    spent_at: datetime | None = None
    # The next token is made of this one and the seed, so that a second request soon after gets the same one.
    seed: str | None = secret(default=None)


class Authenticator(SQLModel, table=True):
    """The authenticator app of a user, which shows a new code every 30 seconds (TOTP, RFC 6238)."""

    __tablename__ = "authenticators"
    __table_args__ = (
        foreign_key("authenticator_is_of_a_user", "user_id", "users", no.UnknownUser, ondelete="CASCADE"),
        UniqueConstraint("user_id", name="authenticator_is_the_only_one", info=refuses_with(no.AuthenticatorTaken)),
    )
    id: int = primary_key()
    user_id: int = foreign_id("User")
    secret: str = secret(title="Key", description="Encrypted with a key that is made from SECRET_KEY.")
    last_step: int = Field(
        sa_type=BigInteger, title="Last code", description="The time step of the last code that was used."
    )
    created_at: datetime = timestamp("Set up")


class Passkey(SQLModel, table=True):
    """A passkey of a user (WebAuthn)."""

    __tablename__ = "passkeys"
    __table_args__ = (
        foreign_key("passkey_is_of_a_user", "user_id", "users", no.UnknownUser, ondelete="CASCADE"),
        UniqueConstraint("credential_id", name="passkey_is_registered_once", info=refuses_with(no.PasskeyTaken)),
        check("passkey_name_has_1_to_100_characters", "char_length(name) BETWEEN 1 AND 100", no.PasskeyNameNeeded),
        check("passkey_name_is_visible", "name = '' OR is_line(name)", no.NotVisible, field="name", title="name"),
        Index("passkeys_by_user", "user_id", "id"),
    )
    id: int = primary_key()
    user_id: int = foreign_id("User")
    name: RequiredText = required_text(100, title="Name")
    credential_id: str = secret(title="Credential", description="What the browser names it by, as base64url.")
    public_key: str = secret(title="Public key", description="COSE, as base64url.")
    sign_count: int = Field(sa_type=BigInteger, title="Counter", description="0 where the device does not count.")
    created_at: datetime = timestamp("Added")
    last_used_at: datetime | None = nullable("Last used", "Empty if it was not used yet.")


class RecoveryCodes(SQLModel, table=True):
    """The unused recovery codes of a user, each for one sign-in without the second factor."""

    __tablename__ = "recovery_codes"
    __table_args__ = (
        foreign_key("recovery_codes_are_of_a_user", "user_id", "users", no.UnknownUser, ondelete="CASCADE"),
        UniqueConstraint("user_id", name="recovery_codes_are_the_only_ones", info=refuses_with(no.Interrupted)),
        check(
            "recovery_codes_are_counted",
            "remaining = cardinality(code_hashes) AND remaining BETWEEN 0 AND 10",
            no.RecoveryCodesMiscounted,
        ),
    )
    id: int = primary_key()
    user_id: int = foreign_id("User")
    code_hashes: list[str] = Field(
        sa_type=CODE_HASHES, sa_column_kwargs={"info": {"secret": True}}, title="Codes", description="SHA-256 of each."
    )
    remaining: int = Field(sa_type=SmallInteger, title="Recovery codes left")
    created_at: datetime = timestamp("Made")


class IdempotencyKey(SQLModel, table=True):
    """The first response to a request that a client may send twice."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (
        foreign_key("idempotency_key_is_of_a_user", "user_id", "users", no.UnknownUser, ondelete="CASCADE"),
        Index("idempotency_keys_by_age", "created_at"),
    )
    user_id: int = foreign_id("User", primary_key=True)
    key: RequiredText = required_text(255, primary_key=True)
    request_hash: str = Field(sa_type=String)
    created_at: datetime = Field()
    status: int | None = None
    answer: str | None = Field(default=None, sa_type=String)


class Try(SQLModel, table=True):
    """When the quota of a sender is full again, of one rate. Unlogged: a crash may lose it."""

    __tablename__ = "tries"
    __table_args__ = (
        CheckConstraint("name ~ '^[0-9a-f]{64}$'", name="try_name_is_a_hash", info=refuses_with(no.Invalid)),
        {"prefixes": ["UNLOGGED"]},
    )
    name: str = Field(primary_key=True, sa_type=String)
    due_at: datetime


def id_of(row: SQLModel) -> int:
    """Return the id of a row; every table but the links has one."""
    return cast("int", vars(row)["id"])


def table_of(table: type[SQLModel]) -> Table:
    """Return the SQLAlchemy table behind a class."""
    return cast("Table", vars(table)["__table__"])


def from_row(table: type[TableRow], values: Mapping[str, Any]) -> TableRow:
    """Return a row as the database returned it, for reading: only a session changes it.

    It is made as SQLAlchemy makes a row that it loads, in a fifteenth of the time that ``__init__`` takes.
    """
    row: TableRow = inspect(table).class_manager.new_instance()
    vars(row).update(values)
    object.__setattr__(row, "__pydantic_fields_set__", set(values))
    return row


RefusalWithDetails = tuple[type[no.Refusal], Mapping[str, Any]]


def refusals_by_constraint() -> dict[tuple[str, str], RefusalWithDetails]:
    """Return the refusal of each constraint and the details of its sentence, by table and name."""
    declared = {
        (table.name, str(item.name)): (item.info["refusal"], item.info["details"])
        for table in SQLModel.metadata.tables.values()
        for item in cast("list[Constraint]", [*table.constraints, *table.indexes])
        if "refusal" in item.info
    }
    by_trigger: dict[tuple[str, str], RefusalWithDetails] = {
        ("events", "history_is_append_only"): (no.HistoryIsKept, {}),
        ("users", "an_owner_remains"): (no.LastOwner, {}),
        ("bookings", "customer_books_a_service_once_at_a_time"): (no.AlreadyBooked, {}),
        ("bookings", "customer_has_one_visit_at_a_time"): (no.OverlappingBooking, {}),
        ("claims", "booking_has_a_seat"): (no.SlotTaken, {}),
        ("claims", "claims_are_written_with_their_booking"): (no.ClaimsFollow, {}),
        ("bookings", "booking_fills_each_need"): (no.NeedUnfilled, {}),
        ("bookings", "booking_keeps_its_id"): (no.ClaimsFollow, {}),
        ("bookings", "customer_has_few_holds"): (no.TooManyHolds, {}),
        ("bookings", "customer_has_few_bookings"): (no.TooManyBookings, {}),
        ("bookings", "customer_holds_a_time_once"): (no.HoldRanOut, {}),
        ("business", "business_is_kept"): (no.BusinessIsKept, {}),
        ("payments", "payment_is_in_the_currency_of_its_booking"): (no.OtherCurrency, {}),
        ("payments", "payment_is_at_most_what_is_due"): (no.OwesLess, {}),
        ("payments", "payment_goes_forward"): (no.PaymentIsDone, {}),
        ("payments", "payment_gives_back_what_its_refunds_say"): (no.PaymentIsDone, {}),
        ("payments", "payments_are_kept"): (no.PaymentsAreKept, {}),
        ("refunds", "refund_goes_forward"): (no.PaymentIsDone, {}),
        ("refunds", "refunds_are_kept"): (no.PaymentsAreKept, {}),
    }
    by_key: dict[tuple[str, str], RefusalWithDetails] = {
        ("service_resources", "service_resources_pkey"): (no.AlreadyLinked, {}),
        ("need_resources", "need_resources_pkey"): (no.AlreadyLinked, {}),
        ("claims", "claims_pkey"): (no.Interrupted, {}),
        ("business", "business_pkey"): (no.OnlyOneBusiness, {}),
        ("idempotency_keys", "idempotency_keys_pkey"): (no.Interrupted, {}),
    }
    return declared | by_trigger | by_key


configure_mappers()  # ``from_row`` needs it, also where no statement of SQLAlchemy was compiled before.
