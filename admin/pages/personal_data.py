"""What BookIt holds of a person: to be handed to them, and to be erased."""

import json
from datetime import datetime
from typing import Any

from sqladmin import Flash
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from admin.framework.custom_page import CustomPage
from admin.framework.middleware import read_form
from admin.framework.parsing import parse_id
from bookit import records
from bookit import refusals as no
from bookit.db.errors import retry_interrupted
from bookit.db.pool import Database
from bookit.people import data_export, erasure
from bookit.policy import permissions
from bookit.schema.tables import User


async def require_user(request: Request, database: Database) -> User:
    """Give the person whom an address is about."""
    user = await database.get(User, parse_id(request.path_params["pk"]))
    if user is None:
        raise HTTPException(404)
    return user


async def download_personal_data(request: Request, database: Database, *, now: datetime) -> Response:
    """Give a person's data as a file, whose name tells nobody who it is."""
    user = await require_user(request, database)
    if not data_export.may_export(request.state.actor, user):
        raise HTTPException(403)
    drawn = await data_export.export(database, user, now=now)
    written = json.dumps(drawn, ensure_ascii=False, indent=2, default=datetime.isoformat)
    name = f'attachment; filename="bookit-person-{user.id}.json"'
    headers = {"Content-Disposition": name, "Cache-Control": "no-store"}
    return Response(written, headers=headers, media_type="application/json")


async def erase_person(request: Request, database: Database, templates: Any, *, now: datetime) -> Response:
    """Say what erasing a customer does and ask for their e-mail, or erase them."""
    if not permissions.has_permission(request.state.actor, "erase", User):
        raise HTTPException(403)
    user = await require_user(request, database)
    refusal = why_not = erasure.refusal_for_erasure(user)
    if request.method == "POST":
        typed = str((await read_form(request)).get("email", ""))
        try:
            cancelled = await erase(request, database, user.id, typed, now=now)
        except no.Refusal as found:
            refusal = found
        else:
            Flash.success(request, erased_message(user.id, cancelled))
            return RedirectResponse(request.url_for("admin:details", identity="user", pk=user.id), 303)
    request.state.refusal = refusal
    coming = await erasure.count_upcoming(database, user, now=now)
    told = {"user": user, "coming": coming, "error": str(refusal or ""), "why_not": why_not}
    status = 400 if refusal else 200
    answer: Response = await templates.TemplateResponse(request, "sqladmin/erase.html", told, status_code=status)
    return answer


async def erase(request: Request, database: Database, pk: int, email: str, *, now: datetime) -> int:
    """Erase a customer in this person's name; gives how many bookings that cancelled."""
    by, asked = request.state.actor, request.scope.get("request_id", "")

    async def once() -> int:
        async with database.transaction(by=by, now=now, request_id=asked) as session:
            return await records.erase(session, pk, email=email, by=by, now=now)

    return await retry_interrupted(once)


def erased_message(pk: int, cancelled_count: int) -> str:
    """Tell that a customer is erased, without saying who it was."""
    bookings = "1 booking was" if cancelled_count == 1 else f"{cancelled_count} bookings were"
    return f"Customer {pk} is erased." + (f" {bookings} cancelled." if cancelled_count else "")


PAGES = [
    CustomPage("/user/{pk}/data", "data", download_personal_data),
    CustomPage("/user/{pk}/erase", "erase", erase_person, ("GET", "POST")),
]
