"""The acts of a booking as buttons: POST, with a reason that history keeps, each row with its own outcome."""

from collections.abc import Awaitable, Callable
from typing import Any

from sqladmin import Flash, action
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from admin.guards import sent_form
from admin.record_view import Unsaved
from admin.sign_in import is_ours
from admin.typed import number
from bookit import bookings, records
from bookit import refusals as no
from bookit.database import Session
from bookit.tables import Booking

MOST_ROWS = 200
MOST_TOLD = 5
LABELS = {
    "confirm": ("Confirm", "Confirm what is selected?"),
    "cancel": ("Cancel", "Cancel what is selected? The slots become free."),
    "complete": ("Complete", "Say that these visits took place?"),
    "mark_no_show": ("No-show", "Say that these customers did not come?"),
    "reopen": ("Reopen", "Let these wait for confirmation again?"),
}


class StatusActs:
    """Adds to a page a button for each act that ``bookings.LEADS`` lists."""

    def __init_subclass__(cls, **more: Any) -> None:
        """Make the buttons before SQLAdmin looks for them."""
        for act in bookings.LEADS.values():
            label, question = LABELS[act.__name__]
            setattr(cls, act.__name__, button(act, label, question))
        super().__init_subclass__(**more)


def button(act: Callable[..., Awaitable[Booking]], label: str, question: str) -> Any:
    """Make the handler of one button."""

    async def press(self: Any, request: Request) -> Response:
        form = await sent_form(request)
        reason = str(form.get("reason", "")).replace("\0", "").strip()[:200]
        numbers = [found for part in str(form.get("pks", "")).split(",") if (found := number(part.strip())) > 0]
        refused = [
            outcome
            for number in numbers[:MOST_ROWS]
            if (outcome := await press_one(self, request, act, number, reason))
        ]
        tell(request, label, len(numbers[:MOST_ROWS]) - len(refused), refused)
        back = str(form.get("back", ""))
        return RedirectResponse(back if is_ours(back) else request.url_for("admin:list", identity=self.identity), 303)

    press.__name__ = act.__name__
    return action(name=act.__name__.replace("_", "-"), label=f"{label}…", confirmation_message=question)(press)


async def press_one(
    view: Any, request: Request, act: Callable[..., Awaitable[Booking]], booking: int, reason: str
) -> str:
    """Act on one booking; give why not, or nothing."""

    async def run(session: Session, **who: Any) -> None:
        if reason:
            await session.because(reason)
        await act(session, await records.hold(session, Booking, booking), **who)

    try:
        await view.write(request, run)
    except (no.Refusal, Unsaved) as refusal:
        return f"#{booking}: {refusal}"
    return ""


def tell(request: Request, label: str, done: int, refused: list[str]) -> None:
    """Say what came of it, on the next page."""
    if done:
        Flash.success(request, f"{label}: {done} done.")
    for sentence in refused[:MOST_TOLD]:
        Flash.error(request, sentence)
    if len(refused) > MOST_TOLD:
        Flash.error(request, f"And {len(refused) - MOST_TOLD} more were refused.")
    if not done and not refused:
        Flash.warning(request, "Nothing was selected.")
