"""A resource's week at a glance: when it is open, day by day, to be read and to be written."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, time
from functools import partial
from itertools import zip_longest
from typing import TypeVar, Unpack

from sqladmin import Flash
from sqlalchemy import bindparam, or_, select
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from admin.framework.context import context_of
from admin.framework.custom_page import CustomPage
from admin.framework.formatting import WEEKDAYS, format_local_time
from admin.framework.middleware import read_form
from admin.framework.page_state import page_state
from admin.framework.parsing import parse_id
from admin.framework.permissions import require_permission
from admin.framework.stranded_visits import accepted_visits
from admin.framework.transactions import ActorAndTime, run_act
from bookit import catalogue, records
from bookit import refusals as no
from bookit.catalogue import Opening, opening_from_row, version_tag
from bookit.db.session import Session
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
    """A text that is no opening; the message names its field."""


@dataclass
class SeasonHours:
    """The opening hours of a week, valid for part of the year or all of it, as they were typed."""

    since: str = ""
    until: str = ""
    days: dict[int, list[tuple[str, str]]] = field(default_factory=lambda: {day: [] for day in range(1, 8)})

    @property
    def title(self) -> str:
        """The name of the season on the page."""
        if self.since and self.until:
            return f"{self.since} – {self.until}"
        return f"From {self.since}" if self.since else f"Until {self.until}" if self.until else "All year"

    def bars(self, weekday: int) -> list[tuple[float, float]]:
        """Return the bars that show when a day is open: the start and the length of each, as fractions of the day."""
        yesterday = self.days[(weekday + 5) % 7 + 1]
        today = [(day_fraction(o), day_fraction(c) if c > o else 1.0) for o, c in self.days[weekday] if o and c]
        night = [(0.0, day_fraction(c)) for o, c in yesterday if o and c and c <= o]
        return [(start, end - start) for start, end in sorted(night + today) if start < end]

    def parse_openings(self) -> Iterator[Opening]:
        """Yield the openings. Raise InvalidHours for what is no time or day, and for half an opening."""
        since = parse_day_or_time(date, self.since, "First day of the season")
        until = parse_day_or_time(date, self.until, "Last day of the season")
        if since and until and until < since:
            raise no.SeasonEndsBeforeStart
        for weekday, name in WEEKDAYS.items():
            for pair in self.days[weekday]:
                opens, closes = (parse_day_or_time(time, text, name) for text in pair)
                if opens is None or closes is None:
                    raise InvalidHours(f"{name}: enter both an opening and a closing time.")
                yield Opening(weekday, opens, closes, since, until)


def day_fraction(time_text: str) -> float:
    """Return how much of a day is over at this time; 0 for what is no time."""
    hours, _, minutes = time_text.partition(":")
    is_time = re.fullmatch("[0-9]{1,2}:[0-9]{2}.*", time_text, re.DOTALL)
    return (int(hours) * 60 + int(minutes[:2])) / MINUTES_PER_DAY if is_time else 0.0


def group_openings(openings: Iterable[Opening]) -> list[SeasonHours]:
    """Return openings by season and day."""
    seasons: dict[tuple[str, str], SeasonHours] = {}
    for opening in openings:
        since, until = (day.isoformat() if day else "" for day in (opening.valid_from, opening.valid_until))
        season = seasons.setdefault((since, until), SeasonHours(since, until))
        season.days[opening.weekday].append((f"{opening.opens:%H:%M}", f"{opening.closes:%H:%M}"))
    return sorted(seasons.values(), key=lambda season: (season.since, season.until))


def parse_seasons(form: FormData) -> list[SeasonHours]:
    """Return what was typed by season and day, without seasons that have no openings."""
    seasons = []
    for index in range(MAX_SEASONS):
        season = SeasonHours(str(form.get(f"from-{index}", "")), str(form.get(f"until-{index}", "")))
        for weekday in season.days:
            opens, closes = (form.getlist(f"{name}-{index}-{weekday}") for name in ("opens", "closes"))
            pairs = zip_longest(map(str, opens), map(str, closes), fillvalue="")
            season.days[weekday] = [pair for pair in pairs if any(pair)]
        if any(season.days.values()):
            seasons.append(season)
    return seasons


def parse_day_or_time(kind: type[Moment], text: str, field_label: str) -> Moment | None:
    """Return a day or a time of day as browsers send it; None for an empty text."""
    try:
        return kind.fromisoformat(text) if text else None
    except ValueError:
        raise InvalidHours(f"{field_label}: {text[:20]!r} cannot be read.") from None


async def edit_week(request: Request) -> Response:
    """Show a resource's week; on POST, save it."""
    require_permission(request, "see", OpeningHours)
    context = context_of(request)
    resource = await context.database.get(Resource, parse_id(request.path_params["pk"]))
    if resource is None:
        raise HTTPException(404)
    hours = await catalogue.get_opening_hours(context.database, resource.id)
    seasons, tag, error = group_openings(map(opening_from_row, hours)), version_tag(hours), ""
    if request.method == "POST":
        form = await read_form(request)
        seasons, tag = parse_seasons(form), str(form.get("version_tag", ""))
        try:
            await save_week(request, resource, seasons, expected_tag=tag)
        except InvalidHours as invalid:
            page_state(request).refusal, error = no.Misshapen(), str(invalid)
        except no.Refusal as refusal:
            page_state(request).refusal, error = refusal, str(refusal)
        else:
            Flash.success(request, f"Opening hours of {resource.name} saved.")
            return RedirectResponse(request.url.path, 303)
    return await render_week(request, resource, {"seasons": seasons, "version_tag": tag, "error": error})


async def render_week(request: Request, resource: Resource, values: dict[str, object]) -> Response:
    """Return the page, with the upcoming exceptions."""
    context = context_of(request)
    upcoming = await context.database.fetch(UPCOMING_EXCEPTIONS, resource_id=resource.id, now=context.now())
    values |= {
        "resource": resource,
        "weekdays": WEEKDAYS,
        "blank": SeasonHours(),
        "max_seasons": MAX_SEASONS,
        "may_change": permissions.has_permission(page_state(request).actor, "change", OpeningHours),
        "upcoming": upcoming,
        "local_time": partial(format_local_time, context.zone),
    }
    return await context.render(request, "week.html", values)


async def save_week(request: Request, resource: Resource, seasons: list[SeasonHours], *, expected_tag: str) -> None:
    """Replace a resource's hours by this week. Raise InvalidHours, or the refusal that it meets."""
    openings = [opening for season in seasons for opening in season.parse_openings()]
    accepted = await accepted_visits(request)

    async def act(session: Session, **by_and_now: Unpack[ActorAndTime]) -> None:
        await records.replace_opening_hours(
            session, resource.id, openings, **by_and_now, expected_tag=expected_tag, accepts_stranded=accepted
        )

    await run_act(request, act)


PAGE = CustomPage("/resource/{pk}/week", "week", edit_week, ("GET", "POST"))
