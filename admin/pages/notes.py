"""The notes on the pages of a customer and of a booking: who sees them there, and the small forms that change them."""

from dataclasses import dataclass
from typing import Unpack

from pydantic import TypeAdapter
from pydantic import ValidationError as PydanticError
from sqladmin import Flash
from starlette.datastructures import URL, FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from admin.framework.context import context_of
from admin.framework.custom_page import CustomPage
from admin.framework.form_values import KEY_FIELD
from admin.framework.formatting import format_short_time
from admin.framework.idempotency import new_key, run_once
from admin.framework.middleware import read_form
from admin.framework.page_state import page_state
from admin.framework.parsing import parse_id
from admin.framework.permissions import require_permission
from admin.framework.transactions import Act, ActorAndTime, run_act
from admin.framework.types import Values
from bookit import notes, records
from bookit import refusals as no
from bookit.db.session import Session
from bookit.db.statements import Row
from bookit.policy import permissions
from bookit.schema.fields import checked_type
from bookit.schema.tables import Note
from bookit.validation_messages import format_error

TEXT_ADAPTER: TypeAdapter[str] = TypeAdapter(checked_type(Note.model_fields["text"]))


@dataclass(frozen=True)
class NotesBox:
    """The notes on a page, with what a new one there is about. ``key`` is that of its form."""

    notes: list[Row]
    user_id: int | None
    booking_id: int | None
    may_write: bool
    key: str

    def may_change(self, note: Row) -> bool:
        """Return whether a note can be changed here: one on the customer is changed on the customer's page."""
        return self.may_write and (note["user_id"], note["booking_id"]) == (self.user_id, self.booking_id)


@dataclass(frozen=True)
class TypedNote:
    """A note as a form sends it."""

    user_id: int | None
    booking_id: int | None
    text: str
    is_pinned: bool

    @property
    def error(self) -> str:
        """What is wrong with the text, or nothing."""
        try:
            TEXT_ADAPTER.validate_python(self.text)
        except PydanticError as error:
            return format_error(error.errors()[0])
        return ""

    @property
    def values(self) -> Values:
        """The text as it is stored, and whether it is pinned."""
        return {"text": TEXT_ADAPTER.validate_python(self.text), "is_pinned": self.is_pinned}


async def build_notes_box(
    request: Request, *, user_id: int | None = None, booking_id: int | None = None
) -> NotesBox | None:
    """Return the notes on a customer, or those on a booking and its customer; None for users who see no notes."""
    actor, context = page_state(request).actor, context_of(request)
    if not permissions.has_permission(actor, "see", Note):
        return None
    if booking_id is None:
        rows = await notes.on_customer(context.database, user_id or 0)
    else:
        rows = await notes.on_booking(context.database, booking_id)
    zone, year = context.zone, context.today.year
    shown = [{**row, "when": format_short_time(zone, year, row["created_at"])} for row in rows]
    may_write = permissions.has_permission(actor, "create", Note)
    return NotesBox(shown, user_id, booking_id, may_write, new_key())


async def add_note(request: Request) -> Response:
    """Write a note, once for each form."""
    require_permission(request, "create", Note)
    form = await read_form(request)
    user_id, booking_id = (parse_id(form[name]) if form.get(name) else None for name in ("user_id", "booking_id"))
    note = read_note(form, user_id=user_id, booking_id=booking_id)
    if note.error:
        return await redisplay(request, note, note.error)

    async def write(session: Session, **by_and_now: Unpack[ActorAndTime]) -> Note:
        return await notes.write(session, user_id=user_id, booking_id=booking_id, **note.values, **by_and_now)

    content = [user_id, booking_id, note.text, note.is_pinned]
    try:
        await run_act(request, run_once(write, Note, key=str(form.get(KEY_FIELD, "")), content=content))
    except no.Missing:
        raise HTTPException(404) from None
    except no.Refusal as refusal:
        page_state(request).refusal = refusal
        return await redisplay(request, note, str(refusal))
    return RedirectResponse(page_of(request, user_id, booking_id), 303)


