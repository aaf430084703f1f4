"""The second step of signing in, after the password, and signing in with a passkey alone."""

from contextlib import suppress
from datetime import datetime

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from admin.framework.context import context_of
from admin.framework.custom_page import Client, CustomPage
from admin.framework.middleware import read_form
from admin.framework.page_state import actor_of, page_state
from admin.framework.second_step import find_half_signed_in, passkey_request, take_ceremony
from admin.framework.session_cookie import loses_cookies
from admin.framework.sign_in import begin_sign_in
from bookit import refusals as no
from bookit.db.session import Session
from bookit.people import second_factors
from bookit.schema.tables import User
from web.client_address import client_address, network_of


async def give_second_factor(request: Request) -> Response:
    """Ask for the second factor of the user who has given their password; on POST, check it and sign them in."""
    user = await find_half_signed_in(request)
    if user is None:
        return RedirectResponse(request.url_for("admin:login"), 303)
    if request.method == "POST":
        form = await read_form(request)
        credential, code = str(form.get("credential", "")), str(form.get("code", ""))
        try:
            return await (check_passkey(request, user, credential) if credential else check_code(request, user, code))
        except no.WrongPassword:  # It was changed meanwhile.
            request.session.clear()
            return RedirectResponse(request.url_for("admin:login"), 303)
        except no.Refusal as refusal:
            page_state(request).refusal = refusal
    context = context_of(request)
    state = await second_factors.load(context.database, user.id)
    known = [row["credential_id"] for row in state.passkeys]
    values = {
        "has_app": state.app_since is not None,
        "has_codes": bool(state.codes_left),
        "options": passkey_request(request, known) if known else "",
    }
    return await context.render(request, "second_step.html", values)


async def check_code(request: Request, user: User, code: str) -> Response:
    """Sign in by a code."""
    context = context_of(request)
    network = network_of(client_address(request.scope))
    await second_factors.count_attempt(context.database, user, code, network=network, now=context.now())

    async def check(session: Session, *, now: datetime) -> str:
        return await second_factors.use_code(session, user, code, now=now, secret_keys=context.settings.secrets)

    return await begin_sign_in(request, user, check)


async def check_passkey(request: Request, user: User, credential: str) -> Response:
    """Sign in by a passkey of this user."""
    ceremony = take_ceremony(request)

    async def check(session: Session, *, now: datetime) -> str:
        await second_factors.use_passkey(session, credential, ceremony, now=now, user_id=user.id)
        return "passkey"

    return await begin_sign_in(request, user, check)


async def sign_in_with_passkey(request: Request) -> Response:
    """Sign in by a passkey alone: it has verified its user, so it is two factors in one."""
    context, refusal = context_of(request), no.NeedsHttps() if loses_cookies(request.scope) else no.PasskeyRefused()
    credential = str((await read_form(request)).get("credential", ""))
    user = await second_factors.find_passkey_owner(context.database, credential)
    if user and actor_of(user).is_staff and not loses_cookies(request.scope):
        with suppress(no.PasskeyRefused, no.WrongPassword):
            return await check_passkey(request, user, credential)
    page_state(request).refusal = refusal
    return await context.render(request, "login.html", {"error": str(refusal)})


PAGES = [
    CustomPage("/login/second-step", "second-step", give_second_factor, ("GET", "POST"), client=Client.VISITOR),
    CustomPage("/login/passkey", "passkey-sign-in", sign_in_with_passkey, ("POST",), client=Client.VISITOR),
]
