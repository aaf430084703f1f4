"""Visits that a change would strand: what a page shows of them, and which of them its user has accepted."""

from datetime import datetime

from markupsafe import Markup
from starlette.requests import Request

from admin.framework.context import context_of
from admin.framework.formatting import format_local_time
from admin.framework.middleware import read_form
from admin.framework.page_state import page_state
from bookit import refusals as no

FIELD = "accepts_stranded"  # holds the tag of the visits that the page named
MAX_SHOWN = 20


async def accepted_visits(request: Request, field: str = FIELD) -> str:
    """Return the tag of the stranded visits that this form accepts; empty if it accepts none."""
    form = await read_form(request) if request.method == "POST" else {}
    return str(form.get(field, ""))


def stranded_visits(request: Request) -> no.StrandsVisits | None:
    """Return the refusal of this request that names stranded visits, or None."""
    refusal = page_state(request).refusal
    return refusal if isinstance(refusal, no.StrandsVisits) else None


def business_time(request: Request, moment: datetime) -> Markup:
    """Return a time by the business's clock."""
    return format_local_time(context_of(request).zone, moment)


TEMPLATE_GLOBALS = {"stranded_visits": stranded_visits, "business_time": business_time, "max_stranded": MAX_SHOWN}
