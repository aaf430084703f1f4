"""How values are written for people: times, words, weekdays, and rows of other tables by name."""

from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from markupsafe import Markup
from sqlmodel import SQLModel
from starlette.requests import Request

from admin.framework.context import context_of
from bookit import refusals as no
from bookit.people.phones import format_phone
from bookit.policy import lifecycle
from bookit.policy import money as money_policy
from bookit.policy.business import is_offered, list_currencies
from bookit.policy.permissions import ROLE_LABELS
from bookit.schema.tables import Language, ResourceRole, Role, Service, Status, User

RESOURCE_ROLE_LABELS: Mapping[Any, str] = {
    ResourceRole.WITH: "With a person",
    ResourceRole.IN: "In a room",
    ResourceRole.USING: "Using a thing",
}
LANGUAGE_LABELS: Mapping[str, str] = {"": "–", Language.ENGLISH: "English", Language.GERMAN: "Deutsch"}
METHOD_PHRASES: Mapping[str, str] = {"": "", "cash": "in cash", "card": "by card", "transfer": "by transfer"}
REFUND_REASONS: Mapping[str, str] = {
    "mistake": "Wrong amount or method",
    "cancelled": "Visit cancelled",
    "goodwill": "Goodwill",
}
WEEKDAYS = dict(enumerate(("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"), start=1))
STATUS_COLOURS = {
    Status.PENDING: "yellow",
    Status.CONFIRMED: "blue",
    Status.COMPLETED: "green",
    Status.CANCELLED: "red",
    Status.NO_SHOW: "orange",
}


def humanize(value: str) -> str:
    """Return a word of the database as pages show it: no_show is "No-show", the role admin is "Owner"."""
    return ROLE_LABELS[Role(value)] if value in set(Role) else lifecycle.format_status(value).capitalize()


def format_enum(row: object, column: str) -> str:
    """Return a word of a row as pages show it."""
    return humanize(getattr(row, column))


def format_phone_of(row: Any, column: str, request: Request) -> str:
    """Return a phone number of a row as people in the business's country write it."""
    phone: str | None = getattr(row, column)
    return format_phone(phone, context_of(request).phone_country) if phone else "–"


def format_language(row: object, column: str) -> str:
    """Return the language of a person by its own name."""
    return LANGUAGE_LABELS[getattr(row, column) or ""]


def format_minor_units(row: Any, column: str, request: Request) -> str:
    """Return an amount of a row that has its currency."""
    return money_policy.format_amount(getattr(row, column), row.currency, context_of(request).business.locale)


def format_weekday(row: object, column: str) -> str:
    """Return the name of a weekday, which a row has as 1 to 7."""
    return WEEKDAYS[getattr(row, column)]


def format_status(row: object, column: str) -> Markup:
    """Return a row's status as a badge."""
    return status_badge(getattr(row, column))


def status_badge(status: str) -> Markup:
    """Return a status in its colour, and in words."""
    return Markup('<span class="badge bg-{}-lt">{}</span>').format(STATUS_COLOURS[Status(status)], humanize(status))


def full_label(row: SQLModel, *, phone_country: str) -> str:
    """Return a label that fits one row only: people with their phone number and e-mail, services with their length."""
    parts = [str(row)]
    if isinstance(row, User):
        parts += contact_details(row.phone, row.email, phone_country=phone_country)
    if isinstance(row, Service):
        parts.append(f"{row.duration_minutes} min")
    if not getattr(row, "is_active", True):
        parts.append("inactive")
    return " · ".join(parts)


def contact_details(phone: str | None, email: str | None, *, phone_country: str) -> list[str]:
    """Return how a person can be reached: their phone number and their e-mail address, or the one that they have."""
    return [*([format_phone(phone, phone_country)] if phone else []), *([email] if email else [])]


def format_currency_name(code: str) -> str:
    """Return the name of a currency with its code, as forms and pages show it: Euro (EUR)."""
    return f"{list_currencies().get(code, code)} ({code})"


def currency_choices() -> Mapping[str, str]:
    """Return the currencies that a business can have, by name."""
    names = {code: format_currency_name(code) for code in list_currencies() if is_offered(code)}
    return dict(sorted(names.items(), key=lambda item: item[1]))


def is_repeated(moment: datetime, zone: ZoneInfo) -> bool:
    """Return whether clocks in this zone show this time twice that day."""
    local = moment.astimezone(zone)
    return local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset()


def format_local_time(zone: ZoneInfo, value: datetime) -> Markup:
    """Return a time by the business's clock; a repeated one with the name of the offset: CET or CEST."""
    local = value.astimezone(zone)
    text = f"{local:%a %d %b %Y, %H:%M %Z}" if is_repeated(value, zone) else f"{local:%a %d %b %Y, %H:%M}"
    return Markup('<time datetime="{}">{}</time>').format(value.isoformat(), text)


def format_minutes(count: int) -> str:
    """Return minutes as hours and minutes: 3 h 30 min."""
    hours, rest = divmod(count, 60)
    parts = [f"{hours:,} h"] * bool(hours) + [f"{rest} min"] * bool(rest)
    return " ".join(parts) or "none"


def format_short_time(zone: ZoneInfo, year: int, value: datetime) -> Markup:
    """Return a time by the business's clock, with its year where that is not this one."""
    local = value.astimezone(zone)
    if local.year != year:
        return format_local_time(zone, value)
    day = f"{local:%a %d %b}".replace(" ", "\N{NO-BREAK SPACE}")
    return Markup('<time datetime="{}">{}, {:%H:%M}</time>').format(value.isoformat(), day, local)


TypeFormatters = Mapping[type, Callable[[Any], str]]  # each takes values of its type


def type_formatters(zone: Callable[[], ZoneInfo], money: Callable[[Decimal], str]) -> TypeFormatters:
    """Return how values of each type are written: times in the zone of the moment, amounts as ``money`` has them."""
    return {
        type(None): lambda _: "–",
        bool: lambda value: "Yes" if value else "No",
        datetime: lambda value: format_local_time(zone(), value),
        date: lambda value: f"{value:%d %b %Y}",
        time: lambda value: f"{value:%H:%M}",
        Decimal: money,
    }


def next_free_text(refusal: no.Refusal, zone: ZoneInfo) -> str:
    """Return the next free slots of a refusal as a sentence, by the business's clock."""
    starts = [f"{slot['start_time'].astimezone(zone):%a %d %b, %H:%M}" for slot in refusal.next_free or ()]
    return f"Next free: {'; '.join(starts)}."
