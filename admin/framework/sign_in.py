"""How staff sign in, and how each request finds out whether its user still may."""

from collections.abc import Awaitable
from datetime import datetime
from typing import Protocol
from urllib.parse import urlsplit

from sqladmin.authentication import AuthenticationBackend
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from admin.framework.context import context_of, request_id_of
from admin.framework.device_cookie import read_device_token, set_device_cookie
from admin.framework.middleware import read_form
from admin.framework.page_state import actor_of, page_state
from admin.framework.second_step import confirm, remember_password
from admin.framework.session_cookie import StaffSessionMiddleware, loses_cookies
from bookit import refusals as no
from bookit import security_log
from bookit.db.session import Session
from bookit.people import second_factors, sign_in, sign_ins
from bookit.people.sign_ins import Client, SignedIn
from bookit.policy.permissions import Actor
from bookit.schema.tables import User
from bookit.settings import Settings
from web.client_address import client_address
from web.sign_in_source import source_of
from web.user_agent import user_agent_of

SET_UP_PATH = "/admin/signing-in"


class StaffSignIn(AuthenticationBackend):
    """A signed cookie names a sign-in; the database says on each request whether it lasts and who its user is."""

    def __init__(self, settings: Settings) -> None:
        """Limit the cookie to this door, this site and the time of a sign-in."""
        max_age = settings.staff_sign_in_hours * 3600
        self.middlewares = [Middleware(StaffSessionMiddleware, settings.secrets, max_age)]

    async def login(self, request: Request) -> Response | bool:
        """Sign in staff and admins. Everybody else, and every wrong password, gets the same answer."""
        form, page = await read_form(request), page_state(request)
        if loses_cookies(request.scope):
            page.refusal = no.NeedsHttps()
            return False
        email, password = str(form.get("username", "")).strip(), str(form.get("password", ""))
        page.email = email.replace("\0", "")
        try:
            user = await sign_in.authenticate(
                context_of(request).database,
                email=email,
                password=password,
                now=context_of(request).now(),
                source=source_of(request.scope, read_device_token(request), is_staff_panel=True),
                secrets=context_of(request).settings.secrets,
            )
        except no.Unauthenticated:
            return False
        except (no.TooMany, no.Busy) as refusal:
            page.refusal = refusal
            return False
        if not actor_of(user).is_staff:
            security_log.report("permission refused", account=user.id, detail="door admin")
            return False
        try:
            return await begin_sign_in(request, user)
        except no.Unauthenticated as refusal:
            return ask_second_factor(request, user) if isinstance(refusal, no.SecondFactorNeeded) else False

    async def logout(self, request: Request) -> Response | bool:
        """End the sign-in, so that a copy of the cookie ends too."""
        sid = request.session.get("sid")
        if sid:
            by, context = Actor("admin"), context_of(request)
            signed_in = await load_signed_in(request)
            if signed_in:
                by = actor_of(signed_in.user, signed_in.sign_in_id)
            now = context.now()
            async with context.database.transaction(by=by, now=now, request_id=request_id_of(request)) as session:
                await sign_ins.sign_out(session, sid, now=now)
        request.session.clear()
        return RedirectResponse(request.url_for("admin:login"), 303)

    async def authenticate(self, request: Request) -> Response | bool:
        """Let a user in, and note that they use their sign-in. Asked twice of one request, read the database once.

        A user who lacks a second factor that they must have gets no page but the one to set it up.
        """
        page = page_state(request)
        if page.user is not None:
            return lead_to_set_up(request) or True
        signed_in = await enter(request)
        if signed_in is None:
            request.session.clear()
            if request.method == "GET":
                query = f"?{request.url.query}" if request.url.query else ""
                request.session["next"] = request.url.path + query
            return False
        context = context_of(request)
        idle = sign_ins.lifetime_at("admin", signed_in.user.role, context.settings).idle
        context.last_seen.note(context.database, signed_in, now=context.now(), idle=idle)
        if "_messages" in request.session:
            # SQLAdmin appends to this list in place, which the session does not notice: a second message would be lost.
            request.session["_messages"] = list(request.session["_messages"])
        return lead_to_set_up(request) or True


class SecondFactorCheck(Protocol):
    """Uses up a second factor of a user in a transaction."""

    def __call__(self, session: Session, *, now: datetime) -> Awaitable[str]:
        """Return which one it was. Raise a refusal if it is wrong."""
        ...


async def begin_sign_in(request: Request, user: User, check: SecondFactorCheck | None = None) -> Response:
    """Sign in a user whose password was checked, and lead to the page that they wanted.

    Raise SecondFactorNeeded if they have a second factor and there is no ``check`` of it, or the refusal of the check.
    """
    context = context_of(request)
    now, lifetime = context.now(), sign_ins.lifetime_at("admin", user.role, context.settings)
    client = Client(client_address(request.scope), user_agent_of(request.headers))
    by, request_id = actor_of(user), request_id_of(request)
    async with context.database.transaction(by=by, now=now, request_id=request_id) as session:
        second_factor = await check(session, now=now) if check else None
        begun = await sign_ins.begin(
            session, user, door="admin", now=now, lifetime=lifetime, client=client, second_factor=second_factor
        )
    return_path = str(request.session.get("next", ""))
    request.session.clear()
    request.session.update(user=user.id, sid=begun.sid)  # Limits count by the user, before the database is asked.
    if second_factors.is_required(user.role, context.settings) and second_factor is None:
        confirm(request)  # The password was given just now, and the next page is the one to set it up.
    answer = RedirectResponse(return_path if is_admin_path(return_path) else request.url_for("admin:index"), 303)
    set_device_cookie(answer, request, user.id)
    return answer


def ask_second_factor(request: Request, user: User) -> Response:
    """Lead a user whose password was checked to the second step."""
    remember_password(request, user)
    return RedirectResponse(request.url_for("admin:second-step"), 303)


def lead_to_set_up(request: Request) -> Response | None:
    """Return where a user must go first who lacks a second factor that they must have, or None."""
    if not page_state(request).lacks_second_factor or request.url.path == SET_UP_PATH:
        return None
    return RedirectResponse(request.url_for("admin:signing-in"), 303)


async def is_signed_in(request: Request) -> bool:
    """Read the sign-in anew, and return whether the user may still come in. This does not count as use."""
    return await enter(request) is not None and not page_state(request).lacks_second_factor


async def enter(request: Request) -> SignedIn | None:
    """Let the user of the cookie in, if they may come in."""
    signed_in, page = await load_signed_in(request), page_state(request)
    page.user, page.sign_in_id = (signed_in.user, signed_in.sign_in_id) if signed_in else (None, None)
    if signed_in:
        settings, role = context_of(request).settings, signed_in.user.role
        page.lacks_second_factor = signed_in.second_factor is None and second_factors.is_required(role, settings)
        request.scope["actor"] = page.actor  # for the log
    return signed_in


async def load_signed_in(request: Request) -> SignedIn | None:
    """Return the sign-in of the cookie, and its user as the database has them now.

    None for a sign-in that has ended, and for users who are gone, inactive or no staff.
    """
    sid, context = request.session.get("sid"), context_of(request)
    if not isinstance(sid, str):
        return None
    try:
        signed_in = await sign_ins.find(context.database, sid, door="admin", now=context.now())
    except no.SignInEnded:
        return None
    return signed_in if actor_of(signed_in.user).is_staff else None


def is_admin_path(path: str) -> bool:
    """Return whether this is the path of a page of this door, and no URL of another site."""
    parts = urlsplit(path)
    return path.startswith("/admin/") and not parts.scheme and not parts.netloc and "\\" not in path
