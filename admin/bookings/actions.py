"""The acts of a booking as buttons: POST, with a reason that history keeps, each row with its own outcome."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqladmin import Flash, action
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from admin.framework.middleware import read_form
from admin.framework.parsing import parse_ids
from admin.framework.reason_field import reason_error
from admin.framework.sign_in import is_admin_path
from admin.record_view import SaveFailed
from bookit import records
from bookit import refusals as no
from bookit.bookings import acts, undo
from bookit.db.session import Session
from bookit.policy import lifecycle, permissions, times
from bookit.schema.tables import Booking, Status

MAX_BOOKINGS = 200
MAX_MESSAGES = 5


class ActionText(NamedTuple):
    """How an act is called, asked of one booking and of several, and told when it is done."""

    label: str
    question_one: str
    question_many: str
    past_tense: str


ACTION_TEXTS: Mapping[Status, ActionText] = {
    Status.PENDING: ActionText(
        "Reopen",
        "Reopen this booking? It waits for confirmation again, and needs its slot to be free.",
        "Reopen these bookings? They wait for confirmation again, and need their slots to be free.",
        "reopened",
    ),
    Status.CONFIRMED: ActionText("Confirm", "Confirm this booking?", "Confirm these bookings?", "confirmed"),
    Status.COMPLETED: ActionText(
        "Complete", "Complete this booking? The visit took place.", "Complete these bookings? The visits took place.",
        "completed",
    ),
    Status.CANCELLED: ActionText(
        "Cancel", "Cancel this booking? Its slot becomes free.", "Cancel these bookings? Their slots become free.",
        "cancelled",
    ),
    Status.NO_SHOW: ActionText(
        "No-show", "Mark this booking as no-show? The customer did not come.",
        "Mark these bookings as no-show? The customers did not come.", "marked as no-show",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class ActionOptions:
    """What is said of an act: why, and whether customers are to be told; of many, those whose visits are to come."""

    reason: str
    is_notify_requested: bool
    is_bulk: bool

    def should_notify(self, booking: Booking, *, now: datetime) -> bool:
        """Whether this customer is to be told."""
        return self.is_notify_requested and (booking.start_time > now or not self.is_bulk)


@dataclass(frozen=True)
class Button:
    """An act as the page of one booking offers it: with its question, or with why it cannot be."""

    name: str
    label: str
    question: str
    url: str
    refusal: no.Refusal | None


class BookingActions:
    """Adds to a page a button for each act that ``bookings.LEADS`` lists."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Make the acts before SQLAdmin looks for them."""
        for status, act in acts.STATUS_ACTS.items():
            setattr(cls, act.__name__, make_action_handler(act, ACTION_TEXTS[status]))
        super().__init_subclass__(**kwargs)

    async def details_context(self, request: Request) -> dict[str, Any]:
        """Show what can be done to this booking, to whoever may change bookings."""
        view: Any = self
        context: dict[str, Any] = await super().details_context(request)  # type: ignore[misc]  # the page's own
        booking = await view.get_object_for_details(request)
        actor = request.state.actor
        if not permissions.has_permission(actor, "change", Booking):
            return {**context, "acts": []}
        deed = await undo.last_change(view.context.database, booking.id)
        is_to_come = booking.start_time > view.context.now()
        return {**context, "acts": [*build_buttons(view, request, booking)], "deed": deed, "is_to_come": is_to_come}


def build_buttons(view: Any, request: Request, booking: Booking) -> Iterable[Button]:
    """Give each act, with the refusal it would meet."""
    for status, act in acts.STATUS_ACTS.items():
        words = ACTION_TEXTS[status]
        address = str(request.url_for(f"admin:action-{view.identity}-{slug(act)}"))
        refusal = lifecycle.refusal_for_status(booking, status, by=request.state.actor)
        yield Button(slug(act), words.label, words.question_one, address, refusal)


def slug(act: Callable[..., Any]) -> str:
    return act.__name__.replace("_", "-")


