"""The acts on bookings as buttons: sent by POST, with a reason for the history, and one outcome for each booking."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Unpack

from sqladmin import Flash, action
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from admin.framework.context import AdminContext, context_of
from admin.framework.middleware import read_form
from admin.framework.page_state import page_state
from admin.framework.parsing import parse_ids
from admin.framework.reason_field import reason_error
from admin.framework.sign_in import is_admin_path
from admin.framework.transactions import ActorAndTime
from admin.record_view import RecordView, SaveFailed
from bookit import records
from bookit import refusals as no
from bookit.bookings import acts, claims, undo
from bookit.db.session import Session
from bookit.policy import lifecycle, permissions, times
from bookit.schema.tables import Booking, Status
from bookit.schema.visible_text import normalize_line

StatusAct = Callable[..., Awaitable[Booking]]
MAX_BOOKINGS = 200
MAX_MESSAGES = 5


class ActionText(NamedTuple):
    """The words of an act: its label, its question about one booking and about several, and what is done then."""

    label: str
    question_one: str
    question_many: str
    past_tense: str


ACTION_TEXTS: Mapping[Status, ActionText] = {
    Status.PENDING: ActionText(
        "Reopen",
        "Reopen this booking? It becomes pending again. Its slot must still be free.",
        "Reopen these bookings? They become pending again. Their slots must still be free.",
        "reopened",
    ),
    Status.CONFIRMED: ActionText("Confirm", "Confirm this booking?", "Confirm these bookings?", "confirmed"),
    Status.COMPLETED: ActionText(
        "Complete", "Complete this booking? The visit took place.", "Complete these bookings? The visits took place.",
        "completed",
    ),
    Status.CANCELLED: ActionText(
        "Cancel visit", "Cancel this booking? Its slot becomes free.",
        "Cancel these bookings? Their slots become free.",
        "cancelled",
    ),
    Status.NO_SHOW: ActionText(
        "No-show", "Mark this booking as no-show? The customer did not come.",
        "Mark these bookings as no-show? The customers did not come.", "marked as no-show",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class ActionOptions:
    """The reason of an act, and whether it notifies the customers; of many, those with coming visits.

    With ``accepts_overlap`` a customer may have another visit at the time of the booking.
    """

    reason: str
    is_notify_requested: bool
    is_bulk: bool
    accepts_overlap: bool = False

    def should_notify(self, booking: Booking, *, now: datetime) -> bool:
        """Return whether this customer is to be notified."""
        return self.is_notify_requested and (booking.start_time > now or not self.is_bulk)


@dataclass(frozen=True)
class Button:
    """An act on the page of one booking, with its question, or with the refusal that it would meet."""

    name: str
    label: str
    question: str
    url: str
    refusal: no.Refusal | None


class BookingActions(RecordView):
    """A view of bookings with a button for each act of ``STATUS_ACTS``."""

    def __init_subclass__(cls, **kwargs: object) -> None:
        """Add the actions before SQLAdmin looks for them."""
        for status, act in acts.STATUS_ACTS.items():
            setattr(cls, act.__name__, make_action_handler(act, ACTION_TEXTS[status]))
        super().__init_subclass__(**kwargs)

    async def details_context(self, request: Request) -> dict[str, object]:
        """Add the buttons and the last change, for users who may change bookings."""
        values = await super().details_context(request)
        booking: Booking = await self.get_object_for_details(request)
        if not permissions.has_permission(page_state(request).actor, "change", Booking):
            return {**values, "acts": []}
        last_change = await undo.last_change(self.context.database, booking.id)
        buttons, is_coming = [*build_buttons(self, request, booking)], booking.start_time > self.context.now()
        return {**values, "acts": buttons, "last_change": last_change, "is_to_come": is_coming}


def build_buttons(view: RecordView, request: Request, booking: Booking) -> Iterable[Button]:
    """Yield each act, with the refusal that it would meet."""
    for status, act in acts.STATUS_ACTS.items():
        text = ACTION_TEXTS[status]
        url = str(request.url_for(f"admin:action-{view.identity}-{slug(act)}"))
        refusal = lifecycle.refusal_for_status(booking, status, by=page_state(request).actor, now=view.context.now())
        yield Button(slug(act), text.label, text.question_one, url, refusal)


def slug(act: StatusAct) -> str:
    return act.__name__.replace("_", "-")


def make_action_handler(act: StatusAct, text: ActionText) -> Callable[..., Awaitable[Response]]:
    """Return the handler of one act."""

    async def handle(self: RecordView, request: Request) -> Response:
        form = await read_form(request)
        reason, return_url = normalize_line(str(form.get("reason", ""))), return_url_of(self, request, form)
        booking_ids = parse_ids(str(form.get("pks", "")).split(","))
        if error := reason_error(reason):
            return await redisplay_confirmation(request, form, text, error, return_url)
        options = ActionOptions(
            reason,
            is_notify_requested=bool(form.get("notify_customer")),
            is_bulk=len(booking_ids) > 1,
            accepts_overlap=bool(form.get("overlap")),
        )
        refusals: dict[str, list[int]] = {}
        overlapping: list[int] = []
        for booking_id in booking_ids[:MAX_BOOKINGS]:
            if refusal := await run_one(self, request, act, booking_id, options):
                refusals.setdefault(str(refusal), []).append(booking_id)
                overlapping += [booking_id] if isinstance(refusal, no.OverlappingBooking) else []
        flash_outcome(request, text, booking_ids, refusals)
        if overlapping:
            return await ask_about_overlap(request, form, text, overlapping, return_url)
        return RedirectResponse(return_url, 303)

    handle.__name__ = act.__name__
    name, label = slug(act), f"{text.label}…"
    decorate: Callable[[object], Callable[..., Awaitable[Response]]] = action(
        name=name, label=label, confirmation_message=text.question_many, add_in_detail=False
    )
    return decorate(handle)


def return_url_of(view: RecordView, request: Request, form: FormData) -> str:
    """Return the page that the user came from, or the list."""
    path = str(form.get("back", ""))
    return path if is_admin_path(path) else str(request.url_for("admin:list", identity=view.identity))


async def redisplay_confirmation(
    request: Request, form: FormData, text: ActionText, error: str, return_url: str
) -> Response:
    """Show an act's question again with what was typed, and what is wrong with its reason."""
    booking_ids = parse_ids(str(form.get("pks", "")).split(","))
    is_one = len(booking_ids) == 1
    values = {
        "title": text.label,
        "question": text.question_one if is_one else text.question_many,
        "selection": f"#{booking_ids[0]}" if is_one else f"{len(booking_ids)} selected.",
        "is_one": is_one,
        "error": error,
        "back": return_url,
        "form": {name: str(form.get(name, "")) for name in ("pks", "reason", "notify_customer")},
    }
    return await context_of(request).render(request, "act_again.html", values, status_code=422)


