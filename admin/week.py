"""A resource's week at a glance: when it is open, day by day, to be read and to be written."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, time
from typing import Any, TypeVar

from sqladmin import Flash
from sqlalchemy import bindparam, or_, select
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from admin.record_view import number as number_in
from bookit import catalogue, records
from bookit import refusals as no
from bookit.catalogue import Opening, mark_of, opening_of
from bookit.columns import DAY_MINUTES
from bookit.database import Database, retrying
from bookit.tables import CalendarException, Resource, home

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MOST_SEASONS = 20
Span = tuple[time, time]
Moment = TypeVar("Moment", date, time)
EXCEPTIONS = home(CalendarException)
COMING = (
    select(EXCEPTIONS)
    .where(
        or_(EXCEPTIONS.c.resource_id == bindparam("resource_id"), EXCEPTIONS.c.resource_id.is_(None)),
        EXCEPTIONS.c.end_time > bindparam("now"),
    )
    .order_by(EXCEPTIONS.c.start_time, EXCEPTIONS.c.id)
    .limit(50)
)


class NoHours(Exception):
    """What was typed makes no hours; the text says where."""


@dataclass
class Season:
    """A week that holds for a part of the year, or for good."""

    since: date | None = None
    until: date | None = None
    days: dict[int, list[Span]] = field(default_factory=lambda: {day: [] for day in range(1, 8)})

    @property
    def title(self) -> str:
        """How people speak of it."""
        since, until = (f"{day:%d %b %Y}" if day else "" for day in (self.since, self.until))
        if since and until:
            return f"{since} – {until}"
        return f"From {since}" if since else f"Until {until}" if until else "All year"

    def bars(self, weekday: int) -> list[tuple[float, float]]:
        """Give what of a day is open, as shares of it: where each stretch begins, and how long it is."""
        before = self.days[(weekday + 5) % 7 + 1]
        today = [(share(o), share(c) if c > o else 1.0) for o, c in self.days[weekday]]
        night = [(0.0, share(c)) for o, c in before if c <= o]
        return [(since, until - since) for since, until in sorted(night + today) if since < until]


def share(clock: time) -> float:
    return (clock.hour * 60 + clock.minute) / DAY_MINUTES


def seasons_of(openings: Iterable[Opening]) -> list[Season]:
    """Sort openings into seasons and days."""
    found: dict[tuple[date | None, date | None], Season] = {}
    for one in openings:
        season = found.setdefault((one.valid_from, one.valid_until), Season(one.valid_from, one.valid_until))
        season.days[one.weekday].append((one.opens, one.closes))
    return sorted(found.values(), key=lambda season: (season.since or date.min, season.until or date.max))


def openings_in(form: FormData) -> list[Opening]:
    """Read the openings that a form says. Refuses a time or a date that is none, and half an opening."""
    found = []
    for season in range(MOST_SEASONS):
        since = read(date, form.get(f"from-{season}"), "a season's first day")
        until = read(date, form.get(f"until-{season}"), "a season's last day")
        if since and until and until < since:
            raise NoHours(str(no.SeasonEndsBeforeStart()))
        for weekday, name in enumerate(DAYS, 1):
            pairs = zip(
                form.getlist(f"opens-{season}-{weekday}"), form.getlist(f"closes-{season}-{weekday}"), strict=False
            )
            for opens, closes in ((read(time, o, name), read(time, c, name)) for o, c in pairs):
                if opens is None and closes is None:
                    continue
                if opens is None or closes is None:
                    raise NoHours(f"{name}: an opening has a beginning and an end.")
                found.append(Opening(weekday, opens, closes, since, until))
    return found


def read(kind: type[Moment], typed: object, where: str) -> Moment | None:
    """Read a day or a time of day as browsers send it; nothing typed is none."""
    try:
        return kind.fromisoformat(str(typed)) if typed else None
    except ValueError:
        raise NoHours(f"{where}: {str(typed)[:20]!r} cannot be read.") from None


async def edit_week(request: Request, database: Database, templates: Any, *, now: datetime) -> Response:
    """Show a resource's week, or keep what was typed as its week."""
    number = number_in(request.path_params["pk"])
    resource = await database.get(Resource, number)
    if resource is None:
        raise HTTPException(404)
    hours = await catalogue.hours_of(database, number)
    told: dict[str, Any] = {"resource": resource, "days": DAYS, "seen": mark_of(hours), "error": ""}
    told["seasons"] = seasons_of(map(opening_of, hours))
    if request.method == "POST":
        form = await request.form()
        try:
            openings = openings_in(form)
            await save(request, database, number, openings, seen=str(form.get("seen", "")), now=now)
        except (NoHours, no.Refusal) as refusal:
            request.state.refusal = refusal if isinstance(refusal, no.Refusal) else no.Misshapen()
            told["error"] = str(refusal)
        else:
            Flash.success(request, f"The hours of {resource.name} are saved.")
            return RedirectResponse(request.url.path, 303)
    told["coming"] = await database.fetch(COMING, resource_id=number, now=now)
    answer: Response = await templates.TemplateResponse(request, "sqladmin/week.html", told)
    return answer


async def save(
    request: Request, database: Database, number: int, openings: list[Opening], *, seen: str, now: datetime
) -> None:
    by = request.state.actor

    async def once() -> None:
        number_of_request = request.scope.get("request_id", "")
        async with database.transaction(by=by, now=now, request_id=number_of_request) as session:
            await records.keep_hours(session, number, openings, by=by, now=now, seen=seen)

    await retrying(once)
