"""SQLAdmin's permissions, answered by ``policy.permissions``: what is shown and what is allowed, by the same line."""

from sqladmin.authorization import AuthorizationBackend
from sqlmodel import SQLModel
from starlette.exceptions import HTTPException
from starlette.requests import Request

from admin.framework.page_state import page_state
from bookit.policy import permissions
from bookit.policy.permissions import Verb

VERBS: dict[str, Verb] = {
    "list": "see",
    "details": "see",
    "export": "see",
    "create": "create",
    "edit": "change",
    "delete": "remove",
}


class Permissions(AuthorizationBackend):
    """Answers for each page, button and row."""

    def __init__(self) -> None:
        self.tables: dict[str, type[SQLModel]] = {}

    def has_permission(self, request: Request, identity: str, action: str, obj: object = None) -> bool:
        """Return whether the user may do this; an action on a row counts as a change of it."""
        del obj
        page, table = page_state(request), self.tables.get(identity)
        if page.user is None or table is None or action == "import":
            return False
        return permissions.has_permission(page.actor, VERBS.get(str(action), "change"), table)


def require_permission(request: Request, verb: Verb, table: type[SQLModel]) -> None:
    """Raise 403 where the user may not do this to rows of this table."""
    if not permissions.has_permission(page_state(request).actor, verb, table):
        raise HTTPException(403)


def require_reports(request: Request) -> None:
    """Raise 403 where the user may not see reports."""
    if not permissions.may_see_reports(page_state(request).actor):
        raise HTTPException(403)
