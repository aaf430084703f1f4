"""How staff sign in, and how each request finds out whether its user still may."""

from urllib.parse import urlsplit

from sqladmin.authentication import AuthenticationBackend
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from admin.framework.context import context_of
from admin.framework.middleware import read_form
from admin.framework.page_state import actor_of, page_state
from admin.framework.session_cookie import StaffSessionMiddleware, loses_cookies
from bookit import refusals as no
from bookit.people import passwords, sign_in, sign_ins
from bookit.schema.tables import User
from bookit.settings import Settings
from web.client_address import client_address

SESSION_SECONDS = 8 * 3600
RENEW_SECONDS = 300


class StaffSignIn(AuthenticationBackend):
    """A signed cookie names the user; the database says on each request whether they may still come in."""

    def __init__(self, settings: Settings) -> None:
        """Limit the cookie to this door, this site and eight hours."""
        self.middlewares = [Middleware(StaffSessionMiddleware, settings.secrets, SESSION_SECONDS)]

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
                client_address=client_address(request.scope),
            )
        except no.Unauthenticated:
            return False
        except (no.TooMany, no.Busy) as refusal:
            page.refusal = refusal
            return False
        if not actor_of(user).is_staff:
            return False
        return_path = str(request.session.get("next", ""))
        request.session.clear()
        fingerprint, seen = passwords.password_fingerprint(user), renewal_period(request)
        request.session.update(user=user.id, password=fingerprint, seen=seen)
        return RedirectResponse(return_path if is_admin_path(return_path) else request.url_for("admin:index"), 303)

    async def logout(self, request: Request) -> Response | bool:
        """End the session."""
        request.session.clear()
        return RedirectResponse(request.url_for("admin:login"), 303)

    async def authenticate(self, request: Request) -> Response | bool:
        """Let a user in, and renew the session. Asked twice of one request, read the database once."""
        if page_state(request).user is not None:
            return True
        if not await is_signed_in(request):
            request.session.clear()
            if request.method == "GET":
                query = f"?{request.url.query}" if request.url.query else ""
                request.session["next"] = request.url.path + query
            return False
        if request.session.get("seen") != renewal_period(request):
            request.session["seen"] = renewal_period(request)  # A changed session is sent again, for another 8 hours.
        if "_messages" in request.session:
            # SQLAdmin appends to this list in place, which the session does not notice: a second message would be lost.
            request.session["_messages"] = list(request.session["_messages"])
        return True


async def is_signed_in(request: Request) -> bool:
    """Read the user of the session anew, and return whether they may still come in. The session is not renewed."""
    page = page_state(request)
    page.user = await load_session_user(request)
    if page.user:
        request.scope["actor"] = page.actor  # for the log
    return page.user is not None


async def load_session_user(request: Request) -> User | None:
    """Return the user of the session as the database has them now.

    None for users who are gone, inactive or no staff, and for those who have another password by now.
    """
    session = request.session
    if "user" not in session:
        return None
    try:
        user = await sign_ins.get_active_user(context_of(request).database, session["user"])
    except no.SignInEnded:
        return None
    is_same = session.get("password") == passwords.password_fingerprint(user)
    return user if is_same and actor_of(user).is_staff else None


def renewal_period(request: Request) -> int:
    """Return the number of the current five minutes: a session is renewed once in each."""
    return int(context_of(request).now().timestamp()) // RENEW_SECONDS


def is_admin_path(path: str) -> bool:
    """Return whether this is the path of a page of this door, and no URL of another site."""
    parts = urlsplit(path)
    return path.startswith("/admin/") and not parts.scheme and not parts.netloc and "\\" not in path