async def ask_about_overlap(
    request: Request, form: FormData, text: ActionText, booking_ids: list[int], return_url: str
) -> Response:
    """Ask whether an act goes on for these bookings, whose customers have another visit at their time."""
    values = {
        "title": text.label,
        "back": return_url,
        "is_one": len(booking_ids) == 1,
        "form": {
            "pks": ",".join(map(str, booking_ids)),
            "reason": str(form.get("reason", "")),
            "notify_customer": str(form.get("notify_customer", "")),
        },
    }
    return await context_of(request).render(request, "act_overlap.html", values, status_code=409)


async def run_one(
    view: RecordView, request: Request, act: StatusAct, booking_id: int, options: ActionOptions
) -> no.Refusal | SaveFailed | None:
    """Act on one booking; return the refusal, or None."""

    async def run(session: Session, **by_and_now: Unpack[ActorAndTime]) -> None:
        booking = await records.lock(session, Booking, booking_id, by=by_and_now["by"])
        if options.reason:
            await session.set_reason(options.reason)
        if options.accepts_overlap:
            await session.allow_overlap()
        await session.set_notify_customer(notify=options.should_notify(booking, now=by_and_now["now"]))
        await act(session, booking, **by_and_now)

    try:
        await view.write(request, run)
    except (no.Refusal, SaveFailed) as refusal:
        return refusal
    return None


def flash_outcome(
    request: Request, text: ActionText, booking_ids: list[int], refusals: Mapping[str, list[int]]
) -> None:
    """Show on the next page what was done, and for each booking that was refused, why."""
    refused = {booking_id for ids in refusals.values() for booking_id in ids}
    done = [booking_id for booking_id in booking_ids[:MAX_BOOKINGS] if booking_id not in refused]
    if len(done) == 1:
        Flash.success(request, f"Booking #{done[0]} is {text.past_tense}.")
    elif done:
        Flash.success(request, f"{len(done)} bookings {text.past_tense}.")
    for sentence, ids in [*refusals.items()][:MAX_MESSAGES]:
        Flash.error(request, f"{', '.join(f'#{booking_id}' for booking_id in ids)}: {sentence}")
    for ids in [*refusals.values()][MAX_MESSAGES:]:
        Flash.error(request, f"{', '.join(f'#{booking_id}' for booking_id in ids)}: also refused.")
    if len(booking_ids) > MAX_BOOKINGS:
        Flash.warning(
            request, f"At most {MAX_BOOKINGS} bookings at once. Not changed: {len(booking_ids) - MAX_BOOKINGS}."
        )
    if not booking_ids:
        Flash.warning(request, "Nothing was selected.")


async def describe_new_booking(context: AdminContext, booking: Booking) -> str:
    """Return with whom and when a visit is booked."""
    names = await claims.fetch_resource_names(context.database, booking.id)
    verb = "Held" if booking.expires_at else "Booked"
    return f"{verb} with {names}, {booking.start_time.astimezone(context.zone):%a %d %b %H:%M}."


def warn_of_past(request: Request, booking: Booking, *, now: datetime) -> Booking:
    """Warn on the next page if a visit lies in the past."""
    if times.has_started(booking.start_time, now=now):
        Flash.warning(request, "This visit is in the past.")
    return booking
