"""Which days a page of figures is of: as somebody picked them, by the business's clock."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import cast
from zoneinfo import ZoneInfo

from starlette.requests import Request

from bookit import refusals as no
from bookit.policy import limits, times
from bookit.reports.ranges import Granularity, ReportRange

INVALID_DAY = "This cannot be read: a day is written as 2026-05-04."


@dataclass(frozen=True)
class Preset:
    """Days that are often asked for: so many, up to today."""

    count: int
    label: str


@dataclass(frozen=True)
class SelectedRange:
    """The days a page is of, and why not those that were asked for."""

    days: ReportRange
    count: int | None
    error: str = ""


def select_range(
    request: Request,
    presets: tuple[Preset, ...],
    *,
    zone: ZoneInfo,
    now: datetime,
    granularities: Sequence[Granularity],
) -> SelectedRange:
    """Read the days from the address; what cannot be reported is said, and the usual days are shown instead.

    The first of the steps is the usual one.
    """
    today = now.astimezone(zone).date()
    try:
        return parse_range(request, presets, granularities, today, zone)
    except no.Refusal as refusal:
        error, request.state.refusal = str(refusal), refusal
    except ValueError:
        error, request.state.refusal = INVALID_DAY, no.Misshapen()
    usual = ReportRange(times.days_before(today, limits.DEFAULT_REPORT_DAYS - 1), today, zone, granularities[0])
    return SelectedRange(usual, limits.DEFAULT_REPORT_DAYS, error)


def parse_range(
    request: Request, presets: tuple[Preset, ...], granularities: Sequence[Granularity], today: date, zone: ZoneInfo
) -> SelectedRange:
    first, last = (str(request.query_params.get(name, "")) for name in ("from_date", "to_date"))
    by = cast("Granularity", request.query_params.get("by") or granularities[0])
    if by not in granularities:
        raise ValueError(by)
    if first or last:
        until = date.fromisoformat(last) if last else today
        since = date.fromisoformat(first) if first else times.days_before(until, limits.DEFAULT_REPORT_DAYS - 1)
        return SelectedRange(ReportRange(since, until, zone, by), None)
    typed = request.query_params.get("days") or limits.DEFAULT_REPORT_DAYS
    count = int(typed)
    if count not in {pick.count for pick in presets}:
        raise ValueError(typed)
    return SelectedRange(ReportRange(today - timedelta(days=count - 1), today, zone, by), count)
