"""The days that a page of figures is about, by the business's clock."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import cast
from zoneinfo import ZoneInfo

from starlette.requests import Request

from admin.framework.page_state import page_state
from admin.framework.parsing import parse_id
from bookit import refusals as no
from bookit.policy import limits, times
from bookit.reports.ranges import Granularity, ReportRange

INVALID_DAY = "These dates are not valid. Write a date as 2026-05-04."


@dataclass(frozen=True)
class Preset:
    """Days that are often asked for: a number of them, up to today."""

    count: int
    label: str


@dataclass(frozen=True)
class SelectedRange:
    """The days that a page is about, and what is wrong with those that the URL asks for."""

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
    """Return the days that the URL asks for, or else the default days and what is wrong with those.

    The first granularity is the default.
    """
    page = page_state(request)
    today = now.astimezone(zone).date()
    try:
        return parse_range(request, presets, granularities, today, zone)
    except no.Refusal as refusal:
        error, page.refusal = str(refusal), refusal
    except ValueError:
        error, page.refusal = INVALID_DAY, no.Misshapen()
    first = times.days_before(today, limits.DEFAULT_REPORT_DAYS - 1)
    return SelectedRange(ReportRange(first, today, zone, granularities[0]), limits.DEFAULT_REPORT_DAYS, error)


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
    count = parse_id(request.query_params.get("days") or limits.DEFAULT_REPORT_DAYS)
    if count not in {preset.count for preset in presets}:
        raise ValueError(count)
    return SelectedRange(ReportRange(today - timedelta(days=count - 1), today, zone, by), count)
