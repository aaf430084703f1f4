"""A resource's week at a glance: when it is open, day by day, to be read and to be written."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, time
from functools import partial
from itertools import zip_longest
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from sqladmin import Flash
from sqlalchemy import bindparam, or_, select
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from admin.framework.custom_page import CustomPage
from admin.framework.formatting import WEEKDAYS, format_local_time
from admin.framework.middleware import read_form
from admin.framework.parsing import parse_id
from bookit import catalogue, records
from bookit import refusals as no
from bookit.catalogue import Opening, opening_from_row, version_tag
from bookit.db.errors import retry_interrupted
from bookit.db.pool import Database
from bookit.policy import permissions
from bookit.schema.fields import MINUTES_PER_DAY
from bookit.schema.tables import CalendarException, OpeningHours, Resource, table_of

MAX_SEASONS = 20
Moment = TypeVar("Moment", date, time)
EXCEPTIONS = table_of(CalendarException)
UPCOMING_EXCEPTIONS = (
    select(EXCEPTIONS)
    .where(
        or_(EXCEPTIONS.c.resource_id == bindparam("resource_id"), EXCEPTIONS.c.resource_id.is_(None)),
        EXCEPTIONS.c.end_time > bindparam("now"),
    )
    .order_by(EXCEPTIONS.c.start_time, EXCEPTIONS.c.id)
    .limit(50)
)


class InvalidHours(Exception):
    """What was typed makes no hours; the text says where."""


@dataclass
class SeasonHours:
    """A week that holds for a part of the year, or for good, as it is typed."""

    since: str = ""
    until: str = ""
    days: dict[int, list[tuple[str, str]]] = field(default_factory=lambda: {day: [] for day in range(1, 8)})

    @property
    def title(self) -> str:
        """How people speak of it."""
        if self.since and self.until:
            return f"{self.since} – {self.until}"
        return f"From {self.since}" if self.since else f"Until {self.until}" if self.until else "All year"

    def bars(self, weekday: int) -> list[tuple[float, float]]:
        """Give what of a day is open, as shares of it: where each stretch begins, and how long it is."""
        before = self.days[(weekday + 5) % 7 + 1]
        today = [(day_fraction(o), day_fraction(c) if c > o else 1.0) for o, c in self.days[weekday] if o and c]
        night = [(0.0, day_fraction(c)) for o, c in before if o and c and c <= o]
        return [(since, until - since) for since, until in sorted(night + today) if since < until]

    def parse_openings(self) -> Iterator[Opening]:
        """Read the openings. Refuses a time or a day that is none, and half an opening."""
        since = parse_day_or_time(date, self.since, "The first day of a season")
        until = parse_day_or_time(date, self.until, "The last day of a season")
        if since and until and until < since:
            raise no.SeasonEndsBeforeStart
        for weekday, name in WEEKDAYS.items():
            for typed in self.days[weekday]:
                opens, closes = (parse_day_or_time(time, part, name) for part in typed)
                if opens is None or closes is None:
                    raise InvalidHours(f"{name}: an opening has a beginning and an end.")
                yield Opening(weekday, opens, closes, since, until)


def day_fraction(time_text: str) -> float:
    """Give how much of a day is over at this time; none at what is no time."""
    hours, _, minutes = time_text.partition(":")
    return (int(hours) * 60 + int(minutes[:2])) / MINUTES_PER_DAY if hours.isdigit() and minutes[:2].isdigit() else 0.0


def group_openings(openings: Iterable[Opening]) -> list[SeasonHours]:
    """Sort the openings there are into seasons and days."""
    found: dict[tuple[str, str], SeasonHours] = {}
    for one in openings:
        since, until = (day.isoformat() if day else "" for day in (one.valid_from, one.valid_until))
        season = found.setdefault((since, until), SeasonHours(since, until))
        season.days[one.weekday].append((f"{one.opens:%H:%M}", f"{one.closes:%H:%M}"))
    return sorted(found.values(), key=lambda season: (season.since, season.until))


def parse_seasons(form: FormData) -> list[SeasonHours]:
    """Sort what was typed into seasons and days; a season of no openings is none."""
    found = []
    for at in range(MAX_SEASONS):
        season = SeasonHours(str(form.get(f"from-{at}", "")), str(form.get(f"until-{at}", "")))
        for weekday in season.days:
            opens, closes = (form.getlist(f"{name}-{at}-{weekday}") for name in ("opens", "closes"))
            pairs = zip_longest(map(str, opens), map(str, closes), fillvalue="")
            season.days[weekday] = [pair for pair in pairs if any(pair)]
        if any(season.days.values()):
            found.append(season)
    return found


def parse_day_or_time(kind: type[Moment], text: str, field_label: str) -> Moment | None:
    """Read a day or a time of day as browsers send it; nothing typed is none."""
    try:
        return kind.fromisoformat(text) if text else None
    except ValueError:
        raise InvalidHours(f"{field_label}: {text[:20]!r} cannot be read.") from None


async def edit_week(request: Request, database: Database, templates: Any, *, zone: ZoneInfo, now: datetime) -> Response:
    """Show a resource's week, or keep what was typed as its week."""
    by = request.state.actor
    if not permissions.has_permission(by, "see", OpeningHours):
        raise HTTPException(403)
    resource = await database.get(Resource, parse_id(request.path_params["pk"]))
    if resource is None:
        raise HTTPException(404)
    hours = await catalogue.get_opening_hours(database, resource.id)
    seasons, seen, refusal = group_openings(map(opening_from_row, hours)), version_tag(hours), None
    if request.method == "POST":
        form = await read_form(request)
        seasons, seen = parse_seasons(form), str(form.get("seen", ""))
        try:
            await save_week(request, database, resource, seasons, expected_tag=seen, now=now)
        except (InvalidHours, no.Refusal) as found:
            refusal = found
            request.state.refusal = found if isinstance(found, no.Refusal) else no.Misshapen()
        else:
            Flash.success(request, f"The hours of {resource.name} are saved.")
            return RedirectResponse(request.url.path, 303)
    told = {
        "resource": resource,
        "weekdays": WEEKDAYS,
        "seasons": seasons,
        "blank": SeasonHours(),
        "most": MAX_SEASONS,
        "seen": seen,
        "error": str(refusal or ""),
        "may_change": permissions.has_permission(by, "change", OpeningHours),
        "coming": await database.fetch(UPCOMING_EXCEPTIONS, resource_id=resource.id, now=now),
        "local_time": partial(format_local_time, zone),
    }
    answer: Response = await templates.TemplateResponse(request, "sqladmin/week.html", told)
    return answer


async def save_week(
    request: Request,
    database: Database,
    resource: Resource,
    seasons: list[SeasonHours],
    *,
    expected_tag: str,
    now: datetime,
) -> None:
    """Keep this week, in the name of whoever typed it."""
    by, number_of_request = request.state.actor, request.scope.get("request_id", "")
    openings = [opening for season in seasons for opening in season.parse_openings()]

    async def once() -> None:
        async with database.transaction(by=by, now=now, request_id=number_of_request) as session:
            await records.replace_opening_hours(
                session, resource.id, openings, by=by, now=now, expected_tag=expected_tag
            )

    await retry_interrupted(once)


PAGE = CustomPage("/resource/{pk}/week", "week", edit_week, ("GET", "POST"))