async def change_note(request: Request) -> Response:
    """Save the text of a note, pin or unpin it, or delete it, whichever button was pressed."""
    require_permission(request, "change", Note)
    form, before = await read_form(request), await require_note(request)
    button = str(form.get("do", ""))
    note = read_note(form, user_id=before.user_id, booking_id=before.booking_id)
    if button == "save" and note.error:
        return await redisplay(request, note, note.error, of=before)
    act = delete(before, form) if button == "delete" else change(before, form, changes_of(button, note))
    refusal = await refusal_of(request, act)
    if refusal and button == "save":
        page_state(request).refusal = refusal
        return await redisplay(request, note, str(refusal), of=await require_note(request))
    if refusal:
        Flash.error(request, str(refusal))
    elif button == "delete":
        Flash.success(request, "The note is deleted.")
    return RedirectResponse(page_of(request, before.user_id, before.booking_id), 303)


async def refusal_of(request: Request, act: Act[None]) -> no.Refusal | None:
    """Run an act, and return the refusal that it meets. Raise 404 for what does not exist."""
    try:
        await run_act(request, act)
    except no.Missing:
        raise HTTPException(404) from None
    except no.Refusal as refusal:
        return refusal
    return None


async def require_note(request: Request) -> Note:
    """Return the note that the URL is about. Raise 404 where there is none."""
    database, note_id = context_of(request).database, parse_id(request.path_params["pk"])
    note = await notes.find(database, note_id, by=page_state(request).actor)
    if note is None:
        raise HTTPException(404, "There is no such note. Perhaps it was deleted.")
    return note


def changes_of(button: str, note: TypedNote) -> Values:
    """Return what a button changes. Raise 400 for one that no page has."""
    if button == "save":
        return note.values
    if button in {"pin", "unpin"}:
        return {"is_pinned": button == "pin"}
    raise HTTPException(400, "This address is not valid.")


def change(before: Note, form: FormData, changes: Values) -> Act[None]:
    """Return the act that changes a note. A form that is sent twice changes nothing the second time."""

    async def act(session: Session, **by_and_now: Unpack[ActorAndTime]) -> None:
        note = await records.lock(session, Note, before.id)
        differing = {name: value for name, value in changes.items() if getattr(note, name) != value}
        if differing:
            records.require_version(note, parse_id(form.get("version", "")))
        await notes.change(session, note, **differing, **by_and_now)

    return act


def delete(before: Note, form: FormData) -> Act[None]:
    """Return the act that deletes a note."""

    async def act(session: Session, **by_and_now: Unpack[ActorAndTime]) -> None:
        note = await records.lock(session, Note, before.id, version=parse_id(form.get("version", "")))
        await notes.remove(session, note, **by_and_now)

    return act


def read_note(form: FormData, *, user_id: int | None, booking_id: int | None) -> TypedNote:
    """Return the note that a form sends; one on a booking is never pinned."""
    is_pinned = bool(form.get("is_pinned")) and booking_id is None
    return TypedNote(user_id, booking_id, str(form.get("text", "")), is_pinned)


async def redisplay(request: Request, note: TypedNote, error: str, of: Note | None = None) -> Response:
    """Show the form again with what was typed, and what is wrong with it; ``of`` is the note that it changes."""
    values = {
        "note": note,
        "error": error,
        "key": new_key(),
        "note_id": of.id if of else None,
        "version": of.version if of else None,
        "current": of.text if of and isinstance(page_state(request).refusal, no.Stale) else "",
        "back_url": page_of(request, note.user_id, note.booking_id),
    }
    return await context_of(request).render(request, "note.html", values, status_code=422)


def page_of(request: Request, user_id: int | None, booking_id: int | None) -> URL:
    """Return the page on which a note stands."""
    identity, row_id = ("user", user_id) if booking_id is None else ("booking", booking_id)
    return request.url_for("admin:details", identity=identity, pk=row_id or 0)


PAGES = [
    CustomPage("/notes", "notes", add_note, ("POST",)),
    CustomPage("/notes/{pk}", "note", change_note, ("POST",)),
]
