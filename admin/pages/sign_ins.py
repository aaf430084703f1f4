"""The pages of sign-ins: one's own, and as an admin those of every person."""

from typing import Unpack

from sqladmin import Flash
from sqlalchemy import text
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from admin.framework.context import AdminContext, context_of
from admin.framework.custom_page import CustomPage
from admin.framework.formatting import format_local_time
from admin.framework.middleware import read_form
from admin.framework.page_state import page_state, signed_in_user
from admin.framework.parsing import parse_id
from admin.framework.permissions import require_permission
from admin.framework.transactions import ActorAndTime, run_act
from bookit import refusals as no
from bookit.db.session import Session
from bookit.db.statements import Row
from bookit.people import sign_ins
from bookit.schema.tables import SignIn, User

MAX_LISTED = 100
DOOR_LABELS = {"admin": "Staff panel", "api": "App or website"}
ALL = "all"
LAST_USED_FIRST = sign_ins.SELECT_LASTING.order_by(text("last_seen_at DESC, id DESC")).limit(MAX_LISTED)


async def own_sign_ins(request: Request) -> Response:
    """List where the user is signed in; on POST, end one of them or all others."""
    return await respond(request, signed_in_user(request), "sign-ins")


async def sign_ins_of_person(request: Request) -> Response:
    """As an admin, list where a person is signed in; on POST, end one of them or all."""
    require_permission(request, "remove" if request.method == "POST" else "see", SignIn)
    user = await context_of(request).database.get(User, parse_id(request.path_params["pk"]))
    if user is None:
        raise HTTPException(404)
    return await respond(request, user, "sign-ins-of-person")


async def respond(request: Request, user: User, page: str) -> Response:
    """Answer with the sign-ins of this user, after ending those that were chosen."""
    if request.method == "POST":
        chosen = str((await read_form(request)).get("id", ""))
        Flash.success(request, await end_chosen(request, user, chosen))
        path = {"pk": user.id} if page == "sign-ins-of-person" else {}
        return RedirectResponse(request.url_for(f"admin:{page}", **path), 303)
    context, state = context_of(request), page_state(request)
    current_id = state.sign_in_id
    rows = await context.database.fetch(LAST_USED_FIRST, user_id=user.id, current_id=current_id, now=context.now())
    is_own = state.user is not None and state.user.id == user.id
    values = {"user": user, "is_own": is_own, "sign_ins": [describe(context, row) for row in rows]}
    return await context.render(request, "sign_ins.html", values)


async def end_chosen(request: Request, user: User, chosen: str) -> str:
    """End one sign-in or all but the user's own, and return what was done."""

    async def act(session: Session, **by_and_now: Unpack[ActorAndTime]) -> str:
        if chosen == ALL:
            count = await sign_ins.end_all(session, user_id=user.id, **by_and_now)
            return "1 sign-in was ended." if count == 1 else f"{count} sign-ins were ended."
        await sign_ins.end(session, parse_id(chosen), user_id=user.id, **by_and_now)
        return "The sign-in was ended."

    try:
        return await run_act(request, act)
    except no.Missing:  # It has ended meanwhile.
        return "This sign-in had ended already."


def describe(context: AdminContext, row: Row) -> Row:
    """Return a sign-in as the page shows it."""
    return {
        "id": row["id"],
        "where": DOOR_LABELS[row["door"]],
        "browser": row["browser"] or "Unknown",
        "address": row["address"] or "Unknown",
        "began": format_local_time(context.zone, row["created_at"]),
        "last_used": format_local_time(context.zone, row["last_seen_at"]),
        "ends": format_local_time(context.zone, row["ends_at"]),
        "is_current": row["is_current"],
    }


PAGES = [
    CustomPage("/sign-ins", "sign-ins", own_sign_ins, ("GET", "POST")),
    CustomPage("/user/{pk}/sign-ins", "sign-ins-of-person", sign_ins_of_person, ("GET", "POST")),
]
