"""The page of one's own password."""

from typing import Unpack

from sqladmin import Flash
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from wtforms import PasswordField
from wtforms.validators import InputRequired

from admin.framework.context import context_of
from admin.framework.custom_page import CustomPage
from admin.framework.form_values import show_refusal
from admin.framework.forms import AdminForm
from admin.framework.page_state import page_state, signed_in_user
from admin.framework.transactions import ActorAndTime, run_act
from bookit import records
from bookit import refusals as no
from bookit.db.session import Session
from bookit.people import sign_in
from bookit.schema.tables import User

HELP = "Use at least 8 characters, and not your name or a common password. Three unrelated words are good."
CHANGED_MESSAGE = "Password changed. You have been signed out everywhere else."


def password_field(label: str, autocomplete: str, description: str = "") -> PasswordField:
    html_attributes = {"class": "form-control", "autocomplete": autocomplete}
    return PasswordField(label, [InputRequired()], render_kw=html_attributes, description=description)


class PasswordForm(AdminForm):
    """The current password, and the new one."""

    current_password = password_field("Current password", "current-password")
    password = password_field("New password", "new-password", description=HELP)


async def change_own_password(request: Request) -> Response:
    """Show the form; on POST, change the password and end every other session of this user."""
    form, page = PasswordForm(await request.form() if request.method == "POST" else None), page_state(request)
    page.form = form
    if request.method == "POST" and form.validate():
        try:
            await save_password(request, form.current_password.data, form.password.data)
        except no.Refusal as refusal:
            show_refusal(request, refusal)
        else:
            Flash.success(request, CHANGED_MESSAGE)
            return RedirectResponse(request.url_for("admin:index"), 303)
    error = "" if page.refusal is None or page.refusal.field else str(page.refusal)
    values, status = {"form": form, "error": error}, 400 if form.errors or page.refusal else 200
    return await context_of(request).render(request, "password.html", values, status_code=status)


async def save_password(request: Request, current: str, password: str) -> User:
    """Change the password of the user who has signed in."""
    database, user = context_of(request).database, signed_in_user(request)
    await sign_in.require_current_password(database, user, current, now=context_of(request).now())
    hashed = await sign_in.hash_own_password(user, password)

    async def act(session: Session, **by_and_now: Unpack[ActorAndTime]) -> User:
        return await records.change(
            session, await records.lock(session, User, user.id), **by_and_now, password_hash=hashed
        )

    return await run_act(request, act)


PAGE = CustomPage("/password", "password", change_own_password, ("GET", "POST"))
