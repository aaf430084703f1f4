"""The acts of a booking as buttons: POST, with a reason that history keeps, each row with its own outcome."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqladmin import Flash, action
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from admin.framework.middleware import sent_form
from admin.framework.parsing import numbers_in
from admin.framework.reason_field import wrong_with
from admin.framework.sign_in import is_ours
from admin.record_view import Unsaved
from bookit import records
from bookit import refusals as no
from bookit.bookings import acts, undo
from bookit.db.session import Session
from bookit.policy import lifecycle, permissions, times
from bookit.schema.tables import Booking, Status

MOST_ROWS = 200
MOST_TOLD = 5


class Words(NamedTuple):
    """How an act is called, asked of one booking and of several, and told when it is done."""

    label: str
    of_one: str
    of_several: str
    done: str


WORDS: Mapping[Status, Words] = {
    Status.PENDING: Words(
        "Reopen",
        "Reopen this booking? It waits for confirmation again, and needs its slot to be free.",
        "Reopen these bookings? They wait for confirmation again, and need their slots to be free.",
        "reopened",
    ),
    Status.CONFIRMED: Words("Confirm", "Confirm this booking?", "Confirm these bookings?", "confirmed"),
    Status.COMPLETED: Words(
        "Complete", "Complete this booking? The visit took place.", "Complete these bookings? The visits took place.",
        "completed",
    ),
    Status.CANCELLED: Words(
        "Cancel", "Cancel this booking? Its slot becomes free.", "Cancel these bookings? Their slots become free.",
        "cancelled",
    ),
    Status.NO_SHOW: Words(
        "No-show", "Mark this booking as no-show? The customer did not come.",
        "Mark these bookings as no-show? The customers did not come.", "marked as no-show",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Telling:
    """What is said of an act: why, and whether customers are to be told; of many, those whose visits are to come."""

    reason: str
    is_asked: bool
    is_of_many: bool

    def tells(self, booking: Booking, *, now: datetime) -> bool:
        """Whether this customer is to be told."""
        return self.is_asked and (booking.start_time > now or not self.is_of_many)


@dataclass(frozen=True)
class Button:
    """An act as the page of one booking offers it: with its question, or with why it cannot be."""

    name: str
    label: str
    question: str
    address: str
    refusal: no.Refusal | None


class StatusActs:
    """Adds to a page a button for each act that ``bookings.LEADS`` lists."""

    def __init_subclass__(cls, **more: Any) -> None:
        """Make the acts before SQLAdmin looks for them."""
        for status, act in acts.LEADS.items():
            setattr(cls, act.__name__, posted(act, WORDS[status]))
        super().__init_subclass__(**more)

    async def details_context(self, request: Request) -> dict[str, Any]:
        """Show what can be done to this booking, to whoever may change bookings."""
        view: Any = self
        context: dict[str, Any] = await super().details_context(request)  # type: ignore[misc]  # the page's own
        booking = await view.get_object_for_details(request)
        actor = request.state.actor
        if not permissions.may(actor, "change", Booking):
            return {**context, "acts": []}
        deed = await undo.last_deed(view.database, booking.id)
        is_to_come = booking.start_time > view.clock()
        return {**context, "acts": [*buttons(view, request, booking)], "deed": deed, "is_to_come": is_to_come}


def buttons(view: Any, request: Request, booking: Booking) -> Iterable[Button]:
    """Give each act, with the refusal it would meet."""
    for status, act in acts.LEADS.items():
        words = WORDS[status]
        address = str(request.url_for(f"admin:action-{view.identity}-{slug(act)}"))
        refusal = lifecycle.why_not(booking, status, by=request.state.actor)
        yield Button(slug(act), words.label, words.of_one, address, refusal)


def slug(act: Callable[..., Any]) -> str:
    return act.__name__.replace("_", "-")


def posted(act: Callable[..., Awaitable[Booking]], words: Words) -> Any:
    """Make the handler of one act."""

    async def press(self: Any, request: Request) -> Response:
        form = await sent_form(request)
        reason = str(form.get("reason", "")).strip()
        if wrong := wrong_with(reason):
            return await ask_again(self, request, form, words, wrong)
        chosen = numbers_in(str(form.get("pks", "")).split(","))
        telling = Telling(reason, is_asked=bool(form.get("tell")), is_of_many=len(chosen) > 1)
        refused: dict[str, list[int]] = {}
        for booking in chosen[:MOST_ROWS]:
            if sentence := await press_one(self, request, act, booking, telling):
                refused.setdefault(sentence, []).append(booking)
        tell(request, words, chosen, refused)
        back = str(form.get("back", ""))
        return RedirectResponse(back if is_ours(back) else request.url_for("admin:list", identity=self.identity), 303)

    press.__name__ = act.__name__
    name, label = slug(act), f"{words.label}…"
    return action(name=name, label=label, confirmation_message=words.of_several, add_in_detail=False)(press)


async def ask_again(view: Any, request: Request, form: FormData, words: Words, wrong: str) -> Response:
    """Show an act's question again with what was typed, beside why its reason cannot be kept."""
    chosen, back = numbers_in(str(form.get("pks", "")).split(",")), str(form.get("back", ""))
    told = {
        "title": words.label,
        "question": words.of_one if len(chosen) == 1 else words.of_several,
        "chosen": f"#{chosen[0]}" if len(chosen) == 1 else f"{len(chosen)} selected.",
        "is_one": len(chosen) == 1,
        "wrong": wrong,
        "back": back if is_ours(back) else request.url_for("admin:list", identity=view.identity),
        "typed": {name: str(form.get(name, "")) for name in ("pks", "reason", "tell")},
    }
    request.state.refusal = no.Misshapen()
    answer: Response = await view.templates.TemplateResponse(request, "sqladmin/act_again.html", told, status_code=422)
    return answer


