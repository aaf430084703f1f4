"""Taking back the last act on a booking, and all that one act changed: what it was, on one page."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, TypeVar

from sqladmin import Flash
from sqlalchemy import BigInteger, bindparam, select
from sqlalchemy.dialects.postgresql import ARRAY
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from admin.framework.custom_page import CustomPage
from admin.framework.formatting import next_free_text
from admin.framework.middleware import read_form
from admin.framework.parsing import parse_id
from admin.history.formatter import REQUEST_ID_PATTERN, EventFormatter
from bookit import refusals as no
from bookit.bookings import availability, undo
from bookit.db.errors import retry_interrupted
from bookit.db.pool import Database
from bookit.db.session import Session
from bookit.policy import permissions
from bookit.schema.tables import Booking, Event, table_of

MAX_EVENTS_SHOWN = 1_000
T = TypeVar("T")
EVENTS = table_of(Event).c
EVENTS_OF_ACT = (
    select(table_of(Event)).where(EVENTS.request_id == bindparam("act")).order_by(EVENTS.id).limit(MAX_EVENTS_SHOWN)
)

BOOKINGS = table_of(Booking).c
COMING_BOOKINGS = (
    select(BOOKINGS.id)
    .where(BOOKINGS.id == bindparam("numbers", type_=ARRAY(BigInteger)).any_(), BOOKINGS.start_time > bindparam("now"))
    .limit(1)
)


async def undo_last(request: Request, database: Database, view: Any, *, now: datetime) -> Response:
    """Take back the last act on a booking, or say why not, on its page."""
    if not permissions.has_permission(request.state.actor, "change", Booking):
        raise HTTPException(403)
    form, pk = await read_form(request), parse_id(request.path_params["pk"])
    event, tells = parse_id(form.get("event", "")), bool(form.get("tell"))

    async def act(session: Session, **who: Any) -> Booking:
        return await undo.undo(session, pk, event_id=event, notify_customer=tells, **who)

    deed = await undo.last_change(database, pk)
    try:
        await run_act(request, database, act, now=now)
    except no.Missing:
        raise HTTPException(404) from None
    except no.Refusal as refusal:
        Flash.error(request, await describe_refusal(database, view, refusal, pk, deed, now=now))
    else:
        Flash.success(request, f"Booking #{pk} is as it was.")
    return RedirectResponse(request.url_for("admin:details", identity="booking", pk=pk), 303)


async def describe_refusal(
    database: Database, view: Any, refusal: no.Refusal, pk: int, last_change: undo.LastChange | None, *, now: datetime
) -> str:
    """Say why not, and when that would be free."""
    booking = await database.get(Booking, pk)
    if booking and last_change:
        _, since, until, resource = last_change.previous_target(booking)
        visit = availability.visit_after(booking, start_time=since, end_time=until, resource_id=resource)
        await availability.attach_next_free(database, refusal, visit, since=since, now=now)
    return f"{refusal} {next_free_text(refusal, view.context.zone)}" if refusal.next_free else str(refusal)


async def show_act(request: Request, database: Database, templates: Any, view: Any, *, now: datetime) -> Response:
    """Show all that one act changed, and take all of it back if that is asked for."""
    act = request.path_params["act"]
    if not REQUEST_ID_PATTERN.fullmatch(act):
        raise HTTPException(404)
    by, error = request.state.actor, ""
    if request.method == "POST":
        if not permissions.has_permission(by, "change", Booking):
            raise HTTPException(403)
        tells = bool((await read_form(request)).get("tell"))

        async def back(session: Session, **who: Any) -> list[Booking]:
            return await undo.undo_request(session, act, notify_customers=tells, **who)

        try:
            rows = await run_act(request, database, back, now=now)
        except no.Refusal as refusal:
            request.state.refusal, error = refusal, str(refusal)
        else:
            Flash.success(request, f"{len(rows)} bookings are as they were.")
            return RedirectResponse(request.url_for("admin:act", act=request.scope["request_id"]), 303)
    found = [Event(**row) for row in await database.fetch(EVENTS_OF_ACT, act=act)]
    seen = [event for event in found if may_see(request, view, event)]
    if not seen:
        raise HTTPException(404)
    moved = {event.row_id for event in seen if event.table_name == "bookings" and event.action == "changed"}
    told = await EventFormatter(view, request).format_events(seen)
    is_undoable = bool(moved) and permissions.has_permission(by, "change", Booking)
    coming = await database.fetch(COMING_BOOKINGS, numbers=[*moved], now=now) if is_undoable else []
    page = {
        "act": act,
        "told": told,
        "is_of_one": len({(one.actor, one.door, one.reason) for one in told}) == 1,
        "error": error,
        "undoable": len(moved) if is_undoable else 0,
        "is_to_come": bool(coming),
    }
    answer: Response = await templates.TemplateResponse(request, "sqladmin/act.html", page)
    return answer


def may_see(request: Request, view: Any, event: Event) -> bool:
    page = view.views_by_table.get(event.table_name)
    return page is not None and permissions.has_permission(request.state.actor, "see", page.model)


async def run_act(request: Request, database: Database, act: Callable[..., Awaitable[T]], *, now: datetime) -> T:
    """Run an act in this person's name."""
    by, asked = request.state.actor, request.scope.get("request_id", "")

    async def once() -> T:
        async with database.transaction(by=by, now=now, request_id=asked) as session:
            return await act(session, by=by, now=now)

    return await retry_interrupted(once)


PAGES = [
    CustomPage("/booking/{pk}/undo", "undo", undo_last, ("POST",)),
    CustomPage("/act/{act}", "act", show_act, ("GET", "POST")),
]
