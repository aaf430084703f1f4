"""The page of one's own second factors, and the one where an owner resets those of a colleague.

Each change needs a confirmation: the password, or a passkey, once more.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Unpack

import segno
from sqladmin import Flash
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from admin.framework.context import context_of
from admin.framework.custom_page import CustomPage
from admin.framework.formatting import format_local_time
from admin.framework.middleware import read_form
from admin.framework.page_state import page_state, signed_in_user
from admin.framework.parsing import parse_id
from admin.framework.second_step import (
    ask_passkey,
    confirm,
    host_of,
    is_confirmed,
    take_ceremony,
    use_confirmation,
)
from admin.framework.transactions import ActorAndTime, run_act
from bookit import refusals as no
from bookit.db.session import Session
from bookit.people import passkeys, second_factor_setup, second_factors, sign_in, totp
from bookit.schema.tables import User
from bookit.schema.visible_text import VisibleText

NEW_APP = "new_app"  # in the session: the key of an app that is being set up, encrypted
Codes = list[str]  # new recovery codes, to be shown once


async def show_signing_in(request: Request) -> Response:
    """Show the user's second factors; on POST, confirm who they are or make one change."""
    codes: Codes = []
    if request.method == "POST":
        form = await read_form(request)
        try:
            message, codes = await act_on(request, form)
        except no.Refusal as refusal:
            page_state(request).refusal = refusal
        else:
            if not codes:
                if message:
                    Flash.success(request, message)
                return RedirectResponse(request.url_for("admin:signing-in"), 303)
    return await render(request, codes)


async def act_on(request: Request, form: FormData) -> tuple[str, Codes]:
    """Do what the form asks for, and return what was done, with new recovery codes. Raise a refusal."""
    name = str(form.get("act", ""))
    if name == "confirm":
        await confirm_user(request, form)
        return "", []
    if name not in CHANGES:
        raise HTTPException(400)
    if not is_confirmed(request):
        raise no.ConfirmationNeeded
    message, change = CHANGES[name]
    codes = await change(request, form)
    if name != "start-app":
        use_confirmation(request)
        page_state(request).lacks_second_factor = False
    return message, codes


async def confirm_user(request: Request, form: FormData) -> None:
    """Take the password or a passkey of the user as a confirmation."""
    user, credential = signed_in_user(request), str(form.get("credential", ""))
    if credential:
        ceremony = take_ceremony(request)

        async def act(session: Session, **by_and_now: Unpack[ActorAndTime]) -> None:
            await second_factors.use_passkey(session, credential, ceremony, now=by_and_now["now"], user_id=user.id)

        await run_act(request, act)
    else:
        await check_password(request, form)
    confirm(request)


async def check_password(request: Request, form: FormData) -> None:
    """Raise a refusal unless the form has the password of the user."""
    context, password = context_of(request), str(form.get("current_password", ""))
    await sign_in.require_current_password(context.database, signed_in_user(request), password, now=context.now())


# The changes.


async def start_app(request: Request, form: FormData) -> Codes:
    """Make the key of a new app; it counts once a code confirms it."""
    del form
    request.session[NEW_APP] = totp.encrypt(totp.new_secret(), context_of(request).settings.secrets)
    return []


async def set_up_app(request: Request, form: FormData) -> Codes:
    secret, keys = secret_of_new_app(request), context_of(request).settings.secrets
    if secret is None:
        raise no.WrongCode
    code = str(form.get("code", ""))

    async def act(session: Session, **by_and_now: Unpack[ActorAndTime]) -> Codes:
        return await second_factor_setup.set_up_app(session, secret, code, **by_and_now, secret_keys=keys)

    codes = await run_act(request, act)
    request.session.pop(NEW_APP, None)
    return codes


async def remove_app(request: Request, form: FormData) -> Codes:
    del form
    settings = context_of(request).settings

    async def act(session: Session, **by_and_now: Unpack[ActorAndTime]) -> None:
        await second_factor_setup.remove_app(session, **by_and_now, settings=settings)

    await run_act(request, act)
    return []


async def add_passkey(request: Request, form: FormData) -> Codes:
    ceremony, name, credential = take_ceremony(request), name_of(form), str(form.get("credential", ""))

    async def act(session: Session, **by_and_now: Unpack[ActorAndTime]) -> Codes:
        return await second_factor_setup.add_passkey(session, name, credential, ceremony, **by_and_now)

    return await run_act(request, act)


async def rename_passkey(request: Request, form: FormData) -> Codes:
    name, number = name_of(form), parse_id(form.get("id"))

    async def act(session: Session, **by_and_now: Unpack[ActorAndTime]) -> None:
        await second_factor_setup.rename_passkey(session, number, name, **by_and_now)

    await run_act(request, act)
    return []


async def remove_passkey(request: Request, form: FormData) -> Codes:
    settings, number = context_of(request).settings, parse_id(form.get("id"))

    async def act(session: Session, **by_and_now: Unpack[ActorAndTime]) -> None:
        await second_factor_setup.remove_passkey(session, number, **by_and_now, settings=settings)

    await run_act(request, act)
    return []


