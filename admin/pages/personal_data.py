"""The data that BookIt holds about a person: its export, and its erasure."""

from collections.abc import AsyncGenerator
from typing import Unpack

from sqladmin import Flash
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from admin.framework.context import context_of
from admin.framework.custom_page import CustomPage
from admin.framework.export import ExportStreamingResponse
from admin.framework.middleware import read_form
from admin.framework.page_state import page_state
from admin.framework.parsing import parse_id
from admin.framework.permissions import require_ability, require_permission
from admin.framework.transactions import ActorAndTime, record_export, run_act
from bookit import records, security_log
from bookit import refusals as no
from bookit.db.session import Session
from bookit.people import data_export, erasure
from bookit.people.phones import format_phone
from bookit.schema.tables import User, table_of


async def require_user(request: Request) -> User:
    """Return the person that the URL is about. Raise 404 where there is none."""
    user = await context_of(request).database.get(User, parse_id(request.path_params["pk"]))
    if user is None:
        raise HTTPException(404)
    return user


async def download_personal_data(request: Request) -> Response:
    """Return a person's data as a file, whose name does not say who it is."""
    user, context = await require_user(request), context_of(request)
    if not data_export.may_export(page_state(request).actor, user):
        require_ability(request, "export_personal_data")
    await record_export(
        request,
        table_name=table_of(User).name,
        row_id=user.id,
        file="Personal data (JSON)",
        filter_words="one person",
        rows=1,
    )
    actor, now = page_state(request).actor, context.now()

    async def parts() -> AsyncGenerator[bytes, None]:
        async with data_export.EXPORT_SLOTS, context.database.transaction(by=actor, now=now) as session:
            async for part in data_export.stream(session, user, now=now):
                yield part

    headers = {
        "Content-Disposition": f'attachment; filename="bookit-person-{user.id}.json"',
        "Cache-Control": "no-store",
    }
    document = await data_export.started(parts())
    return ExportStreamingResponse(document, headers=headers, media_type="application/json")


async def erase_person(request: Request) -> Response:
    """Show what erasing a customer does, and ask for their e-mail or phone number; on POST, erase them."""
    require_permission(request, "erase", User)
    user, context = await require_user(request), context_of(request)
    refusal = why_not = erasure.refusal_for_erasure(user)
    if request.method == "POST":
        email = str((await read_form(request)).get("email", ""))
        try:
            cancelled_count = await erase(request, user.id, email)
        except no.Refusal as error:
            refusal = error
        else:
            security_log.report("erased", account=user.id)
            Flash.success(request, erased_message(user.id, cancelled_count))
            return RedirectResponse(request.url_for("admin:details", identity="user", pk=user.id), 303)
    page_state(request).refusal = refusal
    coming = await erasure.count_upcoming(context.database, user, now=context.now())
    values = {
        "user": user,
        "phone": user.phone and format_phone(user.phone, context.phone_country),
        "upcoming_count": coming,
        "error": str(refusal or ""),
        "can_erase": why_not is None,
    }
    return await context.render(request, "erase.html", values, status_code=400 if refusal else 200)


async def erase(request: Request, user_id: int, email: str) -> int:
    """Erase a customer, and return how many of their bookings that cancelled."""

    async def act(session: Session, **by_and_now: Unpack[ActorAndTime]) -> int:
        return await records.erase(session, user_id, email=email, **by_and_now)

    return await run_act(request, act)


def erased_message(pk: int, cancelled_count: int) -> str:
    """Return the message that a customer is erased, without their name."""
    bookings = "1 booking was" if cancelled_count == 1 else f"{cancelled_count} bookings were"
    return f"Customer {pk} is erased." + (f" {bookings} cancelled." if cancelled_count else "")


PAGES = [
    CustomPage("/user/{pk}/data", "data", download_personal_data),
    CustomPage("/user/{pk}/erase", "erase", erase_person, ("GET", "POST")),
]
