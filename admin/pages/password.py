"""The page of one's own password."""

from datetime import datetime
from typing import Any

from sqladmin import Flash
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from wtforms import PasswordField
from wtforms.validators import InputRequired

from admin.framework.custom_page import CustomPage
from admin.framework.forms import AdminForm, add_field_error
from admin.framework.sign_in import client_ip
from bookit import records
from bookit import refusals as no
from bookit.db.errors import retry_interrupted
from bookit.db.pool import Database
from bookit.people import passwords, sign_in
from bookit.schema.tables import User

CHANGED_MESSAGE = "Your password is changed. Wherever else you were signed in, that has ended."


def password_field(label: str, autocomplete: str, **kwargs: Any) -> PasswordField:
    drawn = {"class": "form-control", "autocomplete": autocomplete}
    return PasswordField(label, [InputRequired()], render_kw=drawn, **kwargs)


class PasswordForm(AdminForm):
    """The current password, and the new one."""

    current_password = password_field("Current password", "current-password")
    password = password_field("New password", "new-password", description="8 characters or more.")


async def change_own_password(request: Request, database: Database, templates: Any, *, now: datetime) -> Response:
    """Show the form, or change the password and stay signed in here alone."""
    form = PasswordForm(await request.form() if request.method == "POST" else None)
    refusal: no.Refusal | None = None
    if request.method == "POST" and form.validate():
        try:
            user = await save_password(request, database, form.current_password.data, form.password.data, now=now)
        except no.Refusal as found:
            refusal = request.state.refusal = found
            add_field_error(found.field, str(found))
        else:
            request.session["password"] = passwords.password_fingerprint(user)
            Flash.success(request, CHANGED_MESSAGE)
            return RedirectResponse(request.url_for("admin:index"), 303)
    error = "" if refusal is None or refusal.field else str(refusal)
    told = {"form": form, "error": error}
    status = 400 if form.errors or refusal is not None else 200
    answer: Response = await templates.TemplateResponse(request, "sqladmin/password.html", told, status_code=status)
    return answer


async def save_password(request: Request, database: Database, current: str, password: str, *, now: datetime) -> User:
    """Keep a new password of whoever is signed in."""
    address = client_ip(request)
    hashed = await sign_in.hash_own_password(
        database, request.state.user, password, current=current, client_address=address
    )
    by = request.state.actor

    async def once() -> User:
        async with database.transaction(by=by, request_id=request.scope.get("request_id", "")) as session:
            me = await records.lock(session, User, by.id)
            return await records.change(session, me, by=by, now=now, password_hash=hashed)

    return await retry_interrupted(once)


PAGE = CustomPage("/password", "password", change_own_password, ("GET", "POST"))