async def make_codes(request: Request, form: FormData) -> Codes:
    del form

    async def act(session: Session, **by_and_now: Unpack[ActorAndTime]) -> Codes:
        return await second_factor_setup.make_codes(session, **by_and_now)

    return await run_act(request, act)


Change = Callable[[Request, FormData], Awaitable[Codes]]
CHANGES: Mapping[str, tuple[str, Change]] = {
    "start-app": ("", start_app),
    "set-up-app": ("The authenticator app is set up.", set_up_app),
    "remove-app": ("The authenticator app is removed.", remove_app),
    "add-passkey": ("The passkey is added.", add_passkey),
    "rename-passkey": ("The passkey is renamed.", rename_passkey),
    "remove-passkey": ("The passkey is removed.", remove_passkey),
    "make-codes": ("", make_codes),
}


def name_of(form: FormData) -> str:
    """Return the name of a passkey as it is stored. Raise a refusal if it cannot be one."""
    try:
        return str(VisibleText().parse(str(form.get("name", ""))))
    except ValueError:
        raise no.PasskeyNameNeeded from None


# The page.


def secret_of_new_app(request: Request) -> str | None:
    """Return the key of the app that is being set up, or None."""
    stored = request.session.get(NEW_APP)
    return totp.decrypt(stored, context_of(request).settings.secrets) if isinstance(stored, str) else None


async def render(request: Request, codes: Codes) -> Response:
    """Return the page. New recovery codes are shown this once."""
    context, user = context_of(request), signed_in_user(request)
    state = await second_factors.load(context.database, user.id)
    secret = secret_of_new_app(request) if is_confirmed(request) and state.app_since is None else None
    values: dict[str, Any] = {
        "state": state,
        "app_since": state.app_since and format_local_time(context.zone, state.app_since),
        "passkeys": [describe_passkey(request, row) for row in state.passkeys],
        "is_confirmed": is_confirmed(request),
        "is_required": second_factors.is_required(user.role, context.settings),
        "codes": codes,
        "qr_code": draw_qr_code(totp.setup_uri(secret, email=user.email or "")) if secret else None,
        "key": " ".join(secret[start : start + 4] for start in range(0, len(secret), 4)) if secret else "",
        "host": host_of(request),
        **passkey_options(request, user, [row["credential_id"] for row in state.passkeys]),
    }
    response = await context.render(request, "signing_in.html", values)
    if codes or secret:
        response.headers["Cache-Control"] = "no-store"
    return response


def passkey_options(request: Request, user: User, known: list[str]) -> Mapping[str, str]:
    """Return what the page asks a passkey to confirm, and what it asks to make one; "" where that is not possible."""
    ceremony = ask_passkey(request)
    if ceremony is None:
        return {"request_options": "", "creation_options": ""}
    creation = passkeys.creation_options(ceremony, user_id=user.id, email=user.email or "", name=user.name, known=known)
    return {
        "request_options": passkeys.request_options(ceremony, known=known) if known else "",
        "creation_options": creation,
    }


def describe_passkey(request: Request, row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a passkey as the page shows it."""
    zone, used_at = context_of(request).zone, row["last_used_at"]
    return {
        "id": row["id"],
        "name": row["name"],
        "added": format_local_time(zone, row["created_at"]),
        "last_used": format_local_time(zone, used_at) if used_at else "Never",
    }


def draw_qr_code(uri: str) -> str:
    """Return a QR code as the address of an image that holds it."""
    return str(segno.make(uri, error="m", micro=False).svg_data_uri(scale=5, light="#fff"))


# A colleague's.


async def reset_second_factor(request: Request) -> Response:
    """As an owner, show whether a colleague has a second factor; on POST, remove it."""
    context = context_of(request)
    user = await context.database.get(User, parse_id(request.path_params["pk"]))
    if user is None or user.id == signed_in_user(request).id:
        raise HTTPException(404)
    if request.method == "POST":
        form = await read_form(request)
        try:
            await check_password(request, form)
        except no.Refusal as refusal:
            page_state(request).refusal = refusal
        else:

            async def act(session: Session, **by_and_now: Unpack[ActorAndTime]) -> bool:
                return await second_factor_setup.reset(session, user.id, **by_and_now)

            done = "is reset" if await run_act(request, act) else "was not set up"
            Flash.success(request, f"The second factor of {user.name} {done}.")
            return RedirectResponse(request.url_for("admin:details", identity="user", pk=user.id), 303)
    state = await second_factors.load(context.database, user.id)
    return await context.render(request, "reset_second_factor.html", {"user": user, "state": state})


PAGES = [
    CustomPage("/signing-in", "signing-in", show_signing_in, ("GET", "POST")),
    CustomPage(
        "/user/{pk}/second-factor", "reset-second-factor", reset_second_factor, ("GET", "POST"), ability="give_roles"
    ),
]
