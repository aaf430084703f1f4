"""SQLAdmin's permissions, answered by ``policy.permissions``: what is shown and what is allowed, by the same line."""

from sqladmin.authorization import AuthorizationBackend
from sqlmodel import SQLModel
from starlette.exceptions import HTTPException
from starlette.requests import Request

from admin.framework.page_state import page_state
from bookit.policy import permissions
from bookit.policy.permissions import Ability, Verb

VERBS: dict[str, Verb] = {
    "list": "see",
    "details": "see",
    "export": "export",
    "create": "create",
    "edit": "change",
    "delete": "remove",
}


class Permissions(AuthorizationBackend):
    """Answers for each page, button and row."""

    def __init__(self) -> None:
        self.tables: dict[str, type[SQLModel]] = {}

    def has_permission(self, request: Request, identity: str, action: str, obj: object = None) -> bool:
        """Return whether the user may do this; an action on a row counts as a change of it.

        Nothing may be done here to rows that the user may not see.
        """
        del obj
        page, table = page_state(request), self.tables.get(identity)
        if page.user is None or table is None or action == "import":
            return False
        verb = VERBS.get(str(action), "change")
        for needed in dict.fromkeys(("see", verb)):
            if not permissions.has_permission(page.actor, needed, table):
                page.who_may = page.who_may or permissions.describe_who_may(verb, table)
                return False
        return True


def require_permission(request: Request, verb: Verb, table: type[SQLModel]) -> None:
    """Raise 403 where the user may not do this to rows of this table."""
    page = page_state(request)
    if not permissions.has_permission(page.actor, verb, table):
        page.who_may = permissions.describe_who_may(verb, table)
        raise HTTPException(403)


def require_ability(request: Request, ability: Ability) -> None:
    """Raise 403 where the user may not do what this ability names."""
    page = page_state(request)
    if not permissions.has_ability(page.actor, ability):
        page.who_may = permissions.describe_who_can(ability)
        raise HTTPException(403)
