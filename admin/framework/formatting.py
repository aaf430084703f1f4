"""How values are written for people: times, words, weekdays, and rows of other tables by name."""

from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from markupsafe import Markup
from sqlmodel import SQLModel

from bookit import refusals as no
from bookit.policy import lifecycle
from bookit.schema.tables import Role, Service, Status, User

WEEKDAYS = dict(enumerate(("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"), start=1))
STATUS_COLOURS = {
    Status.PENDING: "yellow",
    Status.CONFIRMED: "blue",
    Status.COMPLETED: "green",
    Status.CANCELLED: "red",
    Status.NO_SHOW: "orange",
}


def humanize(value: str) -> str:
    """Write a word of the database as a page says it: no_show is "No-show", the role user is "Customer"."""
    return "Customer" if value == Role.USER else lifecycle.format_status(value).capitalize()


def format_enum(row: object, column: str) -> str:
    """Show a word of a row."""
    return humanize(getattr(row, column))


def format_weekday(row: object, column: str) -> str:
    """Show a weekday, 1 to 7, by its name."""
    return WEEKDAYS[getattr(row, column)]


def format_status(row: object, column: str) -> Markup:
    """Show a row's status."""
    return status_badge(getattr(row, column))


def status_badge(status: str) -> Markup:
    """Show a status in its colour, and in words for whoever sees no colour."""
    return Markup('<span class="badge bg-{}-lt">{}</span>').format(STATUS_COLOURS[Status(status)], humanize(status))


def full_label(row: SQLModel) -> str:
    """Name a row so that it cannot be taken for another: people by their e-mail too, services by their length."""
    said = [str(row)]
    if isinstance(row, User):
        said.append(row.email)
    if isinstance(row, Service):
        said.append(f"{row.duration_minutes} min")
    if not getattr(row, "is_active", True):
        said.append("inactive")
    return " · ".join(said)


def format_local_time(zone: ZoneInfo, value: datetime) -> Markup:
    """Show a time by the business's clock; where the clocks say it twice, with the name of the zone: CET or CEST."""
    local = value.astimezone(zone)
    is_twice = local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset()
    shown = f"{local:%a %d %b %Y, %H:%M %Z}" if is_twice else f"{local:%a %d %b %Y, %H:%M}"
    return Markup('<time datetime="{}">{}</time>').format(value.isoformat(), shown)


def format_minutes(count: int) -> str:
    """Say minutes as hours and minutes: 3 h 30 min."""
    hours, rest = divmod(count, 60)
    said = [f"{hours:,} h"] * bool(hours) + [f"{rest} min"] * bool(rest)
    return " ".join(said) or "none"


def format_short_time(zone: ZoneInfo, year: int, value: datetime) -> Markup:
    """Show a time by the business's clock, and of another year than this with that."""
    local = value.astimezone(zone)
    if local.year != year:
        return format_local_time(zone, value)
    day = f"{local:%a %d %b}".replace(" ", "\N{NO-BREAK SPACE}")
    return Markup('<time datetime="{}">{}, {:%H:%M}</time>').format(value.isoformat(), day, local)


TypeFormatters = Mapping[type, Callable[[Any], str]]  # each takes values of its type


def type_formatters(zone: Callable[[], ZoneInfo]) -> TypeFormatters:
    """Return how values of each type are written; times in the zone of the moment."""
    return {
        type(None): lambda _: "–",
        bool: lambda value: "Yes" if value else "No",
        datetime: lambda value: format_local_time(zone(), value),
        date: lambda value: f"{value:%d %b %Y}",
        time: lambda value: f"{value:%H:%M}",
        Decimal: lambda value: f"{value:,.2f}",
    }


def next_free_text(refusal: no.Refusal, zone: ZoneInfo) -> str:
    """Return the next free slots of a refusal as a sentence, by the business's clock."""
    starts = [f"{slot['start_time'].astimezone(zone):%a %d %b, %H:%M}" for slot in refusal.next_free or ()]
    return f"Next free: {'; '.join(starts)}."
