"""Undo: of the last change of a booking, and of everything that one act changed, which has a page of its own."""

from typing import Unpack

from sqladmin import Flash
from sqlalchemy import BigInteger, and_, bindparam, or_, select
from sqlalchemy.dialects.postgresql import ARRAY
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from admin.framework.context import context_of, request_id_of
from admin.framework.custom_page import CustomPage
from admin.framework.formatting import next_free_text
from admin.framework.middleware import read_form
from admin.framework.page_state import page_state
from admin.framework.parsing import parse_id
from admin.framework.permissions import require_permission
from admin.framework.transactions import ActorAndTime, run_act
from admin.history.formatter import REQUEST_ID_PATTERN, EventFormatter
from bookit import refusals as no
from bookit.bookings import availability, undo
from bookit.db.session import Session
from bookit.policy import permissions
from bookit.schema.tables import Booking, Event, from_row, table_of

MAX_EVENTS_SHOWN = 1_000
EVENTS = table_of(Event).c
IS_OF_ACT, IS_CLOCK = EVENTS.request_id == bindparam("act"), EVENTS.door == "clock"
FIRST = select(EVENTS.actor_id, EVENTS.door).where(IS_OF_ACT).order_by(IS_CLOCK, EVENTS.id).limit(1).subquery()
IS_OF_ACTOR = and_(EVENTS.actor_id.is_not_distinct_from(FIRST.c.actor_id), EVENTS.door == FIRST.c.door)
EVENTS_OF_ACT = (  # of one actor and door, as in undo.undo_request
    select(table_of(Event)).where(IS_OF_ACT, or_(IS_OF_ACTOR, IS_CLOCK)).order_by(EVENTS.id).limit(MAX_EVENTS_SHOWN)
)

BOOKINGS = table_of(Booking).c
COMING_BOOKINGS = (
    select(BOOKINGS.id)
    .where(BOOKINGS.id == bindparam("numbers", type_=ARRAY(BigInteger)).any_(), BOOKINGS.start_time > bindparam("now"))
    .limit(1)
)


async def undo_last(request: Request) -> Response:
    """Undo the last change of a booking, or say on its page why that is refused."""
    require_permission(request, "change", Booking)
    form, booking_id = await read_form(request), parse_id(request.path_params["pk"])
    event_id, notifies = parse_id(form.get("event", "")), bool(form.get("notify_customer"))

    async def act(session: Session, **by_and_now: Unpack[ActorAndTime]) -> Booking:
        return await undo.undo(session, booking_id, event_id=event_id, notify_customer=notifies, **by_and_now)

    last_change = await undo.last_change(context_of(request).database, booking_id)
    try:
        await run_act(request, act)
    except no.Missing:
        raise HTTPException(404) from None
    except no.Refusal as refusal:
        Flash.error(request, await describe_refusal(request, refusal, booking_id, last_change))
    else:
        Flash.success(request, f"Undone: booking #{booking_id} is as it was before.")
    return RedirectResponse(request.url_for("admin:details", identity="booking", pk=booking_id), 303)


async def describe_refusal(
    request: Request, refusal: no.Refusal, booking_id: int, last_change: undo.LastChange | None
) -> str:
    """Return why the change cannot be undone, and the next free slots."""
    context = context_of(request)
    booking = await context.database.get(Booking, booking_id)
    if booking and last_change:
        target = last_change.previous_target(booking)
        visit = availability.visit_after(
            booking, start_time=target.start, end_time=target.end, resources=target.resources, seats=target.seats
        )
        await availability.attach_next_free(context.database, refusal, visit, since=target.start, now=context.now())
    return f"{refusal} {next_free_text(refusal, context.zone)}" if refusal.next_free else str(refusal)


async def show_act(request: Request) -> Response:
    """Show everything that one act changed; on POST, undo it."""
    act_id, error = request.path_params["act"], ""
    if not REQUEST_ID_PATTERN.fullmatch(act_id):
        raise HTTPException(404)
    if request.method == "POST":
        require_permission(request, "change", Booking)
        notifies = bool((await read_form(request)).get("notify_customer"))

        async def act(session: Session, **by_and_now: Unpack[ActorAndTime]) -> list[Booking]:
            return await undo.undo_request(session, act_id, notify_customers=notifies, **by_and_now)

        try:
            bookings = await run_act(request, act)
        except no.Refusal as refusal:
            page_state(request).refusal, error = refusal, str(refusal)
        else:
            result = "booking is as it was" if len(bookings) == 1 else "bookings are as they were"
            Flash.success(request, f"Undone: {len(bookings)} {result} before.")
            return RedirectResponse(request.url_for("admin:act", act=request_id_of(request)), 303)
    return await render_act(request, act_id, error)


async def render_act(request: Request, act_id: str, error: str) -> Response:
    """Return the page of an act. Raise 404 where this user may see nothing of it."""
    context, actor = context_of(request), page_state(request).actor
    events = [from_row(Event, row) for row in await context.database.fetch(EVENTS_OF_ACT, act=act_id)]
    visible = [event for event in events if may_see(request, event)]
    if not visible:
        raise HTTPException(404)
    changed = {event.row_id for event in visible if event.table_name == "bookings" and event.action == "changed"}
    is_undoable = bool(changed) and permissions.has_permission(actor, "change", Booking)
    coming = await context.database.fetch(COMING_BOOKINGS, numbers=[*changed], now=context.now()) if is_undoable else []
    texts = await EventFormatter(request).format_events(visible)
    values = {
        "act": act_id,
        "events": texts,
        "is_of_one": len({(text.actor, text.door, text.reason) for text in texts}) == 1,
        "error": error,
        "undoable_count": len(changed) if is_undoable else 0,
        "is_to_come": bool(coming),
    }
    return await context.render(request, "act.html", values)


def may_see(request: Request, event: Event) -> bool:
    """Return whether the user may see the row that an event is about."""
    view = context_of(request).views.get(event.table_name)
    return view is not None and permissions.has_permission(page_state(request).actor, "see", view.model)


PAGES = [
    CustomPage("/booking/{pk}/undo", "undo", undo_last, ("POST",)),
    CustomPage("/act/{act}", "act", show_act, ("GET", "POST"), ability="change_many"),
]
