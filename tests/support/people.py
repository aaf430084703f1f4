"""The people of the examples: Mara works at the desk, Ada is the admin, Tom books, and Eve tries what she may not."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx2

from bookit.db.session import Session
from bookit.people import data_export, passwords
from bookit.policy.permissions import Actor
from bookit.schema.tables import Role, User
from tests.support.clock import NOW

OWNER = Actor("seed", role=Role.ADMIN)
PASSWORD = "correct horse"

passwords.CRYPT_CONTEXT.update(bcrypt__rounds=4)

PASSWORD_HASH: str = passwords.CRYPT_CONTEXT.hash(PASSWORD)
MakeClient = Callable[..., httpx2.AsyncClient]
JoinUser = Callable[..., Any]


@dataclass(frozen=True)
class Person:
    """A user, with their client of the API."""

    user: User
    client: httpx2.AsyncClient

    @property
    def id(self) -> int:
        """Return the id of their account."""
        return self.user.id

    async def request(self, method: str, path: str, **more: Any) -> httpx2.Response:
        """Send a request as this person."""
        return await self.client.request(method, path, **more)


async def read_export(session: Session, user: User) -> dict[str, Any]:
    """Return the document with a person's data."""
    parts = [part async for part in data_export.stream(session, user, now=NOW)]
    document: dict[str, Any] = json.loads(b"".join(parts))
    return document
