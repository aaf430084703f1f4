"""How staff sign in, and how each request finds out whether they still may."""

from urllib.parse import urlsplit

from sqladmin.authentication import AuthenticationBackend
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from admin.framework.context import context_of
from admin.framework.middleware import read_form
from bookit import refusals as no
from bookit.people import passwords, sign_in
from bookit.policy.permissions import Actor
from bookit.schema.tables import User
from bookit.settings import Settings

SESSION_SECONDS = 8 * 3600
REFRESH_SECONDS = 300


class StaffSignIn(AuthenticationBackend):
    """A signed cookie says who; the database says on each request whether that still holds."""

    def __init__(self, settings: Settings) -> None:
        """Keep the cookie to this door, this site, eight hours, and outside a demo to HTTPS."""
        super().__init__(
            settings.secret_key.get_secret_value(),
            session_cookie="bookit_staff",
            path="/admin",
            max_age=SESSION_SECONDS,
            same_site="lax",
            https_only=not (settings.debug or settings.bookit_demo),
        )

    async def login(self, request: Request) -> Response | bool:
        """Sign in staff and admins. Everybody else, and every wrong password, is told the same."""
        form = await read_form(request)
        email, password = str(form.get("username", "")).strip(), str(form.get("password", ""))
        request.state.typed = email.replace("\0", "")
        try:
            database = context_of(request).database
            user = await sign_in.authenticate(
                database, email=email, password=password, client_address=client_ip(request)
            )
        except no.Unauthenticated:
            return False
        except (no.TooMany, no.Busy) as refusal:
            request.state.refusal = refusal
            return False
        if not actor_of(user).is_staff:
            return False
        wanted = str(request.session.get("next", ""))
        request.session.clear()
        request.session.update(
            user=user.id, password=passwords.password_fingerprint(user), seen=refresh_window(request)
        )
        return RedirectResponse(wanted if is_admin_path(wanted) else request.url_for("admin:index"), 303)

    async def logout(self, request: Request) -> Response | bool:
        """Forget the session."""
        request.session.clear()
        return RedirectResponse(request.url_for("admin:login"), 303)

    async def authenticate(self, request: Request) -> Response | bool:
        """Let a request in whose person still works here, with the password they signed in with.

        A page of ours that is made from one of SQLAdmin's asks twice, and the database once.
        """
        if getattr(request.state, "actor", None) is not None:
            return True
        user = await self.get_session_user(request)
        if user is None:
            request.session.clear()
            if request.method == "GET":
                query = f"?{request.url.query}" if request.url.query else ""
                request.session["next"] = request.url.path + query
            return False
        request.state.user, request.state.actor = user, actor_of(user)
        request.scope["actor"] = request.state.actor
        if request.session.get("seen") != refresh_window(request):
            # A changed session is sent again, for eight hours from now.
            request.session["seen"] = refresh_window(request)
        if "_messages" in request.session:
            # SQLAdmin adds to the list in place, of which the session would not know: a second message would be lost.
            request.session["_messages"] = list(request.session["_messages"])
        return True

    async def get_session_user(self, request: Request) -> User | None:
        """Return the user of this session as the database has them now; None if they may not come in any more."""
        session = request.session
        if "user" not in session:
            return None
        try:
            user = await sign_in.get_active_user(context_of(request).database, session["user"])
        except no.SignInEnded:
            return None
        is_same = session.get("password") == passwords.password_fingerprint(user)
        return user if is_same and actor_of(user).is_staff else None


def refresh_window(request: Request) -> int:
    """Return the number of the current five minutes: a session is renewed once in each."""
    return int(context_of(request).now().timestamp()) // REFRESH_SECONDS


def actor_of(user: User) -> Actor:
    return Actor("admin", user.id, user.role)


def client_ip(request: Request) -> str:
    return request.client.host if request.client else ""


def is_admin_path(path: str) -> bool:
    """Whether this is a page of this door and of no other site."""
    parts = urlsplit(path)
    return path.startswith("/admin/") and not parts.scheme and not parts.netloc and "\\" not in path