def make_action_handler(act: Callable[..., Awaitable[Booking]], text: ActionText) -> Any:
    """Make the handler of one act."""

    async def handle(self: Any, request: Request) -> Response:
        form = await read_form(request)
        reason = str(form.get("reason", "")).strip()
        if wrong := reason_error(reason):
            return await redisplay_confirmation(self, request, form, text, wrong)
        chosen = parse_ids(str(form.get("pks", "")).split(","))
        telling = ActionOptions(reason, is_notify_requested=bool(form.get("tell")), is_bulk=len(chosen) > 1)
        refused: dict[str, list[int]] = {}
        for booking in chosen[:MAX_BOOKINGS]:
            if sentence := await run_one(self, request, act, booking, telling):
                refused.setdefault(sentence, []).append(booking)
        flash_outcome(request, text, chosen, refused)
        back = str(form.get("back", ""))
        return RedirectResponse(
            back if is_admin_path(back) else request.url_for("admin:list", identity=self.identity), 303
        )

    handle.__name__ = act.__name__
    name, label = slug(act), f"{text.label}…"
    return action(name=name, label=label, confirmation_message=text.question_many, add_in_detail=False)(handle)


async def redisplay_confirmation(view: Any, request: Request, form: FormData, text: ActionText, error: str) -> Response:
    """Show an act's question again with what was typed, beside why its reason cannot be kept."""
    chosen, back = parse_ids(str(form.get("pks", "")).split(",")), str(form.get("back", ""))
    told = {
        "title": text.label,
        "question": text.question_one if len(chosen) == 1 else text.question_many,
        "chosen": f"#{chosen[0]}" if len(chosen) == 1 else f"{len(chosen)} selected.",
        "is_one": len(chosen) == 1,
        "wrong": error,
        "back": back if is_admin_path(back) else request.url_for("admin:list", identity=view.identity),
        "typed": {name: str(form.get(name, "")) for name in ("pks", "reason", "tell")},
    }
    request.state.refusal = no.Misshapen()
    answer: Response = await view.templates.TemplateResponse(request, "sqladmin/act_again.html", told, status_code=422)
    return answer


async def run_one(
    view: Any, request: Request, act: Callable[..., Awaitable[Booking]], booking_id: int, options: ActionOptions
) -> str:
    """Act on one booking; give why not, or nothing."""

    async def run(session: Session, *, now: datetime, **who: Any) -> None:
        row = await records.lock(session, Booking, booking_id)
        if options.reason:
            await session.set_reason(options.reason)
        await session.set_notify_customer(notify=options.should_notify(row, now=now))
        await act(session, row, now=now, **who)

    try:
        await view.write(request, run)
    except (no.Refusal, SaveFailed) as refusal:
        return str(refusal)
    return ""


def flash_outcome(
    request: Request, text: ActionText, booking_ids: list[int], refusals: Mapping[str, list[int]]
) -> None:
    """Say on the next page what came of it: what is done, and of each booking that is not, why."""
    left = {number for numbers in refusals.values() for number in numbers}
    done = [number for number in booking_ids[:MAX_BOOKINGS] if number not in left]
    if len(done) == 1:
        Flash.success(request, f"Booking #{done[0]} is {text.past_tense}.")
    elif done:
        Flash.success(request, f"{len(done)} bookings {text.past_tense}.")
    for sentence, numbers in [*refusals.items()][:MAX_MESSAGES]:
        Flash.error(request, f"{', '.join(f'#{number}' for number in numbers)}: {sentence}")
    for numbers in [*refusals.values()][MAX_MESSAGES:]:
        Flash.error(request, f"{', '.join(f'#{number}' for number in numbers)}: refused too.")
    if len(booking_ids) > MAX_BOOKINGS:
        Flash.warning(
            request, f"No more than {MAX_BOOKINGS} at once: {len(booking_ids) - MAX_BOOKINGS} were left as they are."
        )
    if not booking_ids:
        Flash.warning(request, "Nothing was selected.")


def warn_of_past(request: Request, booking: Booking, *, now: datetime) -> Booking:
    """Say on the next page that a visit lies in the past, if it does."""
    if times.has_started(booking.start_time, now=now):
        Flash.warning(request, "This visit lies in the past.")
    return booking