async def press_one(
    view: Any, request: Request, act: Callable[..., Awaitable[Booking]], booking: int, telling: Telling
) -> str:
    """Act on one booking; give why not, or nothing."""

    async def run(session: Session, *, now: datetime, **who: Any) -> None:
        row = await records.hold(session, Booking, booking)
        if telling.reason:
            await session.because(telling.reason)
        await session.tell_customer(tells=telling.tells(row, now=now))
        await act(session, row, now=now, **who)

    try:
        await view.write(request, run)
    except (no.Refusal, Unsaved) as refusal:
        return str(refusal)
    return ""


def tell(request: Request, words: Words, chosen: list[int], refused: Mapping[str, list[int]]) -> None:
    """Say on the next page what came of it: what is done, and of each booking that is not, why."""
    left = {number for numbers in refused.values() for number in numbers}
    done = [number for number in chosen[:MOST_ROWS] if number not in left]
    if len(done) == 1:
        Flash.success(request, f"Booking #{done[0]} is {words.done}.")
    elif done:
        Flash.success(request, f"{len(done)} bookings {words.done}.")
    for sentence, numbers in [*refused.items()][:MOST_TOLD]:
        Flash.error(request, f"{', '.join(f'#{number}' for number in numbers)}: {sentence}")
    for numbers in [*refused.values()][MOST_TOLD:]:
        Flash.error(request, f"{', '.join(f'#{number}' for number in numbers)}: refused too.")
    if len(chosen) > MOST_ROWS:
        Flash.warning(request, f"No more than {MOST_ROWS} at once: {len(chosen) - MOST_ROWS} were left as they are.")
    if not chosen:
        Flash.warning(request, "Nothing was selected.")


def warn_of_past(request: Request, booking: Booking, *, now: datetime) -> Booking:
    """Say on the next page that a visit lies in the past, if it does."""
    if times.has_begun(booking.start_time, now=now):
        Flash.warning(request, "This visit lies in the past.")
    return booking
