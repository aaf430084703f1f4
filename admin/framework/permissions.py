"""What ``policy.may`` says, in SQLAdmin's words: shown and enforced by the same line."""

from typing import Any

from sqladmin.authorization import AuthorizationBackend
from sqlmodel import SQLModel
from starlette.exceptions import HTTPException
from starlette.requests import Request

from bookit.policy import permissions
from bookit.policy.permissions import Actor, Verb

VERBS: dict[str, Verb] = {
    "list": "see",
    "details": "see",
    "export": "see",
    "create": "create",
    "edit": "change",
    "delete": "remove",
}


class Permissions(AuthorizationBackend):
    """Asks ``policy.may`` for each page, button and row."""

    def __init__(self) -> None:
        self.tables: dict[str, type[SQLModel]] = {}

    def has_permission(self, request: Request, identity: str, action: str, obj: Any = None) -> bool:
        """Whether this person may do this; an act of a row counts as a change of it."""
        del obj
        actor: Actor | None = getattr(request.state, "actor", None)
        table = self.tables.get(identity)
        if actor is None or table is None or action == "import":
            return False
        return permissions.has_permission(actor, VERBS.get(str(action), "change"), table)


def require_permission(request: Request, verb: Verb, table: type[SQLModel]) -> None:
    """Turn away whoever may not do this to rows of this table."""
    if not permissions.has_permission(request.state.actor, verb, table):
        raise HTTPException(403)
