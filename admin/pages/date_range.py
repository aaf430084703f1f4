"""Which days a page of figures is of: as somebody picked them, by the business's clock."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import cast
from zoneinfo import ZoneInfo

from starlette.requests import Request

from bookit import refusals as no
from bookit.policy import limits, times
from bookit.reports.ranges import Days, Step

UNREADABLE = "This cannot be read: a day is written as 2026-05-04."


@dataclass(frozen=True)
class Pick:
    """Days that are often asked for: so many, up to today."""

    count: int
    label: str


@dataclass(frozen=True)
class Picked:
    """The days a page is of, and why not those that were asked for."""

    days: Days
    count: int | None
    error: str = ""


def picked(
    request: Request, picks: tuple[Pick, ...], *, zone: ZoneInfo, now: datetime, steps: Sequence[Step]
) -> Picked:
    """Read the days from the address; what cannot be reported is said, and the usual days are shown instead.

    The first of the steps is the usual one.
    """
    today = now.astimezone(zone).date()
    try:
        return asked(request, picks, steps, today, zone)
    except no.Refusal as refusal:
        error, request.state.refusal = str(refusal), refusal
    except ValueError:
        error, request.state.refusal = UNREADABLE, no.Misshapen()
    usual = Days(times.days_before(today, limits.REPORT_DAYS - 1), today, zone, steps[0])
    return Picked(usual, limits.REPORT_DAYS, error)


def asked(request: Request, picks: tuple[Pick, ...], steps: Sequence[Step], today: date, zone: ZoneInfo) -> Picked:
    first, last = (str(request.query_params.get(name, "")) for name in ("from_date", "to_date"))
    by = cast("Step", request.query_params.get("by") or steps[0])
    if by not in steps:
        raise ValueError(by)
    if first or last:
        until = date.fromisoformat(last) if last else today
        since = date.fromisoformat(first) if first else times.days_before(until, limits.REPORT_DAYS - 1)
        return Picked(Days(since, until, zone, by), None)
    typed = request.query_params.get("days") or limits.REPORT_DAYS
    count = int(typed)
    if count not in {pick.count for pick in picks}:
        raise ValueError(typed)
    return Picked(Days(today - timedelta(days=count - 1), today, zone, by), count)
